"""`ephemera --server`: the same nouns, through the admin API."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_administering import (
    BILLING,
    ISSUER,
    Served,
    administered,
    serving,
)
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from ephemera_keys import generate, pem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from issuer.fixtures_commands import Run
    from starlette.requests import Request
    from starlette.responses import Response


class Both:
    """The command on the database, and the same command through the issuer."""

    def __init__(self, run: Run, served: Served) -> None:
        self.here = run
        self._before = ("--server", served.url, "--admin-id", "ops", "--admin-key", "ops.pem")

    def there(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        return self.here(*self._before, *arguments, status=status)

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self.there(*arguments, "--json", status=status)[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("administered")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    # The issuer's log is not what the command says.
    with (
        capture_logs(),
        administered(f"sqlite:///{folder / 'ephemera.db'}", folder) as running,
    ):
        yield running


@pytest.fixture
def both(run: Run, served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EPHEMERA_ISSUER", ISSUER)
    return Both(run, served)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["clients", "list"], 0),
        (["clients", "show", "orders"], 0),
        (["clients", "show", "reports"], 0),
        (["keys", "list"], 0),
        (["explain", "--client", "orders", "--audience", BILLING], 0),
        (["explain", "--client", "reports", "--audience", BILLING], 3),
        (["explain", "--client", "orders", "--audience", BILLING, "--scope", "x"], 3),
        (["explain", "--client", "orders", "--audience", BILLING, "--lifetime", "5"], 3),
    ],
)
def test_the_server_tells_what_the_database_tells(
    both: Both, arguments: list[str], status: int
) -> None:
    assert both.json(*arguments, status=status) == both.here.json(*arguments, status=status)
    assert both.there(*arguments, status=status) == both.here(*arguments, status=status)


def test_a_dry_run_of_a_rotation_tells_the_same_but_for_the_time(both: Both) -> None:
    arguments = ("keys", "rotate", "--dry-run")
    there, here = both.json(*arguments), both.here.json(*arguments)
    assert there.keys() == here.keys()
    assert there["sooner"] == here["sooner"]


def test_many_clients_come_whole(both: Both, folder: Path) -> None:
    text = (folder / "registry.toml").read_text()
    many = "".join(
        f'[[clients]]\nid = "c{number}"\njwks_uri = "https://c.internal/{number}"\n'
        for number in range(520)
    )
    (folder / "many.toml").write_text(text + many)
    both.here("apply", "many.toml", "--secrets-dir", "secrets", "--reuse-secrets")
    assert len(both.json("clients", "list")["clients"]) == 522


def test_a_client_is_stopped_and_let_go_on(both: Both) -> None:
    assert both.there("clients", "disable", "reports")[0] == "reports is disabled\n"
    assert both.there("clients", "disable", "reports")[0] == "reports was disabled already\n"
    assert both.here.json("clients", "show", "reports")["client"]["disabled"] is True
    assert both.there("clients", "enable", "reports")[0] == "reports is enabled\n"


def test_a_secret_is_rolled_into_its_file(both: Both, folder: Path) -> None:
    file = folder / "far" / "orders.secret"
    said = both.json("clients", "roll-secret", "orders", "--secrets-dir", "far")
    assert said == {"client": "orders", "secret_file": "far/orders.secret"}
    assert len(file.read_text()) == 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["orders.secret"]
    assert both.here.json("clients", "show", "orders")["client"]["secrets"] == 2
    _, err = both.there("clients", "roll-secret", "orders", "--secrets-dir", "far", status=1)
    assert "2 live credentials already" in err
    both.there("clients", "drop-secret", "orders", "--oldest")
    assert both.here.json("clients", "show", "orders")["client"]["secrets"] == 1
    # Where there is no place for it, none is made.
    (folder / "taken").write_text("a file")
    both.there("clients", "roll-secret", "orders", "--secrets-dir", "taken/x", status=1)
    assert both.here.json("clients", "show", "orders")["client"]["secrets"] == 1


def test_tokens_are_revoked(both: Both) -> None:
    assert both.json("revoke", "--jti", "N7cDRnOyrhLGvCnDrTfm3g")["jti"] == (
        "N7cDRnOyrhLGvCnDrTfm3g"
    )
    said = both.there("revoke", "--client", "orders", "--audience", BILLING)[0]
    assert said.startswith(f"All tokens of orders for {BILLING} minted up to ")
    _, err = both.there("revoke", "--client", "order", status=1)
    assert err == "ephemera: there is no client order; did you mean orders?\n"
    both.there(
        *("revoke", "--client", "orders", "--issued-before", "2020-01-31T12:00:00Z"), status=1
    )


def test_keys_are_rotated_and_revoked(both: Both) -> None:
    _, err = both.there("keys", "rotate", status=1)
    assert "published" in err
    after = both.json("keys", "rotate", "--emergency")
    assert after == both.here.json("keys", "list")
    active = next(key["kid"] for key in after["keys"] if key["state"] == "active")
    revoked = both.json("revoke", f"--key={active}")
    assert revoked["kid"] == active
    again = json.loads(both.there("keys", "revoke", "--yes", "--json", "--", active)[0])
    assert {key["kid"]: key["state"] for key in again["keys"]}[active] == "revoked"
    _, err = both.there("keys", "revoke", "none", status=1)
    assert "has no key" in err


@pytest.mark.parametrize(
    "arguments",
    [["apply", "registry.toml"], ["migrate"], ["backup", "x"], ["serve"], ["demo"], ["init"]],
)
def test_what_works_on_the_database_itself_takes_no_server(
    both: Both, arguments: list[str]
) -> None:
    _, err = both.there(*arguments, status=2)
    assert f"{arguments[0]} works on" in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize("missing", ["--admin-id", "--admin-key"])
def test_an_administrator_says_who_it_is(both: Both, served: Served, missing: str) -> None:
    given = {"--admin-id": "ops", "--admin-key": "ops.pem"}
    del given[missing]
    (option,) = given.items()
    _, err = both.here("--server", served.url, *option, "keys", "list", status=2)
    assert missing in err


def test_who_it_is_can_stand_in_the_environment(
    both: Both, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPHEMERA_ADMIN_ID", "ops")
    monkeypatch.setenv("EPHEMERA_ADMIN_KEY_FILE", "ops.pem")
    assert both.here("--server", served.url, "keys", "list")[0]
    assert both.here("keys", "list")[0]  # on the database, undisturbed
    monkeypatch.setenv("EPHEMERA_ADMIN_KEY", "ops.pem")
    _, err = both.here("--server", served.url, "keys", "list", status=1)
    assert err == (
        "ephemera: EPHEMERA_ADMIN_KEY: no such setting; did you mean EPHEMERA_ADMIN_KEY_FILE?\n"
    )


def test_a_stranger_is_refused_and_told_so(both: Both, served: Served, folder: Path) -> None:
    (folder / "other.pem").write_bytes(pem.dump(generate("ES256")))
    options = ("--server", served.url, "--admin-id", "ops", "--admin-key", "other.pem")
    _, err = both.here(*options, "keys", "list", status=1)
    assert err == "ephemera: administrator authentication failed\n"


def test_an_administrator_of_another_issuer_is_told_which_audience_is_wanted(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPHEMERA_ISSUER", "https://other.internal")
    _, err = both.there("keys", "list", status=1)
    assert err == f"ephemera: assertion aud must be {ISSUER}/admin\n"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://tokens.internal:8701", "--server must be https: new secrets come back over it"),
        ("ftp://127.0.0.1", "--server must be https://HOST:PORT"),
        ("127.0.0.1:8701", "--server must be https://HOST:PORT"),
        ("https://127.0.0.1:8701/admin/v1", "--server must be https://HOST:PORT"),
        ("https://", "--server must be https://HOST:PORT"),
        ("http://127.0.0.1:1", "does not answer (ConnectError)"),
    ],
)
def test_a_server_that_cannot_be_asked_is_told(both: Both, url: str, said: str) -> None:
    options = ("--server", url, "--admin-id", "ops", "--admin-key", "ops.pem")
    _, err = both.here(*options, "keys", "list", status=1)
    assert said in err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--admin-key", "none.pem"), "none.pem"),
        (("--admin-key", "registry.toml"), "registry.toml"),
        (("--admin-key", "ops.pem", "--ca-file", "none.pem"), "ca_file none.pem"),
    ],
)
def test_files_that_cannot_be_used_are_told(
    both: Both, served: Served, option: tuple[str, ...], said: str
) -> None:
    options = ("--server", served.url, "--admin-id", "ops", *option)
    _, err = both.here(*options, "keys", "list", status=1)
    assert said in err


def test_what_is_no_admin_api_is_told_and_no_redirect_is_followed(both: Both) -> None:
    seen: list[str] = []

    async def elsewhere(request: Request) -> Response:
        seen.append(request.url.path)
        return RedirectResponse("/elsewhere")

    async def nothing(request: Request) -> Response:
        seen.append(request.url.path)
        return PlainTextResponse("hello", 404)

    app = Starlette(routes=[Route("/admin/v1/keys", elsewhere), Route("/{path:path}", nothing)])
    with serving(app) as url:
        options = ("--server", url, "--admin-id", "ops", "--admin-key", "ops.pem")
        _, err = both.here(*options, "keys", "list", status=1)
        assert err == "ephemera: answered with status 307: no admin API is there\n"
        _, err = both.here(*options, "clients", "list", status=1)
        assert err == "ephemera: answered with status 404: no admin API is there\n"
    assert seen == ["/admin/v1/keys", "/admin/v1/clients"]
