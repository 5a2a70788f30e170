"""A server that is measured: a process on a core of its own."""

import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks import cores, load

_ANNOUNCEMENT = re.compile(r"listening on http://[0-9.]+:([0-9]+)\)")
_PATIENCE = 300


class Window(NamedTuple):
    """What some requests took: seconds by the clock, and of the server's processor."""

    requests: int
    seconds: float
    processor: float

    @property
    def rate(self) -> float:
        """Requests a second, by the clock."""
        return self.requests / self.seconds

    @property
    def each(self) -> float:
        """Microseconds of the server's processor for one request."""
        return self.processor / self.requests * 1e6


class Server:
    """Runs `command` until the block ends; it announces itself as `ephemera serve` does.

    `said` is what it reads on standard input. It keeps to one core unless it may run `anywhere`.

    Raises:
        RuntimeError: it ended, or did not announce itself.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path | None = None,
        said: str = "",
        anywhere: bool = False,
    ) -> None:
        self.port = 0
        self._said: list[str] = []
        self._announced = threading.Event()
        self._process = subprocess.Popen(  # noqa: S603 - what this project brings, no shell
            list(command),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Before any thread of ours.
            preexec_fn=cores.pinned(cores.every_core() if anywhere else cores.server_core()),  # noqa: PLW1509
        )
        assert self._process.stdin is not None  # noqa: S101 - what PIPE means
        with self._process.stdin as configuration:
            configuration.write(said)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._announced.wait(_PATIENCE)
        if not self.port:
            self.stop()
            raise RuntimeError("a server did not start; it said:\n" + "".join(self._said))

    def take(self, requests: Sequence[bytes], *, connections: int = load.CONNECTIONS) -> Window:
        """Have all of these requests answered."""
        before = self.processor()
        seconds = load.drive(self.port, requests, connections=connections)
        return Window(len(requests), seconds, self.processor() - before)

    def processor(self) -> float:
        """Return the processor seconds of all its threads and children so far."""
        return sum(_processor(number) for number in self._processes())

    def memory(self) -> int:
        """Return the bytes that it holds in memory, what it shares with others by its part."""
        return sum(_proportional(number) for number in self._processes())

    def resident(self) -> int:
        """Return the bytes that its first process has in memory, shared or not: what `ps` says."""
        return _kilobytes(f"/proc/{self._process.pid}/status", "VmRSS") * 1024

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _processes(self) -> list[int]:
        found = [self._process.pid]
        for number in found:
            for tasks in Path(f"/proc/{number}/task").glob("*/children"):
                found += map(int, tasks.read_text().split())
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - what PIPE means
        with self._process.stdout as lines:
            for line in lines:
                self._said.append(line)
                if not self.port and (found := _ANNOUNCEMENT.search(line)):
                    self.port = int(found[1])
                    self._announced.set()
        self._announced.set()


def _processor(number: int) -> float:
    # The processor clock of another process, in nanoseconds and threads that have ended included
    # (Linux, CPUCLOCK_SCHED); /proc tells it in ticks of 10 ms.
    return time.clock_gettime(~number << 3 | 2)


def _proportional(number: int) -> int:
    try:
        return _kilobytes(f"/proc/{number}/smaps_rollup", "Pss") * 1024
    except PermissionError:
        # The issuer lets nobody but root look into its memory: then with all that it shares.
        return _kilobytes(f"/proc/{number}/status", "VmRSS") * 1024


def _kilobytes(file: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+([0-9]+) kB", Path(file).read_text(), re.MULTILINE)
    assert found is not None  # noqa: S101 - Linux writes it
    return int(found[1])
