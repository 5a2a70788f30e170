"""The keys of a fake issuer, as its verifiers see them."""

from typing import Any

from ephemera_client import jwk
from ephemera_client.errors import ConfigurationError, KeysUnavailable, KeyUnknown
from ephemera_client.events import OnEvent
from ephemera_client.instant import Clock, Instant
from ephemera_client.jwk import VerificationKey
from ephemera_client.jwks import KeysStatus
from ephemera_client.private_key import PrivateKey


class FakeKeys:
    """The `keys=` of a verifier: what the issuer publishes at that very moment.

    Attributes:
        active: what signs.
        away: whether nobody can reach the issuer.
    """

    def __init__(self, issuer: str, algorithm: str) -> None:
        self._issuer = issuer
        self._algorithm = algorithm
        self._made = 0
        self._published: dict[str, dict[str, str]] = {}
        self.away = False
        self.active = self.publish()

    def make(self, algorithm: str | None = None) -> PrivateKey:
        """Return a key that is not published; its name says what it is."""
        self._made += 1
        kid = f"fake-issuer-for-tests-{self._made}"
        return PrivateKey.generate(algorithm or self._algorithm, kid=kid)

    def publish(self, algorithm: str | None = None) -> PrivateKey:
        """Return a new key that is published, and does not sign yet."""
        key = self.make(algorithm)
        self._published[key.kid] = key.public_jwk()
        return key

    def rotate(self) -> None:
        """Let a new key sign; the old one stays published."""
        self.active = self.publish()

    def withdraw(self, key: PrivateKey | None = None) -> None:
        """Publish `key` no longer; without one, none but the key that signs."""
        for kid in list(self._published) if key is None else [key.kid]:
            if key is not None or kid != self.active.kid:
                self._published.pop(kid, None)

    def jwks(self) -> dict[str, Any]:
        """Return the JWK Set (RFC 7517 §5)."""
        return {"keys": [dict(members) for members in self._published.values()]}

    def bind(self, *, issuer: str, clock: Clock, on_event: OnEvent | None = None) -> None:
        """Serve verifiers of this issuer.

        Raises:
            ConfigurationError: the verifier expects another issuer.
        """
        del clock, on_event
        if issuer != self._issuer:
            raise ConfigurationError(f"these are the keys of {self._issuer}")

    def lookup(self, kid: str, now: Instant) -> VerificationKey:
        """Return the key.

        Raises:
            KeyUnknown: it is not published.
            KeysUnavailable: the issuer is away.
        """
        del now
        self.warm()
        members = self._published.get(kid)
        if members is None:
            raise KeyUnknown("the fake issuer publishes no key of this kid")
        return jwk.parse(members)

    async def lookup_async(self, kid: str, now: Instant) -> VerificationKey:
        """Do as `lookup`."""
        return self.lookup(kid, now)

    def warm(self) -> None:
        """Make sure that the issuer is not away.

        Raises:
            KeysUnavailable: it is.
        """
        if self.away:
            raise KeysUnavailable("the fake issuer is away", cause_code="connect_failed")

    async def warm_async(self) -> None:
        """Do as `warm`."""
        self.warm()

    def refresh(self) -> None:
        """Do nothing: none is newer than what is looked up."""

    def status(self) -> KeysStatus:
        """Say which keys are published."""
        failure = "connect_failed" if self.away else None
        kids = tuple(self._published)
        return KeysStatus(not self.away, stale=False, age=0.0, kids=kids, last_failure=failure)
