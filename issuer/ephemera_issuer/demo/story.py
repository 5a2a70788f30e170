"""The steps of the demonstration. Each does one thing for real and checks what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from ephemera_client import TokenClient, TokenRequestRefused
from ephemera_issuer.errors import IssuerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BILLING = "https://billing.internal"
LEDGER = "https://ledger.internal"

REGISTRY = f"""\
[[audiences]]
id = "{BILLING}"
scopes = ["invoices:read", "invoices:write"]
max_lifetime = "5m"

[[audiences]]
id = "{LEDGER}"
scopes = ["entries:read"]

[[clients]]
id = "orders"
secret = "generate"

[[grants]]
client = "orders"
audience = "{BILLING}"
scopes = ["invoices:read"]

[[grants]]
client = "orders"
audience = "{LEDGER}"
scopes = ["entries:read"]
"""

_OK = 200
_UNAUTHORIZED = 401
_CALLS = 20
_PATIENCE = 1000


class StepFailed(IssuerError):
    """A step of the demonstration did not do what it says."""


class Step(NamedTuple):
    """A step that did what its title says, and what was seen of it."""

    title: str
    seen: str


@dataclass(frozen=True)
class Stage:
    """Where the story plays: the running services, and the issuer's own environment."""

    issuer: str
    billing: str
    orders: str
    environment: Mapping[str, str]


def tell(stage: Stage, tokens: TokenClient) -> Iterator[Step]:
    """Do the steps in turn.

    Raises:
        StepFailed: what came of a step is not what its title says.
    """
    with httpx.Client(timeout=30, trust_env=False) as http:
        token = tokens.get(BILLING, scopes={"invoices:read"})
        header, claims = decode(token)
        expect("the token names one audience", claims["aud"] == BILLING)
        yield Step(
            f"orders asks for a token: {len(token)} bytes, "
            f"{claims['exp'] - claims['iat']} s to live, one audience, one scope",
            json.dumps(header, indent=2) + "\n" + json.dumps(claims, indent=2),
        )
        answer = call(http, stage, token)
        expect("billing accepts it", answer.status_code == _OK)
        yield Step("billing verifies it and answers", seen(answer))

        answer = call(http, stage, token)
        expect("billing refuses the replay", refused_for(answer, "token_replayed"))
        yield Step("the same token again is refused: it was accepted once", seen(answer))

        answer = call(http, stage, tokens.get(LEDGER, scopes={"entries:read"}))
        expect("billing refuses it", refused_for(answer, "audience_mismatch"))
        yield Step("a token for another audience is refused", seen(answer))

        yield Step("a scope that policy does not grant is refused at the mint", ungranted(tokens))
        yield rotation(http, stage, tokens, kid=header["kid"])


def rotation(http: httpx.Client, stage: Stage, tokens: TokenClient, *, kid: str) -> Step:
    """Rotate the keys between calls of the running orders service."""
    statuses = [through_orders(http, stage) for _ in range(_CALLS)]
    run_command("keys", "rotate", "--emergency", env=stage.environment)
    for _ in range(_PATIENCE):
        statuses.append(through_orders(http, stage))
        new_kid = decode(tokens.get(BILLING))[0]["kid"]
        if new_kid != kid:
            break
    else:
        raise StepFailed("the issuer goes on signing with the old key")
    statuses += [through_orders(http, stage) for _ in range(_CALLS)]
    expect("every call goes on", set(statuses) == {_OK})
    return Step(
        f"the signing key is rotated, and {len(statuses)} calls of the running orders service "
        "go on without a restart",
        f"kid before: {kid}\nkid after:  {new_kid}\nanswers:    {len(statuses)} times 200",
    )


def ungranted(tokens: TokenClient) -> str:
    """Ask for a scope that is not granted, and return what the issuer says."""
    try:
        tokens.get(BILLING, scopes={"invoices:read", "invoices:write"})
    except TokenRequestRefused as refusal:
        expect("the issuer says why", refusal.error == "invalid_scope")
        return f"{refusal.status} {refusal.error}: {refusal.description}"
    raise StepFailed("the issuer granted a scope that policy does not")


def call(http: httpx.Client, stage: Stage, token: str) -> httpx.Response:
    """Show a token to billing."""
    return http.get(f"{stage.billing}/invoices", headers={"Authorization": f"Bearer {token}"})


def through_orders(http: httpx.Client, stage: Stage) -> int:
    """Let the orders service call billing; what billing answered it."""
    return int(http.get(f"{stage.orders}/orders/17").json()["status"])


def seen(answer: httpx.Response) -> str:
    """The status, and the challenge or the body."""
    said = answer.headers.get("www-authenticate") or answer.text
    return f"{answer.status_code} {answer.reason_phrase}\n{said}"


def refused_for(answer: httpx.Response, reason: str) -> bool:
    """Whether the answer is a 401 for this reason and no other."""
    challenge = answer.headers.get("www-authenticate", "")
    return answer.status_code == _UNAUTHORIZED and f'reason="{reason}"' in challenge


def expect(what: str, holds: bool) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise StepFailed unless it holds."""
    if not holds:
        raise StepFailed(f"not so: {what}")


def decode(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, to be looked at: nothing is verified here."""
    header, claims, _ = (
        urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")
    )
    return json.loads(header), json.loads(claims)


def run_command(*arguments: str, env: Mapping[str, str]) -> None:
    """Run `ephemera` with these arguments.

    Raises:
        StepFailed: it ended with an error, which the text quotes.
    """
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        [sys.executable, "-m", "ephemera_issuer", *arguments],
        env=dict(env),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise StepFailed(f"ephemera {' '.join(arguments)}: {done.stderr}")


def environment(folder: Path) -> dict[str, str]:
    """This process's environment, with the settings of an issuer in `folder` for its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EPHEM")}
    return inherited | {
        "EPHEMERA_DATABASE_URL": f"sqlite:///{folder / 'ephemera.db'}",
        "EPHEMERA_LISTEN": "127.0.0.1:0",
    }
