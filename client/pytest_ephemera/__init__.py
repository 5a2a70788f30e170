"""The pytest plugin of `ephemera_client.testing`: its fixtures.

A package of its own, since pytest imports its plugins at every start: whoever does not ask for a
fixture does not pay for the library, and coverage still sees it being imported.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ephemera_client.testing import FakeIssuer


@pytest.fixture
def fake_issuer() -> "FakeIssuer":
    """An issuer of this test's own, in its process."""
    from ephemera_client.testing import FakeIssuer  # noqa: PLC0415 - when a test asks for it

    return FakeIssuer()


@pytest.fixture
def served_fake_issuer() -> Iterator["FakeIssuer"]:
    """An issuer of this test's own on a port of 127.0.0.1, for services that run by themselves."""
    from ephemera_client.testing import FakeIssuer  # noqa: PLC0415 - when a test asks for it

    with FakeIssuer.on_loopback() as issuer:
        yield issuer
