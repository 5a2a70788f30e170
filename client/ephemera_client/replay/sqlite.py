"""Single use among the processes of one host."""

import errno
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from anyio import to_thread

from ephemera_client import instant, jitter
from ephemera_client.errors import ConfigurationError, ReplayCacheUnavailable
from ephemera_client.instant import Clock, Instant
from ephemera_client.replay.claim import AcceptedOnce, Claim
from ephemera_client.replay.courier import Courier, Errand
from ephemera_client.replay.ledger import Ledger
from ephemera_client.replay.provenance import this_boot
from ephemera_client.replay.turn import Turns

MIN_BYTES = 65_536
MAX_DEADLINE = 60

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL})
_CAUSES: Mapping[int, str] = {
    sqlite3.SQLITE_BUSY: "timeout",
    sqlite3.SQLITE_PROTOCOL: "timeout",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_CANTOPEN: "not_openable",
    sqlite3.SQLITE_IOERR: "io_failed",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
}
_SYSTEM_CAUSES: Mapping[int | None, str] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "not_openable",
    errno.EPERM: "not_openable",
    errno.ENOENT: "not_openable",
    errno.ENOTDIR: "not_openable",
    errno.EISDIR: "not_openable",
}
# After these the connection is as good as before; after any other the file is opened anew.
_PASSING = frozenset({"timeout", "full"})
_LONGEST_PAUSE = 0.004


class SQLiteReplayCache:
    """Remembers in a file, for all processes of this host that name the same one.

    The file outlives them: what one accepted, the next refuses. It belongs on a local disk, in a
    directory where its processes may write, with what lies beside it (`-wal`, `-shm`, `-witness`).
    After the machine has booted, and where the file is new or was put back from a copy, tokens
    issued before are refused, since it may not remember all that it accepted.

    Any number of threads and event loops may share a cache, and so may forked children. Made once,
    the file is open; `close` it at the end.

    Args:
        path: the file; made with mode 0600 if there is none.
        deadline: seconds that a claim may take, waiting for other processes included.
        max_bytes: how large the file may grow, at about 60 bytes a token that is alive.
        clock: read for the birth of a ledger.
        boot: names this boot of the machine.

    Raises:
        ConfigurationError: an argument cannot be used.
        ReplayCacheUnavailable: the file cannot be used.
    """

    accepted_once: ClassVar[AcceptedOnce] = "host"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        deadline: float = 1.0,
        max_bytes: int = 1 << 30,
        clock: Clock = instant.read,
        boot: Callable[[], str | None] = this_boot,
    ) -> None:
        if type(deadline) not in {int, float} or not 0 < deadline <= MAX_DEADLINE:
            raise ConfigurationError(f"deadline must be over 0 and up to {MAX_DEADLINE} seconds")
        if type(max_bytes) is not int or max_bytes < MIN_BYTES:
            raise ConfigurationError(f"max_bytes must be a whole number from {MIN_BYTES}")
        self._path = _file(path)
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._clock = clock
        self._boot = boot
        self._lock = threading.Lock()
        self._ledger: Ledger | None = None
        self._hire()
        _alive.add(self)
        self._patiently(self._open)

    def __repr__(self) -> str:
        return f"SQLiteReplayCache({os.fspath(self._path)!r})"

    def claim(self, claim: Claim, now: Instant) -> None:
        """Accept this token, for the first and last time.

        Raises:
            TokenReplayed: some process accepted it before.
            IssuedBeforeLedger: some process may have accepted it before the ledger began.
            ReplayCacheUnavailable: `timeout`, `full`, `read_only`, `io_failed`, `corrupt`,
                `not_openable`, `not_a_ledger`, `newer_format`, `no_wal` or `failed`.
        """
        self._patiently(lambda: self._open().claim(claim, now))

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        """Do as `claim`, together with other tasks; in a thread, where it would have to wait.

        Cancelled or late, the claim may still be made there: the token then counts as used.
        """
        errand = Errand(claim, now, give_up_at=time.monotonic() + self._deadline)
        try:
            self._turns.submit(errand)
        except RuntimeError as error:
            raise self._unavailable("no_thread") from error
        try:
            await errand.waiter.wait()
        finally:
            # Not carried out yet, it need not be.
            errand.give_up_at = 0.0
        if not errand.is_done:
            raise self._unavailable("timeout")
        if errand.refusal is not None:
            raise errand.refusal

    def warm(self) -> None:
        """Make sure that the file is open.

        Raises:
            ReplayCacheUnavailable: it cannot be used.
        """
        self._patiently(self._open)

    async def warm_async(self) -> None:
        """Do as `warm`, in a thread."""
        await to_thread.run_sync(self.warm)

    def close(self) -> None:
        """Close the file; a claim that comes later opens it again."""
        self._courier.close()
        with self._lock:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _hire(self) -> None:
        self._courier = Courier(self._carry_out)
        self._turns = Turns(
            self._courier,
            at_once=self._carry_out_at_once,
            no_thread=lambda: self._unavailable("no_thread"),
        )

    def _carry_out_at_once(self, errands: list[Errand]) -> bool:
        """Claim for an event loop, which must not wait: neither for others, nor for the disk."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            ledger = self._ledger
            if ledger is None or not ledger.is_quick or not ledger.is_current():
                return False
            now = time.monotonic()
            awaited = [errand for errand in errands if errand.give_up_at > now]
            claims = [errand.claim for errand in awaited]
            if claims and not ledger.claim_all(claims, awaited[-1].now):
                return False
        except Exception:  # noqa: BLE001 - the thread meets it too, and tells whose it is
            return False
        finally:
            self._lock.release()
        for errand in awaited:
            errand.is_done = True
        return True

    def _carry_out(self, errands: list[Errand]) -> None:
        awaited = [errand for errand in errands if errand.give_up_at > time.monotonic()]
        # Nearly always none is to be refused, and then one write serves all of them.
        if len(awaited) > 1 and self._carry_out_together(awaited):
            return
        for errand in awaited:
            if errand.give_up_at > time.monotonic():
                try:
                    self.claim(errand.claim, errand.now)
                except Exception as error:  # noqa: BLE001 - raised in the task that it belongs to
                    errand.refusal = error
                errand.is_done = True

    def _carry_out_together(self, errands: list[Errand]) -> bool:
        claims, now = [errand.claim for errand in errands], errands[-1].now
        accepted: list[bool] = []
        try:
            self._patiently(lambda: accepted.append(self._open().claim_all(claims, now)))
        except ReplayCacheUnavailable as error:
            for errand in errands:
                errand.refusal = self._unavailable(error.cause_code)
                errand.is_done = True
            return True
        for errand in errands if accepted[-1] else ():
            errand.is_done = True
        return accepted[-1]

    def _open(self) -> Ledger:
        # Claimed in a file that was moved away or deleted, a token would be new to everyone else.
        if self._ledger is not None and not self._ledger.is_current():
            self._close()
        if self._ledger is None:
            self._ledger = Ledger(
                self._path, now=self._clock(), boot=self._boot, max_bytes=self._max_bytes
            )
        return self._ledger

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _patiently(self, step: Callable[[], object]) -> None:
        give_up_at = time.monotonic() + self._deadline
        if not self._lock.acquire(timeout=self._deadline):
            raise self._unavailable("timeout")
        try:
            while self._is_busy(step):
                left = give_up_at - time.monotonic()
                if left <= 0:
                    raise self._unavailable("timeout")
                # SQLite's own waiting sleeps up to 100 ms at a time, and as long for everyone.
                time.sleep(min(left, jitter.uniform(0, _LONGEST_PAUSE)))
        finally:
            self._lock.release()

    def _is_busy(self, step: Callable[[], object]) -> bool:
        try:
            step()
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _BUSY:
                return True
            raise self._failed(_CAUSES.get(code, "failed")) from error
        except OSError as error:
            raise self._failed(_SYSTEM_CAUSES.get(error.errno, "io_failed")) from error
        return False

    def _failed(self, cause_code: str) -> ReplayCacheUnavailable:
        if cause_code not in _PASSING:
            self._close()
        return self._unavailable(cause_code)

    def _unavailable(self, cause_code: str) -> ReplayCacheUnavailable:
        return ReplayCacheUnavailable(
            f"the replay cache at {self._path} cannot be used ({cause_code})",
            cause_code=cause_code,
        )

    def _before_fork(self) -> None:
        # SQLite's rule: no connection is carried across a fork. Both sides open the file again.
        self._lock.acquire()
        self._close()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        # Its thread, and what that was about to do, stayed behind in the parent.
        self._hire()
        if self._ledger is not None:
            # Forked from C, without the call before: kept, since closing it would be using it.
            _left_behind.append(self._ledger)
            self._ledger = None


def _file(path: str | os.PathLike[str]) -> Path:
    try:
        name = os.fspath(path)
    except TypeError:
        name = ""
    if not isinstance(name, str) or not name or "\0" in name or name == ":memory:":
        raise ConfigurationError("path must name a file; in memory is SingleProcessReplayCache")
    return Path(name).absolute()


_alive: weakref.WeakSet[SQLiteReplayCache] = weakref.WeakSet()


def _before_fork() -> None:
    _held.extend(_alive)
    for cache in _held:
        cache._before_fork()  # noqa: SLF001 - this module's own


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._after_fork_in_parent()  # noqa: SLF001 - this module's own


def _after_fork_in_child() -> None:
    _held.clear()
    for cache in list(_alive):
        cache._after_fork_in_child()  # noqa: SLF001 - this module's own


_held: list[SQLiteReplayCache] = []
_left_behind: list[Ledger] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
