"""Callers that mean harm, all at once, and an honest one among them: `make hostile`.

Each kind of caller has an address of its own on loopback, and the idle ones have several, so that
none of them is kept out for what others do.
"""

from __future__ import annotations

import random
import re
import resource
import select
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit

import httpx
from system.running import run_issuer

from ephemera_issuer.demo.story import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from system.running import Issuer

HEAD = (
    b"POST /oauth2/token HTTP/1.1\r\nHost: tokens.internal\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
)
ASK = b"GET /healthz HTTP/1.1\r\nHost: tokens.internal\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = (
    b"zz\r\nabc\r\n",
    b"-1\r\nabc\r\n",
    b"ffffffffffffffffffff\r\nabc",
    b"5\r\nabc\r\n0\r\n\r\n",
    b"3;" + b"x" * 100_000 + b"\r\nabc\r\n",
    b"3\nabc\n0\n\n",
    b"0\r\n" + b"trailer: x\r\n" * 10_000,
    b"1\r\na\r\n" * 20_000,
    b"\r\n\r\n\r\n",
)
TOGETHER = 40
"""Connections of each slow kind."""
OF_ADDRESS = 500
"""Idle connections of one address."""
OTHERS = 500
"""More than all connections that are not idle."""
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_FILES = 512
_SILENCE = 2.0


class Endured(NamedTuple):
    """What an issuer went through, and what it made of it."""

    minted: int
    refused: list[str]
    """What the honest caller got that was no token, also when it asked again."""
    pushed_out: int
    """How often its connection had been closed for others, so that it did ask again."""
    slowest: float
    """Milliseconds that one of a hundred of its requests took, or longer."""
    answers: dict[str, Counter[str]]
    """What each kind of caller was told, by status; `closed` where it was told nothing."""
    idle: int
    """The most connections that were idle at once."""
    memory: tuple[int, int]
    """Bytes of the issuer's processes before, and the most later."""
    status: int
    """With which the issuer ended, once it was told to."""
    output: str

    @property
    def failures(self) -> dict[str, int]:
        """Answers that say that the issuer failed: 5xx, but for 503."""
        return {
            f"{kind} {status}": number
            for kind, told in self.answers.items()
            for status, number in told.items()
            if status.startswith("5") and status != "503"
        }


class Siege:
    """Hostile callers of one issuer, in threads, for as long as the block lasts."""

    def __init__(self, url: str, *, idle: int, seed: int) -> None:
        at = urlsplit(url)
        assert at.hostname is not None
        assert at.port is not None
        self._at = (at.hostname, at.port)
        self._idle_wanted = idle
        self._seed = seed
        self._ended = threading.Event()
        self.most_idle = 0
        self.answers: dict[str, Counter[str]] = {}
        self.broken: list[BaseException] = []

    def __enter__(self) -> Self:
        kinds: dict[str, Callable[[Counter[str], random.Random], None]] = {
            "slow heads": self._slow_heads,
            "slow bodies": self._slow_bodies,
            "huge heads": self._huge_heads,
            "bad chunks": self._bad_chunks,
            "random bytes": self._random_bytes,
            "pipelines": self._pipelines,
            "deaf callers": self._deaf,
            "idle": self._idle,
        }
        self._threads = []
        for number, (kind, work) in enumerate(kinds.items()):
            told = self.answers[kind] = Counter()
            chance = random.Random(f"{self._seed} {kind}")  # noqa: S311 - to be repeated
            self._threads.append(
                threading.Thread(target=self._guarded, args=(work, told, chance), name=kind)
            )
            self._threads[number].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _guarded(
        self,
        work: Callable[[Counter[str], random.Random], None],
        told: Counter[str],
        chance: random.Random,
    ) -> None:
        try:
            work(told, chance)
        except BaseException as error:  # noqa: BLE001 - for the main thread to see
            self.broken.append(error)

    def _connect(self, told: Counter[str], last: int) -> socket.socket | None:
        try:
            return socket.create_connection(
                self._at, timeout=_SILENCE, source_address=(f"127.0.0.{last}", 0)
            )
        except OSError:
            told["not connected"] += 1
            return None

    def _trickle(self, told: Counter[str], last: int, begin: bytes, endless: bytes) -> None:
        """Keep connections that send one more byte now and then, for ever."""
        held: list[tuple[socket.socket, Iterator[int]]] = []
        try:
            while not self._ended.wait(0.2):
                while len(held) < TOGETHER and (connection := self._connect(told, last)):
                    _sent(connection, begin)
                    held.append((connection, _for_ever(endless)))
                for one in list(held):
                    slow, rest = one
                    if _has_news(slow) or not _sent(slow, bytes([next(rest)])):
                        told[_answer(slow)] += 1
                        slow.close()
                        held.remove(one)
        finally:
            for slow, _ in held:
                slow.close()

    def _slow_heads(self, told: Counter[str], _chance: random.Random) -> None:
        self._trickle(told, 2, b"GET /", b"a")

    def _slow_bodies(self, told: Counter[str], _chance: random.Random) -> None:
        self._trickle(told, 3, HEAD + b"Content-Length: 60000\r\n\r\ngrant_type=", b"a")

    def _throw(self, told: Counter[str], last: int, *parts: bytes) -> None:
        """Send all of it, as far as it is taken, and see what comes of it."""
        opened = self._connect(told, last)
        if opened is None:
            return
        with opened as connection:
            for part in parts:
                if not _sent(connection, part):
                    break
            told[_answer(connection)] += 1

    def _huge_heads(self, told: Counter[str], chance: random.Random) -> None:
        while not self._ended.wait(0.05):
            line = chance.choice((b"X-Long: ", b"X-Again: a\r\n", b"", b"\r\n", b"\t"))
            size = chance.randrange(60_000, 2_000_000)
            begin = chance.choice((b"GET / HTTP/1.1\r\n", b"GET /", HEAD))
            self._throw(told, 4, begin, (line * 5000 or b"a" * 1000) + b"a" * size)

    def _bad_chunks(self, told: Counter[str], chance: random.Random) -> None:
        while not self._ended.wait(0.02):
            self._throw(told, 5, CHUNKED, chance.choice(BAD_CHUNKS))

    def _random_bytes(self, told: Counter[str], chance: random.Random) -> None:
        whole = HEAD + b"Content-Length: 29\r\n\r\ngrant_type=client_credentials"
        while not self._ended.wait(0.02):
            if chance.random() < 0.5:
                self._throw(told, 6, chance.randbytes(chance.randrange(1, 4096)))
                continue
            mutated = bytearray(whole)
            for _ in range(chance.randrange(1, 6)):
                mutated[chance.randrange(len(mutated))] = chance.randrange(256)
            self._throw(told, 6, bytes(mutated))

    def _pipelines(self, told: Counter[str], chance: random.Random) -> None:
        while not self._ended.wait(0.05):
            self._throw(told, 7, ASK * chance.randrange(2, 5000))

    def _deaf(self, told: Counter[str], _chance: random.Random) -> None:
        """Ask for much, and take nothing of it."""
        ask = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: tokens.internal\r\n\r\n"
        held: list[socket.socket] = []
        try:
            while not self._ended.wait(0.2):
                while len(held) < TOGETHER and (connection := self._connect(told, 8)):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                    held.append(connection)
                for deaf in list(held):
                    if not _sent(deaf, ask, patience=0):
                        told["closed"] += 1
                        deaf.close()
                        held.remove(deaf)
        finally:
            for deaf in held:
                deaf.close()

    def _idle(self, told: Counter[str], _chance: random.Random) -> None:
        """Hold connections that have been answered once, and open another for each that closes."""
        held: dict[int, socket.socket] = {}
        opened = 0
        selector = selectors.DefaultSelector()
        try:
            while not self._ended.is_set():
                for _ in range(min(self._idle_wanted - len(held), 200)):
                    last = 20 + opened // OF_ADDRESS % (self._idle_wanted // OF_ADDRESS + 1)
                    opened += 1
                    connection = self._connect(told, last)
                    if connection is None:
                        break
                    held[connection.fileno()] = connection
                    selector.register(connection, selectors.EVENT_READ)
                    _sent(connection, ASK)
                self.most_idle = max(self.most_idle, len(held))
                for key, _ in selector.select(0.1):
                    idle = held[key.fd]
                    with suppress(OSError):
                        if piece := idle.recv(4096):
                            if found := _STATUS.match(piece):
                                told[found[1].decode()] += 1
                            continue
                    told["closed"] += 1
                    selector.unregister(idle)
                    held.pop(key.fd).close()
        finally:
            selector.close()
            for idle in held.values():
                idle.close()


def _for_ever(endless: bytes) -> Iterator[int]:
    while True:
        yield from endless


def _has_news(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _sent(connection: socket.socket, part: bytes, *, patience: float = _SILENCE) -> bool:
    """Whether it was taken; a caller that is not heard any more is not answered either."""
    connection.settimeout(patience)
    try:
        connection.sendall(part)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def _answer(connection: socket.socket) -> str:
    connection.settimeout(_SILENCE)
    try:
        return _status(connection.recv(65536))
    except TimeoutError:
        return "waits for more"
    except OSError:
        return "closed"


def _status(answer: bytes) -> str:
    found = _STATUS.match(answer)
    return found[1].decode() if found else "closed"


def endure(issuer: Issuer, seconds: float, *, idle: int, seed: int = 0) -> Endured:
    """Besiege an issuer for so long, and have an honest client mint all the while; then end it."""
    form = {"grant_type": "client_credentials", "resource": "https://billing.internal"}
    refused: list[str] = []
    pushed_out = 0
    times: list[float] = []
    memory = [_memory(issuer)]
    with (
        Siege(issuer.url, idle=idle, seed=seed) as siege,
        httpx.Client(trust_env=False, timeout=30) as kept,
    ):
        until = time.monotonic() + seconds
        while time.monotonic() < until and not siege.broken:
            with ExitStack() as stack:
                http = kept
                if len(times) % 20 == 0:
                    http = stack.enter_context(httpx.Client(trust_env=False, timeout=30))
                    memory.append(_memory(issuer))
                began = time.monotonic()
                # A server may close an idle connection at any time (RFC 9112 §9.5), and this one
                # is full: whoever meets that asks again.
                for last in (False, True):
                    try:
                        answer = http.post(
                            f"{issuer.url}/oauth2/token",
                            data=form,
                            auth=("orders", issuer.client_secret),
                        )
                    except (httpx.ReadError, httpx.RemoteProtocolError) as error:
                        pushed_out += 1
                        if last:
                            refused.append(repr(error))
                    except httpx.HTTPError as error:
                        refused.append(repr(error))
                        break
                    else:
                        if answer.status_code != httpx.codes.OK:
                            refused.append(f"{answer.status_code} {answer.text}")
                        break
                times.append(time.monotonic() - began)
            time.sleep(0.01)
    assert not siege.broken, siege.broken
    times.sort()
    return Endured(
        minted=len(times) - len(refused),
        refused=refused,
        pushed_out=pushed_out,
        slowest=times[len(times) * 99 // 100] * 1000,
        answers=siege.answers,
        idle=siege.most_idle,
        memory=(memory[0], max(memory)),
        status=issuer.service.stop(),
        output="".join(issuer.service.output),
    )


def _memory(issuer: Issuer) -> int:
    status = Path(f"/proc/{issuer.service.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+([0-9]+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def files_for(connections: int) -> int:
    """Raise the limit of open files for this process and its children; the connections that fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = hard if hard != resource.RLIM_INFINITY else connections + _FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return min(connections, allowed - _FILES)


def main() -> None:
    """Besiege a new issuer for so many minutes, and print what it endured."""
    seconds = float(sys.argv[1]) * 60
    wanted = 10_000
    idle = files_for(wanted + OTHERS) - OTHERS
    say = print
    if idle < wanted:
        say(f"the limit of open files leaves room for {idle:,} idle connections")
    settings = {
        "EPHEMERA_MAX_CONNECTIONS": str(idle + OTHERS),
        "EPHEMERA_MAX_CONNECTIONS_OF_ADDRESS": str(OF_ADDRESS * 2),
    }
    with (
        tempfile.TemporaryDirectory() as name,
        run_issuer(Path(name), registry=REGISTRY, settings=settings) as issuer,
    ):
        endured = endure(issuer, seconds, idle=idle, seed=int(time.time()))
    before, most = endured.memory
    say(f"{endured.minted:,} tokens minted, {len(endured.refused)} not, in {seconds:.0f} s")
    say(f"an idle connection of the honest caller was closed {endured.pushed_out} times")
    say(f"99 of 100 within {endured.slowest:.0f} ms; at most {endured.idle:,} idle connections")
    say(f"memory: {before >> 20} MiB before, at most {most >> 20} MiB")
    for kind, told in endured.answers.items():
        say(f"{kind}: " + ", ".join(f"{n:,} {what}" for what, n in sorted(told.items())))
    for line in endured.refused[:20]:
        say(f"not minted: {line}")
    say(endured.output)
    whole = not endured.refused and not endured.failures and endured.status == 0
    sys.exit(not (whole and "Traceback" not in endured.output))


if __name__ == "__main__":
    main()
