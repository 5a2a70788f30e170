import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from client.fixtures_publishing import Publisher, publishing
from client.fixtures_requesting import Reply
from client.fixtures_verifying import (
    AUDIENCE,
    ISSUER,
    NOW,
    ManualClock,
    assert_refused,
    encode,
    mint,
    signing_key,
    verifier_of,
)

from ephemera_client import (
    AlgorithmRefused,
    AsyncVerifier,
    AudienceMismatch,
    Claim,
    ConfigurationError,
    HeaderRefused,
    InsufficientScope,
    IssuedBeforeLedger,
    IssuerMismatch,
    KeysUnavailable,
    KeyUnknown,
    LifetimeTooLong,
    NoReplayCache,
    RemoteKeys,
    ReplayCacheUnavailable,
    SenderConstraintUnverified,
    SignatureInvalid,
    SingleProcessReplayCache,
    StaticKeys,
    TokenExpired,
    TokenMalformed,
    TokenReplayed,
    TypeRefused,
    Verifier,
)
from ephemera_client.instant import Instant
from ephemera_client.replay import AcceptedOnce

KEY = signing_key("ES256")


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing(KEY) as made:
        yield made


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_a_good_token_is_accepted_once(alg: str) -> None:
    key = signing_key(alg)
    verifier = verifier_of(key)
    raw = mint(key)
    token = verifier.verify(raw, scopes={"invoices:read"})
    assert (token.client_id, token.audience) == ("orders", AUDIENCE)
    for _ in range(2):
        assert_refused(raw, TokenReplayed, by=verifier)
    verifier.verify(mint(key))


@pytest.mark.anyio
async def test_the_awaited_verifier_does_the_same(publisher: Publisher) -> None:
    clock = ManualClock()
    verifier = AsyncVerifier(
        issuer=publisher.issuer,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(clock=clock),
        clock=clock,
    )
    await verifier.warm()
    raw = mint(iss=publisher.issuer)
    token = await verifier.verify(raw, scopes={"invoices:read"})
    assert token.issuer == publisher.issuer
    with pytest.raises(TokenReplayed):
        await verifier.verify(raw)
    with pytest.raises(InsufficientScope):
        await verifier.verify(mint(iss=publisher.issuer), scopes={"admin"})
    clock.advance(126)
    with pytest.raises(TokenExpired):
        await verifier.verify(mint(iss=publisher.issuer))
    assert not verifier.still_valid(token)


def test_keys_come_from_the_issuers_metadata_or_from_where_they_are_said_to_be(
    publisher: Publisher,
) -> None:
    for where in ({}, {"jwks_url": publisher.url}, {"keys": RemoteKeys(publisher.url)}):
        parts = {"keys": None, "issuer": publisher.issuer} | where
        verifier = verifier_of(**parts)
        verifier.warm()
        verifier.verify(mint(iss=publisher.issuer))
        assert verifier.status().keys.kids == (KEY.kid,)


def test_a_bad_signature_and_a_bad_shape_never_fetch(publisher: Publisher) -> None:
    verifier = verifier_of(keys=RemoteKeys(publisher.url))
    for raw in (mint(header={"alg": "none"}), mint(header={"typ": "JWT"}), "a.b.c", ""):
        assert_refused(raw, by=verifier)
    assert not publisher.loads
    verifier.warm()
    mine = signing_key("ES256", 666)
    for _ in range(20):
        assert_refused(mint(mine, header={"kid": KEY.kid}), SignatureInvalid, by=verifier)
    assert len(publisher.loads) == 1


def test_a_rotation_is_followed_without_a_restart(publisher: Publisher) -> None:
    old, new = KEY, signing_key("ES256", 1)
    clock = ManualClock()
    verifier = verifier_of(keys=RemoteKeys(publisher.url), clock=clock)
    verifier.verify(mint(old))
    publisher.publish(old, new)
    verifier.verify(mint(new))
    publisher.publish(new)
    clock.advance(301)
    assert_refused(mint(old, iat=NOW + 301, exp=NOW + 400), KeyUnknown, by=verifier)


def test_an_issuer_away_for_fifty_minutes_stops_nothing_and_then_everything(
    publisher: Publisher,
) -> None:
    clock = ManualClock()
    verifier = verifier_of(
        keys=RemoteKeys(publisher.url), clock=clock, replay_cache=NoReplayCache()
    )
    verifier.warm()
    publisher.reply = Reply(503)
    for minute in range(55):
        now = int(clock().wall)
        verifier.verify(mint(iat=now, exp=now + 60))
        if minute < 54:
            clock.advance(60)
    clock.advance(61)
    now = int(clock().wall)
    with pytest.raises(KeysUnavailable):
        verifier.verify(mint(iat=now, exp=now + 60))


ORDER: list[tuple[type[Exception], dict[str, Any]]] = [
    (AlgorithmRefused, {"header": {"alg": "HS256"}}),
    (TypeRefused, {"header": {"typ": "JWT"}}),
    (HeaderRefused, {"header": {"kid": ""}}),
    (HeaderRefused, {"header": {"crit": []}}),
    (KeyUnknown, {"header": {"kid": "unknown"}}),
    (SignatureInvalid, {"key": signing_key("ES256", 666), "header": {"kid": KEY.kid}}),
    (IssuerMismatch, {"iss": "https://other.internal"}),
    (AudienceMismatch, {"aud": "https://other.internal"}),
    (TokenExpired, {"iat": NOW - 5000, "exp": NOW - 4000}),
    (LifetimeTooLong, {"exp": NOW + 901}),
    (InsufficientScope, {"scope": "nothing"}),
    (SenderConstraintUnverified, {"cnf": {}}),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_checks_come_in_the_order_of_the_design(first: int) -> None:
    # A token with everything wrong from one check on is refused for that check.
    broken: dict[str, Any] = {}
    header: dict[str, Any] = {}
    for _, change in reversed(ORDER[first:]):
        header |= change.get("header", {})
        broken |= change
    with pytest.raises(ORDER[first][0]):
        verifier_of().verify(mint(**broken | {"header": header}), scopes={"invoices:read"})


def test_a_refused_token_is_not_used_up() -> None:
    verifier = verifier_of()
    raw = mint()
    with pytest.raises(InsufficientScope) as caught:
        verifier.verify(raw, scopes={"invoices:write", "admin"})
    assert caught.value.required == {"invoices:write", "admin"}
    verifier.verify(raw)


def test_scopes_given_as_one_string_are_a_mistake_of_the_program() -> None:
    with pytest.raises(ConfigurationError):
        verifier_of().verify(mint(), scopes="invoices:read")


class SlowCache:
    """Takes a minute for each claim."""

    accepted_once: AcceptedOnce = "fleet"

    def __init__(self, clock: ManualClock, seconds: float = 60, set_back: float = 0) -> None:
        self.clock, self.seconds, self.back = clock, seconds, set_back

    def claim(self, claim: Claim, now: Instant) -> None:
        del claim, now
        self.clock.advance(self.seconds)
        self.clock.set_back(self.back)

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        self.claim(claim, now)

    def warm(self) -> None: ...

    async def warm_async(self) -> None: ...


@pytest.mark.parametrize("back", [0, 60, 3600])
def test_a_token_that_expires_while_it_is_claimed_is_refused(back: float) -> None:
    clock = ManualClock()
    verifier = verifier_of(clock=clock, replay_cache=SlowCache(clock, set_back=back))
    verifier.verify(mint(exp=NOW + 70))
    now = int(clock().wall)
    assert_refused(mint(iat=now - 10, exp=now + 50), TokenExpired, by=verifier)


class BrokenCache:
    """Raises what it likes."""

    accepted_once: AcceptedOnce = "fleet"

    def claim(self, claim: Claim, now: Instant) -> None:
        del claim, now
        raise ConnectionError("db://user:password@host")

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        self.claim(claim, now)

    def warm(self) -> None:
        raise ConnectionError("db://user:password@host")

    async def warm_async(self) -> None:
        self.warm()


@pytest.mark.anyio
async def test_a_replay_cache_that_breaks_lets_nothing_in() -> None:
    verifier = verifier_of(replay_cache=BrokenCache())
    with pytest.raises(ReplayCacheUnavailable, match="failed") as caught:
        verifier.verify(mint())
    assert caught.value.cause_code == "failed"
    clock = ManualClock()
    awaited = AsyncVerifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=BrokenCache(),
        keys=StaticKeys({"keys": [KEY.jwk]}),
        clock=clock,
    )
    with pytest.raises(ReplayCacheUnavailable):
        await awaited.verify(mint())
    with pytest.raises(ReplayCacheUnavailable):
        verifier.warm()
    with pytest.raises(ReplayCacheUnavailable):
        await awaited.warm()


class EvictingCache(NoReplayCache):
    """Is found out before traffic comes."""

    def warm(self) -> None:
        raise ReplayCacheUnavailable("it may forget", cause_code="evicting")

    async def warm_async(self) -> None:
        self.warm()


@pytest.mark.anyio
async def test_a_replay_cache_that_cannot_be_relied_on_is_told_by_warm(
    publisher: Publisher,
) -> None:
    parts: dict[str, Any] = {"keys": RemoteKeys(publisher.url), "replay_cache": EvictingCache()}
    with pytest.raises(ReplayCacheUnavailable, match="forget"):
        verifier_of(**parts).warm()
    awaited = AsyncVerifier(issuer=ISSUER, audience=AUDIENCE, algorithm="ES256", **parts)
    with pytest.raises(ReplayCacheUnavailable, match="forget"):
        await awaited.warm()
    assert awaited.status().ready


def test_a_new_process_refuses_what_an_earlier_one_may_have_accepted() -> None:
    assert_refused(mint(iat=NOW - 1), IssuedBeforeLedger)


def test_without_a_replay_cache_a_token_can_be_shown_again() -> None:
    verifier = verifier_of(replay_cache=NoReplayCache())
    raw = mint()
    verifier.verify(raw)
    verifier.verify(raw)
    assert verifier.status().accepted_once == "off"


def test_still_valid_follows_expiry_and_sees_through_a_clock_set_back() -> None:
    clock = ManualClock()
    verifier = verifier_of(clock=clock)
    token = verifier.verify(mint(exp=NOW + 60))
    clock.advance(64)
    assert verifier.still_valid(token)
    clock.advance(1)
    assert not verifier.still_valid(token)
    clock.set_back(50)
    assert not verifier.still_valid(token)


def test_status_says_whether_it_is_ready_and_among_whom_tokens_are_accepted_once(
    publisher: Publisher,
) -> None:
    verifier = verifier_of(keys=RemoteKeys(publisher.url))
    assert not verifier.status().ready
    verifier.warm()
    status = verifier.status()
    assert status.ready
    assert status.accepted_once == "process"
    assert status.keys.kids == (KEY.kid,)


def test_headers_that_an_issuer_varies_are_remembered_within_a_bound() -> None:
    verifier = verifier_of()
    for number in range(200):
        verifier.verify(mint(header={"more": number}))
    assert 0 < len(verifier._headers) <= 64
    assert_refused(
        mint(signing_key("ES256", 666), header={"kid": KEY.kid, "more": -1}), by=verifier
    )
    assert len(verifier._headers) <= 64


def test_a_header_is_remembered_only_of_a_token_that_was_signed() -> None:
    verifier = verifier_of()
    assert_refused(mint(signing_key("ES256", 666), header={"kid": KEY.kid}), by=verifier)
    assert not verifier._headers
    verifier.verify(mint())
    head, _, signature = mint().split(".")
    assert_refused(f"{head}.{mint().split('.')[1]}.{signature}", SignatureInvalid, by=verifier)


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "HS256"},
        {"algorithm": "none"},
        {"algorithm": ()},
        {"algorithm": ("ES256", "HS256")},
        {"algorithm": ("ES256", ["ES256"])},
        {"algorithm": None},
        {"audience": ""},
        {"audience": ["https://billing.internal"]},
        {"leeway": -1},
        {"leeway": 31},
        {"leeway": True},
        {"leeway": float("nan")},
        {"max_lifetime": 0},
        {"max_lifetime": 901},
        {"max_lifetime": 60.5},
        {"issuer": "http://tokens.internal"},
        {"issuer": "https://tokens.internal/"},
        {"issuer": "https://tokens.internal/path"},
        {"issuer": "https://tokens.internal?x=1"},
        {"issuer": "https://tokens.internal:443"},
        {"issuer": "https://TOKENS.internal"},
        {"issuer": "tokens.internal"},
        {"issuer": ""},
        {"jwks_url": "https://tokens.internal/jwks.json"},
        {"ca_file": "/etc/ca.pem"},
    ],
    ids=repr,
)
def test_arguments_that_would_weaken_or_break_a_check_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        verifier_of(**change)


def test_security_has_no_defaults() -> None:
    parts = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithm": "ES256",
        "replay_cache": NoReplayCache(),
    }
    untyped: Any = Verifier
    for missing in parts:
        with pytest.raises(TypeError, match=missing):
            untyped(**{name: part for name, part in parts.items() if name != missing})
    with pytest.raises(TypeError):
        untyped(*parts.values())


def test_a_verifier_says_what_it_accepts_and_cannot_be_changed() -> None:
    verifier: Any = verifier_of()
    assert repr(verifier) == (
        "Verifier(issuer='https://tokens.internal', audience='https://billing.internal', "
        "accepted_once='process')"
    )
    assert (verifier.issuer, verifier.audience) == (ISSUER, AUDIENCE)
    for name in ("issuer", "audience", "anything"):
        with pytest.raises(AttributeError):
            setattr(verifier, name, "other")
    with pytest.raises(TypeError):
        pickle.dumps(verifier)


@pytest.mark.parametrize(
    "raw",
    [f"{mint()}=", f"e30.{encode(b'{')}.AAAA", f"e30.{encode(bytes([255]))}.AAAA"],
    ids=["padding", "JSON", "UTF-8"],
)
def test_an_error_of_a_malformed_token_carries_no_token(raw: str) -> None:
    with pytest.raises(TokenMalformed) as caught:
        verifier_of().verify(raw)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
