"""The life of the signing keys in the database: the first two, rotation, revocation.

Each change reads the ring, lets `ephemera_keys` decide, and writes only if the version that it read
is still the current one. So of two processes that change the ring at once one is told to look
again, and one that is killed at any moment leaves the ring before or the ring after.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select

from ephemera_issuer.database.transactions import note
from ephemera_issuer.errors import (
    DatabaseUnusable,
    KeysConflict,
    SealingKeyProblem,
    SettingsInvalid,
)
from ephemera_issuer.registry.tables import signing_keys, state
from ephemera_issuer.revocation.store import revoke_key
from ephemera_keys import (
    KeyRecord,
    KeyRing,
    LocalSigner,
    PrivateKey,
    RingInvalid,
    SealBroken,
    State,
    generate,
    pem,
    public_jwk,
)
from ephemera_keys.ring import CONTRACT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sqlalchemy import Connection

    from ephemera_issuer.database import Database
    from ephemera_keys import Algorithm, SealingKeys, Signer, Timing

# One of each may exist, so a key must leave a state before another enters it.
_WRITE_ORDER = (State.REVOKED, State.RETIRED, State.ACTIVE, State.PENDING)
_MOMENTS = ("published_at", "activated_at", "retired_at", "revoked_at")


class StoredRing(NamedTuple):
    """The ring at one version, and the issuer that its private halves are sealed for."""

    ring: KeyRing
    version: int
    issuer: str


class KeysWritten(NamedTuple):
    """The ring as it was, None before the first, and as it is written."""

    before: KeyRing | None
    after: KeyRing


class _NewKey(NamedTuple):
    jwk: Mapping[str, str]
    sealed: bytes


def read_ring(connection: Connection, timing: Timing = CONTRACT) -> StoredRing | None:
    """Read the ring; None before the first start has made one.

    Raises:
        DatabaseUnusable: The rows do not make a ring.
    """
    row = connection.execute(select(state.c.keys_version, state.c.issuer)).one()
    if row.issuer is None:
        return None
    try:
        records = tuple(_record(key) for key in connection.execute(signing_keys.select()))
        ring = KeyRing(records, timing)
    except (RingInvalid, ValueError) as error:
        raise DatabaseUnusable(f"the signing keys in the database are damaged: {error}") from error
    return StoredRing(ring, row.keys_version, row.issuer)


def require_ring(connection: Connection, timing: Timing = CONTRACT) -> StoredRing:
    """Read the ring, which must have been made.

    Raises:
        DatabaseUnusable: There is none, or the rows do not make one.
    """
    stored = read_ring(connection, timing)
    if stored is None:
        raise DatabaseUnusable("the database has no signing keys yet: `ephemera serve` makes them")
    return stored


def _as_it_is(_stored: StoredRing) -> None:
    """Take whatever ring there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeys:
    """The signing keys of one issuer, in its database, under its sealing keys."""

    database: Database
    sealing_keys: SealingKeys
    issuer: str
    timing: Timing = CONTRACT

    def make_first(self, algorithm: Algorithm, *, now: float) -> None:
        """Make an active and a pending key, unless there are keys already.

        Raises:
            SettingsInvalid: The keys that there are belong to another issuer.
        """
        with self.database.read() as connection:
            stored = read_ring(connection, self.timing)
        if stored is None:
            active, pending = self._new_key(algorithm), self._new_key(algorithm)
            with self.database.write() as connection:
                # Another first start may have been quicker; its keys are as good.
                stored = read_ring(connection, self.timing)
                if stored is None:
                    ring = KeyRing.start(
                        active=active.jwk, pending=pending.jwk, now=now, timing=self.timing
                    )
                    connection.execute(state.update().values(issuer=self.issuer))
                    _write(connection, 0, None, ring, [active, pending])
                    return
        self._require_own(stored)

    def read_signer(self, connection: Connection, stored: StoredRing) -> Signer:
        """Open the active key, and the pending one as well: a rotation must not find it shut.

        Raises:
            SealingKeyProblem: One of them does not open; the text names the sealing key it needs.
            SettingsInvalid: They belong to another issuer.
        """
        self._require_own(stored)
        self._unseal(connection, stored.ring.pending)
        active = stored.ring.active
        return LocalSigner(self._unseal(connection, active), active.alg)

    def rotate(
        self,
        algorithm: Algorithm,
        *,
        now: float,
        emergency: bool,
        seen: Callable[[StoredRing], None] = _as_it_is,
    ) -> KeyRing:
        """Let the pending key sign and publish a new one, of `algorithm`.

        `seen` is shown the ring that is to change, and what it raises keeps it as it is.

        Raises:
            RotationRefused: The pending key has not been published for long enough.
            TransitionRefused: More keys are published than verifiers would take.
            KeysConflict: Another process changed the keys at the same time; nothing was written.
            SealingKeyProblem: These sealing keys do not open the present keys.
            SettingsInvalid: The keys belong to another issuer.
        """
        stored = self._read()
        seen(stored)
        new = self._new_key(algorithm)
        ring = stored.ring.rotate(new_pending=new.jwk, now=now, emergency=emergency)
        with self.database.write() as connection:
            _write(connection, stored.version, stored.ring, ring, [new])
        return ring

    def remove_overdue(self, *, now: float, among: Collection[str]) -> frozenset[str]:
        """Forget those of the retired keys `among` that no living token needs, and name them.

        Raises:
            KeysConflict: Another process changed the keys at the same time; nothing was written.
            SealingKeyProblem: These sealing keys do not open the present keys.
            SettingsInvalid: The keys belong to another issuer.
        """
        stored = self._read()
        ring = stored.ring.remove_overdue(now, among=among)
        if ring != stored.ring:
            with self.database.write() as connection:
                _write(connection, stored.version, stored.ring, ring, [])
        kept = {record.kid for record in ring.records}
        return frozenset(record.kid for record in stored.ring.records) - kept

    def revoke(
        self,
        kid: str,
        algorithm: Algorithm,
        *,
        now: float,
        seen: Callable[[StoredRing], None] = _as_it_is,
    ) -> KeyRing:
        """Withdraw a key for good; where it is the active one the pending key signs at once.

        `seen` is as for `rotate`.

        Raises:
            UnknownKid: There is no such key.
            KeysConflict: Another process changed the keys at the same time; nothing was written.
            SealingKeyProblem: These sealing keys do not open the present keys.
            SettingsInvalid: The keys belong to another issuer.
        """
        stored = self._read()
        seen(stored)
        needed = stored.ring.record(kid).state in {State.ACTIVE, State.PENDING}
        new = [self._new_key(algorithm)] if needed else []
        ring = stored.ring.revoke(kid, new_pending=new[0].jwk if new else None, now=now)
        if ring != stored.ring:
            with self.database.write() as connection:
                _write(connection, stored.version, stored.ring, ring, new)
                revoke_key(connection, kid, now=now)
        return ring

    def replace(self, connection: Connection, algorithm: Algorithm, *, now: float) -> KeyRing:
        """Withdraw every key, and make two others; the private halves of the old are not needed.

        Their revocations are for the caller to enter, in the same write transaction.

        Raises:
            DatabaseUnusable: There is no ring.
            SettingsInvalid: The keys belong to another issuer.
        """
        stored = require_ring(connection)
        self._require_own(stored)
        active, pending = self._new_key(algorithm), self._new_key(algorithm)
        before = stored.ring
        ring = before.revoke(before.pending.kid, new_pending=active.jwk, now=now)
        ring = ring.revoke(before.active.kid, new_pending=pending.jwk, now=now)
        for record in before.retired:
            ring = ring.revoke(record.kid, new_pending=None, now=now)
        _write(connection, stored.version, before, ring, [active, pending])
        return ring

    def _read(self) -> StoredRing:
        with self.database.read() as connection:
            stored = require_ring(connection, self.timing)
            self.read_signer(connection, stored)
        return stored

    def _require_own(self, stored: StoredRing) -> None:
        if stored.issuer != self.issuer:
            raise SettingsInvalid(
                f"EPHEMERA_ISSUER: is {self.issuer} here, but the signing keys in "
                f"{self.database.location} are those of {stored.issuer}; "
                "set it to that, or begin with a new database"
            )

    def _new_key(self, algorithm: Algorithm) -> _NewKey:
        key = generate(algorithm)
        jwk = public_jwk(key, alg=algorithm)
        kid = jwk["kid"]
        sealed = self.sealing_keys.seal(pem.dump(key), issuer=self.issuer, kid=kid, alg=algorithm)
        return _NewKey(jwk, sealed)

    def _unseal(self, connection: Connection, record: KeyRecord) -> PrivateKey:
        row = connection.execute(select(signing_keys.c.sealed).filter_by(kid=record.kid)).one()
        try:
            opened = self.sealing_keys.open(
                row.sealed or b"", issuer=self.issuer, kid=record.kid, alg=record.alg
            )
        except SealBroken as error:
            raise SealingKeyProblem(f"the sealing key: {error}") from error
        try:
            return pem.load(opened)
        finally:
            opened[:] = bytes(len(opened))


def _record(row: Any) -> KeyRecord:
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    del values["sealed"]
    return KeyRecord(**values | {"jwk": json.loads(row.jwk), "state": State(row.state)})


def _row(record: KeyRecord) -> dict[str, Any]:
    moments = {name: getattr(record, name) for name in _MOMENTS}
    return {
        "jwk": json.dumps(dict(record.jwk)),
        "alg": record.alg,
        "state": record.state.value,
    } | moments


def _write(
    connection: Connection,
    version: int,
    before: KeyRing | None,
    after: KeyRing,
    new_keys: list[_NewKey],
) -> None:
    swapped = connection.execute(
        state.update().filter_by(keys_version=version).values(keys_version=version + 1)
    )
    if swapped.rowcount != 1:
        raise KeysConflict("another process changed the signing keys at the same time; look again")
    known = {} if before is None else {record.kid: record for record in before.records}
    sealed = {new.jwk["kid"]: new.sealed for new in new_keys}
    for kid in known.keys() - {record.kid for record in after.records}:
        connection.execute(signing_keys.delete().filter_by(kid=kid))
    for record in sorted(after.records, key=lambda record: _WRITE_ORDER.index(record.state)):
        values = _row(record)
        if record.state in {State.RETIRED, State.REVOKED}:
            values["sealed"] = None
        if record.kid not in known:
            values |= {"kid": record.kid, "sealed": sealed[record.kid]}
            connection.execute(signing_keys.insert().values(**values))
        elif record != known[record.kid]:
            connection.execute(signing_keys.update().filter_by(kid=record.kid).values(**values))
    note(connection, KeysWritten(before, after))
