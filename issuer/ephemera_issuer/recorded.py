"""The database that a command changes, with the audit that keeps a record of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ephemera_client import instant
from ephemera_issuer.audit.actor import local_user
from ephemera_issuer.audit.opening import opened_audit
from ephemera_issuer.database import connect, prepare
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_issuer.audit.opening import Audit
    from ephemera_issuer.database import Database


@contextlib.contextmanager
def opened(settings: Settings | None = None, *, create: bool = False) -> Iterator[Database]:
    """Open the database, as `database.open_database` does.

    Raises:
        AuditUnusable: There is to be an audit, and it cannot be opened.
        DatabaseUnusable: The database cannot be.
    """
    with connected(settings) as (database, _):
        prepare(database, create=create)
        yield database


@contextlib.contextmanager
def connected(settings: Settings | None = None) -> Iterator[tuple[Database, Audit | None]]:
    """Name the database, as `database.connect` does.

    Raises:
        AuditUnusable: As above.
    """
    settings = settings or Settings()
    with (
        opened_audit(settings, by=local_user(), clock=instant.read) as audit,
        contextlib.closing(connect(settings.database_url)) as database,
    ):
        database.recorder = audit and audit.trail
        yield database, audit
