"""How a feed is followed, trusted and given up: a state machine that never waits.

A request says what is held already and waits at the issuer until there is more. One that is cut
off on its way is tried again without waiting, so that a proxy that allows no long answers costs a
second of delay and nothing else. What was heard counts from when it was asked for.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ephemera_client.errors import RevocationsUnavailable
from ephemera_client.instant import Instant
from ephemera_client.revocations.document import Document
from ephemera_client.revocations.revoked import NOTHING, Revoked

LONGEST_WAIT = 25
FIRST_RETRY = 0.5
LAST_RETRY = 10.0
POLL = 1.0
"""Seconds between two requests that do not wait, or were answered as if they had not."""
BREATH = 0.1
"""Seconds between news and the next request: what is revoked in one go comes in few answers."""
LOOK_AGAIN = 300.0
"""Seconds until an issuer that offers no feed is asked again."""
PLAIN_POLLS = 10
"""Requests that do not wait, after one that did was cut off."""
_EPOCHS = 16


class Ask(NamedTuple):
    """One request: at `url`, or where the metadata say if `discover`, for what came `after`."""

    number: int
    began: Instant
    url: str | None
    discover: bool
    epoch: str | None
    after: int
    wait: int


class Rest(NamedTuple):
    """Nothing to do for so many seconds."""

    seconds: float


class Patience(NamedTuple):
    """The first answer is on its way: wait at most `seconds`, then ask again."""

    seconds: float


class Held(NamedTuple):
    """What is known to be revoked, good until either clock has come that far.

    `epoch` is None where the issuer offers no feed.
    """

    revoked: Revoked
    epoch: str | None
    sequence: int
    asked: Instant
    wall_until: float
    monotonic_until: float

    def good(self, now: Instant) -> bool:
        """Say whether it was heard lately enough."""
        return now.wall < self.wall_until and now.monotonic < self.monotonic_until


class News(NamedTuple):
    """What an answer brought: a number not known before, and whether keys were revoked."""

    sequence: int
    keys: bool


class Following:
    """The state of one feed. Not thread-safe, but for reading `held`.

    Args:
        url: where the feed is; None, where the issuer's metadata say so.
        required: whether an issuer that offers none is a failure.
        max_age: seconds for which an answer is good.
        timeout: seconds for an exchange, beside its wait.
        max_entries: the most that is held.
        random: from 0 to 1, to spread requests.
    """

    def __init__(  # noqa: PLR0913 - each number by its name
        self,
        *,
        url: str | None,
        required: bool,
        max_age: float,
        timeout: float,
        max_entries: int,
        random: Callable[[], float],
    ) -> None:
        self._url = url
        self._configured = self._url is not None
        self._required = required
        self._max_age = max_age
        self._timeout = timeout
        self._max_entries = max_entries
        self._random = random
        # Several of them in the time of one answer's age, so that one may be lost.
        self._wait = int(min(LONGEST_WAIT, max_age / 4))
        self._number = 0
        self._flight: Ask | None = None
        self._former: deque[str] = deque(maxlen=_EPOCHS)
        self._rest = 0.0
        self._failures = 0
        self._discover = not self._configured
        self._whole = False
        self._plain = 0
        self.held: Held | None = None
        self.last_failure: str | None = None

    def next(self, now: Instant) -> Ask | Rest:
        """Say what to do now; there is one at a time."""
        if self._rest > 0:
            rest, self._rest = self._rest, 0.0
            return Rest(rest)
        held = self._followed()
        whole = held is None or self._whole
        # While nothing is accepted, nothing is waited for either.
        at_once = whole or self._plain > 0 or held is None or not held.good(now)
        self._number += 1
        self._flight = Ask(
            self._number,
            now,
            self._url,
            self._discover,
            held and held.epoch,
            0 if whole or held is None else held.sequence,
            0 if at_once else self._wait,
        )
        return self._flight

    def answered(self, ask: Ask, url: str, document: Document, now: Instant) -> News | None:
        """Take an answer of the feed at `url`; return what of it is new."""
        if not self._landed(ask):
            return None
        self._url, self._discover = url, False
        held = self._followed()
        if document.epoch in self._former or (
            held and held.epoch == document.epoch and document.sequence < held.sequence
        ):
            # Another replica, which lags, or a restored one's past: no word on the present.
            self._fail("sequence_behind", POLL)
            return None
        follows = held is not None and held.epoch == document.epoch
        if document.after > (held.sequence if held and follows else 0):
            self._whole = True
            self._fail("revocations_invalid", POLL)
            return None
        before = held.revoked if held and follows and document.after else NOTHING
        if held and follows and not document.after:
            before = Revoked({}, {}, frozenset(), held.revoked.forgotten)
        revoked = before.joined(document.revoked, now=now.wall)
        if len(revoked) > self._max_entries:
            # Some may have been taken together since: what there is as a whole is less.
            self._whole = True
            self._fail("revocations_invalid", BREATH if document.after else LAST_RETRY)
            return None
        if held and not follows and held.epoch is not None:
            self._former.append(held.epoch)
        changed = held is None or not follows or document.sequence > held.sequence
        new_kids = revoked.kids - (held.revoked.kids if held else frozenset())
        self._failures, self.last_failure, self._whole = 0, None, False
        self._hold(revoked, document.epoch, document.sequence, ask.began)
        self._pace(ask, now, changed=changed)
        self._plain = max(self._plain - 1, 0)
        return News(document.sequence, bool(new_kids)) if changed else None

    def absent(self, ask: Ask) -> None:
        """Take note that the metadata offer no feed."""
        if not self._landed(ask):
            return
        if self._required or self._url is not None:
            self._fail("not_offered", self._delay())
            return
        self._failures, self.last_failure = 0, None
        self.held = Held(NOTHING, None, 0, ask.began, math.inf, math.inf)
        self._rest = LOOK_AGAIN * (1 + self._random()) / 2

    def failed(
        self, ask: Ask, cause_code: str, *, url: str | None = None, retry_after: float = 0
    ) -> None:
        """Take note that a request brought nothing; `url`, if the metadata named one."""
        if not self._landed(ask):
            return
        if url is not None:
            self._url = url
            if self.held is not None and self.held.epoch is None:
                # Until now there was nothing to follow, and that was known for sure.
                self._hold(NOTHING, None, 0, ask.began)
        self._discover = not self._configured
        if ask.wait:
            self._plain = PLAIN_POLLS
            self._fail(cause_code, BREATH * (1 + self._random()))
        else:
            self._fail(cause_code, max(self._delay(), min(retry_after, LAST_RETRY)))

    def require(self, now: Instant) -> Revoked | Patience:
        """Return what is revoked, or how long to wait for the first answer.

        Raises:
            RevocationsUnavailable: it is not known, or was not heard of for `max_age`.
        """
        if self.held is not None and self.held.good(now):
            return self.held.revoked
        if self._failures:
            raise self.unavailable(self.last_failure)
        patience = self._timeout
        if self._flight is not None:
            patience -= now.since(self._flight.began)
        if patience <= 0:
            raise self.unavailable("timeout")
        return Patience(patience)

    def unavailable(self, cause_code: str | None) -> RevocationsUnavailable:
        """Return the error for this cause."""
        cause = cause_code or "not_loaded"
        what = "were not heard of lately" if self._followed() else "could not be loaded"
        return RevocationsUnavailable(f"the issuer's revocations {what}: {cause}", cause_code=cause)

    def hurry(self) -> None:
        """Try at once, and let those who ask wait for it, however recent the last failure."""
        self._rest, self._failures = 0.0, 0

    def overdue(self, now: Instant) -> bool:
        """Say whether the request under way should have ended long ago, as after a suspension."""
        flight = self._flight
        return flight is not None and now.since(flight.began) > flight.wait + 2 * self._timeout

    def forget_flight(self) -> None:
        """Drop the request under way: nobody will bring its answer."""
        self._flight = None
        self._rest = 0.0

    def _followed(self) -> Held | None:
        held = self.held
        return held if held is not None and held.epoch is not None else None

    def _landed(self, ask: Ask) -> bool:
        if ask is not self._flight:
            return False
        self._flight = None
        return True

    def _fail(self, cause_code: str, rest: float) -> None:
        self._failures += 1
        self.last_failure = cause_code
        self._rest = rest

    def _delay(self) -> float:
        delay = min(FIRST_RETRY * 2.0 ** min(self._failures, 10), LAST_RETRY)
        return delay * (1 + self._random()) / 2

    def _hold(self, revoked: Revoked, epoch: str | None, sequence: int, asked: Instant) -> None:
        until = asked.wall + self._max_age, asked.monotonic + self._max_age
        self.held = Held(revoked, epoch, sequence, asked, *until)

    def _pace(self, ask: Ask, now: Instant, *, changed: bool) -> None:
        waited = ask.wait and now.since(ask.began) >= POLL
        if waited or not (ask.wait or self._plain):
            self._rest = 0.0
        else:
            self._rest = POLL * (1 + self._random()) / 2
        if changed:
            self._rest = BREATH if ask.wait else self._rest
