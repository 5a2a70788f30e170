from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from issuer.fixtures_auditing import bodies

from ephemera_issuer.audit.chain import BEGINNING, Head, link, parse


def test_a_line_is_json_whose_digest_anybody_can_compute() -> None:
    (first, second), head = link(BEGINNING, bodies(2))
    before = bytes(32)
    for number, line in enumerate((first, second), 1):
        told = json.loads(line)
        assert list(told)[:2] == ["sequence", "chain"]
        assert told["sequence"] == number
        without = line.replace(f'"chain":"{told["chain"]}",'.encode(), b"")
        assert told["chain"] == sha256(before + without).hexdigest()
        before = bytes.fromhex(told["chain"])
    assert head == Head(2, before)


@given(st.lists(st.integers(1, 4), max_size=5))
def test_a_chain_is_the_same_in_whatever_batches_it_is_made(sizes: list[int]) -> None:
    whole, end = link(BEGINNING, bodies(sum(sizes)))
    pieces, head, first = [], BEGINNING, 1
    for size in sizes:
        lines, head = link(head, bodies(size, first=first))
        pieces += lines
        first += size
    assert (pieces, head) == (whole, end)


def test_each_line_follows_the_one_before_and_no_other() -> None:
    lines, _ = link(BEGINNING, bodies(4))
    heads = [BEGINNING]
    for line in lines:
        taken = parse(line)
        assert taken is not None
        assert [taken.follows(head) for head in heads] == [False] * (len(heads) - 1) + [True]
        heads.append(taken.head)


@given(st.data())
def test_no_byte_of_a_line_can_be_another(data: st.DataObject) -> None:
    (line,), _ = link(BEGINNING, bodies(1))
    place = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[place]))
    taken = parse(line[:place] + bytes([other]) + line[place + 1 :])
    assert taken is None or not taken.follows(BEGINNING)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"\x00" * 80,
        b'{"sequence":0,"chain":"' + b"0" * 64 + b'","at":1}',
        b'{"sequence":01,"chain":"' + b"0" * 64 + b'","at":1}',
        b'{"sequence":1,"chain":"' + b"A" * 64 + b'","at":1}',
        b'{"sequence":1, "chain":"' + b"0" * 64 + b'","at":1}',
        b'{"sequence":1,"chain":"' + b"0" * 64 + b'","at":1}\n',
        b'{"sequence":1,"chain":"' + b"0" * 64 + b'"}',
    ],
)
def test_what_has_not_the_form_of_a_line_is_none(line: bytes) -> None:
    assert parse(line) is None
