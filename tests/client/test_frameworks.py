"""What every integration does alike: the same API under each framework, called over HTTP."""

import subprocess
import sys
from typing import Any

import pytest
from client.fixtures_frameworks import ASYNC, SYNC, SYNC_UNDER_ASGI, Api, call
from client.fixtures_requesting import Issuer, closed_port

from ephemera_client import (
    AnyIssuer,
    AsyncVerifier,
    ConfigurationError,
    NoReplayCache,
    RemoteKeys,
    SingleProcessReplayCache,
    StaticKeys,
    Verifier,
)

pytestmark = pytest.mark.anyio

AUDIENCE = "https://billing.internal"
BOTH = "invoices:read invoices:write"
FRAMEWORKS = {
    **{name: (api, Verifier) for name, api in (SYNC | SYNC_UNDER_ASGI).items()},
    **{name: (api, AsyncVerifier) for name, api in ASYNC.items()},
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> tuple[Api, Any]:
    return FRAMEWORKS[request.param]


def verifier_of(kind: Any, issuer: Issuer, **changes: Any) -> Any:
    parts = {
        "issuer": issuer.origin,
        "audience": AUDIENCE,
        "algorithm": "ES256",
        "replay_cache": SingleProcessReplayCache(),
        "keys": StaticKeys(issuer.jwks),
    }
    return kind(**(parts | changes))


@pytest.fixture
def app(framework: tuple[Api, Any], issuer: Issuer) -> Any:
    api, kind = framework
    return api(verifier_of(kind, issuer))


def header(issuer: Issuer, scope: str = BOTH) -> str:
    return f"Bearer {issuer.mint(AUDIENCE, scope)}"


def refusal(status: int, error: str, reason: str, **more: str) -> tuple[int, str, dict[str, str]]:
    told = {"error": error, "reason": reason} | more
    listed = "".join(f', {name}="{value}"' for name, value in told.items())
    return status, f'Bearer realm="{AUDIENCE}"{listed}', told


def seen(response: Any) -> tuple[int, str, dict[str, str]]:
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    return response.status_code, response.headers["www-authenticate"], response.json()


def test_the_library_imports_no_framework() -> None:
    frameworks = ("django", "fastapi", "flask", "grpc", "pydantic", "starlette", "werkzeug")
    program = f"import ephemera_client, sys; print([*filter(sys.modules.get, {frameworks})])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


async def test_a_token_is_accepted_once(app: Any, issuer: Issuer) -> None:
    token = header(issuer)
    response = await call(app, token)
    assert (response.status_code, response.json()) == (200, {"for": "orders"})
    response = await call(app, token)
    assert seen(response) == refusal(401, "invalid_token", "token_replayed")


async def test_nested_requirements_claim_once(app: Any, issuer: Issuer) -> None:
    token = header(issuer)
    response = await call(app, token, method="POST")
    assert (response.status_code, response.json()) == (200, {"for": "orders"})
    assert (await call(app, token, method="POST")).status_code == 401


async def test_each_route_has_its_scopes(app: Any, issuer: Issuer) -> None:
    response = await call(app, header(issuer, "invoices:read"), method="POST")
    status, _, told = seen(response)
    assert (status, told["reason"]) == (403, "insufficient_scope")
    assert "invoices:write" in told["scope"]


async def test_a_scope_demanded_in_a_handler_becomes_the_403(app: Any, issuer: Issuer) -> None:
    response = await call(app, header(issuer, "invoices:read"), at="/inside")
    assert seen(response) == refusal(
        403, "insufficient_scope", "insufficient_scope", scope="invoices:write"
    )
    assert (await call(app, header(issuer), at="/inside")).status_code == 200


async def test_a_token_without_the_scope_is_not_used_up(
    framework: tuple[Api, Any], issuer: Issuer
) -> None:
    api, kind = framework
    token = header(issuer, "entries:read")
    cache = SingleProcessReplayCache()
    app = api(verifier_of(kind, issuer, replay_cache=cache))
    for _ in range(2):
        assert (await call(app, token)).status_code == 403


async def test_no_token_is_asked_for_without_an_error(app: Any) -> None:
    response = await call(app)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == f'Bearer realm="{AUDIENCE}"'
    assert response.json()["reason"] == "token_missing"


async def test_another_scheme_is_no_token(app: Any) -> None:
    response = await call(app, "Basic b3JkZXJzOnB3")
    assert (response.status_code, response.json()["reason"]) == (401, "token_missing")


@pytest.mark.parametrize("api", ASYNC.values(), ids=ASYNC)
async def test_two_authorization_headers_are_a_bad_request(api: Api, issuer: Issuer) -> None:
    # Of WSGI, the servers join them: tests/examples has theirs.
    app = api(verifier_of(AsyncVerifier, issuer))
    response = await call(app, header(issuer), header(issuer))
    assert seen(response) == refusal(400, "invalid_request", "request_malformed")


async def test_headers_joined_by_a_server_are_a_bad_request(app: Any, issuer: Issuer) -> None:
    response = await call(app, f"{header(issuer)},{header(issuer)}")
    assert seen(response) == refusal(400, "invalid_request", "request_malformed")


async def test_keys_that_cannot_be_had_are_a_503(
    framework: tuple[Api, Any], issuer: Issuer
) -> None:
    api, kind = framework
    keys = RemoteKeys(f"http://127.0.0.1:{closed_port()}/jwks", timeout=1)
    response = await call(api(verifier_of(kind, issuer, keys=keys)), header(issuer))
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.json() == {"error": "temporarily_unavailable", "reason": "keys_unavailable"}


async def test_the_tokens_of_any_issuer_are_accepted(framework: tuple[Api, Any]) -> None:
    api, kind = framework
    old, new, third = Issuer(), Issuer(), Issuer()
    new.origin, third.origin = "https://new.internal", "https://third.internal"
    app = api(AnyIssuer([verifier_of(kind, issuer) for issuer in (old, new)]))
    for issuer in (old, new):
        assert (await call(app, header(issuer), method="POST")).status_code == 200
    response = await call(app, header(third))
    assert seen(response) == refusal(401, "invalid_token", "issuer_mismatch")


async def test_a_verifier_of_the_other_kind_is_told_when_the_api_is_made(
    framework: tuple[Api, Any], issuer: Issuer
) -> None:
    api, kind = framework
    other = Verifier if kind is AsyncVerifier else AsyncVerifier
    for verifier in (verifier_of(other, issuer), AnyIssuer([verifier_of(other, issuer)]), None):
        with pytest.raises(ConfigurationError, match="must be"):
            api(verifier)


async def test_without_single_use_a_token_goes_on(
    framework: tuple[Api, Any], issuer: Issuer
) -> None:
    api, kind = framework
    app = api(verifier_of(kind, issuer, replay_cache=NoReplayCache()))
    token = header(issuer)
    for _ in range(2):
        assert (await call(app, token)).status_code == 200
