"""Callers in processes of their own: they keep a pace, know each answer beforehand, and count.

They count in the words of the metrics (and of the audit): a sample's name and its labels. So what
they have counted can be held against what an issuer tells, with nothing in between.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from base64 import b64encode
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, wait
from itertools import count
from multiprocessing import get_context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

from system.loading import decoded

from ephemera_client import PrivateKeyJWT
from ephemera_issuer.edge.metadata import (
    INTROSPECTION_PATH,
    KEYS_PATH,
    METADATA_PATHS,
    TOKEN_PATH,
)
from ephemera_issuer.metrics.families import NONE, OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ISSUER = "https://tokens.internal"
BILLING = "https://billing.internal"
STORE = "https://store.internal"
SCOPE = "read"
REGISTRY = f"""
[[audiences]]
id = "{BILLING}"
scopes = ["{SCOPE}"]
introspected_by = ["reports"]

[[audiences]]
id = "{STORE}"
scopes = ["{SCOPE}"]

[[clients]]
id = "orders"
jwks_file = "orders.jwks.json"

[[clients]]
id = "reports"
secret = "generate"

[[grants]]
client = "orders"
audience = "{BILLING}"
scopes = ["{SCOPE}"]

[[grants]]
client = "reports"
audience = "{BILLING}"
scopes = ["{SCOPE}"]

[[grants]]
client = "reports"
audience = "{STORE}"
scopes = ["{SCOPE}"]
"""
PROCESSES = 2
THREADS = 4
"""Callers in each process, each with a connection of its own."""
MANY = 50
"""Tokens that one request asks for, where it asks for several."""
_A_CONNECTION = 1000
"""Requests on one connection: then comes a new one, which another worker may take."""
_PATIENCE = 30
_TOLD = 20
"""Of what is unexpected, each caller tells so much."""
_NO_PROOF: Mapping[str, str] = MappingProxyType({})

Sample = tuple[str, frozenset[tuple[str, str]]]


def sample(name: str, **labels: str) -> Sample:
    """The key of a number, as `issuer.fixtures_observing.samples` has it."""
    return name, frozenset(labels.items())


class Callee(NamedTuple):
    """Whom to call, and what its clients know."""

    url: str
    secret: str
    key_file: Path


class Called(NamedTuple):
    """What callers have counted. `unexpected` has the first of what no answer should have been."""

    requests: int
    counted: Counter[Sample]
    unexpected: list[str]

    def __add__(self, other: object) -> Called:
        if not isinstance(other, Called):
            return NotImplemented
        return Called(
            self.requests + other.requests,
            self.counted + other.counted,
            self.unexpected + other.unexpected,
        )


NOTHING = Called(0, Counter(), [])


class Callers:
    """Processes that call an issuer, as long as the block lasts; they are told when and how."""

    def __init__(self, callee: Callee) -> None:
        self._callee = callee
        self.called = NOTHING
        """By all of them, in all calls so far."""

    def __enter__(self) -> Self:
        self._pool = ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn"))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def call(
        self,
        seconds: float,
        *,
        pace: float | None = None,
        every: float | None = None,
        look: Callable[[], object] = lambda: None,
    ) -> float:
        """Call for so long, and return the requests a second; `look` meanwhile, `every` so often.

        `pace` is how many requests a second are to be sent by all callers together; None is as
        fast as they are answered.
        """
        each = None if pace is None else pace / (PROCESSES * THREADS)
        running = [
            self._pool.submit(_call, self._callee, seconds, each, seed) for seed in range(PROCESSES)
        ]
        while wait(running, timeout=every).not_done:
            look()
        calls = [each.result() for each in running]
        self.called = sum(calls, self.called)
        return sum(each.requests for each in calls) / seconds


def _call(callee: Callee, seconds: float, pace: float | None, seed: int) -> Called:
    callers = [_Caller(callee, seed * THREADS + number) for number in range(THREADS)]
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=caller.keep_on, args=(until, pace)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum((caller.called for caller in callers), NOTHING)


class _Unexpected(Exception):
    """An answer was not the one that it had to be."""


class _Caller:
    """One connection at a time, and one request on it at a time."""

    def __init__(self, callee: Callee, seed: int) -> None:
        self._at = urlsplit(callee.url).netloc
        self._credential = PrivateKeyJWT.from_file(callee.key_file)
        basic = b64encode(f"reports:{callee.secret}".encode()).decode()
        self._reports = {"Authorization": f"Basic {basic}"}
        stranger = b64encode(f"stranger:{callee.secret}".encode()).decode()
        self._stranger = {"Authorization": f"Basic {stranger}"}
        self._connection: http.client.HTTPConnection | None = None
        self._counted: Counter[Sample] = Counter()
        self._requests = 0
        self._unexpected: list[str] = []
        self._spent: dict[str, str] = {}
        self._token = ""
        self._steps = [
            *[self._by_secret] * 6,
            *[self._for_another_audience] * 2,
            *[self._by_assertion] * 4,
            self._many,
            self._introspect,
            self._introspect_nonsense,
            self._keys,
            self._metadata,
            self._nowhere,
            self._wrong_scope,
            self._unknown,
            self._assertion_again,
        ]
        random.Random(seed).shuffle(self._steps)  # noqa: S311 - an order, no secret

    @property
    def called(self) -> Called:
        return Called(self._requests, self._counted, self._unexpected)

    def keep_on(self, until: float, pace: float | None) -> None:
        """Call until then; a caller that was late sends what it owes at once."""
        # What later steps refer to.
        first = [self._by_secret, self._by_assertion]
        began = time.monotonic()
        for number in count():
            if pace is not None:
                time.sleep(max(began + number / pace - time.monotonic(), 0))
            if time.monotonic() >= until:
                break
            step = first[number] if number < len(first) else self._steps[number % len(self._steps)]
            try:
                step()
            except (_Unexpected, OSError, http.client.HTTPException, LookupError, ValueError) as e:
                if len(self._unexpected) < _TOLD:
                    self._unexpected.append(f"{step.__name__}: {type(e).__name__}: {e}")
                self._close()
            if number % _A_CONNECTION == _A_CONNECTION - 1:
                self._close()
        self._close()

    def _by_secret(self) -> None:
        (self._token,) = self._mint("reports", BILLING)

    def _for_another_audience(self) -> None:
        self._mint("reports", STORE)

    def _many(self) -> None:
        self._mint("reports", BILLING, count=MANY)

    def _by_assertion(self) -> None:
        self._spent = dict(self._credential.prove("orders", issuer=ISSUER).form)
        self._mint("orders", BILLING, proof=self._spent)
        self._claim("claimed")

    def _assertion_again(self) -> None:
        self._refused(401, "invalid_client", {}, self._spent)
        self._claim("refused")
        self._refusal("orders", BILLING, "invalid_client")

    def _wrong_scope(self) -> None:
        self._refused(400, "invalid_scope", self._reports, {"scope": "write"})
        self._refusal("reports", BILLING, "scope_not_granted")

    def _unknown(self) -> None:
        self._refused(401, "invalid_client", self._stranger, {})
        self._refusal(NONE, NONE, "invalid_client")

    def _introspect(self) -> None:
        told = self._ask(INTROSPECTION_PATH, 200, self._reports, token=self._token)
        _expect(told["active"] is True and told["client_id"] == "reports", "it is not active")

    def _introspect_nonsense(self) -> None:
        told = self._ask(INTROSPECTION_PATH, 200, self._reports, token="nonsense")
        _expect(told == {"active": False}, "it is active")

    def _keys(self) -> None:
        _expect(bool(self._ask(KEYS_PATH, 200)["keys"]), "no keys")

    def _metadata(self) -> None:
        _expect(self._ask(METADATA_PATHS[0], 200)["issuer"] == ISSUER, "another issuer")

    def _nowhere(self) -> None:
        self._ask("/nowhere", 404, name=OTHER)

    def _mint(
        self, client: str, audience: str, *, count: int = 1, proof: Mapping[str, str] = _NO_PROOF
    ) -> list[str]:
        head = {} if proof else self._reports
        form = {**_form(audience), **proof} | ({"count": str(count)} if count > 1 else {})
        told = self._ask(TOKEN_PATH, 200, head, **form)
        tokens = [told["access_token"], *told.get("additional_tokens", ())]
        _expect(len(tokens) == count, f"{len(tokens)} tokens")
        for token in tokens:
            claims = decoded(token, 1)
            _expect(claims["aud"] == audience and claims["client_id"] == client, "another token")
        _expect(len({decoded(token, 1)["jti"] for token in tokens}) == count, "one token twice")
        self._counted[sample("ephemera_mints_total", client=client, audience=audience)] += 1
        name = "ephemera_minted_tokens_total"
        self._counted[sample(name, client=client, audience=audience)] += count
        return tokens

    def _refused(
        self, status: int, error: str, head: Mapping[str, str], form: Mapping[str, str]
    ) -> None:
        told = self._ask(TOKEN_PATH, status, head, **_form(BILLING), **form)
        _expect(told["error"] == error, told["error"])

    def _refusal(self, client: str, audience: str, reason: str) -> None:
        labels = {"client": client, "audience": audience, "reason": reason}
        self._counted[sample("ephemera_refusals_total", **labels)] += 1

    def _claim(self, outcome: str) -> None:
        self._counted[sample("ephemera_assertion_claims_total", outcome=outcome)] += 1

    def _ask(
        self,
        path: str,
        status: int,
        head: Mapping[str, str] = _NO_PROOF,
        *,
        name: str = "",
        **form: str,
    ) -> Any:
        """Send a form, or GET where there is none; the document that was answered."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._at, timeout=_PATIENCE)
        self._requests += 1
        body = urlencode(form) if form else None
        headers = dict(head)
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request("POST" if form else "GET", path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        endpoint, kind = name or path, f"{answer.status // 100}xx"
        labels = {"listener": "public", "endpoint": endpoint, "status": kind}
        self._counted[sample("ephemera_http_responses_total", **labels)] += 1
        if path == TOKEN_PATH:
            timed = "ephemera_token_request_duration_seconds_count"
            self._counted[sample(timed, status=kind)] += 1
        _expect(answer.status == status, f"{answer.status}")
        return json.loads(content)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _form(audience: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "resource": audience}


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - as assert has it
    """An assertion that no `-O` takes away, and that quotes no token."""
    if not holds:
        raise _Unexpected(otherwise)
