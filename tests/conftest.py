"""What all tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_postgresql import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for everybody; whoever stops one starts one of their own."""
    server = PostgresServer()
    yield server
    server.end()
