"""The clock of a running issuer is set forward and back: nothing is rotated, nothing good again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from client.fixtures_redis import moved_clock_library
from system.deployment import AUDIENCE, ISSUER, USED, Deployment, eventually
from system.hurried import EVERY, TIMING
from system.loading import decoded

from ephemera_client import PrivateKeyJWT, instant
from ephemera_client.instant import Instant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ephemera_issuer.demo.process import Service

WORKERS = 2
HOUR = 3600
PERIOD = EVERY + TIMING.publication
NEAR = 600
"""Seconds that the steps of a test never take."""
FORGOTTEN = (401, "assertion was issued before this ledger began; make a new one")
EXPIRED = (401, "assertion has expired: make a new one for each request")
AHEAD = (401, "assertion iat lies ahead: compare the clocks")


class Clocked:
    """A running issuer of two workers whose wall clock a test sets."""

    def __init__(self, deployment: Deployment, service: Service, offset: Path) -> None:
        self.service = service
        self._deployment = deployment
        self._offset = offset
        self.http = httpx.Client(base_url=service.url, trust_env=False, timeout=30)

    def set(self, ahead: int) -> None:
        """Set its clock; on return every worker has noticed, and answers by it."""
        jumps = self.count("clock_jumped")
        self._offset.write_text(f"{ahead:<20}")
        eventually(lambda: self.count("clock_jumped") >= jumps + WORKERS, "not noticed")
        eventually(lambda: self.http.get("/readyz").status_code == 200, "never ready")

    def events(self) -> list[tuple[int, str]]:
        """What each worker has logged."""
        entries = [json.loads(line) for line in self.service.output if line.startswith("{")]
        return [(entry["worker"], entry["event"]) for entry in entries]

    def count(self, event: str) -> int:
        return [name for _, name in self.events()].count(event)

    def token(self) -> str:
        """A token that was asked for with a secret."""
        answers: list[httpx.Response] = []

        def minted() -> bool:
            answers.append(self._deployment.ask(self.http, ""))
            # The other worker may not have seen the database since.
            assert answers[-1].status_code in {200, 503}
            return answers[-1].status_code == 200

        eventually(minted, "no token")
        token: str = answers[-1].json()["access_token"]
        return token

    def form(self, ahead: int = 0) -> dict[str, str]:
        """A request with an assertion by a client whose clock is so many seconds ahead."""
        credential = PrivateKeyJWT.from_file(
            self._deployment.folder / "orders.pem", clock=lambda: later(ahead)
        )
        proof = credential.prove("orders", issuer=ISSUER)
        return {"grant_type": "client_credentials", "resource": AUDIENCE, **proof.form}

    def ask(self, form: dict[str, str]) -> tuple[int, str]:
        answer = self.http.post("/oauth2/token", data=form)
        return answer.status_code, answer.json().get("error_description", "")

    def spend(self, ahead: int = 0) -> dict[str, str]:
        """A request that has been granted, made by such a client."""
        forms: list[dict[str, str]] = []

        def granted() -> bool:
            forms.append(self.form(ahead))
            return self.ask(forms[-1])[0] == 200

        eventually(granted, "not granted")
        return forms[-1]


def later(seconds: int) -> Instant:
    now = instant.read()
    return Instant(now.wall + seconds, now.monotonic)


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Clocked]:
    deployment = Deployment(tmp_path, EPHEMERA_WORKERS=str(WORKERS))
    offset = tmp_path / "offset"
    offset.write_text("0")
    moved = {"LD_PRELOAD": str(moved_clock_library(tmp_path)), "MOVED_CLOCK": str(offset)}
    with deployment.start(module="system.hurried", **moved) as service:
        running = Clocked(deployment, service, offset)
        with running.http:
            yield running
        assert service.stop() == 0, "".join(service.output)


def issued_at(token: str) -> float:
    claims = decoded(token, 1)
    assert claims["exp"] - claims["iat"] == 120
    issued: float = claims["iat"]
    return issued


def test_a_clock_set_forward_and_back_rotates_nothing_and_makes_no_assertion_good_again(
    clocked: Clocked,
) -> None:
    eventually(lambda: clocked.count("keys_rotated") > 0, "no rotation")
    spent = [clocked.spend() for _ in range(5)]
    before = clocked.token()

    clocked.set(HOUR)
    jumped = time.monotonic()
    assert abs(issued_at(clocked.token()) - time.time() - HOUR) < NEAR
    assert clocked.ask(clocked.form()) == EXPIRED
    # With this one the ledger forgets what has expired by this clock.
    spent_ahead = clocked.spend(HOUR)
    assert clocked.ask(spent_ahead) == USED
    assert key_of(before) in published(clocked)

    clocked.set(0)
    assert abs(issued_at(clocked.token()) - time.time()) < NEAR
    assert {clocked.ask(form) for form in spent} <= {FORGOTTEN, USED, EXPIRED}
    assert clocked.ask(spent_ahead) == AHEAD
    assert clocked.ask(clocked.spend()) == USED

    clocked.set(-HOUR)
    assert abs(issued_at(clocked.token()) - time.time() + HOUR) < NEAR
    assert {clocked.ask(form) for form in spent} == {AHEAD}
    eventually(lambda: clocked.count("clock_behind_keys") >= WORKERS, "not told")

    clocked.set(0)
    assert {clocked.ask(form) for form in spent} <= {FORGOTTEN, USED, EXPIRED}
    assert clocked.ask(clocked.spend()) == USED
    eventually(lambda: clocked.count("clock_with_keys_again") >= WORKERS, "not told")

    # By now, but for the jumps, each worker would have rotated or seen the other do so.
    eventually(lambda: time.monotonic() > jumped + 3 * PERIOD, "time stands still")
    for worker in range(WORKERS):
        said = [event for number, event in clocked.events() if number == worker]
        held = set(said[said.index("clock_jumped") :])
        assert held == {"clock_jumped", "clock_behind_keys", "clock_with_keys_again"}


def key_of(token: str) -> str:
    kid: str = decoded(token, 0)["kid"]
    return kid


def published(clocked: Clocked) -> set[str]:
    return {key["kid"] for key in clocked.http.get("/.well-known/jwks.json").json()["keys"]}
