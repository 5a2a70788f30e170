"""deploy/systemd: the unit is written as systemd reads it, and its sandbox is whole."""

from __future__ import annotations

import re
import shlex

import pytest
from deploy.command_lines import DEPLOY, parse
from deploy.units import SANDBOX, read

from ephemera_issuer.server import DRAIN, LINGER
from ephemera_issuer.settings import Settings
from ephemera_issuer.workers import PATIENCE

FOLDER = DEPLOY / "systemd"
UNIT = (FOLDER / "ephemera.service").read_text()
SETTINGS = dict(
    word.split("=", 1) for word in shlex.split((FOLDER / "settings.env").read_text(), comments=True)
)


def test_there_is_nothing_wrong_with_the_unit() -> None:
    assert read(UNIT).problems == []


@pytest.mark.parametrize("name", sorted(SANDBOX))
def test_a_unit_that_lacks_a_part_of_the_sandbox_is_found_out(name: str) -> None:
    without, count = re.subn(rf"^{name}=.*\n", "", UNIT, flags=re.MULTILINE)
    assert count == 1
    assert read(without).problems == [f"not {name}={SANDBOX[name]}"]


@pytest.mark.parametrize(
    ("written", "changed", "problem"),
    [
        ("ProtectSystem=strict", "ProtectSystem=strictly", "is not written like that"),
        ("ProtectHome=yes", "ProtectHomes=yes", "is not known"),
        ("[Service]", "[Servce]", "no section"),
        ("RestartSec=1", "RestartSec=soon", "is not written like that"),
        ("User=ephemera", "User=root", "it runs as root"),
        ("UMask=0077", "UMask=0077\nUMask=0022", "stands there twice"),
        ("ExecStart=/opt", "ExecStart=opt", "is not written like that"),
        ("SystemCallFilter=~@privileged\n", "", "system calls are not filtered"),
        ("KillMode=mixed", "KillMode=control-group", "told before their parent"),
        ("Type=exec", "Type = exec", "not NAME=VALUE"),
    ],
)
def test_what_systemd_would_pass_over_is_found(written: str, changed: str, problem: str) -> None:
    assert written in UNIT
    assert any(problem in found for found in read(UNIT.replace(written, changed)).problems)


def test_the_service_runs_the_command_and_outlasts_its_own_end() -> None:
    unit = read(UNIT)
    program, *arguments = unit.one("Service", "ExecStart").split()
    assert program.endswith("/ephemera")
    assert parse(arguments) == "serve"
    assert int(unit.one("Service", "TimeoutStopSec")) > PATIENCE > DRAIN + LINGER


def test_its_settings_are_real_and_name_what_the_unit_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unit = read(UNIT)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    state = f"/var/lib/{unit.one('Service', 'StateDirectory')}"
    assert unit.one("Service", "WorkingDirectory") == state
    assert settings.database_url.startswith(f"sqlite:///{state}/")
    credential = unit.one("Service", "LoadCredential").partition(":")[0]
    assert unit.one("Service", "Environment") == f"EPHEMERA_SEALING_KEY_FILE=%d/{credential}"


def test_the_user_of_the_unit_is_the_one_that_is_made() -> None:
    lines = (FOLDER / "ephemera.sysusers").read_text().splitlines()
    (line,) = [line for line in lines if not line.startswith("#")]
    assert re.fullmatch(r'u (\S+) - "[^"]+" /var/lib/ephemera', line)
    assert line.split()[1] == read(UNIT).one("Service", "User")
