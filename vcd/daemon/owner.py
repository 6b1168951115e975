"""The owner of the node's state: one task, one value.

    tell(input)         the mesh and the clock say what happened; waits while too much is waiting
    do(command)         a command of an app: comes back when it is on disk, or raises `Misuse`
    become(state)       another state instead: this device founds an account, or leaves the one that it had
    look(), facts       the state and the daemon's own rows as they are on disk, for answers

Inputs wait in a queue. The owner takes what is there, up to a bound of number and time, and steps through it with the
state in its hand; what all of that changed becomes one batch of the store, with the events that apps are told, the
frames that are digested by it and the answer to a repeated request. When the batch is on disk, and not before, the
state is the new one, the effects go to the hands, and whoever waits is answered. So a crash at any instant leaves the
state of before with nothing done of what came after, or the new one with its effects to be given again (`Started`).

A store that cannot write (a full disk, a read-only one) changes nothing: commands are refused with its reason, what the
mesh brought stays in the queue and is tried again, slower and slower. Nothing is acted on that is not stored.

`Misuse` of a command changes nothing either, and ends the batch for that command alone. Any other exception out of
`step` is a bug: it goes up and takes the daemon down, and the next start goes on from what is stored.

Effects are answered by inputs (`Published`, `Fetched`, ...). These come through `answer`, which never waits: there are
no more of them than effects, and whoever had to wait for the queue here while the queue waited for the hands would
wait for ever.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import trio

from mls.provider import Provider
from vcd.core import inputs, stored
from vcd.core.effects import Effect
from vcd.core.errors import Misuse
from vcd.core.events import Event
from vcd.core.node import step
from vcd.core.state import State
from vcd.core.stored import Row
from vcd.daemon import removal
from vcd.daemon.facts import REMOVED, Changes, Facts, changed
from vcd.daemon.telling import Told, tell_of
from vcd.store.store import Store
from vcd.store.trouble import StoreTrouble, Trouble
from vcd.store.values import Batch, NewEntry, NewMessage, NewRequest

MOST = 256
"""Inputs of one batch."""
LONGEST = 0.03
"""Seconds of stepping in one batch, so that the mesh and other tasks have their turn."""
ROOM = 1024
"""Inputs that wait before `tell` does."""
RETRY, RETRY_MOST = 0.5, 30.0
"""Seconds until a store that could not write is tried again."""


class Hands(Protocol):
    """Who runs effects."""

    def run(self, effects: Sequence[Effect]) -> None:
        """In this order, soon. Never waits."""
        ...

    async def room(self) -> None:
        """Until there is not too much left to be done."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command, on disk."""

    state: State
    """As it was stored with it."""
    events: tuple[Event, ...]
    """Its own, not those of others in the batch."""
    seqs: tuple[int, ...]
    """The places of its own entries in the journal."""


Answer = Callable[[State, tuple[Event, ...], int], NewRequest]
"""Makes what is answered when a request comes again: of the new state, its events, and its first entry's number."""


Become = Callable[[State], State]
"""Makes another state of the one that there is; whatever it raises is for who wanted that."""


@dataclass(slots=True, eq=False)
class _Item:
    given: inputs.Input | None
    become: Become | None = None
    keep: Changes = field(default_factory=dict)
    waits: trio.Event | None = None
    answer: Answer | None = None
    entries: Sequence[NewEntry] = ()
    history: Sequence[NewMessage] = ()
    digests: tuple[bytes, bytes] | None = None
    outcome: Done | BaseException | None = None


@dataclass(slots=True)
class Counts:
    """For metrics."""

    steps: int = 0
    batches: int = 0
    largest: int = 0
    seconds: float = 0.0
    """Spent in `step`."""
    refused: Counter[str] = field(default_factory=Counter)
    """What came from others and was dropped, by rule."""


class Owner:
    """See above."""

    def __init__(
        self,
        state: State,
        facts: Facts,
        *,
        provider: Provider,
        store: Store,
        hands: Hands,
        now_ms: Callable[[], int],
    ) -> None:
        self._state = state
        self._facts = facts
        self._provider = provider
        self._store = store
        self._hands = hands
        self._now_ms = now_ms
        self._last = store.journal.last
        """Number of the journal's last entry. Only this task writes any."""
        self._queue: deque[_Item] = deque()
        self._news = trio.Event()
        self._space = trio.Event()
        self._moved = trio.Event()
        self._ended = False
        self.put_back: dict[tuple[bytes, bytes], None] = {}
        """Frames that the node had no room for, each with its topic: `mesh` gives them again."""
        self.trouble: StoreTrouble | None = None
        """Why nothing is stored now; None if all is well."""
        self.counts = Counts()

    # ---------------------------------------------------------------- from outside

    def look(self) -> State:
        """The state that is on disk."""
        return self._state

    @property
    def facts(self) -> Facts:
        """The daemon's own rows, as they are on disk."""
        return self._facts

    async def moved(self) -> None:
        """Until something was stored."""
        await self._moved.wait()

    async def do(
        self,
        command: inputs.Input | None,
        *,
        answer: Answer | None = None,
        entries: Sequence[NewEntry] = (),
        history: Sequence[NewMessage] = (),
        keep: Changes | None = None,
    ) -> Done:
        """Carry out a command. `Misuse` if it cannot be, `StoreTrouble` if it could not be stored: it is not done then.

        Once it began it goes on, also if the caller is cancelled. `entries` are told with it, and rows of the daemon's
        own kept (`keep`); without a command, they are all there is to it, as nobody else may write either. `history`
        are messages that belong to these entries, each naming its own by its place among them.
        """
        item = _Item(command, answer=answer, entries=entries, history=history, keep=keep or {})
        return await self._done(item)

    async def become(
        self,
        make: Become,
        *,
        answer: Answer | None = None,
        entries: Sequence[NewEntry] = (),
        keep: Changes | None = None,
    ) -> Done:
        """Have another state, as `make` makes it of the present one; it is started at once."""
        given = inputs.Started()
        return await self._done(_Item(given, become=make, answer=answer, entries=entries, keep=keep or {}))

    async def _done(self, item: _Item) -> Done:
        if self._ended:
            raise StoreTrouble(Trouble.CLOSED, "the state is closed")
        item.waits = trio.Event()
        self._put(item)
        await item.waits.wait()
        if isinstance(item.outcome, Done):
            return item.outcome
        assert item.outcome is not None  # noqa: S101 - who is woken has an outcome
        raise item.outcome

    async def tell(self, given: inputs.Input, *, frame: tuple[bytes, bytes] | None = None) -> None:
        """Something happened. `frame` is the frame that it came in, topic and id: with this input it is digested."""
        while len(self._queue) >= ROOM:
            await self._space.wait()
        self._put(_Item(given, digests=frame))

    def answer(self, given: inputs.Input, *, frame: tuple[bytes, bytes] | None = None) -> None:
        """What came of an effect."""
        self._put(_Item(given, digests=frame))

    def note(self, keep: Changes | None = None, entries: Sequence[NewEntry] = ()) -> None:
        """Keep rows of the daemon's own, or tell something, whenever that is."""
        self._put(_Item(None, keep=keep or {}, entries=entries))

    def _put(self, item: _Item) -> None:
        self._queue.append(item)
        self._news.set()

    # ---------------------------------------------------------------- the task

    async def begin(self) -> None:
        """Store the state of a device that is new here, before anything else."""
        self._last = await self._store.commit(Batch(put={**stored.rows(self._state), **dict(self._facts.items())}))

    async def run(self) -> None:
        """Until it is canceled; whoever waits is refused then."""
        try:
            await self._run()
        finally:
            self._ended = True
            for item in self._queue:
                if item.waits is not None:
                    item.outcome = StoreTrouble(Trouble.CLOSED, "the state was closed")
                    self._wake(item)

    async def _run(self) -> None:
        pause = RETRY
        while True:
            if not self._queue:
                self._news = trio.Event()
                await self._news.wait()
            await self._hands.room()
            try:
                await self._batch()
            except StoreTrouble as trouble:
                self.trouble = trouble
                await trio.sleep(pause)
                pause = min(2 * pause, RETRY_MOST)
            else:
                self.trouble = None
                pause = RETRY
            if len(self._queue) < ROOM:
                self._space.set()  # all who wait, of whom each looks again
                self._space = trio.Event()
            await trio.lowlevel.checkpoint()

    async def _batch(self) -> None:
        """Some of what waits, as one transaction."""
        taken: list[_Item] = []
        state, effects = self._state, list[Effect]()
        told, mine = Told(), dict[int, tuple[int, int, tuple[Event, ...]]]()
        kept: dict[Row, bytes | None] = {}
        back: dict[tuple[bytes, bytes], None] = {}
        request: tuple[_Item, Answer] | None = None
        began = trio.current_time()
        while self._queue and len(taken) < MOST and trio.current_time() - began < LONGEST:
            if self._queue[0].answer is not None and request is not None:
                break  # one repeated request can be answered by one batch
            item = self._queue.popleft()
            first = len(told.entries)
            events: tuple[Event, ...] = ()
            if item.given is not None:
                try:
                    before = state if item.become is None else item.become(state)
                except Exception as error:  # noqa: BLE001 - nothing was done yet
                    item.outcome = error
                    self._wake(item)
                    continue
                try:
                    outcome = step(before, item.given, self._now_ms(), self._provider)
                except Misuse as misuse:
                    item.outcome = misuse
                    self._wake(item)
                    continue
                tell_of(state, outcome, told)
                kept.update(told.keep)
                known = kept[REMOVED] if REMOVED in kept else self._facts.find(REMOVED)
                kept.update(removal.changes(state, outcome.state, known))
                state, events = outcome.state, outcome.events
                effects += outcome.effects
                back.update(dict.fromkeys(outcome.put_back))
                self.counts.refused.update(rule for rule, _ in outcome.refused)
            told.history += [replace(each, entry=each.entry + len(told.entries)) for each in item.history]
            told.add(item.entries)
            kept.update(item.keep)
            mine[id(item)] = (first, len(told.entries), events)
            if item.answer is not None:
                request = (item, item.answer)
            taken.append(item)
        self.counts.seconds += trio.current_time() - began
        self.counts.steps += len(taken)
        if not taken:
            return
        put, gone = stored.changes(self._state, state)
        after = self._last
        answered = None
        if request is not None:
            first, _, its = mine[id(request[0])]
            answered = request[1](state, its, after + 1 + first)
        batch = Batch(
            put={**put, **{row: value for row, value in kept.items() if value is not None}},
            gone=[*gone, *[row for row, value in kept.items() if value is None]],
            entries=told.entries,
            history=told.history,
            request=answered,
            digested=[item.digests for item in taken if item.digests is not None],
            put_back=list(back),
        )
        try:
            with trio.CancelScope(shield=True):  # what is on disk is acted on: the end waits for that
                self._last = await self._store.commit(batch)
        except StoreTrouble as trouble:
            self._put_back(taken, trouble)
            raise
        self.counts.batches += 1
        self.counts.largest = max(self.counts.largest, len(taken))
        self._state = state
        self._facts = changed(self._facts, kept)
        self.put_back.update(back)
        self._moved.set()
        self._moved = trio.Event()
        self._hands.run(effects)
        for item in taken:
            first, last, its = mine[id(item)]
            item.outcome = Done(state, its, tuple(range(after + 1 + first, after + 1 + last)))
            self._wake(item)

    def _put_back(self, taken: Sequence[_Item], trouble: StoreTrouble) -> None:
        """Commands are refused, and whoever gave them may give them again; what happened has happened.

        So are those that no batch has come to yet: what happened before them may be more than one batch takes, and is
        tried first again.
        """
        waiting = [*taken, *self._queue]
        for item in waiting:
            if item.waits is not None:
                item.outcome = trouble
                self._wake(item)
        self._queue = deque(item for item in waiting if item.waits is None)

    @staticmethod
    def _wake(item: _Item) -> None:
        if item.waits is not None:
            item.waits.set()
