"""Revocations in memory: single tokens, all that came before a moment, and keys; pure.

Every entry has a sequence number of its own. Whoever has seen all entries up to one number needs
only those after it: nothing is ever taken back, and what leaves does so by rules that need no
telling (it is overdue, or a later entry takes its place).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeAlias

from ephemera_keys.ring import LONGEST_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ephemera_issuer.issued import IssuedToken

KEPT = 60
"""Seconds for which an entry outlives what it revokes: verifiers have leeway, clocks differ."""

SETTLING = 2
"""Seconds from the commit of a cut-off to its moment. Every replica knows of it by then, so that
none goes on minting tokens that look as if they came after."""

MOST_TOKENS = 1000
"""Entries for single tokens of one client; more become one cut-off of the client."""

MOST_TOKENS_IN_ALL = 50_000
"""Entries for single tokens of all clients. Over it, a client that revokes one more is cut off:
verifiers bound what they read, and refuse everything when there is more."""


@dataclass(frozen=True, slots=True)
class RevokedToken:
    """One token, by its `jti`. Times are Unix seconds.

    An operator may know nothing but the `jti`: `client` is None then, and the times are the latest
    that the token can have.
    """

    jti: str
    client: str | None
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class CutOff:
    """All tokens of a client, for an audience, or of the one for the other, up to `moment`.

    A token whose `iat` is `moment` or earlier is revoked. None stands for every client, or every
    audience.
    """

    client: str | None
    audience: str | None
    moment: int

    @property
    def expires_at(self) -> int:
        """When the last token that it revokes has expired."""
        return self.moment + LONGEST_LIFETIME


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """All that a key signed. Such an entry stays for ever, as the record of the key does."""

    kid: str


Revocation: TypeAlias = RevokedToken | CutOff | RevokedKey


def cut_off_moment(committed_at: float) -> int:
    """The moment of a cut-off that is being committed now."""
    return math.ceil(committed_at + SETTLING)


def overdue(expires_at: int, now: float) -> bool:
    """Whether an entry is no longer needed, when what it revokes expires at `expires_at`."""
    return now > expires_at + KEPT


@dataclass(frozen=True, slots=True)
class Revocations:
    """All entries up to `sequence`.

    Sequence numbers compare within one `epoch` only: a database has its own, and a restored one
    another. `cut_offs` are keyed by (client, audience). `numbers` says of each entry by which
    number at the latest it had come.
    """

    epoch: str
    sequence: int
    tokens: Mapping[str, RevokedToken]
    cut_offs: Mapping[tuple[str | None, str | None], CutOff]
    kids: frozenset[str]
    numbers: Mapping[Revocation, int] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def none(cls, epoch: str) -> Self:
        """Begin an epoch."""
        return cls(epoch, 0, {}, {}, frozenset())

    def followed_by(self, entries: Iterable[Revocation], *, sequence: int, now: float) -> Self:
        """Add the later entries, in the order of their numbers, and drop what is overdue.

        A client's cut-off takes the place of its tokens' entries, as far as it covers them.
        """
        entries = tuple(entries)
        tokens = dict(self.tokens)
        cut_offs = dict(self.cut_offs)
        kids = set(self.kids)
        for entry in entries:
            match entry:
                case RevokedToken():
                    tokens[entry.jti] = entry
                case CutOff():
                    cut_offs[entry.client, entry.audience] = entry
                case RevokedKey():
                    kids.add(entry.kid)
        alone = {
            client: entry.moment
            for (client, audience), entry in cut_offs.items()
            if client is not None and audience is None
        }
        tokens = {
            jti: token
            for jti, token in tokens.items()
            if not overdue(token.expires_at, now)
            and (token.client is None or token.issued_at > alone.get(token.client, 0))
        }
        cut_offs = {
            pair: entry for pair, entry in cut_offs.items() if not overdue(entry.expires_at, now)
        }
        numbers = {**self.numbers, **dict.fromkeys(entries, sequence)}
        living: tuple[Revocation, ...] = (
            *tokens.values(),
            *cut_offs.values(),
            *(RevokedKey(kid) for kid in kids),
        )
        return type(self)(
            self.epoch,
            sequence,
            tokens,
            cut_offs,
            frozenset(kids),
            {entry: numbers[entry] for entry in living},
        )

    def after(self, number: int, *, now: float) -> list[Revocation]:
        """List what came after `number`, and perhaps some of what came before; all after 0.

        What is overdue is left out, also where no later entry has swept it away yet.
        """
        return [
            entry
            for entry, came_by in self.numbers.items()
            if came_by > number
            and (isinstance(entry, RevokedKey) or not overdue(entry.expires_at, now))
        ]

    def revokes(self, token: IssuedToken) -> bool:
        """Whether a token is withdrawn: itself, with all of its time, or with its key."""
        return (
            token.jti in self.tokens
            or token.kid in self.kids
            or token.issued_at <= self.cut_off(token.client_id, token.audience)
        )

    def cut_off(self, client: str, audience: str) -> int:
        """The last `iat` that is refused for this pair, Unix seconds; 0 where none is."""
        if not self.cut_offs:
            return 0
        pairs = ((client, audience), (client, None), (None, audience), (None, None))
        return max(self.cut_offs[pair].moment if pair in self.cut_offs else 0 for pair in pairs)

    def unsettled(self, client: str, audience: str, now: float) -> int:
        """Seconds until a token may be minted for this pair again; 0 where one may be now.

        A token minted before would be born revoked: its `iat` is the second that has begun.
        """
        if not self.cut_offs:
            return 0
        return max(0, math.ceil(self.cut_off(client, audience) + 1 - now))
