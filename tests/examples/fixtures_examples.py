"""The examples as real processes, and what each HTTP API among them must do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from ephemera_issuer.demo.process import Service

if TYPE_CHECKING:
    from system.running import Issuer

    from ephemera_client import TokenClient

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
AUDIENCE = "https://billing.internal"


def environment(issuer: Issuer, **more: str) -> dict[str, str]:
    """What an example reads of its environment."""
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return (
        issuer.environment
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "EPHEMERA_CLIENT_ISSUER": issuer.url,
            "EPHEMERA_CLIENT_ID": "orders",
            "EPHEMERA_CLIENT_SECRET_FILE": str(issuer.secret_file),
            "AUDIENCE": AUDIENCE,
        }
        | more
    )


def run_example(name: str, issuer: Issuer, **more: str) -> Service:
    """Start an API among the examples; its address is that of the service."""
    assert (EXAMPLES / f"{name}.py").is_file()
    return Service(name, [f"examples.{name}"], environment=environment(issuer, **more))


def assert_guarded(
    url: str, tokens: TokenClient, *, read: str = "/invoices", write: str = "/invoices"
) -> None:
    """Call an API that is guarded for reading, and in which writing takes one scope more."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as api:

        def ask(*tokens: str, method: str = "GET", path: str = read) -> httpx.Response:
            headers = [("Authorization", f"Bearer {token}") for token in tokens]
            return api.request(method, path, headers=headers)

        def reason(response: httpx.Response) -> tuple[int, str]:
            assert response.headers["cache-control"] == "no-store"
            return response.status_code, response.json()["reason"]

        token = tokens.get(AUDIENCE, scopes={"invoices:read"})
        response = ask(token)
        assert (response.status_code, response.json()["for"]) == (200, "orders")
        assert reason(ask(token)) == (401, "token_replayed")
        assert reason(ask()) == (401, "token_missing")
        response = ask(tokens.get(AUDIENCE), method="POST", path=write)
        assert reason(response) == (403, "insufficient_scope")
        assert 'scope="invoices:' in response.headers["www-authenticate"]
        assert reason(ask(tokens.get(AUDIENCE), tokens.get(AUDIENCE))) == (400, "request_malformed")
        assert reason(ask(tokens.get("https://ledger.internal"))) == (401, "audience_mismatch")
