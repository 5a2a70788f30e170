"""`ephemera serve` that may write no more than a few kilobytes to a file, until it is signalled."""

from __future__ import annotations

import resource
import signal

from ephemera_issuer.cli import main

SIZE = 16 * 1024
_, _HARD = resource.getrlimit(resource.RLIMIT_FSIZE)


def _let_go(*_: object) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (_HARD, _HARD))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _let_go)
    # Its databases are larger, and are not written meanwhile.
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, _HARD))
    main()
