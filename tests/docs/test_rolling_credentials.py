"""docs/rolling-credentials.md: old and new are good side by side, and then only the new."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from docs.pages import blocks
from docs.running import shell, without_settings

from ephemera_client import ClientRefused, ClientSecret, PrivateKeyJWT, TokenClient
from ephemera_issuer.demo.process import Service
from ephemera_issuer.demo.story import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "docs/rolling-credentials.md"
KEYGEN, APPLY_AND_MOVE, ROLL_SECRET, DROP_SECRET = blocks(PAGE, "sh")
BOTH_KEYS, NEW_KEY, SECRET_AND_KEY = blocks(PAGE, "toml")
AUDIENCE = "https://billing.internal"
BY_SECRET = 'secret = "generate"\n'
BY_KEY = 'jwks_file = "orders.jwks.json"\n'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    inherited = without_settings()
    return inherited | {
        "EPHEMERA_DATABASE_URL": f"sqlite:///{tmp_path / 'ephemera.db'}",
        "EPHEMERA_LISTEN": "127.0.0.1:0",
    }


@pytest.fixture
def issuer(environment: dict[str, str]) -> Iterator[str]:
    with Service("issuer", ["ephemera_issuer", "serve"], environment=environment) as running:
        yield running.url


class Operator:
    """Edits the registry file and types the page's commands."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._environment = environment

    def types(self, commands: str) -> str:
        status, said, errors = shell(commands, self.folder, self._environment)
        assert status == 0, said + errors
        return said

    def declares(self, credentials: str) -> None:
        credentials = credentials.removeprefix('[[clients]]\nid = "orders"\n')
        text = REGISTRY.replace(BY_SECRET, credentials)
        (self.folder / "registry.toml").write_text(text)

    def applies(self) -> None:
        self.types("ephemera apply registry.toml --secrets-dir secrets")

    def credentials(self) -> tuple[int, int]:
        """How many secrets and keys the client has."""
        client = json.loads(self.types("ephemera clients show orders --json"))["client"]
        return client["secrets"], len(client["keys"])


@pytest.fixture
def operator(tmp_path: Path, environment: dict[str, str]) -> Operator:
    return Operator(tmp_path, environment)


def works(issuer: str, credential: ClientSecret | PrivateKeyJWT) -> None:
    """A token is got with this credential, once every part of the issuer knows of it."""
    with TokenClient(issuer, client_id="orders", credential=credential) as tokens:
        for _ in range(1000):
            try:
                assert tokens.get(AUDIENCE).count(".") == 2
            except ClientRefused:
                continue
            return
    pytest.fail("the credential is refused")


def is_refused(issuer: str, credential: ClientSecret | PrivateKeyJWT) -> None:
    # With no pool each call asks the issuer anew; a thousand of them take seconds.
    with TokenClient(issuer, client_id="orders", credential=credential, pool_size=0) as tokens:
        for _ in range(1000):
            try:
                tokens.get(AUDIENCE)
            except ClientRefused:
                return
    pytest.fail("the credential is still good")


def test_a_key_is_rolled_as_the_page_says(issuer: str, operator: Operator) -> None:
    folder = operator.folder
    operator.types("python -m ephemera_client keygen orders")
    (folder / "keys").mkdir()
    (folder / "orders.pem").rename(folder / "keys" / "orders.pem")
    operator.declares(BY_KEY)
    operator.applies()
    old = PrivateKeyJWT.from_file(folder / "keys" / "orders.pem")
    (folder / "kept.pem").write_bytes((folder / "keys" / "orders.pem").read_bytes())
    leftover = PrivateKeyJWT.from_file(folder / "kept.pem")
    works(issuer, old)
    operator.types(KEYGEN)
    operator.declares(BOTH_KEYS)
    operator.types(APPLY_AND_MOVE)
    assert operator.credentials() == (0, 2)
    works(issuer, leftover)
    works(issuer, old)  # its file has been replaced, so it is the new one by now
    operator.declares(NEW_KEY)
    operator.applies()
    assert operator.credentials() == (0, 1)
    is_refused(issuer, leftover)
    works(issuer, old)


def test_a_secret_is_rolled_as_the_page_says(issuer: str, operator: Operator) -> None:
    operator.declares(BY_SECRET)
    operator.applies()
    file = operator.folder / "secrets" / "orders.secret"
    old = ClientSecret(file.read_text())
    works(issuer, old)
    operator.types(ROLL_SECRET)
    new = ClientSecret.from_file(file)
    works(issuer, new)
    works(issuer, old)
    operator.types(DROP_SECRET)
    is_refused(issuer, old)
    works(issuer, new)


def test_a_client_moves_from_a_secret_to_a_key_as_the_page_says(
    issuer: str, operator: Operator
) -> None:
    folder = operator.folder
    operator.declares(BY_SECRET)
    operator.applies()
    secret = ClientSecret.from_file(folder / "secrets" / "orders.secret")
    operator.types("python -m ephemera_client keygen orders")
    key = PrivateKeyJWT.from_file(folder / "orders.pem")
    operator.declares(SECRET_AND_KEY)
    operator.applies()
    assert operator.credentials() == (1, 1)
    works(issuer, key)
    works(issuer, secret)
    operator.declares(BY_KEY)
    operator.applies()
    is_refused(issuer, secret)
    works(issuer, key)
