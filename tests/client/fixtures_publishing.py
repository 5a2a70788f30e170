"""An issuer that only publishes: metadata and keys on a real server, which does as it is told."""

import contextlib
import json
import threading
from collections.abc import Iterator

from client.fixtures_requesting import Asked, Reply, Server, serving
from client.fixtures_verifying import SigningKey

JWKS = "/jwks.json"
FEED = "/v1/revocations"
METADATA = "/.well-known/oauth-authorization-server"


def jwks_of(*keys: SigningKey) -> bytes:
    return json.dumps({"keys": [key.jwk for key in keys]}).encode()


class Publisher:
    """Answers every request for keys with `reply`, once `gate` is open."""

    def __init__(self, *keys: SigningKey) -> None:
        self.reply = Reply(200, jwks_of(*keys), (("Content-Type", "application/jwk-set+json"),))
        self.metadata: dict[str, object] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self.server = Server("")

    @property
    def issuer(self) -> str:
        return self.server.origin

    @property
    def url(self) -> str:
        return self.server.origin + JWKS

    @property
    def loads(self) -> list[Asked]:
        return [asked for asked in self.server.asked if asked.path == JWKS]

    def publish(self, *keys: SigningKey) -> None:
        self.reply = Reply(200, jwks_of(*keys))

    def answer(self, asked: Asked) -> Reply:
        if asked.path == METADATA:
            metadata = {
                "issuer": self.issuer,
                "jwks_uri": self.url,
                "token_endpoint": f"{self.issuer}/oauth2/token",
            } | self.metadata
            return Reply(200, json.dumps(metadata).encode())
        self.arrived.set()
        self.gate.wait(10)
        return self.reply


@contextlib.contextmanager
def publishing(*keys: SigningKey) -> Iterator[Publisher]:
    """Serve these keys on loopback."""
    publisher = Publisher(*keys)
    with serving(publisher.answer) as server:
        publisher.server = server
        try:
            yield publisher
        finally:
            publisher.gate.set()
