"""What an API's verifier demands of bound tokens, and the request that one came with."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from ephemera_client.dpop import proof
from ephemera_client.dpop.nonces import DPoPNonces
from ephemera_client.errors import (
    ConfigurationError,
    IssuedBeforeLedger,
    ProofReplayed,
    SenderConstraintMissing,
    SenderConstraintUnverified,
    TokenReplayed,
)
from ephemera_client.instant import Instant
from ephemera_client.replay import Claim, ReplayCache
from ephemera_client.token import AccessToken
from ephemera_client.url import origin as origin_of

ALGS = " ".join(proof.ALGORITHMS)
"""What challenges say that proofs may be signed with (RFC 9449 section 7.1)."""

_LONGEST_AGE = 600


class Presented(NamedTuple):
    """The request that a token came with, by the scheme `DPoP`.

    `url` is the one that the caller sent it to; its query counts for nothing. `proof` is the value
    of the one DPoP header.
    """

    method: str
    url: str
    proof: str

    def __repr__(self) -> str:
        return f"Presented(method={self.method!r}, ...)"


class DPoP:
    """What a verifier takes of tokens that are bound to their sender's key.

    Args:
        origin: where callers reach this API, such as `https://billing.internal`. What a proof is
            for is compared with it, and never with a Host or forwarded header.
        required: whether a token that is bound to no key is refused.
        nonces: proofs must hold one of these; None takes proofs by the caller's clock.
        max_age: seconds for which a proof is good where there are no nonces, 600 at most.
        replay_cache: where proofs are accepted once; without it, where the verifier's tokens are.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    __slots__ = ("_known", "_max_age", "nonces", "origin", "replay_cache", "required")

    def __init__(
        self,
        *,
        origin: str,
        required: bool,
        nonces: DPoPNonces | None = None,
        max_age: int = proof.MAX_AGE,
        replay_cache: ReplayCache | None = None,
    ) -> None:
        try:
            right = isinstance(origin, str) and origin_of(origin) == origin
        except ValueError:
            right = False
        if not right:
            raise ConfigurationError(
                "origin must be where callers reach this API, such as https://billing.internal, "
                "without a path or a slash behind it"
            )
        if type(required) is not bool:
            raise ConfigurationError("required must be True or False")
        if type(max_age) is not int or not 0 < max_age <= _LONGEST_AGE:
            raise ConfigurationError(f"max_age must be from 1 to {_LONGEST_AGE} seconds")
        if not (nonces is None or isinstance(nonces, DPoPNonces)):
            raise ConfigurationError("nonces must be DPoPNonces(...), or None")
        if isinstance(replay_cache, type):
            raise ConfigurationError(f"replay_cache must be made: {replay_cache.__name__}()")
        self.origin = origin
        self.required = required
        self.nonces = nonces
        self.replay_cache = replay_cache
        self._max_age = max_age
        self._known = proof.KnownKeys()

    def __repr__(self) -> str:
        return f"DPoP(origin={self.origin!r}, required={self.required!r}, nonces={self.nonces!r})"

    def proven(
        self, token: AccessToken, raw: str, presented: Presented | None, now: Instant
    ) -> Claim | None:
        """Check that a token which is otherwise in order came from the holder of its key.

        Returns what is to be claimed of the proof; None for a token that is bound to no key, where
        that is enough.

        Raises:
            SenderConstraintMissing: the token is bound to no key.
            SenderConstraintUnverified: it is bound in a way that is not known here.
            ProofRefused: the class of the first check of the proof that fails.
        """
        if presented is None:
            if self.required:
                raise SenderConstraintMissing("the token is bound to no key, and must be")
            return None
        match token.claims.get("cnf"):
            case None:
                raise SenderConstraintMissing("the token is bound to no key: it is a Bearer token")
            case {"jkt": str(thumbprint), **others} if not others:
                pass
            case _:
                raise SenderConstraintUnverified("cnf of the token is not jkt alone")
        shown = proof.check(
            presented.proof,
            method=presented.method,
            url=presented.url,
            token=raw,
            thumbprint=thumbprint,
            nonces=self.nonces,
            now=now.wall,
            max_age=self._max_age,
            known=self._known,
        )
        return Claim(
            "dpop",
            token.audience,
            shown.thumbprint,
            shown.jti,
            shown.issued_at,
            shown.expires_at,
        )

    @contextlib.contextmanager
    def claiming(self, now: Instant) -> Iterator[None]:
        """Tell of a proof that cannot be claimed in a proof's own words.

        Raises:
            ProofReplayed: it was accepted before.
            ProofNonceRequired: its nonce is older than what the replay cache remembers.
        """
        try:
            yield
        except TokenReplayed:
            raise ProofReplayed("the proof has been accepted before") from None
        except IssuedBeforeLedger:
            if self.nonces is None:
                raise
            raise proof.nonce_required(self.nonces, now.wall) from None
