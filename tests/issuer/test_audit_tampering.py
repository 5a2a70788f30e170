"""Whatever is done to records behind the writer's back is found, some of it by an anchor only."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_auditing import InDatabase, InFiles, Kept, bodies, filled

from ephemera_issuer.audit import chain, record
from ephemera_issuer.audit.chain import BEGINNING, Head
from ephemera_issuer.audit.files import FileSink
from ephemera_issuer.audit.verification import Anchor, read_anchors, verify, write_anchor
from ephemera_issuer.errors import AuditUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COUNT = 30


@pytest.fixture(params=["file", "sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    """An audit of thirty records."""
    if request.param == "file":
        in_files = InFiles(tmp_path / "audit")
        filled(in_files, COUNT)
        yield in_files
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'ephemera.db'}"
    else:
        url = request.getfixturevalue("postgres").lend()
    in_database = InDatabase(url)
    filled(in_database, COUNT)
    yield in_database
    in_database.close()
    if request.param == "postgresql":
        request.getfixturevalue("postgres").give_back(url)


def problems(kept: Kept, *anchors: Anchor) -> list[str]:
    return [problem for stream in verify(kept.source(), anchors) for problem in stream.problems]


def head_of(line: bytes) -> Head:
    taken = chain.parse(line.removesuffix(b"\n"))
    assert taken is not None
    return taken.head


def anchor_at(kept: Kept, sequence: int) -> Anchor:
    text = write_anchor(kept.stream, head_of(kept.lines()[sequence - 1]))
    (anchor,) = read_anchors(text, seen="the anchor")
    return anchor


def test_what_was_written_is_whole(kept: Kept) -> None:
    (found,) = verify(kept.source(), [anchor_at(kept, COUNT), anchor_at(kept, 7)])
    assert found.stream == kept.stream
    assert found.lines == COUNT
    assert found.head == kept.source().head(kept.stream) == head_of(kept.lines()[-1])
    assert found.problems == ()


def edited(lines: list[bytes]) -> list[bytes]:
    lines[11] = lines[11].replace(b'"count":12', b'"count":13')
    return lines


def edited_with_its_digest_made_anew(lines: list[bytes]) -> list[bytes]:
    (lines[11],), _ = chain.link(head_of(lines[10]), bodies(1, first=99))
    lines[11] += b"\n"
    return lines


def without_one(lines: list[bytes]) -> list[bytes]:
    return lines[:11] + lines[12:]


def with_two_swapped(lines: list[bytes]) -> list[bytes]:
    lines[11], lines[12] = lines[12], lines[11]
    return lines


def without_the_first(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def with_one_added(lines: list[bytes]) -> list[bytes]:
    (new,), _ = chain.link(head_of(lines[11]), bodies(1, first=99))
    return lines[:12] + [new + b"\n"] + lines[12:]


def with_one_of_another_chain(lines: list[bytes]) -> list[bytes]:
    others, _ = chain.link(BEGINNING, bodies(COUNT, first=500))
    lines[11] = others[11] + b"\n"
    return lines


def with_one_that_is_none(lines: list[bytes]) -> list[bytes]:
    lines[11] = lines[11].replace(b'"chain":', b'"Chain":')
    return lines


@pytest.mark.parametrize(
    ("tamper", "complaint"),
    [
        (edited, "record 12 was changed"),
        (edited_with_its_digest_made_anew, "record 13 was changed"),
        (without_one, "records 12 to 12 are missing"),
        (without_the_first, "begins with record 2: what came before was removed"),
        (with_one_of_another_chain, "record 12 was changed"),
        (with_one_that_is_none, "is no record"),
    ],
)
def test_the_chain_tells_what_was_done_to_it(
    kept: Kept, tamper: Callable[[list[bytes]], list[bytes]], complaint: str
) -> None:
    kept.put(tamper(kept.lines()))
    first, *_ = problems(kept)
    assert complaint in first


@pytest.mark.parametrize("tamper", [with_two_swapped, with_one_added])
def test_lines_in_another_order_are_told(
    kept: Kept, tamper: Callable[[list[bytes]], list[bytes]]
) -> None:
    before = kept.lines()
    kept.put(tamper(kept.lines()))
    # A database has its rows in the order of their numbers, whatever the lines say.
    assert bool(problems(kept)) == (kept.lines() != before)
    assert problems(kept) or kept.stream == "database"


def test_rows_that_change_places_are_told(kept: Kept) -> None:
    lines = kept.lines()
    for place, (one, other) in enumerate(pairwise(lines)):
        swapped = [*lines]
        number = f'"sequence":{place + 1},'.encode()
        swapped[place] = other.replace(f'"sequence":{place + 2},'.encode(), number)
        swapped[place + 1] = one.replace(number, f'"sequence":{place + 2},'.encode())
        if place % 10 == 0:
            kept.put(swapped)
            assert f"record {place + 1} was changed" in problems(kept)[0]


def test_an_end_that_was_removed_is_told_by_an_anchor_and_by_nothing_else(kept: Kept) -> None:
    anchor = anchor_at(kept, COUNT)
    kept.put(kept.lines()[:-5])
    assert problems(kept) == []
    (complaint,) = problems(kept, anchor)
    assert "ends with record 25, and the anchor has seen record 30" in complaint


def test_an_end_that_was_written_anew_is_told_by_an_anchor_and_by_nothing_else(kept: Kept) -> None:
    anchor = anchor_at(kept, COUNT)
    lines = kept.lines()
    anew, _ = chain.link(head_of(lines[24]), bodies(8, first=700))
    kept.put(lines[:25] + [line + b"\n" for line in anew])
    assert problems(kept) == []
    (complaint,) = problems(kept, anchor)
    assert "record 30 is not the one that the anchor has seen" in complaint


def test_a_beginning_that_was_removed_is_vouched_for_by_the_anchor_of_its_end(kept: Kept) -> None:
    anchor, wrong = anchor_at(kept, 10), Anchor(kept.stream, Head(10, bytes(32)), "another")
    kept.put(kept.lines()[10:])
    assert problems(kept, anchor) == []
    assert "record 11 was changed" in problems(kept, wrong)[0]


def test_a_long_list_of_problems_is_cut_short(kept: Kept) -> None:
    kept.put([line.replace(b'"chain":"', b'"chain":"g') for line in kept.lines()])
    *told, last = problems(kept)
    assert len(told) == 20
    assert last == f"{kept.stream}: and {COUNT - 20} more"


def test_a_stream_that_was_removed_is_missed_by_the_next_that_is_opened(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    first = InFiles(directory)
    with closing(FileSink(directory)) as one, closing(FileSink(directory)) as other:
        one.append(bodies(3))
        other.append(bodies(2))
    with closing(FileSink(directory)) as again:
        again.append([record.opened(at=1, by="issuer", facts=again.facts)])
    assert [stream.problems for stream in verify(first.source())] == [(), ()]
    second = directory / "2"
    (segment,) = second.glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(lines[0])
    (complaint,) = problems(first)
    assert complaint.startswith("2: ends with record 1, and record 4 of 1 has seen record 2")
    segment.unlink()
    (complaint,) = problems(first)
    assert complaint.startswith("2: is gone, and record 4 of 1 has seen 2 records of it")


@pytest.mark.parametrize(
    "text", ["1 2", "1 x " + "0" * 64, "1 0 " + "0" * 64, "1 2 " + "0" * 62, "\n", "1 2 zz"]
)
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(AuditUnusable, match="line 1 is no head"):
        read_anchors(text, seen="heads.txt")
