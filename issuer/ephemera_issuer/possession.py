"""The proof that a token request carries, and what is made of it (RFC 9449 section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ephemera_client import DPoPNonces
from ephemera_client.dpop import proof
from ephemera_client.errors import ProofNonceRequired, ProofRefused
from ephemera_client.replay import Claim
from ephemera_issuer.errors import NonceRequired, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ephemera_client.instant import Instant
    from ephemera_issuer.settings import Settings
    from ephemera_keys import SealingKeys

_NONCE_PURPOSE = b"ephemera dpop nonces"


class Possession(NamedTuple):
    """The key that a caller has proved to hold, and the proof, to be spent before the mint."""

    thumbprint: str
    claim: Claim


class Proofs:
    """Checks the proofs of token requests.

    Args:
        issuer: The issuer identifier.
        url: Of the token endpoint, as callers know it.
        nonces: Which a proof must hold, if any.
    """

    __slots__ = ("_issuer", "_known", "_nonces", "_url")

    def __init__(self, *, issuer: str, url: str, nonces: DPoPNonces | None) -> None:
        self._issuer = issuer
        self._url = url
        self._nonces = nonces
        self._known = proof.KnownKeys()

    def check(self, proofs: Sequence[bytes], *, now: Instant) -> Possession:
        """Check the DPoP headers of a request whose caller is known, and that must have one.

        Args:
            proofs: The value of each.
            now: When the request came.

        Raises:
            NonceRequired: The proof needs a nonce; nothing has been spent.
            RequestRefused: `invalid_dpop_proof`.
        """
        if not proofs:
            raise _refused("this audience takes only tokens bound to a key: send a DPoP proof")
        if len(proofs) > 1:
            raise _refused("send one DPoP header")
        try:
            proven = proof.check(
                proofs[0].decode("latin-1"),
                method="POST",
                url=self._url,
                token=None,
                thumbprint=None,
                nonces=self._nonces,
                now=now.wall,
                known=self._known,
            )
        except ProofNonceRequired as error:
            raise NonceRequired(error.nonce) from None
        except ProofRefused as error:
            raise _refused(str(error)) from None
        return Possession(
            proven.thumbprint,
            Claim(
                "dpop",
                self._issuer,
                proven.thumbprint,
                proven.jti,
                proven.issued_at,
                proven.expires_at,
            ),
        )

    def nonce(self, now: Instant) -> str | None:
        """Return the nonce for the caller's next request; None where none is asked for."""
        return None if self._nonces is None else self._nonces.make(now.wall)


def nonces_of(settings: Settings, sealing_keys: SealingKeys) -> DPoPNonces | None:
    """Make the nonces of an issuer: the same for all its processes, and after a restart.

    None where its settings want none.
    """
    if settings.dpop_nonce == "off":
        return None
    return DPoPNonces(sealing_keys.derive(_NONCE_PURPOSE))


def _refused(why: str) -> RequestRefused:
    # RFC 6749 section 5.2 leaves the quotation mark out of descriptions.
    return RequestRefused("invalid_dpop_proof", why.replace('"', "'"))
