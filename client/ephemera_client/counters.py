"""Events as counts, by name and labels, for whatever keeps metrics.

No label comes from a token: there are as many series as issuers, audiences and codes.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ephemera_client.events import (
    Accepted,
    Event,
    KeysDown,
    KeysRefreshed,
    Refused,
    ReplayCacheDown,
    RevocationsDown,
    RevocationsRefreshed,
    StaleServed,
)


class Counter(NamedTuple):
    """What is counted, and by which labels."""

    name: str
    help: str
    labels: tuple[str, ...]


COUNTERS: Mapping[type[Event], Counter] = {
    Accepted: Counter("tokens_accepted", "Tokens accepted.", ("issuer", "audience")),
    Refused: Counter("tokens_refused", "Tokens refused.", ("issuer", "audience", "code")),
    KeysDown: Counter(
        "keys_down",
        "Tokens that could not be verified for want of keys.",
        ("issuer", "audience", "cause_code"),
    ),
    RevocationsDown: Counter(
        "revocations_down",
        "Tokens that could not be verified since nobody knew what is revoked.",
        ("issuer", "audience", "cause_code"),
    ),
    ReplayCacheDown: Counter(
        "replay_cache_down",
        "Tokens whose single use could not be assured.",
        ("issuer", "audience", "cause_code"),
    ),
    KeysRefreshed: Counter(
        "keys_refreshed", "Loads that brought keys or confirmed them.", ("issuer",)
    ),
    StaleServed: Counter("keys_stale_served", "Uses of a key past its lifetime.", ("issuer",)),
    RevocationsRefreshed: Counter(
        "revocations_refreshed", "Answers of the feed that brought something new.", ("issuer",)
    ),
}


def labels(event: Event) -> dict[str, str]:
    """Return what the counter of this event is labelled with."""
    return {name: getattr(event, name) for name in COUNTERS[type(event)].labels}
