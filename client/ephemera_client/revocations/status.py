"""What is known of an issuer's revocations, for readiness."""

from typing import NamedTuple


class RevocationsStatus(NamedTuple):
    """How far a verifier follows.

    Tokens can be verified while `available`. `followed` says whether there is a feed at all; its
    latest answer was asked for `age` seconds ago and was of number `sequence`. `entries` is how
    many revocations are held, `last_failure` how the last request failed, if it did.
    """

    available: bool
    followed: bool
    age: float | None
    sequence: int | None
    entries: int
    last_failure: str | None
