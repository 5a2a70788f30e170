"""One key of the ring: its public half, its state and the moments of its life."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from ephemera_keys import jwk as public
from ephemera_keys.algorithm import Algorithm
from ephemera_keys.errors import JWKInvalid, RingInvalid

LATEST_MOMENT: Final = 2**36  # the year 4147; what lies beyond is milliseconds taken for seconds


class State(StrEnum):
    """pending → active → retired → (removed); revoked from any of them, for good."""

    PENDING = "pending"
    """Published, not yet signing."""
    ACTIVE = "active"
    """The one that signs."""
    RETIRED = "retired"
    """Published, signs no more."""
    REVOKED = "revoked"
    """Neither published nor signing; its record stays, so that the key never comes back."""


# Which of activated_at, retired_at and revoked_at a state has. Revoked comes from three states.
_MOMENTS: Final = MappingProxyType(
    {
        State.PENDING: {(False, False, False)},
        State.ACTIVE: {(True, False, False)},
        State.RETIRED: {(True, True, False)},
        State.REVOKED: {(False, False, True), (True, False, True), (True, True, True)},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key without its secret. All moments are Unix seconds; `jwk` is copied and read-only.

    Raises:
        RingInvalid: The JWK is not the public key that `kid` and `alg` name, or the moments are
            not those of the state, in the order of a life.
    """

    kid: str
    alg: Algorithm
    jwk: Mapping[str, str] = field(hash=False)
    state: State
    published_at: float
    activated_at: float | None = None
    retired_at: float | None = None
    revoked_at: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "jwk", MappingProxyType(dict(self.jwk)))
        try:
            alg = public.check(self.jwk)
        except JWKInvalid as error:
            raise RingInvalid(f"key {self.kid}: {error}") from error
        if (self.jwk["kid"], alg) != (self.kid, self.alg):
            raise RingInvalid(f"key {self.kid}: its JWK is of another kid or alg")
        later = (self.activated_at, self.retired_at, self.revoked_at)
        if tuple(moment is not None for moment in later) not in _MOMENTS.get(self.state, ()):
            raise RingInvalid(f"key {self.kid}: it lacks a moment of its state, or has another's")
        # Written so that NaN, which answers no to every comparison, fails as well.
        if not all(0 <= moment <= LATEST_MOMENT for moment in self.moments):
            raise RingInvalid(f"key {self.kid}: a moment is not in Unix seconds")
        if any(earlier > moment for earlier, moment in pairwise(self.moments)):
            raise RingInvalid(f"key {self.kid}: its moments are out of order")

    @property
    def moments(self) -> tuple[float, ...]:
        """What has happened to the key so far, oldest first."""
        life = (self.published_at, self.activated_at, self.retired_at, self.revoked_at)
        return tuple(moment for moment in life if moment is not None)
