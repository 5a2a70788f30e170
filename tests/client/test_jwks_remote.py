import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from client.fixtures_publishing import METADATA, Publisher, publishing
from client.fixtures_requesting import Asked, Reply, certificate, closed_port, serving
from client.fixtures_verifying import ManualClock, signing_key

from ephemera_client import (
    ConfigurationError,
    KeysUnavailable,
    KeyUnknown,
    RemoteKeys,
)

A, B = signing_key("ES256"), signing_key("ES256", 1)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing(A) as made:
        yield made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bind(publisher: Publisher, clock: ManualClock) -> Callable[..., RemoteKeys]:
    def make(url: str | None = None, **settings: Any) -> RemoteKeys:
        keys = RemoteKeys(url, **settings)
        keys.bind(issuer=publisher.issuer, clock=clock)
        return keys

    return make


@pytest.fixture
def keys(publisher: Publisher, bind: Callable[..., RemoteKeys]) -> RemoteKeys:
    return bind(publisher.url)


def settled() -> None:
    """Wait for whatever load runs in the background."""
    for thread in threading.enumerate():
        if thread.name == "ephemera-flight":
            thread.join(10)


def test_the_first_lookup_fetches_and_the_next_ones_do_not(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    for _ in range(5):
        assert keys.lookup(A.kid, clock()).kid == A.kid
    (load,) = publisher.loads
    assert "cache-control" not in load.headers
    assert "application/jwk-set+json" in load.headers["accept"]


def test_keys_are_found_through_the_issuers_metadata_which_is_read_once(
    publisher: Publisher, bind: Callable[..., RemoteKeys], clock: ManualClock
) -> None:
    keys = bind()
    keys.lookup(A.kid, clock())
    keys.lookup(A.kid, clock.advance(301))
    assert [asked.path for asked in publisher.server.asked] == [
        METADATA, "/jwks.json", "/jwks.json",
    ]  # fmt: skip


def test_after_a_failure_the_metadata_are_read_again(
    publisher: Publisher, bind: Callable[..., RemoteKeys], clock: ManualClock
) -> None:
    keys = bind()
    publisher.reply = Reply(404)
    with pytest.raises(KeysUnavailable):
        keys.lookup(A.kid, clock())
    publisher.publish(A)
    keys.lookup(A.kid, clock.advance(2))
    assert [asked.path for asked in publisher.server.asked].count(METADATA) == 2


def test_metadata_and_keys_have_one_time_for_both(clock: ManualClock) -> None:
    made = Publisher(A)

    def slow(asked: Asked) -> Reply:
        time.sleep(0.3)
        return made.answer(asked)

    with serving(slow) as made.server:
        keys = RemoteKeys(timeout=0.5)
        keys.bind(issuer=made.issuer, clock=clock)
        with pytest.raises(KeysUnavailable) as caught:
            keys.lookup(A.kid, clock())
    assert caught.value.cause_code == "timeout"


@pytest.mark.parametrize(
    ("metadata", "cause_code"),
    [
        ({"issuer": "https://other.internal"}, "metadata_invalid"),
        ({"jwks_uri": "https://attacker.example/jwks.json"}, "metadata_invalid"),
        ({"jwks_uri": 1}, "metadata_invalid"),
    ],
)
def test_metadata_that_lead_elsewhere_are_not_followed(
    publisher: Publisher,
    bind: Callable[..., RemoteKeys],
    clock: ManualClock,
    metadata: dict[str, object],
    cause_code: str,
) -> None:
    publisher.metadata = metadata
    with pytest.raises(KeysUnavailable) as caught:
        bind().lookup(A.kid, clock())
    assert caught.value.cause_code == cause_code
    assert not publisher.loads


def test_an_issuer_without_metadata_is_unavailable(clock: ManualClock) -> None:
    with serving(lambda _: Reply(404)) as server:
        keys = RemoteKeys()
        keys.bind(issuer=server.origin, clock=clock)
        with pytest.raises(KeysUnavailable) as caught:
            keys.warm()
    assert caught.value.cause_code == "metadata_status_unexpected"


def test_keys_of_no_issuer_cannot_be_discovered() -> None:
    with pytest.raises(KeysUnavailable) as caught:
        RemoteKeys().warm()
    assert caught.value.cause_code == "not_bound"


def test_an_unknown_kid_is_asked_past_all_caches_with_the_etag(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    publisher.reply = publisher.reply._replace(headers=(("ETag", '"one"'),))
    keys.lookup(A.kid, clock())
    publisher.reply = Reply(304, b"", (("ETag", '"one"'),))
    for _ in range(5):
        with pytest.raises(KeyUnknown):
            keys.lookup("x", clock())
    assert len(publisher.loads) == 2
    assert publisher.loads[1].headers["if-none-match"] == '"one"'
    assert publisher.loads[1].headers["cache-control"] == "no-cache"
    assert keys.lookup(A.kid, clock()).kid == A.kid


def test_a_new_key_is_found_when_a_token_brings_it(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    keys.lookup(A.kid, clock())
    publisher.publish(A, B)
    assert keys.lookup(B.kid, clock()).kid == B.kid


def test_ten_thousand_made_up_kids_cost_two_fetches_in_thirty_seconds(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    for number in range(10_000):
        with pytest.raises(KeyUnknown):
            keys.lookup(f"made-up-{number}", clock.advance(0.0029))
    assert len(publisher.loads) == 2


def test_a_refresh_happens_behind_the_callers_back(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    keys.lookup(A.kid, clock())
    publisher.gate.clear()
    publisher.arrived.clear()
    publisher.publish(A, B)
    assert keys.lookup(A.kid, clock.advance(290)).kid == A.kid
    assert publisher.arrived.wait(10)
    publisher.gate.set()
    settled()
    assert keys.status().kids == (A.kid, B.kid)


def test_of_a_hundred_threads_one_fetches(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    publisher.gate.clear()
    found: list[str] = []
    started = threading.Barrier(101)

    def look_up() -> None:
        started.wait(10)
        found.append(keys.lookup(A.kid, clock()).kid)

    threads = [threading.Thread(target=look_up) for _ in range(100)]
    for thread in threads:
        thread.start()
    started.wait(10)
    assert publisher.arrived.wait(10)
    publisher.gate.set()
    for thread in threads:
        thread.join()
    assert found == [A.kid] * 100
    assert len(publisher.loads) == 1


@pytest.mark.anyio
async def test_of_a_hundred_tasks_one_fetches_and_a_cancelled_one_harms_nobody(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    publisher.gate.clear()
    found: list[str] = []

    async def look_up() -> None:
        found.append((await keys.lookup_async(A.kid, clock())).kid)

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(0):
            await look_up()
        for _ in range(100):
            tasks.start_soon(look_up)
        await checkpoint()
        assert not found
        publisher.gate.set()
    assert found == [A.kid] * 100
    assert len(publisher.loads) == 1
    assert (await keys.lookup_async(A.kid, clock())).kid == A.kid


def test_tasks_of_several_loops_and_threads_share_one_fetch(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    publisher.gate.clear()
    found: list[str] = []
    started = threading.Barrier(9)

    async def in_a_task() -> None:
        started.wait(10)
        found.append((await keys.lookup_async(A.kid, clock())).kid)

    def in_a_thread(kind: str) -> None:
        if kind == "thread":
            started.wait(10)
            found.append(keys.lookup(A.kid, clock()).kid)
        else:
            anyio.run(in_a_task, backend=kind)

    kinds = ["thread", "asyncio", "trio", "asyncio"] * 2
    threads = [threading.Thread(target=in_a_thread, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    started.wait(10)
    assert publisher.arrived.wait(10)
    publisher.gate.set()
    for thread in threads:
        thread.join()
    assert found == [A.kid] * 8
    assert len(publisher.loads) == 1


def test_a_load_that_outlasts_its_time_is_given_up_and_overwrites_nothing(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    keys.lookup(A.kid, clock())
    publisher.publish(B)
    publisher.gate.clear()
    publisher.arrived.clear()
    assert keys.lookup(A.kid, clock.advance(290)).kid == A.kid
    assert publisher.arrived.wait(10)
    assert keys.lookup(A.kid, clock.advance(11)).kid == A.kid
    publisher.gate.set()
    settled()
    assert keys.status().kids == (A.kid,)
    assert keys.status().last_failure == "timeout"


def test_a_thread_loses_patience_in_real_time(publisher: Publisher) -> None:
    publisher.gate.clear()
    keys = RemoteKeys(publisher.url, timeout=0.2)
    began = time.monotonic()
    with pytest.raises(KeysUnavailable) as caught:
        keys.warm()
    assert time.monotonic() - began < 2
    assert caught.value.cause_code == "timeout"
    publisher.gate.set()
    settled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_forked_during_a_load_begins_its_own(
    keys: RemoteKeys, publisher: Publisher, clock: ManualClock
) -> None:
    publisher.gate.clear()
    waiting = threading.Thread(target=keys.lookup, args=(A.kid, clock()))
    waiting.start()
    assert publisher.arrived.wait(10)
    keys._lock.acquire()
    child = os.fork()
    if child == 0:
        # The server's threads stayed in the parent, which answers once the gate is open.
        try:
            os._exit(0 if keys.lookup(A.kid, clock()).kid == A.kid else 2)
        finally:
            os._exit(1)
    keys._lock.release()
    publisher.gate.set()
    waiting.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(publisher.loads) == 2


def test_an_authority_is_trusted_only_if_it_is_named(tmp_path: Path, clock: ManualClock) -> None:
    made = certificate(tmp_path)
    with serving(Publisher(A).answer, tls=made.tls) as server:
        trusting = RemoteKeys(f"{server.origin}/jwks.json", ca_file=made.file)
        trusting.bind(issuer=server.origin, clock=clock)
        assert trusting.lookup(A.kid, clock()).kid == A.kid
        with pytest.raises(KeysUnavailable) as caught:
            RemoteKeys(f"{server.origin}/jwks.json").warm()
    assert caught.value.cause_code == "tls_unknown_authority"


def test_nobody_listening_is_told_apart(clock: ManualClock) -> None:
    keys = RemoteKeys(f"http://127.0.0.1:{closed_port()}/jwks.json")
    with pytest.raises(KeysUnavailable) as caught:
        keys.lookup(A.kid, clock())
    assert caught.value.cause_code == "connect_failed"
    assert keys.status().last_failure == "connect_failed"


@pytest.mark.anyio
async def test_warm_loads_before_traffic_and_status_tells(
    publisher: Publisher, bind: Callable[..., RemoteKeys], clock: ManualClock
) -> None:
    keys = bind(publisher.url)
    assert keys.status() == (False, False, None, (), None)
    await keys.warm_async()
    keys.warm()
    await keys.warm_async()
    assert keys.status() == (True, False, 0.0, (A.kid,), None)
    assert len(publisher.loads) == 1
    clock.advance(400)
    assert keys.status() == (True, True, 400.0, (A.kid,), None)
    publisher.reply = Reply(503)
    await keys.warm_async()
    assert keys.status().last_failure == "status_unexpected"
    clock.advance(3000)
    assert not keys.status().available
    with pytest.raises(KeysUnavailable):
        await keys.warm_async()


def test_where_no_thread_can_be_started_the_keys_are_unavailable(
    keys: RemoteKeys, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(KeysUnavailable) as caught:
        keys.lookup(A.kid, clock())
    assert caught.value.cause_code == "no_thread"
    with pytest.raises(KeysUnavailable):
        keys.warm()


def test_whatever_goes_wrong_in_a_load_reaches_whoever_waits(
    keys: RemoteKeys, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    monkeypatch.setattr(keys, "_fetch", fail)
    with pytest.raises(KeysUnavailable) as caught:
        keys.lookup(A.kid, clock())
    assert caught.value.cause_code == "failed"
    settled()
    assert [arguments.exc_type for arguments in told] == [MemoryError]


def test_a_file_of_authorities_is_read_at_once_and_again_for_each_load(
    tmp_path: Path, clock: ManualClock
) -> None:
    with pytest.raises(ConfigurationError):
        RemoteKeys(ca_file=tmp_path / "missing.pem")
    made = certificate(tmp_path)
    with serving(Publisher(A).answer, tls=made.tls) as server:
        keys = RemoteKeys(f"{server.origin}/jwks.json", ca_file=made.file)
        text = made.file.read_text()
        made.file.unlink()
        with pytest.raises(KeysUnavailable) as caught:
            keys.lookup(A.kid, clock())
        assert caught.value.cause_code == "ca_file_unusable"
        made.file.write_text(text)
        keys.warm()


@pytest.mark.parametrize(
    "url",
    [
        "http://tokens.internal/jwks.json",
        "http://127.0.0.1.attacker.example/jwks.json",
        "ftp://tokens.internal/jwks.json",
        "file:///etc/passwd",
        "https://user:secret@tokens.internal/jwks.json",
        "jwks.json",
        "",
    ],
)
def test_a_url_that_keys_must_not_come_from_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        RemoteKeys(url)


@pytest.mark.parametrize("setting", ["max_bytes", "max_keys"])
@pytest.mark.parametrize("number", [0, -1, 1.5, True, None])
def test_a_limit_that_makes_no_sense_is_refused(setting: str, number: Any) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        RemoteKeys(**{setting: number})


def test_plain_http_is_for_named_hosts() -> None:
    RemoteKeys("http://tokens.internal/jwks.json", unencrypted_hosts={"tokens.internal"})


def test_keys_serve_one_issuer(clock: ManualClock) -> None:
    keys = RemoteKeys()
    keys.bind(issuer="https://one.internal", clock=clock)
    keys.bind(issuer="https://one.internal", clock=clock)
    with pytest.raises(ConfigurationError):
        keys.bind(issuer="https://two.internal", clock=clock)
