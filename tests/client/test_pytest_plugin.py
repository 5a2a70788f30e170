"""The plugin in pytest runs of its own: what it gives, and that it costs nothing unasked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ephemera_client.testing import clock as clock_module

PLUGIN = "pytest_ephemera"

# Stands for an environment in which the library is installed, and no other plugin of pytest.
INSTALLED = f"""
import sys
from importlib import metadata

class Installed(metadata.Distribution):
    files = None

    def read_text(self, name):
        return {{
            "METADATA": "Name: as-installed\\nVersion: 1\\n",
            "entry_points.txt": "[pytest11]\\n{PLUGIN} = {PLUGIN}\\n",
        }}.get(name)

    def locate_file(self, path):
        return path

metadata.distributions = lambda **_: [Installed()]
import pytest
sys.exit(pytest.main())
"""

TESTS = """
import sys

def test_the_library_was_not_imported_unasked():
    assert not [name for name in sys.modules if name.startswith("ephemera_client")]

def test_a_token_is_minted(fake_issuer):
    raw = fake_issuer.mint("https://billing.internal")
    assert fake_issuer.verifier("https://billing.internal").verify(raw).client_id == "orders"

def test_an_issuer_is_served(served_fake_issuer):
    import urllib.request
    with urllib.request.urlopen(served_fake_issuer.issuer + "/.well-known/jwks.json") as answer:
        assert b"fake-issuer-for-tests" in answer.read()
"""


def run(folder: Path, *options: str, autoload: bool = True) -> tuple[int, str]:
    """Run pytest in `folder`, as strict about warnings as can be."""
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    if not autoload:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    strict = ["-W", "error", "-p", "no:cacheprovider", "-q", "-rA"]
    done = subprocess.run(
        [sys.executable, "-c", INSTALLED, *strict, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_api.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_an_installed_plugin_gives_its_fixtures_and_imports_nothing_before(folder: Path) -> None:
    status, said = run(folder)
    assert (status, said.count("PASSED")) == (0, 3), said


@pytest.mark.parametrize("autoload", [True, False], ids=["installed", "not loaded by itself"])
def test_being_told_of_it_in_every_way_at_once_does_no_harm(
    folder: Path, *, autoload: bool
) -> None:
    (folder / "conftest.py").write_text('pytest_plugins = ["ephemera_client.testing"]\n')
    options = ["-k", "minted", "-p", "ephemera_client.testing", "-p", PLUGIN]
    status, said = run(folder, *options, autoload=autoload)
    assert (status, said.count("PASSED")) == (0, 1), said


def test_it_is_loaded_by_name_where_plugins_are_not_loaded_by_themselves(folder: Path) -> None:
    named = ["-p", "ephemera_client.testing"]
    status, said = run(folder, "-k", "minted", *named, autoload=False)
    assert (status, said.count("PASSED")) == (0, 1), said


def test_it_can_be_switched_off(folder: Path) -> None:
    status, said = run(folder, "-k", "minted", "-p", f"no:{PLUGIN}")
    assert status == 1
    assert "fixture 'fake_issuer' not found" in said


def test_without_pytest_it_works_all_the_same_and_warns_once_in_the_log() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from ephemera_client.testing import FakeIssuer\n"
        "for _ in range(2):\n"
        "    print(FakeIssuer().mint('https://billing.internal').count('.'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2\n2\n"
    assert done.stderr.count("for tests alone") == len(done.stderr.splitlines()) == 1


def test_the_library_itself_does_not_import_it() -> None:
    code = "import ephemera_client, json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"ephemera_client.testing", PLUGIN, "pytest"} & set(json.loads(done.stdout))


def test_coverage_sees_the_library_being_imported(folder: Path) -> None:
    measuring = ["-p", "pytest_cov.plugin", "--cov=ephemera_client.testing", "--cov-report=json"]
    status, said = run(folder, *measuring, "-k", "minted")
    assert status == 0, said
    measured = json.loads((folder / "coverage.json").read_text())["files"]
    (clock,) = (file for name, file in measured.items() if name.endswith("testing/clock.py"))
    source = Path(clock_module.__file__).read_text().splitlines()
    # Lines that run once in a process, when the module is imported.
    once = {at for at, line in enumerate(source, 1) if line.startswith(("from ", "class "))}
    assert once <= set(clock["executed_lines"])
