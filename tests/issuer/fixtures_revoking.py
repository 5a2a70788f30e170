"""Tokens to revoke, and a process that revokes as fast as it can."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from ephemera_issuer.database import open_database
from ephemera_issuer.issued import IssuedToken
from ephemera_issuer.revocation.store import cut_off, read_revocations, revoke_token

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from ephemera_issuer.database import Database
    from ephemera_issuer.revocation.entries import Revocations

NOW = 1_800_000_000.75
BILLING = "https://billing.internal"


def issued(jti: str, *, client: str = "orders", issued_at: int = int(NOW)) -> IssuedToken:
    """A token for billing that lives for two minutes."""
    return IssuedToken(
        kid="signing-1",
        issuer="https://tokens.internal",
        client_id=client,
        audience=BILLING,
        scope="invoices:read",
        issued_at=issued_at,
        expires_at=issued_at + 120,
        jti=jti,
    )


def held(database: Database, known: Revocations | None = None, *, now: float = NOW) -> Revocations:
    with database.read() as connection:
        return read_revocations(connection, known, now=now)


def revoke_many(url: str, together: Barrier, name: str, count: int) -> None:
    """Revoke `count` tokens of a client, and cut off an audience of its own now and then."""
    with closing(open_database(url, create=False)) as database:
        together.wait()
        for number in range(count):
            with database.write() as connection:
                revoke_token(connection, issued(f"{name}-{number}", client=name), now=NOW)
                if number % 10 == 9:
                    cut_off(connection, client=None, audience=name, now=NOW + number)
