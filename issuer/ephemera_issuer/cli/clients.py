"""`ephemera clients`: look at the calling services, stop one, let it go on, roll its secret."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any

import typer

from ephemera_issuer.admin.local import local_administration
from ephemera_issuer.cli.administration import administration
from ephemera_issuer.cli.identities import phrase
from ephemera_issuer.cli.output import Json, print_json, print_table
from ephemera_issuer.errors import IssuerError


def known_clients(incomplete: str) -> list[str]:
    """The clients that a half-typed word could become, for the shell; none where none are known."""
    try:
        with local_administration() as here:
            return sorted(id_ for id_ in here.registry().clients if id_.startswith(incomplete))
    except IssuerError:
        return []


app = typer.Typer(
    name="clients",
    help="Look at calling services, stop one, roll its secret.",
    no_args_is_help=True,
)
ClientId = Annotated[
    str, typer.Argument(metavar="CLIENT", help="The client's id.", autocompletion=known_clients)
]


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the clients and the audiences that each may ask for."""
    with administration() as here:
        document = here.clients()
    if as_json:
        print_json(document)
        return
    print_table(
        ("client", "state", "credentials", "audiences"),
        (
            (
                client["id"],
                _state(client),
                _credentials(client),
                " ".join(grant["audience"] for grant in client["grants"]),
            )
            for client in document["clients"]
        ),
    )


@app.command()
def show(client: ClientId, *, as_json: Json = False) -> None:
    """Show one client and what it is granted."""
    with administration() as here:
        document = here.client(client)
    if as_json:
        print_json(document)
        return
    document = document["client"]
    print_table(
        ("client", "state", "credentials"),
        [(document["id"], _state(document), _credentials(document))],
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


@app.command()
def roll_secret(
    client: ClientId,
    *,
    secrets_dir: Annotated[
        Path,
        typer.Option(
            help="Where the new secret goes, as CLIENT.secret, in place of the one there.",
            file_okay=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Make a second secret for a client; both are good until one is dropped."""
    with administration() as here:
        file = here.roll_secret(client, secrets_dir)
    if as_json:
        print_json({"client": client, "secret_file": str(file)})
        return
    typer.echo(f"The new secret of {client} is in {file}; the one before stays good until dropped.")


@app.command()
def drop_secret(
    client: ClientId,
    *,
    oldest: Annotated[
        bool,
        typer.Option(
            "--oldest/--newest",
            help="The older one once the client uses the newer; the newer one to give up a roll.",
            show_default=False,
        ),
    ],
) -> None:
    """Take one of a client's two secrets away, within a second."""
    with administration() as here:
        here.drop_secret(client, oldest=oldest)
    typer.echo(f"The {'older' if oldest else 'newer'} secret of {client} is dropped.")


def _set(client: str, *, disabled: bool) -> None:
    with administration() as here:
        changed = here.set_disabled(client, disabled=disabled)
    state = "disabled" if disabled else "enabled"
    typer.echo(f"{client} is {state}" if changed else f"{client} was {state} already")


def _state(client: dict[str, Any]) -> str:
    return "disabled" if client["disabled"] else "enabled"


def _credentials(client: dict[str, Any]) -> str:
    count = client["secrets"]
    words = [f"{count} secret{'' if count == 1 else 's'}"] if count else []
    words += [f"{key['alg']} {key['kid']}" for key in client["keys"]]
    words += [uri for uri in [client["jwks_uri"]] if uri]
    return ", ".join(words + [phrase(identity) for identity in client["identities"]]) or "none"
