"""Bars in SVG, readable on a light ground and on a dark one."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from benchmarks.report import Bar
from benchmarks.rounds import digits

_WIDTH, _LABELS, _FIGURES = 760, 290, 60
_LINE, _TITLE, _GAP = 24, 34, 14
_STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .title { font-weight: 600 }
    .ours { fill: #0969da }
    .peer { fill: #8c959f }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .ours { fill: #4493f8 }
      .peer { fill: #6e7681 }
    }"""


def draw(panels: Mapping[str, Sequence[Bar]]) -> str:
    """Draw each panel's bars to a scale of its own, below its title."""
    parts: list[str] = []
    top = 0
    for title, bars in panels.items():
        parts.append(f'<text class="title" x="0" y="{top + 20}">{escape(title)}</text>')
        top += _TITLE
        longest = max(bar.ratio for bar in bars)
        for bar in bars:
            length = max(1.0, (_WIDTH - _LABELS - _FIGURES) * bar.ratio / longest)
            kind = "ours" if bar.ours else "peer"
            label, line, end = escape(bar.label), top + 13, _LABELS + length
            parts += (
                f'<text x="{_LABELS - 8}" y="{line}" text-anchor="end">{label}</text>',
                f'<rect class="{kind}" x="{_LABELS}" y="{top}" width="{length:.1f}" height="18"/>',
                f'<text x="{end + 6:.1f}" y="{line}">{digits(bar.ratio)}</text>',
            )
            top += _LINE
        top += _GAP
    body = "\n  ".join(parts)
    described = escape("; ".join(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img" '
        f'width="{_WIDTH}" height="{top}">\n  <title>{described}</title>\n'
        f"  <style>{_STYLE}\n  </style>\n  {body}\n</svg>\n"
    )
