import copy
import json
import logging
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from client.fixtures_verifying import ISSUER, NOW, ManualClock
from jwt.algorithms import ECAlgorithm

from ephemera_client import ConfigurationError
from ephemera_client.assertion import PrivateKeyJWT
from ephemera_client.private_key import PrivateKey

FIRST, SECOND = PrivateKey.generate("ES256"), PrivateKey.generate("EdDSA")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "orders.pem"
    file.write_bytes(FIRST.pem())
    return file


def assertion_of(credential: PrivateKeyJWT) -> str:
    proof = credential.prove("orders", issuer=ISSUER)
    assert proof.headers == {}
    assert proof.form.keys() == {"client_assertion_type", "client_assertion"}
    return proof.form["client_assertion"]


def kid_of(credential: PrivateKeyJWT) -> str:
    return str(jwt.get_unverified_header(assertion_of(credential))["kid"])


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_an_assertion_says_who_asks_whom_for_half_a_minute(alg: str) -> None:
    key = PrivateKey.generate(alg)
    credential = PrivateKeyJWT(key.pem(), clock=ManualClock(NOW + 0.9))
    proof = credential.prove("orders", issuer=ISSUER)
    assert (
        proof.form["client_assertion_type"]
        == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    )
    raw = proof.form["client_assertion"]
    assert jwt.get_unverified_header(raw) == {
        "alg": alg,
        "typ": "client-authentication+jwt",
        "kid": key.kid,
    }
    claims = jwt.decode(
        raw,
        jwt.PyJWK(key.public_jwk()),
        algorithms=[alg],
        options={"verify_exp": False, "verify_iat": False, "verify_aud": False},
    )
    jti = claims.pop("jti")
    assert len(jti) == 22
    assert claims == {
        "iss": "orders",
        "sub": "orders",
        "aud": ISSUER,
        "iat": NOW,
        "exp": NOW + 30,
    }


def test_no_two_assertions_are_the_same() -> None:
    credential = PrivateKeyJWT(FIRST.pem(), clock=ManualClock())
    jtis = {
        jwt.decode(assertion_of(credential), options={"verify_signature": False})["jti"]
        for _ in range(50)
    }
    assert len(jtis) == 50


def test_a_key_is_given_as_pem_or_jwk() -> None:
    private: Any = FIRST._key
    jwk = ECAlgorithm.to_jwk(private, as_dict=True)
    forms: list[Any] = [FIRST.pem(), FIRST.pem().decode(), jwk, json.dumps(jwk)]
    assert {kid_of(PrivateKeyJWT(form)) for form in forms} == {FIRST.kid}
    assert kid_of(PrivateKeyJWT(FIRST.pem(), kid="orders-1", algorithm="ES256")) == "orders-1"
    assert PrivateKeyJWT(FIRST.pem()).method == "private_key_jwt"


@pytest.mark.parametrize("key", [None, 7, Path("orders.pem"), {"kty": object()}, "orders.pem", {}])
def test_anything_else_is_no_key(key: Any) -> None:
    with pytest.raises(ConfigurationError):
        PrivateKeyJWT(key)


def test_a_changed_file_is_read_again(file: Path) -> None:
    credential = PrivateKeyJWT.from_file(file)
    assert kid_of(credential) == FIRST.kid
    file.write_bytes(SECOND.pem())
    assert kid_of(credential) == SECOND.kid


def test_a_file_put_in_its_place_is_read_even_if_it_looks_as_old(file: Path) -> None:
    other = PrivateKey.generate("ES256")
    credential = PrivateKeyJWT.from_file(str(file))
    before = file.stat()
    new = file.with_name("new")
    new.write_bytes(other.pem())
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(file)
    assert file.stat().st_size == before.st_size
    assert kid_of(credential) == other.kid


def test_an_unchanged_file_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credential = PrivateKeyJWT.from_file(file)
    monkeypatch.setattr(Path, "open", None)
    assert kid_of(credential) == FIRST.kid


@pytest.mark.parametrize(
    "content", [b"", SECOND.pem()[:60], b"notes", None], ids=["empty", "cut", "notes", "gone"]
)
def test_a_broken_file_leaves_the_last_good_key_in_use_and_is_logged_once(
    content: bytes | None, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    credential = PrivateKeyJWT.from_file(file)
    for _ in range(2):
        caplog.clear()
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        for _ in range(3):
            assert kid_of(credential) in {FIRST.kid, SECOND.kid}
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("ephemera_client", logging.WARNING)
        assert str(file) in record.message
        assert "PRIVATE" not in record.message
        file.write_bytes(SECOND.pem())
        assert kid_of(credential) == SECOND.kid


def test_a_key_of_another_algorithm_does_not_replace_the_one_wanted(file: Path) -> None:
    credential = PrivateKeyJWT.from_file(file, algorithm="ES256")
    file.write_bytes(SECOND.pem())
    assert kid_of(credential) == FIRST.kid


def test_threads_see_a_whole_key_while_the_file_changes(file: Path) -> None:
    credential = PrivateKeyJWT.from_file(file)
    keys = {key.kid: jwt.PyJWK(key.public_jwk()) for key in (FIRST, SECOND)}
    wrong: list[str] = []
    changed = threading.Event()

    def ask() -> None:
        while not changed.is_set():
            raw = assertion_of(credential)
            header = jwt.get_unverified_header(raw)
            key = keys[header["kid"]]
            signing_input, _, signature = raw.rpartition(".")
            if header["alg"] != key.algorithm_name or not key.Algorithm.verify(
                signing_input.encode(), key.key, jwt.utils.base64url_decode(signature)
            ):
                wrong.append(header["kid"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(40):
        new = file.with_name("new")
        new.write_bytes((FIRST, SECOND)[number % 2].pem())
        new.replace(file)
    changed.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "No such file"), (b"", "empty"), (b"notes", "neither PEM")],
)
def test_a_file_that_is_of_no_use_at_the_start_is_a_configuration_error(
    content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "orders.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"orders\.pem: .*{sentence}"):
        PrivateKeyJWT.from_file(file)


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
def test_the_key_shows_nowhere(carry: Callable[[Any], Any], file: Path) -> None:
    given, read = PrivateKeyJWT(FIRST.pem()), PrivateKeyJWT.from_file(file)
    assert repr(given) == f"PrivateKeyJWT(PrivateKey(alg='ES256', kid='{FIRST.kid}'))"
    assert repr(read) == f"PrivateKeyJWT('{file}', PrivateKey(alg='ES256', kid='{FIRST.kid}'))"
    assert not hasattr(read, "__dict__")
    for credential in (given, read):
        with pytest.raises(TypeError, match="not pickled"):
            carry(credential)
