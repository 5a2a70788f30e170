"""Revocations in the database: entering them in sequence, reading them whole or what is new.

A sequence number is taken under the lock of the `state` row, in the transaction that writes its
entry. So numbers become visible in their order, and whoever has read up to one has missed nothing
before it, however many processes revoke at once.
"""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select

from ephemera_issuer.database.transactions import note
from ephemera_issuer.errors import UnknownAudience, UnknownClient
from ephemera_issuer.registry.tables import audiences, clients, revocations, state
from ephemera_issuer.revocation.entries import (
    KEPT,
    MOST_TOKENS,
    MOST_TOKENS_IN_ALL,
    CutOff,
    Revocation,
    Revocations,
    RevokedKey,
    RevokedToken,
    cut_off_moment,
    overdue,
)
from ephemera_keys.ring import LONGEST_LIFETIME, SKEW

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from ephemera_issuer.issued import IssuedToken


def read_revocations(
    connection: Connection, known: Revocations | None = None, *, now: float
) -> Revocations:
    """Read all entries; of those that are `known` already, only what came after.

    Where nothing came, `known` itself comes back.
    """
    epoch, sequence = connection.execute(select(state.c.epoch, state.c.revocation_sequence)).one()
    if known is None or known.epoch != epoch or known.sequence > sequence:
        known = Revocations.none(epoch)
    if known.sequence == sequence:
        return known
    later = revocations.select().where(revocations.c.sequence > known.sequence)
    rows = connection.execute(later.order_by(revocations.c.sequence))
    return known.followed_by((_entry(row) for row in rows), sequence=sequence, now=now)


def list_revocations(
    connection: Connection, *, after: int, most: int, now: float
) -> tuple[str, list[tuple[int, Revocation]]]:
    """The epoch, and entries with their numbers: `most` of those after number `after`."""
    later = revocations.select().where(
        revocations.c.sequence > after,
        or_(revocations.c.expires_at.is_(None), revocations.c.expires_at >= now - KEPT),
    )
    rows = connection.execute(later.order_by(revocations.c.sequence).limit(most))
    epoch: str = connection.execute(select(state.c.epoch)).scalar_one()
    return epoch, [(row.sequence, _entry(row)) for row in rows]


def revoke_token(connection: Connection, token: IssuedToken, *, now: float) -> None:
    """Revoke one token. One that is revoked already, or that nobody accepts any more, is left.

    A client with more than 1000 such entries is cut off instead, and mints nothing until that has
    settled; so is one that would make more than 50,000 of all clients.
    """
    _lock(connection)
    if overdue(token.expires_at, now) or _revoked(connection, token):
        return
    entry = RevokedToken(token.jti, token.client_id, token.issued_at, token.expires_at)
    _enter(connection, entry, now=now)
    in_all = select(func.count()).where(revocations.c.jti.is_not(None))
    of_client = in_all.where(revocations.c.client == token.client_id)
    if (
        connection.execute(of_client).scalar_one() > MOST_TOKENS
        or connection.execute(in_all).scalar_one() > MOST_TOKENS_IN_ALL
    ):
        cut_off(connection, client=token.client_id, audience=None, now=now)


def revoke_jti(connection: Connection, jti: str, *, now: float) -> RevokedToken:
    """Revoke one token of which nothing else is known, for as long as any token could live.

    Returns its entry, which may be an earlier one.
    """
    _lock(connection)
    found = connection.execute(revocations.select().where(revocations.c.jti == jti)).first()
    if found is not None and not overdue(found.expires_at, now):
        return RevokedToken(found.jti, found.client, found.issued_at, found.expires_at)
    # A verifier takes tokens from a clock that is ahead of its own.
    entry = RevokedToken(jti, None, math.ceil(now), math.ceil(now) + SKEW + LONGEST_LIFETIME)
    _enter(connection, entry, now=now)
    return entry


def cut_off(
    connection: Connection,
    *,
    client: str | None,
    audience: str | None,
    now: float,
    moment: int | None = None,
) -> CutOff:
    """Revoke what was minted up to now, and what is until every replica knows; or up to `moment`.

    A later cut-off of the same pair takes the place of the earlier one, and never lies before it.
    """
    _lock(connection)
    pair = (
        revocations.c.cut_off.is_not(None),
        revocations.c.client.is_not_distinct_from(client),
        revocations.c.audience.is_not_distinct_from(audience),
    )
    before = connection.execute(select(revocations.c.cut_off).where(*pair)).scalar()
    moment = cut_off_moment(now) if moment is None else moment
    entry = CutOff(client, audience, max(moment, before or 0))
    connection.execute(revocations.delete().where(*pair))
    if audience is None:
        covered = revocations.c.issued_at <= entry.moment
        connection.execute(revocations.delete().where(revocations.c.client == client, covered))
    _enter(connection, entry, now=now)
    return entry


def revoke_key(connection: Connection, kid: str, *, now: float) -> None:
    """Revoke all that a key signed."""
    _lock(connection)
    _enter(connection, RevokedKey(kid), now=now)


def require_known(connection: Connection, *, client: str | None, audience: str | None) -> None:
    """Make sure that there are such a client and such an audience, or have been.

    The tokens of one that was removed live on for minutes, and may have to be revoked.

    Raises:
        UnknownClient: There has never been that client.
        UnknownAudience: Nor that audience.
    """
    for table, wanted, unknown, what in (
        (clients, client, UnknownClient, "client"),
        (audiences, audience, UnknownAudience, "audience"),
    ):
        if wanted is None:
            continue
        known = connection.execute(select(table.c.id)).scalars().all()
        if wanted not in known:
            near = difflib.get_close_matches(wanted, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise unknown(f"there is no {what} {wanted}{hint}")


def _lock(connection: Connection) -> None:
    """Let no other process look or write until this transaction ends."""
    connection.execute(select(state.c.revocation_sequence).with_for_update())


def _revoked(connection: Connection, token: IssuedToken) -> bool:
    covering = and_(
        revocations.c.cut_off >= token.issued_at,
        or_(revocations.c.client.is_(None), revocations.c.client == token.client_id),
        or_(revocations.c.audience.is_(None), revocations.c.audience == token.audience),
    )
    found = select(revocations.c.sequence).where(
        or_(covering, revocations.c.jti == token.jti, revocations.c.kid == token.kid)
    )
    return connection.execute(found.limit(1)).first() is not None


def _enter(connection: Connection, entry: Revocation, *, now: float) -> None:
    """Write an entry under the next sequence number, and remove what is overdue."""
    taken = state.update().values(revocation_sequence=state.c.revocation_sequence + 1)
    sequence = connection.execute(taken.returning(state.c.revocation_sequence)).scalar_one()
    connection.execute(revocations.delete().where(revocations.c.expires_at < now - KEPT))
    columns = {"sequence": sequence, "created_at": now} | _columns(entry)
    connection.execute(revocations.insert().values(columns))
    note(connection, entry)


def _columns(entry: Revocation) -> dict[str, Any]:
    match entry:
        case RevokedToken():
            return {
                "jti": entry.jti,
                "client": entry.client,
                "issued_at": entry.issued_at,
                "expires_at": entry.expires_at,
            }
        case CutOff():
            return {
                "client": entry.client,
                "audience": entry.audience,
                "cut_off": entry.moment,
                "expires_at": entry.expires_at,
            }
        case RevokedKey():
            return {"kid": entry.kid}


def _entry(row: Row[Any]) -> Revocation:
    if row.kid is not None:
        return RevokedKey(row.kid)
    if row.jti is not None:
        return RevokedToken(row.jti, row.client, row.issued_at, row.expires_at)
    return CutOff(row.client, row.audience, row.cut_off)
