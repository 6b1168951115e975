from __future__ import annotations

import random
from collections import Counter

from transport.live.chance import Chance


def test_draws_from_what_it_was_given() -> None:
    source = random.Random(1)
    one, other = Chance(source.randbytes), Chance(random.Random(1).randbytes)
    assert [one.random() for _ in range(20)] == [other.random() for _ in range(20)]
    assert one.sample(range(100), 10) == other.sample(range(100), 10)


def test_spreads_evenly() -> None:
    chance = Chance(random.Random(2).randbytes)
    assert all(0 <= chance.random() < 1 for _ in range(1000))
    drawn = Counter(chance.randrange(10) for _ in range(10_000))
    assert all(800 < drawn[n] < 1200 for n in range(10))
    assert {chance.getrandbits(3) for _ in range(200)} == set(range(8))


def test_has_no_state_to_be_computed() -> None:
    chance = Chance(random.Random(3).randbytes)
    chance.seed(1)
    first = chance.random()
    chance.seed(1)
    assert chance.random() != first
