"""The pairings that there are, each on disk before anybody is answered or told.

What becomes of one is written by the owner, in one transaction with the command that follows from it (`LinkDevice`,
`Linked`), and with the entry that apps read. So after a restart a pairing goes on from where others believe it to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import trio

from vcd.core import inputs
from vcd.core.errors import Malformed
from vcd.core.state import State
from vcd.core.stored import Row
from vcd.daemon import facts
from vcd.daemon.facts import Changes, Facts
from vcd.pairing.existing import Existing
from vcd.pairing.kept import Either, pack, unpack
from vcd.pairing.values import OVER, TEXT, Step
from vcd.store.trouble import StoreTrouble
from vcd.store.values import NewEntry

MOST: Final = 8
"""Pairings that are remembered when they are over."""
_RETRY: Final = 1.0
_EVENTS: Final = {
    Step.WAITING: "pair.started",
    Step.COMPARING: "pair.met",
    Step.CONFIRMED: "pair.confirmed",
    Step.FINISHED: "pair.finished",
    Step.FAILED: "pair.failed",
    Step.CANCELED: "pair.canceled",
}


class Owner(Protocol):
    @property
    def facts(self) -> Facts: ...
    def look(self) -> State: ...
    async def do(
        self, command: inputs.Input | None, *, entries: Sequence[NewEntry] = (), keep: Changes | None = None
    ) -> object: ...
    async def become(
        self,
        make: Callable[[State], State],
        *,
        entries: Sequence[NewEntry] = (),
        keep: Changes | None = None,
    ) -> object: ...


def told(pairing: Either) -> dict[str, Any]:
    """What events say of it."""
    offers = isinstance(pairing, Existing)
    return {
        "pair": pairing.pair,
        "role": "existing" if offers else "new",
        "step": pairing.step.value,
        "check": pairing.check,
        "peer_name": pairing.name if isinstance(pairing, Existing) else pairing.by,
        "peer": (pairing.device or None) if offers else None,
        "reason": TEXT[pairing.why] if pairing.over else "",
    }


class Shelf:
    """See above. Whoever changes one holds `lock` from looking at it until it is put back."""

    def __init__(self, owner: Owner, now_ms: Callable[[], int]) -> None:
        self._owner = owner
        self._now_ms = now_ms
        self.lock = trio.Lock()
        self._all: dict[bytes, Either] = {}
        self._ended: dict[bytes, float] = {}
        self._news = trio.Event()
        self.current: bytes | None = None
        """The one that people mean who name none."""
        self.unreadable: list[Row] = []
        for key, value in facts.of(owner.facts, facts.PAIRING):
            try:
                found = unpack(value)
            except Malformed:  # of a version that did it otherwise: nobody can go on with it
                self.unreadable.append((facts.PAIRING, key))
                continue
            self._all[found.pair] = found
            if not found.over or self.current is None:
                self.current = found.pair

    def find(self, pair: bytes) -> Either | None:
        return self._all.get(pair)

    def all(self) -> list[Either]:
        """The newest first."""
        return list(reversed(self._all.values()))

    async def news(self) -> None:
        """Until any of them is another value."""
        await self._news.wait()

    # ---------------------------------------------------------------- changing one

    async def put(
        self,
        after: Either,
        *,
        command: inputs.Input | None = None,
        become: Callable[[State], State] | None = None,
    ) -> None:
        """What became of one. `Misuse` of the command, and `StoreTrouble`: then it did not.

        Whoever is canceled meanwhile is so afterwards: the owner goes on with what it was given, and what is known here
        must not be older than what is on disk.
        """
        before = self._all.get(after.pair)
        if before is after:
            return
        data = pack(after)
        if before is None or command is not None or pack(before) != data:
            entries = self._entries(before, after)
            keep = {facts.pairing(after.pair): data}
            with trio.CancelScope(shield=True):
                if become is not None:
                    await self._owner.become(become, entries=entries, keep=keep)
                else:
                    await self._owner.do(command, entries=entries, keep=keep)
        if before is None:
            self.current = after.pair
        self._all[after.pair] = after
        if after.over:
            self._ended.setdefault(after.pair, trio.current_time())
            self._forget()
        self._news.set()
        self._news = trio.Event()

    async def insist(self, after: Either) -> None:
        """The same of what happened and cannot be refused: tried again until the store can write."""
        while True:
            try:
                await self.put(after)
            except StoreTrouble:
                await trio.sleep(_RETRY)
            else:
                return

    def _entries(self, before: Either | None, after: Either) -> list[NewEntry]:
        if before is not None and before.step is after.step:
            return []
        name = _EVENTS.get(after.step)
        return [] if name is None else [NewEntry(at_ms=self._now_ms(), type=name, data=told(after))]

    def _forget(self) -> None:
        over = [pair for pair, each in self._all.items() if each.step in OVER and pair != self.current]
        for pair in over[: max(0, len(over) - MOST)]:
            del self._all[pair]
            self._ended.pop(pair, None)

    # ---------------------------------------------------------------- what is over

    def ended(self, pair: bytes) -> float:
        """Seconds since it is over, as far as this run knows."""
        return trio.current_time() - self._ended.setdefault(pair, trio.current_time())

    async def clear(self, pairs: Sequence[bytes]) -> None:
        """Take rows away: with them goes the key that they were sealed under."""
        rows = [*[facts.pairing(each) for each in pairs], *self.unreadable]
        gone: dict[Row, bytes | None] = {row: None for row in rows if self._owner.facts.find(row) is not None}
        self.unreadable = []
        if gone:
            await self._owner.do(None, keep=gone)
