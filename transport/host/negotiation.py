"""multistream-select 1.0: both sides of "what shall this stream speak?", in one round trip.

The library's reads single bytes, raises UnicodeDecodeError out of its tree of tasks when a name is not UTF-8,
and sends name and proposal one after the other. Here the caller sends both at once, which every implementation
accepts; names are compared as bytes, and a peer gets few tries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from transport.base import Unreachable

if TYPE_CHECKING:
    from transport.host.flow import Flow

_NAME: Final = b"/multistream/1.0.0\n"
_NOT_AVAILABLE: Final = b"na\n"
_LIST: Final = b"ls\n"
_MOST_LINE: Final = 1024
_MOST_TRIES: Final = 16
_READ: Final = 4096


def _line(text: bytes) -> bytes:
    size, prefix = len(text), bytearray()
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + text


class _Lines:
    """Length-prefixed lines of a stream; what was read too far goes back at the end."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """A line, with its newline; None at an end or if it is not one."""
        while True:
            size = shift = used = 0
            for used, byte in enumerate(self._buffer[:3], start=1):
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            else:
                used = 0
                if len(self._buffer) >= 3:
                    return None
            if used:
                if size == 0 or size > _MOST_LINE:
                    return None
                if len(self._buffer) >= used + size:
                    line = bytes(self._buffer[used : used + size])
                    del self._buffer[: used + size]
                    return line if line.endswith(b"\n") else None
            data = await self._flow.receive_some(_READ)
            if not data:
                return None
            self._buffer += data

    def put_back(self) -> None:
        self._flow.unread(bytes(self._buffer))


async def propose(flow: Flow, protocol: str) -> None:
    """Speak this from now on; `Unreachable` if the peer does not."""
    await flow.send_all(_line(_NAME) + _line(protocol.encode() + b"\n"))
    lines = _Lines(flow)
    if await lines.next() != _NAME:
        raise Unreachable("the peer closed the stream, or does not speak multistream-select")
    answer = await lines.next()
    if answer != protocol.encode() + b"\n":
        raise Unreachable(f"the peer does not speak {protocol}")
    lines.put_back()


async def answer(flow: Flow, speaks: Callable[[str], bool], offered: Callable[[], Sequence[str]]) -> str | None:
    """What the peer wants of what we speak; None if it found nothing or does not follow the rules."""
    lines = _Lines(flow)
    await flow.send_all(_line(_NAME))
    if await lines.next() != _NAME:
        return None
    for _ in range(_MOST_TRIES):
        line = await lines.next()
        if line is None:
            return None
        if line == _LIST:
            names = b"".join(_line(name.encode() + b"\n") for name in offered())
            await flow.send_all(_line(names + b"\n"))
            continue
        wanted = line[:-1].decode(errors="replace")
        if speaks(wanted):
            await flow.send_all(_line(line))
            lines.put_back()
            return wanted
        await flow.send_all(_line(_NOT_AVAILABLE))
    return None
