import json
from typing import Any

import pytest

from ephemera_client.discovery import MetadataInvalid, metadata_url, parse
from ephemera_client.errors import ConfigurationError

ISSUER = "https://tokens.internal"


def _document(**changes: Any) -> bytes:
    return json.dumps(
        {
            "issuer": ISSUER,
            "token_endpoint": f"{ISSUER}/oauth2/token",
            "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
        }
        | changes
    ).encode()


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (ISSUER, f"{ISSUER}/.well-known/oauth-authorization-server"),
        (f"{ISSUER}/", f"{ISSUER}/.well-known/oauth-authorization-server"),
        (f"{ISSUER}:1/a/b", f"{ISSUER}:1/.well-known/oauth-authorization-server/a/b"),
    ],
)
def test_the_well_known_part_stands_before_the_path(issuer: str, expected: str) -> None:
    assert metadata_url(issuer) == expected


def test_an_issuer_with_a_query_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="query"):
        metadata_url(f"{ISSUER}?tenant=1")


def test_the_endpoints_are_found() -> None:
    metadata = parse(_document(), issuer=ISSUER)
    assert metadata.token_endpoint == f"{ISSUER}/oauth2/token"
    assert metadata.jwks_uri == f"{ISSUER}/.well-known/jwks.json"


@pytest.mark.parametrize(
    "issuer",
    ["https://tokens.internal/", "https://TOKENS.internal", "https://tokens.internal:443", None],
)
def test_another_issuers_document_is_refused_however_close(issuer: str | None) -> None:
    with pytest.raises(MetadataInvalid, match=r"issuer https://tokens\.internal"):
        parse(_document(issuer=issuer), issuer=ISSUER)


@pytest.mark.parametrize("name", ["jwks_uri", "token_endpoint"])
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/keys",
        "https://tokens.internal.evil.example/keys",
        "https://tokens.internal@evil.example/keys",
        "https://evil.example@tokens.internal/keys",
        "https://evil.example\\@tokens.internal/keys",
        "https://evil.example#@tokens.internal/keys",
        "https://tokens.internal:8443/keys",
        "http://tokens.internal/keys",
        "//tokens.internal/keys",
        "/keys",
        "https://tokens.internal/ keys",
        "https://tokens.internal/keys#fragment",
        "https://[tokens.internal/keys",
        "https://tökens.internal/keys",
        "",
        None,
        ["https://tokens.internal/keys"],
    ],
)
def test_an_endpoint_elsewhere_is_refused_and_not_quoted(name: str, url: Any) -> None:
    with pytest.raises(MetadataInvalid, match=name) as refused:
        parse(_document(**{name: url}), issuer=ISSUER)
    assert "evil" not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'"x"',
        b"\xff",
        b"[" * 10_000,
        b'{"issuer": "https://tokens.internal", "issuer": "https://tokens.internal"}',
        b'{"issuer": NaN}',
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(MetadataInvalid, match="not a JSON object"):
        parse(body, issuer=ISSUER)


def test_an_issuer_says_how_many_tokens_one_request_may_ask_for() -> None:
    assert parse(_document(ephemera_max_count=100), issuer=ISSUER).max_count == 100
    assert parse(_document(), issuer=ISSUER).max_count == 1


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "100", None])
def test_a_number_that_makes_no_sense_offers_nothing_and_spoils_nothing(count: Any) -> None:
    assert parse(_document(ephemera_max_count=count), issuer=ISSUER).max_count == 1
