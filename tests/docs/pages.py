"""Pages as readers meet them: their fenced blocks, and where each stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/README.md"), *ROOT.glob("docs/*.md")])

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)")


class Block(NamedTuple):
    """A fenced block: its language, and its text as written."""

    language: str
    text: str


def blocks(page: str, language: str) -> list[str]:
    """The blocks of one language, in the order of the page."""
    found = [Block(*block) for block in _BLOCK.findall((ROOT / page).read_text())]
    return [block.text for block in found if block.language == language]


def headings(page: Path) -> set[str]:
    """What links within the project can name of a page, as GitHub spells its headings."""
    lines = _FENCED.sub("", page.read_text()).splitlines()
    written = [line.lstrip("#").strip() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in written}


def anchors(page: Path) -> list[tuple[Path, str]]:
    """The headings that the page's links name, each with the page that it should be on."""
    found = _LINK.findall(page.read_text())
    return [(page.parent / target if target else page, name[1:]) for target, name in found if name]


def links(page: Path) -> list[str]:
    """The targets of the page's links within the project."""
    return [target for target, _ in _LINK.findall(page.read_text()) if target]
