"""Gossip on a network: the router, the batcher and the judge, run as tasks.

Per connected peer there is one task that keeps a stream open and writes to it what its outbox holds, and, for
each stream the peer opens to us, the network's handler that reads. A reader does the whole way of a message
itself: decode, route, judge, forward, hand to the intake. So a peer is read only as fast as what it sends is
worked off, and one that is slow, silent or barred concerns no other. Besides these there are the heartbeat and
the task that sends batches when they have waited long enough.

Both directions are streams of their own, as meshsub has it. If ours breaks while the peer is there, it is
opened again after a pause, begins with all subscriptions, and the topics we had sent in are reconciled, because
nobody knows how much arrived. If the peer opens a second stream, it counts, and the first is closed after what was
read from it is worked off; what the peer says first on it replaces its earlier subscriptions. A peer that
stops sending but is connected stays in the mesh.

Limits: `Settings.bytes_rate`, `message_rate` and `control_rate` per peer; above them the peer is read more slowly,
and charged once a second. A peer that owes much (`Network.penalty`) is read slowly, too. What waits for a peer is
bounded by its `Outbox`: `publish` waits for room in the outboxes of the topic's peers, for none longer than
`Patience.slow_peer`, at once or (unless it reads at a fair rate) in all of the last minute; then the intake is told
that the peer is behind.

No task here ends but by cancellation: whatever the network, the intake or a peer does is counted and over.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from transport.base import Frame, Milliseconds, Patience, PeerId, Reason, Refused, TopicId, TransportError
from transport.conduct import Bucket, Offence
from transport.gossip import router as routing
from transport.gossip.authors import compose
from transport.gossip.batch import Batcher, Pace
from transport.gossip.intake import Intake
from transport.gossip.judge import Findings, examine
from transport.gossip.outbox import Leeway, Outbox, State
from transport.gossip.router import Blame, Cancel, Deliver, Forward, Router, Tell
from transport.gossip.wire import MAX_RPC, PROTOCOLS, Deframer, Rpc, decode, topic_name, topic_named
from transport.network import MAX_WRITE, Network, Stream
from transport.streams import chunks

_MOMENT: Final = 0.01  # seconds that are not worth waiting
_AT_A_TIME: Final = 64  # RPCs looked at before others may run, should nothing in them be waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Seconds, bytes, and numbers per second."""

    router: routing.Settings = field(default_factory=routing.Settings)
    heartbeat: float = 1.0
    budget: float = 300.0  # writes and reads above which frames wait longer: see batch.Pace
    shortest_wait: float = 0.0025
    longest_wait: float = 0.1
    longest_hold: float = 0.04
    full_at: int = 512 << 10
    most_waiting: int = 4 << 20
    bytes_rate: float = 8 << 20
    bytes_burst: float = 32 << 20
    message_rate: float = 500.0
    message_burst: float = 2000.0
    control_rate: float = 2000.0  # subscriptions, grafts, ids and the like
    control_burst: float = 40_000.0
    replay_rate: float = 20.0  # messages without anything new: this many are normal
    replay_burst: float = 500.0
    stalled: float = 30.0  # without a byte in the middle of an RPC
    leeway_period: float = 60.0  # in which a peer may hold publishers up for as long as `Patience.slow_peer`
    fair_rate: float = 512 << 10  # of bytes; a peer that takes so much is waited for without end
    reopen_first: float = 0.25
    reopen_longest: float = 30.0
    half_closed: float = 2.0  # a peer that ends its half of our stream this early only says that it will not write


@dataclass(slots=True, kw_only=True)
class _Link:
    """Our way to a connected peer."""

    outbox: Outbox
    leeway: Leeway
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    wake: trio.Event = field(default_factory=trio.Event)
    used: dict[str, None] = field(default_factory=dict)  # topics in which something was sent on this stream


@dataclass(slots=True, kw_only=True)
class _Share:
    """What a peer may send. Kept while it is connected, whatever it does with its streams."""

    bytes: Bucket
    messages: Bucket
    controls: Bucket
    replays: Bucket
    charged_at: float = -math.inf


@dataclass(slots=True, kw_only=True)
class _Reader:
    """A stream on which a peer sends to us."""

    share: _Share
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)  # of the read that is going on
    busy: bool = False
    replaced: bool = False


class Gossip:
    def __init__(
        self,
        network: Network,
        intake: Intake,
        *,
        now_ms: Callable[[], Milliseconds],
        random_bytes: Callable[[int], bytes],
        rng: random.Random,
        patience: Patience | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._network, self._intake = network, intake
        self._now_ms, self._random_bytes, self._rng = now_ms, random_bytes, rng
        self._patience = (patience or Patience()).slow_peer
        self._set = settings or Settings()
        self._router = Router(rng, self._set.router)
        self._pace = Pace(
            budget=self._set.budget,
            shortest=self._set.shortest_wait,
            longest=self._set.longest_wait,
            longest_hold=self._set.longest_hold,
        )
        self._batcher = Batcher(self._pace)
        self._links: dict[PeerId, _Link] = {}
        self._readers: dict[PeerId, _Reader] = {}
        self._shares: dict[PeerId, _Share] = {}
        self._running = False
        self._room = trio.Event()  # set when an outbox is no longer full; then there is a new one
        self._alarm = trio.Event()  # set when a batch is due before `_alarm_at`; then there is a new one
        self._alarm_at = math.inf

    # ------------------------------------------------------------ what the mesh calls

    def subscribe(self, topic: TopicId) -> None:
        """Announce the topic to all peers. Beyond 4096 topics nothing is done but counted: sync brings their frames."""
        self._do(self._router.subscribe(topic_name(topic), trio.current_time()))
        if not self._router.subscribed(topic_name(topic)):
            self._network.count("gossip.topics_full")

    def unsubscribe(self, topic: TopicId) -> None:
        self._send(self._batcher.take(topic))
        self._do(self._router.unsubscribe(topic_name(topic), trio.current_time()))

    async def publish(self, frame: Frame) -> None:
        """Waits while a peer of the topic cannot take more, then returns; the frame is sent within `longest_wait`."""
        await self._room_for(topic_name(frame.topic))
        self._send(self._batcher.add(frame, trio.current_time()))
        self._set_alarm()
        await trio.lowlevel.checkpoint()

    def flush(self) -> None:
        """Hand over to the outboxes what waits for company."""
        self._send(self._batcher.ready(math.inf))

    def peers(self, topic: TopicId) -> frozenset[PeerId]:
        """Who is subscribed to the topic, as far as they told us."""
        return frozenset(self._router.peers(topic_name(topic)))

    def topics_of(self, peer: PeerId) -> frozenset[TopicId]:
        """What both of us are subscribed to."""
        named = (topic_named(name) for name in self._router.topics(peer))
        return frozenset(topic for topic in named if topic is not None)

    def sizes(self) -> dict[str, int]:
        """How full every table is, the outboxes in bytes."""
        waiting = sum(link.outbox.size for link in self._links.values())
        return self._router.sizes() | {"links": len(self._links), "readers": len(self._readers), "outboxes": waiting}

    async def run(self) -> None:
        """Ends only by cancellation."""
        for protocol in PROTOCOLS:
            self._network.handle(protocol, self._incoming)
        self._running = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heartbeats, name="gossip heartbeat")
                nursery.start_soon(self._flushes, name="gossip batches")
                with self._network.watch() as events:
                    async for event in events:
                        self._part(event.peer)
                        if event.up:
                            self._meet(event.peer, nursery)
                await trio.sleep_forever()
        finally:
            self._running = False

    # ------------------------------------------------------------ peers

    def _meet(self, peer: PeerId, nursery: trio.Nursery) -> None:
        self._router.peer_up(peer)
        link = self._links[peer] = _Link(
            outbox=Outbox(full_at=self._set.full_at, most=self._set.most_waiting),
            leeway=Leeway(self._patience, self._set.leeway_period, self._set.fair_rate, trio.current_time()),
        )
        nursery.start_soon(self._serve, peer, link, name=f"gossip to {peer}")

    def _part(self, peer: PeerId) -> None:
        link = self._links.pop(peer, None)
        if link is not None:
            link.scope.cancel()
            self._make_room()
        self._forget(peer)

    def _forget(self, peer: PeerId) -> None:
        # If it is back already, it may have told us its subscriptions on the new connection: they must stay.
        if not self._network.connected(peer):
            self._router.peer_down(peer)
            self._shares.pop(peer, None)

    def _share(self, peer: PeerId) -> _Share:
        share = self._shares.get(peer)
        if share is None:
            now, settings = trio.current_time(), self._set
            share = self._shares[peer] = _Share(
                bytes=Bucket(settings.bytes_rate, settings.bytes_burst, now),
                messages=Bucket(settings.message_rate, settings.message_burst, now),
                controls=Bucket(settings.control_rate, settings.control_burst, now),
                replays=Bucket(settings.replay_rate, settings.replay_burst, now),
            )
        return share

    # ------------------------------------------------------------ writing

    async def _serve(self, peer: PeerId, link: _Link) -> None:
        pause = self._set.reopen_first
        with link.scope:
            while True:
                began = trio.current_time()
                try:
                    stream = await self._open(peer)
                    try:
                        await self._use(peer, link, stream)
                    finally:
                        with trio.CancelScope(shield=True):
                            await stream.reset()
                except TransportError as error:
                    self._network.count(f"gossip.link_{type(error).__name__.lower()}")
                except Exception as error:  # noqa: BLE001 - no fault of a network may end the gossip
                    self._fault("link", error)
                link.outbox.reset()
                self._behind(peer, link.used)
                link.used.clear()
                if trio.current_time() - began > self._set.reopen_longest:
                    pause = self._set.reopen_first
                await trio.sleep(pause * self._rng.uniform(0.75, 1.25))
                pause = min(pause * 2, self._set.reopen_longest)

    async def _open(self, peer: PeerId) -> Stream:
        try:
            return await self._network.open(peer, PROTOCOLS[0])
        except TransportError:
            return await self._network.open(peer, PROTOCOLS[1])

    async def _use(self, peer: PeerId, link: _Link, stream: Stream) -> None:
        """Write until the stream breaks, or its other half ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_end, peer, stream, nursery.cancel_scope)
            try:
                await self._write(peer, link, stream)
            except TransportError:
                self._network.count("gossip.link_broken")
            nursery.cancel_scope.cancel()

    async def _write(self, peer: PeerId, link: _Link, stream: Stream) -> None:
        outbox = link.outbox
        data = self._router.hello(peer)
        while not outbox.broken:
            for chunk in chunks([data]):
                self._pace.spent(1, trio.current_time())
                await stream.send_all(chunk)
            if outbox.written():
                self._behind(peer, outbox.missed())
            while outbox.due > trio.current_time():
                link.wake = trio.Event()
                with trio.move_on_at(outbox.due):
                    await link.wake.wait()
            was_full = outbox.state is State.FULL
            data = outbox.take(MAX_WRITE)
            if was_full and outbox.state is not State.FULL:
                self._make_room()

    async def _watch_end(self, peer: PeerId, stream: Stream, scope: trio.CancelScope) -> None:
        """Nobody writes on a stream that we opened, so reading it shows its end."""
        began = trio.current_time()
        try:
            while await stream.receive_some():
                self._network.charge(peer, Offence.GARBAGE)
        except TransportError:
            self._network.count("gossip.link_lost")
        else:
            if trio.current_time() - began < self._set.half_closed:
                return
        scope.cancel()

    # ------------------------------------------------------------ reading

    async def _incoming(self, stream: Stream) -> None:
        peer = stream.peer
        if not self._running:
            await stream.reset()
            return
        earlier = self._readers.get(peer)
        if earlier is not None:
            earlier.replaced = True
            earlier.scope.cancel()
        reader = self._readers[peer] = _Reader(share=self._share(peer))
        self._router.renew(peer)
        try:
            await self._read(peer, reader, stream)
        except Refused as refused:
            self._network.charge(peer, Offence.OVERSIZE if refused.reason is Reason.SIZE else Offence.MALFORMED)
        except TransportError:
            self._network.count("gossip.stream_broken")
        except Exception as error:  # noqa: BLE001 - whatever a peer sends, its stream ends and nothing else
            self._fault("reader", error)
        finally:
            if self._readers.get(peer) is reader:
                del self._readers[peer]
                if peer not in self._links:
                    self._forget(peer)
            with trio.CancelScope(shield=True):
                await stream.reset()

    async def _read(self, peer: PeerId, reader: _Reader, stream: Stream) -> None:
        frames = Deframer(MAX_RPC)
        while not reader.replaced:
            data = b""
            with trio.move_on_after(self._set.stalled if frames.partial else math.inf) as scope:
                reader.scope = scope
                data = await stream.receive_some()
            if not data:
                if scope.cancelled_caught and self._readers.get(peer) is reader:
                    self._network.charge(peer, Offence.STALLED)
                return
            reader.busy = True
            self._pace.spent(1, trio.current_time())
            await self._ration(peer, reader.share, reader.share.bytes.take(len(data), trio.current_time()))
            for number, body in enumerate(frames.feed(data)):
                if number % _AT_A_TIME == _AT_A_TIME - 1:
                    await trio.lowlevel.checkpoint()
                await self._handle(peer, reader.share, body)
            reader.busy = False

    async def _handle(self, peer: PeerId, share: _Share, body: bytes) -> None:
        penalty = self._network.penalty(peer)
        if penalty > 0:
            await trio.sleep(penalty)
        try:
            rpc = decode(body)
        except Refused:  # where the next one begins is known all the same
            self._network.charge(peer, Offence.MALFORMED)
            return
        now = trio.current_time()
        if rpc.publish:
            self._network.count("gossip.messages_in", len(rpc.publish))
            await self._ration(peer, share, share.messages.take(len(rpc.publish), now))
        await self._ration(peer, share, share.controls.take(1 + rpc.controls, now))
        # One by one: a message counts as seen when it is its turn, or a copy in a shorter RPC would be passed over.
        if rpc.controls or rpc.excess:
            self._do(self._router.receive(peer, replace(rpc, publish=()), trio.current_time()))
        for message in rpc.publish:
            for deliver in self._do(self._router.receive(peer, Rpc(publish=(message,)), trio.current_time())):
                await self._take(deliver, share)

    async def _ration(self, peer: PeerId, share: _Share, wait: float) -> None:
        if wait <= 0:
            return
        now = trio.current_time()
        if now - share.charged_at >= 1.0:
            share.charged_at = now
            self._network.charge(peer, Offence.FLOOD)
        await trio.sleep(wait)

    async def _take(self, deliver: Deliver, share: _Share) -> None:
        """The way of a message that is new: judge, forward, hand over."""
        message, source = deliver.message, deliver.source
        topic = topic_named(message.topic)
        if topic is None:  # we subscribe to nothing with another kind of name
            return
        findings = None
        try:
            findings = await examine(topic, message.data, self._intake, self._now_ms)
        except Exception as error:  # noqa: BLE001 - the intake's fault is not the peer's
            self._fault("intake", error)
            return
        finally:
            if findings is None:
                self._router.withdraw(message.id)
        self._do(self._router.verdict(message.id, findings.verdict))
        self._network.count(f"gossip.messages_{findings.verdict.value}")
        if findings.rest:
            self._network.count("gossip.passed_on_apart", len(findings.rest))
            self._send(self._batcher.pass_on(topic, findings.rest, trio.current_time()))
            self._set_alarm()
        if findings.offence is not None:
            self._network.charge(source, findings.offence)
        elif findings.known and not findings.news:
            if share.replays.take(1, trio.current_time()) > 0:
                self._network.charge(source, Offence.REPLAY)
        try:
            await self._hand_over(topic, findings, source)
        except Exception as error:  # noqa: BLE001 - see above
            self._fault("intake", error)

    async def _hand_over(self, topic: TopicId, findings: Findings, source: PeerId) -> None:
        # While signatures were checked, the same frames may have come another way.
        heads = [head for head in findings.heads if not self._intake.known(topic, head.id)]
        if heads:
            self._network.count("gossip.heads_in", len(heads))
            self._intake.announced(topic, heads, source)
        frames = [frame for frame in findings.frames if not self._intake.known(topic, frame.id)]
        if frames:
            self._network.count("gossip.frames_in", len(frames))
            await self._intake.frames(topic, frames, source)

    # ------------------------------------------------------------ what the router says

    def _do(self, outputs: Iterable[routing.Output]) -> list[Deliver]:
        delivered: list[Deliver] = []
        for output in outputs:
            match output:
                case Deliver():
                    delivered.append(output)
                case Forward():
                    self._forward(output)
                case Cancel():
                    self._network.count("gossip.copies_in")
                    link = self._links.get(output.peer)
                    if link is not None and link.outbox.cancel(output.id):
                        self._make_room()
                case Tell():
                    link = self._links.get(output.peer)
                    if link is not None:
                        link.outbox.tell(output.rpc)
                        link.wake.set()
                case Blame():
                    self._network.charge(output.peer, output.offence)
        return delivered

    def _forward(self, forward: Forward) -> None:
        now = trio.current_time()
        hold = 0.0 if forward.urgent else self._pace.hold(now)
        sent = 0
        for peer in forward.peers:
            link = self._links.get(peer)
            if link is None or (forward.asked and not link.outbox.fits(forward.rpc)):
                continue  # who asks faster than it reads does not make others wait
            before, due = link.outbox.state, link.outbox.due
            if link.outbox.put(
                forward.id, forward.topic, forward.rpc, now, hold and hold * self._rng.uniform(0.2, 1.8)
            ):
                link.used[forward.topic] = None
                if link.outbox.due < due:
                    link.wake.set()
                sent += 1
            elif before is not State.BEHIND:
                self._fell_behind(peer, link)
        self._network.count("gossip.messages_out", sent)

    def _fell_behind(self, peer: PeerId, link: _Link) -> None:
        self._network.count("gossip.fell_behind")
        self._behind(peer, link.outbox.missed())
        self._make_room()
        link.wake.set()  # should nothing be going on there, it is over at once

    def _behind(self, peer: PeerId, names: Iterable[str]) -> None:
        for name in names:
            topic = topic_named(name)
            if topic is not None and self._network.connected(peer):
                try:
                    self._intake.behind(peer, topic)
                except Exception as error:  # noqa: BLE001 - see `_take`
                    self._fault("intake", error)

    # ------------------------------------------------------------ publishing, and time

    async def _room_for(self, name: str) -> None:
        while True:
            now = trio.current_time()
            self._give_up(now)
            full = self._full(name)
            for peer, link in full:
                if link.leeway.left(now) <= _MOMENT and link.outbox.overdue(now, 0.0):
                    self._fell_behind(peer, link)
            full = self._full(name)
            if not full:
                return
            before = [link.outbox.taken for _, link in full]
            self._network.count("gossip.waits")
            with trio.move_on_at(
                min(min(link.outbox.deadline(self._patience), now + link.leeway.left(now)) for _, link in full)
            ):
                await self._room.wait()
            for (_, link), taken in zip(full, before, strict=True):
                link.leeway.used(now, taken, trio.current_time(), link.outbox.taken)

    def _full(self, name: str) -> list[tuple[PeerId, _Link]]:
        """Who of a topic has to be waited for."""
        links = ((peer, self._links.get(peer)) for peer in self._router.peers(name))
        return [(peer, link) for peer, link in links if link is not None and link.outbox.state is State.FULL]

    def _make_room(self) -> None:
        self._room.set()
        self._room = trio.Event()

    def _give_up(self, now: float) -> None:
        for peer, link in list(self._links.items()):
            if link.outbox.overdue(now, self._patience):
                self._fell_behind(peer, link)

    def _send(self, batches: Iterable[tuple[TopicId, bytes]]) -> None:
        for topic, data in batches:
            name = topic_name(topic)
            if self._router.peers(name):
                message = compose(name, data, self._random_bytes)
                self._network.count("gossip.published")
                self._do(self._router.publish(message, trio.current_time()))

    def _set_alarm(self) -> None:
        due = self._batcher.due()
        if due is not None and due < self._alarm_at:
            self._alarm.set()

    async def _flushes(self) -> None:
        while True:
            due = self._batcher.due()
            self._alarm_at = math.inf if due is None else due
            self._alarm = trio.Event()
            with trio.move_on_at(self._alarm_at):
                await self._alarm.wait()
            now = trio.current_time()
            if now >= self._alarm_at:
                self._pace.woken(now - self._alarm_at, now)
            self._send(self._batcher.ready(now))

    async def _heartbeats(self) -> None:
        while True:
            await trio.sleep(self._set.heartbeat)
            now = trio.current_time()
            self._give_up(now)
            busy = [peer for peer, reader in self._readers.items() if reader.busy]
            self._do(self._router.heartbeat(now, busy))

    def _fault(self, where: str, error: Exception) -> None:
        self._network.count(f"gossip.fault.{where}.{type(error).__name__}")
