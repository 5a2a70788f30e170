"""Raw token to its unverified parts, and back (RFC 7515 §7.1). Nothing here has been checked."""

import base64
import json
import math
import re
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ephemera_client.errors import TokenMalformed, TokenTooLarge

MAX_LENGTH = 8192
MAX_DEPTH = 8

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# To the standard alphabet, and everything else, that one's own + / = included, to what it lacks.
_TO_STANDARD = bytes(
    b"+/"[b"-_".index(byte)] if byte in b"-_" else byte if byte in _ALPHABET else b"!"[0]
    for byte in range(256)
)
_PADDING = (b"", None, b"==", b"=")
# The last character of a part carries bits that no byte uses; unless they are zero, several texts
# decode to the same bytes and a token can be altered without its signature noticing.
_CANONICAL_LAST = (_ALPHABET, b"", b"AQgw", b"AEIMQUYcgkosw048")
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_WHITESPACE = " \t\n\r"
_BACKSLASH = ord("\\")
_DOT = ord(".")
_JWE_DOTS = 4
NO_HEADERS: Mapping[bytes, dict[str, Any]] = MappingProxyType({})


class Compact(NamedTuple):
    """The parts of a token, decoded and unverified."""

    header_segment: bytes
    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "Compact()"


def parse(raw: str, headers: Mapping[bytes, dict[str, Any]] = NO_HEADERS) -> Compact:
    """Take a token apart.

    Args:
        raw: the token, without any `Bearer`.
        headers: header segments decoded before, by their exact bytes: an issuer repeats the same
            few in all its tokens.

    Raises:
        TokenTooLarge: over 8 KiB.
        TokenMalformed: anything but three canonical base64url parts, the first two strict JSON
            objects.
    """
    if not isinstance(raw, str):
        raise TokenMalformed("the token is not a str")
    if len(raw) > MAX_LENGTH:
        raise TokenTooLarge(f"the token is longer than {MAX_LENGTH} characters")
    data = raw.encode("ascii", "replace")
    signing_input, _, signature = data.rpartition(b".")
    header_segment, dot, claims_segment = signing_input.partition(b".")
    if not dot or _DOT in claims_segment:
        raise TokenMalformed(_what_it_is(data))
    try:
        header = headers.get(header_segment)
        if header is None:
            header = _members(header_segment)
        claims = _members(claims_segment)
        # As Compact(...) does, less a call.
        return tuple.__new__(
            Compact, (header_segment, header, claims, signing_input, _decode(signature))
        )
    except ValueError as error:
        reason = str(error)
    # Raised out here, so that no cause goes along: Python's decoding errors hold what they read.
    raise TokenMalformed(f"the token cannot be decoded: {reason}")


def write(
    header: Mapping[str, object], claims: Mapping[str, object], *, sign: Callable[[bytes], bytes]
) -> str:
    """Return the token of these members, signed by `sign` in JWS form."""
    signing_input = f"{_segment(header)}.{_segment(claims)}"
    return f"{signing_input}.{_encoded(sign(signing_input.encode()))}"


def decode_base64url(text: str) -> bytes:
    """Decode canonical unpadded base64url (RFC 7515 §2).

    Raises:
        ValueError: padding, a foreign character, or bits that no byte uses.
    """
    return _decode(text.encode("ascii", "replace"))


def strict_json(data: bytes) -> Any:
    """Decode JSON that every reader reads alike (RFC 8725 §2.4).

    Raises:
        ValueError: not UTF-8, not JSON, a member twice, NaN or an infinity, half of a surrogate
            pair, or nested deeper than 8. Never quotes the data.
    """
    opened = data.count(b"{") + data.count(b"[")
    if opened > MAX_DEPTH:
        _check_depth(data)
    try:
        text = data.decode().strip(_WHITESPACE)
        value, end = _scan(text, 0)
        if end != len(text):
            raise ValueError("something follows the JSON")
        # The members of one object stand between commas: as many of them as that means that none
        # was dropped. Anything else is read again by what notices, which takes half as long again.
        if opened != 1 or len(value) != data.count(b",") + 1:
            _scan_unique(text, 0)
        # One byte, as a number, is found much faster than the escape that could spell a surrogate:
        # to look for bytes in bytes, Python makes an exception first.
        if _BACKSLASH in data:
            json.dumps(value, ensure_ascii=False).encode()
    except (StopIteration, json.JSONDecodeError):
        raise ValueError("not JSON") from None
    except UnicodeError:
        raise ValueError("not UTF-8") from None
    return value


def _segment(members: Mapping[str, object]) -> str:
    return _encoded(json.dumps(members, separators=(",", ":")).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _what_it_is(data: bytes) -> str:
    if not data:
        return "the token is empty"
    if data.count(b".") == _JWE_DOTS:
        return "the token is encrypted (a JWE): this verifier takes signed tokens"
    return "the token is not three parts with a dot between them"


def _decode(segment: bytes) -> bytes:
    excess = len(segment) & 3
    padding = _PADDING[excess]
    if padding is None or not segment or segment[-1] not in _CANONICAL_LAST[excess]:
        raise ValueError("not canonical base64url")
    try:
        return a2b_base64(segment.translate(_TO_STANDARD) + padding, strict_mode=True)
    except ValueError:
        raise ValueError("not base64url without padding") from None


def _members(segment: bytes) -> dict[str, Any]:
    value = strict_json(_decode(segment))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - what arrived, not the program
    return value


def _check_depth(data: bytes) -> None:
    # Before the decoder sees it: a thousand brackets cost it a thousand stack frames.
    depth = 0
    for match in _BRACKETS.finditer(data):
        token = match[0]
        if token in {b"[", b"{"}:
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deeply")
        elif token in {b"]", b"}"}:
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _no_constant(_: str) -> Any:
    raise ValueError("NaN or an infinity is not JSON")


def _scanner(**hooks: Any) -> Callable[[str, int], tuple[Any, int]]:
    # What raw_decode wraps in another call; typeshed does not know it.
    decoder: Any = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant, **hooks)
    scan: Callable[[str, int], tuple[Any, int]] = decoder.scan_once
    return scan


_scan = _scanner()
_scan_unique = _scanner(object_pairs_hook=_unique)
