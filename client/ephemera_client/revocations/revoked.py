"""What is revoked: an immutable picture, asked for each token."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

KEPT = 60
"""Seconds for which an entry outlives what it revokes: a verifier has leeway, and clocks differ."""

Pair = tuple[str | None, str | None]


class CutOff(NamedTuple):
    """All that was minted up to `moment` is revoked, and has expired by `expires_at`."""

    moment: int
    expires_at: int


class Revoked:
    """Single tokens, all of a client or audience up to a moment, and all of a key.

    `tokens` says of each `jti` when it expires; `cut_offs` are keyed by (client, audience), None
    standing for every one. `forgotten` is the latest expiry of what was dropped as overdue: should
    the clock be set back, tokens that end before it are refused, since nobody knows any more.
    `any` is false where nothing need be asked. Times are Unix seconds, the issuer's.
    """

    __slots__ = ("any", "cut_offs", "forgotten", "kids", "tokens")

    def __init__(
        self,
        tokens: Mapping[str, int],
        cut_offs: Mapping[Pair, CutOff],
        kids: frozenset[str],
        forgotten: int = 0,
    ) -> None:
        self.tokens = tokens
        self.cut_offs = cut_offs
        self.kids = kids
        self.forgotten = forgotten
        self.any = bool(tokens or cut_offs or kids or forgotten)

    def __len__(self) -> int:
        return len(self.tokens) + len(self.cut_offs) + len(self.kids)

    def __bool__(self) -> bool:
        return self.any

    def revokes(  # noqa: PLR0913 - what a token says of itself, each by its name
        self,
        *,
        kid: str,
        client: str,
        audience: str,
        issued_at: int,
        expires_at: int,
        token_id: str,
    ) -> bool:
        """Say whether a token is withdrawn."""
        if token_id in self.tokens or kid in self.kids or expires_at <= self.forgotten:
            return True
        if cut_offs := self.cut_offs:
            for pair in ((client, audience), (client, None), (None, audience), (None, None)):
                if pair in cut_offs and issued_at <= cut_offs[pair].moment:
                    return True
        return False

    def joined(self, later: "Revoked", *, now: float) -> "Revoked":
        """Add what came later, and drop what is overdue; `now` is in Unix seconds."""
        if not later and not self:
            return self
        tokens = {**self.tokens, **later.tokens}
        cut_offs = dict(self.cut_offs)
        for pair, cut_off in later.cut_offs.items():
            held = cut_offs.get(pair)
            if held is None or held.moment < cut_off.moment:
                cut_offs[pair] = cut_off
        forgotten = max(
            self.forgotten,
            later.forgotten,
            _overdue(tokens.values(), now),
            _overdue((cut_off.expires_at for cut_off in cut_offs.values()), now),
        )
        return Revoked(
            {jti: ends for jti, ends in tokens.items() if ends > forgotten},
            {pair: cut_off for pair, cut_off in cut_offs.items() if cut_off.expires_at > forgotten},
            self.kids | later.kids,
            forgotten,
        )


def _overdue(moments: Iterable[int], now: float) -> int:
    return max((ends for ends in moments if ends + KEPT < now), default=0)


NOTHING = Revoked({}, {}, frozenset())
