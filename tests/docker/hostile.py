"""A member who wishes its chats no good: `python hostile.py SECONDS`, a daemon with everything that a member has.

It stands alone, on the transport and the daemon themselves, and runs by its path: containers have no tests in them. It
is a daemon like any other until the file `hostile` is in its folder. From then on, for so many seconds, whenever it is
about to publish something, and otherwise all the time, it sends into the same topics, all properly signed by the key
that every member has:

    floods      payloads of random bytes, small and large
    replays     payloads of others, and of its own, in frames of their own, again and again
    corrupts    the same with some of their bits turned, or cut short, or glued together

What it says itself goes out as well, so that it is known to be there.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import sys
import time
from collections import deque
from pathlib import Path

import trio

from transport import frames
from transport.base import Milliseconds, Refused, TransportError
from vcd import main as program
from vcd.core import effects
from vcd.daemon import mesh as daemon_mesh

AT_ONCE = 20
KEPT = 400
PAUSE = 0.2
LIFE = 3_600_000
LARGE = 60_000


class Hostile(daemon_mesh.Mesh):
    """See above."""

    chance = random.Random(1)
    until = 0.0

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)  # type: ignore[arg-type]  # as the daemon gives them
        self._keys: dict[bytes, frames.WriteKey] = {}
        self._payloads: deque[bytes] = deque(maxlen=KEPT)

    async def join(self, topic: object, seed: bytes) -> None:
        await super().join(topic, seed)  # type: ignore[arg-type]
        self._keys[bytes(topic)] = frames.WriteKey(seed)  # type: ignore[call-overload]

    async def publish(self, effect: effects.Publish) -> tuple[bytes, bytes]:
        self._payloads.append(effect.payload)
        return await super().publish(effect)

    async def listen(self, owner: daemon_mesh.Owner, first: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._harm)
            await super().listen(_Ears(owner, self._payloads), first)  # type: ignore[arg-type]

    def _payload(self, number: int) -> bytes:
        chance = self.chance
        if number % 4 == 0 or not self._payloads:
            return chance.randbytes(chance.choice((0, 1, 17, 300, LARGE)))
        data = bytearray(chance.choice(self._payloads)) or bytearray(1)
        match number % 4:
            case 1:  # as it was
                return bytes(data)
            case 2:  # some bits
                for _ in range(chance.choice((1, 1, 3, 20))):
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                return bytes(data)
            case _:  # cut short, or with something of another one behind it
                at = chance.randrange(len(data))
                return bytes(data[:at]) + (chance.choice(self._payloads)[at:] if chance.random() < 0.5 else b"")

    async def _harm(self) -> None:
        told = Path(os.environ["VCD_HOME"]) / "hostile"
        while not told.exists():  # noqa: ASYNC110 - another process makes it
            await trio.sleep(PAUSE)
        end = time.monotonic() + float(sys.argv[1])
        sent = number = 0
        while time.monotonic() < end:
            for key in list(self._keys.values()):
                async with trio.open_nursery() as nursery:
                    for _ in range(AT_ONCE):
                        number += 1
                        nursery.start_soon(self._send, key, number)
                sent += AT_ONCE
            await trio.sleep(PAUSE)
        new = told.with_name("harmed.new")
        new.write_text(str(sent), encoding="ascii")
        new.replace(told.with_name("harmed"))  # whoever waits for it finds what stands in it

    async def _send(self, key: frames.WriteKey, number: int) -> None:
        with contextlib.suppress(Refused, TransportError):
            expires = Milliseconds(self._now_ms() + LIFE + number)
            await self._mesh.publish(frames.seal(key, self._payload(number), expires))


class _Ears:
    """The owner, and somebody who remembers what comes."""

    def __init__(self, owner: daemon_mesh.Owner, payloads: deque[bytes]) -> None:
        self._owner, self._payloads = owner, payloads

    def __getattr__(self, name: str) -> object:
        return getattr(self._owner, name)

    async def tell(self, given: object, **named: object) -> None:
        self._payloads.append(given.payload)  # type: ignore[attr-defined]  # frames that arrived, nothing else
        await self._owner.tell(given, **named)  # type: ignore[arg-type]


if __name__ == "__main__":
    vars(importlib.import_module("vcd.daemon.net"))["Mesh"] = Hostile  # in the place of the daemon's own
    sys.exit(program.main([]))
