"""Who must not administer an issuer, whatever they hold."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from issuer.fixtures_administering import (
    ADMIN_KEY,
    AUDIENCE,
    BILLING,
    CLIENT_KEY,
    ISSUER,
    Administrator,
    Served,
    Stage,
    grant,
    public,
    serving,
    staged,
)
from issuer.fixtures_asserting import sign, token_form
from issuer.fixtures_minting import NOW, basic

from ephemera_client import RedisReplayCache
from ephemera_issuer.mint import mint
from ephemera_issuer.policy import Decision, Rule
from ephemera_keys import LocalSigner, generate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = int(NOW.wall)
UNIFORM = "administrator authentication failed"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    stage = Stage()
    with (
        serving(stage, lifespan="off") as stage.url,
        staged(stage, tmp_path_factory.mktemp("attacked")) as running,
    ):
        yield running


@pytest.fixture
def ops(served: Served) -> Iterator[Administrator]:
    administrator = Administrator(served.url, clock=served.clock)
    with administrator.http:
        yield administrator


def present(ops: Administrator, *authorization: str) -> httpx.Response:
    """Try to change something with these Authorization headers."""
    before = ops.json("/status")["registry_version"]
    headers = [("If-Match", "*"), *(("Authorization", value) for value in authorization)]
    answer = ops.http.put(
        f"/admin/v1{grant('orders')}", json={"scopes": ["invoices:write"]}, headers=headers
    )
    assert ops.json("/status")["registry_version"] == before or answer.status_code == 200
    return answer


def assert_refused(answer: httpx.Response, detail: str = UNIFORM) -> None:
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="ephemera-admin"'
    assert answer.json() == {
        "title": "Unauthorized",
        "status": 401,
        "code": "unauthenticated",
        "detail": detail,
    }


def assertion(key: Any = ADMIN_KEY, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A good assertion of the administrator, but for what is told."""
    kid = public(key)["kid"]
    own = {"iss": "ops", "sub": "ops", "aud": AUDIENCE, "iat": SECONDS, "exp": SECONDS + 60}
    own["jti"] = public()["x"]
    return sign({"alg": "ES256", "kid": kid} | (header or {}), own | claims, key, "ES256")


def test_what_all_these_are_variations_of_is_good(ops: Administrator) -> None:
    answer = present(ops, f"Bearer {assertion()}")
    assert answer.status_code == 200
    assert present(ops, f"bearer   {assertion()}").status_code == 200


def test_the_signing_key_of_the_issuer_administers_nothing(
    ops: Administrator, served: Served
) -> None:
    """Whoever stole it can mint whatever they like."""
    snapshot = served.keeper.current
    assert snapshot is not None
    for client, audience in (("ops", AUDIENCE), ("orders", BILLING), ("ops", ISSUER)):
        decision = Decision(
            client, audience, "admin", 120, single_use=True, rule=Rule.DEFAULT_LIFETIME
        )
        token = mint(decision, issuer=ISSUER, signer=snapshot.signer, now=NOW.wall)
        assert_refused(present(ops, f"Bearer {token}"))


def test_an_assertion_signed_by_the_issuer_administers_nothing(
    ops: Administrator, served: Served
) -> None:
    snapshot = served.keeper.current
    assert snapshot is not None
    signer = snapshot.signer
    assert isinstance(signer, LocalSigner)
    private = signer._key
    for kid in (signer.kid, public(ADMIN_KEY)["kid"], None):
        forged = assertion(private, header={"kid": kid})
        assert_refused(present(ops, f"Bearer {forged}"))


def test_an_assertion_is_good_once_whatever_it_is_used_for(ops: Administrator) -> None:
    raw = assertion()
    assert present(ops, f"Bearer {raw}").status_code == 200
    used = "assertion has been used before: make a new one for each request"
    assert_refused(present(ops, f"Bearer {raw}"), used)
    for path in ("/status", "/keys", "/openapi.json"):
        answer = ops.http.get(f"/admin/v1{path}", headers={"Authorization": f"Bearer {raw}"})
        assert answer.status_code == (200 if path == "/openapi.json" else 401)


def test_a_request_that_comes_to_nothing_spends_its_assertion_too(ops: Administrator) -> None:
    raw = assertion()
    headers = {"Authorization": f"Bearer {raw}"}
    assert ops.http.get("/admin/v1/clients/nobody", headers=headers).status_code == 404
    assert ops.http.get("/admin/v1/clients/orders", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "audience",
    [
        ISSUER,
        f"{ISSUER}/oauth2/token",
        f"{AUDIENCE}/",
        f"{AUDIENCE}/v1",
        f"{AUDIENCE}/v1/clients",
        AUDIENCE.upper(),
        "https://other.internal/admin",
        [AUDIENCE, ISSUER],
        [AUDIENCE, AUDIENCE],
        [],
        {"aud": AUDIENCE},
        "",
        7,
        None,
    ],
)
def test_an_assertion_for_anything_else_is_refused(ops: Administrator, audience: Any) -> None:
    answer = present(ops, f"Bearer {assertion(aud=audience)}")
    assert answer.status_code == 401
    assert answer.json()["detail"].startswith("assertion aud ")


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"exp": SECONDS + 61}, "assertion exp must lie 60 seconds ahead at most"),
        ({"exp": SECONDS - 5, "iat": SECONDS - 60}, "assertion has expired"),
        ({"iat": SECONDS + 6}, "assertion iat lies ahead"),
        ({"exp": None}, "assertion exp is missing"),
        ({"jti": None}, "assertion jti is missing"),
        ({"iat": None}, "assertion iat is missing"),
        ({"iss": "orders"}, "assertion iss and sub must both be"),
        ({"exp": True}, "assertion exp must be a whole number"),
    ],
)
def test_what_is_wrong_is_told_to_who_signed_it(
    ops: Administrator, claims: dict[str, Any], detail: str
) -> None:
    answer = present(ops, f"Bearer {assertion(**claims)}")
    assert answer.status_code == 401
    assert answer.json()["detail"].startswith(detail)


@pytest.mark.parametrize(
    "header",
    [{"typ": "at+jwt"}, {"jku": "https://x.test"}, {"jwk": {}}, {"x5u": "x"}, {"crit": ["b64"]}],
)
def test_a_header_that_leads_elsewhere_is_refused(
    ops: Administrator, header: dict[str, Any]
) -> None:
    assert present(ops, f"Bearer {assertion(header=header)}").status_code == 401


@pytest.mark.parametrize("name", ["reports", "orders", "nobody", "", "OPS", "ops "])
def test_a_client_is_no_administrator(ops: Administrator, name: str) -> None:
    forged = assertion(CLIENT_KEY, iss=name, sub=name)
    assert_refused(present(ops, f"Bearer {forged}"))


def test_the_key_of_a_client_is_not_that_of_an_administrator(ops: Administrator) -> None:
    for kid in (public(CLIENT_KEY)["kid"], public(ADMIN_KEY)["kid"], None):
        assert_refused(present(ops, f"Bearer {assertion(CLIENT_KEY, header={'kid': kid})}"))
    assert_refused(present(ops, f"Bearer {assertion(generate('ES256'))}"))


def test_a_client_that_is_called_as_an_administrator_is_another(ops: Administrator) -> None:
    key = generate("ES256")
    body = {"jwks": {"keys": [public(key)]}}
    ops("PUT", "/clients/ops", body, new=True, status=201)
    assert_refused(present(ops, f"Bearer {assertion(key)}"))
    ops("DELETE", "/clients/ops", match="*")


def test_what_a_client_sends_to_the_token_endpoint_does_not_work_here_and_the_reverse(
    ops: Administrator,
) -> None:
    body = {"jwks": {"keys": [public(ADMIN_KEY)]}}
    ops("PUT", "/clients/ops", body, new=True, status=201)
    ops("PUT", grant("ops"), {"scopes": ["invoices:read"]}, new=True, status=201)
    # One name and one key on both sides, which nobody should have: the audience is what is left.
    for_tokens, for_admin = assertion(aud=ISSUER), assertion()
    assert present(ops, f"Bearer {for_tokens}").status_code == 401
    refused = ops.http.post("/oauth2/token", data=token_form(for_admin))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    # Neither was spent by being refused elsewhere, and the same jti is another's here and there.
    jti = "one-jti-for-both"
    good = ops.http.post("/oauth2/token", data=token_form(assertion(aud=ISSUER, jti=jti)))
    assert good.status_code == 200
    assert present(ops, f"Bearer {assertion(jti=jti)}").status_code == 200
    ops("DELETE", grant("ops"), match="*")
    ops("DELETE", "/clients/ops", match="*")


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer x"],
        ["Bearer a.b.c"],
        [basic("ops", "secret")],
        ["DPoP {}"],
        ["Bearer {} x"],
        ["Bearer {}", "Bearer {}"],
        ["Bearer " + "x" * 9000],
        ["{}"],
    ],
)
def test_what_is_no_assertion_is_refused_alike(
    ops: Administrator, authorization: list[str]
) -> None:
    assert_refused(present(ops, *(value.replace("{}", assertion()) for value in authorization)))


def test_an_assertion_elsewhere_than_in_the_header_is_none(ops: Administrator) -> None:
    raw = assertion()
    for answer in (
        ops.http.get(f"/admin/v1/status?access_token={raw}"),
        ops.http.get("/admin/v1/status", headers={"Cookie": f"access_token={raw}"}),
        ops.http.post("/admin/v1/revocations", data={"client_assertion": raw}),
    ):
        assert_refused(answer)


@pytest.mark.parametrize("alg", ["none", "HS256", "ES384", "RS256", None, 7, ["ES256"]])
def test_another_algorithm_is_refused(ops: Administrator, alg: Any) -> None:
    assert_refused(present(ops, f"Bearer {assertion(header={'alg': alg})}"))


def test_what_a_ledger_may_have_forgotten_is_refused(ops: Administrator) -> None:
    older = assertion(iat=SECONDS - 30, exp=SECONDS + 20)
    detail = "assertion was issued before this ledger began; make a new one"
    assert_refused(present(ops, f"Bearer {older}"), detail)


def test_while_the_ledger_does_not_answer_nobody_administers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    stage = Stage()
    with (
        RedisReplayCache(f"redis://127.0.0.1:{port}", clock=lambda: NOW) as away,
        serving(stage, lifespan="off") as stage.url,
        staged(stage, tmp_path, ledger=away) as running,
        httpx.Client(base_url=running.url, trust_env=False) as http,
    ):
        answer = http.put(
            f"/admin/v1{grant('orders')}",
            json={"scopes": ["invoices:write"]},
            headers={"Authorization": f"Bearer {assertion()}", "If-Match": "*"},
        )
        current = running.keeper.refresh()
    assert answer.status_code == 503
    assert answer.json()["code"] == "temporarily_unavailable"
    assert answer.headers["retry-after"] == "1"
    assert current.grants["orders", BILLING].scopes == {"invoices:read"}


def test_on_an_old_snapshot_nobody_administers(tmp_path: Path) -> None:
    """An administrator may have been removed since."""
    stage = Stage()
    with (
        serving(stage, lifespan="off") as stage.url,
        staged(stage, tmp_path) as running,
        httpx.Client(base_url=running.url, trust_env=False) as http,
    ):
        assert running.keeper.current is not None
        long_ago = NOW._replace(monotonic=NOW.monotonic - 31)
        running.keeper.current = replace(running.keeper.current, confirmed_at=long_ago)
        headers = {"Authorization": f"Bearer {assertion()}"}
        answer = http.get("/admin/v1/status", headers=headers)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_neither_assertions_nor_secrets_are_written_to_the_log(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    administrator = Administrator(served.url, clock=served.clock)
    with administrator.http:
        raw = assertion()
        present(administrator, f"Bearer {raw}")
        present(administrator, f"Bearer {raw}")
        made = administrator("PUT", "/clients/quiet", {"secret": "generate"}, new=True, status=201)
        administrator("DELETE", "/clients/quiet", match="*")
        stranger = "not-to-be-logged-by-anybody"
        administrator.http.get(f"/admin/v1/clients/{stranger}")
    written = "".join(capfd.readouterr())
    assert "administered" in written
    for secret in (raw, raw.rpartition(".")[2], made.json()["client_secret"], stranger):
        assert secret not in written


def test_answers_never_quote_what_was_sent(ops: Administrator) -> None:
    marker = "quote-me-not"
    bodies: list[Any] = [
        {"scopes": [marker + " "]},
        {"scopes": marker},
        {marker: 1, "scopes": ["a"]},
        {"scopes": ["a"], "max_lifetime": marker},
        {"scopes": ["a"], "introspected_by": [marker + "!"]},
    ]
    for body in bodies:
        answer = ops("PUT", "/audiences/https:%2F%2Fx.internal", body, new=True, status=422)
        assert marker not in json.dumps(answer.json())
    for path in (f"/clients?limit={marker}", f"/clients?{marker}=1"):
        assert marker not in ops("GET", path, status=422).text
