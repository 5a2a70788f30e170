"""A disk that is full stops what has to be written, says so, and nothing else; nothing is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from system.changing import held_in
from system.commands import Ended, run_all
from system.deployment import Deployment, eventually
from system.faulty_disk import FaultyDisk
from system.loading import Load
from system.restarting import stays_true

if TYPE_CHECKING:
    from ephemera_issuer.demo.process import Service


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> FaultyDisk:
    return FaultyDisk(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def deployment(disk: FaultyDisk) -> Deployment:
    return Deployment(disk.folder, EPHEMERA_WORKERS="2", **disk.settings)


def events(service: Service) -> list[str]:
    return [json.loads(line)["event"] for line in service.output if line.startswith("{")]


def no_room(ended: Ended) -> bool:
    """Whether a command said that, a line for each problem, and nothing else."""
    lines = ended.errors.splitlines()
    return (
        (ended.status, ended.output) == (1, "")
        and all(line.startswith("ephemera: ") for line in lines)
        and any(words in lines[-1] for words in ("disk is full", "the disk full", "No space left"))
    )


def test_a_full_disk_refuses_what_must_be_written_and_goes_on_once_there_is_room(
    deployment: Deployment, disk: FaultyDisk
) -> None:
    with (
        deployment.start(module="system.hurried") as service,
        httpx.Client(base_url=service.url, trust_env=False, timeout=30) as http,
    ):
        with Load(deployment, service.url) as load:
            load.wait_for(10)
            load.wait_for(5, kind="revocation")
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
    before = held_in(url)
    with (disk.folder / "registry.toml").open("a") as registry:
        registry.write('[[clients]]\nid = "new"\nsecret = "generate"\n')
    apply = ["apply", "registry.toml", "--secrets-dir", "secrets"]
    disk.fill()
    for ended in run_all(
        deployment,
        [
            apply,
            ["clients", "disable", "orders"],
            ["clients", "roll-secret", "reports", "--secrets-dir", "secrets"],
            ["keys", "rotate", "--emergency"],
            ["revoke", "--client", "orders"],
            ["backup", "backup.jsonl"],
            ["init", "elsewhere"],
        ],
    ):
        assert no_room(ended), ended
    assert held_in(url) == before
    assert sorted(file.name for file in (disk.folder / "secrets").iterdir()) == ["reports.secret"]
    disk.make_room()
    (ended,) = run_all(deployment, [apply])
    assert ended.status == 0
    assert (disk.folder / "secrets" / "new.secret").exists()


def test_a_first_start_on_a_full_disk_says_so_and_leaves_nothing_in_the_way(
    deployment: Deployment, disk: FaultyDisk
) -> None:
    other = {"EPHEMERA_DATABASE_URL": f"sqlite:///{disk.folder / 'other.db'}"}
    apply = ["apply", "registry.toml", "--secrets-dir", "others"]
    disk.fill()
    for ended in run_all(deployment, [["serve"], apply, ["migrate"]], **other):
        assert no_room(ended), ended
    disk.make_room()
    (ended,) = run_all(deployment, [apply], **other)
    assert ended.status == 0
    with deployment.start(**other) as service:
        assert service.stop() == 0
