"""Messages over a stream: whole or not at all, within a size and a time, whatever the other end does."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given, strategies as st
from trio.testing import MockClock

from tests.transport.loopback import PIPE, Loopback, LoopbackNetwork
from transport.base import PeerId, Reason, Refused, Unreachable
from transport.network import MAX_WRITE, Stream
from transport.streams import Messages, chunks

LIMIT = 1 << 20
PROTOCOL = "/test/1"


@asynccontextmanager
async def two_ends() -> AsyncIterator[tuple[Stream, Stream]]:
    """One stream over a loopback link: this end, and the end of whoever serves it."""
    async with net_and_ends() as (_, _, _, here, there):
        yield here, there


@asynccontextmanager
async def net_and_ends() -> AsyncIterator[tuple[Loopback, LoopbackNetwork, LoopbackNetwork, Stream, Stream]]:
    async with Loopback().running() as net:
        a, b = net.node(), net.node()
        net.link(a, b)
        send, receive = trio.open_memory_channel[Stream](1)

        async def serve(stream: Stream) -> None:
            await send.send(stream)
            await trio.sleep_forever()

        b.handle(PROTOCOL, serve)
        here = await a.open(b.me, PROTOCOL)
        yield net, a, b, here, await receive.receive()


def messages(stream: Stream, *, limit: int = LIMIT, deadline: float = 10.0) -> Messages:
    return Messages(stream, limit=limit, deadline=deadline)


async def receive_all(stream: Stream) -> list[bytes]:
    """Until the end, as one task would."""
    reader, got = messages(stream), []
    while (message := await reader.receive()) is not None:
        got.append(message)
    return got


class Script:
    """A stream whose other end is a list of reads; what is sent is kept."""

    peer = PeerId("script")

    def __init__(self, *reads: bytes) -> None:
        self.reads = list(reads)
        self.sent: list[bytes] = []

    async def receive_some(self, max_bytes: int = 65536) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.reads.pop(0) if self.reads else b""

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(data)

    async def close(self) -> None: ...

    async def reset(self) -> None: ...


# ---------------------------------------------------------------- what is sent arrives


@pytest.mark.parametrize("count", [0, 1, 100])
async def test_messages_come_whole_and_in_order(autojump_clock: MockClock, count: int) -> None:
    sent = [b"x" * (number * 97 % 3000) for number in range(count)]
    async with two_ends() as (here, there):
        await messages(here).send(*sent)
        await here.close()
        assert await receive_all(there) == sent


async def test_messages_larger_than_any_buffer(autojump_clock: MockClock) -> None:
    sent = [bytes(LIMIT), b"", b"y" * LIMIT]
    assert LIMIT > PIPE > MAX_WRITE
    async with two_ends() as (here, there), trio.open_nursery() as nursery:

        async def send() -> None:
            await messages(here).send(*sent)
            await here.close()

        nursery.start_soon(send)
        assert await receive_all(there) == sent


@pytest.mark.slow
@given(sent=st.lists(st.binary(max_size=50), max_size=10), data=st.data())
def test_however_the_bytes_are_cut_the_messages_are_the_same(sent: list[bytes], data: st.DataObject) -> None:
    async def main() -> None:
        out = Script()
        await messages(out).send(*sent)
        whole = b"".join(out.sent)
        assert whole == b"".join(len(message).to_bytes(4, "big") + message for message in sent)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
        pieces = [whole[one:two] for one, two in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert await receive_all(Script(*[piece for piece in pieces if piece])) == sent

    trio.run(main)


async def test_many_small_messages_are_one_write(autojump_clock: MockClock) -> None:
    out = Script()
    await messages(out).send(*[b"small"] * 100)
    assert len(out.sent) == 1
    await messages(out).send(bytes(3 * MAX_WRITE))
    assert [len(write) for write in out.sent[1:]] == [MAX_WRITE] * 3 + [4]


@given(parts=st.lists(st.binary(max_size=30), min_size=1, max_size=8), size=st.integers(1, 40))
def test_chunks_are_the_same_bytes_and_not_too_long(parts: list[bytes], size: int) -> None:
    cut = chunks(parts, size)
    assert b"".join(cut) == b"".join(parts)
    assert all(0 < len(chunk) <= size for chunk in cut)
    assert all(len(chunk) == size for chunk in cut[:-1])


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(("size", "fits"), [(100, True), (101, False), (2**32 - 1, False)])
async def test_a_message_over_the_limit_is_refused_before_it_is_read(
    autojump_clock: MockClock, size: int, fits: bool
) -> None:
    stream = Script(size.to_bytes(4, "big"), b"x" * min(size, 101))
    if fits:
        assert await messages(stream, limit=100).receive() == b"x" * 100
    else:
        with pytest.raises(Refused) as refused:
            await messages(stream, limit=100).receive()
        assert refused.value.reason is Reason.SIZE
        assert stream.reads  # not even asked for


@pytest.mark.slow
@given(junk=st.lists(st.binary(min_size=1, max_size=60), max_size=10))
def test_junk_ends_in_a_message_refused_or_unreachable(junk: list[bytes]) -> None:
    async def main() -> None:
        reader = messages(Script(*junk), limit=20)
        try:
            while (message := await reader.receive()) is not None:
                assert len(message) <= 20
        except (Refused, Unreachable):
            pass

    trio.run(main)


# ---------------------------------------------------------------- ends


async def test_an_end_between_messages_is_none_and_inside_one_is_not(autojump_clock: MockClock) -> None:
    whole = (5).to_bytes(4, "big") + b"hello"
    for cut in range(len(whole) + 1):
        reader = messages(Script(whole, whole[:cut]) if cut else Script(whole))
        assert await reader.receive() == b"hello"
        if cut == 0:
            assert await reader.receive() is None
        elif cut < len(whole):
            with pytest.raises(Unreachable):
                await reader.receive()
        else:
            assert await reader.receive() == b"hello"
            assert await reader.receive() is None


async def test_a_reset_inside_a_message_is_not_an_end(autojump_clock: MockClock) -> None:
    async with two_ends() as (here, there):
        await here.send_all((5).to_bytes(4, "big") + b"he")
        reader = messages(there)
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(Unreachable):
                    await reader.receive()

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await here.reset()


async def test_sending_into_a_stream_that_is_gone(autojump_clock: MockClock) -> None:
    async with two_ends() as (here, there):
        await there.reset()
        with pytest.raises(Unreachable):
            await messages(here).send(b"hello")
    async with net_and_ends() as (net, a, b, here, there):
        net.cut(a, b)
        with pytest.raises(Unreachable):
            await messages(here).send(b"hello")
        assert await messages(there).receive() is None


# ---------------------------------------------------------------- deadlines


async def test_a_peer_that_says_nothing_is_waited_for_no_longer(autojump_clock: MockClock) -> None:
    async with two_ends() as (here, _):
        began = trio.current_time()
        with pytest.raises(Unreachable):
            await messages(here, deadline=3.0).receive()
        assert trio.current_time() - began == pytest.approx(3.0)


async def test_a_peer_that_does_not_read_is_waited_for_no_longer(autojump_clock: MockClock) -> None:
    async with two_ends() as (here, _):
        began = trio.current_time()
        with pytest.raises(Unreachable):
            await messages(here, deadline=3.0).send(bytes(LIMIT))
        assert trio.current_time() - began == pytest.approx(3.0)


async def test_a_frozen_line_ends_in_the_deadline_both_ways(autojump_clock: MockClock) -> None:
    async with net_and_ends() as (net, a, b, here, there):
        await messages(here).send(b"before")
        net.freeze(a, b)
        with pytest.raises(Unreachable):
            await messages(there, deadline=2.0).receive()
        with pytest.raises(Unreachable):
            await messages(there, deadline=2.0).send(b"after")
        net.freeze(a, b, frozen=False)
        assert await messages(there).receive() == b"before"


async def test_a_peer_that_trickles_gets_one_deadline_for_a_message(autojump_clock: MockClock) -> None:
    """A byte now and then does not hold a task for ever."""
    async with two_ends() as (here, there), trio.open_nursery() as nursery:

        async def trickle() -> None:
            await here.send_all((1000).to_bytes(4, "big"))
            while True:
                await trio.sleep(0.5)
                await here.send_all(b"x")

        nursery.start_soon(trickle)
        began = trio.current_time()
        with pytest.raises(Unreachable):
            await messages(there, deadline=10.0).receive()
        assert trio.current_time() - began <= 20.0  # the length and the rest have one each
        nursery.cancel_scope.cancel()


async def test_two_tasks_both_ways_at_once(autojump_clock: MockClock) -> None:
    """Each end reads while it writes: more than the pipes hold goes both ways without waiting for the other."""
    rng = random.Random(1)
    sent = {name: [rng.randbytes(rng.randrange(50_000)) for _ in range(40)] for name in "ab"}
    got: dict[str, list[bytes]] = {}
    async with two_ends() as (here, there), trio.open_nursery() as nursery:

        async def write(name: str, stream: Stream) -> None:
            await messages(stream).send(*sent[name])
            await stream.close()

        async def read(name: str, stream: Stream) -> None:
            got[name] = await receive_all(stream)

        nursery.start_soon(write, "a", here)
        nursery.start_soon(write, "b", there)
        nursery.start_soon(read, "b", here)
        nursery.start_soon(read, "a", there)
    assert got == sent
