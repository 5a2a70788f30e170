"""How many bytes a token has, as the issuer mints it."""

import base64
import tempfile
from pathlib import Path

import httpx

from benchmarks import issuers
from benchmarks.report import Effort, Part, table


def measure(effort: Effort) -> Part:
    """Have a token of each algorithm minted."""
    algorithms = ("ES256", "EdDSA", "RS256")[: effort.size(3, 1)]
    with tempfile.TemporaryDirectory() as folder:
        rows = [(name, *_sizes(Path(folder) / name, name)) for name in algorithms]
    return Part({"sizes": table(("algorithm", "token", "header", "claims", "signature"), rows)})


def _sizes(folder: Path, algorithm: str) -> tuple[int, ...]:
    with issuers.ephemera(folder, algorithm=algorithm) as issuer:
        answer = httpx.post(
            f"http://127.0.0.1:{issuer.server.port}{issuer.path}",
            data={
                "grant_type": "client_credentials",
                "resource": issuers.AUDIENCE,
                "scope": issuers.SCOPE,
            },
            auth=(issuers.SECRET, issuer.secret),
            trust_env=False,
        )
        token: str = answer.raise_for_status().json()["access_token"]
    return (len(token), *(len(_decoded(part)) for part in token.split(".")))


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
