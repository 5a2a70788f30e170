from __future__ import annotations

import multiprocessing
import random
import stat
import threading
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import (
    WHOLE,
    apply_numbers,
    apply_text,
    new_database,
    number_of,
    numbered,
    stored,
)

from ephemera_issuer.database import Database, open_database
from ephemera_issuer.errors import (
    DatabaseUnusable,
    RegistryInvalid,
    SecretFileProblem,
)
from ephemera_issuer.registry import application
from ephemera_issuer.registry.application import apply
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.registry.secrets import SecretsDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def database() -> Iterator[Database]:
    with closing(open_database("sqlite://", create=True)) as opened:
        yield opened


def secret_in(file: Path) -> bytes:
    secret = file.read_bytes()
    assert len(secret) == 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return sha256(secret).digest()


def files_in(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def test_a_new_client_gets_a_secret_of_which_only_the_digest_is_kept(
    database: Database, tmp_path: Path
) -> None:
    applied = apply_text(database, tmp_path, WHOLE)
    file = tmp_path / "secrets" / "orders.secret"
    assert applied.secret_files == {"orders": file}
    assert stored(database).clients["orders"].secret_hashes == (secret_in(file),)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_applying_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    first = apply_text(database, tmp_path, WHOLE)
    secret = secret_in(tmp_path / "secrets" / "orders.secret")
    again = apply(database, read_files(tmp_path / "registry.toml"), prune=True, secrets=None)
    assert again == ((), first.version, {})
    assert secret_in(tmp_path / "secrets" / "orders.secret") == secret


def test_a_secret_without_a_place_for_it_is_refused(database: Database, tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text(WHOLE)
    with pytest.raises(SecretFileProblem, match=r"for orders: .* --secrets-dir"):
        apply(database, read_files(tmp_path / "registry.toml"), prune=False, secrets=None)
    assert stored(database).version == 0


def test_a_refused_file_leaves_no_trace(database: Database, tmp_path: Path) -> None:
    with pytest.raises(RegistryInvalid):
        apply_text(database, tmp_path, WHOLE.replace('client = "orders"', 'client = "stock"'))
    assert stored(database).version == 0
    assert not (tmp_path / "secrets").exists()


def test_a_secret_that_cannot_be_written_stops_everything(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "secrets").write_text("a file is in the way")
    with pytest.raises(SecretFileProblem, match="secrets: File exists"):
        apply_text(database, tmp_path, WHOLE)
    assert stored(database).version == 0


def test_a_failure_after_the_secret_was_made_removes_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise DatabaseUnusable("the disk is full")

    monkeypatch.setattr(application, "write_changes", fail)
    with pytest.raises(DatabaseUnusable, match="full"):
        apply_text(database, tmp_path, WHOLE)
    assert files_in(tmp_path / "secrets") == []
    assert stored(database).version == 0


def test_a_secret_file_of_a_former_client_is_not_taken_unasked(
    database: Database, tmp_path: Path
) -> None:
    apply_text(database, tmp_path, WHOLE)
    digests = stored(database).clients["orders"].secret_hashes
    apply_text(database, tmp_path, "", prune=True)
    two = WHOLE + '[[clients]]\nid = "aaa"\nsecret = "generate"'
    with pytest.raises(SecretFileProblem, match=r"orders\.secret: is there already"):
        apply_text(database, tmp_path, two)
    assert files_in(tmp_path / "secrets") == ["orders.secret"]
    apply_text(database, tmp_path, WHOLE, reuse=True)
    assert stored(database).clients["orders"].secret_hashes == digests


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [("x" * 43, 0o644, "others can read it"), ("x" * 42, 0o600, "does not hold a generated")],
)
def test_a_file_that_is_no_kept_secret_is_not_reused(
    database: Database, tmp_path: Path, content: str, mode: int, reason: str
) -> None:
    file = tmp_path / "secrets" / "orders.secret"
    file.parent.mkdir()
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(SecretFileProblem, match=reason) as caught:
        apply_text(database, tmp_path, WHOLE, reuse=True)
    assert content not in str(caught.value)
    assert stored(database).version == 0


def test_a_secret_left_before_the_commit_is_replaced_and_after_it_is_kept(
    database: Database, tmp_path: Path
) -> None:
    secrets = SecretsDirectory(tmp_path / "secrets", reuse=False)
    secrets.prepare("orders")  # and killed
    apply_text(database, tmp_path, WHOLE)
    file = tmp_path / "secrets" / "orders.secret"
    digest = secret_in(file)
    assert stored(database).clients["orders"].secret_hashes == (digest,)
    file.rename(tmp_path / "secrets" / "orders.secret.new")  # as if killed before the renaming
    apply_text(database, tmp_path, WHOLE)
    assert files_in(tmp_path / "secrets") == ["orders.secret"]
    assert secret_in(file) == digest


def test_a_committed_secret_that_cannot_get_its_name_stays_and_is_told(
    database: Database, tmp_path: Path
) -> None:
    apply_text(database, tmp_path, WHOLE)
    file = tmp_path / "secrets" / "orders.secret"
    file.rename(tmp_path / "secrets" / "orders.secret.new")
    file.mkdir()
    with pytest.raises(SecretFileProblem, match="it is in force, rename it"):
        apply_text(database, tmp_path, WHOLE)
    assert files_in(tmp_path / "secrets") == ["orders.secret", "orders.secret.new"]


def test_of_many_that_apply_at_once_each_is_done_whole(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def work(first: int) -> None:
        directory = tmp_path / str(first)
        directory.mkdir()
        with closing(new_database(tmp_path)) as database:
            together.wait()
            for number in range(first, 40, 4):
                apply_text(database, directory, numbered(number), prune=True)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(new_database(tmp_path)) as database:
        held = stored(database)
    assert number_of(held) in {36, 37, 38, 39}
    assert held.version == 40


@pytest.mark.parametrize("attempt", range(8))
def test_the_same_file_applied_twice_at_once_makes_one_secret(tmp_path: Path, attempt: int) -> None:
    del attempt
    (tmp_path / "registry.toml").write_text(WHOLE)
    declared = read_files(tmp_path / "registry.toml")
    together = threading.Barrier(2)
    made: list[int] = []

    def work() -> None:
        with closing(new_database(tmp_path)) as database:
            secrets = SecretsDirectory(tmp_path / "secrets", reuse=False)
            together.wait()
            applied = apply(database, declared, prune=False, secrets=secrets)
            made.append(len(applied.secret_files))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [0, 1]
    with closing(new_database(tmp_path)) as database:
        (digest,) = stored(database).clients["orders"].secret_hashes
    assert files_in(tmp_path / "secrets") == ["orders.secret"]
    assert secret_in(tmp_path / "secrets" / "orders.secret") == digest


def test_killed_at_any_moment_the_old_or_the_new_registry_is_there_whole(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["ephemera_issuer.registry.application"])
    moments = random.Random(20260101)  # noqa: S311 - moments, not secrets
    held = 0
    for attempt in range(12):
        receiver, sender = processes.Pipe(duplex=False)
        process = processes.Process(
            target=apply_numbers, args=(tmp_path, sender, attempt * 1_000_000 + 1)
        )
        process.start()
        receiver.recv()
        process.join(moments.uniform(0, 0.04))
        process.kill()
        process.join()
        process.close()
        receiver.close()
        sender.close()
        with closing(new_database(tmp_path)) as database:
            number = number_of(stored(database))
            assert number > held
            held = number
            secrets = SecretsDirectory(tmp_path / "secrets", reuse=False)
            with database.write():
                secrets.settle(stored_clients := stored(database).clients)
            digest = secret_in(tmp_path / "secrets" / f"c{number}.secret")
            assert stored_clients[f"c{number}"].secret_hashes == (digest,)
