"""Verifiers that follow a feed, over real connections."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from client.fixtures_feeding import Feeding, cut_off, feeding, jti, kid
from client.fixtures_publishing import METADATA
from client.fixtures_requesting import Reply, certificate, forked, serving
from client.fixtures_verifying import (
    AUDIENCE,
    NOW,
    ManualClock,
    assert_refused,
    mint,
    signing_key,
    verifier_of,
)

from ephemera_client import (
    AsyncVerifier,
    ConfigurationError,
    NoReplayCache,
    NoRevocations,
    RemoteKeys,
    RevocationFeed,
    RevocationsUnavailable,
    SignatureInvalid,
    SingleProcessReplayCache,
    TokenRevoked,
    Verifier,
)
from ephemera_client.events import Event, Refused, RevocationsDown, RevocationsRefreshed
from ephemera_client.http import tls_context

KEY = signing_key("ES256")
NEXT, STRANGER = (signing_key("ES256", number) for number in (1, 2))


@pytest.fixture
def issuer() -> Iterator[Feeding]:
    with feeding(KEY, NEXT) as made:
        yield made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def discovering(issuer: Feeding, **changes: Any) -> Verifier:
    """A verifier that knows nothing but the issuer's name."""
    return verifier_of(issuer=issuer.issuer, **{"keys": None} | changes)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what another thread brings about."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def heard(verifier: Verifier | AsyncVerifier, sequence: int) -> None:
    eventually(lambda: verifier.status().revocations.sequence == sequence)


def feed_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ephemera-feed"]


@pytest.mark.parametrize(
    "entry",
    [
        jti("one"),
        kid(KEY.kid),
        cut_off(client="orders"),
        cut_off(audience=AUDIENCE),
        cut_off(client="orders", audience=AUDIENCE),
    ],
)
def test_what_the_feed_that_the_metadata_offer_revokes_is_refused(
    issuer: Feeding, entry: dict[str, Any]
) -> None:
    issuer.revoke(entry)
    assert_refused(mint(iss=issuer.issuer, jti="one"), TokenRevoked, by=discovering(issuer))


def test_what_is_not_revoked_is_accepted_once(issuer: Feeding) -> None:
    issuer.revoke(jti("other"), cut_off(NOW - 1, client="orders"))
    verifier = discovering(issuer)
    assert verifier.verify(mint(iss=issuer.issuer)).client_id == "orders"


def test_what_is_revoked_while_a_verifier_waits_for_news_is_refused_from_then_on(
    issuer: Feeding,
) -> None:
    verifier = discovering(issuer, replay_cache=NoReplayCache())
    raw = mint(iss=issuer.issuer, jti="one")
    verifier.verify(raw)
    eventually(lambda: len(issuer.feed_asked) == 2)
    assert issuer.feed_asked[1] == {"epoch": "one", "wait": "25"}
    issuer.revoke(jti("one"))
    heard(verifier, 1)
    assert_refused(raw, TokenRevoked, by=verifier)
    issuer.revoke(jti("two"))
    heard(verifier, 2)
    assert issuer.feed_asked[2]["after"] == "1"
    assert verifier.status().revocations.entries == 2


def test_revocations_stand_between_the_claims_and_the_scopes(issuer: Feeding) -> None:
    issuer.revoke(kid(KEY.kid))
    verifier = discovering(issuer)
    with pytest.raises(TokenRevoked):
        verifier.verify(mint(iss=issuer.issuer), scopes={"invoices:write"})
    other = mint(STRANGER, iss=issuer.issuer, header={"kid": KEY.kid})
    assert_refused(other, SignatureInvalid, by=verifier)


def test_a_forged_token_does_not_even_begin_to_follow(issuer: Feeding) -> None:
    verifier = discovering(issuer)
    assert_refused(
        mint(STRANGER, iss=issuer.issuer, header={"kid": KEY.kid}), SignatureInvalid, by=verifier
    )
    assert not issuer.feed_asked


def test_a_revoked_key_is_refused_at_once_and_the_keys_are_looked_at_anew(
    issuer: Feeding,
) -> None:
    verifier = discovering(issuer)
    verifier.verify(mint(iss=issuer.issuer))
    issuer.publish(NEXT)
    issuer.revoke(kid(KEY.kid))
    heard(verifier, 1)
    assert verifier.verify(mint(NEXT, iss=issuer.issuer)).kid == NEXT.kid
    eventually(lambda: verifier.status().keys.kids == (NEXT.kid,))
    assert issuer.loads[-1].headers["cache-control"] == "no-cache"


@pytest.mark.anyio
async def test_the_awaited_verifier_does_the_same(issuer: Feeding, clock: ManualClock) -> None:
    verifier = AsyncVerifier(
        issuer=issuer.issuer,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=NoReplayCache(),
        clock=clock,
    )
    await verifier.warm()
    assert verifier.status().ready
    raw = mint(iss=issuer.issuer, jti="one")
    token = await verifier.verify(raw)
    assert verifier.still_valid(token)
    issuer.revoke(jti("one"))
    await anyio.to_thread.run_sync(heard, verifier, 1)
    with pytest.raises(TokenRevoked):
        await verifier.verify(raw)
    assert not verifier.still_valid(token)


@pytest.mark.anyio
async def test_tasks_wait_for_the_first_answer_together(
    issuer: Feeding, clock: ManualClock
) -> None:
    verifier = AsyncVerifier(
        issuer=issuer.issuer,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(clock=clock),
        clock=clock,
    )
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(verifier.verify, mint(iss=issuer.issuer))
    assert len([asked for asked in issuer.feed_asked if "wait" not in asked]) == 1


def test_where_the_metadata_offer_no_feed_none_is_followed(issuer: Feeding) -> None:
    issuer.metadata = {}
    verifier = discovering(issuer)
    verifier.verify(mint(iss=issuer.issuer))
    status = verifier.status()
    assert status.ready
    assert not status.revocations.followed
    assert not issuer.feed_asked


def test_a_feed_that_is_asked_for_by_name_must_be_offered(issuer: Feeding) -> None:
    issuer.metadata = {}
    verifier = discovering(issuer, revocations=RevocationFeed())
    with pytest.raises(RevocationsUnavailable) as caught:
        verifier.verify(mint(iss=issuer.issuer))
    assert caught.value.cause_code == "not_offered"


@pytest.mark.parametrize("how", ["said aloud", "keys at a url"])
def test_none_is_followed_where_that_is_said_or_the_keys_are_not_discovered(
    issuer: Feeding, how: str
) -> None:
    issuer.revoke(cut_off(client="orders"))
    changes: dict[str, Any] = {"revocations": NoRevocations()}
    if how == "keys at a url":
        changes = {"jwks_url": issuer.url}
    verifier = discovering(issuer, **changes)
    verifier.warm()
    verifier.verify(mint(iss=issuer.issuer))
    assert not issuer.feed_asked
    assert not verifier.status().revocations.followed


def test_a_feed_at_a_url_of_its_own_is_followed_beside_any_keys(issuer: Feeding) -> None:
    issuer.revoke(jti("one"))
    verifier = verifier_of(revocations=RevocationFeed(issuer.feed_url))
    assert_refused(mint(jti="one"), TokenRevoked, by=verifier)
    assert not any(asked.path == METADATA for asked in issuer.server.asked)


def test_without_an_answer_nothing_is_accepted_and_later_ones_do_not_wait(
    issuer: Feeding,
) -> None:
    issuer.set_down(down=True)
    told: list[Event] = []
    verifier = discovering(issuer, on_event=told.append)
    for _ in range(3):
        with pytest.raises(RevocationsUnavailable) as caught:
            verifier.verify(mint(iss=issuer.issuer))
        assert caught.value.cause_code == "status_unexpected"
        assert caught.value.status == 503
    assert not verifier.status().ready
    assert RevocationsDown(issuer.issuer, AUDIENCE, "status_unexpected") in told
    issuer.set_down(down=False)
    verifier.warm()
    verifier.verify(mint(iss=issuer.issuer))
    assert RevocationsRefreshed(issuer.issuer, 0) in told


def test_a_feed_that_goes_away_serves_for_max_age_then_fails_closed_and_recovers_alone(
    issuer: Feeding, clock: ManualClock
) -> None:
    verifier = discovering(issuer, clock=clock, replay_cache=NoReplayCache())
    raw = mint(iss=issuer.issuer, exp=NOW + 600)
    token = verifier.verify(raw)
    issuer.set_down(down=True)
    clock.advance(119.9)
    assert verifier.verify(raw)
    assert verifier.still_valid(token)
    clock.advance(0.1)
    with pytest.raises(RevocationsUnavailable):
        verifier.verify(raw)
    assert not verifier.still_valid(token)
    assert not verifier.status().revocations.available
    issuer.set_down(down=False)
    eventually(lambda: verifier.status().revocations.available)
    assert verifier.verify(raw)


def test_metadata_that_stop_offering_the_feed_do_not_switch_it_off(
    issuer: Feeding, clock: ManualClock
) -> None:
    verifier = discovering(issuer, clock=clock, replay_cache=NoReplayCache())
    raw = mint(iss=issuer.issuer, jti="one", exp=NOW + 600)
    verifier.verify(raw)
    issuer.metadata = {}
    issuer.set_down(down=True)
    before = len(issuer.server.asked)
    eventually(lambda: any(asked.path == METADATA for asked in issuer.server.asked[before:]))
    clock.advance(120)
    with pytest.raises(RevocationsUnavailable):
        verifier.verify(raw)
    issuer.revoke(jti("one"))
    issuer.set_down(down=False)
    heard(verifier, 1)
    assert_refused(raw, TokenRevoked, by=verifier)


def test_two_verifiers_share_a_feed_and_ask_once_for_both(
    issuer: Feeding, clock: ManualClock
) -> None:
    told: list[Event] = []
    with RevocationFeed() as feed:
        verifiers = [
            discovering(
                issuer, revocations=feed, audience=audience, clock=clock, on_event=told.append
            )
            for audience in (AUDIENCE, "https://ledger.internal")
        ]
        for verifier in verifiers:
            verifier.warm()
        issuer.revoke(cut_off(audience=AUDIENCE))
        heard(verifiers[0], 1)
        assert_refused(mint(iss=issuer.issuer), TokenRevoked, by=verifiers[0])
        verifiers[1].verify(mint(iss=issuer.issuer, aud="https://ledger.internal"))
        assert len([asked for asked in issuer.feed_asked if "wait" not in asked]) == 1
        eventually(lambda: RevocationsRefreshed(issuer.issuer, 1) in told)
    assert told.count(Refused(issuer.issuer, AUDIENCE, "token_revoked")) == 1
    with pytest.raises(RevocationsUnavailable) as caught:
        verifiers[1].verify(mint(iss=issuer.issuer, aud="https://ledger.internal"))
    assert caught.value.cause_code == "closed"


def test_a_feed_serves_one_issuer(issuer: Feeding) -> None:
    feed = RevocationFeed()
    discovering(issuer, revocations=feed)
    with pytest.raises(ConfigurationError):
        verifier_of(revocations=feed)


def test_a_feed_of_no_verifier_cannot_be_asked() -> None:
    with pytest.raises(RevocationsUnavailable) as caught:
        RevocationFeed().warm()
    assert caught.value.cause_code == "not_bound"


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_the_thread_ends_with_its_feed_although_it_waits_for_news(
    issuer: Feeding, how: str
) -> None:
    feed = RevocationFeed()
    others = set(feed_threads())
    verifier = discovering(issuer, revocations=feed)
    verifier.warm()
    eventually(lambda: any("wait" in asked for asked in issuer.feed_asked))
    (thread,) = set(feed_threads()) - others
    began = time.monotonic()
    if how == "closed":
        feed.close()
    gone = weakref.ref(feed)
    del feed, verifier
    if how == "dropped":
        eventually(lambda: gc.collect() >= 0 and gone() is None)
    thread.join(20)
    assert not thread.is_alive()
    # The wait that it was in is one of 25 seconds.
    assert time.monotonic() - began < 20


def test_a_verifier_whose_handler_knows_it_can_still_be_dropped(issuer: Feeding) -> None:
    class Api:
        def __init__(self) -> None:
            self.verifier = discovering(issuer, on_event=self.note)

        def note(self, event: Event) -> None:
            pass

    others = set(feed_threads())
    api = Api()
    api.verifier.warm()
    gone = weakref.ref(api)
    del api
    eventually(lambda: gc.collect() >= 0 and gone() is None)
    eventually(lambda: not set(feed_threads()) - others)


def test_a_forked_child_follows_by_itself_and_leaves_the_parents_connection_alone(
    issuer: Feeding, clock: ManualClock
) -> None:
    feed = RevocationFeed()
    verifier = discovering(issuer, revocations=feed, clock=clock, replay_cache=NoReplayCache())
    raw = mint(iss=issuer.issuer, jti="one")
    verifier.verify(raw)
    eventually(lambda: any("wait" in asked for asked in issuer.feed_asked))

    def in_child() -> bytes:
        # At once, by what the parent knew.
        verifier.verify(raw)
        os.write(asking, b".")
        heard(verifier, 1)
        try:
            verifier.verify(raw)
        except TokenRevoked:
            feed.close()
            return b"refused"
        return b"accepted"

    asked, asking = os.pipe()

    def revoke_when_asked() -> None:
        os.read(asked, 1)
        issuer.revoke(jti("one"))

    thread = threading.Thread(target=revoke_when_asked)
    thread.start()
    assert forked(in_child) == b"refused"
    thread.join()
    os.close(asked)
    os.close(asking)
    heard(verifier, 1)
    assert_refused(raw, TokenRevoked, by=verifier)
    assert verifier.status().revocations.last_failure is None
    issuer.revoke(jti("two"))
    heard(verifier, 2)


def test_a_clock_that_has_jumped_makes_the_feed_be_asked_anew(
    issuer: Feeding, clock: ManualClock
) -> None:
    verifier = discovering(issuer, clock=clock, replay_cache=NoReplayCache())
    verifier.verify(mint(iss=issuer.issuer))
    eventually(lambda: any("wait" in asked for asked in issuer.feed_asked))
    clock.advance(3000)
    now = int(clock().wall)
    verifier.verify(mint(iss=issuer.issuer, iat=now, exp=now + 60))


def test_the_verifiers_authorities_and_the_callers_own_client_serve_for_the_feed_too(
    tmp_path: Path, clock: ManualClock
) -> None:
    authority = certificate(tmp_path)
    made = Feeding(KEY)
    with serving(made.answer, tls=authority.tls) as server:
        made.server = server
        made.offer()
        made.revoke(jti("one"))
        raw = mint(iss=made.issuer, jti="one")
        with httpx.Client(verify=tls_context(authority.file)) as client:
            for changes in (
                {"ca_file": authority.file},
                {"ca_file": authority.file, "revocations": RevocationFeed(max_age=60)},
                {"keys": RemoteKeys(http=client)},
            ):
                verifier = discovering(made, clock=clock, **changes)
                assert_refused(raw, TokenRevoked, by=verifier)
            made.set_down(down=True)
        blind = discovering(
            made,
            keys=RemoteKeys(ca_file=authority.file),
            revocations=RevocationFeed(ca_file=authority.file),
        )
        with pytest.raises(RevocationsUnavailable):
            blind.verify(raw)


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "http://tokens.internal/v1/revocations"},
        {"url": "https://tokens.internal/v1/revocations#x"},
        {"max_age": 4},
        {"max_age": 3601},
        {"max_age": True},
        {"timeout": 0},
        {"max_bytes": 0},
        {"max_entries": 1.5},
        {"ca_file": "/nowhere.pem"},
    ],
)
def test_arguments_that_cannot_be_used_are_found_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RevocationFeed(**arguments)


def test_a_class_for_an_object_is_a_mistake_that_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"NoRevocations\(\)"):
        verifier_of(revocations=NoRevocations)


def test_over_the_bound_of_waiting_requests_the_feed_is_asked_without_waiting(
    issuer: Feeding,
) -> None:
    busy = Reply(429, b"{}", (("Retry-After", "1"),))
    issuer.script = [None, busy, None]
    verifier = discovering(issuer)
    verifier.warm()
    eventually(lambda: len(issuer.feed_asked) == 3)
    assert ["wait" in asked for asked in issuer.feed_asked[:3]] == [False, True, False]
    issuer.revoke(jti("one"))
    heard(verifier, 1)
