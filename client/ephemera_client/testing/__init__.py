"""An issuer for the tests of an API or of its callers. It believes everybody: never serve with it.

`FakeIssuer` mints whatever token a test asks for, good or bad, signed by keys that it made itself
and that only the verifiers that are given them trust; the clock is the test's. pytest finds the
fixtures `fake_issuer` and `served_fake_issuer` by itself; where plugins are not loaded by
themselves, name this module (`-p ephemera_client.testing`). Without pytest it works as well.
"""

from ephemera_client.testing.clock import StillClock
from ephemera_client.testing.endpoints import Asked
from ephemera_client.testing.issuer import FakeIssuer
from ephemera_client.testing.keys import FakeKeys
from ephemera_client.testing.refusals import REFUSALS
from ephemera_client.testing.tokens import AsyncFakeTokens, FakeTokens

__all__ = [
    "REFUSALS",
    "Asked",
    "AsyncFakeTokens",
    "FakeIssuer",
    "FakeKeys",
    "FakeTokens",
    "StillClock",
]

# pytest follows this name when it is told of this module; a plugin that it has already stays one.
pytest_plugins = ("pytest_ephemera",)
