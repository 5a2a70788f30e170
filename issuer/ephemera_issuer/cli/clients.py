"""`ephemera clients`: look at the calling services, stop one, let it go on."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ephemera_issuer.cli.output import Json, print_json, print_table
from ephemera_issuer.database import open_database
from ephemera_issuer.registry.application import find_client, set_disabled
from ephemera_issuer.registry.store import read_registry
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from ephemera_issuer.registry.entries import Client, Registry

app = typer.Typer(
    name="clients", help="List, show, disable and enable calling services.", no_args_is_help=True
)
ClientId = Annotated[str, typer.Argument(metavar="CLIENT", help="The client's id.")]


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the clients and the audiences that each may ask for."""
    registry = _registry()
    documents = [_document(registry, registry.clients[id_]) for id_ in sorted(registry.clients)]
    if as_json:
        print_json({"registry_version": registry.version, "clients": documents})
        return
    print_table(
        ("client", "state", "secrets", "audiences"),
        (
            (
                client["id"],
                _state(client),
                str(client["secrets"]),
                " ".join(grant["audience"] for grant in client["grants"]),
            )
            for client in documents
        ),
    )


@app.command()
def show(client: ClientId, *, as_json: Json = False) -> None:
    """Show one client and what it is granted."""
    registry = _registry()
    document = _document(registry, find_client(registry, client))
    if as_json:
        print_json({"registry_version": registry.version, "client": document})
        return
    print_table(
        ("client", "state", "secrets"),
        [(document["id"], _state(document), str(document["secrets"]))],
    )
    print_table(
        ("audience", "scopes", "longest lifetime"),
        (
            (grant["audience"], " ".join(grant["scopes"]), f"{grant['max_lifetime']} s")
            for grant in document["grants"]
        ),
    )


@app.command()
def disable(client: ClientId) -> None:
    """Refuse a client's token requests, within a second, until it is enabled again.

    Tokens that it has already got stay valid until they expire. `ephemera apply` leaves it
    disabled, unless its file says `disabled = false`.
    """
    _set(client, disabled=True)


@app.command()
def enable(client: ClientId) -> None:
    """Accept a disabled client's token requests again."""
    _set(client, disabled=False)


def _set(client: str, *, disabled: bool) -> None:
    with closing(open_database(Settings().database_url, create=False)) as database:
        changed = set_disabled(database, client, disabled=disabled)
    state = "disabled" if disabled else "enabled"
    typer.echo(f"{client} is {state}" if changed else f"{client} was {state} already")


def _registry() -> Registry:
    with (
        closing(open_database(Settings().database_url, create=False)) as database,
        database.read() as connection,
    ):
        return read_registry(connection)


def _document(registry: Registry, client: Client) -> dict[str, Any]:
    return {
        "id": client.id,
        "disabled": client.disabled,
        "secrets": len(client.secret_hashes),
        "grants": [
            {
                "audience": grant.audience,
                "scopes": sorted(grant.scopes),
                "max_lifetime": grant.max_lifetime,
            }
            for key, grant in sorted(registry.grants.items())
            if key[0] == client.id
        ],
    }


def _state(client: dict[str, Any]) -> str:
    return "disabled" if client["disabled"] else "enabled"
