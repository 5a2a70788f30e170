"""`ephemera serve` that tells of its writes and rotates without a break, to be killed."""

from __future__ import annotations

import os
import sys
from functools import partialmethod
from typing import TYPE_CHECKING
from unittest import mock

from system.history import tell_writes
from system.killable import Killable

from ephemera_issuer.logs import configure_logs
from ephemera_issuer.rotator import Rotator
from ephemera_issuer.serving import Place, serve_with
from ephemera_issuer.settings import Settings
from ephemera_keys import Timing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from system.killable import Tell

# As many keys as the JWKS may show are made in half a minute.
TIMING = Timing(jwks_max_age=1, publication=0.1, retention=20)
EVERY = 1
PACE = 0.05


def serve(tell: Tell, environment: Mapping[str, str], log: Path) -> None:
    """Serve with these settings; what is written goes to `log`, the URL is told."""
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())

    def announce(place: Place) -> None:
        host, port = place.listener.getsockname()[:2]
        tell(f"http://{host}:{port}")

    tell_writes(tell)
    mock.patch.object(Rotator, "__init__", partialmethod(Rotator.__init__, pace=PACE)).start()
    mock.patch.object(Place, "announce", announce).start()
    configure_logs()
    # No setting allows as much.
    settings = Settings().model_copy(update={"rotate_every": EVERY})
    serve_with(settings, timing=TIMING)


class Serving(Killable):
    """It runs, and `url` is where it listens."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        super().__init__(serve, dict(environment), log)
        try:
            self.wait(lambda told: any(map(_is_url, told)))
        except BaseException:
            self.kill()
            raise
        (self.url,) = filter(_is_url, list(self.told))


def _is_url(word: object) -> bool:
    return isinstance(word, str) and word.startswith("http")
