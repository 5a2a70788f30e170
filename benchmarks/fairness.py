"""What the flood of one client costs another: how long a token takes, alone and beside it."""

import multiprocessing
import select
import socket
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from benchmarks import cores, issuers, load, rounds

LIMIT = 100
"""Tokens a second that a client may have."""
TIMES = 50
"""How many times that the other client asks for."""
ROUNDS = 7
SAMPLES = 250
"""Requests of a turn whose time is taken."""
PAUSE = 0.012
"""Seconds between two of them: this client keeps to its own limit."""
CONNECTIONS = 64
"""Those of the client that floods."""

_TICK = 0.002
_SETTINGS = {
    "EPHEMERA_TOKENS_PER_SECOND": str(LIMIT),
    "EPHEMERA_TOKENS_BURST": str(LIMIT),
    "EPHEMERA_REQUESTS_PER_SECOND": "1000000",
}
_ALL = 99


class Turn(NamedTuple):
    """Milliseconds of each request, and what the flood was told meanwhile."""

    times: list[float]
    minted: int
    refused: int
    seconds: float

    @property
    def p99(self) -> float:
        """What 99 of 100 requests took at most, in milliseconds."""
        return statistics.quantiles(self.times, n=100, method="inclusive")[_ALL - 1]


def main() -> None:
    """Print the table."""
    cores.take_load_core()
    with (
        tempfile.TemporaryDirectory() as name,
        issuers.prepared(Path(name) / "ephemera", settings=_SETTINGS).serving() as issuer,
    ):
        variants = {
            "alone": lambda: _turn(issuer),
            f"beside {LIMIT * TIMES:,} requests a second for a token": lambda: _turn(
                issuer, rate=LIMIT * TIMES
            ),
            f"beside {TIMES * LIMIT // 100} requests a second for 100 tokens": lambda: _turn(
                issuer, rate=TIMES * LIMIT // 100, count=100
            ),
        }
        turns = rounds.take_turns(variants, rounds=ROUNDS)
    print(f"a client may have {LIMIT} tokens a second, and another asks for {TIMES} times that\n")
    print("| another client | median, ms | p99, ms | ÷ alone | flood: sent/s | minted/s |")
    print("|---|---:|---:|---:|---:|---:|")
    alone = [turn.p99 for turn in turns["alone"]]
    for what, each in turns.items():
        p99 = [turn.p99 for turn in each]
        seconds = sum(turn.seconds for turn in each)
        minted = sum(turn.minted for turn in each)
        sent = minted + sum(turn.refused for turn in each)
        print(
            f"| {what} | {rounds.spread([statistics.median(turn.times) for turn in each])} "
            f"| {rounds.spread(p99)} | {rounds.ratio(p99, alone)} "
            f"| {sent / seconds:,.0f} | {minted / seconds:,.0f} |"
        )


def _turn(issuer: issuers.Issuer, *, rate: int = 0, count: int = 1) -> Turn:
    requests = issuer.by_assertion(SAMPLES)
    with _flood(issuer, rate, count) as told:
        began = time.perf_counter()
        times = _sample(issuer.server.port, requests)
        seconds = time.perf_counter() - began
    return Turn(times, told[0], told[1], seconds)


def _sample(port: int, requests: list[bytes]) -> list[float]:
    times = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in requests:
            time.sleep(PAUSE)
            began = time.perf_counter()
            connection.sendall(request)
            answer = b""
            while not _is_whole(answer):
                answer += connection.recv(65536)
            times.append((time.perf_counter() - began) * 1000)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise load.AnswerUnexpected(answer.partition(b"\r\n")[0].decode())
    return times


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(end) and len(body) >= int(length)


@contextmanager
def _flood(issuer: issuers.Issuer, rate: int, count: int) -> Iterator[list[int]]:
    """Have another process ask for tokens; afterwards how often it got some, and how often not."""
    told = [0, 0]
    if not rate:
        yield told
        return
    context = multiprocessing.get_context("fork")
    ended = context.Event()
    theirs, ours = context.Pipe()
    (request,) = issuer.by_secret(1, count=str(count))
    process = context.Process(
        target=lambda: ours.send(_ask(issuer.server.port, request, rate, ended))
    )
    process.start()
    try:
        time.sleep(0.2)  # what it may have at once is used up by then
        yield told
    finally:
        ended.set()
        if theirs.poll(30):
            told[:] = theirs.recv()
        process.join()


def _ask(port: int, request: bytes, rate: int, ended: Event) -> tuple[int, int]:
    """Send so many a second, as long as there is a connection that does not wait for its answer."""
    poll = select.poll()
    free: deque[socket.socket] = deque()
    held: dict[int, socket.socket] = {}
    received: dict[int, bytes] = {}
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(connection, select.POLLIN)
        held[connection.fileno()] = connection
        free.append(connection)
    began, sent, minted = time.perf_counter(), 0, 0
    while not ended.is_set():
        due = int((time.perf_counter() - began) * rate)
        while free and sent < due:
            connection = free.popleft()
            received[connection.fileno()] = b""
            connection.sendall(request)
            sent += 1
        for number, _ in poll.poll(int(_TICK * 1000)):
            received[number] += held[number].recv(65536)
            if _is_whole(received[number]):
                minted += received[number].startswith(b"HTTP/1.1 200 ")
                free.append(held[number])
    for connection in held.values():
        connection.close()
    return minted, sent - minted


if __name__ == "__main__":
    main()
