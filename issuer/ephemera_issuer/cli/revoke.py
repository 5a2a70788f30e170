"""`ephemera revoke`: end tokens before their time, one, many, or all that a key signed."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ephemera_issuer.admin.documents import unix_seconds
from ephemera_issuer.cli.administration import administration
from ephemera_issuer.cli.clients import known_clients
from ephemera_issuer.cli.output import Json, print_json

if TYPE_CHECKING:
    from ephemera_issuer.admin.documents import Document


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
    with administration() as here:
        if jti is not None:
            document = here.revoke_token(jti)
            said = _one(document)
        elif key is not None:
            document = _signed_by(key, here.revoke_key(key))
            said = _key(document)
        else:
            document = here.revoke_tokens(client=client, audience=audience, until=until)
            said = _many(document)
    if as_json:
        print_json(document)
    else:
        typer.echo(said)


def _one(document: Document) -> str:
    return (
        f"The token {document['jti']} is revoked, for as long as any token can live: until "
        f"{document['expires_at']}.\n"
        "Whether there is such a token is not known here."
    )


def _many(document: Document) -> str:
    client, audience = document["client"], document["audience"]
    whose = " ".join(
        words for words in (client and f"of {client}", audience and f"for {audience}") if words
    )
    cut_off, resumed = document["cut_off"], document["minted_again_from"]
    said = f"All tokens {whose} minted up to {cut_off} are revoked."
    if (
        datetime.fromisoformat(resumed).timestamp()
        == datetime.fromisoformat(cut_off).timestamp() + 1
    ):
        return (
            f"{said}\nUntil {resumed} the token endpoint answers such requests with 503; what it "
            "mints after that is good."
        )
    return f"{said}\nWhat was minted since then is as good as before."


def _signed_by(kid: str, keys: Document) -> Document:
    state = {key["state"]: key["kid"] for key in keys["keys"]}
    return {"kid": kid, "active": state["active"], "pending": state["pending"]}


def _key(document: Document) -> str:
    return (
        f"The key {document['kid']} is revoked, for good, and with it all that it signed.\n"
        f"{document['active']} signs; {document['pending']} is published to sign next."
    )


def _last_second_before(text: str) -> int:
    try:
        return math.ceil(unix_seconds(text)) - 1
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--issued-before") from None
