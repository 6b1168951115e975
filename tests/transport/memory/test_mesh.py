"""What the mesh on a simulated network does beyond the contract: stores that fail, lives, faults under a clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock

from transport.base import (
    MAX_PAYLOAD,
    AlreadyRunning,
    Arrival,
    AskFailed,
    Closed,
    Frame,
    FrameId,
    Link,
    Milliseconds,
    Patience,
    PeerId,
    Reason,
    Refused,
)
from transport.frames import member_topic, seal
from transport.memory.mesh import INBOX, MOST_ANSWERS_PER_PEER, MemoryMesh
from transport.memory.network import MemoryNetwork
from transport.memory.values import Conditions
from transport.signing import SigningKey, peer_id
from transport.sync.memory_store import MemoryStore

KEY = SigningKey(b"write".ljust(32))
TOPIC = member_topic(KEY)
ALICE, BOB, CAROL = (SigningKey(name.ljust(32)) for name in (b"alice", b"bob", b"carol"))


def frame(network: MemoryNetwork, text: str | int, *, life: float = 24 * 3600.0) -> Frame:
    return seal(KEY, str(text).encode(), Milliseconds(network.now_ms() + round(life * 1000)))


class Reader:
    """Reads `frames()` for as long as the mesh is there."""

    def __init__(self) -> None:
        self.got: list[Arrival] = []
        self.ended = False

    async def read(self, mesh: MemoryMesh) -> None:
        async for arrival in mesh.frames():
            self.got.append(arrival)
        self.ended = True

    def payloads(self) -> list[bytes]:
        return [arrival.frame.payload for arrival in self.got]


async def test_a_day_of_silence_costs_nothing(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network, AsyncExitStack() as stack:
        meshes = [await stack.enter_async_context(network.open_mesh(key, MemoryStore())) for key in (ALICE, BOB)]
        readers = [Reader() for _ in meshes]
        async with trio.open_nursery() as nursery:
            for mesh, reader in zip(meshes, readers, strict=True):
                nursery.start_soon(reader.read, mesh)
                await mesh.join(TOPIC)
            for number in range(5):
                await meshes[0].publish(frame(network, number, life=30 * 24 * 3600.0))
                await trio.sleep(24 * 3600)
            assert readers[1].payloads() == [b"%d" % number for number in range(5)]
            assert network.now_ms() >= network.simulation.now >= network.now_ms() - 3_600_000
            nursery.cancel_scope.cancel()


class FailingStore(MemoryStore):
    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        raise OSError("no space left")


async def test_a_store_that_fails_ends_the_mesh_and_tells_its_owner(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network:
        with pytest.raises(OSError, match="no space"):
            async with network.open_mesh(ALICE, FailingStore()) as mesh:
                await mesh.join(TOPIC)
                await mesh.publish(frame(network, 1))
        with pytest.raises(Closed):
            await mesh.publish(frame(network, 2))


async def test_a_publisher_elsewhere_sees_the_failed_mesh_closed(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network, trio.open_nursery() as nursery:

        async def publish(mesh: MemoryMesh) -> None:
            with pytest.raises(Closed):
                await mesh.publish(frame(network, 1))

        with pytest.raises(OSError, match="no space"):
            async with network.open_mesh(ALICE, FailingStore()) as mesh:
                await mesh.join(TOPIC)
                nursery.start_soon(publish, mesh)
                await trio.sleep_forever()


async def test_one_life_at_a_time(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network:
        async with network.open_mesh(ALICE, MemoryStore()):
            with pytest.raises(AlreadyRunning):
                async with network.open_mesh(ALICE, MemoryStore()):
                    pass
        async with network.open_mesh(ALICE, MemoryStore()) as mesh:
            assert mesh.me == peer_id(ALICE.public)


async def test_nodes_without_links_are_linked_by_keep(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1, links=0).running() as network:
        async with network.open_mesh(ALICE, MemoryStore()) as alice:
            alice.keep(peer_id(BOB.public), [])  # not there yet
            assert alice.peers()[peer_id(BOB.public)].link is Link.AWAY
            async with network.open_mesh(BOB, MemoryStore()) as bob:
                await trio.sleep(1)
                assert alice.peers()[bob.me].link is Link.CONNECTED
                assert alice.peers()[bob.me].round_trip == 0.04
                assert bob.peers()[alice.me].link is Link.CONNECTED
                assert not bob.peers()[alice.me].kept
            assert alice.peers()[bob.me].link is Link.AWAY


async def test_a_mesh_may_take_less(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network:
        async with network.open_mesh(ALICE, MemoryStore(), max_payload=10) as mesh:
            await mesh.join(TOPIC)
            await mesh.publish(frame(network, "ten bytes."))
            with pytest.raises(Refused) as refused:
                await mesh.publish(frame(network, "eleven byte"))
            assert refused.value.reason is Reason.SIZE
    assert MAX_PAYLOAD > 10


async def test_the_clock_of_a_node_may_be_wrong(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network:
        async with network.open_mesh(ALICE, MemoryStore(), skew=7200.0) as alice:
            await alice.join(TOPIC)
            with pytest.raises(Refused) as refused:
                await alice.publish(frame(network, "an hour", life=3600.0))
            assert refused.value.reason is Reason.EXPIRED


async def test_a_node_whose_reader_stops_is_held_and_nothing_is_lost(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(
            network.open_mesh(ALICE, MemoryStore(), patience=Patience(slow_peer=2.0))
        )
        bob = await stack.enter_async_context(network.open_mesh(BOB, MemoryStore()))
        await alice.join(TOPIC)
        await bob.join(TOPIC)
        await trio.sleep(1)
        began = trio.current_time()
        for number in range(3 * INBOX):
            await alice.publish(frame(network, number))
            await trio.sleep(0.01)
        assert network.simulation.is_held(bob.me)
        assert len(bob._unread) + bob._coming <= INBOX + 64
        # the publisher waited for the slow one once
        assert trio.current_time() - began - 3 * INBOX * 0.01 == pytest.approx(2.0, abs=0.1)
        assert alice.counters()["gossip.waits"] == 1
        reader = Reader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read, bob)
            await trio.sleep(600)
            nursery.cancel_scope.cancel()
        assert sorted(reader.payloads(), key=int) == [b"%d" % number for number in range(3 * INBOX)]
        assert not network.simulation.is_held(bob.me)


async def test_a_node_is_held_by_bytes_too_and_goes_on(autojump_clock: MockClock) -> None:
    big = bytes(1 << 20)
    async with MemoryNetwork(seed=1).running() as network, AsyncExitStack() as stack:
        patience = Patience(slow_peer=0.1)
        alice = await stack.enter_async_context(network.open_mesh(ALICE, MemoryStore(), patience=patience))
        bob = await stack.enter_async_context(network.open_mesh(BOB, MemoryStore()))
        await alice.join(TOPIC)
        await bob.join(TOPIC)
        await trio.sleep(1)
        for number in range(24):
            await alice.publish(seal(KEY, big + b"%d" % number, Milliseconds(network.now_ms() + 86_400_000)))
            await trio.sleep(0.1)
        assert network.simulation.is_held(bob.me)
        assert len(bob._unread) == 16
        reader = Reader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read, bob)
            await trio.sleep(120)
            nursery.cancel_scope.cancel()
        assert len(reader.got) == 24
        assert not network.simulation.is_held(bob.me)


async def test_a_publisher_goes_on_as_soon_as_the_slow_peer_does(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network, AsyncExitStack() as stack:
        patience = Patience(slow_peer=1000.0)
        alice = await stack.enter_async_context(network.open_mesh(ALICE, MemoryStore(), patience=patience))
        bob = await stack.enter_async_context(network.open_mesh(BOB, MemoryStore()))
        await alice.join(TOPIC)
        await bob.join(TOPIC)
        await trio.sleep(1)
        reader = Reader()
        async with trio.open_nursery() as nursery:

            async def read_later() -> None:
                await trio.sleep(100)
                await reader.read(bob)

            nursery.start_soon(read_later)
            for number in range(2 * INBOX):
                await alice.publish(frame(network, number))
                await trio.sleep(0.01)
            assert 90 < trio.current_time() < 120
            await trio.sleep(60)
            assert len(reader.got) == 2 * INBOX
            nursery.cancel_scope.cancel()


async def test_a_publisher_does_not_wait_for_who_is_gone(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network:
        async with network.open_mesh(ALICE, MemoryStore(), patience=Patience(slow_peer=1e6)) as alice:
            await alice.join(TOPIC)
            async with trio.open_nursery() as nursery:
                async with network.open_mesh(BOB, MemoryStore()) as bob:
                    await bob.join(TOPIC)
                    with network.changing() as simulation:
                        simulation.hold(bob.me)
                    nursery.start_soon(alice.publish, frame(network, 1))
                    await trio.sleep(1000)
            assert trio.current_time() < 1100


async def test_a_publisher_that_waits_sees_its_own_mesh_end(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network, network.open_mesh(BOB, MemoryStore()) as bob:
        await bob.join(TOPIC)
        ended = trio.Event()

        async def publish(mesh: MemoryMesh) -> None:
            with pytest.raises(Closed):
                await mesh.publish(frame(network, 1))
            ended.set()

        async with trio.open_nursery() as nursery:
            async with network.open_mesh(ALICE, MemoryStore(), patience=Patience(slow_peer=1e6)) as alice:
                await alice.join(TOPIC)
                with network.changing() as simulation:
                    simulation.hold(bob.me)
                nursery.start_soon(publish, alice)
                await trio.sleep(10)
            with trio.fail_after(1):
                await ended.wait()


async def test_questions_that_nobody_waits_for_leave_nothing_behind(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(network.open_mesh(ALICE, MemoryStore()))
        bob = await stack.enter_async_context(network.open_mesh(BOB, MemoryStore()))
        given_up = 0

        async def slow(source: PeerId, question: bytes) -> bytes:
            nonlocal given_up
            try:
                await trio.sleep(1000)
            finally:
                given_up += 1
            return question

        bob.serve("/slow", slow)
        with trio.move_on_after(1):
            await alice.ask(bob.me, "/slow", b"?", within=5)
        assert network.simulation._questions._open == {}
        await trio.sleep(10)
        assert given_up == 1
        assert bob.counters()["ask.answerer_slow"] == 1


async def test_questions_answered_at_once_are_bounded(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(network.open_mesh(ALICE, MemoryStore()))
        bob = await stack.enter_async_context(network.open_mesh(BOB, MemoryStore()))
        running = 0
        most = 0

        async def slow(source: PeerId, question: bytes) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(1)
            running -= 1
            return question

        bob.serve("/slow", slow)
        answers: list[bytes] = []
        refused = 0

        async def ask(number: int) -> None:
            nonlocal refused
            try:
                answers.append(await alice.ask(bob.me, "/slow", b"%d" % number))
            except AskFailed:
                refused += 1

        async with trio.open_nursery() as nursery:
            for number in range(2 * MOST_ANSWERS_PER_PEER):
                nursery.start_soon(ask, number)
        assert most == len(answers) == refused == MOST_ANSWERS_PER_PEER
        assert bob.counters()["ask.busy"] == MOST_ANSWERS_PER_PEER


async def test_expired_frames_leave_the_store(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with MemoryNetwork(seed=1).running() as network, network.open_mesh(ALICE, store) as alice:
        await alice.join(TOPIC)
        await alice.publish(frame(network, "short", life=60.0))
        await alice.publish(frame(network, "long", life=7 * 24 * 3600.0))
        await trio.sleep(3600)
        kept = [name async for batch in store.entries(TOPIC.id) for _, name in batch]
        assert len(kept) == 1


async def test_a_neighbor_that_follows_no_rule_is_barred_and_comes_back(autojump_clock: MockClock) -> None:
    stranger = SigningKey(b"a topic nobody keeps".ljust(32))
    async with MemoryNetwork(seed=1).running() as network, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(network.open_mesh(ALICE, MemoryStore()))
        bob = await stack.enter_async_context(network.open_mesh(BOB, MemoryStore()))
        await alice.join(TOPIC)
        await trio.sleep(1)
        with network.changing() as simulation:
            for number in range(300):
                simulation.push(
                    bob.me, alice.me, seal(stranger, b"%d" % number, Milliseconds(network.now_ms() + 10_000))
                )
        await trio.sleep(1)
        state = alice.peers()[bob.me]
        assert state.link is Link.BARRED
        assert state.retry_at is not None
        assert 50 < state.retry_at - trio.current_time() <= 60
        assert 200 <= alice.counters()["offence.stranger"] < 210
        await trio.sleep(61)
        assert alice.peers()[bob.me].link is Link.CONNECTED


async def test_bad_lines_and_three_meshes(autojump_clock: MockClock) -> None:
    rough = Conditions(loss=0.3, duplication=0.3, reordering=0.5)
    async with MemoryNetwork(seed=3, conditions=rough).running() as network, AsyncExitStack() as stack:
        meshes = [await stack.enter_async_context(network.open_mesh(key, MemoryStore())) for key in (ALICE, BOB, CAROL)]
        readers = [Reader() for _ in meshes]
        async with trio.open_nursery() as nursery:
            for mesh, reader in zip(meshes, readers, strict=True):
                nursery.start_soon(reader.read, mesh)
                await mesh.join(TOPIC)
            for number in range(100):
                await meshes[number % 3].publish(frame(network, number))
            await trio.sleep(600)
            for place, reader in enumerate(readers):
                expected = [b"%d" % number for number in range(100) if number % 3 != place]
                assert sorted(reader.payloads()) == sorted(expected)
            nursery.cancel_scope.cancel()


async def test_what_the_store_got_by_another_way_is_not_news(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with MemoryNetwork(seed=1).running() as network, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(network.open_mesh(ALICE, store))
        bob = await stack.enter_async_context(network.open_mesh(BOB, MemoryStore()))
        await alice.join(TOPIC)
        await bob.join(TOPIC)
        both = [frame(network, "known"), frame(network, "new")]
        await store.add(both[:1])
        reader = Reader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read, alice)
            for one in both:
                await bob.publish(one)
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
        assert reader.payloads() == [b"new"]


class SlowToList(MemoryStore):
    """A store that takes a minute to say what it has."""

    async def entries(self, topic: bytes) -> AsyncIterator[Sequence[tuple[Milliseconds, FrameId]]]:
        await trio.sleep(60)
        yield []


async def test_publishing_before_join_has_returned_is_refused(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(seed=1).running() as network, network.open_mesh(ALICE, SlowToList()) as mesh:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mesh.join, TOPIC)
            await trio.sleep(1)
            with pytest.raises(Refused) as refused:
                await mesh.publish(frame(network, 1))
            assert refused.value.reason is Reason.STRANGER
        await mesh.publish(frame(network, 1))
