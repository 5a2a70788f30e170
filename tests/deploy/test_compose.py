"""deploy/compose.yaml: as the specification wants it, hardened, and run without Docker."""

from __future__ import annotations

from typing import Any

import pytest
from deploy.command_lines import DEPLOY, parse
from deploy.composing import VariableMissing, load

from ephemera_issuer.settings import Settings

COMPOSE = (DEPLOY / "compose.yaml").read_text()
VARIABLES = {"ISSUER": "https://tokens.internal"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = load(COMPOSE, VARIABLES)["services"]
    return found


def test_the_file_is_as_the_specification_wants_it() -> None:
    document = load(COMPOSE, VARIABLES)
    assert set(document["services"]) == {"database", "ledger", "migrate", "issuer", "operator"}


@pytest.mark.parametrize(
    ("written", "changed"),
    [
        ("read_only: true", "read_onyl: true"),
        ("secrets: [database-password, sealing-key]", "secrets: [sealing]"),
        ("networks: [ledger]", "networks: [elsewhere]"),
        ("condition: service_healthy", "condition: healthy"),
        ("mem_limit: 1g", "mem_limit: plenty"),
        ("restart: unless-stopped", "restart: perhaps"),
        ("depends_on:\n      migrate:", "depends_on:\n      migration:"),
        ("database:/var/lib", "data:/var/lib"),
    ],
)
def test_what_the_specification_does_not_know_is_found(written: str, changed: str) -> None:
    assert written in COMPOSE
    with pytest.raises(ValueError, match=r"."):
        load(COMPOSE.replace(written, changed), VARIABLES)


def test_without_the_name_that_verifiers_know_nothing_is_started() -> None:
    with pytest.raises(VariableMissing, match="the https origin that verifiers know"):
        load(COMPOSE, {})


def test_every_service_is_a_user_without_rights_on_a_file_system_that_it_cannot_write(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert service["user"] == "65532:65532", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert "privileged" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["ulimits"]["core"] == 0, name
        assert service["pids_limit"], name
        assert service["healthcheck"] is not None, name


def test_only_the_issuer_can_be_reached_from_outside(services: dict[str, Any]) -> None:
    document = load(COMPOSE, VARIABLES)
    assert [name for name, service in services.items() if "ports" in service] == ["issuer"]
    inner = {name for name, network in document["networks"].items() if network.get("internal")}
    assert inner == {"database", "ledger"}
    for name, service in services.items():
        assert set(service["networks"]) <= inner or name == "issuer"


def test_no_secret_stands_in_the_file_and_each_goes_only_where_it_is_read(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        said = str(service.get("environment", {}))
        for secret in service.get("secrets", ()):
            assert f"/run/secrets/{secret}" in said, (name, secret)
        for value in service.get("environment", {}).values():
            for path in str(value).replace("?", "&").replace("=", "&").split("&"):
                if path.startswith("/run/secrets/"):
                    assert path.removeprefix("/run/secrets/") in service["secrets"]
        assert "PASSWORD=" not in said


@pytest.mark.parametrize("name", ["migrate", "issuer", "operator"])
def test_settings_and_command_lines_are_real(
    services: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = services[name]
    if "command" in service:
        assert parse(service["command"]) == {"migrate": "migrate", "issuer": "serve"}[name]
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, str(value))
    Settings()


def test_the_ledger_evicts_nothing(services: dict[str, Any]) -> None:
    command = services["ledger"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_what_is_mounted_is_kept_out_of_the_repository() -> None:
    ignored = (DEPLOY.parent / ".gitignore").read_text().splitlines()
    assert {"/deploy/secrets/", "/deploy/work/"} <= set(ignored)
