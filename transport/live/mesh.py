"""The mesh made of its parts: a network, gossip, sync, questions, and the caller's store.

    what arrives            gossip, fetch, sync.exchange  ->  reception  ->  store  ->  inbox  ->  frames()
    what is published       publish  ->  reception  ->  store, then gossip
    what was missed         the sync task: whom to reconcile with is `sync.schedule`'s to say, whenever a peer
                            comes or joins a topic, falls behind, or time has passed
    who may read            access: members prove that they hold the write key, others show a token

`LiveMesh` owns which topics are joined and the tasks; everything else has its owner in the room named. All its
tasks are in one nursery: an error of the caller's store ends the mesh and goes to whoever opened it, and nothing
that comes from a peer can.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio

from transport.access import Access
from transport.base import (
    MAX_PAYLOAD,
    Address,
    Answerer,
    Arrival,
    AskFailed,
    Closed,
    Frame,
    FrameStore,
    Milliseconds,
    Patience,
    PeerId,
    PeerState,
    Reason,
    Refused,
    Topic,
    TopicId,
    TransportError,
)
from transport.conduct import Offence
from transport.frames import check_life
from transport.gossip.runner import Gossip, Settings as GossipSettings
from transport.live.ask import Questions
from transport.live.chance import Chance
from transport.live.fetch import Fetcher
from transport.live.inbox import Inbox
from transport.live.reception import Reception
from transport.network import Network
from transport.nursery import plain_nursery
from transport.sync.exchange import Exchange
from transport.sync.log import Log
from transport.sync.schedule import Rhythm, Schedule
from transport.sync.sessions import Settings as SyncSettings

EXPIRE_EVERY = 30.0
LOOK_EVERY = 1.0
FAREWELL = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    inbox_frames: int = 4096
    inbox_bytes: int = 64 << 20
    patience: Patience = field(default_factory=Patience)
    gossip: GossipSettings = field(default_factory=GossipSettings)
    sync: SyncSettings = field(default_factory=SyncSettings)
    rhythm: Rhythm = field(default_factory=Rhythm)


class _Mapped:
    """An iterator of peer states, each completed on its way. Not a generator, so it may be dropped at any time."""

    def __init__(self, states: AsyncIterator[PeerState], complete: Callable[[PeerState], PeerState]) -> None:
        self._states, self._complete = states, complete

    def __aiter__(self) -> _Mapped:
        return self

    async def __anext__(self) -> PeerState:
        return self._complete(await anext(self._states))


class LiveMesh:
    """`base.Mesh` over any `Network`. `open_mesh` makes one on sockets."""

    def __init__(
        self,
        network: Network,
        store: FrameStore,
        *,
        now_ms: Callable[[], Milliseconds],
        random_bytes: Callable[[int], bytes],
        settings: MeshSettings,
    ) -> None:
        rng = Chance(random_bytes)
        self._network, self._now_ms, self._settings = network, now_ms, settings
        self._closed = False
        self._topics: dict[TopicId, Topic] = {}
        self._joining = trio.Lock()
        self._news = trio.Event()
        self._log = Log(store, now_ms=now_ms, count=network.count)
        self._access = Access(network.me, now_ms)
        self._inbox = Inbox(most_frames=settings.inbox_frames, most_bytes=settings.inbox_bytes)
        self._schedule = Schedule(network.me, rng, settings.rhythm)
        self._reception = Reception(self._log, self._inbox, late=self._late)
        self._questions = Questions(network)
        self._gossip = Gossip(
            network,
            self._reception,
            now_ms=now_ms,
            random_bytes=random_bytes,
            rng=rng,
            patience=settings.patience,
            settings=settings.gossip,
        )
        self._exchange = Exchange(
            network,
            self._log,
            self._reception,
            self._access,
            now_ms=now_ms,
            rng=rng,
            settings=settings.sync,
            served=self._served,
        )
        self._exchange.register()
        self._fetcher = Fetcher(
            fetch=self._exchange.fetch,
            arrived=self._reception.frames,
            give_up=self._late,
            known=self._reception.known,
            count=network.count,
            stalled=lambda peer: network.charge(peer, Offence.STALLED),
        )
        self._reception.attach(self._fetcher)

    # ------------------------------------------------------------ topics and frames

    @property
    def me(self) -> PeerId:
        return self._network.me

    async def join(self, topic: Topic) -> None:
        self._open()
        async with self._joining:
            if topic.id not in self._topics:
                await self._log.open(topic.id)
            self._access.join(topic)
            if topic.id not in self._topics:
                self._reception.keep(topic.id)
                self._gossip.subscribe(topic.id)
            self._topics[topic.id] = topic
        self._wake()

    async def leave(self, topic: TopicId, *, forget: bool = False) -> None:
        self._open()
        async with self._joining:
            if self._topics.pop(topic, None) is not None:
                self._gossip.unsubscribe(topic)
                self._reception.leave(topic)
                self._access.leave(topic)
                if not forget:
                    self._log.close(topic)
            if forget:
                await self._log.drop(topic)

    async def publish(self, frame: Frame) -> None:
        self._open()
        if frame.topic not in self._topics:
            raise Refused(Reason.STRANGER, "the topic is not joined")
        if len(frame.payload) > MAX_PAYLOAD:
            raise Refused(Reason.SIZE, f"{len(frame.payload)} bytes, at most {MAX_PAYLOAD}")
        check_life(frame.expires, self._now_ms())
        try:
            await self._reception.publish(frame)
            await self._gossip.publish(frame)
        except trio.Cancelled:
            # It is stored, or will be, and nobody was told: sync tells those who are there.
            for peer in self._gossip.peers(frame.topic):
                self._late(peer, frame.topic)
            raise
        self._network.count("mesh.published")

    def frames(self) -> AsyncIterator[Arrival]:
        return self._inbox

    # ------------------------------------------------------------ peers

    async def ask(self, peer: PeerId, protocol: str, question: bytes, *, within: float = 30.0) -> bytes:
        self._open()
        if peer == self.me:
            raise AskFailed("this is the peer itself")
        return await self._questions.ask(peer, protocol, question, within)

    def serve(self, protocol: str, answer: Answerer) -> None:
        self._open()
        self._questions.serve(protocol, answer)

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        self._open()
        self._network.keep(peer, addresses)

    def forget(self, peer: PeerId) -> None:
        self._open()
        self._network.forget(peer)

    def peers(self) -> Mapping[PeerId, PeerState]:
        return {peer: self._with_topics(state) for peer, state in self._network.peers().items()}

    def peer_changes(self) -> AsyncIterator[PeerState]:
        return _Mapped(self._network.peer_changes(), self._with_topics)

    def _with_topics(self, state: PeerState) -> PeerState:
        topics = frozenset(topic for topic in self._gossip.topics_of(state.peer) if topic in self._topics)
        return replace(state, topics=topics) if topics else state

    def counters(self) -> Mapping[str, int]:
        return self._network.counters()

    # ------------------------------------------------------------ sync

    async def synchronize(self, peer: PeerId, topic: TopicId) -> int:
        self._open()
        if topic not in self._topics:
            raise AskFailed("the topic is not joined")
        try:
            if not self._network.connected(peer):
                await self._network.connect(peer)
            outcome = await self._exchange.reconcile(peer, topic)
        except TransportError as error:
            raise AskFailed(str(error)) from error
        return outcome.received

    def _late(self, peer: PeerId, topic: TopicId) -> None:
        self._schedule.behind(peer, topic, trio.current_time())
        self._wake()

    def _served(self, peer: PeerId, topic: TopicId) -> None:
        self._schedule.served(peer, topic, trio.current_time())

    def _wake(self) -> None:
        self._news.set()

    async def _sync(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                now = trio.current_time()
                for peer, topic in self._schedule.due(
                    now, {topic: self._gossip.peers(topic) for topic in self._topics}
                ):
                    nursery.start_soon(self._reconcile, peer, topic)
                self._news = trio.Event()
                with trio.move_on_at(min(self._schedule.next_at(), now + LOOK_EVERY)):
                    await self._news.wait()

    async def _reconcile(self, peer: PeerId, topic: TopicId) -> None:
        ok, changed = False, True
        try:
            outcome = await self._exchange.reconcile(peer, topic)
            ok, changed = True, outcome.received + outcome.sent > 0
        except TransportError:
            self._network.count("sync.failed")
        self._schedule.done(peer, topic, trio.current_time(), ok, changed=changed)
        self._wake()

    async def _watch(self) -> None:
        with self._network.watch() as events:
            async for _ in events:
                self._wake()

    async def _expire(self) -> None:
        while True:
            await self._log.expire()
            await trio.sleep(EXPIRE_EVERY)

    # ------------------------------------------------------------ life

    def _open(self) -> None:
        if self._closed:
            raise Closed("the mesh has ended")

    async def _farewell(self) -> None:
        """What was published a moment ago waits for company: send it, and let it go out."""
        self._gossip.flush()
        with trio.move_on_after(FAREWELL):
            while self._gossip.sizes()["outboxes"]:  # noqa: ASYNC110 - a few milliseconds, once
                await trio.sleep(0.002)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[LiveMesh]:
        """All tasks of the mesh, for as long as the body runs."""
        async with plain_nursery() as nursery:
            for task in (
                self._reception.write,
                self._reception.deliver,
                self._gossip.run,
                self._fetcher.run,
                self._sync,
                self._watch,
                self._expire,
            ):
                nursery.start_soon(task, name=f"mesh {task.__name__}")
            try:
                yield self
                await self._farewell()
            finally:
                self._closed = True
                self._reception.close()
                self._inbox.close()
                nursery.cancel_scope.cancel()
