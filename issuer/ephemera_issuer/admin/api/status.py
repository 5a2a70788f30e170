"""`/status` and `/admins`: what is administered, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ephemera_issuer.admin import documents
from ephemera_issuer.admin.api.call import Answer, Answering, Operation
from ephemera_issuer.admin.api.clients import Key
from ephemera_issuer.admin.api.lists import Paged, page
from ephemera_issuer.edge.presented import fresh

if TYPE_CHECKING:
    from ephemera_issuer.admin.api.call import Call


class Status(Answering):
    """What this replica answers from, and who asks."""

    issuer: str
    administrator: str
    active_key: str
    registry_version: int
    keys_version: int
    epoch: str
    revocation_sequence: int
    snapshot_age: float
    """Seconds since the database confirmed it."""


class AdminDocument(Answering):
    """An administrator."""

    id: str
    keys: list[Key]


class AdminPage(Answering):
    """Administrators by id."""

    registry_version: int
    items: list[AdminDocument]
    next: str | None


def _status(call: Call) -> Answer:
    now = call.issuer.clock()
    snapshot = fresh(call.issuer.keeper, now)
    return Answer(
        Status(
            issuer=call.issuer.issuer,
            administrator=call.admin.id,
            active_key=snapshot.ring.active.kid,
            registry_version=snapshot.registry_version,
            keys_version=snapshot.keys_version,
            epoch=snapshot.revocations.epoch,
            revocation_sequence=snapshot.revocations.sequence,
            snapshot_age=round(now.since(snapshot.confirmed_at), 3),
        )
    )


def _admins(call: Call) -> Answer:
    registry = call.issuer.registry()
    entries, further = page(registry.admins, call.query)
    items = [AdminDocument(**documents.entry(entry)) for entry in entries]
    return Answer(AdminPage(registry_version=registry.version, items=items, next=further))


OPERATIONS = (
    Operation(
        method="GET",
        path="/status",
        name="showStatus",
        summary="Show what this replica answers from, and who asks.",
        do=_status,
        answer=Status,
    ),
    Operation(
        method="GET",
        path="/admins",
        name="listAdmins",
        summary="List the administrators. They are made and removed by `ephemera apply` alone.",
        do=_admins,
        query=Paged,
        answer=AdminPage,
    ),
)
