"""Rotations, revocations and changes of the registry without a break, to be killed inside them."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from system.history import (
    KEY_REVOCATION,
    REGISTRY,
    ROTATION,
    TOKEN_REVOCATION,
    doing,
    tell_writes,
)

from ephemera_issuer.database import connect, prepare
from ephemera_issuer.errors import DatabaseUnusable, KeysConflict
from ephemera_issuer.registry.diff import Change
from ephemera_issuer.registry.entries import Audience, Client, Entry, Grant, Registry
from ephemera_issuer.registry.store import read_registry, write_changes
from ephemera_issuer.revocation.store import revoke_jti
from ephemera_issuer.rotation import SigningKeys, require_ring
from ephemera_keys import SealingKeys, Timing, UnknownKid

if TYPE_CHECKING:
    from pathlib import Path

    from system.killable import Tell

    from ephemera_issuer.database import Database

ISSUER = "https://tokens.internal"
AUDIENCE = "https://api.internal"
CLIENT = "caller"
TIMING = Timing(publication=0, retention=0)
"""Keys may rotate, and retired ones go, at once."""
MOST_RETIRED = 5
USUAL = (ROTATION,) * 5 + (TOKEN_REVOCATION,) * 2 + (REGISTRY,) * 2 + (KEY_REVOCATION,)


class Acknowledged(NamedTuple):
    """A change that was reported as done: the kid that signs now, a jti, or a number."""

    doing: str
    value: str | int


def begin(url: str, sealing_key_file: Path) -> None:
    """Make a database with its keys, and a registry whose every entry carries the number 1."""
    database = connect(url)
    prepare(database, create=True)
    SealingKeys.create(sealing_key_file)
    signing_keys(database, sealing_key_file).make_first("ES256", now=time.time())
    first: list[Entry] = [
        Audience(AUDIENCE, frozenset({"1"}), 60, single_use=True, disabled=False),
        Client(CLIENT, (b"1" * 32,), disabled=False),
        Grant(CLIENT, AUDIENCE, frozenset({"1"}), 60),
    ]
    with database.write() as connection:
        write_changes(connection, [Change("add", entry) for entry in first])
    database.close()


def signing_keys(database: Database, sealing_key_file: Path) -> SigningKeys:
    return SigningKeys(
        database=database,
        sealing_keys=SealingKeys.load(sealing_key_file),
        issuer=ISSUER,
        timing=TIMING,
    )


def number_of(held: Registry) -> int:
    """The one number that a whole registry carries."""
    (audience,), (grant,) = held.audiences.values(), held.grants.values()
    assert audience.scopes == grant.scopes
    (scope,) = audience.scopes
    return int(scope.partition("-")[0])


def change(tell: Tell, url: str, sealing_key_file: Path, seed: int) -> None:
    """Make one change after another, whatever others do; each that is done is told."""
    choices = random.Random(seed)  # noqa: S311 - choices, not secrets
    database = connect(url)
    keys = signing_keys(database, sealing_key_file)
    tell_writes(tell)
    while True:
        what = choices.choice(USUAL)
        try:
            if what == ROTATION:
                done: str | int = _rotate(keys)
            elif what == KEY_REVOCATION:
                done = _revoke_key(keys)
            elif what == REGISTRY:
                done = _regrant(database)
            else:
                done = _revoke_token(database)
        except (KeysConflict, UnknownKid):
            continue  # another was quicker
        except DatabaseUnusable:
            time.sleep(0.01)
            continue
        tell(Acknowledged(what, done))


def _rotate(keys: SigningKeys) -> str:
    with keys.database.read() as connection:
        retired = require_ring(connection, TIMING).ring.retired
    if len(retired) >= MOST_RETIRED:
        keys.remove_overdue(now=time.time(), among={record.kid for record in retired})
    return keys.rotate("ES256", now=time.time(), emergency=True).active.kid


def _revoke_key(keys: SigningKeys) -> str:
    with keys.database.read() as connection:
        kid = require_ring(connection, TIMING).ring.active.kid
    keys.revoke(kid, "ES256", now=time.time())
    return kid


def _regrant(database: Database) -> int:
    with doing(REGISTRY), database.write() as connection:
        held = read_registry(connection)
        number = number_of(held) + 1
        # No two changes are alike, so that it shows which of them was committed.
        scopes = frozenset({f"{number}-{uuid.uuid4().hex}"})
        write_changes(
            connection,
            [
                Change("change", replace(entry, scopes=scopes), entry)
                for entry in (held.audiences[AUDIENCE], held.grants[CLIENT, AUDIENCE])
            ],
        )
    return number


def _revoke_token(database: Database) -> str:
    jti = uuid.uuid4().hex
    with doing(TOKEN_REVOCATION), database.write() as connection:
        revoke_jti(connection, jti, now=time.time())
    return jti
