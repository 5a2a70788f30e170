"""The feed's documents: `epoch`, `sequence`, `after` and the entries that came after it."""

from typing import Any, NamedTuple

from ephemera_client.compact import strict_json
from ephemera_client.revocations.revoked import CutOff, Pair, Revoked

_LONGEST = 1024
_LATEST = 2**53


class FeedInvalid(ValueError):
    """The document cannot be relied on; the text quotes nothing of it."""


class Document(NamedTuple):
    """What came after number `after` of an epoch, up to `sequence`; all, where `after` is 0."""

    epoch: str
    sequence: int
    after: int
    revoked: Revoked


def parse(body: bytes, *, max_entries: int) -> Document:
    """Read a document.

    An entry that is not understood makes all of it unusable: it may revoke something.

    Raises:
        FeedInvalid: not such a document, or one of more than `max_entries`.
    """
    try:
        document = strict_json(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise FeedInvalid("the feed is not a JSON object")
    epoch: Any = document.get("epoch")
    sequence: Any = document.get("sequence")
    after: Any = document.get("after")
    entries = document.get("entries")
    if not _is_text(epoch) or not _is_number(sequence) or not _is_number(after):
        raise FeedInvalid("the feed does not say where in which sequence it is")
    if after > sequence:
        raise FeedInvalid("the feed begins after its end")
    if not isinstance(entries, list) or len(entries) > max_entries:
        raise FeedInvalid("the feed is not a list of entries, or it is too long")
    return Document(epoch, sequence, after, _revoked(entries))


def _revoked(entries: list[Any]) -> Revoked:
    tokens: dict[str, int] = {}
    cut_offs: dict[Pair, CutOff] = {}
    kids: set[str] = set()
    for entry in entries:
        members = entry.keys() if isinstance(entry, dict) else None
        if members == {"jti", "exp"} and _is_text(entry["jti"]) and _is_number(entry["exp"]):
            tokens[entry["jti"]] = entry["exp"]
        elif members == {"kid"} and _is_text(entry["kid"]):
            kids.add(entry["kid"])
        elif members is not None and _is_cut_off(entry):
            pair = entry.get("client"), entry.get("audience")
            cut_off = CutOff(entry["cut_off"], entry["exp"])
            cut_offs[pair] = max(cut_off, cut_offs.get(pair, cut_off))
        else:
            raise FeedInvalid("the feed holds an entry of no known kind")
    return Revoked(tokens, cut_offs, frozenset(kids))


def _is_cut_off(entry: dict[str, Any]) -> bool:
    named = entry.keys() - {"cut_off", "exp"}
    return (
        _is_number(entry.get("cut_off"))
        and _is_number(entry.get("exp"))
        and named <= {"client", "audience"}
        and all(_is_text(entry[name]) for name in named)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LATEST
