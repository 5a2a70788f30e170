"""The keys of an issuer, fetched over HTTP: a shell around the state machine in `cache`."""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Collection
from typing import NamedTuple

from ephemera_client import discovery, instant, jitter
from ephemera_client.borrowed import Client
from ephemera_client.errors import ConfigurationError, KeysUnavailable
from ephemera_client.events import KeysRefreshed, OnEvent, Reporter, StaleServed
from ephemera_client.flight import Flight
from ephemera_client.http import CaFile, HttpFailed, check_url
from ephemera_client.instant import Clock, Instant
from ephemera_client.jwk import VerificationKey
from ephemera_client.jwks.answer import Answer, LoadFailed, read
from ephemera_client.jwks.cache import Found, JwksCache, Load, Timing
from ephemera_client.jwks.status import KeysStatus
from ephemera_client.reach import Getter, Reach


class RemoteKeys:
    """Keys from a JWKS URL, or from the one that the issuer's metadata names.

    Loads run on a thread of their own, one at a time. Verifiers of one issuer may share it.

    Args:
        url: where the JWK Set is; without it, the `jwks_uri` of the issuer's metadata.
        ttl: seconds that a document serves if the answer names no `max-age`.
        minimum_ttl: the least that a `max-age` is taken for.
        maximum_ttl: the most that a `max-age` is taken for.
        refresh_ahead: seconds before that end at which a background load begins, jittered.
        stale_for: seconds past that end in which a failing issuer's last document still serves.
        unknown_kid_loads: how many loads tokens of unknown `kid` may cause per window.
        unknown_kid_window: that window, in seconds.
        unknown_kid_memory: seconds for which a `kid` is remembered as unknown.
        timeout: seconds for a whole load, discovery included.
        max_bytes: the largest document that is read.
        max_keys: the most keys that a document may hold.
        ca_file: PEM file of the authorities to trust instead of the public ones.
        unencrypted_hosts: hosts that may be asked over plain http.
        link_local: whether the host may be at a link-local address, where clouds keep secrets.
        http: the caller's own client, for its proxies, TLS settings or headers. It is neither
            changed nor closed; cookies, hooks and redirects of it are not used, and all limits
            hold. One that a forked child inherits is refused.

    Raises:
        ConfigurationError: the URL, the file or a number cannot be used.
    """

    def __init__(  # noqa: PLR0913 - each number of the policy by its name
        self,
        url: str | None = None,
        *,
        ttl: float = 300,
        minimum_ttl: float = 60,
        maximum_ttl: float = 600,
        refresh_ahead: float = 30,
        stale_for: float = 3000,
        unknown_kid_loads: int = 2,
        unknown_kid_window: float = 30,
        unknown_kid_memory: float = 60,
        timeout: float = 3,
        max_bytes: int = 51200,
        max_keys: int = 32,
        ca_file: CaFile = None,
        unencrypted_hosts: Collection[str] = (),
        link_local: bool = True,
        http: Client | None = None,
    ) -> None:
        self._url = url
        if url is not None:
            check_url(url, unencrypted_hosts=unencrypted_hosts, what="jwks_url")
        timing = Timing(
            ttl=ttl,
            minimum_ttl=minimum_ttl,
            maximum_ttl=maximum_ttl,
            refresh_ahead=refresh_ahead,
            stale_for=stale_for,
            unknown_kid_loads=unknown_kid_loads,
            unknown_kid_window=unknown_kid_window,
            unknown_kid_memory=unknown_kid_memory,
            timeout=timeout,
        )
        for name, value in (("max_bytes", max_bytes), ("max_keys", max_keys)):
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"{name} must be a positive whole number")
        self._max_keys = max_keys
        self._timeout, self._max_bytes = timeout, max_bytes
        self.reach = Reach(ca_file=ca_file, link_local=link_local, http=http)
        self._cache = JwksCache(timing, random=jitter.random)
        self._issuer: str | None = None
        self._clock: Clock = instant.read
        self._discovered: str | None = None
        self._lock = threading.Lock()
        self._flight: Flight | None = None
        self._reporter = Reporter()
        _alive.add(self)

    @property
    def discovers(self) -> bool:
        """Whether the issuer's metadata say where the keys are."""
        return self._url is None

    def bind(self, *, issuer: str, clock: Clock, on_event: OnEvent | None = None) -> None:
        """Serve verifiers of this issuer, and of no other; tell each `on_event` of theirs.

        Raises:
            ConfigurationError: bound to another issuer already.
        """
        if self._issuer not in {None, issuer}:
            raise ConfigurationError("keys= are those of another verifier's issuer")
        self._issuer, self._clock = issuer, clock
        if on_event is not None:
            self._reporter.add(on_event)

    def lookup(self, kid: str, now: Instant) -> VerificationKey:
        """Return the key, waiting for a load where one is needed.

        Raises:
            KeyUnknown: the issuer has no such key.
            KeyUnsuitable: it has, but the key cannot be used.
            KeysUnavailable: the keys could not be loaded.
        """
        found = self._cache.fresh(kid, now) or self._ask(kid, now)
        while isinstance(found, _Wait):
            found.flight.wait(found.seconds)
            found = self._ask(kid, self._clock())
        return found

    async def lookup_async(self, kid: str, now: Instant) -> VerificationKey:
        """Do as `lookup`, without blocking the event loop."""
        found = self._cache.fresh(kid, now) or self._ask(kid, now)
        while isinstance(found, _Wait):
            await found.flight.wait_async(found.seconds)
            found = self._ask(kid, self._clock())
        return found

    def warm(self) -> None:
        """Load the keys, unless a document is within its lifetime.

        Raises:
            KeysUnavailable: that failed, and there are no keys that could still serve.
        """
        if waiting := self._begin_warm():
            waiting.flight.wait(waiting.seconds)
        self._require()

    async def warm_async(self) -> None:
        """Do as `warm`, without blocking the event loop."""
        if waiting := self._begin_warm():
            await waiting.flight.wait_async(waiting.seconds)
        self._require()

    def refresh(self) -> None:
        """Begin a load past all caches, without waiting for it: a key is known to be gone."""
        now = self._clock()
        with self._lock:
            load = self._cache.refresh(now)
            if load is not None:
                self._launch(load, now)

    def status(self) -> KeysStatus:
        """Say what is held, without loading anything."""
        now = self._clock()
        with self._lock:
            document, failure = self._cache.document, self._cache.last_failure
            try:
                self._cache.require(now)
                available = True
            except KeysUnavailable:
                available = False
        if document is None:
            return KeysStatus(available, stale=False, age=None, kids=(), last_failure=failure)
        age = now.since(document.loaded)
        kids = tuple(document.keys.usable)
        return KeysStatus(available, age >= document.lifetime, age, kids, failure)

    def _ask(self, kid: str, now: Instant) -> "VerificationKey | _Wait":
        while True:
            with self._lock:
                step = self._cache.lookup(kid, now)
                flight = self._launch(step.load, now) if step.load else self._flight
            if isinstance(step, Found):
                if step.stale:
                    self._tell(StaleServed)
                return step.key
            if flight is not None:
                return _Wait(flight, step.patience)

    def _begin_warm(self) -> "_Wait | None":
        now = self._clock()
        with self._lock:
            step = self._cache.warm(now)
            if step is None:
                return None
            flight = self._launch(step.load, now) if step.load else self._flight
        return _Wait(flight, step.patience) if flight else None

    def _require(self) -> None:
        with self._lock:
            self._cache.require(self._clock())

    def _launch(self, load: Load, now: Instant) -> Flight | None:
        try:
            self._flight = Flight(lambda: self._carry_out(load))
        except RuntimeError:
            self._flight = None
            self._cache.failed(load.number, "no_thread", now)
        return self._flight

    def _carry_out(self, load: Load) -> None:
        answer, failure, taken = None, "failed", False
        try:
            answer = self._fetch(load)
        except (HttpFailed, LoadFailed) as error:
            failure = error.code
        except discovery.MetadataInvalid as error:
            failure = error.code
        except ConfigurationError:
            failure = "ca_file_unusable"
        finally:
            # Whatever else went wrong, those who wait are told that the load is over.
            with self._lock:
                if answer is not None:
                    taken = self._cache.loaded(load.number, answer, self._clock())
                else:
                    self._discovered = None
                    self._cache.failed(load.number, failure, self._clock())
        if taken:
            self._tell(KeysRefreshed)

    def _fetch(self, load: Load) -> Answer:
        deadline = time.monotonic() + self._timeout
        headers = {"accept": "application/jwk-set+json, application/json"}
        if load.etag is not None:
            headers["if-none-match"] = load.etag
        if load.no_cache:
            headers["cache-control"] = "no-cache"
        with contextlib.ExitStack() as stack:
            http = stack.enter_context(
                self.reach.opened(timeout=self._timeout, max_bytes=self._max_bytes)
            )
            url = self._discover(http, deadline) if self._url is None else self._url
            response = http.get(url, headers, deadline=deadline)
        return read(response, conditional=load.etag is not None, max_keys=self._max_keys)

    def _discover(self, http: Getter, deadline: float) -> str:
        if self._discovered is None:
            if self._issuer is None:
                raise LoadFailed("not_bound")
            metadata = discovery.fetch(http, issuer=self._issuer, deadline=deadline)
            self._discovered = metadata.jwks_uri
        return self._discovered

    def _tell(self, event: type[KeysRefreshed | StaleServed]) -> None:
        if self._issuer is not None:
            self._reporter.tell(event(self._issuer))

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._flight = None
        self._cache.forget_flight()


class _Wait(NamedTuple):
    flight: Flight
    seconds: float


_alive: weakref.WeakSet[RemoteKeys] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The thread of a load, and whoever held the lock, stayed behind in the parent.
    for keys in list(_alive):
        keys._forked()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
