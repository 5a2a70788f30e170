"""`ephemera keys`: look at the signing keys, rotate them, revoke one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ephemera_issuer.cli.administration import administration
from ephemera_issuer.cli.output import Json, console, print_json, print_table
from ephemera_issuer.cli.sealing_key import new_sealing_key
from ephemera_keys import State, UnknownKid

if TYPE_CHECKING:
    from ephemera_issuer.admin.documents import Document

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
    with administration() as here:
        _print(here.keys(), as_json=as_json)


@app.command()
def rotate(*, emergency: Emergency = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Let the pending key sign, and publish the next one.

    Every replica signs with it within a second, and no verifier needs a restart. Refused while
    verifiers may not have the pending key yet. EPHEMERA_ALGORITHM says what the next key is for.
    """
    with administration() as here:
        if dry_run:
            _print_timeline(here.timeline(), as_json=as_json)
        else:
            _print(here.rotate(emergency=emergency), as_json=as_json)


# Of 64 key ids one begins with a hyphen, and would be taken for an option.
@app.command(context_settings={"ignore_unknown_options": True})
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
    with administration() as here:
        states = {key["kid"]: State(key["state"]) for key in here.keys()["keys"]}
        if kid not in states:
            raise UnknownKid(kid, tuple(states))
        typer.echo(_CONSEQUENCES[states[kid]], err=True)
        if states[kid] != State.REVOKED and not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("nobody is there to ask", param_hint="--yes")
            typer.confirm(f"Revoke {kid}?", abort=True, err=True)
        _print(here.revoke_key(kid), as_json=as_json)


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


def _print(document: Document, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    keys, scheduled = document["keys"], document["next_rotation"]
    print_table(tuple(keys[0]), ([cell or "" for cell in key.values()] for key in keys))
    console().print(
        f"Keys of {document['issuer']}; the next rotation is safe from "
        f"{document['earliest_rotation']} on."
    )
    console().print(
        "EPHEMERA_ROTATE_EVERY is off: nothing rotates by itself."
        if scheduled is None
        else f"By schedule it is due at {scheduled}, by the issuer's processes."
    )


def _print_timeline(document: Document, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    print_table(
        ("at", "event", "kid", "alg"),
        (
            (event["at"], event["event"], event["kid"] or "(new)", event["alg"])
            for event in document["timeline"]
        ),
    )
    earliest, gap = document["earliest_rotation"], document["sooner"]
    if gap is None:
        console().print(f"Safe since {earliest}. Nothing was changed.")
        return
    console().print(
        f"Safe from {earliest} on. Sooner, by --emergency, caches filled before "
        f"{gap['published_at']} lack {gap['kid']}: those that heed the document's max-age until "
        f"{gap['missing_until']}, three in a row until {gap['missing_at_most_until']}. Ephemera's "
        "verifiers ask again at once for a key that they lack, twice in 30 s; others refuse valid "
        "tokens meanwhile. Nothing was changed."
    )


app.command()(new_sealing_key)
