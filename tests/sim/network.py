"""The mesh under simulated nodes: frames of what they publish, and where their KeyPackages are given out.

A frame is what `transport.frames` makes of a payload. In a world of hashes nobody checks its signature, so it is left
out, and a frame is known by the same things that a real head is made of: topic, expiry, payload.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256

from transport import frames
from transport.base import Frame, FrameId, Milliseconds, TopicId
from vcd.core.effects import Publish
from vcd.core.names import AccountId
from vcd.core.topics import WriteSeed


def frame_of(topic: bytes, seed: WriteSeed, payload: bytes, expires: int, *, real: bool) -> Frame:
    """The frame of a topic with this payload. The same one again is the same frame."""
    if real:
        return frames.seal(frames.WriteKey(seed.raw), payload, Milliseconds(expires))
    head = b"\x01" + topic + expires.to_bytes(8, "big") + len(payload).to_bytes(4, "big") + sha256(payload).digest()
    return Frame(
        id=FrameId(sha256(head).digest()),
        topic=TopicId(topic),
        expires=Milliseconds(expires),
        head=head,
        payload=payload,
    )


def published(effect: Publish, *, real: bool) -> Frame:
    return frame_of(effect.topic, effect.seed, effect.payload, effect.expires, real=real)


@dataclass
class Dispensers:
    """Who gives out which KeyPackages of an account. Each one is with the device that made it, and goes out once."""

    stocks: dict[AccountId, deque[tuple[str, bytes, bytes]]] = field(default_factory=dict)
    """By account: the device, the package's reference, and the package."""
    out: dict[bytes, str] = field(default_factory=dict)
    """Every reference that was ever offered, with its device."""
    given: list[bytes] = field(default_factory=list)

    def offer(self, account: AccountId, device: str, reference: bytes, package: bytes) -> None:
        """Taken once: a device may offer again what it is not sure to have offered."""
        if reference not in self.out:
            self.out[reference] = device
            self.stocks.setdefault(account, deque()).append((device, reference, package))

    def take_back(self, references: tuple[bytes, ...]) -> None:
        gone = set(references)
        for account, stock in self.stocks.items():
            self.stocks[account] = deque(each for each in stock if each[1] not in gone)
        for reference in references:
            self.out.setdefault(reference, "")

    def fetch(self, account: AccountId, reachable: list[str]) -> tuple[str, bytes, bytes, int] | None:
        """A package of whichever of these devices has one; and how many that device has left."""
        stock = self.stocks.get(account, deque())
        for entry in list(stock):
            if entry[0] in reachable:
                stock.remove(entry)
                self.given.append(entry[1])
                return (*entry, sum(each[0] == entry[0] for each in stock))
        return None
