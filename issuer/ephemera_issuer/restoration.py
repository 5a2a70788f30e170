"""Restoring a backup: the registry as it was, and a new beginning for everything that was issued.

Nobody knows what was issued, revoked or rotated after a backup was taken. So what is restored is a
new epoch: with other keys, the old ones revoked, and everything issued before cut off.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from ephemera_issuer.backup import VERSION_TABLE, columns_of, tables_in
from ephemera_issuer.database import make_room, migration
from ephemera_issuer.database.transactions import note
from ephemera_issuer.errors import BackupInvalid, RestoreRefused
from ephemera_issuer.registry.tables import revocations, signing_keys, state
from ephemera_issuer.revocation.store import cut_off, revoke_key
from ephemera_issuer.rotation import SigningKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from ephemera_issuer.backup import Backup
    from ephemera_issuer.database import Database
    from ephemera_keys import Algorithm, SealingKeys


class Restored(NamedTuple):
    """What has begun: its epoch, the keys that are no more, and the cut-off in Unix seconds."""

    epoch: str
    revoked: tuple[str, ...]
    cut_off: int


def restore(  # noqa: PLR0913 - each is a decision of its own
    database: Database,
    backup: Backup,
    *,
    sealing_keys: Callable[[], SealingKeys],
    issuer: str | None,
    algorithm: Algorithm,
    replace: bool,
    now: Callable[[], float],
) -> Restored:
    """Put a backup into an empty database, or in place of what is in it, all or nothing.

    Issuers that serve from this database meanwhile follow, as they follow any change. The sealing
    key that was in use when the backup was taken is not needed.

    Args:
        database: Where to; its tables are those of this version afterwards.
        backup: Of this version or an older one.
        sealing_keys: Called for what the new keys are sealed under, once nothing is in the way.
        issuer: If given, whose backup it must be.
        algorithm: What the new keys are for.
        replace: Whether what the database holds may go.
        now: The clock, in Unix seconds, read when the turn to write has come.

    Raises:
        RestoreRefused: The database is not empty, or the backup is another issuer's.
        BackupInvalid: Its rows are not those of its revision.
        DatabaseUnusable: Nothing was written.
    """
    if issuer is not None and backup.issuer not in {None, issuer}:
        raise RestoreRefused(
            f"this is a backup of {backup.issuer}, and EPHEMERA_ISSUER is {issuer}; "
            "the issuer of a registry keeps its name"
        )
    make_room(database)
    with database.write() as connection:
        kids = _clear(connection, database, replace=replace)
        migration.upgrade(connection, location=database.location, to=backup.revision)
        _insert(connection, backup)
        migration.upgrade(connection, location=database.location)
        keys = None
        if backup.issuer is not None:
            keys = SigningKeys(database=database, sealing_keys=sealing_keys(), issuer=backup.issuer)
        restored = _begin(connection, keys, kids, algorithm, now=now())
        note(connection, restored)
        return restored


def _clear(connection: Connection, database: Database, *, replace: bool) -> set[str]:
    """Remove what is there; the keys that were, since they are to be revoked as well."""
    present = migration.tables(connection)
    if migration.revision_of(present, location=database.location) is None:
        return set()
    if not replace and _anything(connection):
        raise RestoreRefused(
            f"{database.location}: is not empty, and a backup would take the place of all that is "
            "in it; --replace says that this is meant"
        )
    kids = set(connection.scalars(select(signing_keys.c.kid)))
    for each in reversed(tables_in(connection)):
        each.drop(connection)
    connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
    return kids


def _anything(connection: Connection) -> bool:
    return any(
        connection.scalar(select(func.count()).select_from(each))
        for each in tables_in(connection)
        if each.name != state.name
    )


def _insert(connection: Connection, backup: Backup) -> None:
    tables = {each.name: each for each in tables_in(connection)}
    if backup.rows.keys() - tables or len(backup.rows.get(state.name, ())) != 1:
        raise BackupInvalid("the tables in the backup are not those of its revision")
    connection.execute(state.delete())
    for name, each in tables.items():
        rows = backup.rows.get(name, [])
        if any(row.keys() != columns_of(each) for row in rows):
            raise BackupInvalid(f"the rows of {name} in the backup are not those of its revision")
        if rows:
            connection.execute(each.insert(), rows)


def _begin(
    connection: Connection,
    keys: SigningKeys | None,
    kids: set[str],
    algorithm: Algorithm,
    *,
    now: float,
) -> Restored:
    epoch = secrets.token_urlsafe(16)
    connection.execute(state.update().values(epoch=epoch))
    if keys is not None:
        kids |= {record.kid for record in keys.replace(connection, algorithm, now=now).revoked}
    known = connection.scalars(select(revocations.c.kid).where(revocations.c.kid.is_not(None)))
    for kid in sorted(kids - set(known)):
        revoke_key(connection, kid, now=now)
    entry = cut_off(connection, client=None, audience=None, now=now)
    return Restored(epoch, tuple(sorted(kids)), entry.moment)
