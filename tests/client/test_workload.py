from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from client.fixtures_requesting import Asked, Reply, serving
from client.fixtures_spire import Agent, workload_api
from client.fixtures_verifying import signing_key

from ephemera_client import ConfigurationError, IdentityUnavailable, WorkloadIdentity, compact
from ephemera_client.workload import GitHubActions, SpireAgent, TokenFile, TokenVariable, ambient
from ephemera_client.workload.github import TOKEN, URL
from ephemera_client.workload.spire import SOCKET

if TYPE_CHECKING:
    from collections.abc import Iterator

ISSUER = "https://tokens.internal"
JWT = "eyJhbGciOiJub25lIn0.e30.c2VjcmV0"
NOWHERE = Path("/nonexistent/token")
SPIFFE_ID = "spiffe://cluster.internal/ns/shop/sa/orders"
KEY = signing_key("ES256")


def svid(audience: str) -> str:
    claims = {"sub": SPIFFE_ID, "aud": [audience], "iat": 1_700_000_000, "exp": 4_000_000_000}
    return compact.write({"alg": "ES256", "kid": KEY.kid, "typ": "JWT"}, claims, sign=KEY.sign)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The name of a socket is 107 bytes at most.
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def github() -> Iterator[tuple[dict[str, str], list[Asked]]]:
    """What Actions leave in the environment of a job, and what was asked of them."""

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != "Bearer of the job":
            return Reply(401, b"{}")
        audience = parse_qs(urlsplit(asked.path).query)["audience"][0]
        answers = {
            ISSUER: Reply(200, json.dumps({"count": 1, "value": JWT}).encode()),
            "nothing": Reply(200, b'{"count": 0}'),
            "list": Reply(200, b"[]"),
            "text": Reply(200, b"secret"),
            "number": Reply(200, b'{"value": 7}'),
        }
        return answers.get(audience, Reply(500, b"secret"))

    with serving(answer) as server:
        environ = {URL: f"{server.origin}/token?api-version=2.0", TOKEN: "of the job"}
        yield environ, server.asked


def test_the_proof_names_the_client_beside_the_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(JWT + "\n")
    proof = WorkloadIdentity(TokenFile(file)).prove("orders", issuer=ISSUER)
    assert proof.headers == {}
    assert proof.form == {
        "client_id": "orders",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": JWT,
    }


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    credential = WorkloadIdentity(TokenFile(file))
    with pytest.raises(IdentityUnavailable, match=f"^{file}: No such file or directory$"):
        credential.prove("orders", issuer=ISSUER)
    for token in (JWT, JWT.replace("e30", "e31")):
        file.write_text(token)
        assert credential.prove("orders", issuer=ISSUER).form["client_assertion"] == token


@pytest.mark.parametrize(
    "content", [b"", b"secret", b"a.b", b"a.b.", b"a.b.c.d.e", b"a.b.\xff", b"x" * 20_000]
)
def test_what_is_no_signed_jwt_is_not_sent_and_not_quoted(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(IdentityUnavailable) as caught:
        WorkloadIdentity(TokenFile(file)).prove("orders", issuer=ISSUER)
    assert str(caught.value) == (f"TokenFile({str(file)!r}) gave something other than a signed JWT")


def test_github_is_asked_for_a_token_for_the_issuer(
    github: tuple[dict[str, str], list[Asked]],
) -> None:
    environ, asked = github
    proof = WorkloadIdentity(GitHubActions(environ)).prove("orders", issuer=ISSUER)
    assert proof.form["client_assertion"] == JWT
    assert asked[0].path == "/token?api-version=2.0&audience=https%3A%2F%2Ftokens.internal"


@pytest.mark.parametrize("audience", ["nothing", "list", "text", "number", "failing"])
def test_an_answer_of_github_without_a_token_is_told_and_not_quoted(
    audience: str, github: tuple[dict[str, str], list[Asked]]
) -> None:
    with pytest.raises(IdentityUnavailable) as caught:
        GitHubActions(github[0]).token(audience)
    assert "GitHub Actions answered with" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_github_that_is_away_is_told() -> None:
    with serving(lambda _: Reply(200, b"")) as server:
        origin = server.origin
    source = GitHubActions({URL: f"{origin}/token", TOKEN: "of the job"})
    with pytest.raises(IdentityUnavailable, match=r"^GitHub Actions: "):
        source.token(ISSUER)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "are not set"),
        ({URL: "https://x"}, "are not set"),
        ({URL: "http://elsewhere.test/", TOKEN: "t"}, URL),
        ({URL: "https://x", TOKEN: "t\nx"}, f"{TOKEN} is no token"),
    ],
)
def test_a_job_that_may_not_ask_is_told_at_once(environ: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        GitHubActions(environ)


def test_the_workload_api_is_asked_for_a_svid_for_the_issuer(folder: Path) -> None:
    agent = Agent(SPIFFE_ID, svid)
    with workload_api(folder, agent) as socket:
        proof = WorkloadIdentity(SpireAgent(socket)).prove("orders", issuer=ISSUER)
    assert agent.asked == [[ISSUER]]
    assert proof.form["client_assertion"].count(".") == 2


def test_a_workload_that_the_agent_does_not_know_is_told(folder: Path) -> None:
    with workload_api(folder, Agent(SPIFFE_ID, lambda _: None)) as socket:
        source = SpireAgent(environ={SOCKET: socket})
        with pytest.raises(IdentityUnavailable, match=f"^the Workload API at {socket} gave no"):
            source.token(ISSUER)


@pytest.mark.parametrize("socket", ["", "tcp://elsewhere.test:80", "nonsense"])
def test_a_socket_that_is_none_is_a_mistake_of_the_program(socket: str) -> None:
    with pytest.raises(ConfigurationError):
        SpireAgent(socket, environ={})


def test_a_variable_that_is_not_set_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ConfigurationError, match=r"^the variable MISSING is not set$"):
        TokenVariable("MISSING", {})


def test_each_platform_is_found_where_it_is_the_only_one(
    tmp_path: Path, folder: Path, github: tuple[dict[str, str], list[Asked]]
) -> None:
    mounted = tmp_path / "token"
    with workload_api(folder, Agent(SPIFFE_ID, svid)) as socket:
        spire = {SOCKET: socket}
        assert isinstance(ambient.find(spire, mounted=NOWHERE), SpireAgent)
        assert isinstance(ambient.find(github[0], mounted=NOWHERE), GitHubActions)
        mounted.write_text(JWT)
        assert isinstance(ambient.find({}, mounted=mounted), TokenFile)
        for several in ({**spire, **github[0]}, spire, github[0]):
            with pytest.raises(ConfigurationError, match="is both of "):
                ambient.find(several, mounted=mounted)
        named = ambient.find({ambient.FILE: str(mounted), **spire}, mounted=mounted)
        assert isinstance(named, TokenFile)
        given = ambient.find({ambient.VARIABLE: JWT, **spire}, mounted=mounted)
        assert given.token(ISSUER) == JWT


def test_no_platform_is_told_with_what_can_be_done() -> None:
    with pytest.raises(ConfigurationError, match=f"set {ambient.FILE} or {ambient.VARIABLE}$"):
        ambient.find({}, mounted=NOWHERE)


def test_nothing_shows_a_token(github: tuple[dict[str, str], list[Asked]]) -> None:
    environ = {ambient.VARIABLE: JWT}
    for shown in (
        WorkloadIdentity.find(environ),
        TokenVariable(ambient.VARIABLE, environ),
        GitHubActions(github[0]),
    ):
        assert JWT not in repr(shown)
        assert "of the job" not in repr(shown)
    with pytest.raises(TypeError):
        WorkloadIdentity.find(environ).__reduce__()
