import json

import pytest
from client.fixtures_verifying import signing_key

from ephemera_client.http import Response
from ephemera_client.jwks.answer import LoadFailed, read

BODY = json.dumps({"keys": [signing_key("ES256").jwk]}).encode()


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [
        ({}, None),
        ({"cache-control": "public, max-age=300"}, 300),
        ({"cache-control": "max-age=300, stale-while-revalidate=60"}, 300),
        ({"cache-control": 'MAX-AGE="300"'}, 300),
        ({"cache-control": "s-maxage=9"}, None),
        ({"cache-control": "no-store"}, None),
        ({"cache-control": "max-age=-1"}, None),
        ({"cache-control": "max-age=soon"}, None),
        ({"cache-control": "max-age=99999999999999"}, None),
        ({"cache-control": "max-age=300", "age": "100"}, 200),
        ({"cache-control": "max-age=300", "age": " 400 "}, -100),
        ({"cache-control": "max-age=300", "age": "old"}, 300),
        ({"cache-control": "max-age=300", "age": "-5"}, 300),
        ({"age": "100"}, None),
    ],
    ids=repr,
)
def test_the_lifetime_is_max_age_less_age(headers: dict[str, str], lifetime: float | None) -> None:
    answer = read(Response(200, headers, BODY), conditional=False, max_keys=32)
    assert answer.lifetime == lifetime


@pytest.mark.parametrize(
    ("etag", "kept"),
    [
        ('"abc"', True),
        ('W/"abc"', True),
        ('""', True),
        ("abc", False),
        ('"a"b"', False),
        ('"a\r\nx: y"', False),
        ('"' + "a" * 300 + '"', False),
    ],
)
def test_only_a_proper_etag_is_ever_sent_back(etag: str, *, kept: bool) -> None:
    answer = read(Response(200, {"etag": etag}, BODY), conditional=False, max_keys=32)
    assert answer.etag == (etag if kept else None)


def test_not_modified_confirms_what_is_held_if_it_was_asked() -> None:
    answer = read(Response(304, {"cache-control": "max-age=90"}, b""), conditional=True, max_keys=1)
    assert (answer.keys, answer.lifetime) == (None, 90)
    with pytest.raises(LoadFailed, match="status_unexpected"):
        read(Response(304, {}, b""), conditional=False, max_keys=1)


@pytest.mark.parametrize("status", [201, 203, 204, 206, 400, 401, 404, 429, 500, 503])
def test_another_status_is_no_document_whatever_its_body(status: int) -> None:
    with pytest.raises(LoadFailed, match="status_unexpected"):
        read(Response(status, {}, BODY), conditional=True, max_keys=32)


def test_a_malformed_document_fails_as_one() -> None:
    with pytest.raises(LoadFailed, match="jwks_invalid"):
        read(Response(200, {}, b"{}"), conditional=False, max_keys=32)
