"""Who acts: a client, an administrator, the issuer itself, or a user of this machine."""

from __future__ import annotations

import contextlib
import os
import pwd
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ISSUER = "issuer"
"""What a serving process does by itself."""

_actor: ContextVar[str | None] = ContextVar("ephemera_actor", default=None)


def actor(otherwise: str) -> str:
    """Name whoever acts in this context."""
    return _actor.get() or otherwise


@contextlib.contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Let what is done in this block, and in threads that it waits for, be done by `name`."""
    token = _actor.set(name)
    try:
        yield
    finally:
        _actor.reset(token)


def local_user() -> str:
    """Name the user that this process runs as, and through sudo the one behind it."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    behind = os.environ.get("SUDO_USER") if uid == 0 else None
    return f"local:{name}" if not behind else f"local:{name} (sudo by {behind})"
