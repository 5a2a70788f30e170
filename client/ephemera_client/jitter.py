"""Chance that spreads what many processes would do at once; it keeps no secret.

The generator is our own: drawn from by threads in the background, the shared one of `random` would
change under whoever has seeded it, such as a test.
"""

import os as _os
import random as _random

_own = _random.Random()  # noqa: S311 - jitter, no secret

# Forked workers would all draw the same.
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_own.seed)

random = _own.random
uniform = _own.uniform
