"""What happens at a verifier, for metrics and logs.

Give `on_event=` a function of one argument. It is called where the thing happens: in the thread or
task that verifies, for `KeysRefreshed` in the thread of the load and for `RevocationsRefreshed` in
the one that follows the feed; so it should be quick. What it raises changes nothing and is logged
once. Nothing in an event is from a token that was refused.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from ephemera_client.errors import (
    ConfigurationError,
    EphemeraError,
    KeysUnavailable,
    ReplayCacheUnavailable,
    RevocationsUnavailable,
    TokenRefused,
)
from ephemera_client.token import AccessToken

_log = logging.getLogger("ephemera_client")


class Accepted(NamedTuple):
    """A token was accepted."""

    issuer: str
    audience: str
    token: AccessToken


class Refused(NamedTuple):
    """A token was refused; `code` is that of the error."""

    issuer: str
    audience: str
    code: str


class KeysDown(NamedTuple):
    """A token could not be verified: there are no keys to do it with."""

    issuer: str
    audience: str
    cause_code: str


class RevocationsDown(NamedTuple):
    """A token could not be verified: nobody knows whether it is revoked."""

    issuer: str
    audience: str
    cause_code: str


class ReplayCacheDown(NamedTuple):
    """A token could not be accepted: its single use cannot be assured."""

    issuer: str
    audience: str
    cause_code: str


class KeysRefreshed(NamedTuple):
    """The issuer's keys were loaded, or confirmed."""

    issuer: str


class StaleServed(NamedTuple):
    """A key was used past the lifetime of its document, since the issuer fails."""

    issuer: str


class RevocationsRefreshed(NamedTuple):
    """The issuer's feed brought what was not known yet; `sequence` is its latest number."""

    issuer: str
    sequence: int


Event = (
    Accepted
    | Refused
    | KeysDown
    | RevocationsDown
    | ReplayCacheDown
    | KeysRefreshed
    | StaleServed
    | RevocationsRefreshed
)
OnEvent = Callable[[Event], object]


class Reporter:
    """Tells handlers, whatever they make of it."""

    __slots__ = ("_complained", "_handlers")

    def __init__(self) -> None:
        self._handlers: tuple[OnEvent, ...] = ()
        self._complained = False

    def add(self, handler: OnEvent) -> None:
        """Tell this one too; one that is there already is told once.

        Raises:
            ConfigurationError: it cannot be called.
        """
        if not callable(handler):
            raise ConfigurationError("on_event must be a function of one argument")
        if handler not in self._handlers:
            self._handlers += (handler,)

    def tell(self, event: Event) -> None:
        """Call every handler; the first exception is logged, and none comes out."""
        for handler in self._handlers:
            try:
                handler(event)
            except Exception:  # noqa: BLE001 - whatever it raises
                if not self._complained:
                    self._complained = True
                    _log.exception("on_event raised; nothing else changed, and no more is logged")


def failure(error: EphemeraError, *, issuer: str, audience: str) -> Event | None:
    """Return the event that this outcome of a verification is: none for a mistake of the caller."""
    if isinstance(error, TokenRefused):
        return Refused(issuer, audience, error.code)
    if isinstance(error, KeysUnavailable):
        return KeysDown(issuer, audience, error.cause_code)
    if isinstance(error, RevocationsUnavailable):
        return RevocationsDown(issuer, audience, error.cause_code)
    if isinstance(error, ReplayCacheUnavailable):
        return ReplayCacheDown(issuer, audience, error.cause_code)
    return None
