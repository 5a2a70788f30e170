"""An issuer in the process of a test."""

import contextlib
import functools
import logging
import math
import secrets
import socket
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Self

from ephemera_client import compact, instant
from ephemera_client.dpop.key import DPoPKey
from ephemera_client.errors import ConfigurationError
from ephemera_client.http import Response
from ephemera_client.instant import Clock, Instant
from ephemera_client.private_key import PrivateKey
from ephemera_client.replay import SingleProcessReplayCache
from ephemera_client.scope import scope_set
from ephemera_client.testing import refusals
from ephemera_client.testing.clock import StillClock
from ephemera_client.testing.endpoints import Asked, Endpoints
from ephemera_client.testing.keys import FakeKeys
from ephemera_client.testing.serving import serving
from ephemera_client.testing.tokens import AsyncFakeTokens, FakeTokens
from ephemera_client.verifier import AsyncVerifier, Verifier

_JTI_BYTES = 16


class FakeIssuer:
    """Mints what a test asks for. For tests alone: it asks nobody for a credential.

    Its time stands still, from when it was made, until `at` or `advance` moves it.

    Args:
        issuer: its identifier; the default can belong to no real issuer (RFC 6761 §6.4).
        algorithm: what it signs with: `ES256`, `EdDSA` or `RS256`.
        grants: the scopes that can be had, by audience; without it, whatever a caller asks for.
        clock: another clock than a still one, such as `instant.read`.

    Attributes:
        keys: the `keys=` of verifiers, which follow every rotation.
        clock: the `clock=` of verifiers.
        replay_cache: where the verifiers that it makes accept each token once.
    """

    def __init__(
        self,
        issuer: str = "https://fake-issuer.invalid",
        *,
        algorithm: str = "ES256",
        grants: Mapping[str, Collection[str]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.issuer = issuer
        self.algorithm = algorithm
        self.clock: Clock = clock or StillClock(instant.read())
        self.keys: FakeKeys = FakeKeys(issuer, algorithm)
        # Begun long ago, so that a test can go back in time without meeting a ledger younger
        # than its tokens.
        self.replay_cache = SingleProcessReplayCache(clock=lambda: Instant(0, 0))
        self._endpoints = Endpoints(self, grants)
        _warn()

    @classmethod
    @contextlib.contextmanager
    def on_loopback(
        cls,
        *,
        algorithm: str = "ES256",
        grants: Mapping[str, Collection[str]] | None = None,
        clock: Clock = instant.read,
    ) -> Iterator[Self]:
        """Serve metadata, keys and tokens on a free port of 127.0.0.1, named by `issuer`.

        For `TokenClient`, `RemoteKeys` and services that run by themselves. Its time is real.
        """
        with socket.create_server(("127.0.0.1", 0)) as door:
            origin = f"http://127.0.0.1:{door.getsockname()[1]}"
            issuer = cls(origin, algorithm=algorithm, grants=grants, clock=clock)
            with serving(issuer.answer, door):
                yield issuer

    def verifier(self, audience: str, **changes: Any) -> Verifier:
        """Return a verifier of this issuer's tokens; `changes` are other arguments of it."""
        return Verifier(**self._parts(audience) | changes)

    def async_verifier(self, audience: str, **changes: Any) -> AsyncVerifier:
        """Return the awaited verifier; `changes` are other arguments of it."""
        return AsyncVerifier(**self._parts(audience) | changes)

    def mint(  # noqa: PLR0913 - what a token can be, each by its name
        self,
        audience: str,
        *,
        scopes: Collection[str] = (),
        client_id: str = "orders",
        lifetime: int = 120,
        header: Mapping[str, object] | None = None,
        claims: Mapping[str, object] | None = None,
        without: Collection[str] = (),
        key: PrivateKey | None = None,
    ) -> str:
        """Return a token issued now.

        Args:
            audience: whom it is for.
            scopes: what it grants there.
            client_id: the calling service.
            lifetime: seconds.
            header: members to write instead, or besides.
            claims: the same for the claims; nothing about them is checked.
            without: members of either to leave out.
            key: signs instead of the active one.
        """
        key = key or self.keys.active
        now = math.floor(self.clock().wall)
        members: dict[str, object] = {
            "iss": self.issuer,
            "sub": client_id,
            "client_id": client_id,
            "aud": audience,
            "scope": " ".join(sorted(scope_set(scopes))),
            "iat": now,
            "exp": now + lifetime,
            "jti": secrets.token_urlsafe(_JTI_BYTES),
        }
        top: dict[str, object] = {"alg": key.alg, "typ": "at+jwt", "kid": key.kid}
        top, members = (
            {name: value for name, value in said.items() if name not in without}
            for said in (top | dict(header or {}), members | dict(claims or {}))
        )
        return compact.write(top, members, sign=key.sign)

    def mint_refused(
        self,
        reason: str,
        audience: str,
        *,
        scopes: Collection[str] = (),
        client_id: str = "orders",
    ) -> str:
        """Return a token that is good but for one thing.

        Args:
            reason: the code of the refusal that it must meet, one of `REFUSALS`. With
                `token_replayed` it is used up in `replay_cache`, where the verifiers that this
                issuer makes look; `insufficient_scope` grants nothing, so that the API must want
                a scope.
            audience: whom it is for.
            scopes: what it would grant.
            client_id: the calling service.

        Raises:
            ConfigurationError: no such reason is known.
        """
        good = {"audience": audience, "scopes": scopes, "client_id": client_id}
        return refusals.mint_refused(self, reason, good)

    def at(self, moment: datetime | float) -> None:
        """Set the time: a `datetime` with a time zone, or Unix seconds."""
        self._still_clock().at(moment)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._still_clock().advance(seconds)

    def rotate(self) -> None:
        """Sign with a new key from now on; the old one is published further."""
        self.keys.rotate()

    def withdraw_old_keys(self) -> None:
        """Publish no key but the one that signs: tokens of the others become `key_unknown`."""
        self.keys.withdraw()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Be out of reach in this block: no keys for verifiers, no tokens for callers."""
        self.keys.away = True
        try:
            yield
        finally:
            self.keys.away = False

    def tokens(self, client_id: str = "orders", *, dpop: DPoPKey | None = None) -> FakeTokens:
        """Return what stands for the `TokenClient` of a caller, or of one that binds its tokens."""
        return FakeTokens(self, client_id, dpop)

    def async_tokens(
        self, client_id: str = "orders", *, dpop: DPoPKey | None = None
    ) -> AsyncFakeTokens:
        """Return what stands for the `AsyncTokenClient` of a caller."""
        return AsyncFakeTokens(self, client_id, dpop)

    def refuse_next(self, error: str, *, description: str | None = None, status: int = 400) -> None:
        """Refuse the next token request that is not refused yet, with an RFC 6749 §5.2 error."""
        self._endpoints.refuse_next(error, description=description, status=status)

    @property
    def asked(self) -> list[Asked]:
        """The token requests so far."""
        return self._endpoints.asked

    def answer(self, path: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Answer as an issuer does over HTTP; header names are lower case, a GET has no body."""
        return self._endpoints.answer(path, headers, body)

    def __repr__(self) -> str:
        return f"FakeIssuer({self.issuer!r})"

    def _parts(self, audience: str) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "audience": audience,
            "algorithm": self.algorithm,
            "keys": self.keys,
            "replay_cache": self.replay_cache,
            "clock": self.clock,
        }

    def _still_clock(self) -> StillClock:
        if not isinstance(self.clock, StillClock):
            raise ConfigurationError("the time of this issuer is not a StillClock's")
        return self.clock


@functools.cache
def _warn() -> None:
    # Whoever runs this in production should find it in the log; once is enough for a test run.
    logging.getLogger("ephemera_client").warning(
        "a fake issuer was made: it believes everybody, and is for tests alone"
    )
