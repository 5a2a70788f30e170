"""The door for another issuer's tokens, such as while callers move over from it.

Whatever its tokens do otherwise than RFC 9068 is allowed by name; all else is as strict as ever.
"""

from collections.abc import Collection

from ephemera_client import instant
from ephemera_client.dpop.demand import DPoP
from ephemera_client.errors import ConfigurationError
from ephemera_client.events import OnEvent
from ephemera_client.expected import RFC9068, Expected, Profile, algorithms
from ephemera_client.http import CaFile, check_url
from ephemera_client.instant import Clock
from ephemera_client.jwks import Keys, RemoteKeys
from ephemera_client.replay import ReplayCache
from ephemera_client.revocations import NoRevocations
from ephemera_client.verifier import AsyncVerifier, Checks, Verifier

LONGEST_LIFETIME = 86_400


class _ForeignChecks(Checks):
    """How the verifiers of another issuer's tokens are made."""

    __slots__ = ()

    def __init__(  # noqa: PLR0913 - the parts of a verifier, each by its name
        self,
        *,
        issuer: str,
        audience: str,
        algorithm: str | tuple[str, ...],
        types: Collection[str | None],
        replay_cache: ReplayCache,
        keys: Keys | None = None,
        jwks_url: str | None = None,
        audience_list: bool = False,
        client_claim: str = RFC9068.client_claim,
        scope_claim: str = RFC9068.scope_claim,
        scope_list: bool = False,
        leeway: float = 5,
        max_lifetime: int = RFC9068.longest_lifetime,
        unencrypted_hosts: Collection[str] = (),
        ca_file: CaFile = None,
        clock: Clock = instant.read,
        on_event: OnEvent | None = None,
        dpop: DPoP | None = None,
    ) -> None:
        check_url(issuer, unencrypted_hosts=unencrypted_hosts, what="issuer")
        for name, value in (("client_claim", client_claim), ("scope_claim", scope_claim)):
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"{name} must be the name of a claim")
        if (keys is None) == (jwks_url is None):
            raise ConfigurationError("another issuer's keys are named by jwks_url= or keys=")
        if keys is None:
            keys = RemoteKeys(jwks_url, ca_file=ca_file, unencrypted_hosts=unencrypted_hosts)
        elif ca_file is not None:
            raise ConfigurationError("keys= are told their own ca_file")
        profile = Profile(
            types=_types(types),
            audience_list=audience_list,
            client_claim=client_claim,
            scope_claim=scope_claim,
            scope_list=scope_list,
            jti_optional=replay_cache.accepted_once == "off",
            longest_lifetime=LONGEST_LIFETIME,
        )
        expected = Expected(
            issuer=issuer,
            audience=audience,
            algorithms=algorithms(algorithm),
            leeway=leeway,
            max_lifetime=max_lifetime,
            profile=profile,
        )
        self._assemble(
            expected=expected,
            keys=keys,
            revocations=NoRevocations(),
            replay_cache=replay_cache,
            clock=clock,
            on_event=on_event,
            dpop=dpop,
        )


class ForeignVerifier(_ForeignChecks, Verifier):
    """Accepts another issuer's access tokens for one audience, in all else as `Verifier` does.

    Its keys are not discovered: they are where `jwks_url` says. It follows no revocations. Tokens
    without a `jti` are for `NoReplayCache` alone, since nothing can tell one use of them from the
    next.

    Args:
        issuer: the issuer identifier, compared exactly with `iss`; it may have a path.
        audience: the identifier of this API, compared exactly.
        algorithm: the one that the issuer signs with; two in a tuple while it changes.
        types: what `typ` may be, such as `{"JWT"}`; None among them allows it absent. With these
            an ID token looks like an access token: its audience must be another.
        replay_cache: where tokens are accepted once; such issuers' callers often reuse a token
            until it expires, which only `NoReplayCache` allows.
        keys: `RemoteKeys` with other numbers, or `StaticKeys`.
        jwks_url: where the keys are.
        audience_list: `aud` may be a list in which the audience is found.
        client_claim: the claim that names the calling service, such as `azp`.
        scope_claim: the claim that holds the scopes, such as `scp`.
        scope_list: the scopes may be a list.
        leeway: seconds by which the issuer's clock may differ, 30 at most.
        max_lifetime: the longest `exp - iat` that is accepted, in seconds, 86400 at most.
        unencrypted_hosts: hosts that may be asked for keys over plain http.
        ca_file: PEM file of the authorities to trust instead of the public ones.
        clock: reads both clocks.
        on_event: told of what happens, see `events`.
        dpop: takes or demands tokens that are bound to their sender's key.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    __slots__ = ()


class AsyncForeignVerifier(_ForeignChecks, AsyncVerifier):
    """`ForeignVerifier` for asyncio and trio: the same arguments, `verify` and `warm` awaited."""

    __slots__ = ()


def _types(types: Collection[str | None]) -> tuple[str | None, ...]:
    if isinstance(types, str) or not types:
        raise ConfigurationError('types must be a set of what typ may be, such as {"JWT"}')
    for typ in types:
        if typ is not None and (not isinstance(typ, str) or not typ):
            raise ConfigurationError("a type in types must be a string, or None for no typ at all")
    return tuple(typ and typ.lower().removeprefix("application/") for typ in sorted(types, key=str))
