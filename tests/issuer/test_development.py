from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import write_keys
from structlog.testing import capture_logs

from ephemera_issuer.database import IN_MEMORY, open_database
from ephemera_issuer.development import following
from ephemera_issuer.errors import RegistryInvalid
from ephemera_issuer.registry.store import read_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ephemera_issuer.database import Database

AUDIENCE = '[[audiences]]\nid = "https://{}.internal"\nscopes = ["read"]\n'
CLIENT = '[[clients]]\nid = "orders"\nsecret = "generate"\n'
BILLING, LEDGER = AUDIENCE.format("billing"), AUDIENCE.format("ledger")


@pytest.fixture
def database() -> Iterator[Database]:
    with contextlib.closing(open_database(IN_MEMORY, create=True)) as database:
        yield database


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "registry.toml"
    file.write_text(BILLING)
    return file


def audiences(database: Database) -> set[str]:
    with database.read() as connection:
        return set(read_registry(connection).audiences)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def replace(file: Path, text: str) -> None:
    """Save as an editor does: a reader sees the old text or the new one."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def test_the_registry_follows_its_file(file: Path, database: Database) -> None:
    with capture_logs(), following(file, database, secrets_dir=file.parent / "secrets"):
        assert audiences(database) == {"https://billing.internal"}
        replace(file, LEDGER)
        until(lambda: audiences(database) == {"https://ledger.internal"})


def test_a_file_that_is_wrong_or_gone_is_logged_and_changes_nothing(
    file: Path, database: Database
) -> None:
    with capture_logs() as log, following(file, database, secrets_dir=file.parent / "secrets"):

        def complained() -> bool:
            return any(entry["event"] == "registry_not_applied" for entry in log)

        replace(file, "[[audience]]\n")
        until(complained)
        log.clear()
        file.unlink()
        until(complained)
        assert audiences(database) == {"https://billing.internal"}
        replace(file, LEDGER)
        until(lambda: audiences(database) == {"https://ledger.internal"})


def test_a_clients_keys_are_followed_too(file: Path, database: Database) -> None:
    keys = file.with_name("orders.jwks.json")

    def kids() -> list[str]:
        with database.read() as connection:
            clients = read_registry(connection).clients
        return [key.key.kid for client in clients.values() for key in client.keys]

    with capture_logs() as log, following(file, database, secrets_dir=file.parent / "secrets"):
        replace(file, '[[clients]]\nid = "orders"\njwks_file = "orders.jwks.json"\n')
        until(lambda: any(entry["event"] == "registry_not_applied" for entry in log))
        for kid in ("k1", "k2"):
            write_keys(keys.with_suffix(".new"), kid).replace(keys)
            until(lambda kid=kid: kids() == [kid])  # type: ignore[misc]


def test_a_file_that_is_wrong_from_the_start_is_refused(file: Path, database: Database) -> None:
    file.write_text("[[audience]]\n")
    with (
        pytest.raises(RegistryInvalid, match="audience"),
        following(file, database, secrets_dir=file.parent / "secrets"),
    ):
        pass


def test_where_a_secret_was_put_is_logged_and_the_secret_is_not(
    file: Path, database: Database
) -> None:
    replace(file, CLIENT)
    secrets = file.parent / "secrets"
    with capture_logs() as log, following(file, database, secrets_dir=secrets):
        pass
    (written,) = [entry for entry in log if entry["event"] == "secret_written"]
    assert written["client"] == "orders"
    assert written["file"] == str(secrets / "orders.secret")
    assert (secrets / "orders.secret").read_text() not in str(log)
