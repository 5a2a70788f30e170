"""`ephemera serve`: answer token requests."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from starlette.routing import Mount

from ephemera_client import instant
from ephemera_issuer.admin import PATH as ADMIN_PATH
from ephemera_issuer.admin.deferred import Deferred
from ephemera_issuer.app import create_app
from ephemera_issuer.audit.actor import ISSUER
from ephemera_issuer.audit.opening import opened_audit
from ephemera_issuer.ending import Ending
from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.hardening import harden
from ephemera_issuer.limits import limits
from ephemera_issuer.logs import configure_logs
from ephemera_issuer.metrics.memory import Tallies
from ephemera_issuer.observation import observing
from ephemera_issuer.possession import nonces_of
from ephemera_issuer.private import create_private_app
from ephemera_issuer.reception import Reception, reception
from ephemera_issuer.rotator import Rotator
from ephemera_issuer.server import Served, listen, run
from ephemera_issuer.settings import IN_MEMORY, Settings, is_loopback
from ephemera_issuer.snapshot import open_keeper
from ephemera_issuer.spent import opened_ledger
from ephemera_issuer.workers import Workers
from ephemera_keys.ring import CONTRACT

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

    from ephemera_issuer.snapshot import SnapshotKeeper
    from ephemera_keys import Timing


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
        _develop(settings, dev, secrets_dir=secrets_dir or dev.with_suffix(".secrets"))
    else:
        serve_with(settings)


def serve_with(settings: Settings, *, timing: Timing = CONTRACT) -> None:
    """Serve as `settings` say, until SIGTERM or SIGINT.

    Raises:
        IssuerError: Nothing was started.
        SystemExit: With another status than 0; the log says why.
    """
    with _listening(settings) as place:
        if settings.workers == 1:
            with _opened(settings, place, timing) as app:
                place.serve(app, ready=place.announce)
            return
        # What cannot be opened is told once, and what a first start makes is made once.
        with _opened(settings, place._replace(tallies=Tallies(1)), timing):
            pass

        def work(number: int, ready: Callable[[], None], leash: int) -> None:
            with _opened(settings, place, timing, worker=number) as app:
                place.serve(app, ready=ready, leash=leash)

        listeners = [place.listener, *([place.private] if place.private else [])]
        status = Workers(
            settings.workers,
            work,
            listeners=listeners,
            ready=place.announce,
            died=place.tallies.note_death,
        ).run()
    if status:
        raise SystemExit(status)


def _develop(settings: Settings, file: Path, *, secrets_dir: Path) -> None:
    # Reading registry files takes what nothing else here needs.
    from ephemera_issuer.development import following  # noqa: PLC0415

    with (
        _listening(settings) as place,
        _opened(settings, place, CONTRACT) as app,
        following(file, app.keeper.database, secrets_dir=secrets_dir),
    ):
        app.keeper.refresh()
        place.serve(app, ready=place.announce)


class _App(NamedTuple):
    asgi: ASGIApp
    private: ASGIApp
    keeper: SnapshotKeeper
    ending: Ending


class _Place(NamedTuple):
    """Where it is served, under which name, how callers are received, and what was counted."""

    listener: socket.socket
    private: socket.socket | None
    issuer: str
    tallies: Tallies
    reception: Reception
    private_reception: Reception

    def announce(self) -> None:
        public = _url(self.listener, self.reception)
        privately = (
            f", private listener on {_url(self.private, self.private_reception)}"
            if self.private
            else ""
        )
        typer.echo(f"ephemera: serving {self.issuer} (listening on {public}){privately}")

    def serve(self, app: _App, *, ready: Callable[[], None], leash: int | None = None) -> None:
        private = None
        if self.private is not None:
            private = Served(app.private, self.private, self.private_reception)
        run(
            app.asgi,
            self.listener,
            reception=self.reception,
            ready=ready,
            ending=app.ending,
            leash=leash,
            private=private,
        )


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[_Place]:
    harden()
    plain = settings.tls_or_meant_without
    received = reception(settings)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(settings.address, tls_ends_in_front=plain))
        private = None
        privately = received
        if (address := settings.private_address) is not None:
            private = stack.enter_context(
                listen(address, tls_ends_in_front=plain, setting="EPHEMERA_PRIVATE_LISTEN")
            )
            if is_loopback(address.host):
                # Those who scrape it there know no name that a certificate could be for.
                privately = replace(received, certificate=None)
        yield _Place(
            listener,
            private,
            settings.issuer_at(listener.getsockname()[1]),
            Tallies(settings.workers),
            received,
            privately,
        )


def _url(listener: socket.socket, received: Reception) -> str:
    host, port = listener.getsockname()[:2]
    literal = f"[{host}]" if ":" in host else host
    scheme = "http" if received.certificate is None else "https"
    return f"{scheme}://{literal}:{port}"


@contextlib.contextmanager
def _opened(
    settings: Settings, place: _Place, timing: Timing, *, worker: int = 0
) -> Iterator[_App]:
    with (
        opened_audit(settings, by=ISSUER, clock=instant.read) as audit,
        contextlib.closing(
            open_keeper(
                settings,
                issuer=place.issuer,
                clock=instant.read,
                timing=timing,
                recorder=audit and audit.trail,
            )
        ) as keeper,
        opened_ledger(
            settings.replay_url,
            database=keeper.database,
            clock=instant.read,
            ca_file=settings.replay_ca_file,
        ) as ledger,
        observing(settings, place.tallies, worker=worker, clock=instant.read) as observation,
    ):
        rotator = Rotator(
            keeper,
            every=settings.rotate_every,
            algorithm=settings.algorithm,
            clock=instant.read,
        )
        ending = Ending()
        observation.follow(keeper)
        public = create_app(
            keeper,
            issuer=place.issuer,
            ledger=observation.counted(ledger),
            jwks_uri_hosts=settings.jwks_uri_hosts,
            background=[rotator.run],
            ending=ending,
            auditor=audit and audit.auditor,
            dpop_nonces=nonces_of(settings, keeper.keys.sealing_keys),
            observers=observation.observers,
            limits=limits(settings),
            proxies=place.reception.proxies,
        )

        def administered() -> ASGIApp:
            from ephemera_issuer.admin.api import admin_application  # noqa: PLC0415 - slow to load

            return admin_application(
                keeper,
                issuer=place.issuer,
                ledger=observation.counted(ledger),
                algorithm=settings.algorithm,
                rotate_every=settings.rotate_every,
            )

        private = create_private_app(
            routes=[observation.metrics(keeper), Mount(ADMIN_PATH, Deferred(administered))]
        )
        yield _App(observation.public(public), observation.private(private), keeper, ending)
