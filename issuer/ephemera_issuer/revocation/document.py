"""Revocations as verifiers read them: a closed JSON document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ephemera_issuer.revocation.entries import CutOff, RevokedKey, RevokedToken

if TYPE_CHECKING:
    from ephemera_issuer.revocation.entries import Revocation, Revocations

_Entry = dict[str, str | int]


def document(revocations: Revocations, *, after: int, now: float) -> bytes:
    """Write what came after number `after`, which the document repeats; all where that is 0."""
    return json.dumps(
        {
            "epoch": revocations.epoch,
            "sequence": revocations.sequence,
            "after": after,
            "entries": [_entry(entry) for entry in revocations.after(after, now=now)],
        },
        separators=(",", ":"),
    ).encode()


def _entry(entry: Revocation) -> _Entry:
    match entry:
        case RevokedToken():
            return {"jti": entry.jti, "exp": entry.expires_at}
        case CutOff():
            named = {"client": entry.client, "audience": entry.audience}
            meant: _Entry = {name: id_ for name, id_ in named.items() if id_ is not None}
            return meant | {"cut_off": entry.moment, "exp": entry.expires_at}
        case RevokedKey():
            return {"kid": entry.kid}
