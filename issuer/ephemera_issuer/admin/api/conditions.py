"""What a change depends on (RFC 9110 §13): nobody overwrites what they have not seen."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, NamedTuple, Self

from ephemera_issuer.admin.api.problems import ApiRefused, malformed
from ephemera_issuer.errors import PreconditionFailed
from ephemera_issuer.registry.store import row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ephemera_issuer.registry.entries import Entry
    from ephemera_issuer.rotation import StoredRing

_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'
_TAGS = re.compile(rf"[ \t]*{_TAG}(?:[ \t]*,[ \t]*{_TAG})*[ \t]*")
_ONE = re.compile(_TAG)
_ANY = "*"


class Condition(NamedTuple):
    """The preconditions of a request.

    `seen` are the tags of `If-Match`; `*` among them stands for whatever there is. `absent` says
    that there must be nothing: `If-None-Match: *`. `known` are the tags of `If-None-Match`.
    """

    seen: frozenset[str] = frozenset()
    absent: bool = False
    known: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, if_match: Sequence[str], if_none_match: Sequence[str]) -> Self:
        """Read the values of both headers.

        Raises:
            ApiRefused: 400, they are no lists of entity tags.
        """
        known = _tags(if_none_match)
        return cls(_tags(if_match), _ANY in known, known)

    def require_given(self) -> None:
        """Make sure that a change says what it depends on.

        Raises:
            ApiRefused: 428, it does not.
        """
        if not self.seen and not self.absent:
            raise ApiRefused(
                428,
                "precondition_required",
                "send If-Match with the ETag that was seen, or If-None-Match: * to make what is "
                "not there yet",
            )

    def require(self, tag: str | None) -> None:
        """Make sure that what is there, None for nothing, is what the change depends on.

        Raises:
            PreconditionFailed: It is not.
        """
        if self.absent and tag is not None:
            raise PreconditionFailed("is there already")
        if self.seen and (tag is None or not self.seen & {tag, _ANY}):
            raise PreconditionFailed("has changed since it was seen, or is gone: look again")


def _tags(values: Sequence[str]) -> frozenset[str]:
    text = ",".join(values)
    if not values:
        return frozenset()
    if text.strip() == _ANY:
        return frozenset({_ANY})
    if not _TAGS.fullmatch(text):
        raise malformed("If-Match and If-None-Match are * or lists of quoted entity tags")
    return frozenset(_ONE.findall(text))


def entry_tag(entry: Entry) -> str:
    """The entity tag of an entry of the registry: of all that is stored of it."""
    table, key, columns = row(entry)
    return _tag([table.name, key, columns])


def ring_tag(stored: StoredRing) -> str:
    """The entity tag of the signing keys."""
    return _tag([stored.version, [[record.kid, record.state] for record in stored.ring.records]])


def _tag(content: object) -> str:
    return f'"{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]}"'
