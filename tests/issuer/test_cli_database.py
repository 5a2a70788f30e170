"""`ephemera migrate`, `backup`, `restore` and `keys new-sealing-key`."""

from __future__ import annotations

import json
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from alembic import command

from ephemera_issuer.database import migration, open_database
from ephemera_issuer.rotation import SigningKeys
from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_commands import Run
    from issuer.fixtures_postgresql import PostgresServer

ISSUER = "https://tokens.internal"
NOW = 1_800_000_000.0


@pytest.fixture
def on_server(directory: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new database on a server, as the settings name it, and a sealing key."""
    url = postgres.new()
    monkeypatch.setenv("EPHEMERA_DATABASE_URL", url)
    monkeypatch.setenv("EPHEMERA_SEALING_KEY_FILE", str(directory / "sealing-key"))
    return url


def older(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0002"))
        open_database(url, create=True).close()


def test_the_files_of_the_revisions_are_named_as_alembic_orders_them() -> None:
    known = [step.revision for step in migration.steps(None)]
    assert known[-1] == migration.head()
    assert all(migration.is_known(revision) for revision in known)
    assert not migration.is_known("9999")


def test_migrate_says_what_it_would_do_and_does_it(
    run: Run, on_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revisions = [step.revision for step in migration.steps(None)]
    planned = run.json("migrate", "--dry-run")
    assert (planned["dry_run"], planned["before"], planned["after"]) == (True, None, None)
    assert [step["revision"] for step in planned["steps"]] == revisions
    assert run("migrate", "--dry-run")[0].endswith("is at nothing; a dry run, nothing was done.\n")
    older(on_server, monkeypatch)
    out, _ = run("migrate", "--dry-run")
    assert "0003  Revocations" in out
    assert "is at 0002; a dry run, nothing was done." in out
    _, err = run("apply", "registry.toml", "--secrets-dir", "s", status=1)
    assert "`ephemera migrate` brings them up to date" in err
    done = run.json("migrate")
    assert (done["before"], done["after"]) == ("0002", revisions[-1])
    assert done["database"].startswith("postgresql://127.0.0.1")
    assert f"is at revision {revisions[-1]}, as this version wants it" in run("migrate")[0]
    run("apply", "registry.toml", "--secrets-dir", "s")


def test_migrate_makes_a_new_database_and_its_dry_run_does_not(run: Run, directory: Path) -> None:
    run("migrate", "--dry-run")
    assert not (directory / "ephemera.db").exists()
    out, _ = run("migrate")
    assert out.endswith(f"ephemera.db is at revision {migration.head()}.\n")
    assert (directory / "ephemera.db").exists()


def test_a_sealing_key_is_made_once_and_never_shown(run: Run, directory: Path) -> None:
    out, _ = run("keys", "new-sealing-key", "sealing-key")
    file = directory / "sealing-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (fingerprint,) = SealingKeys.load(file).fingerprints
    assert out == f"Wrote sealing-key, the sealing key {fingerprint}\n"
    before = file.read_bytes()
    _, err = run("keys", "new-sealing-key", "sealing-key", status=1)
    assert "File exists" in err
    assert file.read_bytes() == before


def test_on_a_server_serve_names_the_command_that_makes_a_sealing_key(
    run: Run, on_server: str, directory: Path
) -> None:
    del on_server
    _, err = run("serve", "--listen", "127.0.0.1:0", status=1)
    assert f"ephemera keys new-sealing-key {directory / 'sealing-key'}" in err
    assert not (directory / "sealing-key").exists()


def test_on_a_server_serve_wants_a_ledger_that_replicas_share(
    run: Run, on_server: str, directory: Path
) -> None:
    del on_server
    SealingKeys.create(directory / "sealing-key")
    _, err = run("serve", "--listen", "127.0.0.1:0", status=1)
    assert "EPHEMERA_REPLAY_URL: must be set for postgresql://127.0.0.1" in err


def test_a_registry_moves_from_a_file_to_a_server_and_back(
    applied: Run, on_server: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPHEMERA_DATABASE_URL", "sqlite:///ephemera.db")
    with closing(open_database("sqlite:///ephemera.db", create=False)) as database:
        keys = SigningKeys(
            database=database,
            sealing_keys=SealingKeys.create(directory / "ephemera.sealing-key"),
            issuer=ISSUER,
        )
        keys.make_first("ES256", now=NOW)
    taken = applied.json("backup", "backup.jsonl")
    assert (taken["issuer"], taken["rows"]["clients"]) == (ISSUER, 1)
    assert "EPHEMERA" not in json.dumps(taken)
    out, _ = applied("backup", "backup.jsonl")
    assert out.startswith("Wrote backup.jsonl: ephemera.db with ")

    monkeypatch.setenv("EPHEMERA_DATABASE_URL", on_server)
    _, err = applied("restore", "backup.jsonl", status=1)
    assert "ephemera keys new-sealing-key" in err
    applied("keys", "new-sealing-key", "sealing-key")
    restored = applied.json("restore", "backup.jsonl")
    assert len(restored["revoked_keys"]) == 2
    assert applied.json("clients", "show", "orders")["client"]["secrets"] == 1
    states = [key["state"] for key in applied.json("keys", "list")["keys"]]
    assert sorted(states) == ["active", "pending", "revoked", "revoked"]
    _, err = applied("restore", "backup.jsonl", status=1)
    assert "--replace says that this is meant" in err

    applied("backup", "back.jsonl")
    monkeypatch.setenv("EPHEMERA_DATABASE_URL", "sqlite:///again.db")
    monkeypatch.delenv("EPHEMERA_SEALING_KEY_FILE")
    out, _ = applied("restore", "back.jsonl")
    assert "again.db is as the backup of " in out
    assert "It has new signing keys; revoked: " in out
    assert stat.S_IMODE((directory / "again.sealing-key").stat().st_mode) == 0o600


def test_what_is_no_backup_is_told(run: Run, directory: Path) -> None:
    _, err = run("restore", "registry.toml", status=1)
    assert err == "ephemera: registry.toml: is no backup of Ephemera's\n"
    _, err = run("backup", "backup.jsonl", status=1)
    assert "no such database" in err
    assert not (directory / "ephemera.db").exists()
