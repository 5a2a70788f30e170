"""What is known of an issuer's keys, for readiness."""

from typing import NamedTuple


class KeysStatus(NamedTuple):
    """The keys at hand.

    Tokens can be verified while `available`. `stale` says that the document is past its lifetime
    and serves because the issuer fails, `last_failure` how its last load failed, if it did; `age`
    is in seconds.
    """

    available: bool
    stale: bool
    age: float | None
    kids: tuple[str, ...]
    last_failure: str | None
