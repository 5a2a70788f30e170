import math

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import example, given
from hypothesis import strategies as st

from ephemera_keys import Algorithm, AlgorithmUnsupported, PrivateKey
from ephemera_keys.algorithm import fitting, joined, require_fit


def test_each_key_fits_its_own_algorithm(private_key: PrivateKey, alg: Algorithm) -> None:
    assert fitting(private_key) == alg
    require_fit(private_key, alg)


@pytest.mark.parametrize("other", ["ES256", "EdDSA", "RS256"])
def test_no_key_fits_another_algorithm(
    private_key: PrivateKey, alg: Algorithm, other: Algorithm
) -> None:
    if other != alg:
        with pytest.raises(AlgorithmUnsupported, match=f"signs with {alg}, not with {other}"):
            require_fit(private_key, other)


@pytest.mark.parametrize(
    "curve",
    [ec.SECP224R1(), ec.SECP256K1(), ec.SECP384R1(), ec.SECP521R1(), ec.BrainpoolP256R1()],
    ids=lambda curve: curve.name,
)
def test_no_other_curve_than_p256_signs_es256(curve: ec.EllipticCurve) -> None:
    with pytest.raises(AlgorithmUnsupported, match=f"this key is on {curve.name}"):
        fitting(ec.generate_private_key(curve))


def test_an_rsa_key_under_2048_bits_is_refused() -> None:
    with pytest.raises(AlgorithmUnsupported, match="2048 to 8192 bits, and this key has 1024"):
        fitting(rsa.generate_private_key(65537, 1024))  # noqa: S505 - the weakness is the point


def test_an_rsa_key_over_8192_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ephemera_keys.algorithm.LARGEST_RSA_BITS", 1024)
    monkeypatch.setattr("ephemera_keys.algorithm.SMALLEST_RSA_BITS", 512)
    with pytest.raises(AlgorithmUnsupported, match="512 to 1024 bits, and this key has 1032"):
        fitting(rsa.generate_private_key(65537, 1032))  # noqa: S505 - small to be quick


def test_an_rsa_key_with_the_exponent_3_is_refused() -> None:
    with pytest.raises(AlgorithmUnsupported, match="exponent of at least 65537"):
        fitting(rsa.generate_private_key(3, 2048))


def test_an_rsa_key_with_an_exponent_that_verifiers_refuse_is_refused() -> None:
    made = rsa.generate_private_key(65537, 2048).private_numbers()
    order = (made.p - 1) * (made.q - 1)
    exponent = next(e for e in range(2**32 + 1, 2**33, 2) if math.gcd(e, order) == 1)
    d = pow(exponent, -1, order)
    key = rsa.RSAPrivateNumbers(
        p=made.p,
        q=made.q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, made.p),
        dmq1=rsa.rsa_crt_dmq1(d, made.q),
        iqmp=made.iqmp,
        public_numbers=rsa.RSAPublicNumbers(exponent, made.public_numbers.n),
    ).private_key()
    with pytest.raises(AlgorithmUnsupported, match="at most 32 bits"):
        fitting(key)


@pytest.mark.parametrize(
    "key",
    [
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        b"secret",
        None,
    ],
    ids=["Ed448", "X25519", "public", "bytes", "None"],
)
def test_what_is_no_private_key_of_ours_fits_nothing(key: object) -> None:
    with pytest.raises(AlgorithmUnsupported, match="none of EC on P-256"):
        fitting(key)


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
HALF = st.one_of(
    st.integers(1, ORDER - 1),
    st.integers(0, 31).map(lambda octets: 1 << 8 * octets),
    st.integers(0, 31).map(lambda octets: 0x80 << 8 * octets),
)


@given(HALF, HALF)
@example(1, ORDER - 1)
@example(2**248 - 1, 2**255)
def test_the_two_numbers_of_a_signature_are_32_bytes_each(r: int, s: int) -> None:
    r, s = r % ORDER or 1, s % ORDER or 1
    assert joined(encode_dss_signature(r, s)) == r.to_bytes(32, "big") + s.to_bytes(32, "big")
