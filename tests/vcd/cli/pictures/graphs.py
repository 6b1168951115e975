"""Graphs of epochs, as chat.graph gives them: some that are known, and any."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st


def step(epoch: int, parent: int | None, **fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "epoch": epoch.to_bytes(4, "big") * 8,
        "parent": None if parent is None else parent.to_bytes(4, "big") * 8,
        "number": epoch,
        "author": b"\xa1" * 32,
        "device": None,
        "came": [],
        "went": [],
        "came_devices": [],
        "went_devices": [],
        "head": False,
        "final": False,
        "void": False,
        "votes": 0,
        "keys": "kept",
        "keys_until": None,
        "messages": 0,
        "again": 0,
    }
    return row | fields


def graph(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    head = next((each["epoch"] for each in steps if each["head"]), None)
    return {"chat": b"tea", "mode": "demls", "root": None, "head": head, "final": None, "steps": list(steps)}


def split() -> dict[str, Any]:
    """Two sides commit beside each other; one wins, and what was said on the other is said again."""
    return graph(
        [
            step(1, None, final=True, keys="gone", author=None),
            step(2, 1, came=[b"\xb0" * 32], messages=1),
            step(3, 1, went=[b"\xc0" * 32], void=True, keys_until=1_790_000_000_000),
            step(4, 2, again=2),
            step(5, 3),
            step(6, 4, head=True, device=b"\x01" * 16, came_devices=[b"\x02" * 16]),
        ]
    )


PEOPLE = {b"\xa1" * 32: "Alice", b"\xb0" * 32: "<script>alert('&\"')</script>", b"\x01" * 16: "lap\x1btop\x00"}


@st.composite
def any_graph(draw: st.DrawFn) -> dict[str, Any]:
    """Trees mostly; with parents that are unknown, epochs that come twice, and whatever else is said."""
    parents = draw(st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=16))
    tree, headed, twice = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    rest = random.Random(draw(st.integers(0, 2**32)))  # what hardly matters, as drawing it would take long
    steps = []
    for number, parent in enumerate(parents):
        above = min(parent, number - 1) if tree and parent is not None and number else parent
        fields = {
            "number": rest.choice([number, rest.randrange(2**53)]),
            "author": rest.choice([None, b"\xa1" * 32, b"\xb0" * 32]),
            "came": [rest.randbytes(2) for _ in range(rest.randrange(3))],
            "went": [rest.randbytes(2) for _ in range(rest.randrange(3))],
            "final": rest.random() < 0.5,
            "void": rest.random() < 0.5,
            "keys": rest.choice(["kept", "gone", "never"]),
            "keys_until": rest.choice([None, rest.randrange(2**53)]),
            "messages": rest.randrange(4),
            "again": rest.randrange(4),
        }
        steps.append(step(number, above, **fields))
    if steps and headed:
        rest.choice(steps)["head"] = True
    if steps and twice:
        steps.append(dict(rest.choice(steps)))
        rest.shuffle(steps)
    return graph(steps)
