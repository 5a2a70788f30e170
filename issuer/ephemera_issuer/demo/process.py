"""A service of the demonstration, as a process of its own on a free port of loopback."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self

from ephemera_issuer.errors import IssuerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_ANNOUNCEMENT = re.compile(r"listening on (https?://[0-9.]+:[0-9]+)\)")


class ServiceFailed(IssuerError):
    """A process of the demonstration did not start, or would not stop."""


class Service:
    """A running process, from its announcement on standard output until the block ends.

    Args:
        name: What the process is called in errors.
        arguments: The module to run with this Python, and its arguments.
        environment: The whole environment of the process.
        patience: Seconds to wait for the announcement, and for the end.

    Raises:
        ServiceFailed: It ended, or stayed silent, before it announced its address.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        patience: float = 30,
    ) -> None:
        self.name = name
        self.url = ""
        self.output: list[str] = []
        self._patience = patience
        self._announced = threading.Event()
        self.process = subprocess.Popen(  # noqa: S603 - our own modules, no shell
            [sys.executable, "-m", *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._announced.wait(patience)
        if not self.url:
            self.stop()
            raise ServiceFailed(f"{name} did not start; it said:\n" + "".join(self.output))

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - what PIPE means
        with self.process.stdout as lines:
            for line in lines:
                self.output.append(line)
                if not self.url and (found := _ANNOUNCEMENT.search(line)):
                    self.url = found[1]
                    self._announced.set()
        self._announced.set()

    def stop(self) -> int:
        """End the process with SIGTERM and return its exit status; kill it if it will not end."""
        self.process.terminate()
        try:
            return self.process.wait(self._patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServiceFailed(f"{self.name} did not end within {self._patience} s") from None
        finally:
            self._reader.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop()
