from __future__ import annotations

import pytest

from ephemera_issuer.trace_context import Trace, parse, trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def given(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((b"traceparent", value.encode("latin-1")) for value in values)]


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"00-{TRACE}-{PARENT}-fe", False),
        (f"00-{TRACE}-{PARENT}-ff", True),
        (f"01-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", True),
    ],
)
def test_a_callers_trace_is_taken_up(value: str, *, sampled: bool) -> None:
    assert parse(given(value)) == Trace(TRACE, PARENT, sampled)


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        (f"ff-{TRACE}-{PARENT}-01",),
        (f"00-{'0' * 32}-{PARENT}-01",),
        (f"00-{TRACE}-{'0' * 16}-01",),
        (f"00-{TRACE.upper()}-{PARENT}-01",),
        (f"00-{TRACE}-{PARENT.upper()}-01",),
        (f"00-{TRACE}-{PARENT}-0X",),
        (f"0-{TRACE}-{PARENT}-01",),
        (f"00-{TRACE[1:]}-{PARENT}-01",),
        (f"00-{TRACE}0-{PARENT}-01",),
        (f"00-{TRACE}-{PARENT}-1",),
        (f"00-{TRACE}-{PARENT}",),
        (f"00-{TRACE}-{PARENT}-01-more",),
        (f"00-{TRACE}-{PARENT}-01-",),
        (f"01-{TRACE}-{PARENT}-01more",),
        (f" 00-{TRACE}-{PARENT}-01",),
        (f"00-{TRACE}-{PARENT}-01\n",),
        (f"00-{TRACE[:-1]}\u00b2-{PARENT}-01",),
        (f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01"),
    ],
)
def test_what_is_not_written_to_the_letter_counts_as_absent(values: tuple[str, ...]) -> None:
    assert parse(given(*values)) is None


def test_without_a_callers_trace_each_request_begins_one() -> None:
    scopes = [{"headers": given("nonsense")} for _ in range(100)]
    ids = [trace(scope).trace_id for scope in scopes]
    assert len(set(ids)) == 100
    for scope, own in zip(scopes, ids, strict=True):
        assert trace(scope) == Trace(own, None, sampled=False)
        assert parse(given(f"00-{own}-{PARENT}-00")) == Trace(own, PARENT, sampled=False)
