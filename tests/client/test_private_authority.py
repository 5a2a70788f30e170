"""A private authority: trusted where `ca_file=` names it, and each way to get it wrong is named."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx
import pytest
from client.fixtures_authority import Authority
from client.fixtures_requesting import Reply, certificate, issuing, serving

from ephemera_client import (
    AsyncTokenClient,
    AsyncVerifier,
    ClientSecret,
    IssuerUnavailable,
    KeysUnavailable,
    NoReplayCache,
    Target,
    TokenClient,
    Verifier,
)
from ephemera_client.__main__ import main
from ephemera_client.testing import FakeIssuer

AUDIENCE = "https://billing.internal"

Reach = Callable[[str, Path | None], None]


def verify(issuer: str, ca_file: Path | None) -> None:
    Verifier(
        issuer=issuer,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=NoReplayCache(),
        ca_file=ca_file,
    ).warm()


def verify_async(issuer: str, ca_file: Path | None) -> None:
    verifier = AsyncVerifier(
        issuer=issuer,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=NoReplayCache(),
        ca_file=ca_file,
    )
    anyio.run(verifier.warm)


def ask(issuer: str, ca_file: Path | None) -> None:
    credential = ClientSecret("hunter2")
    with TokenClient(issuer, client_id="orders", credential=credential, ca_file=ca_file) as tokens:
        tokens.get(AUDIENCE)


def ask_async(issuer: str, ca_file: Path | None) -> None:
    async def get() -> None:
        credential = ClientSecret("hunter2")
        async with AsyncTokenClient(
            issuer, client_id="orders", credential=credential, ca_file=ca_file
        ) as tokens:
            await tokens.get(AUDIENCE)

    anyio.run(get)


@pytest.fixture(params=[verify, verify_async, ask, ask_async], ids=lambda reach: reach.__name__)
def reach(request: pytest.FixtureRequest) -> Reach:
    flavour: Reach = request.param
    return flavour


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.contextmanager
def issuer_with(tls: ssl.SSLContext | None) -> Iterator[str]:
    """Yield where an issuer answers; without TLS, where it only seems to."""
    with issuing(tls=tls) as issuer:
        yield issuer.origin.replace("http:", "https:")


def test_an_authority_that_is_named_is_trusted(reach: Reach, authority: Authority) -> None:
    with issuer_with(authority.server()) as issuer:
        reach(issuer, authority.file)


def test_the_authority_is_one_that_strict_clients_take(authority: Authority) -> None:
    strict = ssl.create_default_context(cafile=authority.file)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    with issuing(tls=authority.server()) as issuer:
        port = int(issuer.origin.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as connection,
            strict.wrap_socket(connection, server_hostname="127.0.0.1") as peer,
        ):
            assert peer.version()


class Mistake(NamedTuple):
    """What the server has, which authority the client was told of, and what tells of it."""

    server: Callable[[Path], ssl.SSLContext | None]
    trusted: Callable[[Path], Path | None]
    cause_code: str
    advice: str


def _own(folder: Path) -> Authority:
    return Authority(folder / "own")


MISTAKES = {
    "nobody was named": Mistake(
        lambda folder: _own(folder).server(),
        lambda _: None,
        "tls_unknown_authority",
        "name a private one with ca_file=",
    ),
    "another was named": Mistake(
        lambda folder: _own(folder).server(),
        lambda folder: Authority(folder / "another").file,
        "tls_unknown_authority",
        "name a private one with ca_file=",
    ),
    "it is self-signed": Mistake(
        lambda folder: certificate(folder).tls,
        lambda folder: Authority(folder / "another").file,
        "tls_unknown_authority",
        "name a private one with ca_file=",
    ),
    "it names another host": Mistake(
        lambda folder: _own(folder).server("other.internal"),
        lambda folder: folder / "own" / "ca.pem",
        "tls_host_mismatch",
        "issue one that holds this name as a subjectAltName",
    ),
    "it has expired": Mistake(
        lambda folder: _own(folder).server(days=(-3, -2)),
        lambda folder: folder / "own" / "ca.pem",
        "tls_certificate_expired",
        "renew it",
    ),
    "it is not valid yet": Mistake(
        lambda folder: _own(folder).server(days=(2, 3)),
        lambda folder: folder / "own" / "ca.pem",
        "tls_certificate_expired",
        "compare the clocks",
    ),
    "the authority has expired": Mistake(
        lambda folder: Authority(folder / "own", days=(-3, -2)).server(),
        lambda folder: folder / "own" / "ca.pem",
        "tls_certificate_expired",
        "of its authority",
    ),
    "it is a client's": Mistake(
        lambda folder: _own(folder).server(for_servers=False),
        lambda folder: folder / "own" / "ca.pem",
        "tls_certificate_unfit",
        "extendedKeyUsage",
    ),
    "there is no TLS": Mistake(
        lambda _: None,
        lambda folder: _own(folder).file,
        "tls_not_spoken",
        "another port, or plain http",
    ),
}


@pytest.fixture(params=MISTAKES.values(), ids=list(MISTAKES))
def mistake(request: pytest.FixtureRequest) -> Mistake:
    made: Mistake = request.param
    return made


def test_a_mistake_is_named_and_the_error_says_what_to_do(
    reach: Reach, mistake: Mistake, tmp_path: Path
) -> None:
    with issuer_with(mistake.server(tmp_path)) as issuer:
        trusted = mistake.trusted(tmp_path)
        with pytest.raises((KeysUnavailable, IssuerUnavailable)) as told:
            reach(issuer, trusted)
    assert isinstance(told.value, KeysUnavailable | IssuerUnavailable)
    assert told.value.cause_code == mistake.cause_code
    assert mistake.advice in str(told.value)


@pytest.mark.parametrize("command", ["token", "verify"])
def test_the_commands_name_it_too_and_take_the_authority(
    command: str,
    mistake: Mistake,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret_file = tmp_path / "orders.secret"
    secret_file.write_text("hunter2")
    arguments = {
        "token": [AUDIENCE, "--client-id", "orders", "--secret-file", str(secret_file)],
        "verify": [FakeIssuer().mint(AUDIENCE), "--audience", AUDIENCE],
    }[command]
    with issuer_with(mistake.server(tmp_path)) as issuer:
        trusted = mistake.trusted(tmp_path)
        naming = ["--ca-file", str(trusted)] if trusted else []
        assert main([command, *arguments, "--issuer", issuer, *naming]) == 1
        said = capsys.readouterr().err
        assert f"({mistake.cause_code})" in said
        assert mistake.advice in said
    with issuing(tls=authority.server()) as right:
        naming = ["--issuer", right.origin, "--ca-file", str(authority.file)]
        raw = ["verify", right.mint(AUDIENCE), "--audience", AUDIENCE]
        assert main([*([command, *arguments] if command == "token" else raw), *naming]) == 0


def test_a_transport_trusts_the_authority_of_its_client(authority: Authority) -> None:
    tls = authority.server()
    with issuing(tls=tls) as issuer, serving(lambda _: Reply(200, b"in"), tls=tls) as api:
        credential = ClientSecret("hunter2")
        with TokenClient(
            issuer.origin, client_id="orders", credential=credential, ca_file=authority.file
        ) as tokens:
            transport = tokens.transport({api.origin: Target(AUDIENCE)})
            with httpx.Client(transport=transport) as http:
                assert http.get(api.origin).text == "in"
