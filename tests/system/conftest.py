"""What the tests on real processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system.running import Issuer, run_issuer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with run_issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running
