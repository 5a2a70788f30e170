"""The admin API: what each resource does, and what keeps two administrators apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from issuer.fixtures_administering import (
    BILLING,
    CLIENT_KEY,
    ISSUER,
    REGISTRY,
    Administrator,
    Served,
    Stage,
    audience,
    grant,
    public,
    serving,
    staged,
)
from issuer.fixtures_registry import apply_text

from ephemera_client import SingleProcessReplayCache
from ephemera_issuer.admin.api import create_admin_app
from ephemera_issuer.admin.api.endpoint import Act
from ephemera_issuer.audit.actor import actor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ephemera_issuer.snapshot import Snapshot

LEDGER = "https://ledger.internal"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    with serving(stage, lifespan="off") as stage.url:
        yield stage


@pytest.fixture
def served(stage: Stage, tmp_path: Path) -> Iterator[Served]:
    with staged(stage, tmp_path) as running:
        yield running


@pytest.fixture
def ops(served: Served) -> Iterator[Administrator]:
    administrator = Administrator(served.url, clock=served.clock)
    with administrator.http:
        yield administrator


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that nothing changes."""
    alone = Stage()
    with (
        serving(alone, lifespan="off") as alone.url,
        staged(alone, tmp_path_factory.mktemp("standing")) as running,
    ):
        yield running


@pytest.fixture
def seeing(standing: Served) -> Iterator[Administrator]:
    """An administrator whose requests change nothing."""
    before = standing.keeper.refresh()
    administrator = Administrator(standing.url, clock=standing.clock)
    with administrator.http:
        yield administrator
    after = standing.keeper.refresh()
    assert after.registry_version == before.registry_version
    assert after.keys_version == before.keys_version
    assert after.revocations.sequence == before.revocations.sequence


def problem(answer: httpx.Response, code: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    document: dict[str, Any] = answer.json()
    assert document["code"] == code
    assert document["status"] == answer.status_code
    return document


def test_an_audience_is_made_changed_and_removed(ops: Administrator, served: Served) -> None:
    path, body = audience(LEDGER), {"scopes": ["entries:read"], "max_lifetime": 60}
    made = ops("PUT", path, body, new=True, status=201)
    assert made.json()["changes"] == [
        {
            "action": "add",
            "kind": "audience",
            "id": LEDGER,
            "before": None,
            "after": {
                "scopes": ["entries:read"],
                "max_lifetime": 60,
                "single_use": True,
                "introspected_by": [],
                "dpop": "optional",
                "disabled": False,
            },
        }
    ]
    current = served.keeper.current
    assert current is not None
    assert current.audiences[LEDGER].max_lifetime == 60  # this replica knows at once
    shown = ops("GET", path)
    assert shown.headers["etag"] == made.headers["etag"]
    assert shown.json()["id"] == LEDGER
    changed = ops("PUT", path, body | {"disabled": True}, match=made.headers["etag"])
    assert changed.headers["etag"] != made.headers["etag"]
    assert changed.json()["registry_version"] == made.json()["registry_version"] + 1
    ops("DELETE", path, match=changed.headers["etag"])
    problem(ops("GET", path, status=404), "not_found")


def test_a_put_that_was_done_before_changes_nothing(ops: Administrator) -> None:
    body = {"scopes": ["entries:read"]}
    first = ops("PUT", audience(LEDGER), body, new=True, status=201)
    again = ops("PUT", audience(LEDGER), body, new=True)
    assert again.json()["changes"] == []
    assert again.headers["etag"] == first.headers["etag"]
    stale = ops("PUT", audience(LEDGER), body, match='"of-long-ago"')
    assert stale.json()["registry_version"] == first.json()["registry_version"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (audience(), {"scopes": ["x"]}),
        (audience(LEDGER), {"scopes": ["x"]}),
        (grant("orders"), {"scopes": ["invoices:write"]}),
        ("/clients/orders", {"secret": "generate"}),
    ],
)
def test_a_put_says_what_it_depends_on(seeing: Administrator, path: str, body: Any) -> None:
    problem(seeing("PUT", path, body, status=428), "precondition_required")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", audience(), {"scopes": ["invoices:read"]}),
        ("PUT", grant("orders"), {"scopes": ["invoices:write"]}),
        ("PUT", "/clients/orders", {"jwks_uri": "https://orders.internal/keys"}),
        ("PUT", "/clients/orders/disabled", {"disabled": True}),
        ("POST", "/clients/orders/secrets", None),
        ("DELETE", grant("orders"), None),
        ("POST", "/keys/rotations", {"emergency": True}),
    ],
)
def test_what_has_changed_since_it_was_seen_stays_as_it_is(
    seeing: Administrator, method: str, path: str, body: Any
) -> None:
    problem(seeing(method, path, body, match='"stale"', status=412), "precondition_failed")


@pytest.mark.parametrize("path", [audience(), grant("orders"), "/clients/orders"])
def test_what_is_there_is_not_made_again(seeing: Administrator, path: str) -> None:
    body: dict[str, Any] = {"scopes": ["invoices:write", "invoices:read"], "max_lifetime": 30}
    if "clients" in path:
        body = {"jwks": {"keys": [public()]}}
    problem(seeing("PUT", path, body, new=True, status=412), "precondition_failed")


@pytest.mark.parametrize("value", ["nonsense", '"open', "*,*", "W/nonsense"])
def test_a_precondition_that_cannot_be_read_is_refused(seeing: Administrator, value: str) -> None:
    body = {"scopes": ["x"]}
    problem(seeing("PUT", audience(), body, match=value, status=400), "malformed")


def test_any_tag_and_a_list_of_tags_will_do(ops: Administrator) -> None:
    path = grant("orders")
    ops("PUT", path, {"scopes": ["invoices:write"]}, match="*")
    tag = ops.tag(path)
    ops("PUT", path, {"scopes": ["invoices:read"]}, match=f'"other", {tag}')
    # A weak tag is as good as none (RFC 9110 §13.1.1).
    weak = f"W/{ops.tag(path)}"
    ops("PUT", path, {"scopes": ["invoices:write"]}, match=weak, status=412)


def test_what_is_known_already_is_not_sent_again(seeing: Administrator) -> None:
    tag = seeing.tag(audience())
    answer = seeing("GET", audience(), headers={"If-None-Match": tag}, status=304)
    assert answer.content == b""
    assert answer.headers["etag"] == tag


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", audience(), {"scopes": ["invoices:read"]}),
        ("PUT", "/clients/orders", {"jwks": {"keys": [public()]}}),
        ("PUT", "/clients/orders/disabled", {"disabled": True}),
        ("PUT", grant("orders"), {"scopes": ["invoices:write"]}),
        ("DELETE", grant("orders"), None),
        ("POST", "/clients/orders/secrets", None),
        ("POST", "/clients/reports/keys", {"jwk": public()}),
        ("POST", "/revocations", {"client": "orders"}),
        ("POST", "/revocations", {"jti": "N7cDRnOyrhLGvCnDrTfm3g"}),
        ("POST", "/keys/rotations", {"emergency": True}),
    ],
)
def test_a_dry_run_changes_nothing(
    seeing: Administrator, method: str, path: str, body: Any
) -> None:
    ring = seeing.json("/keys")
    answer = seeing(method, path, body, match="*", dry_run=True)
    assert answer.json()["dry_run"] is True
    assert "client_secret" not in answer.json() or answer.json()["client_secret"] is None
    assert seeing.json("/keys") == ring


def test_a_dry_run_tells_the_difference_that_would_be_made(ops: Administrator) -> None:
    tag = ops.tag(grant("orders"))
    body = {"scopes": ["invoices:write"], "max_lifetime": 30}
    (told,) = ops("PUT", grant("orders"), body, match=tag, dry_run=True).json()["changes"]
    (done,) = ops("PUT", grant("orders"), body, match=tag).json()["changes"]
    assert told == done
    assert done["before"] == {"scopes": ["invoices:read"], "max_lifetime": 900}


@pytest.mark.parametrize(
    ("path", "body", "field", "message"),
    [
        (audience("HTTPS://x"), {"scopes": ["a"]}, "path.audience", "must have its scheme"),
        (audience(f"{LEDGER}/"), {"scopes": ["a"]}, "path.audience", "must not end with a slash"),
        (audience(LEDGER), {"scopes": []}, "body.scopes", "must be a list of names"),
        (audience(LEDGER), {"scopes": ["a", "a"]}, "body.scopes", "a is there twice"),
        (audience(LEDGER), {}, "body.scopes", "Field required"),
        (audience(LEDGER), {"scopes": ["a"], "max_lifetime": 901}, "body.max_lifetime", "must be"),
        (audience(LEDGER), {"scopes": ["a"], "max_lifetime": "5m"}, "body.max_lifetime", "whole"),
        (audience(LEDGER), {"scopes": ["a"], "single_use": 1}, "body.single_use", "true or false"),
        (audience(LEDGER), {"scopes": ["a"], "more": 1}, "body", "has a member that is none"),
        (
            audience(LEDGER),
            {"scopes": ["a"], "introspected_by": ["nobody"]},
            "body.introspected_by",
            "there is no client nobody",
        ),
        (audience(), {"scopes": ["invoices:write"]}, "body.scopes", "lacks invoices:read"),
        (grant("nobody"), {"scopes": ["invoices:read"]}, "body.client", "there is no client"),
        (grant("orders", LEDGER), {"scopes": ["a"]}, "body.audience", "there is no audience"),
        (grant("orders"), {"scopes": ["more"]}, "body.scopes", "has no scope more"),
        ("/clients/new", {}, "body", "needs a credential"),
        ("/clients/new", {"secret": "mine"}, "body.secret", 'must be "generate"'),
        ("/clients/new", {"jwks": {"keys": []}}, "body.jwks", "has no keys"),
        ("/clients/new", {"jwks": {"keys": [public() | {"d": "x"}]}}, "body.jwks", "private"),
        (
            "/clients/new",
            {"jwks": {"keys": [public() | {"kid": "a"}, public() | {"kid": "a"}]}},
            "body.jwks",
            "two keys have the same kid",
        ),
        (
            "/clients/new",
            {"secret": "generate", "jwks": {"keys": [public(), public()]}},
            "body",
            "would have 3 live credentials",
        ),
        (
            "/clients/new",
            {"jwks": {"keys": [public()]}, "jwks_uri": "https://new.internal/keys"},
            "body.jwks_uri",
            "cannot stand beside jwks",
        ),
        ("/clients/new", {"jwks_uri": "http://new.internal"}, "body.jwks_uri", "must be https"),
        ("/clients/-new", {"secret": "generate"}, "path.client", "must be 128 letters"),
    ],
)
def test_the_rules_are_those_of_registry_files(
    seeing: Administrator, path: str, body: Any, field: str, message: str
) -> None:
    there = path in {audience(), grant("orders")}
    answer = seeing("PUT", path, body, match="*" if there else None, new=not there, status=422)
    (told,) = problem(answer, "invalid")["fields"]
    assert told["field"] == field
    assert message in told["message"]


def test_a_client_gets_its_secret_once_and_asks_for_tokens_with_it(
    ops: Administrator, served: Served
) -> None:
    made = ops("PUT", "/clients/new", {"secret": "generate"}, new=True, status=201)
    secret = made.json()["client_secret"]
    assert made.headers["cache-control"] == "no-store"
    again = ops("PUT", "/clients/new", {"secret": "generate"}, new=True)
    assert again.json()["client_secret"] is None
    ops("PUT", grant("new"), {"scopes": ["invoices:read"]}, new=True, status=201)
    assert token(served, "new", secret)


def ask(served: Served, client: str, secret: str) -> httpx.Response:
    return httpx.post(
        f"{served.url}/oauth2/token",
        data={"grant_type": "client_credentials", "resource": BILLING},
        auth=(client, secret),
        trust_env=False,
    )


def token(served: Served, client: str, secret: str) -> bool:
    return ask(served, client, secret).status_code == 200


def test_a_secret_is_rolled_by_adding_the_second_and_removing_the_first(
    ops: Administrator, served: Served, tmp_path: Path
) -> None:
    old = (tmp_path / "secrets" / "orders.secret").read_text()
    path = "/clients/orders"
    rolled = ops("POST", f"{path}/secrets", match=ops.tag(path), status=201)
    new = rolled.json()["client_secret"]
    assert token(served, "orders", old)
    assert token(served, "orders", new)
    third = ops("POST", f"{path}/secrets", match=rolled.headers["etag"], status=409)
    problem(third, "roll_refused")
    dropped = ops("DELETE", f"{path}/secrets/oldest", match=rolled.headers["etag"])
    assert not token(served, "orders", old)
    assert token(served, "orders", new)
    last = ops("DELETE", f"{path}/secrets/oldest", match=dropped.headers["etag"], status=409)
    problem(last, "roll_refused")
    ops("DELETE", f"{path}/secrets/other", match=dropped.headers["etag"], status=404)


def test_a_lost_answer_makes_no_third_secret(ops: Administrator) -> None:
    tag = ops.tag("/clients/orders")
    ops("POST", "/clients/orders/secrets", match=tag, status=201)
    ops("POST", "/clients/orders/secrets", match=tag, status=412)
    assert ops.json("/clients/orders")["secrets"] == 2


def test_a_key_is_rolled_by_adding_the_second_and_removing_the_first(ops: Administrator) -> None:
    path, key = "/clients/reports", public()
    first = public(CLIENT_KEY)["kid"]
    added = ops("POST", f"{path}/keys", {"jwk": key}, match=ops.tag(path), status=201)
    tag = added.headers["etag"]
    again = ops("POST", f"{path}/keys", {"jwk": key}, match=tag)
    assert again.json()["changes"] == []
    problem(ops("POST", f"{path}/keys", {"jwk": public()}, match=tag, status=409), "roll_refused")
    kids = [known["kid"] for known in ops.json(f"{path}/credentials")["jwks"]["keys"]]
    assert kids == [first, key["kid"]]
    gone = ops("DELETE", f"{path}/keys/{first}", match=tag)
    ops("DELETE", f"{path}/keys/{first}", match=gone.headers["etag"], status=409)
    last = ops("DELETE", f"{path}/keys/{key['kid']}", match=gone.headers["etag"], status=409)
    assert "one credential only" in problem(last, "roll_refused")["detail"]


def test_a_key_goes_to_nobody_who_publishes_theirs(ops: Administrator) -> None:
    ops("PUT", "/clients/far", {"jwks_uri": "https://far.internal/k"}, new=True, status=201)
    tag = ops.tag("/clients/far")
    problem(
        ops("POST", "/clients/far/keys", {"jwk": public()}, match=tag, status=409), "roll_refused"
    )
    other = public() | {"kid": public(CLIENT_KEY)["kid"]}
    tag = ops.tag("/clients/reports")
    answer = ops("POST", "/clients/reports/keys", {"jwk": other}, match=tag, status=409)
    assert "another key of that kid" in problem(answer, "roll_refused")["detail"]


def test_a_client_is_stopped_whatever_else_was_changed(ops: Administrator) -> None:
    stopped = ops("PUT", "/clients/orders/disabled", {"disabled": True})
    assert stopped.json()["changes"][0]["after"]["disabled"] is True
    assert ops("PUT", "/clients/orders/disabled", {"disabled": True}).json()["changes"] == []
    # What leaves it unsaid leaves it as it is, as a file does.
    ops("PUT", "/clients/orders", {"secret": "generate"}, match="*")
    assert ops.json("/clients/orders")["disabled"] is True
    ops("PUT", "/clients/orders/disabled", {"disabled": False}, match=ops.tag("/clients/orders"))
    problem(ops("PUT", "/clients/x/disabled", {"disabled": True}, status=404), "not_found")


def test_what_others_need_is_not_removed(ops: Administrator) -> None:
    needed = problem(ops("DELETE", audience(), match="*", status=409), "in_use")
    assert f"the grant orders -> {BILLING}" in needed["detail"]
    problem(ops("DELETE", "/clients/orders", match="*", status=409), "in_use")
    body = {"scopes": ["entries:read"], "introspected_by": ["reports"]}
    ops("PUT", audience(LEDGER), body, new=True, status=201)
    needed = problem(ops("DELETE", "/clients/reports", match="*", status=409), "in_use")
    assert f"the audience {LEDGER}, which reports introspects for" in needed["detail"]
    ops("DELETE", grant("orders"), match="*")
    ops("DELETE", audience(), match="*")
    ops("DELETE", "/clients/orders", match="*")
    ops("DELETE", "/clients/orders", match="*", status=404)


def test_lists_come_in_pages_that_end(ops: Administrator) -> None:
    for number in range(5):
        body = {"jwks_uri": f"https://c{number}.internal/keys"}
        ops("PUT", f"/clients/c{number}", body, new=True, status=201)
    seen, after = [], ""
    for _ in range(10):
        page = ops.json(f"/clients?limit=3{after}")
        seen += [client["id"] for client in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
        if len(seen) == 3:  # what is removed between two pages hides nothing
            ops("DELETE", "/clients/c0", match="*")
    assert seen == ["c0", "c1", "c2", "c3", "c4", "orders", "reports"]
    grants = ops.json(f"/grants?client=orders&audience={BILLING}")
    assert [one["client"] for one in grants["items"]] == ["orders"]
    assert ops.json("/grants?client=reports")["items"] == []


@pytest.mark.parametrize("query", ["after=x", "after=NQ", "limit=1&limit=2", "after=bnVsbA"])
def test_a_place_in_no_list_is_refused(seeing: Administrator, query: str) -> None:
    problem(seeing("GET", f"/clients?{query}", status=400), "malformed")


@pytest.mark.parametrize("after", ["LTE", "dHJ1ZQ", "WzFd", "MWU5"])
def test_a_place_among_revocations_is_a_number(seeing: Administrator, after: str) -> None:
    problem(seeing("GET", f"/revocations?after={after}", status=400), "malformed")


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "limit=", "more=1"])
def test_a_parameter_that_is_wrong_is_refused(seeing: Administrator, query: str) -> None:
    problem(seeing("GET", f"/audiences?{query}", status=422), "invalid")


def test_keys_rotate_once_for_those_who_saw_the_same(ops: Administrator) -> None:
    before = ops.json("/keys")
    tag = ops.tag("/keys")
    early = ops("POST", "/keys/rotations", {}, match=tag, status=409)
    problem(early, "rotation_refused")
    told = ops("POST", "/keys/rotations", {"emergency": True}, match=tag, dry_run=True).json()
    kids = {key["state"]: key["kid"] for key in before["keys"]}
    assert told["timeline"]["sooner"]["kid"] == kids["pending"]
    done = ops("POST", "/keys/rotations", {"emergency": True}, match=tag).json()
    states = {key["kid"]: key["state"] for key in done["keys"]["keys"]}
    assert (states[kids["active"]], states[kids["pending"]]) == ("retired", "active")
    ops("POST", "/keys/rotations", {"emergency": True}, match=tag, status=412)
    assert ops.json("/keys/timeline")["issuer"] == before["issuer"]


def test_a_key_is_revoked_and_revoked_again(ops: Administrator, served: Served) -> None:
    active = ops.json("/status")["active_key"]
    path = f"/keys/{active}/revocation"
    assert ops("PUT", path, dry_run=True).json()["keys"] == ops.json("/keys")
    for _ in range(2):
        done = ops("PUT", path).json()
        assert {key["kid"]: key["state"] for key in done["keys"]["keys"]}[active] == "revoked"
    current = served.keeper.current
    assert current is not None
    assert active in current.revocations.kids
    problem(ops("PUT", "/keys/none/revocation", status=404), "unknown_key")


def test_revocations_are_made_and_listed_in_their_order(ops: Administrator) -> None:
    one = ops("POST", "/revocations", {"jti": "N7cDRnOyrhLGvCnDrTfm3g"}, status=201).json()
    assert one["revocation"]["jti"] == "N7cDRnOyrhLGvCnDrTfm3g"
    body = {"client": "orders", "audience": BILLING}
    many = ops("POST", "/revocations", body, status=201).json()["revocation"]
    assert many["minted_again_from"] > many["cut_off"]
    active = ops.json("/status")["active_key"]
    ops("PUT", f"/keys/{active}/revocation")
    page = ops.json("/revocations?limit=2")
    rest = ops.json(f"/revocations?after={page['next']}")
    found = page["items"] + rest["items"]
    assert [entry.get("jti") or entry.get("client") or entry.get("kid") for entry in found] == [
        "N7cDRnOyrhLGvCnDrTfm3g",
        "orders",
        active,
    ]
    assert [entry["sequence"] for entry in found] == [1, 2, 3]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"client": "nobody"}, 404, "unknown_client"),
        ({"audience": LEDGER}, 404, "unknown_audience"),
        ({"client": "orders", "issued_before": "2999-01-31T12:00:00Z"}, 422, "revocation_refused"),
        ({"client": "orders", "issued_before": "2000-01-31T12:00:00Z"}, 422, "revocation_refused"),
        ({"client": "orders", "issued_before": "2000-01-31T12:00:00"}, 422, "invalid"),
        ({"issued_before": "2000-01-31T12:00:00Z"}, 422, "invalid"),
        ({}, 422, "invalid"),
        ({"jti": "x", "client": "orders"}, 422, "invalid"),
        ({"jti": ""}, 422, "invalid"),
        ({"jti": "x" * 257}, 422, "invalid"),
    ],
)
def test_what_cannot_be_revoked_is_refused(
    seeing: Administrator, body: Any, status: int, code: str
) -> None:
    problem(seeing("POST", "/revocations", body, status=status), code)
    assert seeing.json("/revocations")["items"] == []


def test_a_request_is_explained_as_the_command_does(seeing: Administrator) -> None:
    told = seeing.json(f"/explain?client=orders&audience={BILLING}&scope=invoices:read")
    assert told["granted"] is True
    assert told["rule"] == "default_lifetime"
    refused = seeing.json(f"/explain?client=orders&audience={BILLING}&scope=invoices:write")
    assert (refused["error"], refused["rule"]) == ("invalid_scope", "scope_not_granted")
    short = seeing.json(f"/explain?client=orders&audience={BILLING}&lifetime=30")
    assert short["lifetime"] == 30
    near = seeing("GET", f"/explain?client=order&audience={BILLING}", status=404)
    assert "did you mean orders?" in problem(near, "unknown_client")["detail"]


def test_the_status_says_who_asks(seeing: Administrator) -> None:
    told = seeing.json("/status")
    assert told["administrator"] == "ops"
    assert told["issuer"] == "https://tokens.internal"
    assert told["snapshot_age"] < 30
    assert seeing.json("/admins")["items"][0]["id"] == "ops"


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {}, 400, "malformed"),
        (b'{"scopes": ["a"], "scopes": ["b"]}', {}, 400, "malformed"),
        (b"\xff", {}, 400, "malformed"),
        (b"NaN", {}, 400, "malformed"),
        (b"[" * 60_000, {}, 400, "malformed"),
        (b"[]", {}, 422, "invalid"),
        (b" " * 65_537, {}, 413, "too_large"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "not_json"),
        (b"{}", {"Content-Encoding": "gzip"}, 415, "not_json"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    seeing: Administrator, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = seeing.http.put(
        f"/admin/v1{audience()}",
        content=content,
        headers={
            "Authorization": f"Bearer {seeing.assertion()}",
            "Content-Type": "application/json",
            "If-Match": "*",
        }
        | headers,
    )
    assert answer.status_code == status, answer.text
    problem(answer, code)


def test_another_method_and_another_path_are_told_apart(seeing: Administrator) -> None:
    answer = seeing("PATCH", "/clients/orders", {}, status=405)
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}
    problem(answer, "method_not_allowed")
    problem(seeing("GET", "/nothing", status=404), "not_found")
    assert seeing("HEAD", "/clients/orders").headers["etag"] == seeing.tag("/clients/orders")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/admins", "/admins/ops", "/admins/mallory"])
def test_administrators_are_not_made_or_removed_over_http(
    seeing: Administrator, method: str, path: str
) -> None:
    answer = seeing.http.request(
        method,
        f"/admin/v1{path}",
        json={"jwks": {"keys": [public()]}},
        headers={"Authorization": f"Bearer {seeing.assertion()}"},
    )
    assert answer.status_code in {404, 405}
    assert [one["id"] for one in seeing.json("/admins")["items"]] == ["ops"]


def test_an_administrator_that_a_file_removes_is_refused_and_the_next_is_not(
    ops: Administrator, served: Served, tmp_path: Path
) -> None:
    assert ops.json("/status")["administrator"] == "ops"
    text = REGISTRY.replace('id = "ops"', 'id = "next"')
    apply_text(served.keeper.database, tmp_path, text, prune=True, reuse=True)
    served.keeper.refresh()
    problem(ops("GET", "/status", status=401), "unauthenticated")
    heir = Administrator(served.url, clock=served.clock, name="next")
    with heir.http:
        assert heir.json("/status")["administrator"] == "next"


def test_what_the_api_grants_is_what_a_token_carries(
    ops: Administrator, served: Served, tmp_path: Path
) -> None:
    body = {"scopes": ["invoices:read", "invoices:write"], "max_lifetime": 45}
    ops("PUT", grant("orders"), body, match=ops.tag(grant("orders")))
    secret = (tmp_path / "secrets" / "orders.secret").read_text()
    answer = ask(served, "orders", secret).json()
    assert answer["scope"] == "invoices:read invoices:write"
    assert answer["expires_in"] == 45


class Failing:
    """Keeps a snapshot, and no database."""

    def __init__(self, current: Snapshot) -> None:
        self.current = current

    def __getattr__(self, name: str) -> Any:
        raise LookupError(f"the keeper lost its {name}")


class Acts(list[Act]):
    """What a witness was told."""

    def acted(self, act: Act) -> None:
        self.append(act)


@pytest.mark.anyio
async def test_an_error_that_nobody_foresaw_is_a_problem_without_details(
    standing: Served, anyio_backend: str
) -> None:
    assert anyio_backend == "asyncio"
    assert standing.keeper.current is not None
    acts = Acts()
    app = create_admin_app(
        Failing(standing.keeper.current),
        issuer=ISSUER,
        ledger=SingleProcessReplayCache(clock=standing.clock),
        algorithm="ES256",
        rotate_every=None,
        witnesses=[acts],
        clock=standing.clock,
    )
    administrator = Administrator(standing.url, clock=standing.clock)
    headers = {"Authorization": f"Bearer {administrator.assertion()}"}
    administrator.http.close()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://elsewhere.test") as http:
        answer = await http.get("/admin/v1/clients", headers=headers)
        nowhere = await http.get("/elsewhere")
    assert answer.status_code == 500
    assert "lost" not in problem(answer, "failed")["detail"]
    assert acts == [Act("ops", "listClients", {}, reading=True, dry_run=False, status=500)]
    problem(nowhere, "not_found")


def test_witnesses_learn_of_every_request(stage: Stage, tmp_path: Path) -> None:
    acts = Acts()
    with staged(stage, tmp_path, witnesses=(acts,)) as running:
        administrator = Administrator(running.url, clock=running.clock)
        with administrator.http as http:
            administrator("PUT", "/clients/orders/disabled", {"disabled": True}, dry_run=True)
            administrator("PUT", "/clients/orders/disabled", {"disabled": True})
            http.put("/admin/v1/clients/orders/disabled", json={"disabled": True})
            wrong = {"Content-Type": "text/plain"}
            administrator("PUT", "/clients/orders/disabled", {}, headers=wrong, status=415)
    known = {"client": "orders"}
    assert [tuple(act) for act in acts] == [
        ("ops", "disableClient", known, False, True, 200),
        ("ops", "disableClient", known, False, False, 200),
        (None, "disableClient", {}, False, False, 401),
        ("ops", "disableClient", known, False, False, 415),
    ]


class Record:
    """Keeps who did what."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def before_commit(self, _connection: object, events: Sequence[object]) -> None:
        self.done += [(actor("issuer"), type(event).__name__) for event in events]

    def not_committed(self, events: Sequence[object]) -> None:
        self.done.append(("undone", str(len(events))))


def test_what_is_done_is_on_record_as_the_administrators(
    ops: Administrator, served: Served
) -> None:
    record = Record()
    served.keeper.database.recorder = record
    ops("PUT", "/clients/orders/disabled", {"disabled": True})
    ops("POST", "/revocations", {"client": "orders"}, status=201)
    ops("POST", "/revocations", {"client": "orders"}, dry_run=True)
    ops("POST", "/keys/rotations", {"emergency": True}, match="*")
    assert record.done == [
        ("admin:ops", "Change"),
        ("admin:ops", "CutOff"),
        ("admin:ops", "KeysWritten"),
    ]
