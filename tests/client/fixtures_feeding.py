"""An issuer that publishes keys, and a feed of revocations that does as it is told."""

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from client.fixtures_publishing import FEED, Publisher
from client.fixtures_requesting import Asked, Reply, serving
from client.fixtures_verifying import NOW, SigningKey


def jti(name: str, *, exp: int = NOW + 120) -> dict[str, Any]:
    return {"jti": name, "exp": exp}


def cut_off(moment: int = NOW, **named: str) -> dict[str, Any]:
    return named | {"cut_off": moment, "exp": moment + 900}


def kid(name: str) -> dict[str, Any]:
    return {"kid": name}


def document(*entries: dict[str, Any], **changes: Any) -> bytes:
    whole = {"epoch": "one", "sequence": len(entries), "after": 0, "entries": list(entries)}
    return json.dumps(whole | changes).encode()


class Feeding(Publisher):
    """Answers requests for the feed as the issuer does, long poll included.

    `script` holds what is answered first, in its place; None stands for the feed itself. While
    `down`, there are no answers but 500.
    """

    def __init__(self, *keys: SigningKey) -> None:
        super().__init__(*keys)
        self.epoch = "one"
        self.sequence = 0
        self.entries: list[tuple[int, dict[str, Any]]] = []
        self.script: list[Reply | None] = []
        self.down = False
        self.changed = threading.Condition()

    @property
    def feed_url(self) -> str:
        return self.server.origin + FEED

    @property
    def feed_asked(self) -> list[dict[str, str]]:
        return [
            {name: values[0] for name, values in parse_qs(urlsplit(asked.path).query).items()}
            for asked in self.server.asked
            if asked.path.startswith(FEED)
        ]

    def offer(self) -> None:
        """Name the feed in the metadata."""
        self.metadata = {"ephemera_revocations_endpoint": self.feed_url}

    def revoke(self, *entries: dict[str, Any]) -> None:
        with self.changed:
            for entry in entries:
                self.sequence += 1
                self.entries.append((self.sequence, entry))
            self.changed.notify_all()

    def begin_epoch(self, name: str, *entries: dict[str, Any]) -> None:
        with self.changed:
            self.epoch, self.sequence, self.entries = name, 0, []
        self.revoke(*entries)

    def set_down(self, *, down: bool) -> None:
        with self.changed:
            self.down = down
            self.changed.notify_all()

    def answer(self, asked: Asked) -> Reply:
        if not asked.path.startswith(FEED):
            return super().answer(asked)
        with self.changed:
            scripted = self.script.pop(0) if self.script else None
            if scripted is not None:
                return scripted
            query = parse_qs(urlsplit(asked.path).query)
            after, wait = (int(query.get(name, ["0"])[0]) for name in ("after", "wait"))
            epoch = query.get("epoch", [self.epoch])[0]
            self.changed.wait_for(
                lambda: self.down or epoch != self.epoch or self.sequence > after, wait
            )
            if self.down:
                return Reply(500)
            after = after if epoch == self.epoch else 0
            later = [entry for number, entry in self.entries if number > after]
            return Reply(
                200,
                document(*later, epoch=self.epoch, sequence=self.sequence, after=after),
            )


@contextlib.contextmanager
def feeding(*keys: SigningKey) -> Iterator[Feeding]:
    """Serve these keys and a feed on loopback."""
    made = Feeding(*keys)
    with serving(made.answer) as server:
        made.server = server
        made.offer()
        try:
            yield made
        finally:
            # Nobody is to wait for news of a server that is gone.
            made.set_down(down=True)
            made.gate.set()
