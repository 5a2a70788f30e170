"""One set of forged and malformed tokens, and genuine ones beside it, before both verifiers."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from attacks.forgeries.every_kind import FORGERIES
from attacks.forging import ALGORITHMS, Forge, Forgery
from attacks.genuine import GENUINE, TWIN
from client.fixtures_verifying import AUDIENCE, ISSUER, ManualClock

from ephemera_client import (
    AccessToken,
    AsyncVerifier,
    SingleProcessReplayCache,
    StaticKeys,
    TokenReplayed,
    Verifier,
)

THREAT_MODEL = Path(__file__).parents[2] / "docs/threat-model.md"

Verify = Callable[[str], AccessToken]


def _blocking(**parts: Any) -> Verify:
    return Verifier(**parts).verify


def _awaited(**parts: Any) -> Verify:
    verifier = AsyncVerifier(**parts)
    return lambda raw: asyncio.run(verifier.verify(raw))


def _verify(door: Callable[..., Verify], forge: Forge) -> Verify:
    return door(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm=forge.alg,
        keys=StaticKeys(forge.published),
        # Born long before, so that no forgery is refused merely for its age.
        replay_cache=SingleProcessReplayCache(clock=ManualClock(0)),
        clock=ManualClock(forge.now),
    )


DOORS = pytest.mark.parametrize("door", [_blocking, _awaited], ids=["Verifier", "AsyncVerifier"])


def _outcome(verify: Verify, raw: str) -> str:
    try:
        verify(raw)
    except Exception as error:  # noqa: BLE001 - what it is, is the question
        told = f"{error} {error!r} {error.__cause__!r}"
        quoted = any(len(part) > 8 and part in told for part in raw.split("."))
        return f"{type(error).__name__}{' that quotes it' if quoted else ''}"
    return "accepted"


def _forged(forge: Forge, forgeries: list[Forgery]) -> dict[str, tuple[str, str]]:
    """Make the tokens that are for this algorithm, each with the name of its refusal."""
    return {
        forgery.name: (forgery.recipe(forge), forgery.refused_as.__name__)
        for forgery in forgeries
        if forge.alg in forgery.algorithms
    }


@DOORS
@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("kind", FORGERIES)
def test_each_forgery_is_refused_for_what_is_wrong_with_it(
    kind: str, alg: str, door: Callable[..., Verify]
) -> None:
    forge = Forge(alg)
    verify = _verify(door, forge)
    tokens = _forged(forge, FORGERIES[kind])
    outcomes = {name: _outcome(verify, raw) for name, (raw, _) in tokens.items()}
    assert outcomes == {name: refused_as for name, (_, refused_as) in tokens.items()}
    # None of them has done anything to the verifier.
    verify(forge.token())


@DOORS
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_each_genuine_token_is_accepted_once(alg: str, door: Callable[..., Verify]) -> None:
    forge = Forge(alg)
    verify = _verify(door, forge)
    recipes = GENUINE | (TWIN if alg == "ES256" else {})
    tokens = {name: recipe(forge) for name, recipe in recipes.items()}
    first = {name: _outcome(verify, raw) for name, raw in tokens.items()}
    assert first == dict.fromkeys(recipes, "accepted")
    again = {name: _outcome(verify, raw) for name, raw in tokens.items()}
    assert again == dict.fromkeys(recipes, TokenReplayed.__name__)


@pytest.mark.parametrize("kind", FORGERIES)
def test_no_two_forgeries_of_a_kind_have_one_name(kind: str) -> None:
    names = [forgery.name for forgery in FORGERIES[kind]]
    assert len(set(names)) == len(names)


def test_a_plain_decode_accepts_many_of_the_same_set(
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    forge = Forge(now=int(time.time()))
    public = forge.key.private.public_key()
    ours = _verify(_blocking, forge)
    outcomes = []
    for forgeries in FORGERIES.values():
        for raw, _ in _forged(forge, forgeries).values():
            try:
                jwt.decode(raw, public, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)
                theirs = "accepted"
            except jwt.PyJWTError:
                theirs = "refused"
            except Exception as error:  # noqa: BLE001 - what it is, is the question
                theirs = type(error).__name__
            outcomes.append((theirs, _outcome(ours, raw)))
    theirs_accepted = sum(theirs == "accepted" for theirs, _ in outcomes)
    record_testsuite_property("forgeries", len(outcomes))
    record_testsuite_property("forgeries_accepted_by_pyjwt", theirs_accepted)
    assert len(outcomes) >= 515
    assert not any(mine == "accepted" for _, mine in outcomes)
    # The set bites: whoever decodes as the manual shows takes many of it.
    assert theirs_accepted > 100
    assert f"{len(outcomes)} tokens" in THREAT_MODEL.read_text()
