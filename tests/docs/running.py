"""Run what pages say: Python samples in this process, commands in a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from starlette.types import ASGIApp


# Where the commands of pages listen, by a word in each.
_PORTS = {"uvicorn": "API_PORT", "tls_in_front": "TLS_PORT", "ephemera serve": "ISSUER_PORT"}


def without_settings() -> dict[str, str]:
    """The environment, without any setting of ours."""
    return {name: value for name, value in os.environ.items() if "EPHEMERA" not in name}


@contextmanager
def serving(app: ASGIApp, door: socket.socket) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def run(sample: str, names: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    """Run a sample of a page with the addresses of this test for those of the page."""
    for written, real in places.items():
        sample = sample.replace(written, real)
    exec(compile(sample, "<page>", "exec"), names)  # noqa: S102 - our own pages
    return names


def with_curl(folder: Path) -> str:
    """A PATH on which there is a curl: a stand-in for `curl -H @- URL` on a machine without."""
    path = os.environ["PATH"]
    if shutil.which("curl"):
        return path
    stand_in = folder / "bin" / "curl"
    stand_in.parent.mkdir(exist_ok=True)
    stand_in.write_text(
        f"#!{sys.executable}\n"
        "import sys, urllib.request\n"
        "assert sys.argv[1:3] == ['-H', '@-']\n"
        "name, _, value = sys.stdin.read().strip().partition(': ')\n"
        "request = urllib.request.Request(sys.argv[3], headers={name: value})\n"
        "print(urllib.request.urlopen(request).read().decode(), end='')\n"
    )
    stand_in.chmod(0o755)
    return f"{stand_in.parent}:{path}"


def shell(
    commands: str, folder: Path, environment: dict[str, str], *, programs: Path | None = None
) -> tuple[int, str, str]:
    """Run a page's commands; what it starts in the background listens before the next runs.

    Programs in the folder `programs` come before all others.
    """
    path = [*filter(None, [programs]), with_pip(folder), with_curl(folder)]
    script = [
        "set -euo pipefail",
        "trap 'jobs -p | xargs -r kill; wait' EXIT",
        "listening() { for _ in $(seq 600); do connects $1 && return; sleep 0.05; done; exit 9; }",
        "connects() { (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null; }",
    ]
    for line in commands.splitlines():
        if line.endswith(" &"):
            port = environment[next(name for word, name in _PORTS.items() if word in line)]
            script.append(f"{line.removesuffix(' &')} >>background.log 2>&1 &\nlistening {port}")
        else:
            script.append(line)
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env=environment | {"PATH": ":".join(map(str, path))},
        capture_output=True,
        text=True,
        check=False,
    )
    log = folder / "background.log"
    background = log.read_text() if log.exists() else ""
    return done.returncode, done.stdout, done.stderr + background


def with_pip(folder: Path) -> str:
    """A folder for PATH whose pip installs only what is here already: this project's own."""
    stand_in = folder / "pip-stand-in" / "pip"
    if not stand_in.exists():
        stand_in.parent.mkdir()
        stand_in.write_text(
            f"#!{sys.executable}\n"
            "import sys\n"
            "from importlib.metadata import distribution\n"
            "assert sys.argv[1] == 'install'\n"
            "for name in sys.argv[2:]: distribution(name)\n"
        )
        stand_in.chmod(0o755)
    return f"{stand_in.parent}:{Path(sys.executable).parent}"
