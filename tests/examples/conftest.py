"""One issuer for all examples, and tokens of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system.running import Issuer, run_issuer

from ephemera_client import ClientSecret, TokenClient

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with run_issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


@pytest.fixture
def tokens(issuer: Issuer) -> Iterator[TokenClient]:
    # For each test: what is pooled from before an API began, the API refuses.
    credential = ClientSecret(issuer.client_secret)
    with TokenClient(issuer.url, client_id="orders", credential=credential) as client:
        yield client
