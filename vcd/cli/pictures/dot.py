"""The graph for Graphviz, which lays it out by itself."""

from __future__ import annotations

from vcd.cli.pictures.layout import Box, Picture
from vcd.cli.pictures.svg import lines_of


def dot(picture: Picture) -> str:
    out = ["digraph epochs {", f"  label={_quoted(f'{picture.title} · {picture.mode}')};", "  node [shape=box];"]
    out += [f"  {_quoted(box.name)} [{_look(box)}];" for box in picture.boxes]
    for box in picture.boxes:
        if box.parent is not None:
            parent = picture.boxes[box.parent]
            bold = " [color=blue, penwidth=2]" if box.on_way and parent.on_way else ""
            out.append(f"  {_quoted(parent.name)} -> {_quoted(box.name)}{bold};")
    return "\n".join([*out, "}", ""])


def _look(box: Box) -> str:
    parts = [f"label={_quoted(chr(10).join(line for line, _ in lines_of(box)))}", f"tooltip={_quoted(box.detail)}"]
    if "final" in box.marks:
        parts.append("color=green")
    elif box.on_way:
        parts.append("color=blue")
    if "void" in box.marks:
        parts.append("style=dashed")
    return ", ".join(parts)


def _quoted(text: str) -> str:
    """A string of DOT, where a backslash begins an escape and a quote ends it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
