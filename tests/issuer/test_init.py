from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ephemera_issuer.registry.file import read_files
from ephemera_keys import pem, public_jwk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from issuer.fixtures_commands import Run


def test_a_registry_and_a_key_that_fit_each_other_are_written(run: Run, directory: Path) -> None:
    out, _ = run("init", "new")
    made = sorted(str(file.relative_to(directory)) for file in (directory / "new").rglob("*.*"))
    assert made == ["new/keys/orders.pem", "new/orders.jwks.json", "new/registry.toml"]
    private = directory / "new" / "keys" / "orders.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    public = json.loads((directory / "new" / "orders.jwks.json").read_text())
    assert public == {"keys": [dict(public_jwk(pem.load(private.read_bytes()), alg="ES256"))]}
    (client,) = read_files(directory / "new").clients.values()
    assert client.keys[0].key.kid == public["keys"][0]["kid"]
    assert all(line in out.splitlines() for line in (f"Wrote {file}" for file in made))
    assert "PRIVATE" not in out


def test_the_comments_show_every_key_of_the_schema(run: Run, directory: Path) -> None:
    run("init", "new")
    file = directory / "new" / "registry.toml"
    text = re.sub(r"^# (?=\w+ = )", "", file.read_text(), flags=re.MULTILINE)
    file.write_text(text.replace("jwks_uri =", "# jwks_uri ="))
    declared = read_files(file)
    assert declared.clients["orders"].secret
    assert declared.clients["orders"].disabled
    (audience,) = declared.audiences.values()
    assert audience.introspected_by == {"orders"}
    assert audience.dpop_required
    assert audience.disabled
    (grant,) = declared.grants.values()
    assert grant.max_lifetime == 90


@pytest.mark.parametrize("there", ["registry.toml", "orders.jwks.json", "keys/orders.pem"])
def test_what_is_there_is_never_overwritten(run: Run, directory: Path, there: str) -> None:
    file = directory / "new" / there
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    _, err = run("init", "new", status=1)
    assert err == f"ephemera: there already, and left as it is: new/{there}\n"
    assert [made for made in (directory / "new").rglob("*") if made.is_file()] == [file]
    assert file.read_text() == "precious"


def test_a_place_where_nothing_can_be_written_is_told(run: Run, directory: Path) -> None:
    (directory / "file").write_text("in the way")
    _, err = run("init", "file/new", status=1)
    assert err.startswith("ephemera: file")
    assert err.count("\n") == 1


def test_a_wrong_setting_is_told_before_anything_is_written(
    run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPHEMERA_LISTEN", "here")
    _, err = run("init", "new", status=1)
    assert err.startswith("ephemera: EPHEMERA_LISTEN: ")
    assert not (directory / "new").exists()


def test_a_host_of_a_private_network_is_named_to_the_client_too(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPHEMERA_ISSUER", "http://issuer:8700")
    monkeypatch.setenv("EPHEMERA_UNENCRYPTED_HOSTS", "issuer")
    assert "--issuer http://issuer:8700 --unencrypted-host issuer " in run("init", "new")[0]


@pytest.fixture
def environment(directory: Path) -> dict[str, str]:
    """A shell's, with a free port for the issuer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert directory.is_dir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        "PATH": path,
        "EPHEMERA_LISTEN": f"127.0.0.1:{port}",
        "EPHEMERA_PRIVATE_LISTEN": "127.0.0.1:0",
    }


@contextmanager
def left_running(command: str, environment: dict[str, str]) -> Iterator[str]:
    """Run a command in the background, and yield the first line that it prints."""
    process = subprocess.Popen(
        shlex.split(command), env=environment, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        try:
            yield process.stdout.readline()
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
    assert process.returncode == 0


def test_the_commands_that_it_prints_work_as_they_are(environment: dict[str, str]) -> None:
    def ran(command: str) -> str:
        return subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True
        ).stdout

    printed = [line.strip() for line in ran("ephemera init 'a team'").splitlines()]
    apply, explain, serve, token = (
        line for line in printed if line.startswith(("ephemera ", "python "))
    )
    assert "3 changes; the registry is at version 1." in ran(apply)
    assert ran(explain).startswith("orders gets a token for https://billing.internal\n")
    with left_running(serve, environment) as ready:
        assert ready.startswith("ephemera: serving ")
        assert ran(token).count(".") == 2
