from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.proxies import MOST_BYTES, MOST_HOPS, Hop, Proxies
from ephemera_issuer.settings import Settings

PROXIES = Proxies(["10.0.0.1", "10.1.0.0/16", "fd00::/8"])


def caller(*headers: tuple[str, str], peer: str = "10.0.0.1") -> Hop:
    return PROXIES.caller(
        peer, [(name.encode(), value.encode("latin-1")) for name, value in headers]
    )


def through(*chain: str) -> str | None:
    return caller(("x-forwarded-for", ", ".join(chain))).address


def test_the_caller_is_the_last_address_that_is_no_trusted_proxys() -> None:
    assert through("192.0.2.1") == "192.0.2.1"
    assert through("203.0.113.9", "192.0.2.1") == "192.0.2.1"
    assert through("203.0.113.9", "192.0.2.1", "10.1.2.3", "10.0.0.1") == "192.0.2.1"


def test_where_all_are_proxies_it_is_the_outermost() -> None:
    assert through("10.1.0.9", "10.1.0.8") == "10.1.0.9"


@pytest.mark.parametrize("unknown", ["unknown", "_hidden", "192.0.2.300", "evil.example", "1"])
def test_where_the_walk_ends_at_no_address_it_is_the_proxy_that_wrote_so(unknown: str) -> None:
    assert through("192.0.2.1", unknown) == "10.0.0.1"
    assert through("192.0.2.1", unknown, "10.1.0.8") == "10.1.0.8"


@pytest.mark.parametrize(
    ("header", "hop"),
    [
        ("for=192.0.2.60", Hop("192.0.2.60", None)),
        ("For=192.0.2.60;Proto=HTTPS;by=203.0.113.43", Hop("192.0.2.60", "https")),
        ('for="192.0.2.60:4711"', Hop("192.0.2.60", None)),
        ('for="[2001:db8::17]:4711"', Hop("2001:db8::17", None)),
        ('for="[2001:db8::17]"', Hop("2001:db8::17", None)),
        ('for="\\1\\9\\2.0.2.60"', Hop("192.0.2.60", None)),
        ("for=203.0.113.1, for=192.0.2.43", Hop("192.0.2.43", None)),
        ("for=192.0.2.43;proto=https,for=10.1.0.8;proto=http", Hop("192.0.2.43", "https")),
        ("for=192.0.2.43 , , for=10.1.0.8", Hop("192.0.2.43", None)),
        ('for="a,for=1.1.1.1", for=192.0.2.43', Hop("192.0.2.43", None)),
        ("proto=https", Hop("10.0.0.1", "https")),
        ("for=unknown;proto=https", Hop("10.0.0.1", "https")),
        ("proto=ftp;for=192.0.2.43", Hop("192.0.2.43", None)),
    ],
)
def test_forwarded_is_read_as_its_standard_says(header: str, hop: Hop) -> None:
    assert caller(("forwarded", header)) == hop


@pytest.mark.parametrize(
    "header",
    [
        "for",
        "for=",
        "for=192.0.2.43 for=192.0.2.44",
        "for=192.0.2.43;for=192.0.2.44",
        'for="192.0.2.43',
        "for=192.0.2.43;;;=",
        "for=[2001:db8::17]",
        "=",
        "\xff",
        '"',
        "for=" + "1" * MOST_BYTES,
    ],
)
def test_a_forwarded_that_cannot_be_read_is_not_believed(header: str) -> None:
    assert caller(("forwarded", header)).address in {None, "10.0.0.1"}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:80", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_older_proxies_write_addresses_in_several_ways(text: str, address: str) -> None:
    assert through(text) == address


def test_the_older_headers_name_the_scheme_too() -> None:
    chain = ("x-forwarded-for", "192.0.2.1")
    assert caller(chain, ("x-forwarded-proto", "https")) == Hop("192.0.2.1", "https")
    assert caller(chain, ("x-forwarded-proto", "http, https")) == Hop("192.0.2.1", "https")
    assert caller(("x-forwarded-proto", "https")) == Hop("10.0.0.1", "https")
    assert caller(chain, ("x-forwarded-proto", "gopher")) == Hop("192.0.2.1", None)


def test_lines_of_one_header_are_one_list() -> None:
    lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.1")]
    assert caller(*lines).address == "192.0.2.1"


def test_where_both_kinds_name_different_callers_neither_is_believed() -> None:
    older = ("x-forwarded-for", "192.0.2.1")
    assert caller(older, ("forwarded", "for=192.0.2.1")).address == "192.0.2.1"
    assert caller(older, ("forwarded", "for=203.0.113.9")) == Hop(None, None)


def test_without_a_header_nothing_is_known() -> None:
    assert caller(("host", "tokens.internal")) == Hop(None, None)


def test_a_chain_is_walked_only_so_far() -> None:
    chain = ["192.0.2.1", *["10.1.0.1"] * (MOST_HOPS + 5)]
    assert through(*chain) == "10.1.0.1"
    assert through(*["192.0.2.1"] * 2000) is None


def test_the_scope_of_a_request_is_that_of_its_caller() -> None:
    headers = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", b"https")]
    scope = {"client": ("10.0.0.1", 4711), "scheme": "http", "headers": headers}
    PROXIES.resolve(scope)
    assert (scope["client"], scope["scheme"]) == (("192.0.2.1", 0), "https")


@pytest.mark.parametrize("peer", [None, ("192.0.2.7", 4711), ("10.0.0.2", 4711), ("unknown", 0)])
def test_the_scope_of_a_request_that_comes_from_no_proxy_is_left_alone(
    peer: tuple[str, int] | None,
) -> None:
    headers = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", b"https")]
    scope = {"client": peer, "scheme": "http", "headers": headers}
    PROXIES.resolve(scope)
    assert (scope["client"], scope["scheme"]) == (peer, "http")


@given(
    st.lists(st.sampled_from([*'for=proto;, "\\[]:.0129af', "192.0.2.1", "10.0.0.1", "unknown"]))
)
def test_whatever_a_proxy_sends_the_caller_is_an_address_or_nobody(pieces: list[str]) -> None:
    text = "".join(pieces)
    for name in ("forwarded", "x-forwarded-for", "x-forwarded-proto"):
        hop = caller((name, text))
        assert hop.scheme in {None, "http", "https"}
        if hop.address is not None:
            assert Proxies([hop.address]).trusts(hop.address)


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.0/8, fd00::/8", "::1,127.0.0.1"])
def test_proxies_are_named_by_address_or_network(text: str) -> None:
    assert Proxies(Settings(trusted_proxies=text).trusted_proxies)
    assert not Proxies(Settings().trusted_proxies)


@pytest.mark.parametrize("text", ["proxy.internal", "10.0.0.1/8", "10.0.0.1:80", "*", "10.0.0.1,"])
def test_a_proxy_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="EPHEMERA_TRUSTED_PROXIES: must be addresses"):
        Settings(trusted_proxies=text)
