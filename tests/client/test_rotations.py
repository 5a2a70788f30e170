"""The issuer's key ring and the verifiers' caches, both as they are, over many rotations."""

import bisect
import itertools
import random
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ephemera_client.instant import Instant
from ephemera_client.jwks.answer import Answer
from ephemera_client.jwks.cache import Found, JwksCache, Load, Timing
from ephemera_client.jwks.document import KeySet, parse
from ephemera_keys import KeyRing, jwks, public_jwk
from ephemera_keys.ring import JWKS_MAX_AGE, LONGEST_LIFETIME, SKEW, SNAPSHOT_BOUND

START = 1_800_000_000
ROTATIONS = 100
VERIFIERS = 1000
TIMING = Timing(
    ttl=300,
    minimum_ttl=60,
    maximum_ttl=600,
    refresh_ahead=30,
    stale_for=3000,
    unknown_kid_loads=2,
    unknown_kid_window=30,
    unknown_kid_memory=60,
    timeout=3,
)


class Issuer:
    """Rotates as early as it may, or a little later."""

    def __init__(self, draw: random.Random) -> None:
        fresh = self._fresh()
        ring = KeyRing.start(active=next(fresh), pending=next(fresh), now=START)
        self._began, self._rings = [float(START)], [ring]
        for _ in range(ROTATIONS):
            now = ring.earliest_rotation() + draw.choice((0.0, draw.uniform(0, 300)))
            ring = ring.remove_overdue(now).rotate(
                new_pending=next(fresh), now=now, emergency=False
            )
            self._began.append(now)
            self._rings.append(ring)
        self.end = ring.earliest_rotation()
        self._documents: dict[bytes, KeySet] = {}
        self._shown: dict[tuple[int, int], KeySet] = {}

    @staticmethod
    def _fresh() -> Iterator[dict[str, str]]:
        for number in itertools.count(1):
            yield public_jwk(ec.derive_private_key(number, ec.SECP256R1()), alg="ES256")

    def signs(self, moment: float) -> str:
        """Return the kid that signs, START or later."""
        return self._rings[self._at(moment)].active.kid

    def publishes(self, moment: float) -> KeySet:
        at = self._at(moment)
        ring = self._rings[at].remove_overdue(moment)
        shown = at, len(ring.published)
        if shown not in self._shown:
            self._shown[shown] = parse(jwks.document(ring), max_keys=32)
        return self._shown[shown]

    def _at(self, moment: float) -> int:
        return max(bisect.bisect_right(self._began, moment) - 1, 0)


class Caller:
    """One verifier, and the tokens that it is shown: all of them alive."""

    def __init__(self, issuer: Issuer, draw: random.Random) -> None:
        self._issuer, self._draw = issuer, draw
        self._cache = JwksCache(TIMING, random=draw.random)
        self._now = START + draw.uniform(0, 3000)
        self._pause = draw.choice((100.0, 400.0, 2000.0))
        self._landing: tuple[float, Load] | None = None
        self.loads = self.asked = 0

    def live(self) -> None:
        while self._now < self._issuer.end:
            age = self._draw.uniform(0, LONGEST_LIFETIME + SKEW)
            # A replica that has lost its store signs with what it knew.
            age += self._draw.uniform(0, SNAPSHOT_BOUND)
            self._show(self._issuer.signs(max(self._now - age, START)))
            self._now += self._draw.expovariate(1 / self._pause)

    def _show(self, kid: str) -> None:
        """Raises what the cache raises: a valid token is refused."""
        self.asked += 1
        while True:
            self._land()
            now = self._instant(self._now)
            if self._cache.fresh(kid, now) is not None:
                return
            step = self._cache.lookup(kid, now)
            if step.load is not None:
                self.loads += 1
                # The document was young, so it was the kid that asked.
                assert not step.load.no_cache
                self._landing = self._now + self._draw.uniform(0, 2.9), step.load
            if isinstance(step, Found):
                return
            assert self._landing is not None
            self._now = self._landing[0]

    def _land(self) -> None:
        if self._landing is None or self._landing[0] > self._now:
            return
        (landed, load), self._landing = self._landing, None
        # On its way back a shared HTTP cache may answer, with what it has kept as long as allowed.
        age = int(self._draw.choice((0.0, self._draw.uniform(0, JWKS_MAX_AGE))))
        keys = self._issuer.publishes(max(load.began.wall - age, START))
        answer = Answer(keys, None, JWKS_MAX_AGE - age)
        assert self._cache.loaded(load.number, answer, self._instant(landed))

    @staticmethod
    def _instant(moment: float) -> Instant:
        return Instant(moment, moment - START)


def test_no_rotation_refuses_a_valid_token_or_makes_one_cause_a_load() -> None:
    issuer = Issuer(random.Random(7))  # noqa: S311 - the same phases in each run
    asked = loads = 0
    for number in range(VERIFIERS):
        caller = Caller(issuer, random.Random(number))  # noqa: S311 - as above
        caller.live()
        asked, loads = asked + caller.asked, loads + caller.loads
    assert loads > VERIFIERS * ROTATIONS
    assert asked > 2 * loads
    assert issuer.end == pytest.approx(START + ROTATIONS * 1000, rel=0.3)
