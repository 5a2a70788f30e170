"""WebSockets on a real server: the token is claimed at the handshake, and asked after later."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from client.fixtures_verifying import AUDIENCE, ManualClock, mint, signing_key
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ephemera_client import (
    AsyncVerifier,
    RequireToken,
    SingleProcessReplayCache,
    StaticKeys,
    access_token,
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def url(clock: ManualClock) -> Iterator[str]:
    verifier = AsyncVerifier(
        issuer="https://tokens.internal",
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(clock=clock),
        keys=StaticKeys({"keys": [signing_key("ES256").jwk]}),
        clock=clock,
    )

    async def echo(websocket: WebSocket) -> None:
        token = access_token(websocket)
        await websocket.accept()
        async for message in websocket.iter_text():
            if not verifier.still_valid(token):
                await websocket.close(1008, "token_expired")
                return
            await websocket.send_text(f"{token.client_id}: {message}")

    guard = Middleware(RequireToken, verifier=verifier, scopes={"invoices:read"})
    app = Starlette(routes=[WebSocketRoute("/echo", echo)], middleware=[guard])
    with serving(app) as address:
        yield f"ws://{address}/echo"


@contextlib.contextmanager
def serving(app: Starlette) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            yield f"127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def opened(url: str, token: str) -> ClientConnection:
    return connect(url, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None)


def test_a_websocket_is_claimed_once_and_goes_on_as_long_as_its_token_lives(
    url: str, clock: ManualClock
) -> None:
    token = mint()
    with opened(url, token) as connection:
        for message in ("one", "two"):
            connection.send(message)
            assert connection.recv() == f"orders: {message}"
        with pytest.raises(InvalidStatus) as again:
            opened(url, token)
        assert again.value.response.status_code == 401
        assert 'reason="token_replayed"' in again.value.response.headers["WWW-Authenticate"]

        clock.advance(126)
        connection.send("three")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "token_expired")


def test_a_websocket_without_the_scope_is_refused_at_the_handshake(url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(url, mint(scope="entries:read"))
    response = refused.value.response
    assert response.status_code == 403
    assert response.body == (
        b'{"error":"insufficient_scope","reason":"insufficient_scope","scope":"invoices:read"}'
    )
