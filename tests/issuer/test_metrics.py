from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
from issuer.fixtures_asserting import HELD, assertion, token_form
from issuer.fixtures_minting import BILLING, LEDGER, NOW, Keeper, basic, snapshot
from issuer.fixtures_observing import Watched, samples, value, watched
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from ephemera_client import SingleProcessReplayCache
from ephemera_client.errors import ReplayCacheUnavailable
from ephemera_client.instant import Instant
from ephemera_issuer.metrics.families import NONE, OTHER
from ephemera_issuer.metrics.memory import Tallies
from ephemera_issuer.revocation.entries import CutOff, RevokedKey
from ephemera_keys import generate, public_jwk

pytestmark = pytest.mark.anyio

ASKED = {"grant_type": "client_credentials", "resource": BILLING}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def ask(http: Watched, *, secret: str | None = None, **more: str) -> int:
    authorization = basic() if secret is None else basic(secret=secret)
    answer = await http.public.post(
        "/oauth2/token", data=ASKED | more, headers={"Authorization": authorization}
    )
    return answer.status_code


async def test_mints_and_tokens_are_counted_by_client_and_audience() -> None:
    async with watched() as http:
        for count in ("1", "2", "50"):
            assert await ask(http, count=count) == 200
        assert await ask(http, resource=LEDGER) == 200
        found = await http.metrics()
    assert value(found, "ephemera_mints_total", client="orders", audience=BILLING) == 3
    assert value(found, "ephemera_minted_tokens_total", client="orders", audience=BILLING) == 53
    assert value(found, "ephemera_mints_total", client="orders", audience=LEDGER) == 1


@pytest.mark.parametrize(
    ("more", "secret", "labels"),
    [
        ({}, "wrong", (NONE, NONE, "invalid_client")),
        ({"scope": "admin"}, None, ("orders", BILLING, "scope_not_granted")),
        ({"resource": "https://nowhere.internal"}, None, ("orders", NONE, "no_grant")),
        (
            {"resource": "https://closed.internal"},
            None,
            ("orders", "https://closed.internal", "audience_disabled"),
        ),
        ({"grant_type": "password"}, None, (NONE, NONE, "unsupported_grant_type")),
    ],
)
async def test_refusals_are_counted_by_what_is_known_for_certain(
    more: dict[str, str], secret: str | None, labels: tuple[str, str, str]
) -> None:
    client, audience, reason = labels
    async with watched() as http:
        assert await ask(http, secret=secret, **more) in {400, 401}
        found = await http.metrics()
    name = "ephemera_refusals_total"
    assert value(found, name, client=client, audience=audience, reason=reason) == 1
    assert sum(number for (named, _), number in found.items() if named == name) == 1


async def test_answers_are_counted_by_endpoint_and_no_caller_makes_up_another() -> None:
    name = "ephemera_http_responses_total"
    async with watched() as http:
        await ask(http)
        await ask(http, scope="admin")
        await http.public.post("/oauth2/token", json={})
        await http.public.get("/oauth2/token")
        await http.public.get("/.well-known/jwks.json")
        etag = {"If-None-Match": '"etag-of-the-keys"'}
        await http.public.get("/.well-known/jwks.json", headers=etag)
        before = await http.metrics()
        for number in range(20):
            await http.public.get(f"/made-up/{number}")
        found = await http.metrics()
    token = {"listener": "public", "endpoint": "/oauth2/token"}
    assert value(found, name, **token, status="2xx") == 1
    assert value(found, name, **token, status="4xx") == 3
    keys = {"listener": "public", "endpoint": "/.well-known/jwks.json"}
    assert value(found, name, **keys, status="2xx") == value(found, name, **keys, status="3xx") == 1
    assert value(found, name, listener="public", endpoint=OTHER, status="4xx") == 20
    assert value(found, name, listener="private", endpoint="/metrics", status="2xx") == 1
    assert found.keys() == before.keys()


async def test_the_time_that_token_requests_take_is_told_by_buckets_that_add_up() -> None:
    # Each reading of the clock is 3 ms after the one before.
    readings = itertools.count()
    moments = (Instant(NOW.wall, NOW.monotonic + 0.003 * reading) for reading in readings)
    name = "ephemera_token_request_duration_seconds"
    async with watched(clock=lambda: next(moments)) as http:
        assert await ask(http) == 200
        assert await ask(http) == 200
        found = await http.metrics()
    buckets = {
        float(dict(labels)["le"]): number
        for (named, labels), number in found.items()
        if named == f"{name}_bucket" and dict(labels)["status"] == "2xx"
    }
    assert list(buckets) == sorted(buckets)
    total = value(found, f"{name}_sum", status="2xx")
    each = total / 2
    assert each / 0.003 == pytest.approx(round(each / 0.003))
    assert buckets == {bound: 2.0 * (each <= bound) for bound in buckets}
    assert buckets[math.inf] == value(found, f"{name}_count", status="2xx") == 2
    assert value(found, f"{name}_count", status="4xx") == 0


class Away(SingleProcessReplayCache):
    async def claim_async(self, *_: Any) -> None:
        raise ReplayCacheUnavailable("it is away", cause_code="connect_failed")


async def test_claims_of_assertions_are_counted_by_what_came_of_them() -> None:
    used = token_form(assertion())
    name = "ephemera_assertion_claims_total"
    async with watched(Keeper(HELD)) as http:
        for form, status in ((used, 200), (used, 401), (token_form(assertion()), 200)):
            assert (await http.public.post("/oauth2/token", data=form)).status_code == status
        tallies = http.tallies
        found = await http.metrics()
        assert value(found, "ephemera_assertion_claim_duration_seconds_count") == 3
    async with watched(Keeper(HELD), tallies=tallies, ledger=Away(clock=lambda: NOW)) as http:
        answer = await http.public.post("/oauth2/token", data=token_form(assertion()))
        assert answer.status_code == 503
        found = await http.metrics()
    outcomes = [value(found, name, outcome=o) for o in ("claimed", "refused", "unavailable")]
    assert outcomes == [2, 1, 1]
    assert (
        value(
            found,
            "ephemera_refusals_total",
            client="reports",
            audience=BILLING,
            reason="temporarily_unavailable",
        )
        == 1
    )


async def test_either_of_two_workers_tells_what_both_have_counted() -> None:
    tallies = Tallies(2)
    async with (
        watched(tallies=tallies, worker=0) as one,
        watched(tallies=tallies, worker=1) as other,
    ):
        for _ in range(3):
            await ask(one)
        await ask(other)
        for http in (one, other):
            found = await http.metrics()
            assert value(found, "ephemera_mints_total", client="orders", audience=BILLING) == 4
            assert value(found, "ephemera_workers_alive") == 2


async def test_the_snapshot_tells_its_age_its_keys_and_what_is_revoked() -> None:
    held = snapshot()
    later = Instant(NOW.wall + 1000, NOW.monotonic + 1000)
    ring = held.ring.rotate(
        new_pending=public_jwk(generate("ES256"), alg="ES256"), now=later.wall - 40, emergency=True
    )
    revocations = held.revocations.followed_by(
        [CutOff("orders", None, 5), RevokedKey("a-key")], sequence=12, now=0
    )
    confirmed = Instant(later.wall - 4, later.monotonic - 4)
    keeper = Keeper(replace(held, ring=ring, revocations=revocations, confirmed_at=confirmed))
    async with watched(keeper, clock=lambda: later, settings={"rotate_every": "24h"}) as http:
        found = await http.metrics()

    def age(state: str, kid: str) -> float:
        labels = {"state": state, "kid": kid, "alg": "ES256"}
        return value(found, "ephemera_signing_key_age_seconds", **labels)

    assert age("active", ring.active.kid) == pytest.approx(40)
    assert age("pending", ring.pending.kid) == pytest.approx(40)
    assert age("retired", held.ring.active.kid) == pytest.approx(40)
    assert value(found, "ephemera_signing_keys", state="retired") == 1
    due = value(found, "ephemera_next_rotation_timestamp_seconds")
    assert due == pytest.approx(later.wall - 40 + 86_400)
    assert value(found, "ephemera_snapshot_age_seconds") == pytest.approx(4)
    assert value(found, "ephemera_feed_sequence", epoch="epoch") == 12
    assert value(found, "ephemera_feed_entries", kind="cut_offs") == 1
    assert value(found, "ephemera_feed_entries", kind="kids") == 1
    assert value(found, "ephemera_registry_version") == 1
    assert value(found, "ephemera_registry_entries", kind="clients") == 4


async def test_a_worker_without_a_snapshot_is_endlessly_behind_and_still_tells() -> None:
    keeper = Keeper(None)
    async with watched(keeper, settings={"rotate_every": "off"}) as http:
        assert value(await http.metrics(), "ephemera_snapshot_age_seconds") == math.inf
        keeper.replace(snapshot())
        found = await http.metrics()
    assert value(found, "ephemera_snapshot_age_seconds") == 0
    assert ("ephemera_next_rotation_timestamp_seconds", frozenset()) not in found


async def test_who_asks_for_open_metrics_gets_it() -> None:
    async with watched() as http:
        await ask(http)
        plain = await http.private.get("/metrics")
        wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
        answer = await http.private.get("/metrics", headers=wanted)
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert "ephemera_mints" in {family.name for family in open_metrics(answer.text)}  # type: ignore[no-untyped-call]
    assert {name for name, _ in samples(plain.text)} >= {"ephemera_mints_total"}


async def test_metrics_are_private_and_tokens_public() -> None:
    async with watched() as http:
        assert (await http.public.get("/metrics")).status_code == 404
        assert (await http.private.post("/oauth2/token", data=ASKED)).status_code == 404
        assert (await http.private.get("/.well-known/jwks.json")).status_code == 404
        assert (await http.private.post("/metrics")).status_code == 405
        assert (await http.private.get("/healthz")).json() == {"status": "alive"}
        assert (await http.private.get("/nothing")).json()["error"] == "invalid_request"
