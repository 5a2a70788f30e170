from __future__ import annotations

from itertools import pairwise

from ephemera_issuer.workers import LONGEST_PAUSE, pause_before


def test_a_worker_that_dies_is_replaced_at_once_and_then_the_less_often() -> None:
    pauses = [pause_before(deaths) for deaths in range(1, 100)]
    assert pauses[0] == 0
    assert pauses[1] > 0
    assert all(earlier <= later for earlier, later in pairwise(pauses))
    assert pauses[-1] == LONGEST_PAUSE
