"""`ephemera serve`: answer token requests."""

from __future__ import annotations

import contextlib
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any

import typer

from ephemera_client import instant
from ephemera_issuer.app import create_app
from ephemera_issuer.database import IN_MEMORY
from ephemera_issuer.development import following
from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.logs import configure_logs
from ephemera_issuer.server import listen, run
from ephemera_issuer.settings import Settings, is_loopback
from ephemera_issuer.snapshot import open_keeper
from ephemera_issuer.spent import opened_ledger


def serve(  # noqa: PLR0913 - a parameter for each option
    *,
    issuer: Annotated[
        str | None,
        typer.Option(help="The issuer identifier: the https origin that verifiers know."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Port 0 takes a free one."),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            help="Where registry and keys are: sqlite:///PATH or postgresql://USER@HOST/DATABASE. "
            "A password is better named in EPHEMERA_DATABASE_URL, or kept in a file."
        ),
    ] = None,
    sealing_key_file: Annotated[
        Path | None, typer.Option(help="What opens the signing keys in the database.")
    ] = None,
    replay_url: Annotated[
        str | None,
        typer.Option(help="Where spent assertions are: sqlite:///PATH, beside the database else."),
    ] = None,
    jwks_uri_hosts: Annotated[
        str | None,
        typer.Option(
            metavar="HOST,...", help="Hosts that clients' keys may be fetched from: none else."
        ),
    ] = None,
    algorithm: Annotated[
        str | None, typer.Option(help="What new signing keys are for: ES256, EdDSA or RS256.")
    ] = None,
    tls_ends_in_front: Annotated[
        bool | None,
        typer.Option(
            "--tls-ends-in-front",
            help="Listen off loopback although this listener speaks plain HTTP.",
        ),
    ] = None,
    unencrypted_hosts: Annotated[
        str | None,
        typer.Option(
            metavar="HOST,...",
            help="Hosts of a private network whose issuer identifier may be plain http.",
        ),
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option(
            metavar="REGISTRY",
            help="On loopback and in memory, with this registry file, followed as it changes.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    secrets_dir: Annotated[
        Path | None,
        typer.Option(
            help="With --dev: where generated secrets are kept from start to start; "
            "REGISTRY.secrets by default.",
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Answer token requests until SIGTERM or SIGINT.

    Each option is also a variable: EPHEMERA_LISTEN for --listen. A first start makes the database,
    its sealing key and the signing keys. When requests are answered, one line on standard output
    says so.
    """
    options: dict[str, Any] = {
        "issuer": issuer,
        "listen": address,
        "database_url": database_url,
        "sealing_key_file": sealing_key_file,
        "replay_url": replay_url,
        "jwks_uri_hosts": jwks_uri_hosts,
        "algorithm": algorithm,
        "tls_ends_in_front": tls_ends_in_front,
        "unencrypted_hosts": unencrypted_hosts,
    }
    if dev is None and secrets_dir is not None:
        raise typer.BadParameter("is only for --dev", param_hint="--secrets-dir")
    if dev is not None and any((database_url, sealing_key_file, replay_url)):
        raise typer.BadParameter(
            "keeps everything in memory: "
            "leave out --database-url, --sealing-key-file and --replay-url",
            param_hint="--dev",
        )
    configure_logs()
    settings = Settings(**options)
    if dev is not None:
        if not is_loopback(settings.address.host):
            raise SettingsInvalid(
                f"EPHEMERA_LISTEN: is {settings.listen}, and --dev is for loopback"
            )
        in_memory = {"database_url": IN_MEMORY, "sealing_key_file": None, "replay_url": None}
        settings = settings.model_copy(update=in_memory)
    _serve(settings, dev=dev, secrets_dir=secrets_dir)


def _serve(settings: Settings, *, dev: Path | None, secrets_dir: Path | None) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(
            listen(
                settings.address,
                tls_ends_in_front=settings.tls_ends_in_front or settings.plain_http_meant,
            )
        )
        host, port = listener.getsockname()[:2]
        issuer = settings.issuer_at(port)
        keeper = stack.enter_context(
            contextlib.closing(open_keeper(settings, issuer=issuer, clock=instant.read))
        )
        if dev is not None:
            secrets_dir = secrets_dir or dev.with_suffix(".secrets")
            stack.enter_context(following(dev, keeper.database, secrets_dir=secrets_dir))
            keeper.refresh()
        ledger = stack.enter_context(
            opened_ledger(settings.replay_url, database=keeper.database, clock=instant.read)
        )
        app = create_app(
            keeper, issuer=issuer, ledger=ledger, jwks_uri_hosts=settings.jwks_uri_hosts
        )
        literal = f"[{host}]" if ":" in host else host
        where = f"ephemera: serving {issuer} (listening on http://{literal}:{port})"
        run(app, listener, ready=lambda: typer.echo(where))
