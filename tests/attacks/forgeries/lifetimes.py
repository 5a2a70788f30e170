"""Tokens from the past, from the future, and without end."""

from attacks.forging import Forgery, with_claims, with_times

from ephemera_client import ClaimInvalid, LifetimeTooLong, TokenExpired, TokenNotYetValid

HUGE = 10**400

FORGERIES = [
    *(
        Forgery(f"expired {ago} s ago", TokenExpired, with_times(iat=-ago - 60, exp=-ago))
        for ago in (5, 6, 60, 86_400, 10**9)
    ),
    *(
        Forgery(f"exp {exp}"[:20], TokenExpired, with_claims(exp=exp))
        for exp in (0, -1, -(2**31), -(2**63), -HUGE)
    ),
    *(
        Forgery(
            f"{name} in {ahead} s"[:30],
            TokenNotYetValid,
            with_times(**{"exp": ahead + 60, name: ahead}),
        )
        for name in ("iat", "nbf")
        for ahead in (6, 60, 10**9, 2**63, HUGE)
    ),
    *(
        Forgery(f"lives for {lifetime} s"[:30], LifetimeTooLong, with_times(exp=lifetime))
        for lifetime in (901, 3600, 86_400, 10**12, 2**63, HUGE)
    ),
    *(
        Forgery(f"issued {ago} s ago"[:30], LifetimeTooLong, with_times(iat=-ago, exp=120))
        for ago in (781, 86_400, HUGE)
    ),
    Forgery("milliseconds", LifetimeTooLong, lambda forge: forge.token(exp=forge.now * 1000)),
    Forgery("ends as it begins", ClaimInvalid, with_times(exp=0)),
    Forgery("ends before it begins", ClaimInvalid, with_times(iat=2, exp=1)),
]
