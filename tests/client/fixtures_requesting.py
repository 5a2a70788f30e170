"""Real servers on loopback, and an issuer among them, for tests of whatever sends requests."""

import contextlib
import datetime as dt
import http.server
import ipaddress
import json
import os
import secrets
import signal
import socket
import ssl
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ephemera_client.jwk import thumbprint


class Asked(NamedTuple):
    """A request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Asked], Reply]


class Server:
    """What is listening, and the requests that have come in so far."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.asked: list[Asked] = []


@contextlib.contextmanager
def serving(handler: Handler, *, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve HTTP/1.1 with keep-alive, a thread a connection, on a free port of 127.0.0.1."""

    class _Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5
        disable_nagle_algorithm = True
        wbufsize = -1

        def _answer(self) -> None:
            asked = Asked(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(int(self.headers.get("content-length", 0))),
            )
            server.asked.append(asked)
            reply = handler(asked)
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    class _Listener(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 300

        def handle_error(self, request: object, client_address: object) -> None:
            # A client that hangs up or refuses the certificate is what many tests are about.
            pass

    listener = _Listener(("127.0.0.1", 0), _Handler)
    scheme = "http"
    if tls is not None:
        listener.socket = tls.wrap_socket(
            listener.socket, server_side=True, do_handshake_on_connect=False
        )
        scheme = "https"
    server = Server(f"{scheme}://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.socket.close()


@contextlib.contextmanager
def talking(script: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accept connections and let `script` write what no HTTP server would; yields the origin."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                script(peer)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _drip(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(500):
        peer.sendall(b" ")
        threading.Event().wait(0.02)


def _endless_header(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(10_000):
        peer.sendall(b"x" * 10_000)


def _no_answer(peer: socket.socket) -> None:
    peer.recv(10_000)
    peer.recv(10_000)


PLAYING_FOR_TIME = [_drip, _endless_header, _no_answer]
"""Scripts of a server that keeps a caller waiting, each in another way."""


def closed_port() -> int:
    """Return a port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def forked(work: Callable[[], bytes]) -> bytes:
    """Return what `work` returns in a forked child; nothing, if it raises or hangs there."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            os.write(writing, work())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        returned = pipe.read()
    os.waitpid(child, 0)
    return returned


class Certificate(NamedTuple):
    """A self-signed certificate: its own authority."""

    tls: ssl.SSLContext
    file: Path


def certificate(
    directory: Path, *, name: str = "127.0.0.1", days: tuple[int, int] = (-1, 1)
) -> Certificate:
    """Make one for the address or host `name`, valid between two days counted from today."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    today = dt.datetime.now(dt.UTC)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today + dt.timedelta(days=days[0]))
        .not_valid_after(today + dt.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "authority.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both = directory / "server.pem"
    both.write_bytes(
        file.read_bytes()
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(both)
    return Certificate(tls, file)


class Issuer:
    """Mints real tokens, and answers like an issuer at the origin that `serving` gives it.

    What `planned` holds is answered to token requests first, in order; `None` stands for success.
    `metadata` are added to its own, and `said` to what it says of a token.
    """

    def __init__(self) -> None:
        self.origin = "https://tokens.internal"
        self.planned: list[Reply | None] = []
        self.token_requests: list[dict[str, str]] = []
        self.discoveries = 0
        self.clock: Callable[[], int] = lambda: int(time.time())
        self.metadata: dict[str, Any] = {}
        self.said: dict[str, Any] = {"single_use": True}
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._lock = threading.Lock()

    @property
    def jwks(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        x, y = (
            urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
            for number in (numbers.x, numbers.y)
        )
        return {"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "k", "alg": "ES256"}]}

    def mint(self, audience: str, scope: str = "", **changes: Any) -> str:
        now = self.clock()
        claims = {
            "iss": self.origin,
            "sub": "orders",
            "client_id": "orders",
            "aud": audience,
            "scope": scope,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_urlsafe(16),
        } | changes
        headers = {"typ": "at+jwt", "kid": "k"}
        return jwt.encode(claims, self._key, algorithm="ES256", headers=headers)

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/.well-known/oauth-authorization-server":
            self.discoveries += 1
            return _json(
                issuer=self.origin,
                token_endpoint=f"{self.origin}/oauth2/token",
                jwks_uri=f"{self.origin}/jwks",
                **self.metadata,
            )
        if asked.path == "/jwks":
            return _json(**self.jwks)
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        _, _, basic = asked.headers.get("authorization", "").partition(" ")
        with self._lock:
            self.token_requests.append(form | {"basic": b64decode(basic).decode()})
            planned = self.planned.pop(0) if self.planned else None
        if planned is not None:
            return planned
        proof = asked.headers.get("dpop")
        # Bound to the key of the proof, which is not checked here.
        bound = {} if proof is None else {"cnf": {"jkt": thumbprint(_jwk_in(proof))}}
        first, *others = (
            self.mint(form["resource"], form.get("scope", ""), **bound)
            for _ in range(int(form.get("count", "1")))
        )
        return _json(
            access_token=first,
            token_type="DPoP" if bound else "Bearer",
            expires_in=int(form.get("lifetime", "120")),
            scope=form.get("scope", ""),
            **self.said,
            **({"additional_tokens": others} if others else {}),
        )


@contextlib.contextmanager
def issuing(*, tls: ssl.SSLContext | None = None, **metadata: Any) -> Iterator[Issuer]:
    """Serve an issuer on loopback."""
    issuer = Issuer()
    issuer.metadata = metadata
    with serving(issuer.answer, tls=tls) as server:
        issuer.origin = server.origin
        yield issuer


def _jwk_in(proof: str) -> dict[str, Any]:
    jwk: dict[str, Any] = jwt.get_unverified_header(proof)["jwk"]
    return jwk


def _json(**members: Any) -> Reply:
    return Reply(200, json.dumps(members).encode(), (("Content-Type", "application/json"),))
