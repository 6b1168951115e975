"""Python's `random.Random` over the randomness that was handed in.

The usual generator can be computed from what it gave; sync's salts and borders must not be foreseen by a peer
who has seen earlier ones, so nothing here has a state to be computed.
"""

from __future__ import annotations

import random
from collections.abc import Callable


class Chance(random.Random):
    """Everything that `random.Random` offers, except seeding and state."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        super().__init__()

    def random(self) -> float:
        return int.from_bytes(self._random_bytes(7)) % (1 << 53) / (1 << 53)

    def getrandbits(self, k: int, /) -> int:
        return int.from_bytes(self._random_bytes((k + 7) // 8)) & ((1 << k) - 1)

    def seed(self, *_: object, **__: object) -> None:
        """There is no state."""
