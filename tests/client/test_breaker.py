from ephemera_client.replay.breaker import FIRST_PAUSE, LAST_PAUSE, Breaker


def test_it_admits_all_until_something_fails() -> None:
    breaker = Breaker()
    assert all(breaker.admits(now) for now in (0.0, 0.0, 1.0))


def test_open_it_admits_one_a_pause() -> None:
    breaker = Breaker()
    breaker.failed(10.0)
    assert not breaker.admits(10.0)
    assert not breaker.admits(10.0 + FIRST_PAUSE * 0.9)
    assert breaker.admits(10.0 + FIRST_PAUSE)
    assert not breaker.admits(10.0 + FIRST_PAUSE)


def test_an_attempt_that_never_ends_does_not_keep_it_open() -> None:
    breaker = Breaker()
    breaker.failed(10.0)
    assert breaker.admits(11.0)
    assert not breaker.admits(11.0)
    assert breaker.admits(11.0 + FIRST_PAUSE)


def test_pauses_grow_to_a_bound_and_a_success_ends_them() -> None:
    breaker = Breaker()
    for _ in range(20):
        breaker.failed(10.0)
    assert not breaker.admits(10.0 + LAST_PAUSE * 0.9)
    assert breaker.admits(10.0 + LAST_PAUSE)
    breaker.succeeded()
    assert breaker.admits(10.0)
    breaker.failed(20.0)
    assert breaker.admits(20.0 + FIRST_PAUSE)
