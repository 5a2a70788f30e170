"""The admin API held against the OpenAPI document that it serves."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from issuer.fixtures_administering import (
    ISSUER,
    Administrator,
    Served,
    administered,
)
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ephemera_issuer.admin.api import OPERATIONS, openapi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case

DOCUMENT = openapi.document(OPERATIONS, issuer=ISSUER, version="0")
schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with administered("sqlite://", tmp_path_factory.mktemp("described")) as running:
        yield running


@pytest.fixture(scope="module")
def ops(served: Served) -> Iterator[Administrator]:
    administrator = Administrator(served.url, clock=served.clock)
    with administrator.http:
        yield administrator


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as kept:
        kept.trust_env = False
        yield kept


ANSWERED: dict[str, set[int]] = defaultdict(set)


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
    case: Case[Any], ops: Administrator, session: requests.Session
) -> None:
    response = case.call_and_validate(
        base_url=f"{ops.http.base_url}/admin/v1",
        session=session,
        headers={"Authorization": f"Bearer {ops.assertion()}"},
        # What a schema cannot say is said by the answer: 412, 422.
        excluded_checks=[positive_data_acceptance],
    )
    ANSWERED[case.operation.label].add(response.status_code)


# What the examples name is there, but has the one credential only, or is needed by a grant.
ELSEWHERE = {
    "DELETE /clients/{client}",
    "DELETE /audiences/{audience}",
    "DELETE /clients/{client}/secrets/{which}",
    "DELETE /clients/{client}/keys/{kid}",
    "PUT /keys/{kid}/revocation",
}


def test_whatever_is_described_was_also_done() -> None:
    failed = {
        name for name, statuses in ANSWERED.items() if not any(status < 300 for status in statuses)
    }
    assert failed <= ELSEWHERE


def test_the_document_is_served_to_whoever_asks(ops: Administrator) -> None:
    served = ops.http.get("/admin/v1/openapi.json").json()
    assert served["paths"] == DOCUMENT["paths"]
    assert served["components"] == DOCUMENT["components"]
