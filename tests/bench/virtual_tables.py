"""Where virtual clients begin to win, and tables of it and of the figures, in Markdown.

A crossover is the number of people from which on it is always won. Between two numbers that were tried it is on a line
in logarithms. A time is won if it is won by 10 %, as nine rows of ten differ by less between two runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, exp, inf, log

from tests.bench.virtual_trials import Row

CLEAR = {"ms": 1.1}
"""What a ratio must exceed to count as a win, where it is not 1."""


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where virtual clients begin to win."""

    impl: str
    op: str
    tree: str
    unit: str
    conversations: int
    devices: int
    wins_from: int | None
    """People; None if ordinary members are not beaten at the largest size that was tried."""


def crossovers(measured: Iterable[Row]) -> list[Crossover]:
    lines: dict[tuple[str, str, str, str, int, int], list[Row]] = {}
    for row in measured:
        if row.plain is not None:
            key = (row.impl, row.op, row.tree, row.unit, row.conversations, row.devices)
            lines.setdefault(key, []).append(row)
    return [Crossover(*key, wins_from(line)) for key, line in lines.items()]


def wins_from(line: Sequence[Row]) -> int | None:
    """The number of people from which on it is always won; between two that were tried, on a line in logarithms."""
    ordered = sorted(line, key=lambda row: row.people)
    clear = CLEAR.get(ordered[0].unit, 1.0)
    ratios = [_advantage(row) for row in ordered]
    at = len(ordered)
    while at and ratios[at - 1] > clear:
        at -= 1
    if at == len(ordered):
        return None
    if not at or ratios[at] == inf:
        return ordered[at].people
    lost, won = log(ratios[at - 1] / clear), log(ratios[at] / clear)
    start, end = log(ordered[at - 1].people), log(ordered[at].people)
    crossed = exp(start + (end - start) * -lost / (won - lost))
    return min(max(ceil(crossed), ordered[at - 1].people + 1), ordered[at].people)


def _advantage(row: Row) -> float:
    if row.ratio is not None:
        return max(row.ratio, 0.001)
    return inf if row.plain else 1.0


def crossover_table(found: Sequence[Crossover]) -> str:
    """Crossovers, a line for each thing compared and a column for each number of devices."""
    counts = sorted({each.devices for each in found})
    by: dict[tuple[str, str, str, int], dict[int, int | None]] = {}
    for each in found:
        by.setdefault((each.op, each.tree, each.unit, each.conversations), {})[each.devices] = each.wins_from
    head = ["operation", "tree", "unit", "conversations", *[f"D = {count}" for count in counts]]
    lines = [head, ["---"] * len(head)]
    for key, cells in by.items():
        named = [str(part) for part in key]
        lines.append([*named, *[_cell(cells, count) for count in counts]])
    return _joined(lines)


def _cell(cells: dict[int, int | None], count: int) -> str:
    if count not in cells:
        return ""
    start = cells[count]
    return "never" if start is None else str(start)


def size_table(measured: Iterable[Row]) -> str:
    """All rows: a line for each thing compared and number of devices, a column for each number of people.

    A cell is what ordinary members take, what virtual clients take, and the ratio; or the second alone.
    """
    rows = list(measured)
    people = sorted({row.people for row in rows})
    by: dict[tuple[str, str, str, int, int], dict[int, str]] = {}
    for row in rows:
        key = (row.op, row.tree, row.unit, row.conversations, row.devices)
        by.setdefault(key, {})[row.people] = _figures(row)
    head = ["operation", "tree", "unit", "conversations", "D", *[f"U = {count}" for count in people]]
    lines = [head, ["---"] * len(head)]
    for key in sorted(by, key=_in_order(rows)):
        lines.append([*map(str, key), *[by[key].get(count, "") for count in people]])
    return _joined(lines)


def _in_order(rows: Sequence[Row]) -> Callable[[tuple[str, str, str, int, int]], tuple[int, int]]:
    """As the rows came, with the numbers of devices of one thing side by side."""
    first: dict[tuple[str, str, str, int], int] = {}
    for number, row in enumerate(rows):
        first.setdefault((row.op, row.tree, row.unit, row.conversations), number)
    return lambda key: (first[key[:4]], key[4])


def _figures(row: Row) -> str:
    def figure(value: float) -> str:
        return f"{value:.0f}" if row.unit == "bytes" or value == int(value) else f"{value:.3g}"

    if row.plain is None:
        return figure(row.virtual)
    both = f"{figure(row.plain)} / {figure(row.virtual)}"
    return both if row.ratio is None else f"{both} ({row.ratio:.2f})"


def _joined(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join([f"| {' | '.join(line)} |" for line in lines])
