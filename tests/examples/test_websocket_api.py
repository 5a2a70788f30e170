from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from examples.fixtures_examples import AUDIENCE, run_example
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

if TYPE_CHECKING:
    from system.running import Issuer

    from ephemera_client import TokenClient


def test_the_websocket_api_accepts_a_token_for_one_handshake(
    issuer: Issuer, tokens: TokenClient
) -> None:
    with run_example("websocket_api", issuer) as api:
        url = api.url.replace("http", "ws", 1) + "/invoices"
        headers = {"Authorization": f"Bearer {tokens.get(AUDIENCE)}"}
        with connect(url, additional_headers=headers, proxy=None) as connection:
            for number in ("7", "8"):
                connection.send(number)
                assert json.loads(connection.recv()) == {"number": number, "for": "orders"}
            with pytest.raises(InvalidStatus) as again:
                connect(url, additional_headers=headers, proxy=None)
    response = again.value.response
    assert response.status_code == 401
    assert 'reason="token_replayed"' in response.headers["WWW-Authenticate"]
