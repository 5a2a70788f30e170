"""Audiences, clients and grants alike: list, show, put and remove entries of the registry."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ephemera_issuer.admin import documents
from ephemera_issuer.admin.api.call import Answer, Answering
from ephemera_issuer.admin.api.conditions import entry_tag
from ephemera_issuer.admin.api.problems import not_found
from ephemera_issuer.admin.api.rules import PATH
from ephemera_issuer.errors import RegistryInvalid
from ephemera_issuer.registry.application import change, with_secrets
from ephemera_issuer.registry.declarations import Declarations
from ephemera_issuer.registry.diff import difference
from ephemera_issuer.registry.removal import removing
from ephemera_issuer.registry.secrets import digest, generate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ephemera_issuer.admin.api.call import Call
    from ephemera_issuer.errors import Problem
    from ephemera_issuer.registry.application import Applied
    from ephemera_issuer.registry.diff import Change
    from ephemera_issuer.registry.entries import Audience, Client, Grant, Registry

T = TypeVar("T")
CREATED_OR_CHANGED = {
    200: "Changed, or as it was; what was to be there is there.",
    201: "Made.",
}
REMOVED = {200: "Removed."}


class Changed(Answering):
    """What was changed of the registry, or would be; nothing where it was so already."""

    registry_version: int
    dry_run: bool
    changes: list[dict[str, Any]]


class NewSecrets:
    """Secrets that are made for clients, and shown once."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}

    def prepare_next(self, client: str, _live: Collection[bytes] = ()) -> bytes:
        """Make one, and return its SHA-256."""
        secret = generate()
        self.made[client] = secret.decode()
        return digest(secret)

    def __repr__(self) -> str:
        return "NewSecrets(...)"


class Kind(NamedTuple):
    """One kind of entry: what it is called, and where it is in a registry."""

    what: str
    held: Callable[[Registry], Mapping[Any, Audience | Client | Grant]]


AUDIENCES = Kind("audience", lambda registry: registry.audiences)
CLIENTS = Kind("client", lambda registry: registry.clients)
GRANTS = Kind("grant", lambda registry: registry.grants)


def find(kind: Kind, registry: Registry, key: object) -> Audience | Client | Grant:
    """Find an entry.

    Raises:
        ApiRefused: 404, there is none.
    """
    found = kind.held(registry).get(key)
    if found is None:
        raise not_found(kind.what)
    return found


def put(
    call: Call, kind: Kind, key: object, declared: Declarations, secrets: NewSecrets
) -> tuple[Applied, int, str | None]:
    """Make an entry what is declared; the change, the status of the answer and the new tag.

    Raises:
        ApiRefused: 428, no precondition was sent.
        PreconditionFailed: The entry is another than was seen.
        RegistryInvalid: What is declared does not fit the rest of the registry.
    """
    call.condition.require_given()

    def plan(registry: Registry) -> Sequence[Change]:
        changes, without_secret = difference(declared, registry, prune=False)
        if changes:
            before = kind.held(registry).get(key)
            call.condition.require(None if before is None else entry_tag(before))
        if call.query.dry_run:
            return changes
        hashes = {client: secrets.prepare_next(client) for client in without_secret}
        return with_secrets(changes, hashes)

    done, tag = _done(call, kind, key, plan)
    created = any(made.action == "add" for made in done.changes) and not call.query.dry_run
    return done, 201 if created else 200, tag


def remove(call: Call, kind: Kind, key: object) -> Answer:
    """Remove an entry that nothing else needs.

    Raises:
        ApiRefused: 404, there is none; 428, no precondition was sent.
        PreconditionFailed: It is another than was seen.
        EntryInUse: Others refer to it.
    """
    call.condition.require_given()

    def plan(registry: Registry) -> Sequence[Change]:
        entry = find(kind, registry, key)
        call.condition.require(entry_tag(entry))
        return removing(registry, entry)

    done, _ = _done(call, kind, key, plan)
    return answer(call, done, None)


def alter(
    call: Call,
    client: str,
    plan: Callable[[Registry], Sequence[Change]],
    *,
    idempotent: bool = False,
) -> tuple[Applied, str | None]:
    """Change a client as `plan` says, if it is as it was seen.

    Where the change is `idempotent` and has nothing left to do, it may have been made before.

    Raises:
        ApiRefused: 404, there is none.
        PreconditionFailed: It is another than was seen.
    """

    def conditional(registry: Registry) -> Sequence[Change]:
        entry = find(CLIENTS, registry, client)
        if idempotent:
            changes = plan(registry)
            if changes:
                call.condition.require(entry_tag(entry))
            return changes
        call.condition.require(entry_tag(entry))
        return plan(registry)

    return _done(call, CLIENTS, client, conditional)


def _done(
    call: Call, kind: Kind, key: object, plan: Callable[[Registry], Sequence[Change]]
) -> tuple[Applied, str | None]:
    """Do it, and tell the tag of what is there then."""
    there: list[Audience | Client | Grant | None] = []

    def watched(registry: Registry) -> Sequence[Change]:
        changes = plan(registry)
        there.append(kind.held(registry).get(key))
        return changes

    done = change(call.issuer.database, watched, dry_run=call.query.dry_run)
    entry = there[-1]
    for made in () if call.query.dry_run else done.changes:
        entry = None if made.action == "remove" else made.entry  # type: ignore[assignment]
    return done, None if entry is None else entry_tag(entry)


def answer(call: Call, done: Applied, tag: str | None) -> Answer:
    """Tell what was done."""
    return Answer(
        Changed(**told(call, done)), tag=tag, changed=bool(done.changes) and not call.query.dry_run
    )


def told(call: Call, done: Applied) -> dict[str, Any]:
    """The members of `Changed`."""
    return {
        "registry_version": done.version,
        "dry_run": call.query.dry_run,
        "changes": [documents.change(made) for made in done.changes],
    }


def declaring(**kinds: Mapping[Any, Any]) -> Declarations:
    """Declare what is given, and nothing else."""
    nothing: dict[str, Mapping[Any, Any]] = {kind.name: {} for kind in fields(Declarations)}
    return Declarations(**nothing | kinds)


def require(problems: Sequence[Problem]) -> None:
    """Make sure that nothing is wrong.

    Raises:
        RegistryInvalid: Something is.
    """
    if problems:
        raise RegistryInvalid(problems)


def named(check: Callable[[object], str], parameter: str, call: Call) -> str:
    """The name that a path gives to an entry that may be made.

    Raises:
        RegistryInvalid: No entry is called so.
    """
    try:
        return check(call.path[parameter])
    except ValueError as error:
        raise RegistryInvalid([PATH.problem(parameter, str(error))]) from None
