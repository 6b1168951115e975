"""The node's own time, where the device's clock is set back (`vcd.core.state.Clock`)."""

from __future__ import annotations

import pytest

from tests.vcd.core.branches import talk
from tests.vcd.core.talking import heard, say
from vcd.core import effects, inputs
from vcd.core.node import step
from vcd.core.policy import DAY, HOUR, MINUTE, SECOND
from vcd.core.state import Clock


def test_it_never_goes_back_and_never_stands_still() -> None:
    clock = Clock(now=10 * HOUR, wall=10 * HOUR)
    assert clock.at(11 * HOUR) == 11 * HOUR
    assert clock.at(8 * HOUR) == 10 * HOUR
    behind = Clock(now=10 * HOUR, wall=8 * HOUR)
    assert behind.at(9 * HOUR) == 10 * HOUR + 30 * MINUTE
    assert behind.at(12 * HOUR) == 12 * HOUR  # it has caught up


@pytest.mark.parametrize("wanted", [10 * HOUR + MINUTE, 11 * HOUR, 12 * HOUR, 13 * HOUR, 20 * HOUR])
def test_the_surroundings_are_told_when_to_wake_by_their_clock(wanted: int) -> None:
    clock = Clock(now=10 * HOUR, wall=8 * HOUR)
    told = clock.wall_at(clock.now, clock.wall, wanted)
    assert clock.at(told - 2) < wanted <= clock.at(told)


def test_small_steps_add_up() -> None:
    village = talk("anna", "ben")
    device = village.devices["anna"]
    village.now -= DAY
    village.step("anna", inputs.Online(online=True))
    before = device.state.clock.now
    for _ in range(1001):
        village.now += 1
        village.step("anna", inputs.Online(online=True))
    assert device.state.clock.now == before + 500


def test_what_is_due_is_done_although_the_clock_was_set_back() -> None:
    """A message never came, and those behind it are shown a little later, not a day later."""
    village = talk("anna", "ben")
    village.part(["anna"])
    since = len(village.log)
    for each in range(180):
        say(village, "anna", f"{each}")
    frames = village.log[since:]
    del village.log[since:]
    village.heal()
    village.now -= DAY
    for frame in frames[1:]:
        village.step("ben", inputs.Arrived(frame=frame.id, topic=frame.topic, payload=frame.payload))
    village.wait(minutes=3)
    assert heard(village, "ben") == [f"{each}" for each in range(1, 180)]


def test_a_clock_that_is_set_back_while_nothing_happens_is_noticed_at_the_next_look() -> None:
    village = talk("anna", "ben")
    device = village.devices["anna"]
    at = device.state.clock.wake_at
    assert at
    wall = device.state.clock.wall - 7 * DAY
    outcome = step(device.state, inputs.Tick(), wall, device.provider)
    [wake] = [each for each in outcome.effects if isinstance(each, effects.Wake)]
    assert wall < wake.at <= wall + 2 * (outcome.state.clock.wake_at - outcome.state.clock.now) + SECOND


def test_frames_live_by_the_clock_that_others_compare_with() -> None:
    village = talk("anna", "ben")
    village.now -= 60 * DAY
    before = len(village.log)
    say(village, "anna", "from the future")
    assert village.log[before:]
    unsent = village.state("anna").unsent.values()
    assert all(each.expires <= village.now + village.state("anna").config.frame_life for each in unsent)
    outcome = step(
        village.state("anna"),
        inputs.Say(conversation=next(iter(village.state("anna").talks)), nonce=b"n" * 16, data=b"more"),
        village.now,
        village.devices["anna"].provider,
    )
    published = [each for each in outcome.effects if isinstance(each, effects.Publish)]
    assert published
    assert all(each.expires <= village.now + village.state("anna").config.frame_life for each in published)
