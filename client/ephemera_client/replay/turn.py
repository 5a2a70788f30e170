"""Claims of one turn of an event loop, made together at its end."""

import asyncio
from collections.abc import Callable
from typing import Any

from ephemera_client.replay.courier import Courier, Errand
from ephemera_client.waiting import Patience


class Turns:
    """Carries out what tasks of asyncio submit in one turn of their loop, in that loop's thread.

    A hop to a thread and back costs a task more than its claim does: it takes two switches of
    threads, each of which waits for the interpreter. So a claim that need not wait for anybody is
    made where it is. Whatever would wait, and whatever is to be refused, is the courier's.

    Args:
        courier: Takes what is not carried out here, and all of what trio's tasks submit.
        at_once: Carries all of these errands out without waiting, or none: it says which.
        no_thread: Makes the refusal where the courier can start no thread.
    """

    def __init__(
        self,
        courier: Courier,
        *,
        at_once: Callable[[list[Errand]], bool],
        no_thread: Callable[[], Exception],
    ) -> None:
        self._courier = courier
        self._patience = Patience()
        self._at_once = at_once
        self._no_thread = no_thread
        self._pending: dict[Any, list[Errand]] = {}

    def submit(self, errand: Errand) -> None:
        """Take an errand.

        Raises:
            RuntimeError: no thread can be started.
        """
        loop = errand.waiter.loop
        if not isinstance(loop, asyncio.AbstractEventLoop):
            self._hand_over(errand)
            return
        pending = self._pending.get(loop)
        if pending is not None:
            pending.append(errand)
            return
        self._pending[loop] = [errand]
        loop.call_soon(self._end, loop)

    def _end(self, loop: Any) -> None:
        errands = self._pending.pop(loop)
        if self._at_once(errands):
            for errand in errands:
                errand.waiter.wake()
            return
        for errand in errands:
            try:
                self._hand_over(errand)
            except RuntimeError:
                errand.refusal = self._no_thread()
                errand.is_done = True
                errand.waiter.wake()

    def _hand_over(self, errand: Errand) -> None:
        self._patience.limit(errand.waiter, errand.give_up_at)
        self._courier.submit(errand)
