from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import BILLING, WHOLE, WITH_KEYS, new_database, write_keys

from ephemera_client import instant
from ephemera_issuer.rotation import SigningKeys
from ephemera_issuer.sealing_key import open_sealing_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from issuer.fixtures_commands import Run

ISSUER = "https://tokens.internal"


@pytest.fixture
def with_keys(directory: Path, run: Run) -> Callable[..., None]:
    """Make the first keys, as old as asked."""

    def make(*, age: float) -> None:
        with closing(new_database(directory)) as database:
            keys = SigningKeys(
                database=database,
                sealing_keys=open_sealing_keys(database, file=None),
                issuer=ISSUER,
            )
            keys.make_first("ES256", now=instant.read().wall - age)

    assert run is not None
    return make


def test_help_names_every_command(run: Run) -> None:
    out, _ = run("--help")
    for name in ("init", "serve", "apply", "explain", "clients", "keys", "demo"):
        assert name in out


@pytest.mark.parametrize(
    "command",
    [
        ("serve",),
        ("init",),
        ("apply",),
        ("explain",),
        ("demo",),
        ("clients",),
        ("clients", "list"),
        ("clients", "show"),
        ("clients", "disable"),
        ("clients", "enable"),
        ("clients", "roll-secret"),
        ("clients", "drop-secret"),
        ("keys",),
        ("keys", "list"),
        ("keys", "rotate"),
    ],
)
def test_every_command_explains_itself(run: Run, command: tuple[str, ...]) -> None:
    out, _ = run(*command, "--help")
    usage, explanation = [line.strip() for line in out.splitlines() if line.strip()][:2]
    assert usage.startswith("Usage:")
    assert explanation.endswith(".")


def test_apply_prints_the_difference_and_where_secrets_are(run: Run, directory: Path) -> None:
    out, _ = run("apply", "registry.toml", "--secrets-dir", "secrets")
    assert out.splitlines() == [
        "+ audience https://billing.internal",
        "    scopes invoices:read, invoices:write",
        "    max_lifetime 300 s",
        "    single_use yes",
        "    dpop optional",
        "    disabled no",
        "+ client orders",
        "    secrets 1",
        "    disabled no",
        "+ grant orders -> https://billing.internal",
        "    scopes invoices:read",
        "    max_lifetime 900 s",
        "The secret of orders is in secrets/orders.secret",
        "3 changes; the registry is at version 1.",
    ]
    assert (directory / "secrets" / "orders.secret").read_text() not in out


def test_apply_again_and_a_change_and_a_prune(applied: Run, directory: Path) -> None:
    assert applied("apply", "registry.toml")[0] == "No changes; the registry is at version 1.\n"
    team = directory / "team"
    team.mkdir()
    audience = WHOLE.partition("[[clients]]")[0]
    (team / "billing.toml").write_text(audience.replace('"5m"', '"1m"'))
    assert applied("apply", "team", "--prune")[0].splitlines() == [
        "~ audience https://billing.internal",
        "    max_lifetime 300 s -> 60 s",
        "- client orders",
        "- grant orders -> https://billing.internal",
        "3 changes; the registry is at version 2.",
    ]


def test_a_change_is_told_field_by_field(applied: Run, directory: Path) -> None:
    write_keys(directory / "orders.jwks.json", "k1", "k2")
    (directory / "registry.toml").write_text(
        WITH_KEYS.replace('"invoices:write"', '"invoices:list", "invoices:send"')
        .replace(
            'max_lifetime = "5m"',
            'single_use = false\nintrospected_by = ["orders"]\ndpop = "required"',
        )
        .replace("jwks_file", "disabled = true\njwks_file")
    )
    assert applied("apply", "registry.toml", "--dry-run")[0].splitlines() == [
        "~ audience https://billing.internal",
        "    scopes -invoices:write, +invoices:list, +invoices:send",
        "    max_lifetime 300 s -> 900 s",
        "    single_use yes -> no",
        "    introspected_by +orders",
        "    dpop optional -> required",
        "~ client orders",
        "    secrets 1 -> 0",
        "    keys +ES256 k1, +ES256 k2",
        "    disabled no -> yes",
        "2 changes to registry version 1; a dry run, nothing was done.",
    ]
    applied("apply", "registry.toml")
    uri = 'jwks_uri = "https://orders.internal/jwks.json"'
    moved = WITH_KEYS.replace('jwks_file = "orders.jwks.json"', uri)
    (directory / "registry.toml").write_text(moved)
    assert applied("apply", "registry.toml")[0].splitlines()[-4:-1] == [
        "~ client orders",
        "    keys -ES256 k1, -ES256 k2",
        "    jwks_uri none -> https://orders.internal/jwks.json",
    ]


def test_apply_as_json(run: Run) -> None:
    document = run.json("apply", "registry.toml", "--secrets-dir", "secrets")
    assert document == {
        "dry_run": False,
        "registry_version": 1,
        "changes": [
            {
                "action": "add",
                "kind": "audience",
                "id": BILLING,
                "before": None,
                "after": {
                    "scopes": ["invoices:read", "invoices:write"],
                    "max_lifetime": 300,
                    "single_use": True,
                    "introspected_by": [],
                    "dpop": "optional",
                    "disabled": False,
                },
            },
            {
                "action": "add",
                "kind": "client",
                "id": "orders",
                "before": None,
                "after": {
                    "secrets": 1,
                    "keys": [],
                    "jwks_uri": None,
                    "identities": [],
                    "disabled": False,
                },
            },
            {
                "action": "add",
                "kind": "grant",
                "client": "orders",
                "audience": BILLING,
                "before": None,
                "after": {"scopes": ["invoices:read"], "max_lifetime": 900},
            },
        ],
        "secret_files": {"orders": "secrets/orders.secret"},
    }


def test_a_dry_run_does_nothing(run: Run, directory: Path) -> None:
    out, _ = run("apply", "registry.toml", "--dry-run", "--secrets-dir", "secrets")
    assert out.endswith("3 changes to registry version 0; a dry run, nothing was done.\n")
    assert [file.name for file in directory.iterdir()] == ["registry.toml"]


def test_a_dry_run_compares_with_what_is_there(applied: Run, directory: Path) -> None:
    (directory / "registry.toml").write_text(WHOLE.replace('"5m"', '"1m"'))
    document = applied.json("apply", "registry.toml", "--dry-run")
    ((change),) = document["changes"]
    assert (change["action"], change["before"]["max_lifetime"]) == ("change", 300)
    assert applied.json("apply", "registry.toml", "--dry-run") == document


def test_bad_files_are_told_line_by_line_and_change_nothing(run: Run, directory: Path) -> None:
    bad = WHOLE.replace("5m", "5h").replace("generate", "hunter2")
    (directory / "registry.toml").write_text(bad)
    out, err = run("apply", "registry.toml", "--secrets-dir", "secrets", status=1)
    assert out == ""
    assert err.splitlines() == [
        f"ephemera: registry.toml:{problem}"
        for problem in (
            '4: audiences[0].max_lifetime: must be a duration such as "5m", "90s" or 90',
            '8: clients[0].secret: must be "generate": a registry file holds no secrets',
        )
    ]
    assert [file.name for file in directory.iterdir()] == ["registry.toml"]


def test_prune_is_only_for_a_directory(run: Run) -> None:
    _, err = run("apply", "registry.toml", "--prune", status=2)
    assert "only for a whole directory" in err


def test_an_unknown_setting_stops_every_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPHEMERA_DATABASE", "sqlite:///x.db")
    for command in (("clients", "list"), ("keys", "list"), ("apply", "registry.toml")):
        _, err = run(*command, status=1)
        assert err.startswith("ephemera: EPHEMERA_DATABASE: no such setting; did you mean")


def test_clients_are_listed_and_shown(applied: Run) -> None:
    grant = {"audience": BILLING, "scopes": ["invoices:read"], "max_lifetime": 900}
    credentials = {"secrets": 1, "keys": [], "jwks_uri": None, "identities": []}
    client = {"id": "orders", "disabled": False, **credentials, "grants": [grant]}
    assert applied.json("clients", "list") == {"registry_version": 1, "clients": [client]}
    assert applied.json("clients", "show", "orders") == {"registry_version": 1, "client": client}
    for command in (("clients", "list"), ("clients", "show", "orders")):
        out, _ = applied(*command)
        assert "orders" in out
        assert BILLING in out


def test_a_client_is_disabled_stays_so_and_is_enabled(applied: Run) -> None:
    assert applied("clients", "disable", "orders")[0] == "orders is disabled\n"
    assert applied("clients", "disable", "orders")[0] == "orders was disabled already\n"
    applied("apply", "registry.toml")
    assert applied.json("clients", "show", "orders")["client"]["disabled"]
    assert "disabled" in applied("clients", "list")[0]
    assert applied("clients", "enable", "orders")[0] == "orders is enabled\n"
    assert not applied.json("clients", "show", "orders")["client"]["disabled"]


def test_the_credentials_of_a_client_are_shown(run: Run, directory: Path) -> None:
    write_keys(directory / "orders.jwks.json", "k1")
    both = WITH_KEYS.replace("jwks_file", 'secret = "generate"\njwks_file')
    (directory / "registry.toml").write_text(both)
    run("apply", "registry.toml", "--secrets-dir", "secrets")
    client = run.json("clients", "show", "orders")["client"]
    assert (client["secrets"], client["keys"]) == (1, [{"kid": "k1", "alg": "ES256"}])
    assert "1 secret, ES256 k1" in run("clients", "list")[0]


def test_a_secret_is_rolled_and_the_older_dropped(applied: Run, directory: Path) -> None:
    file = directory / "secrets" / "orders.secret"
    first = file.read_text()
    rolled = applied.json("clients", "roll-secret", "orders", "--secrets-dir", "secrets")
    assert rolled == {"client": "orders", "secret_file": "secrets/orders.secret"}
    assert file.read_text() != first
    assert "2 secrets" in applied("clients", "show", "orders")[0]
    out, _ = applied("clients", "drop-secret", "orders", "--oldest")
    assert out == "The older secret of orders is dropped.\n"
    out, _ = applied("clients", "roll-secret", "orders", "--secrets-dir", "secrets")
    assert out.startswith("The new secret of orders is in secrets/orders.secret; ")
    assert file.read_text() not in out
    applied("clients", "drop-secret", "orders", "--newest")
    assert applied.json("clients", "show", "orders")["client"]["secrets"] == 1


def test_which_secret_to_drop_must_be_said(applied: Run) -> None:
    _, err = applied("clients", "drop-secret", "orders", status=2)
    assert "--oldest" in err


@pytest.mark.parametrize("verb", ["show", "disable", "enable"])
def test_an_unknown_client_is_told(applied: Run, verb: str) -> None:
    _, err = applied("clients", verb, "order", status=1)
    assert err == "ephemera: there is no client order; did you mean orders?\n"


@pytest.mark.parametrize("command", [("clients", "list"), ("keys", "list"), ("keys", "rotate")])
def test_without_a_database_none_is_made(
    run: Run, directory: Path, command: tuple[str, ...]
) -> None:
    _, err = run(*command, status=1)
    assert err.startswith("ephemera: ephemera.db: no such database")
    assert [file.name for file in directory.iterdir()] == ["registry.toml"]


def test_without_keys_no_sealing_key_is_made(applied: Run, directory: Path) -> None:
    _, err = applied("keys", "rotate", status=1)
    assert "no signing keys yet" in err
    assert not (directory / "ephemera.sealing-key").exists()


def test_keys_are_listed_and_rotated(run: Run, with_keys: Callable[..., None]) -> None:
    with_keys(age=3600)
    before = run.json("keys", "list")
    assert before["issuer"] == ISSUER
    assert sorted(key["state"] for key in before["keys"]) == ["active", "pending"]
    after = run.json("keys", "rotate")
    states = {key["kid"]: key["state"] for key in after["keys"]}
    for key in before["keys"]:
        assert states[key["kid"]] == {"pending": "active", "active": "retired"}[key["state"]]
    assert run.json("keys", "list") == after
    assert after["earliest_rotation"] > before["earliest_rotation"]
    out, _ = run("keys", "list")
    for key in after["keys"]:
        assert key["kid"] in out
    assert f"the next rotation is safe from {after['earliest_rotation']} on" in out


def test_a_rotation_too_early_needs_an_emergency(run: Run, with_keys: Callable[..., None]) -> None:
    with_keys(age=60)
    before = run.json("keys", "list")
    _, err = run("keys", "rotate", status=1)
    assert err.startswith("ephemera: the pending key has not been published for long enough")
    assert run.json("keys", "list") == before
    assert len(run.json("keys", "rotate", "--emergency")["keys"]) == 3


def test_keys_list_tells_when_the_schedule_rotates_next(
    run: Run, with_keys: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(age=3600)
    keys = run.json("keys", "list")
    activated = next(key["activated_at"] for key in keys["keys"] if key["state"] == "active")
    monkeypatch.setenv("EPHEMERA_ROTATE_EVERY", "7d")
    due = run.json("keys", "list")["next_rotation"]
    passed = datetime.fromisoformat(due) - datetime.fromisoformat(activated)
    assert timedelta(days=7) <= passed <= timedelta(days=7, seconds=1)
    assert f"it is due at {due}" in run("keys", "list")[0]
    monkeypatch.setenv("EPHEMERA_ROTATE_EVERY", "off")
    assert run.json("keys", "list")["next_rotation"] is None
    assert "nothing rotates by itself" in run("keys", "list")[0]


def test_a_dry_run_tells_the_timeline_and_changes_nothing(
    run: Run, with_keys: Callable[..., None]
) -> None:
    with_keys(age=3600)
    before = run.json("keys", "list")
    told = run.json("keys", "rotate", "--dry-run")
    assert told["safe_now"]
    assert told["sooner"] is None
    states = {key["state"]: key["kid"] for key in before["keys"]}
    assert [(event["event"], event["kid"]) for event in told["timeline"]] == [
        ("published", states["pending"]),
        ("signs", states["pending"]),
        ("retires", states["active"]),
        ("published", None),
        ("may sign", None),
        ("removed", states["active"]),
    ]
    out, _ = run("keys", "rotate", "--dry-run")
    assert states["pending"] in out
    assert f"Safe since {told['earliest_rotation']}" in out
    assert run.json("keys", "list") == before


def test_a_dry_run_too_early_tells_what_would_break_and_until_when(
    run: Run, with_keys: Callable[..., None]
) -> None:
    with_keys(age=60)
    told = run.json("keys", "rotate", "--dry-run")
    assert not told["safe_now"]
    pending = told["timeline"][0]
    assert told["sooner"] == {
        "kid": pending["kid"],
        "published_at": told["sooner"]["published_at"],
        "missing_until": told["sooner"]["missing_until"],
        "missing_at_most_until": told["earliest_rotation"],
    }
    out, _ = run("keys", "rotate", "--dry-run")
    assert f"caches filled before {told['sooner']['published_at']} lack {pending['kid']}" in out
    assert f"until {told['sooner']['missing_until']}" in out


def test_the_active_key_is_revoked_and_the_pending_one_signs(
    run: Run, with_keys: Callable[..., None]
) -> None:
    with_keys(age=60)
    before = {key["state"]: key["kid"] for key in run.json("keys", "list")["keys"]}
    out, err = run("keys", "revoke", before["active"], "--yes", "--json")
    assert err.startswith("This is the key that signs. The pending one signs at once.")
    after = {key["kid"]: key["state"] for key in json.loads(out)["keys"]}
    assert after.pop(before["active"]) == "revoked"
    assert after.pop(before["pending"]) == "active"
    assert list(after.values()) == ["pending"]
    # For a script that is run again.
    _, err = run("keys", "revoke", before["active"])
    assert err == "This key is revoked already.\n"


def test_a_pending_key_is_replaced_by_one_for_another_algorithm(
    run: Run, with_keys: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(age=60)
    before = {key["state"]: key for key in run.json("keys", "list")["keys"]}
    monkeypatch.setenv("EPHEMERA_ALGORITHM", "EdDSA")
    after = {
        key["state"]: key
        for key in run.json("keys", "revoke", before["pending"]["kid"], "--yes")["keys"]
    }
    assert after["active"] == before["active"]
    assert after["pending"]["alg"] == "EdDSA"


@pytest.mark.parametrize("begin", ["-R", "-h", "-yes", "--", "--yes"])
def test_a_key_id_that_begins_with_hyphens_is_no_option(
    run: Run, with_keys: Callable[..., None], begin: str
) -> None:
    with_keys(age=60)
    kid = f"{begin}{'A' * (43 - len(begin))}"
    for arguments in ((kid, "--yes"), ("--yes", kid)):
        _, err = run("keys", "revoke", *arguments, status=1)
        assert err.startswith(f"ephemera: the key ring has no key '{kid}'")
    _, err = run("revoke", "--key", kid, status=1)
    assert err.startswith(f"ephemera: the key ring has no key '{kid}'")
    _, err = run("keys", "revoke", kid, "--yess", status=2)
    assert "--yess" in err


def test_a_key_is_not_revoked_where_nobody_can_be_asked(
    run: Run, with_keys: Callable[..., None]
) -> None:
    with_keys(age=60)
    before = run.json("keys", "list")
    _, err = run("keys", "revoke", before["keys"][0]["kid"], status=2)
    assert "--yes" in err
    _, err = run("keys", "revoke", "unheard-of", "--yes", status=1)
    assert err.startswith("ephemera: the key ring has no key 'unheard-of'")
    assert run.json("keys", "list") == before


def test_another_sealing_key_does_not_rotate(
    run: Run, with_keys: Callable[..., None], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(age=3600)
    other = directory / "other"
    other.mkdir()
    with closing(new_database(other)) as database:
        open_sealing_keys(database, file=None)
    monkeypatch.setenv("EPHEMERA_SEALING_KEY_FILE", str(other / "ephemera.sealing-key"))
    before = run.json("keys", "list")
    _, err = run("keys", "rotate", status=1)
    assert err.startswith("ephemera: the sealing key: ")
    assert run.json("keys", "list") == before


def test_another_issuer_does_not_rotate(
    run: Run, with_keys: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(age=3600)
    monkeypatch.setenv("EPHEMERA_ISSUER", "https://other.internal")
    _, err = run("keys", "rotate", status=1)
    assert f"those of {ISSUER}" in err


def test_as_a_process_an_error_is_one_line_and_a_status(directory: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ephemera_issuer", "clients", "list"],
        cwd=directory,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        "ephemera: ephemera.db: no such database; `ephemera apply` or `serve` makes one\n"
    )
