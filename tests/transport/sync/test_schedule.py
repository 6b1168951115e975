"""When sessions are opened: soon after a peer comes, about once a minute, later after failures, never too many."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping
from math import inf

import pytest
from hypothesis import given, strategies as st

from tests.transport.sync.talk import FEWER
from transport.base import PeerId, TopicId
from transport.sync.schedule import MOST_AWAY, Rhythm, Schedule

ME = PeerId("m")
PEERS = [PeerId(name) for name in "xyzw"]  # all larger than `ME`: we go first
ONE, TWO = TopicId(b"1" * 32), TopicId(b"2" * 32)
Shared = Mapping[TopicId, Collection[PeerId]]


class Driver:
    """Calls `due` when `next_at` says so; sessions take a second."""

    def __init__(self, rhythm: Rhythm | None = None, *, me: PeerId = ME, seed: int = 1) -> None:
        self.schedule = Schedule(me, random.Random(seed), rhythm)
        self.now = 0.0
        self.shared: Shared = {}
        self.failing: set[PeerId] = set()
        self.changed = True
        self.opened: list[tuple[float, PeerId, TopicId]] = []
        self.most = self.calls = 0

    def run(self, until: float) -> list[tuple[float, PeerId, TopicId]]:
        """What was opened."""
        before = len(self.opened)
        running: list[tuple[float, PeerId, TopicId]] = []
        self._due(running)
        while True:
            at = min([self.schedule.next_at(), *(end for end, _, _ in running)])
            if at > until:
                break
            self.now = max(self.now, at)
            for session in [session for session in running if session[0] <= self.now]:
                running.remove(session)
                _, peer, topic = session
                self.schedule.done(peer, topic, self.now, peer not in self.failing, changed=self.changed)
            self._due(running)
        for _, peer, topic in running:
            self.schedule.done(peer, topic, until, peer not in self.failing, changed=self.changed)
        self.now = until
        return self.opened[before:]

    def _due(self, running: list[tuple[float, PeerId, TopicId]]) -> None:
        self.calls += 1
        for peer, topic in self.schedule.due(self.now, self.shared):
            self.opened.append((self.now, peer, topic))
            running.append((self.now + 1.0, peer, topic))
        self.most = max(self.most, len(running))


def test_nobody_there_nothing_to_do() -> None:
    driver = Driver()
    assert driver.run(1000) == []
    assert driver.schedule.next_at() == inf
    driver.shared = {ONE: []}
    assert driver.run(2000) == []
    assert driver.schedule.next_at() == inf


def test_a_peer_that_comes_is_greeted_at_once() -> None:
    driver = Driver()
    driver.shared = {ONE: [PEERS[0]], TWO: [PEERS[0]]}
    opened = driver.run(1.5)
    assert sorted((peer, topic) for _, peer, topic in opened) == [(PEERS[0], ONE), (PEERS[0], TWO)]
    assert all(at <= Rhythm().greeting for at, _, _ in opened)
    driver.shared = {ONE: PEERS[:2], TWO: [PEERS[0]]}
    assert [(peer, topic) for _, peer, topic in driver.run(4)] == [(PEERS[1], ONE)]


def test_the_larger_id_waits_and_does_not_repeat_what_was_served() -> None:
    driver = Driver(me=PeerId("~"))
    driver.shared = {ONE: PEERS[:2]}
    assert driver.run(3) == []
    driver.schedule.served(PEERS[0], ONE, 3.0)
    assert [peer for _, peer, _ in driver.run(10)] == [PEERS[1]]


def test_about_once_a_minute_with_anybody() -> None:
    driver = Driver()
    driver.shared = {ONE: PEERS}
    driver.run(5)
    opened = driver.run(5 + 3600)
    assert 50 <= len(opened) <= 75
    gaps = [after[0] - before[0] for before, after in zip(opened, opened[1:], strict=False)]
    assert min(gaps) > 40
    assert max(gaps) < 85
    assert set(Counter(peer for _, peer, _ in opened)) == set(PEERS)


def test_less_often_while_nothing_changes_until_something_does() -> None:
    driver = Driver()
    driver.shared = {ONE: PEERS}
    driver.changed = False
    driver.run(1000)
    assert len(driver.run(1000 + 3600)) <= 3600 / Rhythm().slowest * 1.35
    driver.changed = True
    driver.run(4900)
    assert 50 <= len(driver.run(4900 + 3600)) <= 75


def test_idling_costs_a_call_a_session() -> None:
    driver = Driver()
    driver.shared = {ONE: PEERS, TWO: PEERS}
    driver.run(10)
    calls, opened = driver.calls, len(driver.opened)
    driver.run(3600)
    assert driver.calls - calls <= 2 * (len(driver.opened) - opened) + 2


def test_behind_is_soon_but_once() -> None:
    driver = Driver()
    driver.shared = {ONE: PEERS[:2]}
    driver.run(5)
    for _ in range(10):
        driver.schedule.behind(PEERS[1], ONE, 5.0)
    driver.schedule.behind(PeerId("unknown"), ONE, 5.0)
    driver.schedule.behind(PEERS[1], TWO, 5.0)
    opened = driver.run(8)
    assert [(peer, topic) for _, peer, topic in opened] == [(PEERS[1], ONE)]


def test_failures_wait_longer_and_others_are_tried() -> None:
    driver = Driver()
    driver.shared = {ONE: PEERS[:1]}
    driver.failing = {PEERS[0]}
    times = [at for at, _, _ in driver.run(3600)]
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert 2 < gaps[0] < 5
    assert max(gaps) < Rhythm().longest_retry * 1.3 + 1
    assert len(times) < 30
    driver.shared = {ONE: PEERS[:2]}
    driver.run(3605)
    assert PEERS[1] in {peer for _, peer, _ in driver.run(3605 + 300)}
    driver.failing.clear()
    driver.run(5000)
    assert len(driver.run(5000 + 3600)) >= 50


def test_behind_does_not_overrule_a_backoff() -> None:
    driver = Driver()
    driver.shared = {ONE: PEERS[:1]}
    driver.failing = {PEERS[0]}
    driver.run(500)
    before = len(driver.opened)
    for second in range(60):
        driver.schedule.behind(PEERS[0], ONE, 500.0 + second)
        driver.run(501.0 + second)
    assert len(driver.opened) - before <= 2


def test_never_too_many_at_once() -> None:
    driver = Driver()
    driver.shared = {TopicId(bytes([number]) * 32): PEERS for number in range(50)}
    opened = driver.run(300)
    assert driver.most == Rhythm().at_once
    assert len({(peer, topic) for _, peer, topic in opened}) == 200


def test_sessions_that_trickle_keep_nobody_waiting() -> None:
    rhythm = Rhythm(at_once=2)
    schedule = Schedule(ME, random.Random(1), rhythm)
    shared = {ONE: PEERS}
    schedule.due(0.0, shared)
    first = schedule.due(2.0, shared)
    assert len(first) == 2
    assert schedule.due(30.0, shared) == []
    assert schedule.next_at() == 2.0 + rhythm.slow
    second = schedule.due(schedule.next_at(), shared)
    assert {peer for peer, _ in first + second} == set(PEERS)
    for peer, topic in first:
        schedule.done(peer, topic, 70.0, ok=False)


def test_strangers_that_stall_keep_nobody_from_who_answers() -> None:
    """Forty of them take ten seconds each time; the one that answers still has its turn about once a minute."""
    strangers = [PeerId(f"s{number}") for number in range(40)]
    schedule, good = Schedule(ME, random.Random(1)), PeerId("t")
    running: list[tuple[float, PeerId]] = []
    met: list[float] = []
    for tick in range(4 * 1800):
        now = tick / 4
        for end, peer in [session for session in running if session[0] <= now]:
            running.remove((end, peer))
            schedule.done(peer, ONE, now, peer == good)
        for peer, _ in schedule.due(now, {ONE: [*strangers, good]}):
            running.append((now + (1 if peer == good else 10), peer))
            met += [now] if peer == good else []
        assert schedule.next_at() > now, "it is asked again and again for nothing"
        assert len(running) <= Rhythm().at_once
        assert sum(peer != good for _, peer in running) < Rhythm().at_once or not met
    gaps = [after - before for before, after in zip(met, met[1:], strict=False)]
    assert met[0] < 120
    assert max(gaps) < 90
    assert min(gaps[1:]) > 40, "after the first session, when it came"


def test_who_comes_and_goes_is_not_next_because_of_that() -> None:
    schedule = Schedule(PeerId("~"), random.Random(1))
    stays, flaps = PEERS[:2]
    opened: Counter[PeerId] = Counter()
    for second in range(1200):
        now = float(second)
        there = [stays, flaps] if second % 4 else [stays]
        for peer, topic in schedule.due(now, {ONE: there}):
            opened[peer] += 1
            schedule.done(peer, topic, now + 0.5, ok=True)
        if second % 4 == 2:
            schedule.served(flaps, ONE, now)
    assert opened[stays] >= 12


def test_who_opens_sessions_but_fails_in_ours_is_still_asked() -> None:
    driver = Driver()
    driver.shared = {ONE: PEERS[:2]}
    driver.failing = {PEERS[0]}
    driver.run(5)
    for second in range(5, 1800, 5):
        driver.schedule.served(PEERS[0], ONE, float(second))
        driver.run(float(second))
    assert sum(peer == PEERS[0] for _, peer, _ in driver.opened) >= 8


def test_who_leaves_and_comes_again_is_greeted_but_not_forgiven() -> None:
    schedule = Schedule(ME, random.Random(1), Rhythm(at_once=1))
    shared = {ONE: PEERS[:1]}
    schedule.due(0.0, shared)
    assert schedule.due(1.0, shared) == [(PEERS[0], ONE)]
    assert schedule.due(2.0, {}) == []
    assert schedule.next_at() >= 1.0 + Rhythm().slow, "its session still runs"
    assert schedule.due(3.0, shared) == schedule.due(4.0, shared) == []
    schedule.done(PEERS[0], ONE, 5.0, ok=True)
    assert schedule.due(6.0, shared) == [(PEERS[0], ONE)]
    for now in range(7, 67, 2):
        schedule.due(float(now), {})
        schedule.done(PEERS[0], ONE, float(now), ok=False)
        schedule.due(now + 0.5, shared)
        schedule.due(now + 1.0, shared)
    assert not schedule._away
    assert schedule._pairs[ONE][PEERS[0]].failures in range(3, 8)


def test_who_left_in_debt_is_remembered_within_bounds() -> None:
    schedule = Schedule(ME, random.Random(1), Rhythm(at_once=10**6))
    for number in range(MOST_AWAY + 10):
        shared = {ONE: [PeerId(f"x{number}")]}
        schedule.due(float(number), shared)
        schedule.due(number + 0.6, shared)
    assert len(schedule._away) == MOST_AWAY


def test_being_served_puts_off_nobody_else() -> None:
    driver = Driver()
    driver.shared = {ONE: PEERS[:2]}
    driver.run(5)
    for second in range(5, 3600, 5):
        driver.schedule.served(PEERS[0], ONE, float(second))
        driver.run(float(second))
    assert 20 <= sum(peer == PEERS[1] for _, peer, _ in driver.opened) <= 40


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 200)), max_size=30))
@FEWER
def test_whatever_happens_nothing_is_lost(seed: int, steps: list[tuple[int, int]]) -> None:
    """Peers come, go, fail and fall behind: counts stay right, and after all that every pair is still met."""
    driver = Driver(seed=seed)
    rng = random.Random(seed)
    for step, wait in steps:
        match step:
            case 0:
                driver.shared = {topic: rng.sample(PEERS, rng.randrange(5)) for topic in (ONE, TWO)}
            case 1:
                driver.shared = {ONE: PEERS}
            case 2:
                driver.failing = set(rng.sample(PEERS, rng.randrange(5)))
            case 3:
                driver.schedule.behind(rng.choice(PEERS), ONE, driver.now)
            case _:
                driver.schedule.served(rng.choice(PEERS), ONE, driver.now)
        driver.run(driver.now + wait)
        assert driver.most <= Rhythm().at_once
        assert driver.schedule._running(driver.now) == []
    driver.failing.clear()
    driver.shared = {ONE: PEERS, TWO: PEERS}
    opened = driver.run(driver.now + 7200)
    assert {(peer, topic) for _, peer, topic in opened} == {(peer, topic) for peer in PEERS for topic in (ONE, TWO)}
