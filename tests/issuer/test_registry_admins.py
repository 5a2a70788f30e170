"""Administrators: made and removed by files that are applied beside the database, and never all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import apply_text, stored, write_keys
from sqlalchemy import select

from ephemera_issuer.errors import DatabaseUnusable, RegistryInvalid
from ephemera_issuer.registry.tables import admins

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_commands import Run

    from ephemera_issuer.database import Database

OPS = '[[admins]]\nid = "ops"\njwks_file = "ops.jwks.json"\n'
NEXT = '[[admins]]\nid = "next"\njwks_file = "next.jwks.json"\n'
AUDIENCE = '[[audiences]]\nid = "https://billing.internal"\nscopes = ["invoices:read"]\n'


@pytest.fixture(autouse=True)
def keys(tmp_path: Path) -> None:
    write_keys(tmp_path / "ops.jwks.json", "ops-1")
    write_keys(tmp_path / "next.jwks.json", "next-1", "next-2")


def test_an_administrator_is_written_and_read_back(database: Database, tmp_path: Path) -> None:
    apply_text(database, tmp_path, OPS + NEXT)
    found = stored(database).admins
    assert {name: [key.key.kid for key in admin.keys] for name, admin in found.items()} == {
        "ops": ["ops-1"],
        "next": ["next-1", "next-2"],
    }
    assert apply_text(database, tmp_path, OPS + NEXT).changes == ()


def test_an_administrator_that_no_file_declares_stays_until_it_is_pruned(
    database: Database, tmp_path: Path
) -> None:
    apply_text(database, tmp_path, OPS + NEXT)
    known = stored(database)
    apply_text(database, tmp_path, AUDIENCE)
    assert stored(database).admins.keys() == {"ops", "next"}
    apply_text(database, tmp_path, NEXT, prune=True)
    assert stored(database, known).admins.keys() == {"next"}
    with database.read() as connection:
        row = connection.execute(select(admins).where(admins.c.id == "ops")).one()
    assert (row.jwks, row.removed) == ("", True)


@pytest.mark.parametrize("text", [AUDIENCE, "", '[[clients]]\nid = "ops"\nsecret = "generate"\n'])
def test_the_last_administrator_is_not_pruned(
    database: Database, tmp_path: Path, text: str
) -> None:
    apply_text(database, tmp_path, OPS)
    with pytest.raises(RegistryInvalid, match=r"would remove the last administrator \(ops\)"):
        apply_text(database, tmp_path, text, prune=True)
    after = stored(database)
    assert after.admins.keys() == {"ops"}
    assert after.version == 1


def test_the_last_administrator_is_replaced_by_another(database: Database, tmp_path: Path) -> None:
    apply_text(database, tmp_path, OPS)
    apply_text(database, tmp_path, NEXT, prune=True)
    assert stored(database).admins.keys() == {"next"}


def test_without_any_administrator_pruning_goes_on_as_ever(
    database: Database, tmp_path: Path
) -> None:
    apply_text(database, tmp_path, AUDIENCE)
    apply_text(database, tmp_path, "", prune=True)
    assert stored(database).audiences == {}


def test_a_damaged_key_is_an_error_of_ours(database: Database, tmp_path: Path) -> None:
    apply_text(database, tmp_path, OPS)
    with database.write() as connection:
        connection.execute(admins.update().values(jwks="{}"))
    with pytest.raises(DatabaseUnusable, match="admin ops has a damaged key"):
        stored(database)


def test_the_difference_names_the_keys_of_administrators(run: Run, directory: Path) -> None:
    (directory / "registry.toml").write_text(OPS)
    out, _ = run("apply", "registry.toml")
    assert "+ admin ops\n    keys ES256 ops-1\n" in out
    write_keys(directory / "ops.jwks.json", "ops-2")
    (change,) = run.json("apply", "registry.toml", "--dry-run")["changes"]
    assert change == {
        "action": "change",
        "kind": "admin",
        "id": "ops",
        "before": {"keys": [{"kid": "ops-1", "alg": "ES256"}]},
        "after": {"keys": [{"kid": "ops-2", "alg": "ES256"}]},
    }


def test_a_directory_that_forgets_the_administrators_is_refused_whole(
    run: Run, directory: Path
) -> None:
    (directory / "registry.toml").write_text(OPS)
    run("apply", "registry.toml")
    (directory / "registry.toml").write_text(AUDIENCE)
    _, err = run("apply", ".", "--prune", status=1)
    assert err == (
        "ephemera: registry.toml: admins: would remove the last administrator (ops): declare one, "
        "this or another\n"
    )
