"""The graph as text: a line for each epoch, its lane shown beside it, as tools for version control do."""

from __future__ import annotations

from vcd.cli.pictures.layout import Box, Picture


def words(picture: Picture) -> str:
    """Oldest first. `*` is an epoch, `@` where we stand; `|` is a branch that goes on."""
    order = sorted(range(len(picture.boxes)), key=lambda each: (picture.boxes[each].row, picture.boxes[each].lane))
    at = {each: line for line, each in enumerate(order)}
    spans = [
        (picture.boxes[box.parent].lane, box.lane, at[box.parent], at[number])
        for number, box in enumerate(picture.boxes)
        if box.parent is not None
    ]
    lines = [f"{picture.title} · {picture.mode}"]
    for number in order:
        box = picture.boxes[number]
        fork = _fork(picture, box, at[number], spans)
        if fork:
            lines.append(fork)
        rail = _rail(picture, box, at[number], spans)
        lines.append(f"{rail}  {_said(box)}".rstrip())
    if not order:
        lines.append("no epochs")
    return "\n".join(lines) + "\n"


def _through(lane: int, line: int, spans: list[tuple[int, int, int, int]]) -> bool:
    """Whether a branch passes there, from an epoch above to one below."""
    return any(begin == lane and above < line < below for begin, _, above, below in spans)


def _rail(picture: Picture, box: Box, line: int, spans: list[tuple[int, int, int, int]]) -> str:
    sign = "@" if "head" in box.marks else "x" if "void" in box.marks else "*"
    cells = [sign if lane == box.lane else "|" if _through(lane, line, spans) else " " for lane in range(picture.lanes)]
    return " ".join(cells)


def _fork(picture: Picture, box: Box, line: int, spans: list[tuple[int, int, int, int]]) -> str:
    """How a branch leaves its parent's lane, if it begins here."""
    if box.parent is None or picture.boxes[box.parent].lane == box.lane:
        return ""
    begin = picture.boxes[box.parent].lane
    left, right = sorted((begin, box.lane))
    cells = []
    for lane in range(picture.lanes):
        passing = _through(lane, line, spans)
        if lane == box.lane:
            cells.append("\\" if box.lane > begin else "/")
        elif lane == begin:
            cells.append("|" if passing else "\\" if box.lane > begin else "/")
        elif left < lane < right:
            cells.append("|" if passing else "-")
        else:
            cells.append("|" if passing else " ")
    out = ""
    for lane, cell in enumerate(cells):
        out += cell + ("-" if left <= lane < right else " ")
    return out.rstrip()


def _said(box: Box) -> str:
    by = f" by {box.by}" if box.by else ""
    marks = f" [{', '.join(box.marks)}]" if box.marks else ""
    did = f": {', '.join(box.did)}" if box.did else ""
    return f"{box.number} {box.name}{by}{marks}{did}; {box.keys}"
