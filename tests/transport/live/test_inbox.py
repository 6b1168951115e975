from __future__ import annotations

import pytest
import trio
import trio.testing

from transport import frames
from transport.base import Arrival, Milliseconds, PeerId
from transport.live.inbox import Inbox
from transport.signing import SigningKey

KEY = SigningKey(bytes(32))
PEER = PeerId("somebody")


def arrival(payload: bytes) -> Arrival:
    return Arrival(frame=frames.seal(KEY, payload, Milliseconds(10**12)), source=PEER)


async def test_in_order_then_the_end() -> None:
    inbox = Inbox(most_frames=10, most_bytes=1000)
    sent = [arrival(bytes([n])) for n in range(5)]
    for each in sent:
        await inbox.put(each)
    inbox.close()
    assert [await anext(inbox) for _ in range(5)] == sent
    with pytest.raises(StopAsyncIteration):
        await anext(inbox)


@pytest.mark.parametrize(
    ("most_frames", "most_bytes", "size", "fits"),
    [(3, 1000, 10, 3), (100, 25, 10, 2), (100, 5, 10, 1)],
    ids=["count", "bytes", "one larger than all"],
)
async def test_full_means_wait(
    autojump_clock: trio.testing.MockClock, most_frames: int, most_bytes: int, size: int, fits: int
) -> None:
    inbox = Inbox(most_frames=most_frames, most_bytes=most_bytes)
    put = 0

    async def fill() -> None:
        nonlocal put
        for n in range(6):
            await inbox.put(arrival(bytes([n]) * size))
            put += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill)
        await trio.testing.wait_all_tasks_blocked()
        assert put == fits == len(inbox)
        for n in range(6):
            got = await anext(inbox)
            assert got.frame.payload[:1] == bytes([n])
            await trio.testing.wait_all_tasks_blocked()
            assert put == min(6, fits + n + 1)


async def test_a_reader_waits_for_what_comes_and_for_the_end() -> None:
    inbox = Inbox(most_frames=1, most_bytes=100)
    got: list[Arrival | None] = []

    async def read() -> None:
        async for each in inbox:
            got.append(each)
        got.append(None)

    one = arrival(b"one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await inbox.put(one)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [one]
        inbox.close()
    assert got == [one, None]


async def test_two_readers_are_a_mistake() -> None:
    inbox = Inbox(most_frames=1, most_bytes=100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(anext, inbox)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="one reader"):
            await anext(inbox)
        nursery.cancel_scope.cancel()
