import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from ephemera_keys import Algorithm, AlgorithmUnsupported, generate, thumbprint
from ephemera_keys.algorithm import fitting
from ephemera_keys.jwk import public_jwk


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_new_key_fits_its_algorithm_and_is_like_no_other(algorithm: Algorithm) -> None:
    one, other = generate(algorithm), generate(algorithm)
    assert fitting(one) == fitting(other) == algorithm
    assert thumbprint(public_jwk(one, alg=algorithm)) != thumbprint(
        public_jwk(other, alg=algorithm)
    )


def test_a_new_rsa_key_is_as_strong_as_the_others() -> None:
    key = generate("RS256")
    assert isinstance(key, RSAPrivateKey)
    assert key.key_size == 3072
    assert fitting(key) == "RS256"


@pytest.mark.parametrize("name", ["none", "HS256", "es256", "ES384", "", "RS256 "])
def test_any_other_name_is_refused_with_the_three_that_will_do(name: str) -> None:
    with pytest.raises(AlgorithmUnsupported, match="ES256, EdDSA, RS256"):
        generate(name)  # type: ignore[arg-type]
