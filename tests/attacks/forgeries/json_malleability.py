"""JSON that two readers read differently."""

from collections.abc import Callable, Iterator

from attacks.forging import Forgery, instead, member, with_claims_bytes, with_header_bytes

from ephemera_client import TokenMalformed

CLAIMS = ["iss", "aud", "sub", "client_id", "scope", "iat", "exp", "jti"]
HEADERS = ["alg", "typ", "kid"]
VALUES = [
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "0b1", "01", "+1", "1.", ".5"),
    *("1e", "- 1", "1_000", "1" * 5000, "'a'", "`a`", "undefined", "True", "nil", "TRUE", "nan"),
    *('"\\x41"', '"\\u00"', '"\\u{41}"', '"\\U00000041"', '"a\nb"', '"a\tb"', '"\x00"', '"\\"'),
    *("[1,]", "[,1]", '{"a":1,}', "{a:1}", "{1:1}", "[1 2]", "[1;2]", "(1)", "", "1 /* */"),
    *("/* */ 1", "// 1\n1", "# 1\n1", '"a" "b"', '"a"+"b"', "\u00a01", "\x0c1", "\x0b1", "\ufeff1"),
]
NOT_ONE_OBJECT = [
    *(b"", b" ", b"null", b"true", b"[]", b"[{}]", b'""', b"0", b"{", b"}", b"{]", b"{}{}"),
    *(b"{} {}", b"{},", b"{};", b"{}\x00", b"{}//", b"\x00{}", b"\x0c{}", b"\x1e{}\n", b"({})"),
    b")]}'\n{}",
]
IN_FRONT = [b"\x0c", b"\x0b", b"\xc2\xa0", b"\xe2\x80\xa8", b"\x00", b"/**/", b"1 ", b"[", b","]
BEHIND = [b"\x0c", b"\x1a", b"\xc2\x85", b"\x00", b"{}", b"}", b"]", b",", b";", b"//"]
REWRITES = {"claims": with_claims_bytes, "header": with_header_bytes}


def _escaped(name: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in name)


def _between(front: bytes, back: bytes) -> Callable[[bytes], bytes]:
    return lambda written: front + written + back


def _twice() -> Iterator[Forgery]:
    for part, names in (("claims", CLAIMS), ("header", HEADERS)):
        for name in names:
            for way, again in (("", name), (" escaped", _escaped(name))):
                recipe = REWRITES[part](member(f'"{again}": "{name}"'))
                yield Forgery(f"{name} twice{way}", TokenMalformed, recipe)
    for way, again in (("", "a"), (" escaped", _escaped("a"))):
        recipe = with_claims_bytes(member(f'"more": {{"a": 1, "{again}": 1}}'))
        yield Forgery(f"twice, further in{way}", TokenMalformed, recipe)


def _otherwise() -> Iterator[Forgery]:
    for part, rewrite in REWRITES.items():
        for value in VALUES:
            recipe = rewrite(member(f'"more": {value}'))
            yield Forgery(f"{value[:20]!a} in the {part}", TokenMalformed, recipe)
        for whole in NOT_ONE_OBJECT:
            yield Forgery(f"{part} {whole!a}", TokenMalformed, rewrite(instead(whole)))
        for extra in IN_FRONT:
            recipe = rewrite(_between(extra, b""))
            yield Forgery(f"{extra!a} in front of the {part}", TokenMalformed, recipe)
        for extra in BEHIND:
            recipe = rewrite(_between(b"", extra))
            yield Forgery(f"{extra!a} behind the {part}", TokenMalformed, recipe)


FORGERIES = [*_twice(), *_otherwise()]
