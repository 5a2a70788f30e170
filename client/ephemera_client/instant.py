"""Now, by both clocks."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Instant(NamedTuple):
    """A moment by the wall clock (Unix seconds) and by the monotonic one (seconds from anywhere).

    Tokens speak wall time; but the wall clock can be set back, and the monotonic one stands still
    in a suspended machine, so neither alone says how long ago something was.
    """

    wall: float
    monotonic: float

    def since(self, earlier: "Instant") -> float:
        """Seconds from `earlier`: the larger of what the two clocks say."""
        by_wall, by_monotonic = self.wall - earlier.wall, self.monotonic - earlier.monotonic
        return max(by_monotonic, by_wall)


Clock = Callable[[], Instant]


def read() -> Instant:
    """Read both clocks of this machine."""
    # As Instant(...) does, less a call: this is read for every token that comes or goes.
    return tuple.__new__(Instant, (time.time(), time.monotonic()))
