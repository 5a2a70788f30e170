from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from issuer.fixtures_asserting import ASSERTION_TYPE, HELD, assertion
from issuer.fixtures_minting import BILLING, NOW, Keeper, basic, talking
from issuer.test_attempt import Told

from ephemera_issuer.crowd import Crowd
from ephemera_issuer.errors import RequestRefused, TooManyRequests
from ephemera_issuer.limits import MOST_HELD, Limits, limits, neighbourhood
from ephemera_issuer.proxies import Proxies
from ephemera_issuer.rate import UNLIMITED, Rate
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    import httpx

FORM = {"grant_type": "client_credentials", "resource": BILLING}
SLOW = Rate(1, 100)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_bucket_gives_what_it_holds_and_then_what_flows_in() -> None:
    crowd = Crowd(Rate(10, 20))
    assert [crowd.take("a", 5, 100.0) for _ in range(4)] == [0, 0, 0, 0]
    assert crowd.take("a", 5, 100.0) == pytest.approx(0.5)
    assert crowd.take("a", 5, 100.4) == pytest.approx(0.1)
    assert crowd.take("a", 5, 100.5) == 0
    assert crowd.take("a", 1, 100.5) == pytest.approx(0.1)
    assert crowd.take("b", 20, 100.5) == 0


def test_what_is_refused_takes_nothing() -> None:
    crowd = Crowd(Rate(1, 10))
    assert crowd.take("a", 4, 0.0) == 0
    assert crowd.take("a", 10, 0.0) == pytest.approx(4)
    assert crowd.take("a", 6, 0.0) == 0


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    crowd = Crowd(Rate(1, 10))
    assert crowd.take("a", 1, 0.0) == 0
    assert crowd.take("a", 10, 1e9) == 0
    assert crowd.take("a", 1, 1e9) > 0


@given(
    per_second=st.integers(1, 10_000),
    burst=st.integers(100, 10_000),
    asked=st.lists(st.tuples(st.integers(1, 100), st.floats(0, 5)), max_size=60),
)
def test_over_any_time_no_more_is_given_than_the_burst_and_what_flowed_in(
    per_second: int, burst: int, asked: list[tuple[int, float]]
) -> None:
    crowd = Crowd(Rate(per_second, burst))
    now, given_out = 5000.0, 0
    for number, pause in asked:
        now += pause
        wait = crowd.take("a", number, now)
        if not wait:
            given_out += number
        else:
            # Whoever waits as long as they are told is given it.
            now += wait
            assert crowd.take("a", number, now) == 0
            given_out += number
        assert given_out <= burst + (now - 5000.0) * per_second + 1e-3 * per_second


def test_an_unlimited_bucket_is_never_empty() -> None:
    crowd = Crowd(UNLIMITED)
    assert all(crowd.take("a", 1e9, now) == 0 for now in (0.0, 0.0, 5000.0))


def test_a_flood_of_names_fills_no_memory_and_takes_nothing_from_those_who_keep_coming() -> None:
    crowd = Crowd(Rate(1, 2), most=1000)
    crowd.take("regular", 1, 0.0)
    tracemalloc.start()
    for number in range(20_000):
        crowd.take(f"stranger {number}", 1, 0.0)
        if number == 5000:
            held, _ = tracemalloc.get_traced_memory()
        if number % 500 == 0:
            # It had one left, once; to ask for nothing is to keep coming.
            assert bool(crowd.take("regular", 1, 0.0)) is (number > 0)
            crowd.take("regular", 0, 0.0)
    later, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(crowd) <= 2000
    assert later < held * 1.5


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (None, ""),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not: an address", "not: an address"),
    ],
)
def test_an_ipv6_subscriber_is_one_neighbour_whatever_its_address(
    address: str | None, name: str
) -> None:
    assert neighbourhood(address) == name


async def ask(http: httpx.AsyncClient, secret: str | None = None, **form: str) -> httpx.Response:
    authorization = basic() if secret is None else basic(secret=secret)
    return await http.post(
        "/oauth2/token", data=FORM | form, headers={"Authorization": authorization}
    )


def refused(answer: httpx.Response, says: str, *, retry_after: str) -> None:
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == retry_after
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    assert body["error"] == "too_many_requests"
    assert says in body["error_description"]


@pytest.mark.anyio
async def test_a_client_is_counted_by_tokens_and_not_by_requests() -> None:
    told = Told()
    async with talking(limits=Limits(tokens=SLOW), observers=[told]) as http:
        assert (await ask(http, count="60")).status_code == 200
        answer = await ask(http, count="50")
        refused(answer, "too many tokens: 1 a second, 100 at once", retry_after="10")
        assert (await ask(http, count="40")).status_code == 200
        refused(await ask(http), "this client", retry_after="1")
    assert told.ends[1] == ("orders", BILLING, "too_many_requests")


@pytest.mark.anyio
async def test_a_refusal_is_held_back_and_others_are_served_meanwhile() -> None:
    holding = Limits(tokens=SLOW, longest_hold=0.2)
    answers: list[int] = []
    async with talking(Keeper(HELD), limits=holding) as http, anyio.create_task_group() as tasks:

        async def flood() -> None:
            answers.append((await ask(http, count="50")).status_code)

        assert (await ask(http, count="100")).status_code == 200
        for _ in range(3):
            tasks.start_soon(flood)
        with anyio.fail_after(30):
            while holding._held < 3:
                await anyio.lowlevel.checkpoint()
        assert answers == []
        proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion()}
        assert (await http.post("/oauth2/token", data=FORM | proof)).status_code == 200
    assert answers == [429] * 3
    assert holding._held == 0


@pytest.mark.anyio
async def test_only_so_many_refusals_are_held_back() -> None:
    holding = Limits(longest_hold=3600)
    holding._held = MOST_HELD
    with anyio.fail_after(30):
        await holding.hold(TooManyRequests("too many", wait=3600))
        await holding.hold(RequestRefused("invalid_request", "no limit"))


@pytest.mark.anyio
async def test_another_client_has_a_bucket_of_its_own() -> None:
    proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion()}
    async with talking(Keeper(HELD), limits=Limits(tokens=SLOW)) as http:
        assert (await ask(http, count="100")).status_code == 200
        refused(await ask(http), "this client", retry_after="1")
        assert (await http.post("/oauth2/token", data=FORM | proof)).status_code == 200


@pytest.mark.anyio
async def test_a_refusal_for_too_many_tokens_spends_no_assertion() -> None:
    limits_ = Limits(tokens=SLOW)
    proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion()}
    form = FORM | proof | {"scope": "invoices:read"}
    limits_.spend("reports", 100, NOW.monotonic)
    async with talking(Keeper(HELD), limits=limits_) as http:
        refused(await http.post("/oauth2/token", data=form), "this client", retry_after="1")
        limits_._clients = Limits()._clients
        assert (await http.post("/oauth2/token", data=form)).status_code == 200


@pytest.mark.anyio
async def test_who_has_not_proved_to_be_a_client_takes_nothing_of_it() -> None:
    async with talking(limits=Limits(tokens=SLOW)) as http:
        for _ in range(3):
            assert (await ask(http, "wrong", count="100")).status_code == 401
        assert (await ask(http, count="100")).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/oauth2/introspect", "/oauth2/revoke"])
async def test_an_introspection_or_a_revocation_counts_as_one_token(path: str) -> None:
    async with talking(limits=Limits(tokens=Rate(1, 2))) as http:
        for _ in range(2):
            answer = await http.post(
                path, data={"token": "unknown"}, headers={"Authorization": basic()}
            )
            assert answer.status_code == 200
        answer = await http.post(
            path, data={"token": "unknown"}, headers={"Authorization": basic()}
        )
        refused(answer, "this client", retry_after="1")


@pytest.mark.anyio
async def test_an_address_that_fails_too_often_is_refused_before_anything_is_read() -> None:
    told = Told()
    holding = Limits(failures=Rate(1, 3))
    async with talking(limits=holding, observers=[told]) as http:
        for _ in range(3):
            assert (await ask(http, "wrong")).status_code == 401
        refused(await ask(http), "fails to authenticate too often", retry_after="1")
        refused(await http.get("/.well-known/jwks.json"), "this address", retry_after="1")
        # A flood must not look like the death of the process.
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
    assert told.ends[-1] == (None, None, "too_many_requests")


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/oauth2/introspect", "/oauth2/revoke"])
async def test_failures_count_wherever_there_is_a_credential(path: str) -> None:
    async with talking(limits=Limits(failures=Rate(1, 1))) as http:
        headers = {"Authorization": basic(secret="wrong")}
        answer = await http.post(path, data={"token": "unknown"}, headers=headers)
        assert answer.status_code == 401
        refused(await ask(http), "fails to authenticate", retry_after="1")


@pytest.mark.anyio
@pytest.mark.parametrize("scope", ["admin", ""])
async def test_a_refusal_by_policy_is_no_failure_to_authenticate(scope: str) -> None:
    async with talking(limits=Limits(failures=Rate(1, 1))) as http:
        for _ in range(3):
            assert (await ask(http, scope=scope)).status_code in {200, 400}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/v1/revocations"),
        ("GET", "/nowhere"),
        ("POST", "/oauth2/introspect"),
        ("POST", "/oauth2/token"),
    ],
)
async def test_the_requests_of_an_address_are_counted_wherever_they_go(
    method: str, path: str
) -> None:
    async with talking(limits=Limits(requests=Rate(1, 2))) as http:
        for _ in range(2):
            assert (await http.request(method, path)).status_code != 429
        refused(await http.request(method, path), "sends too many requests", retry_after="1")


@pytest.mark.anyio
async def test_behind_a_trusted_proxy_the_callers_are_told_apart() -> None:
    holding: dict[str, Any] = {"limits": Limits(requests=Rate(1, 1))}
    async with talking(proxies=Proxies(["127.0.0.1"]), **holding) as http:
        for caller, status in (("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.1", 429)):
            headers = {"X-Forwarded-For": caller}
            answer = await http.get("/.well-known/jwks.json", headers=headers)
            assert answer.status_code == status


@pytest.mark.anyio
async def test_who_is_no_trusted_proxy_is_not_believed() -> None:
    holding: dict[str, Any] = {"limits": Limits(requests=Rate(1, 1))}
    async with talking(proxies=Proxies(["10.0.0.0/8"]), **holding) as http:
        for caller, status in (("192.0.2.1", 200), ("192.0.2.2", 429)):
            headers = {"X-Forwarded-For": caller, "Forwarded": f"for={caller}"}
            answer = await http.get("/.well-known/jwks.json", headers=headers)
            assert answer.status_code == status


def test_the_settings_are_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "EPHEMERA_TOKENS_PER_SECOND": "5",
        "EPHEMERA_TOKENS_BURST": "100",
        "EPHEMERA_REQUESTS_PER_SECOND": "7",
        "EPHEMERA_FAILURES_PER_SECOND": "2",
    }.items():
        monkeypatch.setenv(name, value)
    made = limits(Settings())
    made.spend("orders", 100, 0.0)
    with pytest.raises(TooManyRequests, match="5 a second, 100 at once") as caught:
        made.spend("orders", 10, 0.0)
    assert (caught.value.retry_after, caught.value.reason) == (2, "too_many_requests")
    for _ in range(14):
        made.admit("192.0.2.1", 0.0)
    with pytest.raises(TooManyRequests, match="7 a second, 14 at once"):
        made.admit("192.0.2.1", 0.0)
    assert made._failures.rate.burst == 20
