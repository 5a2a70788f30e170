"""Documents of keys that are slow, huge, redirecting, compressed, duplicated or elsewhere's."""

import gzip
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from client.fixtures_publishing import METADATA, jwks_of, publishing
from client.fixtures_requesting import PLAYING_FOR_TIME, Reply, talking
from client.fixtures_verifying import (
    ManualClock,
    SigningKey,
    assert_refused,
    mint,
    signing_key,
    verifier_of,
)

from ephemera_client import KeysUnavailable, KeyUnknown, RemoteKeys

GOOD, OTHER = signing_key("ES256"), signing_key("ES256", 1)
BODY = jwks_of(OTHER)


def _many(number: int) -> bytes:
    keys = [GOOD.jwk | {"kid": f"k{place}"} for place in range(number)]
    return json.dumps({"keys": keys}).encode()


def _with(key: SigningKey, **changes: Any) -> bytes:
    return json.dumps({"keys": [key.jwk | changes]}).encode()


MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "html": b"<html>captive portal</html>",
    "null": b"null",
    "list": b"[]",
    "no keys": b"{}",
    "keys null": b'{"keys": null}',
    "keys object": b'{"keys": {}}',
    "keys of text": b'{"keys": ["k"]}',
    "a bare key": json.dumps(OTHER.jwk).encode(),
    "duplicate member": BODY[:-1] + b', "keys": []}',
    "duplicate in key": BODY.replace(b'"kty"', b'"kid": "x", "kty"'),
    "one kid twice": json.dumps({"keys": [OTHER.jwk, OTHER.jwk]}).encode(),
    "one kid for two": json.dumps({"keys": [OTHER.jwk, GOOD.jwk | {"kid": OTHER.kid}]}).encode(),
    "33 keys": _many(33),
    "cut short": BODY[:-2],
    "two documents": BODY + BODY,
    "bom": b"\xef\xbb\xbf" + BODY,
    "utf-16": BODY.decode().encode("utf-16"),
    "not utf-8": BODY.replace(b"sig", b"\xff"),
    "nan": b'{"keys": [], "more": NaN}',
    "deep": b'{"keys": ' + b"[" * 9000 + b"]" * 9000 + b"}",
    "only private": _with(OTHER, d="AAAA"),
    "only symmetric": b'{"keys": [{"kty": "oct", "kid": "k", "k": "AAAA"}]}',
    "only for encryption": _with(OTHER, use="enc"),
    "only without kid": _with(OTHER, kid=None),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_document_is_no_document(name: str) -> None:
    with publishing() as publisher:
        publisher.reply = Reply(200, MALFORMED[name])
        with pytest.raises(KeysUnavailable) as caught:
            verifier_of(keys=RemoteKeys(publisher.url)).verify(mint())
    assert caught.value.cause_code == "jwks_invalid"


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_document_never_replaces_a_good_one(name: str) -> None:
    clock = ManualClock()
    with publishing(GOOD) as publisher:
        keys = RemoteKeys(publisher.url)
        verifier = verifier_of(keys=keys, clock=clock)
        verifier.warm()
        publisher.reply = Reply(200, MALFORMED[name])
        clock.advance(301)
        now = int(clock().wall)
        verifier.verify(mint(iat=now, exp=now + 60))
        assert keys.status().last_failure == "jwks_invalid"


def test_an_empty_document_is_believed_and_revokes_everything() -> None:
    clock = ManualClock()
    with publishing(GOOD) as publisher:
        verifier = verifier_of(keys=RemoteKeys(publisher.url), clock=clock)
        verifier.verify(mint())
        publisher.publish()
        clock.advance(301)
        now = int(clock().wall)
        assert_refused(mint(iat=now, exp=now + 60), KeyUnknown, by=verifier)


def test_32_keys_are_taken() -> None:
    with publishing() as publisher:
        publisher.reply = Reply(200, _many(32))
        verifier_of(keys=RemoteKeys(publisher.url)).verify(mint(header={"kid": "k31"}))


@pytest.mark.parametrize(
    ("reply", "cause_code"),
    [
        (Reply(301, BODY, (("Location", "/elsewhere"),)), "redirected"),
        (Reply(302, BODY, (("Location", "https://attacker.example/"),)), "redirected"),
        (Reply(307, BODY, (("Location", "file:///etc/passwd"),)), "redirected"),
        (Reply(200, BODY + b" " * 51200), "too_large"),
        (Reply(200, b" " * 10_000_000), "too_large"),
        (Reply(200, gzip.compress(BODY), (("Content-Encoding", "gzip"),)), "content_encoded"),
        (
            Reply(200, gzip.compress(b" " * 50_000_000), (("Content-Encoding", "gzip"),)),
            "content_encoded",
        ),
        (Reply(200, gzip.compress(BODY)), "jwks_invalid"),
        (Reply(404, BODY), "status_unexpected"),
        (Reply(206, BODY), "status_unexpected"),
        (Reply(304, b""), "status_unexpected"),
    ],
    ids=lambda part: part if isinstance(part, str) else str(part.status),
)
def test_an_answer_that_is_not_simply_the_document_is_refused(
    reply: Reply, cause_code: str
) -> None:
    with publishing() as publisher:
        publisher.reply = reply
        with pytest.raises(KeysUnavailable) as caught:
            verifier_of(keys=RemoteKeys(publisher.url)).verify(mint(OTHER))
        assert caught.value.cause_code == cause_code
        assert len(publisher.server.asked) == 1


@pytest.mark.parametrize(
    "jwks_uri",
    [
        "https://attacker.example/jwks.json",
        "{other}/jwks.json",
        "http://user@{own}/jwks.json",
        "//{own}/jwks.json",
        "file:///etc/passwd",
        None,
    ],
)
def test_keys_of_another_origin_are_not_asked_for(jwks_uri: str | None) -> None:
    with publishing(GOOD) as publisher, publishing(GOOD) as other:
        own = publisher.issuer.removeprefix("http://")
        publisher.metadata = {"jwks_uri": jwks_uri and jwks_uri.format(other=other.issuer, own=own)}
        verifier = verifier_of(issuer=publisher.issuer, keys=RemoteKeys())
        with pytest.raises(KeysUnavailable) as caught:
            verifier.verify(mint(iss=publisher.issuer))
        assert caught.value.cause_code == "metadata_invalid"
        assert [asked.path for asked in publisher.server.asked] == [METADATA]
        assert not other.server.asked


def test_keys_are_not_taken_from_metadata_that_names_another_issuer() -> None:
    with publishing(GOOD) as publisher:
        publisher.metadata = {"issuer": "https://tokens.internal"}
        verifier = verifier_of(issuer=publisher.issuer, keys=RemoteKeys())
        with pytest.raises(KeysUnavailable) as caught:
            verifier.verify(mint(iss=publisher.issuer))
        assert caught.value.cause_code == "metadata_invalid"
        assert not publisher.loads


@pytest.mark.parametrize("script", PLAYING_FOR_TIME)
def test_a_server_that_plays_for_time_gets_no_more_than_the_deadline(
    script: Callable[[socket.socket], None],
) -> None:
    with talking(script) as origin:
        keys = RemoteKeys(f"{origin}/jwks.json", timeout=0.3)
        began = time.monotonic()
        with pytest.raises(KeysUnavailable) as caught:
            keys.warm()
        assert time.monotonic() - began < 1.5
    assert caught.value.cause_code in {"timeout", "protocol_error"}


def test_what_the_server_says_shows_in_no_error() -> None:
    with publishing() as publisher:
        publisher.reply = Reply(200, b'{"keys": "hunter2"}')
        with pytest.raises(KeysUnavailable) as caught:
            verifier_of(keys=RemoteKeys(publisher.url)).verify(mint())
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("cache_control", "lifetime"),
    [("max-age=0", 60), ("no-store, max-age=31536000", 600), ("max-age=9999999999", 600)],
)
def test_no_server_can_freeze_the_keys_or_have_them_fetched_for_each_token(
    cache_control: str, lifetime: float
) -> None:
    clock = ManualClock()
    with publishing(GOOD) as publisher:
        publisher.reply = publisher.reply._replace(headers=(("Cache-Control", cache_control),))
        keys = RemoteKeys(publisher.url)
        keys.bind(issuer=publisher.issuer, clock=clock)
        for _ in range(20):
            keys.lookup(GOOD.kid, clock())
        assert len(publisher.loads) == 1
        keys.lookup(GOOD.kid, clock.advance(lifetime + 1))
        assert len(publisher.loads) == 2
