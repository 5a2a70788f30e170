from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_auditing import InFiles, bodies, filled, members

from ephemera_issuer.audit.chain import BEGINNING
from ephemera_issuer.audit.files import FileSink, FileSource
from ephemera_issuer.audit.verification import verify
from ephemera_issuer.errors import AuditNotWritten, AuditUnusable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kept(tmp_path: Path) -> InFiles:
    return InFiles(tmp_path / "audit")


def segments(kept: InFiles) -> list[Path]:
    return sorted((kept.directory / "1").glob("*.jsonl"))


def is_whole(kept: InFiles) -> bool:
    return all(not stream.problems for stream in verify(kept.source()))


def test_records_are_for_their_owner_alone(kept: InFiles) -> None:
    filled(kept, 3)
    for path in [kept.directory, kept.directory / "1"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (kept.directory / "1").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_stream_goes_on_where_the_last_process_left_it(kept: InFiles) -> None:
    filled(kept, 5)
    filled(kept, 5)
    assert [told["sequence"] for told in members(kept.source())] == list(range(1, 11))
    assert is_whole(kept)


def test_a_long_stream_is_in_segments_named_for_their_first_record(tmp_path: Path) -> None:
    kept = InFiles(tmp_path / "audit", segment=600)
    filled(kept, 20, batch=2)
    found = segments(kept)
    assert len(found) > 3
    firsts = [json.loads(path.read_bytes().splitlines()[0])["sequence"] for path in found]
    assert [int(path.stem) for path in found] == firsts
    filled(kept, 3)
    assert is_whole(kept)
    # From the segment on that holds the next one.
    told = [json.loads(line.text)["sequence"] for line in kept.source().lines("1", after=14)]
    assert told[-1] == 23
    assert firsts[0] < told[0] <= 15


def test_an_empty_segment_is_gone_on_with(kept: InFiles) -> None:
    filled(kept, 5)
    (kept.directory / "1" / f"{6:016d}.jsonl").touch()
    filled(kept, 2)
    assert is_whole(kept)
    assert len(kept.lines()) == 7


def test_processes_at_once_have_a_stream_each_and_know_of_the_others(kept: InFiles) -> None:
    with closing(kept.sink()) as one, closing(kept.sink()) as other:
        one.append(bodies(2))
        other.append(bodies(3))
        assert FileSource(kept.directory).streams() == ["1", "2"]
        with closing(kept.sink()) as third:
            heads = {name: FileSource(kept.directory).head(name) for name in "12"}
            assert third.facts["others"] == {
                name: [head.sequence, head.digest.hex()] for name, head in heads.items()
            }
    # They have ended, so their streams are free.
    with closing(kept.sink()) as again:
        again.append(bodies(1))
    assert FileSource(kept.directory).head("1").sequence == 3
    assert is_whole(kept)


@pytest.mark.parametrize("lost", [1, 40, 100])
def test_a_line_that_was_torn_is_taken_away_and_told_of(kept: InFiles, lost: int) -> None:
    filled(kept, 3)
    (segment,) = segments(kept)
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-lost])
    (before,) = verify(kept.source())
    assert (before.lines, before.incomplete, before.problems) == (2, True, ())
    torn = segment.read_bytes().rpartition(b"\n")[2]
    with closing(kept.sink()) as sink:
        assert sink.facts["torn"] == {"bytes": len(torn), "text": torn.decode()}
        assert sink.facts["after"] == "a process that did not end in order"
        # Until that is on record, the evidence stays.
        assert segment.read_bytes() == whole[:-lost]
        sink.append(bodies(2, first=3))
    (after,) = verify(kept.source())
    assert (after.lines, after.incomplete, after.problems) == (4, False, ())


def test_a_torn_first_line_leaves_the_beginning(kept: InFiles) -> None:
    filled(kept, 1)
    (segment,) = segments(kept)
    segment.write_bytes(segment.read_bytes()[:-1])
    assert kept.source().head("1") == BEGINNING
    filled(kept, 2)
    assert is_whole(kept)


def test_a_line_of_many_tokens_may_be_longer_than_what_is_read_at_once(kept: InFiles) -> None:
    with closing(kept.sink()) as sink:
        sink.append([b'{"at":1,"kind":"' + b"x" * 200_000 + b'"}'])
    filled(kept, 2)
    assert is_whole(kept)
    assert len(kept.lines()) == 3


def test_a_stream_whose_end_is_no_record_is_not_gone_on_with(kept: InFiles) -> None:
    filled(kept, 3)
    kept.put(kept.lines()[:-1] + [b"something else\n"])
    with pytest.raises(AuditUnusable, match="is none; `ephemera audit verify` says what is wrong"):
        kept.sink()


def test_a_file_that_is_removed_or_changed_meanwhile_takes_no_more(kept: InFiles) -> None:
    with closing(kept.sink()) as sink:
        sink.append(bodies(2))
        (segment,) = segments(kept)
        with segment.open("ab") as file:
            file.write(b"of another")
        with pytest.raises(AuditNotWritten, match="removed or changed by another process"):
            sink.append(bodies(1, first=3))
        segment.unlink()
        with pytest.raises(AuditNotWritten, match="removed or changed by another process"):
            sink.append(bodies(1, first=3))


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditUnusable, match=r"Not a directory|File exists"):
        FileSink(tmp_path / "file" / "audit")
    with pytest.raises(AuditUnusable, match="there is no directory"):
        FileSource(tmp_path / "absent")


_FULL = """
import resource, sys
from pathlib import Path
from issuer.fixtures_auditing import bodies
from ephemera_issuer.audit.files import FileSink
from ephemera_issuer.errors import AuditNotWritten

sink = FileSink(Path(sys.argv[1]))
sink.append(bodies(5))
size = sink._size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200, resource.RLIM_INFINITY))
for _ in range(3):
    try:
        sink.append(bodies(5, first=6))
    except AuditNotWritten as error:
        print(error)
    assert next(Path(sys.argv[1]).glob("1/*.jsonl")).stat().st_size == size
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.append(bodies(5, first=6))
sink.close()
"""


def test_a_full_disk_leaves_whole_records_and_is_gone_on_with_once_there_is_room(
    kept: InFiles,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(kept.directory)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("File too large") == 3
    assert [told["count"] for told in members(kept.source())] == list(range(1, 11))
    assert is_whole(kept)
