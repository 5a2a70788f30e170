"""`ephemera serve`: answer token requests."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any

import typer

from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.logs import configure_logs
from ephemera_issuer.serving import develop, serve_with
from ephemera_issuer.settings import IN_MEMORY, Settings, is_loopback


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
        typer.Option(
            help="Where spent assertions are: sqlite:///PATH, beside the database else; "
            "redis:// or rediss:// for more than one machine."
        ),
    ] = None,
    replay_ca_file: Annotated[
        Path | None,
        typer.Option(help="Authorities that may vouch for a rediss:// besides the system's."),
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
    rotate_every: Annotated[
        str | None,
        typer.Option(
            metavar="PERIOD", help="How often the next key is to sign: 24h, 90m, 7d, or off."
        ),
    ] = None,
    dpop_nonce: Annotated[
        str | None,
        typer.Option(
            metavar="off|required",
            help="Whether DPoP proofs must hold a nonce of this issuer: off by default.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="How many processes answer: 1 by default.")
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
    audit: Annotated[
        str | None,
        typer.Option(
            metavar="off|file:DIR|database",
            help="Where a record is kept of every mint, refusal and change.",
        ),
    ] = None,
    audit_when_behind: Annotated[
        str | None,
        typer.Option(
            metavar="slow|stop",
            help="When records cannot be written: let requests wait, or refuse them at once.",
        ),
    ] = None,
    audit_before_answer: Annotated[
        bool | None,
        typer.Option(
            "--audit-before-answer", help="Send no token before its record is on the disk."
        ),
    ] = None,
    private_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where metrics and the admin API are, apart from callers: 127.0.0.1:8701 by "
            "default, or off.",
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(help="json or console; by default console on a terminal, else json."),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="The least to log: debug, info, warning or error.")
    ] = None,
    access_log: Annotated[
        bool | None, typer.Option("--access-log", help="Log a line for every request.")
    ] = None,
    traces: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="An OTLP/HTTP collector that gets a span for every token request."
        ),
    ] = None,
    tls_cert_file: Annotated[
        Path | None,
        typer.Option(help="The certificate and its chain, PEM: the listener speaks TLS."),
    ] = None,
    tls_key_file: Annotated[
        Path | None, typer.Option(help="Its private key, which only the issuer can read.")
    ] = None,
    trusted_proxies: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS,...",
            help="Proxies, or networks of them, whose Forwarded headers are believed.",
        ),
    ] = None,
    tokens_per_second: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens for one client, in each process.")
    ] = None,
    tokens_burst: Annotated[
        int | None, typer.Option(metavar="N", help="And at once, after a pause.")
    ] = None,
    requests_per_second: Annotated[
        int | None, typer.Option(metavar="N", help="Requests of one address, in each process.")
    ] = None,
    failures_per_second: Annotated[
        int | None, typer.Option(metavar="N", help="Failed authentications of one address.")
    ] = None,
    max_connections: Annotated[
        int | None, typer.Option(metavar="N", help="Connections to each process.")
    ] = None,
    max_connections_of_address: Annotated[
        int | None, typer.Option(metavar="N", help="And of one address.")
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
        "replay_ca_file": replay_ca_file,
        "algorithm": algorithm,
        "rotate_every": rotate_every,
        "dpop_nonce": dpop_nonce,
        "workers": workers,
        "tls_ends_in_front": tls_ends_in_front,
        "unencrypted_hosts": unencrypted_hosts,
        "audit": audit,
        "audit_when_behind": audit_when_behind,
        "audit_before_answer": audit_before_answer,
        "private_listen": private_listen,
        "log_format": log_format,
        "log_level": log_level,
        "access_log": access_log,
        "traces": traces,
        "tls_cert_file": tls_cert_file,
        "tls_key_file": tls_key_file,
        "trusted_proxies": trusted_proxies,
        "tokens_per_second": tokens_per_second,
        "tokens_burst": tokens_burst,
        "requests_per_second": requests_per_second,
        "failures_per_second": failures_per_second,
        "max_connections": max_connections,
        "max_connections_of_address": max_connections_of_address,
    }
    if dev is None and secrets_dir is not None:
        raise typer.BadParameter("is only for --dev", param_hint="--secrets-dir")
    if dev is not None and any((database_url, sealing_key_file, replay_url)):
        raise typer.BadParameter(
            "keeps everything in memory: "
            "leave out --database-url, --sealing-key-file and --replay-url",
            param_hint="--dev",
        )
    settings = Settings(**options)
    configure_logs(style=settings.log_format, level=settings.log_level)
    if dev is not None:
        if not is_loopback(settings.address.host):
            raise SettingsInvalid(
                f"EPHEMERA_LISTEN: is {settings.listen}, and --dev is for loopback"
            )
        if settings.workers > 1:
            raise SettingsInvalid(
                f"EPHEMERA_WORKERS: is {settings.workers}, and --dev is for one process"
            )
        in_memory = {"database_url": IN_MEMORY, "sealing_key_file": None, "replay_url": None}
        settings = settings.model_copy(update=in_memory)
    if dev is not None:
        develop(settings, dev, secrets_dir=secrets_dir or dev.with_suffix(".secrets"))
    else:
        serve_with(settings)
