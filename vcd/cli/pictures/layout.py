"""Where each epoch stands: time goes down, branches are lanes side by side.

An epoch's row is how far it is from the oldest: below its parent always. Its lane is its parent's if the way that
stands goes on through it (that with the head, else with what is final, else the longest), and a lane of its own
otherwise. A lane is free again below the last epoch of the branch that used it, so few branches at a time make a
narrow picture, however many there were. Epochs whose parent is not known any more begin at the top.

Nothing here trusts the graph: what names a parent that is not there, or stands twice, is drawn once all the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vcd.cli.text import plain

_LONGEST = 24
"""Letters of a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One epoch."""

    name: str
    """Its id, as much of it as tells it from all others here."""
    row: int
    lane: int
    parent: int | None
    """Which box it follows, by index."""
    number: int
    by: str
    """Who committed."""
    did: tuple[str, ...]
    """What that commit did, and what was said in this epoch; a line each."""
    keys: str
    marks: tuple[str, ...]
    """`head`, `final`, `void`."""
    on_way: bool
    """It leads to the head."""
    detail: str
    """All of it, for who points at the box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    title: str
    mode: str
    boxes: tuple[Box, ...]
    rows: int
    lanes: int


def laid_out(graph: Mapping[str, Any], title: str, people: Mapping[bytes, str]) -> Picture:
    steps = _sorted(graph["steps"])
    index = {step["epoch"]: number for number, step in enumerate(steps)}
    parents = [index.get(step["parent"]) for step in steps]
    way = _way(steps, parents, graph)
    rows = _rows(parents)
    lanes = _lanes(parents, rows, way)
    short = _short([step["epoch"] for step in steps])
    boxes = tuple(
        _box(step, people, name=short[number], row=rows[number], lane=lanes[number], parent=parents[number],
             on_way=number in way)
        for number, step in enumerate(steps)
    )  # fmt: skip
    return Picture(
        title=plain(title),
        mode=plain(str(graph["mode"])),
        boxes=boxes,
        rows=max(rows, default=-1) + 1,
        lanes=max(lanes, default=-1) + 1,
    )


def _sorted(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each once, parents first; whoever is its own ancestor begins anew."""
    once: dict[bytes, Mapping[str, Any]] = {}
    for step in steps:
        once.setdefault(step["epoch"], step)
    out: dict[bytes, Mapping[str, Any]] = {}
    for begin in once.values():
        chain: dict[bytes, Mapping[str, Any]] = {}
        above: Mapping[str, Any] | None = begin
        while above is not None and above["epoch"] not in out and above["epoch"] not in chain:
            chain[above["epoch"]] = above
            above = once.get(above["parent"])
        for each in reversed(chain.values()):
            parent = each["parent"] if each["parent"] in out else None
            out[each["epoch"]] = each if parent == each["parent"] else {**each, "parent": parent}
    return list(out.values())


def _way(steps: Sequence[Mapping[str, Any]], parents: Sequence[int | None], graph: Mapping[str, Any]) -> frozenset[int]:
    """The way from the oldest to the head."""
    head = next((number for number, step in enumerate(steps) if step["head"]), None)
    if head is None:
        head = next((number for number, step in enumerate(steps) if step["epoch"] == graph["head"]), None)
    found = []
    while head is not None:
        found.append(head)
        head = parents[head]
    return frozenset(found)


def _rows(parents: Sequence[int | None]) -> list[int]:
    rows: list[int] = []
    for parent in parents:
        rows.append(0 if parent is None else rows[parent] + 1)
    return rows


def _lanes(parents: Sequence[int | None], rows: Sequence[int], way: frozenset[int]) -> list[int]:
    """The child that goes on in its parent's lane is the one on the way, else the one with the longest line below."""
    last = list(rows)
    """The lowest row of what hangs on each."""
    for number in reversed(range(len(parents))):
        parent = parents[number]
        if parent is not None:
            last[parent] = max(last[parent], last[number])
    heir: dict[int | None, int] = {}
    for number, parent in enumerate(parents):
        known = heir.get(parent)
        better = known is None or (number in way, last[number]) > (known in way, last[known])
        if better:
            heir[parent] = number
    lanes: list[int] = [-1] * len(parents)
    taken: list[list[tuple[int, int]]] = []
    """Of each lane, from which row to which one it is somebody's."""
    for number in sorted(range(len(parents)), key=lambda each: (rows[each], each)):
        if lanes[number] >= 0:
            continue
        line = [number]
        while (following := heir.get(line[-1])) is not None:
            line.append(following)
        parent = parents[number]
        span = (rows[number] if parent is None else rows[parent] + 1, rows[line[-1]])
        beside = 0 if parent is None else lanes[parent]
        lane = next(
            each
            for each in range(beside, beside + len(taken) + 1)
            if each >= len(taken) or all(span[1] < begin or span[0] > end for begin, end in taken[each])
        )
        while len(taken) <= lane:
            taken.append([])
        taken[lane].append(span)
        for each in line:
            lanes[each] = lane
    return lanes


def _short(epochs: Sequence[bytes]) -> list[str]:
    """Beginnings of the ids that differ from each other."""
    whole = [epoch.hex() for epoch in epochs]
    digits = 8
    while len({each[:digits] for each in whole}) < len(whole):
        digits += 2
    return [each[:digits] for each in whole]


# ---------------------------------------------------------------- words


def _box(step: Mapping[str, Any], people: Mapping[bytes, str], *, name: str, **place: Any) -> Box:
    def called(who: bytes) -> str:
        text = plain(people.get(who, "")) or who.hex()[:8]
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

    by = step["device"] if step["device"] is not None else step["author"]
    did = [
        *(f"+ {called(each)}" for each in (*step["came"], *step["came_devices"])),
        *(f"- {called(each)}" for each in (*step["went"], *step["went_devices"])),
    ]
    if step["messages"]:
        did.append(f"{step['messages']} of ours said here")
    if step["again"]:
        did.append(f"{step['again']} of ours said again")
    marks = tuple(mark for mark in ("head", "final", "void") if step[mark])
    keys = _keys(step)
    words = {"head": "we stand here", "final": "nothing can undo it", "void": "void: made beside its author's removal"}
    detail = [
        f"epoch {step['number']}, {step['epoch'].hex()}",
        f"by {called(by)}"
        if by is not None
        else "the oldest that is known"
        if step["parent"] is None
        else "by somebody",
        *did,
        *(words[mark] for mark in marks),
        f"votes: {step['votes']}",
        keys,
    ]
    return Box(
        name=name,
        number=step["number"],
        by="" if by is None else called(by),
        did=tuple(did),
        keys=keys,
        marks=marks,
        detail="\n".join(detail),
        **place,
    )


def _keys(step: Mapping[str, Any]) -> str:
    match step["keys"]:
        case "gone":
            return "keys are gone"
        case "never":
            return "keys were never here"
        case _ if step["keys_until"] is not None:
            return f"keys go {_utc(step['keys_until'])}"
        case _:
            return "keys are kept"


def _utc(at_ms: int) -> str:
    """The same on every machine."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_ms / 1000))
    except (OverflowError, ValueError, OSError):
        return f"at {at_ms} ms"
