from __future__ import annotations

import anyio
import pytest

from ephemera_issuer.ending import Ending

pytestmark = pytest.mark.anyio


async def test_who_waits_for_the_end_is_woken_by_it_and_nobody_waits_after() -> None:
    ending = Ending()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await ending.wait()
        woken.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(wait, number)
        await anyio.wait_all_tasks_blocked()
        assert (woken, ending.begun) == ([], False)
        ending.begin()
    assert sorted(woken) == [0, 1, 2]
    assert ending.begun
    await ending.wait()


async def test_who_gives_up_waiting_is_forgotten() -> None:
    ending = Ending()
    with anyio.move_on_after(0):
        await ending.wait()
    ending.begin()
    assert not ending._waiting
