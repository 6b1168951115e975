"""Who gets which message: gossipsub 1.1 as a state machine. It has no clock, no sockets and no tasks.

Inputs are methods: peers come and go, RPCs arrive, a heartbeat once a second, our own wishes, and the verdict on
each message that was handed out. Each returns what is to be done, in order: `Tell`, `Forward`, `Deliver`,
`Cancel`, `Blame`.

- Each topic has a mesh: some of its peers, kept between `low` and `high`, to which every accepted message is
  forwarded. GRAFT and PRUNE change it; a pruned pair leaves each other alone for a backoff. Groups here are small,
  so `high` is above most groups' size and the mesh may be everybody: nobody is pruned into silence.
- What we publish goes to all peers of the topic, mesh or not, and also without being subscribed (so there is no
  fan-out state to keep).
- A message is taken once, by the id, after its signature is checked; it is forwarded once, after the verdict
  ACCEPT, never to the one it came from nor to any that sent a copy meanwhile.
- Peers of a topic outside the mesh are told at the heartbeat what they may ask for (IHAVE), and ask (IWANT). Who
  announces and then does not send is blamed; the next announcement is taken from others.
- A topic that is left is left at once: nothing of it is announced, forwarded or sent again, however recent.
- A peer's stream may be replaced. `renew` says so: the subscriptions it sends next replace those it sent before,
  and it is grafted again. Its old ones count until then.

Peer exchange is not spoken, and there are no scores: `transport.conduct` holds what is blamed against peers.
Ids and topics that a peer makes us keep are bounded, per peer and in total; what is beyond is ignored and
blamed as FLOOD once per RPC. Subscriptions to topics that are not ours are an exception: when their table is full,
whoever has most of them loses one, and nobody is blamed. A heartbeat without traffic looks at nothing but a few
empty tables.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from transport.base import PeerId
from transport.conduct import Offence
from transport.gossip.authors import Authenticity, authentic
from transport.gossip.history import History, Seen
from transport.gossip.wire import Ihave, Message, MessageId, Prune, Rpc, Subscription, publish_rpc

MOST_PEER_TOPICS: Final = 4096  # that one peer may be subscribed to; more would not fit into one RPC of greeting
MOST_FOREIGN: Final = 1 << 16  # subscriptions of all peers to topics that are not ours
MOST_LEFT: Final = 1024  # topics that were left of late
MOST_BACKOFFS: Final = 1 << 14
MOST_PROMISES: Final = 1 << 14
LONGEST_BACKOFF: Final = 3600.0
DEFAULT_BACKOFF: Final = 60.0  # of a PRUNE that does not say
BACKOFF_SLACK: Final = 1.0  # a GRAFT that is this much too early is one that crossed on the way
MOST_ANNOUNCED: Final = 5000  # ids in one IHAVE that we send
_NOTHING: Final = Subscription(topic="vcd/1/", subscribe=False)  # says that there is nothing, in place of silence
_JS_ID_PREFIX: Final = bytes.fromhex("0801 1220")
_JS_ID_SIZE: Final = 44


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Seconds, or numbers of peers, heartbeats, messages."""

    degree: int = 8
    low: int = 6
    high: int = 64
    lazy: int = 6  # peers outside the mesh that are told of recent messages at each heartbeat, at least
    announced: int = 5  # heartbeats that a message is announced
    kept: int = 10  # heartbeats that it is kept
    seen_for: float = 120.0
    left_for: float = (
        60.0  # what comes of a topic that was left so recently was under way, and is not held against anybody
    )
    prune_backoff: int = 10
    leave_backoff: int = 2
    promise: float = 3.0  # in which what was announced and asked for has to come
    ihaves: int = 10  # taken from one peer between two heartbeats
    asks: int = 1000  # ids asked of one peer, and answered to it, between two heartbeats


class Verdict(enum.Enum):
    ACCEPT = "accept"  # good: forward it
    IGNORE = "ignore"  # nobody's fault: do not forward it
    REJECT = "reject"  # bad: do not forward it, and never ask for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Control for one peer: goes before messages, must not be lost while the stream lives."""

    peer: PeerId
    rpc: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One message for some peers, as the same bytes.

    `urgent`: they most likely do not have it yet. `asked`: an answer to IWANT, which may be left out.
    """

    peers: tuple[PeerId, ...]
    id: MessageId
    topic: str
    rpc: bytes = field(repr=False)
    urgent: bool = True
    asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """A genuine message that is new: look at it and come back with a verdict."""

    message: Message
    source: PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """This peer has the message: no need to send it, if it still waits."""

    peer: PeerId
    id: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    peer: PeerId
    offence: Offence


Output: TypeAlias = Tell | Forward | Deliver | Cancel | Blame


@dataclass(slots=True, kw_only=True)
class _Peer:
    topics: dict[str, None] = field(default_factory=dict)
    foreign: int = 0  # of these, how many are not ours
    renewing: bool = False  # its next subscriptions replace the earlier ones
    ihaves: int = 0  # the rest: since the last heartbeat
    asked: int = 0
    answered: int = 0


@dataclass(slots=True, kw_only=True)
class _Pending:
    topic: str
    rpc: bytes
    has: dict[PeerId, None]


class Router:
    def __init__(self, rng: random.Random, settings: Settings) -> None:
        self._rng = rng
        self._set = settings
        self._peers: dict[PeerId, _Peer] = {}
        self._topics: dict[str, dict[PeerId, None]] = {}  # who is subscribed
        self._meshes: dict[str, dict[PeerId, None]] = {}  # of what we are subscribed to
        self._unsettled: dict[str, None] = {}  # meshes that the next heartbeat has to look at
        self._foreign = 0
        self._left: dict[str, float] = {}  # topics that were ours, and until when that counts; oldest first
        self._backoffs: dict[tuple[str, PeerId], float] = {}
        self._seen = Seen(settings.seen_for)
        self._history = History(announced=settings.announced, kept=settings.kept)
        self._pending: dict[MessageId, _Pending] = {}
        self._promises: dict[MessageId, tuple[PeerId, float]] = {}
        self._beat = 0
        self._busy: dict[PeerId, None] = {}  # peers whose counters are not 0

    # ------------------------------------------------------------ what others ask

    def subscribed(self, topic: str) -> bool:
        return topic in self._meshes

    def peers(self, topic: str) -> Collection[PeerId]:
        """Who is subscribed, as far as they told us."""
        return self._topics.get(topic, {}).keys()

    def mesh(self, topic: str) -> Collection[PeerId]:
        return self._meshes.get(topic, {}).keys()

    def topics(self, peer: PeerId) -> list[str]:
        """What a peer is subscribed to and we too."""
        known = self._peers.get(peer)
        return [topic for topic in known.topics if topic in self._meshes] if known else []

    def sizes(self) -> dict[str, int]:
        """How full every table is."""
        return {
            "peers": len(self._peers),
            "topics": len(self._topics),
            "foreign": self._foreign,
            "left": len(self._left),
            "backoffs": len(self._backoffs),
            "seen": len(self._seen),
            "kept": len(self._history),
            "pending": len(self._pending),
            "promises": len(self._promises),
        }

    # ------------------------------------------------------------ peers

    def peer_up(self, peer: PeerId) -> None:
        """Repeating this is harmless."""
        self._peers.setdefault(peer, _Peer())

    def peer_down(self, peer: PeerId) -> None:
        known = self._peers.pop(peer, None)
        if known is None:
            return
        self._busy.pop(peer, None)
        self._release(peer)
        for topic in known.topics:
            self._drop_subscription(peer, known, topic)

    def renew(self, peer: PeerId) -> None:
        """The peer opened a new stream: what it says next is all it says."""
        known = self._peers.setdefault(peer, _Peer())
        known.renewing = True
        self._release(peer)
        for topic in known.topics:
            if peer in self._meshes.get(topic, ()):
                del self._meshes[topic][peer]
                self._unsettled[topic] = None

    def hello(self, peer: PeerId) -> bytes:
        """What a new stream to a peer begins with: all our subscriptions, and whose mesh it is in."""
        subscriptions = tuple(Subscription(topic=topic, subscribe=True) for topic in self._meshes) or (_NOTHING,)
        known = self._peers.get(peer)
        graft = tuple(t for t in known.topics if peer in self._meshes.get(t, {})) if known else ()
        return Rpc(subscriptions=subscriptions, graft=graft).encode()

    # ------------------------------------------------------------ our wishes

    def subscribe(self, topic: str, now: float) -> list[Output]:
        """Does nothing beyond `MOST_PEER_TOPICS`: others would not keep it in mind, and blame us."""
        if topic in self._meshes or len(self._meshes) >= MOST_PEER_TOPICS:
            return []
        self._meshes[topic] = {}
        self._left.pop(topic, None)
        self._count_foreign(topic, -1)
        news = Subscription(topic=topic, subscribe=True)
        grafted = self._choose(topic, now)
        plain, with_graft = Rpc(subscriptions=(news,)).encode(), Rpc(subscriptions=(news,), graft=(topic,)).encode()
        return [Tell(peer=peer, rpc=with_graft if peer in grafted else plain) for peer in self._peers]

    def unsubscribe(self, topic: str, now: float) -> list[Output]:
        mesh = self._meshes.pop(topic, None)
        if mesh is None:
            return []
        self._count_foreign(topic, 1)
        self._unsettled.pop(topic, None)
        self._history.forget_topic(topic)
        if len(self._left) >= MOST_LEFT:
            del self._left[next(iter(self._left))]
        self._left[topic] = now + self._set.left_for
        backoff = self._set.leave_backoff
        for peer in mesh:
            self._back_off(topic, peer, now + backoff)
        news = Subscription(topic=topic, subscribe=False)
        plain = Rpc(subscriptions=(news,)).encode()
        pruned = Rpc(subscriptions=(news,), prune=(Prune(topic=topic, backoff=backoff),)).encode()
        return [Tell(peer=peer, rpc=pruned if peer in mesh else plain) for peer in self._peers]

    def publish(self, message: Message, now: float) -> list[Output]:
        """Our own message, to all peers of its topic; to a choice of `high` if they are more."""
        rpc = publish_rpc(message)
        self._seen.add(message.id, now)
        self._history.add(message.id, message.topic, rpc)
        peers = list(self._topics.get(message.topic, ()))
        if len(peers) > self._set.high:
            mesh = list(self._meshes.get(message.topic, ()))
            others = [peer for peer in peers if peer not in set(mesh)]
            peers = mesh + self._rng.sample(others, max(self._set.high - len(mesh), 0))
        return [Forward(peers=tuple(peers), id=message.id, topic=message.topic, rpc=rpc)] if peers else []

    def verdict(self, message: MessageId, verdict: Verdict) -> list[Output]:
        """What became of a message that was delivered."""
        pending = self._pending.pop(message, None)
        if pending is None or verdict is not Verdict.ACCEPT or pending.topic not in self._meshes:
            return []
        self._history.add(message, pending.topic, pending.rpc)
        peers = tuple(peer for peer in self._meshes[pending.topic] if peer not in pending.has)
        if not peers:
            return []
        return [Forward(peers=peers, id=message, topic=pending.topic, rpc=pending.rpc, urgent=False)]

    def withdraw(self, message: MessageId) -> None:
        """A message that was delivered could not be looked at: another copy of it is welcome."""
        if self._pending.pop(message, None) is not None:
            self._seen.discard(message)

    # ------------------------------------------------------------ what peers send

    def receive(self, peer: PeerId, rpc: Rpc, now: float) -> list[Output]:
        known = self._peers.get(peer)
        if known is None:
            return []
        out: list[Output] = []
        flood = rpc.excess > 0
        self._busy[peer] = None
        if rpc.subscriptions:
            flood |= self._subscriptions(peer, known, rpc.subscriptions, out)
        for message in rpc.publish:
            self._message(peer, message, now, out)
        answer: list[MessageId] = []
        for ihave in rpc.ihave:
            flood |= self._ihave(peer, known, ihave, now, answer)
        prunes = [prune for topic in rpc.graft for prune in self._graft(peer, topic, now, out)]
        for pruned in rpc.prune:
            self._pruned(peer, pruned, now)
        if answer or prunes:
            out.append(Tell(peer=peer, rpc=Rpc(iwant=tuple(answer), prune=tuple(prunes)).encode()))
        if rpc.iwant:
            flood |= self._iwant(peer, known, rpc.iwant, out)
        if flood:
            out.append(Blame(peer=peer, offence=Offence.FLOOD))
        return out

    def _subscriptions(
        self, peer: PeerId, known: _Peer, subscriptions: Iterable[Subscription], out: list[Output]
    ) -> bool:
        flood = False
        if known.renewing:
            known.renewing = False
            named = {news.topic for news in subscriptions if news.subscribe}
            for topic in [topic for topic in known.topics if topic not in named]:
                del known.topics[topic]
                self._drop_subscription(peer, known, topic)
        graft: dict[str, None] = {}
        for news in subscriptions:
            topic = news.topic
            if not news.subscribe:
                if topic in known.topics:
                    del known.topics[topic]
                    self._drop_subscription(peer, known, topic)
                    graft.pop(topic, None)
                continue
            ours = self._meshes.get(topic)
            if topic not in known.topics:
                if len(known.topics) >= MOST_PEER_TOPICS:
                    flood = True
                    continue
                if ours is None and not self._room_for_foreign(known):
                    continue
                known.topics[topic] = None
                self._topics.setdefault(topic, {})[peer] = None
                if ours is None:
                    known.foreign += 1
                    self._foreign += 1
            if ours is not None and peer not in ours:
                if len(ours) < self._set.low and (topic, peer) not in self._backoffs:
                    ours[peer] = None
                    graft[topic] = None
                else:
                    self._unsettled[topic] = None
        if graft:
            out.append(Tell(peer=peer, rpc=Rpc(graft=tuple(graft)).encode()))
        return flood

    def _message(self, peer: PeerId, message: Message, now: float, out: list[Output]) -> None:
        name = message.id
        if name in self._seen:
            pending = self._pending.get(name)
            if pending is not None:
                pending.has[peer] = None
            out.append(Cancel(peer=peer, id=name))
            return
        if message.topic not in self._meshes:
            if message.topic not in self._left:
                out.append(Blame(peer=peer, offence=Offence.STRANGER))
            return
        match authentic(message):
            case Authenticity.GENUINE:
                self._seen.add(name, now)
                self._promises.pop(name, None)
                rpc = publish_rpc(message)
                self._pending[name] = _Pending(topic=message.topic, rpc=rpc, has={peer: None})
                out.append(Deliver(message=message, source=peer))
            case Authenticity.FORGED:
                out.append(Blame(peer=peer, offence=Offence.FORGED))
            case Authenticity.INCOMPLETE:
                out.append(Blame(peer=peer, offence=Offence.MALFORMED))
            case Authenticity.UNCHECKED:
                self._promises.pop(name, None)

    def _ihave(self, peer: PeerId, known: _Peer, ihave: Ihave, now: float, wanted: list[MessageId]) -> bool:
        known.ihaves += 1
        if known.ihaves > self._set.ihaves:
            return True
        if ihave.topic not in self._meshes:
            return False
        for raw in ihave.ids:
            name = _canonical(raw)
            if name in self._seen or name in self._promises:
                continue
            if known.asked >= self._set.asks or len(self._promises) >= MOST_PROMISES:
                return False  # honest backlogs can be this long; the rest is announced again
            known.asked += 1
            self._promises[name] = (peer, now + self._set.promise)
            wanted.append(raw)
        return False

    def _iwant(self, peer: PeerId, known: _Peer, ids: Iterable[MessageId], out: list[Output]) -> bool:
        for raw in ids:
            known.answered += 1
            if known.answered > self._set.asks:
                return True
            name = _canonical(raw)
            kept = self._history.again(name, peer)
            if kept is not None:
                out.append(Forward(peers=(peer,), id=name, topic=kept.topic, rpc=kept.rpc, asked=True))
        return False

    def _graft(self, peer: PeerId, topic: str, now: float, out: list[Output]) -> list[Prune]:
        mesh = self._meshes.get(topic)
        if mesh is not None and peer in mesh:
            return []
        if mesh is None or peer not in self._topics.get(topic, {}):
            return [Prune(topic=topic, backoff=self._set.prune_backoff)]
        too_early = self._backoffs.get((topic, peer), now) - now > BACKOFF_SLACK
        if too_early:
            out.append(Blame(peer=peer, offence=Offence.FLOOD))
        if too_early or len(mesh) >= self._set.high:
            self._back_off(topic, peer, now + self._set.prune_backoff)
            return [Prune(topic=topic, backoff=self._set.prune_backoff)]
        mesh[peer] = None
        return []

    def _pruned(self, peer: PeerId, prune: Prune, now: float) -> None:
        mesh = self._meshes.get(prune.topic)
        if mesh is not None and peer in self._topics.get(prune.topic, {}):
            mesh.pop(peer, None)
            seconds = DEFAULT_BACKOFF if prune.backoff is None else min(prune.backoff, LONGEST_BACKOFF)
            self._back_off(prune.topic, peer, now + seconds)
            self._unsettled[prune.topic] = None

    # ------------------------------------------------------------ the heartbeat

    def heartbeat(self, now: float, waiting: Collection[PeerId] = ()) -> list[Output]:
        """Once a second. `waiting`: peers that we are not reading from just now, whose promises keep."""
        out: list[Output] = []
        self._seen.expire(now)
        if self._left:
            for topic in [topic for topic, until in self._left.items() if until <= now]:
                del self._left[topic]
        if self._backoffs:
            for key in [key for key, until in self._backoffs.items() if until <= now]:
                del self._backoffs[key]
        if self._promises:
            self._broken_promises(now, waiting, out)
        if self._unsettled:
            self._settle(now, out)
        self._announce(out)
        self._history.shift()
        for peer in self._busy:
            known = self._peers[peer]
            known.ihaves = known.asked = known.answered = 0
        self._busy.clear()
        return out

    def _settle(self, now: float, out: list[Output]) -> None:
        """Fill meshes that are too small, with one RPC per peer. None is too large: GRAFT is refused at `high`."""
        graft: dict[PeerId, list[str]] = {}
        topics, self._unsettled = self._unsettled, {}
        for topic in topics:
            for peer in self._choose(topic, now):
                graft.setdefault(peer, []).append(topic)
        out += [Tell(peer=peer, rpc=Rpc(graft=tuple(names)).encode()) for peer, names in graft.items()]

    def _choose(self, topic: str, now: float) -> list[PeerId]:
        """Fill a mesh that is too small; who was taken in. It stays unsettled while a backoff is in the way."""
        mesh = self._meshes[topic]
        if len(mesh) >= self._set.low:
            return []
        there = self._topics.get(topic, {})
        free = [p for p in there if p not in mesh and self._backoffs.get((topic, p), now) <= now]
        chosen = self._rng.sample(free, min(self._set.degree - len(mesh), len(free)))
        for peer in chosen:
            mesh[peer] = None
        if len(mesh) < self._set.low and len(mesh) < len(there):
            self._unsettled[topic] = None
        return chosen

    def _announce(self, out: list[Output]) -> None:
        """Tell each peer outside the mesh at least once of every message, and some more often."""
        recent = self._history.recent()
        news: dict[PeerId, list[Ihave]] = {}
        for topic, ids in recent.items():
            mesh = self._meshes.get(topic, {})
            others = [peer for peer in self._topics.get(topic, ()) if peer not in mesh]
            rest = self._rng.sample(others, len(others))
            turn = [peer for place, peer in enumerate(others) if (place + self._beat) % self._set.announced == 0]
            ihave = Ihave(topic=topic, ids=tuple(ids[-MOST_ANNOUNCED:]))
            for peer in list(dict.fromkeys(turn + rest))[: max(self._set.lazy, len(turn))]:
                news.setdefault(peer, []).append(ihave)
        self._beat += 1
        out += [Tell(peer=peer, rpc=Rpc(ihave=tuple(ihaves)).encode()) for peer, ihaves in news.items()]

    def _broken_promises(self, now: float, waiting: Collection[PeerId], out: list[Output]) -> None:
        guilty: dict[PeerId, None] = {}
        for name, (peer, until) in list(self._promises.items()):
            if peer in waiting:
                self._promises[name] = (peer, max(until, now + 1.0))
            elif until <= now:
                del self._promises[name]
                guilty[peer] = None
        out += [Blame(peer=peer, offence=Offence.BROKEN_PROMISE) for peer in guilty]

    # ------------------------------------------------------------ small things

    def _release(self, peer: PeerId) -> None:
        """What the peer was to send may have been lost with its stream."""
        for name in [name for name, (who, _) in self._promises.items() if who == peer]:
            del self._promises[name]

    def _count_foreign(self, topic: str, more: int) -> None:
        """A topic was ours, or is now."""
        for peer in self._topics.get(topic, ()):
            self._peers[peer].foreign += more
            self._foreign += more

    def _room_for_foreign(self, known: _Peer) -> bool:
        """Whether one more of this peer's may be kept; if need be, in place of one of whoever has most."""
        if self._foreign < MOST_FOREIGN:
            return True
        peer, most = max(self._peers.items(), key=lambda item: item[1].foreign)
        if most.foreign <= known.foreign + 1:
            return False
        topic = next(topic for topic in reversed(most.topics) if topic not in self._meshes)
        del most.topics[topic]
        self._drop_subscription(peer, most, topic)
        return True

    def _drop_subscription(self, peer: PeerId, known: _Peer, topic: str) -> None:
        there = self._topics[topic]
        del there[peer]
        if not there:
            del self._topics[topic]
        mesh = self._meshes.get(topic)
        if mesh is None:
            known.foreign -= 1
            self._foreign -= 1
        elif peer in mesh:
            del mesh[peer]
            self._unsettled[topic] = None

    def _back_off(self, topic: str, peer: PeerId, until: float) -> None:
        if len(self._backoffs) >= MOST_BACKOFFS:
            del self._backoffs[next(iter(self._backoffs))]
        self._backoffs[topic, peer] = max(until, self._backoffs.get((topic, peer), until))


def _canonical(name: MessageId) -> MessageId:
    """js-libp2p makes ids of the author's key where others take the peer id: the key without two bytes in front."""
    if len(name) == _JS_ID_SIZE and name.startswith(_JS_ID_PREFIX):
        return MessageId(b"\x00\x24" + name)
    return name
