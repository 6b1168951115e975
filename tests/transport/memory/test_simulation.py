"""The simulated network: what it promises, what it costs, and that a seed is all it depends on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest

from tests.transport.memory.village import (
    DAY,
    HOUR,
    KEY,
    MINUTE,
    OTHER,
    OTHER_KEY,
    TOPIC,
    Village,
    frame,
    peer,
)
from transport.base import MAX_LIFE, MAX_PAYLOAD, Frame, FrameId, Link, Milliseconds, PeerId
from transport.conduct import Offence
from transport.frames import seal
from transport.memory.simulation import START, Simulation
from transport.memory.values import (
    PERFECT,
    Answered,
    Asked,
    Conditions,
    Delivered,
    Failed,
    Failure,
    Happening,
    PeerChanged,
    Synchronized,
)

ROUGH = Conditions(delay=30, jitter=50, loss=0.3, duplication=0.3, reordering=0.5)


def everything(village: Village, payloads: list[bytes]) -> None:
    """Every node has every frame, and was handed each one once at most."""
    for name in village.peers:
        assert sorted(village.held_by(name)) == sorted(payloads)
    assert set(village.deliveries().values()) <= {1}


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_reaches_every_node_once_over_bad_lines(seed: int) -> None:
    village = Village(8, seed=seed, conditions=ROUGH)
    frames = [frame(number) for number in range(30)]
    for number, one in enumerate(frames):
        village.simulation.publish(village.peers[number % 8], one)
        village.run(40)
    village.run(HOUR)
    everything(village, [one.payload for one in frames])
    assert village.deliveries().total() == 30 * 7
    tallies = [village.simulation.tally(name) for name in village.peers]
    assert sum(tally.lost for tally in tallies) > 0
    assert sum(tally.duplicates for tally in tallies) > 0
    assert sum(tally.delivered for tally in tallies) == 30 * 7


def test_lines_do_what_they_are_told() -> None:
    for conditions, arrivals in (
        (Conditions(loss=1.0), {0}),
        (Conditions(duplication=1.0), {2}),
        (Conditions(), {1}),
    ):
        village = Village(2, conditions=conditions)
        way = village.simulation._nodes[peer(0)].ways[peer(1)]
        assert {len(way.gossip(START, 100, random.Random(seed))) for seed in range(50)} == arrivals


def test_without_reordering_nothing_overtakes_and_with_it_something_does() -> None:
    def order(reordering: float) -> list[int]:
        village = Village(2, conditions=Conditions(delay=10, jitter=200, reordering=reordering))
        village.run(MINUTE)
        for number in range(50):
            village.simulation.publish(peer(0), frame(number))
            village.run(5)
        happened = village.run(MINUTE) and [happening for _, happening in village.happenings]
        return [int(one.frame.payload) for one in happened if isinstance(one, Delivered)]

    assert order(0.0) == list(range(50))
    assert order(1.0) != list(range(50))
    assert sorted(order(1.0)) == list(range(50))


def test_bandwidth_takes_time_and_a_full_line_loses() -> None:
    big = seal(KEY, bytes(100_000), Milliseconds(START + DAY))
    village = Village(2, conditions=Conditions(delay=0, jitter=0, bandwidth=100_000))
    village.run(1000)
    village.simulation.publish(peer(0), big)
    assert not [one for one in village.run(1000) if isinstance(one, Delivered)]
    assert [one for one in village.run(10) if isinstance(one, Delivered)]
    for number in range(1, 11):
        village.simulation.publish(peer(0), seal(KEY, bytes([number]) * 100_000, Milliseconds(START + DAY)))
    assert village.simulation.tally(peer(0)).lost == 8  # two fit into a queue of two seconds
    village.run(HOUR)
    assert village.deliveries().total() == 11


def test_a_path_through_others_is_enough() -> None:
    village = Village(5, links=0)
    for left, right in zip(village.peers, village.peers[1:], strict=False):
        village.simulation.link(left, right)
    village.run(1000)
    village.simulation.publish(peer(0), frame("along"))
    village.run(1000)
    assert [village.held_by(name) for name in village.peers] == [[b"along"]] * 5
    sources = {one.node: one.source for _, one in village.happenings if isinstance(one, Delivered)}
    assert sources == {peer(number): peer(number - 1) for number in range(1, 5)}


def test_partition_and_heal() -> None:
    village = Village(6)
    left, right = village.peers[:3], village.peers[3:]
    village.simulation.partition(left, right)
    village.simulation.publish(peer(0), frame("left"))
    village.simulation.publish(peer(5), frame("right"))
    village.run(HOUR)
    assert [village.held_by(name) for name in village.peers] == [[b"left"]] * 3 + [[b"right"]] * 3
    assert village.simulation.neighbors(peer(0)) == [peer(1), peer(2)]
    village.simulation.heal()
    happened = village.run(1000)
    everything(village, [b"left", b"right"])
    changes = [one for one in happened if isinstance(one, PeerChanged)]
    assert len(changes) == 2 * 9
    assert {one.link for one in changes} == {Link.CONNECTED}


def test_cut_survives_heal_and_ends_with_link() -> None:
    village = Village(2)
    village.simulation.cut(peer(0), peer(1))
    village.simulation.heal()
    village.simulation.want(peer(0), peer(1))
    village.simulation.publish(peer(0), frame("far"))
    village.run(HOUR)
    assert village.held_by(peer(1)) == []
    village.simulation.link(peer(1), peer(0))
    village.run(1000)
    assert village.held_by(peer(1)) == [b"far"]


def test_a_crash_loses_what_is_under_way_and_nothing_else() -> None:
    village = Village(3)
    village.run(1000)
    village.simulation.publish(peer(0), frame("before"))
    village.run(1000)
    village.simulation.publish(peer(0), frame("under way"))
    village.simulation.crash(peer(2))
    silent = village.run(HOUR)
    assert not [one for one in silent if one.node == peer(2)]
    assert village.held_by(peer(2)) == [b"before"]
    village.simulation.publish(peer(2), frame("by nobody"))
    village.simulation.restart(peer(2))
    village.simulation.restart(peer(2))
    happened = village.run(1000)
    assert [one.frame.payload for one in happened if isinstance(one, Delivered)] == [b"under way"]
    everything(village, [b"before", b"under way"])


def test_what_was_under_way_does_not_outlive_its_connection() -> None:
    village = Village(2, conditions=Conditions(delay=1000, jitter=0))
    village.run(MINUTE)
    village.simulation.publish(peer(0), frame("one"))
    village.simulation.cut(peer(0), peer(1))
    village.simulation.link(peer(0), peer(1))
    village.run(1900)
    assert village.held_by(peer(1)) == []  # gossip would have come after one second
    village.run(200)
    assert village.held_by(peer(1)) == [b"one"]  # the new connection's reconciliation takes two


def test_what_is_under_way_to_who_leaves_is_not_delivered() -> None:
    village = Village(2)
    village.run(MINUTE)
    village.simulation.publish(peer(0), frame("one"))
    village.simulation.leave(peer(1), TOPIC)
    village.run(MINUTE)
    assert village.deliveries().total() == 0


def test_a_crashed_node_is_not_told_what_it_did_not_hear_in_time() -> None:
    village = Village(3)
    village.run(MINUTE)
    village.simulation.partition([peer(0)])
    village.simulation.crash(peer(0))
    assert {one.node for one in village.run(MINUTE)} == {peer(1), peer(2)}


def test_a_store_that_lost_something_gets_it_again() -> None:
    village = Village(2)
    frames = [frame(number) for number in range(4)]
    for one in frames:
        village.simulation.publish(peer(0), one)
    village.run(MINUTE)
    village.simulation.crash(peer(1))
    village.simulation.restart(peer(1), kept=[frames[1].id, frames[3].id, FrameId(b"unknown")])
    happened = village.run(MINUTE)
    assert [one.frame.payload for one in happened if isinstance(one, Delivered)] == [b"0", b"2"]


def test_what_a_store_has_is_not_delivered_but_passed_on() -> None:
    simulation = Simulation(seed=1)
    for number in range(2):
        simulation.add(peer(number))
    simulation.join(peer(0), TOPIC, [frame("old")])
    simulation.join(peer(1), TOPIC)
    delivered = [one for one in simulation.run_until(START + MINUTE) if isinstance(one, Delivered)]
    assert [(one.node, one.frame.payload) for one in delivered] == [(peer(1), b"old")]


def test_leaving_stops_and_forgetting_forgets() -> None:
    village = Village(3)
    village.simulation.publish(peer(0), frame("one"))
    village.run(MINUTE)
    village.simulation.leave(peer(1), TOPIC)
    village.simulation.leave(peer(2), TOPIC, forget=True)
    village.simulation.leave(peer(2), OTHER)
    village.simulation.publish(peer(0), frame("two"))
    village.run(HOUR)
    assert village.held_by(peer(1)) == [b"one"]
    assert village.held_by(peer(2)) == []
    assert village.simulation.topics_of(peer(1)) == []
    assert village.simulation.neighbors(peer(0), TOPIC) == []
    village.simulation.join(peer(1), TOPIC)
    assert [one.frame.payload for one in village.run(HOUR) if isinstance(one, Delivered)] == [b"two"]
    village.simulation.join(peer(2), TOPIC)
    village.run(HOUR)
    assert village.held_by(peer(2)) == [b"one", b"two"]


def test_topics_do_not_mix() -> None:
    village = Village(3)
    village.simulation.join(peer(1), OTHER)
    village.simulation.publish(peer(0), frame("nobody's", key=OTHER_KEY))
    village.simulation.publish(peer(1), frame("other", key=OTHER_KEY))
    village.run(HOUR)
    assert village.deliveries().total() == 0
    assert village.simulation.frames_of(peer(2), OTHER) == []
    assert [one.payload for one in village.simulation.frames_of(peer(1), OTHER)] == [b"other"]


def test_expiry_is_by_each_node_s_own_clock() -> None:
    village = Village(3, conditions=PERFECT, skew=lambda number: (0, 2 * HOUR, -2 * HOUR)[number])
    short = frame("short", life=HOUR)
    village.simulation.publish(peer(0), short)
    village.simulation.publish(peer(1), frame("by its clock expired", life=HOUR))
    village.run(MINUTE)
    assert [village.held_by(name) for name in village.peers] == [[b"short"], [], [b"short"]]
    assert village.simulation.tally(peer(1)).expired >= 1
    village.run(2 * HOUR)
    assert [village.held_by(name) for name in village.peers] == [[], [], [b"short"]]
    village.run(2 * HOUR)
    assert village.held_by(peer(2)) == []
    assert village.simulation.clock(peer(1)) == village.simulation.now + 2 * HOUR


def test_what_lives_too_long_for_one_clock_comes_when_that_clock_allows_it() -> None:
    village = Village(2, skew=lambda number: (0, -2 * HOUR)[number])
    village.simulation.publish(peer(0), frame("long", life=MAX_LIFE - HOUR))
    village.run(30 * MINUTE)
    assert village.held_by(peer(1)) == []
    village.run(2 * HOUR)
    assert village.held_by(peer(1)) == [b"long"]


def test_a_held_node_misses_gossip_and_gets_all_of_it_later() -> None:
    village = Village(3)
    village.run(1000)
    village.simulation.hold(peer(1))
    assert village.simulation.is_held(peer(1))
    for number in range(200):
        village.simulation.publish(peer(0), frame(number))
    village.run(HOUR)
    assert village.held_by(peer(1)) == []
    assert village.simulation.tally(peer(1)).held == 200 * 2
    village.simulation.release(peer(1))
    village.run(MINUTE)
    assert len(village.held_by(peer(1))) == 200
    assert set(village.deliveries().values()) == {1}


def test_a_new_link_gives_nothing_to_a_held_node_and_takes_what_it_has() -> None:
    village = Village(2)
    village.simulation.cut(peer(0), peer(1))
    village.simulation.publish(peer(0), frame("for the held one"))
    village.simulation.publish(peer(1), frame("from the held one"))
    village.simulation.hold(peer(1))
    village.simulation.link(peer(0), peer(1))
    waiting = village.simulation.synchronize(peer(1), peer(0), TOPIC, within=HOUR)
    village.run(MINUTE)
    assert village.held_by(peer(1)) == [b"from the held one"]
    assert len(village.held_by(peer(0))) == 2
    village.simulation.release(peer(1))
    happened = village.run(MINUTE)
    assert len(village.held_by(peer(1))) == 2
    assert [one.question for one in happened if isinstance(one, Synchronized)] == [waiting]


def test_nothing_is_computed_while_all_agree() -> None:
    village = Village(20)
    village.simulation.publish(peer(0), frame("one"))
    village.run(HOUR)
    before = village.simulation.events()
    village.run(365 * DAY)
    assert village.simulation.events() == before
    assert village.simulation.next_at() is None
    assert village.simulation.step() is None


def test_expired_frames_are_given_up_and_numbers_with_them() -> None:
    village = Village(3)
    for day in range(40):
        for number in range(20):
            village.simulation.publish(peer(number % 3), frame(f"{day} {number}", life=DAY, at=village.simulation.now))
        village.run(DAY)
    log = village.simulation._logs[TOPIC]
    assert log.base > 0
    assert len(log.entries) < 400
    assert village.deliveries().total() == 40 * 20 * 2
    assert set(village.deliveries().values()) == {1}
    assert all(member.has.bit_length() <= len(log.entries) for member in log.members.values())


# ---------------------------------------------------------------- questions


def test_questions_are_answered_refused_or_late() -> None:
    village = Village(2, conditions=Conditions(loss=0.3))
    simulation = village.simulation
    asked = [simulation.ask(peer(0), peer(1), "/echo", str(number).encode()) for number in range(3)]
    questions = [one for one in village.run(5000) if isinstance(one, Asked)]
    assert [one.question for one in sorted(questions, key=lambda one: one.question)] == asked
    assert {(one.node, one.source, one.protocol) for one in questions} == {(peer(1), peer(0), "/echo")}
    simulation.answer(asked[0], b"yes")
    simulation.refuse(asked[1])
    happened = village.run(60_000)
    assert Answered(node=peer(0), question=asked[0], body=b"yes") in happened
    assert Failed(node=peer(0), question=asked[1], failure=Failure.REFUSED) in happened
    assert Failed(node=peer(0), question=asked[2], failure=Failure.SLOW) in happened
    simulation.answer(asked[0], b"again")
    simulation.answer(asked[2], b"too late")
    simulation.refuse(asked[2])
    assert village.run(60_000) == []


def test_questions_end_with_the_connection() -> None:
    village = Village(3)
    simulation = village.simulation
    under_way = [simulation.ask(peer(0), peer(number), "/x", b"") for number in (1, 2)]
    village.run(1)
    simulation.crash(peer(1))
    nobody = simulation.ask(peer(0), PeerId("nobody"), "/x", b"")
    away = simulation.ask(peer(0), peer(1), "/x", b"")
    gone = simulation.ask(peer(2), peer(0), "/x", b"")
    simulation.withdraw(under_way[1])
    simulation.crash(peer(2))
    happened = village.run(MINUTE)
    failed = [one for one in happened if isinstance(one, Failed)]
    assert [(one.question, one.failure) for one in failed] == [
        (under_way[0], Failure.AWAY),
        (nobody, Failure.AWAY),
        (away, Failure.AWAY),
    ]
    assert gone not in [one.question for one in failed]
    assert not [one for one in happened if isinstance(one, Asked)]


def test_synchronize_counts_what_came() -> None:
    village = Village(2)
    village.run(1000)
    village.simulation.cut(peer(0), peer(1))
    for number in range(150):
        village.simulation.publish(peer(0), frame(number))
    village.simulation.link(peer(0), peer(1))
    number = village.simulation.synchronize(peer(1), peer(0), TOPIC)
    happened = village.run(MINUTE)
    done = next(one for one in happened if isinstance(one, Synchronized))
    assert (done.node, done.question) == (peer(1), number)
    assert 0 <= done.came <= 150  # the link's own reconciliation brought the rest
    assert len(village.held_by(peer(1))) == 150
    strange = village.simulation.synchronize(peer(1), peer(0), OTHER)
    away = village.simulation.synchronize(peer(1), PeerId("nobody"), TOPIC)
    failed = {one.question: one.failure for one in village.run(MINUTE) if isinstance(one, Failed)}
    assert failed == {strange: Failure.REFUSED, away: Failure.AWAY}


# ---------------------------------------------------------------- neighbors that follow no rule


def test_what_a_neighbor_does_wrong_is_dropped_and_held_against_it() -> None:
    village = Village(3)
    village.simulation.publish(peer(2), frame("known"))
    village.run(MINUTE)
    known = village.simulation.frames_of(peer(1), TOPIC)[0]
    huge = Frame(
        id=FrameId(b"huge"),
        topic=TOPIC,
        expires=Milliseconds(START + DAY),
        head=b"",
        payload=bytes(MAX_PAYLOAD + 1),
    )
    for wrong in (
        frame("stranger", key=OTHER_KEY),
        frame("expired", life=-1),
        frame("for ever", life=MAX_LIFE + DAY),
        known,
        huge,
    ):
        village.simulation.push(peer(0), peer(1), wrong)
    village.simulation.push(peer(0), PeerId("nobody"), known)
    before = village.deliveries().total()
    village.run(MINUTE)
    assert village.deliveries().total() == before
    assert village.simulation.tally(peer(1)).offences == {
        Offence.STRANGER: 1,
        Offence.EXPIRED: 2,
        Offence.REPLAY: 1,
        Offence.OVERSIZE: 1,
    }
    village.simulation.push(peer(0), peer(1), frame("good"))
    village.run(MINUTE)
    everything(village, [b"known", b"good"])


def test_a_flood_gets_its_sender_barred_for_a_while() -> None:
    village = Village(3)
    village.run(MINUTE)
    for number in range(300):
        village.simulation.push(peer(0), peer(1), frame(number, key=OTHER_KEY))
    happened = village.run(10_000)
    barred = [one for one in happened if isinstance(one, PeerChanged) and one.node == peer(1)]
    assert [(one.peer, one.link) for one in barred] == [(peer(0), Link.BARRED)]
    assert barred[0].until is not None
    assert village.simulation.neighbors(peer(1)) == [peer(2)]
    assert village.simulation.tally(peer(1)).offences[Offence.STRANGER] < 300
    village.simulation.publish(peer(1), frame("honest"))
    village.run(10_000)
    everything(village, [b"honest"])  # by way of the third
    village.run(MINUTE)
    assert village.simulation.neighbors(peer(1)) == [peer(0), peer(2)] or village.simulation.neighbors(peer(1)) == [
        peer(2),
        peer(0),
    ]


# ---------------------------------------------------------------- determinism and cost


def turmoil(seed: int) -> Village:
    """An hour of everything at once."""
    rng = random.Random(seed)
    village = Village(10, seed=seed, conditions=ROUGH, degree=4, skew=lambda number: rng.randrange(-MINUTE, MINUTE))
    simulation, peers = village.simulation, village.peers
    for number in range(120):
        one, two = rng.sample(peers, 2)
        match rng.randrange(10):
            case 0:
                simulation.crash(one)
            case 1:
                simulation.partition(rng.sample(peers, 4))
            case 2:
                simulation.heal()
            case 3:
                simulation.cut(one, two)
            case 4:
                simulation.ask(one, two, "/x", b"?")
            case 5:
                simulation.hold(one)
            case 6:
                simulation.leave(one, TOPIC)
            case _:
                pass
        for name in peers:
            if rng.random() < 0.3:
                simulation.restart(name)
                simulation.release(name)
                simulation.join(name, TOPIC)
            if rng.random() < 0.1:
                simulation.link(name, two) if name != two else None
        simulation.publish(one, frame(number))
        village.run(rng.randrange(1, 60_000))
    return village


@pytest.mark.parametrize("seed", range(10))
def test_after_any_turmoil_all_hold_the_same(seed: int) -> None:
    village = turmoil(seed)
    simulation, peers = village.simulation, village.peers
    simulation.heal()
    for name in peers:
        simulation.restart(name)
        simulation.release(name)
        simulation.join(name, TOPIC)
        for other in peers:
            if other != name:
                simulation.link(name, other)
    village.run(HOUR)
    everything(village, village.held_by(peers[0]))
    assert len(village.held_by(peers[0])) > 60


@pytest.mark.slow
def test_a_seed_is_all_it_depends_on() -> None:
    """In this process twice, and in another whose hashes differ."""
    program = "from tests.transport.memory.test_simulation import turmoil; print(turmoil(7).digest())"
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert turmoil(7).digest() == turmoil(7).digest() == elsewhere.stdout.strip()
    assert turmoil(8).digest() != turmoil(7).digest()


def test_a_caller_may_act_between_two_happenings() -> None:
    village = Village(3)
    simulation = village.simulation
    village.run(1000)
    simulation.publish(peer(0), frame("question"))
    seen: list[Happening] = []
    for one in simulation.run_until(simulation.now + MINUTE):
        seen.append(one)
        if isinstance(one, Delivered) and one.frame.payload == b"question" and one.node == peer(1):
            simulation.publish(peer(1), frame("answer"))
            simulation.crash(peer(2))
    assert (peer(0), b"answer") in [(one.node, one.frame.payload) for one in seen if isinstance(one, Delivered)]
    assert not [
        one for one in seen if isinstance(one, Delivered) and one.frame.payload == b"answer" and one.node == peer(2)
    ]


def test_stepping_is_the_same_as_running() -> None:
    ran, stepped = Village(4, conditions=ROUGH), Village(4, conditions=ROUGH)
    for village in (ran, stepped):
        village.simulation.publish(peer(0), frame("x"))
    ran.run(HOUR)
    while (due := stepped.simulation.next_at()) is not None:
        assert due >= stepped.simulation.now
        happening = stepped.simulation.step()
        if happening is not None:
            stepped.happenings.append((stepped.simulation.now, happening))
    assert ran.digest() == stepped.digest()


def test_names_are_given_once() -> None:
    simulation = Simulation(seed=1)
    simulation.add(peer(0))
    with pytest.raises(ValueError, match="already"):
        simulation.add(peer(0))
    assert simulation.nodes() == [peer(0)]


@pytest.mark.bench
@pytest.mark.slow
def test_three_weeks_of_twenty_devices_take_a_second() -> None:
    """Fifty frames a day, crashes and partitions; the bound leaves room for a busy machine."""
    started = time.perf_counter()
    village, rng = Village(20, conditions=Conditions(loss=0.1, duplication=0.05)), random.Random(1)
    for number in range(21 * 50):
        village.simulation.publish(rng.choice(village.peers), frame(number, life=30 * DAY))
        if number % 10 == 0:
            village.simulation.crash(village.peers[number % 20])
        if number % 10 == 5:
            village.simulation.restart(village.peers[(number - 5) % 20])
        village.run(DAY // 50)
    assert village.deliveries().total() > 19_000
    assert time.perf_counter() - started < 10


@pytest.mark.bench
@pytest.mark.slow
def test_a_thousand_nodes() -> None:
    village = Village(1000, links=6, conditions=Conditions(loss=0.05))
    started = time.perf_counter()
    for number in range(10):
        village.simulation.publish(village.peers[number], frame(number))
    village.run(HOUR)
    assert village.deliveries().total() == 10 * 999
    assert time.perf_counter() - started < 20
