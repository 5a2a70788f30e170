"""Serving: what an issuer is made of, opened, put behind its listeners and closed again."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import typer
from starlette.routing import Mount

from ephemera_client import instant
from ephemera_issuer.admin import PATH as ADMIN_PATH
from ephemera_issuer.admin.deferred import Deferred
from ephemera_issuer.app import create_app
from ephemera_issuer.audit.actor import ISSUER
from ephemera_issuer.audit.opening import opened_audit
from ephemera_issuer.ending import Ending
from ephemera_issuer.hardening import harden
from ephemera_issuer.limits import limits
from ephemera_issuer.metrics.memory import Tallies
from ephemera_issuer.observation import observing
from ephemera_issuer.possession import nonces_of
from ephemera_issuer.private import create_private_app
from ephemera_issuer.reception import Reception, reception
from ephemera_issuer.rotator import Rotator
from ephemera_issuer.server import Served, listen, run
from ephemera_issuer.settings import is_loopback
from ephemera_issuer.snapshot import open_keeper
from ephemera_issuer.spent import opened_ledger
from ephemera_issuer.workers import Workers
from ephemera_keys.ring import CONTRACT

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.types import ASGIApp

    from ephemera_issuer.settings import Settings
    from ephemera_issuer.snapshot import SnapshotKeeper
    from ephemera_keys import Timing


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


def develop(settings: Settings, file: Path, *, secrets_dir: Path) -> None:
    """Serve as `settings` say, with the registry of a file, until SIGTERM or SIGINT.

    Raises:
        IssuerError: Nothing was started.
    """
    # Reading registry files takes what nothing else here needs.
    from ephemera_issuer.development import following  # noqa: PLC0415

    with (
        _listening(settings) as place,
        _opened(settings, place, CONTRACT) as app,
        following(file, app.keeper.database, secrets_dir=secrets_dir),
    ):
        app.keeper.refresh()
        place.serve(app, ready=place.announce)


class App(NamedTuple):
    """What one process serves."""

    asgi: ASGIApp
    private: ASGIApp
    keeper: SnapshotKeeper
    ending: Ending


class Place(NamedTuple):
    """Where it is served, under which name, how callers are received, and what was counted."""

    listener: socket.socket
    private: socket.socket | None
    issuer: str
    tallies: Tallies
    reception: Reception
    private_reception: Reception

    def announce(self) -> None:
        """Say on standard output that requests are answered."""
        public = _url(self.listener, self.reception)
        privately = (
            f", private listener on {_url(self.private, self.private_reception)}"
            if self.private
            else ""
        )
        typer.echo(f"ephemera: serving {self.issuer} (listening on {public}){privately}")

    def serve(self, app: App, *, ready: Callable[[], None], leash: int | None = None) -> None:
        """Answer until told to end; see `server.run`."""
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
def _listening(settings: Settings) -> Iterator[Place]:
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
        yield Place(
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
def _opened(settings: Settings, place: Place, timing: Timing, *, worker: int = 0) -> Iterator[App]:
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
        if audit is not None:
            observation.watch(audit.writer)
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
        yield App(observation.public(public), observation.private(private), keeper, ending)
