"""An issuer's revocations, followed over HTTP: a shell around the state machine in `following`."""

import os
import threading
import weakref
from collections.abc import Collection
from types import TracebackType
from typing import NamedTuple, Self

from ephemera_client import instant, jitter
from ephemera_client.borrowed import Client
from ephemera_client.errors import ConfigurationError, RevocationsUnavailable
from ephemera_client.events import OnEvent, Reporter, RevocationsRefreshed
from ephemera_client.flight import Landing
from ephemera_client.http import CaFile, check_url
from ephemera_client.instant import Clock, Instant
from ephemera_client.jwks import Keys, RemoteKeys
from ephemera_client.reach import Reach
from ephemera_client.revocations.following import Ask, Following, Patience, Rest
from ephemera_client.revocations.line import Absent, Answered, Failed, Line, Outcome
from ephemera_client.revocations.revoked import Revoked
from ephemera_client.revocations.status import RevocationsStatus

_SHORTEST_AGE, _LONGEST_AGE = 5, 3600


class RevocationFeed:
    """The revocations of an issuer, at a URL or where its metadata say, from a thread of its own.

    The thread begins with the first token or with `warm`, keeps no process alive, and ends when
    the feed is closed or no longer used. Verifiers of one issuer may share a feed.

    Args:
        url: where the feed is; without it, the `ephemera_revocations_endpoint` of the issuer's
            metadata, which must offer one.
        max_age: seconds after which nothing is accepted any more if the feed does not answer,
            5 to 3600.
        timeout: seconds for an exchange, beside the time that it waits for news.
        max_bytes: the largest answer that is read.
        max_entries: the most revocations that are held.
        ca_file: PEM file of the authorities to trust instead of the public ones; where nothing is
            said of that, the verifier's, and so of `link_local` and `http`.
        unencrypted_hosts: hosts that may be asked over plain http.
        link_local: whether the host may be at a link-local address, where clouds keep secrets.
        http: the caller's own client, as for `RemoteKeys`. One connection of it is always in use.

    Raises:
        ConfigurationError: the URL, the file or a number cannot be used.
    """

    def __init__(  # noqa: PLR0913 - each number of the policy by its name
        self,
        url: str | None = None,
        *,
        max_age: float = 120,
        timeout: float = 3,
        max_bytes: int = 16 * 1024 * 1024,
        max_entries: int = 100_000,
        ca_file: CaFile = None,
        unencrypted_hosts: Collection[str] = (),
        link_local: bool = True,
        http: Client | None = None,
    ) -> None:
        if url is not None:
            check_url(url, unencrypted_hosts=unencrypted_hosts, what="the revocation feed's url")
        if type(max_age) not in {int, float} or not _SHORTEST_AGE <= max_age <= _LONGEST_AGE:
            raise ConfigurationError(
                f"max_age must be from {_SHORTEST_AGE} to {_LONGEST_AGE} seconds"
            )
        for name, value in (("max_bytes", max_bytes), ("max_entries", max_entries)):
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"{name} must be a positive whole number")
        self._url = url
        self._max_age, self._timeout = max_age, timeout
        self._max_bytes, self._max_entries = max_bytes, max_entries
        self._reach = Reach(ca_file=ca_file, link_local=link_local, http=http)
        # Finds out early about a timeout that is none.
        with self._reach.opened(timeout=timeout, max_bytes=max_bytes):
            pass
        self._following = self._follow(required=True)
        self._issuer: str | None = None
        self._clock: Clock = instant.read
        self._keys: tuple[Keys, ...] = ()
        self._reporter = Reporter()
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._news = Landing()
        self._closed = False
        _alive.add(self)

    @classmethod
    def if_offered(cls) -> Self:
        """Follow the feed that the metadata offer; where they offer none, nothing is revoked."""
        feed = cls()
        feed._following = feed._follow(required=False)
        return feed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Follow no more; from now on nothing is accepted."""
        with self._lock:
            self._closed = True
            self._hang_up()
            news = self._news
        news.land()

    def bind(
        self, *, issuer: str, keys: Keys, clock: Clock, on_event: OnEvent | None = None
    ) -> None:
        """Serve verifiers of this issuer, and of no other; tell each `on_event` of theirs.

        Raises:
            ConfigurationError: bound to another issuer already.
        """
        if self._issuer not in {None, issuer}:
            raise ConfigurationError("revocations= are those of another verifier's issuer")
        if self._issuer is None and self._reach.usual and isinstance(keys, RemoteKeys):
            self._reach = keys.reach
        self._issuer, self._clock = issuer, clock
        if not any(keys is known for known in self._keys):
            self._keys += (keys,)
        if on_event is not None:
            self._reporter.add(on_event)

    def fresh(self, now: Instant) -> Revoked | None:
        """Return what is revoked, without waiting; None if that is not known well enough."""
        held = self._following.held
        if held is None or now[0] >= held[4] or now[1] >= held[5]:
            return None
        if self._line is None:
            # Forked, with what the parent knew; or closed.
            with self._lock:
                self._begin(now)
            if self._closed:
                return None
        return held[0]

    def revoked(self, now: Instant) -> Revoked:
        """Return what is revoked, waiting for the first answer.

        Raises:
            RevocationsUnavailable: there is none, or it is older than `max_age`.
        """
        found = self._ask(now)
        while isinstance(found, _Wait):
            found.news.wait(found.seconds)
            found = self._ask(self._clock())
        return found

    async def revoked_async(self, now: Instant) -> Revoked:
        """Do as `revoked`, without blocking the event loop."""
        found = self._ask(now)
        while isinstance(found, _Wait):
            await found.news.wait_async(found.seconds)
            found = self._ask(self._clock())
        return found

    def warm(self) -> None:
        """Begin to follow, and wait for the first answer, unless there has been one lately.

        Raises:
            RevocationsUnavailable: there is none.
        """
        self._hurry()
        self.revoked(self._clock())

    async def warm_async(self) -> None:
        """Do as `warm`, without blocking the event loop."""
        self._hurry()
        await self.revoked_async(self._clock())

    def status(self) -> RevocationsStatus:
        """Say what is held, without asking for anything."""
        now = self._clock()
        with self._lock:
            held, failure = self._following.held, self._following.last_failure
            available = held is not None and held.good(now) and not self._closed
        if held is None or held.epoch is None:
            return RevocationsStatus(
                available,
                followed=held is None,
                age=None,
                sequence=None,
                entries=0,
                last_failure=failure,
            )
        age = now.since(held.asked)
        return RevocationsStatus(available, True, age, held.sequence, len(held.revoked), failure)

    def _follow(self, *, required: bool) -> Following:
        return Following(
            url=self._url,
            required=required,
            max_age=self._max_age,
            timeout=self._timeout,
            max_entries=self._max_entries,
            random=jitter.random,
        )

    def _ask(self, now: Instant) -> "Revoked | _Wait":
        with self._lock:
            self._begin(now)
            if self._closed:
                raise self._following.unavailable("closed")
            step = self._following.require(now)
            return _Wait(self._news, step.seconds) if isinstance(step, Patience) else step

    def _hurry(self) -> None:
        with self._lock:
            held = self._following.held
            if held is None or not held.good(self._clock()):
                self._following.hurry()
                if self._line is not None:
                    self._line.nudge()

    def _begin(self, now: Instant) -> None:
        """Make sure that somebody follows."""
        if self._line is not None and self._following.overdue(now):
            self._hang_up()
        if self._line is not None or self._closed:
            return
        if self._issuer is None:
            raise RevocationsUnavailable(
                "the feed belongs to no verifier yet", cause_code="not_bound"
            )
        line = Line(
            issuer=self._issuer,
            reach=self._reach,
            timeout=self._timeout,
            max_bytes=self._max_bytes,
            max_entries=self._max_entries,
        )
        thread = threading.Thread(
            target=_follow, args=(weakref.ref(self), line), name="ephemera-feed", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            raise self._following.unavailable("no_thread") from None
        self._line = line
        weakref.finalize(self, line.end)

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        self._following.forget_flight()
        if line is not None:
            line.end()

    def _next(self, line: Line) -> Ask | Rest | None:
        with self._lock:
            return None if self._line is not line else self._following.next(self._clock())

    def _take(self, line: Line, ask: Ask, outcome: Outcome) -> None:
        with self._lock:
            if self._line is not line:
                return
            brought = None
            match outcome:
                case Answered(url, document):
                    brought = self._following.answered(ask, url, document, self._clock())
                case Absent():
                    self._following.absent(ask)
                case Failed(cause_code, url, retry_after):
                    self._following.failed(ask, cause_code, url=url, retry_after=retry_after)
            news, self._news = self._news, Landing()
        news.land()
        if brought is not None:
            if brought.keys:
                for keys in self._keys:
                    keys.refresh()
            if self._issuer is not None:
                self._reporter.tell(RevocationsRefreshed(self._issuer, brought.sequence))

    def _fell_silent(self, line: Line) -> None:
        with self._lock:
            if self._line is line:
                self._hang_up()

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._line = None
        self._news = Landing()
        self._following.forget_flight()


class _Wait(NamedTuple):
    news: Landing
    seconds: float


def _follow(feed_of: weakref.ref[RevocationFeed], line: Line) -> None:
    """Follow until the feed is given up. While waiting, nothing here keeps it alive."""
    try:
        while not line.ended:
            feed = feed_of()
            step = None if feed is None else feed._next(line)  # noqa: SLF001 - this module's own
            del feed
            if step is None:
                return
            if isinstance(step, Rest):
                line.rest(step.seconds)
                continue
            outcome: Outcome = Failed("failed")
            try:
                outcome = line.carry_out(step)
            finally:
                # Whatever else went wrong, those who wait are told.
                if (feed := feed_of()) is not None:
                    feed._take(line, step, outcome)  # noqa: SLF001 - this module's own
                del feed
    finally:
        line.close()
        if (feed := feed_of()) is not None:
            feed._fell_silent(line)  # noqa: SLF001 - this module's own


_alive: weakref.WeakSet[RevocationFeed] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The thread, and whoever held the lock, stayed behind in the parent.
    for feed in list(_alive):
        feed._forked()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
