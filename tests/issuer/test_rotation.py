from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, update

from ephemera_issuer.database import open_database
from ephemera_issuer.errors import (
    DatabaseUnusable,
    KeysConflict,
    SealingKeyProblem,
    SettingsInvalid,
)
from ephemera_issuer.registry.tables import signing_keys
from ephemera_issuer.revocation.store import read_revocations
from ephemera_issuer.rotation import SigningKeys, StoredRing, read_ring
from ephemera_keys import (
    RotationRefused,
    SealingKey,
    SealingKeys,
    Signer,
    UnknownKid,
    jwks,
)

if TYPE_CHECKING:
    from ephemera_issuer.database import Database

ISSUER = "https://tokens.internal"
NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def keys(database: Database) -> SigningKeys:
    sealing_keys = SealingKeys([SealingKey.generate()])
    made = SigningKeys(database=database, sealing_keys=sealing_keys, issuer=ISSUER)
    made.make_first("ES256", now=NOW)
    return made


def stored(keys: SigningKeys) -> StoredRing:
    with keys.database.read() as connection:
        ring = read_ring(connection)
    assert ring is not None
    return ring


def signer(keys: SigningKeys) -> Signer:
    with keys.database.read() as connection:
        ring = read_ring(connection)
        assert ring is not None
        return keys.read_signer(connection, ring)


def test_before_the_first_start_there_is_no_ring() -> None:
    with closing(open_database("sqlite://", create=True)) as database:
        with database.read() as connection:
            assert read_ring(connection) is None
        keys = SigningKeys(
            database=database, sealing_keys=SealingKeys([SealingKey.generate()]), issuer=ISSUER
        )
        with pytest.raises(DatabaseUnusable, match="no signing keys yet"):
            keys.rotate("ES256", now=NOW, emergency=True)


def test_the_first_start_makes_an_active_and_a_pending_key(keys: SigningKeys) -> None:
    ring, version, issuer = stored(keys)
    assert (version, issuer) == (1, ISSUER)
    assert ring.active.published_at == ring.pending.published_at == NOW
    assert signer(keys).kid == ring.active.kid


def test_a_second_start_makes_nothing(keys: SigningKeys) -> None:
    before = stored(keys)
    keys.make_first("RS256", now=NOW + DAY)
    assert stored(keys) == before


def test_a_rotation_signs_with_the_pending_key_and_publishes_another(keys: SigningKeys) -> None:
    before = stored(keys)
    returned = keys.rotate("ES256", now=NOW + DAY, emergency=False)
    after = stored(keys)
    assert returned == after.ring
    assert after.version == before.version + 1
    assert after.ring.active.kid == before.ring.pending.kid == signer(keys).kid
    assert [key.kid for key in after.ring.retired] == [before.ring.active.kid]
    assert len(after.ring.records) == 3


def test_a_rotation_too_early_is_refused_and_writes_nothing(keys: SigningKeys) -> None:
    before = stored(keys)
    with pytest.raises(RotationRefused) as caught:
        keys.rotate("ES256", now=NOW + 899, emergency=False)
    assert caught.value.earliest == NOW + 900
    assert stored(keys) == before
    keys.rotate("ES256", now=NOW + 899, emergency=True)
    assert stored(keys).ring.active.kid == before.ring.pending.kid


def test_only_the_active_and_the_pending_key_keep_their_private_half(keys: SigningKeys) -> None:
    for day in (1, 2):
        keys.rotate("ES256", now=NOW + day * DAY, emergency=False)
    keys.revoke(stored(keys).ring.pending.kid, "ES256", now=NOW + 2 * DAY)
    with keys.database.read() as connection:
        rows = connection.execute(select(signing_keys)).all()
    assert {row.state: row.sealed is not None for row in rows} == {
        "active": True,
        "pending": True,
        "retired": False,
        "revoked": False,
    }


def test_overdue_keys_leave_the_database_when_they_are_named(keys: SigningKeys) -> None:
    first = stored(keys).ring.active.kid
    keys.rotate("ES256", now=NOW + DAY, emergency=False)
    keys.rotate("ES256", now=NOW + DAY + 901, emergency=False)
    keys.rotate("ES256", now=NOW + 3 * DAY, emergency=False)
    second = stored(keys).ring.retired[1].kid
    later = NOW + 3 * DAY + 1
    before = stored(keys)
    assert keys.remove_overdue(now=later, among=[]) == frozenset()
    assert keys.remove_overdue(now=NOW + DAY + 1259, among=[first, second]) == frozenset()
    assert stored(keys).version == before.version
    assert keys.remove_overdue(now=later, among=[first]) == {first}
    after = stored(keys)
    assert after.version == before.version + 1
    assert [record.kid for record in before.ring.records if record.kid != first] == [
        record.kid for record in after.ring.records
    ]
    assert second in {record.kid for record in after.ring.retired}


def test_the_revoked_active_key_is_followed_by_the_pending_one(keys: SigningKeys) -> None:
    before = stored(keys).ring
    keys.revoke(before.active.kid, "ES256", now=NOW + 1)
    after = stored(keys).ring
    assert after.active.kid == before.pending.kid == signer(keys).kid
    assert [record.kid for record in after.revoked] == [before.active.kid]
    assert before.active.kid.encode() not in jwks.document(after)


def test_revoking_again_changes_nothing_and_an_unknown_key_is_told(keys: SigningKeys) -> None:
    kid = stored(keys).ring.active.kid
    keys.revoke(kid, "ES256", now=NOW + 1)
    before = stored(keys)
    keys.revoke(kid, "ES256", now=NOW + 2)
    assert stored(keys) == before
    with pytest.raises(UnknownKid):
        keys.revoke("unheard-of", "ES256", now=NOW + 3)


def test_a_revoked_key_is_entered_among_the_revocations_once(keys: SigningKeys) -> None:
    kid = stored(keys).ring.active.kid
    for later in (1, 2):
        keys.revoke(kid, "ES256", now=NOW + later)
    with keys.database.read() as connection:
        revocations = read_revocations(connection, now=NOW + 3)
    assert revocations.sequence == 1
    assert revocations.kids == {kid}


def test_another_algorithm_is_published_by_one_rotation_and_signs_from_the_next(
    keys: SigningKeys,
) -> None:
    keys.rotate("EdDSA", now=NOW + DAY, emergency=False)
    assert signer(keys).alg == "ES256"
    assert stored(keys).ring.pending.alg == "EdDSA"
    keys.rotate("EdDSA", now=NOW + 2 * DAY, emergency=False)
    assert signer(keys).alg == "EdDSA"


def test_another_sealing_key_is_refused_and_told_by_fingerprint(keys: SigningKeys) -> None:
    other = SealingKeys([SealingKey.generate()])
    wrong = replace(keys, sealing_keys=other)
    before = stored(keys)
    (needed,), (held,) = keys.sealing_keys.fingerprints, other.fingerprints
    with pytest.raises(SealingKeyProblem, match=f"{needed}.*{held}"):
        signer(wrong)
    with pytest.raises(SealingKeyProblem, match=needed):
        wrong.rotate("ES256", now=NOW + DAY, emergency=False)
    assert stored(keys) == before


def test_another_issuer_is_refused_and_told_both_names(keys: SigningKeys) -> None:
    wrong = replace(keys, issuer="https://other.internal")
    expected = r"EPHEMERA_ISSUER: is https://other\.internal .* those of https://tokens\.internal"
    with pytest.raises(SettingsInvalid, match=expected):
        wrong.make_first("ES256", now=NOW)
    with pytest.raises(SettingsInvalid, match=expected):
        wrong.rotate("ES256", now=NOW + DAY, emergency=False)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE signing_keys SET jwk = '{}' WHERE state = 'active'",
        "UPDATE signing_keys SET jwk = 'x' WHERE state = 'active'",
        "UPDATE signing_keys SET state = 'lost' WHERE state = 'active'",
        "DELETE FROM signing_keys WHERE state = 'pending'",
    ],
)
def test_damaged_keys_are_told_as_such(keys: SigningKeys, damage: str) -> None:
    with keys.database.write() as connection:
        connection.exec_driver_sql(damage)
    with pytest.raises(DatabaseUnusable, match="are damaged"):
        stored(keys)


@pytest.mark.parametrize("state", ["active", "pending"])
def test_a_second_key_of_a_state_that_one_may_have_cannot_be_written(
    keys: SigningKeys, state: str
) -> None:
    with (
        pytest.raises(DatabaseUnusable, match=r"(?i)unique constraint"),
        keys.database.write() as connection,
    ):
        connection.execute(update(signing_keys).values(state=state))
    assert len(stored(keys).ring.records) == 2


def race(url: str, sealing_keys: SealingKeys, racers: int) -> list[str]:
    """Rotate in `racers` threads that have all read the same ring; what became of each."""
    together = threading.Barrier(racers)
    outcomes: list[str] = []

    class Racer(SigningKeys):
        def _read(self) -> StoredRing:
            read = super()._read()
            together.wait()
            return read

    def work() -> None:
        with closing(open_database(url, create=True)) as database:
            racer = Racer(database=database, sealing_keys=sealing_keys, issuer=ISSUER)
            try:
                racer.rotate("ES256", now=NOW + 1, emergency=True)
            except KeysConflict:
                outcomes.append("conflict")
            else:
                outcomes.append("rotated")

    threads = [threading.Thread(target=work) for _ in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


def test_of_rotations_at_once_one_is_done_and_the_others_are_told(url: str) -> None:
    sealing_keys = SealingKeys([SealingKey.generate()])
    with closing(open_database(url, create=True)) as database:
        keys = SigningKeys(database=database, sealing_keys=sealing_keys, issuer=ISSUER)
        keys.make_first("ES256", now=NOW)
        for _ in range(10):
            before = stored(keys)
            assert race(url, sealing_keys, 3) == ["conflict", "conflict", "rotated"]
            after = stored(keys)
            assert after.version == before.version + 1
            assert after.ring.active.kid == before.ring.pending.kid == signer(keys).kid


def test_first_starts_at_once_make_one_ring(url: str) -> None:
    sealing_keys = SealingKeys([SealingKey.generate()])
    together = threading.Barrier(4)
    rings: list[StoredRing] = []

    def start() -> None:
        with closing(open_database(url, create=True)) as database:
            keys = SigningKeys(database=database, sealing_keys=sealing_keys, issuer=ISSUER)
            together.wait()
            keys.make_first("ES256", now=NOW)
            rings.append(stored(keys))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rings) == 4
    assert all(ring == rings[0] for ring in rings)
    assert rings[0].version == 1
