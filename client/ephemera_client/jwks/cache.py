"""When a key set is loaded, trusted and given up: a state machine that never waits.

A document is used for its lifetime and replaced ahead of its end. An issuer that fails leaves it
in use for `stale_for` seconds more. A `kid` that it does not hold may cause a load, within a
budget; otherwise anyone could make this process hammer the issuer with made-up tokens.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ephemera_client.errors import ConfigurationError, KeysUnavailable, KeyUnknown, KeyUnsuitable
from ephemera_client.failure import sentence
from ephemera_client.instant import Instant
from ephemera_client.jwk import VerificationKey
from ephemera_client.jwks.answer import Answer
from ephemera_client.jwks.document import KeySet

FIRST_RETRY = 1.0
LAST_RETRY = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds, except `unknown_kid_loads`: how many loads unknown kids may cause per window."""

    ttl: float
    minimum_ttl: float
    maximum_ttl: float
    refresh_ahead: float
    stale_for: float
    unknown_kid_loads: int
    unknown_kid_window: float
    unknown_kid_memory: float
    timeout: float

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if type(value) not in {int, float} or not 0 <= value < math.inf:
                raise ConfigurationError(f"{name} must be a number, zero or more")
        if type(self.unknown_kid_loads) is not int:
            raise ConfigurationError("unknown_kid_loads must be a whole number")
        if not 0 < self.minimum_ttl <= self.maximum_ttl:
            raise ConfigurationError("minimum_ttl must be over zero and at most maximum_ttl")
        if not self.refresh_ahead < self.minimum_ttl:
            raise ConfigurationError("refresh_ahead must be less than minimum_ttl")
        if not self.timeout:
            raise ConfigurationError("timeout must be over zero")


class Load(NamedTuple):
    """One load: with `etag` where there is one, past all caches if `no_cache`."""

    number: int
    began: Instant
    kid: str | None
    etag: str | None
    no_cache: bool


class Found(NamedTuple):
    """Use `key`, and begin `load`, if any, without waiting for it.

    `stale` says that the document is past its lifetime.
    """

    key: VerificationKey
    load: Load | None
    stale: bool


class Pending(NamedTuple):
    """Begin `load`, if any, wait at most `patience` seconds for load `number`, then ask again."""

    number: int
    patience: float
    load: Load | None


class Document(NamedTuple):
    """A key set in use; `loaded` is when it was asked for, `lifetime` counts from there."""

    keys: KeySet
    etag: str | None
    loaded: Instant
    lifetime: float
    refresh_after: float


class JwksCache:
    """The state of one issuer's keys. Not thread-safe, but for `fresh`."""

    def __init__(self, timing: Timing, *, random: Callable[[], float]) -> None:
        self._timing = timing
        self._random = random
        self._flight: Load | None = None
        self._number = 0
        self._unknown: dict[str, Instant] = {}
        self._unknown_loads: deque[Instant] = deque(maxlen=timing.unknown_kid_loads)
        self._failures = 0
        self._failed = Instant(0.0, 0.0)
        self._retry_after = 0.0
        self.document: Document | None = None
        self.last_failure: str | None = None

    def fresh(self, kid: str, now: Instant) -> VerificationKey | None:
        """Return a key that needs no thought: any thread may ask, without a lock."""
        document = self.document
        if document is None or now.since(document.loaded) >= document.refresh_after:
            return None
        return document.keys.usable.get(kid)

    def lookup(self, kid: str, now: Instant) -> Found | Pending:
        """Say what to do for a token of this `kid`.

        Raises:
            KeyUnknown: the issuer has no such key, as far as may be asked.
            KeyUnsuitable: it has, but the key cannot be used.
            KeysUnavailable: there is no document young enough, or none that could settle this.
        """
        self._give_up_overdue(now)
        document = self.document
        if document is None or not self._usable(document, now):
            return self._wait(now, kid)
        if kid not in document.keys.usable and kid not in document.keys.unusable:
            return self._lookup_unknown(kid, document, now)
        age = now.since(document.loaded)
        stale = age >= document.lifetime
        if stale and not self._failing(now):
            return self._wait(now, None)
        key = document.keys.usable.get(kid)
        if key is None:
            raise KeyUnsuitable(f"the issuer's key cannot be used: {document.keys.unusable[kid]}")
        ahead = age >= document.refresh_after and self._flight is None and not self._resting(now)
        return Found(key, self._begin(now, None, no_cache=False) if ahead else None, stale)

    def warm(self, now: Instant) -> Pending | None:
        """Load unless a document is within its lifetime, however recent the last failure."""
        self._give_up_overdue(now)
        document = self.document
        if document is not None and now.since(document.loaded) < document.lifetime:
            return None
        self._retry_after = 0.0
        return self._wait(now, None)

    def refresh(self, now: Instant) -> Load | None:
        """Load past all caches, if there is a document to replace and nothing speaks against it."""
        self._give_up_overdue(now)
        if self.document is None or self._flight is not None or self._resting(now):
            return None
        return self._begin(now, None, no_cache=True)

    def loaded(self, number: int, answer: Answer, now: Instant) -> bool:
        """Take the answer to load `number`, unless that one has been given up; say whether."""
        self._give_up_overdue(now)
        flight = self._flight
        if flight is None or flight.number != number:
            return False
        held = self.document
        keys = answer.keys or (held and held.keys)
        if keys is None:
            self.failed(number, "status_unexpected", now)
            return False
        self._flight = None
        self._failures, self._retry_after, self.last_failure = 0, 0.0, None
        if held is None or held.keys.body != keys.body:
            self._unknown.clear()
        self._remember(flight, keys, now)
        etag = answer.etag if answer.keys or answer.etag else held and held.etag
        self.document = self._document(keys, etag, answer.lifetime, flight.began)
        return True

    def failed(self, number: int, cause_code: str, now: Instant) -> None:
        """Take note that load `number` brought nothing."""
        if self._flight is None or self._flight.number != number:
            return
        self._flight = None
        self._failures += 1
        self._failed = now
        self.last_failure = cause_code
        delay = min(FIRST_RETRY * 2.0 ** min(self._failures - 1, 10), LAST_RETRY)
        self._retry_after = delay * (1 + self._random()) / 2

    def require(self, now: Instant) -> Document:
        """Return the document in use.

        Raises:
            KeysUnavailable: there is none, or it is past `stale_for`.
        """
        self._give_up_overdue(now)
        if self.document is None or not self._usable(self.document, now):
            raise self._unavailable()
        return self.document

    def forget_flight(self) -> None:
        """Drop the load under way: a forked child has no thread that would finish it."""
        self._flight = None

    def _usable(self, document: Document, now: Instant) -> bool:
        return now.since(document.loaded) < document.lifetime + self._timing.stale_for

    def _unavailable(self) -> KeysUnavailable:
        cause = self.last_failure or "not_loaded"
        why = sentence(cause)
        told = f"{cause}: {why}" if why else cause
        return KeysUnavailable(f"the issuer's keys could not be loaded: {told}", cause_code=cause)

    def _lookup_unknown(self, kid: str, document: Document, now: Instant) -> Pending:
        remembered = self._unknown.get(kid)
        if remembered is not None and now.since(remembered) < self._timing.unknown_kid_memory:
            raise _unknown()
        loads = self._unknown_loads
        spent = len(loads) == loads.maxlen and (
            not loads or now.since(loads[0]) < self._timing.unknown_kid_window
        )
        if self._flight is None and spent:
            raise self._unavailable() if self._failures else _unknown()
        # Past its lifetime the document is due anyway; only a young one may be a cache's fault.
        young = now.since(document.loaded) < document.lifetime
        return self._wait(now, kid, no_cache=young)

    def _wait(self, now: Instant, kid: str | None, *, no_cache: bool = False) -> Pending:
        flight, begun = self._flight, None
        if flight is None:
            if self._resting(now):
                raise self._unavailable()
            flight = begun = self._begin(now, kid, no_cache=no_cache)
        patience = self._timing.timeout - now.since(flight.began)
        return Pending(flight.number, patience, begun)

    def _begin(self, now: Instant, kid: str | None, *, no_cache: bool) -> Load:
        self._number += 1
        etag = self.document.etag if self.document else None
        self._flight = Load(self._number, now, kid, etag, no_cache)
        if kid is not None:
            self._unknown_loads.append(now)
        return self._flight

    def _give_up_overdue(self, now: Instant) -> None:
        flight = self._flight
        if flight is not None and now.since(flight.began) >= self._timing.timeout:
            self.failed(flight.number, "timeout", now)

    def _resting(self, now: Instant) -> bool:
        return self._failures > 0 and now.since(self._failed) < self._retry_after

    def _failing(self, now: Instant) -> bool:
        # An issuer known to be failing is retried behind the back of its callers. After a pause
        # in traffic nothing is known, so the first caller waits for an answer.
        return self._failures > 0 and now.since(self._failed) < 2 * LAST_RETRY

    def _remember(self, flight: Load, keys: KeySet, now: Instant) -> None:
        memory = self._timing.unknown_kid_memory
        self._unknown = {
            kid: since for kid, since in self._unknown.items() if now.since(since) < memory
        }
        kid = flight.kid if flight.no_cache else None
        if kid is not None and kid not in keys.usable and kid not in keys.unusable:
            self._unknown[kid] = now

    def _document(
        self, keys: KeySet, etag: str | None, lifetime: float | None, began: Instant
    ) -> Document:
        timing = self._timing
        named = timing.ttl if lifetime is None else lifetime
        clamped = min(max(named, timing.minimum_ttl), timing.maximum_ttl)
        ahead = timing.refresh_ahead * (1 + self._random()) / 2
        return Document(keys, etag, began, clamped, clamped - ahead)


def _unknown() -> KeyUnknown:
    return KeyUnknown("the issuer publishes no key of this kid")
