"""Values with other parts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest

from tests.vcd.core.village import Village
from vcd.core import policy
from vcd.core.names import EpochId
from vcd.core.values import replace


def test_it_does_what_the_standard_library_does() -> None:
    village = Village()
    village.account("anna")
    state = village.state("anna")
    home = state.home
    assert home is not None
    strand = state.strands[home]
    for value, parts in (
        (state, {"home": None}),
        (state.clock, {"now": 7, "online": False}),
        (strand, {"home": False}),
        (strand.standing, {"head": EpochId(b"x")}),
        (strand.kept[strand.head], {"left_at": 1}),
        (policy.HOME, {"window": policy.DAY}),
    ):
        assert replace(value, **parts) == dataclasses.replace(value, **parts)
        assert replace(value) == value


def test_the_old_value_is_as_it_was() -> None:
    village = Village()
    village.account("anna")
    clock = village.state("anna").clock
    now = clock.now
    assert replace(clock, now=now + 1).now == now + 1
    assert clock.now == now


def test_a_value_that_checks_itself_still_does() -> None:
    with pytest.raises(ValueError, match="window"):
        replace(policy.HOME, window=1)


def test_a_field_that_is_not_there_is_refused() -> None:
    village = Village()
    village.account("anna")
    with pytest.raises(TypeError, match="then"):
        replace(village.state("anna").clock, then=1)  # type: ignore[call-arg]


def test_what_a_constructor_computes_is_left_to_it() -> None:
    @dataclass(frozen=True, slots=True)
    class Sum:
        one: int
        two: int
        both: int = field(init=False, default=0)

        def __post_init__(self) -> None:
            object.__setattr__(self, "both", self.one + self.two)

    assert replace(Sum(1, 2), one=5).both == 7
