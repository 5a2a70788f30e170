"""Pages as readers meet them: their fenced blocks, and where each stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/README.md"), *ROOT.glob("docs/*.md")])

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)")


class Block(NamedTuple):
    """A fenced block: its language, and its text as written."""

    language: str
    text: str


def blocks(page: str, language: str) -> list[str]:
    """The blocks of one language, in the order of the page."""
    found = [Block(*block) for block in _BLOCK.findall((ROOT / page).read_text())]
    return [block.text for block in found if block.language == language]


def links(page: Path) -> list[str]:
    """The targets of the page's links within the project."""
    return [target for target, _ in _LINK.findall(page.read_text()) if target]
