"""Whose turn it is to dial: silent peers cost those that are there nothing, and forgetting ends a dial."""

from __future__ import annotations

import dataclasses

import pytest
import trio
import trio.testing

from tests.transport.awake import Awake
from tests.transport.host.rig import LARGE, QUICK, SMALL, key, running, silent_listener, until
from transport.base import Address, Link, PeerId, Unreachable
from transport.host.network import LibP2PNetwork
from transport.host.turns import Lane, Turn, Turns
from transport.signing import peer_id

SILENT = [peer_id(key(number).public) for number in range(50, 60)]
NARROW = dataclasses.replace(
    QUICK, dial_limit=30.0, dial_stagger=0.01, most_dials=1, most_first_dials=1, most_asked_dials=1
)
FEW = {Lane.AGAIN: 1, Lane.FIRST: 1, Lane.ASKED: 1}


def in_turn(network: LibP2PNetwork, lane: Lane) -> int:
    return network._domain._turns._running[lane]


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def hold(turns: Turns, turn: Turn) -> None:
    async with turns.take(turn):
        await trio.sleep_forever()


# ------------------------------------------------ the lanes


async def test_lanes_do_not_wait_for_each_other(nursery: trio.Nursery) -> None:
    turns = Turns(FEW)
    held = [Turn(lane=lane) for lane in (Lane.AGAIN, Lane.AGAIN, Lane.FIRST, Lane.ASKED, Lane.ASKED)]
    for turn in held:
        nursery.start_soon(hold, turns, turn)
        await settle()
    assert [turn.granted.is_set() for turn in held] == [True, False, True, True, False]


async def test_within_a_lane_the_one_that_failed_least_goes_first_then_the_earlier_address(
    nursery: trio.Nursery,
) -> None:
    turns = Turns(FEW)
    order: list[str] = []

    async def go(name: str, turn: Turn) -> None:
        async with turns.take(turn):
            order.append(name)
            await settle()

    async with trio.open_nursery() as inner:
        async with turns.take(Turn(lane=Lane.AGAIN)):
            for name, failures, place in (("d", 5, 0), ("b", 0, 2), ("a", 0, 1), ("c", 1, 0), ("e", 5, 0)):
                inner.start_soon(go, name, Turn(lane=Lane.AGAIN, failures=failures, place=place))
                await settle()
    assert order == ["a", "b", "c", "d", "e"]


async def test_one_that_waits_is_promoted_and_one_that_runs_keeps_its_place(nursery: trio.Nursery) -> None:
    turns = Turns(FEW)
    runs, waits, other = (Turn(lane=Lane.AGAIN) for _ in range(3))
    for turn in (runs, waits, other):
        nursery.start_soon(hold, turns, turn)
        await settle()
    turns.promote(runs, Lane.ASKED)
    assert runs.lane is Lane.AGAIN
    turns.promote(waits, Lane.ASKED)
    assert (waits.granted.is_set(), other.granted.is_set()) == (True, False)
    turns.promote(other, Lane.AGAIN)
    assert not other.granted.is_set()


async def test_one_that_is_cancelled_gives_its_place_back_whether_it_waits_or_runs(nursery: trio.Nursery) -> None:
    turns = Turns(FEW)
    for _ in range(3):
        async with trio.open_nursery() as inner:
            for _ in range(3):
                inner.start_soon(hold, turns, Turn(lane=Lane.FIRST))
            await settle()
            inner.cancel_scope.cancel()
    with trio.fail_after(8):
        async with turns.take(Turn(lane=Lane.FIRST)):
            pass


# ------------------------------------------------ the host


@pytest.mark.slow
async def test_who_is_asked_for_does_not_wait_for_silent_peers() -> None:
    async with silent_listener() as silent, running(SMALL, NARROW) as a, running(LARGE) as b:
        for peer in SILENT:
            a.keep(peer, [silent])
        await until(lambda: in_turn(a, Lane.FIRST) == 1)
        a.learn(b.me, b.addresses())
        with trio.fail_after(NARROW.dial_limit / 3):
            await a.connect(b.me)


@pytest.mark.slow
async def test_a_dial_that_waits_behind_silent_peers_is_promoted_when_somebody_asks() -> None:
    async with silent_listener() as silent, running(SMALL, NARROW) as a, running(LARGE) as b:
        for peer in SILENT:
            a.keep(peer, [silent])
        await until(lambda: in_turn(a, Lane.FIRST) == 1)
        a.keep(b.me, b.addresses())
        await until(lambda: a.peers()[b.me].link is Link.DIALING)
        await trio.sleep(0.1)
        assert not a.connected(b.me)
        with trio.fail_after(NARROW.dial_limit / 3):
            await a.connect(b.me)


@pytest.mark.slow
async def test_who_was_there_is_dialed_beside_those_who_fail() -> None:
    settings = dataclasses.replace(NARROW, most_first_dials=2)
    async with (
        silent_listener() as silent,
        silent_listener() as other,
        running(SMALL, settings) as a,
        running(LARGE) as b,
    ):
        a.keep(SILENT[0], [silent, other])  # the second address is in the lane of those who fail, and fills it
        await until(lambda: in_turn(a, Lane.AGAIN) == 1)
        a.keep(b.me, b.addresses())
        await until(lambda: a.connected(b.me), within=NARROW.dial_limit / 3)


@pytest.mark.slow
async def test_asking_ends_even_when_everybody_is_silent() -> None:
    settings = dataclasses.replace(NARROW, dial_limit=0.3, upgrade_limit=0.2, most_addresses=1)
    refused: list[PeerId] = []

    async def ask(a: LibP2PNetwork, peer: PeerId, address: Address) -> None:
        a.learn(peer, [address])
        with pytest.raises(Unreachable, match="no answer"):
            await a.connect(peer)
        refused.append(peer)

    async with silent_listener() as silent, running(SMALL, settings) as a:
        async with Awake.measured() as took, trio.open_nursery() as nursery:
            for peer in SILENT:
                nursery.start_soon(ask, a, peer, silent)
        assert took.seconds < 3  # one after the other would be five
        assert sorted(refused) == sorted(SILENT)


@pytest.mark.slow
async def test_forgetting_a_peer_ends_its_dial() -> None:
    async with silent_listener() as silent, running(SMALL, NARROW) as a, running(LARGE) as b:
        a.keep(b.me, [silent])
        await until(lambda: in_turn(a, Lane.FIRST) == 1)
        a.forget(b.me)
        await until(lambda: in_turn(a, Lane.FIRST) == 0 and not a._domain._dials)
        assert b.me not in a.peers()
        assert a.counters().get("host.dials_failed", 0) == 0
        a.keep(b.me, b.addresses())  # a dial that was called off is no failure
        a.forget(b.me)
        a.keep(b.me, b.addresses())
        await until(lambda: a.connected(b.me))


@pytest.mark.slow
async def test_forgetting_a_peer_whose_dial_waits_leaves_it_unconnected() -> None:
    async with silent_listener() as silent, running(SMALL, NARROW) as a, running(LARGE) as b:
        a.keep(SILENT[0], [silent])
        await until(lambda: in_turn(a, Lane.FIRST) == 1)
        a.keep(b.me, b.addresses())
        await until(lambda: a.peers()[b.me].link is Link.DIALING)
        a.forget(b.me)
        a.forget(SILENT[0])
        await until(lambda: in_turn(a, Lane.FIRST) == 0 and not a._domain._dials)  # the place is free now
        await trio.sleep(0.1)
        assert not a.connected(b.me)
        await a.connect(b.me)  # the address is still known
        assert a.connected(b.me)


@pytest.mark.slow
async def test_forgetting_does_not_end_a_dial_that_somebody_waits_for_until_nobody_does() -> None:
    async with silent_listener() as silent, running(SMALL, NARROW) as a:
        a.learn(SILENT[0], [silent])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.connect, SILENT[0])
            await until(lambda: in_turn(a, Lane.ASKED) == 1)
            a.forget(SILENT[0])
            await trio.sleep(0.05)
            assert in_turn(a, Lane.ASKED) == 1
            nursery.cancel_scope.cancel()
        await until(lambda: not a._domain._dials)
