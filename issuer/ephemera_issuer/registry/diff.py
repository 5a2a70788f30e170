"""The difference between what files declare and what the registry has; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ephemera_issuer.errors import Problem, RegistryInvalid
from ephemera_issuer.registry.entries import (
    MOST_CREDENTIALS,
    Admin,
    Audience,
    Client,
    Entry,
    Grant,
    Registry,
    TrustedIssuer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ephemera_issuer.registry.declarations import ClientDeclaration, Declarations

TO_BE_MADE = b""
"""Stands among the digests of a client until its secret is made; no secret has it."""


class Change(NamedTuple):
    """One entry to write: as it will be, or as it was where it is removed.

    `before` is what a changed entry was.
    """

    action: Literal["add", "change", "remove"]
    entry: Entry
    before: Entry | None = None


class Difference(NamedTuple):
    """What makes the registry match: audiences, issuers, clients, grants, admins, each in order.

    `without_secret` names the clients that must be given a first secret.
    """

    changes: tuple[Change, ...]
    without_secret: tuple[str, ...]


def difference(declared: Declarations, registry: Registry, *, prune: bool) -> Difference:
    """Compare declarations with the registry; with `prune` what is not declared is removed.

    A client keeps its secrets for as long as a secret is declared. An entry that does not say
    whether it is disabled stays as it is, so that an emergency stop is not undone by the next
    unrelated change.

    Raises:
        RegistryInvalid: Entries that name an unknown audience, client or scope; a client that
            would have too many credentials; an administrator of whom too many keys are declared;
            the last administrator would be removed.
    """
    wanted = _wanted(declared, registry, prune=prune)
    problems = [
        *_strangers(declared, wanted),
        *_crowded(declared, wanted),
        *_untrusted(declared, wanted),
        *_dangling(declared, wanted),
        *_unadministered(declared, registry, wanted),
    ]
    if problems:
        raise RegistryInvalid(problems)
    return Difference(
        (
            *_changes(registry.audiences, wanted.audiences),
            *_changes(registry.issuers, wanted.issuers),
            *_changes(registry.clients, wanted.clients),
            *_changes(registry.grants, wanted.grants),
            *_changes(registry.admins, wanted.admins),
        ),
        tuple(
            id_ for id_ in sorted(wanted.clients) if TO_BE_MADE in wanted.clients[id_].secret_hashes
        ),
    )


def _wanted(declared: Declarations, registry: Registry, *, prune: bool) -> Registry:
    audiences = {} if prune else dict(registry.audiences)
    for audience in declared.audiences.values():
        disabled = _disabled(audience.disabled, registry.audiences.get(audience.id))
        audiences[audience.id] = Audience(
            audience.id,
            audience.scopes,
            audience.max_lifetime,
            audience.single_use,
            disabled,
            audience.introspected_by,
            audience.dpop_required,
        )
    issuers = {} if prune else dict(registry.issuers)
    for issuer in declared.issuers.values():
        issuers[issuer.id] = TrustedIssuer(
            issuer.id,
            issuer.max_lifetime,
            issuer.reusable,
            issuer.audience,
            issuer.keys,
            issuer.jwks_uri,
        )
    clients = {} if prune else dict(registry.clients)
    for client in declared.clients.values():
        clients[client.id] = _client(client, registry.clients.get(client.id))
    grants = {} if prune else dict(registry.grants)
    for key, grant in declared.grants.items():
        grants[key] = Grant(grant.client, grant.audience, grant.scopes, grant.max_lifetime)
    admins = {} if prune else dict(registry.admins)
    for admin in declared.admins.values():
        admins[admin.id] = Admin(admin.id, admin.keys)
    return Registry(
        audiences=audiences,
        clients=clients,
        grants=grants,
        version=registry.version,
        admins=admins,
        issuers=issuers,
    )


def _client(declared: ClientDeclaration, known: Client | None) -> Client:
    hashes: tuple[bytes, ...] = ()
    if declared.secret:
        hashes = (known.secret_hashes if known else ()) or (TO_BE_MADE,)
    disabled = _disabled(declared.disabled, known)
    return Client(
        declared.id, hashes, disabled, declared.keys, declared.jwks_uri, declared.identities
    )


def _disabled(declared: bool | None, known: Audience | Client | None) -> bool:  # noqa: FBT001 - a value, not a switch
    if declared is not None:
        return declared
    return known is not None and known.disabled


def _strangers(declared: Declarations, wanted: Registry) -> Iterator[Problem]:
    """Clients that may introspect, and that there will not be."""
    for audience in declared.audiences.values():
        unknown = sorted(audience.introspected_by - wanted.clients.keys())
        if unknown:
            yield audience.place.problem(
                "introspected_by", f"there is no client {', '.join(unknown)}"
            )


def _crowded(declared: Declarations, wanted: Registry) -> Iterator[Problem]:
    for client in declared.clients.values():
        count = wanted.clients[client.id].credentials
        if count > MOST_CREDENTIALS:
            yield client.place.problem(
                "",
                f"would have {count} live credentials, secrets and keys together, and "
                f"{MOST_CREDENTIALS} is the most: leave one out, or drop a secret with "
                "`ephemera clients drop-secret`",
            )
    for admin in declared.admins.values():
        if len(admin.keys) > MOST_CREDENTIALS:
            yield admin.place.problem(
                "jwks_file", f"has {len(admin.keys)} keys, and {MOST_CREDENTIALS} is the most"
            )


def _unadministered(
    declared: Declarations, registry: Registry, wanted: Registry
) -> Iterator[Problem]:
    """An issuer that had an administrator keeps one, whatever is pruned."""
    if registry.admins and not wanted.admins:
        last = ", ".join(sorted(registry.admins))
        yield Problem(
            _somewhere(declared),
            None,
            "admins",
            f"would remove the last administrator ({last}): declare one, this or another",
        )


def _somewhere(declared: Declarations) -> str:
    """A file to name where the problem is what no file says."""
    for kind in (declared.audiences, declared.clients, declared.grants):
        for declaration in kind.values():
            return declaration.place.file
    return "registry"


def _untrusted(declared: Declarations, wanted: Registry) -> Iterator[Problem]:
    """Identities of issuers that there will not be."""
    for client in declared.clients.values():
        unknown = sorted({one.issuer for one in client.identities} - wanted.issuers.keys())
        if unknown:
            yield client.place.problem("identities", f"there is no issuer {', '.join(unknown)}")


def _dangling(declared: Declarations, wanted: Registry) -> Iterator[Problem]:
    """Grants that do not fit the audiences and clients that there will be."""
    for key, grant in wanted.grants.items():
        audience = wanted.audiences.get(grant.audience)
        unknown = sorted(grant.scopes - audience.scopes) if audience else []
        declaration = declared.grants.get(key)
        if declaration is None:
            # It is in the registry only, so a declaration of its audience took a scope away.
            if unknown:
                yield declared.audiences[grant.audience].place.problem(
                    "scopes", f"lacks {', '.join(unknown)}, which is granted to {grant.client}"
                )
            continue
        if grant.client not in wanted.clients:
            yield declaration.place.problem("client", f"there is no client {grant.client}")
        if audience is None:
            yield declaration.place.problem("audience", f"there is no audience {grant.audience}")
        if unknown:
            yield declaration.place.problem(
                "scopes", f"{grant.audience} has no scope {', '.join(unknown)}"
            )


def _changes(before: Mapping[Any, Entry], after: Mapping[Any, Entry]) -> Iterator[Change]:
    for key in sorted(before.keys() | after.keys()):
        if key not in after:
            yield Change("remove", before[key])
        elif key not in before:
            yield Change("add", after[key])
        elif before[key] != after[key]:
            yield Change("change", after[key], before[key])
