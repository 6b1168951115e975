"""Messages on a stream: four bytes of length, big-endian, then that many bytes, within a limit and a deadline.

A broken stream looks like an ended one (libp2p's yamux delivers a reset as an end), so the end of a stream ends
no conversation here: protocols say so in a message. `receive` tells an end between two messages (None) from one
inside a message (`Unreachable`).

Reading is buffered: one read of the stream may bring many messages. Byte-wise reads cost a window update each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from transport.base import Reason, Refused, Unreachable
from transport.network import MAX_WRITE, Stream

LENGTH_SIZE: Final = 4


class Messages:
    """Length-prefixed messages over one stream. One task reads, one writes."""

    def __init__(self, stream: Stream, *, limit: int, deadline: float) -> None:
        """`limit`: the largest message taken, in bytes. `deadline`: seconds that one message may take either way."""
        self.stream = stream
        self._limit = limit
        self._deadline = deadline
        self._buffer = bytearray()

    async def receive(self) -> bytes | None:
        """The next message; None at an end. `Refused` if it is too large, `Unreachable` if it does not come whole."""
        if not await self._fill(LENGTH_SIZE):
            return None
        size = int.from_bytes(self._buffer[:LENGTH_SIZE])
        if size > self._limit:
            raise Refused(Reason.SIZE, f"a message of {size} bytes, at most {self._limit}")
        if not await self._fill(LENGTH_SIZE + size):
            raise Unreachable("the stream ended inside a message")
        message = bytes(self._buffer[LENGTH_SIZE : LENGTH_SIZE + size])
        del self._buffer[: LENGTH_SIZE + size]
        return message

    async def send(self, *messages: bytes) -> None:
        """All of these, in as few writes as make sense."""
        for chunk in chunks([part for message in messages for part in (len(message).to_bytes(LENGTH_SIZE), message)]):
            with trio.move_on_after(self._deadline) as scope:
                await self.stream.send_all(chunk)
            if scope.cancelled_caught:
                raise Unreachable("the peer does not read")

    async def _fill(self, size: int) -> bool:
        """Have this many bytes in the buffer. False at an end before the first of them."""
        buffer = self._buffer
        with trio.move_on_after(self._deadline) as scope:
            while len(buffer) < size:
                data = await self.stream.receive_some()
                if not data:
                    if buffer:
                        raise Unreachable("the stream ended inside a message")
                    return False
                buffer += data
        if scope.cancelled_caught:
            raise Unreachable("the peer does not answer")
        return True


def chunks(parts: Sequence[bytes], size: int = MAX_WRITE) -> list[bytes]:
    """The same bytes in writes of at most `size`."""
    whole = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(whole) <= size:
        return [whole] if whole else []
    view = memoryview(whole)
    return [bytes(view[start : start + size]) for start in range(0, len(whole), size)]
