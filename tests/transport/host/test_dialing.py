"""The plan of whom to dial when: no sockets, no clock."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, strategies as st

from transport.base import Address, Link, PeerId, PeerState
from transport.host.dialing import Roster
from transport.host.settings import DEFAULTS, HostSettings

ME, SMALLER, LARGER = PeerId("M"), PeerId("A"), PeerId("Z")
ONE, TWO, THREE = (Address(f"/ip4/192.0.2.{number}/tcp/1") for number in (1, 2, 3))


def roster(settings: HostSettings = DEFAULTS) -> tuple[Roster, list[PeerState]]:
    changes: list[PeerState] = []
    return Roster(ME, settings, random.Random(7), changes.append), changes


def test_the_smaller_id_dials_at_once_and_the_larger_waits_a_moment() -> None:
    plan, _ = roster()
    plan.keep(LARGER, [ONE], 10.0)
    plan.keep(SMALLER, [ONE], 10.0)
    assert plan.due(10.0) == [LARGER]
    assert plan.due(10.0 + 2 * DEFAULTS.yield_to_smaller) == [LARGER, SMALLER]


def test_pauses_double_from_half_a_second_to_a_minute_with_jitter() -> None:
    plan, _ = roster()
    plan.keep(LARGER, [ONE], 0.0)
    now, pauses = 0.0, []
    for _ in range(12):
        assert plan.due(now) == [LARGER]
        plan.begin(LARGER, now)
        plan.failed(LARGER, "refused", now)
        due = plan.next_due()
        assert due is not None
        pauses.append(due - now)
        now = due
    for number, pause in enumerate(pauses):
        middle = min(0.5 * 2**number, 60.0)
        assert middle * 0.7 <= pause <= middle * 1.3
    assert len(set(pauses[-4:])) == 4
    state = plan.state(LARGER)
    assert state is not None
    assert (state.failures, state.trouble) == (12, "refused")


def test_a_new_address_ends_the_pause_and_a_known_one_does_not() -> None:
    plan, _ = roster()
    plan.keep(LARGER, [ONE], 0.0)
    for _ in range(8):
        plan.begin(LARGER, 0.0)
        plan.failed(LARGER, "refused", 0.0)
    plan.keep(LARGER, [ONE], 1.0)
    assert plan.due(1.0) == []
    plan.learn(LARGER, [TWO], 1.0)
    assert plan.due(1.0) == [LARGER]


def test_what_worked_is_tried_first_then_the_newest() -> None:
    plan, _ = roster()
    plan.keep(LARGER, [ONE, TWO], 0.0)
    plan.begin(LARGER, 0.0)
    plan.succeeded(LARGER, TWO, 0.0)
    plan.learn(LARGER, [THREE], 0.0)
    assert plan.addresses(LARGER) == (TWO, THREE, ONE)


def test_addresses_and_peers_are_bounded_but_not_those_that_are_kept() -> None:
    plan, _ = roster(dataclasses.replace(DEFAULTS, most_addresses=3, most_peers=4))
    plan.learn(LARGER, [Address(f"/ip4/192.0.2.1/tcp/{port}") for port in range(1, 50)], 0.0)
    assert len(plan.addresses(LARGER)) == 3
    for number in range(10):
        plan.keep(PeerId(f"K{number}"), [ONE], 0.0)
    for number in range(100):
        plan.learn(PeerId(f"L{number}"), [ONE], 0.0)
    assert len(plan.states()) == 10
    assert sum(bool(plan.addresses(PeerId(f"L{number}"))) for number in range(100)) <= 1
    assert plan.addresses(LARGER) == ()


def test_a_connected_peer_is_not_dialed_and_a_lost_one_is_soon() -> None:
    plan, changes = roster()
    plan.keep(LARGER, [ONE], 0.0)
    plan.begin(LARGER, 0.0)
    plan.up(LARGER, Link.CONNECTED, 0.1)
    plan.succeeded(LARGER, ONE, 0.1)
    assert plan.due(1000.0) == []
    plan.down(LARGER, "gone", 1000.0)
    assert plan.due(1000.2) == [LARGER]
    assert [change.link for change in changes] == [Link.DIALING, Link.CONNECTED, Link.AWAY]


def test_a_peer_that_is_lost_before_its_dial_ends_is_dialed_again() -> None:
    plan, _ = roster()
    plan.keep(LARGER, [ONE], 0.0)
    plan.begin(LARGER, 0.0)
    plan.up(LARGER, Link.CONNECTED, 0.1)
    plan.down(LARGER, "gone", 0.2)
    plan.succeeded(LARGER, ONE, 0.3)
    assert plan.due(1.0) == [LARGER]


def test_a_barred_peer_is_left_alone_until_the_bar_ends() -> None:
    plan, changes = roster()
    plan.keep(LARGER, [ONE], 0.0)
    plan.up(LARGER, Link.CONNECTED, 0.0)
    plan.bar(LARGER, 60.0, 1.0)
    plan.down(LARGER, "barred", 1.0)
    assert plan.due(59.0) == []
    assert plan.next_due() == 60.0
    assert plan.due(60.0) == [LARGER]
    assert [change.link for change in changes] == [Link.CONNECTED, Link.BARRED, Link.AWAY]
    assert changes[1].retry_at == 60.0


def test_a_forgotten_peer_is_not_dialed() -> None:
    plan, _ = roster()
    plan.keep(LARGER, [ONE], 0.0)
    plan.forget(LARGER)
    assert plan.due(1000.0) == []
    assert plan.states() == []
    plan.forget(PeerId("never heard of"))


def test_a_dial_that_is_called_off_is_no_failure() -> None:
    plan, changes = roster()
    plan.keep(LARGER, [ONE], 0.0)
    plan.begin(LARGER, 0.0)
    plan.forget(LARGER)
    plan.gave_up(LARGER, 0.1)
    assert plan.states() == []
    assert [change.link for change in changes] == [Link.DIALING, Link.AWAY]
    plan.keep(LARGER, [ONE], 0.2)
    assert plan.due(0.2) == [LARGER]
    plan.begin(LARGER, 0.2)
    plan.forget(LARGER)
    plan.keep(LARGER, [ONE], 0.3)  # before the old dial has ended
    assert plan.due(0.3) == []
    plan.gave_up(LARGER, 0.4)
    assert plan.due(0.4) == [LARGER]
    assert plan.states()[0].failures == 0


def test_who_was_barred_and_is_nobody_to_us_is_forgotten_after_it() -> None:
    plan, _ = roster()
    plan.bar(LARGER, 60.0, 0.0)
    assert [state.link for state in plan.states()] == [Link.BARRED]
    plan.due(60.0)
    assert plan.state(LARGER) is None


@given(st.lists(st.tuples(st.sampled_from("kludbnsfgx"), st.sampled_from([SMALLER, LARGER]), st.floats(0.0, 30.0))))
def test_whatever_happens_a_kept_peer_is_connected_dialed_barred_or_due(steps: list[tuple[str, PeerId, float]]) -> None:
    plan, _ = roster()
    now, dialing = 0.0, set[PeerId]()
    for step, peer, pause in steps:
        now += pause
        if step == "k":
            plan.keep(peer, [ONE], now)
        elif step == "l":
            plan.learn(peer, [TWO], now)
        elif step == "u":
            plan.up(peer, Link.CONNECTED, now)
        elif step == "d" and (state := plan.state(peer)) is not None and state.link is Link.CONNECTED:
            plan.down(peer, "gone", now)
        elif step == "b":
            plan.bar(peer, now + 60.0, now)
        elif step == "n":
            for other in plan.due(now):
                plan.begin(other, now)
                dialing.add(other)
        elif step == "s" and peer in dialing:
            dialing.discard(peer)
            plan.succeeded(peer, ONE, now)
        elif step == "f" and peer in dialing:
            dialing.discard(peer)
            plan.failed(peer, "refused", now)
        elif step == "g" and peer in dialing:
            dialing.discard(peer)
            plan.gave_up(peer, now)
        elif step == "x":
            plan.forget(peer)
        for state in plan.states():
            assert state.link is not Link.DIALING or state.peer in dialing
            if state.kept and state.link is Link.AWAY and state.peer not in dialing:
                assert state.retry_at is not None


@pytest.mark.parametrize("settings", [DEFAULTS, HostSettings(first_backoff=0.1)])
def test_the_plan_is_the_same_for_the_same_seed(settings: HostSettings) -> None:
    def run() -> float | None:
        plan, _ = roster(settings)
        plan.keep(SMALLER, [ONE], 0.0)
        return plan.next_due()

    assert run() == run()
