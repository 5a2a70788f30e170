"""Work in processes of their own that tell how far they have come, to be killed there."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from system.history import Stage, Told, Write, writes_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection as Pipe

    Tell = Callable[[object], None]

PATIENCE = 60.0
# What they need is imported once, by a process that is forked for each of them.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["ephemera_issuer.cli", "ephemera_issuer.database.postgresql", "httpx"]
)


class Aim(NamedTuple):
    """When to strike: so many seconds after a write, of that kind if one is named, is there."""

    stage: Stage
    after: float
    doing: str | None = None


class Killable:
    """A process that does `work(tell, *arguments)`, and a group of those that it forks.

    `tell` sends anything that can be pickled; what is `Told` of writes is for `kill` to aim by.
    """

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self.told: list[Any] = []
        self._news = threading.Condition()
        self._aim: Aim | None = None
        self._strike: Callable[[], object] = self._kill
        self._ended = self._dead = False
        self._pipe, theirs = _processes.Pipe(duplex=False)
        self._process = _processes.Process(target=_begin, args=(theirs, work, arguments))
        self._process.start()
        theirs.close()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.wait(bool)

    @property
    def writes(self) -> list[Write]:
        return writes_of(word for word in list(self.told) if isinstance(word, Told))

    def wait(self, holds: Callable[[list[Any]], bool]) -> None:
        """Wait until what was told is enough."""
        with self._news:
            enough = self._news.wait_for(lambda: holds(self.told) or self._ended, PATIENCE)
        assert enough, "it says nothing"
        assert holds(self.told), "it has ended by itself"

    def kill(self, aim: Aim | None = None) -> Write | None:
        """Kill it and all that it forked, as aimed; return the write that was under way.

        Once it is dead nothing happens any more.
        """
        if self._dead:
            return None
        self._dead = True
        if aim is None:
            self._kill()
        else:
            self.strike(aim, self._kill)
        self._reader.join(PATIENCE)
        missed = self._reader.is_alive()
        if missed:
            self._kill()
            self._reader.join()
        self._process.join()
        assert self._process.exitcode == -signal.SIGKILL
        self._process.close()
        assert not missed, f"nothing to aim at: {aim}"
        last = self.writes[-1:]  # only one at a time has its turn
        return last[0] if last and last[0].stage in {Stage.OPEN, Stage.COMMITTING} else None

    def strike(self, aim: Aim, blow: Callable[[], object]) -> None:
        """Have something done as aimed, the next time that there is something to aim at."""
        with self._news:
            self._aim, self._strike = aim, blow

    def _kill(self) -> None:
        assert self._process.pid  # 0 would be the group of this process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        while True:
            try:
                word = self._pipe.recv()
            except EOFError:  # the last of them has ended
                break
            with self._news:
                self.told.append(word)
                self._news.notify_all()
                aim, blow = self._aim, self._strike
            if aim is not None and _meets(word, aim):
                time.sleep(aim.after)
                blow()
                with self._news:
                    self._aim = None
        self._pipe.close()
        with self._news:
            self._ended = True
            self._news.notify_all()


def _meets(word: object, aim: Aim) -> bool:
    return isinstance(word, Told) and word.stage is aim.stage and aim.doing in {None, word.doing}


def _begin(pipe: Pipe, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.setsid()
    pipe.send("begun")
    work(pipe.send, *arguments)
