from ephemera_client.instant import Instant, read


def test_elapsed_time_is_the_larger_of_the_two_clocks() -> None:
    began = Instant(1000.0, 10.0)
    assert Instant(1005.0, 12.0).since(began) == 5.0
    assert Instant(1002.0, 15.0).since(began) == 5.0
    assert Instant(400.0, 15.0).since(began) == 5.0


def test_both_clocks_are_read() -> None:
    first = read()
    assert read().monotonic >= first.monotonic
    assert first.wall > 1_700_000_000
