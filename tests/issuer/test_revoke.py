"""`ephemera revoke`, and what `ephemera explain` says of a client that was cut off."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from ephemera_client import instant
from ephemera_issuer.database import open_database
from ephemera_issuer.issued import IssuedToken
from ephemera_issuer.revocation import store
from ephemera_issuer.revocation.entries import CutOff, Revocations, RevokedToken
from ephemera_issuer.revocation.store import read_revocations, revoke_jti, revoke_token
from ephemera_issuer.settings import Settings
from ephemera_issuer.snapshot import open_keeper

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_commands import Run

    from ephemera_issuer.snapshot import Snapshot

BILLING = "https://billing.internal"
ISSUER = "http://127.0.0.1:8700"
EXPLAIN = ("explain", "--client", "orders", "--audience", BILLING)


def revocations() -> Revocations:
    """What the command has written."""
    with (
        closing(open_database("sqlite:///ephemera.db", create=False)) as database,
        database.read() as connection,
    ):
        return read_revocations(connection, now=time.time())


def taken() -> Snapshot:
    """What an issuer serves from this database."""
    with closing(open_keeper(Settings(), issuer=ISSUER, clock=instant.read)) as keeper:
        return keeper.refresh()


def seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())


def ago(count: float) -> str:
    return datetime.fromtimestamp(time.time() - count, UTC).isoformat()


def test_one_token_is_revoked_by_its_jti_for_as_long_as_any_token_lives(applied: Run) -> None:
    before = int(time.time())
    said = applied.json("revoke", "--jti", "N7cDRnOyrhLGvCnDrTfm3g")
    (entry,) = revocations().tokens.values()
    assert (entry.jti, entry.client) == ("N7cDRnOyrhLGvCnDrTfm3g", None)
    assert said == {"jti": entry.jti, "expires_at": said["expires_at"]}
    assert seconds(said["expires_at"]) == entry.expires_at
    assert before + 930 <= entry.expires_at <= time.time() + 932


def test_a_token_that_is_revoked_already_is_left_as_it_is(applied: Run) -> None:
    first = applied.json("revoke", "--jti", "one")
    assert applied.json("revoke", "--jti", "one") == first
    assert revocations().sequence == 1


def test_a_token_known_by_its_jti_alone_outlives_its_clients_cut_off(applied: Run) -> None:
    applied("revoke", "--jti", "one")
    applied("revoke", "--client", "orders")
    assert set(revocations().tokens) == {"one"}


@pytest.mark.parametrize(
    ("options", "pair", "whose"),
    [
        (("--client", "orders"), ("orders", None), "of orders"),
        (("--audience", BILLING), (None, BILLING), f"for {BILLING}"),
        (
            ("--client", "orders", "--audience", BILLING),
            ("orders", BILLING),
            f"of orders for {BILLING}",
        ),
    ],
)
def test_a_client_an_audience_or_the_one_for_the_other_is_cut_off(
    applied: Run, options: tuple[str, ...], pair: tuple[str, str], whose: str
) -> None:
    before = time.time()
    out, _ = applied("revoke", *options)
    entry = revocations().cut_offs[pair]
    assert before + 2 <= entry.moment <= time.time() + 3
    assert out.startswith(f"All tokens {whose} minted up to ")
    assert "503" in out


def test_what_was_issued_before_a_moment_is_revoked_and_the_mint_goes_on(applied: Run) -> None:
    until = ago(60)
    said = applied.json("revoke", "--client", "orders", "--issued-before", until)
    entry = revocations().cut_offs["orders", None]
    moment = datetime.fromisoformat(until).timestamp()
    # The last whole second before it.
    assert moment - 1 <= entry.moment < moment
    assert seconds(said["cut_off"]) == entry.moment
    assert said["audience"] is None
    assert revocations().unsettled("orders", BILLING, time.time()) == 0
    assert applied.json(*EXPLAIN)["granted"]
    out, _ = applied("revoke", "--client", "orders", "--issued-before", until)
    assert "503" not in out


def test_an_earlier_moment_takes_nothing_back(applied: Run) -> None:
    applied("revoke", "--client", "orders")
    before = revocations().cut_offs
    applied("revoke", "--client", "orders", "--issued-before", ago(60))
    assert revocations().cut_offs == before


@pytest.mark.parametrize(
    ("until", "status", "words"),
    [
        ("2096-01-31T12:00:00Z", 1, "lies ahead"),
        ("2026-01-31T12:00:00Z", 1, "has expired"),
        ("2026-01-31T12:00:00", 2, "with its zone"),
        ("yesterday", 2, "with its zone"),
    ],
)
def test_a_moment_that_makes_no_sense_is_refused(
    applied: Run, until: str, status: int, words: str
) -> None:
    _, err = applied("revoke", "--client", "orders", "--issued-before", until, status=status)
    assert words in " ".join(err.replace("│", " ").split())
    assert revocations().sequence == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--client", "order"), "there is no client order; did you mean orders?"),
        (
            ("--audience", f"{BILLING}x"),
            f"there is no audience {BILLING}x; did you mean {BILLING}?",
        ),
        (("--client", "orders", "--audience", "x"), "there is no audience x"),
        (("--jti", ""), "printable"),
        (("--jti", "a\nb"), "printable"),
        (("--jti", "x" * 257), "256"),
    ],
)
def test_what_there_is_not_is_refused(applied: Run, options: tuple[str, ...], words: str) -> None:
    _, err = applied("revoke", *options, status=1)
    assert words in err
    assert revocations().sequence == 0


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--jti", "one", "--client", "orders"),
        ("--key", "k", "--audience", BILLING),
        ("--jti", "one", "--key", "k"),
        ("--jti", "one", "--issued-before", "2026-01-31T12:00:00Z"),
        ("--issued-before", "2026-01-31T12:00:00Z"),
    ],
)
def test_one_thing_is_named_and_no_more(applied: Run, options: tuple[str, ...]) -> None:
    applied("revoke", *options, status=2)
    assert revocations().sequence == 0


def test_a_client_that_was_removed_can_still_be_cut_off(applied: Run, directory: Path) -> None:
    (directory / "registry.toml").write_text(f'[[audiences]]\nid = "{BILLING}"\nscopes = ["a"]\n')
    (directory / "empty").mkdir()
    (directory / "registry.toml").rename(directory / "empty" / "registry.toml")
    applied("apply", "empty", "--prune", "--secrets-dir", "secrets")
    applied("revoke", "--client", "orders")
    assert set(revocations().cut_offs) == {("orders", None)}


def test_a_key_is_revoked_in_the_ring_and_in_the_feed(applied: Run) -> None:
    before = taken().ring
    said = applied.json("revoke", "--key", before.active.kid)
    after = taken().ring
    assert said == {
        "kid": before.active.kid,
        "active": before.pending.kid,
        "pending": after.pending.kid,
    }
    assert revocations().kids == {before.active.kid}
    out, _ = applied("revoke", "--key", after.pending.kid)
    assert out.startswith(f"The key {after.pending.kid} is revoked, for good")
    _, err = applied("revoke", "--key", "no-such-key", status=1)
    assert "no-such-key" in err


def test_explain_says_that_a_client_that_was_just_cut_off_gets_its_token_later(
    applied: Run,
) -> None:
    applied("revoke", "--client", "orders")
    said = applied.json(*EXPLAIN, status=3)
    assert (said["granted"], said["rule"]) == (False, "cut_off")
    assert said["error"] == "temporarily_unavailable"
    assert "was revoked" in said["because"]
    out, _ = applied(*EXPLAIN, status=3)
    assert "gets no token" in out


def test_over_the_bound_of_all_clients_a_client_that_revokes_one_more_is_cut_off(
    applied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert applied
    monkeypatch.setattr(store, "MOST_TOKENS_IN_ALL", 3)
    now = time.time()
    with closing(open_database("sqlite:///ephemera.db", create=False)) as database:
        for number in range(3):
            with database.write() as connection:
                revoke_jti(connection, f"token-{number}", now=now)
        token = IssuedToken(
            "k", ISSUER, "orders", BILLING, "invoices:read", int(now), int(now) + 120, "one more"
        )
        with database.write() as connection:
            revoke_token(connection, token, now=now)
    held = revocations()
    assert set(held.cut_offs) == {("orders", None)}
    assert set(held.tokens) == {"token-0", "token-1", "token-2"}
    assert held.revokes(token)


def test_entries_know_by_which_number_they_had_come() -> None:
    first = RevokedToken("one", "orders", 1000, 1120)
    held = Revocations.none("epoch").followed_by([first], sequence=4, now=1000)
    held = held.followed_by([CutOff("shipping", None, 1002)], sequence=5, now=1000)
    assert held.after(0, now=1000) == [first, CutOff("shipping", None, 1002)]
    assert held.after(3, now=1000) == held.after(0, now=1000)
    assert held.after(4, now=1000) == [CutOff("shipping", None, 1002)]
    assert held.after(5, now=1000) == []
    assert held.after(0, now=1181) == [CutOff("shipping", None, 1002)]
