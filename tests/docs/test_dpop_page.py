"""docs/dpop.md: its callers call its API, at an issuer whose audience takes no other tokens."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from docs.pages import blocks
from docs.running import run, serving
from docs.test_pages import starlette_names
from system.running import run_issuer

from ephemera_issuer.demo.story import REGISTRY

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_callers_of_the_page_call_its_api(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calling, for_tasks, other_library, api = blocks("docs/dpop.md", "python")
    with socket.create_server(("127.0.0.1", 0)) as door:
        billing_url = f"http://127.0.0.1:{door.getsockname()[1]}"
        registry = REGISTRY.replace("https://billing.internal", billing_url).replace(
            "[[audiences]]", '[[audiences]]\ndpop = "required"', 1
        )
        settings = {"EPHEMERA_DPOP_NONCE": "required"}
        with run_issuer(tmp_path, registry=registry, settings=settings) as issuer:
            places = {
                "https://tokens.internal": issuer.url,
                "https://billing.internal": billing_url,
                "secrets/orders.secret": str(issuer.secret_file),
            }
            with serving(run(api, starlette_names(), places)["app"], door):
                names: dict[str, Any] = run(calling, {}, places)
                run(for_tasks, names, places)
                run(other_library, names, places)
                names["tokens"].close()
    assert capsys.readouterr().out == "{'for': 'orders'}\n" * 3
