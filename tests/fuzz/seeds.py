"""Where fuzzing begins: genuine input for every target, and forgeries that come close."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attacks.forgeries.every_kind import FORGERIES
from attacks.forging import ALGORITHMS, Forge
from attacks.genuine import GENUINE
from client.fixtures_verifying import signing_key
from fuzz.targets import (
    CALL,
    CLAIMS,
    HEADER,
    KEY,
    METADATA,
    PROOF_CLAIMS,
    PROOF_HEADER,
    PUBLIC,
    STRANGER,
)
from fuzz.targets import GENUINE as TOKEN

from ephemera_client.compact import decode_base64url

# So many of each kind of forgery: the fuzzer finds the way from one to the next by itself.
OF_A_KIND = 4
LONGEST = 2048


def _forge() -> Forge:
    forge = Forge()
    forge.key, forge.stranger = KEY, STRANGER
    return forge


def _tokens() -> Iterator[str]:
    forge = _forge()
    yield TOKEN
    for recipe in GENUINE.values():
        yield recipe(forge)
    for forgeries in FORGERIES.values():
        for forgery in forgeries[:: max(1, len(forgeries) // OF_A_KIND)]:
            yield forgery.recipe(forge)


def _signed() -> Iterator[bytes]:
    yield HEADER + b"\x00" + CLAIMS
    for token in _tokens():
        with contextlib.suppress(ValueError):
            header, claims = map(decode_base64url, token.split(".")[:2])
            yield header + b"\x00" + claims


def _proofs() -> Iterator[bytes]:
    yield PROOF_HEADER + b"\x00" + PROOF_CLAIMS
    header, claims = json.loads(PROOF_HEADER), json.loads(PROOF_CLAIMS)
    changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"alg": "none"}, {}),
        ({"typ": "JWT"}, {}),
        ({"jwk": PUBLIC | {"d": "AA"}}, {}),
        ({"jwk": {"kty": "oct", "k": "AA"}}, {}),
        ({"crit": ["b64"]}, {}),
        ({}, {"htu": CALL.upper()}),
        ({}, {"htu": CALL.replace("/inv", ":443/./%69nv")}),
        ({}, {"htu": CALL.replace("//", "//user@")}),
        ({}, {"iat": 1_800_000_000 - 60}),
        ({}, {"htm": "POST", "nonce": "n"}),
    ]
    for of_header, of_claims in changes:
        parts = (header | of_header, claims | of_claims)
        yield b"\x00".join(json.dumps(part).encode() for part in parts)


def _keys() -> Iterator[bytes]:
    jwks = [signing_key(alg).jwk for alg in ALGORITHMS]
    yield json.dumps({"keys": []}).encode()
    for jwk in jwks:
        for change in ({}, {"use": "enc"}, {"key_ops": ["verify"]}, {"alg": "none"}, {"d": "AA"}):
            yield json.dumps({"keys": [jwk | change]}).encode()
    yield json.dumps({"keys": [*jwks, jwks[0]]}).encode()


def _authorizations() -> Iterator[bytes]:
    for scheme in (b"Bearer ", b"bearer  ", b"Basic ", b"DPoP ", b"Bearer\t", b""):
        yield scheme + b"a.b.c"
    yield b"Bearer a.b.c\nBearer a.b.c"
    yield b'Basic realm="x", Bearer realm="y", error="invalid_token", reason=token_expired'
    yield b'Bearer error="a\\"b", scope="a b"'


def _metadata() -> Iterator[bytes]:
    yield json.dumps(METADATA).encode()
    yield json.dumps(METADATA | {"ephemera_max_count": 100}).encode()
    for place in (f"{METADATA['issuer']}/v1/revocations", "https://attacker.example/", None):
        yield json.dumps(METADATA | {"ephemera_revocations_endpoint": place}).encode()
    for place in ("https://attacker.example/", "https://tokens.internal@attacker.example/", "//x"):
        yield json.dumps(METADATA | {"jwks_uri": place}).encode()
    for behind in (":443/jwks", ":8443/jwks", "?a=b", "#a", "\\@attacker.example/", ".example/"):
        yield json.dumps(METADATA | {"jwks_uri": METADATA["issuer"] + behind}).encode()


def _feed() -> Iterator[bytes]:
    entries: list[dict[str, Any]] = [
        {"jti": "one", "exp": 1_800_000_120},
        {"client": "orders", "cut_off": 1_800_000_000, "exp": 1_800_000_900},
        {"audience": "https://billing.internal", "cut_off": 1_800_000_000, "exp": 1_800_000_900},
        {"cut_off": 1_800_000_000, "exp": 1_800_000_900},
        {"kid": "signing-1"},
    ]
    whole = {"epoch": "one", "sequence": 5, "after": 0, "entries": entries}
    yield json.dumps(whole).encode()
    changes: dict[str, Any]
    for changes in ({"after": 4, "entries": entries[4:]}, {"entries": []}, {"sequence": 0}):
        yield json.dumps(whole | changes).encode()
    changed: list[dict[str, Any]] = [
        {"exp": True},
        {"session": "one"},
        {"kid": "k"},
        {"jti": ""},
        {},
    ]
    for change in changed:
        yield json.dumps(whole | {"entries": [entries[0] | change]}).encode()


def _forwarded() -> Iterator[bytes]:
    yield from (
        b"for=192.0.2.60;proto=http;by=203.0.113.43",
        b'For="[2001:db8:cafe::17]:4711", for=10.0.0.7',
        b"for=192.0.2.43, for=unknown, for=_hidden;proto=https",
        b'for="192.0.2.43;\\"x",for=10.1.2.3',
        b"for=192.0.2.60\n192.0.2.60",
        b"for=192.0.2.60\n198.51.100.7, 10.0.0.9",
        b"\n203.0.113.9, 192.0.2.60:80, 10.0.0.9",
        b"\n[2001:db8::1]:443, fe80::1%eth0",
        b"\n::ffff:192.0.2.60",
        b";,=",
    )


def seeds(target: str) -> list[bytes]:
    """Return what a target's fuzzing begins with, short as libFuzzer likes it."""
    every = {
        "token": lambda: (token.encode("utf-8", "surrogatepass") for token in _tokens()),
        "signed": _signed,
        "proof": _proofs,
        "keys": _keys,
        "authorization": _authorizations,
        "metadata": _metadata,
        "feed": _feed,
        "forwarded": _forwarded,
    }[target]()
    return [seed for seed in every if len(seed) <= LONGEST]


def plant(target: str, corpus: Path) -> None:
    """Write the seeds where libFuzzer looks for them."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed-{number}").write_bytes(seed)
