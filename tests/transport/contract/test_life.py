"""Who is there, what is counted, and how a mesh ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.abc import Clock

from tests.transport.contract.worlds import KEEPING, TOPIC, World, id_of
from transport.base import AskFailed, Closed, Link, Mesh, PeerId, PeerState

# ---------------------------------------------------------------- peers


def connected(mesh: Mesh, peer: PeerId) -> bool:
    state = mesh.peers().get(peer)
    return state is not None and state.link is Link.CONNECTED


async def test_peers_are_those_that_are_connected(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    await world.mesh("c", topic=None)
    await world.warm_up()
    peers = a.peers()
    assert set(peers) == {id_of("b"), id_of("c")}
    assert {state.link for state in peers.values()} == {Link.CONNECTED}
    assert peers[b.me].peer == b.me
    assert peers[b.me].topics == {TOPIC.id}
    assert peers[id_of("c")].topics == frozenset()
    world.cut("a", "b")
    await world.until(lambda: b.me not in a.peers())
    world.link("a", "b")
    await world.until(lambda: connected(a, b.me))
    await world.crash("b")
    await world.until(lambda: not connected(a, id_of("b")))


async def test_peer_changes_are_told_in_order(clock: Clock | None, world: World) -> None:
    a = await world.mesh("a")
    changes: list[PeerState] = []

    async def watch() -> None:
        async for change in a.peer_changes():
            if change.link is not Link.DIALING:  # by whom of the two it is dialed is no part of the contract
                changes.append(change)

    world.nursery.start_soon(watch)
    await world.warm_up()
    await world.mesh("b")
    await world.until(lambda: [change.link for change in changes] == [Link.CONNECTED])
    world.cut("a", "b")
    await world.until(lambda: [change.link for change in changes] == [Link.CONNECTED, Link.AWAY])
    assert {change.peer for change in changes} == {id_of("b")}


async def test_who_falls_behind_still_hears_the_last_of_each_peer(clock: Clock | None, world: World) -> None:
    a, *_ = await world.meshes_of("a", "b", "c")
    last: dict[PeerId, Link] = {}
    slow = trio.Event()

    async def watch() -> None:
        async for change in a.peer_changes():
            last[change.peer] = change.link
            await slow.wait()

    world.nursery.start_soon(watch)
    await world.warm_up()
    for _ in range(50):
        for name in ("b", "c"):
            world.cut("a", name)
            await trio.sleep(0.01)
            world.link("a", name)
            await trio.sleep(0.01)
    world.cut("a", "b")
    await trio.sleep(0.1)
    slow.set()
    await world.until(lambda: last == {id_of("b"): Link.AWAY, id_of("c"): Link.CONNECTED})


@pytest.mark.parametrize("kind", KEEPING, indirect=True)
async def test_a_kept_peer_is_known_while_it_is_away(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    a.keep(b.me, [])
    assert a.peers()[b.me].kept
    assert a.peers()[b.me].link is Link.CONNECTED
    await world.crash("b")
    await world.until(lambda: a.peers()[id_of("b")].link is not Link.CONNECTED)
    assert a.peers()[id_of("b")].kept
    await world.mesh("b")
    await world.until(lambda: a.peers()[id_of("b")].link is Link.CONNECTED)


@pytest.mark.parametrize("kind", KEEPING, indirect=True)
async def test_forgetting_closes_the_connection(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    a.keep(b.me, [])
    a.forget(b.me)
    await world.until(lambda: b.me not in a.peers())
    a.forget(b.me)
    a.forget(id_of("nobody"))
    with pytest.raises(AskFailed):
        await a.ask(b.me, "/test/echo/1", b"", within=5)


# ---------------------------------------------------------------- counters


async def test_counters_count_and_never_fall(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    before = dict(b.counters())
    await world.publish("a", b"one")
    await world.has_read("b", b"one")
    with pytest.raises(AskFailed):
        await a.ask(b.me, "/test/nobody/1", b"?")
    after = dict(b.counters())
    assert all(after[name] >= number for name, number in before.items())
    assert after != before
    assert after["ask.unknown_protocol"] == 1


# ---------------------------------------------------------------- the end


async def test_frames_ends_when_the_mesh_does(clock: Clock | None, world: World) -> None:
    await world.meshes_of("a", "b")
    await world.publish("b", b"one")
    await world.has_read("a", b"one")
    await world.crash("a")
    with trio.fail_after(5):
        await world.readers["a"].ended.wait()


async def test_what_was_stored_and_not_read_can_still_be_read(clock: Clock | None, world: World) -> None:
    await world.mesh("a", read=False)
    await world.mesh("b")
    await world.warm_up()
    await world.publish("b", b"one", b"two")
    await world.settle()
    while len(await world.stored("a")) < 2:  # noqa: ASYNC110 - nothing is told of it
        await trio.sleep(0.1)
    reader_of_a_past_life = world.read("a")
    await world.crash("a")
    with trio.fail_after(5):
        await reader_of_a_past_life.ended.wait()
    assert sorted(reader_of_a_past_life.payloads()) == [b"one", b"two"]


async def _answer(source: PeerId, question: bytes) -> bytes:
    return question


CALLS: dict[str, Callable[[World, Mesh], Awaitable[object]]] = {
    "join": lambda world, mesh: mesh.join(TOPIC),
    "leave": lambda world, mesh: mesh.leave(TOPIC.id),
    "publish": lambda world, mesh: mesh.publish(world.frame(b"late")),
    "ask": lambda world, mesh: mesh.ask(id_of("b"), "/test/echo/1", b"?"),
    "synchronize": lambda world, mesh: mesh.synchronize(id_of("b"), TOPIC.id),
}


@pytest.mark.parametrize("call", CALLS)
async def test_what_is_called_after_the_end_raises_closed(clock: Clock | None, world: World, call: str) -> None:
    a, _ = await world.meshes_of("a", "b")
    await world.crash("a")
    with trio.fail_after(5), pytest.raises(Closed):
        await CALLS[call](world, a)


async def test_what_is_set_after_the_end_raises_closed(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    await world.crash("a")
    with pytest.raises(Closed):
        a.serve("/test/echo/1", _answer)
    with pytest.raises(Closed):
        a.keep(b.me, [])
    with pytest.raises(Closed):
        a.forget(b.me)


async def test_a_question_under_way_ends_with_the_mesh(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    asked, ended = trio.Event(), trio.Event()

    async def answer(source: PeerId, question: bytes) -> bytes:
        asked.set()
        await trio.sleep(1000)
        return b""

    async def ask() -> None:
        with pytest.raises((AskFailed, Closed)):
            await a.ask(b.me, "/test/slow/1", b"?")
        ended.set()

    b.serve("/test/slow/1", answer)
    world.nursery.start_soon(ask)
    await asked.wait()
    await world.crash("a")
    with trio.fail_after(31):
        await ended.wait()


async def test_an_end_in_the_midst_of_publishing_hangs_nobody(clock: Clock | None, world: World) -> None:
    a, _ = await world.meshes_of("a", "b")
    ended = trio.Event()
    published: list[bytes] = []

    async def publish() -> None:
        try:
            for number in range(10_000):
                await a.publish(world.frame(b"%d" % number))
                published.append(b"%d" % number)
                await trio.sleep(0.001)
        except Closed:
            ended.set()

    world.nursery.start_soon(publish)
    await world.until(lambda: len(published) > 10)
    await world.crash("a")
    with trio.fail_after(5):
        await ended.wait()
    assert len(await world.stored("a")) >= len(published) > 0
    await world.mesh("a")
    await world.until(lambda: set(published) <= set(world.readers["b"].payloads()))
