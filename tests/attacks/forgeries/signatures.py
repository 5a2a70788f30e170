"""Signatures of another shape or value than the one that was made."""

from collections.abc import Callable, Iterator

from attacks.forging import Forge, Forgery, Recipe, with_signature
from client.fixtures_verifying import encode
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ephemera_client import SignatureInvalid, TokenMalformed
from ephemera_client.compact import decode_base64url

# The orders of P-256 and of Ed25519's subgroup: signatures are counted modulo these.
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
L = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1

SHAPES: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda signature: bytes(len(signature)),
    "ones": lambda signature: b"\xff" * len(signature),
    "short": lambda signature: signature[:-1],
    "long": lambda signature: signature + b"\x00",
    "shifted": lambda signature: b"\x00" + signature,
    "twice": lambda signature: signature * 2,
    "reversed": lambda signature: signature[::-1],
    "one byte": lambda signature: signature[:1],
    "first bit": lambda signature: bytes([signature[0] ^ 0x80]) + signature[1:],
    "last bit": lambda signature: signature[:-1] + bytes([signature[-1] ^ 1]),
    "inverted": lambda signature: bytes(byte ^ 0xFF for byte in signature),
    "front half zero": lambda signature: bytes(len(signature) // 2) + _halves(signature)[1],
    "back half zero": lambda signature: _halves(signature)[0] + bytes(len(signature) // 2),
    "halves changed": lambda signature: b"".join(reversed(_halves(signature))),
    "front half twice": lambda signature: _halves(signature)[0] * 2,
    "text": lambda signature: signature.hex().encode(),
    "in base64url again": lambda signature: encode(signature).encode(),
}
# Any of r and s out of [1, n - 1] proves nothing: zeros once passed in a well-known runtime.
VALUES = {
    "0": 0,
    "1": 1,
    "n": N,
    "n + 1": N + 1,
    "n - 1": N - 1,
    "p": FIELD,
    "2^256 - 1": 2**256 - 1,
}


def _halves(signature: bytes) -> tuple[bytes, bytes]:
    return signature[: len(signature) // 2], signature[len(signature) // 2 :]


def _rs(r: int | None, s: int | None) -> Callable[[bytes], bytes]:
    def change(signature: bytes) -> bytes:
        own = _numbers(signature)
        pair = own[0] if r is None else r, own[1] if s is None else s
        return b"".join(number.to_bytes(32, "big") for number in pair)

    return change


def _numbers(signature: bytes) -> tuple[int, int]:
    r, s = _halves(signature)
    return int.from_bytes(r, "big"), int.from_bytes(s, "big")


def _larger_scalar(times: int) -> Callable[[bytes], bytes]:
    """S and a multiple of L: equal in the equation, another text (RFC 8032 §5.1.7 forbids it)."""

    def change(signature: bytes) -> bytes:
        point, scalar = _halves(signature)
        larger = int.from_bytes(scalar, "little") + times * L
        return point + larger.to_bytes(32, "little")

    return change


def negated(token: str) -> str:
    """Return the same ES256 token with n - s for s: by the standard, that verifies as well."""
    signing_input, _, signature = token.rpartition(".")
    decoded = decode_base64url(signature)
    return f"{signing_input}.{encode(_rs(None, N - _numbers(decoded)[1])(decoded))}"


def _mixed(place: int) -> Recipe:
    """A token with one part of another, as genuine as itself."""

    def recipe(forge: Forge) -> str:
        parts = forge.token(header={"more": 1}).split(".")
        other = forge.token(header={"more": 2}, scope="invoices:write").split(".")
        return ".".join([*parts[:place], other[place], *parts[place + 1 :]])

    return recipe


def _all() -> Iterator[Forgery]:
    for name, change in SHAPES.items():
        yield Forgery(name, SignatureInvalid, with_signature(change))
    es256, eddsa = ("ES256",), ("EdDSA",)
    der = with_signature(lambda signature: encode_dss_signature(*_numbers(signature)))
    yield Forgery("der", SignatureInvalid, der, es256)
    for r_name, r in VALUES.items():
        for s_name, s in VALUES.items():
            recipe = with_signature(_rs(r, s))
            yield Forgery(f"r = {r_name}, s = {s_name}", SignatureInvalid, recipe, es256)
        yield Forgery(f"r = {r_name}", SignatureInvalid, with_signature(_rs(r, None)), es256)
        yield Forgery(f"s = {r_name}", SignatureInvalid, with_signature(_rs(None, r)), es256)
    for times in range(1, 9):
        recipe = with_signature(_larger_scalar(times))
        yield Forgery(f"s + {times} L", SignatureInvalid, recipe, eddsa)
    yield Forgery("empty", TokenMalformed, with_signature(lambda _: b""))
    for place, part in enumerate(("header", "claims", "signature")):
        yield Forgery(f"{part} of another token", SignatureInvalid, _mixed(place))


FORGERIES = list(_all())
