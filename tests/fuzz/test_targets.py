"""The fuzzing that CI does: a bounded count from a fixed seed, and the same targets without it."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attacks.forging import ALGORITHMS
from client.fixtures_verifying import AUDIENCE, ISSUER, NOW, signing_key
from cryptography.exceptions import InvalidSignature
from fuzz.seeds import seeds
from fuzz.targets import CLAIMS, GENUINE, HEADER, KEY, METADATA, PROOF_CLAIMS, PROOF_HEADER, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

RUNS = 10_000
SEEDS = {target: seeds(target) for target in TARGETS}
TESTS = Path(__file__).parent.parent
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
TELLING: list[Any] = [
    *(ISSUER, AUDIENCE, [AUDIENCE], NOW, NOW + 5, NOW + 60, NOW - 5, NOW + 900, float(NOW)),
    *("none", "HS256", "ES256", "at+jwt", "AT+JWT", "JWT", "a b", "a  b", ""),
    *("EC", "OKP", "RSA", "oct", "P-256", "Ed25519", "sig", "enc", ["verify"], "AQAB", "Aw", "AA"),
]
VALUES = JSON | st.sampled_from(TELLING)
each_target = pytest.mark.parametrize("target", TARGETS)


@each_target
def test_every_seed_holds(target: str) -> None:
    assert len(SEEDS[target]) >= 9
    for seed in SEEDS[target]:
        TARGETS[target](seed)


@each_target
@settings(deadline=None)
@given(data=st.data())
def test_what_is_made_of_seeds_holds(target: str, data: st.DataObject) -> None:
    mutated = bytearray(data.draw(st.sampled_from(SEEDS[target])))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mutated)))
        end = start + data.draw(st.integers(0, 8))
        mutated[start:end] = data.draw(st.binary(max_size=8))
    TARGETS[target](bytes(mutated))


@each_target
@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_hold(target: str, data: bytes) -> None:
    TARGETS[target](data)


def _changes(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some members of an object, each of any value or of one that means something."""
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=5), VALUES, max_size=3)


@settings(deadline=None)
@given(
    header=_changes("alg", "typ", "kid", "crit", "jwk", "zip"),
    claims=_changes("iss", "aud", "sub", "client_id", "jti", "iat", "exp", "nbf", "scope", "cnf"),
)
def test_any_members_hold(header: dict[str, Any], claims: dict[str, Any]) -> None:
    parts = (json.loads(HEADER) | header, json.loads(CLAIMS) | claims)
    TARGETS["signed"](b"\x00".join(json.dumps(part).encode() for part in parts))


@settings(deadline=None)
@given(
    header=_changes("alg", "typ", "jwk", "kid", "crit", "jku"),
    claims=_changes("htm", "htu", "ath", "iat", "jti", "nonce", "exp"),
)
def test_any_members_of_a_proof_hold(header: dict[str, Any], claims: dict[str, Any]) -> None:
    parts = (json.loads(PROOF_HEADER) | header, json.loads(PROOF_CLAIMS) | claims)
    TARGETS["proof"](b"\x00".join(json.dumps(part).encode() for part in parts))


@settings(deadline=None)
@given(
    alg=st.sampled_from(ALGORITHMS),
    changes=_changes("kty", "crv", "alg", "use", "key_ops", "kid", "x", "y", "n", "e", "d", "k"),
)
def test_any_members_of_a_key_hold(alg: str, changes: dict[str, Any]) -> None:
    jwks = [signing_key(alg).jwk | changes, KEY.jwk]
    TARGETS["keys"](json.dumps({"keys": jwks}).encode())


@each_target
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not made for this platform"
)
def test_a_bounded_count_of_fuzzing_finds_nothing(target: str, tmp_path: Path) -> None:
    options = [f"-runs={RUNS}", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    command = [sys.executable, "-m", "fuzz.run", target, str(tmp_path / "corpus"), *options]
    run = subprocess.run(
        command, cwd=TESTS, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Done {RUNS} runs" in run.stderr


FOUND: dict[str, tuple[str, object, bytes]] = {
    "token": (
        "jwk.VerificationKey.verify",
        lambda *_: True,
        GENUINE.rpartition(".")[0].encode() + b"." + b"A" * 86,
    ),
    "signed": (
        "claims._check_times",
        lambda *_: None,
        HEADER + b"\x00" + CLAIMS.replace(b'"exp": 18', b'"exp": 19'),
    ),
    "proof": (
        "dpop.proof._check_age",
        lambda *_: None,
        PROOF_HEADER + b"\x00" + PROOF_CLAIMS.replace(b'"iat": 18', b'"iat": 17'),
    ),
    "keys": ("jwk._PRIVATE", frozenset(), json.dumps({"keys": [KEY.jwk | {"d": "AA"}]}).encode()),
    "authorization": ("bearer._B64TOKEN", re.compile(".*"), b"Bearer a b"),
    "metadata": (
        "discovery.origin",
        lambda _: "anything",
        json.dumps(METADATA | {"jwks_uri": "https://attacker.example/"}).encode(),
    ),
    "feed": (
        "revocations.document._is_cut_off",
        lambda entry: bool(entry.setdefault("exp", 0) or not entry.setdefault("cut_off", 0)),
        b'{"epoch": "one", "sequence": 1, "after": 0, "entries": [{"client": "orders"}]}',
    ),
    "forwarded": ("proxies.Proxies.trusts", lambda *_: True, b"\n192.0.2.60"),
}


@each_target
def test_the_loss_of_a_check_would_be_found(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, without, data = FOUND[target]
    TARGETS[target](data)
    package = "ephemera_issuer" if target == "forwarded" else "ephemera_client"
    monkeypatch.setattr(f"{package}.{check}", without)
    with pytest.raises((AssertionError, InvalidSignature)):
        TARGETS[target](data)
