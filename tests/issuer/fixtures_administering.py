"""An issuer that is administered over HTTP, and its administrator."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import anyio
import httpx
import uvicorn
from issuer.fixtures_minting import NOW
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from ephemera_client import PrivateKeyJWT, SingleProcessReplayCache, instant
from ephemera_issuer.admin import PATH
from ephemera_issuer.admin.api import admin_application
from ephemera_issuer.admin.api.problems import http_refusal
from ephemera_issuer.app import create_app
from ephemera_issuer.registry.application import apply
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.registry.secrets import SecretsDirectory
from ephemera_issuer.settings import Settings
from ephemera_issuer.snapshot import open_keeper
from ephemera_keys import generate, pem, public_jwk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ephemera_client import ReplayCache
    from ephemera_client.instant import Clock, Instant
    from ephemera_issuer.admin.api.endpoint import Witness
    from ephemera_issuer.database import Database
    from ephemera_issuer.snapshot import SnapshotKeeper

ISSUER = "https://tokens.internal"
AUDIENCE = f"{ISSUER}/admin"
BILLING = "https://billing.internal"
ADMIN_KEY = generate("ES256")
CLIENT_KEY = generate("ES256")
REGISTRY = """
[[admins]]
id = "ops"
jwks_file = "ops.jwks.json"

[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read", "invoices:write"]

[[clients]]
id = "orders"
secret = "generate"

[[clients]]
id = "reports"
jwks_file = "reports.jwks.json"

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""


def public(key: Any = None) -> dict[str, str]:
    """A public JWK, of a new key unless one is given."""
    return dict(public_jwk(key or generate("ES256"), alg="ES256"))


def credential(key: Any, clock: Clock = instant.read) -> PrivateKeyJWT:
    return PrivateKeyJWT(pem.dump(key), clock=clock)


def fill(folder: Path, database: Database, text: str = REGISTRY) -> None:
    """Apply a registry; keys of the administrator and generated secrets are in `folder`."""
    for name, key in (("ops", ADMIN_KEY), ("reports", CLIENT_KEY)):
        (folder / f"{name}.jwks.json").write_text(json.dumps({"keys": [public(key)]}))
    (folder / "ops.pem").write_bytes(pem.dump(ADMIN_KEY))
    file = folder / "registry.toml"
    file.write_text(text)
    secrets = SecretsDirectory(folder / "secrets", reuse=True)
    apply(database, read_files(file), prune=False, secrets=secrets)


class Administrator:
    """Sends requests, each with an assertion of its own."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock = instant.read,
        name: str = "ops",
        key: Any = ADMIN_KEY,
    ) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self._name = name
        self._credential = credential(key, clock)

    def assertion(self, audience: str = AUDIENCE) -> str:
        return self._credential.prove(self._name, issuer=audience).form["client_assertion"]

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        match: str | None = None,
        new: bool = False,
        dry_run: bool = False,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        answer = self.try_(
            method, path, body, match=match, new=new, dry_run=dry_run, headers=headers
        )
        assert answer.status_code == status, answer.text
        return answer

    def try_(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        match: str | None = None,
        new: bool = False,
        dry_run: bool = False,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.assertion()}", **(headers or {})}
        if match is not None:
            sent["If-Match"] = match
        if new:
            sent["If-None-Match"] = "*"
        return self.http.request(
            method,
            f"/admin/v1{path}",
            json=body,
            params={"dry_run": "true"} if dry_run else None,
            headers=sent,
        )

    def tag(self, path: str) -> str:
        return self("GET", path).headers["etag"]

    def json(self, path: str) -> Any:
        return self("GET", path).json()


def audience(id_: str = BILLING) -> str:
    return f"/audiences/{quote(id_, safe='')}"


def grant(client: str, id_: str = BILLING) -> str:
    return f"/grants/{client}/{quote(id_, safe='')}"


@dataclass
class Served:
    """Where an issuer is, public and private endpoints alike, and what it answers from."""

    url: str
    keeper: SnapshotKeeper
    clock: Clock


class Stage:
    """A server for one application after another."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@contextlib.contextmanager
def staged(
    stage: Stage,
    folder: Path,
    *,
    ledger: ReplayCache | None = None,
    witnesses: tuple[Witness, ...] = (),
    now: Instant = NOW,
) -> Iterator[Served]:
    """An issuer in memory whose clock stands still, filled, on a server that is there already."""
    with closing(
        open_keeper(Settings(database_url="sqlite://"), issuer=ISSUER, clock=lambda: now)
    ) as keeper:
        fill(folder, keeper.database)
        keeper.refresh()
        stage.app = application(keeper, ledger=ledger, witnesses=witnesses, clock=lambda: now)
        yield Served(stage.url, keeper, lambda: now)


@contextlib.contextmanager
def administered(
    url: str, folder: Path | None = None, *, sealing_key_file: Path | None = None
) -> Iterator[Served]:
    """Serve the issuer whose database is at `url`, with real clocks; filled, with a `folder`."""
    settings = Settings(database_url=url, sealing_key_file=sealing_key_file)
    with (
        closing(open_keeper(settings, issuer=ISSUER, clock=instant.read)) as keeper,
        serving(application(keeper)) as here,
    ):
        if folder is not None:
            fill(folder, keeper.database)
            keeper.refresh()
        yield Served(here, keeper, instant.read)


def application(
    keeper: SnapshotKeeper,
    *,
    ledger: ReplayCache | None = None,
    witnesses: tuple[Witness, ...] = (),
    clock: Clock = instant.read,
) -> Starlette:
    """The endpoints of both listeners, together."""
    ledger = ledger or SingleProcessReplayCache(clock=clock)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeper.run)
            yield
            tasks.cancel_scope.cancel()

    private = admin_application(
        keeper,
        issuer=ISSUER,
        ledger=ledger,
        algorithm="ES256",
        rotate_every=86400,
        witnesses=witnesses,
        clock=clock,
    )
    open_to_all = create_app(keeper, issuer=ISSUER, ledger=ledger, clock=clock)

    async def nowhere(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return http_refusal(error)

    return Starlette(
        routes=[Mount(PATH, private), Mount("/", open_to_all)],
        lifespan=lifespan,
        exception_handlers={HTTPException: nowhere},
    )


def replica(url: str, key: Path, told: Connection) -> None:
    """One replica, until nobody holds the other end of `told`."""
    with administered(url, sealing_key_file=key) as running:
        told.send(running.url)
        with contextlib.suppress(EOFError):
            told.recv()


@contextlib.contextmanager
def serving(app: ASGIApp, *, lifespan: Literal["on", "off"] = "on") -> Iterator[str]:
    """Serve an application on a free port, from a thread."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan=lifespan))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
