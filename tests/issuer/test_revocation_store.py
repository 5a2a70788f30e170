from __future__ import annotations

import itertools
import multiprocessing
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from alembic import command
from issuer.fixtures_registry import new_database
from issuer.fixtures_revoking import BILLING, NOW, held, issued, revoke_many
from sqlalchemy import func, select

from ephemera_issuer.database import open_database
from ephemera_issuer.registry.tables import revocations, signing_keys
from ephemera_issuer.revocation.entries import MOST_TOKENS
from ephemera_issuer.revocation.store import cut_off, revoke_key, revoke_token

if TYPE_CHECKING:
    from pathlib import Path

    from ephemera_issuer.database import Database
    from ephemera_issuer.issued import IssuedToken
    from ephemera_issuer.revocation.entries import Revocations


def revoke(database: Database, *tokens: IssuedToken, now: float = NOW) -> None:
    with database.write() as connection:
        for token in tokens:
            revoke_token(connection, token, now=now)


def rows(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(revocations)).scalar_one())


def test_a_new_database_has_an_epoch_of_its_own_and_nothing_in_it(database: Database) -> None:
    with closing(open_database("sqlite://", create=True)) as other:
        first, second = held(database), held(other)
    assert (first.sequence, first.tokens, first.cut_offs, first.kids) == (0, {}, {}, frozenset())
    assert len(first.epoch) == len(second.epoch) == 22
    assert first.epoch != second.epoch


def test_an_older_database_begins_with_the_keys_that_it_has_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0002"))
        with closing(new_database(tmp_path)) as older, older.write() as connection:
            for kid, revoked_at in (("b", NOW), ("a", NOW + 1), ("c", None)):
                key = {"kid": kid, "alg": "ES256", "jwk": "{}", "state": "x", "published_at": NOW}
                connection.execute(signing_keys.insert().values(revoked_at=revoked_at, **key))
    with closing(new_database(tmp_path)) as database:
        whole = held(database)
        assert (whole.sequence, len(whole.epoch)) == (2, 22)
        assert whole.kids == {"a", "b"}
        revoke(database, issued("token-1"))
        assert held(database).sequence == 3


def test_a_restart_goes_on_in_the_same_epoch(url: str) -> None:
    with closing(open_database(url, create=True)) as database:
        revoke(database, issued("token-1"))
        before = held(database)
    with closing(open_database(url, create=True)) as database:
        assert held(database) == before


def test_what_is_entered_is_read_back(database: Database) -> None:
    revoke(database, issued("token-1"))
    with database.write() as connection:
        made = cut_off(connection, client="shipping", audience=BILLING, now=NOW)
        revoke_key(connection, "signing-0", now=NOW)
    after = held(database)
    assert after.sequence == 3
    assert after.revokes(issued("token-1"))
    assert not after.revokes(issued("token-2"))
    assert after.cut_offs == {("shipping", BILLING): made}
    assert made.moment == int(NOW) + 3
    assert after.kids == {"signing-0"}


def test_only_what_came_after_is_read(database: Database) -> None:
    revoke(database, issued("token-1"))
    before = held(database)
    assert held(database, before) is before
    with database.write() as connection:
        connection.execute(revocations.delete())
    revoke(database, issued("token-2"))
    after = held(database, before)
    assert set(after.tokens) == {"token-1", "token-2"}
    assert after.sequence == 2


def test_another_epoch_or_a_sequence_that_went_back_is_read_from_the_beginning(
    database: Database,
) -> None:
    revoke(database, issued("token-1"), issued("token-2"))
    before = held(database)
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM revocations WHERE sequence = 2")
        connection.exec_driver_sql("UPDATE state SET revocation_sequence = 1")
    assert set(held(database, before).tokens) == {"token-1"}
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE state SET epoch = 'another', revocation_sequence = 2")
    after = held(database, before)
    assert (after.epoch, set(after.tokens)) == ("another", {"token-1"})


@pytest.mark.parametrize(
    ("client", "audience"), [("orders", None), (None, BILLING), ("orders", BILLING), (None, None)]
)
def test_revoking_what_is_revoked_already_takes_no_number(
    database: Database, client: str | None, audience: str | None
) -> None:
    revoke(database, issued("token-1"), issued("token-1"))
    assert held(database).sequence == 1
    with database.write() as connection:
        cut_off(connection, client=client, audience=audience, now=NOW)
    revoke(database, issued("token-1"), issued("token-2"))
    assert held(database).sequence == 2
    revoke(database, issued("token-3", issued_at=int(NOW) + 4))
    assert held(database).sequence == 3


def test_a_token_of_a_revoked_key_needs_no_entry(database: Database) -> None:
    with database.write() as connection:
        revoke_key(connection, "signing-1", now=NOW)
    revoke(database, issued("token-1"))
    assert held(database).sequence == 1


def test_a_token_that_verifiers_with_leeway_may_still_accept_is_entered(
    database: Database,
) -> None:
    token = issued("token-1")
    revoke(database, token, now=token.expires_at + 60.5)
    assert rows(database) == 0
    revoke(database, token, now=token.expires_at + 60)
    assert rows(database) == 1


def test_what_is_overdue_leaves_the_database_with_the_next_entry(database: Database) -> None:
    revoke(database, issued("token-1"))
    with database.write() as connection:
        cut_off(connection, client="shipping", audience=None, now=NOW)
        revoke_key(connection, "signing-0", now=NOW)
    before = held(database)
    revoke(database, issued("token-2", issued_at=int(NOW) + 5000), now=NOW + 5000)
    assert rows(database) == 2
    whole = held(database, now=NOW + 5000)
    assert held(database, before, now=NOW + 5000) == whole
    assert (set(whole.tokens), whole.cut_offs) == ({"token-2"}, {})
    assert whole.kids == {"signing-0"}


def test_a_later_cut_off_takes_the_place_of_the_earlier_one_and_never_lies_before_it(
    database: Database,
) -> None:
    def moment(now: float) -> int:
        with database.write() as connection:
            return cut_off(connection, client="orders", audience=BILLING, now=now).moment

    assert moment(NOW) == int(NOW) + 3
    assert moment(NOW + 10) == int(NOW) + 13
    assert moment(NOW - 100) == int(NOW) + 13
    assert rows(database) == 1
    assert held(database).sequence == 3


@pytest.mark.parametrize("database", ["memory"], indirect=True)  # it takes thousands of statements
def test_more_than_a_thousand_tokens_of_a_client_become_one_cut_off(database: Database) -> None:
    tokens = [issued(f"token-{number}") for number in range(MOST_TOKENS + 1)]
    ahead = issued("of a clock that is ahead", issued_at=int(NOW) + 60)
    other = issued("of another client", client="shipping")
    revoke(database, other, ahead, *tokens[: MOST_TOKENS - 1])
    before = held(database)
    assert len(before.tokens) == MOST_TOKENS + 1
    assert before.cut_offs == {}
    assert before.unsettled("orders", BILLING, NOW) == 0

    revoke(database, tokens[MOST_TOKENS - 1])
    after = held(database, before)
    assert after == held(database)
    assert rows(database) == 3
    assert set(after.tokens) == {ahead.jti, other.jti}
    assert all(after.revokes(token) for token in (*tokens, ahead, other))
    assert after.unsettled("orders", BILLING, NOW) == 4
    assert after.unsettled("shipping", BILLING, NOW) == 0
    assert not after.revokes(issued("minted afterwards", issued_at=int(NOW) + 4))


@pytest.mark.parametrize("database", ["memory"], indirect=True)  # it takes thousands of statements
def test_tokens_that_are_forgotten_do_not_count_towards_a_cut_off(database: Database) -> None:
    revoke(database, *(issued(f"token-{number}") for number in range(MOST_TOKENS)))
    later = int(NOW) + 1000
    revoke(database, issued("later", issued_at=later), now=later)
    assert held(database, now=later).cut_offs == {}
    assert rows(database) == 1


def test_a_transaction_that_fails_takes_no_number(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            revoke_token(connection, issued("token-1"), now=NOW)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert (held(database).sequence, rows(database)) == (0, 0)


def test_whoever_reads_while_processes_race_misses_nothing(url: str) -> None:
    processes, each = 4, 40
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["issuer.fixtures_revoking"])
    with closing(open_database(url, create=True)) as database:
        together = context.Barrier(processes + 1)
        racers = [
            context.Process(target=revoke_many, args=(url, together, f"client-{number}", each))
            for number in range(processes)
        ]
        for racer in racers:
            racer.start()
        seen: list[Revocations] = [held(database)]
        together.wait()
        while any(racer.is_alive() for racer in racers):
            seen.append(held(database, seen[-1]))
        for racer in racers:
            racer.join()
            assert racer.exitcode == 0
            racer.close()
        seen.append(held(database, seen[-1]))
        assert seen[-1] == held(database)
        with database.read() as connection:
            numbers = connection.execute(select(revocations.c.sequence)).scalars().all()
    assert seen[-1].sequence == processes * (each + each // 10)
    assert len(seen[-1].tokens) == processes * each
    assert len(set(numbers)) == len(numbers) == processes * (each + 1)
    assert [one.sequence for one in seen] == sorted(one.sequence for one in seen)
    assert len({one.sequence for one in seen}) > processes
    for earlier, later in itertools.pairwise(seen):
        assert earlier.tokens.keys() <= later.tokens.keys()


def test_one_token_revoked_by_many_at_once_is_entered_once(url: str) -> None:
    racers = 8
    together = threading.Barrier(racers)
    with closing(open_database(url, create=True)) as database:

        def work() -> None:
            together.wait()
            revoke(database, issued("token-1"))

        threads = [threading.Thread(target=work) for _ in range(racers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (held(database).sequence, rows(database)) == (1, 1)
