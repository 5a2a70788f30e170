"""What may stand in registry files: the keys of each kind of entry, and what each may hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ephemera_issuer.policy import MAXIMUM_LIFETIME
from ephemera_issuer.registry import syntax
from ephemera_issuer.registry.declarations import (
    AdminDeclaration,
    AudienceDeclaration,
    ClientDeclaration,
    GrantDeclaration,
    IssuerDeclaration,
    Place,
)
from ephemera_issuer.registry.entries import MOST_CREDENTIALS
from ephemera_issuer.registry.jwks_file import MOST_ISSUER_KEYS, read_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from ephemera_issuer.errors import Problem
    from ephemera_issuer.registry.entries import ClientKey


class Field(NamedTuple):
    """How the value of a key is checked, and what stands in for a missing one."""

    check: Callable[[object], Any]
    required: bool = False
    default: Any = None


class Entries(NamedTuple):
    """One kind of entry: its keys, what it becomes, and which of its values name it.

    `complete` is given the entry as written, its checked values and its place; it looks at what
    concerns several values, and makes the declaration's of them.
    """

    fields: Mapping[str, Field]
    declaration: Callable[..., Any]
    name: tuple[str, ...]
    complete: Callable[[Mapping[str, object], dict[str, Any], Place], Iterable[Problem]]


def _nothing_more(*_: object) -> tuple[()]:
    return ()


def _binding(_: object, values: dict[str, Any], _place: Place) -> tuple[()]:
    values["dpop_required"] = values.pop("dpop", False)
    return ()


def credential_problems(given: Collection[str], *, keys: str, place: Place) -> Iterator[Problem]:
    """What is wrong with the kinds of credential `given` to a client; `keys` names its own keys."""
    if not {"secret", keys, "jwks_uri", "identities"} & set(given):
        yield place.problem("", f"needs a credential: secret, {keys}, jwks_uri or identities")
    if {keys, "jwks_uri"} <= set(given):
        yield place.problem("jwks_uri", f"cannot stand beside {keys}: keys come from one place")


def kid_problems(keys: Collection[ClientKey], *, name: str, place: Place) -> Iterator[Problem]:
    """Keys of one owner that cannot be told apart."""
    if len({key.key.kid for key in keys}) < len(keys):
        yield place.problem(name, "two keys have the same kid")


def _credentials(
    entry: Mapping[str, object], values: dict[str, Any], place: Place
) -> Iterator[Problem]:
    """Read a client's keys; it has a secret, or keys of one source, or moves between the two."""
    yield from credential_problems(entry.keys(), keys="jwks_file", place=place)
    yield from _keys(entry, values, place)


def _trusted(
    entry: Mapping[str, object], values: dict[str, Any], place: Place
) -> Iterator[Problem]:
    """Read the keys of an issuer, which come from one source."""
    if not entry.keys() & {"jwks_file", "jwks_uri"}:
        yield place.problem("", "needs keys: jwks_file or jwks_uri")
    if {"jwks_file", "jwks_uri"} <= entry.keys():
        yield place.problem("jwks_uri", "cannot stand beside jwks_file: keys come from one place")
    yield from _keys(entry, values, place, most=MOST_ISSUER_KEYS)


def _keys(
    _entry: Mapping[str, object],
    values: dict[str, Any],
    place: Place,
    most: int = MOST_CREDENTIALS,
) -> Iterator[Problem]:
    """Read the keys in the files that are named; their kids are different ones."""
    keys: list[ClientKey] = []
    folder = Path(place.file).parent
    names = values.pop("jwks_file", None) or ()
    for name in names:
        try:
            keys += read_keys(folder / name, most=most)
        except ValueError as error:
            yield place.problem("jwks_file", f"{name}: {error}")
    yield from kid_problems(keys, name="jwks_file", place=place)
    values["jwks_files"] = tuple(folder / name for name in names)
    values["keys"] = tuple(keys)


ENTRIES: Mapping[str, Entries] = {
    "audiences": Entries(
        {
            "id": Field(syntax.audience_id, required=True),
            "scopes": Field(syntax.scopes, required=True),
            "max_lifetime": Field(syntax.lifetime, default=MAXIMUM_LIFETIME),
            "single_use": Field(syntax.flag, default=True),
            "introspected_by": Field(syntax.clients, default=frozenset()),
            "dpop": Field(syntax.dpop, default=False),
            "disabled": Field(syntax.flag),
        },
        AudienceDeclaration,
        ("id",),
        _binding,
    ),
    "issuers": Entries(
        {
            "id": Field(syntax.issuer_id, required=True),
            "jwks_file": Field(syntax.file_names, default=()),
            "jwks_uri": Field(syntax.jwks_uri),
            "audience": Field(syntax.audience_text),
            "max_lifetime": Field(syntax.long_lifetime, default=syntax.DAY),
            "reusable": Field(syntax.flag, default=False),
        },
        IssuerDeclaration,
        ("id",),
        _trusted,
    ),
    "clients": Entries(
        {
            "id": Field(syntax.client_id, required=True),
            "secret": Field(syntax.secret, default=False),
            "jwks_file": Field(syntax.file_names, default=()),
            "jwks_uri": Field(syntax.jwks_uri),
            "identities": Field(syntax.identities, default=()),
            "disabled": Field(syntax.flag),
        },
        ClientDeclaration,
        ("id",),
        _credentials,
    ),
    "grants": Entries(
        {
            "client": Field(syntax.client_id, required=True),
            "audience": Field(syntax.audience_id, required=True),
            "scopes": Field(syntax.scopes, required=True),
            "max_lifetime": Field(syntax.lifetime, default=MAXIMUM_LIFETIME),
        },
        GrantDeclaration,
        ("client", "audience"),
        _nothing_more,
    ),
    "admins": Entries(
        {
            "id": Field(syntax.client_id, required=True),
            "jwks_file": Field(syntax.file_names, required=True),
        },
        AdminDeclaration,
        ("id",),
        _keys,
    ),
}
