"""The issuer's server as a process of its own, around a snapshot that needs no database."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from issuer.fixtures_minting import ISSUER, NOW, Keeper, snapshot

from ephemera_client import SingleProcessReplayCache
from ephemera_issuer.app import create_app
from ephemera_issuer.certificate import Certificate
from ephemera_issuer.connection import Times
from ephemera_issuer.logs import configure_logs
from ephemera_issuer.proxies import Proxies
from ephemera_issuer.reception import Reception
from ephemera_issuer.server import listen, run
from ephemera_issuer.settings import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from ephemera_issuer.issued import IssuedToken
    from ephemera_issuer.snapshot import Snapshot

SNAPSHOT = snapshot()


class FailingKeeper:
    """Fails in the background once it has been asked for a snapshot."""

    def __init__(self) -> None:
        self._asked = anyio.Event()

    @property
    def current(self) -> Snapshot:
        self._asked.set()
        return SNAPSHOT

    async def run(self) -> None:
        await self._asked.wait()
        raise LookupError("the keeper lost its way")

    def watch(self, told: Callable[[Snapshot], None]) -> None:
        told(SNAPSHOT)

    def revoke(self, token: IssuedToken) -> None:
        raise LookupError(f"the keeper lost {token.jti}")


class ForgetfulKeeper(Keeper):
    """Fails when it is to revoke, in a way that nobody foresees."""

    def revoke(self, token: IssuedToken) -> None:
        raise LookupError(f"the keeper lost {token.jti}")


KEEPERS = {"failing": FailingKeeper, "forgetful": ForgetfulKeeper}

if __name__ == "__main__":
    configure_logs()
    told = sys.argv[1] if sys.argv[1:] else "{}"
    keeper = KEEPERS[told]() if told in KEEPERS else Keeper(SNAPSHOT)
    # What differs from a reception as it comes, as JSON.
    parts = {} if told in KEEPERS else json.loads(told)
    times = Times(**parts.pop("times", {}))
    proxies = Proxies(parts.pop("proxies", ()))
    files = parts.pop("certificate", None)
    certificate = Certificate(*map(Path, files)) if files else None
    scheme = "https" if files else "http"
    with listen(Address("127.0.0.1", 0), tls_ends_in_front=False) as listener:
        port = listener.getsockname()[1]
        run(
            create_app(keeper, issuer=ISSUER, ledger=SingleProcessReplayCache(), clock=lambda: NOW),
            listener,
            ready=lambda: print(f"(listening on {scheme}://127.0.0.1:{port})", flush=True),  # noqa: T201 - as `serve` does
            reception=Reception(times=times, proxies=proxies, certificate=certificate, **parts),
        )
