"""The immutable picture of registry and keys that requests are answered from."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypedDict

import anyio
import anyio.to_thread
import structlog
from sqlalchemy import select

from ephemera_issuer.changes import Changes
from ephemera_issuer.database import connect, prepare
from ephemera_issuer.errors import DatabaseOutdated, DatabaseUnreachable, IssuerError
from ephemera_issuer.registry.entries import Registry
from ephemera_issuer.registry.store import read_registry
from ephemera_issuer.registry.tables import state
from ephemera_issuer.revocation.store import read_revocations, revoke_token
from ephemera_issuer.rotation import SigningKeys, require_ring
from ephemera_issuer.sealing_key import open_sealing_keys
from ephemera_keys import jwks
from ephemera_keys.ring import CONTRACT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from ephemera_client.instant import Clock, Instant
    from ephemera_issuer.database import Database, Recorder
    from ephemera_issuer.issued import IssuedToken
    from ephemera_issuer.registry.entries import Admin, Audience, Client, Grant, TrustedIssuer
    from ephemera_issuer.revocation.entries import Revocations
    from ephemera_issuer.settings import Settings
    from ephemera_keys import KeyRing, SealingKeys, Signer, Timing

REFRESH_EVERY = 0.2
"""Seconds between two looks at the database."""

FRESH_FOR = 30.0
"""Seconds after its last confirmation by the database during which a snapshot may mint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Registry, key ring and revocations as one read of the database saw them.

    `grants` is keyed by (client, audience). `confirmed_at` is the instant just before the last read
    that found this content current; a snapshot is replaced whole, never changed.
    """

    clients: Mapping[str, Client]
    audiences: Mapping[str, Audience]
    grants: Mapping[tuple[str, str], Grant]
    issuers: Mapping[str, TrustedIssuer] = field(default_factory=dict)
    ring: KeyRing
    signer: Signer
    jwks: bytes
    jwks_etag: str
    revocations: Revocations
    registry_version: int
    keys_version: int
    confirmed_at: Instant
    admins: Mapping[str, Admin] = field(default_factory=dict)

    def fresh(self, now: Instant) -> bool:
        """Whether the database confirmed this content recently enough to mint from it."""
        return now.since(self.confirmed_at) <= FRESH_FOR


class SnapshotKeeper:
    """Keeps the snapshot current: `current` is replaced whole, and read without a lock.

    `current` is None until the first `refresh`. `clock` tells the instants at which snapshots are
    confirmed, and must be the one that requests are answered by. `begin` is done with before the
    first look at the database, as often as it fails.
    """

    def __init__(  # noqa: PLR0913 - the parts of a keeper
        self,
        database: Database,
        sealing_keys: SealingKeys,
        issuer: str,
        clock: Clock,
        timing: Timing = CONTRACT,
        *,
        begin: Callable[[SnapshotKeeper], None] | None = None,
    ) -> None:
        self.database = database
        self.keys = SigningKeys(
            database=database, sealing_keys=sealing_keys, issuer=issuer, timing=timing
        )
        self.current: Snapshot | None = None
        self._clock = clock
        self._begin = begin
        self._refreshing = threading.Lock()
        self._watchers: tuple[Callable[[Snapshot], None], ...] = ()

    def refresh(self) -> Snapshot:
        """Look at the database, load what changed, and make it current. Safe from any thread.

        Raises:
            DatabaseUnusable: It did not answer or holds no ring; `current` stays, and ages.
            SealingKeyProblem: The signing keys do not open with the sealing keys.
            SettingsInvalid: They belong to another issuer.
        """
        with self._refreshing:
            if self._begin is not None:
                self._begin(self)
                self._begin = None
            now = self._clock()
            with self.database.read() as connection:
                self.current = self._load(connection, now)
            for told in self._watchers:
                told(self.current)
            return self.current

    def watch(self, told: Callable[[Snapshot], None]) -> None:
        """Call `told` with each snapshot from now on, in the thread that refreshes: be quick."""
        self._watchers += (told,)

    def revoke(self, token: IssuedToken) -> None:
        """Revoke one token, here at once and at other replicas when they refresh. Safe as above.

        Raises:
            DatabaseUnusable: It did not answer; the token may be revoked or not. To try again
                does no harm.
        """
        with self.database.write() as connection:
            # Read only now: the turn to write may have been long in coming.
            revoke_token(connection, token, now=self._clock().wall)
        self.refresh()

    async def run(self) -> None:
        """Refresh for ever; a failure is logged once until the database answers again.

        Raises:
            IssuerError: The database answered for the first time, and cannot be used.
        """
        changes = Changes(self.database)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(changes.listen)
            await self._follow(changes)

    async def _follow(self, changes: Changes) -> None:
        log = structlog.get_logger()
        failing = False
        while True:
            try:
                # A server that is away can leave a read without an answer for a long time.
                await anyio.to_thread.run_sync(self.refresh, abandon_on_cancel=self.database.remote)
            except IssuerError as error:
                if self.current is None and not may_come(error):
                    raise
                if not failing:
                    log.warning("snapshot_not_refreshed", reason=str(error))
                failing = True
            else:
                if failing:
                    log.info("snapshot_refreshed_again")
                failing = False
            await changes.wait(REFRESH_EVERY)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def _load(self, connection: Connection, now: Instant) -> Snapshot:
        known = self.current
        if known and known.revocations.epoch != connection.scalar(select(state.c.epoch)):
            known = None  # a backup was restored: its numbers mean something else
        versions = connection.execute(select(state.c.registry_version, state.c.keys_version)).one()
        revocations = read_revocations(
            connection, known.revocations if known else None, now=now.wall
        )
        if known and versions == (known.registry_version, known.keys_version):
            return replace(known, revocations=revocations, confirmed_at=now)
        registry = read_registry(connection, _registry(known) if known else None)
        stored = require_ring(connection, self.keys.timing)
        if known and known.keys_version == stored.version:
            signer = known.signer
        else:
            signer = self.keys.read_signer(connection, stored)
        return Snapshot(
            clients=registry.clients,
            audiences=registry.audiences,
            grants=registry.grants,
            admins=registry.admins,
            issuers=registry.issuers,
            ring=stored.ring,
            signer=signer,
            **_published(stored.ring),
            revocations=revocations,
            registry_version=registry.version,
            keys_version=stored.version,
            confirmed_at=now,
        )


def open_keeper(
    settings: Settings,
    *,
    issuer: str,
    clock: Clock,
    timing: Timing = CONTRACT,
    recorder: Recorder | None = None,
) -> SnapshotKeeper:
    """Open the database of `settings`, make what a first start makes, and take a first snapshot.

    Where the server of the database does not answer yet, or its tables wait for `ephemera migrate`,
    `current` is None, and `run` does all this as soon as it can. `recorder` records what is done.

    Raises:
        IssuerError: Any of the database, the sealing key and the signing keys is not usable.
    """
    database = connect(settings.database_url)
    database.recorder = recorder
    try:
        if not database.remote:
            prepare(database, create=True)
        sealing_keys = open_sealing_keys(database, file=settings.sealing_key_file)

        def begin(keeper: SnapshotKeeper) -> None:
            if database.remote:
                prepare(database, create=True)
            keeper.keys.make_first(settings.algorithm, now=clock().wall)

        keeper = SnapshotKeeper(database, sealing_keys, issuer, clock, timing, begin=begin)
        try:
            keeper.refresh()
        except IssuerError as error:
            if not may_come(error):
                raise
            structlog.get_logger().warning("waiting_for_the_database", reason=str(error))
    except BaseException:
        database.close()
        raise
    return keeper


def may_come(error: IssuerError) -> bool:
    """Whether what is missing may be on its way, whatever is started first."""
    return isinstance(error, DatabaseUnreachable | DatabaseOutdated)


class _Published(TypedDict):
    jwks: bytes
    jwks_etag: str


def _published(ring: KeyRing) -> _Published:
    document = jwks.document(ring)
    return {"jwks": document, "jwks_etag": f'"{hashlib.sha256(document).hexdigest()[:32]}"'}


def _registry(known: Snapshot) -> Registry:
    return Registry(
        audiences=known.audiences,
        clients=known.clients,
        grants=known.grants,
        version=known.registry_version,
        admins=known.admins,
        issuers=known.issuers,
    )
