from typing import Any

import pytest
from client.fixtures_verifying import NOW, ManualClock, signing_key

from ephemera_client import ConfigurationError, KeyUnknown, StaticKeys

KEY = signing_key("ES256")
CLOCK = ManualClock(NOW)


@pytest.mark.anyio
async def test_static_keys_are_there_from_the_start() -> None:
    keys = StaticKeys({"keys": [KEY.jwk]})
    keys.bind(issuer="https://tokens.internal", clock=CLOCK)
    keys.warm()
    await keys.warm_async()
    assert keys.lookup(KEY.kid, CLOCK()).kid == KEY.kid
    assert (await keys.lookup_async(KEY.kid, CLOCK())).kid == KEY.kid
    assert keys.status() == (True, False, None, (KEY.kid,), None)
    with pytest.raises(KeyUnknown):
        keys.lookup("another", CLOCK())


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        {"keys": []},
        {"keys": {}},
        {"keys": [KEY.jwk, KEY.jwk]},
        {"keys": [KEY.jwk | {"kid": 1}]},
        {"keys": [KEY.jwk, KEY.jwk | {"kid": "other", "use": "enc"}]},
        {"keys": [KEY.jwk | {"x": object()}]},
    ],
    ids=["no member", "empty", "no list", "twice", "no kid", "one for encryption", "no json"],
)
def test_a_set_that_would_not_verify_is_refused_at_once(jwks: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        StaticKeys(jwks)
