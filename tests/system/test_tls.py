"""A certificate is replaced while connections live, by one process and by several."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from issuer.fixtures_tls import Pair, connect, replace, shown
from system.deployment import Deployment, eventually, kill, workers_of

from ephemera_issuer.demo.process import ServiceFailed

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from ephemera_issuer.demo.process import Service

ASK = b"GET /healthz HTTP/1.1\r\nHost: tokens.internal\r\n\r\n"
IN_A_ROW = 12


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "tls")


def all_show(service: Service, pair: Pair, serial: int) -> bool:
    """Whether each of some new connections, which any worker may take, is shown this one."""
    at, context = urlsplit(service.url), pair.trusting()
    for _ in range(IN_A_ROW):
        with connect(at, context) as connection:
            if shown(connection) != serial:
                return False
    return True


def is_served(connection: ssl.SSLSocket) -> bool:
    connection.sendall(ASK)
    answer = b""
    while not answer.endswith(b'{"status":"alive"}'):
        piece = connection.recv(4096)
        if not piece:
            return False
        answer += piece
    return answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_certificate_is_shown_to_new_connections_and_drops_none(
    deployment: Deployment, pair: Pair, workers: int
) -> None:
    first = pair.serial
    with deployment.start("--workers", str(workers), **pair.settings) as service:
        at, context = urlsplit(service.url), pair.trusting()
        kept = [connect(at, context) for _ in range(4 * workers)]
        try:
            assert {shown(connection) for connection in kept} == {first}
            assert all(map(is_served, kept))
            pair.renew()
            second = pair.serial
            eventually(lambda: all_show(service, pair, second), "the new one is not shown")
            assert all(map(is_served, kept))

            replace(pair.cert, b"half a certifi")
            eventually(
                lambda: sum("certificate_not_read" in line for line in service.output) == workers,
                "nobody complains",
            )
            assert all_show(service, pair, second)
            if workers > 1:
                # Its successor is a child of the parent, which has read nothing since the start.
                pair.renew()
                second = pair.serial
                before = workers_of(service)
                kill(before[0])
                eventually(lambda: len(set(workers_of(service)) - set(before)) == 1, "no successor")
            pair.renew()
            third = pair.serial
            eventually(lambda: all_show(service, pair, third), "the third one is not shown")
            if workers == 1:
                assert all(map(is_served, kept))
            with httpx.Client(verify=pair.trusting(), trust_env=False) as http:
                assert deployment.ask(http, service.url).status_code == 200
        finally:
            for connection in kept:
                connection.close()
        assert service.stop() == 0


def test_with_tls_the_issuer_may_listen_where_others_reach_it(
    deployment: Deployment, pair: Pair
) -> None:
    # 127.1 is no literal of loopback, and still this machine only.
    with pytest.raises(ServiceFailed, match="EPHEMERA_TLS_CERT_FILE"):
        deployment.start("--listen", "127.1:0")
    with (
        deployment.start("--listen", "127.1:0", **pair.settings) as service,
        httpx.Client(verify=pair.trusting(), trust_env=False) as http,
    ):
        assert service.url.startswith("https://127.0.0.1:")
        assert deployment.ask(http, service.url).status_code == 200
        with pytest.raises(httpx.TransportError):
            http.get(service.url.replace("https://", "http://"))
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda pair: pair.key.chmod(0o640), "others can get at it"),
        (lambda pair: replace(pair.cert, b"nonsense"), "are no certificate and its key"),
    ],
)
def test_a_certificate_that_cannot_be_used_stops_the_start(
    deployment: Deployment, pair: Pair, spoil: object, says: str
) -> None:
    assert callable(spoil)
    spoil(pair)
    with pytest.raises(ServiceFailed, match=says) as caught:
        deployment.start(**pair.settings)
    assert "Traceback" not in str(caught.value)
    assert "PRIVATE KEY" not in str(caught.value)
