from __future__ import annotations

import json

import pytest
from issuer.fixtures_minting import NOW, Keeper, snapshot, talking

from ephemera_client.instant import Instant

pytestmark = pytest.mark.anyio

PATH = "/.well-known/jwks.json"
ETAG = '"etag-of-the-keys"'


async def test_the_published_keys_are_served_as_a_jwk_set() -> None:
    keeper = Keeper()
    async with talking(keeper) as client:
        answer = await client.get(PATH)
    assert answer.status_code == 200
    assert keeper.current is not None
    assert answer.content == keeper.current.jwks
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["etag"] == ETAG


async def test_active_and_pending_keys_are_published_and_no_private_member() -> None:
    keeper = Keeper()
    async with talking(keeper) as client:
        keys = json.loads((await client.get(PATH)).content)["keys"]
    assert keeper.current is not None
    ring = keeper.current.ring
    assert [key["kid"] for key in keys] == [ring.active.kid, ring.pending.kid]
    assert {member for key in keys for member in key} == {
        *("kty", "crv", "x", "y", "use", "alg", "kid")
    }


async def test_head_has_the_headers_of_get() -> None:
    async with talking() as client:
        got, headed = await client.get(PATH), await client.head(PATH)
    assert headed.status_code == 200
    assert headed.content == b""
    assert headed.headers == got.headers


@pytest.mark.parametrize(
    "condition",
    [
        ETAG,
        f"W/{ETAG}",
        "*",
        " * ",
        f'"other", {ETAG}',
        f'"other",{ETAG},"third"',
        f'W/"other",\tW/{ETAG}',
        f'"with, comma",{ETAG}',
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_who_has_the_keys_gets_304(condition: str, method: str) -> None:
    async with talking() as client:
        answer = await client.request(method, PATH, headers={"If-None-Match": condition})
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["etag"] == ETAG
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert "content-type" not in answer.headers
    assert "content-length" not in answer.headers


async def test_several_if_none_match_headers_are_one_list() -> None:
    async with talking() as client:
        answer = await client.get(
            PATH, headers=[("If-None-Match", '"other"'), ("If-None-Match", ETAG)]
        )
    assert answer.status_code == 304


@pytest.mark.parametrize(
    "condition",
    [
        "",
        '"other"',
        ETAG.strip('"'),
        ETAG.upper(),
        f'"a{ETAG}',
        ETAG[:-1],
        "**",
        '"*"',
    ],
)
async def test_who_has_other_keys_gets_these(condition: str) -> None:
    async with talking() as client:
        answer = await client.get(PATH, headers={"If-None-Match": condition})
    assert answer.status_code == 200


async def test_a_stale_snapshot_still_publishes_its_keys() -> None:
    async with talking(now=Instant(NOW.wall + 3600, NOW.monotonic + 3600)) as client:
        assert (await client.get(PATH)).status_code == 200


async def test_without_a_snapshot_there_are_no_keys_yet() -> None:
    async with talking(Keeper(None)) as client:
        answer = await client.get(PATH)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["cache-control"] == "no-store"


async def test_another_method_is_not_allowed() -> None:
    async with talking() as client:
        answer = await client.post(PATH)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert answer.json()["error"] == "invalid_request"


async def test_new_keys_are_served_at_once() -> None:
    keeper = Keeper()
    async with talking(keeper) as client:
        keeper.current = snapshot(jwks=b'{"keys":[]}', jwks_etag='"new"')
        answer = await client.get(PATH, headers={"If-None-Match": ETAG})
    assert answer.status_code == 200
    assert answer.content == b'{"keys":[]}'
