"""Keys that are written down where the verifier is."""

import json
from collections.abc import Mapping
from typing import Any

from ephemera_client.errors import ConfigurationError, KeyUnknown
from ephemera_client.events import OnEvent
from ephemera_client.instant import Clock, Instant
from ephemera_client.jwk import VerificationKey
from ephemera_client.jwks.document import JwksInvalid, parse
from ephemera_client.jwks.status import KeysStatus

_MAX_KEYS = 32


class StaticKeys:
    """The keys of a JWK Set given as a mapping; a rotation of the issuer's keys breaks it.

    Raises:
        ConfigurationError: it holds no key, or one that cannot be used.
    """

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        try:
            keys = parse(json.dumps(dict(jwks)).encode(), max_keys=_MAX_KEYS)
        except (JwksInvalid, TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"the JWK Set cannot be used: {error}") from None
        for kid, reason in keys.unusable.items():
            raise ConfigurationError(f"the key {kid} cannot be used: {reason}")
        if not keys.usable:
            raise ConfigurationError("the JWK Set holds no key with a kid")
        self._keys = keys.usable

    def bind(self, *, issuer: str, clock: Clock, on_event: OnEvent | None = None) -> None:
        """Serve any verifier: these keys belong to whichever issuer they were written for."""

    def lookup(self, kid: str, now: Instant) -> VerificationKey:  # noqa: ARG002 - never old
        """Return the key.

        Raises:
            KeyUnknown: there is none of this `kid`.
        """
        key = self._keys.get(kid)
        if key is None:
            raise KeyUnknown("the configured keys hold none of this kid")
        return key

    async def lookup_async(self, kid: str, now: Instant) -> VerificationKey:
        """Do as `lookup`."""
        return self.lookup(kid, now)

    def warm(self) -> None:
        """Do nothing: the keys are here."""

    async def warm_async(self) -> None:
        """Do nothing: the keys are here."""

    def refresh(self) -> None:
        """Do nothing: there are no newer ones."""

    def status(self) -> KeysStatus:
        """Say which keys are held."""
        return KeysStatus(True, stale=False, age=None, kids=tuple(self._keys), last_failure=None)
