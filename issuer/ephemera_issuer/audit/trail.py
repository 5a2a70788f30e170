"""The record of what changes registry, keys, revocations and the database as a whole.

It is made before the change is committed, so that there is no change without its record. Where the
change then fails, the next record says so.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ephemera_issuer.audit import record, table
from ephemera_issuer.audit.actor import actor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from ephemera_client.instant import Clock
    from ephemera_issuer.audit.writer import Writer


class Trail:
    """Records by a writer what is done; `by` is who does what nobody else is named for."""

    def __init__(self, writer: Writer, *, by: str, clock: Clock) -> None:
        self._writer = writer
        self._by = by
        self._clock = clock

    def before_commit(self, _connection: Connection, events: Sequence[object]) -> None:
        """Record what is about to be done. Blocks until the record is durable.

        Raises:
            AuditNotWritten: It is not, so nothing must be done.
        """
        try:
            self._put(self._bodies(events))
        except BaseException:
            self.not_committed(events)
            raise

    def not_committed(self, events: Sequence[object]) -> None:
        """Record that it was not done after all."""
        at, by = self._clock().wall, actor(self._by)
        self._writer.put(partial(record.undone, tuple(events), at=at, by=by))

    def tell(self, event: object) -> None:
        """Record what is no change. Blocks, and raises, as above."""
        self._put(self._bodies([event]))

    def _put(self, bodies: Sequence[Callable[[], bytes]]) -> None:
        number = 0
        for body in bodies:
            number = self._writer.put(body, hurry=True)
        self._writer.wait(number)

    def _bodies(self, events: Sequence[object]) -> list[Callable[[], bytes]]:
        at, by = self._clock().wall, actor(self._by)
        return [partial(record.done, event, at=at, by=by) for event in events]


class TransactionTrail(Trail):
    """The same in the transaction that does it: there is neither without the other."""

    def before_commit(self, connection: Connection, events: Sequence[object]) -> None:
        """Add the record to the transaction."""
        table.extend(connection, [body() for body in self._bodies(events)])

    def not_committed(self, events: Sequence[object]) -> None:
        """Leave it: the record has gone with the transaction."""
