from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import (
    BILLING,
    WHOLE,
    WITH_KEYS,
    apply_text,
    new_database,
    number_of,
    numbered,
    stored,
    write_keys,
)
from sqlalchemy import select, update

from ephemera_issuer.database import open_database
from ephemera_issuer.errors import DatabaseUnusable
from ephemera_issuer.registry.store import read_registry
from ephemera_issuer.registry.tables import clients

if TYPE_CHECKING:
    from pathlib import Path

    from ephemera_issuer.database import Database


def test_a_new_registry_is_empty(database: Database) -> None:
    held = stored(database)
    assert (held.audiences, held.clients, held.grants, held.version) == ({}, {}, {}, 0)


def test_what_is_written_is_read_back(database: Database, tmp_path: Path) -> None:
    applied = apply_text(database, tmp_path, WHOLE)
    held = stored(database)
    assert applied.version == held.version == 1
    assert {change.entry for change in applied.changes} == {
        *held.audiences.values(),
        *held.clients.values(),
        *held.grants.values(),
    }


def test_keys_where_they_are_and_who_introspects_are_read_back(
    database: Database, tmp_path: Path
) -> None:
    write_keys(tmp_path / "orders.jwks.json", "k1", "k2")
    text = (
        WITH_KEYS.replace('max_lifetime = "5m"', 'introspected_by = ["orders", "gateway"]').replace(
            "[[audiences]]", '[[audiences]]\ndpop = "required"'
        )
        + '[[clients]]\nid = "gateway"\njwks_uri = "https://gateway.internal/jwks.json"'
    )
    applied = apply_text(database, tmp_path, text)
    held = stored(database)
    assert {change.entry for change in applied.changes} == {
        *held.audiences.values(),
        *held.clients.values(),
        *held.grants.values(),
    }
    assert [key.key.kid for key in held.clients["orders"].keys] == ["k1", "k2"]
    assert held.clients["gateway"].jwks_uri == "https://gateway.internal/jwks.json"
    assert held.audiences[BILLING].introspected_by == {"orders", "gateway"}
    assert held.audiences[BILLING].dpop_required
    assert apply_text(database, tmp_path, text, prune=True).changes == ()


def test_a_damaged_credential_is_an_error_of_ours(database: Database, tmp_path: Path) -> None:
    apply_text(database, tmp_path, WHOLE)
    for damaged in ({"jwks": '{"kty":"EC"}'}, {"jwks": "{"}, {"jwks": "", "secret_hashes": "no"}):
        with database.write() as connection:
            connection.execute(update(clients).values(**damaged))
        with pytest.raises(DatabaseUnusable, match="client orders has a damaged credential"):
            stored(database)


def test_an_unchanged_registry_is_not_read_again(database: Database, tmp_path: Path) -> None:
    apply_text(database, tmp_path, WHOLE)
    held = stored(database)
    assert stored(database, held) is held


def test_only_what_changed_is_loaded(database: Database, tmp_path: Path) -> None:
    apply_text(database, tmp_path, WHOLE)
    before = stored(database)
    apply_text(database, tmp_path, WHOLE.replace('"5m"', '"2m"'))
    after = stored(database, before)
    assert after.audiences[BILLING].max_lifetime == 120
    assert after.clients["orders"] is before.clients["orders"]
    assert after == stored(database)


def test_a_removal_is_followed_and_a_return_is_too(database: Database, tmp_path: Path) -> None:
    apply_text(database, tmp_path, numbered(1), prune=True)
    first = stored(database)
    apply_text(database, tmp_path, numbered(2), prune=True)
    second = stored(database, first)
    assert number_of(second) == 2
    assert second == stored(database)
    (tmp_path / "secrets" / "c1.secret").unlink()
    apply_text(database, tmp_path, numbered(1), prune=True)
    assert number_of(stored(database, second)) == 1
    assert stored(database, first) == stored(database)


def test_a_removed_client_leaves_no_credential_behind(database: Database, tmp_path: Path) -> None:
    write_keys(tmp_path / "orders.jwks.json", "k1")
    both = WITH_KEYS.replace("jwks_file", 'secret = "generate"\njwks_file')
    apply_text(database, tmp_path, both)
    apply_text(database, tmp_path, numbered(2), prune=True)
    with database.read() as connection:
        columns = select(clients.c.secret_hashes, clients.c.jwks, clients.c.jwks_uri)
        (row,) = connection.execute(columns.filter_by(id="orders"))
    assert tuple(row) == ("", "", None)


def test_a_database_that_went_back_is_read_whole(url: str, tmp_path: Path) -> None:
    with closing(open_database(url, create=True)) as older:
        apply_text(older, tmp_path, numbered(1))
        newer = tmp_path / "newer"
        newer.mkdir()
        with closing(new_database(newer)) as other:
            for number in (7, 8):
                apply_text(other, newer, numbered(number), prune=True)
            known = stored(other)
        assert number_of(stored(older, known)) == 1


def test_a_reader_sees_whole_versions_while_another_writes(url: str, tmp_path: Path) -> None:
    rounds = 25
    with (
        closing(open_database(url, create=True)) as writer,
        closing(open_database(url, create=True)) as reader,
    ):
        apply_text(writer, tmp_path, numbered(1), prune=True)
        held = stored(reader)

        def write() -> None:
            for number in range(2, rounds + 1):
                apply_text(writer, tmp_path, numbered(number), prune=True)

        thread = threading.Thread(target=write)
        thread.start()
        while thread.is_alive():
            held = stored(reader, held)
            assert number_of(held) == held.version
        thread.join()
        assert number_of(stored(reader, held)) == rounds


def test_a_transaction_keeps_seeing_the_moment_of_its_first_read(url: str, tmp_path: Path) -> None:
    with (
        closing(open_database(url, create=True)) as writer,
        closing(open_database(url, create=True)) as reader,
    ):
        apply_text(writer, tmp_path, numbered(1), prune=True)
        with reader.read() as connection:
            before = read_registry(connection)
            apply_text(writer, tmp_path, numbered(2), prune=True)
            assert read_registry(connection) == before
        assert number_of(stored(reader)) == 2
