"""deploy/healthcheck.py: yes and no, over HTTP and over TLS."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from client.fixtures_authority import Authority
from deploy.command_lines import DEPLOY
from system.running import run_issuer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path


def ask(path: str, environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", DEPLOY / "healthcheck.py", path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


class _Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(tls: ssl.SSLContext) -> Iterator[int]:
    """A server that is alive and not ready."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Ready)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_issuer_is_alive_and_ready_until_it_is_gone(tmp_path: Path) -> None:
    with run_issuer(tmp_path) as issuer:
        environment = {"EPHEMERA_LISTEN": issuer.url.removeprefix("http://")}
        assert ask("/healthz", environment) == (0, "")
        assert ask("/readyz", environment) == (0, "")
    status, said = ask("/healthz", environment)
    assert status == 1
    assert said.startswith("/healthz: ")


@pytest.mark.parametrize("listen", ["0.0.0.0", "127.0.0.1"])  # noqa: S104 - only asked
def test_over_tls_whatever_name_the_certificate_has(tmp_path: Path, listen: str) -> None:
    tls = Authority(tmp_path).server("tokens.internal")
    with answering(tls) as port:
        environment = {
            "EPHEMERA_LISTEN": f"{listen}:{port}",
            "EPHEMERA_TLS_CERT_FILE": str(tmp_path / "server.pem"),
        }
        assert ask("/healthz", environment) == (0, "")
        assert ask("/readyz", environment) == (1, "/readyz: 503\n")
        assert ask("/healthz", {"EPHEMERA_LISTEN": f"{listen}:{port}"})[0] == 1
