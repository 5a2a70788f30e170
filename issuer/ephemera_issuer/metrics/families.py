"""The metrics that are counted as things happen: their names, labels and bounds.

Whatever a label holds comes from the registry or from a closed set, never from a caller alone. So
there are as many series as clients, audiences and codes, and beyond `most` there is `OTHER`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NONE: Final = "(none)"
"""In the place of a client that has not proved itself, or an audience that is not in the registry.

Like `OTHER` it is written as no client id and no audience can be.
"""
OTHER: Final = "(other)"

LONGEST: Final = {
    "client": 128,
    "audience": 255,
    "reason": 64,
    "listener": 8,
    "endpoint": 64,
    "status": 8,
    "outcome": 16,
}
"""Bytes of the values of each label."""
OF_REGISTRY: Final = frozenset({"client", "audience"})
"""The labels whose values the registry brings, however many."""


class Family(NamedTuple):
    """A counter, or a histogram where there are `buckets`: upper bounds in seconds, ascending.

    `name` is without the `_total` of counters. `most` is how many sets of labels are told apart.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    most: int = 64

    @property
    def cells(self) -> int:
        """How many numbers a series is: a count, or one a bucket, one beyond, and the sum."""
        return len(self.buckets) + 2 if self.buckets else 1


MINTS = Family(
    "ephemera_mints",
    "Token requests that were answered with tokens.",
    ("client", "audience"),
    most=2000,
)
TOKENS = Family(
    "ephemera_minted_tokens",
    "Tokens minted: several by one request that asks for a count.",
    ("client", "audience"),
    most=2000,
)
REFUSALS = Family(
    "ephemera_refusals",
    "Token requests that were refused. Client and audience are (none) until they are known for "
    "certain.",
    ("client", "audience", "reason"),
    most=4000,
)
RESPONSES = Family(
    "ephemera_http_responses",
    "Answers by listener, endpoint and class of status.",
    ("listener", "endpoint", "status"),
    most=256,
)
TOKEN_DURATION = Family(
    "ephemera_token_request_duration_seconds",
    "From the head of a token request to the end of its answer.",
    ("status",),
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
CLAIMS = Family(
    "ephemera_assertion_claims",
    "Assertions brought to the ledger that accepts each once: claimed, refused since it was "
    "claimed before or may have been, or unavailable.",
    ("outcome",),
)
CLAIM_DURATION = Family(
    "ephemera_assertion_claim_duration_seconds",
    "How long the ledger of assertions took to answer.",
    (),
    (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
AUDIT_RECORDS = Family(
    "ephemera_audit_records", "Records of requests and changes that the audit holds durably."
)
AUDIT_FAILURES = Family("ephemera_audit_failures", "Attempts to write to the audit that failed.")
WORKER_DEATHS = Family(
    "ephemera_worker_deaths", "Workers that died unasked and had to be replaced."
)

FAMILIES: Final = (
    MINTS,
    TOKENS,
    REFUSALS,
    RESPONSES,
    TOKEN_DURATION,
    CLAIMS,
    CLAIM_DURATION,
    AUDIT_RECORDS,
    AUDIT_FAILURES,
    WORKER_DEATHS,
)
