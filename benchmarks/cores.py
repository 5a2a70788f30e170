"""One core for the server that is measured, another for what puts it to work."""

import os
from collections.abc import Callable

Cores = frozenset[int]


def server_core() -> Cores:
    """Return the core for servers; none where there is no telling a process where to run."""
    return _AVAILABLE[0]


def every_core() -> Cores:
    """Return all that there are."""
    return _AVAILABLE[0] | _AVAILABLE[1]


def take_load_core() -> None:
    """Keep this process off the server's core."""
    if _AVAILABLE[1]:
        os.sched_setaffinity(0, _AVAILABLE[1])


def pinned(cores: Cores) -> Callable[[], None] | None:
    """Return what keeps a child to these cores, to be called in it."""
    if not cores:
        return None
    return lambda: os.sched_setaffinity(0, cores)


def _available() -> tuple[Cores, Cores]:
    if not hasattr(os, "sched_getaffinity"):
        return frozenset(), frozenset()
    first, *others = sorted(os.sched_getaffinity(0))
    return (frozenset({first}), frozenset(others[-1:])) if others else (frozenset(), frozenset())


# Looked up once: afterwards this process sees only the core that it took.
_AVAILABLE = _available()
