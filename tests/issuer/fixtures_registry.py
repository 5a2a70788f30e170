"""Registry files, key files and databases in a temporary directory, and writers to race with."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from ephemera_issuer.database import Database, open_database
from ephemera_issuer.registry.application import Applied, apply
from ephemera_issuer.registry.entries import (
    Audience,
    Client,
    Entry,
    Grant,
    Registry,
    TrustedIssuer,
)
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.registry.secrets import SecretsDirectory
from ephemera_issuer.registry.store import read_registry

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe
    from pathlib import Path

BILLING = "https://billing.internal"
WHOLE = """\
[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read", "invoices:write"]
max_lifetime = "5m"

[[clients]]
id = "orders"
secret = "generate"

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""
WITH_KEYS = WHOLE.replace('secret = "generate"', 'jwks_file = "orders.jwks.json"')


def registry(*entries: Entry, version: int = 1) -> Registry:
    return Registry(
        audiences={entry.id: entry for entry in entries if isinstance(entry, Audience)},
        clients={entry.id: entry for entry in entries if isinstance(entry, Client)},
        grants={
            (entry.client, entry.audience): entry for entry in entries if isinstance(entry, Grant)
        },
        version=version,
        issuers={entry.id: entry for entry in entries if isinstance(entry, TrustedIssuer)},
    )


def new_database(directory: Path) -> Database:
    return open_database(f"sqlite:///{directory / 'ephemera.db'}", create=True)


def stored(database: Database, known: Registry | None = None) -> Registry:
    with database.read() as connection:
        return read_registry(connection, known)


def apply_text(
    database: Database, directory: Path, text: str, *, prune: bool = False, reuse: bool = False
) -> Applied:
    """Apply a file's text; secrets go to `directory`/secrets."""
    file = directory / "registry.toml"
    file.write_text(text)
    secrets = SecretsDirectory(directory / "secrets", reuse=reuse)
    return apply(database, read_files(file), prune=prune, secrets=secrets)


def numbered(number: int) -> str:
    """A registry whose three entries all carry one number."""
    return f"""
    [[audiences]]
    id = "{BILLING}"
    scopes = ["s{number}"]
    [[clients]]
    id = "c{number}"
    secret = "generate"
    [[grants]]
    client = "c{number}"
    audience = "{BILLING}"
    scopes = ["s{number}"]
    """


def number_of(held: Registry) -> int:
    """The one number that a whole registry carries."""
    (client,) = held.clients
    number = int(client.removeprefix("c"))
    assert held.audiences[BILLING].scopes == {f"s{number}"}
    assert {key: grant.scopes for key, grant in held.grants.items()} == {
        (client, BILLING): {f"s{number}"}
    }
    return number


def apply_numbers(directory: Path, started: Pipe, first: int) -> None:
    """Apply one numbered registry after another until killed."""
    with closing(new_database(directory)) as database:
        for number in itertools.count(first):
            apply_text(database, directory, numbered(number), prune=True)
            if number == first:
                started.send(number)


def write_keys(file: Path, *kids: str, private: bool = False) -> Path:
    """Write a JWK Set of new keys under these kids; with their private halves where asked."""
    keys = []
    for kid in kids:
        key = ec.generate_private_key(ec.SECP256R1())
        engine = ECAlgorithm(ECAlgorithm.SHA256, ec.SECP256R1)
        jwk = engine.to_jwk(key if private else key.public_key(), as_dict=True)
        keys.append(jwk | {"kid": kid, "use": "sig"} | ({} if private else {"key_ops": ["verify"]}))
    file.write_text(json.dumps({"keys": keys}))
    return file
