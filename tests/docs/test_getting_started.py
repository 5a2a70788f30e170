"""docs/getting-started.md: three paths from nothing to a verified call, run out of the page."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest
from docs.pages import ROOT, blocks
from docs.running import run, serving, shell, without_settings
from system.running import run_issuer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "docs/getting-started.md"
SH = blocks(PAGE, "sh")
PLATFORM, CALLING, API, CONTAINERS = SH[:2], SH[2:4], SH[4:5], SH[5:6]
REGISTRY = """
[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read"]

[[clients]]
id = "orders"
jwks_file = "orders.jwks.json"

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""


@pytest.fixture
def door() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def environment() -> dict[str, str]:
    """A shell on a machine where two ports are free."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        ports = [str(listener.getsockname()[1]) for listener in (one, other)]
    inherited = without_settings()
    return inherited | {
        "ISSUER_PORT": ports[0],
        "API_PORT": ports[1],
        "EPHEMERA_LISTEN": f"127.0.0.1:{ports[0]}",
        "EPHEMERA_PRIVATE_LISTEN": "127.0.0.1:0",
    }


def at(environment: dict[str, str], text: str) -> str:
    """The text with this test's free ports for the page's."""
    text = text.replace(":8700", ":" + environment["ISSUER_PORT"])
    return re.sub(r"(:|--port )8080", rf"\g<1>{environment['API_PORT']}", text)


@pytest.mark.parametrize("path", [PLATFORM, CALLING, API, CONTAINERS])
def test_a_path_is_at_most_ten_commands(path: list[str]) -> None:
    assert 0 < sum(len(block.splitlines()) for block in path) <= 10


def test_the_platform_team_gets_from_nothing_to_a_verified_token(
    environment: dict[str, str], tmp_path: Path
) -> None:
    status, said, errors = shell(at(environment, "".join(PLATFORM)), tmp_path, environment)
    assert status == 0, said + errors
    assert "'orders', scopes 'invoices:read'" in said
    assert "It was not claimed here" in said


def test_the_calling_team_gets_from_nothing_to_a_verified_call(
    tmp_path: Path,
    door: socket.socket,
    environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, _, errors = shell(CALLING[0], tmp_path, environment)
    assert status == 0, errors
    environment["API_PORT"] = str(door.getsockname()[1])
    calling, api = blocks(PAGE, "python")
    with run_issuer(tmp_path, registry=REGISTRY) as issuer:
        environment["ISSUER_PORT"] = issuer.url.rpartition(":")[2]
        with serving(run(at(environment, api), {}, {})["app"], door):
            status, said, errors = shell(at(environment, CALLING[1]), tmp_path, environment)
            assert (status, said) == (0, '{"invoices":[],"for":"orders"}'), errors
            places = {"orders.pem": str(tmp_path / "orders.pem")}
            run(at(environment, calling), {}, places)["tokens"].close()
    assert capsys.readouterr().out == "{'invoices': [], 'for': 'orders'}\n"


def test_the_api_team_gets_from_nothing_to_a_verified_call(
    environment: dict[str, str], tmp_path: Path
) -> None:
    _, api = blocks(PAGE, "python")
    (tmp_path / "billing.py").write_text(at(environment, api))
    status, said, errors = shell(at(environment, API[0]), tmp_path, environment)
    assert status == 0, said + errors
    assert '"reason":"token_missing"' in said
    assert said.endswith('{"invoices":[],"for":"orders"}')


def test_containers_on_a_private_network_name_their_plain_http_hosts(
    environment: dict[str, str], tmp_path: Path
) -> None:
    # The one host name that every machine knows and that is still a name stands for `issuer`.
    commands = at(environment, CONTAINERS[0]).replace("issuer:", "localhost:")
    commands = commands.replace("=issuer", "=localhost").replace("-host issuer", "-host localhost")
    commands = commands.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - never bound to
    status, said, errors = shell(commands, tmp_path, environment)
    assert status == 0, said + errors
    assert said.splitlines()[-1].count(".") == 2


def test_the_page_is_the_one_that_the_readme_points_to() -> None:
    assert "docs/getting-started.md" in (ROOT / "README.md").read_text()
