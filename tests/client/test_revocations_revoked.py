"""What is revoked, and what a document of the feed says of it."""

import json
from typing import Any

import pytest
from client.fixtures_feeding import cut_off, document, jti, kid
from client.fixtures_verifying import AUDIENCE, NOW

from ephemera_client.revocations.document import FeedInvalid, parse
from ephemera_client.revocations.revoked import NOTHING, Revoked

TOKEN: dict[str, Any] = {
    "kid": "signing-1",
    "client": "orders",
    "audience": AUDIENCE,
    "issued_at": NOW,
    "expires_at": NOW + 120,
    "token_id": "one",
}


def revoked(*entries: dict[str, Any]) -> Revoked:
    return parse(document(*entries), max_entries=100).revoked


def test_nothing_is_revoked_by_nothing_and_nothing_need_be_asked() -> None:
    assert not NOTHING.revokes(**TOKEN)
    assert not NOTHING.any
    assert not revoked().any


@pytest.mark.parametrize(
    ("entry", "other"),
    [
        (jti("one"), jti("two")),
        (kid("signing-1"), kid("signing-2")),
        (cut_off(client="orders"), cut_off(client="shipping")),
        (cut_off(audience=AUDIENCE), cut_off(audience="https://ledger.internal")),
        (
            cut_off(client="orders", audience=AUDIENCE),
            cut_off(client="orders", audience="https://ledger.internal"),
        ),
        (cut_off(), cut_off(NOW - 1)),
    ],
)
def test_an_entry_revokes_what_it_names_and_nothing_else(
    entry: dict[str, Any], other: dict[str, Any]
) -> None:
    assert revoked(entry).revokes(**TOKEN)
    assert not revoked(other).revokes(**TOKEN)


def test_a_cut_off_includes_its_own_second_and_the_latest_counts() -> None:
    held = revoked(cut_off(NOW - 9, client="orders"), cut_off(NOW, audience=AUDIENCE))
    assert held.revokes(**TOKEN)
    assert not held.revokes(**TOKEN | {"issued_at": NOW + 1})


def test_later_entries_are_added_and_an_earlier_cut_off_never_replaces_a_later_one() -> None:
    held = revoked(cut_off(NOW, client="orders"), jti("one"), kid("signing-1"))
    joined = held.joined(revoked(cut_off(NOW - 9, client="orders"), jti("two")), now=NOW)
    assert joined.cut_offs == {("orders", None): (NOW, NOW + 900)}
    assert set(joined.tokens) == {"one", "two"}
    assert joined.kids == {"signing-1"}
    assert len(joined) == 4


def test_an_entry_leaves_sixty_seconds_after_what_it_revokes_and_keys_never_do() -> None:
    held = revoked(jti("one"), cut_off(NOW, client="orders"), kid("signing-1"))
    assert set(held.joined(NOTHING, now=NOW + 180).tokens) == {"one"}
    assert set(held.joined(NOTHING, now=NOW + 180.1).tokens) == set()
    assert held.joined(NOTHING, now=NOW + 960).cut_offs
    assert not held.joined(NOTHING, now=NOW + 960.1).cut_offs
    assert held.joined(NOTHING, now=NOW + 99_999).kids == {"signing-1"}


def test_a_clock_set_back_revives_nothing() -> None:
    held = revoked(jti("one")).joined(NOTHING, now=NOW + 200)
    assert not held.tokens
    assert held.any
    assert held.revokes(**TOKEN)
    assert not held.revokes(**TOKEN | {"token_id": "two", "expires_at": NOW + 121})


def test_a_document_says_where_in_which_sequence_it_is() -> None:
    read = parse(document(jti("one"), sequence=7, after=6), max_entries=1)
    assert (read.epoch, read.sequence, read.after) == ("one", 7, 6)
    assert read.revoked.tokens == {"one": NOW + 120}


def test_what_a_later_issuer_says_beside_the_entries_is_passed_over() -> None:
    assert len(parse(document(jti("one"), more={"of": "it"}), max_entries=1).revoked) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>captive portal</html>",
        document(jti("one"))[:-1],
        document(jti("one")) * 2,
        document(jti("one")).replace(b'"exp"', b'"exp": 1, "exp"'),
        document(epoch=""),
        document(epoch=None),
        document(epoch="x" * 1025),
        document(sequence=-1),
        document(sequence=True),
        document(sequence=1.0),
        document(sequence="1"),
        document(sequence=2**53),
        document(after=1),
        document(after=None),
        document(entries=None),
        document(entries={}),
        document(*[jti(str(number)) for number in range(101)]),
        b'{"epoch": "one", "sequence": NaN, "after": 0, "entries": []}',
    ],
)
def test_what_is_no_document_of_the_feed_is_refused(body: bytes) -> None:
    with pytest.raises(FeedInvalid):
        parse(body, max_entries=100)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "one",
        ["jti", "exp"],
        {},
        {"jti": "one"},
        {"jti": "", "exp": NOW},
        {"jti": 1, "exp": NOW},
        {"jti": "one", "exp": str(NOW)},
        {"jti": "one", "exp": NOW + 0.5},
        {"jti": "one", "exp": True},
        {"jti": "one", "exp": NOW, "client": "orders"},
        {"kid": ""},
        {"kid": "k", "exp": NOW},
        {"cut_off": NOW},
        {"exp": NOW},
        {"client": "orders", "exp": NOW},
        {"client": None, "cut_off": NOW, "exp": NOW},
        {"client": "orders", "cut_off": -1, "exp": NOW},
        {"client": "orders", "cut_off": NOW, "exp": NOW, "scope": "invoices:read"},
        {"family": "one", "exp": NOW},
    ],
)
def test_an_entry_that_is_not_understood_makes_the_whole_document_unusable(entry: Any) -> None:
    body = json.dumps({"epoch": "one", "sequence": 2, "after": 0, "entries": [jti("a"), entry]})
    with pytest.raises(FeedInvalid) as caught:
        parse(body.encode(), max_entries=100)
    assert "orders" not in str(caught.value)
