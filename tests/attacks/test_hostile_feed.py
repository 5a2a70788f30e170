"""Feeds of revocations that lie, lag, forget, redirect, flood, drip or fall silent."""

import gzip
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from client.fixtures_feeding import Feeding, cut_off, document, feeding, jti
from client.fixtures_publishing import FEED, publishing
from client.fixtures_requesting import PLAYING_FOR_TIME, Reply, talking
from client.fixtures_verifying import (
    NOW,
    ManualClock,
    assert_refused,
    mint,
    signing_key,
    verifier_of,
)

from ephemera_client import (
    KeysUnavailable,
    NoReplayCache,
    RevocationFeed,
    RevocationsUnavailable,
    TokenRevoked,
    Verifier,
)

KEY = signing_key("ES256")
GOOD = document(jti("one"))


def following(issuer: Feeding, **changes: Any) -> Verifier:
    return verifier_of(
        issuer=issuer.issuer, **{"keys": None, "replay_cache": NoReplayCache()} | changes
    )


def asked_again(issuer: Feeding, times: int) -> None:
    """Wait until the follower has come back, and so has judged what it was told before."""
    deadline = time.monotonic() + 20
    while len(issuer.feed_asked) < times:
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "html": b"<html>captive portal</html>",
    "cut short": GOOD[:-2],
    "two documents": GOOD + GOOD,
    "bom": b"\xef\xbb\xbf" + GOOD,
    "not utf-8": GOOD.replace(b"jti", b"\xff"),
    "a member twice": GOOD.replace(b'"after"', b'"entries": [], "after"'),
    "deep": b'{"entries": ' + b"[" * 9000 + b"]" * 9000 + b"}",
    "entries left out": b'{"epoch": "one", "sequence": 1, "after": 0}',
    "an entry of no known kind": document(jti("one"), {"session": "one"}),
    "compressed": gzip.compress(GOOD),
    "later entries alone": document(jti("two"), sequence=9, after=8),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_document_is_no_answer(name: str) -> None:
    with feeding(KEY) as issuer:
        issuer.script = [Reply(200, MALFORMED[name])] * 50
        with pytest.raises(RevocationsUnavailable) as caught:
            following(issuer).verify(mint(iss=issuer.issuer))
        assert caught.value.cause_code == "revocations_invalid"
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "name", ["empty", "cut short", "an entry of no known kind", "later entries alone"]
)
def test_a_malformed_document_revives_nothing_and_is_believed_in_nothing(name: str) -> None:
    clock = ManualClock()
    with feeding(KEY) as issuer:
        issuer.revoke(jti("one"))
        verifier = following(issuer, clock=clock)
        raw = mint(iss=issuer.issuer, jti="one", exp=NOW + 600)
        assert_refused(raw, TokenRevoked, by=verifier)
        issuer.script = [Reply(200, MALFORMED[name])] * 50
        issuer.revoke(jti("two"))
        asked_again(issuer, 4)
        assert_refused(raw, TokenRevoked, by=verifier)
        clock.advance(120)
        with pytest.raises(RevocationsUnavailable):
            verifier.verify(raw)


@pytest.mark.parametrize(
    ("reply", "cause_code"),
    [
        (Reply(301, GOOD, (("Location", "/elsewhere"),)), "redirected"),
        (Reply(307, GOOD, (("Location", "https://attacker.example/"),)), "redirected"),
        (Reply(200, b" " * 20_000_000), "too_large"),
        (Reply(200, gzip.compress(GOOD), (("Content-Encoding", "gzip"),)), "content_encoded"),
        (
            Reply(200, gzip.compress(b" " * 90_000_000), (("Content-Encoding", "gzip"),)),
            "content_encoded",
        ),
        (Reply(404, GOOD), "status_unexpected"),
        (Reply(206, GOOD), "status_unexpected"),
        (Reply(304), "status_unexpected"),
        (Reply(204), "status_unexpected"),
    ],
    ids=lambda part: part if isinstance(part, str) else f"{part.status} of {len(part.body)}",
)
def test_an_answer_that_is_not_simply_the_document_is_refused(
    reply: Reply, cause_code: str
) -> None:
    with feeding(KEY) as issuer:
        issuer.script = [reply] * 50
        with pytest.raises(RevocationsUnavailable) as caught:
            following(issuer).verify(mint(iss=issuer.issuer))
        assert caught.value.cause_code == cause_code


def test_more_revocations_than_are_held_are_refused_and_not_cut_short() -> None:
    with feeding(KEY) as issuer:
        issuer.revoke(*(jti(str(number)) for number in range(11)))
        verifier = following(issuer, revocations=RevocationFeed(max_entries=10))
        with pytest.raises(RevocationsUnavailable) as caught:
            verifier.verify(mint(iss=issuer.issuer))
        assert caught.value.cause_code == "revocations_invalid"


def test_a_usual_verifier_takes_as_many_as_an_issuer_ever_holds() -> None:
    with feeding(KEY) as issuer:
        issuer.revoke(*(jti(f"{number:022}") for number in range(50_000)))
        assert_refused(
            mint(iss=issuer.issuer, jti=f"{49_999:022}"), TokenRevoked, by=following(issuer)
        )


@pytest.mark.parametrize(
    "endpoint",
    [
        f"https://attacker.example{FEED}",
        "{other}" + FEED,
        "http://user@{own}" + FEED,
        "//{own}" + FEED,
        "file:///etc/passwd",
        "",
        None,
        7,
    ],
)
def test_a_feed_of_another_origin_is_not_asked_for_and_does_not_pass_for_none(
    endpoint: object,
) -> None:
    with feeding(KEY) as issuer, publishing(KEY) as other:
        own = issuer.issuer.removeprefix("http://")
        if isinstance(endpoint, str):
            endpoint = endpoint.format(other=other.issuer, own=own)
        issuer.metadata = {"ephemera_revocations_endpoint": endpoint}
        with pytest.raises(KeysUnavailable) as caught:
            following(issuer).verify(mint(iss=issuer.issuer))
        assert caught.value.cause_code == "metadata_invalid"
        feed = RevocationFeed()
        with pytest.raises(RevocationsUnavailable) as also:
            following(issuer, jwks_url=issuer.url, revocations=feed).verify(mint(iss=issuer.issuer))
        assert also.value.cause_code == "metadata_invalid"
        assert not issuer.feed_asked
        assert not other.server.asked


def test_an_answer_kept_from_before_a_revocation_does_not_undo_it() -> None:
    clock = ManualClock()
    with feeding(KEY) as issuer:
        before = Reply(200, document(sequence=0))
        issuer.revoke(jti("one"))
        verifier = following(issuer, clock=clock)
        raw = mint(iss=issuer.issuer, jti="one", exp=NOW + 600)
        assert_refused(raw, TokenRevoked, by=verifier)
        issuer.script = [before] * 1000
        issuer.revoke(jti("two"))
        asked_again(issuer, 4)
        assert verifier.status().revocations.last_failure == "sequence_behind"
        assert_refused(raw, TokenRevoked, by=verifier)
        # Nor does it keep the verifier believing that all is well.
        clock.advance(120)
        with pytest.raises(RevocationsUnavailable) as caught:
            verifier.verify(raw)
        assert caught.value.cause_code == "sequence_behind"


def test_an_answer_kept_from_an_earlier_epoch_does_not_bring_it_back() -> None:
    with feeding(KEY) as issuer:
        earlier = Reply(200, document(*(jti(str(number)) for number in range(9))))
        verifier = following(issuer)
        verifier.warm()
        issuer.begin_epoch("two", cut_off(client="orders"))
        raw = mint(iss=issuer.issuer)
        asked_again(issuer, 3)
        assert_refused(raw, TokenRevoked, by=verifier)
        issuer.script = [earlier] * 1000
        issuer.revoke(jti("two"))
        asked_again(issuer, 5)
        assert_refused(raw, TokenRevoked, by=verifier)


@pytest.mark.parametrize("script", PLAYING_FOR_TIME)
def test_a_server_that_plays_for_time_gets_no_more_than_the_deadline(
    script: Callable[[socket.socket], None],
) -> None:
    with (
        talking(script) as origin,
        RevocationFeed(f"{origin}{FEED}", timeout=0.3) as feed,
    ):
        verifier = verifier_of(revocations=feed)
        began = time.monotonic()
        with pytest.raises(RevocationsUnavailable) as caught:
            verifier.warm()
        assert time.monotonic() - began < 1.5
    assert caught.value.cause_code in {"timeout", "protocol_error"}


def test_a_feed_that_never_waits_is_not_asked_without_a_pause() -> None:
    with feeding(KEY) as issuer:
        verifier = following(issuer)
        issuer.script = [Reply(200, document())] * 1000
        verifier.warm()
        asked_again(issuer, 2)
        before = len(issuer.feed_asked)
        threading.Event().wait(1)
        assert len(issuer.feed_asked) - before <= 3


def test_what_the_feed_says_shows_in_no_error() -> None:
    with feeding(KEY) as issuer:
        issuer.script = [Reply(200, document({"client": "hunter2"}))] * 50
        with pytest.raises(RevocationsUnavailable) as caught:
            following(issuer).verify(mint(iss=issuer.issuer))
        assert "hunter2" not in repr(caught.value)
        issuer.script = []
        issuer.revoke(cut_off(client="orders"))
        verifier = following(issuer)
        with pytest.raises(TokenRevoked) as refused:
            verifier.verify(mint(iss=issuer.issuer, jti="hunter2"))
        assert "hunter2" not in repr(refused.value)
        assert "orders" not in str(refused.value)
