"""Keys that rotate by themselves and change their algorithm, while tokens are minted and used."""

from __future__ import annotations

import base64
import heapq
import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Self

import httpx
from system.deployment import AUDIENCE, ISSUER, Deployment, eventually
from system.hurried import TIMING

from ephemera_client import EphemeraError, RemoteKeys, SingleProcessReplayCache, Verifier

if TYPE_CHECKING:
    from pathlib import Path

ROTATIONS = 10
VERIFIERS = 3
CALLERS = 3
LIFETIME = 10
HELD = 4.0
"""Seconds after which a token is shown to the verifiers that have not seen it."""


def verifier(
    url: str, algorithm: str | tuple[str, ...], ledger: SingleProcessReplayCache
) -> Verifier:
    """A verifier that asks for the keys as often as their short lives want it."""
    keys = RemoteKeys(
        f"{url}/.well-known/jwks.json",
        minimum_ttl=TIMING.jwks_max_age,
        maximum_ttl=TIMING.jwks_max_age,
        refresh_ahead=0.2,
    )
    return Verifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm=algorithm,
        keys=keys,
        replay_cache=ledger,
    )


def header(token: str) -> dict[str, str]:
    segment = token.partition(".")[0]
    read: dict[str, str] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return read


class Traffic:
    """Callers that get tokens, and show each to every verifier: to one at once, to others later."""

    def __init__(self, deployment: Deployment, url: str) -> None:
        self.url = url
        self._ledgers = [SingleProcessReplayCache() for _ in range(VERIFIERS)]
        self.verifiers = [verifier(url, "ES256", ledger) for ledger in self._ledgers]
        self.statuses: list[int] = []
        self.signed: dict[str, str] = {}
        self.refused: list[str] = []
        self.accepted = 0
        self._deployment = deployment
        self._stop = threading.Event()

    def replace_verifiers(self, algorithm: str | tuple[str, ...]) -> None:
        """Roll out other verifiers, one after the other; they share the ledgers of the old."""
        for number, ledger in enumerate(self._ledgers):
            self.verifiers[number] = verifier(self.url, algorithm, ledger)

    def move(self, url: str) -> None:
        """Ask another replica from now on; on return nobody asks the old one any more."""
        self.url = url
        answered = len(self.statuses)
        eventually(lambda: len(self.statuses) > answered + 2 * CALLERS, "no answers")

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        held: list[tuple[float, str, int]] = []
        with httpx.Client(trust_env=False, timeout=30) as http:
            while not self._stop.wait(0.03):
                answer = self._deployment.ask(http, self.url, lifetime=LIFETIME)
                self.statuses.append(answer.status_code)
                if answer.status_code != 200:
                    continue
                token = answer.json()["access_token"]
                read = header(token)
                self.signed[read["kid"]] = read["alg"]
                first = len(self.statuses) % len(self.verifiers)
                self._show(token, first)
                later = time.monotonic() + HELD
                for other in range(len(self.verifiers)):
                    if other != first:
                        heapq.heappush(held, (later, token, other))
                while held and held[0][0] <= time.monotonic():
                    _, token, other = heapq.heappop(held)
                    self._show(token, other)

    def _show(self, token: str, number: int) -> None:
        try:
            self.verifiers[number].verify(token, scopes={"invoices:read"})
        except EphemeraError as error:
            self.refused.append(repr(error))
        else:
            self.accepted += 1


def test_ten_rotations_under_load_refuse_no_valid_token_and_fail_no_request(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path, EPHEMERA_WORKERS="2")
    with deployment.start(module="system.hurried") as service:
        with Traffic(deployment, service.url) as traffic:
            eventually(lambda: len(traffic.signed) > ROTATIONS, "too few rotations", tries=12_000)
        assert set(traffic.statuses) == {200}
        assert traffic.refused == []
        assert traffic.accepted > len(traffic.statuses)
        assert service.stop() == 0, "".join(service.output)
    logged = [json.loads(line) for line in service.output if line.startswith("{")]
    assert {entry["event"] for entry in logged} <= {
        *("keys_rotated", "keys_removed", "keys_changed_by_another")
    }, logged
    assert [entry["event"] for entry in logged].count("keys_rotated") >= ROTATIONS


def test_a_change_of_algorithm_verifiers_first_refuses_no_valid_token(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with (
        deployment.start(module="system.hurried") as old,
        deployment.start(module="system.hurried", EPHEMERA_ALGORITHM="EdDSA") as new,
    ):
        # Of two replicas that disagree, whoever rotates decides; so first there is but the old.
        new.process.send_signal(signal.SIGSTOP)
        with Traffic(deployment, old.url) as traffic:
            eventually(lambda: len(traffic.signed) > 1, "no rotation")
            traffic.replace_verifiers(("ES256", "EdDSA"))
            before = set(traffic.signed.values())
            new.process.send_signal(signal.SIGCONT)
            traffic.move(new.url)
            traffic.replace_verifiers(("ES256", "EdDSA"))
            assert old.stop() == 0, "".join(old.output)
            eventually(lambda: "EdDSA" in traffic.signed.values(), "not changed", tries=6000)
            known = len(traffic.signed)
            eventually(lambda: len(traffic.signed) > known + 1, "no rotation", tries=6000)
        assert before == {"ES256"}
        assert list(traffic.signed.values())[-1] == "EdDSA"
        assert set(traffic.statuses) == {200}
        assert traffic.refused == []
