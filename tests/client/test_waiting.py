import asyncio
import threading
import time
from typing import Any

import anyio
import pytest

from ephemera_client.waiting import Patience, TaskWaiter, ThreadWaiter, wake_all


@pytest.mark.anyio
async def test_a_thread_wakes_tasks_and_threads_at_once() -> None:
    woken: list[int] = []
    waiters: list[TaskWaiter] = []

    async def wait(number: int) -> None:
        waiters.append(waiter := TaskWaiter())
        waiter.limit(10)
        await waiter.wait()
        woken.append(number)

    blocked = ThreadWaiter()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            threading.Thread(target=wake_all, args=[[*waiters, blocked]]).start()
        await anyio.to_thread.run_sync(blocked.wait, 10)
    assert sorted(woken) == list(range(100))


@pytest.mark.anyio
async def test_nobody_waits_longer_than_asked() -> None:
    with anyio.fail_after(5):
        for seconds in (0.001, -1):
            waiter = TaskWaiter()
            waiter.limit(seconds)
            await waiter.wait()
    ThreadWaiter().wait(0.001)
    ThreadWaiter().wait(-1)


@pytest.mark.anyio
async def test_a_cancelled_task_leaves() -> None:
    waiter = TaskWaiter()
    with anyio.move_on_after(0.001) as scope:
        await waiter.wait()
    assert scope.cancelled_caught
    wake_all([waiter])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_has_ended_keeps_nobody_else_from_waking(backend: str) -> None:
    async def leave() -> TaskWaiter:
        return TaskWaiter()

    gone = anyio.run(leave, backend=backend)

    async def stay() -> None:
        waiter = TaskWaiter()
        threading.Thread(target=wake_all, args=[[gone, waiter]]).start()
        with anyio.fail_after(5):
            await waiter.wait()

    asyncio.run(stay())


class Timers:
    """An event loop whose timers are counted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        later = loop.call_later

        def call_later(*arguments: Any) -> asyncio.TimerHandle:
            self.count += 1
            return later(*arguments)

        monkeypatch.setattr(loop, "call_later", call_later)


def test_many_waits_of_one_length_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> int:
        timers = Timers(asyncio.get_running_loop(), monkeypatch)
        patience = Patience()
        waiters = [TaskWaiter() for _ in range(100)]
        for waiter in waiters:
            patience.limit(waiter, time.monotonic() + 60)
        wake_all(waiters)
        for waiter in waiters:
            await waiter.wait()
        patience.limit(TaskWaiter(), time.monotonic() + 60)
        # Those that are over are not kept.
        assert [len(waiting) for waiting in patience._waiting.values()] == [1]
        return timers.count

    assert asyncio.run(wait()) == 1


@pytest.mark.anyio
async def test_each_of_many_waits_ends_when_its_time_is_over() -> None:
    patience = Patience()
    over: list[int] = []

    async def wait(number: int) -> None:
        waiter = TaskWaiter()
        patience.limit(waiter, time.monotonic() + 0.05)
        await waiter.wait()
        over.append(number)

    with anyio.fail_after(5):
        for _ in range(2):
            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(wait, number)
                    await anyio.sleep(0.01)
    assert sorted(over) == [0, 0, 1, 1, 2, 2]
    assert not patience._waiting


def test_a_loop_that_has_ended_is_not_kept() -> None:
    patience = Patience()

    async def wait() -> None:
        patience.limit(TaskWaiter(), time.monotonic() + 60)

    for _ in range(3):
        asyncio.run(wait())
    assert len(patience._waiting) == 1
