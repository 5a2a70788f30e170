import asyncio
import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from ephemera_client.flight import Flight


class Gate:
    """Work that lands when told to."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.done = False
        self.flight = Flight(self._work)

    def _work(self) -> None:
        self._open.wait(10)
        self.done = True

    def open(self) -> None:
        self._open.set()


def test_many_threads_wait_for_one_flight() -> None:
    gate = Gate()
    seen: list[bool] = []

    def wait() -> None:
        gate.flight.wait(10)
        seen.append(gate.done)

    threads = [threading.Thread(target=wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    assert seen == [True] * 20


def test_a_thread_without_patience_goes_on() -> None:
    gate = Gate()
    gate.flight.wait(0.001)
    gate.flight.wait(-1)
    assert not gate.done
    gate.open()
    gate.flight.wait(10)


@pytest.mark.anyio
async def test_many_tasks_wait_for_one_flight() -> None:
    gate = Gate()
    seen: list[bool] = []

    async def wait() -> None:
        await gate.flight.wait_async(10)
        seen.append(gate.done)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(wait)
        await checkpoint()
        gate.open()
    assert seen == [True] * 50
    await gate.flight.wait_async(10)


@pytest.mark.anyio
async def test_a_cancelled_task_takes_nobody_with_it() -> None:
    gate = Gate()
    seen: list[bool] = []

    async def wait() -> None:
        await gate.flight.wait_async(10)
        seen.append(gate.done)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        with anyio.move_on_after(0) as scope:
            await gate.flight.wait_async(10)
        assert scope.cancelled_caught
        gate.open()
    assert seen == [True]


@pytest.mark.anyio
async def test_a_task_without_patience_goes_on() -> None:
    gate = Gate()
    await gate.flight.wait_async(0.001)
    assert not gate.done
    gate.open()
    await gate.flight.wait_async(10)


def test_loops_of_both_kinds_and_plain_threads_share_a_flight() -> None:
    gate = Gate()
    started = threading.Barrier(7)
    seen: list[bool] = []

    async def wait() -> None:
        started.wait(10)
        await gate.flight.wait_async(10)
        seen.append(gate.done)

    kinds = iter(["asyncio", "trio"] * 3)
    threads = [
        threading.Thread(target=anyio.run, args=(wait,), kwargs={"backend": kind}) for kind in kinds
    ]
    for thread in threads:
        thread.start()
    started.wait(10)
    gate.open()
    for thread in threads:
        thread.join()
    assert seen == [True] * 6


def test_a_loop_that_has_ended_does_not_keep_others_waiting() -> None:
    gate = Gate()

    async def leave() -> None:
        task = asyncio.ensure_future(gate.flight.wait_async(10))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    anyio.run(lambda: _leave_trio(gate), backend="trio")
    seen = threading.Event()

    async def stay() -> None:
        await gate.flight.wait_async(10)
        seen.set()

    thread = threading.Thread(target=anyio.run, args=(stay,))
    thread.start()
    gate.open()
    thread.join()
    assert seen.is_set()


async def _leave_trio(gate: Gate) -> None:
    with anyio.move_on_after(0):
        await gate.flight.wait_async(10)


def test_work_that_ends_badly_still_lands() -> None:
    caught: list[threading.ExceptHookArgs] = []
    hook, threading.excepthook = threading.excepthook, caught.append

    def fail() -> None:
        raise ValueError

    try:
        flight = Flight(fail)
        flight.wait(10)
        for thread in threading.enumerate():
            if thread.name == "ephemera-flight":
                thread.join(10)
    finally:
        threading.excepthook = hook
    assert [arguments.exc_type for arguments in caught] == [ValueError]
