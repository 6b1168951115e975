"""When to reconcile which topic with whom. Pure: the time comes in, and whoever drives it opens the sessions.

A pair of a peer and a topic is due soon after the peer shows that it has the topic, after gossip fell `behind`, and
when it failed, later each time. Apart from that each topic has its turn about once a minute, with the proven peer
that it was not compared with for the longest time, a random one at first: so sets become the same everywhere
without comparing all pairs, and no peer can make itself the only one. Whoever comes counts as just compared with,
or coming and going would make it the next one every time.

A pair is proven by a session that went through, whoever opened it, and no longer when one fails: then it is due by
itself until one goes through again. Strangers may subscribe to a topic by the dozen, and let every session run into
its time limit. That is why one of the sessions that may run at once is kept for proven pairs as soon as there are
any, and why sessions with others do not put off a topic's turn.

While a topic's sessions find nothing new, its minute stretches, to `slowest` at most; the first difference ends that.

Both ends of a connection see each other come, and one session serves both directions: the peer with the smaller id
goes first, the other a little later, and not at all if it was `served` meanwhile.

A session that takes long stops counting as one of those that may run at once: a few peers that let theirs trickle
would otherwise keep us from all others.

State is one entry for each pair that `due` was last told of, so it is bounded by connected peers and kept topics;
and for pairs that left in debt, `MOST_AWAY` at most, the first to leave forgotten first.
`due` costs nothing but a comparison as long as nothing is due and nobody came or went.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from transport.base import PeerId, TopicId

MOST_AWAY: Final = 1024


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
    since: float | None = None  # when its session began, if there is one
    met: float = -inf  # when the last one began, or the peer came
    proven: bool = False
    turn: bool = False  # the session that runs is the topic's


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
        self._away: dict[tuple[TopicId, PeerId], _Pair] = {}
        self._next = inf

    def due(self, now: float, peers_by_topic: Mapping[TopicId, Collection[PeerId]]) -> list[tuple[PeerId, TopicId]]:
        """Start these sessions now; tell `done` of each. `peers_by_topic`: connected peers that have kept topics."""
        self._follow(now, peers_by_topic)
        if now < self._next:
            return []
        starting: list[tuple[PeerId, TopicId]] = []
        free, for_unproven = self._free(now)
        for at, peer, topic, turn in sorted(self._candidates(now), key=lambda candidate: candidate[0]):
            if free <= 0:
                break
            pair = self._pairs[topic][peer]
            if at <= now and pair.since is None and (pair.proven or for_unproven > 0):
                free -= 1
                for_unproven -= not pair.proven
                pair.since = pair.met = now
                pair.at = inf
                pair.turn = turn
                if turn:
                    self._plan(topic, now)
                starting.append((peer, topic))
        self._look_ahead(now)
        return starting

    def done(self, peer: PeerId, topic: TopicId, now: float, ok: bool, *, changed: bool = True) -> None:
        """A session that `due` started is over. `changed`: whether it found any difference."""
        pair = self._pairs.get(topic, {}).get(peer) or self._away.get((topic, peer))
        if pair is None or pair.since is None:
            return
        was_proven, pair.since, pair.proven = pair.proven, None, ok
        if ok:
            pair.failures, pair.not_before = 0, -inf
        else:
            pair.failures += 1
            wait = min(self._rhythm.retry * 2.0 ** min(pair.failures - 1, 30), self._rhythm.longest_retry)
            pair.at = pair.not_before = now + self._jittered(wait)
        if topic in self._topics and ok:
            self._rest(topic, now, changed=changed, turn=pair.turn)
        elif topic in self._topics and was_proven:
            # Others may do better, and sooner.
            self._topics[topic].at = min(self._topics[topic].at, now + self._jittered(self._rhythm.retry))
        pair.turn = False
        self._look_ahead(now)

    def served(self, peer: PeerId, topic: TopicId, now: float) -> None:
        """The peer has just reconciled this topic with us by itself."""
        pair = self._pairs.get(topic, {}).get(peer)
        if pair is not None and pair.since is None and not pair.failures:
            pair.at = inf  # only for this pair: whoever says little to us must not keep us from the others
            pair.proven = True
            self._look_ahead(now)

    def behind(self, peer: PeerId, topic: TopicId, now: float) -> None:
        """Something did not reach this peer, or us from it, by gossip."""
        pair = self._pairs.get(topic, {}).get(peer)
        if pair is not None:
            self._topics[topic].period = self._rhythm.period
            pair.at = min(pair.at, max(now + self._jittered(self._rhythm.behind), pair.not_before))
            self._look_ahead(now)

    def next_at(self) -> float:
        """When to ask `due` again if nobody comes or goes before; inf: not at all."""
        return self._next

    # ------------------------------------------------------------ inside

    def _put_away(self, topic: TopicId, peer: PeerId) -> None:
        """Remember what is owed to who left, so that coming and going does not make up for it."""
        pair = self._pairs[topic].pop(peer)
        if pair.since is not None or pair.failures:
            if len(self._away) >= MOST_AWAY:
                del self._away[next(iter(self._away))]
            self._away[topic, peer] = pair

    def _follow(self, now: float, peers_by_topic: Mapping[TopicId, Collection[PeerId]]) -> None:
        """Take in who came and who went."""
        gone = [topic for topic in self._seen if topic not in peers_by_topic]
        for topic in gone:
            for peer in list(self._pairs[topic]):
                self._put_away(topic, peer)
            del self._pairs[topic], self._topics[topic], self._seen[topic]
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
                self._put_away(topic, peer)
            for peer in sorted(self._seen[topic] - pairs.keys()):
                wait = self._rng.random() * self._rhythm.greeting
                pair = self._away.pop((topic, peer)) if (topic, peer) in self._away else _Pair(at=inf, met=now)
                pairs[peer] = pair
                greeting = now + wait + (self._rhythm.courtesy if self._me > peer else 0.0)
                pair.at = max(greeting, pair.not_before)
        if changed:
            self._look_ahead(now)

    def _candidates(self, now: float) -> list[tuple[float, PeerId, TopicId, bool]]:
        """Pairs that are due by themselves, and one peer for each topic whose turn it is."""
        found = []
        for topic, pairs in self._pairs.items():
            found += [(pair.at, peer, topic, False) for peer, pair in pairs.items() if pair.at <= now]
            if self._topics[topic].at <= now:
                free = [peer for peer, pair in pairs.items() if pair.proven and pair.since is None]
                if free:
                    longest = min(pairs[peer].met for peer in free)
                    chosen = self._rng.choice([peer for peer in free if pairs[peer].met == longest])
                    found.append((self._topics[topic].at, chosen, topic, True))
                else:  # those that are not proven are due by themselves
                    self._plan(topic, now)
        return found

    def _rest(self, topic: TopicId, now: float, *, changed: bool, turn: bool) -> None:
        state, rhythm = self._topics[topic], self._rhythm
        state.period = rhythm.period if changed else min(state.period * rhythm.stretch, rhythm.slowest)
        if turn:
            self._plan(topic, now)

    def _plan(self, topic: TopicId, now: float) -> None:
        self._topics[topic].at = now + self._jittered(self._topics[topic].period)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1.0 + self._rhythm.jitter * (2.0 * self._rng.random() - 1.0))

    def _running(self, now: float) -> list[_Pair]:
        """Those whose sessions count as running."""
        here = (pair for pairs in self._pairs.values() for pair in pairs.values())
        return [
            pair
            for pair in (*here, *self._away.values())
            if pair.since is not None and now < pair.since + self._rhythm.slow
        ]

    def _free(self, now: float) -> tuple[int, int]:
        """How many more sessions may run, and how many of those with pairs that are not proven."""
        running = self._running(now)
        free = self._rhythm.at_once - len(running)
        if not any(pair.proven for pairs in self._pairs.values() for pair in pairs.values()):
            return free, free
        unproven = sum(not pair.proven for pair in running)
        return free, min(free, max(self._rhythm.at_once - 1, 1) - unproven)

    def _look_ahead(self, now: float) -> None:
        running = self._running(now)
        slow = [(pair.since + self._rhythm.slow, pair.proven) for pair in running if pair.since is not None]
        free, for_unproven = self._free(now)
        # Unless `done` looks again before, more may run when the first that is in the way counts as slow.
        anybody = -inf if free > 0 else min(at for at, _ in slow)
        unproven = anybody if for_unproven > 0 or free <= 0 else min(at for at, proven in slow if not proven)
        idle = (pair for pairs in self._pairs.values() for pair in pairs.values() if pair.since is None)
        pairs = (max(pair.at, anybody if pair.proven else unproven) for pair in idle)
        turns = (max(state.at, anybody) for topic, state in self._topics.items() if self._pairs[topic])
        self._next = min([*pairs, *turns], default=inf)
