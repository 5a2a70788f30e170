"""The file of a replay cache: an SQLite database that the processes of one host share."""

import math
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from ephemera_client.errors import IssuedBeforeLedger, ReplayCacheUnavailable, TokenReplayed
from ephemera_client.instant import Instant
from ephemera_client.replay.claim import Claim
from ephemera_client.replay.provenance import Witness, identity

RETENTION = 60
PURGE_EVERY = 1.0
PURGE_BATCH = 256
FOLD_EVERY = 2000
"""Claims after which the write-ahead log is folded into the file: about three megabytes of it."""

_APPLICATION_ID = 0x45504C47  # "EPLG", at offset 68 of the file
_FORMAT = 1
# Each claim is somewhere else in the file, and of every page that it touches the whole is written.
_PAGE_BYTES = 1024
# Closing any descriptor of a file drops all locks that the process has on it (POSIX), those of
# another connection included: files are made by one thread at a time, and never opened besides.
_making = threading.Lock()

_SCHEMA = f"""
CREATE TABLE claims (key BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX claims_by_end ON claims (expires_at);
CREATE TABLE ledger (
    provenance TEXT NOT NULL, birth INTEGER NOT NULL, forgotten_to INTEGER NOT NULL
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
"""
# One statement, so that all is of one moment: another process may be making the tables just now.
_KIND = (
    "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
    " FROM pragma_application_id, pragma_user_version"
)
# One statement, so one lock and one write: the first of two processes inserts, the other does not.
_CLAIM = (
    "INSERT OR IGNORE INTO claims SELECT ?1, ?2 FROM ledger WHERE birth <= ?3 AND forgotten_to < ?2"
)
_WHY_NOT = "SELECT birth > ?2, EXISTS (SELECT 1 FROM claims WHERE key = ?1) FROM ledger"
_OVERDUE = "SELECT key, expires_at FROM claims WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"


@lru_cache(maxsize=128)
def _claim_all(number: int) -> str:
    # One statement, as above; and with one condition for all of its rows.
    rows = ",".join(["(?, ?)"] * number)
    return (
        f"INSERT INTO claims SELECT column1, column2 FROM (VALUES {rows}), ledger"  # noqa: S608 - placeholders
        " WHERE birth <= ? AND forgotten_to < ?"
    )


class Ledger:
    """An open ledger; for one thread at a time, and not across a fork.

    Never waits: while another process writes, each call raises `sqlite3.OperationalError` (busy)
    and may be made again.

    The ledger has a birth: of tokens issued earlier it knows nothing. It is born again if the
    machine has booted since (the last claims may not have reached the disk), if the file is not
    the one that was written here last, and if there is none.

    Raises:
        ReplayCacheUnavailable: `newer_format`, or `not_a_ledger`: the file is something else.
        sqlite3.Error, OSError: the file cannot be used.
    """

    def __init__(
        self, path: Path, *, now: Instant, boot: Callable[[], str | None], max_bytes: int
    ) -> None:
        self._path = path
        self._witness = Witness(path)
        self._boot = boot()
        with _making:
            _make(path)
            # Before it is opened: replaced in between, the file counts as not current, at worst.
            self._identity = identity(path)
            self._connection = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            self._prepare(max_bytes)
            with self._transaction():
                self._settle(math.floor(now.wall))
        except BaseException:
            self._connection.close()
            raise
        self._purged: Instant | None = None
        self._unfolded = 0

    def is_current(self) -> bool:
        """Say whether the path still means the file that is open here."""
        return self._identity is not None and identity(self._path) == self._identity

    @property
    def is_quick(self) -> bool:
        """Whether the next claims are made without a wait for the disk."""
        return self._boot is not None and self._unfolded < FOLD_EVERY

    def claim(self, claim: Claim, now: Instant) -> None:
        """Accept a token, for the first and last time; see `ReplayCache.claim`."""
        self._prepare_to_write(now, 1)
        key, issued_at, end = claim.key, claim.issued_at, claim.expires_at
        if self._connection.execute(_CLAIM, (key, end, issued_at)).rowcount:
            return
        unborn, known = self._connection.execute(_WHY_NOT, (key, issued_at)).fetchone()
        if unborn:
            raise IssuedBeforeLedger("the token was issued before this ledger began")
        if known:
            raise TokenReplayed("the token has been accepted before")
        raise IssuedBeforeLedger("the token is as old as what this ledger has forgotten")

    def claim_all(self, claims: Sequence[Claim], now: Instant) -> bool:
        """Accept all of these, or none; say which. Each of none can then be claimed by itself."""
        self._prepare_to_write(now, len(claims))
        values: list[bytes | int] = []
        for claim in claims:
            values += (claim.key, claim.expires_at)
        values += (min(it.issued_at for it in claims), min(it.expires_at for it in claims))
        try:
            accepted = self._connection.execute(_claim_all(len(claims)), values).rowcount
        except (sqlite3.IntegrityError, OverflowError):
            # One of them is known, or here twice, or holds a number that SQLite does not; what the
            # statement had done is undone.
            return False
        return bool(accepted)

    def close(self) -> None:
        """Close the file, and leave nothing that a copy made until now would agree with."""
        with suppress(sqlite3.Error, OSError):
            if self.is_current():
                with self._transaction():
                    self._attest()
        self._connection.close()

    def _prepare(self, max_bytes: int) -> None:
        # Nothing is changed before it is known what this is.
        application, version, tables = self._connection.execute(_KIND).fetchone()
        if application != _APPLICATION_ID and (application or version or tables):
            raise ReplayCacheUnavailable(
                f"{self._path} is a database of another kind", cause_code="not_a_ledger"
            )
        if version > _FORMAT:
            raise ReplayCacheUnavailable(
                f"{self._path} was written by a newer release (format {version})",
                cause_code="newer_format",
            )
        # Of a file that is new; another keeps its own.
        self._one(f"PRAGMA page_size = {_PAGE_BYTES}")
        if self._one("PRAGMA journal_mode = WAL") != "wal":
            raise ReplayCacheUnavailable(
                f"{self._path} is where SQLite cannot share memory between processes",
                cause_code="no_wal",
            )
        # A write outlives its process either way. It may not outlive the machine, which is what
        # the birth after a boot is for; where boots have no names, each write waits for the disk.
        self._one(f"PRAGMA synchronous = {'NORMAL' if self._boot else 'FULL'}")
        self._one(f"PRAGMA max_page_count = {max_bytes // self._one('PRAGMA page_size')}")
        self._one("PRAGMA wal_autocheckpoint = 0")

    def _settle(self, second: int) -> None:
        """Make the tables of a new file, or a new birth for one that may have forgotten."""
        testimony = self._witness.testimony()
        if not self._one("SELECT count(*) FROM sqlite_master"):
            for statement in _SCHEMA.split(";"):
                self._connection.execute(statement)
            # Where nothing was before, nothing is forgotten; rounded up, the first second would
            # refuse the tokens that were minted for it.
            birth = second if testimony is None else second + 1
            self._connection.execute("INSERT INTO ledger VALUES ('', ?, 0)", (birth,))
        elif self._one("SELECT provenance FROM ledger") != self._provenance(testimony):
            self._connection.execute("UPDATE ledger SET birth = max(birth, ?)", (second + 1,))
        self._attest()

    def _attest(self) -> None:
        testimony = self._witness.swear()
        self._connection.execute("UPDATE ledger SET provenance = ?", (self._provenance(testimony),))

    def _provenance(self, testimony: str | None) -> str:
        return f"{self._boot} {self._identity} {testimony}"

    def _prepare_to_write(self, now: Instant, claims: int) -> None:
        if self._unfolded >= FOLD_EVERY:
            # What SQLite would do by itself in the middle of some write: it waits for the disk.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._unfolded = 0
        self._unfolded += claims
        self._purge_in_time(now)

    def _purge_in_time(self, now: Instant) -> None:
        if self._purged is None or now.since(self._purged) >= PURGE_EVERY:
            self._purge(now)

    def _purge(self, now: Instant) -> None:
        # The mark is the last end that was really dropped, not the clock: after a clock that ran
        # ahead has been put right, only tokens as old as what is gone are refused.
        with self._transaction():
            overdue = self._connection.execute(
                _OVERDUE, (math.floor(now.wall) - RETENTION, PURGE_BATCH)
            ).fetchall()
            if overdue:
                keys = [(key,) for key, _ in overdue]
                self._connection.executemany("DELETE FROM claims WHERE key = ?", keys)
                self._connection.execute(
                    "UPDATE ledger SET forgotten_to = max(forgotten_to, ?)", (overdue[-1][1],)
                )
            self._attest()
        self._purged = now if len(overdue) < PURGE_BATCH else None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _one(self, statement: str) -> Any:
        row = self._connection.execute(statement).fetchone()
        return row[0] if row else None


def _make(path: Path) -> None:
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
