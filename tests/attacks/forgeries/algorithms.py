"""The token says how it is to be verified: never believed."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

from attacks.forging import ALGORITHMS, Forge, Forgery, Recipe, with_header, with_text
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from ephemera_client import AlgorithmRefused, KeyUnsuitable, SignatureInvalid, TokenMalformed
from ephemera_client.compact import decode_base64url

NONES = ["none", "None", "NONE", "nOnE", "", " none", "none ", "none\u0000", "n\u03bfne"]
OTHERS = [
    *("HS256", "HS384", "HS512", "ES384", "ES512", "ES256K", "PS256", "PS384", "PS512"),
    *("RS384", "RS512", "RS1", "Ed25519", "Ed448", "ESB256", "ML-DSA-44", "dir", "RSA-OAEP"),
    *("es256", "ES256 ", "ES256\u0000", "ES256,none", "eddsa", "EDDSA", "rs256", "RS256\n"),
]
NOT_STRINGS = [
    *(None, True, False, 0, 1.5, [], {}),
    *([[alg] for alg in ALGORITHMS]),
    {"ES256": "ES256"},
    [["none"]],
]


def _pem(forge: Forge) -> bytes:
    public: bytes = forge.key.private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return public


def _der(forge: Forge) -> bytes:
    public: bytes = forge.key.private.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return public


SECRETS: dict[str, Callable[[Forge], bytes]] = {
    "pem": _pem,
    "stripped pem": lambda forge: _pem(forge).strip(),
    "pem with dos line ends": lambda forge: _pem(forge).replace(b"\n", b"\r\n"),
    "der": _der,
    "jwk": lambda forge: json.dumps(forge.key.jwk).encode(),
    "terse jwk": lambda forge: json.dumps(forge.key.jwk, separators=(",", ":")).encode(),
    "coordinate": lambda forge: decode_base64url(forge.key.jwk.get("x") or forge.key.jwk["n"]),
    "kid": lambda forge: forge.key.kid.encode(),
    "nothing": lambda _: b"",
}
DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def _mac(said: str | None, secret: Callable[[Forge], bytes]) -> Recipe:
    digest = DIGESTS.get(said or "HS256", hashlib.sha256)

    def recipe(forge: Forge) -> str:
        key = secret(forge)
        header = {"alg": said or forge.alg}
        return forge.signed_by(lambda message: hmac.digest(key, message, digest), header=header)

    return recipe


def _unsigned(alg: str, signature: bytes) -> Recipe:
    return lambda forge: forge.signed_by(lambda _: signature, header={"alg": alg})


def _by_another(place: int, *, kid: str, alg: str) -> Recipe:
    """Signed by the issuer's key of another algorithm, under the one's name or the other's."""

    def recipe(forge: Forge) -> str:
        of = {"own": forge.key, "other": forge.others[place]}
        header: dict[str, Any] = {"kid": of[kid].kid, "alg": of[alg].alg}
        return forge.token(forge.others[place], header=header)

    return recipe


def _on_curve(curve: ec.EllipticCurve, digest: hashes.HashAlgorithm) -> Recipe:
    private = ec.generate_private_key(curve)
    engine = ECAlgorithm(type(digest))

    def recipe(forge: Forge) -> str:
        return forge.signed_by(lambda message: engine.sign(message, private), header={})

    return recipe


def _pss(forge: Forge) -> str:
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
    return forge.signed_by(
        lambda message: bytes(forge.key.private.sign(message, scheme, hashes.SHA256())), header={}
    )


def _all() -> Iterator[Forgery]:
    for alg in NONES:
        name = ascii(alg)
        yield Forgery(f"{name}, signed", AlgorithmRefused, with_header(alg=alg))
        yield Forgery(f"{name}, signature of a zero", AlgorithmRefused, _unsigned(alg, b"\x00"))
        yield Forgery(f"{name}, no signature", TokenMalformed, _unsigned(alg, b""))
    for alg in OTHERS:
        yield Forgery(f"named {alg!a}", AlgorithmRefused, with_header(alg=alg))
    for value in NOT_STRINGS:
        yield Forgery(f"alg {value!r}", AlgorithmRefused, with_header(alg=value))
    yield Forgery("no alg", AlgorithmRefused, with_header(alg=...))
    yield Forgery("Alg for alg", AlgorithmRefused, with_header(alg=..., Alg="ES256"))
    for name, secret in SECRETS.items():
        for said in DIGESTS:
            yield Forgery(f"{said} with {name}", AlgorithmRefused, _mac(said, secret))
        yield Forgery(f"mac with {name}, alg kept", SignatureInvalid, _mac(None, secret))
    for place in (0, 1):
        for kid in ("own", "other"):
            refused_as = {"own": SignatureInvalid, "other": KeyUnsuitable}[kid]
            for alg, error in (("own", refused_as), ("other", AlgorithmRefused)):
                yield Forgery(
                    f"by other key {place}, {kid} kid, {alg} alg",
                    error,
                    _by_another(place, kid=kid, alg=alg),
                )
    for curve, digest in (
        (ec.SECP384R1(), hashes.SHA384()),
        (ec.SECP521R1(), hashes.SHA512()),
        (ec.SECP256K1(), hashes.SHA256()),
    ):
        yield Forgery(f"signed on {curve.name}", SignatureInvalid, _on_curve(curve, digest))
    yield Forgery("signed with PSS", SignatureInvalid, _pss, {"RS256"})
    yield Forgery(
        "by a stranger under the issuer's kid",
        SignatureInvalid,
        lambda forge: forge.token(forge.stranger, header={"kid": forge.key.kid}),
    )
    yield Forgery(
        "signature cut off with its dot",
        TokenMalformed,
        with_text(lambda token: token.rpartition(".")[0]),
    )


FORGERIES = list(_all())
