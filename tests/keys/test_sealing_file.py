import os
import stat
from pathlib import Path

import pytest

from ephemera_keys import SealingKey, SealingKeyInvalid, SealingKeys
from ephemera_keys.sealing_file import exposure

ONE, OTHER = SealingKey(bytes(32)), SealingKey(bytes(range(32)))
ROOT, US, THEM = 0, 1000, 1001


def file_with(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ephemera.sealing-key"


def test_a_new_file_is_its_owners_alone_and_loads_as_the_same_key(path: Path) -> None:
    made = SealingKeys.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SealingKeys.load(path).fingerprints == made.fingerprints
    assert SealingKeys.load(str(path)).fingerprints == made.fingerprints


def test_a_new_file_is_its_owners_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        SealingKeys.create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_never_written_over(path: Path) -> None:
    file_with(path, "mine")
    with pytest.raises(SealingKeyInvalid, match="File exists"):
        SealingKeys.create(path)
    assert path.read_text() == "mine"


def test_not_even_through_a_symbolic_link(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SealingKeyInvalid, match="File exists"):
        SealingKeys.create(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SealingKeyInvalid, match="missing/key: No such file or directory"):
        SealingKeys.create(tmp_path / "missing" / "key")


def test_a_file_that_did_not_reach_the_disk_is_taken_away(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SealingKeyInvalid, match="No space left on device"):
        SealingKeys.create(path)
    assert not path.exists()


def test_comments_and_blank_lines_do_not_count(path: Path) -> None:
    content = f"# neu, März\r\n\r\n  {ONE.reveal()}  \r\n\n# old\n{OTHER.reveal()}"
    keys = SealingKeys.load(file_with(path, content))
    assert keys.fingerprints == (ONE.fingerprint, OTHER.fingerprint)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "there is no sealing key"),
        ("# only a comment\n\n", "there is no sealing key"),
        (ONE.reveal() + "\n" + ONE.reveal(), "there twice"),
        (f"# new\n{ONE.reveal()}\n{OTHER.reveal()[:-1]}\n", "line 3: a sealing key is written"),
        (f"{ONE.reveal()} # inline\n", "line 1: a sealing key is written"),
        (f"{ONE.reveal()},{OTHER.reveal()}\n", "line 1: a sealing key is written"),
        ("\ufeff" + ONE.reveal(), "line 1: a sealing key is written"),
        (ONE.reveal().encode("utf-16"), "not a UTF-8 text"),
        (bytes(32), "line 1: a sealing key is written"),
        (b"\xff" * 32, "not a UTF-8 text"),
        (ONE.reveal().encode() + b"\xff", "not a UTF-8 text"),
        ("#" * 70_000, "over 65536 bytes"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_line_and_quoted_nowhere(
    path: Path, content: str | bytes, reason: str
) -> None:
    with pytest.raises(SealingKeyInvalid, match=reason) as refusal:
        SealingKeys.load(file_with(path, content))
    context = refusal.value.__context__
    said = f"{refusal.value!r} {refusal.value.__cause__!r} {context!r}"
    assert str(path) in said
    assert not isinstance(context, UnicodeError)  # it would hold what it could not decode
    assert "AAAAAAAA" not in said
    assert "AAECAwQF" not in said


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o777])
def test_a_file_that_others_can_get_at_is_refused(path: Path, mode: int) -> None:
    file_with(path, ONE.reveal(), mode)
    with pytest.raises(SealingKeyInvalid, match=f"its mode is {mode:04o}; chmod it to 0600"):
        SealingKeys.load(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_that_only_its_owner_can_read_is_taken(path: Path, mode: int) -> None:
    assert SealingKeys.load(file_with(path, ONE.reveal(), mode)).fingerprints == (ONE.fingerprint,)


@pytest.mark.parametrize(
    ("owner", "mode", "verdict"),
    [
        (US, 0o600, "taken"),
        (US, 0o640, "refused"),
        (ROOT, 0o400, "taken"),
        (ROOT, 0o440, "taken"),
        (ROOT, 0o640, "taken"),
        (ROOT, 0o660, "refused"),
        (ROOT, 0o644, "refused"),
        (THEM, 0o600, "refused"),
        (THEM, 0o640, "refused"),
    ],
)
def test_root_may_hand_a_file_to_us_by_a_group_and_nobody_else_may(
    owner: int, mode: int, verdict: str
) -> None:
    status = os.stat_result((stat.S_IFREG | mode, 0, 0, 1, owner, US, 0, 0, 0, 0))
    assert (exposure(status, reader=US) is None) == (verdict == "taken")


def test_a_missing_file_a_directory_and_a_pipe_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(SealingKeyInvalid, match="No such file or directory"):
        SealingKeys.load(path)
    with pytest.raises(SealingKeyInvalid, match="not a regular file"):
        SealingKeys.load(tmp_path)
    os.mkfifo(path, 0o600)
    with pytest.raises(SealingKeyInvalid, match="not a regular file"):
        SealingKeys.load(path)


def test_a_link_to_a_good_file_is_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(file_with(tmp_path / "mounted", ONE.reveal()))
    assert SealingKeys.load(path).fingerprints == (ONE.fingerprint,)
