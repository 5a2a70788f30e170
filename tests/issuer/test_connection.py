"""How long callers may take, and how many may come, at a real server."""

from __future__ import annotations

import contextlib
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from issuer.test_server import FORM, HEAD, ask, connect, read_head, read_until_closed, start

from ephemera_issuer.connection import Answers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from ephemera_issuer.demo.process import Service

GET = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"
HURRIED = {"head": 1.0, "body": 1.0, "answer": 1.0, "keep_alive": 1.0, "farewell": 1.0}


def serving(**reception: Any) -> Service:
    return start(json.dumps(reception))


@pytest.fixture(scope="module")
def hurried() -> Iterator[Service]:
    """A server that gives callers a second for everything."""
    with serving(times=HURRIED) as service:
        yield service
        assert service.stop() == 0
        assert len(service.output) == 1, "".join(service.output[1:])


def client(service: Service, **parts: Any) -> httpx.Client:
    return httpx.Client(base_url=service.url, trust_env=False, **parts)


@pytest.mark.parametrize(
    "begin",
    [
        b"G",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: a",
        HEAD,
        HEAD + b"Content-Length: 100\r\n\r\ngrant_type=",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
def test_a_request_that_does_not_arrive_in_time_gets_a_408(hurried: Service, begin: bytes) -> None:
    with connect(hurried) as connection:
        connection.sendall(begin)
        answer = read_until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close\r\n" in answer
    with client(hurried) as http:
        assert ask(http).status_code == 200


def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_another(hurried: Service) -> None:
    with connect(hurried) as connection:
        connection.sendall(b"GET /")
        connection.settimeout(0.1)
        received = b""
        while not received:
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"a")
            with contextlib.suppress(TimeoutError):
                received = connection.recv(4096)
    assert received.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("begin", [b"", b"\r\n\r\n"])
def test_a_connection_without_a_request_is_closed_without_a_word(
    hurried: Service, begin: bytes
) -> None:
    with connect(hurried) as connection:
        connection.sendall(begin)
        assert connection.recv(4096) == b""


def test_a_connection_that_rests_too_long_is_closed_without_a_word(hurried: Service) -> None:
    with connect(hurried) as connection:
        connection.sendall(GET)
        answer = read_until_closed(connection)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_body_that_nobody_wants_may_not_last_for_ever_either(hurried: Service) -> None:
    begin = b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    with connect(hurried) as connection:
        connection.sendall(begin)
        answer = read_until_closed(connection)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_caller_that_takes_no_answers_is_cut_off(hurried: Service) -> None:
    with connect(hurried) as connection:
        connection.settimeout(0.2)
        while True:
            try:
                connection.sendall(GET * 10)
            except TimeoutError:
                continue  # neither side takes any more
            except ConnectionError:
                break


def test_an_answer_that_is_long_in_coming_is_no_idleness(hurried: Service) -> None:
    # Without a limit for answers this would wait for news for its 25 seconds.
    with connect(hurried) as connection:
        connection.sendall(b"GET /v1/revocations?wait=25 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096) == b""


def test_a_few_requests_may_be_sent_ahead_and_too_many_not(hurried: Service) -> None:
    with connect(hurried) as connection:
        connection.sendall(GET * 10)
        assert read_until_closed(connection).count(b"HTTP/1.1 200 ") == 10
    with connect(hurried) as connection:
        connection.sendall(GET * 500)
        answer = read_until_closed(connection)
    assert answer.count(b"HTTP/1.1 200 ") <= 20
    assert b"HTTP/1.1 400 " in answer


def test_who_comes_when_all_places_are_taken_gets_that_of_the_one_idle_longest() -> None:
    with serving(in_all=4) as service, ExitStack() as stack:
        held = [stack.enter_context(connect(service)) for _ in range(4)]
        for connection in (*held[1:], held[0]):
            connection.sendall(GET)
            assert read_head(connection).startswith(b"HTTP/1.1 200 ")
        newcomer = stack.enter_context(connect(service))
        newcomer.sendall(GET)
        assert read_head(newcomer).startswith(b"HTTP/1.1 200 ")
        while held[1].recv(65536):
            pass
        for connection in (held[0], held[2], held[3]):
            connection.sendall(GET)
            assert b"HTTP/1.1 200 " in read_head(connection)
        assert service.stop() == 0
        assert sum("connections_full" in line for line in service.output) == 1


def test_where_everybody_is_busy_a_newcomer_is_refused_until_one_has_gone() -> None:
    with serving(in_all=2) as service, ExitStack() as stack:
        busy = [stack.enter_context(connect(service)) for _ in range(2)]
        length = f"Content-Length: {len(FORM)}\r\nExpect: 100-continue\r\n\r\n".encode()
        for connection in busy:
            connection.sendall(HEAD + length)
            assert read_head(connection).startswith(b"HTTP/1.1 100 ")
        with client(service) as http:
            answer = ask(http)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"] == "temporarily_unavailable"
            busy[0].sendall(FORM)
            assert read_head(busy[0]).startswith(b"HTTP/1.1 200 ")
            assert ask(http).status_code == 200


def test_one_address_has_only_its_share_and_another_has_its_own() -> None:
    with serving(of_address=3) as service, ExitStack() as stack:
        held = [stack.enter_context(connect(service)) for _ in range(3)]
        for connection in held:
            connection.sendall(GET)
            assert read_head(connection).startswith(b"HTTP/1.1 200 ")
        with client(service) as http:
            assert ask(http).status_code == 503
        with client(service, transport=httpx.HTTPTransport(local_address="127.0.0.2")) as http:
            assert ask(http).status_code == 200
        held.pop().close()
        with client(service) as http:
            # Until the server has seen that one go.
            while (answer := ask(http)).status_code == 503:
                pass
            assert answer.status_code == 200


def test_a_trusted_proxy_has_no_share_of_its_own() -> None:
    with serving(of_address=1, proxies=["127.0.0.1"]) as service, ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(connect(service))
            connection.sendall(GET)
            assert read_head(connection).startswith(b"HTTP/1.1 200 ")


class Written:
    """A transport that keeps apart what is written apart."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.parts.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def answers(written: Written) -> Answers:
    return Answers(cast("asyncio.Transport", written))


def test_a_head_leaves_with_the_first_part_of_its_body(answers: Answers, written: Written) -> None:
    for _ in range(2):
        for part in (b"head ", b"one ", b"two"):
            answers.write(part)
        answers.end()
    assert written.parts == [b"head one ", b"two"] * 2


def test_a_head_without_a_body_leaves_at_the_end(answers: Answers, written: Written) -> None:
    answers.write(b"head")
    assert written.parts == []
    answers.end()
    answers.end()
    assert written.parts == [b"head"]


def test_a_head_leaves_before_its_connection_is_closed(answers: Answers, written: Written) -> None:
    answers.write(b"head")
    assert not answers.is_closing()
    answers.close()
    assert written.parts == [b"head"]
    assert answers.is_closing()


def test_an_answer_to_head_is_a_head(hurried: Service) -> None:
    with connect(hurried) as connection:
        connection.sendall(b"HEAD /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        received = read_until_closed(connection)
    first, second, body = received.split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 200 ")
    assert f"content-length: {len(body)}".encode() in first


def test_a_caller_that_asks_whether_to_go_on_is_told_so(hurried: Service) -> None:
    with connect(hurried) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(FORM))
        assert read_head(connection) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(FORM)
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")
