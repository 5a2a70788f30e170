"""JWKs that contradict themselves, or that say they are for something else."""

import json
from typing import Any

import pytest
from client.fixtures_publishing import publishing
from client.fixtures_requesting import Reply
from client.fixtures_verifying import assert_refused, mint, signing_key, verifier_of

from ephemera_client import JwkInvalid, KeyUnsuitable, RemoteKeys
from ephemera_client.jwk import parse

ALGORITHMS = ["ES256", "EdDSA", "RS256"]
CONFLICTS: list[dict[str, Any]] = [
    {"use": "enc"},
    {"use": ""},
    {"use": None},
    {"use": ["sig"]},
    {"use": "SIG"},
    {"key_ops": []},
    {"key_ops": ["sign"]},
    {"key_ops": ["encrypt"]},
    {"key_ops": ["verify", "encrypt"]},
    {"key_ops": ["verify", "verify"]},
    {"key_ops": ["verify", 1]},
    {"key_ops": "verify"},
    {"key_ops": {"verify": True}},
    {"key_ops": None},
    {"alg": "none"},
    {"alg": "HS256"},
    {"alg": "ES384"},
    {"alg": "PS256"},
    {"alg": ""},
    {"alg": None},
    {"alg": ["ES256", "EdDSA", "RS256"]},
    {"kty": "oct", "k": "AAAA"},
    {"kty": "ec"},
    {"kty": "AKP"},
    {"crv": "P-384"},
    {"crv": "Ed448"},
    {"crv": ["P-256"]},
    {"d": "AAAA"},
    {"d": None},
    {"k": "AAAA"},
    {"p": "AAAA"},
    {"oth": []},
]


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("conflict", CONFLICTS, ids=repr)
def test_a_key_in_conflict_with_itself_is_refused(alg: str, conflict: dict[str, Any]) -> None:
    with pytest.raises(JwkInvalid):
        parse(signing_key(alg).jwk | conflict)


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("of", ALGORITHMS)
def test_a_key_that_names_anothers_algorithm_is_refused(alg: str, of: str) -> None:
    jwk = signing_key(alg).jwk | {"alg": of}
    if alg == of:
        parse(jwk)
        return
    with pytest.raises(JwkInvalid, match="alg"):
        parse(jwk)


@pytest.mark.parametrize("key_ops", [["verify"], ["sign", "verify"], ["verify", "sign"]])
def test_operations_that_fit_are_accepted(key_ops: list[str]) -> None:
    parse(signing_key("ES256").jwk | {"key_ops": key_ops})


@pytest.mark.parametrize("conflict", CONFLICTS, ids=repr)
def test_a_token_of_such_a_key_is_refused_and_the_other_keys_serve(
    conflict: dict[str, Any],
) -> None:
    good, bad = signing_key("ES256"), signing_key("ES256", 1)
    body = json.dumps({"keys": [bad.jwk | conflict, good.jwk]}).encode()
    with publishing() as publisher:
        publisher.reply = Reply(200, body)
        verifier = verifier_of(keys=RemoteKeys(publisher.url))
        assert_refused(mint(bad), KeyUnsuitable, by=verifier)
        verifier.verify(mint(good))
        assert len(publisher.loads) == 1
