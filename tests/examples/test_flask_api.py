from __future__ import annotations

from typing import TYPE_CHECKING

from examples.fixtures_examples import assert_guarded, run_example

if TYPE_CHECKING:
    from system.running import Issuer

    from ephemera_client import TokenClient


def test_the_flask_api_accepts_a_token_once_and_demands_scopes(
    issuer: Issuer, tokens: TokenClient
) -> None:
    with run_example("flask_api", issuer) as api:
        assert_guarded(api.url, tokens)
