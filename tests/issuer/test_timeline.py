from __future__ import annotations

from ephemera_issuer.timeline import Event, Gap, timeline
from ephemera_keys import KeyRing, generate, public_jwk

FIRST, SECOND, THIRD = (public_jwk(generate("ES256"), alg="ES256") for _ in range(3))
NOW = 1_800_000_000.0


def test_a_timeline_tells_what_a_rotation_does_to_every_key_in_order() -> None:
    ring = KeyRing.start(active=FIRST, pending=SECOND, now=NOW)
    told = timeline(ring, algorithm="EdDSA", now=NOW + 5000)
    assert (told.earliest, told.rotates_at, told.gap) == (NOW + 900, NOW + 5000, None)
    assert told.events == (
        Event(NOW, "published", SECOND["kid"], "ES256"),
        Event(NOW + 5000, "signs", SECOND["kid"], "ES256"),
        Event(NOW + 5000, "retires", FIRST["kid"], "ES256"),
        Event(NOW + 5000, "published", None, "EdDSA"),
        Event(NOW + 5900, "may sign", None, "EdDSA"),
        Event(NOW + 6260, "removed", FIRST["kid"], "ES256"),
    )


def test_before_it_is_safe_it_tells_which_caches_lack_the_key_and_how_long() -> None:
    ring = KeyRing.start(active=FIRST, pending=SECOND, now=NOW)
    told = timeline(ring, algorithm="ES256", now=NOW + 100)
    assert told.rotates_at == NOW + 900
    assert told.gap == Gap(SECOND["kid"], NOW, NOW + 300, NOW + 900)


def test_keys_that_retired_before_are_in_it() -> None:
    ring = KeyRing.start(active=FIRST, pending=SECOND, now=NOW)
    ring = ring.rotate(new_pending=THIRD, now=NOW + 900, emergency=False)
    told = timeline(ring, algorithm="ES256", now=NOW + 901)
    assert Event(NOW + 900 + 1260, "removed", FIRST["kid"], "ES256") in told.events
