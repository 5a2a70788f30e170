"""Request and verify short-lived, single-use access tokens between services.

An API verifies with `Verifier` or `AsyncVerifier`, or puts `RequireToken` around its ASGI app
(`fastapi`, `wsgi`, `flask`, `django` and `grpc` are modules of their own, imported by name); a
calling service asks with `TokenClient` or `AsyncTokenClient`. Whatever goes wrong is one of the
classes in `ephemera_client.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ephemera_client.errors import (
    AlgorithmRefused,
    AudienceMismatch,
    ClaimInvalid,
    ClaimMissing,
    ClientRefused,
    ConfigurationError,
    EphemeraError,
    HeaderRefused,
    IdentityUnavailable,
    InsufficientScope,
    IssuedBeforeLedger,
    IssuerMismatch,
    IssuerUnavailable,
    JwkInvalid,
    KeysUnavailable,
    KeyUnknown,
    KeyUnsuitable,
    LifetimeTooLong,
    OriginNotListed,
    ProofInvalid,
    ProofKeyMismatch,
    ProofMismatch,
    ProofNonceRequired,
    ProofRefused,
    ProofReplayed,
    ProofStale,
    ReplayCacheUnavailable,
    RequestMalformed,
    ResponseInvalid,
    RevocationsUnavailable,
    SenderConstraintMissing,
    SenderConstraintUnverified,
    SignatureInvalid,
    TokenExpired,
    TokenMalformed,
    TokenMissing,
    TokenNotYetValid,
    TokenRefused,
    TokenReplayed,
    TokenRequestFailed,
    TokenRequestRefused,
    TokenRevoked,
    TokenTooLarge,
    TypeRefused,
)

if TYPE_CHECKING:
    from ephemera_client.any_issuer import AnyIssuer
    from ephemera_client.asgi import RequireToken, access_token
    from ephemera_client.assertion import PrivateKeyJWT
    from ephemera_client.credential import ClientSecret, Credential, Proof
    from ephemera_client.dpop.demand import DPoP, Presented
    from ephemera_client.dpop.key import DPoPKey
    from ephemera_client.dpop.nonces import DPoPNonces
    from ephemera_client.foreign import AsyncForeignVerifier, ForeignVerifier
    from ephemera_client.instant import Clock, Instant
    from ephemera_client.jwks import Keys, KeysStatus, RemoteKeys, StaticKeys
    from ephemera_client.replay import (
        Claim,
        NoReplayCache,
        RedisReplayCache,
        ReplayCache,
        SingleProcessReplayCache,
        SQLiteReplayCache,
    )
    from ephemera_client.revocations import (
        NoRevocations,
        RevocationFeed,
        Revocations,
        RevocationsStatus,
    )
    from ephemera_client.token import AccessToken, ForeignAccessToken
    from ephemera_client.token_request import IssuedToken
    from ephemera_client.tokens import AsyncTokenClient, TokenClient
    from ephemera_client.transport import Target
    from ephemera_client.verifier import AsyncVerifier, Verifier, VerifierStatus
    from ephemera_client.workload import WorkloadIdentity

__all__ = [
    "AccessToken",
    "AlgorithmRefused",
    "AnyIssuer",
    "AsyncForeignVerifier",
    "AsyncTokenClient",
    "AsyncVerifier",
    "AudienceMismatch",
    "Claim",
    "ClaimInvalid",
    "ClaimMissing",
    "ClientRefused",
    "ClientSecret",
    "Clock",
    "ConfigurationError",
    "Credential",
    "DPoP",
    "DPoPKey",
    "DPoPNonces",
    "EphemeraError",
    "ForeignAccessToken",
    "ForeignVerifier",
    "HeaderRefused",
    "IdentityUnavailable",
    "Instant",
    "InsufficientScope",
    "IssuedBeforeLedger",
    "IssuedToken",
    "IssuerMismatch",
    "IssuerUnavailable",
    "JwkInvalid",
    "KeyUnknown",
    "KeyUnsuitable",
    "Keys",
    "KeysStatus",
    "KeysUnavailable",
    "LifetimeTooLong",
    "NoReplayCache",
    "NoRevocations",
    "OriginNotListed",
    "Presented",
    "PrivateKeyJWT",
    "Proof",
    "ProofInvalid",
    "ProofKeyMismatch",
    "ProofMismatch",
    "ProofNonceRequired",
    "ProofRefused",
    "ProofReplayed",
    "ProofStale",
    "RedisReplayCache",
    "RemoteKeys",
    "ReplayCache",
    "ReplayCacheUnavailable",
    "RequestMalformed",
    "RequireToken",
    "ResponseInvalid",
    "RevocationFeed",
    "Revocations",
    "RevocationsStatus",
    "RevocationsUnavailable",
    "SQLiteReplayCache",
    "SenderConstraintMissing",
    "SenderConstraintUnverified",
    "SignatureInvalid",
    "SingleProcessReplayCache",
    "StaticKeys",
    "Target",
    "TokenClient",
    "TokenExpired",
    "TokenMalformed",
    "TokenMissing",
    "TokenNotYetValid",
    "TokenRefused",
    "TokenReplayed",
    "TokenRequestFailed",
    "TokenRequestRefused",
    "TokenRevoked",
    "TokenTooLarge",
    "TypeRefused",
    "Verifier",
    "VerifierStatus",
    "WorkloadIdentity",
    "access_token",
]

# Where the rest is: loaded when it is first asked for (PEP 562), since whoever verifies needs
# nothing of what requests, and most of that is httpx.
_NAMES = {
    "any_issuer": ("AnyIssuer",),
    "asgi": ("RequireToken", "access_token"),
    "assertion": ("PrivateKeyJWT",),
    "credential": ("ClientSecret", "Credential", "Proof"),
    "dpop.demand": ("DPoP", "Presented"),
    "dpop.key": ("DPoPKey",),
    "dpop.nonces": ("DPoPNonces",),
    "foreign": ("AsyncForeignVerifier", "ForeignVerifier"),
    "instant": ("Clock", "Instant"),
    "jwks": ("Keys", "KeysStatus", "RemoteKeys", "StaticKeys"),
    "replay": (
        "Claim",
        "NoReplayCache",
        "RedisReplayCache",
        "ReplayCache",
        "SingleProcessReplayCache",
        "SQLiteReplayCache",
    ),
    "revocations": ("NoRevocations", "RevocationFeed", "Revocations", "RevocationsStatus"),
    "token": ("AccessToken", "ForeignAccessToken"),
    "token_request": ("IssuedToken",),
    "tokens": ("AsyncTokenClient", "TokenClient"),
    "transport": ("Target",),
    "verifier": ("AsyncVerifier", "Verifier", "VerifierStatus"),
    "workload": ("WorkloadIdentity",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
