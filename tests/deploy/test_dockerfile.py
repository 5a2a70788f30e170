"""The image: its Dockerfile passes hadolint, and its steps work with pip alone."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deploy.command_lines import DEPLOY, parse

ROOT = DEPLOY.parent
DOCKERFILE = DEPLOY / "Dockerfile"
HADOLINT = Path(sys.executable).parent / "hadolint"


def instructions() -> list[tuple[str, str]]:
    """The instructions in their order, each with its text on one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2]) for line in lines if line.strip()]


def last(name: str) -> str:
    return [text for found, text in instructions() if found == name][-1]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of one stage."""
    every = instructions()
    start = every.index(("FROM", f"${{PYTHON_IMAGE}} AS {name}"))
    ends = [at for at, (found, _) in enumerate(every) if found == "FROM" and at > start]
    return every[start : ends[0]]


def lint(text: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [HADOLINT, "--no-color", "--failure-threshold", "info", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    linted = lint(DOCKERFILE.read_text())
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize(
    ("written", "changed", "code"),
    [
        ("ARG PYTHON_IMAGE=python:3.13-slim-bookworm\n", "ARG X=1\nFROM python\n", "DL3006"),
        ("COPY keys keys", "ADD keys keys", "DL3020"),
        ("WORKDIR /src", "WORKDIR src", "DL3000"),
        ("EXPOSE 8700 8701", "EXPOSE 870000", "DL3011"),
    ],
)
def test_hadolint_would_say_what_is_wrong(written: str, changed: str, code: str) -> None:
    linted = lint(DOCKERFILE.read_text().replace(written, changed, 1))
    assert linted.returncode == 1
    assert code in linted.stdout


def test_the_process_is_nobody_and_needs_no_shell() -> None:
    final = instructions()[-10:]
    user = last("USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert [name for name, _ in final].index("USER") < [name for name, _ in final].index("CMD")
    for name in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(last(name)), list)
    assert json.loads(last("ENTRYPOINT")) == ["ephemera"]
    assert parse(json.loads(last("CMD"))) == "serve"
    check = last("HEALTHCHECK").partition(" CMD ")[2]
    assert json.loads(check)[:3] == ["python", "-I", "/opt/ephemera/healthcheck.py"]


def test_what_is_copied_is_there_and_the_build_is_sent_nothing_else() -> None:
    ignoring = DEPLOY.joinpath("Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignoring
    sent = {line[1:] for line in ignoring if line.startswith("!")}
    copied = {
        source
        for name, text in instructions()
        if name == "COPY" and "--from" not in text
        for source in text.split()[:-1]
    }
    assert copied == sent
    assert all((ROOT / name).exists() for name in sent)


def commands(name: str, places: dict[str, str]) -> list[list[str]]:
    """The commands that a stage runs, with places of this machine for those of the image."""
    found = []
    for instruction, text in stage(name):
        if instruction == "RUN":
            for command in text.split(" && "):
                for written, real in places.items():
                    command = command.replace(written, real)  # noqa: PLW2901 - the same command
                found.append(shlex.split(command))
    return found


def test_the_steps_of_the_image_install_what_the_lock_names_and_a_command_that_runs(
    tmp_path: Path,
) -> None:
    """Wheels are made of copies, and installed with everything by its hash, as the image is."""
    places = {"/wheels": str(tmp_path / "wheels"), "/opt/ephemera": str(tmp_path / "environment")}
    for name in ("keys", "client", "issuer"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(DEPLOY / "requirements.lock", tmp_path)
    install, build = commands("wheels", places)
    assert install[2:] == (
        [
            "pip",
            "install",
            "--no-deps",
            "--require-hashes",
            "--requirement",
            "requirements-run.lock",
        ]
    )
    assert (ROOT / "requirements-run.lock").exists()
    # What builds them is in this environment already, by the same lock.
    steps = [build, *commands("environment", places)]
    for step in steps:
        assert step[0] == "python"
        done = subprocess.run(
            [sys.executable, *step[1:]],
            cwd=tmp_path,
            env=os.environ
            | {"PIP_NO_COMPILE": "1"},  # the image has it done; here it only takes time
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    environment = tmp_path / "environment"
    assert not (environment / "bin" / "pip").exists()
    python = environment / "bin" / "python"
    probe = "import psycopg, redis, ephemera_issuer.cli; print(ephemera_issuer.cli.__file__)"
    said = subprocess.run(
        [python, "-I", "-c", probe], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith(str(environment))
    helped = subprocess.run(
        [environment / "bin" / "ephemera", "serve", "--help"], capture_output=True, check=True
    )
    assert b"--workers" in helped.stdout


def test_the_image_has_the_versions_that_are_tested() -> None:
    def pins(name: str) -> dict[str, str]:
        found = re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE)
        return dict(found)

    image, tested = pins("deploy/requirements.lock"), pins("requirements.lock")
    assert image.items() <= tested.items()
    assert image.keys() >= {"uvicorn", "cryptography", "psycopg", "psycopg-binary", "redis"}
    assert not image.keys() & {"hatchling", "pytest", "editables"}
