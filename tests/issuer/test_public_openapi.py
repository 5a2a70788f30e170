"""The public endpoints held against docs/openapi-public.json."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from issuer.fixtures_administering import ISSUER, Served, administered
from issuer.fixtures_minting import Keeper, basic
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from ephemera_client import SingleProcessReplayCache
from ephemera_issuer.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi-public.json").read_text())
schema = schemathesis.openapi.from_dict(DOCUMENT)
ANSWERED: dict[str, set[int]] = defaultdict(set)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    folder = tmp_path_factory.mktemp("described")
    with administered("sqlite://", folder) as running:
        yield running, (folder / "secrets" / "orders.secret").read_text()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as kept:
        kept.trust_env = False
        yield kept


@schema.parametrize()
@settings(
    max_examples=5,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_what_the_document_says_is_what_happens(
    case: Case[Any], place: tuple[Served, str], session: requests.Session
) -> None:
    served, secret = place
    response = case.call_and_validate(
        base_url=served.url,
        session=session,
        headers={"Authorization": basic("orders", secret)},
        # A form has text only, in which an empty value is none and an unknown one does not matter.
        excluded_checks=[positive_data_acceptance, negative_data_rejection],
    )
    ANSWERED[case.operation.label].add(response.status_code)


def test_whatever_is_described_was_also_done() -> None:
    assert all(200 in statuses for statuses in ANSWERED.values())


def test_every_public_endpoint_is_described() -> None:
    app = create_app(Keeper(), issuer=ISSUER, ledger=SingleProcessReplayCache())
    paths = {route.path for route in app.routes}  # type: ignore[attr-defined]
    assert paths == DOCUMENT["paths"].keys()
