"""Another issuer: oidc-provider for Node.js, which gives one client tokens for one resource."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parent.parent / "interop" / "oidc-provider.mjs"
SECRET = "a-secret-of-another-issuer-entirely"


@contextmanager
def running_oidc_provider(*, audience: str, scope: str, client: str) -> Iterator[str]:
    """Run it, with a client that has `SECRET`; yields its issuer identifier."""
    with subprocess.Popen(
        ["node", str(SCRIPT), audience, scope, client, SECRET],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"NODE_ENV": "test"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            if "listening on" in line:
                yield line.rpartition(" ")[2].strip(")\n")
                break
        else:
            raise AssertionError("oidc-provider did not start")
        process.stdin.close()
