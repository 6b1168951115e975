"""How long a line waits: for silence not long, for a slow line as long as it delivers."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from transport.base import PeerId, Unreachable
from transport.conduct import Offence
from transport.sync.sessions import SLOWEST_LINE, Line, Offended, Settings
from transport.sync.wire import Piece, encode

PIECE = Piece(data=bytes(60_000))


class Trickle:
    """A stream that delivers one message at so many bytes a second, and takes bytes as slowly."""

    peer = PeerId("slow")

    def __init__(self, rate: float) -> None:
        encoded = encode(PIECE)
        self.data = len(encoded).to_bytes(4) + encoded
        self.rate = rate

    async def receive_some(self, max_bytes: int = 65536) -> bytes:
        await trio.sleep(1)
        size = min(max_bytes, int(self.rate))
        got, self.data = self.data[:size], self.data[size:]
        return got

    async def send_all(self, data: bytes) -> None:
        await trio.sleep(len(data) / self.rate)

    async def close(self) -> None:
        pass

    async def reset(self) -> None:
        pass


async def test_a_slow_line_delivers(autojump_clock: MockClock) -> None:
    line = Line(Trickle(SLOWEST_LINE), Settings())
    assert await line.hear(5) == PIECE
    assert trio.current_time() > 20
    await line.say(PIECE)
    assert trio.current_time() > 40
    assert line.bytes_in == line.bytes_out == 60_005


async def test_a_trickle_is_stalling(autojump_clock: MockClock) -> None:
    line = Line(Trickle(SLOWEST_LINE / 10), Settings())
    with pytest.raises(Offended) as caught:
        await line.hear(5)
    assert caught.value.offence is Offence.STALLED
    assert trio.current_time() < 7
    with pytest.raises(Unreachable):
        await line.say(PIECE)
