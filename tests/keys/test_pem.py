from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ephemera_keys import Algorithm, KeyFileInvalid, PrivateKey, pem, public_jwk

PLAIN = NoEncryption()
SECRET = BestAvailableEncryption(b"correct horse")
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ED25519_PEM = pem.dump(ED25519)
EC_PEM = pem.dump(ec.derive_private_key(7, ec.SECP256R1()))
PUBLIC_PEM = ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
EC_PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


def written(
    key: PrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption = PLAIN,
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption)


def same(one: PrivateKey, other: PrivateKey) -> bool:
    return pem.dump(one) == pem.dump(other)


def test_what_is_dumped_loads_as_the_same_key(private_key: PrivateKey, alg: Algorithm) -> None:
    text = pem.dump(private_key)
    assert text.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert same(pem.load(text), private_key)
    assert public_jwk(pem.load(text), alg=alg) == public_jwk(private_key, alg=alg)


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_the_older_forms_load_as_well(
    private_keys: Mapping[Algorithm, PrivateKey], alg: Algorithm
) -> None:
    key = private_keys[alg]
    assert same(pem.load(written(key, PrivateFormat.TraditionalOpenSSL)), key)


@pytest.mark.parametrize(
    "text",
    [
        ED25519_PEM.replace(b"\n", b"\r\n"),
        b"Bag Attributes\n    friendlyName: orders\n" + ED25519_PEM,
        b"\n\n" + ED25519_PEM + b"\n\n",
        b"\xef\xbb\xbf" + ED25519_PEM,
        PUBLIC_PEM + ED25519_PEM,
        ED25519_PEM + PUBLIC_PEM,
    ],
    ids=["CRLF", "attributes", "blank-lines", "BOM", "public-before", "public-after"],
)
def test_what_tools_put_around_the_key_does_not_matter(text: bytes) -> None:
    assert same(pem.load(text), ED25519)


def test_the_parameters_that_openssl_puts_before_an_ec_key_do_not_matter() -> None:
    assert same(pem.load(EC_PARAMETERS + EC_PEM), pem.load(EC_PEM))


WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the weakness is the point
BAD = {
    "empty": (b"", "is empty"),
    "blank": (b" \r\n\t", "is empty"),
    "huge": (ED25519_PEM + b"\n" * 65536, "over 65536 bytes"),
    "noise": (bytes(range(256)), "not PEM"),
    "der": (ED25519.private_bytes(Encoding.DER, PrivateFormat.PKCS8, PLAIN), "not PEM"),
    "utf-16": (ED25519_PEM.decode().encode("utf-16"), "not PEM"),
    "jwk": (b'{"kty":"OKP","crv":"Ed25519","x":"","d":""}', "not PEM"),
    "public": (PUBLIC_PEM, "public key or certificate"),
    "certificate": (
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "public key or certificate",
    ),
    "two": (ED25519_PEM + EC_PEM, "more than one private key"),
    "openssh": (written(ED25519, PrivateFormat.OpenSSH), "ssh-keygen -p -m PKCS8"),
    "encrypted": (written(ED25519, encryption=SECRET), "is encrypted; `openssl pkcs8"),
    "encrypted the old way": (
        written(WEAK, PrivateFormat.TraditionalOpenSSL, SECRET),
        "is encrypted; `openssl pkcs8",
    ),
    "only the first line": (ED25519_PEM[:28], "damaged or of an unknown kind"),
    "no last line": (ED25519_PEM[:-20], "damaged or of an unknown kind"),
    "no body": (ED25519_PEM[:28] + ED25519_PEM[-26:], "damaged or of an unknown kind"),
    "bad base64": (ED25519_PEM.replace(b"MC4C", b"!!!!"), "damaged or of an unknown kind"),
    "a seed of 31 bytes": (
        b"""-----BEGIN PRIVATE KEY-----
MC0CAQAwBQYDK2VwBCEEHwABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4=
-----END PRIVATE KEY-----
""",
        "damaged or of an unknown kind",
    ),
    "bad DER": (ED25519_PEM.replace(b"MC4C", b"MC5C"), "damaged or of an unknown kind"),
    "the label of another kind": (
        ED25519_PEM.replace(b"PRIVATE", b"RSA PRIVATE"),
        "damaged or of an unknown kind",
    ),
    "P-384": (pem.dump(ec.derive_private_key(7, ec.SECP384R1())), "P-256, .* secp384r1"),
    "secp256k1": (pem.dump(ec.derive_private_key(7, ec.SECP256K1())), "P-256, .* secp256k1"),
    "RSA 1024": (pem.dump(WEAK), "2048 to 8192 bits, and this key has 1024"),
    "RSA e=3": (pem.dump(rsa.generate_private_key(3, 2048)), "at least 65537"),
    "Ed448": (written(ed448.Ed448PrivateKey.generate()), "none of EC"),  # type: ignore[arg-type]
    "X25519": (written(x25519.X25519PrivateKey.generate()), "none of EC"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_the_reason(name: str) -> None:
    text, reason = BAD[name]
    with pytest.raises(KeyFileInvalid, match=reason):
        pem.load(text)


@pytest.mark.parametrize("name", [name for name, (text, _) in BAD.items() if len(text) > 100])
def test_a_refusal_quotes_nothing_of_the_file(name: str) -> None:
    text, _ = BAD[name]
    with pytest.raises(KeyFileInvalid) as refusal:
        pem.load(text)
    said = f"{refusal.value} {refusal.value!r} {refusal.value.__cause__!r}"
    body = [line for line in text.decode("latin-1").split() if len(line) > 16]
    assert not any(line in said for line in body)


@settings(derandomize=True, deadline=None, max_examples=150, database=None)
@given(
    at=st.integers(0, len(EC_PEM) - 1), byte=st.integers(0, 255), cut=st.integers(0, len(EC_PEM))
)
def test_a_damaged_file_gives_a_key_or_our_own_error(at: int, byte: int, cut: int) -> None:
    damaged = EC_PEM[:at] + bytes([byte]) + EC_PEM[at + 1 :]
    for text in (damaged, EC_PEM[:cut]):
        try:
            key = pem.load(text)
        except KeyFileInvalid:
            continue
        public_jwk(key, alg="ES256")
