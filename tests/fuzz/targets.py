"""What is fuzzed: every parser of what comes from outside, and what must hold of its results.

A target returns, or raises because something is wrong. Keys are the same in every process, so that
a corpus kept from one run still holds genuine tokens in the next.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any

import httpx
from client.fixtures_verifying import (
    AUDIENCE,
    ISSUER,
    NOW,
    ManualClock,
    SigningKey,
    encode,
    header_of,
    mint_bytes,
)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from jwt.algorithms import ECAlgorithm

from ephemera_client import (
    NoReplayCache,
    ProofRefused,
    RequestMalformed,
    StaticKeys,
    TokenMissing,
    TokenRefused,
    Verifier,
    bearer,
    discovery,
)
from ephemera_client.dpop.proof import KnownKeys
from ephemera_client.dpop.proof import check as check_proof
from ephemera_client.jwk import ALGORITHMS, thumbprint
from ephemera_client.jwks import document
from ephemera_client.revocations import document as feed_document
from ephemera_issuer.proxies import MOST_BYTES, Proxies

MAX_KEYS = 32
MAX_ENTRIES = 100
PROXY, PROXY_NETWORK = "10.0.0.1", "10.0.0.0/8"
PROXIES = Proxies([PROXY_NETWORK])


def _key(number: int) -> SigningKey:
    private = ec.derive_private_key(number, ec.SECP256R1())
    engine = ECAlgorithm(ECAlgorithm.SHA256)
    jwk: dict[str, Any] = engine.to_jwk(private.public_key(), as_dict=True)
    named = {"kid": thumbprint(jwk), "alg": "ES256", "use": "sig"}
    return SigningKey("ES256", engine, private, jwk | named)


KEY = _key(20_000_001)
STRANGER = _key(20_000_002)
HEADER = json.dumps(header_of(KEY)).encode()
CLAIMS = json.dumps(
    {
        "iss": ISSUER,
        "sub": "orders",
        "client_id": "orders",
        "aud": AUDIENCE,
        "scope": "invoices:read",
        "iat": NOW,
        "exp": NOW + 120,
        "jti": "one",
    }
).encode()
GENUINE = mint_bytes(KEY, HEADER, CLAIMS)
CALL = f"{AUDIENCE}/invoices"
PUBLIC = {name: KEY.jwk[name] for name in ("kty", "crv", "x", "y")}
PROOF_HEADER = json.dumps({"typ": "dpop+jwt", "alg": "ES256", "jwk": PUBLIC}).encode()
PROOF_CLAIMS = json.dumps(
    {
        "htm": "GET",
        "htu": CALL,
        "iat": NOW,
        "jti": "one",
        "ath": encode(sha256(GENUINE.encode()).digest()),
    }
).encode()
METADATA = {
    "issuer": ISSUER,
    "token_endpoint": f"{ISSUER}/oauth2/token",
    "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
}

_verifier = Verifier(
    issuer=ISSUER,
    audience=AUDIENCE,
    algorithm="ES256",
    keys=StaticKeys({"keys": [KEY.jwk]}),
    # A replay's refusal would hide that a token had been accepted.
    replay_cache=NoReplayCache(),
    clock=ManualClock(),
)


def _decode(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _halves(signature: bytes) -> tuple[bytes, bytes]:
    decoded = _decode(signature)
    return decoded[:32], decoded[32:]


def token(data: bytes) -> None:
    """Any text: only what this issuer signed is accepted, spelled as it was."""
    raw = data.decode("utf-8", "surrogateescape")
    try:
        _verifier.verify(raw)
    except TokenRefused:
        return
    signing_input, _, signature = data.rpartition(b".")
    r, s = (int.from_bytes(half, "big") for half in _halves(signature))
    # Not by the verifier's own engine; raises InvalidSignature.
    public = KEY.private.public_key()
    public.verify(encode_dss_signature(r, s), signing_input, ec.ECDSA(hashes.SHA256()))
    assert all(encode(_decode(part)).encode() == part for part in data.split(b"."))


def signed(data: bytes) -> None:
    """A header and claims, a zero byte between them, that the issuer itself signed."""
    header, _, claims = data.partition(b"\x00")
    try:
        accepted = _verifier.verify(mint_bytes(KEY, header, claims))
    except TokenRefused:
        return
    said_header, said = json.loads(header), json.loads(claims)
    assert said_header["alg"] == "ES256"
    assert said_header["kid"] == KEY.kid
    assert said_header["typ"].lower().removeprefix("application/") == "at+jwt"
    assert not {"crit", "b64", "zip", "jwk", "jku", "x5u", "x5c"} & set(said_header)
    assert (said["iss"], said["aud"], "cnf" in said) == (ISSUER, AUDIENCE, False)
    assert all(isinstance(said[name], str) and said[name] for name in ("sub", "client_id", "jti"))
    assert (type(said["iat"]), type(said["exp"])) == (int, int)
    assert said["iat"] - 5 <= NOW < said["exp"] + 5
    assert 0 < said["exp"] - said["iat"] <= 900
    assert dict(accepted.claims) == said
    # A space and nothing else divides scopes (RFC 6749 §3.3).
    assert accepted.scopes == set(said.get("scope", "").split(" ")) - {""}


def proof(data: bytes) -> None:
    """A header and claims of a proof, a zero byte between them, that the caller itself signed."""
    header, _, claims = data.partition(b"\x00")
    try:
        shown = check_proof(
            mint_bytes(KEY, header, claims),
            method="GET",
            url=f"{CALL}?page=2",
            token=GENUINE,
            thumbprint=KEY.kid,
            nonces=None,
            now=NOW,
            known=KnownKeys(),
        )
    except ProofRefused:
        return
    said_header, said = json.loads(header), json.loads(claims)
    assert said_header["typ"].lower().removeprefix("application/") == "dpop+jwt"
    assert said_header["alg"] == "ES256"
    assert said_header["jwk"] | PUBLIC == said_header["jwk"]
    assert not {"d", "k"} & set(said_header["jwk"])
    assert not {"crit", "b64", "zip", "jku", "x5u", "x5c"} & set(said_header)
    url = httpx.URL(said["htu"])
    assert (url.scheme, url.host, url.port or 443) == ("https", "billing.internal", 443)
    assert not url.userinfo
    assert (said["htm"], said["ath"]) == ("GET", json.loads(PROOF_CLAIMS)["ath"])
    assert type(said["iat"]) is int
    assert NOW - 60 < said["iat"] <= NOW + 5
    assert 0 < len(said["jti"]) <= 256
    assert shown == (KEY.kid, said["jti"], said["iat"], said["iat"] + 65)


def keys(data: bytes) -> None:
    """A JWK Set: of what can be used, each key has one name and one algorithm, and is public."""
    try:
        held = document.parse(data, max_keys=MAX_KEYS)
    except document.JwksInvalid:
        return
    published = {str(jwk.get("kid")): jwk for jwk in json.loads(data)["keys"]}
    assert len(held.usable) + len(held.unusable) <= MAX_KEYS
    for kid, key in held.usable.items():
        jwk = published[kid]
        assert key.kid == kid
        assert key.alg in ALGORITHMS
        assert jwk.get("alg", key.alg) == key.alg
        assert jwk.get("use", "sig") == "sig"
        assert not {"d", "p", "q", "k"} & set(jwk)
        assert not key.verify(b"anything", bytes(64))


def authorization(data: bytes) -> None:
    """Authorization headers, one to a line, and the same text as a challenge."""
    lines = data.split(b"\n")
    parameters = bearer.challenge([line.decode("latin-1") for line in lines])
    assert all(name == name.lower() for name in parameters)
    try:
        found = bearer.extract(lines)
    except (TokenMissing, RequestMalformed):
        return
    assert len(lines) == 1
    assert found.isascii()
    assert found.isprintable()
    assert lines[0].lower().startswith(b"bearer ")
    assert not set(found) & set(' ,"\\')


def metadata(data: bytes) -> None:
    """An issuer's metadata: its endpoints are the issuer's own, whoever reads the URL."""
    try:
        found = discovery.parse(data, issuer=ISSUER)
    except discovery.MetadataInvalid:
        return
    for endpoint in (found.token_endpoint, found.jwks_uri, found.revocations_endpoint):
        if endpoint is None:
            assert "ephemera_revocations_endpoint" not in json.loads(data)
            continue
        url = httpx.URL(endpoint)
        assert (url.scheme, url.host, url.port or 443) == ("https", "tokens.internal", 443)
        assert not url.userinfo
        assert not url.fragment
    assert found.max_count >= 1


def feed(data: bytes) -> None:
    """A document of the feed: whatever it revokes is refused, and nothing of it is passed over."""
    try:
        found = feed_document.parse(data, max_entries=MAX_ENTRIES)
    except feed_document.FeedInvalid:
        return
    said = json.loads(data)
    assert 0 <= found.after <= found.sequence
    assert found.epoch == said["epoch"]
    for entry in said["entries"]:
        token = {
            "kid": entry.get("kid", "k"),
            "client": entry.get("client", "orders"),
            "audience": entry.get("audience", AUDIENCE),
            "issued_at": entry.get("cut_off", NOW),
            "expires_at": NOW + 120,
            "token_id": entry.get("jti", "one"),
        }
        assert found.revoked.revokes(**token)


def forwarded(data: bytes) -> None:
    """What proxies say, `Forwarded` before a line feed and `X-Forwarded-For` after it.

    Whoever calls a proxy can write to the left of it what they like, and stays who they are.
    """
    standard, _, older = data.partition(b"\n")
    headers = [(b"forwarded", standard), (b"x-forwarded-for", older)]
    given = [header for header in headers if header[1]]
    found = PROXIES.caller(PROXY, given)
    assert found.scheme in {None, "http", "https"}
    if found.address is None or ip_address(found.address) in ip_network(PROXY_NETWORK):
        return
    made_up = {b"forwarded": b"for=198.51.100.1;proto=https,", b"x-forwarded-for": b"198.51.100.1,"}
    longer = [(name, made_up[name] + value) for name, value in given]
    if all(len(value) <= MOST_BYTES for _, value in longer):
        assert PROXIES.caller(PROXY, longer).address == found.address


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (token, signed, proof, keys, authorization, metadata, feed, forwarded)
}
