"""Administrators who change the same thing at the same time, in processes of their own."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_administering import (
    Administrator,
    administered,
    grant,
    replica,
)

from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from issuer.fixtures_postgresql import PostgresServer

ROUNDS = 8
AT_ONCE = 4


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def replicas(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """Two processes on one database of either kind."""
    folder = tmp_path_factory.mktemp("replicas")
    key = folder / "sealing-key"
    SealingKeys.create(key)
    context = multiprocessing.get_context("spawn")
    with ExitStack() as ends:
        url = f"sqlite:///{folder / 'ephemera.db'}"
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres")
            url = server.lend()
            ends.callback(server.give_back, url)
        with administered(url, folder, sealing_key_file=key):
            pass
        found = []
        for _ in range(2):
            here, there = context.Pipe()
            process = context.Process(target=replica, args=(url, key, there))
            process.start()
            there.close()  # so that its end is seen here
            ends.callback(process.join)
            ends.callback(here.close)
            found.append(here)
        yield [here.recv() for here in found]


def at_once(urls: list[str], ask: Any) -> list[Any]:
    """Ask from several threads, of one replica and the other in turn."""
    administrators = [Administrator(urls[number % len(urls)]) for number in range(AT_ONCE)]
    together = threading.Barrier(AT_ONCE)
    try:

        def go(number: int) -> Any:
            administrator = administrators[number]
            together.wait(60)
            return ask(administrator, number)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(go, range(AT_ONCE)))
    finally:
        for administrator in administrators:
            administrator.http.close()


def test_of_those_who_saw_the_same_one_changes_it(replicas: list[str]) -> None:
    """Each wants another lifetime, so that whose change was made can be read off it."""
    first = Administrator(replicas[0])
    with first.http:
        before = first.json("/grants")["registry_version"]
        for number in range(ROUNDS):
            tag = first.tag(grant("orders"))

            def ask(ops: Administrator, own: int, *, tag: str = tag, number: int = number) -> Any:
                lifetime = 100 + number * AT_ONCE + own
                body = {"scopes": ["invoices:read"], "max_lifetime": lifetime}
                return lifetime, ops.try_("PUT", grant("orders"), body, match=tag).status_code

            answers = at_once(replicas, ask)
            assert sorted(status for _, status in answers) == [200] + [412] * (AT_ONCE - 1)
            (won,) = [lifetime for lifetime, status in answers if status == 200]
            assert first.json(grant("orders"))["max_lifetime"] == won
        after = first.json("/grants")["registry_version"]
        assert after == before + ROUNDS


def test_of_those_who_make_the_same_anew_one_does(replicas: list[str]) -> None:
    def ask(ops: Administrator, number: int) -> Any:
        body = {"jwks_uri": f"https://new-{number}.internal/keys"}
        return ops.try_("PUT", "/clients/new", body, new=True).status_code

    assert sorted(at_once(replicas, ask)) == [201] + [412] * (AT_ONCE - 1)


def test_of_those_who_ask_for_a_second_secret_one_gets_it(replicas: list[str]) -> None:
    first = Administrator(replicas[0])
    with first.http:
        tag = first.tag("/clients/orders")
        answers = at_once(
            replicas, lambda ops, _: ops.try_("POST", "/clients/orders/secrets", match=tag)
        )
        assert sorted(answer.status_code for answer in answers) == [201] + [412] * (AT_ONCE - 1)
        assert first.json("/clients/orders")["secrets"] == 2


def test_keys_rotate_once_for_those_who_saw_the_same(replicas: list[str]) -> None:
    first = Administrator(replicas[0])
    with first.http:
        tag = first.tag("/keys")
        answers = at_once(
            replicas,
            lambda ops, _: ops.try_("POST", "/keys/rotations", {"emergency": True}, match=tag),
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 200
        # Who had looked before the other wrote is told so by the compare-and-swap: 409.
        assert set(statuses[1:]) <= {409, 412}
        states = [key["state"] for key in first.json("/keys")["keys"]]
        assert sorted(states) == ["active", "pending", "retired"]
