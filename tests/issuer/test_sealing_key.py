from __future__ import annotations

import stat
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import new_database

from ephemera_issuer.database import open_database
from ephemera_issuer.errors import SealingKeyProblem
from ephemera_issuer.rotation import SigningKeys
from ephemera_issuer.sealing_key import open_sealing_keys
from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0


def test_beside_a_new_database_the_sealing_key_is_made(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        made = open_sealing_keys(database, file=None)
        file = tmp_path / "ephemera.sealing-key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert open_sealing_keys(database, file=None).fingerprints == made.fingerprints
        assert SealingKeys.load(file).fingerprints == made.fingerprints


def test_another_place_for_it_can_be_named(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        open_sealing_keys(database, file=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "ephemera.sealing-key").exists()


def test_in_memory_no_file_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(open_database("sqlite://", create=True)) as database:
        open_sealing_keys(database, file=None)
    assert list(tmp_path.iterdir()) == []


def test_where_keys_are_sealed_a_missing_sealing_key_is_never_made_anew(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        sealing_keys = open_sealing_keys(database, file=None)
        SigningKeys(
            database=database, sealing_keys=sealing_keys, issuer="https://tokens.internal"
        ).make_first("ES256", now=NOW)
        file = tmp_path / "ephemera.sealing-key"
        file.unlink()
        with pytest.raises(SealingKeyProblem, match=r"ephemera\.sealing-key: No such file"):
            open_sealing_keys(database, file=None)
        assert not file.exists()


@pytest.mark.parametrize("content", ["not a key", "# a comment alone"])
def test_a_file_that_holds_no_key_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ephemera.sealing-key"
    file.write_text(content)
    file.chmod(0o600)
    with (
        closing(new_database(tmp_path)) as database,
        pytest.raises(SealingKeyProblem, match=r"ephemera\.sealing-key"),
    ):
        open_sealing_keys(database, file=None)
    assert file.read_text() == content


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        open_sealing_keys(database, file=None)
        (tmp_path / "ephemera.sealing-key").chmod(0o640)
        with pytest.raises(SealingKeyProblem, match="chmod it to 0600"):
            open_sealing_keys(database, file=None)


@pytest.mark.parametrize(
    ("name", "reason"), [("absent/key", "No such file"), ("x" * 300, "File name too long")]
)
def test_a_place_where_none_can_be_made_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with (
        closing(new_database(tmp_path)) as database,
        pytest.raises(SealingKeyProblem, match=reason),
    ):
        open_sealing_keys(database, file=tmp_path / name)


def test_an_empty_file_of_a_killed_first_start_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "ephemera.sealing-key").touch(mode=0o600)
    with closing(new_database(tmp_path)) as database:
        open_sealing_keys(database, file=None)
        open_sealing_keys(database, file=None)


@pytest.mark.parametrize("attempt", range(5))
def test_first_starts_at_once_agree_on_one_sealing_key(tmp_path: Path, attempt: int) -> None:
    del attempt
    together = threading.Barrier(3)
    fingerprints: list[tuple[str, ...]] = []

    def start() -> None:
        with closing(new_database(tmp_path)) as database:
            together.wait()
            fingerprints.append(open_sealing_keys(database, file=None).fingerprints)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fingerprints) == 3
    assert len(set(fingerprints)) == 1
