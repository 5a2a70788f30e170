"""What a verifier expects of a token."""

from collections.abc import Collection
from dataclasses import dataclass

from ephemera_client.errors import ConfigurationError
from ephemera_client.jwk import ALGORITHMS

MAX_LEEWAY = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The shape of an issuer's tokens; each field is what another issuer may do otherwise.

    Attributes:
        types: what `typ` may be, in lower case and without `application/`; None allows it absent.
        audience_list: `aud` may be a list in which the audience is found.
        client_claim: the claim that names the calling service.
        scope_claim: the claim that holds the scopes.
        scope_list: the scopes may be a list, instead of one string.
        jti_optional: a token may do without a `jti`; it can then not be accepted just once.
        longest_lifetime: the most that a verifier may allow, in seconds.
    """

    types: tuple[str | None, ...]
    audience_list: bool
    client_claim: str
    scope_claim: str
    scope_list: bool
    jti_optional: bool
    longest_lifetime: int


RFC9068 = Profile(
    types=("at+jwt",),
    audience_list=False,
    client_claim="client_id",
    scope_claim="scope",
    scope_list=False,
    jti_optional=False,
    longest_lifetime=900,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a verifier accepts; `leeway` and `max_lifetime` in seconds."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    leeway: float
    max_lifetime: int
    profile: Profile = RFC9068

    def __post_init__(self) -> None:
        """Check the arguments of a verifier; the issuer is checked with its other URLs."""
        longest = self.profile.longest_lifetime
        if not self.algorithms or not all(name in ALGORITHMS for name in self.algorithms):
            raise ConfigurationError(f"algorithm must be one of {', '.join(ALGORITHMS)}")
        if not isinstance(self.audience, str) or not self.audience:
            raise ConfigurationError("audience must be the identifier of this API")
        if type(self.leeway) not in {int, float} or not 0 <= self.leeway <= MAX_LEEWAY:
            raise ConfigurationError(f"leeway must be from 0 to {MAX_LEEWAY} seconds")
        if type(self.max_lifetime) is not int or not 0 < self.max_lifetime <= longest:
            raise ConfigurationError(f"max_lifetime must be from 1 to {longest} seconds")


def algorithms(algorithm: str | Collection[str]) -> tuple[str, ...]:
    """Return a verifier's `algorithm` argument as the tuple that it stands for."""
    if isinstance(algorithm, Collection) and not isinstance(algorithm, str):
        return tuple(algorithm)
    return (algorithm,)
