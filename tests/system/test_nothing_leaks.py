"""Every endpoint, with good requests and bad ones, and then a search of all that was said.

The level `debug` is the most that is ever logged: what the others log is a part of it.
"""

from __future__ import annotations

import base64
import os
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest
from issuer.fixtures_collector import Collector
from issuer.fixtures_minting import SECRET, basic
from system.deployment import AUDIENCE, ISSUER, TESTS, Deployment
from system.observing import exposition, private_url
from system.running import threads_client

from ephemera_client import PrivateKeyJWT
from ephemera_issuer.demo.process import Service

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

ASKED = {"grant_type": "client_credentials", "resource": AUDIENCE}
MADE_UP = "made-up-secret-Zk3vQ9dLw7Xn"


class Drive:
    """Requests to one issuer, and every secret that has gone over a wire or lies on its disk."""

    def __init__(self, deployment: Deployment, service: Service) -> None:
        self.secrets = {MADE_UP, deployment.secret}
        self.statuses: dict[str, set[int]] = {}
        self._deployment = deployment
        self._public, self._private = service.url, private_url(service)
        self._http = threads_client(1)
        for file in ("orders.pem", "ephemera.sealing-key"):
            text = (deployment.folder / file).read_text()
            self.secrets |= {
                line for line in text.splitlines() if len(line) > 20 and "-" not in line
            }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def post(self, path: str, form: dict[str, str], **more: Any) -> httpx.Response:
        return self._take("POST", self._public, path, data=form, **more)

    def get(self, path: str, *, private: bool = False, **more: Any) -> httpx.Response:
        return self._take("GET", self._private if private else self._public, path, **more)

    def _take(self, method: str, base: str, path: str, **more: Any) -> httpx.Response:
        answer = self._http.request(method, base + path, **more)
        self.statuses.setdefault(path.partition("?")[0], set()).add(answer.status_code)
        return answer

    def raw(self, sent: bytes, *, private: bool = False) -> None:
        at = urlsplit(self._private if private else self._public)
        with socket.create_connection((at.hostname or "", at.port or 0), timeout=30) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def proof(self, issuer: str = ISSUER, **more: str) -> dict[str, str]:
        """A form with an assertion, which is a secret too."""
        form = self._deployment.credential.prove("orders", issuer=issuer).form
        self.secrets |= parts(form["client_assertion"])
        return {**ASKED, **form, **more}

    def own(self) -> tuple[str, str]:
        return "reports", self._deployment.secret

    def token(self) -> str:
        answer = self.post("/oauth2/token", ASKED, auth=self.own())
        token: str = answer.json()["access_token"]
        self.secrets |= parts(token)
        return token

    def said_none_of_it_in(self, said: str) -> None:
        for secret in self.secrets:
            assert secret not in said, secret
            assert base64.b64encode(f"reports:{secret}".encode()).decode() not in said


def parts(jwt: str) -> set[str]:
    """A token as a whole, what it says, and its signature."""
    _, said, signature = jwt.split(".")
    return {jwt, said, signature}


def by_secret(drive: Drive) -> None:
    drive.token()
    several = drive.post("/oauth2/token", ASKED | {"count": "3"}, auth=drive.own()).json()
    for token in (several["access_token"], *several["additional_tokens"]):
        drive.secrets |= parts(token)
    for auth in (("reports", MADE_UP), (MADE_UP, MADE_UP), ("orders", MADE_UP)):
        drive.post("/oauth2/token", ASKED, auth=auth)
    for more in (
        {"scope": MADE_UP},
        {"resource": MADE_UP},
        {"resource": f"https://{MADE_UP}.internal"},
        {"grant_type": MADE_UP},
        {"lifetime": MADE_UP},
        {"count": MADE_UP},
        {"client_secret": MADE_UP, "client_id": "reports"},
        {MADE_UP: MADE_UP},
    ):
        drive.post("/oauth2/token", ASKED | more, auth=drive.own())
    drive.post("/oauth2/token", ASKED, headers={"Authorization": f"Bearer {MADE_UP}"})
    drive.post("/oauth2/token", ASKED, headers={"Authorization": f"Basic {MADE_UP}"})
    for kind in ("application/json", f"text/{MADE_UP}"):
        headers = {"Content-Type": kind}
        drive.post("/oauth2/token", {"client_secret": MADE_UP}, headers=headers)
    drive.post("/oauth2/token", {"client_secret": MADE_UP * 4000}, auth=drive.own())
    drive.post(f"/oauth2/token?client_secret={MADE_UP}", ASKED, auth=drive.own())
    drive.get(f"/oauth2/token?client_secret={MADE_UP}")


def by_assertion(drive: Drive, stranger: PrivateKeyJWT) -> None:
    used = drive.proof()
    drive.secrets |= parts(drive.post("/oauth2/token", used).json()["access_token"])
    drive.post("/oauth2/token", used)
    drive.post("/oauth2/token", drive.proof("https://elsewhere.internal"))
    drive.post("/oauth2/token", drive.proof(client_id="reports"))
    drive.post("/oauth2/token", drive.proof(scope="admin"))
    drive.post("/oauth2/token", drive.proof(), auth=drive.own())
    forged = stranger.prove("orders", issuer=ISSUER).form
    drive.secrets |= parts(forged["client_assertion"])
    drive.post("/oauth2/token", {**ASKED, **forged})
    for text in (MADE_UP, f"{MADE_UP}.{MADE_UP}.{MADE_UP}", used["client_assertion"][:-9]):
        drive.post("/oauth2/token", used | {"client_assertion": text})
    drive.post("/oauth2/token", used | {"client_assertion_type": MADE_UP})


def other_endpoints(drive: Drive) -> None:
    token = drive.token()
    for path in ("/oauth2/introspect", "/oauth2/revoke"):
        for text in (token, MADE_UP, token[:-4] + "AAAA"):
            drive.post(path, {"token": text}, auth=drive.own())
            drive.post(path, {"token": text}, auth=("reports", MADE_UP))
            drive.post(path, {"token": text, "token_type_hint": MADE_UP})
        proof = drive.proof()
        drive.post(path, {**proof, "token": token})
        drive.post(path, {**proof, "token": token})
        drive.post(f"{path}?token={token}", {}, auth=drive.own())
    for path in (
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/v1/revocations",
        "/healthz",
        "/readyz",
        f"/{MADE_UP}",
        f"/oauth2/token/{token}",
    ):
        headers = {"Authorization": f"Bearer {token}", "traceparent": MADE_UP, "Cookie": MADE_UP}
        drive.get(f"{path}?access_token={token}", headers=headers)
    drive.get(f"/v1/revocations?after={MADE_UP}&epoch={token}")
    for path in ("/metrics", "/healthz", f"/{MADE_UP}", f"/admin/v1/clients/{MADE_UP}"):
        headers = {"Authorization": f"Bearer {token}", "X-Request-Id": MADE_UP}
        drive.get(f"{path}?access_token={token}", private=True, headers=headers)


def broken_http(drive: Drive) -> None:
    head = f"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {MADE_UP}\r\n"
    for private in (False, True):
        for sent in (
            f"{MADE_UP}\r\n\r\n",
            f"{MADE_UP} / HTTP/1.1\r\n\r\n",
            f"GET /{MADE_UP} HTTP/9.9\r\n\r\n",
            f"{head}Content-Length: {MADE_UP}\r\n\r\n",
            f"{head}Transfer-Encoding: chunked\r\n\r\n{MADE_UP}\r\n",
            f"{head}Content-Length: 9000\r\n\r\nclient_secret={MADE_UP}",
            f"{head}{MADE_UP}: {MADE_UP * 4000}",
        ):
            drive.raw(sent.encode(), private=private)


def break_the_ledger(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "ephemera.spent.db", timeout=30)) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            connection.execute(f"DROP TABLE {name}")
        connection.commit()


@pytest.mark.parametrize("form", ["json", "console"])
def test_nothing_that_is_said_holds_a_secret_an_assertion_or_a_token(
    tmp_path: Path, form: str
) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("ephemera_client", "keygen", "stranger")
    stranger = PrivateKeyJWT.from_file(tmp_path / "stranger.pem")
    settings = {
        "EPHEMERA_LOG_FORMAT": form,
        "EPHEMERA_LOG_LEVEL": "debug",
        "EPHEMERA_ACCESS_LOG": "true",
    }
    with Collector() as collector:
        settings["EPHEMERA_TRACES"] = collector.url
        with deployment.start(**settings) as service, Drive(deployment, service) as drive:
            by_secret(drive)
            by_assertion(drive, stranger)
            other_endpoints(drive)
            broken_http(drive)
            break_the_ledger(tmp_path)
            drive.post("/oauth2/token", drive.proof())
            measured = exposition(service)
            assert service.stop() == 0
    assert {200, 400, 401, 405, 413, 415} < drive.statuses["/oauth2/token"]
    assert max(drive.statuses["/oauth2/token"]) >= 500
    assert len(drive.secrets) > 30
    said = "".join(service.output)
    assert said.count("scope_not_granted") > 1
    assert said.count("/oauth2/introspect") > 5
    drive.said_none_of_it_in(said)
    assert measured.count("ephemera_refusals_total{") > 3
    drive.said_none_of_it_in(measured)
    assert len(collector.spans) > 30
    drive.said_none_of_it_in(b"".join(collector.bodies).decode("latin-1"))


def test_a_failure_that_nobody_foresaw_is_logged_without_what_was_at_hand() -> None:
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = ["issuer.fixtures_serving", "forgetful"]
    environment = os.environ | {"PYTHONPATH": path}
    with (
        Service("server", arguments, environment=environment) as service,
        threads_client(1) as http,
    ):
        headers = {"Authorization": basic()}
        asked = http.post(f"{service.url}/oauth2/token", data=ASKED, headers=headers)
        token = asked.json()["access_token"]
        failed = http.post(f"{service.url}/oauth2/revoke", data={"token": token}, headers=headers)
        assert (failed.status_code, failed.json()["error"]) == (500, "server_error")
        assert service.stop() == 0
    said = "".join(service.output)
    assert "LookupError" in said
    assert "Traceback" in said
    for secret in (SECRET, basic().partition(" ")[2], *parts(token)):
        assert secret not in said
