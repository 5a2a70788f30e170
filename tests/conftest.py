"""What all tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from issuer.fixtures_postgresql import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

# A deadline is a timing, and no test asserts one: a busy machine misses it.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for everybody; whoever stops one starts one of their own."""
    server = PostgresServer()
    yield server
    server.end()
