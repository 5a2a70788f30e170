"""Verifiers of bound tokens, beside what tests/attacks/test_dpop.py has them refuse."""

from pathlib import Path
from typing import Any

import pytest
from client.fixtures_dpop import URL, bound, checking, key_of_caller, proof_of, shown, thumbprint
from client.fixtures_verifying import AUDIENCE, ISSUER, NOW, ManualClock, mint, verifier_of

from ephemera_client import (
    AnyIssuer,
    AsyncVerifier,
    ConfigurationError,
    DPoP,
    DPoPNonces,
    InsufficientScope,
    IssuedBeforeLedger,
    NoReplayCache,
    Presented,
    ProofReplayed,
    ReplayCacheUnavailable,
    SenderConstraintMissing,
    SenderConstraintUnverified,
    SingleProcessReplayCache,
    SQLiteReplayCache,
    TokenExpired,
    TokenReplayed,
    Verifier,
    compact,
    jwk,
)
from ephemera_client.dpop.proof import KnownKeys
from ephemera_client.events import Accepted, Event, Refused
from ephemera_client.replay import Claim


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("required", [True, False])
def test_a_token_is_accepted_once_with_a_proof_by_its_key(alg: str, required: bool) -> None:  # noqa: FBT001 - both
    key = key_of_caller(alg)
    verifier = checking(required=required)
    token = bound(key)
    accepted = verifier.verify(
        token, scopes={"invoices:read"}, presented=shown(token, proof_of(token, key))
    )
    assert accepted.key_thumbprint == thumbprint(key)
    with pytest.raises(TokenReplayed):
        verifier.verify(token, presented=shown(token, proof_of(token, key)))


def test_ed25519_may_be_called_by_its_newer_name() -> None:
    key = key_of_caller("EdDSA")
    token = bound(key)
    proof = proof_of(token, key, header={"alg": "Ed25519"})
    checking().verify(token, presented=shown(token, proof))


@pytest.mark.parametrize("age", [-5, 0, 59])
def test_a_proof_is_good_for_a_minute_and_its_clock_may_be_a_little_ahead(age: int) -> None:
    clock = ManualClock(wall=NOW - 60)
    verifier = checking(clock=clock)
    clock.advance(60)
    token = bound()
    verifier.verify(token, presented=shown(token, proof_of(token, iat=NOW - age)))


def test_how_long_a_proof_is_good_can_be_said() -> None:
    clock = ManualClock(wall=NOW - 300)
    verifier = checking(clock=clock, dpop={"max_age": 300})
    clock.advance(300)
    token = bound()
    verifier.verify(token, presented=shown(token, proof_of(token, iat=NOW - 299)))


def test_the_query_and_another_spelling_of_the_url_change_nothing() -> None:
    verifier = checking()
    for url in (f"{URL}?page=2", f"{AUDIENCE}/./invoices", f"{AUDIENCE}/%69nvoices"):
        token = bound()
        verifier.verify(token, presented=shown(token, url=url))
        token = bound()
        verifier.verify(token, presented=shown(token, proof_of(token, htu=url)))


def test_with_a_nonce_the_clock_of_the_caller_counts_for_nothing() -> None:
    nonces = DPoPNonces(b"n" * 32)
    verifier = checking(dpop={"nonces": nonces})
    for iat in (0, NOW - 86_400, NOW + 86_400):
        token = bound()
        proof = proof_of(token, iat=iat, nonce=nonces.make(NOW))
        verifier.verify(token, presented=shown(token, proof))


def test_whatever_is_wrong_with_the_token_costs_no_proof() -> None:
    clock = ManualClock()
    verifier = checking(clock=clock)
    token = bound()
    proof = proof_of(token)
    with pytest.raises(InsufficientScope):
        verifier.verify(token, scopes={"invoices:write"}, presented=shown(token, proof))
    verifier.verify(token, presented=shown(token, proof))
    old = bound(iat=NOW - 120, exp=NOW - 10)
    with pytest.raises(TokenExpired):
        verifier.verify(old, presented=shown(old))


def test_a_proof_made_before_this_process_remembers_is_refused() -> None:
    verifier = checking()
    token = bound()
    with pytest.raises(IssuedBeforeLedger):
        verifier.verify(token, presented=shown(token, proof_of(token, iat=NOW - 1)))


class Failing(SingleProcessReplayCache):
    """Fails for claims of one purpose, and remembers what it was asked."""

    def __init__(self, purpose: str) -> None:
        super().__init__(clock=ManualClock())
        self.purpose = purpose
        self.asked: list[Claim] = []

    def claim(self, claim: Claim, now: Any) -> None:
        self.asked.append(claim)
        if claim.purpose == self.purpose:
            raise ZeroDivisionError
        super().claim(claim, now)


def test_a_proof_is_claimed_before_its_token_and_fails_closed() -> None:
    token = bound()
    for purpose, asked in (("dpop", ["dpop"]), ("token", ["dpop", "token"])):
        cache = Failing(purpose)
        with pytest.raises(ReplayCacheUnavailable):
            checking(replay_cache=cache).verify(token, presented=shown(token))
        assert [claim.purpose for claim in cache.asked] == asked
        assert cache.asked[0][1:3] == (AUDIENCE, thumbprint(key_of_caller()))
        assert cache.asked[0].expires_at == NOW + 65


def test_proofs_may_have_a_ledger_of_their_own_and_need_one_where_tokens_have_none() -> None:
    with pytest.raises(ConfigurationError, match="proofs are accepted once"):
        checking(replay_cache=NoReplayCache())
    proofs = SingleProcessReplayCache(clock=ManualClock())
    verifier = checking(replay_cache=NoReplayCache(), dpop={"replay_cache": proofs})
    verifier.warm()
    token = bound()
    for _ in range(2):
        verifier.verify(token, presented=shown(token))
    assert len(proofs) == 2


@pytest.mark.anyio
async def test_the_awaited_verifier_does_the_same() -> None:
    clock = ManualClock()
    parts = verifier_of()
    proofs = SingleProcessReplayCache(clock=clock)
    verifier = AsyncVerifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm="ES256",
        keys=parts._keys,
        replay_cache=NoReplayCache(),
        clock=clock,
        dpop=DPoP(origin=AUDIENCE, required=True, replay_cache=proofs),
    )
    await verifier.warm()
    token = bound()
    proof = proof_of(token)
    accepted = await verifier.verify(token, presented=shown(token, proof))
    assert accepted.key_thumbprint == thumbprint(key_of_caller())
    with pytest.raises(ProofReplayed):
        await verifier.verify(token, presented=shown(token, proof))
    with pytest.raises(SenderConstraintMissing):
        await verifier.verify(mint())
    with pytest.raises(SenderConstraintUnverified):
        await verifier.verify(token)


def test_events_tell_of_a_refused_proof_and_of_what_was_accepted() -> None:
    events: list[Event] = []
    verifier = checking(on_event=events.append)
    token = bound()
    proof = proof_of(token)
    verifier.verify(token, presented=shown(token, proof))
    with pytest.raises(ProofReplayed):
        verifier.verify(token, presented=shown(token, proof))
    assert isinstance(events[0], Accepted)
    assert events[1] == Refused(ISSUER, AUDIENCE, "proof_replayed")


def test_of_several_issuers_each_has_its_own_demand() -> None:
    other = "https://old.internal"
    both: AnyIssuer[Verifier] = AnyIssuer([verifier_of(issuer=other), checking()])
    assert both.dpop is not None
    token = bound()
    assert both.verify(token, presented=shown(token)).key_thumbprint
    plain = mint(iss=other)
    with pytest.raises(SenderConstraintUnverified):
        both.verify(plain, presented=shown(plain))
    assert both.verify(plain).issuer == other


def test_several_issuers_agree_where_proofs_are_for() -> None:
    other: Any = {"issuer": "https://old.internal"}
    elsewhere = {"origin": "https://elsewhere.internal"}
    for first, last in (
        (checking(**other), verifier_of()),
        (checking(**other), checking(dpop=elsewhere)),
    ):
        with pytest.raises(ConfigurationError, match=r"dpop="):
            AnyIssuer([first, last])
    assert AnyIssuer([checking(**other), checking(required=False)]).dpop is not None


def test_replicas_that_share_a_ledger_accept_a_proof_once_among_them(tmp_path: Path) -> None:
    clock = ManualClock()
    with (
        SQLiteReplayCache(tmp_path / "ledger.db", clock=clock) as one,
        SQLiteReplayCache(tmp_path / "ledger.db", clock=clock) as other,
    ):
        replicas = [
            checking(clock=clock, replay_cache=NoReplayCache(), dpop={"replay_cache": cache})
            for cache in (one, other)
        ]
        token = bound()
        proof = proof_of(token)
        replicas[0].verify(token, presented=shown(token, proof))
        with pytest.raises(ProofReplayed):
            replicas[1].verify(token, presented=shown(token, proof))
        replicas[1].verify(token, presented=shown(token))


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://billing.internal/"},
        {"origin": "https://billing.internal/api"},
        {"origin": "billing.internal"},
        {"origin": "https://Billing.internal"},
        {"origin": "https://billing.internal:443"},
        {"origin": 7},
        {"required": 1},
        {"required": "required"},
        {"max_age": 0},
        {"max_age": 601},
        {"max_age": True},
        {"nonces": True},
        {"nonces": DPoPNonces},
        {"replay_cache": SingleProcessReplayCache},
    ],
)
def test_a_demand_that_cannot_be_met_is_a_mistake(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {"origin": AUDIENCE, "required": True}
    with pytest.raises(ConfigurationError):
        DPoP(**(good | wrong))


def test_neither_a_demand_nor_what_was_presented_shows_a_proof() -> None:
    assert repr(Presented("GET", URL, "proof")) == "Presented(method='GET', ...)"
    assert repr(DPoP(origin=AUDIENCE, required=True)) == (
        f"DPoP(origin='{AUDIENCE}', required=True, nonces=None)"
    )


def test_there_is_an_end_to_how_many_keys_of_callers_are_kept() -> None:
    known = KnownKeys()
    parts = compact.parse(proof_of(None))
    for number in range(1025):
        parts = parts._replace(header_segment=b"%d" % number)
        known.keep(parts, jwk.parse(key_of_caller().jwk), "thumbprint")
    assert known.keys.keys() == known.headers.keys() == {b"1024"}
