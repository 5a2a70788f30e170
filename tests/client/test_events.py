import logging
from collections.abc import Iterator

import pytest
from client.fixtures_publishing import Publisher, publishing
from client.fixtures_requesting import Reply
from client.fixtures_verifying import (
    AUDIENCE,
    ISSUER,
    NOW,
    ManualClock,
    mint,
    signing_key,
    verifier_of,
)

from ephemera_client import (
    AnyIssuer,
    AsyncVerifier,
    ConfigurationError,
    EphemeraError,
    ForeignVerifier,
    IssuerMismatch,
    KeysUnavailable,
    NoReplayCache,
    RemoteKeys,
    ReplayCacheUnavailable,
    SingleProcessReplayCache,
    StaticKeys,
    TokenMalformed,
    TokenReplayed,
    Verifier,
)
from ephemera_client.events import (
    Accepted,
    Event,
    KeysDown,
    KeysRefreshed,
    Refused,
    ReplayCacheDown,
    StaleServed,
)

KEY = signing_key("ES256")


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing(KEY) as made:
        yield made


def test_what_is_accepted_and_what_is_refused_is_told_in_turn(told: list[Event]) -> None:
    verifier = verifier_of(on_event=told.append)
    raw = mint()
    token = verifier.verify(raw)
    for refused in (raw, mint(aud="https://other.internal"), "x"):
        with pytest.raises(EphemeraError):
            verifier.verify(refused)
    assert told == [
        Accepted(ISSUER, AUDIENCE, token),
        Refused(ISSUER, AUDIENCE, "token_replayed"),
        Refused(ISSUER, AUDIENCE, "audience_mismatch"),
        Refused(ISSUER, AUDIENCE, "token_malformed"),
    ]
    assert not any(part in repr(told) for part in raw.split("."))


@pytest.mark.anyio
async def test_the_awaited_verifier_tells_the_same(told: list[Event]) -> None:
    clock = ManualClock()
    verifier = AsyncVerifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(clock=clock),
        keys=StaticKeys({"keys": [KEY.jwk]}),
        clock=clock,
        on_event=told.append,
    )
    raw = mint()
    token = await verifier.verify(raw)
    with pytest.raises(TokenReplayed):
        await verifier.verify(raw)
    assert told == [
        Accepted(ISSUER, AUDIENCE, token),
        Refused(ISSUER, AUDIENCE, "token_replayed"),
    ]


def test_a_token_that_expires_while_it_is_claimed_is_told_as_refused_alone(
    told: list[Event],
) -> None:
    clock = ManualClock()

    class Slow(NoReplayCache):
        def claim(self, *_: object) -> None:
            clock.advance(600)

    with pytest.raises(EphemeraError):
        verifier_of(replay_cache=Slow(), clock=clock, on_event=told.append).verify(mint())
    assert told == [Refused(ISSUER, AUDIENCE, "token_expired")]


def test_failures_are_told_with_their_cause(told: list[Event], publisher: Publisher) -> None:
    full = SingleProcessReplayCache(max_entries=1, clock=ManualClock())
    verifier = verifier_of(replay_cache=full, on_event=told.append)
    verifier.verify(mint())
    with pytest.raises(ReplayCacheUnavailable):
        verifier.verify(mint())
    publisher.reply = Reply(500)
    verifier = verifier_of(keys=RemoteKeys(publisher.url), on_event=told.append)
    with pytest.raises(KeysUnavailable):
        verifier.verify(mint())
    assert told[1:] == [
        ReplayCacheDown(ISSUER, AUDIENCE, "full"),
        KeysDown(ISSUER, AUDIENCE, "status_unexpected"),
    ]


def test_a_mistake_of_the_caller_is_no_event(told: list[Event]) -> None:
    with pytest.raises(ConfigurationError):
        verifier_of(on_event=told.append).verify(mint(), scopes="invoices:read")
    assert told == []


def test_loads_and_stale_keys_are_told_once_for_all_verifiers_of_one_key_set(
    told: list[Event], publisher: Publisher
) -> None:
    clock = ManualClock()
    keys = RemoteKeys(publisher.url)
    verifiers = [
        verifier_of(keys=keys, clock=clock, replay_cache=NoReplayCache(), on_event=told.append)
        for _ in range(2)
    ]
    for verifier in verifiers:
        verifier.warm()
    assert told == [KeysRefreshed(ISSUER)]
    clock.advance(301)
    publisher.reply = Reply(503)
    token = verifiers[0].verify(mint(iat=NOW + 301, exp=NOW + 401))
    assert told[1:] == [StaleServed(ISSUER), Accepted(ISSUER, AUDIENCE, token)]


def test_a_load_that_brings_nothing_new_is_told_and_one_that_fails_is_not(
    told: list[Event], publisher: Publisher
) -> None:
    clock = ManualClock()
    publisher.reply = publisher.reply._replace(headers=(("ETag", '"1"'),))
    verifier = verifier_of(keys=RemoteKeys(publisher.url), clock=clock, on_event=told.append)
    verifier.warm()
    for reply in (Reply(304), Reply(503)):
        publisher.reply = reply
        clock.advance(301)
        verifier.warm()
    assert told == [KeysRefreshed(ISSUER)] * 2


def test_a_handler_that_raises_changes_no_outcome_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Event) -> None:
        raise RuntimeError("the metrics are down")

    verifier = verifier_of(on_event=fail)
    raw = mint()
    assert verifier.verify(raw).client_id == "orders"
    with pytest.raises(TokenReplayed):
        verifier.verify(raw)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("ephemera_client", logging.ERROR)
    assert "the metrics are down" in caplog.text
    assert raw not in caplog.text


def test_what_is_refused_before_an_issuer_is_known_is_told_by_the_last(
    told: list[Event],
) -> None:
    old = ForeignVerifier(
        issuer="https://login.example/realm",
        audience=AUDIENCE,
        algorithm="ES256",
        types={"JWT"},
        replay_cache=NoReplayCache(),
        keys=StaticKeys({"keys": [KEY.jwk]}),
        clock=ManualClock(),
        on_event=told.append,
    )
    either = AnyIssuer[Verifier]([old, verifier_of(on_event=told.append)])
    with pytest.raises(TokenMalformed):
        either.verify("x")
    with pytest.raises(IssuerMismatch):
        either.verify(mint(iss="https://attacker.example"))
    token = either.verify(mint(iss=old.issuer, header={"typ": "JWT"}))
    assert told == [
        Refused(ISSUER, AUDIENCE, "token_malformed"),
        Refused(ISSUER, AUDIENCE, "issuer_mismatch"),
        Accepted(old.issuer, AUDIENCE, token),
    ]


def test_a_handler_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="on_event"):
        verifier_of(on_event="print")
