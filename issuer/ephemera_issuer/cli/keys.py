"""`ephemera keys`: look at the signing keys, rotate them."""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from ephemera_client import instant
from ephemera_issuer.cli.output import Json, console, moment, print_json, print_table
from ephemera_issuer.database import open_database
from ephemera_issuer.rotation import SigningKeys, require_ring
from ephemera_issuer.sealing_key import open_sealing_keys
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from ephemera_keys import KeyRecord, KeyRing

app = typer.Typer(name="keys", help="List and rotate the signing keys.", no_args_is_help=True)
Emergency = Annotated[
    bool,
    typer.Option(
        "--emergency",
        help="Rotate before the pending key has been published for long enough. Verifiers that "
        "have not seen it yet refuse tokens until they have.",
    ),
]


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the signing keys, oldest first: pending, active, retired and revoked."""
    settings = Settings()
    with (
        closing(open_database(settings.database_url, create=False)) as database,
        database.read() as connection,
    ):
        stored = require_ring(connection)
    _print(stored.issuer, stored.ring, as_json=as_json)


@app.command()
def rotate(*, emergency: Emergency = False, as_json: Json = False) -> None:
    """Let the pending key sign, and publish the next one.

    Every replica signs with it within a second, and no verifier needs a restart. Refused while
    verifiers may not have the pending key yet. EPHEMERA_ALGORITHM says what the next key is for.
    """
    settings = Settings()
    with closing(open_database(settings.database_url, create=False)) as database:
        with database.read() as connection:
            stored = require_ring(connection)
        keys = SigningKeys(
            database=database,
            sealing_keys=open_sealing_keys(database, file=settings.sealing_key_file),
            issuer=settings.issuer or stored.issuer,
        )
        ring = keys.rotate(settings.algorithm, now=instant.read().wall, emergency=emergency)
    _print(stored.issuer, ring, as_json=as_json)


def _print(issuer: str, ring: KeyRing, *, as_json: bool) -> None:
    earliest = moment(math.ceil(ring.earliest_rotation()))
    keys = [_document(record) for record in ring.records]
    if as_json:
        print_json({"issuer": issuer, "earliest_rotation": earliest, "keys": keys})
        return
    print_table(tuple(keys[0]), ([cell or "" for cell in key.values()] for key in keys))
    console().print(f"Keys of {issuer}; the next rotation is safe from {earliest} on.")


def _document(record: KeyRecord) -> dict[str, str | None]:
    return {
        "kid": record.kid,
        "alg": record.alg,
        "state": record.state.value,
        "published_at": moment(record.published_at),
        "activated_at": moment(record.activated_at),
        "retired_at": moment(record.retired_at),
        "revoked_at": moment(record.revoked_at),
    }
