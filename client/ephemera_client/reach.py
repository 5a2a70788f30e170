"""How an issuer is reached: over connections of our own, or through a client of the caller's."""

import contextlib
from collections.abc import Iterator

from ephemera_client.borrowed import BorrowedHttp, Client
from ephemera_client.errors import ConfigurationError
from ephemera_client.http import CaFile, Http

Getter = Http | BorrowedHttp

_PROBE = 1


class Reach:
    """What the ways to one issuer have in common, whatever is fetched there.

    Raises:
        ConfigurationError: the file cannot be used, or the client brings its own.
    """

    def __init__(
        self, *, ca_file: CaFile = None, link_local: bool = True, http: Client | None = None
    ) -> None:
        self._ca_file = ca_file
        self._link_local = link_local
        # Lent here and now: a forked child is to find out.
        self._borrowed = None if http is None else BorrowedHttp(http, max_bytes=_PROBE)
        if http is not None and (ca_file is not None or not link_local):
            raise ConfigurationError("http= has its own authorities, and connects where it will")
        # It is opened for each use, so that a replaced file is read; this finds a bad file early.
        with self.opened(timeout=_PROBE, max_bytes=_PROBE):
            pass

    @property
    def usual(self) -> bool:
        """Whether nothing was said of it."""
        return self._ca_file is None and self._link_local and self._borrowed is None

    @contextlib.contextmanager
    def opened(self, *, timeout: float, max_bytes: int) -> Iterator[Getter]:
        """Fetch with what this yields; connections of our own are closed afterwards."""
        opened = self.open(timeout=timeout, max_bytes=max_bytes)
        try:
            yield opened
        finally:
            if isinstance(opened, Http):
                opened.close()

    def open(self, *, timeout: float, max_bytes: int) -> Getter:
        """Do as `opened`, for who closes it at another place.

        Raises:
            ConfigurationError: the file cannot be used.
        """
        if self._borrowed is not None:
            return self._borrowed.bounded(max_bytes)
        return Http(
            ca_file=self._ca_file,
            timeout=timeout,
            max_bytes=max_bytes,
            link_local=self._link_local,
        )
