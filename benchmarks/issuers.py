"""The issuers that are measured, each filled with the same clients for the same API."""

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from benchmarks import load, node
from benchmarks.server import Server
from ephemera_client.jwk import thumbprint

AUDIENCE, SCOPE = "https://billing.internal", "invoices:read"
KEYED = "keyed"
"""The client that signs assertions; the one with a secret is `SECRET`."""
SECRET = "secret"  # noqa: S105 - a name

NO_LIMIT_REACHED: Mapping[str, str] = MappingProxyType(
    {
        "EPHEMERA_TOKENS_PER_SECOND": "1000000",
        "EPHEMERA_TOKENS_BURST": "1000000",
        "EPHEMERA_REQUESTS_PER_SECOND": "1000000",
    }
)
"""Everything is counted, and nobody refused: what is measured is how fast the issuer can be."""

# Whatever the port: its keys are of one issuer, however often it is started.
_NAME = "http://127.0.0.1:8700"
_COMMAND = (sys.executable, "-m", "ephemera_issuer")
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Issuer(NamedTuple):
    """A running issuer, and what a client needs to ask it for tokens."""

    server: Server
    identifier: str
    path: str
    secret: str
    key: ec.EllipticCurvePrivateKey

    def by_secret(self, number: int, **more: str) -> list[bytes]:
        """Make requests with a client secret."""
        pair = f"{SECRET}:{quote_plus(self.secret)}".encode()
        authorization = f"Basic {base64.b64encode(pair).decode()}"
        body = _form(more)
        return [load.post(self.path, body, authorization=authorization)] * number

    def by_assertion(self, number: int) -> list[bytes]:
        """Make requests with an assertion of its own each."""
        now = int(time.time())
        claims = {"iss": KEYED, "sub": KEYED, "aud": self.identifier, "iat": now, "exp": now + 55}
        kid = _jwk(self.key)["kid"]
        return [
            load.post(
                self.path,
                _form(
                    {
                        "client_assertion_type": _ASSERTION,
                        "client_assertion": jwt.encode(
                            claims | {"jti": secrets.token_urlsafe(16)},
                            self.key,
                            "ES256",
                            headers={"kid": kid},
                        ),
                    }
                ),
            )
            for _ in range(number)
        ]


class Prepared(NamedTuple):
    """A folder with a database, filled, and what its clients know."""

    folder: Path
    environment: Mapping[str, str]
    secret: str
    key: ec.EllipticCurvePrivateKey

    @contextmanager
    def serving(self, *, workers: int = 1) -> Iterator[Issuer]:
        """Run the issuer; several workers are not kept on one core."""
        with Server(
            [*_COMMAND, "serve", "--workers", str(workers)],
            environment=self.environment,
            folder=self.folder,
            anywhere=workers > 1,
        ) as server:
            yield Issuer(server, _NAME, "/oauth2/token", self.secret, self.key)


def prepared(
    folder: Path,
    *,
    clients: int = 2,
    algorithm: str = "ES256",
    settings: Mapping[str, str] = NO_LIMIT_REACHED,
    audited: bool = False,
) -> Prepared:
    """Fill a new database, with everything as it comes but for `settings`.

    Metrics and limits are on, as they come; where it is to be `audited`, so is the audit, in files.
    """
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "keyed.json").write_text(json.dumps({"keys": [_jwk(key)]}))
    (folder / "registry.toml").write_text(registry(clients))
    # Installed, its modules are compiled: so let Python keep what it compiles.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("EPHEMERA_") and name != "PYTHONDONTWRITEBYTECODE"
    } | {
        "EPHEMERA_DATABASE_URL": f"sqlite:///{folder / 'ephemera.db'}",
        "EPHEMERA_ISSUER": _NAME,
        "EPHEMERA_LISTEN": "127.0.0.1:0",
        "EPHEMERA_PRIVATE_LISTEN": "off",
        # Looked at for every request, and never reached by one client that asks for all of them.
        "EPHEMERA_REQUESTS_PER_SECOND": "1000000",
        "EPHEMERA_TOKENS_PER_SECOND": "1000000",
        "EPHEMERA_TOKENS_BURST": "1000000",
        "EPHEMERA_ALGORITHM": algorithm,
        **({"EPHEMERA_AUDIT": f"file:{folder / 'audit'}"} if audited else {}),
        **settings,
    }
    subprocess.run(  # noqa: S603 - our own command
        [*_COMMAND, "apply", "registry.toml", "--secrets-dir", "secrets"],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    secret = (folder / "secrets" / f"{SECRET}.secret").read_text().strip()
    return Prepared(folder, environment, secret, key)


@contextmanager
def ephemera(
    folder: Path, *, clients: int = 2, algorithm: str = "ES256", audited: bool = False
) -> Iterator[Issuer]:
    """Fill a new database and run the issuer on it."""
    made = prepared(folder, clients=clients, algorithm=algorithm, audited=audited)
    with made.serving() as issuer:
        yield issuer


def registry(clients: int) -> str:
    """Write a registry of so many clients, all but one with the same public key."""
    names = [SECRET, KEYED, *(f"client-{number}" for number in range(clients - 2))]
    lines = [f'[[audiences]]\nid = "{AUDIENCE}"\nscopes = ["{SCOPE}", "invoices:write"]\n']
    for name in names:
        credential = 'secret = "generate"' if name == SECRET else 'jwks_file = "keyed.json"'
        lines.append(f'[[clients]]\nid = "{name}"\n{credential}\n')
        lines.append(
            f'[[grants]]\nclient = "{name}"\naudience = "{AUDIENCE}"\nscopes = ["{SCOPE}"]\n'
        )
    return "\n".join(lines)


@contextmanager
def oidc_provider(*, clients: int = 2) -> Iterator[Issuer]:
    """Run oidc-provider, in memory."""
    key = ec.generate_private_key(ec.SECP256R1())
    secret = secrets.token_urlsafe(32)
    keys = {"keys": [_jwk(key)]}
    others = [{"client_id": f"client-{number}", "jwks": keys} for number in range(clients - 2)]
    configuration = {
        "audience": AUDIENCE,
        "scope": SCOPE,
        "clients": [
            {"client_id": SECRET, "client_secret": secret},
            {"client_id": KEYED, "jwks": keys},
            *others,
        ],
    }
    with Server(
        [node.executable(), str(node.PEERS / "oidc-provider.mjs")],
        environment=os.environ,
        said=json.dumps(configuration),
    ) as server:
        name = f"http://127.0.0.1:{server.port}"
        yield Issuer(server, name, "/token", secret, key)


@contextmanager
def bare_starlette() -> Iterator[Server]:
    """Run one Starlette route that answers alike."""
    command = [sys.executable, "-m", "benchmarks.peers.bare_starlette"]
    with Server(command, environment=os.environ) as server:
        yield server


def versions(names: Sequence[str]) -> str:
    """Say which releases of npm packages are measured."""
    lock = json.loads((node.PEERS / "package-lock.json").read_text())
    return ", ".join(
        f"{name} {lock['packages'][f'node_modules/{name}']['version']}" for name in names
    )


def _form(more: dict[str, str]) -> bytes:
    fields = {"grant_type": "client_credentials", "resource": AUDIENCE, "scope": SCOPE}
    return urlencode(fields | more).encode()


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    members = ECAlgorithm(ECAlgorithm.SHA256).to_jwk(key.public_key(), as_dict=True)
    return members | {"kid": thumbprint(members), "alg": "ES256", "use": "sig"}
