import pytest

from ephemera_client.dpop.target import target

HERE = "https://billing.internal/a/b"


@pytest.mark.parametrize(
    "url",
    [
        "https://billing.internal/a/b",
        "https://billing.internal/a/b?page=2",
        "https://billing.internal/a/b#part",
        "https://billing.internal/a/b?q=/../..",
        "HTTPS://Billing.Internal/a/b",
        "https://billing.internal:443/a/b",
        "https://billing.internal/%61/b",
        "https://billing.internal/./a/b",
        "https://billing.internal/a/x/../b",
        "https://billing.internal/a/%2e/b",
        "https://billing.internal/../a/b",
    ],
)
def test_other_spellings_of_a_url_are_the_same_target(url: str) -> None:
    assert target(url) == HERE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/a", "/a/"),
        ("/a", "/A"),
        ("/a/b", "/a//b"),
        ("/a%2Fb", "/a/b"),
        ("/a;x", "/a%3Bx"),
        ("/a/..", "/a"),
        ("/a+b", "/a%20b"),
    ],
)
def test_other_resources_are_other_targets(one: str, other: str) -> None:
    origin = "https://billing.internal"
    assert target(origin + one) != target(origin + other)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("", "/"),
        ("/", "/"),
        ("/.", "/"),
        ("/..", "/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../c/./d", "/a/c/d"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a..b", "/a..b"),
        ("/%c3%a9%7e", "/%C3%A9~"),
    ],
)
def test_paths_are_normalised(path: str, normal: str) -> None:
    assert target(f"https://billing.internal{path}") == f"https://billing.internal{normal}"
    assert target(f"http://[::1]:8700{path}") == f"http://[::1]:8700{normal}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/a",
        "billing.internal/a",
        "ftp://billing.internal/a",
        "https:///a",
        "https://user@billing.internal/a",
        "https://billing.internal:0/a",
        "https://billing.internal:port/a",
        "https://billing.internal/a b",
        "https://billing.internal/\u00e9",
        "https://billing.internal/a\n",
        "https://billing.internal/%",
        "https://billing.internal/%4",
        "https://billing.internal/%zz",
        "https://billing.internal/a\\b",
        'https://billing.internal/"',
    ],
)
def test_what_no_request_is_sent_to_is_no_target(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|port|host"):
        target(url)
