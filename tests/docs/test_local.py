"""docs/local.md: the services of examples/local run together and end together; TLS of one's own."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, get_args

import pytest
from docs.pages import ROOT, blocks
from docs.running import shell, without_settings

from ephemera_client.failure import FailureCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "docs/local.md"
RUN, AUTHORITY, SERVED = blocks(PAGE, "sh")
PATIENCE = 90


class Together:
    """The services of the page, running; `said` is what has come out of them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def until(self, text: str, *, times: int = 1) -> None:
        """Read on until that many more lines hold `text`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            times -= text in line
            if not times:
                return
        pytest.fail("".join(self.said))

    def ports(self) -> list[int]:
        lines = [line for line in self.said if "(listening on " in line]
        return [int(line.rstrip(")\n").rpartition(":")[2]) for line in lines]

    def rest(self) -> str:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)
        self.process.wait()
        return "".join(self.said)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, as a reader has it to edit."""
    copied = tmp_path / "examples" / "local"
    copied.mkdir(parents=True)
    for file in (ROOT / "examples" / "local").iterdir():
        if file.is_file():
            (copied / file.name).write_bytes(file.read_bytes())
    return copied


@contextmanager
def together(folder: Path) -> Iterator[Together]:
    """Run the page's command, on ports that are free."""
    _, script = RUN.split()
    process = subprocess.Popen(
        [sys.executable, script, "--free-ports"],
        cwd=folder.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = threading.Timer(PATIENCE, process.terminate)
    watchdog.start()
    try:
        yield Together(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)
        watchdog.cancel()
        if process.stdout is not None:
            process.stdout.close()


def nobody_listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) != 0


def test_the_services_call_each_other_until_ctrl_c_ends_them_all(folder: Path) -> None:
    with together(folder) as services:
        services.until('orders  | {"for":"orders","of":"a box of screws"}', times=2)
        ports = services.ports()
        assert len(ports) == 3
        services.process.send_signal(signal.SIGINT)
        assert services.rest().endswith("ending all\n")
    assert services.process.returncode == 0
    assert all(nobody_listens(port) for port in ports)


def test_they_end_when_the_machine_says_so_too_however_few_have_started(folder: Path) -> None:
    with together(folder) as services:
        services.until("issuer  | ephemera: serving")
        services.process.send_signal(signal.SIGTERM)
        services.rest()
    assert services.process.returncode == 0
    assert all(nobody_listens(port) for port in services.ports())


def test_a_grant_that_is_taken_away_ends_the_calls_and_then_everything(folder: Path) -> None:
    registry = folder / "registry.toml"
    text = registry.read_text()
    grant = text[text.index('[[grants]]\nclient = "orders"') : text.rindex("[[grants]]")]
    with together(folder) as services:
        services.until('"of":"a box of screws"')
        registry.write_text(text.replace(grant, ""))
        said = services.rest()
    assert "refused a token to client 'orders'" in said
    assert said.endswith("orders has ended, and with it the others\n")
    assert services.process.returncode == 1
    assert all(nobody_listens(port) for port in services.ports())


def test_a_service_that_cannot_start_ends_those_that_did(folder: Path) -> None:
    (folder / "stock.py").write_text("raise SystemExit('no shelves')\n")
    with together(folder) as services:
        said = services.rest()
    assert "stock   | no shelves" in said
    assert said.endswith("stock did not start\n")
    assert services.process.returncode == 1
    assert all(nobody_listens(port) for port in services.ports())


@pytest.fixture
def environment() -> dict[str, str]:
    """A shell on a machine where two ports are free."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        ports = [str(listener.getsockname()[1]) for listener in (one, other)]
    inherited = without_settings()
    return inherited | {
        "ISSUER_PORT": ports[0],
        "TLS_PORT": ports[1],
        "EPHEMERA_LISTEN": f"127.0.0.1:{ports[0]}",
        "EPHEMERA_PRIVATE_LISTEN": "127.0.0.1:0",
    }


def here(environment: dict[str, str], text: str) -> str:
    """The text with this test's free ports and the project's files."""
    text = text.replace("8743", environment["TLS_PORT"]).replace("8700", environment["ISSUER_PORT"])
    return text.replace("examples/local/", f"{ROOT}/examples/local/")


def test_the_page_lists_every_cause_that_tls_can_have() -> None:
    causes = {code for code in get_args(FailureCode) if code.startswith("tls_")}
    listed = re.findall(r"^\| `(tls_\w+)` \|", (ROOT / PAGE).read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(causes)
    assert all(f"`{code}`" in (ROOT / "docs/errors.md").read_text() for code in causes)


# After the page's sample: it works, and without the file it would not.
TRYING = """
from ephemera_client import KeysUnavailable

with tokens:
    print(verifier.verify(tokens.get(verifier.audience)))
try:
    Verifier(
        issuer=verifier.issuer,
        audience=verifier.audience,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(),
    ).warm()
except KeysUnavailable as error:
    print(error)
"""


def test_an_authority_of_ones_own_is_made_trusted_and_needed(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (sample,) = blocks(PAGE, "python")
    (tmp_path / "sample.py").write_text(here(environment, sample + TRYING))
    commands = AUTHORITY + here(environment, SERVED) + "python -W error sample.py\n"
    status, said, errors = shell(commands, tmp_path, environment)
    assert status == 0, said + errors
    assert "valid: from 'orders', scopes 'invoices:read'" in said
    assert "AccessToken(client_id='orders'" in said
    assert "tls_unknown_authority: the server's certificate is signed by no authority" in said
    # As strict as Python 3.13 and later are about what an authority signs.
    strict = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(tmp_path / "tokens.pem", tmp_path / "tokens.key")
    assert handshake(strict, own)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """Say whether the two agree, without a socket in between."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    called = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (caller, called):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return caller.version() is not None
