"""docs/federation.md: its registry is accepted as written, and its program runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml
from client.fixtures_verifying import signing_key
from docs.pages import blocks

from ephemera_client import TokenClient, WorkloadIdentity
from ephemera_client.workload.ambient import KUBERNETES, VARIABLE
from ephemera_issuer.registry.diff import difference
from ephemera_issuer.registry.entries import Client, Registry, TrustedIssuer
from ephemera_issuer.registry.file import read_files

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAGE = "docs/federation.md"


def test_the_registry_of_the_page_is_accepted_as_written(tmp_path: Path) -> None:
    (registry,) = blocks(PAGE, "toml")
    (tmp_path / "registry.toml").write_text(registry)
    keys = {"keys": [signing_key("RS256").jwk]}
    (tmp_path / "cluster.jwks.json").write_text(json.dumps(keys))
    nothing = Registry(audiences={}, clients={}, grants={}, version=0)
    changes, _ = difference(read_files(tmp_path), nothing, prune=False)
    cluster, actions, orders = (change.entry for change in changes)
    assert isinstance(cluster, TrustedIssuer)
    assert cluster.reusable
    assert isinstance(actions, TrustedIssuer)
    assert (actions.max_lifetime, actions.reusable) == (600, False)
    assert isinstance(orders, Client)
    assert [one.issuer for one in orders.identities] == [cluster.id, actions.id]


def test_the_program_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "a.b.c")
    (program,) = blocks(PAGE, "python")
    names: dict[str, object] = {}
    exec(program, names)  # noqa: S102 - the page's
    assert isinstance(names["tokens"], TokenClient)
    assert repr(WorkloadIdentity.find()) == f"WorkloadIdentity(TokenVariable('{VARIABLE}'))"
    names["tokens"].close()


def test_the_volume_of_the_page_is_where_the_client_looks() -> None:
    (text,) = blocks(PAGE, "yaml")
    pod = yaml.safe_load(text)
    (volume,) = pod["volumes"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    (source,) = volume["projected"]["sources"]
    assert volume["name"] == mount["name"]
    assert f"{mount['mountPath']}/{source['serviceAccountToken']['path']}" == str(KUBERNETES)
