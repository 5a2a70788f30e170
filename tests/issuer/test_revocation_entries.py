from __future__ import annotations

import pytest

from ephemera_issuer.issued import IssuedToken
from ephemera_issuer.revocation.entries import (
    CutOff,
    Revocation,
    Revocations,
    RevokedKey,
    RevokedToken,
    cut_off_moment,
    overdue,
)

NOW = 1_800_000_000.75
BILLING = "https://billing.internal"
LEDGER = "https://ledger.internal"
TOKEN = IssuedToken(
    kid="signing-1",
    issuer="https://tokens.internal",
    client_id="orders",
    audience=BILLING,
    scope="invoices:read",
    issued_at=int(NOW),
    expires_at=int(NOW) + 120,
    jti="token-1",
)
ENTRY = RevokedToken(TOKEN.jti, TOKEN.client_id, TOKEN.issued_at, TOKEN.expires_at)


def revocations(*entries: Revocation, now: float = NOW) -> Revocations:
    return Revocations.none("epoch").followed_by(entries, sequence=len(entries), now=now)


def test_nothing_is_revoked_in_the_beginning() -> None:
    held = Revocations.none("epoch")
    assert not held.revokes(TOKEN)
    assert held.unsettled("orders", BILLING, NOW) == 0


def test_a_token_is_revoked_by_its_id_alone() -> None:
    held = revocations(ENTRY)
    assert held.revokes(TOKEN)
    assert not held.revokes(TOKEN._replace(jti="token-2"))


def test_a_key_takes_along_all_that_it_signed() -> None:
    held = revocations(RevokedKey("signing-1"))
    assert held.revokes(TOKEN)
    assert not held.revokes(TOKEN._replace(kid="signing-2"))


@pytest.mark.parametrize("client", ["orders", None])
@pytest.mark.parametrize("audience", [BILLING, None])
def test_a_cut_off_takes_along_all_that_it_names(client: str | None, audience: str | None) -> None:
    assert revocations(CutOff(client, audience, int(NOW))).revokes(TOKEN)


@pytest.mark.parametrize(
    ("client", "audience"),
    [("shipping", None), (None, LEDGER), ("orders", LEDGER), ("shipping", BILLING)],
)
def test_a_cut_off_leaves_what_it_does_not_name(client: str | None, audience: str | None) -> None:
    assert not revocations(CutOff(client, audience, int(NOW))).revokes(TOKEN)


def test_a_cut_off_includes_its_own_second_and_ends_there() -> None:
    held = revocations(CutOff("orders", None, 1000), now=1000)
    assert held.revokes(TOKEN._replace(issued_at=1000))
    assert not held.revokes(TOKEN._replace(issued_at=1001))


def test_of_several_cut_offs_the_latest_counts() -> None:
    held = revocations(
        CutOff("orders", BILLING, int(NOW) - 9),
        CutOff(None, BILLING, int(NOW) - 3),
        CutOff("orders", None, int(NOW) - 6),
    )
    assert held.cut_off("orders", BILLING) == int(NOW) - 3
    assert held.cut_off("orders", LEDGER) == int(NOW) - 6
    assert held.cut_off("shipping", LEDGER) == 0


@pytest.mark.parametrize(
    ("committed_at", "moment"), [(1000.0, 1002), (1000.001, 1003), (1000.999, 1003)]
)
def test_the_moment_of_a_cut_off_is_two_seconds_on_and_rounded_up(
    committed_at: float, moment: int
) -> None:
    assert cut_off_moment(committed_at) == moment


@pytest.mark.parametrize(
    ("now", "seconds"),
    [(1000.0, 4), (1002.75, 2), (1003.0, 1), (1003.999, 1), (1004.0, 0), (2000.0, 0)],
)
def test_a_pair_settles_when_a_new_token_would_be_of_a_later_second(
    now: float, seconds: int
) -> None:
    held = revocations(CutOff("orders", BILLING, 1003), now=1000)
    assert held.unsettled("orders", BILLING, now) == seconds
    assert held.revokes(TOKEN._replace(issued_at=int(now))) is (seconds > 0)
    assert held.unsettled("orders", LEDGER, now) == 0
    assert held.unsettled("shipping", BILLING, now) == 0


def test_an_entry_outlives_what_it_revokes_by_sixty_seconds() -> None:
    assert not overdue(1000, 1060)
    assert overdue(1000, 1060.001)


def test_what_is_overdue_leaves_with_the_next_entry_and_keys_never_do() -> None:
    held = revocations(ENTRY, CutOff("orders", None, int(NOW) - 1), RevokedKey("signing-1"))
    another = RevokedToken("token-2", "shipping", int(NOW), int(NOW) + 99_999)

    def after(seconds: int) -> Revocations:
        return held.followed_by([another], sequence=4, now=int(NOW) + seconds)

    assert set(after(180).tokens) == {"token-1", "token-2"}
    assert set(after(181).tokens) == {"token-2"}
    assert set(after(959).cut_offs) == {("orders", None)}
    assert set(after(960).cut_offs) == set()
    assert after(99_000).kids == {"signing-1"}
    assert set(held.tokens) == {"token-1"}


def test_a_cut_off_is_kept_until_the_longest_token_that_it_covers_is_forgotten() -> None:
    # Minted in the second of the cut-off, for the longest time that there is.
    assert CutOff("orders", None, 1000).expires_at == 1000 + 900


def test_a_clients_cut_off_takes_the_place_of_the_tokens_that_it_covers() -> None:
    later = RevokedToken("token-2", "orders", int(NOW) + 9, int(NOW) + 100)
    others = RevokedToken("token-3", "shipping", int(NOW), int(NOW) + 100)
    held = revocations(ENTRY, later, others, CutOff("orders", None, int(NOW) + 3))
    assert set(held.tokens) == {"token-2", "token-3"}
    assert held.revokes(TOKEN)


@pytest.mark.parametrize(
    "narrower", [CutOff("orders", BILLING, int(NOW) + 3), CutOff(None, BILLING, int(NOW) + 3)]
)
def test_a_cut_off_that_knows_more_than_the_client_leaves_single_tokens(narrower: CutOff) -> None:
    assert set(revocations(ENTRY, narrower).tokens) == {"token-1"}


def test_a_token_revoked_after_its_clients_cut_off_stays_revoked() -> None:
    later = RevokedToken("token-2", "orders", int(NOW) + 9, int(NOW) + 100)
    held = revocations(CutOff("orders", None, int(NOW) + 3))
    held = held.followed_by([later], sequence=2, now=NOW + 9)
    assert held.revokes(TOKEN._replace(jti="token-2", issued_at=later.issued_at))
