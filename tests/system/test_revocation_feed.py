"""Two replicas of an issuer and three verifiers, each a process: revocations reach them all."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import jwt
import pytest
from system.revoking import PATIENCE, REFUSED, audience_of, client_of, fleet, kid_of

from ephemera_client import SingleProcessReplayCache, TokenRevoked, Verifier
from ephemera_issuer.demo.process import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.revoking import Fleet

TRIALS = 3


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet"), pairs=12, replicas=2, watchers=3) as made:
        yield made


def test_a_token_revoked_by_its_jti_is_refused_everywhere(running: Fleet) -> None:
    for _ in range(TRIALS):
        raw = running.token(0)
        jti = jwt.decode(raw, options={"verify_signature": False})["jti"]
        assert running.delay(0, raw, partial(running.revoke_jti, jti))
        assert running.accepted(0, running.token(0))


def test_what_a_client_was_given_is_refused_everywhere_and_what_it_gets_next_is_not(
    running: Fleet,
) -> None:
    raw, other = running.token(1), running.token(2)
    assert running.delay(1, raw, lambda: running.cut_off(client=client_of(1)))
    assert running.accepted(2, other)
    deadline = time.monotonic() + PATIENCE
    while (answer := running.mint(1, replica=1)).status_code == 503:
        assert 1 <= int(answer.headers["retry-after"]) <= 4
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert running.accepted(1, answer.json()["access_token"])


def test_what_an_audience_was_given_is_refused_everywhere(running: Fleet) -> None:
    for number in range(3, 3 + TRIALS):
        raw = running.token(number, replica=number % 2)
        assert running.delay(number, raw, partial(running.cut_off, audience=audience_of(number)))


def test_the_active_key_is_revoked_under_load_and_the_next_one_serves_at_once(
    running: Fleet,
) -> None:
    ended = threading.Event()
    minted: list[str] = []

    def mint() -> None:
        while not ended.is_set():
            minted.append(running.token(6, replica=len(minted) % 2))

    for _ in range(TRIALS):
        minted.clear()
        ended.clear()
        kid = running.active_kid()
        raw = running.token(7)
        load = threading.Thread(target=mint)
        load.start()
        try:
            assert running.delay(7, raw, running.revoke_active_key)
            for replica in (0, 1):
                fresh = running.until_minted_by_another_key(8, replica, kid)
                assert running.accepted(8, fresh)
        finally:
            ended.set()
            load.join()
        assert {kid_of(token) for token in minted[:1]} == {kid}
        after = [token for token in minted if kid_of(token) != kid]
        assert all(running.accepted(6, token) for token in after[-3:])
        assert running.outcomes(6, minted[0]) <= REFUSED


def test_a_grant_that_is_removed_is_refused_at_the_mint_of_every_replica(running: Fleet) -> None:
    assert running.accepted(9, running.token(9))
    running.remove_grant(9)
    for replica in (0, 1):
        running.until_ungranted(9, replica)
        assert running.mint(9, replica).json()["error"] == "invalid_target"


def test_the_command_reaches_a_verifier_that_found_everything_through_the_metadata(
    running: Fleet,
) -> None:
    verifier = Verifier(
        issuer=running.issuer.url,
        audience=audience_of(10),
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(),
    )
    verifier.warm()
    assert verifier.status().revocations.followed
    raw = running.token(10)
    before = verifier.status().revocations.sequence
    running.issuer.command("revoke", "--client", client_of(10), "--audience", audience_of(10))
    deadline = time.monotonic() + PATIENCE
    while verifier.status().revocations.sequence == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(TokenRevoked):
        verifier.verify(raw)


def test_an_issuer_that_ends_answers_those_who_wait_and_does_not_wait_for_them(
    running: Fleet,
) -> None:
    issuer = running.issuer
    replica = Service(
        "replica",
        ["ephemera_issuer", "serve"],
        environment=issuer.environment | {"EPHEMERA_ISSUER": issuer.url},
    )
    place = running.http.get(f"{replica.url}/v1/revocations").json()
    question = f"epoch={place['epoch']}&after={place['sequence']}&wait=25"
    address = urlsplit(replica.url)
    with ExitStack() as stack:
        followers = []
        for _ in range(5):
            follower = socket.create_connection((address.hostname, address.port), 30)
            followers.append(stack.enter_context(follower))
            follower.sendall(f"GET /v1/revocations?{question} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        # Connections are taken in turn: when this is answered, those have been.
        assert running.http.get(f"{replica.url}/healthz").status_code == 200
        assert replica.stop() == 0
        answers = []
        for follower in followers:
            with follower.makefile("rb") as answer:
                answers.append(answer.read())
    # Left to the end of the time for requests in progress, they would have been given up.
    assert all(answer.startswith(b"HTTP/1.1 200 OK\r\n") for answer in answers)
    assert all(answer.endswith(b'"entries":[]}') for answer in answers)
