import json
from collections.abc import Callable, Mapping

from jwt import PyJWKSet

from ephemera_keys import Algorithm, KeyRing, PrivateKey, jwks, public_jwk
from ephemera_keys.ring import MOST_PUBLISHED, RETENTION

NewJWK = Callable[[], dict[str, str]]
PUBLIC = {"kty", "crv", "x", "y", "n", "e", "use", "alg", "kid"}


def test_the_document_shows_active_pending_and_retired_in_that_order(new_jwk: NewJWK) -> None:
    first, second, third = new_jwk(), new_jwk(), new_jwk()
    ring = KeyRing.start(active=first, pending=second, now=0)
    assert json.loads(jwks.document(ring)) == {"keys": [first, second]}
    ring = ring.rotate(new_pending=third, now=900, emergency=False)
    assert json.loads(jwks.document(ring)) == {"keys": [second, third, first]}
    ring = ring.remove_overdue(900 + RETENTION)
    assert json.loads(jwks.document(ring)) == {"keys": [second, third]}


def test_a_revoked_key_leaves_the_document_at_once(new_jwk: NewJWK) -> None:
    ring = KeyRing.start(active=new_jwk(), pending=new_jwk(), now=0)
    leaked = ring.active.kid
    ring = ring.revoke(leaked, new_pending=new_jwk(), now=0)
    assert leaked.encode() not in jwks.document(ring)


def test_the_same_keys_make_the_same_bytes(new_jwk: NewJWK) -> None:
    active, pending = new_jwk(), new_jwk()
    shuffled = dict(reversed(active.items()))
    one = KeyRing.start(active=active, pending=pending, now=0)
    other = KeyRing.start(active=shuffled, pending=pending, now=77.5)
    assert jwks.document(one) == jwks.document(other)
    assert jwks.document(one).startswith(b'{"keys":[{"alg":"ES256","crv":"P-256","kid":"')


def test_keys_of_every_algorithm_stand_in_one_document_and_show_nothing_private(
    private_keys: Mapping[Algorithm, PrivateKey],
) -> None:
    es256, eddsa, rs256 = (public_jwk(key, alg=alg) for alg, key in private_keys.items())
    ring = KeyRing.start(active=es256, pending=eddsa, now=0)
    ring = ring.rotate(new_pending=rs256, now=0, emergency=True)
    document = jwks.document(ring)
    assert [key.algorithm_name for key in PyJWKSet.from_json(document.decode()).keys] == [
        "EdDSA",
        "RS256",
        "ES256",
    ]
    assert all(key.keys() <= PUBLIC for key in json.loads(document)["keys"])


def test_the_fullest_document_of_the_largest_keys_is_one_that_verifiers_take() -> None:
    modulus = "A" * 1366  # 8192 bits in base64url
    largest = {"alg": "RS256", "e": "AQAB", "kid": "k" * 43, "kty": "RSA", "use": "sig"}
    document = {"keys": [largest | {"n": modulus}] * MOST_PUBLISHED}
    assert len(json.dumps(document, separators=(",", ":"))) <= 50 * 1024
