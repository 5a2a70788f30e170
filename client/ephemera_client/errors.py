"""Everything this library raises.

EphemeraError
├── TokenRefused                      401, the token at hand is not accepted
│   ├── TokenMissing                  no token was sent at all
│   ├── TokenMalformed                not a JWS in compact form
│   ├── TokenTooLarge
│   ├── AlgorithmRefused              `alg` is not the pinned one
│   ├── TypeRefused                   `typ` is not at+jwt
│   ├── HeaderRefused                 `kid` missing, or a header that is never followed
│   ├── KeyUnknown                    the issuer publishes no such key
│   ├── KeyUnsuitable                 it does, but the key must not verify this token
│   ├── SignatureInvalid
│   ├── IssuerMismatch
│   ├── AudienceMismatch
│   ├── ClaimMissing
│   ├── ClaimInvalid
│   ├── TokenExpired
│   ├── TokenNotYetValid
│   ├── LifetimeTooLong
│   ├── TokenRevoked                  withdrawn by the issuer before its time
│   ├── InsufficientScope             403, genuine, but its scopes do not cover the call
│   ├── SenderConstraintUnverified    bound to a sender by a `cnf` that was not checked
│   ├── SenderConstraintMissing       bound to no sender, where it must be
│   ├── ProofRefused                  the DPoP proof beside the token is not accepted
│   │   ├── ProofInvalid              malformed, or not signed by the key that it brings
│   │   ├── ProofKeyMismatch          by another key than the token's
│   │   ├── ProofMismatch             for another method, URL or token
│   │   ├── ProofStale                too old, or made in the future
│   │   ├── ProofNonceRequired        without a nonce of this server's that is still good
│   │   └── ProofReplayed             accepted once already
│   ├── TokenReplayed                 accepted once already
│   └── IssuedBeforeLedger            the replay cache may have forgotten it
├── RequestMalformed                  400, such as two Authorization headers
├── KeysUnavailable                   503, no usable key set
├── RevocationsUnavailable            503, nobody knows what is revoked
├── ReplayCacheUnavailable            503, single use cannot be assured
├── TokenRequestFailed                no token was issued
│   ├── TokenRequestRefused           the issuer said no
│   │   └── ClientRefused             it did not accept the client's credential
│   ├── ResponseInvalid               its answer breaks the protocol
│   └── IssuerUnavailable             it gave no answer, or asked to wait
│       └── IdentityUnavailable       the platform gave no token to prove oneself with
├── OriginNotListed                   a transport was asked to send a token elsewhere
├── JwkInvalid                        a JWK that this library does not verify with
└── ConfigurationError                a constructor's argument is wrong

Texts may quote configuration, never what arrived: no token, claim, header or body.
"""

from collections.abc import Iterable
from typing import ClassVar


class EphemeraError(Exception):
    """The root of the tree.

    `code` is stable: branch on it, count it, alert on it. The text is for people and may change.
    """

    code: ClassVar[str] = "ephemera_error"


class TokenRefused(EphemeraError):
    """The token is not accepted; `status` is the HTTP status that says so."""

    code = "token_refused"
    status: ClassVar[int] = 401


class TokenMissing(TokenRefused):
    """The request carried no token: the challenge names no error (RFC 6750 §3.1)."""

    code = "token_missing"


class TokenMalformed(TokenRefused):
    """Not three canonical base64url parts around strict JSON objects (RFC 7515 §7.1)."""

    code = "token_malformed"


class TokenTooLarge(TokenRefused):
    """Longer than 8 KiB."""

    code = "token_too_large"


class AlgorithmRefused(TokenRefused):
    """The header's `alg` is not the one that this verifier is pinned to."""

    code = "algorithm_refused"


class TypeRefused(TokenRefused):
    """The header's `typ` does not say that this is an access token (RFC 9068 §2.1)."""

    code = "type_refused"


class HeaderRefused(TokenRefused):
    """`kid` is missing, or the header brings an extension or a key of its own."""

    code = "header_refused"


class KeyUnknown(TokenRefused):
    """The issuer publishes no key of this `kid`."""

    code = "key_unknown"


class KeyUnsuitable(TokenRefused):
    """The issuer publishes the key, but it is weak, conflicting or for another algorithm."""

    code = "key_unsuitable"


class SignatureInvalid(TokenRefused):
    """The signature is not the key's over these bytes."""

    code = "signature_invalid"


class IssuerMismatch(TokenRefused):
    """`iss` is not exactly the issuer of this verifier."""

    code = "issuer_mismatch"


class AudienceMismatch(TokenRefused):
    """`aud` is not exactly the audience of this verifier: the token is for another API."""

    code = "audience_mismatch"


class ClaimMissing(TokenRefused):
    """A claim that RFC 9068 §2.2 requires is absent."""

    code = "claim_missing"


class ClaimInvalid(TokenRefused):
    """A claim is of the wrong type or contradicts another."""

    code = "claim_invalid"


class TokenExpired(TokenRefused):
    """`exp` has passed."""

    code = "token_expired"


class TokenNotYetValid(TokenRefused):
    """`iat` or `nbf` lies ahead by more than the leeway: compare the clocks."""

    code = "token_not_yet_valid"


class LifetimeTooLong(TokenRefused):
    """`exp - iat` is over this verifier's `max_lifetime`."""

    code = "lifetime_too_long"


class TokenRevoked(TokenRefused):
    """The issuer has withdrawn it: itself, with others of its client or audience, or its key."""

    code = "token_revoked"


class InsufficientScope(TokenRefused):
    """The token is genuine, but lacks a scope; `required` holds all that the call needs."""

    code = "insufficient_scope"
    status = 403

    def __init__(self, message: str, *, required: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.required = frozenset(required)


class SenderConstraintUnverified(TokenRefused):
    """The token is bound to its sender's key (`cnf`) and nothing here proved that key."""

    code = "sender_constraint_unverified"


class SenderConstraintMissing(TokenRefused):
    """The token is bound to no key, and this API takes only tokens that are (RFC 9449 §7.2)."""

    code = "sender_constraint_missing"


class ProofRefused(TokenRefused):
    """The proof of possession that came with the token is not accepted (RFC 9449 §4.3)."""

    code = "proof_refused"


class ProofInvalid(ProofRefused):
    """Not one proof of the form demanded, or not signed by the key that it brings."""

    code = "proof_invalid"


class ProofKeyMismatch(ProofRefused):
    """The proof is by another key than the one that the token is bound to."""

    code = "proof_key_mismatch"


class ProofMismatch(ProofRefused):
    """The proof is for another method (`htm`), another URL (`htu`) or another token (`ath`)."""

    code = "proof_mismatch"


class ProofStale(ProofRefused):
    """The proof was made too long ago or in the future: compare the clocks."""

    code = "proof_stale"


class ProofNonceRequired(ProofRefused):
    """The proof holds no nonce of this server that is still good; `nonce` is one that is."""

    code = "proof_nonce_required"

    def __init__(self, message: str, *, nonce: str = "") -> None:
        super().__init__(message)
        self.nonce = nonce


class ProofReplayed(ProofRefused):
    """The proof has been accepted before."""

    code = "proof_replayed"


class TokenReplayed(TokenRefused):
    """The token has been accepted before."""

    code = "token_replayed"


class IssuedBeforeLedger(TokenRefused):
    """The token is older than what the replay cache remembers, so it may have been used."""

    code = "issued_before_ledger"


class RequestMalformed(EphemeraError):
    """The request cannot carry a token this way (RFC 6750 §3.1, `invalid_request`)."""

    code = "request_malformed"
    status: ClassVar[int] = 400


class KeysUnavailable(EphemeraError):
    """No usable key set, so nothing can be said of the token.

    `cause_code` says why: how the exchange failed (`timeout`, `connect_failed`, `dns_failed`,
    `tls_unknown_authority`, `redirected`, `too_large`, ...), `status_unexpected`, `jwks_invalid`,
    `metadata_status_unexpected`, `metadata_invalid`, `ca_file_unusable`, `no_thread`,
    `client_closed`, `client_forked`, `not_bound`, `not_loaded` or `failed`.
    """

    code = "keys_unavailable"
    status: ClassVar[int] = 503

    def __init__(self, message: str, *, cause_code: str = "unknown") -> None:
        super().__init__(message)
        self.cause_code = cause_code


class RevocationsUnavailable(EphemeraError):
    """The issuer's revocations are not known, or not lately enough, so nothing is accepted.

    `cause_code` says why: how the exchange failed (as for `KeysUnavailable`), `status_unexpected`,
    `revocations_invalid`, `sequence_behind`, `metadata_status_unexpected`, `metadata_invalid`,
    `not_offered`, `ca_file_unusable`, `no_thread`, `not_bound`, `not_loaded`, `closed` or `failed`.
    """

    code = "revocations_unavailable"
    status: ClassVar[int] = 503

    def __init__(self, message: str, *, cause_code: str = "unknown") -> None:
        super().__init__(message)
        self.cause_code = cause_code


class ReplayCacheUnavailable(EphemeraError):
    """Single use cannot be assured, so the token was not accepted.

    `cause_code` says why, such as `timeout`, `connect_failed`, `full`, `evicting` or `forked`;
    docs/errors.md lists them.
    """

    code = "replay_cache_unavailable"
    status: ClassVar[int] = 503

    def __init__(self, message: str, *, cause_code: str = "unknown") -> None:
        super().__init__(message)
        self.cause_code = cause_code


class TokenRequestFailed(EphemeraError):
    """The issuer did not give a token."""

    code = "token_request_failed"


class TokenRequestRefused(TokenRequestFailed):
    """The issuer refused the request (RFC 6749 §5.2).

    `error` and `description` are the issuer's words, `status` its HTTP status.
    """

    code = "token_request_refused"

    def __init__(
        self,
        message: str,
        *,
        error: str = "invalid_request",
        description: str | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.error = error
        self.description = description
        self.status = status


class ClientRefused(TokenRequestRefused):
    """The issuer did not accept this client's credential (`invalid_client`)."""

    code = "client_refused"


class ResponseInvalid(TokenRequestFailed):
    """The issuer's answer breaks the protocol: is this the right address?"""

    code = "response_invalid"


class IssuerUnavailable(TokenRequestFailed):
    """The issuer gave no answer, or asked to come back after `retry_after` seconds."""

    code = "issuer_unavailable"

    def __init__(
        self, message: str, *, cause_code: str = "unknown", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.cause_code = cause_code
        self.retry_after = retry_after


class IdentityUnavailable(IssuerUnavailable):
    """The platform gave no token to show to the issuer, so the issuer was not asked."""

    code = "identity_unavailable"

    def __init__(self, message: str) -> None:
        super().__init__(message, cause_code="identity_unavailable")


class OriginNotListed(EphemeraError):
    """The transport has no target for this origin, so it sends it no token."""

    code = "origin_not_listed"


class JwkInvalid(EphemeraError, ValueError):
    """The JWK is malformed, private, weak, or says that it is not for verifying."""

    code = "jwk_invalid"


class ConfigurationError(EphemeraError, ValueError):
    """An argument of a constructor or a call is wrong: a mistake in the program, not in a token."""

    code = "configuration_error"
