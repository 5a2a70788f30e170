from typing import Any

import pytest
from client.fixtures_publishing import publishing
from client.fixtures_verifying import (
    AUDIENCE,
    NOW,
    ManualClock,
    assert_refused,
    mint,
    signing_key,
)

from ephemera_client import (
    AlgorithmRefused,
    AsyncForeignVerifier,
    AsyncVerifier,
    AudienceMismatch,
    ClaimInvalid,
    ClaimMissing,
    ConfigurationError,
    ForeignAccessToken,
    ForeignVerifier,
    HeaderRefused,
    InsufficientScope,
    IssuedBeforeLedger,
    IssuerMismatch,
    LifetimeTooLong,
    NoReplayCache,
    SenderConstraintUnverified,
    SignatureInvalid,
    SingleProcessReplayCache,
    StaticKeys,
    TokenExpired,
    TokenNotYetValid,
    TokenReplayed,
    TypeRefused,
    Verifier,
)

KEY = signing_key("RS256")
ISSUER = "https://login.example/realms/services"


def foreign(**changes: Any) -> ForeignVerifier:
    """Make a verifier for an issuer that does all things otherwise, or fewer of them."""
    clock = changes.get("clock", ManualClock())
    arguments: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithm": "RS256",
        "types": {"JWT"},
        "audience_list": True,
        "client_claim": "azp",
        "scope_claim": "scp",
        "scope_list": True,
        "max_lifetime": 3600,
        "replay_cache": SingleProcessReplayCache(clock=clock),
        "keys": StaticKeys({"keys": [KEY.jwk]}),
        "clock": clock,
    }
    return ForeignVerifier(**(arguments | changes))


def minted(*, header: Any = None, **claims: Any) -> str:
    said: dict[str, Any] = {
        "iss": ISSUER,
        "aud": ["account", AUDIENCE],
        "azp": "orders",
        "scp": ["invoices:read", "email"],
        "exp": NOW + 3600,
        "client_id": ...,
        "scope": ...,
    }
    return mint(KEY, header=header or {"typ": "JWT"}, **(said | claims))


def test_another_issuers_token_is_accepted_once() -> None:
    verifier = foreign()
    raw = minted()
    token = verifier.verify(raw, scopes={"invoices:read"})
    assert isinstance(token, ForeignAccessToken)
    assert (token.client_id, token.subject, token.audience) == ("orders", "orders", AUDIENCE)
    assert token.issuer == ISSUER
    assert token.scopes == {"invoices:read", "email"}
    assert token.token_id == token.claims["jti"]
    assert token.claims["aud"] == ["account", AUDIENCE]
    assert repr(token).startswith("ForeignAccessToken(client_id='orders', audience='https://b")
    assert verifier.still_valid(token)
    token.require("email")
    with pytest.raises(InsufficientScope):
        token.require("invoices:write")
    assert_refused(raw, TokenReplayed, by=verifier)


@pytest.mark.anyio
async def test_the_awaited_one_loads_the_keys_and_does_the_same() -> None:
    clock = ManualClock()
    with publishing(KEY) as publisher:
        verifier = AsyncForeignVerifier(
            issuer=ISSUER,
            audience=AUDIENCE,
            algorithm="RS256",
            types={"JWT"},
            audience_list=True,
            client_claim="azp",
            scope_claim="scp",
            scope_list=True,
            max_lifetime=3600,
            replay_cache=SingleProcessReplayCache(clock=clock),
            jwks_url=publisher.url,
            clock=clock,
        )
        await verifier.warm()
        raw = minted()
        assert (await verifier.verify(raw)).client_id == "orders"
        with pytest.raises(TokenReplayed):
            await verifier.verify(raw)


def test_each_is_a_verifier_for_whatever_takes_one() -> None:
    assert issubclass(ForeignVerifier, Verifier)
    assert issubclass(AsyncForeignVerifier, AsyncVerifier)
    verifier = foreign()
    assert (verifier.issuer, verifier.audience) == (ISSUER, AUDIENCE)
    assert repr(verifier).startswith(f"ForeignVerifier(issuer='{ISSUER}'")


@pytest.mark.parametrize(
    ("otherwise", "refused"),
    [
        ({"types": {"at+jwt"}}, TypeRefused),
        ({"audience_list": False}, ClaimInvalid),
        ({"client_claim": "client_id"}, ClaimMissing),
        ({"scope_list": False}, ClaimInvalid),
        ({"max_lifetime": 3599}, LifetimeTooLong),
        ({"issuer": f"{ISSUER}/"}, IssuerMismatch),
        ({"algorithm": "ES256"}, AlgorithmRefused),
    ],
)
def test_what_is_not_allowed_by_name_is_refused(otherwise: dict[str, Any], refused: Any) -> None:
    assert_refused(minted(), refused, by=foreign(**otherwise))


@pytest.mark.parametrize(
    ("claims", "refused"),
    [
        ({"aud": ["account"]}, AudienceMismatch),
        ({"aud": []}, AudienceMismatch),
        ({"aud": "account"}, AudienceMismatch),
        ({"aud": [AUDIENCE, 7]}, ClaimInvalid),
        ({"aud": [[AUDIENCE]]}, ClaimInvalid),
        ({"aud": {AUDIENCE: 1}}, ClaimInvalid),
        ({"aud": ...}, ClaimMissing),
        ({"azp": ...}, ClaimMissing),
        ({"azp": ["orders"]}, ClaimInvalid),
        ({"sub": ...}, ClaimMissing),
        ({"jti": ...}, ClaimMissing),
        ({"jti": ""}, ClaimInvalid),
        ({"jti": 7}, ClaimInvalid),
        ({"scp": ["invoices:read", 7]}, ClaimInvalid),
        ({"scp": ["invoices:read email"]}, ClaimInvalid),
        ({"scp": [""]}, ClaimInvalid),
        ({"scp": {"invoices:read": True}}, ClaimInvalid),
        ({"iat": ...}, ClaimMissing),
        ({"iat": NOW + 60}, TokenNotYetValid),
        ({"nbf": NOW + 60}, TokenNotYetValid),
        ({"iat": NOW - 3600, "exp": NOW - 10}, TokenExpired),
        ({"iat": NOW - 60, "exp": NOW + 60}, IssuedBeforeLedger),
        ({"exp": NOW + 60.5}, ClaimInvalid),
        ({"cnf": {"jkt": "x"}}, SenderConstraintUnverified),
    ],
)
def test_all_else_is_as_strict_as_ever(claims: dict[str, Any], refused: Any) -> None:
    assert_refused(minted(**claims), refused, by=foreign())


def test_scopes_elsewhere_than_in_the_named_claim_do_not_count() -> None:
    elsewhere: list[Any] = [..., []]
    for scp in elsewhere:
        with pytest.raises(InsufficientScope):
            foreign().verify(minted(scp=scp, scope="invoices:read"), scopes={"invoices:read"})


def test_a_scope_list_may_be_a_string_too_and_an_audience_list_one_audience() -> None:
    token = foreign().verify(minted(scp="invoices:read email", aud=AUDIENCE))
    assert token.scopes == {"invoices:read", "email"}


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt", "Application/JWT"])
def test_types_are_compared_without_case_or_prefix(typ: str) -> None:
    for types in ({"JWT"}, {"application/jwt"}, ["at+jwt", "JWT"]):
        foreign(types=types).verify(minted(header={"typ": typ}))


@pytest.mark.parametrize("typ", [None, 7, ["JWT"], "", "JOSE", "at+jwt", "JWT ", ...])
def test_another_type_or_none_is_refused(typ: Any) -> None:
    assert_refused(minted(header={"typ": typ}), TypeRefused, by=foreign())


def test_an_absent_type_is_allowed_by_name_and_a_null_one_is_still_refused() -> None:
    verifier = foreign(types={None, "JWT"})
    verifier.verify(minted(header={"typ": ...}))
    verifier.verify(minted())
    assert_refused(minted(header={"typ": None}), TypeRefused, by=verifier)


@pytest.mark.parametrize("header", ["crit", "jwk", "jku", "x5u", "x5c", "zip", "b64"])
def test_a_header_that_is_never_followed_is_refused_here_too(header: str) -> None:
    assert_refused(minted(header={"typ": "JWT", header: []}), HeaderRefused, by=foreign())


def test_another_key_under_the_same_kid_is_refused() -> None:
    other = signing_key("RS256", 1)
    raw = mint(other, header={"typ": "JWT", "kid": KEY.kid}, iss=ISSUER, aud=AUDIENCE)
    assert_refused(raw, SignatureInvalid, by=foreign())


def test_without_single_use_a_token_may_do_without_an_id_and_come_again() -> None:
    verifier = foreign(replay_cache=NoReplayCache())
    raw = minted(jti=...)
    for _ in range(2):
        assert verifier.verify(raw).token_id == ""
    assert_refused(minted(jti=7), ClaimInvalid, by=verifier)


@pytest.mark.parametrize(
    "wrong",
    [
        {"types": "JWT"},
        {"types": set()},
        {"types": {""}},
        {"types": {7}},
        {"client_claim": ""},
        {"scope_claim": None},
        {"max_lifetime": 86_401},
        {"max_lifetime": 0},
        {"leeway": 31},
        {"audience": ""},
        {"algorithm": "HS256"},
        {"algorithm": ()},
        {"issuer": "http://login.example"},
        {"issuer": "login.example"},
        {"keys": None},
        {"jwks_url": "https://login.example/jwks"},
        {"ca_file": "authority.pem"},
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        foreign(**wrong)


def test_what_is_otherwise_has_no_default() -> None:
    with pytest.raises(TypeError, match="types"):
        ForeignVerifier(  # type: ignore[call-arg]
            issuer=ISSUER,
            audience=AUDIENCE,
            algorithm="RS256",
            replay_cache=NoReplayCache(),
        )
