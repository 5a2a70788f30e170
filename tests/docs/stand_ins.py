"""Stand-ins for docker, kubectl, sudo and systemctl, as far as docs/deploy.md uses them.

Each takes the arguments of the program that it stands for and returns a status. What a command
line may hold is written out, so that a slip in the page is a failure here. `$STAND_INS` is a file
with places of the test for those of a file, as a JSON object.

Each call is a process, so each imports what it needs when it needs it.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAG = "ephemera-issuer:0.1.0"
_SECRETS = {"sealing-key", "database-password", "database-ca", "ledger-ca"}


def _places() -> dict[str, str]:
    found: dict[str, str] = json.loads(Path(os.environ["STAND_INS"]).read_text())
    return found


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _ephemera(
    arguments: Sequence[str], environment: Mapping[str, str], *, folder: Path | None = None
) -> int:
    command = [sys.executable, "-m", "ephemera_issuer", *arguments]
    kept = {name: value for name, value in os.environ.items() if "EPHEMERA" not in name}
    done = subprocess.run(command, cwd=folder, env=kept | dict(environment), check=False)
    return done.returncode


def docker(arguments: Sequence[str]) -> int:
    """`docker build`, `docker run` of our image, `docker compose up` and `run`."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", allow_abbrev=False)
    building.add_argument("--file", type=Path, required=True)
    building.add_argument("--tag", choices=[TAG], required=True)
    building.add_argument("context", type=Path)
    running = commands.add_parser("run", allow_abbrev=False)
    running.add_argument("--rm", action="store_true", required=True)
    running.add_argument("--user", choices=[f"{os.getuid()}:{os.getgid()}"], required=True)
    running.add_argument("--volume", required=True)
    running.add_argument("image", choices=[TAG])
    running.add_argument("rest", nargs=argparse.REMAINDER)
    composing = commands.add_parser("compose", allow_abbrev=False)
    composing.add_argument("--file", type=Path, required=True)
    composing.add_argument("rest", nargs=argparse.REMAINDER)
    chosen = parser.parse_args(arguments)
    if chosen.command == "build":
        assert (chosen.context / "requirements-run.lock").exists()
        assert chosen.file.read_text().startswith("# The issuer")
        return 0
    if chosen.command == "run":
        here, there = chosen.volume.split(":")
        assert Path(here).is_dir()
        return _ephemera([part.replace(there, here) for part in chosen.rest], {})
    return _compose(chosen.file, chosen.rest)


def _compose(file: Path, arguments: Sequence[str]) -> int:
    from deploy.composing import load

    assert os.environ["RUN_AS"] == f"{os.getuid()}:{os.getgid()}"
    document = load(file.read_text(), os.environ)
    for secret in document["secrets"].values():
        assert (file.parent / secret["file"]).is_file(), secret
    services = document["services"]
    places = _places() | {
        f"/run/secrets/{name}": str((file.parent / secret["file"]).resolve())
        for name, secret in document["secrets"].items()
    }
    parser = argparse.ArgumentParser(allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    upping = commands.add_parser("up", allow_abbrev=False)
    upping.add_argument("--detach", action="store_true", required=True)
    upping.add_argument("--wait", action="store_true", required=True)
    running = commands.add_parser("run", allow_abbrev=False)
    running.add_argument("--rm", action="store_true", required=True)
    running.add_argument("service", choices=sorted(services))
    running.add_argument("rest", nargs=argparse.REMAINDER)
    chosen = parser.parse_args(arguments)
    if chosen.command == "run":
        service = services[chosen.service]
        (mount,) = service["volumes"]
        assert mount == f"./work:{service['working_dir']}"
        return _ephemera(chosen.rest, _environment(service, places), folder=file.parent / "work")
    migrate = services["migrate"]
    migrated = _ephemera(migrate["command"], _environment(migrate, places))
    if migrated:
        return migrated
    from ephemera_issuer.demo.process import Service

    with Service(
        "issuer",
        ["ephemera_issuer", *services["issuer"]["command"]],
        environment=os.environ | _environment(services["issuer"], places),
    ) as issuer:
        # It has made its first keys by now, and has been seen to start.
        return issuer.stop()


def _environment(service: dict[str, Any], places: Mapping[str, str]) -> dict[str, str]:
    """What a service is told, with the servers and files of the test, on a free port."""
    told = {}
    for name, value in service["environment"].items():
        for written, real in places.items():
            value = value.replace(written, real)  # noqa: PLW2901 - the same value
        told[name] = value
    if "EPHEMERA_LISTEN" in told:
        told["EPHEMERA_LISTEN"] = "127.0.0.1:0"
        told["EPHEMERA_PRIVATE_LISTEN"] = "127.0.0.1:0"
        told["EPHEMERA_REPLAY_URL"] = f"sqlite:///{Path.cwd() / 'ledger.db'}"
    return told


def kubectl(arguments: Sequence[str]) -> int:
    """What a fresh namespace takes: its secrets, the overlay, and to wait for it."""
    match list(arguments):
        case ["create", "namespace", "ephemera"]:
            pass
        case ["--namespace", "ephemera", "create", "secret", "generic", name, *files]:
            assert name == "ephemera-secrets"
            given = {file.removeprefix("--from-file=") for file in files}
            assert given == _SECRETS
            assert all(Path(file).is_file() for file in given)
        case ["--namespace", "ephemera", "create", "secret", "tls", name, certificate, key]:
            assert name == "ephemera-tls"
            assert Path(certificate.removeprefix("--cert=")).is_file()
            assert Path(key.removeprefix("--key=")).is_file()
        case ["apply", "--kustomize", overlay]:
            from deploy.kustomizing import build

            for resource in build(Path(overlay)):
                _say(f"{resource['kind']} {resource['metadata']['name']}")
                if resource["kind"] in {"Deployment", "Job"}:
                    _require_secrets(resource)
        case ["--namespace", "ephemera", "wait", "--for=condition=complete", job, "--timeout=10m"]:
            assert job == "job/ephemera-migrate"
        case ["--namespace", "ephemera", "rollout", "status", deployment, "--timeout=10m"]:
            assert deployment == "deployment/ephemera"
        case ["--namespace", "ephemera", "exec", "deployment/ephemera", "--", "ephemera", *rest]:
            from deploy.command_lines import parse

            _say(f"in a pod: {parse(rest)}")
        case other:
            raise AssertionError(other)
    return 0


def _require_secrets(resource: dict[str, Any]) -> None:
    spec = resource["spec"]["template"]["spec"]
    for volume in spec["volumes"]:
        if "secret" in volume:
            assert volume["secret"]["secretName"] in {"ephemera-secrets", "ephemera-tls"}
            assert {item["key"] for item in volume["secret"].get("items", ())} <= _SECRETS


def sudo(arguments: Sequence[str]) -> int:
    """The command itself, by this user; an environment is made of what there is already."""
    match list(arguments):
        case ["python3", "-m", "venv", place]:
            programs = Path(place) / "bin"
            programs.mkdir(parents=True)
            for name in ("pip", "ephemera"):
                program = programs / name
                program.write_text(
                    f"#!{sys.executable}\nimport sys\nfrom docs import stand_ins\n"
                    f"sys.exit(stand_ins.installed_{name}(sys.argv[1:]))\n"
                )
                program.chmod(0o755)
            return 0
        case ["sh", "-c", script]:
            return subprocess.run(["sh", "-c", script], check=False).returncode
        case command:
            return subprocess.run(command, check=False).returncode


def installed_pip(arguments: Sequence[str]) -> int:
    """`tests/deploy/test_dockerfile.py` does it in earnest."""
    match list(arguments):
        case ["install", "--no-deps", "--require-hashes", "--requirement", lock]:
            assert "--hash=sha256:" in Path(lock).read_text()
        case ["install", "--no-deps", *folders]:
            assert all((Path(folder) / "pyproject.toml").is_file() for folder in folders)
        case other:
            raise AssertionError(other)
    return 0


def installed_ephemera(arguments: Sequence[str]) -> int:
    """The command, in the state directory of the test."""
    told = {name: value for name, value in os.environ.items() if name.startswith("EPHEMERA_")}
    url = told.get("EPHEMERA_DATABASE_URL")
    if url is None:
        return _ephemera(arguments, told)
    from ephemera_issuer.demo.process import Service

    root = _places()["root"]
    state = Path(root) / "var" / "lib" / "ephemera"
    state.mkdir(parents=True)
    told = {
        name: f"{root}{value}" if value.startswith("/etc/") else value
        for name, value in told.items()
    }
    told |= {"EPHEMERA_LISTEN": "127.0.0.1:0", "EPHEMERA_PRIVATE_LISTEN": "127.0.0.1:0"}
    told["EPHEMERA_DATABASE_URL"] = url.replace("//var/lib/ephemera", f"/{state}")
    assert told["EPHEMERA_DATABASE_URL"] != url
    kept = {name: value for name, value in os.environ.items() if "EPHEMERA" not in name}
    with Service("unit", ["ephemera_issuer", "serve"], environment=kept | told):
        return _ephemera(arguments, told)


def systemctl(arguments: Sequence[str]) -> int:
    """Reload, and enable a unit that has been put where it is looked for."""
    unit = Path(_places()["root"]) / "etc/systemd/system/ephemera.service"
    match list(arguments):
        case ["daemon-reload"]:
            assert unit.is_file()
        case ["enable", "--now", "ephemera"]:
            _say("enabled ephemera")
        case other:
            raise AssertionError(other)
    return 0


def systemd_sysusers(arguments: Sequence[str]) -> int:
    """Make the users of files that have been put where they are looked for."""
    assert not arguments
    assert (Path(_places()["root"]) / "etc/sysusers.d/ephemera.conf").is_file()
    return 0
