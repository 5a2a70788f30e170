"""Revoking one token, or all of a client or an audience, and what to tell of it."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

from ephemera_issuer.admin.documents import moment
from ephemera_issuer.errors import RevocationRefused
from ephemera_issuer.revocation.store import cut_off, require_known, revoke_jti
from ephemera_keys.ring import LONGEST_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from ephemera_client.instant import Clock
    from ephemera_issuer.admin.documents import Document
    from ephemera_issuer.database import Database

LONGEST_JTI = 256


class _Undone(Exception):
    """Ends a transaction whose writes were only for trying."""


def revoke_one(database: Database, jti: str, *, clock: Clock, dry_run: bool = False) -> Document:
    """Revoke a token by its `jti`, whether or not there is one.

    Raises:
        RevocationRefused: No token has such a `jti`.
        DatabaseUnusable: Nothing was written.
    """
    if not jti or not jti.isprintable() or len(jti) > LONGEST_JTI:
        raise RevocationRefused(f"a jti is 1 to {LONGEST_JTI} printable characters")
    with _writing(database, dry_run=dry_run) as connection:
        entry = revoke_jti(connection, jti, now=clock().wall)
    return {"jti": jti, "expires_at": moment(entry.expires_at)}


def revoke_many(  # noqa: PLR0913 - what is revoked, and how
    database: Database,
    *,
    client: str | None,
    audience: str | None,
    until: int | None,
    clock: Clock,
    dry_run: bool = False,
) -> Document:
    """Revoke what was minted up to now, or up to the second `until`, for one or both of these.

    Raises:
        UnknownClient: There has never been that client.
        UnknownAudience: Nor that audience.
        RevocationRefused: `until` is not in the past, or so long ago that nothing is left.
        DatabaseUnusable: Nothing was written.
    """
    with _writing(database, dry_run=dry_run) as connection:
        # Read only now: the turn to write may have been long in coming.
        now = clock().wall
        require_known(connection, client=client, audience=audience)
        if until is not None:
            _check(until, now)
        entry = cut_off(connection, client=client, audience=audience, now=now, moment=until)
    return {
        "client": client,
        "audience": audience,
        "cut_off": moment(entry.moment),
        "minted_again_from": moment(max(entry.moment + 1, math.floor(now))),
    }


@contextlib.contextmanager
def _writing(database: Database, *, dry_run: bool) -> Iterator[Connection]:
    with contextlib.suppress(_Undone), database.write() as connection:
        yield connection
        if dry_run:
            raise _Undone


def _check(until: int, now: float) -> None:
    if until >= now:
        raise RevocationRefused(
            "the time lies ahead: leave --issued-before out to revoke what was minted up to now, "
            "and use `ephemera clients disable` against what will be"
        )
    if until < now - LONGEST_LIFETIME:
        raise RevocationRefused(
            f"what was minted before {moment(until + 1)} has expired: no token lives for longer "
            f"than {LONGEST_LIFETIME} s"
        )
