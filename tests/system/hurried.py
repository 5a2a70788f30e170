"""`ephemera serve` whose keys live for seconds; verifiers must be told of it as well."""

from __future__ import annotations

from unittest import mock

from ephemera_issuer import rotator
from ephemera_issuer.logs import configure_logs
from ephemera_issuer.serving import serve_with
from ephemera_issuer.settings import Settings
from ephemera_keys import Timing

TIMING = Timing(jwks_max_age=1, publication=2.0, retention=20.0)
EVERY = 2

if __name__ == "__main__":
    configure_logs()
    # No setting allows as much.
    with mock.patch.object(rotator, "PAUSE", EVERY):
        serve_with(Settings().model_copy(update={"rotate_every": EVERY}), timing=TIMING)
