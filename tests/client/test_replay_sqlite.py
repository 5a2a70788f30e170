import contextlib
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import anyio
import pytest
from client import fixtures_claiming
from client.fixtures_claiming import accepted, claim_of, start
from client.fixtures_requesting import forked
from client.fixtures_verifying import NOW, ManualClock, mint, signing_key, verifier_of

from ephemera_client import (
    ConfigurationError,
    IssuedBeforeLedger,
    ReplayCacheUnavailable,
    TokenReplayed,
)
from ephemera_client.replay import Purpose
from ephemera_client.replay.provenance import this_boot
from ephemera_client.replay.sqlite import SQLiteReplayCache

Make = Callable[..., SQLiteReplayCache]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make(path: Path, clock: ManualClock) -> Iterator[Make]:
    """Open the file as another process would, with a connection of its own."""
    made = []

    def open_it(*, boot: str | None = "this boot", **arguments: float) -> SQLiteReplayCache:
        cache = SQLiteReplayCache(path, clock=clock, boot=lambda: boot, **arguments)  # type: ignore[arg-type]
        made.append(cache)
        return cache

    yield open_it
    for cache in made:
        cache.close()


@pytest.fixture
def cache(make: Make) -> SQLiteReplayCache:
    return make()


def files_of(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}*"))


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        found: int = connection.execute("SELECT count(*) FROM claims").fetchone()[0]
    finally:
        connection.close()
    return found


def test_a_token_is_accepted_once(cache: SQLiteReplayCache, clock: ManualClock) -> None:
    cache.claim(claim_of(), clock())
    for _ in range(3):
        with pytest.raises(TokenReplayed):
            cache.claim(claim_of(), clock())
    cache.claim(claim_of("two"), clock())


def test_what_one_accepted_the_next_refuses(make: Make, clock: ManualClock) -> None:
    first, second = make(), make()
    first.claim(claim_of(), clock())
    with pytest.raises(TokenReplayed):
        second.claim(claim_of(), clock())
    first.close()
    second.close()
    with pytest.raises(TokenReplayed):
        make().claim(claim_of(), clock())


def test_a_token_issued_before_a_restart_is_accepted_after_it(
    make: Make, clock: ManualClock
) -> None:
    make().close()
    clock.advance(60)
    make().claim(claim_of(), clock())


def test_purposes_never_meet(cache: SQLiteReplayCache, clock: ManualClock) -> None:
    for purpose in get_args(Purpose):
        cache.claim(claim_of(purpose=purpose), clock())


@pytest.mark.anyio
async def test_tasks_share_the_ledger_and_one_wins(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    won: list[int] = []

    async def show(number: int) -> None:
        try:
            await cache.claim_async(claim_of(), clock())
        except TokenReplayed:
            return
        won.append(number)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(show, number)
    assert len(won) == 1


def test_two_event_loops_share_a_cache(cache: SQLiteReplayCache, clock: ManualClock) -> None:
    anyio.run(cache.claim_async, claim_of(), clock())
    anyio.run(cache.claim_async, claim_of("two"), clock(), backend="trio")
    with pytest.raises(TokenReplayed):
        anyio.run(cache.claim_async, claim_of(), clock())


def test_of_many_threads_one_wins_each_token(make: Make, clock: ManualClock) -> None:
    caches = [make(deadline=20), make(deadline=20)]
    tokens = [claim_of(str(number)) for number in range(50)]
    won: list[str] = []
    barrier = threading.Barrier(8)

    def compete(cache: SQLiteReplayCache) -> None:
        barrier.wait(10)
        for token in tokens:
            try:
                cache.claim(token, clock())
            except TokenReplayed:
                continue
            won.append(token.jti)

    threads = [threading.Thread(target=compete, args=(caches[n % 2],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(token.jti for token in tokens)


def test_of_four_processes_one_wins_each_token(path: Path) -> None:
    jtis = [str(number) for number in range(2000)]
    # Each its own way through, so that every token is first seen by some process of its own.
    orders = [jtis, jtis[::-1], jtis[1000:] + jtis[:1000], jtis[::2] + jtis[1::2]]
    racing = [start(fixtures_claiming.race, path, order) for order in orders]
    for _, connection in racing:
        assert connection.recv() == "ready"
    for _, connection in racing:
        connection.send("go")
    won = [jti for _, connection in racing for jti in connection.recv()]
    for process, _ in racing:
        process.join(10)
    assert sorted(won) == sorted(jtis)


def test_what_was_accepted_before_a_kill_is_refused_after_it(path: Path) -> None:
    told: list[str] = []
    for run in range(8):
        process, connection = start(fixtures_claiming.claim_until_killed, path, run)
        told += [connection.recv() for _ in range(50 + 37 * run)]
        process.kill()
        process.join(10)
        with contextlib.suppress(EOFError):
            while connection.poll():
                told.append(connection.recv())
        # Of the second after this: a kill between the witness and the ledger makes a new birth,
        # and that must not be what hides a claim that was lost.
        assert accepted(path, told, iat=NOW + 1) == []
        assert accepted(path, [f"after kill {run}"], iat=NOW + 1) == [f"after kill {run}"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_shares_the_ledger(cache: SQLiteReplayCache, clock: ManualClock) -> None:
    cache.claim(claim_of("the parent's"), clock())

    def in_the_child() -> bytes:
        cache.claim(claim_of("the child's"), clock())
        try:
            cache.claim(claim_of("the parent's"), clock())
        except TokenReplayed:
            return b"refused"
        return b"accepted"

    assert forked(in_the_child) == b"refused"
    with pytest.raises(TokenReplayed):
        cache.claim(claim_of("the child's"), clock())
    cache.claim(claim_of("another"), clock())


def test_of_forked_children_one_wins_each_token(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    def in_the_child() -> bytes:
        won = 0
        for number in range(100):
            try:
                cache.claim(claim_of(str(number)), clock())
            except TokenReplayed:
                continue
            won += 1
        return bytes([won])

    assert [forked(in_the_child) for _ in range(3)] == [b"\x64", b"\0", b"\0"]


def test_a_new_file_is_born_in_the_second_at_hand(make: Make, clock: ManualClock) -> None:
    clock.advance(0.9)
    cache = make()
    with pytest.raises(IssuedBeforeLedger):
        cache.claim(claim_of(iat=NOW - 1), clock())
    cache.claim(claim_of(iat=NOW), clock())


def test_after_a_boot_what_was_issued_before_is_refused(make: Make, clock: ManualClock) -> None:
    make(boot="one").close()
    clock.advance(30.5)
    cache = make(boot="two")
    for iat in (NOW, NOW + 30):
        with pytest.raises(IssuedBeforeLedger):
            cache.claim(claim_of(iat=iat), clock())
    cache.claim(claim_of(iat=NOW + 31), clock())


def test_a_clock_that_is_behind_after_a_boot_does_not_make_the_ledger_older(
    make: Make, clock: ManualClock
) -> None:
    make(boot="one").close()
    clock.set_back(86400)
    with pytest.raises(IssuedBeforeLedger):
        make(boot="two").claim(claim_of(iat=NOW - 1), clock())


def test_where_boots_have_no_name_a_restart_forgets_nothing_and_each_write_waits_for_the_disk(
    make: Make, clock: ManualClock
) -> None:
    make(boot=None).close()
    clock.advance(30)
    cache = make(boot=None)
    cache.claim(claim_of(), clock())
    ledger = cache._ledger
    assert ledger is not None
    assert ledger._one("PRAGMA synchronous") == 2


def restore_in_place(path: Path, backup: Path) -> None:
    shutil.copyfile(backup / path.name, path)


def restore_by_renaming(path: Path, backup: Path) -> None:
    copy = path.with_name("restored")
    shutil.copy2(backup / path.name, copy)
    copy.replace(path)


def restore_by_deleting_first(path: Path, backup: Path) -> None:
    path.unlink()
    shutil.copy2(backup / path.name, path)


def restore_the_directory(path: Path, backup: Path) -> None:
    shutil.rmtree(path.parent)
    shutil.copytree(backup, path.parent)


def restore_all_in_place(path: Path, backup: Path) -> None:
    for file in files_of(path):
        shutil.copyfile(backup / file.name, file)
        shutil.copystat(backup / file.name, file)


def lose_the_file(path: Path, _backup: Path) -> None:
    path.unlink()


def lose_the_witness(path: Path, _backup: Path) -> None:
    path.with_name(f"{path.name}-witness").unlink()


@pytest.mark.parametrize(
    "restore",
    [
        restore_in_place,
        restore_by_renaming,
        restore_by_deleting_first,
        restore_the_directory,
        restore_all_in_place,
        lose_the_file,
        lose_the_witness,
    ],
)
def test_what_was_put_back_or_lost_accepts_nothing_issued_before(
    restore: Callable[[Path, Path], None],
    make: Make,
    clock: ManualClock,
    path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    make().close()
    backup = tmp_path_factory.mktemp("backup") / "copy"
    shutil.copytree(path.parent, backup)
    cache = make()
    cache.claim(claim_of(), clock())
    cache.close()
    restore(path, backup)
    clock.advance(30)
    cache = make()
    with pytest.raises(IssuedBeforeLedger):
        cache.claim(claim_of(), clock())
    cache.claim(claim_of("new", iat=NOW + 31), clock())
    cache.close()
    with pytest.raises(TokenReplayed):
        make().claim(claim_of("new", iat=NOW + 31), clock())


@pytest.mark.parametrize("by", ["deleting", "replacing"])
def test_a_file_taken_from_under_a_cache_is_noticed(
    by: str, make: Make, clock: ManualClock, path: Path
) -> None:
    cache = make()
    copy = path.with_name("copy")
    cache.claim(claim_of(), clock())
    shutil.copyfile(path, copy)
    for file in files_of(path):
        file.unlink()
    if by == "replacing":
        copy.rename(path)
    clock.advance(1)
    with pytest.raises((IssuedBeforeLedger, TokenReplayed)):
        cache.claim(claim_of(), clock())
    cache.claim(claim_of("new", iat=NOW + 2), clock())
    with pytest.raises(TokenReplayed):
        make().claim(claim_of("new", iat=NOW + 2), clock())


def test_a_cache_whose_file_was_taken_does_not_spoil_the_new_one_when_it_closes(
    make: Make, clock: ManualClock, path: Path
) -> None:
    old = make()
    path.rename(path.with_name("moved"))
    new = make()
    killed, new._ledger = new._ledger, None
    assert killed is not None
    killed._connection.close()
    old.close()
    clock.advance(30)
    make().claim(claim_of(iat=NOW + 1), clock())


def test_a_system_that_does_not_name_its_boots_has_none(path: Path) -> None:
    assert this_boot(path) is None
    path.write_text("4d8a\n")
    assert this_boot(path) == "4d8a"


def test_an_id_is_kept_for_a_minute_past_its_end_and_then_makes_room(
    cache: SQLiteReplayCache, clock: ManualClock, path: Path
) -> None:
    cache.claim(claim_of(), clock())
    clock.advance(120 + 59)
    cache.claim(claim_of("two", exp=NOW + 300), clock())
    assert rows(path) == 2
    clock.advance(2)
    cache.claim(claim_of("three", exp=NOW + 300), clock())
    assert rows(path) == 2


def test_a_purge_drops_no_more_than_a_batch_at_a_time(
    cache: SQLiteReplayCache, clock: ManualClock, path: Path
) -> None:
    for number in range(600):
        cache.claim(claim_of(str(number), exp=NOW + 1 + number // 100), clock())
    clock.advance(100)
    left = []
    for number in range(4):
        cache.claim(claim_of(f"later {number}", exp=NOW + 300), clock())
        left.append(rows(path) - number - 1)
    assert left == [600 - 256, 600 - 512, 0, 0]


def test_a_clock_set_back_revives_nothing_even_after_a_restart(
    make: Make, clock: ManualClock
) -> None:
    cache = make()
    cache.claim(claim_of(), clock())
    clock.advance(4000)
    cache.claim(claim_of("later", iat=NOW + 4000, exp=NOW + 4100), clock())
    cache.close()
    clock.set_back(4000)
    with pytest.raises(IssuedBeforeLedger):
        make().claim(claim_of(), clock())


def test_after_a_clock_that_ran_ahead_only_what_is_forgotten_is_refused(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    cache.claim(claim_of(), clock())
    clock.advance(86400)
    cache.claim(claim_of("ahead", exp=NOW + 86500), clock())
    clock.set_back(86400)
    cache.claim(claim_of("new", exp=NOW + 121), clock())


def fill(cache: SQLiteReplayCache, clock: ManualClock, jtis: list[str]) -> None:
    for number in range(10_000):
        cache.claim(claim_of(str(number)), clock())
        jtis.append(str(number))


def test_a_full_ledger_accepts_nothing_until_there_is_room(make: Make, clock: ManualClock) -> None:
    cache = make(max_bytes=65_536)
    jtis: list[str] = []
    with pytest.raises(ReplayCacheUnavailable) as caught:
        fill(cache, clock, jtis)
    assert caught.value.cause_code == "full"
    assert 300 < len(jtis) < 2000
    with pytest.raises(TokenReplayed):
        cache.claim(claim_of(jtis[0]), clock())
    clock.advance(181)
    for jti in jtis:
        cache.claim(claim_of(f"then {jti}", exp=NOW + 300), clock())


def test_a_full_disk_accepts_nothing_and_forgets_nothing(path: Path) -> None:
    process, connection = start(fixtures_claiming.fill_a_small_disk, path, 200_000)
    jtis, cause = connection.recv()
    assert connection.recv() == "recovered"
    process.join(10)
    assert cause in {"full", "io_failed"}
    assert len(jtis) > 10
    assert accepted(path, jtis) == []


def test_a_file_that_may_only_be_read_accepts_nothing() -> None:
    # Not under tmp_path, which another user may not enter.
    directory = Path(tempfile.mkdtemp())
    try:
        path = directory / "ledger.db"
        SQLiteReplayCache(path).close()
        for file in files_of(path):
            file.chmod(0o444)
        directory.chmod(0o555)
        process, connection = start(fixtures_claiming.open_as_nobody, path)
        assert connection.recv() in {"read_only", "not_openable"}
        process.join(10)
    finally:
        directory.chmod(0o700)
        shutil.rmtree(directory)


def test_a_file_of_a_newer_release_is_left_alone(make: Make, path: Path) -> None:
    make().close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    assert cause_of(make) == "newer_format"


def test_a_database_of_another_kind_is_left_alone(make: Make, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE signing_keys (kid TEXT)")
    connection.close()
    before = path.read_bytes()
    assert cause_of(make) == "not_a_ledger"
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(make: Make, path: Path) -> None:
    path.write_bytes(b"notes" * 1000)
    assert cause_of(make) == "corrupt"
    assert path.read_bytes() == b"notes" * 1000


@pytest.mark.parametrize("name", ["missing/ledger.db", "."])
def test_a_place_where_no_file_can_be_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ReplayCacheUnavailable, match=str(tmp_path)) as caught:
        SQLiteReplayCache(tmp_path / name)
    assert caught.value.cause_code == "not_openable"


def cause_of(make: Make) -> str:
    with pytest.raises(ReplayCacheUnavailable) as caught:
        make()
    return caught.value.cause_code


def test_a_damaged_file_is_opened_anew_once_it_is_whole(
    make: Make, clock: ManualClock, path: Path
) -> None:
    cache = make()
    for number in range(300):
        cache.claim(claim_of(str(number)), clock())
    cache.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(ReplayCacheUnavailable) as caught:
        cache.claim(claim_of("0"), clock())
    assert caught.value.cause_code == "corrupt"
    path.write_bytes(whole)
    with pytest.raises((IssuedBeforeLedger, TokenReplayed)):
        cache.claim(claim_of("0"), clock())


@pytest.fixture
def held(make: Make, path: Path) -> Iterator[SQLiteReplayCache]:
    """A cache whose file another process keeps writing to."""
    cache = make(deadline=0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield cache
    other.execute("ROLLBACK")
    other.close()


def test_a_claim_waits_no_longer_than_its_deadline(
    held: SQLiteReplayCache, clock: ManualClock
) -> None:
    with pytest.raises(ReplayCacheUnavailable) as caught:
        held.claim(claim_of(), clock())
    assert caught.value.cause_code == "timeout"


@pytest.mark.anyio
async def test_a_task_waits_no_longer_than_that_either(
    held: SQLiteReplayCache, clock: ManualClock
) -> None:
    causes: list[str] = []

    async def show(jti: str) -> None:
        with pytest.raises(ReplayCacheUnavailable) as caught:
            await held.claim_async(claim_of(jti), clock())
        causes.append(caught.value.cause_code)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for jti in "abc":
                group.start_soon(show, jti)
    assert causes == ["timeout"] * 3


def test_a_thread_waits_for_another_no_longer_than_that(make: Make, clock: ManualClock) -> None:
    cache = make(deadline=0.05)
    with cache._lock, pytest.raises(ReplayCacheUnavailable) as caught:
        cache.claim(claim_of(), clock())
    assert caught.value.cause_code == "timeout"


def test_only_its_owner_may_look_into_it(
    cache: SQLiteReplayCache, clock: ManualClock, path: Path
) -> None:
    cache.claim(claim_of(), clock())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files_of(path)} == {0o600}
    assert [file.name for file in files_of(path)] == [
        "ledger.db",
        "ledger.db-shm",
        "ledger.db-wal",
        "ledger.db-witness",
    ]


def test_a_change_of_directory_does_not_change_the_file(
    path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    cache = SQLiteReplayCache(path.name)
    cache.close()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    cache.claim(claim_of(iat=2**40), ManualClock()())
    cache.close()
    assert rows(path) == 1
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": ""},
        {"path": ":memory:"},
        {"path": "a\0b"},
        {"path": 7},
        {"path": "x", "deadline": 0},
        {"path": "x", "deadline": 61},
        {"path": "x", "deadline": True},
        {"path": "x", "max_bytes": 1000},
        {"path": "x", "max_bytes": 1e9},
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        SQLiteReplayCache(**arguments)  # type: ignore[arg-type]


def test_a_verifier_says_that_its_tokens_are_accepted_once_on_this_host(
    cache: SQLiteReplayCache, clock: ManualClock, path: Path
) -> None:
    key = signing_key("ES256")
    verifier = verifier_of(key, clock=clock, replay_cache=cache)
    raw = mint(key)
    assert verifier.verify(raw).client_id == "orders"
    with pytest.raises(TokenReplayed):
        verifier.verify(raw)
    assert verifier.status().accepted_once == "host"
    assert repr(cache) == f"SQLiteReplayCache('{path}')"
