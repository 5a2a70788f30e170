from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_auditing import Stuck, bodies, writer
from structlog.testing import capture_logs

from ephemera_issuer.errors import AuditNotWritten
from ephemera_issuer.metrics.counting import CountedAudit
from ephemera_issuer.metrics.memory import Tallies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ephemera_issuer.audit.writer import Writer


def told(stuck: Stuck) -> list[object]:
    return [record.get("count", record["kind"]) for record in stuck.records]


def put_all(writing: Writer, count: int) -> int:
    number = 0
    for body in bodies(count):
        number = writing.put(partial(bytes, body))
    return number


def test_records_are_written_in_their_order_between_an_opening_and_a_closing() -> None:
    stuck = Stuck()
    stuck.free.set()
    writing = writer(stuck)
    put_all(writing, 5000)
    writing.close()
    assert told(stuck) == ["opened", *range(1, 5001), "closed"]
    assert stuck.records[0]["found"] == "nothing"
    assert len(stuck.batches) < 20
    assert (writing.written, writing.waiting) == (5000, 0)


def test_where_nothing_happened_nothing_is_written() -> None:
    stuck = Stuck()
    writer(stuck).close()
    assert stuck.batches == []
    assert stuck.closed


def test_records_of_many_threads_are_each_written_once() -> None:
    stuck = Stuck()
    stuck.free.set()
    writing = writer(stuck)
    threads = [threading.Thread(target=put_all, args=(writing, 300)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writing.close()
    counts = [count for count in told(stuck) if isinstance(count, int)]
    assert sorted(counts) == sorted(list(range(1, 301)) * 8)


def test_whoever_waits_goes_on_when_the_record_is_durable_and_not_before() -> None:
    stuck = Stuck()
    writing = writer(stuck)
    number = writing.put(lambda: bodies(1)[0], hurry=True)
    stuck.tried.wait()
    assert writing.written < number
    stuck.free.set()
    writing.wait(number)
    assert writing.written == number
    writing.close()


def is_behind(writing: Writer) -> bool:
    return writing.behind


def test_a_writer_is_behind_from_so_many_records_on_until_they_are_durable() -> None:
    stuck = Stuck()
    writing = writer(stuck, most_waiting=10)
    news = threading.Event()
    writing.watch(news.set)
    put_all(writing, 9)
    assert not is_behind(writing)
    writing.put(lambda: bodies(1)[0], weight=5)
    assert is_behind(writing)
    stuck.tried.wait()
    assert is_behind(writing)  # what is being written is not written yet
    stuck.free.set()
    news.wait()
    writing.wait(10)
    assert not is_behind(writing)
    writing.close()


def test_a_failure_is_logged_once_and_tried_again_until_it_has_passed() -> None:
    stuck = Stuck(failing=True)
    stuck.free.set()
    with capture_logs() as logs:
        writing = writer(stuck)
        number = writing.put(lambda: bodies(1)[0], hurry=True)
        for _ in range(3):
            stuck.tried.wait()
            stuck.tried.clear()
        assert str(writing.failure) == "the audit: No space left on device"
        stuck.failing = False
        writing.wait(number)
        assert writing.failure is None
        writing.close()
    assert told(stuck) == ["opened", 1, "closed"]
    assert [log["event"] for log in logs] == ["audit_not_written", "audit_written_again"]


def test_whoever_waits_in_vain_is_told_why() -> None:
    stuck = Stuck(failing=True)
    writing = writer(stuck, patience=0.1)
    number = writing.put(lambda: bodies(1)[0], hurry=True)
    with pytest.raises(AuditNotWritten, match="No space left on device"):
        writing.wait(number)
    stuck.free.set()
    stuck.failing = False
    writing.close()


class Slow(Stuck):
    """A sink for which each batch takes a while."""

    def append(self, bodies: Sequence[bytes]) -> None:
        # What is tested is time itself: thirty of these take longer than anybody's patience.
        time.sleep(0.05)
        self.batches.append(list(bodies))


def test_whoever_waits_behind_many_others_waits_for_as_long_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ephemera_issuer.audit.writer._MOST_AT_ONCE", 1)
    slow = Slow()
    writing = writer(slow, patience=1)
    writing.wait(put_all(writing, 30))
    writing.close()
    assert told(slow) == ["opened", *range(1, 31), "closed"]


def test_records_that_are_lost_at_the_end_are_counted_aloud() -> None:
    stuck = Stuck(failing=True)
    writing = writer(stuck)
    put_all(writing, 7)
    with pytest.raises(AuditNotWritten, match="No space left on device; 7 records could not be"):
        writing.close()
    assert stuck.closed


def test_a_record_that_cannot_be_made_stops_the_mint_for_good() -> None:
    def broken() -> bytes:
        raise ZeroDivisionError

    stuck = Stuck()
    stuck.free.set()
    with capture_logs() as logs:
        writing = writer(stuck)
        failed = threading.Event()
        writing.watch(failed.set)
        writing.put(broken)
        failed.wait()
    assert writing.behind
    assert [log["event"] for log in logs] == ["audit_failed"]
    with pytest.raises(AuditNotWritten, match="its writer failed; 1 records"):
        writing.close()


def test_records_and_failed_attempts_are_counted() -> None:
    stuck = Stuck(failing=True)
    stuck.free.set()
    tallies = Tallies(1)
    with capture_logs():
        writing = writer(stuck)
        CountedAudit(writing, tallies.of_worker(0))
        put_all(writing, 3)
        for _ in range(2):
            stuck.tried.wait()
            stuck.tried.clear()
        stuck.failing = False
        writing.wait(3)
        writing.close()
    counted = tallies.read().series
    assert counted["ephemera_audit_records"] == {(): [3.0]}
    assert counted["ephemera_audit_failures"][()][0] >= 1
