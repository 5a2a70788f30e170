"""Every command and every sample of the pages runs; every link leads somewhere."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from docs.pages import PAGES, ROOT, anchors, blocks, headings, links
from docs.running import run, serving, shell
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from system.running import Issuer, run_issuer

from ephemera_client import access_token
from ephemera_issuer.demo.story import REGISTRY
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request

RUNNABLE = {"sh", "console", "python"}


@pytest.fixture
def door() -> Iterator[socket.socket]:
    """Where the API of a page listens; known before there is an API."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def billing_url(door: socket.socket) -> str:
    return f"http://127.0.0.1:{door.getsockname()[1]}"


@pytest.fixture
def issuer(tmp_path: Path, billing_url: str) -> Iterator[Issuer]:
    """An issuer whose billing audience is found where the pages' API will be."""
    registry = REGISTRY.replace("https://billing.internal", billing_url)
    with run_issuer(tmp_path, registry=registry) as running:
        yield running


async def read_invoices(request: Request) -> JSONResponse:
    token = access_token(request.scope)
    token.require("invoices:read")
    return JSONResponse({"for": token.client_id})


def starlette_names() -> dict[str, Any]:
    """What an API under Starlette has imported and written before it meets Ephemera."""
    routes = [Route("/invoices", read_invoices), Route("/invoices/7", read_invoices)]
    return {"Starlette": Starlette, "Middleware": Middleware, "routes": routes}


def test_the_ten_lines_for_the_caller_call_the_ten_lines_for_the_api(
    issuer: Issuer, door: socket.socket, billing_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "https://tokens.internal": issuer.url,
        "https://billing.internal": billing_url,
        "secrets/orders.secret": str(issuer.secret_file),
    }
    calling, api = blocks("README.md", "python")
    assert max(calling.count("\n"), api.count("\n")) <= 12
    with serving(run(api, starlette_names(), places)["app"], door):
        names = run(calling, {}, places)
        names["tokens"].close()
    assert capsys.readouterr().out == "{'for': 'orders'}\n"


def test_the_samples_and_commands_of_the_client_page_call_each_other(
    issuer: Issuer, door: socket.socket, billing_url: str, tmp_path: Path
) -> None:
    places = {
        "https://tokens.internal": issuer.url,
        "https://billing.internal": billing_url,
        "/run/secrets/orders.secret": str(issuer.secret_file),
    }
    calling, api = blocks("client/README.md", "python")
    with serving(run(api, starlette_names(), places)["app"], door):
        caller = run(calling, {}, places)
        assert caller["api"].get(f"{billing_url}/invoices/7").json() == {"for": "orders"}
        caller["api"].close()
        caller["tokens"].close()
        (commands,) = blocks("client/README.md", "sh")
        settings = {
            "EPHEMERA_CLIENT_ISSUER": issuer.url,
            "EPHEMERA_CLIENT_ID": "orders",
            "EPHEMERA_CLIENT_SECRET_FILE": str(issuer.secret_file),
        }
        status, said, errors = shell(
            commands.replace("https://billing.internal", billing_url),
            tmp_path,
            issuer.environment | settings,
        )
    assert status == 0, errors
    assert '{"for":"orders"}' in said
    assert "NOT VERIFIED" in said + errors


def test_the_issuer_page_runs_as_it_is_written(tmp_path: Path) -> None:
    (registry,) = blocks("issuer/README.md", "toml")
    (session,) = blocks("issuer/README.md", "console")
    assert [line for line in session.splitlines() if line.startswith("$")] == [
        "$ pip install ephemera-issuer",
        "$ ephemera apply registry.toml --secrets-dir secrets",
        "$ ephemera serve",
    ]
    with run_issuer(tmp_path, registry=registry) as running:
        listed = running.command("clients", "list", "--json")
    assert "orders" in json.dumps(json.loads(listed.stdout))
    assert tomllib.loads(registry)["clients"] == [{"id": "orders", "secret": "generate"}]


def test_make_demo_does_every_step_and_leaves_nothing() -> None:
    demo, test = (
        line.partition("#")[0].strip() for line in blocks("README.md", "sh")[0].splitlines()
    )
    assert (demo, test) == ("make demo", "make test")
    assert (ROOT / ".ci" / "run").read_text().endswith("exec make test\n")
    done = subprocess.run(
        demo.split(), cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line[0] for line in done.stdout.splitlines() if line.startswith("✓")] == ["✓"] * 6


def test_no_page_has_a_block_that_no_test_runs() -> None:
    run_by_tests = {
        ("README.md", "python"): 2,
        ("README.md", "sh"): 1,
        ("client/README.md", "python"): 2,
        ("client/README.md", "sh"): 1,
        ("docs/admin.md", "sh"): 4,  # in test_admin_page.py
        ("docs/dpop.md", "python"): 4,  # in test_dpop_page.py
        ("docs/federation.md", "python"): 1,  # in test_federation.py
        ("docs/getting-started.md", "python"): 2,  # in test_getting_started.py
        ("docs/getting-started.md", "sh"): 6,
        ("docs/integrations.md", "python"): 9,  # in test_integrations.py
        ("docs/local.md", "python"): 1,  # in test_local.py
        ("docs/local.md", "sh"): 3,
        ("docs/migrating.md", "python"): 2,  # in test_migrating.py
        ("docs/audit.md", "sh"): 2,  # in test_audit_page.py
        ("docs/deploy.md", "sh"): 6,  # in test_deploy_page.py
        ("docs/operations.md", "sh"): 6,  # in test_operations_page.py, which names the others
        ("docs/storage.md", "sh"): 3,  # in test_storage.py
        ("docs/rolling-credentials.md", "sh"): 4,  # in test_rolling_credentials.py
        ("docs/testing.md", "python"): 7,  # in test_testing.py
        ("docs/rotation.md", "sh"): 2,  # in test_rotation_page.py
        ("issuer/README.md", "console"): 1,
        ("keys/README.md", "console"): 1,  # in tests/system/test_install.py
        ("keys/README.md", "python"): len(blocks("keys/README.md", "python")),  # as doctests
    }
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for language in RUNNABLE:
            assert len(blocks(name, language)) == run_by_tests.get((name, language), 0), name


def test_every_setting_is_in_the_table_once() -> None:
    (table,) = re.findall(
        r"^## Settings\n(.*?)^## ",
        (ROOT / "issuer/README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    named = [
        name
        for first in re.findall(r"^\| (`EPHEMERA_[^|]*)\|", table, re.MULTILINE)
        for name in re.findall(r"`EPHEMERA_(\w+)`", first)
    ]
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)


def test_every_target_of_make_is_in_the_table() -> None:
    told = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    table = re.findall(r"^\| `make (\w+)`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert set(table) == set(told) - {"help"}
    assert len(table) == len(set(table))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_of_a_page_leads_to_a_file(page: Path) -> None:
    missing = [target for target in links(page) if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_heading_that_a_link_names_is_there(page: Path) -> None:
    missing = [(target, name) for target, name in anchors(page) if name not in headings(target)]
    assert not missing
