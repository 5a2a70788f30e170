"""A disk that is full stops what has to be written, says so, and nothing else; nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest
from system.deployment import Deployment, eventually
from system.faulty_disk import FaultyDisk
from system.loading import Load
from system.restarting import stays_true

from ephemera_issuer.database import open_database
from ephemera_issuer.registry.store import read_registry

if TYPE_CHECKING:
    from pathlib import Path

    from ephemera_issuer.demo.process import Service


@pytest.fixture
def disk(tmp_path: Path) -> FaultyDisk:
    return FaultyDisk(tmp_path)


@pytest.fixture
def deployment(disk: FaultyDisk) -> Deployment:
    return Deployment(disk.folder, EPHEMERA_WORKERS="2", **disk.settings)


def events(service: Service) -> list[str]:
    return [json.loads(line)["event"] for line in service.output if line.startswith("{")]


def refused(deployment: Deployment, *command: str) -> str:
    """What a command says that cannot be carried out."""
    done = subprocess.run(
        [sys.executable, "-m", "ephemera_issuer", *command],
        cwd=deployment.folder,
        env=deployment.environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith("ephemera: ") for line in lines), done.stderr
    return lines[-1]


def test_a_full_disk_refuses_what_must_be_written_and_goes_on_once_there_is_room(
    deployment: Deployment, disk: FaultyDisk
) -> None:
    with deployment.start(module="system.hurried") as service, httpx.Client(
        base_url=service.url, trust_env=False, timeout=30
    ) as http:
        with Load(deployment, service.url) as load:
            load.wait_for(10)
            load.wait_for(5, kind="revocation")
            eventually(lambda: "keys_rotated" in events(service), "no rotation")
            disk.fill()
            load.wait_for(10, status=503)
            load.wait_for(5, kind="revocation", status=503)
            # What is proved by a secret has nothing to write.
            load.wait_for(10, kind="secret")
            eventually(lambda: "keys_not_changed" in events(service), "rotated nevertheless")
            assert http.get("/readyz").status_code == 200
            disk.make_room()
            rotations = events(service).count("keys_rotated")
            load.wait_for(10)
            load.wait_for(5, kind="revocation")
            eventually(lambda: events(service).count("keys_rotated") > rotations, "no rotation")
        assert set(load.statuses) == {
            *(("assertion", 200), ("assertion", 503), ("secret", 200)),
            *(("revocation", 200), ("revocation", 503)),
        }
        assert all("'retry-after': '1'" in said for said in load.unexpected)
        stays_true(service.url, load.take())
        assert service.stop() == 0, "".join(service.output)


def test_commands_on_a_full_disk_say_so_and_change_nothing(
    deployment: Deployment, disk: FaultyDisk
) -> None:
    deployment.start().stop()
    url = deployment.environment["EPHEMERA_DATABASE_URL"]
    with closing(open_database(url, create=False)) as database, database.read() as connection:
        before = read_registry(connection)
    (disk.folder / "registry.toml").write_text(
        (disk.folder / "registry.toml").read_text()
        + '[[clients]]\nid = "new"\nsecret = "generate"\n'
    )
    disk.fill()
    for command in (
        ("apply", "registry.toml", "--secrets-dir", "secrets"),
        ("clients", "disable", "orders"),
        ("clients", "roll-secret", "reports", "--secrets-dir", "secrets"),
        ("keys", "rotate", "--emergency"),
        ("revoke", "--client", "orders", "--yes"),
        ("backup", "backup.jsonl"),
    ):
        said = refused(deployment, *command)
        assert "full" in said or "No space left" in said, said
    with closing(open_database(url, create=False)) as database, database.read() as connection:
        assert read_registry(connection) == before
    assert sorted(file.name for file in (disk.folder / "secrets").iterdir()) == ["reports.secret"]
    disk.make_room()
    deployment.run("ephemera_issuer", "apply", "registry.toml", "--secrets-dir", "secrets")
    with closing(open_database(url, create=False)) as database, database.read() as connection:
        assert read_registry(connection).version == before.version + 1


@pytest.mark.parametrize("command", ["serve", "apply"])
def test_a_first_start_on_a_full_disk_says_so_and_leaves_nothing_that_is_in_the_way(
    deployment: Deployment, disk: FaultyDisk, command: str
) -> None:
    for file in disk.folder.glob("ephemera*"):
        file.unlink()
    arguments = ["registry.toml", "--secrets-dir", "others"] if command == "apply" else []
    disk.fill()
    said = refused(deployment, command, *arguments)
    assert "full" in said or "No space left" in said, said
    disk.make_room()
    deployment.run("ephemera_issuer", "apply", "registry.toml", "--secrets-dir", "others")
    with deployment.start() as service:
        assert service.stop() == 0
