"""Where the command's nouns work: on the database, or through the admin API of an issuer."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ephemera_issuer.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_issuer.admin import Administration

_REMOTE = {"clients", "keys", "explain", "revoke"}


class _Server(NamedTuple):
    url: str
    admin_id: str | None
    key_file: Path | None
    ca_file: Path | None


_server: ContextVar[_Server | None] = ContextVar("server", default=None)


def choose(
    context: typer.Context,
    *,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The private listener of an issuer, such as https://tokens-admin.internal:8701: "
            "clients, keys, revoke and explain use its admin API instead of the database.",
        ),
    ] = None,
    admin_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            envvar=f"{PREFIX}ADMIN_ID",
            help="With --server: the administrator, as the issuer's registry names it.",
        ),
    ] = None,
    admin_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar=f"{PREFIX}ADMIN_KEY_FILE",
            help="With --server: the administrator's private key.",
            dir_okay=False,
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar=f"{PREFIX}ADMIN_CA_FILE",
            help="With --server: the authority that vouches for it, in place of the public ones.",
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Remember what stands before the noun.

    Raises:
        BadParameter: An issuer is named to a command that works on the database, or beside it:
            administrators are made there, and nowhere else.
    """
    if server is not None and context.invoked_subcommand not in _REMOTE:
        raise typer.BadParameter(
            f"is for {', '.join(sorted(_REMOTE))}; {context.invoked_subcommand} works on the "
            "database itself, or on no issuer at all",
            param_hint="--server",
        )
    _server.set(None if server is None else _Server(server, admin_id, admin_key, ca_file))


@contextmanager
def administration() -> Iterator[Administration]:
    """What the command was told to work on.

    Raises:
        IssuerError: It cannot be used; an issuer is not asked before there is something to ask.
    """
    server = _server.get()
    if server is None:
        from ephemera_issuer.admin.local import local_administration  # noqa: PLC0415

        with local_administration() as here:
            yield here
        return
    for value, option in ((server.admin_id, "--admin-id"), (server.key_file, "--admin-key")):
        if value is None:
            raise typer.BadParameter("is needed with --server", param_hint=option)
    from ephemera_issuer.admin.remote import remote_administration  # noqa: PLC0415 - slow to load

    assert server.admin_id is not None  # noqa: S101 - just looked at
    assert server.key_file is not None  # noqa: S101
    with remote_administration(
        server.url, admin_id=server.admin_id, key_file=server.key_file, ca_file=server.ca_file
    ) as there:
        yield there
