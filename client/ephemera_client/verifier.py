"""The door that tokens come in by: `Verifier` for threads, `AsyncVerifier` for tasks.

A check that fails raises its own class, see `errors`; the order is that of the cost: the token's
shape and header, its key, its signature, its claims, whether it is revoked, the scopes, the proof
of its sender's key, and last the one use of that proof and of the token. So whatever is wrong with
a proof, a demand for a nonce included, costs no token.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from ephemera_client import claims, compact, instant
from ephemera_client.dpop.demand import DPoP, Presented
from ephemera_client.errors import (
    ConfigurationError,
    EphemeraError,
    ReplayCacheUnavailable,
    SenderConstraintUnverified,
    TokenExpired,
    TokenRevoked,
)
from ephemera_client.events import Accepted, OnEvent, Reporter, failure
from ephemera_client.expected import RFC9068, Expected, algorithms
from ephemera_client.http import CaFile, check_url, origin
from ephemera_client.instant import Clock, Instant
from ephemera_client.jwk import VerificationKey
from ephemera_client.jwks import Keys, KeysStatus, RemoteKeys
from ephemera_client.replay import AcceptedOnce, Claim, ReplayCache
from ephemera_client.revocations import (
    Revocations,
    RevocationsStatus,
    Revoked,
    offered_beside,
)
from ephemera_client.token import AccessToken

_REMEMBERED_HEADERS = 64


class VerifierStatus(NamedTuple):
    """For readiness: `ready` says that tokens can be verified, `accepted_once` among whom."""

    ready: bool
    accepted_once: AcceptedOnce
    keys: KeysStatus
    revocations: RevocationsStatus


class Checks:
    """The parts of a verifier, and what both kinds do with them without waiting."""

    __slots__ = (
        "__weakref__",
        "_clock",
        "_expected",
        "_headers",
        "_keys",
        "_proofs",
        "_replay_cache",
        "_reporter",
        "_revocations",
        "dpop",
    )

    def __init__(  # noqa: PLR0913 - the parts of a verifier, each by its name
        self,
        *,
        issuer: str,
        audience: str,
        algorithm: str | tuple[str, ...],
        replay_cache: ReplayCache,
        keys: Keys | None = None,
        jwks_url: str | None = None,
        revocations: Revocations | None = None,
        leeway: float = 5,
        max_lifetime: int = RFC9068.longest_lifetime,
        unencrypted_hosts: Collection[str] = (),
        ca_file: CaFile = None,
        clock: Clock = instant.read,
        on_event: OnEvent | None = None,
        dpop: DPoP | None = None,
    ) -> None:
        check_url(issuer, unencrypted_hosts=unencrypted_hosts, what="issuer")
        if origin(issuer) != issuer:
            raise ConfigurationError(
                f"issuer must be an origin, such as {origin(issuer)}, without a slash behind it"
            )
        if keys is None:
            keys = RemoteKeys(jwks_url, ca_file=ca_file, unencrypted_hosts=unencrypted_hosts)
        elif jwks_url is not None or ca_file is not None:
            raise ConfigurationError("keys= are told their own jwks_url and ca_file")
        expected = Expected(
            issuer=issuer,
            audience=audience,
            algorithms=algorithms(algorithm),
            leeway=leeway,
            max_lifetime=max_lifetime,
        )
        if revocations is None:
            revocations = offered_beside(keys)
        self._assemble(
            expected=expected,
            keys=keys,
            revocations=revocations,
            replay_cache=replay_cache,
            clock=clock,
            on_event=on_event,
            dpop=dpop,
        )

    def _assemble(  # noqa: PLR0913 - the same parts, all made
        self,
        *,
        expected: Expected,
        keys: Keys,
        revocations: Revocations,
        replay_cache: ReplayCache,
        clock: Clock,
        on_event: OnEvent | None,
        dpop: DPoP | None,
    ) -> None:
        for name, part in (("replay_cache", replay_cache), ("revocations", revocations)):
            if isinstance(part, type):
                raise ConfigurationError(f"{name} must be made: {part.__name__}()")
        self._reporter = None
        if on_event is not None:
            self._reporter = Reporter()
            self._reporter.add(on_event)
        keys.bind(issuer=expected.issuer, clock=clock, on_event=on_event)
        revocations.bind(issuer=expected.issuer, keys=keys, clock=clock, on_event=on_event)
        self._expected = expected
        self._keys = keys
        self._revocations = revocations
        self._replay_cache = replay_cache
        self._clock = clock
        self._proofs = replay_cache
        self.dpop = dpop
        if dpop is not None:
            if dpop.replay_cache is not None:
                self._proofs = dpop.replay_cache
            if self._proofs.accepted_once == "off":
                raise ConfigurationError(
                    "proofs are accepted once: DPoP(replay_cache=...) says where that is remembered"
                )
        self._headers: dict[bytes, dict[str, Any]] = {}

    def __repr__(self) -> str:
        expected = self._expected
        return (
            f"{type(self).__name__}(issuer={expected.issuer!r}, audience={expected.audience!r}, "
            f"accepted_once={self._replay_cache.accepted_once!r})"
        )

    @property
    def issuer(self) -> str:
        """Whose tokens it accepts."""
        return self._expected.issuer

    @property
    def audience(self) -> str:
        """The API that they must be for."""
        return self._expected.audience

    def still_valid(self, token: AccessToken) -> bool:
        """Say whether a token accepted earlier, such as at a handshake, may still be acted on.

        It may not once it has expired or was revoked, or while it is not known what is revoked.
        Claims nothing and waits for nothing, so it can be asked again and again.
        """
        now = self._clock()
        if claims.expired(token, leeway=self._expected.leeway, now=now):
            return False
        revoked = self._revocations.fresh(now)
        return revoked is not None and not revoked.revokes(
            kid=token.kid,
            client=token.client_id,
            audience=token.audience,
            issued_at=token.issued_at,
            expires_at=token.expires_at,
            token_id=token.token_id,
        )

    def status(self) -> VerifierStatus:
        """Say what readiness wants to know; loads nothing."""
        keys = self._keys.status()
        revocations = self._revocations.status()
        return VerifierStatus(
            keys.available and revocations.available,
            self._replay_cache.accepted_once,
            keys,
            revocations,
        )

    def report(self, error: EphemeraError) -> None:
        """Tell `on_event` that a token was refused, or could not be verified."""
        if self._reporter is not None:
            event = failure(error, issuer=self.issuer, audience=self.audience)
            if event is not None:
                self._reporter.tell(event)

    def _open(self, raw: str, scopes: Collection[str]) -> tuple[compact.Compact, str]:
        if isinstance(scopes, str):
            raise ConfigurationError("scopes must be a set of scopes, not one string")
        parts = compact.parse(raw, self._headers)
        if parts.header_segment in self._headers:
            # The very bytes that were checked before, for a token that was then accepted.
            return parts, parts.header["kid"]
        return parts, claims.kid_of(parts.header, expected=self._expected)

    def _check(self, parts: compact.Compact, key: VerificationKey, now: Instant) -> Revoked | None:
        """Return what is revoked, if that is known, once the token itself is in order."""
        claims.check(parts, key, self._expected, now)
        return self._revocations.fresh(now)

    def _accept(
        self,
        parts: compact.Compact,
        revoked: Revoked,
        scopes: Collection[str],
        now: Instant,
        presented: Presented | None,
    ) -> tuple[AccessToken, Claim]:
        if revoked.any and claims.withdrawn(parts, revoked, expected=self._expected):
            raise TokenRevoked("the issuer has revoked the token")
        token = claims.accept(
            parts, self._expected, scopes, now, proof_follows=presented is not None
        )
        if parts.header_segment not in self._headers:
            # Only what the issuer signed comes in here, so there are few; the bound is for
            # whatever an issuer may think of.
            if len(self._headers) >= _REMEMBERED_HEADERS:
                self._headers.clear()
            self._headers[parts.header_segment] = parts.header
        said = parts.claims
        # As Claim(...) does, less a call.
        return token, tuple.__new__(
            Claim,
            ("token", said["iss"], said["sub"], said.get("jti", ""), said["iat"], said["exp"]),
        )

    def _proven(
        self, token: AccessToken, raw: str, presented: Presented | None, now: Instant
    ) -> tuple[DPoP, Claim] | None:
        """Return the claim of the proof that came along, once it is in order."""
        if self.dpop is None:
            raise SenderConstraintUnverified("no proof is checked here: the verifier has no dpop=")
        claim = self.dpop.proven(token, raw, presented, now)
        return None if claim is None else (self.dpop, claim)

    def _admit(self, token: AccessToken, claim: Claim, now: Instant) -> AccessToken:
        # Loading keys and claiming take time; what was young enough before may not be now.
        if claims.past(claim.expires_at, self._expected.leeway, now, self._clock()):
            raise TokenExpired("the token expired while it was being verified")
        if self._reporter is not None:
            self._reporter.tell(Accepted(self.issuer, self.audience, token))
        return token


class Verifier(Checks):
    """Accepts the access tokens of one issuer for one audience. Any number of threads may share it.

    Args:
        issuer: the issuer identifier, an https origin, compared exactly with `iss`.
        audience: the identifier of this API, compared exactly with `aud`.
        algorithm: the one that the issuer signs with: `ES256`, `EdDSA` or `RS256`; two in a tuple
            while it changes from one to the other.
        replay_cache: where tokens are accepted once.
        keys: `RemoteKeys` with other numbers, or `StaticKeys`; without it, the keys are found
            through the issuer's metadata.
        jwks_url: where the keys are if they are not to be found that way.
        revocations: `RevocationFeed` with other numbers, or `NoRevocations`. Without it, the feed
            that the metadata offer is followed; where the keys are not found through them, none.
        leeway: seconds by which the issuer's clock may differ, 30 at most.
        max_lifetime: the longest `exp - iat` that is accepted, in seconds, 900 at most.
        unencrypted_hosts: hosts that may be asked for keys over plain http.
        ca_file: PEM file of the authorities to trust instead of the public ones.
        clock: reads both clocks.
        on_event: told of what happens, see `events`.
        dpop: takes tokens that are bound to their sender's key (RFC 9449), or demands that they
            are. Without it, such a token is refused.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    __slots__ = ()

    def verify(
        self,
        raw: str,
        *,
        scopes: Collection[str] = frozenset(),
        presented: Presented | None = None,
    ) -> AccessToken:
        """Accept a token, once.

        Args:
            raw: the token, without `Bearer` or `DPoP`.
            scopes: what the call needs; all of them must be granted.
            presented: the request that it came with by the scheme `DPoP`; None for `Bearer`.

        Raises:
            TokenRefused: the class of the first check that fails.
            KeysUnavailable: there are no keys to check it with.
            RevocationsUnavailable: it is not known what is revoked.
            ReplayCacheUnavailable: its single use cannot be assured.
        """
        now = self._clock()
        try:
            parts, kid = self._open(raw, scopes)
            revoked = self._check(parts, self._keys.lookup(kid, now), now)
            if revoked is None:
                revoked = self._revocations.revoked(now)
            token, claim = self._accept(parts, revoked, scopes, now, presented)
            proven = None
            if presented is not None or self.dpop is not None:
                proven = self._proven(token, raw, presented, now)
            try:
                if proven is not None:
                    with proven[0].claiming(now):
                        self._proofs.claim(proven[1], now)
                self._replay_cache.claim(claim, now)
            except EphemeraError:
                raise
            except Exception as error:
                raise _cache_failed() from error
            return self._admit(token, claim, now)
        except EphemeraError as error:
            self.report(error)
            raise

    def warm(self) -> None:
        """Load keys and revocations and reach the replay cache before traffic comes.

        Raises:
            KeysUnavailable: the keys cannot be loaded.
            RevocationsUnavailable: nor what is revoked.
            ReplayCacheUnavailable: it cannot be reached, or must not be relied on.
        """
        self._keys.warm()
        self._revocations.warm()
        try:
            self._replay_cache.warm()
            if self._proofs is not self._replay_cache:
                self._proofs.warm()
        except EphemeraError:
            raise
        except Exception as error:
            raise _cache_failed() from error


class AsyncVerifier(Checks):
    """`Verifier` for asyncio and trio: the same arguments, `verify` and `warm` are awaited."""

    __slots__ = ()

    async def verify(
        self,
        raw: str,
        *,
        scopes: Collection[str] = frozenset(),
        presented: Presented | None = None,
    ) -> AccessToken:
        """Do as `Verifier.verify`."""
        now = self._clock()
        try:
            parts, kid = self._open(raw, scopes)
            key = await self._keys.lookup_async(kid, now)
            revoked = self._check(parts, key, now)
            if revoked is None:
                revoked = await self._revocations.revoked_async(now)
            token, claim = self._accept(parts, revoked, scopes, now, presented)
            proven = None
            if presented is not None or self.dpop is not None:
                proven = self._proven(token, raw, presented, now)
            try:
                if proven is not None:
                    with proven[0].claiming(now):
                        await self._proofs.claim_async(proven[1], now)
                await self._replay_cache.claim_async(claim, now)
            except EphemeraError:
                raise
            except Exception as error:
                raise _cache_failed() from error
            return self._admit(token, claim, now)
        except EphemeraError as error:
            self.report(error)
            raise

    async def warm(self) -> None:
        """Do as `Verifier.warm`."""
        await self._keys.warm_async()
        await self._revocations.warm_async()
        try:
            await self._replay_cache.warm_async()
            if self._proofs is not self._replay_cache:
                await self._proofs.warm_async()
        except EphemeraError:
            raise
        except Exception as error:
            raise _cache_failed() from error


def _cache_failed() -> ReplayCacheUnavailable:
    return ReplayCacheUnavailable("the replay cache failed", cause_code="failed")
