from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from issuer.test_serve import REGISTRY, serving

_ASK = """
import ctypes
from ephemera_issuer.hardening import harden
harden()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_a_serving_process_leaves_no_core(tmp_path: Path) -> None:
    registry = tmp_path / "registry.toml"
    registry.write_text(REGISTRY)
    with serving("--dev", str(registry)) as issuer:
        limits = Path(f"/proc/{issuer.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE)


def test_nobody_may_look_into_a_hardened_process() -> None:
    asked = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=True)
    # PR_GET_DUMPABLE: 0 is for nobody but root.
    assert asked.stdout == "0\n"
