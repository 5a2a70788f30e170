"""A snapshot to mint from, made without a database, and the parts that tests vary."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import anyio
import httpx

from ephemera_client import SingleProcessReplayCache
from ephemera_client.instant import Instant
from ephemera_issuer.app import create_app
from ephemera_issuer.errors import DatabaseUnusable
from ephemera_issuer.registry.entries import Audience, Client, Grant
from ephemera_issuer.revocation.entries import Revocations
from ephemera_issuer.snapshot import Snapshot
from ephemera_keys import Algorithm, KeyRing, LocalSigner, generate, jwks, public_jwk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from ephemera_client import DPoPNonces, ReplayCache
    from ephemera_issuer import app
    from ephemera_issuer.attempt import Observer
    from ephemera_issuer.ending import Ending
    from ephemera_issuer.issued import IssuedToken
    from ephemera_issuer.limits import Limits
    from ephemera_issuer.proxies import Proxies

ISSUER = "https://tokens.internal"
BILLING = "https://billing.internal"
LEDGER = "https://ledger.internal"
SECRET = "orders-secret-VWlq0HkVJ3c9Zo"
OLD_SECRET = "orders-secret-before-the-roll"
NOW = Instant(1_800_000_000.75, 5_000.0)

_KEYS: dict[Algorithm, Any] = {algorithm: generate(algorithm) for algorithm in ("ES256", "EdDSA")}


def digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def snapshot(*, algorithm: Algorithm = "ES256", **parts: Any) -> Snapshot:
    """Orders may read and write at billing and read at ledger; `parts` replace what is here."""
    key = _KEYS[algorithm]
    ring = KeyRing.start(
        active=public_jwk(key, alg=algorithm),
        pending=public_jwk(generate("ES256"), alg="ES256"),
        now=NOW.wall,
    )
    audiences = [
        Audience(BILLING, frozenset({"invoices:read", "invoices:write"}), 300, True, False),
        Audience(LEDGER, frozenset({"entries:read"}), 900, False, False),
        Audience("https://closed.internal", frozenset({"read"}), 900, True, True),
        Audience("https://private.internal", frozenset({"read"}), 900, True, False),
    ]
    clients = [
        Client("orders", (digest(SECRET), digest(OLD_SECRET)), disabled=False),
        Client("gone", (digest(SECRET),), disabled=True),
        Client("without credential", (), disabled=False),
        Client("caf\u00e9: %1+", (digest(SECRET),), disabled=False),
    ]
    grants = [
        Grant("orders", BILLING, frozenset({"invoices:read", "invoices:write"}), 600),
        Grant("orders", LEDGER, frozenset({"entries:read"}), 3600),
        Grant("orders", "https://closed.internal", frozenset({"read"}), 900),
    ]
    whole = Snapshot(
        clients={client.id: client for client in clients},
        audiences={audience.id: audience for audience in audiences},
        grants={(grant.client, grant.audience): grant for grant in grants},
        ring=ring,
        signer=LocalSigner(key, algorithm),
        jwks=jwks.document(ring),
        jwks_etag='"etag-of-the-keys"',
        revocations=Revocations.none("epoch"),
        registry_version=1,
        keys_version=1,
        confirmed_at=NOW,
    )
    return replace(whole, **parts)


@dataclass
class Keeper:
    """Keeps whatever snapshot a test puts there."""

    current: Snapshot | None = field(default_factory=snapshot)

    watchers: list[Callable[[Snapshot], None]] = field(default_factory=list)

    async def run(self) -> None:
        await anyio.sleep_forever()

    def watch(self, told: Callable[[Snapshot], None]) -> None:
        self.watchers.append(told)

    def replace(self, snapshot: Snapshot) -> None:
        """Bring another snapshot, as a refresh does."""
        self.current = snapshot
        for told in self.watchers:
            told(snapshot)

    def revoke(self, token: IssuedToken) -> None:
        raise DatabaseUnusable(f"no database to revoke {token.jti} in")


@contextlib.asynccontextmanager
async def talking(
    keeper: app.Keeper | None = None,
    *,
    now: Instant = NOW,
    ledger: ReplayCache | None = None,
    jwks_uri_hosts: Collection[str] = (),
    ending: Ending | None = None,
    observers: Collection[Observer] = (),
    limits: Limits | None = None,
    proxies: Proxies | None = None,
    address: str = "127.0.0.1",
    dpop_nonces: DPoPNonces | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to the whole application, in this process, under a Host that is not its own."""
    application = create_app(
        keeper or Keeper(),
        issuer=ISSUER,
        # An empty one is false.
        ledger=SingleProcessReplayCache(clock=lambda: now) if ledger is None else ledger,
        jwks_uri_hosts=jwks_uri_hosts,
        ending=ending,
        observers=observers,
        limits=limits,
        proxies=proxies,
        dpop_nonces=dpop_nonces,
        clock=lambda: now,
    )
    transport = httpx.ASGITransport(application, raise_app_exceptions=False, client=(address, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://elsewhere.test") as client:
        yield client


def basic(client_id: str = "orders", secret: str = SECRET) -> str:
    """Make an Authorization header as RFC 6749 §2.3.1 wants it."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def claims(token: str) -> dict[str, Any]:
    """Decode the claims of a token, verifying nothing."""
    return part(token, 1)


def part(token: str, index: int) -> dict[str, Any]:
    segment = token.split(".")[index]
    decoded: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    )
    return decoded
