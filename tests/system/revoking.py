"""Replicas of an issuer, verifiers in processes of their own, and how long a revocation takes.

Every moment is one of `time.monotonic`, which all processes of a machine share.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import jwt
from system.running import Issuer, run_issuer

from ephemera_client import (
    EphemeraError,
    NoReplayCache,
    RemoteKeys,
    RevocationFeed,
    Verifier,
)
from ephemera_issuer.database import Database, open_database
from ephemera_issuer.demo.process import Service
from ephemera_issuer.registry.diff import Change
from ephemera_issuer.registry.store import read_registry, write_changes
from ephemera_issuer.revocation.store import cut_off, revoke_jti
from ephemera_issuer.rotation import SigningKeys, require_ring
from ephemera_issuer.sealing_key import open_sealing_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.connection import Connection as Pipe
    from pathlib import Path

SCOPE = "invoices:read"
PATIENCE = 120.0
LOOK_EVERY = 0.005
# Of a key that was revoked, the one until it has left the key set, then the other.
REFUSED = {"token_revoked", "key_unknown"}
_processes = multiprocessing.get_context("spawn")


def client_of(number: int) -> str:
    return f"client-{number}"


def audience_of(number: int) -> str:
    return f"https://api-{number}.internal"


def registry(pairs: int) -> str:
    """So many clients, each with an audience of its own."""
    return "".join(
        f'[[audiences]]\nid = "{audience_of(number)}"\nscopes = ["{SCOPE}"]\nmax_lifetime = "15m"\n'
        f'[[clients]]\nid = "{client_of(number)}"\nsecret = "generate"\n'
        f'[[grants]]\nclient = "{client_of(number)}"\naudience = "{audience_of(number)}"\n'
        f'scopes = ["{SCOPE}"]\n'
        for number in range(pairs)
    )


def watch(pipe: Pipe, issuer: str, replica: str) -> None:
    """Verify what comes through the pipe, as an API behind one replica would."""
    feed = RevocationFeed(f"{replica}/v1/revocations")
    keys = RemoteKeys(f"{replica}/.well-known/jwks.json")
    verifiers: dict[str, Verifier] = {}

    def outcome(audience: str, raw: str) -> str:
        if audience not in verifiers:
            verifiers[audience] = Verifier(
                issuer=issuer,
                audience=audience,
                algorithm="ES256",
                replay_cache=NoReplayCache(),
                keys=keys,
                revocations=feed,
            )
        try:
            verifiers[audience].verify(raw)
        except EphemeraError as error:
            return error.code
        return "accepted"

    while (question := pipe.recv()) is not None:
        audience, raw, until_refused = question
        began = time.monotonic()
        told = outcome(audience, raw)
        while until_refused and told not in REFUSED and time.monotonic() < began + PATIENCE:
            time.sleep(LOOK_EVERY)
            told = outcome(audience, raw)
        pipe.send((told, time.monotonic()))


class Watcher:
    """A verifier in a process of its own."""

    def __init__(self, issuer: str, replica: str) -> None:
        self._pipe, theirs = _processes.Pipe()
        self._process = _processes.Process(target=watch, args=(theirs, issuer, replica))
        self._process.start()

    def ask(self, audience: str, raw: str, *, until_refused: bool = False) -> None:
        self._pipe.send((audience, raw, until_refused))

    def told(self) -> tuple[str, float]:
        """What became of the token, and when."""
        assert self._pipe.poll(2 * PATIENCE)
        found: tuple[str, float] = self._pipe.recv()
        return found

    def end(self) -> None:
        self._pipe.send(None)
        self._process.join()
        self._process.close()
        self._pipe.close()


@dataclass(frozen=True)
class Fleet:
    """An issuer of several replicas, and verifiers behind each of them."""

    issuer: Issuer
    replicas: list[str]
    watchers: list[Watcher]
    database: Database
    http: httpx.Client

    def mint(self, number: int, replica: int = 0) -> httpx.Response:
        secrets = self.issuer.secret_file.parent
        secret = (secrets / f"{client_of(number)}.secret").read_text().strip()
        return self.http.post(
            f"{self.replicas[replica]}/oauth2/token",
            data={
                "grant_type": "client_credentials",
                "resource": audience_of(number),
                "lifetime": "900",
            },
            auth=(client_of(number), secret),
        )

    def token(self, number: int, replica: int = 0) -> str:
        answer = self.mint(number, replica)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    def outcomes(self, number: int, raw: str) -> set[str]:
        """What the verifiers make of a token."""
        for watcher in self.watchers:
            watcher.ask(audience_of(number), raw)
        return {watcher.told()[0] for watcher in self.watchers}

    def accepted(self, number: int, raw: str) -> bool:
        return self.outcomes(number, raw) == {"accepted"}

    def delay(self, number: int, raw: str, revoke: Callable[[], object]) -> float:
        """Seconds from before a revocation until the last verifier refuses the token."""
        assert self.accepted(number, raw)
        for watcher in self.watchers:
            watcher.ask(audience_of(number), raw, until_refused=True)
        began = time.monotonic()
        revoke()
        told = [watcher.told() for watcher in self.watchers]
        assert {outcome for outcome, _ in told} <= REFUSED
        return max(moment for _, moment in told) - began

    def revoke_jti(self, jti: str) -> None:
        with self.database.write() as connection:
            revoke_jti(connection, jti, now=time.time())

    def cut_off(self, *, client: str | None = None, audience: str | None = None) -> None:
        with self.database.write() as connection:
            cut_off(connection, client=client, audience=audience, now=time.time())

    def active_kid(self) -> str:
        with self.database.read() as connection:
            return require_ring(connection).ring.active.kid

    def revoke_active_key(self) -> None:
        keys = SigningKeys(
            database=self.database,
            sealing_keys=open_sealing_keys(self.database, file=None),
            issuer=self.issuer.url,
        )
        keys.revoke(self.active_kid(), "ES256", now=time.time())

    def remove_grant(self, number: int) -> None:
        with self.database.write() as connection:
            grant = read_registry(connection).grants[client_of(number), audience_of(number)]
            write_changes(connection, [Change("remove", grant)])

    def until_minted_by_another_key(self, number: int, replica: int, kid: str) -> str:
        """Ask a replica until it signs with another key, and return its first such token."""
        deadline = time.monotonic() + PATIENCE
        while kid_of(raw := self.token(number, replica)) == kid:
            assert time.monotonic() < deadline
        return raw

    def until_ungranted(self, number: int, replica: int) -> float:
        """The moment at which a replica first refuses to mint for a pair."""
        deadline = time.monotonic() + PATIENCE
        while self.mint(number, replica).status_code != 400:
            assert time.monotonic() < deadline
        return time.monotonic()


def kid_of(raw: str) -> str:
    kid: str = jwt.get_unverified_header(raw)["kid"]
    return kid


@contextmanager
def fleet(
    folder: Path,
    *,
    pairs: int,
    replicas: int,
    watchers: int,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Fleet]:
    """Run so many replicas, and so many verifiers spread over them, until the block ends."""
    with ExitStack() as stack:
        issuer = stack.enter_context(
            run_issuer(folder, registry=registry(pairs), settings=settings)
        )
        urls = [issuer.url]
        for number in range(1, replicas):
            service = Service(
                f"replica {number}",
                ["ephemera_issuer", "serve"],
                environment=issuer.environment | {"EPHEMERA_ISSUER": issuer.url},
            )
            urls.append(stack.enter_context(service).url)
        database = open_database(issuer.environment["EPHEMERA_DATABASE_URL"], create=False)
        stack.enter_context(closing(database))
        http = stack.enter_context(httpx.Client(trust_env=False, timeout=30))
        made: list[Watcher] = []
        for number in range(watchers):
            watcher = Watcher(issuer.url, urls[number % replicas])
            stack.callback(watcher.end)
            made.append(watcher)
        yield Fleet(issuer, urls, made, database, http)
