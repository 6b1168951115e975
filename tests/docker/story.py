"""What happened: what was done to nodes, what they said of themselves, and how much memory they took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

EVERYBODY = ""


@dataclass(frozen=True, slots=True)
class Happening:
    """At a node, or everywhere."""

    at: float
    """Seconds since the beginning."""
    node: str
    kind: str
    """`about`, `step`, `fault`, `mended`, `say`, or the type of one of the daemon's events."""
    text: str
    data: dict[str, Any] = field(default_factory=dict)
    chat: bytes | None = None


@dataclass
class Story:
    """Of one scenario in one ring."""

    scenario: str
    ring: str
    said: Callable[[str], object] = sys.stdout.write
    began: float = field(default_factory=time.monotonic)
    wall: float = field(default_factory=time.time)
    happened: list[Happening] = field(default_factory=list)
    memory: dict[str, list[tuple[float, int, int]]] = field(default_factory=dict)
    """Of each node: when, which process, bytes."""
    stands: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How each node stood at the end, as far as it answered: its status, its chats and their epochs."""
    outcome: str = ""
    """Why it is not as it should be; empty if it is."""
    figures: dict[str, Any] = field(default_factory=dict)
    ended: float = 0.0

    def now(self) -> float:
        return time.monotonic() - self.began

    def tell(self, kind: str, text: str, *nodes: str, **data: Any) -> None:
        at = self.now()
        self.happened += [Happening(at, node, kind, text, data) for node in nodes or (EVERYBODY,)]
        if kind != "say":
            who = f"{', '.join(nodes)}: " if nodes else ""
            self.said(f"{at:7.1f} s  {who}{text}\n")

    def took(self, node: str, process: int, size: int) -> None:
        self.memory.setdefault(node, []).append((self.now(), process, size))


class Watch:
    """Looks at something now and then, beside what goes on."""

    def __init__(self, look: Callable[[], None], every: float) -> None:
        self._look, self._every = look, every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(self._every):
            self._look()

    def close(self) -> None:
        self._end.set()
        self._thread.join(10)
