"""`base.Mesh` on a simulated network.

The simulation says what comes to this node; this puts it into the store and then before whoever reads `frames()`,
and holds the node (gossip to it is lost, reconciliation waits) while more than `INBOX` frames or `INBOX_BYTES` are
on that way. One task writes to the store. If the store fails, so does `open_mesh`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from transport.base import (
    MAX_ASK,
    Address,
    Answerer,
    Arrival,
    AskFailed,
    Closed,
    Frame,
    FrameId,
    FrameStore,
    Link,
    Patience,
    PeerId,
    PeerState,
    Reason,
    Refused,
    Topic,
    TopicId,
)
from transport.frames import check_life
from transport.memory.values import (
    Answered,
    Asked,
    Delivered,
    Failed,
    Happening,
    PeerChanged,
    QuestionId,
    Synchronized,
)
from transport.nursery import plain_nursery

if TYPE_CHECKING:
    from transport.memory.network import MemoryNetwork

INBOX: Final = 256  # frames between the network and the reader
INBOX_BYTES: Final = 16 << 20
STORE_BATCH: Final = 64  # frames in one call to the store
EXPIRE_EVERY: Final = 600.0  # seconds until the store is told again to forget what expired
MOST_ANSWERS: Final = 64  # questions answered at once; more are refused
MOST_ANSWERS_PER_PEER: Final = 16


@dataclass(slots=True, eq=False)
class _ToStore:
    """Frames on their way into the store. Whoever waits for them to be there waits for `done`."""

    frames: list[Frame]
    source: PeerId | None  # None: made here
    done: trio.Event = field(default_factory=trio.Event)


_Ending: TypeAlias = Answered | Synchronized | Failed


class MemoryMesh:
    """See `base.Mesh`. Made by `MemoryNetwork.open_mesh`."""

    def __init__(
        self, network: MemoryNetwork, me: PeerId, store: FrameStore, patience: Patience, max_payload: int
    ) -> None:
        self._network, self._me, self._store = network, me, store
        self._patience, self._max_payload = patience, max_payload
        self._topics: dict[TopicId, Topic] = {}
        self._answerers: dict[str, Answerer] = {}
        self._answering: Counter[PeerId] = Counter()
        self._counted: Counter[str] = Counter()
        self._states: dict[PeerId, PeerState] = {}
        self._watchers: list[_Watcher] = []
        self._to_store: deque[_ToStore] = deque()
        self._unread: deque[Arrival] = deque()
        self._unread_bytes = self._coming = self._coming_bytes = 0
        self._tired_of: dict[PeerId, None] = {}  # slow peers that a publisher has waited for
        self._waiting: dict[QuestionId, trio.MemorySendChannel[_Ending]] = {}
        self._changed = trio.Event()  # something was stored, read, released, or has ended
        self._joining = trio.Lock()  # one join or leave at a time
        self._writing = trio.Lock()  # a store has one writer at a time
        self._nursery: trio.Nursery | None = None
        self._closed = False

    @property
    def me(self) -> PeerId:
        return self._me

    # ---------------------------------------------------------------- life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with plain_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._keep_storing)
                nursery.start_soon(self._keep_expiring)
                yield
                nursery.cancel_scope.cancel()
        finally:
            self._closed = True
            self._nursery = None
            for sender in self._waiting.values():
                sender.close()
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this mesh has ended")

    # ---------------------------------------------------------------- topics

    async def join(self, topic: Topic) -> None:
        async with self._joining:
            self._check_open()
            had: list[Frame] = []
            if topic.id not in self._topics:
                async for batch in self._store.entries(topic.id):
                    had += await self._frames(topic.id, [name for _, name in batch])
                self._check_open()
            self._topics[topic.id] = topic
            with self._network.changing() as simulation:
                simulation.join(self._me, topic.id, had)

    async def _frames(self, topic: TopicId, ids: Sequence[FrameId]) -> list[Frame]:
        """These frames, from the one copy that the simulation may have, or the store."""
        known = {name: self._network.simulation.knows(topic, name) for name in ids}
        missing = [name for name, frame in known.items() if frame is None]
        found = [frame for frame in known.values() if frame is not None]
        return found + list(await self._store.fetch(topic, missing)) if missing else found

    async def leave(self, topic: TopicId, *, forget: bool = False) -> None:
        async with self._joining:
            self._check_open()
            self._topics.pop(topic, None)
            with self._network.changing() as simulation:
                simulation.leave(self._me, topic, forget=forget)
            if forget:
                await self._flush()  # what was on its way is dropped with the rest
                async with self._writing:
                    await self._store.drop(topic)

    async def publish(self, frame: Frame) -> None:
        self._check_open()
        if frame.topic not in self._topics:
            raise Refused(Reason.STRANGER)
        if len(frame.payload) > self._max_payload:
            raise Refused(Reason.SIZE, f"{len(frame.payload)} bytes, at most {self._max_payload}")
        check_life(frame.expires, self._network.clock(self._me))
        await self._until(self._put([frame], None).done)
        await self._wait_for_slow_peers(frame.topic)
        with self._network.changing() as simulation:
            simulation.publish(self._me, frame)

    async def _wait_for_slow_peers(self, topic: TopicId) -> None:
        """Until no neighbor is held, or for so long; after that not again until it has recovered."""
        with trio.move_on_after(self._patience.slow_peer) as scope:
            while self._slow_peers(topic):
                self._counted["gossip.waits"] += 1
                await self._network.released.wait()
                self._check_open()
        if scope.cancelled_caught:
            self._tired_of.update(dict.fromkeys(self._slow_peers(topic)))

    def _slow_peers(self, topic: TopicId) -> list[PeerId]:
        simulation = self._network.simulation
        held = [peer for peer in simulation.neighbors(self._me, topic) if simulation.is_held(peer)]
        for peer in [peer for peer in self._tired_of if peer not in held]:
            del self._tired_of[peer]
        return [peer for peer in held if peer not in self._tired_of]

    async def frames(self) -> AsyncIterator[Arrival]:
        while True:
            while self._unread:
                arrival = self._unread.popleft()
                self._unread_bytes -= len(arrival.frame.payload)
                self._mind_the_inbox()
                yield arrival
            if self._closed:
                return
            await self._changed.wait()

    # ---------------------------------------------------------------- the way into the store

    def _put(self, frames: list[Frame], source: PeerId | None) -> _ToStore:
        item = _ToStore(frames, source)
        self._to_store.append(item)
        self._coming += len(frames)
        self._coming_bytes += sum(len(frame.payload) for frame in frames)
        self._wake()
        return item

    async def _flush(self) -> None:
        """Until everything that came before this is in the store."""
        await self._until(self._put([], None).done)

    async def _until(self, done: trio.Event) -> None:
        while not done.is_set():
            self._check_open()
            await self._changed.wait()
        await trio.lowlevel.checkpoint()

    async def _keep_storing(self) -> None:
        while True:
            while not self._to_store:
                await self._changed.wait()
            batch: list[_ToStore] = []
            count = 0
            while self._to_store and count < STORE_BATCH:
                batch.append(self._to_store.popleft())
                count += len(batch[-1].frames)
            frames = [frame for item in batch for frame in item.frames]
            async with self._writing:
                new = dict.fromkeys(await self._store.add(frames) if frames else ())
            for item in batch:
                for frame in item.frames:
                    self._coming -= 1
                    self._coming_bytes -= len(frame.payload)
                    if item.source is not None and frame.id in new:
                        self._unread.append(Arrival(frame=frame, source=item.source))
                        self._unread_bytes += len(frame.payload)
                item.done.set()
            self._mind_the_inbox()
            self._wake()

    async def _keep_expiring(self) -> None:
        while True:
            await trio.sleep(EXPIRE_EVERY)
            async with self._writing:
                await self._store.expire(self._network.clock(self._me))

    def _mind_the_inbox(self) -> None:
        """Hold this node when too much is unread, release it when half of that was read."""
        count, size = len(self._unread) + self._coming, self._unread_bytes + self._coming_bytes
        simulation = self._network.simulation
        if simulation.is_held(self._me):
            if count <= INBOX // 2 and size <= INBOX_BYTES // 2:
                with self._network.changing():
                    simulation.release(self._me)
                self._network.tell_released()
        elif count >= INBOX or size >= INBOX_BYTES:
            self._counted["gossip.holds"] += 1
            simulation.hold(self._me)

    # ---------------------------------------------------------------- questions

    async def ask(self, peer: PeerId, protocol: str, question: bytes, *, within: float = 30.0) -> bytes:
        self._check_open()
        if len(question) > MAX_ASK:
            raise AskFailed(f"a question of {len(question)} bytes, at most {MAX_ASK}")
        if peer == self._me:
            raise AskFailed("a device does not ask itself")
        with self._network.changing() as simulation:
            number = simulation.ask(self._me, peer, protocol, question, within=round(within * 1000))
            receive = self._expect(number)
        ending = await self._ending(number, receive)
        if isinstance(ending, Answered):
            return ending.body
        raise _failed(ending)

    async def synchronize(self, peer: PeerId, topic: TopicId) -> int:
        self._check_open()
        with self._network.changing() as simulation:
            number = simulation.synchronize(self._me, peer, topic, within=round(self._patience.ask * 1000))
            receive = self._expect(number)
        ending = await self._ending(number, receive)
        if isinstance(ending, Synchronized):
            await self._flush()
            return ending.came
        raise _failed(ending)

    def _expect(self, number: QuestionId) -> trio.MemoryReceiveChannel[_Ending]:
        send, receive = trio.open_memory_channel[_Ending](1)
        self._waiting[number] = send
        return receive

    async def _ending(self, number: QuestionId, receive: trio.MemoryReceiveChannel[_Ending]) -> _Ending:
        try:
            with receive:
                ending = await receive.receive()
        except trio.EndOfChannel:
            raise Closed("this mesh has ended") from None
        finally:
            self._waiting.pop(number, None)
            self._network.simulation.withdraw(number)
        return ending

    def serve(self, protocol: str, answer: Answerer) -> None:
        self._check_open()
        self._answerers[protocol] = answer

    async def _answer(self, asked: Asked, answerer: Answerer) -> None:
        answer: bytes | None = None
        remaining = (asked.deadline - self._network.now_ms()) / 1000
        trouble = "ask.answerer_slow"
        try:
            with trio.move_on_after(remaining):
                answer = await answerer(asked.source, asked.body)
                if len(answer) > MAX_ASK:
                    answer, trouble = None, "ask.answer_too_large"
        except Exception:  # noqa: BLE001 -- whatever it is, it is told to nobody: see base.Answerer
            trouble = "ask.answerer_raised"
        finally:
            self._answering[asked.source] -= 1
        if answer is None:
            self._counted[trouble] += 1
        with self._network.changing() as simulation:
            if answer is None:
                simulation.refuse(asked.question)
            else:
                simulation.answer(asked.question, answer)

    # ---------------------------------------------------------------- peers

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        self._check_open()
        state = self._states.get(peer) or PeerState(peer=peer, link=Link.AWAY, since=trio.current_time())
        known = dict.fromkeys((*state.addresses, *addresses))
        self._states[peer] = dataclasses.replace(state, kept=True, addresses=tuple(known))
        with self._network.changing() as simulation:
            simulation.want(self._me, peer)

    def forget(self, peer: PeerId) -> None:
        self._check_open()
        state = self._states.get(peer)
        if state is not None:
            self._states[peer] = dataclasses.replace(state, kept=False)
        with self._network.changing() as simulation:
            simulation.unwant(self._me, peer)
        self._drop_if_nothing(peer)

    def keeps(self, peer: PeerId) -> bool:
        state = self._states.get(peer)
        return state is not None and state.kept

    def peers(self) -> Mapping[PeerId, PeerState]:
        self._check_open()
        self._network.advance()
        return {peer: self._described(state) for peer, state in self._states.items()}

    def _described(self, state: PeerState) -> PeerState:
        if state.link is not Link.CONNECTED:
            return state
        simulation = self._network.simulation
        return dataclasses.replace(
            state,
            topics=frozenset(topic for topic in simulation.topics_of(state.peer) if topic in self._topics),
            round_trip=simulation.round_trip(self._me, state.peer) / 1000,
        )

    async def peer_changes(self) -> AsyncIterator[PeerState]:
        self._check_open()
        watcher = _Watcher()
        self._watchers.append(watcher)
        try:
            while True:
                while watcher.news:
                    yield watcher.news.pop(next(iter(watcher.news)))
                if self._closed:
                    return
                await self._changed.wait()
        finally:
            self._watchers.remove(watcher)

    def _drop_if_nothing(self, peer: PeerId) -> None:
        """`peers` speaks of those that are connected, kept or barred."""
        state = self._states.get(peer)
        if state is not None and state.link is Link.AWAY and not state.kept:
            del self._states[peer]

    def counters(self) -> Mapping[str, int]:
        tally = self._network.simulation.tally(self._me)
        counted = {
            "gossip.published": tally.published,
            "gossip.frames_in": tally.messages_in,
            "gossip.frames_out": tally.messages_out,
            "gossip.duplicates": tally.duplicates,
            "gossip.held": tally.held,
            "gossip.expired": tally.expired,
            "sync.rounds": tally.rounds,
            "sync.frames_in": tally.synced,
            "network.bytes_in": tally.bytes_in,
            "network.bytes_out": tally.bytes_out,
            "network.lost": tally.lost,
        }
        counted |= {f"offence.{offence.name.lower()}": number for offence, number in tally.offences.items()}
        return counted | self._counted

    # ---------------------------------------------------------------- what happens

    def happened(self, happening: Happening) -> None:
        """Called by the network, never waits."""
        match happening:
            case Delivered(frame=frame, source=source):
                self._put([frame], source)
                self._mind_the_inbox()
            case PeerChanged():
                self._peer_changed(happening)
            case Asked():
                self._start_answering(happening)
            case Answered() | Synchronized() | Failed():
                sender = self._waiting.get(happening.question)
                if sender is not None:
                    sender.send_nowait(happening)

    def _peer_changed(self, change: PeerChanged) -> None:
        old, now = self._states.get(change.peer), trio.current_time()
        retry = None if change.until is None else now + (change.until - self._network.now_ms()) / 1000
        state = dataclasses.replace(
            old or PeerState(peer=change.peer, link=change.link), link=change.link, since=now, retry_at=retry
        )
        self._states[change.peer] = state
        for watcher in self._watchers:
            watcher.news[change.peer] = state
        self._drop_if_nothing(change.peer)
        self._network.tell_released()  # it may be one that a publisher waits for
        self._wake()

    def _start_answering(self, asked: Asked) -> None:
        answerer = self._answerers.get(asked.protocol)
        busy = self._answering.total() >= MOST_ANSWERS or self._answering[asked.source] >= MOST_ANSWERS_PER_PEER
        if answerer is None or busy or self._nursery is None:
            self._counted["ask.busy" if busy else "ask.unknown_protocol"] += 1
            self._network.simulation.refuse(asked.question)
        else:
            self._answering[asked.source] += 1
            self._nursery.start_soon(self._answer, asked, answerer, name=f"answer {asked.protocol}")


def _failed(ending: _Ending) -> AskFailed:
    return AskFailed(ending.failure.value if isinstance(ending, Failed) else "not an answer to this")


class _Watcher:
    """One reader of `peer_changes`: the last news of each peer that it has not read."""

    __slots__ = ("news",)

    def __init__(self) -> None:
        self.news: dict[PeerId, PeerState] = {}
