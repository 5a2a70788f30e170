from __future__ import annotations

import stat
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import WHOLE, WITH_KEYS, apply_text, stored, write_keys

from ephemera_issuer.database import Database, open_database
from ephemera_issuer.errors import DatabaseUnusable, RollRefused, SecretFileProblem, UnknownClient
from ephemera_issuer.registry import clients
from ephemera_issuer.registry.clients import drop_secret, roll_secret, set_disabled
from ephemera_issuer.registry.secrets import SecretsDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def database() -> Iterator[Database]:
    with closing(open_database("sqlite://", create=True)) as opened:
        yield opened


@pytest.fixture
def applied(database: Database, tmp_path: Path) -> Database:
    apply_text(database, tmp_path, WHOLE)
    return database


@pytest.fixture
def secrets(tmp_path: Path) -> SecretsDirectory:
    return SecretsDirectory(tmp_path / "secrets", reuse=False)


def digest(file: Path) -> bytes:
    return sha256(file.read_bytes()).digest()


def hashes(database: Database) -> tuple[bytes, ...]:
    return stored(database).clients["orders"].secret_hashes


def test_a_client_is_disabled_and_enabled(applied: Database) -> None:
    before = stored(applied)
    assert set_disabled(applied, "orders", disabled=True)
    assert not set_disabled(applied, "orders", disabled=True)
    disabled = stored(applied, before)
    assert disabled.clients["orders"].disabled
    assert disabled.version == before.version + 1
    assert set_disabled(applied, "orders", disabled=False)
    assert stored(applied).clients == before.clients


def test_an_unknown_client_is_told_one_that_is_near(
    applied: Database, secrets: SecretsDirectory
) -> None:
    for change in (
        lambda: set_disabled(applied, "order", disabled=True),
        lambda: roll_secret(applied, "order", secrets),
        lambda: drop_secret(applied, "order", oldest=True),
    ):
        with pytest.raises(UnknownClient, match="no client order; did you mean orders"):
            change()


def test_a_rolled_secret_is_the_second_and_takes_the_place_of_the_file(
    applied: Database, tmp_path: Path, secrets: SecretsDirectory
) -> None:
    file = tmp_path / "secrets" / "orders.secret"
    first = digest(file)
    assert roll_secret(applied, "orders", secrets) == file
    assert hashes(applied) == (first, digest(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["orders.secret"]


def test_an_apply_in_the_middle_of_a_roll_keeps_both_secrets(
    applied: Database, tmp_path: Path, secrets: SecretsDirectory
) -> None:
    roll_secret(applied, "orders", secrets)
    both = hashes(applied)
    assert apply_text(applied, tmp_path, WHOLE).changes == ()
    assert hashes(applied) == both


@pytest.mark.parametrize(("oldest", "kept"), [(True, 1), (False, 0)])
def test_a_roll_is_ended_by_dropping_the_oldest_or_given_up_by_dropping_the_newest(
    applied: Database, secrets: SecretsDirectory, *, oldest: bool, kept: int
) -> None:
    roll_secret(applied, "orders", secrets)
    both = hashes(applied)
    drop_secret(applied, "orders", oldest=oldest)
    assert hashes(applied) == (both[kept],)


def test_a_third_credential_is_refused(applied: Database, secrets: SecretsDirectory) -> None:
    roll_secret(applied, "orders", secrets)
    both = hashes(applied)
    with pytest.raises(RollRefused, match="orders has 2 live credentials already"):
        roll_secret(applied, "orders", secrets)
    assert hashes(applied) == both


def test_the_only_secret_is_not_dropped(applied: Database) -> None:
    with pytest.raises(RollRefused, match="orders has one secret only"):
        drop_secret(applied, "orders", oldest=True)
    assert len(hashes(applied)) == 1


def test_a_client_with_keys_has_no_secret_to_roll_or_drop(
    database: Database, tmp_path: Path, secrets: SecretsDirectory
) -> None:
    write_keys(tmp_path / "orders.jwks.json", "k1")
    apply_text(database, tmp_path, WITH_KEYS)
    with pytest.raises(RollRefused, match="has no secret; its keys are rolled where"):
        roll_secret(database, "orders", secrets)
    with pytest.raises(RollRefused, match="has no secret"):
        drop_secret(database, "orders", oldest=True)


def test_a_file_that_holds_no_live_secret_is_not_replaced(
    applied: Database, tmp_path: Path, secrets: SecretsDirectory
) -> None:
    file = tmp_path / "secrets" / "orders.secret"
    file.write_text("another client's, perhaps")
    with pytest.raises(SecretFileProblem, match="holds no live secret of this client"):
        roll_secret(applied, "orders", secrets)
    assert file.read_text() == "another client's, perhaps"
    assert len(hashes(applied)) == 1


def test_a_roll_that_fails_leaves_the_secret_that_was_there(
    applied: Database, tmp_path: Path, secrets: SecretsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secrets" / "orders.secret"
    before = digest(file)

    def fail(*_: object) -> int:
        raise DatabaseUnusable("the disk is full")

    monkeypatch.setattr(clients, "write_changes", fail)
    with pytest.raises(DatabaseUnusable, match="full"):
        roll_secret(applied, "orders", secrets)
    assert [entry.name for entry in file.parent.iterdir()] == ["orders.secret"]
    assert (digest(file),) == hashes(applied) == (before,)


def test_a_roll_that_was_killed_after_its_commit_is_finished_by_the_next_command(
    applied: Database, tmp_path: Path, secrets: SecretsDirectory
) -> None:
    file = tmp_path / "secrets" / "orders.secret"
    old = file.read_bytes()
    roll_secret(applied, "orders", secrets)
    file.rename(tmp_path / "secrets" / "orders.secret.new")  # as if killed before the renaming
    file.write_bytes(old)
    apply_text(applied, tmp_path, WHOLE)
    assert digest(file) == hashes(applied)[1]
