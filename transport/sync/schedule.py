"""When to reconcile which topic with whom. Pure: the time comes in, and whoever drives it opens the sessions.

A pair of a peer and a topic is due soon after the peer shows that it has the topic, after gossip fell `behind`, and
when it failed, later each time. Apart from that each topic is due about once a minute, with a random one of its
peers: sets that are compared with a random peer each time become the same everywhere without comparing all pairs.
While a topic's sessions find nothing new, its minute stretches, to `slowest` at most; the first difference ends that.

Both ends of a connection see each other come, and one session serves both directions: the peer with the smaller id
goes first, the other a little later, and not at all if it was `served` meanwhile.

State is one entry for each pair that `due` was last told of, so it is bounded by connected peers and kept topics.
`due` costs nothing but a comparison as long as nothing is due and nobody came or went.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf

from transport.base import PeerId, TopicId


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Seconds, but for `stretch`, `jitter` and `at_once`."""

    period: float = 60.0
    slowest: float = 240.0
    stretch: float = 1.5  # of the period, after a session that found nothing
    jitter: float = 0.25  # of every time
    greeting: float = 0.5  # at most, before the first session with a peer that came
    courtesy: float = 4.0  # how much longer the peer with the larger id waits
    behind: float = 1.0
    retry: float = 2.0  # after a first failure, then twice as long each time
    longest_retry: float = 300.0
    at_once: int = 4  # sessions; one that runs for longer than `slow` no longer counts: it keeps nobody waiting
    slow: float = 60.0


@dataclass(slots=True)
class _Pair:
    at: float  # when it is due by itself; inf: only when its topic is
    failures: int = 0
    not_before: float = -inf
    running: bool = False
    since: float = -inf  # when it began to run


@dataclass(slots=True)
class _Topic:
    at: float
    period: float


class Schedule:
    def __init__(self, me: PeerId, rng: random.Random, rhythm: Rhythm | None = None) -> None:
        self._me = me
        self._rng = rng
        self._rhythm = rhythm or Rhythm()
        self._pairs: dict[TopicId, dict[PeerId, _Pair]] = {}
        self._topics: dict[TopicId, _Topic] = {}
        self._seen: dict[TopicId, frozenset[PeerId]] = {}
        self._running = 0
        self._next = inf

    def due(self, now: float, peers_by_topic: Mapping[TopicId, Collection[PeerId]]) -> list[tuple[PeerId, TopicId]]:
        """Start these sessions now; tell `done` of each. `peers_by_topic`: connected peers that have kept topics."""
        self._follow(now, peers_by_topic)
        if now < self._next:
            return []
        starting: list[tuple[PeerId, TopicId]] = []
        for at, peer, topic in sorted(self._candidates(now), key=lambda candidate: candidate[0]):
            if self._running >= self._rhythm.at_once:
                break
            pair = self._pairs[topic][peer]
            if at <= now and not pair.running:
                pair.running, pair.at = True, inf
                self._running += 1
                self._plan(topic, now)
                starting.append((peer, topic))
        self._look_ahead()
        return starting

    def done(self, peer: PeerId, topic: TopicId, now: float, ok: bool, *, changed: bool = True) -> None:
        """A session that `due` started is over. `changed`: whether it found any difference."""
        pair = self._pairs.get(topic, {}).get(peer)
        if pair is None or not pair.running:
            return  # the peer left meanwhile, and was taken off then
        pair.running = False
        self._running -= 1
        if ok:
            pair.failures = 0
            self._rest(topic, now, changed=changed)
        else:
            pair.failures += 1
            wait = min(self._rhythm.retry * 2.0 ** (pair.failures - 1), self._rhythm.longest_retry)
            pair.at = pair.not_before = now + self._jittered(wait)
            # Others may do better, and sooner.
            self._topics[topic].at = min(self._topics[topic].at, now + self._jittered(self._rhythm.retry))
        self._look_ahead()

    def served(self, peer: PeerId, topic: TopicId, now: float) -> None:
        """The peer has just reconciled this topic with us by itself."""
        pair = self._pairs.get(topic, {}).get(peer)
        if pair is not None and not pair.running:
            pair.at, pair.failures, pair.not_before = inf, 0, -inf
            self._plan(topic, now)
            self._look_ahead()

    def behind(self, peer: PeerId, topic: TopicId, now: float) -> None:
        """Something did not reach this peer, or us from it, by gossip."""
        pair = self._pairs.get(topic, {}).get(peer)
        if pair is not None:
            self._topics[topic].period = self._rhythm.period
            pair.at = min(pair.at, max(now + self._jittered(self._rhythm.behind), pair.not_before))
            self._look_ahead()

    def next_at(self) -> float:
        """When to ask `due` again if nobody comes or goes before; inf: not at all."""
        return self._next

    # ------------------------------------------------------------ inside

    def _follow(self, now: float, peers_by_topic: Mapping[TopicId, Collection[PeerId]]) -> None:
        """Take in who came and who went."""
        gone = [topic for topic in self._seen if topic not in peers_by_topic]
        for topic in gone:
            for pair in self._pairs.pop(topic).values():
                self._running -= pair.running
            del self._topics[topic], self._seen[topic]
        changed = bool(gone)
        for topic, peers in peers_by_topic.items():
            there = self._seen.get(topic)
            if there is not None and len(there) == len(peers) and all(peer in there for peer in peers):
                continue
            changed = True
            self._seen[topic] = frozenset(peers)
            pairs = self._pairs.setdefault(topic, {})
            if topic not in self._topics:
                self._topics[topic] = _Topic(at=now + self._jittered(self._rhythm.period), period=self._rhythm.period)
            for peer in [peer for peer in pairs if peer not in self._seen[topic]]:
                self._running -= pairs.pop(peer).running
            for peer in sorted(self._seen[topic] - pairs.keys()):
                wait = self._rng.random() * self._rhythm.greeting
                pairs[peer] = _Pair(at=now + wait + (self._rhythm.courtesy if self._me > peer else 0.0))
        if changed:
            self._look_ahead()

    def _candidates(self, now: float) -> list[tuple[float, PeerId, TopicId]]:
        """Pairs that are due by themselves, and one peer for each topic that is."""
        found = []
        for topic, pairs in self._pairs.items():
            found += [(pair.at, peer, topic) for peer, pair in pairs.items() if pair.at <= now]
            if self._topics[topic].at <= now:
                free = [peer for peer, pair in pairs.items() if not pair.running and pair.not_before <= now]
                if free:
                    found.append((self._topics[topic].at, self._rng.choice(free), topic))
                else:
                    self._plan(topic, now)
        return found

    def _rest(self, topic: TopicId, now: float, *, changed: bool) -> None:
        state, rhythm = self._topics[topic], self._rhythm
        state.period = rhythm.period if changed else min(state.period * rhythm.stretch, rhythm.slowest)
        self._plan(topic, now)

    def _plan(self, topic: TopicId, now: float) -> None:
        self._topics[topic].at = now + self._jittered(self._topics[topic].period)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1.0 + self._rhythm.jitter * (2.0 * self._rng.random() - 1.0))

    def _look_ahead(self) -> None:
        if self._running >= self._rhythm.at_once:
            self._next = inf  # `done` looks again
            return
        pairs = (pair.at for pairs in self._pairs.values() for pair in pairs.values() if not pair.running)
        topics = (state.at for topic, state in self._topics.items() if self._pairs[topic])
        self._next = min([*pairs, *topics], default=inf)
