"""`ephemera keys`: look at the signing keys, rotate them, revoke one."""

from __future__ import annotations

import math
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ephemera_client import instant
from ephemera_issuer.cli.opening import opened
from ephemera_issuer.cli.output import Json, console, moment, print_json, print_table
from ephemera_issuer.cli.sealing_key import new_sealing_key
from ephemera_issuer.database import open_database
from ephemera_issuer.rotation import SigningKeys, StoredRing, require_ring
from ephemera_issuer.schedule import next_rotation
from ephemera_issuer.sealing_key import open_sealing_keys
from ephemera_issuer.settings import Settings
from ephemera_issuer.timeline import timeline
from ephemera_keys import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_issuer.timeline import Gap, Timeline
    from ephemera_keys import KeyRecord, KeyRing

app = typer.Typer(
    name="keys", help="List, rotate and revoke the signing keys.", no_args_is_help=True
)
Emergency = Annotated[
    bool,
    typer.Option(
        "--emergency",
        help="Rotate before the pending key has been published for long enough. Verifiers that "
        "have not seen it yet refuse tokens until they have.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Change nothing: print when each key signs, retires and is removed."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can answer.")]


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the signing keys, oldest first: pending, active, retired and revoked."""
    settings = Settings()
    stored = _read(settings)
    _print(stored.issuer, stored.ring, settings, as_json=as_json)


@app.command()
def rotate(*, emergency: Emergency = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Let the pending key sign, and publish the next one.

    Every replica signs with it within a second, and no verifier needs a restart. Refused while
    verifiers may not have the pending key yet. EPHEMERA_ALGORITHM says what the next key is for.
    """
    settings = Settings()
    if dry_run:
        stored = _read(settings)
        told = timeline(stored.ring, algorithm=settings.algorithm, now=instant.read().wall)
        _print_timeline(stored.issuer, told, as_json=as_json)
        return
    with _signing_keys(settings) as keys:
        ring = keys.rotate(settings.algorithm, now=instant.read().wall, emergency=emergency)
    _print(keys.issuer, ring, settings, as_json=as_json)


@app.command()
def revoke(
    kid: Annotated[str, typer.Argument(metavar="KID", help="As `keys list` shows it.")],
    *,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Withdraw a key for good: tokens that it signed are refused.

    In the place of the active key the pending one signs, within a second; in its place another is
    published. Revoking a revoked key changes nothing.
    """
    settings = Settings()
    record = _read(settings).ring.record(kid)
    typer.echo(_CONSEQUENCES[record.state], err=True)
    if record.state != State.REVOKED and not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody is there to ask", param_hint="--yes")
        typer.confirm(f"Revoke {kid}?", abort=True, err=True)
    with _signing_keys(settings) as keys:
        ring = keys.revoke(kid, settings.algorithm, now=instant.read().wall)
    _print(keys.issuer, ring, settings, as_json=as_json)


_UNTIL = (
    "What it signed is refused: within 2 s by verifiers that follow the revocation feed, by others "
    "when their copy of the JWKS ends, 5 minutes at most if they heed its max-age."
)
_CONSEQUENCES = {
    State.ACTIVE: f"This is the key that signs. The pending one signs at once. {_UNTIL}",
    State.PENDING: "This key has signed nothing. Another is published, and no rotation is safe "
    "until that has been for 15 minutes.",
    State.RETIRED: f"This key signs no more. {_UNTIL}",
    State.REVOKED: "This key is revoked already.",
}


@contextmanager
def _signing_keys(settings: Settings) -> Iterator[SigningKeys]:
    with opened(settings) as database:
        with database.read() as connection:
            stored = require_ring(connection)
        yield SigningKeys(
            database=database,
            sealing_keys=open_sealing_keys(database, file=settings.sealing_key_file),
            issuer=settings.issuer or stored.issuer,
        )


def _read(settings: Settings) -> StoredRing:
    with (
        closing(open_database(settings.database_url, create=False)) as database,
        database.read() as connection,
    ):
        return require_ring(connection)


def _print(issuer: str, ring: KeyRing, settings: Settings, *, as_json: bool) -> None:
    earliest = _second(ring.earliest_rotation())
    due = next_rotation(ring, every=settings.rotate_every)
    scheduled = None if due is None else _second(due)
    keys = [_document(record) for record in ring.records]
    if as_json:
        print_json(
            {
                "issuer": issuer,
                "earliest_rotation": earliest,
                "next_rotation": scheduled,
                "keys": keys,
            }
        )
        return
    print_table(tuple(keys[0]), ([cell or "" for cell in key.values()] for key in keys))
    console().print(f"Keys of {issuer}; the next rotation is safe from {earliest} on.")
    console().print(
        "EPHEMERA_ROTATE_EVERY is off: nothing rotates by itself."
        if scheduled is None
        else f"By schedule it is due at {scheduled}, by the issuer's processes."
    )


def _print_timeline(issuer: str, told: Timeline, *, as_json: bool) -> None:
    events = [
        {"at": _second(event.at), "event": event.what, "kid": event.kid, "alg": event.alg}
        for event in told.events
    ]
    earliest = _second(told.earliest)
    if as_json:
        print_json(
            {
                "issuer": issuer,
                "now": moment(told.now),
                "earliest_rotation": earliest,
                "safe_now": told.gap is None,
                "timeline": events,
                "sooner": None if told.gap is None else _gap(told.gap),
            }
        )
        return
    print_table(
        ("at", "event", "kid", "alg"),
        (
            (event["at"] or "", event["event"] or "", event["kid"] or "(new)", event["alg"] or "")
            for event in events
        ),
    )
    if told.gap is None:
        console().print(f"Safe since {earliest}. Nothing was changed.")
        return
    gap = _gap(told.gap)
    console().print(
        f"Safe from {earliest} on. Sooner, by --emergency, caches filled before "
        f"{gap['published_at']} lack {gap['kid']}: those that heed the document's max-age until "
        f"{gap['missing_until']}, three in a row until {gap['missing_at_most_until']}. Ephemera's "
        "verifiers ask again at once for a key that they lack, twice in 30 s; others refuse valid "
        "tokens meanwhile. Nothing was changed."
    )


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "kid": gap.kid,
        "published_at": moment(gap.published_at),
        "missing_until": _second(gap.heeding_until),
        "missing_at_most_until": _second(gap.at_most_until),
    }


def _second(seconds: float) -> str | None:
    """The first whole second from then on."""
    return moment(math.ceil(seconds))


def _document(record: KeyRecord) -> dict[str, str | None]:
    return {
        "kid": record.kid,
        "alg": record.alg,
        "state": record.state.value,
        "published_at": moment(record.published_at),
        "activated_at": moment(record.activated_at),
        "retired_at": moment(record.retired_at),
        "revoked_at": moment(record.revoked_at),
    }


app.command()(new_sealing_key)
