"""`ephemera revoke`: end tokens before their time, one, many, or all that a key signed."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ephemera_client import instant
from ephemera_issuer.cli.clients import known_clients
from ephemera_issuer.cli.opening import opened
from ephemera_issuer.cli.output import Json, moment, print_json
from ephemera_issuer.errors import RevocationRefused
from ephemera_issuer.revocation.store import cut_off, require_known, revoke_jti
from ephemera_issuer.rotation import SigningKeys, require_ring
from ephemera_issuer.sealing_key import open_sealing_keys
from ephemera_issuer.settings import Settings
from ephemera_keys.ring import LONGEST_LIFETIME

if TYPE_CHECKING:
    from ephemera_issuer.database import Database

_LONGEST_JTI = 256


def revoke(  # noqa: PLR0913 - a parameter for each option
    *,
    jti: Annotated[
        str | None, typer.Option(help="One token, by its jti, which logs show.", metavar="JTI")
    ] = None,
    client: Annotated[
        str | None,
        typer.Option(help="All tokens of this client.", metavar="ID", autocompletion=known_clients),
    ] = None,
    audience: Annotated[
        str | None,
        typer.Option(
            help="All tokens for this audience; with --client, those of the one for the other.",
            metavar="URI",
        ),
    ] = None,
    issued_before: Annotated[
        str | None,
        typer.Option(
            help="With --client or --audience: only what was minted before, such as "
            "2026-01-31T12:00:00Z. All that was minted up to now if left out.",
            metavar="TIME",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="All that this key signed. Where it is the active one, the pending one signs "
            "at once.",
            metavar="KID",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Revoke tokens before they expire.

    The issuer's replicas know within a second, and so do the APIs that follow its feed. Nothing is
    taken from the client but these tokens: `ephemera clients disable` keeps it from getting others.
    """
    many = client is not None or audience is not None
    if (jti is not None) + many + (key is not None) != 1:
        raise typer.BadParameter("name one: --jti, --client and/or --audience, or --key")
    if issued_before is not None and not many:
        raise typer.BadParameter("goes with --client or --audience", param_hint="--issued-before")
    until = None if issued_before is None else _last_second_before(issued_before)
    settings = Settings()
    with opened(settings) as database:
        if jti is not None:
            document, said = _one(database, jti)
        elif key is not None:
            document, said = _signed_by(database, key, settings)
        else:
            document, said = _many(database, client, audience, until)
    if as_json:
        print_json(document)
    else:
        typer.echo(said)


def _one(database: Database, jti: str) -> tuple[dict[str, Any], str]:
    if not jti or not jti.isprintable() or len(jti) > _LONGEST_JTI:
        raise RevocationRefused(f"a jti is 1 to {_LONGEST_JTI} printable characters")
    with database.write() as connection:
        entry = revoke_jti(connection, jti, now=instant.read().wall)
    ends = moment(entry.expires_at)
    said = (
        f"The token {jti} is revoked, for as long as any token can live: until {ends}.\n"
        "Whether there is such a token is not known here."
    )
    return {"jti": jti, "expires_at": ends}, said


def _many(
    database: Database, client: str | None, audience: str | None, until: int | None
) -> tuple[dict[str, Any], str]:
    with database.write() as connection:
        # Read only now: the turn to write may have been long in coming.
        now = instant.read().wall
        require_known(connection, client=client, audience=audience)
        if until is not None:
            _check(until, now)
        entry = cut_off(connection, client=client, audience=audience, now=now, moment=until)
    whose = " ".join(
        words for words in (client and f"of {client}", audience and f"for {audience}") if words
    )
    resumed = entry.moment + 1
    said = f"All tokens {whose} minted up to {moment(entry.moment)} are revoked."
    if resumed > now:
        said += (
            f"\nUntil {moment(resumed)} the token endpoint answers such requests with 503; what it "
            "mints after that is good."
        )
    else:
        said += "\nWhat was minted since then is as good as before."
    document = {
        "client": client,
        "audience": audience,
        "cut_off": moment(entry.moment),
        "minted_again_from": moment(max(resumed, math.floor(now))),
    }
    return document, said


def _signed_by(database: Database, kid: str, settings: Settings) -> tuple[dict[str, Any], str]:
    with database.read() as connection:
        stored = require_ring(connection)
    keys = SigningKeys(
        database=database,
        sealing_keys=open_sealing_keys(database, file=settings.sealing_key_file),
        issuer=settings.issuer or stored.issuer,
    )
    ring = keys.revoke(kid, settings.algorithm, now=instant.read().wall)
    said = (
        f"The key {kid} is revoked, for good, and with it all that it signed.\n"
        f"{ring.active.kid} signs; {ring.pending.kid} is published to sign next."
    )
    return {"kid": kid, "active": ring.active.kid, "pending": ring.pending.kid}, said


def _last_second_before(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise typer.BadParameter(
            "must be a time with its zone, such as 2026-01-31T12:00:00Z",
            param_hint="--issued-before",
        )
    return math.ceil(time.timestamp()) - 1


def _check(until: int, now: float) -> None:
    if until >= now:
        raise RevocationRefused(
            "the time lies ahead: leave --issued-before out to revoke what was minted up to now, "
            "and use `ephemera clients disable` against what will be"
        )
    if until < now - LONGEST_LIFETIME:
        raise RevocationRefused(
            f"what was minted before {moment(until + 1)} has expired: no token lives for longer "
            f"than {LONGEST_LIFETIME} s"
        )
