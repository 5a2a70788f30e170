"""`ephemera explain`: what a client would get, and the rule that decides it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ephemera_issuer.cli.administration import administration
from ephemera_issuer.cli.clients import known_clients
from ephemera_issuer.cli.output import Json, print_json

REFUSED = 3


def explain(
    *,
    client: Annotated[
        str, typer.Option(help="Who would ask.", metavar="ID", autocompletion=known_clients)
    ],
    audience: Annotated[str, typer.Option(help="The API that it would ask for.", metavar="URI")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="A scope that it would ask for, repeatable; all granted if left out."),
    ] = None,
    lifetime: Annotated[
        int | None, typer.Option(help="Seconds that it would ask for.", metavar="SECONDS")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a token request would get, and the rule that decides it.

    It is decided by what decides at the issuer, on the registry as it is now. Status 3: refused.
    """
    if not all(text.isprintable() for text in (client, audience, *(scope or []))):
        raise typer.BadParameter("ids, URIs and scopes are printable text")
    with administration() as here:
        document = here.explain(
            client=client, audience=audience, scopes=scope or [], lifetime=lifetime
        )
    if as_json:
        print_json(document)
    else:
        typer.echo(_text(document))
    if not document["granted"]:
        raise typer.Exit(REFUSED)


def _text(document: dict[str, Any]) -> str:
    verdict = "gets a token" if document["granted"] else "gets no token"
    if document["granted"]:
        rows = {
            "scopes": " ".join(document["scopes"]),
            "lifetime": f"{document['lifetime']} s",
            "single use": "yes" if document["single_use"] else "no",
            "dpop": document["dpop"],
        }
    else:
        rows = {"answer": f"{document['error']}: {document['error_description']}"}
    rows |= {"because": document["because"], "rule": document["rule"]}
    lines = [f"{document['client']} {verdict} for {document['audience']}"]
    return "\n".join(lines + [f"  {name:<11} {value}" for name, value in rows.items()])
