"""What is due first, without looking at all that is to be done: there are some duties for each conversation.

`State.duties` says what holds. Beside it is a heap of times, as a value too (a leftist tree, whose right spine is
short). A duty that is done or put off stays in the heap: what lies on top and does not hold any more is passed over,
and when most of it is like that, the heap is made anew. It is not stored. It knows which duties it belongs to, and is
made anew where a state has others, as after it was loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from mls.persistent import PMap
from vcd.core.duties import Duty

Key = tuple[Duty, bytes]
Entry = tuple[int, int, bytes]
"""When, which duty by its number, its subject: things of one time are done in this order."""

_ROOM = 64
"""So many entries that do not hold are no reason to make a heap anew."""


def _merged(a: Any, b: Any) -> Any:
    """Of two heaps, each None or `(rank, entry, left, right)`."""
    if a is None or b is None:
        return b if a is None else a
    if b[1] < a[1]:
        a, b = b, a
    left, right = a[2], _merged(a[3], b)
    if left is None:
        return (1, a[1], right, None)
    if left[0] < right[0]:
        left, right = right, left
    return (right[0] + 1, a[1], left, right)


def _one(key: Key, at: int) -> Any:
    return (1, (at, key[0].value, key[1]), None, None)


@dataclass(frozen=True, slots=True)
class Agenda:
    """See above."""

    duties: PMap[Key, int] = field(default_factory=PMap)
    heap: Any = field(default=None, repr=False)
    count: int = 0

    def with_duty(self, key: Key, at: int) -> Agenda:
        duties = self.duties.set(key, at)
        if self.count >= 2 * len(duties) + _ROOM:
            return made(duties)
        return Agenda(duties, _merged(self.heap, _one(key, at)), self.count + 1)

    def without(self, key: Key) -> Agenda:
        return replace(self, duties=self.duties.discard(key))

    def _holds(self, entry: Entry) -> bool:
        return self.duties.find((Duty(entry[1]), entry[2])) == entry[0]

    def first(self) -> tuple[Agenda, int]:
        """When something is due next, or 0; and the agenda without what it passed over."""
        heap, count = self.heap, self.count
        while heap is not None and not self._holds(heap[1]):
            heap, count = _merged(heap[2], heap[3]), count - 1
        rest = self if heap is self.heap else Agenda(self.duties, heap, count)
        return rest, 0 if heap is None else heap[1][0]

    def ready(self, now: int) -> list[Key]:
        """What is due by now, in order."""
        found: dict[Entry, None] = {}
        todo = [self.heap]
        while todo:
            at = todo.pop()
            if at is None or at[1][0] > now:
                continue
            if self._holds(at[1]):
                found[at[1]] = None
            todo += at[2:]
        return [(Duty(duty), subject) for _, duty, subject in sorted(found)]


def made(duties: PMap[Key, int]) -> Agenda:
    """From the duties alone."""
    heaps = [_one(key, at) for key, at in duties.items()]
    while len(heaps) > 1:
        heaps = [_merged(*heaps[at : at + 2]) if at + 1 < len(heaps) else heaps[at] for at in range(0, len(heaps), 2)]
    return Agenda(duties, heaps[0] if heaps else None, len(duties))


def of(agenda: Agenda, duties: PMap[Key, int]) -> Agenda:
    """The agenda, if it belongs to these duties, or another one."""
    return agenda if agenda.duties is duties else made(duties)
