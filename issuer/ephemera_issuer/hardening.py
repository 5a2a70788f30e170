"""What a process that holds signing keys denies to others of the same machine."""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def harden() -> None:
    """Let no copy of this process's memory be made: no core dump, and no debugger of its own user.

    The limit alone does not do: where cores are piped to a program, Linux does not look at it.
    Children inherit both, until they execute another program.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
