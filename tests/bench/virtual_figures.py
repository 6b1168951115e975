"""Draws what `tests.bench.virtual` measured, as SVG and without packages.

Small panels with the same axes, one for each thing that is compared: people from left to right, and upwards what
ordinary members take for one that virtual clients take, both logarithmic. Above the line at 1 virtual clients win. A
line is a number of devices, told apart by color, mark and dash; where times were measured, thin strokes are the
quartiles. The picture brings colors for light and for dark pages, and its own ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log2
from xml.sax.saxutils import escape

from tests.bench.virtual_trials import Row

PLOT_WIDTH, PLOT_HEIGHT = 232, 150
LEFT, TOP, GAP_X, GAP_Y = 64, 108, 62, 72
COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Panel:
    """What one of the small pictures shows."""

    title: str
    op: str
    tree: str
    unit: str
    conversations: int = 1

    def shows(self, row: Row) -> bool:
        return (row.op, row.tree, row.unit, row.conversations) == (self.op, self.tree, self.unit, self.conversations)


PANELS = (
    Panel("Path commit, new group: bytes", "commit_bytes", "flat", "bytes"),
    Panel("Path commit, full tree: bytes", "commit_bytes", "full", "bytes"),
    Panel("Path commit after churn: bytes", "commit_bytes", "churned", "bytes"),
    Panel("Path commit after churn: time", "commit_create", "churned", "ms"),
    Panel("Path commit, full tree: time", "commit_create", "full", "ms"),
    Panel("Following it, full tree: time", "commit_process", "full", "ms"),
    Panel("Welcome for a person: bytes", "welcome_bytes", "full", "bytes"),
    Panel("Joining: time of a device", "join", "full", "ms"),
    Panel("Stored by each device: bytes", "stored_bytes", "full", "bytes"),
    Panel("A device comes: bytes *", "device_added", "full", "bytes", 10),
    Panel("A device goes: bytes *", "device_removed", "full", "bytes", 10),
    Panel("Fresh keys for all of one: bytes *", "healed", "full", "bytes", 10),
)

LIGHT = {
    "ground": "#ffffff",
    "ink": "#1f2328",
    "faint": "#59636e",
    "grid": "#d8dee4",
    "won": "#eef6f0",
    "d1": "#0969da",
    "d2": "#bc4c00",
    "d3": "#7c3aad",
}
DARK = {
    "ground": "#0d1117",
    "ink": "#e6edf3",
    "faint": "#9198a1",
    "grid": "#30363d",
    "won": "#12231b",
    "d1": "#58a6ff",
    "d2": "#f0883e",
    "d3": "#c297ff",
}
SHAPES = """
text { font: 12px system-ui, sans-serif; } .small { font-size: 11px; } .title { font-weight: 600; }
.head { font-size: 16px; font-weight: 600; } .line { fill: none; stroke-width: 2; }
.spread { stroke-width: 1; opacity: 0.6; } .d2.line { stroke-dasharray: 7 3; } .d3.line { stroke-dasharray: 2 2; }
"""


def _colors(palette: dict[str, str]) -> str:
    """Written out, as not everything that shows SVG knows CSS variables."""
    rules = [f"text {{ fill: {palette['ink']}; }}", f".small {{ fill: {palette['faint']}; }}"]
    rules += [f".{name} {{ fill: {palette[name]}; }}" for name in ("ground", "won")]
    rules += [f".grid {{ stroke: {palette['grid']}; }}", f".even {{ stroke: {palette['ink']}; }}"]
    for name in ("d1", "d2", "d3"):
        rules += [f".{name} {{ stroke: {palette[name]}; }}", f".m{name[1:]} {{ fill: {palette[name]}; }}"]
    return "\n".join(rules)


STYLE = f"{SHAPES}{_colors(LIGHT)}\n@media (prefers-color-scheme: dark) {{\n{_colors(DARK)}\n}}\n"

BELOW = (
    "Cost with a member per device, divided by the cost with virtual clients; shaded: virtual clients win. "
    "*: in 10 conversations."
)
POWERS = {-3: "1/8", -2: "1/4", -1: "1/2"}


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a figure is in a panel."""

    people: Sequence[int]
    low: int
    high: int

    def x(self, people: float) -> float:
        first, last = log2(self.people[0]), log2(self.people[-1])
        return PLOT_WIDTH * (log2(people) - first) / ((last - first) or 1)

    def y(self, ratio: float) -> float:
        within = min(max(log2(ratio), self.low), self.high)
        return PLOT_HEIGHT * (self.high - within) / (self.high - self.low)


def draw(rows: Iterable[Row]) -> str:
    """The whole picture."""
    shown = [(panel, row) for row in rows if row.ratio for panel in PANELS if panel.shows(row)]
    people = sorted({row.people for _, row in shown})
    counts = sorted({row.devices for _, row in shown})
    if not shown or len(counts) > len(_MARKS):
        raise ValueError(f"rows of one to {len(_MARKS)} numbers of devices are drawn")
    ratios = [log2(row.ratio) for _, row in shown if row.ratio]
    scale = Scale(people, min(floor(min(ratios)), -1), max(ceil(max(ratios)), 1))
    lines = -(-len(PANELS) // COLUMNS)
    width = LEFT + COLUMNS * PLOT_WIDTH + (COLUMNS - 1) * GAP_X + 28
    height = TOP + lines * PLOT_HEIGHT + (lines - 1) * GAP_Y + 52
    body = [_legend(counts)]
    for number, panel in enumerate(PANELS):
        left = LEFT + number % COLUMNS * (PLOT_WIDTH + GAP_X)
        top = TOP + number // COLUMNS * (PLOT_HEIGHT + GAP_Y)
        found = [row for each, row in shown if each is panel]
        drawn = _axes(panel, scale) + _curves(found, counts, scale)
        body.append(f'<g transform="translate({left} {top})">{drawn}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="name about"><title id="name">Virtual clients against one member per device'
        f'</title><desc id="about">{len(PANELS)} panels; each shows, for conversations of {people[0]} to {people[-1]} '
        f"people, the cost with a member per device divided by the cost with virtual clients.</desc>"
        f"<style>{STYLE}</style>"
        f'<rect class="ground" width="{width}" height="{height}" rx="6"/>{"".join(body)}</svg>\n'
    )


def _legend(counts: Sequence[int]) -> str:
    parts = [
        f'<text class="head" x="{LEFT}" y="30">When virtual clients cost less than a member per device</text>',
        f'<text class="small" x="{LEFT}" y="50">{BELOW}</text>',
    ]
    for number, count in enumerate(counts):
        x = LEFT + 170 * number
        name = f"{count} device{'s' if count > 1 else ''} each"
        parts.append(
            f'<path class="line d{number + 1}" d="M{x} 72h34"/>{_mark(number, x + 17, 72)}'
            f'<text x="{x + 42}" y="76">{name}</text>'
        )
    return "".join(parts)


def _axes(panel: Panel, scale: Scale) -> str:
    even = scale.y(1)
    parts = [
        f'<text class="title" x="0" y="-9">{escape(panel.title)}</text>',
        f'<rect class="won" width="{PLOT_WIDTH}" height="{even:.1f}"/>',
    ]
    for power in range(scale.low, scale.high + 1):
        y = scale.y(2.0**power)
        kind = "grid" if power else "even"
        parts.append(
            f'<path class="{kind}" d="M0 {y:.1f}H{PLOT_WIDTH}"/><text class="small" x="-7" y="{y + 4:.1f}" '
            f'text-anchor="end">{POWERS.get(power, 1 << max(power, 0))}x</text>'
        )
    for people in scale.people:
        x = scale.x(people)
        parts.append(
            f'<path class="grid" d="M{x:.1f} {PLOT_HEIGHT}v5"/>'
            f'<text class="small" x="{x:.1f}" y="{PLOT_HEIGHT + 18}" text-anchor="middle">{people}</text>'
        )
    parts.append(f'<text class="small" x="{PLOT_WIDTH / 2}" y="{PLOT_HEIGHT + 34}" text-anchor="middle">people</text>')
    return "".join(parts)


def _curves(rows: Sequence[Row], counts: Sequence[int], scale: Scale) -> str:
    parts = []
    for number, count in enumerate(counts):
        line = sorted([row for row in rows if row.devices == count], key=lambda row: row.people)
        points = [(scale.x(row.people), scale.y(row.ratio)) for row in line if row.ratio]
        if not points:
            continue
        for row, (x, _) in zip(line, points, strict=True):
            if row.low and row.high and row.low != row.high:
                span = f"M{x:.1f} {scale.y(row.low):.1f}V{scale.y(row.high):.1f}"
                parts.append(f'<path class="spread d{number + 1}" d="{span}"/>')
        path = "L".join([f"{x:.1f} {y:.1f}" for x, y in points])
        parts.append(f'<path class="line d{number + 1}" d="M{path}"/>')
        parts += [_mark(number, x, y) for x, y in points]
    return "".join(parts)


_MARKS = (
    '<circle class="m1" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>',
    '<path class="m2" d="M{x:.1f} {y:.1f}m-3-3h6v6h-6z"/>',
    '<path class="m3" d="M{x:.1f} {y:.1f}m0-4l4 7h-8z"/>',
)


def _mark(number: int, x: float, y: float) -> str:
    return _MARKS[number].format(x=x, y=y)
