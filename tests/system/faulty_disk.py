"""A disk that is full when a test says so, for the processes that are started with its settings."""

from __future__ import annotations

import subprocess
from pathlib import Path


class FaultyDisk:
    """A folder of its own; `settings` go into the environment of whoever is to find it full."""

    def __init__(self, parent: Path) -> None:
        self.folder = (parent / "disk").resolve()
        self.folder.mkdir()
        self._flag = parent / "full"
        library = parent / "faulty_disk.so"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.settings = {
            "LD_PRELOAD": str(library),
            "FAULTY_DISK": str(self.folder),
            "FAULTY_DISK_FULL": str(self._flag),
        }

    def fill(self) -> None:
        self._flag.touch()

    def make_room(self) -> None:
        self._flag.unlink()
