"""Every change to registry, keys, revocations and database is on record, or is not made."""

from __future__ import annotations

import json
import os
import pwd
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_auditing import Stuck, writer
from issuer.fixtures_minting import ISSUER, NOW
from issuer.fixtures_registry import WHOLE
from sqlalchemy import event

from ephemera_issuer.audit import opening
from ephemera_issuer.audit.actor import acting_as, actor, local_user
from ephemera_issuer.audit.opening import opened_source
from ephemera_issuer.audit.record import jti_digest
from ephemera_issuer.audit.search import Found, Wanted, search
from ephemera_issuer.audit.trail import Trail
from ephemera_issuer.database import Database, open_database
from ephemera_issuer.errors import (
    AuditNotWritten,
    AuditUnusable,
    DatabaseUnusable,
    SettingsInvalid,
)
from ephemera_issuer.registry.clients import set_disabled
from ephemera_issuer.registry.diff import Change
from ephemera_issuer.registry.entries import Client
from ephemera_issuer.registry.store import write_changes
from ephemera_issuer.rotator import Rotator
from ephemera_issuer.settings import Settings
from ephemera_issuer.snapshot import open_keeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from issuer.fixtures_commands import Run
    from sqlalchemy import Connection

ME = f"local:{pwd.getpwuid(os.getuid()).pw_name}"
FRAME = {"opened", "closed"}


@pytest.fixture(params=["file:audit", "database", "database on a server"])
def command(
    request: pytest.FixtureRequest, run: Run, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """The command, with an audit of each kind, on a registry that has been applied."""
    kept, _, server = request.param.partition(" on a ")
    monkeypatch.setenv("EPHEMERA_AUDIT", kept)
    monkeypatch.delenv("SUDO_USER", raising=False)
    lent = ""
    if server:
        postgres = request.getfixturevalue("postgres")
        # Its first tables are made by another process, before there is an audit.
        lent = postgres.lend()
        monkeypatch.setenv("EPHEMERA_DATABASE_URL", lent)
        run("keys", "new-sealing-key", "sealing-key")
        monkeypatch.setenv("EPHEMERA_SEALING_KEY_FILE", "sealing-key")
        monkeypatch.setenv("EPHEMERA_REPLAY_URL", "sqlite:///spent.db")
    run("apply", "registry.toml", "--secrets-dir", "secrets")
    yield run
    if server:
        postgres.give_back(lent)


def records(**wanted: Any) -> list[Found]:
    with opened_source(Settings()) as source:
        found = list(search(source, Wanted(**wanted)))
    return [each for each in found if each.members["kind"] not in FRAME]


def told(kind: str) -> list[dict[str, Any]]:
    plain = []
    for each in records(kind=kind):
        members = dict(each.members)
        assert members.pop("kind") == kind
        assert isinstance(members.pop("at"), float)
        assert members.pop("by") == ME
        members.pop("sequence", None)
        members.pop("chain", None)
        plain.append(members)
    return plain


def first_keys(run: Run) -> None:
    """Make the first keys, as a first start does."""
    settings = Settings(issuer=ISSUER)
    with opening.opened_audit(settings, by="issuer", clock=lambda: NOW) as audit:
        assert audit is not None
        open_keeper(settings, issuer=ISSUER, clock=lambda: NOW, recorder=audit.trail).close()
    assert run


def test_an_apply_is_told_entry_by_entry_with_what_changed(command: Run) -> None:
    Path("registry.toml").write_text(
        WHOLE.replace('scopes = ["invoices:read"]\n', 'scopes = ["invoices:write"]\n')
    )
    command("apply", "registry.toml", "--secrets-dir", "secrets")
    audience, client, grant, changed = told("registry")
    assert (audience["action"], audience["entry"], audience["id"]) == (
        "add",
        "audience",
        "https://billing.internal",
    )
    assert audience["values"]["scopes"] == ["invoices:read", "invoices:write"]
    assert (client["action"], client["entry"], client["id"]) == ("add", "client", "orders")
    assert len(client["values"]["secret_hashes"]) == 1
    assert (grant["client"], grant["audience"]) == ("orders", "https://billing.internal")
    assert changed == {
        "action": "change",
        "entry": "grant",
        "client": "orders",
        "audience": "https://billing.internal",
        "values": {"scopes": [["invoices:read"], ["invoices:write"]]},
    }


def test_what_changes_nothing_and_a_dry_run_are_not_told(command: Run) -> None:
    before = records()
    command("apply", "registry.toml", "--secrets-dir", "secrets")
    command("clients", "enable", "orders")
    command("apply", "registry.toml", "--dry-run")
    command("clients", "list")
    assert records() == before


def test_what_is_done_to_a_client_is_told_and_its_secrets_are_not(command: Run) -> None:
    command("clients", "disable", "orders")
    secrets = [Path("secrets/orders.secret").read_text().strip()]
    command("clients", "roll-secret", "orders", "--secrets-dir", "secrets")
    secrets.append(Path("secrets/orders.secret").read_text().strip())
    command("clients", "drop-secret", "orders", "--oldest")
    disabled, rolled, dropped = (each["values"] for each in told("registry")[3:])
    assert disabled == {"disabled": [False, True]}
    (one,), (same, two) = rolled["secret_hashes"]
    assert one == same
    assert dropped["secret_hashes"] == [[one, two], [two]]
    written = json.dumps([each.members for each in records()])
    assert not any(secret in written for secret in secrets)


def test_keys_are_told_from_the_first_on_and_by_whom(command: Run) -> None:
    first_keys(command)
    (made,) = records(kind="keys")
    assert made.members["by"] == "issuer"
    assert {each["before"] for each in made.members["changes"]} == {None}
    kids = {each["after"]: each["kid"] for each in made.members["changes"]}
    active, pending = kids["active"], kids["pending"]
    command("keys", "rotate", "--emergency")
    rotated = records(kind="keys")[1].members
    assert rotated["by"] == ME
    moved = {each["kid"]: (each["before"], each["after"]) for each in rotated["changes"]}
    assert moved[active] == ("active", "retired")
    assert moved[pending] == ("pending", "active")
    command("keys", "revoke", active, "--yes")
    revoked = records(kind="keys")[2].members
    assert revoked["changes"] == [{"kid": active, "before": "retired", "after": "revoked"}]
    assert told("revoked") == [{"kid": active}]


def test_revocations_are_told_with_the_digest_of_a_jti(command: Run) -> None:
    command("revoke", "--jti", "a-token-that-leaked")
    command("revoke", "--client", "orders", "--audience", "https://billing.internal")
    one, many = told("revoked")
    assert one == {"client": None, "jti": [jti_digest("a-token-that-leaked")]}
    assert many["client"] == "orders"
    assert isinstance(many["cut_off"], int)
    assert len(records(jti=jti_digest("a-token-that-leaked"))) == 1


def test_a_backup_and_its_restoring_are_told_and_leave_the_records_alone(command: Run) -> None:
    first_keys(command)
    command("backup", "backup.jsonl")
    (backed_up,) = told("backed_up")
    assert backed_up["file"] == "backup.jsonl"
    before = records()
    command("restore", "backup.jsonl", "--replace")
    after = records()
    assert after[: len(before)] == before
    kinds = [each.members["kind"] for each in after[len(before) :]]
    assert kinds[-1] == "restored"
    assert {"keys", "revoked"} <= set(kinds)
    assert command.json("audit", "verify")["whole"]


def test_the_tables_first_made_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPHEMERA_AUDIT", "database")
    run("migrate")
    (migrated,) = told("migrated")
    assert migrated["before"] is None
    run("migrate")
    assert len(told("migrated")) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_rotates_by_itself_is_told_as_done_by_the_issuer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run
    monkeypatch.setenv("EPHEMERA_AUDIT", "file:audit")
    settings = Settings(issuer=ISSUER)
    now = NOW
    with opening.opened_audit(settings, by="issuer", clock=lambda: now) as audit:
        assert audit is not None
        keeper = open_keeper(settings, issuer=ISSUER, clock=lambda: now, recorder=audit.trail)
        with closing(keeper):
            rotator = Rotator(keeper, every=900, algorithm="ES256", clock=lambda: now)
            for _ in range(40):
                now = now._replace(wall=now.wall + 60, monotonic=now.monotonic + 60)
                keeper.refresh()
                assert await rotator.look()
    changes = records(kind="keys")
    assert len(changes) >= 2
    assert {each.members["by"] for each in changes} == {"issuer"}


def test_a_change_that_cannot_be_recorded_is_not_made(database: Database) -> None:
    with database.write() as connection:
        _fill(connection)
    stuck = Stuck(failing=True)
    writing = writer(stuck, patience=0.1)
    database.recorder = Trail(writing, by="issuer", clock=lambda: NOW)
    with pytest.raises(AuditNotWritten, match="No space left on device"):
        set_disabled(database, "orders", disabled=True)
    stuck.failing = False
    stuck.free.set()
    database.recorder = None
    assert set_disabled(database, "orders", disabled=True)
    writing.close()
    # It may have come to be written after all, so it is followed by its denial.
    assert [told["kind"] for told in stuck.records] == ["opened", "registry", "undone", "closed"]
    assert stuck.records[2]["kinds"] == ["registry"]


def test_a_change_whose_commit_fails_after_its_record_is_told_as_undone(
    database: Database,
) -> None:
    with database.write() as connection:
        _fill(connection)
    stuck = Stuck()
    stuck.free.set()
    writing = writer(stuck)
    database.recorder = Trail(writing, by="issuer", clock=lambda: NOW)

    def fail(_connection: Connection) -> None:
        raise DatabaseUnusable("the server went away")

    event.listen(database._writing, "commit", fail)
    with pytest.raises(DatabaseUnusable, match="went away"):
        set_disabled(database, "orders", disabled=True)
    writing.close()
    assert [told["kind"] for told in stuck.records] == ["opened", "registry", "undone", "closed"]
    event.remove(database._writing, "commit", fail)
    database.recorder = None
    assert set_disabled(database, "orders", disabled=True)


def _fill(connection: Connection) -> None:
    write_changes(connection, [Change("add", Client("orders", (b"digest",), disabled=False))])


def test_who_acts_is_named_for_the_block_and_nobody_else_after_it() -> None:
    assert actor("issuer") == "issuer"
    with acting_as("client:orders"):
        assert actor("issuer") == "client:orders"
    assert actor("issuer") == "issuer"


def test_behind_sudo_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "ada")
    assert local_user() == "local:root (sudo by ada)"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000 - 7)
    assert local_user() == "local:3999999993"


def test_an_audit_in_a_database_in_memory_is_refused(run: Run) -> None:
    assert run
    settings = Settings(database_url="sqlite://", audit="database")
    with (
        pytest.raises(SettingsInvalid, match="a database in memory keeps no audit"),
        opening.opened_audit(settings, by="issuer", clock=lambda: NOW),
    ):
        pass


def test_without_an_audit_there_is_none_to_read(run: Run) -> None:
    _, err = run("audit", "verify", status=1)
    assert "EPHEMERA_AUDIT: is off" in err
    with pytest.raises(AuditUnusable), opened_source(Settings()):
        pass
    assert open_database("sqlite://", create=True).recorder is None
