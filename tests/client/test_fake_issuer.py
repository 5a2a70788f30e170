"""`ephemera_client.testing`: the tokens, the time and the keys that other teams' tests rely on."""

import datetime as dt
import json
from collections.abc import Callable
from urllib.parse import urlencode

import anyio
import httpx
import pytest

from ephemera_client import (
    AccessToken,
    AsyncTokenClient,
    ClientRefused,
    ClientSecret,
    ConfigurationError,
    DPoP,
    DPoPKey,
    DPoPNonces,
    EphemeraError,
    ForeignVerifier,
    InsufficientScope,
    IssuerUnavailable,
    KeysUnavailable,
    KeyUnknown,
    NoReplayCache,
    Presented,
    PrivateKeyJWT,
    ProofRefused,
    RequireToken,
    SingleProcessReplayCache,
    StaticKeys,
    Target,
    TokenClient,
    TokenExpired,
    TokenNotYetValid,
    TokenRefused,
    TokenReplayed,
    TokenRequestRefused,
    Verifier,
    access_token,
    errors,
    instant,
)
from ephemera_client.asgi import Receive, Scope, Send
from ephemera_client.private_key import PrivateKey
from ephemera_client.testing import REFUSALS, Asked, FakeIssuer, StillClock

AUDIENCE = "https://billing.internal"
READ = "invoices:read"

# What no token can be by itself.
OF_PROOFS = {ProofRefused.code, *(kind.code for kind in ProofRefused.__subclasses__())}
NOT_MINTED = {
    *("token_refused", "token_missing", "issued_before_ledger", "token_revoked"),
    # A token is bound by its caller's key alone.
    *("sender_constraint_missing", *OF_PROOFS),
}


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


def own_verifier(issuer: str) -> Verifier:
    """Make a verifier as an API does, which finds the keys by the issuer's metadata."""
    return Verifier(
        issuer=issuer,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(),
    )


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_minted_token_is_accepted_once(algorithm: str) -> None:
    issuer = FakeIssuer(algorithm=algorithm)
    raw = issuer.mint(AUDIENCE, scopes={READ, "a"}, client_id="shipping", lifetime=60)
    verifier = issuer.verifier(AUDIENCE)
    token = verifier.verify(raw, scopes={READ})
    assert (token.client_id, token.subject, token.audience) == ("shipping", "shipping", AUDIENCE)
    assert token.scopes == {READ, "a"}
    assert token.expires_at - token.issued_at == 60
    with pytest.raises(TokenReplayed):
        verifier.verify(raw)


@pytest.mark.anyio
async def test_the_awaited_verifier_shares_the_ledger_of_the_other(issuer: FakeIssuer) -> None:
    verifier = issuer.async_verifier(AUDIENCE)
    await verifier.warm()
    raw = issuer.mint(AUDIENCE)
    assert (await verifier.verify(raw)).client_id == "orders"
    with pytest.raises(TokenReplayed):
        issuer.verifier(AUDIENCE).verify(raw)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
@pytest.mark.parametrize("reason", REFUSALS)
def test_a_bad_token_is_bad_in_that_one_way(reason: str, algorithm: str) -> None:
    issuer = FakeIssuer(algorithm=algorithm)
    # The leeway is what might forgive a wrong time.
    verifier = issuer.verifier(AUDIENCE, leeway=30)
    raw = issuer.mint_refused(reason, AUDIENCE, scopes={READ})
    with pytest.raises(TokenRefused) as refused:
        verifier.verify(raw, scopes={READ})
    assert refused.value.code == reason
    verifier.verify(issuer.mint(AUDIENCE, scopes={READ}), scopes={READ})


def test_there_is_a_bad_token_for_each_refusal() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.code for kind in kinds if issubclass(kind, TokenRefused)}
    assert set(REFUSALS) == codes - NOT_MINTED


def test_an_unknown_reason_is_told_with_the_known_ones(issuer: FakeIssuer) -> None:
    with pytest.raises(ConfigurationError, match="token_expired"):
        issuer.mint_refused("too_old", AUDIENCE)


def test_any_member_of_a_token_can_be_another_or_left_out(issuer: FakeIssuer) -> None:
    verifier = issuer.verifier(AUDIENCE)
    raw = issuer.mint(
        AUDIENCE,
        header={"typ": "application/at+jwt"},
        claims={"sub": "somebody", "act": {"sub": "orders"}},
        without={"scope"},
    )
    token = verifier.verify(raw)
    assert (token.subject, token.client_id) == ("somebody", "orders")
    assert "scope" not in token.claims
    assert token.claims["act"] == {"sub": "orders"}


def test_another_issuers_shape_of_token_can_be_minted_too() -> None:
    issuer = FakeIssuer("https://login.invalid/realms/services", algorithm="RS256")
    verifier = ForeignVerifier(
        issuer=issuer.issuer,
        audience="billing",
        algorithm="RS256",
        types={"JWT"},
        client_claim="azp",
        keys=issuer.keys,
        replay_cache=NoReplayCache(),
        clock=issuer.clock,
    )
    raw = issuer.mint("billing", header={"typ": "JWT"}, claims={"azp": "orders"}, without={"jti"})
    assert verifier.verify(raw).client_id == "orders"


def test_time_passes_when_the_test_says_so(issuer: FakeIssuer) -> None:
    verifier = issuer.verifier(AUDIENCE)
    raw = issuer.mint(AUDIENCE, lifetime=60)
    token = verifier.verify(issuer.mint(AUDIENCE, lifetime=60))
    issuer.advance(64)
    assert verifier.still_valid(token)
    issuer.advance(1)
    assert not verifier.still_valid(token)
    with pytest.raises(TokenExpired):
        verifier.verify(raw)


@pytest.mark.parametrize("year", [2001, 2038])
def test_time_can_be_set_before_and_after_today(issuer: FakeIssuer, year: int) -> None:
    verifier = issuer.verifier(AUDIENCE)
    today = issuer.mint(AUDIENCE)
    issuer.at(dt.datetime(year, 2, 3, tzinfo=dt.UTC))
    token = verifier.verify(issuer.mint(AUDIENCE))
    assert dt.datetime.fromtimestamp(token.issued_at, dt.UTC).year == year
    with pytest.raises((TokenExpired, TokenNotYetValid)):
        verifier.verify(today)
    issuer.at(float(token.issued_at))
    assert issuer.clock().wall == token.issued_at


def test_a_clock_set_back_takes_no_time_away(issuer: FakeIssuer) -> None:
    before = issuer.clock()
    issuer.at(before.wall - 1000)
    assert issuer.clock() == (before.wall - 1000, before.monotonic)
    issuer.at(before.wall)
    assert issuer.clock() == (before.wall, before.monotonic + 1000)


def test_a_moment_without_a_time_zone_is_refused(issuer: FakeIssuer) -> None:
    with pytest.raises(ConfigurationError, match="time zone"):
        issuer.at(dt.datetime(2030, 1, 1))  # noqa: DTZ001 - what is refused


def test_an_issuer_on_the_machines_clock_cannot_be_set() -> None:
    issuer = FakeIssuer(clock=instant.read)
    with pytest.raises(ConfigurationError, match="StillClock"):
        issuer.advance(1)
    assert FakeIssuer(clock=StillClock(instant.Instant(5, 1))).clock() == (5, 1)


def test_a_rotated_key_is_good_until_it_is_withdrawn(issuer: FakeIssuer) -> None:
    verifier = issuer.verifier(AUDIENCE)
    old, late = issuer.mint(AUDIENCE), issuer.mint(AUDIENCE)
    retired = issuer.keys.active
    issuer.rotate()
    assert verifier.status().keys.kids == (retired.kid, issuer.keys.active.kid)
    verifier.verify(old)
    verifier.verify(issuer.mint(AUDIENCE))
    issuer.withdraw_old_keys()
    assert verifier.status().keys.kids == (issuer.keys.active.kid,)
    for raw in (late, issuer.mint(AUDIENCE, key=retired)):
        with pytest.raises(KeyUnknown):
            verifier.verify(raw)
    issuer.keys.withdraw(issuer.keys.active)
    with pytest.raises(KeyUnknown):
        verifier.verify(issuer.mint(AUDIENCE))


def test_keys_can_be_given_as_a_jwk_set_too(issuer: FakeIssuer) -> None:
    issuer.keys.refresh()
    verifier = issuer.verifier(AUDIENCE, keys=StaticKeys(issuer.keys.jwks()))
    verifier.verify(issuer.mint(AUDIENCE))


@pytest.mark.anyio
async def test_an_issuer_that_is_away_gives_no_keys_and_no_tokens(issuer: FakeIssuer) -> None:
    verifier, awaited = issuer.verifier(AUDIENCE), issuer.async_verifier(AUDIENCE)
    raw = issuer.mint(AUDIENCE)
    with issuer.away():
        assert not verifier.status().ready
        with pytest.raises(KeysUnavailable):
            verifier.verify(raw)
        with pytest.raises(KeysUnavailable):
            await awaited.warm()
        with pytest.raises(IssuerUnavailable):
            issuer.tokens().get(AUDIENCE)
        assert issuer.answer("/.well-known/jwks.json", {}, None).status == 503
    verifier.verify(raw)


def test_its_keys_serve_no_verifier_of_another_issuer(issuer: FakeIssuer) -> None:
    with pytest.raises(ConfigurationError, match=r"fake-issuer\.invalid"):
        issuer.verifier(AUDIENCE, issuer="https://tokens.internal")


def test_nobody_takes_it_for_a_real_one(issuer: FakeIssuer) -> None:
    assert issuer.issuer.endswith(".invalid")
    assert issuer.keys.active.kid.startswith("fake-issuer-for-tests")
    assert "PRIVATE" not in repr(issuer) + repr(vars(issuer))


def test_two_of_them_do_not_trust_each_other(issuer: FakeIssuer) -> None:
    other = FakeIssuer()
    with pytest.raises(TokenRefused):
        issuer.verifier(AUDIENCE).verify(other.mint(AUDIENCE))


async def _who(scope: Scope, receive: Receive, send: Send) -> None:
    del receive
    token: AccessToken = access_token(scope)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": token.client_id.encode()})


@pytest.mark.anyio
async def test_a_caller_and_an_api_meet_in_one_process(issuer: FakeIssuer) -> None:
    api = RequireToken(_who, issuer.async_verifier(AUDIENCE), scopes={READ})
    billing = {AUDIENCE: Target(AUDIENCE, {READ})}
    async with issuer.async_tokens("shipping") as tokens:
        transport = tokens.transport(billing, inner=httpx.ASGITransport(api))
        async with httpx.AsyncClient(transport=transport) as http:
            for _ in range(2):
                assert (await http.get(f"{AUDIENCE}/")).text == "shipping"
    assert [asked.client_id for asked in issuer.asked] == ["shipping"] * 2
    assert issuer.asked[0] == Asked("shipping", AUDIENCE, frozenset({READ}), None, 1)
    assert "client_id='shipping'" in repr(tokens)


def test_the_threaded_tokens_go_on_requests_as_well(issuer: FakeIssuer) -> None:
    verifier = issuer.verifier(AUDIENCE)

    def answer(request: httpx.Request) -> httpx.Response:
        token = verifier.verify(request.headers["authorization"].removeprefix("Bearer "))
        return httpx.Response(200, text=token.client_id)

    with issuer.tokens() as tokens:
        inner = httpx.MockTransport(answer)
        transport = tokens.transport({AUDIENCE: Target(AUDIENCE)}, inner=inner)
        with httpx.Client(transport=transport) as http:
            assert http.get(AUDIENCE).text == "orders"


@pytest.mark.anyio
async def test_a_caller_that_binds_its_tokens_meets_an_api_that_demands_it(
    issuer: FakeIssuer,
) -> None:
    key = DPoPKey.generate()
    demand = DPoP(origin=AUDIENCE, required=True, nonces=DPoPNonces.of_this_process())
    api = RequireToken(_who, issuer.async_verifier(AUDIENCE, dpop=demand), scopes={READ})
    billing = {AUDIENCE: Target(AUDIENCE, {READ})}
    for dpop, status in ((key, 200), (None, 401)):
        async with issuer.async_tokens("shipping", dpop=dpop) as tokens:
            transport = tokens.transport(billing, inner=httpx.ASGITransport(api))
            async with httpx.AsyncClient(transport=transport) as http:
                assert (await http.get(f"{AUDIENCE}/")).status_code == status
    with issuer.tokens("shipping", dpop=key) as threaded:
        token = threaded.get(AUDIENCE)
        verifier = issuer.verifier(AUDIENCE, dpop=DPoP(origin=AUDIENCE, required=True))
        headers = threaded.headers(token, "GET", AUDIENCE)
        accepted = verifier.verify(token, presented=Presented("GET", AUDIENCE, headers["DPoP"]))
    assert accepted.key_thumbprint == key.thumbprint


def test_a_bad_proof_gets_no_token(issuer: FakeIssuer) -> None:
    form = f"grant_type=client_credentials&client_id=orders&resource={AUDIENCE}".encode()
    answer = issuer.answer("/oauth2/token", {"dpop": "junk"}, form)
    assert (answer.status, b"invalid_dpop_proof" in answer.body) == (400, True)


def test_what_is_asked_for_is_given_unless_grants_say_otherwise(issuer: FakeIssuer) -> None:
    token = issuer.tokens().get(AUDIENCE, scopes={"anything"}, lifetime=30)
    assert token.scopes == {"anything"}
    assert token.expires_at == issuer.clock().wall + 30
    longest = issuer.tokens().get(AUDIENCE, lifetime=86_400)
    assert longest.expires_at == issuer.clock().wall + 900
    granting = FakeIssuer(grants={AUDIENCE: {READ, "invoices:write"}}).tokens()
    assert granting.get(AUDIENCE).scopes == {READ, "invoices:write"}
    assert granting.get(AUDIENCE, scopes={READ}).scopes == {READ}
    with pytest.raises(TokenRequestRefused) as refused:
        granting.get(AUDIENCE, scopes={"admin"})
    assert refused.value.error == "invalid_scope"
    with pytest.raises(TokenRequestRefused) as refused:
        granting.get("https://other.internal")
    assert refused.value.error == "invalid_target"


def test_the_next_request_can_be_refused(issuer: FakeIssuer) -> None:
    issuer.refuse_next("invalid_client", status=401)
    issuer.refuse_next("invalid_scope", description="not this month")
    with pytest.raises(ClientRefused):
        issuer.tokens().get(AUDIENCE)
    with pytest.raises(TokenRequestRefused) as refused:
        issuer.tokens().get(AUDIENCE)
    assert (refused.value.error, refused.value.description) == ("invalid_scope", "not this month")
    issuer.tokens().get(AUDIENCE)
    assert len(issuer.asked) == 3


@pytest.mark.parametrize(
    "credential",
    [
        lambda: ClientSecret("whatever"),
        lambda: PrivateKeyJWT(PrivateKey.generate("ES256").pem()),
    ],
    ids=["secret", "key"],
)
def test_on_loopback_real_clients_and_verifiers_use_it_unchanged(
    credential: Callable[[], ClientSecret | PrivateKeyJWT],
) -> None:
    with FakeIssuer.on_loopback() as issuer:
        verifier = own_verifier(issuer.issuer)
        with TokenClient(issuer.issuer, client_id="a b", credential=credential()) as tokens:
            token = verifier.verify(tokens.get(AUDIENCE, scopes={READ}), scopes={READ})
            assert token.client_id == "a b"
            issuer.rotate()
            verifier.verify(tokens.get(AUDIENCE))
            issuer.refuse_next("invalid_scope")
            with pytest.raises(TokenRequestRefused):
                tokens.get(AUDIENCE)
            with issuer.away(), pytest.raises(IssuerUnavailable):
                tokens.get(AUDIENCE)
    with pytest.raises(EphemeraError):
        own_verifier(issuer.issuer).warm()


def test_on_loopback_an_asynchronous_client_uses_it_too() -> None:
    async def get(issuer: str) -> str:
        credential = ClientSecret("whatever")
        async with AsyncTokenClient(issuer, client_id="orders", credential=credential) as tokens:
            return await tokens.get(AUDIENCE)

    with FakeIssuer.on_loopback() as issuer:
        for backend in ("asyncio", "trio"):
            raw = anyio.run(get, issuer.issuer, backend=backend)
            assert own_verifier(issuer.issuer).verify(raw).client_id == "orders"


BASIC = {"authorization": "Basic b3JkZXJzOnNlY3JldA=="}
ASKING = {"grant_type": "client_credentials", "resource": AUDIENCE}


@pytest.mark.parametrize(
    ("headers", "form", "error"),
    [
        (BASIC, {"resource": AUDIENCE}, "unsupported_grant_type"),
        (BASIC, {"grant_type": "client_credentials"}, "invalid_target"),
        (BASIC, ASKING | {"lifetime": "soon"}, "invalid_request"),
        (BASIC, ASKING | {"count": "0"}, "invalid_request"),
        (BASIC, ASKING | {"count": "101"}, "invalid_request"),
        ({}, ASKING, "invalid_client"),
        ({"authorization": "Basic !"}, ASKING, "invalid_client"),
        ({"authorization": "Basic OnNlY3JldA=="}, ASKING, "invalid_client"),
        ({}, ASKING | {"client_assertion": "no.such.thing"}, "invalid_client"),
    ],
)
def test_a_request_that_is_none_is_refused_as_the_rfc_says(
    issuer: FakeIssuer, headers: dict[str, str], form: dict[str, str], error: str
) -> None:
    answer = issuer.answer("/oauth2/token", headers, urlencode(form).encode())
    assert answer.status == (401 if error == "invalid_client" else 400)
    assert json.loads(answer.body)["error"] == error


def test_many_tokens_come_by_one_request(issuer: FakeIssuer) -> None:
    form = urlencode(ASKING | {"count": "100"}).encode()
    answer = json.loads(issuer.answer("/oauth2/token", BASIC, form).body)
    raws = [answer["access_token"], *answer["additional_tokens"]]
    verifier = issuer.verifier(AUDIENCE)
    assert len({verifier.verify(raw).token_id for raw in raws}) == 100


def test_other_paths_are_not_found(issuer: FakeIssuer) -> None:
    assert issuer.answer("/", {}, None).status == 404
    assert issuer.answer("/oauth2/token", {}, None).status == 404
    assert issuer.answer("/.well-known/jwks.json", {}, b"").status == 404


def test_a_refusal_of_the_scope_is_403(issuer: FakeIssuer) -> None:
    with pytest.raises(InsufficientScope) as refused:
        issuer.verifier(AUDIENCE).verify(issuer.mint(AUDIENCE), scopes={READ})
    assert refused.value.status == 403
