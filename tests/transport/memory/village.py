"""A handful of simulated devices in one topic, and everything that happened to them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable

from transport.base import Frame, Milliseconds, PeerId
from transport.frames import seal, topic_id
from transport.memory.simulation import START, Simulation
from transport.memory.values import Conditions, Delivered, Happening
from transport.signing import SigningKey

KEY = SigningKey(b"a key for tests".ljust(32))
OTHER_KEY = SigningKey(b"another one".ljust(32))
TOPIC = topic_id(KEY.public)
OTHER = topic_id(OTHER_KEY.public)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def frame(text: str | int, *, life: int = 10 * DAY, key: SigningKey = KEY, at: int = START) -> Frame:
    return seal(key, str(text).encode(), Milliseconds(at + life))


def peer(number: int) -> PeerId:
    return PeerId(f"peer {number}")


class Village:
    """The simulation, with a record of what it said."""

    def __init__(
        self,
        count: int,
        *,
        seed: int = 1,
        conditions: Conditions | None = None,
        links: int | None = None,
        degree: int = 8,
        skew: Callable[[int], int] = lambda number: 0,
    ) -> None:
        self.simulation = Simulation(seed, conditions, links=links, degree=degree)
        self.peers = [peer(number) for number in range(count)]
        self.happenings: list[tuple[int, Happening]] = []
        for number, name in enumerate(self.peers):
            self.simulation.add(name, skew=skew(number))
            self.simulation.join(name, TOPIC)

    def run(self, milliseconds: int) -> list[Happening]:
        """What happened in this time."""
        start = len(self.happenings)
        for happening in self.simulation.run_until(self.simulation.now + milliseconds):
            self.happenings.append((self.simulation.now, happening))
        return [happening for _, happening in self.happenings[start:]]

    def deliveries(self) -> Counter[tuple[PeerId, bytes]]:
        return Counter(
            (happening.node, happening.frame.payload)
            for _, happening in self.happenings
            if isinstance(happening, Delivered)
        )

    def held_by(self, node: PeerId) -> list[bytes]:
        return [held.payload for held in self.simulation.frames_of(node, TOPIC)]

    def digest(self) -> str:
        """Of everything that happened, and when."""
        return hashlib.sha256(repr(self.happenings).encode()).hexdigest()
