import contextlib
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client.fixtures_requesting import (
    Reply,
    certificate,
    closed_port,
    forked,
    serving,
    talking,
)

from ephemera_client.errors import ConfigurationError
from ephemera_client.failure import FailureCode
from ephemera_client.http import Http, HttpFailed, Response


def get(url: str, **settings: Any) -> Response:
    http = Http(**{"timeout": 5, "max_bytes": 1000} | settings)
    try:
        return http.get(url, {})
    finally:
        http.close()


def _failure(url: str, **settings: Any) -> FailureCode:
    with pytest.raises(HttpFailed) as refused:
        get(url, **settings)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
    assert url.rpartition("/")[0] in str(refused.value)
    return refused.value.code


def test_an_answer_comes_whole_with_lower_case_headers() -> None:
    teapot = Reply(418, b"short and stout", (("X-Two", "a"), ("X-Two", "b")))
    with serving(lambda _: teapot) as server:
        response = get(f"{server.origin}/x?y=1")

    assert (response.status, response.body) == (418, b"short and stout")
    assert response.headers["x-two"] == "a, b"
    assert server.asked[0].path == "/x?y=1"
    assert server.asked[0].headers["accept-encoding"] == "identity"
    assert server.asked[0].headers["host"] == server.origin.removeprefix("http://")


def test_a_not_modified_answer_is_an_answer() -> None:
    with serving(lambda _: Reply(304)) as server:
        assert get(server.origin + "/x").status == 304


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_not_followed(status: int) -> None:
    with serving(lambda _: Reply(status, headers=(("Location", "/secret-place"),))) as server:
        assert _failure(server.origin + "/x") == "redirected"
        assert [asked.path for asked in server.asked] == ["/x"]


def test_an_answer_of_the_largest_size_is_read_and_one_byte_more_refused() -> None:
    with serving(lambda asked: Reply(200, b"a" * int(asked.path[2:]))) as server:
        assert len(get(server.origin + "/x1000").body) == 1000
        assert _failure(server.origin + "/x1001") == "too_large"


def test_an_answer_without_end_is_refused_at_the_limit() -> None:
    def pour(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.sendall(b"a" * 4096)

    with talking(pour) as place:
        assert _failure(place + "/x") == "too_large"


def test_a_compressed_answer_is_refused() -> None:
    with serving(lambda _: Reply(200, b"x", (("Content-Encoding", "gzip"),))) as server:
        assert _failure(server.origin + "/x") == "content_encoded"


@pytest.mark.parametrize("dripped", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_peer_that_drips_is_late_all_the_same(dripped: bytes) -> None:
    given_up = threading.Event()

    def drip(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(dripped)
        while not given_up.wait(0.01):
            peer.sendall(b"a")

    with talking(drip) as place:
        started = time.monotonic()
        assert _failure(place + "/x", timeout=0.15) == "timeout"
        assert time.monotonic() - started < 2
        given_up.set()


def test_nobody_listening_is_told_from_a_late_answer() -> None:
    assert _failure(f"http://127.0.0.1:{closed_port()}/x") == "connect_failed"


def test_a_name_that_does_not_resolve_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    assert _failure("https://tokens.invalid/x") == "dns_failed"


def test_a_second_address_is_tried_when_the_first_has_no_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(lambda _: Reply(200, b"here")) as server:
        port = int(server.origin.rpartition(":")[2])
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.2", "127.0.0.1")
        ]
        monkeypatch.setattr(
            socket, "getaddrinfo", _resolving(issuer=found, otherwise=socket.getaddrinfo)
        )
        assert get(f"http://issuer:{port}/x").body == b"here"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is nobody's address")
def test_an_address_that_swallows_packets_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(lambda _: Reply(200, b"here")) as server, contextlib.ExitStack() as full:
        port = int(server.origin.rpartition(":")[2])
        # A queue of one that nobody takes from: Linux drops whoever comes after that.
        full.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        full.enter_context(socket.create_connection(("127.0.0.2", port)))
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.2", "127.0.0.1")
        ]
        monkeypatch.setattr(
            socket, "getaddrinfo", _resolving(issuer=found, otherwise=socket.getaddrinfo)
        )
        assert get(f"http://issuer:{port}/x", timeout=1).body == b"here"


def test_when_all_addresses_swallow_packets_the_answer_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with contextlib.ExitStack() as full:
        listener = full.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        place = listener.getsockname()
        full.enter_context(socket.create_connection(place))
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)] * 2
        monkeypatch.setattr(
            socket, "getaddrinfo", _resolving(issuer=found, otherwise=socket.getaddrinfo)
        )
        url = f"http://issuer:{place[1]}/x"
        assert _failure(url, timeout=0.2) == "timeout"


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fe80::1%1", "::ffff:169.254.169.254", "::169.254.169.254"),
        *("64:ff9b::169.254.169.254", "64:ff9b:1::169.254.169.254", "2002:a9fe:a9fe::1"),
        *("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "64:ff9b::100.100.100.200"),
    ],
)
def test_link_local_addresses_are_left_out_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    with serving(lambda _: Reply(200, b"here")) as server:
        port = int(server.origin.rpartition(":")[2])
        found = [
            (socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", (resolved, port))
            for resolved in (address, "127.0.0.1")
        ]
        monkeypatch.setattr(
            socket, "getaddrinfo", _resolving(issuer=found, otherwise=socket.getaddrinfo)
        )
        url = f"http://issuer:{port}/x"
        assert get(url, link_local=False).body == b"here"
        del found[1]
        assert _failure(url, link_local=False) == "link_local"
        assert len(server.asked) == 1


def _resolving(*, issuer: list[Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    return lambda host, *a, **k: issuer if host == "issuer" else otherwise(host, *a, **k)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (b"", "connection_lost"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol_error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "protocol_error"),
    ],
)
def test_what_is_not_an_http_answer_is_refused_unquoted(written: bytes, code: FailureCode) -> None:
    def write(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(written)

    with talking(write) as place:
        assert _failure(place + "/x") == code


def test_a_reset_connection_is_told() -> None:
    def reset(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with talking(reset) as place:
        assert _failure(place + "/x") == "connection_lost"


def test_an_unknown_authority_is_told_and_a_private_one_trusted(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    with serving(lambda _: Reply(200, b"private"), tls=made.tls) as server:
        assert _failure(server.origin + "/x") == "tls_unknown_authority"
        assert get(server.origin + "/x", ca_file=made.file).body == b"private"


def test_a_certificate_for_another_host_is_told(tmp_path: Path) -> None:
    made = certificate(tmp_path, name="other.internal")
    with serving(lambda _: Reply(), tls=made.tls) as server:
        code = _failure(server.origin + "/x", ca_file=made.file)
    assert code == "tls_host_mismatch"


def test_an_expired_certificate_is_told(tmp_path: Path) -> None:
    made = certificate(tmp_path, days=(-3, -2))
    with serving(lambda _: Reply(), tls=made.tls) as server:
        code = _failure(server.origin + "/x", ca_file=made.file)
    assert code == "tls_certificate_expired"


def test_a_server_that_speaks_no_tls_is_told() -> None:
    with serving(lambda _: Reply()) as server:
        url = server.origin.replace("http:", "https:") + "/x"
        assert _failure(url) == "tls_not_spoken"


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    with serving(lambda _: Reply(200, b"direct")) as server:
        assert get(server.origin + "/x").body == b"direct"


def test_the_environment_names_no_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    with serving(lambda _: Reply(), tls=made.tls) as server:
        http = Http(timeout=5, max_bytes=10)
        with pytest.raises(HttpFailed) as refused:
            http.get(server.origin, {})
    assert refused.value.code == "tls_unknown_authority"


def test_a_body_is_posted_once_and_the_connection_kept() -> None:
    with serving(lambda asked: Reply(200, asked.body)) as server:
        http = Http(timeout=5, max_bytes=100)
        for body in (b"one", b"two"):
            assert http.exchange(server.origin, {"content-type": "text/plain"}, body).body == body
        assert [asked.headers["content-type"] for asked in server.asked] == ["text/plain"] * 2
        assert len(http._home[1].connections) == 1
        http.close()


def test_many_threads_share_one_exchange() -> None:
    with serving(lambda asked: Reply(200, asked.body)) as server:
        http = Http(timeout=10, max_bytes=100)
        start = threading.Barrier(30)
        answers: dict[int, bytes] = {}

        def post(number: int) -> None:
            start.wait()
            answers[number] = http.exchange(server.origin, {}, b"%d" % number).body

        threads = [threading.Thread(target=post, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        http.close()
    assert answers == {number: b"%d" % number for number in range(30)}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_connections_of_its_own() -> None:
    with serving(lambda asked: Reply(200, asked.path.encode())) as server:
        http = Http(timeout=5, max_bytes=100)
        assert http.get(server.origin + "/parent", {}).body == b"/parent"
        kept = http._home[1]

        def child() -> bytes:
            body = http.get(server.origin + "/child", {}).body
            return body if http._home[1] is not kept else b"shared"

        assert forked(child) == b"/child"
        assert http.get(server.origin + "/again", {}).body == b"/again"
        assert len(http._home[1].connections) == 1
        http.close()


def test_a_ca_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.pem: No such file"):
        Http(ca_file=tmp_path / "nowhere.pem", timeout=1, max_bytes=1)


def test_a_ca_file_without_a_certificate_is_a_configuration_error(tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.write_text("nothing here")
    with pytest.raises(ConfigurationError, match="holds no PEM certificate"):
        Http(ca_file=file, timeout=1, max_bytes=1)


def test_connections_are_verified_and_modern() -> None:
    tls = Http(timeout=1, max_bytes=1)._tls
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert tls.check_hostname
    assert tls.minimum_version >= ssl.TLSVersion.TLSv1_2
