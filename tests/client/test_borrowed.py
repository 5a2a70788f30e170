"""Keys fetched over the caller's own httpx client."""

import contextlib
import os
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from client.fixtures_publishing import Publisher, publishing
from client.fixtures_requesting import Reply, certificate, closed_port, forked, serving, talking
from client.fixtures_verifying import ManualClock, signing_key

from ephemera_client import ConfigurationError, KeysUnavailable, RemoteKeys
from ephemera_client.borrowed import BorrowedHttp
from ephemera_client.failure import HttpFailed

A, B = signing_key("ES256"), signing_key("ES256", 1)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing(A) as made:
        yield made


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as made:
        yield made


def state(client: httpx.Client) -> dict[str, Any]:
    """What a caller could notice of a change."""
    return {
        "headers": client.headers.raw,
        "cookies": [(cookie.name, cookie.value) for cookie in client.cookies.jar],
        "hooks": {name: list(hooks) for name, hooks in client.event_hooks.items()},
        "timeout": client.timeout,
        "auth": client.auth,
        "params": str(client.params),
        "base_url": client.base_url,
        "follow_redirects": client.follow_redirects,
        "trust_env": client.trust_env,
        "is_closed": client.is_closed,
    }


def cause(keys: RemoteKeys) -> str:
    with pytest.raises(KeysUnavailable) as caught:
        keys.warm()
    assert caught.value.__context__ is None
    return caught.value.cause_code


def test_the_clients_headers_and_auth_serve_and_nothing_of_it_is_changed(
    publisher: Publisher,
) -> None:
    def never(_: object) -> None:
        raise AssertionError

    publisher.reply = publisher.reply._replace(headers=(("Set-Cookie", "a=b"), ("ETag", '"1"')))
    clock = ManualClock()
    with httpx.Client(
        trust_env=False,
        headers={"x-team": "billing", "accept-encoding": "gzip"},
        cookies={"session": "secret"},
        auth=("user", "password"),
        timeout=77,
        follow_redirects=True,
        event_hooks={"request": [never], "response": [never]},
    ) as client:
        before = state(client)
        keys = RemoteKeys(publisher.url, http=client)
        keys.bind(issuer=publisher.issuer, clock=clock)
        for _ in range(2):
            keys.warm()
            clock.advance(301)
        assert state(client) == before
    first, second = publisher.loads
    assert first.headers["x-team"] == "billing"
    assert first.headers["authorization"].startswith("Basic ")
    assert first.headers["accept-encoding"] == "identity"
    assert "cookie" not in first.headers | second.headers
    assert second.headers["if-none-match"] == '"1"'


def test_the_clients_transport_carries_discovery_and_keys(
    publisher: Publisher, client: httpx.Client
) -> None:
    keys = RemoteKeys(http=client)
    keys.bind(issuer=publisher.issuer, clock=ManualClock())
    keys.warm()
    assert keys.status().kids == (A.kid,)


def test_the_clients_authorities_are_the_ones_trusted(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    with serving(Publisher(A).answer, tls=made.tls) as server:
        url = f"{server.origin}/jwks.json"
        trusted = ssl.create_default_context(cafile=made.file)
        with httpx.Client(trust_env=False, verify=trusted) as client:
            RemoteKeys(url, http=client).warm()
        with httpx.Client(trust_env=False) as client:
            assert cause(RemoteKeys(url, http=client)) == "tls_unknown_authority"


@pytest.mark.parametrize(
    ("reply", "cause_code"),
    [
        (Reply(302, b"", (("Location", "/jwks.json"),)), "redirected"),
        (Reply(200, b"{}", (("Content-Encoding", "gzip"),)), "content_encoded"),
        (Reply(200, b" " * 51201), "too_large"),
        (Reply(500, b""), "status_unexpected"),
        (Reply(200, b"{}"), "jwks_invalid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_all_limits_hold(publisher: Publisher, reply: Reply, cause_code: str) -> None:
    publisher.reply = reply
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        assert cause(RemoteKeys(publisher.url, http=client)) == cause_code
    assert len(publisher.loads) == 1


def test_a_body_that_drips_is_late_all_the_same(client: httpx.Client) -> None:
    def drip(peer: Any) -> None:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(200):
                peer.sendall(b" ")
                time.sleep(0.02)

    with talking(drip) as origin:
        began = time.monotonic()
        assert cause(RemoteKeys(f"{origin}/jwks.json", http=client, timeout=0.3)) == "timeout"
        for thread in threading.enumerate():
            if thread.name == "ephemera-flight":
                thread.join(10)
        assert time.monotonic() - began < 2


def test_nobody_listening_is_told_apart(client: httpx.Client) -> None:
    keys = RemoteKeys(f"http://127.0.0.1:{closed_port()}/jwks.json", http=client)
    assert cause(keys) == "connect_failed"


@pytest.mark.parametrize(
    ("error", "cause_code"),
    [
        (httpx.ConnectTimeout("secret"), "timeout"),
        (httpx.ConnectError("secret"), "connect_failed"),
        (httpx.ReadError("secret"), "connection_lost"),
        (httpx.ProxyError("secret"), "protocol_error"),
        (RuntimeError("secret"), "protocol_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_whatever_the_clients_transport_raises_is_told_by_its_kind(
    error: Exception, cause_code: str
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    with httpx.Client(transport=httpx.MockTransport(fail)) as client:
        assert cause(RemoteKeys("https://tokens.internal/k", http=client)) == cause_code


def test_what_discovery_has_used_up_is_not_begun_anew(client: httpx.Client) -> None:
    borrowed = BorrowedHttp(client, max_bytes=100)
    with pytest.raises(HttpFailed) as caught:
        borrowed.get("https://tokens.internal/k", {}, deadline=time.monotonic())
    assert caught.value.code == "timeout"


def test_a_closed_client_is_told(publisher: Publisher) -> None:
    client = httpx.Client()
    keys = RemoteKeys(publisher.url, http=client)
    client.close()
    assert cause(keys) == "client_closed"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_is_not_let_near_the_parents_connections(
    publisher: Publisher, client: httpx.Client
) -> None:
    keys = RemoteKeys(publisher.url, http=client)
    assert forked(lambda: cause(keys).encode()) == b"client_forked"
    keys.warm()


@pytest.mark.parametrize(
    "settings",
    [
        {"http": httpx.AsyncClient},
        {"http": httpx.Client},
        {"http": httpx.Client(), "link_local": False},
        {"http": httpx.Client(), "ca_file": "ca.pem"},
    ],
    ids=["asynchronous", "class", "link_local", "ca_file"],
)
def test_what_cannot_be_honoured_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="http"):
        RemoteKeys("https://tokens.internal/k", **settings)
