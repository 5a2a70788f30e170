"""Tokens revoked at one process of an issuer, and asked about at another."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest
from system.running import Issuer, run_issuer

from ephemera_client import ClientSecret, TokenClient
from ephemera_issuer.database import open_database
from ephemera_issuer.demo.process import Service
from ephemera_issuer.revocation.store import read_revocations

if TYPE_CHECKING:
    from collections.abc import Iterator

AUDIENCE = "https://billing.internal"
REGISTRY = """
[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read"]
introspected_by = ["auditor"]

[[clients]]
id = "orders"
secret = "generate"

[[clients]]
id = "auditor"
secret = "generate"

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with run_issuer(tmp_path_factory.mktemp("issuer"), registry=REGISTRY) as running:
        yield running


def replica(issuer: Issuer) -> Service:
    """Another process of the same issuer, on the same database."""
    return Service(
        "replica",
        ["ephemera_issuer", "serve"],
        environment=issuer.environment | {"EPHEMERA_ISSUER": issuer.url},
    )


def tokens(issuer: Issuer, count: int) -> list[str]:
    credential = ClientSecret(issuer.client_secret)
    with TokenClient(issuer.url, client_id="orders", credential=credential) as client:
        return [client.get(AUDIENCE) for _ in range(count)]


def speak(issuer: Issuer, url: str, client: str) -> httpx.Client:
    secret = issuer.secret_file.with_name(f"{client}.secret").read_text().strip()
    return httpx.Client(base_url=url, auth=(client, secret), timeout=30)


def active(http: httpx.Client, token: str) -> bool:
    answer = http.post("/oauth2/introspect", data={"token": token})
    assert answer.status_code == 200
    return bool(answer.json()["active"])


def until_inactive(http: httpx.Client, token: str) -> float:
    """Seconds until a token is inactive there; at most ten."""
    began = time.monotonic()
    while active(http, token):
        assert time.monotonic() - began < 10
    return time.monotonic() - began


def test_what_is_revoked_at_one_process_is_inactive_at_every_other_within_a_second(
    issuer: Issuer,
) -> None:
    revoked, good = tokens(issuer, 2)
    with (
        replica(issuer) as other,
        speak(issuer, issuer.url, "orders") as here,
        speak(issuer, issuer.url, "auditor") as asking_here,
        speak(issuer, other.url, "auditor") as asking_there,
    ):
        assert active(asking_here, revoked)
        assert active(asking_there, revoked)
        assert here.post("/oauth2/revoke", data={"token": revoked}).status_code == 200
        assert not active(asking_here, revoked)
        assert until_inactive(asking_there, revoked) < 1
        assert active(asking_here, good)
        assert active(asking_there, good)


def test_an_acknowledged_revocation_outlives_a_killed_process(issuer: Issuer) -> None:
    (token,) = tokens(issuer, 1)
    with replica(issuer) as service, speak(issuer, service.url, "orders") as http:
        assert http.post("/oauth2/revoke", data={"token": token}).status_code == 200
        service.process.kill()
        service.process.wait()
    with replica(issuer) as service, speak(issuer, service.url, "auditor") as http:
        assert not active(http, token)


def test_processes_that_revoke_at_once_share_one_sequence(issuer: Issuer) -> None:
    url = issuer.environment["EPHEMERA_DATABASE_URL"]
    with closing(open_database(url, create=False)) as database:
        made = tokens(issuer, 60)
        with database.read() as connection:
            before = read_revocations(connection, now=time.time())
        with (
            replica(issuer) as other,
            speak(issuer, issuer.url, "orders") as here,
            speak(issuer, other.url, "orders") as there,
            speak(issuer, other.url, "auditor") as asking_there,
            ThreadPoolExecutor(16) as threads,
        ):

            def revoke(number: int) -> int:
                # Each token at both processes.
                http = (here, there)[number % 2]
                form = {"token": made[number // 2]}
                return http.post("/oauth2/revoke", data=form).status_code

            statuses = list(threads.map(revoke, range(2 * len(made))))
            assert statuses == [200] * (2 * len(made))
            assert all(until_inactive(asking_there, token) < 1 for token in made)
        with database.read() as connection:
            after = read_revocations(connection, before, now=time.time())
            whole = read_revocations(connection, now=time.time())
    assert after == whole
    assert after.sequence - before.sequence == len(made)
    assert len(after.tokens) - len(before.tokens) == len(made)
