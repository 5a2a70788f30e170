from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from issuer.fixtures_minting import claims

from ephemera_issuer.cli import main
from ephemera_issuer.demo.process import Service, ServiceFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

BILLING = "https://billing.internal"
REGISTRY = """
[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read", "invoices:write"]

[[clients]]
id = "orders"
secret = "generate"

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""


def environment(**settings: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in os.environ if not name.startswith("EPHEMERA_")}
    return inherited | settings


def serving(*options: str, settings: Mapping[str, str] | None = None) -> Service:
    arguments = ["ephemera_issuer", "serve", "--listen", "127.0.0.1:0", *options]
    return Service("issuer", arguments, environment=environment(**(settings or {})))


def ask(url: str, secret: str, scope: str = "") -> httpx.Response:
    form = {"grant_type": "client_credentials", "resource": BILLING, "scope": scope}
    return httpx.post(
        f"{url}/oauth2/token", data=form, auth=("orders", secret), trust_env=False, timeout=10
    )


def eventually(ask: Callable[[], Any], wanted: Any) -> None:
    """Ask over and over, each time over the network, until the answer is the one that is wanted."""
    for _ in range(1000):
        if (answer := ask()) == wanted:
            return
    assert answer == wanted


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Give logging back as it was, to a test that runs the command in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    file = tmp_path / "registry.toml"
    file.write_text(REGISTRY)
    return file


def test_a_registry_file_is_all_that_development_needs(registry: Path) -> None:
    unused = {
        "EPHEMERA_DATABASE_URL": f"sqlite:///{registry.parent}/unused.db",
        "EPHEMERA_SEALING_KEY_FILE": str(registry.parent / "unused.sealing-key"),
        "EPHEMERA_REPLAY_URL": f"sqlite:///{registry.parent}/unused.spent.db",
    }
    with serving("--dev", str(registry), settings=unused) as issuer:
        secret = registry.with_suffix(".secrets") / "orders.secret"
        answer = ask(issuer.url, secret.read_text())
        assert answer.status_code == 200
        token = claims(answer.json()["access_token"])
        assert (token["iss"], token["aud"]) == (issuer.url, BILLING)
        assert httpx.get(f"{issuer.url}/readyz", trust_env=False).status_code == 200
        assert issuer.stop() == 0
        output = "".join(issuer.output)
        assert f"ephemera: serving {issuer.url} (listening on {issuer.url}), private" in output
        for secret_text in (secret.read_text(), answer.json()["access_token"]):
            assert secret_text not in output
    assert {path.name for path in registry.parent.iterdir()} == {
        "registry.toml",
        "registry.secrets",
    }
    assert secret.stat().st_mode & 0o077 == 0


def test_a_secret_made_in_development_is_good_after_a_restart(registry: Path) -> None:
    secrets = registry.parent / "elsewhere"
    seen = set()
    for _ in range(2):
        with serving("--dev", str(registry), "--secrets-dir", str(secrets)) as issuer:
            secret = (secrets / "orders.secret").read_text()
            seen.add(secret)
            assert ask(issuer.url, secret).status_code == 200
    assert len(seen) == 1


def test_in_development_a_changed_file_is_in_force_without_a_restart(registry: Path) -> None:
    with serving("--dev", str(registry)) as issuer:
        secret = (registry.with_suffix(".secrets") / "orders.secret").read_text()

        def status() -> int:
            return ask(issuer.url, secret, "invoices:write").status_code

        assert status() == 400
        registry.write_text(REGISTRY.replace('["invoices:read"]', '["invoices:write"]'))
        eventually(status, 200)
        registry.write_text("[[clients]]\nid = 7\n")

        def status_and_complaint() -> tuple[int, bool]:
            return status(), any("registry_not_applied" in line for line in issuer.output)

        eventually(status_and_complaint, (200, True))
        registry.write_text(REGISTRY)
        eventually(status, 400)


def test_plain_http_off_loopback_is_served_where_the_issuers_name_says_so(tmp_path: Path) -> None:
    # 127.1 is no literal of loopback, and still this machine only.
    settings = {
        "EPHEMERA_DATABASE_URL": f"sqlite:///{tmp_path}/ephemera.db",
        "EPHEMERA_ISSUER": "http://issuer:8700",
        "EPHEMERA_UNENCRYPTED_HOSTS": "issuer",
    }
    with serving("--listen", "127.1:0", settings=settings) as issuer:
        url = f"{issuer.url}/.well-known/oauth-authorization-server"
        assert httpx.get(url, trust_env=False).json()["issuer"] == "http://issuer:8700"
    settings["EPHEMERA_ISSUER"] = "https://issuer"
    arguments = ["ephemera_issuer", "serve", "--listen", "127.1:0"]
    with pytest.raises(ServiceFailed), Service("i", arguments, environment=environment(**settings)):
        pass


def test_a_database_and_its_keys_outlive_the_process(tmp_path: Path) -> None:
    settings = {
        "EPHEMERA_DATABASE_URL": f"sqlite:///{tmp_path}/ephemera.db",
        "EPHEMERA_ISSUER": "https://tokens.internal",
        "EPHEMERA_ALGORITHM": "EdDSA",
    }
    keys = []
    for _ in range(2):
        with serving(settings=settings) as issuer:
            path = "/.well-known/jwks.json"
            keys.append(httpx.get(issuer.url + path, trust_env=False).json()["keys"])
            metadata = "/.well-known/oauth-authorization-server"
            document = httpx.get(issuer.url + metadata, trust_env=False).json()
            assert document["issuer"] == "https://tokens.internal"
            assert issuer.stop() == 0
    assert keys[0] == keys[1]
    assert [key["alg"] for key in keys[0]] == ["EdDSA", "EdDSA"]
    # SQLite has put everything back into one file for the registry and one for the ledger.
    assert {file.name for file in tmp_path.iterdir()} == {
        "ephemera.db",
        "ephemera.sealing-key",
        "ephemera.spent.db",
        "ephemera.spent.db-witness",
    }


def test_an_option_wins_over_the_environment(tmp_path: Path) -> None:
    settings = {
        "EPHEMERA_DATABASE_URL": f"sqlite:///{tmp_path}/ephemera.db",
        "EPHEMERA_ISSUER": "https://other.internal",
    }
    with serving("--issuer", "https://tokens.internal", settings=settings) as issuer:
        path = "/.well-known/openid-configuration"
        document = httpx.get(issuer.url + path, trust_env=False).json()
    assert document["issuer"] == "https://tokens.internal"


@pytest.mark.parametrize(
    ("options", "settings", "status", "says"),
    [
        (["--listen", "0.0.0.0:0"], {}, 1, "EPHEMERA_ISSUER: must be set"),
        (
            ["--listen", "0.0.0.0:0", "--issuer", "https://tokens.internal"],
            {},
            1,
            "EPHEMERA_TLS_ENDS_IN_FRONT=true",
        ),
        (
            ["--private-listen", "0.0.0.0:0"],
            {"EPHEMERA_LISTEN": "127.0.0.1:0"},
            1,
            "EPHEMERA_PRIVATE_LISTEN: 0.0.0.0 can be reached from other machines",
        ),
        (["--private-listen", "here"], {}, 1, "EPHEMERA_PRIVATE_LISTEN: must be HOST:PORT"),
        (["--log-format", "xml"], {}, 1, "EPHEMERA_LOG_FORMAT: must be 'json' or 'console'"),
        (["--log-level", "loud"], {}, 1, "EPHEMERA_LOG_LEVEL: must be"),
        (["--traces", "http://collector.internal:4318"], {}, 1, "EPHEMERA_TRACES: must be https"),
        (["--issuer", "http://tokens.internal"], {}, 1, "EPHEMERA_ISSUER: must be https"),
        (["--algorithm", "HS256"], {}, 1, "EPHEMERA_ALGORITHM: must be"),
        ([], {"EPHEMERA_ISSUR": "https://tokens.internal"}, 1, "EPHEMERA_ISSUR: no such setting"),
        (["--secrets-dir", "s"], {}, 2, "is only for --dev"),
        (["--dev", "registry.toml", "--database-url", "sqlite:///x.db"], {}, 2, "in memory"),
        (["--dev", "registry.toml", "--sealing-key-file", "x"], {}, 2, "in memory"),
        (["--dev", "registry.toml", "--replay-url", "sqlite:///x.db"], {}, 2, "in memory"),
        (["--replay-url", "sqlite://"], {}, 1, "EPHEMERA_REPLAY_URL: must be sqlite:///PATH"),
        (["--jwks-uri-hosts", "https://x"], {}, 1, "EPHEMERA_JWKS_URI_HOSTS: must be host names"),
        (["--dev", "missing.toml"], {}, 2, "does not exist"),
        (
            ["--dev", "registry.toml", "--listen", "0.0.0.0:0"],
            {"EPHEMERA_ISSUER": "https://tokens.internal", "EPHEMERA_TLS_ENDS_IN_FRONT": "true"},
            1,
            "--dev is for loopback",
        ),
        (["--dev", "wrong.toml"], {}, 1, "wrong.toml:1"),
    ],
)
@pytest.mark.usefixtures("own_logging")
def test_a_start_that_cannot_be_right_is_refused_before_anything_is_made(  # noqa: PLR0917 - one case
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    settings: dict[str, str],
    status: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "registry.toml").write_text(REGISTRY)
    (tmp_path / "wrong.toml").write_text("[[client]]\n")
    with pytest.raises(SystemExit) as ended:
        main(["serve", *options])
    output, errors = capsys.readouterr()
    assert ended.value.code == status, errors
    # A usage error is wrapped in a box, at any space.
    assert says.replace(" ", "") in "".join(errors.replace("\u2502", "").split())
    assert output == ""
    assert "Traceback" not in errors
    assert {file.name for file in tmp_path.iterdir()} == {"registry.toml", "wrong.toml"}
