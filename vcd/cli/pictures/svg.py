"""The picture as SVG: nothing is loaded from elsewhere, and no script is in it.

Boxes have the size of their text, measured generously, since fonts differ. Each row is as high as its highest box and
each lane as wide as its widest, so no two boxes touch.
"""

from __future__ import annotations

import re

from vcd.cli.pictures.layout import Box, Picture
from vcd.cli.text import width

_LETTER = 7.4
"""Points: what a letter takes at most, on average, at 12 points in the fonts that are named below."""
_LINE = 16
_PAD = 10
_GAP_X = 36
_GAP_Y = 34
_MARGIN = 24
_TITLE = 44

Place = tuple[float, float, float, float]
"""x, y, width, height."""

_STYLE = """\
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #1b1f24 }
.title { font-size: 16px; font-weight: 600 }
.soft { fill: #59636e }
.box { fill: #fff; stroke: #8b949e; stroke-width: 1 }
.way { stroke: #0969da; stroke-width: 2 }
.final { fill: #dafbe1; stroke: #1a7f37 }
.void { stroke-dasharray: 4 3 }
.gone { fill: #f3f4f6 }
.edge { fill: none; stroke: #8b949e; stroke-width: 1.5 }
.edge.way { stroke: #0969da; stroke-width: 2.5 }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117 } text { fill: #e6edf3 } .soft { fill: #9198a1 } .box { fill: #151b23 }
.final { fill: #12261e; stroke: #3fb950 } .gone { fill: #21262d } .way, .edge.way { stroke: #4493f8 }
}"""


def escaped(text: str) -> str:
    """For text and attributes of XML; what XML cannot hold at all is left out."""
    out = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", out.replace("'", "&#39;"))


def lines_of(box: Box) -> list[tuple[str, str]]:
    """What stands in a box: text and class."""
    marks = f"  {' '.join(box.marks)}" if box.marks else ""
    out = [(f"{box.number} · {box.name}{marks}", "")]
    if box.by:
        out.append((f"by {box.by}", "soft"))
    out += [(each, "") for each in box.did]
    out.append((box.keys, "soft"))
    return out


def places(picture: Picture) -> tuple[list[Place], float, float]:
    """Of each box x, y, width and height; and the size of the whole."""
    sizes: list[tuple[float, float]] = []
    for box in picture.boxes:
        text = lines_of(box)
        wide = max(width(line) for line, _ in text) * _LETTER + 2 * _PAD
        sizes.append((wide, len(text) * _LINE + 2 * _PAD))
    lane_widths = [0.0] * picture.lanes
    row_heights = [0.0] * picture.rows
    for box, (wide, high) in zip(picture.boxes, sizes, strict=True):
        lane_widths[box.lane] = max(lane_widths[box.lane], wide)
        row_heights[box.row] = max(row_heights[box.row], high)
    xs: list[float] = [_MARGIN + sum(lane_widths[:lane]) + lane * _GAP_X for lane in range(picture.lanes)]
    ys: list[float] = [_TITLE + _MARGIN + sum(row_heights[:row]) + row * _GAP_Y for row in range(picture.rows)]
    found = [(xs[box.lane], ys[box.row], wide, high) for box, (wide, high) in zip(picture.boxes, sizes, strict=True)]
    least = width(_title(picture)) * 10 + 2 * _MARGIN
    total = max(least, 2 * _MARGIN + sum(lane_widths) + max(0, picture.lanes - 1) * _GAP_X)
    return found, total, _TITLE + 2 * _MARGIN + sum(row_heights) + max(0, picture.rows - 1) * _GAP_Y


def _title(picture: Picture) -> str:
    return f"{picture.title} · {picture.mode}"


def svg(picture: Picture) -> str:
    found, wide, high = places(picture)
    size = f'width="{_n(wide)}" height="{_n(high)}" viewBox="0 0 {_n(wide)} {_n(high)}"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escaped(_title(picture))}</title>",
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="{_MARGIN}" y="{_MARGIN + 14}">{escaped(_title(picture))}</text>',
    ]
    for box, place in zip(picture.boxes, found, strict=True):
        if box.parent is not None:
            on_way = box.on_way and picture.boxes[box.parent].on_way
            lane = picture.boxes[box.parent].lane
            out.append(_edge(found[box.parent], place, lane, on_way=on_way))
    out += [_drawn(box, place) for box, place in zip(picture.boxes, found, strict=True)]
    if not picture.boxes:
        out.append(f'<text class="soft" x="{_MARGIN}" y="{_TITLE + _MARGIN}">no epochs</text>')
    return "\n".join([*out, "</svg>", ""])


def _edge(parent: Place, child: Place, lane: int, *, on_way: bool) -> str:
    """Down from the parent and across, between its row and the next; those of each lane at a height of their own."""
    x1, y1 = parent[0] + _PAD, parent[1] + parent[3]
    x2, y2 = child[0] + _PAD, child[1]
    middle = y2 - _GAP_Y / 2 + (lane % 5 - 2) * 5
    path = f"M{_n(x1)} {_n(y1)}V{_n(middle)}H{_n(x2)}V{_n(y2)}" if x1 != x2 else f"M{_n(x1)} {_n(y1)}V{_n(y2)}"
    return f'<path class="edge{" way" if on_way else ""}" d="{path}"/>'


def _drawn(box: Box, place: Place) -> str:
    x, y, wide, high = place
    kinds = ["box", *(["gone"] if "gone" in box.keys or "never" in box.keys else [])]
    kinds += [*(["way"] if box.on_way else []), *(mark for mark in box.marks if mark != "head")]
    out = [
        f'<g id="epoch-{escaped(box.name)}"><title>{escaped(box.detail)}</title>',
        f'<rect class="{" ".join(kinds)}" x="{_n(x)}" y="{_n(y)}" width="{_n(wide)}" height="{_n(high)}" rx="6"/>',
    ]
    for number, (line, kind) in enumerate(lines_of(box)):
        style = f' class="{kind}"' if kind else ""
        below = y + _PAD + (number + 1) * _LINE - 4
        out.append(f'<text{style} x="{_n(x + _PAD)}" y="{_n(below)}">{escaped(line)}</text>')
    return "\n".join([*out, "</g>"])


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
