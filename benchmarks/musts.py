"""What must be reached, and what is aimed at; every figure is a ratio of one run."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.report import table
from benchmarks.rounds import Spread, digits


class Must(NamedTuple):
    """A bound for what a part finds under `key`; `at_least` says which way is better."""

    key: str
    what: str
    must: float
    goal: float
    at_least: bool
    unit: str = ""

    def is_met(self, found: Spread) -> bool:
        """Say whether the median keeps within the bound."""
        return self._reaches(found, self.must)

    def verdict(self, found: Spread) -> str:
        """Say it in a word."""
        if self._reaches(found, self.goal):
            return "goal met"
        return "met" if self.is_met(found) else "**missed**"

    def _reaches(self, found: Spread, bound: float) -> bool:
        return found.median >= bound if self.at_least else found.median <= bound

    def bound(self, figure: float) -> str:
        """Write a bound."""
        return f"{'≥' if self.at_least else '≤'} {figure:g}{self.unit}"


MUSTS = (
    Must("secret", "mint, client secret: rate ÷ bare Starlette static POST", 0.33, 0.45, True),
    Must("secret-peer", "mint, client secret: rate ÷ oidc-provider's", 2.0, 3.0, True),
    Must("keyed", "mint, private_key_jwt: rate ÷ bare Starlette static POST", 0.18, 0.25, True),
    Must("keyed-peer", "mint, private_key_jwt: rate ÷ oidc-provider's", 1.8, 2.5, True),
    Must("several", "50 tokens a request: tokens ÷ raw ES256 signatures", 0.60, 0.80, True),
    Must("audited-secret", "audited in files, client secret: ÷ bare Starlette", 0.33, 0.45, True),
    Must("audited-secret-peer", "audited in files, client secret: ÷ oidc-provider", 2.0, 3.0, True),
    Must("audited-keyed", "audited in files, private_key_jwt: ÷ bare Starlette", 0.18, 0.25, True),
    Must(
        "audited-keyed-peer", "audited in files, private_key_jwt: ÷ oidc-provider", 1.8, 2.5, True
    ),
    Must(
        "audited-several",
        "audited in files, 50 tokens a request: tokens ÷ raw signatures",
        0.60,
        0.80,
        True,
    ),
    Must(
        "verify", "verify, every check and a claim in process: time ÷ raw ES256", 1.30, 1.10, False
    ),
    Must("redis", "Redis replay claim, 128 at once: processor time", 15, 5, False, " µs"),
    Must(
        "call", "authenticated call, pooled token: time over the plain call", 60, 25, False, " µs"
    ),
    Must("clients", "100,000 clients registered: mint rate ÷ rate with 1", 0.95, 1.0, True),
    Must("start", "cold start to the first token: time ÷ oidc-provider's", 2.0, 1.0, False),
    Must("memory", "a loaded worker, 1,000 clients: memory ÷ oidc-provider's", 0.65, 0.45, False),
    Must(
        "fairness", "another client's p99 beside one at 50 times its limit ÷ alone", 2.0, 1.2, False
    ),
    Must("entries", "replay cache in process, 1,000,000 live ids: an id", 130, 66, False, " bytes"),
)


def overview(found: Mapping[str, Spread]) -> str:
    """Write the table of what was found against what must be."""
    return table(
        ("what", "must", "goal", "measured (middle half)", ""),
        [
            (
                it.what,
                it.bound(it.must),
                it.bound(it.goal),
                _shown(it, found[it.key]),
                it.verdict(found[it.key]),
            )
            for it in MUSTS
            if it.key in found
        ],
    )


def missed(found: Mapping[str, Spread]) -> Sequence[str]:
    """Return a line for each must that what was found misses."""
    return [
        f"{it.what}: {digits(found[it.key].median)}{it.unit}, must be {it.bound(it.must)}"
        for it in MUSTS
        if it.key in found and not it.is_met(found[it.key])
    ]


def _shown(must: Must, found: Spread) -> str:
    return f"{found}{must.unit}"
