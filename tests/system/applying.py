"""`ephemera apply` in a process of its own that tells how far it has come, to be killed.

As a script it reads attempts from standard input, a JSON object a line, and answers each likewise.
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import signal
import sys
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn
from unittest import mock

from ephemera_issuer.cli import main
from ephemera_issuer.database import Database
from ephemera_issuer.registry import application
from ephemera_issuer.registry.store import write_changes
from ephemera_keys import generate, public_jwk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from ephemera_issuer.registry.entries import Registry

ENTRIES = 40
_KEY = public_jwk(generate("ES256"), alg="ES256")


class Stage(IntEnum):
    """How far an apply has come, as a byte in memory that outlives the process."""

    READING = 0
    OPEN = 1  # the transaction has begun
    WRITTEN = 2  # every row is written, none is committed
    DONE = 3  # the transaction has ended


def declare(directory: Path, number: int) -> None:
    """Write a registry of three files whose every entry carries the number."""
    directory.mkdir(exist_ok=True)
    (directory / "keys.json").write_text(json.dumps({"keys": [{**_KEY, "kid": f"k{number}"}]}))
    (directory / "audiences.toml").write_text(
        "".join(
            f'[[audiences]]\nid = "https://api-{index}.internal"\nscopes = ["s{number}"]\n'
            for index in range(ENTRIES)
        )
    )
    (directory / "clients.toml").write_text(
        f'[[clients]]\nid = "secret-{number}"\nsecret = "generate"\n'
        + "".join(
            f'[[clients]]\nid = "client-{index}"\njwks_file = "keys.json"\n'
            for index in range(ENTRIES)
        )
    )
    (directory / "grants.toml").write_text(
        "".join(
            f'[[grants]]\nclient = "client-{index}"\naudience = "https://api-{index}.internal"\n'
            f'scopes = ["s{number}"]\n'
            for index in range(ENTRIES)
        )
    )


def number_of(held: Registry) -> int:
    """The one number that a whole registry carries; 0 for an empty one."""
    numbers = {next(iter(audience.scopes)) for audience in held.audiences.values()}
    if not numbers:
        assert not held.clients
        assert not held.grants
        return 0
    number = int(numbers.pop().removeprefix("s"))
    assert numbers == set()
    secret = held.clients[f"secret-{number}"]
    assert len(secret.secret_hashes) == 1
    keyed = [client for client in held.clients.values() if client is not secret]
    assert {key.key.kid for client in keyed for key in client.keys} == {f"k{number}"}
    assert {scope for grant in held.grants.values() for scope in grant.scopes} == {f"s{number}"}
    assert len(held.audiences) == len(keyed) == len(held.grants) == ENTRIES
    return number


def attempt(folder: Path, kill_at: int | None, kill_after: float) -> dict[str, Any]:
    """Fork an `ephemera apply registry --prune` in `folder`.

    So many seconds after it has come to the stage `kill_at`, if any, it is killed. Its status is 0
    where it ended by itself before that, or -9.
    """
    stage = mmap.mmap(-1, 1)  # shared with the child
    started = time.monotonic()
    child = os.fork()
    if not child:
        _apply(folder, stage)
    if kill_at is not None:
        while stage[0] < kill_at and not _ended(child):
            time.sleep(0.0005)
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - started
    return {
        "status": os.waitstatus_to_exitcode(status),
        "stage": stage[0],
        "seconds": seconds,
    }


def _ended(child: int) -> bool:
    """Look, and leave it to be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _apply(folder: Path, stage: mmap.mmap) -> NoReturn:
    status: str | int | None = 1
    try:
        os.chdir(folder)
        os.environ["EPHEMERA_DATABASE_URL"] = "sqlite:///ephemera.db"
        _watch(stage)
        with contextlib.redirect_stdout(io.StringIO()):
            main(["apply", "registry", "--prune", "--secrets-dir", "secrets"])
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        os._exit(status if isinstance(status, int) else 1)


def _watch(stage: mmap.mmap) -> None:
    write = Database.write

    @contextlib.contextmanager
    def watched(database: Database) -> Iterator[Connection]:
        with write(database) as connection:
            stage[0] = max(stage[0], Stage.OPEN)
            yield connection
        stage[0] = Stage.DONE if stage[0] >= Stage.WRITTEN else Stage.READING

    def watched_changes(*arguments: Any) -> int:
        version = write_changes(*arguments)
        stage[0] = Stage.WRITTEN
        return version

    mock.patch.object(Database, "write", watched).start()
    mock.patch.object(application, "write_changes", watched_changes).start()


if __name__ == "__main__":
    # Everything is imported by now, so that an attempt costs a fork.
    for line in sys.stdin:
        print(json.dumps(attempt(**json.loads(line))), flush=True)  # noqa: T201 - the answer
