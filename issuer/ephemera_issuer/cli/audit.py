"""`ephemera audit`: verify the records, look at the last ones, find some, note where they end."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ephemera_issuer.admin.documents import moment, unix_seconds
from ephemera_issuer.audit.opening import opened_source
from ephemera_issuer.audit.record import jti_digest
from ephemera_issuer.audit.search import Tail, Wanted
from ephemera_issuer.audit.search import search as find
from ephemera_issuer.audit.verification import read_anchors, write_anchor
from ephemera_issuer.audit.verification import verify as check
from ephemera_issuer.cli.output import Json, print_json
from ephemera_issuer.errors import AuditBroken, AuditUnusable
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from ephemera_issuer.audit.search import Found
    from ephemera_issuer.audit.verification import Anchor

app = typer.Typer(
    name="audit", help="Verify and search the record of what was done.", no_args_is_help=True
)
Kept = Annotated[
    str | None,
    typer.Option(
        "--audit", metavar="file:DIR|database", help="What to read: EPHEMERA_AUDIT by default."
    ),
]
Lines = Annotated[bool, typer.Option("--json", help="Print records as JSON, one on a line.")]

_LOOK_EVERY = 0.5
_STANDARD_INPUT = "-"


@app.command()
def verify(
    *,
    kept: Kept = None,
    anchor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Lines that `audit head` printed earlier, kept elsewhere; - reads them from "
            "standard input.",
            allow_dash=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find out whether a record was changed, removed, added or moved.

    What was removed at the end, or written anew from some record on, is found by what other
    streams have noted, and by --anchor. Status 1 where something is wrong.
    """
    anchors = _anchors(anchor)
    with opened_source(Settings(audit=kept)) as source:
        found = check(source, anchors)
    problems = [problem for stream in found for problem in stream.problems]
    if as_json:
        print_json(
            {
                "whole": not problems,
                "records": sum(stream.lines for stream in found),
                "streams": [
                    {
                        "stream": stream.stream,
                        "records": stream.lines,
                        "last": stream.head.sequence,
                        "chain": stream.head.digest.hex(),
                        "anchors": stream.anchors,
                        "incomplete_line": stream.incomplete,
                        "problems": list(stream.problems),
                    }
                    for stream in found
                ],
            }
        )
    else:
        for stream in found:
            state = "BROKEN" if stream.problems else "whole"
            torn = ", and the beginning of another" if stream.incomplete else ""
            typer.echo(f"stream {stream.stream}: {stream.lines} records{torn}: {state}")
    if problems:
        raise AuditBroken("\n".join(problems))


@app.command()
def head(*, kept: Kept = None) -> None:
    """Print where each stream ends: keep it elsewhere, for `audit verify --anchor`."""
    with opened_source(Settings(audit=kept)) as source:
        for stream in source.streams():
            typer.echo(write_anchor(stream, source.head(stream)))


@app.command()
def tail(
    *,
    kept: Kept = None,
    number: Annotated[int, typer.Option("-n", min=0, help="How many records.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with those that come, until Ctrl-C.")
    ] = False,
    as_json: Lines = False,
) -> None:
    """Print the last records."""
    pause = threading.Event()
    with opened_source(Settings(audit=kept)) as source:
        last = Tail(source, number)
        while True:
            for found in last.more():
                _print(found, as_json=as_json)
            sys.stdout.flush()
            if not follow:
                return
            pause.wait(_LOOK_EVERY)


@app.command()
def search(  # noqa: PLR0913 - a parameter for each option
    *,
    kept: Kept = None,
    client: Annotated[str | None, typer.Option(metavar="ID", help="Of this client.")] = None,
    audience: Annotated[str | None, typer.Option(metavar="URI", help="For this audience.")] = None,
    jti: Annotated[str | None, typer.Option(metavar="JTI", help="Of the token of this id.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Such as minted, refused, revoked, registry or keys."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From 2026-01-31T12:00:00Z on.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before that time.")] = None,
    as_json: Lines = False,
) -> None:
    """Find records, all of whose properties are those named, the oldest first."""
    wanted = Wanted(
        client=client,
        audience=audience,
        jti=None if jti is None else jti_digest(jti),
        kind=kind,
        since=_time(since, "--since"),
        until=_time(until, "--until"),
    )
    with opened_source(Settings(audit=kept)) as source:
        for found in find(source, wanted):
            _print(found, as_json=as_json)


def _anchors(file: Path | None) -> list[Anchor]:
    if file is None:
        return []
    if str(file) == _STANDARD_INPUT:
        return read_anchors(sys.stdin.read(), seen="the anchor")
    try:
        return read_anchors(file.read_text(encoding="ascii"), seen=str(file))
    except OSError as error:
        raise AuditUnusable(f"{file}: {error.strerror}") from error
    except UnicodeError:
        raise AuditUnusable(f"{file}: is not what `ephemera audit head` prints") from None


def _time(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    try:
        return unix_seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _print(found: Found, *, as_json: bool) -> None:
    place: dict[str, Any] = {"stream": found.stream, "sequence": found.sequence}
    if as_json:
        sys.stdout.write(_compact({**place, **found.members}) + "\n")
        return
    rest = {name: value for name, value in found.members.items() if name not in {"at", "kind"}}
    said = " ".join(f"{name}={_word(value)}" for name, value in rest.items() if value is not None)
    kind = str(found.members.get("kind"))
    typer.echo(f"{moment(found.at)}  {found.stream}:{found.sequence}  {kind}  {said}")


def _word(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else _compact(value)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
