from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import write_keys

from ephemera_issuer.registry.jwks_file import read_keys
from ephemera_keys import generate, pem, public_jwk

if TYPE_CHECKING:
    from pathlib import Path

    from ephemera_keys import Algorithm


def test_one_key_or_two_are_read_in_their_order(tmp_path: Path) -> None:
    assert [key.key.kid for key in read_keys(write_keys(tmp_path / "one", "k1"))] == ["k1"]
    two = read_keys(write_keys(tmp_path / "two", "k2", "k1"))
    assert [key.key.kid for key in two] == ["k2", "k1"]


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_key_of_each_algorithm_verifies_what_its_owner_signs(
    tmp_path: Path, algorithm: Algorithm
) -> None:
    jwk = public_jwk(generate(algorithm), alg=algorithm)
    (tmp_path / "keys").write_text(json.dumps({"keys": [dict(jwk)]}))
    (key,) = read_keys(tmp_path / "keys")
    assert (key.key.alg, key.key.kid) == (algorithm, jwk["kid"])


def test_how_a_key_is_written_makes_no_difference(tmp_path: Path) -> None:
    file = write_keys(tmp_path / "keys", "k1")
    (written,) = json.loads(file.read_text())["keys"]
    before = read_keys(file)
    bare = {name: written[name] for name in ("y", "x", "kid", "crv", "kty")}
    file.write_text(json.dumps({"comment": "for orders", "keys": [bare | {"x5t": "ignored"}]}))
    assert read_keys(file) == before


def test_a_private_key_is_refused_loudly_and_not_quoted(tmp_path: Path) -> None:
    file = write_keys(tmp_path / "keys", "k1", private=True)
    with pytest.raises(ValueError, match=r"keys\[0\]: the key is private: it has been given away"):
        read_keys(file)
    file.write_bytes(pem.dump(generate("ES256")))
    with pytest.raises(ValueError, match="holds a private key: only its owner may have it"):
        read_keys(file)
    secret = json.loads(write_keys(file, "k1", private=True).read_text())["keys"][0]["d"]
    with pytest.raises(ValueError, match="private") as caught:
        read_keys(file)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no JWK Set: not JSON"),
        (b"\xff", "is no JWK Set: not UTF-8"),
        (b'{"keys": [], "keys": []}', "is no JWK Set: "),
        (b'{"kty": "EC"}', "is no JWK Set, which is"),
        (b"[]", "is no JWK Set, which is"),
        (b'{"keys": {}}', "is no JWK Set, which is"),
        (b'{"keys": ["k"]}', "is no JWK Set, which is"),
        (b'{"keys": []}', "has no keys: one is needed"),
        (b'{"keys": [{}, {}, {}]}', "has 3 keys: one is needed"),
        (b'{"keys": [{}]}', r"keys\[0\]: kid is not a string"),
        (b" " * 65_537, "is over 65536 bytes"),
    ],
)
def test_what_is_no_set_of_public_keys_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_keys(tmp_path / "keys")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_keys(tmp_path / "absent")
    with pytest.raises(ValueError, match="Is a directory"):
        read_keys(tmp_path)
