from __future__ import annotations

import asyncio
import threading
from functools import partial

import anyio
import pytest

from ephemera_issuer.turn import Turns


def test_what_comes_in_one_turn_of_a_loop_is_done_together_in_its_order() -> None:
    done: list[str] = []
    turns = Turns()

    async def task(number: int) -> None:
        done.append(f"before {number}")
        assert await turns.do(partial(work, number)) == number
        done.append(f"after {number}")

    def work(number: int) -> int:
        done.append(f"work {number}")
        return number

    async def tasks() -> None:
        await asyncio.gather(*(task(number) for number in range(3)))
        await task(3)

    asyncio.run(tasks())
    together = [f"{when} {number}" for when in ("before", "work", "after") for number in range(3)]
    assert done == [*together, "before 3", "work 3", "after 3"]


def test_an_error_is_raised_in_the_task_that_it_belongs_to() -> None:
    turns = Turns()

    def fail() -> int:
        raise ValueError("mine")

    async def tasks() -> tuple[object, object, object]:
        return await asyncio.gather(
            turns.do(lambda: 1), turns.do(fail), turns.do(lambda: 3), return_exceptions=True
        )

    first, error, third = asyncio.run(tasks())
    assert (first, third) == (1, 3)
    assert isinstance(error, ValueError)
    assert str(error) == "mine"


def test_a_task_that_is_cancelled_keeps_no_other_from_its_own() -> None:
    turns, done = Turns(), list[int]()

    def work(number: int) -> int:
        done.append(number)
        return number

    async def task(number: int) -> int:
        return await turns.do(partial(work, number))

    async def tasks() -> int:
        first, second = asyncio.create_task(task(1)), asyncio.create_task(task(2))
        await asyncio.sleep(0)
        first.cancel()
        found = await second
        with pytest.raises(asyncio.CancelledError):
            await first
        return found

    assert asyncio.run(tasks()) == 2
    assert done == [2]


def test_the_loops_of_two_threads_do_each_their_own() -> None:
    turns = Turns()
    found: dict[str, set[int]] = {"a": set(), "b": set()}

    async def tasks(name: str) -> None:
        for _ in range(200):
            threads = await asyncio.gather(*(turns.do(threading.get_ident) for _ in range(5)))
            found[name].update(threads)

    both = [threading.Thread(target=lambda name=name: asyncio.run(tasks(name))) for name in found]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [len(threads) for threads in found.values()] == [1, 1]
    assert found["a"] != found["b"]


def test_without_asyncio_it_is_done_by_itself() -> None:
    async def task() -> int:
        return await Turns().do(lambda: 7)

    assert anyio.run(task, backend="trio") == 7
