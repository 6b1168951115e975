"""What `network.Network` promises, over real libp2p on loopback."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from tests.transport.awake import Awake
from tests.transport.host.rig import ANY, LARGE, SMALL, echo, exactly, key, pair, running, several, until
from transport.base import Address, AlreadyRunning, Link, PeerId, TransportError, Unreachable
from transport.conduct import Offence
from transport.host.network import LibP2PNetwork
from transport.host.settings import HostSettings
from transport.network import PeerEvent, Stream
from transport.signing import peer_id

pytestmark = pytest.mark.slow


async def test_a_kept_peer_is_connected_and_streams_carry_bytes_both_ways() -> None:
    async with pair() as (a, b):
        b.handle("/echo/1", echo)
        stream = await a.open(b.me, "/echo/1")
        assert stream.peer == b.me
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        await stream.close()
        assert await stream.receive_some() == b""
        await stream.close()  # idempotent
        await stream.reset()


async def test_large_writes_arrive_whole_and_in_order() -> None:
    payload = bytes(range(256)) * 8192  # 2 MiB, more than any window
    async with pair() as (a, b):
        b.handle("/echo/1", echo)
        stream = await a.open(b.me, "/echo/1")
        got = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, payload)
            got = await exactly(stream, len(payload))
        assert got == payload


async def test_many_streams_at_once_are_waited_for_and_never_charged() -> None:
    done = 0

    async def ask(a: LibP2PNetwork, b: LibP2PNetwork) -> None:
        nonlocal done
        stream = await a.open(b.me, "/echo/1")
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"
        await stream.close()
        done += 1

    async with pair(HostSettings()) as (a, b):
        b.handle("/echo/1", echo)
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(ask, a, b)
        assert done == 500
        assert b.counters().get("offence.flood", 0) == 0
        assert b.counters().get("host.streams_refused", 0) == 0


async def test_handlers_see_who_calls_and_may_be_set_before_or_after_connecting() -> None:
    seen: list[PeerId] = []

    async def note(stream: Stream) -> None:
        seen.append(stream.peer)

    async with pair() as (a, b):
        a.handle("/note/1", note)
        stream = await b.open(a.me, "/note/1")
        assert await stream.receive_some() == b""
        assert seen == [b.me]


async def test_an_unknown_protocol_and_an_unknown_peer_are_unreachable() -> None:
    async with pair() as (a, b):
        with pytest.raises(Unreachable, match="does not speak /nope/1"):
            await a.open(b.me, "/nope/1")
        with pytest.raises(Unreachable):
            await a.open(peer_id(key(77).public), "/nope/1")
        with pytest.raises(Unreachable):
            await a.connect(peer_id(key(77).public))


async def test_watch_tells_who_is_there_then_every_change() -> None:
    async with running(SMALL) as a, running(LARGE) as b:
        with a.watch() as events:
            a.keep(b.me, b.addresses())
            assert await anext(events) == PeerEvent(peer=b.me, up=True)
            with a.watch() as others:
                assert await anext(others) == PeerEvent(peer=b.me, up=True)
            a.forget(b.me)
            assert await anext(events) == PeerEvent(peer=b.me, up=False)


async def test_forget_disconnects_and_does_not_dial_again() -> None:
    async with pair() as (a, b):
        a.forget(b.me)
        assert not a.connected(b.me)
        await until(lambda: not b.connected(a.me))
        await trio.sleep(0.5)
        assert not a.connected(b.me)
        assert b.me not in a.peers()


async def test_a_dropped_peer_that_is_kept_comes_back() -> None:
    async with pair() as (a, b):
        await a.drop(b.me)
        assert not a.connected(b.me)
        await until(lambda: a.connected(b.me))


async def test_connect_dials_known_addresses_once_for_all_who_wait() -> None:
    async with running(SMALL) as a, running(LARGE) as b:
        a.learn(b.me, b.addresses())
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(a.connect, b.me)
        assert a.connected(b.me)
        assert a.counters()["host.dials"] == 1


async def test_simultaneous_dials_end_in_one_usable_connection() -> None:
    settings = HostSettings(yield_to_smaller=0.0, redundant_after=0.3, ping_every=0.2, rival_limit=8.0)
    async with running(SMALL, settings) as a, running(LARGE, settings) as b:
        b.handle("/echo/1", echo)
        a.keep(b.me, b.addresses())
        b.keep(a.me, a.addresses())
        await until(lambda: a.connected(b.me) and b.connected(a.me))
        stream = await a.open(b.me, "/echo/1")
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"
        await stream.close()
        await until(lambda: len(a.links) == len(b.links) == 1)
        await trio.sleep(0.5)
        assert a.connected(b.me)
        assert b.connected(a.me)


async def test_the_gate_admits_by_peer_id_both_ways() -> None:
    async with running(SMALL, allow=lambda _: False) as a, running(LARGE) as b:
        b.keep(a.me, a.addresses())
        await until(lambda: a.counters().get("host.refused", 0) > 0)
        assert not b.connected(a.me)
        a.learn(b.me, b.addresses())
        with pytest.raises(Unreachable):
            await a.connect(b.me)


async def test_who_is_not_let_in_is_not_dialed_either() -> None:
    """Whoever is dialed has seen our address before any handshake could end."""
    came: list[trio.SocketStream] = []
    allowed: set[PeerId] = set()
    them = peer_id(LARGE.public)

    async def accept(stream: trio.SocketStream) -> None:
        came.append(stream)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery, running(SMALL, allow=lambda peer: peer in allowed) as a:
        (listener,) = await nursery.start(partial(trio.serve_tcp, accept, 0, host="127.0.0.1"))
        there = Address(f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}")
        a.keep(them, [there])
        await until(lambda: a.peers()[them].failures > 1)
        assert not came
        assert "not let in" in a.peers()[them].trouble
        allowed.add(them)
        await until(lambda: len(came) > 0)
        nursery.cancel_scope.cancel()


async def test_who_is_no_longer_let_in_is_disconnected() -> None:
    allowed = {peer_id(LARGE.public)}
    async with pair(allow=lambda peer: peer in allowed) as (a, b):
        allowed.clear()
        a.recheck()
        assert not a.connected(b.me)
        await until(lambda: not b.connected(a.me))


async def test_who_is_no_longer_let_in_is_noticed_with_the_pings() -> None:
    allowed = {peer_id(LARGE.public)}
    async with pair(allow=lambda peer: peer in allowed) as (a, b):
        allowed.clear()
        await until(lambda: not a.connected(b.me))


async def test_charges_bar_disconnect_and_refuse() -> None:
    async with pair() as (a, b):
        a.handle("/echo/1", echo)
        changes = a.peer_changes()
        for _ in range(6):
            a.charge(b.me, Offence.LYING)
        assert not a.connected(b.me)
        state = a.peers()[b.me]
        assert state.link is Link.BARRED
        assert state.retry_at is not None
        assert (await anext(changes)).link is Link.BARRED
        with pytest.raises(Unreachable):
            await a.connect(b.me)
        b.keep(a.me, a.addresses())
        await until(lambda: a.counters().get("host.refused", 0) > 0)
        assert not a.connected(b.me)
        assert a.counters()["offence.lying"] == 6


async def test_penalties_slow_down_new_streams() -> None:
    async with pair() as (a, b):
        a.handle("/echo/1", echo)
        assert a.penalty(b.me) == 0
        for _ in range(4):
            a.charge(b.me, Offence.LYING)
        assert a.penalty(b.me) > 0.5
        begun = trio.current_time()
        await b.open(a.me, "/echo/1")
        assert trio.current_time() - begun > 0.5


async def test_a_handler_that_raises_resets_its_stream_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def bad(stream: Stream) -> None:
        await stream.receive_some()
        raise ValueError("secret payload")

    async with pair() as (a, b):
        b.handle("/bad/1", bad)
        b.handle("/echo/1", echo)
        stream = await a.open(b.me, "/bad/1")
        await stream.send_all(b"x")
        assert await stream.receive_some() == b""
        assert b.counters()["handler.error"] == 1
        assert b.rebuilt == 0
        assert "ValueError" in caplog.text
        assert "secret payload" not in caplog.text
        stream = await a.open(b.me, "/echo/1")
        await stream.send_all(b"still here")
        assert await stream.receive_some() == b"still here"


async def test_a_handler_has_a_limit() -> None:
    async def slow(stream: Stream) -> None:
        await trio.sleep_forever()

    async with pair() as (a, b):
        b.handle("/slow/1", slow, limit=0.2)
        stream = await a.open(b.me, "/slow/1")
        assert await stream.receive_some() == b""
        assert b.counters()["handler.too_long"] == 1


async def test_streams_end_when_the_peer_goes() -> None:
    async with pair() as (a, b):
        b.handle("/echo/1", echo)
        stream = await a.open(b.me, "/echo/1")
        async with trio.open_nursery() as nursery:

            async def reader() -> None:
                assert await stream.receive_some() == b""

            nursery.start_soon(reader)
            await trio.sleep(0.05)
            await b.drop(a.me)
        with pytest.raises(Unreachable):
            for _ in range(1000):
                await stream.send_all(b"x")
                await trio.sleep(0.001)


async def test_a_cancelled_writer_leaves_the_connection_usable() -> None:
    """One that is cut off in the middle of a large write loses its stream, not everybody's connection."""

    async def lazy(stream: Stream) -> None:
        await trio.sleep_forever()

    async with pair() as (a, b):
        b.handle("/lazy/1", lazy)
        b.handle("/echo/1", echo)
        for pause in (0.0, 0.001, 0.003, 0.02):
            stream = await a.open(b.me, "/lazy/1")
            with trio.move_on_after(pause):
                await stream.send_all(b"z" * (8 << 20))
            await stream.reset()
        stream = await a.open(b.me, "/echo/1")
        await stream.send_all(b"fine")
        assert await stream.receive_some() == b"fine"
        assert len(a.links) == 1


async def test_the_lock_admits_one(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    async with running(1, lock=lock):
        with pytest.raises(AlreadyRunning):
            async with running(2, lock=lock):
                pass
    async with running(2, lock=lock):
        pass


async def test_a_taken_port_is_told_to_whoever_opens() -> None:
    async with running(1) as a:
        with pytest.raises(TransportError, match="cannot listen"):
            async with running(2, listen=a.addresses()):
                pass


async def test_what_is_not_tcp_is_not_listened_on() -> None:
    with pytest.raises(TransportError):
        async with running(1, listen=[Address("/ip4/127.0.0.1/udp/0/quic-v1")]):
            pass


async def test_nothing_listens_when_nothing_is_asked_for() -> None:
    async with running(1, listen=[]) as a, running(2) as b:
        assert a.addresses() == ()
        a.keep(b.me, b.addresses())
        await until(lambda: a.connected(b.me))


async def test_announced_addresses_are_real() -> None:
    async with running(1, listen=[Address("/ip4/0.0.0.0/tcp/0")]) as a:
        assert a.addresses()
        assert not any("0.0.0.0" in address for address in a.addresses())


async def test_ipv6_knows_the_other_end() -> None:
    async with running(SMALL) as a, running(LARGE, listen=[Address("/ip6/::1/tcp/0")]) as b:
        a.keep(b.me, b.addresses())
        await until(lambda: b.connected(a.me))
        [session] = b.links
        assert session.get_remote_address() is not None


async def test_errors_of_the_body_come_out_as_they_went_in() -> None:
    with pytest.raises(ZeroDivisionError):
        async with running(1):
            raise ZeroDivisionError


async def test_closing_is_quick_and_tells_the_others() -> None:
    async with running(5) as b, trio.open_nursery() as nursery:
        async with several(4) as others:
            for other in others:
                other.keep(b.me, b.addresses())
            await until(lambda: len(b.links) == 4 and all(other.connected(b.me) for other in others))
            took = Awake()
            nursery.start_soon(took.run)
        assert took.seconds < 4
        await until(lambda: len(b.links) == 0, within=1)
        nursery.cancel_scope.cancel()


async def test_cancelling_the_caller_closes_too() -> None:
    async with running(LARGE) as b:
        with trio.CancelScope() as scope:
            async with running(SMALL) as a:
                a.keep(b.me, b.addresses())
                await until(lambda: a.connected(b.me) and b.connected(a.me))
                scope.cancel()
                await trio.sleep(60)
        await until(lambda: not b.connected(peer_id(SMALL.public)), within=2)


async def test_port_zero_stays_the_same_port_and_identify_tells_it() -> None:
    async with pair() as (a, b):
        first = b.addresses()
        assert first != (ANY,)
        await until(lambda: first[0] in a.peers()[b.me].addresses)
