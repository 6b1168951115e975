"""How often somebody may ask: a token bucket each, for a bounded number of them.

When the table is full, whoever has asked least recently is forgotten and starts anew. Whoever can be many peers
gains by that; limits that must hold against them are kept for the tenant instead.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from transport.conduct import Bucket

K = TypeVar("K")

MOST: Final = 4096


class Pace(Generic[K]):
    def __init__(self, rate: float, burst: float, *, most: int = MOST) -> None:
        """`rate` per second, `burst` at once, for each of `most`."""
        self._rate, self._burst, self._most = rate, burst, most
        self._buckets: OrderedDict[K, Bucket] = OrderedDict()

    def wait(self, who: K, tick: float) -> float:
        """Seconds until this one may ask, that is, has a whole unit left; 0 if it has. Costs nothing."""
        bucket = self._buckets.get(who)
        if bucket is None:
            return 0.0
        wait = bucket.take(1, tick)
        bucket.take(-1, tick)
        return wait

    def spend(self, who: K, cost: float, tick: float) -> None:
        """It has asked; what exceeds its share is made up for by waiting."""
        bucket = self._buckets.get(who)
        if bucket is None:
            if len(self._buckets) >= self._most:
                self._buckets.popitem(last=False)
            bucket = self._buckets[who] = Bucket(self._rate, self._burst, tick)
        self._buckets.move_to_end(who)
        bucket.take(cost, tick)
