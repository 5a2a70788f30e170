import functools
from typing import Any

import pytest

from ephemera_client.errors import ConfigurationError
from ephemera_client.url import check_url, origin

_check = functools.partial(check_url, what="issuer", unencrypted_hosts=("Issuer",))


@pytest.mark.parametrize(
    "url",
    [
        "https://tokens.internal",
        "https://tokens.internal:8443/path?query",
        "http://127.0.0.1:8700",
        "http://127.9.9.9",
        "http://[::1]:8700",
        "http://issuer:80",
    ],
)
def test_a_url_that_a_secret_may_travel_over_is_returned_as_it_is(url: str) -> None:
    assert _check(url) == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://tokens.internal", "must be https"),
        ("http://localhost", "must be https"),
        ("http://127.0.0.1.evil.example", "must be https"),
        ("http://10.0.0.1", "must be https"),
        ("http://issuer.evil.example", "must be https"),
        ("https://user:secret@tokens.internal", "user name or password"),
        ("https://@tokens.internal", "user name or password"),
        ("https://user:secret@[::1]:8700", "user name or password"),
        ("https://tokens.internal#part", "fragment"),
        ("https://tokens.internal#", "fragment"),
        ("https://tökens.internal", "ASCII"),
        ("https://tokens.internal/ a", "ASCII"),
        ("https://tokens.internal\\@evil.example", "ASCII"),
        ("https://tokens.internal\n", "ASCII"),
        ("https://", "absolute https URL"),
        ("https://:443", "absolute https URL"),
        ("https://tokens..internal", "absolute https URL"),
        ("https://" + "a" * 64, "absolute https URL"),
        ("https://tokens.internal:0", "absolute https URL"),
        ("https://tokens.internal:65536", "absolute https URL"),
        ("https://tokens.internal:x", "absolute https URL"),
        ("https://[::1", "absolute https URL"),
        ("http://evil.example[::1]", "absolute https URL"),
        ("http://[::1]evil.example:8700", "absolute https URL"),
        ("http://[::1]]:8700", "absolute https URL"),
        ("tokens.internal", "absolute https URL"),
        ("ftp://tokens.internal", "absolute https URL"),
        ("//tokens.internal", "absolute https URL"),
        ("", "absolute https URL"),
        (b"https://tokens.internal", "ASCII"),
        (None, "ASCII"),
    ],
)
def test_any_other_url_is_a_configuration_error_that_says_why(url: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        _check(url)
    assert "secret" not in str(refused.value)
    assert isinstance(refused.value, ValueError)


def test_one_string_is_no_collection_of_hosts() -> None:
    with pytest.raises(ConfigurationError, match="not one string"):
        check_url("http://i", unencrypted_hosts="issuer", what="issuer")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Tokens.Internal/x", "https://tokens.internal"),
        ("https://tokens.internal:443", "https://tokens.internal"),
        ("http://tokens.internal:80?x", "http://tokens.internal"),
        ("http://tokens.internal:443", "http://tokens.internal:443"),
        ("http://[::1]:8700/x", "http://[::1]:8700"),
    ],
)
def test_an_origin_has_one_spelling(url: str, expected: str) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize("url", ["", "/x", "https://", "https://a:x", "data:x"])
def test_a_url_without_an_origin_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="absolute"):
        origin(url)
