"""Callers that mint and revoke without a break, and remember all that was acknowledged to them."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from system.deployment import AUDIENCE, Deployment, eventually

CALLERS = 3
REVOKE_EVERY = 4
TRIES = 6000
PAUSE = 0.02
"""Seconds between two requests of a caller: the issuer is to be busy, and not the callers alone."""


@dataclass
class Remembered:
    """What an issuer has answered to, and what it was asked without an answer."""

    spent: list[dict[str, str]] = field(default_factory=list, repr=False)
    """Requests with an assertion that were granted."""
    unanswered: list[dict[str, str]] = field(default_factory=list, repr=False)
    """Requests with an assertion that may have been granted."""
    tokens: list[str] = field(default_factory=list, repr=False)
    revoked: list[str] = field(default_factory=list, repr=False)
    """The ids of tokens whose revocation was answered with 200."""


def decoded(token: str, part: int) -> dict[str, Any]:
    """One of the two JSON parts of a token, read without a check."""
    segment = token.split(".")[part]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return read


class Load:
    """Mints by assertion and by secret, and revokes some of it, at `url` as it is just then."""

    def __init__(self, deployment: Deployment, url: str) -> None:
        self.url = url
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.unexpected: list[str] = []
        self._deployment = deployment
        self._remembered = Remembered()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def count(self, kind: str, status: int) -> int:
        return self.statuses[kind, status]

    def wait_for(self, more: int, *, kind: str = "assertion", status: int = 200) -> None:
        """Wait for so many answers of that kind from now on."""
        enough = self.count(kind, status) + more
        eventually(
            lambda: self.count(kind, status) >= enough,
            f"not enough: {self.statuses} {self.unexpected[-3:]}",
            tries=TRIES,
        )

    def take(self) -> Remembered:
        """What is remembered, to begin anew with nothing."""
        with self._lock:
            taken, self._remembered = self._remembered, Remembered()
        return taken

    def _call(self) -> None:
        number = 0
        while not self._stop.is_set():
            url = self.url
            with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
                while not self._stop.is_set() and self.url == url:
                    number += 1
                    step = self._mint_and_revoke if number % REVOKE_EVERY == 0 else self._spend
                    step(http)
                    self._stop.wait(PAUSE)

    def _spend(self, http: httpx.Client) -> None:
        form = self._deployment.form()
        answered = False
        try:
            answer = http.post("/oauth2/token", data=form)
            answered = answer.status_code < 500
        except httpx.ConnectError:
            return  # so nobody has it
        except httpx.TransportError:
            pass
        else:
            if self._note("assertion", answer):
                with self._lock:
                    self._remembered.spent.append(form)
        if not answered:
            with self._lock:
                self._remembered.unanswered.append(form)

    def _mint_and_revoke(self, http: httpx.Client) -> None:
        with suppress(httpx.TransportError):
            token = self._note("secret", self._deployment.ask(http, ""))
            if not token:
                return
            secret = ("reports", self._deployment.secret)
            answer = http.post("/oauth2/revoke", data={"token": token}, auth=secret)
            self._note("revocation", answer)
            if answer.status_code == 200:
                with self._lock:
                    self._remembered.revoked.append(decoded(token, 1)["jti"])

    def _note(self, kind: str, answer: httpx.Response) -> str:
        """Count an answer; the token, if there is one."""
        status = answer.status_code
        with self._lock:
            self.statuses[kind, status] += 1
        if status != 200:
            self.unexpected.append(f"{kind} {status} {answer.headers} {answer.text}")
            return ""
        if kind == "revocation":
            return ""
        token: str = answer.json()["access_token"]
        assert decoded(token, 1)["aud"] == AUDIENCE
        with self._lock:
            self._remembered.tokens.append(token)
        return token
