"""The libraries that verify beside ours, each as its documentation shows it.

They check signature, issuer, audience and times; none of them claims a token.
"""

import json
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import authlib
import jose
import jose.jwt
import joserfc
import joserfc.jwt
import jwt
from authlib.deprecate import AuthlibDeprecationWarning
from joserfc.jwk import KeySet

from benchmarks import node
from benchmarks.tokens import AUDIENCE, ISSUER, KEYS, PUBLIC

Verify = Callable[[str], object]


def in_python(jwks_url: str) -> Mapping[str, Verify]:
    """Make each, with the key at hand or the key set fetched once before."""
    keys: Any = KEYS
    key_set = KeySet.import_key_set(keys)
    registry = joserfc.jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}
    )
    client = jwt.PyJWKClient(jwks_url)

    def pyjwt(token: str) -> object:
        return jwt.decode(token, PUBLIC, ["ES256"], audience=AUDIENCE, issuer=ISSUER)

    def pyjwt_fetched(token: str) -> object:
        key = client.get_signing_key_from_jwt(token)
        return jwt.decode(token, key, ["ES256"], audience=AUDIENCE, issuer=ISSUER)

    def joserfc_decoded(token: str) -> object:
        decoded = joserfc.jwt.decode(token, key_set, algorithms=["ES256"])
        registry.validate(decoded.claims)
        return decoded

    def python_jose(token: str) -> object:
        return jose.jwt.decode(token, keys, ["ES256"], audience=AUDIENCE, issuer=ISSUER)

    return {
        f"PyJWT {jwt.__version__}": pyjwt,
        f"PyJWT {jwt.__version__} and PyJWKClient, JWKS fetched": pyjwt_fetched,
        f"joserfc {joserfc.__version__}": joserfc_decoded,
        f"authlib {authlib.__version__}": _authlib(keys),
        f"python-jose {jose.__version__}": python_jose,
    }


class Node:
    """The libraries of JavaScript, in a process of their own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.versions: Mapping[str, str] = self._read()["ready"]

    def verify(self, variant: str, tokens: Sequence[str]) -> float:
        """Verify them and return the processor seconds that it took."""
        assert self._process.stdin is not None  # noqa: S101 - what PIPE means
        self._process.stdin.write(json.dumps({"variant": variant, "tokens": tokens}) + "\n")
        self._process.stdin.flush()
        return float(self._read()["microseconds"]) / 1e6

    def _read(self) -> Any:
        assert self._process.stdout is not None  # noqa: S101 - what PIPE means
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the libraries in Node.js ended; see above")
        return json.loads(line)


@contextmanager
def in_node(jwks_url: str) -> Iterator[Node]:
    """Run them."""
    program = str(node.PEERS / "verify.mjs")
    with subprocess.Popen(  # noqa: S603 - what this project brings, no shell
        [node.executable(), program, jwks_url, ISSUER, AUDIENCE, "ES256"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Node(process)
        finally:
            process.terminate()


def _authlib(keys: Any) -> Verify:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuthlibDeprecationWarning)
        from authlib.jose import JsonWebKey, JsonWebToken  # noqa: PLC0415 - its import warns

        key_set = JsonWebKey.import_key_set(keys)
        decoder = JsonWebToken(["ES256"])
    options = {
        "iss": {"essential": True, "value": ISSUER},
        "aud": {"essential": True, "value": AUDIENCE},
    }

    def verify(token: str) -> object:
        claims = decoder.decode(token, key_set, claims_options=options)
        claims.validate()
        return claims

    return verify
