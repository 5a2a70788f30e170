from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from issuer.fixtures_minting import BILLING, basic

from ephemera_issuer.demo.process import Service
from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.server import listen
from ephemera_issuer.settings import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent.parent
FORM = f"grant_type=client_credentials&resource={BILLING}".encode()
HEAD = (
    b"POST /oauth2/token HTTP/1.1\r\nHost: elsewhere.test\r\n"
    b"Authorization: " + basic().encode() + b"\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
)


def start(*arguments: str) -> Service:
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    return Service("server", ["issuer.fixtures_serving", *arguments], environment=environment)


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with start() as service:
        yield service
        assert service.stop() == 0
        assert len(service.output) == 1, "".join(service.output[1:])


def connect(server: Service) -> socket.socket:
    at = urlsplit(server.url)
    assert at.hostname is not None
    assert at.port is not None
    return socket.create_connection((at.hostname, at.port), timeout=10)


def read_until_closed(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def read_head(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        assert chunk, received
        received += chunk
    return received


def ask(client: httpx.Client, content: bytes | Iterator[bytes] = FORM) -> httpx.Response:
    headers = {
        "Authorization": basic(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return client.post("/oauth2/token", content=content, headers=headers)


@pytest.fixture
def client(server: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        yield client


def test_a_token_is_minted_over_a_real_connection(client: httpx.Client) -> None:
    answer = ask(client)
    assert answer.status_code == 200
    assert set(answer.headers) == {
        *("date", "content-type", "content-length", "cache-control", "pragma")
    }


def test_a_chunked_form_is_read(client: httpx.Client) -> None:
    assert ask(client, iter([FORM[:10], FORM[10:30], FORM[30:]])).status_code == 200


def test_head_has_the_headers_of_get_and_no_body(client: httpx.Client) -> None:
    path = "/.well-known/jwks.json"
    got, headed = client.get(path), client.head(path)
    assert headed.content == b""
    for name in ("etag", "content-length", "content-type", "cache-control"):
        assert headed.headers[name] == got.headers[name]
    unchanged = client.get(path, headers={"If-None-Match": got.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_form_that_is_too_large_gets_its_413_and_the_connection_goes_on(
    client: httpx.Client, *, chunked: bool
) -> None:
    body = b"x" * 1_000_000
    answer = ask(client, iter([body]) if chunked else body)
    assert answer.status_code == 413
    assert answer.json()["error"] == "invalid_request"
    assert ask(client).status_code == 200


def test_a_length_that_is_too_large_is_refused_before_the_body_is_sent(server: Service) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n")
        assert read_head(connection).startswith(b"HTTP/1.1 413 ")


def test_callers_that_go_away_halfway_leave_no_trace(server: Service, client: httpx.Client) -> None:
    for _ in range(5):
        with connect(server) as connection:
            connection.sendall(HEAD + b"Content-Length: 80\r\nExpect: 100-continue\r\n\r\n")
            assert read_head(connection).startswith(b"HTTP/1.1 100 ")
            connection.sendall(b"grant_type=")
    assert ask(client).status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        HEAD + b"Content-Length: 10\r\nContent-Length: 20\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT tokens.internal:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_malformed_http_is_refused_and_leaves_no_trace(
    server: Service, client: httpx.Client, request_: bytes
) -> None:
    with connect(server) as connection:
        connection.sendall(request_)
        answer = read_until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert ask(client).status_code == 200


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /", b"a" * 1024),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ", b"a" * 1024),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-Again: a\r\n" * 64),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"X-Again: a\r\n" * 64),
    ],
)
def test_a_head_without_end_is_refused_before_it_fills_the_memory(
    server: Service, client: httpx.Client, begin: bytes, more: bytes
) -> None:
    with connect(server) as connection:
        connection.sendall(begin)
        with contextlib.suppress(ConnectionError):
            for _ in range(1024):
                connection.sendall(more)
            # Were more still welcome, this would wait for an answer in vain.
            assert connection.recv(65536).startswith(b"HTTP/1.1 4")
    assert ask(client).status_code == 200


def test_a_head_and_a_body_of_fair_size_are_not_added_up(client: httpx.Client) -> None:
    for _ in range(3):
        headers = {"X-Long": "a" * 60_000, "Authorization": basic()}
        content_type = {"Content-Type": "application/x-www-form-urlencoded"}
        filled = FORM + b"&x=" + b"a" * 60_000
        answer = client.post("/oauth2/token", content=filled, headers=headers | content_type)
        assert answer.status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_once_requests_in_progress_are_answered(
    number: signal.Signals,
) -> None:
    with start() as server, connect(server) as idle, connect(server) as busy:
        length = f"Content-Length: {len(FORM)}\r\nExpect: 100-continue\r\n\r\n".encode()
        busy.sendall(HEAD + length)
        assert read_head(busy).startswith(b"HTTP/1.1 100 ")
        server.process.send_signal(number)
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        busy.sendall(FORM)
        answer = read_until_closed(busy)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in answer
        server.process.wait(10)
        assert server.stop() == 0
        assert len(server.output) == 1


def test_an_issuer_whose_background_work_fails_ends_for_its_supervisor_to_see() -> None:
    with start("failing") as server:
        answer = httpx.get(f"{server.url}/.well-known/jwks.json", trust_env=False)
        assert answer.status_code == 200
        server.process.wait(10)
        assert server.stop() == 3
        assert "the keeper lost its way" in "".join(server.output)


def test_plain_http_off_loopback_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="EPHEMERA_TLS_ENDS_IN_FRONT"):
        listen(Address("0.0.0.0", 0), tls_ends_in_front=False)  # noqa: S104 - it is refused


def test_plain_http_off_loopback_is_allowed_where_tls_ends_in_front() -> None:
    # A spelling of loopback that is not taken for it.
    with listen(Address("127.1", 0), tls_ends_in_front=True) as listener:
        assert listener.getsockname()[1] > 0


def test_an_error_names_the_setting_of_the_listener() -> None:
    with pytest.raises(SettingsInvalid, match=r"^EPHEMERA_PRIVATE_LISTEN: 127\.1 can be reached"):
        listen(Address("127.1", 0), tls_ends_in_front=False, setting="EPHEMERA_PRIVATE_LISTEN")


def test_an_address_that_is_taken_is_an_error_of_ours() -> None:
    with listen(Address("127.0.0.1", 0), tls_ends_in_front=False) as first:
        taken = Address("127.0.0.1", first.getsockname()[1])
        with pytest.raises(SettingsInvalid, match="cannot listen on 127"):
            listen(taken, tls_ends_in_front=False)


@pytest.mark.parametrize("host", ["a..b", "\u00e9" * 64])
def test_a_host_that_cannot_be_one_is_an_error_of_ours(host: str) -> None:
    with pytest.raises(SettingsInvalid, match="EPHEMERA_LISTEN"):
        listen(Address(host, 0), tls_ends_in_front=True)
