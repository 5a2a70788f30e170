"""`make bench` in small: every part of it runs, and the page and its chart come out whole."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from benchmarks.__main__ import PARTS
from benchmarks.musts import MUSTS, missed, overview
from benchmarks.page import PlaceMissing, filled, marks
from benchmarks.rounds import Spread, digits, ratio

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PLACES = (
    "musts",
    "verify",
    "verify-peers",
    "replay",
    "mint",
    "jwks",
    "growth",
    "start",
    "sizes",
    "call",
    "dpop",
    "revocation",
)


def measured(folder: Path, *parts: str) -> str:
    """Run these parts, or all, into a copy of the page that has no figures yet."""
    page = (DOCS / "performance.md").read_text()
    (folder / "performance.md").write_text(filled(page, dict.fromkeys(PLACES, "")))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *parts, "--quick", "--into", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "performance.md").read_text()


def table(page: str, place: str) -> list[list[str]]:
    """The cells of the table in a place, without its heading."""
    begin, end = marks(place)
    text = page.partition(begin)[2].partition(end)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in cells}) == 1, place
    assert len(cells) > 2, place
    return cells[2:]


def assert_drawn(chart: Path) -> None:
    drawing = ET.parse(chart).getroot()  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    labels = [text.text or "" for text in drawing.iter(f"{space}text")]
    bars = list(drawing.iter(f"{space}rect"))
    assert {bar.attrib["class"] for bar in bars} == {"ours", "peer"}
    assert all(float(bar.attrib["width"]) > 0 for bar in bars)
    for peer in ("PyJWT", "joserfc", "jose", "fast-jwt", "aws-jwt-verify", "oidc-provider"):
        assert any(label.startswith(peer) for label in labels), peer
    (style,) = drawing.iter(f"{space}style")
    assert "prefers-color-scheme: dark" in (style.text or "")


def test_every_part_runs_in_small_and_fills_its_places_of_the_page(tmp_path: Path) -> None:
    page = measured(tmp_path, *(part for part in PARTS if part != "revocation"))
    for place in PLACES:
        if place != "revocation":
            table(page, place)
    assert [row[0] for row in table(page, "musts")] == [must.what for must in MUSTS]
    assert_drawn(tmp_path / "performance.svg")


def test_revocations_are_measured_in_small(tmp_path: Path) -> None:
    rows = table(measured(tmp_path, "revocation"), "revocation")
    assert {row[1] for row in rows} == {"1", "4"}
    assert not (tmp_path / "performance.svg").exists()


def test_the_page_has_its_figures_and_its_chart() -> None:
    page = (DOCS / "performance.md").read_text()
    for place in PLACES:
        table(page, place)
    assert "(performance.svg)" in page
    assert_drawn(DOCS / "performance.svg")


def test_a_table_without_a_place_is_not_lost_silently() -> None:
    with pytest.raises(PlaceMissing):
        filled("# A page", {"verify": "| a |"})


def test_what_stands_around_a_place_stays() -> None:
    begin, end = marks("verify")
    page = filled(f"before\n{begin}\nold\n{end}\nafter", {"verify": r"new \1"})
    assert page == f"before\n{begin}\nnew \\1\n{end}\nafter"


@pytest.mark.parametrize("must", MUSTS, ids=lambda must: must.key)
def test_a_must_is_missed_just_beyond_its_bound(must: object) -> None:
    (found,) = [it for it in MUSTS if it is must]
    better, worse = (1.01, 0.99) if found.at_least else (0.99, 1.01)
    for factor, lines in ((better, 0), (1.0, 0), (worse, 1)):
        figure = Spread(0, found.must * factor, 1e9)
        assert len(missed({found.key: figure})) == lines
        assert ("**missed**" in overview({found.key: figure})) is bool(lines)
    assert "goal met" in overview({found.key: Spread(0, found.goal, 1)})


def test_a_ratio_is_taken_within_each_round() -> None:
    assert ratio([1, 20, 300], [1, 10, 100]) == Spread(1.5, 2, 2.5)
    assert ratio([3], [2]) == Spread(1.5, 1.5, 1.5)
    assert [digits(figure) for figure in (0.98765, 12.345, 1234.5)] == ["0.99", "12.3", "1,234"]
