"""One core for the server that is measured, another for what puts it to work."""

import os
from collections.abc import Callable


def server_core() -> int | None:
    """Return the core for servers; None where there is no telling a process where to run."""
    return _cores()[0]


def take_load_core() -> None:
    """Keep this process off the server's core."""
    core = _cores()[1]
    if core is not None:
        os.sched_setaffinity(0, {core})


def pinned(core: int | None) -> Callable[[], None] | None:
    """Return what pins a child to a core, to be called in it."""
    if core is None:
        return None
    return lambda: os.sched_setaffinity(0, {core})


def _cores() -> tuple[int | None, int | None]:
    return _AVAILABLE


def _available() -> tuple[int | None, int | None]:
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    first, *others = sorted(os.sched_getaffinity(0))
    return (first, others[-1]) if others else (None, None)


# Looked up once: afterwards this process sees only the core that it took.
_AVAILABLE = _available()
