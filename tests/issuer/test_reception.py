from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_tls import Pair
from issuer.test_connection import client, serving
from issuer.test_server import ask, connect

from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.reception import reception
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOM = """
import resource, sys
from ephemera_issuer.reception import room_for
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(room_for(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.fixture
def _as_many_files_as_before() -> Iterator[None]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "room"),
    [
        (800, 900, 300, "300 800 900"),
        (400, 900, 300, "300 556 900"),
        (400, 900, 800, "644 900 900"),
        (300, 300, 800, "150 300 300"),
    ],
)
def test_there_is_room_for_as_many_connections_as_files_may_be_open(
    soft: int, hard: int, wanted: int, room: str
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", _ROOM, str(soft), str(hard), str(wanted)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.splitlines()[-1] == room
    assert ("connections_limited" in told) is not room.startswith(f"{wanted} ")


@pytest.mark.usefixtures("_as_many_files_as_before")
def test_the_settings_are_the_reception(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "tls")
    made = reception(
        Settings(
            tls_cert_file=pair.cert,
            tls_key_file=pair.key,
            trusted_proxies="10.0.0.0/8",
            max_connections=100,
            max_connections_of_address=1000,
        )
    )
    assert (made.in_all, made.of_address) == (100, 100)
    assert made.certificate is not None
    assert made.proxies.trusts("10.1.2.3")
    plain = reception(Settings())
    assert plain.certificate is None
    assert not plain.proxies


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("tokens_burst", 99, "greater than or equal to 100"),
        ("tokens_per_second", 0, "greater than or equal to 1"),
        ("requests_per_second", "many", "a whole number"),
        ("failures_per_second", 0, "greater than or equal to 1"),
        ("max_connections", 15, "greater than or equal to 16"),
        ("max_connections_of_address", 0, "greater than or equal to 1"),
    ],
)
def test_a_limit_that_is_none_is_refused(setting: str, value: Any, says: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"EPHEMERA_{setting.upper()}: must be {says}"):
        Settings(**{setting: value})


def test_a_system_without_room_for_another_connection_gets_that_of_an_idle_one() -> None:
    with serving() as service, ExitStack() as stack:
        with client(service) as http:
            assert ask(http).status_code == 200
        # Beside those that it has there is room for two more.
        pid = service.process.pid
        number = max(int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (number + 3, number + 3))
        for _ in range(8):
            stack.enter_context(connect(service))
        with client(service, timeout=30) as http:
            assert ask(http).status_code == 200
        assert service.stop() == 0
        assert sum("connections_full" in line for line in service.output) == 1
        assert "Traceback" not in "".join(service.output)
