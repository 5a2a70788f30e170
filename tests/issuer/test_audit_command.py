from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_auditing import InFiles, bodies
from issuer.fixtures_minting import NOW

from ephemera_issuer.audit import record
from ephemera_issuer.audit.files import FileSink
from ephemera_issuer.audit.record import KINDS
from ephemera_issuer.revocation.entries import CutOff, RevokedToken

if TYPE_CHECKING:
    from issuer.fixtures_commands import Run


@pytest.fixture
def command(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, with an audit of two streams."""
    monkeypatch.setenv("EPHEMERA_AUDIT", "file:audit")
    events = [
        RevokedToken("leaked", "orders", 1, 2),
        CutOff("orders", "https://billing.internal", 7),
        CutOff("reports", None, 8),
        CutOff(None, "https://billing.internal", 9),
    ]
    with (
        closing(FileSink(Path("audit"))) as one,
        closing(FileSink(Path("audit"))) as other,
    ):
        for number, event in enumerate(events):
            at = NOW.wall + 60 * number
            (one, other)[number % 2].append([record.done(event, at=at, by="local:ada")])
    return run


def found(command: Run, *arguments: str) -> list[str]:
    out, _ = command("audit", "search", "--json", *arguments)
    return [f"{told['stream']}:{told['sequence']}" for told in map(json.loads, out.splitlines())]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["1:1", "2:1", "1:2", "2:2"]),
        (["--client", "orders"], ["1:1", "2:1"]),
        (["--audience", "https://billing.internal"], ["2:1", "2:2"]),
        (["--client", "orders", "--audience", "https://billing.internal"], ["2:1"]),
        (["--jti", "leaked"], ["1:1"]),
        (["--jti", "other"], []),
        (["--kind", "revoked"], ["1:1", "2:1", "1:2", "2:2"]),
        (["--kind", "minted"], []),
        (["--since", "2027-01-15T08:02:00Z"], ["1:2", "2:2"]),
        (["--until", "2027-01-15T08:01:00+00:00"], ["1:1"]),
    ],
)
def test_records_are_found_by_what_they_tell_in_the_order_of_their_time(
    command: Run, arguments: list[str], expected: list[str]
) -> None:
    assert found(command, *arguments) == expected


def test_a_time_without_a_zone_is_refused(command: Run) -> None:
    _, err = command("audit", "search", "--since", "2027-01-15T08:02:00", status=2)
    assert "must be a time with its zone" in err


def test_people_read_a_record_on_a_line(command: Run) -> None:
    out, _ = command("audit", "tail", "-n", "1")
    assert out == (
        "2027-01-15T08:03:00Z  2:2  revoked  "
        "by=local:ada audience=https://billing.internal cut_off=9\n"
    )


@pytest.mark.parametrize(("number", "expected"), [(0, []), (3, ["2:1", "1:2", "2:2"]), (9, None)])
def test_the_tail_is_the_last_records_of_all_streams(
    command: Run, number: int, expected: list[str] | None
) -> None:
    out, _ = command("audit", "tail", "-n", str(number), "--json")
    told = [json.loads(line) for line in out.splitlines()]
    places = [f"{each['stream']}:{each['sequence']}" for each in told]
    assert places == (["1:1", "2:1", "1:2", "2:2"] if expected is None else expected)


def test_following_the_tail_shows_what_comes_also_in_a_new_stream(
    command: Run, directory: Path
) -> None:
    assert command
    with subprocess.Popen(
        [sys.executable, "-m", "ephemera_issuer", "audit", "tail", "--follow", "-n", "1"],
        cwd=directory,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A shell has what it starts in the background ignore it, and that is inherited.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as following:
        assert following.stdout
        assert "2:2  revoked" in following.stdout.readline()
        with (
            closing(FileSink(Path("audit"))) as one,
            closing(FileSink(Path("audit"))),
            closing(FileSink(Path("audit"))) as third,
        ):
            one.append(bodies(1))
            third.append(bodies(1))
            told = [following.stdout.readline() for _ in range(2)]
        following.send_signal(signal.SIGINT)
        following.wait(30)
    assert sorted(line.split()[1] for line in told) == ["1:3", "3:1"]


def test_verify_tells_of_each_stream_and_its_status_is_1_where_one_is_broken(
    command: Run,
) -> None:
    out, _ = command("audit", "verify")
    assert out == "stream 1: 2 records: whole\nstream 2: 2 records: whole\n"
    whole = command.json("audit", "verify")
    assert whole["whole"]
    assert whole["records"] == 4
    kept = InFiles(Path("audit"))
    kept.put([line.replace(b"ada", b"eve") for line in kept.lines()])
    out, err = command("audit", "verify", status=1)
    assert out == "stream 1: 2 records: BROKEN\nstream 2: 2 records: whole\n"
    assert "record 1 was changed" in err
    broken = command.json("audit", "verify", status=1)
    assert not broken["whole"]
    assert [bool(stream["problems"]) for stream in broken["streams"]] == [True, False]


def test_a_head_that_was_kept_elsewhere_finds_what_was_cut_off(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = command("audit", "head")
    assert [line.split()[:2] for line in out.splitlines()] == [["1", "2"], ["2", "2"]]
    Path("heads.txt").write_text(out)
    command("audit", "verify", "--anchor", "heads.txt")
    kept = InFiles(Path("audit"))
    kept.put(kept.lines()[:1])
    command("audit", "verify")
    _, err = command("audit", "verify", "--anchor", "heads.txt", status=1)
    assert "1: ends with record 1, and heads.txt has seen record 2" in err
    with Path("heads.txt").open() as heads:
        monkeypatch.setattr(sys, "stdin", heads)
        _, err = command("audit", "verify", "--anchor", "-", status=1)
    assert "the anchor has seen record 2" in err


def test_anchors_that_cannot_be_read_are_told(command: Run) -> None:
    _, err = command("audit", "verify", "--anchor", "absent.txt", status=1)
    assert "absent.txt: No such file or directory" in err
    Path("heads.txt").write_bytes(b"\xff\n")
    _, err = command("audit", "verify", "--anchor", "heads.txt", status=1)
    assert "is not what `ephemera audit head` prints" in err


def test_another_audit_than_that_of_the_settings_can_be_named(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EPHEMERA_AUDIT")
    command("audit", "verify", status=1)
    command("audit", "verify", "--audit", "file:audit")
    _, err = command("audit", "verify", "--audit", "file:elsewhere", status=1)
    assert "there is no directory elsewhere" in err
    _, err = command("audit", "verify", "--audit", "syslog", status=1)
    assert "EPHEMERA_AUDIT: must be off, file:DIR or database" in err


def test_an_empty_directory_has_nothing_wrong_and_nothing_to_tell(command: Run) -> None:
    Path("new").mkdir()
    assert command("audit", "verify", "--audit", "file:new") == ("", "")
    assert command("audit", "tail", "--audit", "file:new") == ("", "")


def test_each_kind_is_named_once() -> None:
    assert len(set(KINDS)) == len(KINDS)
