"""Each library installs by itself into an empty environment, and brings no more than it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CRYPTOGRAPHY = {"cryptography", "cffi", "pycparser", "pyjwt"}
HTTPX = {"httpx", "httpcore", "h11", "anyio", "idna", "certifi", "typing-extensions", "sniffio"}


@pytest.mark.parametrize(
    ("folder", "module", "allowed"),
    [
        ("client", "ephemera_client", {"ephemera-client"} | CRYPTOGRAPHY | HTTPX),
        ("keys", "ephemera_keys", {"ephemera-keys", "typing-extensions"} | CRYPTOGRAPHY),
    ],
)
def test_pip_install_of_one_folder_is_enough(
    tmp_path: Path, folder: str, module: str, allowed: set[str]
) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", f"./{folder}"], cwd=ROOT, check=True)
    listed = subprocess.run([*pip, "list", "--format=json"], capture_output=True, check=True)
    installed = {package["name"].lower().replace("_", "-") for package in json.loads(listed.stdout)}
    assert installed - {"pip", "setuptools"} <= allowed
    subprocess.run([python, "-W", "error", "-c", f"import {module}"], cwd=tmp_path, check=True)
    if folder == "client":
        plugin = (
            "from importlib import metadata, util\n"
            "import ephemera_client.testing\n"
            "(entry,) = metadata.entry_points(group='pytest11', name='pytest_ephemera')\n"
            "assert util.find_spec(entry.value) is not None\n"
        )
        subprocess.run([python, "-I", "-W", "error", "-c", plugin], check=True)
