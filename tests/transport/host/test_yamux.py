"""What a peer can do to us through Yamux, and what it cannot. The other side is the plain library, or made by hand."""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
import trio
import trio.testing
from libp2p.peer.id import ID

from tests.transport.host.rig import QUICK, exactly, info_of, key, opened, pair, plain_host, plain_peer, running, until
from transport.base import Link, PeerId, Unreachable
from transport.conduct import Offence
from transport.host.flow import ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW, Flow
from transport.host.network import LibP2PNetwork
from transport.host.noise import BulkSession
from transport.host.settings import HostSettings
from transport.host.yamux import Session
from transport.network import Stream
from transport.signing import peer_id


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream, length) + body


# ---------------------------------------------------------------- by hand, without sockets


class Line:
    """Stands for the secured connection: what we send is kept, what the peer sends is put in."""

    is_initiator = True

    def __init__(self) -> None:
        self.sent = bytearray()
        self.give, self._take = trio.open_memory_channel[bytes](1000)
        self.blocked = False

    async def receive(self) -> bytes:
        try:
            return await self._take.receive()
        except trio.EndOfChannel:
            return b""

    async def write(self, data: bytes) -> None:
        if self.blocked:
            await trio.sleep_forever()
        self.sent += data

    async def close(self) -> None:
        self.give.close()

    def frames(self) -> list[tuple[int, int, int, int]]:
        """Kind, flags, stream, length of what was sent since the last look."""
        found, start = [], 0
        while start < len(self.sent):
            _, kind, flags, stream, length = struct.unpack_from(">BBHII", self.sent, start)
            found.append((kind, flags, stream, length))
            start += 12 + (length if kind == DATA else 0)
        self.sent.clear()
        return found


class Notes:
    def __init__(self) -> None:
        self.offences: list[Offence] = []
        self.counted: Counter[str] = Counter()
        self.closings = 0

    def opened(self, session: Session) -> None: ...

    def closed(self, session: Session) -> None:
        self.closings += 1

    def charge(self, peer: PeerId, offence: Offence) -> None:
        self.offences.append(offence)

    def count(self, name: str, amount: int = 1) -> None:
        self.counted[name] += amount


@asynccontextmanager
async def by_hand(settings: HostSettings = QUICK) -> AsyncIterator[tuple[Session, Line, Notes]]:
    line, notes = Line(), Notes()
    peer = ID.from_string(peer_id(key(3).public))
    session = Session(cast("BulkSession", line), peer, settings=settings, watcher=notes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.start)
        await session.event_started.wait()
        yield session, line, notes
        nursery.cancel_scope.cancel()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_streams_open_carry_and_end(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _):
        flow = await session.open_stream()
        await flow.send_all(b"abc")
        await flow.close()
        await settle()
        assert line.frames() == [(WINDOW, SYN, 1, 0), (DATA, 0, 1, 3), (WINDOW, FIN, 1, 0)]
        line.give.send_nowait(frame(WINDOW, ACK, 1, 0) + frame(DATA, 0, 1, 2, b"de") + frame(DATA, FIN, 1, 1, b"f"))
        await settle()
        assert not session.flows
        assert await flow.receive_some() == b"def"
        assert await flow.receive_some() == b""


async def test_frames_may_come_in_any_pieces(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _):
        flow = await session.open_stream()
        for byte in frame(DATA, 0, 1, 5, b"hello") + frame(DATA, 0, 1, 1, b"!"):
            line.give.send_nowait(bytes([byte]))
        await settle()
        assert bytes(flow.buffer) == b"hello!"


async def test_a_reset_is_an_end_for_ours_and_an_exception_for_the_librarys(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _):
        flow = await session.open_stream()
        line.give.send_nowait(frame(WINDOW, RST, 1, 0))
        await settle()
        assert await flow.receive_some() == b""
        with pytest.raises(Unreachable):
            await flow.send_all(b"x")
        with pytest.raises(Exception, match="reset"):
            await flow.read(1)


async def test_nobody_sends_more_than_was_granted(autojump_clock: object) -> None:
    async with by_hand() as (session, line, notes):
        flow = await session.open_stream()
        for _ in range(5):
            line.give.send_nowait(frame(DATA, 0, 1, 60_000, bytes(60_000)))
        await settle()
        assert not session.alive
        assert notes.offences == [Offence.MALFORMED]
        assert line.frames()[-1] == (GO_AWAY, 0, 0, 1)
        assert flow.broken


async def test_we_send_no_more_than_is_granted_and_wait(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _), trio.open_nursery() as nursery:
        flow = await session.open_stream()
        nursery.start_soon(flow.send_all, bytes(300_000))
        await settle()
        assert sum(length for kind, _, _, length in line.frames() if kind == DATA) == 256 << 10
        await trio.sleep(30)  # the library gives up after five
        line.give.send_nowait(frame(WINDOW, 0, 1, 100_000))
        await settle()
        assert sum(length for kind, _, _, length in line.frames() if kind == DATA) == 300_000 - (256 << 10)


async def test_who_takes_nothing_for_a_minute_loses_the_stream(autojump_clock: object) -> None:
    async with by_hand(HostSettings()) as (session, line, notes):
        flow = await session.open_stream()
        with pytest.raises(Unreachable):
            await flow.send_all(bytes(300_000))
        assert notes.counted["host.stalled"] == 1
        await settle()
        assert (WINDOW, RST, 1, 0) in line.frames()
        assert session.alive


async def test_reading_grants_more_and_a_fast_reader_gets_a_larger_window(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _):
        flow = await session.open_stream()
        await settle()
        line.frames()
        for _ in range(3):
            line.give.send_nowait(frame(DATA, 0, 1, 60_000, bytes(60_000)))
        await settle()
        assert len(await flow.receive_some(1 << 20)) == 180_000
        await settle()
        [(kind, _, _, granted)] = line.frames()
        assert kind == WINDOW
        assert granted >= 180_000
        for _ in range(3):
            line.give.send_nowait(frame(DATA, 0, 1, 60_000, bytes(60_000)))
        await settle()
        await flow.receive_some(1 << 20)
        await settle()
        [(_, _, _, granted)] = line.frames()
        assert granted > 180_000


async def test_what_is_not_read_is_bounded_over_all_streams(autojump_clock: object) -> None:
    settings = dataclasses.replace(QUICK, most_unread=1 << 20, most_inbound=64, most_negotiating=64)
    async with by_hand(settings) as (session, line, notes):
        for number in range(40):
            stream = 2 + 2 * number
            line.give.send_nowait(frame(WINDOW, SYN, stream, 0) + frame(DATA, 0, stream, 60_000, bytes(60_000)))
            await settle()
            assert session.unread <= settings.most_unread
        assert notes.counted["host.unread_resets"] > 0
        assert Offence.FLOOD in notes.offences
        assert session.alive


async def test_inbound_streams_are_bounded_before_they_say_what_they_want(autojump_clock: object) -> None:
    async with by_hand() as (session, line, notes):
        for number in range(1000):
            line.give.send_nowait(frame(WINDOW, SYN, 2 + 2 * number, 0))
            if number % 100 == 0:
                await settle()
        await settle()
        assert len(session.flows) == QUICK.most_negotiating
        assert notes.counted["host.streams_refused"] == 1000 - QUICK.most_negotiating


async def test_our_own_streams_are_bounded_and_a_slot_comes_free(autojump_clock: object) -> None:
    settings = dataclasses.replace(QUICK, most_outbound=2)
    async with by_hand(settings) as (session, _, _), trio.open_nursery() as nursery:
        first = await session.open_stream()
        await session.open_stream()
        with trio.move_on_after(1) as scope:
            await session.open_stream()
        assert scope.cancelled_caught
        opened: list[Flow] = []

        async def open_third() -> None:
            opened.append(await session.open_stream())

        nursery.start_soon(open_third)
        await settle()
        assert not opened
        await first.reset()
        await settle()
        assert opened


@pytest.mark.parametrize(
    "junk",
    [
        frame(WINDOW, SYN, 3, 0),  # an id that is ours to choose
        frame(WINDOW, SYN, 0, 0),
        frame(WINDOW, SYN, 2, 0) + frame(WINDOW, SYN, 2, 0),
        frame(DATA, 0, 1, 1 << 24),
        frame(9, 0, 0, 0),
        b"\1" + frame(PING, SYN, 0, 0)[1:],
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection(junk: bytes, autojump_clock: object) -> None:
    async with by_hand() as (session, line, notes):
        line.give.send_nowait(junk)
        await settle()
        assert not session.alive
        assert notes.offences == [Offence.MALFORMED]
        await trio.sleep(2)
        assert session.is_closed
        assert notes.closings == 1


async def test_who_asks_and_does_not_take_answers_is_cut_off(autojump_clock: object) -> None:
    settings = dataclasses.replace(QUICK, most_streams_a_second=1e9, most_unsent=1 << 16)
    async with by_hand(settings) as (session, line, notes):
        line.blocked = True
        for number in range(100_000):
            line.give.send_nowait(frame(WINDOW, SYN, 2 + 2 * number, 0) + frame(WINDOW, RST, 2 + 2 * number, 0))
            if number % 500 == 0:
                await settle()
                if not session.alive:
                    break
        assert not session.alive
        assert Offence.MALFORMED in notes.offences
        await trio.sleep(3)
        assert session.is_closed


@pytest.mark.parametrize(
    ("junk", "counted"),
    [
        ((frame(PING, SYN, 0, 7),), "host.ping_floods"),
        ((frame(WINDOW, SYN, 2, 0), frame(WINDOW, RST, 2, 0)), "host.streams_refused"),
        ((frame(DATA, 0, 2, 60_000, bytes(60_000)),), "host.stray_floods"),
    ],
)
async def test_floods_of_what_costs_the_peer_nothing_are_charged(
    junk: tuple[bytes, ...], counted: str, autojump_clock: object
) -> None:
    async with by_hand(dataclasses.replace(QUICK, most_streams_a_second=100.0)) as (session, line, notes):
        for _ in range(1500):
            for one in junk:
                line.give.send_nowait(one)
            await settle()
            while session._arriving.statistics().current_buffer_used:
                session._arriving.receive_nowait()
        assert notes.counted[counted] > 100
        assert set(notes.offences) == {Offence.FLOOD}


async def test_frames_for_streams_that_are_gone_are_ignored(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _):
        flow = await session.open_stream()
        await flow.reset()
        line.give.send_nowait(frame(DATA, 0, 1, 3, b"abc") + frame(WINDOW, FIN, 1, 0) + frame(WINDOW, RST, 99, 0))
        await settle()
        assert session.alive
        assert session.unread == 0


async def test_what_comes_after_the_handler_is_dropped(autojump_clock: object) -> None:
    async with by_hand(HostSettings()) as (session, line, _):
        line.give.send_nowait(frame(WINDOW, SYN, 2, 0) + frame(DATA, 0, 2, 3, b"abc"))
        await settle()
        flow = session.flows[2]
        flow.leave()
        line.give.send_nowait(frame(DATA, 0, 2, 3, b"def"))
        await settle()
        assert session.unread == 0
        assert session.flows
        await trio.sleep(100)  # the peer never ends its half
        assert not session.flows


async def test_opening_that_is_cancelled_leaves_nothing_behind(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.open_stream()
        await settle()
        assert scope.cancelled_caught
        assert not session.flows
        assert line.frames() == []


async def test_what_nobody_will_read_is_not_counted_for_ever(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _):
        for number in range(100):
            flow = await session.open_stream()
            await flow.close()
            line.give.send_nowait(frame(DATA, FIN, 1 + 2 * number, 50_000, bytes(50_000)))
            await settle()
            assert len(await flow.receive_some(10)) == 10
        assert session.unread == 0
        assert not session.flows


async def test_a_cancelled_reader_loses_nothing(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _):
        flow = await session.open_stream()
        got = bytearray()
        for number in range(50):
            with trio.CancelScope() as scope:
                if number % 2:
                    line.give.send_nowait(frame(DATA, 0, 1, 1, bytes([number])))
                    await settle()
                scope.deadline = trio.current_time() + 0.001
                if number % 3:
                    scope.cancel()
                got += await flow.receive_some()
        while len(got) < 25:
            with trio.fail_after(1):
                got += await flow.receive_some()
        assert got == bytes(range(1, 50, 2))


async def test_a_ping_measures_and_a_missing_answer_is_told(autojump_clock: object) -> None:
    async with by_hand() as (session, line, _), trio.open_nursery() as nursery:
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await session.ping(1.0))

        nursery.start_soon(ask)
        await settle()
        [(_, _, _, nonce)] = line.frames()
        await trio.sleep(0.25)
        line.give.send_nowait(frame(PING, ACK, 0, nonce))
        await settle()
        assert answers == [True]
        assert session.round_trip == pytest.approx(0.25)
        assert not await session.ping(1.0)


async def test_a_goodbye_ends_it_and_what_was_queued_is_sent(autojump_clock: object) -> None:
    async with by_hand() as (session, line, notes):
        flow = await session.open_stream()
        await flow.send_all(b"last words")
        await session.close()
        assert session.is_closed
        kinds = [kind for kind, _, _, _ in line.frames()]
        assert kinds == [WINDOW, DATA, GO_AWAY]
        assert notes.closings == 1
        with pytest.raises(Exception, match="ending"):
            await session.open_stream()


# ---------------------------------------------------------------- over sockets, with the plain library


@asynccontextmanager
async def plain_beside_ours(settings: HostSettings = QUICK) -> AsyncIterator[tuple[Any, Any, LibP2PNetwork]]:
    async with running(1, settings) as ours, plain_host(2) as host:
        await host.connect(info_of(ours))
        await until(lambda: ours.connected(plain_peer(host)))
        yield host, host.get_network().get_connections()[0].muxed_conn, ours


@pytest.mark.slow
async def test_the_plain_library_and_ours_understand_each_other() -> None:
    payload = bytes(range(256)) * 4096

    async def echo_all(stream: Stream) -> None:
        await stream.send_all(await exactly(stream, len(payload)))

    async with plain_beside_ours() as (host, _, ours):
        ours.handle("/echo/1", echo_all)
        stream = await host.new_stream(ID.from_string(ours.me), ["/none/1", "/echo/1"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, payload)
            got = b""
            while len(got) < len(payload):
                got += await stream.read(65536)
        assert got == payload

        async def theirs(incoming: Any) -> None:
            await incoming.write(await incoming.read(100))
            await incoming.close()

        host.set_stream_handler("/theirs/1", theirs)
        mine = await ours.open(plain_peer(host), "/theirs/1")
        await mine.send_all(b"to the library")
        assert await mine.receive_some() == b"to the library"
        await trio.sleep(1.0)  # pings both ways
        assert ours.connected(plain_peer(host))
        assert ours.counters().get("host.pings_missed", 0) == 0


@pytest.mark.slow
async def test_a_thousand_half_open_streams_bar_their_peer_and_nobody_else() -> None:
    async with plain_beside_ours() as (host, muxer, ours), running(3) as honest:
        ours.handle("/echo/1", echo_once)
        honest.keep(ours.me, ours.addresses())
        await until(lambda: honest.connected(ours.me))
        stream = await honest.open(ours.me, "/echo/1")
        with suppress(Exception):  # we hang up in the middle
            for number in range(1000):
                await muxer._write_frame(frame(WINDOW, SYN, 1001 + 2 * number, 0))
        await until(lambda: ours.peers()[plain_peer(host)].link is Link.BARRED)
        await stream.send_all(b"still served")
        assert await stream.receive_some() == b"still served"
        await until(lambda: len(ours.links) == 1)


async def echo_once(stream: Stream) -> None:
    await stream.send_all(await stream.receive_some())


@pytest.mark.slow
async def test_a_stream_that_says_nothing_is_reset_and_charged() -> None:
    settings = dataclasses.replace(QUICK, negotiation_limit=0.2)
    async with plain_beside_ours(settings) as (_, muxer, ours):
        before = ours.counters().get("host.streams_silent", 0)  # of the library's own, on a machine that stalls
        await muxer.open_stream()
        await until(lambda: ours.counters().get("host.streams_silent", 0) > before)
        assert ours.counters()["offence.stalled"] == ours.counters()["host.streams_silent"]


@pytest.mark.slow
async def test_streams_of_one_protocol_are_limited_for_each_peer() -> None:
    settings = dataclasses.replace(QUICK, most_per_protocol=3)
    release = trio.Event()

    async def wait(_: Stream) -> None:
        await release.wait()

    async with pair(settings) as (a, b):
        a.handle("/wait/1", wait)
        streams = [await b.open(a.me, "/wait/1") for _ in range(3)]
        with suppress(Unreachable):  # the reset may overtake the answer
            assert await (await b.open(a.me, "/wait/1")).receive_some() == b""
        assert a.counters()["host.streams_refused"] == 1
        release.set()
        for stream in streams:
            assert await stream.receive_some() == b""
        assert (await b.open(a.me, "/wait/1")).peer == a.me


@pytest.mark.slow
async def test_open_does_not_hang_when_all_slots_are_taken() -> None:
    settings = dataclasses.replace(QUICK, most_outbound=2, open_limit=0.3)

    async def hold(stream: Stream) -> None:
        await trio.sleep_forever()

    async with pair(settings) as (a, b):
        b.handle("/hold/1", hold)
        first = await opened(a, b.me, "/hold/1")
        with pytest.raises(Unreachable):
            for _ in range(2):
                await a.open(b.me, "/hold/1")
        await first.reset()
        await opened(a, b.me, "/hold/1")
