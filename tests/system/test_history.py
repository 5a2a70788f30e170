"""Writes that cannot all have been made are told from those that can."""

from __future__ import annotations

import pytest
from system.history import ROTATION, Stage, Told, Write, committed, writes_of


def write(before: str, after: str, stage: Stage = Stage.DONE) -> Write:
    return Write(ROTATION, stage, before, after)


def test_writes_are_put_in_the_row_that_they_were_made_in() -> None:
    first, second, third = write("a", "b"), write("b", "c"), write("c", "d")
    assert committed([third, first, second], first="a", last="d") == [first, second, third]


def test_a_write_that_was_killed_at_its_commit_was_made_or_not() -> None:
    first, killed = write("a", "b"), write("b", "c", Stage.COMMITTING)
    assert committed([first, killed], first="a", last="c") == [first, killed]
    assert committed([first, killed], first="a", last="b") == [first]
    later = write("b", "d")
    assert committed([first, killed, later], first="a", last="d") == [first, later]


def test_what_one_did_after_another_was_killed_may_leave_the_same() -> None:
    killed, later = write("a", "b", Stage.COMMITTING), write("a", "b")
    assert committed([killed, later], first="a", last="b") == [later]


@pytest.mark.parametrize(
    "writes",
    [
        [write("a", "b"), write("a", "c")],  # acknowledged, and another did not see it
        [write("a", "b"), write("b", "c")],  # acknowledged, and gone in the end
        [write("a", "", Stage.OPEN)],  # there, and never to be committed
        [write("a", "b"), write("a", "b")],  # the same acknowledged twice
        [],
    ],
)
def test_what_cannot_have_been_is_told(writes: list[Write]) -> None:
    with pytest.raises(AssertionError):
        committed(writes, first="a", last="b")


def test_a_write_is_as_far_as_it_was_told() -> None:
    told = [
        *(Told("1", Stage.OPEN, ROTATION, "a"), Told("2", Stage.UNDONE, ROTATION)),
        *(Told("1", Stage.COMMITTING, ROTATION, "b"), Told("1", Stage.DONE, ROTATION)),
        Told("3", Stage.OPEN, ROTATION, "b"),
    ]
    assert writes_of(told) == [write("a", "b"), write("b", "", Stage.OPEN)]
