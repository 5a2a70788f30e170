"""Kills a whole `serve` under load, starts it again, and holds it to what it had acknowledged."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from system.changing import Kills, held_in, looking
from system.deployment import ISSUER, USED, Deployment
from system.history import ROTATION, TOKEN_REVOCATION, Stage, Write, committed
from system.killable import Aim
from system.loading import Load, Remembered, decoded
from system.serving import TIMING, Serving

from ephemera_issuer.database import connect
from ephemera_issuer.rotation import SigningKeys, require_ring
from ephemera_issuer.sealing_key import open_sealing_keys

if TYPE_CHECKING:
    from collections.abc import Collection

    from ephemera_issuer.database import Database

EXPIRED = (401, "assertion has expired: make a new one for each request")
AIMS = (
    (ROTATION, Stage.OPEN),
    (ROTATION, Stage.COMMITTING),
    (TOKEN_REVOCATION, Stage.OPEN),
    (TOKEN_REVOCATION, Stage.COMMITTING),
    None,
)
"""In turn: within a rotation, within a revocation, and somewhere while tokens are minted."""


def keys_of(deployment: Deployment, database: Database) -> SigningKeys:
    file = deployment.environment.get("EPHEMERA_SEALING_KEY_FILE")
    return SigningKeys(
        database=database,
        sealing_keys=open_sealing_keys(database, file=Path(file) if file else None),
        issuer=ISSUER,
        timing=TIMING,
    )


def kill_serve(deployment: Deployment, *, kills: int, seed: int) -> Kills:
    """Kill all processes of an issuer, again and again; each time another takes its place."""
    url = deployment.environment["EPHEMERA_DATABASE_URL"]
    with closing(connect(url)) as database:
        keys_of(deployment, database).make_first("ES256", now=time.time())
    first, found = held_in(url), Kills()
    moments = random.Random(seed)  # noqa: S311 - moments, not secrets
    spans = dict.fromkeys((Stage.OPEN, Stage.COMMITTING), 0.003)
    writes: list[Write] = []
    log = deployment.folder / "serve.log"
    serving = Serving(deployment.environment, log)
    try:
        with looking(url, found) as wrong, Load(deployment, serving.url) as load:
            for number in range(kills):
                load.wait_for(3)
                load.wait_for(1, kind="revocation")
                aim = None
                if (wanted := AIMS[number % len(AIMS)]) is not None:
                    doing, stage = wanted
                    # Every other one at once: so some hit, however fast or busy the machine is.
                    aim = Aim(stage, number % 2 and moments.uniform(0, spans[stage]), doing)
                hit = serving.kill(aim)
                if aim is not None:
                    spans[aim.stage] *= 1.2 if hit else 0.7
                found.note(hit)
                writes += serving.writes
                serving = Serving(deployment.environment, log)
                remembered = load.take()
                load.url = serving.url
                found.acknowledged["assertion spent"] += stays_true(serving.url, remembered)
                found.acknowledged["token revoked by its client"] += len(remembered.revoked)
    finally:
        serving.kill()
        writes += serving.writes
    assert wrong == []
    assert {status for _, status in load.statuses} == {200}, load.unexpected
    row = committed(writes, first=first, last=held_in(url))
    found.acknowledged.update(write.doing for write in row if write.stage is Stage.DONE)
    with closing(connect(url)) as database, database.read() as connection:
        keys_of(deployment, database).read_signer(connection, require_ring(connection, TIMING))
    return found


def stays_true(
    url: str, remembered: Remembered, *, refusals: Collection[tuple[int, str]] = (USED, EXPIRED)
) -> int:
    """What was acknowledged before a failure holds after it; spent assertions are refused so.

    Returns how many were refused because they were spent, and not for their age alone.
    """
    outcomes: list[tuple[int, str]] = []
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:

        def again(form: dict[str, str]) -> tuple[int, str]:
            answer = http.post("/oauth2/token", data=form)
            return answer.status_code, answer.json().get("error_description", "")

        for form in remembered.unanswered:
            again(form)  # it may have been granted, or be now
        for form in remembered.spent + remembered.unanswered:
            outcomes.append(again(form))
            assert outcomes[-1] in refusals
        published = {key["kid"] for key in http.get("/.well-known/jwks.json").json()["keys"]}
        # On a busy machine so much time may have passed that a retired key was removed, as it
        # should be; half of it is for a worker that did not know yet, and signed with it.
        since = time.time() - TIMING.retention / 2
        young = [token for token in remembered.tokens if decoded(token, 1)["iat"] > since]
        assert {decoded(token, 0)["kid"] for token in young} <= published
        entries = http.get("/v1/revocations").json()["entries"]
        assert set(remembered.revoked) <= {entry.get("jti") for entry in entries}
    return sum(outcome != EXPIRED for outcome in outcomes)
