import asyncio
import threading

import anyio
import pytest

from ephemera_client.waiting import TaskWaiter, ThreadWaiter, wake_all


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
