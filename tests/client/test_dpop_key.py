import copy
import pickle
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from client.fixtures_dpop import hash_of
from client.fixtures_verifying import ManualClock, encode
from requests_oauth2client.dpop import validate_dpop_proof

from ephemera_client import ConfigurationError, DPoPKey
from ephemera_client.dpop.prover import Prover
from ephemera_client.jwk import thumbprint
from ephemera_client.private_key import PrivateKey

URL = "https://billing.internal/invoices?page=2"


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_proof_is_what_the_rfc_says_and_others_verify_it(algorithm: str) -> None:
    key = DPoPKey.generate(algorithm)
    now = time.time()
    raw = key.proof("POST", URL, token="a.b.c", nonce="n", now=now)
    header = jwt.get_unverified_header(raw)
    assert (header["typ"], header["alg"]) == ("dpop+jwt", algorithm)
    assert thumbprint(header["jwk"]) == key.thumbprint
    assert set(header["jwk"]) <= {"kty", "crv", "x", "y", "n", "e"}
    claims = validate_dpop_proof(
        raw,
        htm="POST",
        htu="https://billing.internal/invoices",
        ath=hash_of("a.b.c"),
        nonce="n",
        algs=[algorithm],
    ).claims
    assert claims["iat"] == int(now)
    assert len(claims["jti"]) == 22
    assert key.proof("POST", URL, token=None, nonce=None, now=0.0) != key.proof(
        "POST", URL, token=None, nonce=None, now=0.0
    )


def test_the_hash_of_a_token_is_that_of_the_rfcs_own_example() -> None:
    # RFC 9449 section 7.1.
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    raw = DPoPKey.generate().proof("GET", URL, token=token, nonce=None, now=0.0)
    claims = jwt.decode(raw, options={"verify_signature": False})
    assert claims["ath"] == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def test_a_key_in_a_file_is_the_same_key_each_time(tmp_path: Path) -> None:
    file = tmp_path / "dpop.pem"
    made = PrivateKey.generate("ES256")
    file.write_bytes(made.pem())
    assert DPoPKey.from_file(file).thumbprint == DPoPKey.from_file(str(file)).thumbprint


@pytest.mark.parametrize("content", [None, b"", b"junk", b'{"kty": "oct", "k": "c2VjcmV0"}'])
def test_a_file_without_a_usable_key_is_told_by_its_name(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "dpop.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"DPoP key file .*dpop\.pem: ") as caught:
        DPoPKey.from_file(file)
    assert "c2VjcmV0" not in str(caught.value)


def test_the_key_goes_nowhere() -> None:
    key = DPoPKey.generate()
    assert repr(key) == f"DPoPKey(alg='ES256', thumbprint='{key.thumbprint}')"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(key)
    with pytest.raises(ConfigurationError):
        DPoPKey.generate("HS256")


@pytest.mark.parametrize("url", ["", "/invoices", "ftp://billing.internal/"])
def test_a_proof_for_no_request_is_a_mistake(url: str) -> None:
    with pytest.raises(ConfigurationError):
        DPoPKey.generate().proof("GET", url, token=None, nonce=None, now=0.0)


def nonce_in(raw: str) -> Any:
    return jwt.decode(raw, options={"verify_signature": False}).get("nonce")


def test_nonces_are_kept_per_origin_and_the_latest_counts() -> None:
    prover = Prover(DPoPKey.generate(), clock=ManualClock())
    billing, ledger = "https://billing.internal/a", "https://ledger.internal/a"
    assert nonce_in(prover.proof("GET", billing)) is None
    assert prover.learn(billing, "one")
    assert prover.learn("https://BILLING.internal:443/other?x", "two")
    assert nonce_in(prover.proof("GET", billing)) == "two"
    assert nonce_in(prover.proof("GET", ledger)) is None
    bad: list[Any] = [None, "", "with space", 'quo"te', "back\\slash", "x" * 257, "\u00e9"]
    for nonce in bad:
        assert not prover.learn(billing, nonce)
    assert nonce_in(prover.proof("GET", billing)) == "two"


def test_there_is_an_end_to_how_many_origins_are_kept() -> None:
    prover = Prover(DPoPKey.generate(), clock=ManualClock())
    for number in range(1001):
        prover.learn(f"https://host{number}.internal/", encode(b"n"))
    assert nonce_in(prover.proof("GET", "https://host0.internal/")) is None
    assert nonce_in(prover.proof("GET", "https://host1000.internal/")) == encode(b"n")
