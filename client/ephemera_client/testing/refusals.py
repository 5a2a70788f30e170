"""Tokens that are good but for one thing, by the code of the refusal that they meet."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ephemera_client import compact
from ephemera_client.errors import ConfigurationError
from ephemera_client.expected import MAX_LEEWAY, RFC9068
from ephemera_client.replay import Claim

if TYPE_CHECKING:
    from ephemera_client.testing.issuer import FakeIssuer

# Beyond any leeway.
_AGO = 2 * MAX_LEEWAY

# What makes a token a bad one: arguments of `FakeIssuer.mint`, given the issuer and the time.
_CHANGES: Mapping[str, Callable[["FakeIssuer", int], Mapping[str, Any]]] = {
    "token_too_large": lambda _, __: {"claims": {"padding": "x" * compact.MAX_LENGTH}},
    "algorithm_refused": lambda _, __: {"header": {"alg": "HS256"}},
    "type_refused": lambda _, __: {"header": {"typ": "JWT"}},
    "header_refused": lambda _, __: {"without": {"kid"}},
    "key_unknown": lambda issuer, _: {"key": issuer.keys.make()},
    "key_unsuitable": lambda issuer, _: {"header": {"kid": _of_another_algorithm(issuer)}},
    "signature_invalid": lambda issuer, _: {
        "key": issuer.keys.make(),
        "header": {"kid": issuer.keys.active.kid},
    },
    "issuer_mismatch": lambda _, __: {"claims": {"iss": "https://other-issuer.invalid"}},
    "audience_mismatch": lambda _, __: {"claims": {"aud": "https://other-api.invalid"}},
    "claim_missing": lambda _, __: {"without": {"jti"}},
    "claim_invalid": lambda _, __: {"claims": {"jti": 7}},
    "token_expired": lambda _, now: {"claims": {"iat": now - 2 * _AGO, "exp": now - _AGO}},
    "token_not_yet_valid": lambda _, now: {"claims": {"iat": now + _AGO, "exp": now + 2 * _AGO}},
    "lifetime_too_long": lambda _, __: {"lifetime": RFC9068.longest_lifetime + 1},
    "insufficient_scope": lambda _, __: {"scopes": ()},
    "sender_constraint_unverified": lambda _, __: {"claims": {"cnf": {"jkt": "of-another-key"}}},
    # These two are good as they are minted.
    "token_malformed": lambda _, __: {},
    "token_replayed": lambda _, __: {},
}

REFUSALS = tuple(_CHANGES)
"""The reasons that `FakeIssuer.mint_refused` knows, for a parametrized test."""


def mint_refused(issuer: "FakeIssuer", reason: str, good: Mapping[str, Any]) -> str:
    """Return what `FakeIssuer.mint` makes of `good`, spoilt for `reason`.

    Raises:
        ConfigurationError: no such reason is known.
    """
    if reason not in _CHANGES:
        raise ConfigurationError(f"reason must be one of {', '.join(REFUSALS)}")
    changes = _CHANGES[reason](issuer, math.floor(issuer.clock().wall))
    raw = issuer.mint(**{**good, **changes})
    if reason == "token_malformed":
        return raw[:-1]
    if reason == "token_replayed":
        said = compact.parse(raw).claims
        issuer.replay_cache.claim(
            Claim("token", said["iss"], said["sub"], said["jti"], said["iat"], said["exp"]),
            issuer.clock(),
        )
    return raw


def _of_another_algorithm(issuer: "FakeIssuer") -> str:
    algorithm = "ES256" if issuer.algorithm == "EdDSA" else "EdDSA"
    return issuer.keys.publish(algorithm).kid
