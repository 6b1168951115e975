"""A seeded network in virtual time: a queue of events, without trio, sockets or signatures.

    simulation = Simulation(seed=1, conditions=Conditions(loss=0.2))
    for peer in peers:
        simulation.add(peer)
        simulation.join(peer, topic)
    simulation.publish(peers[0], frame)
    for happening in simulation.run_until(simulation.now + 60_000):
        ...  # may call the simulation again: publish, answer, crash

A frame goes from neighbor to neighbor by gossip, over at most `degree` of them at each, and lines lose, double
and reorder it as their `Conditions` say. Whatever two neighbors hold differently is made equal by
reconciliation: when their link comes alive, when one of them joins or takes frames in again, and every
`sync_every` milliseconds, between each node that differs from a neighbor and one neighbor chosen at random. In
a topic in which all neighbors agree, nothing happens and nothing is computed, however long that lasts.

Towards the caller each frame is delivered once to each node, also if lines double it; a node that crashes
comes back with what was delivered to it. `now` is the true time; a node's clock may differ from it by its skew,
and by that clock it refuses frames that have expired or live too long.

Same seed, same calls: the same happenings, in the same order. Nothing here depends on hashes or on the order of
sets, and whoever reads `run_until` may call anything between two happenings.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from transport.base import MAX_PAYLOAD, Frame, FrameId, Link, Milliseconds, PeerId, TopicId
from transport.conduct import Ledger, Offence, Standing
from transport.memory.events import Events
from transport.memory.log import Entry, Log, Membership
from transport.memory.questions import Questions
from transport.memory.reconcile import Reconciler, both_in
from transport.memory.values import Conditions, Delivered, Happening, PeerChanged, QuestionId, Tally
from transport.memory.wire import Node, Pair, Way

START: Final = Milliseconds(1_800_000_000_000)


class Simulation:
    """See the module's docstring. Not for threads: whoever runs it calls everything."""

    def __init__(
        self,
        seed: int,
        conditions: Conditions | None = None,
        *,
        links: int | None = None,
        degree: int = 8,
        sync_every: int = 60_000,
        start: Milliseconds = START,
    ) -> None:
        """`links`: to how many of the earlier nodes, chosen at random, a new one is linked; None is all of them."""
        self._events = Events(start)
        self._rng = random.Random(seed)  # noqa: S311 -- a simulation wants to be repeated
        self._conditions = conditions or Conditions()
        self._links, self._degree = links, degree
        self._nodes: dict[PeerId, Node] = {}
        self._logs: dict[TopicId, Log] = {}
        self._questions = Questions(self._events, self._rng)
        self._sync = Reconciler(self._events, self._rng, self._questions, self._deliver, sync_every)

    # ---------------------------------------------------------------- time

    @property
    def now(self) -> Milliseconds:
        return self._events.now

    def next_at(self) -> Milliseconds | None:
        """When `step` has something to do; None if nothing will ever happen by itself."""
        return self._events.next_at()

    def step(self) -> Happening | None:
        """One happening that is due, or one event, which may not have been anybody's concern."""
        return self._events.step()

    def run_until(self, at: int) -> Iterator[Happening]:
        """Everything that happens up to then, which is `now` afterwards."""
        return self._events.run_until(at)

    def events(self) -> int:
        """How many there were so far, or are to come: what a simulation costs."""
        return self._events.added

    # ---------------------------------------------------------------- nodes and links

    def add(self, peer: PeerId, *, skew: int = 0) -> None:
        """A node that is up, linked to others by `links`. `skew`: milliseconds that its clock is ahead."""
        if peer in self._nodes:
            raise ValueError(f"{peer} is there already")
        others = list(self._nodes.values())
        node = self._nodes[peer] = Node(peer, skew)
        if self._links is not None and self._links < len(others):
            others = self._rng.sample(others, self._links)
        for other in others:
            self._refresh(Pair(other, node, self._conditions))

    def link(self, a: PeerId, b: PeerId, conditions: Conditions | None = None) -> None:
        """Link two nodes, or mend what was cut; with `conditions`, these from now on."""
        pair = self._pair(a, b) or Pair(self._nodes[a], self._nodes[b], self._conditions)
        pair.cut, pair.wanted = False, True
        if conditions is not None:
            for way in pair.ways:
                way.conditions = conditions
        self._refresh(pair)

    def cut(self, a: PeerId, b: PeerId) -> None:
        """End the link, if there is one, until `link`. What is under way on it is lost."""
        pair = self._pair(a, b)
        if pair is not None:
            pair.cut = True
            self._refresh(pair)

    def want(self, a: PeerId, b: PeerId) -> None:
        """Have a link if the network allows one: what is cut stays cut. Nothing happens if there is no such node."""
        if a in self._nodes and b in self._nodes and a != b:
            pair = self._pair(a, b) or Pair(self._nodes[a], self._nodes[b], self._conditions)
            pair.wanted = True
            self._refresh(pair)

    def unwant(self, a: PeerId, b: PeerId) -> None:
        """End the link, if there is one, until somebody wants it again."""
        pair = self._pair(a, b)
        if pair is not None:
            pair.wanted = False
            self._refresh(pair)

    def partition(self, *groups: Sequence[PeerId]) -> None:
        """Only nodes of one group reach each other; all that are in none are one more. Replaces the last partition."""
        for node in self._nodes.values():
            node.group = 0
        for number, group in enumerate(groups, start=1):
            for peer in group:
                self._nodes[peer].group = number
        self._refresh_all()

    def heal(self) -> None:
        """No partition. What was cut stays cut."""
        self.partition()

    def crash(self, node: PeerId) -> None:
        """Down at once. What is under way to it is lost, and its questions with it; nothing happens to it any more."""
        crashed = self._nodes[node]
        crashed.up = crashed.held = False
        for way in crashed.ways.values():
            self._refresh(way.pair)
        self._events.silence(node)

    def restart(self, node: PeerId, *, kept: Iterable[FrameId] | None = None) -> None:
        """Up again, in the topics that it was in. `kept`: what its store still has, if that is not everything."""
        back = self._nodes[node]
        if back.up:
            return
        if kept is not None:
            names = dict.fromkeys(kept)
            for member in back.memberships.values():
                member.has = 0
                for name in names:
                    entry = member.log.find(name)
                    if entry is not None:
                        member.add(entry)
        back.up = True
        for way in back.ways.values():
            self._refresh(way.pair)
        for member in back.memberships.values():
            self._sync.touch(member.log)

    def hold(self, node: PeerId) -> None:
        """It takes no more frames in for now: gossip to it is lost, reconciliation waits."""
        self._nodes[node].held = True

    def release(self, node: PeerId) -> None:
        """It takes frames again, and what it missed first."""
        released = self._nodes[node]
        if released.held:
            released.held = False
            for member in released.memberships.values():
                self._sync.catch_up(member)

    def is_held(self, node: PeerId) -> bool:
        return self._nodes[node].held

    def nodes(self) -> Sequence[PeerId]:
        return list(self._nodes)

    def neighbors(self, node: PeerId, topic: TopicId | None = None) -> Sequence[PeerId]:
        """Whom a live link leads to; with `topic`, those of them that are in it."""
        if topic is None:
            return [peer for peer, way in self._nodes[node].ways.items() if way.pair.live]
        member = self._nodes[node].memberships.get(topic)
        return [] if member is None else [other.node.id for _, other in member.neighbors()]

    def topics_of(self, node: PeerId) -> Sequence[TopicId]:
        return [topic for topic, member in self._nodes[node].memberships.items() if member.joined]

    def clock(self, node: PeerId) -> Milliseconds:
        """The time as this node sees it."""
        return Milliseconds(self.now + self._nodes[node].skew)

    def round_trip(self, a: PeerId, b: PeerId) -> int:
        """Milliseconds that a message to a neighbor and back takes, when nothing delays it."""
        way = self._nodes[a].ways[b]
        return way.conditions.delay + way.back().conditions.delay

    def tally(self, node: PeerId) -> Tally:
        return self._nodes[node].tally

    def _pair(self, a: PeerId, b: PeerId) -> Pair | None:
        way = self._nodes[a].ways.get(b)
        return None if way is None else way.pair

    def _refresh_all(self) -> None:
        for node in self._nodes.values():
            for way in node.ways.values():
                if way is way.pair.ways[0]:
                    self._refresh(way.pair)

    def _refresh(self, pair: Pair) -> None:
        """Make `live` what it should be, and everything that follows from that."""
        live = pair.possible(self.now)
        if live is pair.live:
            return
        pair.live = live
        barred = not live and self.now < pair.barred_until
        link = Link.CONNECTED if live else Link.BARRED if barred else Link.AWAY
        for way in pair.ways:
            for member in way.source.memberships.values():
                member.links_changed()
            if way.source.up:
                until = pair.barred_until if barred else None
                self._events.emit(PeerChanged(node=way.source.id, peer=way.target.id, link=link, until=until))
        if live:
            pair.connection += 1
            for way in pair.ways:
                way.renew()
            self._sync.connected(pair.ways[0], self._logs)
        else:
            self._questions.disconnected(pair)

    # ---------------------------------------------------------------- topics

    def join(self, node: PeerId, topic: TopicId, frames: Iterable[Frame] = ()) -> None:
        """Take part. `frames`: what its store has of the topic already, and is not to be delivered."""
        log = self._logs.get(topic)
        if log is None:
            log = self._logs[topic] = Log(topic)
        member = log.membership(self._nodes[node])
        for frame in frames:
            member.add(log.entry(frame))
        if not member.joined:
            member.joined = True
            member.membership_changed()
        for way, _ in self._some(member):
            self._sync.begin(way, log)
        self._sync.touch(log)

    def leave(self, node: PeerId, topic: TopicId, *, forget: bool = False) -> None:
        member = self._nodes[node].memberships.get(topic)
        if member is None:
            return
        member.joined = False
        member.membership_changed()
        if forget:
            member.has = 0

    def knows(self, topic: TopicId, frame: FrameId) -> Frame | None:
        """The frame, if any node had it in this topic and it has not been expired for long."""
        log = self._logs.get(topic)
        entry = None if log is None else log.find(frame)
        return None if entry is None else entry.frame

    def frames_of(self, node: PeerId, topic: TopicId) -> list[Frame]:
        """What the node holds that is not expired by its clock."""
        member = self._nodes[node].memberships.get(topic)
        if member is None:
            return []
        clock = self.now + member.node.skew
        return [entry.frame for entry in member.log.entries if entry.expires > clock and member.holds(entry)]

    # ---------------------------------------------------------------- gossip

    def publish(self, node: PeerId, frame: Frame) -> None:
        """Send what this node made. Nothing happens if it has the frame, is not in the topic, or calls it expired."""
        member = self._nodes[node].memberships.get(frame.topic)
        if member is None or not member.active():
            return
        entry = member.log.entry(frame)
        if not member.holds(entry) and member.alive(entry, self.now):
            member.node.tally.published += 1
            self._add(member, entry)
            self._spread(member, entry, None)

    def push(self, source: PeerId, target: PeerId, frame: Frame) -> None:
        """Hand a frame to a neighbor as a node would that follows no rule: any frame, any topic, any number of times.

        What is wrong with it is held against `source` by `target`, who bars it when it has been enough.
        """
        way = self._nodes[source].ways.get(target)
        if way is not None and way.pair.live:
            size = len(frame.head) + len(frame.payload)
            way.source.tally.messages_out += 1
            way.source.tally.bytes_out += size
            self._events.at(way.stream(self.now, size, self._rng), self._pushed, way, way.pair.connection, frame)

    def _spread(self, member: Membership, entry: Entry, but: Node | None) -> None:
        """Send a frame on to neighbors, except to the one it came from."""
        now, rng, size = self.now, self._rng, entry.size
        targets = self._some(member)
        tally, offset = member.node.tally, entry.number - member.log.base
        for way, other in targets:
            if other.node is but:
                continue
            tally.messages_out += 1
            tally.bytes_out += size
            if other.has >> offset & 1 and way.conditions.bandwidth is None:
                self._duplicate(other.node, size)  # it would be dropped when it arrives: no need to wait for that
                continue
            arrivals = way.gossip(now, size, rng)
            if not arrivals:
                tally.lost += 1
            for at in arrivals:
                self._events.at(at, self._arrive, way, way.pair.connection, other, entry)

    def _some(self, member: Membership) -> list[tuple[Way, Membership]]:
        """The neighbors, or as many of them as a node speaks with at once."""
        found = member.neighbors()
        return found if len(found) <= self._degree else self._rng.sample(found, self._degree)

    def _arrive(self, way: Way, connection: int, member: Membership, entry: Entry) -> None:
        pair, node = way.pair, member.node
        if not pair.live or pair.connection != connection or not member.joined:
            way.source.tally.lost += 1
        elif node.held:
            node.tally.held += 1
        elif member.holds(entry):
            self._duplicate(node, entry.size)
        elif member.alive(entry, self.now):
            node.tally.messages_in += 1
            node.tally.bytes_in += entry.size
            self._deliver(member, entry, way.source)
            self._spread(member, entry, way.source)
        else:
            node.tally.expired += 1

    def _pushed(self, way: Way, connection: int, frame: Frame) -> None:
        target = way.target
        if not way.pair.live or way.pair.connection != connection:
            return
        if target.held:
            target.tally.held += 1
            return
        member = target.memberships.get(frame.topic)
        clock = self.now + target.skew
        if len(frame.payload) > MAX_PAYLOAD:
            self._charge(way, Offence.OVERSIZE)
        elif member is None or not member.joined:
            self._charge(way, Offence.STRANGER)
        elif frame.expires <= clock:
            self._charge(way, Offence.EXPIRED)
        else:
            entry = member.log.entry(frame)
            if member.holds(entry):
                self._duplicate(target, entry.size)
                self._charge(way, Offence.REPLAY)
            elif not member.alive(entry, self.now):
                self._charge(way, Offence.EXPIRED)
            else:
                target.tally.messages_in += 1
                target.tally.bytes_in += entry.size
                self._deliver(member, entry, way.source)
                self._spread(member, entry, way.source)

    def _duplicate(self, node: Node, size: int) -> None:
        node.tally.messages_in += 1
        node.tally.bytes_in += size
        node.tally.duplicates += 1

    def _deliver(self, member: Membership, entry: Entry, source: Node) -> None:
        member.node.tally.delivered += 1
        self._add(member, entry)
        self._events.emit(Delivered(node=member.node.id, frame=entry.frame, source=source.id))

    def _add(self, member: Membership, entry: Entry) -> None:
        member.add(entry)
        self._sync.touch(member.log)

    def _charge(self, way: Way, offence: Offence) -> None:
        node, now = way.target, self.now / 1000
        if node.ledger is None:
            node.ledger = Ledger()
        node.tally.offences[offence] = node.tally.offences.get(offence, 0) + 1
        if node.ledger.charge(way.source.id, offence, now) is Standing.BARRED:
            until = node.ledger.barred_until(way.source.id, now)
            way.pair.barred_until = int((now if until is None else until) * 1000)
            self._refresh(way.pair)
            self._events.at(way.pair.barred_until, self._refresh, way.pair)

    # ---------------------------------------------------------------- questions

    def ask(self, node: PeerId, peer: PeerId, protocol: str, body: bytes, *, within: int = 30_000) -> QuestionId:
        """Ends with `Answered` or `Failed`, for this node, within this many milliseconds."""
        asker = self._nodes[node]
        number = self._questions.begin(asker, asker.ways.get(peer), within)
        self._questions.ask(number, protocol, body)
        return number

    def answer(self, question: QuestionId, body: bytes) -> None:
        """Nothing happens if the question has ended meanwhile."""
        self._questions.answer(question, body)

    def refuse(self, question: QuestionId) -> None:
        self._questions.refuse(question)

    def withdraw(self, question: QuestionId) -> None:
        """The asker no longer waits."""
        self._questions.withdraw(question)

    def synchronize(self, node: PeerId, peer: PeerId, topic: TopicId, *, within: int = 30_000) -> QuestionId:
        """Reconcile now: ends with `Synchronized` or `Failed`."""
        asker = self._nodes[node]
        way, log = asker.ways.get(peer), self._logs.get(topic)
        number = self._questions.begin(asker, way, within)
        if way is not None and log is not None and both_in(log, way):
            self._sync.begin(way, log, number)
        else:
            self._questions.refuse(number)
        return number
