"""`ephemera serve` whose files may not grow from one signal on, and may again from the next."""

from __future__ import annotations

import itertools
import resource
import signal

from ephemera_issuer.cli import main

_, _HARD = resource.getrlimit(resource.RLIMIT_FSIZE)
_LIMITS = itertools.cycle([16 * 1024, _HARD])


def _limit(*_: object) -> None:
    # Its databases are longer already, and nothing is written to them meanwhile.
    resource.setrlimit(resource.RLIMIT_FSIZE, (next(_LIMITS), _HARD))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _limit)
    main()
