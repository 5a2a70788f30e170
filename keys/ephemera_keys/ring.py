"""The key ring: which keys are published, which one signs, and when each may change.

Pure: a transition returns another ring, `now` comes from outside, and no secret is here. A store
keeps the records, and makes each transition a compare-and-swap.

A verifier caches the published keys. So a key is published well before it signs, and stays
published until the last token that it signed has expired everywhere.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from ephemera_keys import jwk as public
from ephemera_keys.errors import (
    JWKInvalid,
    RingInvalid,
    RotationRefused,
    TransitionRefused,
    UnknownKid,
)
from ephemera_keys.record import KeyRecord, State

# Seconds. They are one contract with every verifier, so they are constants and not settings: a
# setting lowered today would withdraw a key that yesterday's tokens still need.
LONGEST_LIFETIME: Final = 900
"""The longest that any token may live, whatever is configured."""
SKEW: Final = 30
"""The largest leeway that a verifier may be given."""
JWKS_MAX_AGE: Final = 300
"""How long a cache may keep the published document."""
SNAPSHOT_BOUND: Final = 30
"""How long a replica that has lost the store goes on signing with the key that it knows."""
MINIMUM_PUBLICATION: Final = max(3 * JWKS_MAX_AGE, 900)
"""How long a pending key is published before it may sign: three rounds of every cache."""
RETENTION: Final = LONGEST_LIFETIME + SKEW + JWKS_MAX_AGE + SNAPSHOT_BOUND
"""How long a retired key stays published: its last token, as late as it can be asked about."""

MOST_PUBLISHED: Final = 32
"""A verifier refuses a longer document, and with it every token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The seconds that a ring keeps to: by default `CONTRACT`, on which verifiers rely.

    Others are for trying out whole rotations in seconds, with verifiers that are told of them too.
    """

    jwks_max_age: int = JWKS_MAX_AGE
    publication: float = MINIMUM_PUBLICATION
    retention: float = RETENTION


CONTRACT: Final = Timing()


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The records of all keys, oldest publication first whatever order they are given in.

    There is always exactly one active and one pending key, so that an emergency finds its next
    key already in every cache. A clock set back shortens nothing: a transition happens no earlier
    than what the ring has seen already.

    Raises:
        RingInvalid: Not exactly one active and one pending key, or two records of one kid.
    """

    records: tuple[KeyRecord, ...]
    timing: Timing = CONTRACT

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.records, key=lambda record: (record.published_at, record.kid)))
        object.__setattr__(self, "records", ordered)
        if len({record.kid for record in ordered}) != len(ordered):
            raise RingInvalid("a key ring has each key once")
        for state in (State.ACTIVE, State.PENDING):
            if (count := len(self._of(state))) != 1:
                raise RingInvalid(f"a key ring has exactly one {state} key, and this has {count}")

    @classmethod
    def start(
        cls,
        *,
        active: Mapping[str, str],
        pending: Mapping[str, str],
        now: float,
        timing: Timing = CONTRACT,
    ) -> Self:
        """Begin with two public JWKs, both published now."""
        return cls(
            (
                replace(_publish(active, now), state=State.ACTIVE, activated_at=now),
                _publish(pending, now),
            ),
            timing,
        )

    @property
    def active(self) -> KeyRecord:
        """The key that signs."""
        return self._of(State.ACTIVE)[0]

    @property
    def pending(self) -> KeyRecord:
        """The key that signs next."""
        return self._of(State.PENDING)[0]

    @property
    def retired(self) -> tuple[KeyRecord, ...]:
        """Keys that signed until lately, the last one first; overdue ones included."""
        return tuple(sorted(self._of(State.RETIRED), key=_retirement, reverse=True))

    @property
    def revoked(self) -> tuple[KeyRecord, ...]:
        """Keys that never come back."""
        return self._of(State.REVOKED)

    def record(self, kid: str) -> KeyRecord:
        """Find a key in any state.

        Raises:
            UnknownKid: There is none; it may have been removed.
        """
        for record in self.records:
            if record.kid == kid:
                return record
        raise UnknownKid(kid, tuple(record.kid for record in self.records))

    @property
    def published(self) -> tuple[KeyRecord, ...]:
        """What the JWKS shows: active, pending, then the retired, until they are removed.

        Time has no part in it: so all replicas show the same, and a wrong clock withdraws nothing.
        """
        return (self.active, self.pending, *self.retired)

    @property
    def latest_moment(self) -> float:
        """When the ring last changed, Unix seconds; a clock that is behind it is wrong."""
        return max(moment for record in self.records for moment in record.moments)

    def earliest_rotation(self) -> float:
        """The first moment at which a rotation is not an emergency, Unix seconds."""
        return self.pending.published_at + self.timing.publication

    def overdue_at(self, record: KeyRecord) -> float:
        """The moment from which no living token needs a retired key, Unix seconds.

        Infinite for a key in another state: a revoked key's record never goes.
        """
        if record.state != State.RETIRED or record.retired_at is None:
            return math.inf
        return record.retired_at + self.timing.retention

    def rotate(self, *, new_pending: Mapping[str, str], now: float, emergency: bool) -> Self:
        """Let the pending key sign, retire the active one and publish the next.

        Args:
            new_pending: Public JWK of a key that has never been in the ring.
            now: Unix seconds.
            emergency: Do not wait until the pending key is in every cache. Tokens may then be
                refused until the caches have turned over. If the active key has leaked, this is
                not enough: revoke it.

        Raises:
            RotationRefused: Too early, and not an emergency.
            TransitionRefused: So many keys are still published that no verifier would take more.
            RingInvalid: `new_pending` is no public JWK of ours, or was in the ring already.
        """
        if not emergency and not now >= self.earliest_rotation():
            raise RotationRefused(self.earliest_rotation())
        if len(self.published) >= MOST_PUBLISHED:
            raise TransitionRefused(
                f"{MOST_PUBLISHED} keys are published already, and verifiers take no more; a "
                f"retired key is removed {self.timing.retention:.0f} s after it signed last"
            )
        moment = self._no_earlier(now)
        active = replace(self.active, state=State.RETIRED, retired_at=moment)
        return self._with(active, self._promoted(moment), added=_publish(new_pending, moment))

    def revoke(self, kid: str, *, new_pending: Mapping[str, str] | None, now: float) -> Self:
        """Withdraw a key for good: it leaves the JWKS at once.

        In the place of the active key the pending one signs at once, however short its
        publication. A revoked key can be revoked again; nothing changes.

        Args:
            kid: The key to withdraw.
            new_pending: Public JWK of the next pending key, needed for the active and the pending
                key; None for any other.
            now: Unix seconds.

        Raises:
            UnknownKid: There is no such key.
            TransitionRefused: `new_pending` is given where nothing needs it, or the reverse.
            RingInvalid: `new_pending` is no public JWK of ours, or was in the ring already.
        """
        record = self.record(kid)
        needed = record.state in {State.ACTIVE, State.PENDING}
        if needed != (new_pending is not None):
            how = "with" if needed else "without"
            raise TransitionRefused(f"a {record.state} key is revoked {how} a new pending key")
        if record.state == State.REVOKED:
            return self
        moment = self._no_earlier(now)
        revoked = replace(record, state=State.REVOKED, revoked_at=moment)
        if new_pending is None:
            return self._with(revoked)
        if record.state == State.PENDING:
            return self._with(revoked, added=_publish(new_pending, moment))
        return self._with(revoked, self._promoted(moment), added=_publish(new_pending, moment))

    def remove_overdue(self, now: float, *, among: Collection[str] | None = None) -> Self:
        """Forget the retired keys that no living token needs; the same ring where there are none.

        Args:
            now: Unix seconds.
            among: Only these kids. A clock that was set forward takes every retired key for
                overdue; who removes by a clock names the keys that it has itself seen retired for
                so long.
        """
        kept = tuple(
            record
            for record in self.records
            if not self.overdue_at(record) <= now < math.inf
            or (among is not None and record.kid not in among)
        )
        return replace(self, records=kept) if len(kept) < len(self.records) else self

    def _of(self, state: State) -> tuple[KeyRecord, ...]:
        return tuple(record for record in self.records if record.state == state)

    def _promoted(self, moment: float) -> KeyRecord:
        return replace(self.pending, state=State.ACTIVE, activated_at=moment)

    def _no_earlier(self, now: float) -> float:
        # In this order NaN is what comes out, and no record takes it.
        return max(now, self.latest_moment)

    def _with(self, *changed: KeyRecord, added: KeyRecord | None = None) -> Self:
        kids = {record.kid for record in changed}
        untouched = (record for record in self.records if record.kid not in kids)
        return replace(self, records=(*untouched, *changed, *([added] if added else [])))


def _publish(jwk: Mapping[str, str], moment: float) -> KeyRecord:
    try:
        alg = public.check(jwk)
    except JWKInvalid as error:
        raise RingInvalid(f"the new key: {error}") from error
    return KeyRecord(kid=jwk["kid"], alg=alg, jwk=jwk, state=State.PENDING, published_at=moment)


def _retirement(record: KeyRecord) -> tuple[float, ...]:
    return tuple(reversed(record.moments))
