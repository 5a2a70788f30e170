"""A caller's key with the nonces that servers have given: what makes the proof of each request."""

import re

from ephemera_client.dpop.key import DPoPKey
from ephemera_client.instant import Clock
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
