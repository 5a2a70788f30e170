"""Bound tokens at the door of every framework, by its own way to tell method, path and headers."""

from typing import Any

import httpx
import pytest
from client.fixtures_dpop import bound, key_of_caller, proof_of
from client.fixtures_frameworks import ASYNC, SYNC, SYNC_UNDER_ASGI, Api, call
from client.fixtures_verifying import AUDIENCE, ISSUER, ManualClock, mint, signing_key

from ephemera_client import (
    AsyncVerifier,
    DPoP,
    DPoPNonces,
    NoReplayCache,
    RequireToken,
    SingleProcessReplayCache,
    StaticKeys,
    Verifier,
    wsgi,
)
from ephemera_client.bearer import challenge

pytestmark = pytest.mark.anyio

FRAMEWORKS = {
    **{name: (api, Verifier) for name, api in (SYNC | SYNC_UNDER_ASGI).items()},
    **{name: (api, AsyncVerifier) for name, api in ASYNC.items()},
}
ALGS = "ES256 Ed25519 EdDSA RS256"
WRITER: dict[str, Any] = {"scope": "invoices:read invoices:write"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> tuple[Api, Any]:
    return FRAMEWORKS[request.param]


def verifier_for(kind: Any, *, required: bool = True, **dpop: Any) -> Any:
    clock = ManualClock()
    return kind(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm="ES256",
        keys=StaticKeys({"keys": [signing_key("ES256").jwk]}),
        replay_cache=SingleProcessReplayCache(clock=clock),
        clock=clock,
        dpop=DPoP(origin=AUDIENCE, required=required, **dpop),
    )


def made(framework: tuple[Api, Any], **demand: Any) -> Any:
    api, kind = framework
    return api(verifier_for(kind, **demand))


def dpop_challenge(error: str, reason: str) -> str:
    return f'DPoP realm="{AUDIENCE}", error="{error}", reason="{reason}", algs="{ALGS}"'


async def test_a_bound_token_with_its_proof_is_let_in_once(framework: tuple[Api, Any]) -> None:
    app, token = made(framework), bound()
    answer = await call(app, f"DPoP {token}", proofs=[proof_of(token)])
    assert (answer.status_code, answer.json()) == (200, {"for": "orders"})
    answer = await call(app, f"dpop {token}", proofs=[proof_of(token)])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == dpop_challenge("invalid_token", "token_replayed")


async def test_the_method_and_the_path_of_the_request_count_and_its_host_does_not(
    framework: tuple[Api, Any],
) -> None:
    app = made(framework)
    for method, at, htu in (
        ("POST", "/invoices", f"{AUDIENCE}/invoices"),
        ("GET", "/inside?page=/x", f"{AUDIENCE}/inside"),
    ):
        token = bound(**WRITER)
        wrongs: tuple[dict[str, Any], ...] = (
            {"htm": "PUT", "htu": htu},
            {"htm": method, "htu": f"{htu}/other"},
            {"htm": method, "htu": htu.replace(AUDIENCE, "http://billing")},
        )
        for wrong in wrongs:
            answer = await call(
                app, f"DPoP {token}", method=method, at=at, proofs=[proof_of(token, **wrong)]
            )
            assert (answer.status_code, answer.json()["reason"]) == (401, "proof_mismatch")
        proof = proof_of(token, htm=method, htu=htu)
        answer = await call(app, f"DPoP {token}", method=method, at=at, proofs=[proof])
        assert answer.status_code == 200, answer.text


async def test_a_bound_token_as_bearer_and_a_plain_one_are_refused(
    framework: tuple[Api, Any],
) -> None:
    app = made(framework)
    token = bound()
    for authorization, reason in (
        (f"Bearer {token}", "sender_constraint_unverified"),
        (f"Bearer {mint()}", "sender_constraint_missing"),
    ):
        answer = await call(app, authorization, proofs=[proof_of(token)])
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == dpop_challenge("invalid_token", reason)
    both = await call(app, f"DPoP {token}", f"Bearer {token}", proofs=[proof_of(token)])
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")


async def test_no_proof_or_several_are_refused(framework: tuple[Api, Any]) -> None:
    app, token = made(framework), bound()
    for proofs in ([], [proof_of(token), proof_of(token)], [""], ["caf"]):
        answer = await call(app, f"DPoP {token}", proofs=proofs)
        assert answer.status_code == 401
        told = dpop_challenge("invalid_dpop_proof", "proof_invalid")
        assert answer.headers["www-authenticate"] == told
    answer = await call(app, f"DPoP {token}", proofs=[proof_of(token)])
    assert answer.status_code == 200


async def test_a_nonce_is_asked_for_by_the_header_and_costs_no_token(
    framework: tuple[Api, Any],
) -> None:
    app, token = made(framework, nonces=DPoPNonces(b"n" * 32)), bound()
    answer = await call(app, f"DPoP {token}", proofs=[proof_of(token)])
    assert answer.status_code == 401
    told = dpop_challenge("use_dpop_nonce", "proof_nonce_required")
    assert answer.headers["www-authenticate"] == told
    proof = proof_of(token, nonce=answer.headers["dpop-nonce"])
    answer = await call(app, f"DPoP {token}", proofs=[proof])
    assert answer.status_code == 200


async def test_where_both_kinds_are_taken_both_are_asked_for(framework: tuple[Api, Any]) -> None:
    app = made(framework, required=False)
    assert (await call(app, f"Bearer {mint()}")).status_code == 200
    token = bound()
    assert (await call(app, f"DPoP {token}", proofs=[proof_of(token)])).status_code == 200
    answer = await call(app)
    assert answer.headers["www-authenticate"] == (
        f'DPoP realm="{AUDIENCE}", algs="{ALGS}", Bearer realm="{AUDIENCE}"'
    )
    plain = mint()
    answer = await call(app, f"DPoP {plain}", proofs=[proof_of(plain)])
    told = dpop_challenge("invalid_token", "sender_constraint_missing")
    assert answer.headers["www-authenticate"] == told
    answer = await call(app, f"Bearer {mint(scope='x')}")
    assert answer.status_code == 403
    for scheme in ("bearer", "dpop"):
        parameters = challenge([answer.headers["www-authenticate"]], scheme=scheme)
        assert parameters["error"] == "insufficient_scope"


async def test_a_mismatch_of_keys_is_told_as_the_rfc_does(framework: tuple[Api, Any]) -> None:
    app, token = made(framework), bound()
    thief = key_of_caller(which=8)
    answer = await call(app, f"DPoP {token}", proofs=[proof_of(token, thief)])
    told = dpop_challenge("invalid_token", "proof_key_mismatch")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, told)


async def test_an_api_without_dpop_knows_no_such_scheme(framework: tuple[Api, Any]) -> None:
    api, kind = framework
    app = api(
        kind(
            issuer=ISSUER,
            audience=AUDIENCE,
            algorithm="ES256",
            keys=StaticKeys({"keys": [signing_key("ES256").jwk]}),
            replay_cache=NoReplayCache(),
            clock=ManualClock(),
        )
    )
    token = bound()
    answer = await call(app, f"DPoP {token}", proofs=[proof_of(token)])
    assert (answer.status_code, answer.json()["reason"]) == (401, "token_missing")
    assert answer.headers["www-authenticate"] == f'Bearer realm="{AUDIENCE}"'


async def _nothing(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_a_path_is_compared_as_it_was_sent() -> None:
    app = RequireToken(_nothing, verifier_for(AsyncVerifier))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        for path in ("/a%2Fb", "/a/b%20c", "/caf%C3%A9", "/a:b@c;d=1,2", "/"):
            for htu, status in ((path, 204), ("/a/b", 401)):
                token = bound()
                proof = proof_of(token, htu=AUDIENCE + htu)
                headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
                answer = await http.get(f"http://10.0.0.7:8000{path}?x=1", headers=headers)
                assert answer.status_code == status, path


async def test_a_path_cannot_continue_the_host() -> None:
    app = RequireToken(_nothing, verifier_for(AsyncVerifier))
    for raw_path in (b".evil.test/a", b"@evil.test/a", b":8443/a", b"*", b""):
        token = bound()
        proof = proof_of(token, htu=AUDIENCE + raw_path.decode())
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/a",
            "raw_path": raw_path,
            "headers": [(b"authorization", b"DPoP " + token.encode()), (b"dpop", proof.encode())],
        }
        statuses: list[int] = []

        async def send(message: Any, statuses: list[int] = statuses) -> None:
            statuses.append(message.get("status", 0))

        await app(scope, send, send)  # type: ignore[arg-type] # nothing is received
        assert statuses[0] == (204 if raw_path == b"" else 401), raw_path


async def test_a_server_that_tells_the_decoded_path_alone_will_do() -> None:
    app = RequireToken(_nothing, verifier_for(AsyncVerifier))

    async def without_raw_path(scope: Any, receive: Any, send: Any) -> None:
        await app({name: scope[name] for name in scope if name != "raw_path"}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(without_raw_path)) as http:
        for path in ("/a/b%20c", "/caf%C3%A9", "/a:b@c;d=1,2"):
            token = bound()
            headers = {
                "Authorization": f"DPoP {token}",
                "DPoP": proof_of(token, htu=AUDIENCE + path),
            }
            assert (await http.get(f"http://api{path}", headers=headers)).status_code == 204


def test_under_wsgi_the_place_where_the_application_is_mounted_counts() -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/v1",
        "PATH_INFO": "/caf\u00c3\u00a9/a b;c=1",
        "HTTP_DPOP": "proof",
    }
    assert wsgi.seen(environ) == ("GET", "/v1/caf%C3%A9/a%20b;c=1", ["proof"])
    assert wsgi.seen({"REQUEST_METHOD": "PUT"}) == ("PUT", "", [])


def test_the_openapi_document_of_an_api_that_requires_proofs_names_the_scheme() -> None:
    for required, scheme in ((True, "DPoP"), (False, "bearer")):
        app = ASYNC["fastapi"](verifier_for(AsyncVerifier, required=required))
        schemes = app.openapi()["components"]["securitySchemes"]
        assert schemes["AccessToken"]["scheme"] == scheme
