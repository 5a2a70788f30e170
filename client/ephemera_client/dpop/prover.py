"""A caller's key with the nonces that servers have given: what makes the proof of each request."""

import re

from ephemera_client.dpop.key import DPoPKey
from ephemera_client.instant import Clock
from ephemera_client.token_request import IssuedToken
from ephemera_client.url import origin

_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")  # RFC 9449 section 8.1
_MANY_ORIGINS = 1000


class Prover:
    """Makes proofs, for any number of threads; nonces are kept per origin, the latest of each."""

    __slots__ = ("_clock", "_nonces", "key")

    def __init__(self, key: DPoPKey, *, clock: Clock) -> None:
        self.key = key
        self._clock = clock
        self._nonces: dict[str, str] = {}

    def proof(self, method: str, url: str, token: str | None = None) -> str:
        """Return the proof for one request.

        Raises:
            ConfigurationError: the URL is none that a request can be sent to.
        """
        nonce = self._nonces.get(origin(url)) if self._nonces else None
        return self.key.proof(method, url, token=token, nonce=nonce, now=self._clock().wall)

    def learn(self, url: str, nonce: str | None) -> bool:
        """Keep the nonce of a response, if it is one; say whether it was."""
        if nonce is None or not _NONCE.fullmatch(nonce):
            return False
        if len(self._nonces) >= _MANY_ORIGINS:
            self._nonces.clear()
        self._nonces[origin(url)] = nonce
        return True


class Showing:
    """A source of tokens that knows how they are shown: with a proof, where it has a key."""

    _prover: Prover | None

    @property
    def bound(self) -> bool:
        """Whether its tokens are bound to a key, so that each call needs a proof."""
        return self._prover is not None

    def headers(self, token: IssuedToken, method: str, url: str) -> dict[str, str]:
        """Return the headers by which one request shows `token`, for any HTTP library.

        With `dpop` they hold a proof for this request alone, so ask for them for each one. Hand
        `DPoP-Nonce` of the response, where there is one, to `learn_nonce`.

        Raises:
            ConfigurationError: the URL is none that a request can be sent to.
        """
        if self._prover is None:
            return {"Authorization": f"Bearer {token}"}
        proof = self._prover.proof(method, url, token)
        return {"Authorization": f"DPoP {token}", "DPoP": proof}

    def learn_nonce(self, url: str, nonce: str | None) -> bool:
        """Keep what a response from `url` had as `DPoP-Nonce`; say whether it was a nonce.

        A 401 whose challenge says `use_dpop_nonce` may then be tried once more, with a new token.
        """
        return self._prover is not None and self._prover.learn(url, nonce)
