"""The simulation is held to what it promises: crashes where they are wanted, disks that outlive them, able thieves."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from tests.sim.disk import Disk, StoreBroken
from tests.sim.plan import MAX_DEVICES, Size, draw
from tests.sim.seeds import run
from tests.sim.thief import Thief
from tests.sim.world import MOST_IN_A_MINUTE, Device, Runaway, World
from transport.memory.values import PERFECT
from vcd.core import events, inputs
from vcd.core.accounts.identity import new_seed
from vcd.core.config import Config
from vcd.core.errors import Misuse
from vcd.core.founding import new_account
from vcd.core.names import FrameId as NodeFrameId, GroupId, IntentId
from vcd.core.node import Outcome
from vcd.core.policy import DAY, HOUR, MINUTE
from vcd.core.state import State

TEA = GroupId(b"tea")


class Steps:
    """An observer that notes what was stored."""

    def __init__(self) -> None:
        self.given: list[inputs.Input] = []
        self.codes: list[str] = []

    def stepped(self, device: Device, before: State, given: inputs.Input, outcome: Outcome) -> None:
        del device, before, outcome
        self.given.append(given)

    def refused(self, device: Device, given: inputs.Input, reason: Misuse) -> None:
        del device, given
        self.codes.append(reason.code)

    def count(self, kind: type[object]) -> int:
        return sum(isinstance(each, kind) for each in self.given)


def world_of(*names: str, exact: bool = False) -> tuple[World, Steps]:
    """Accounts with a device each, on a perfect network."""
    world, steps = World(1, conditions=PERFECT), Steps()
    world.observers.append(steps)
    for name in names:
        provider = world.provider(name)
        state = new_account(provider, new_seed(provider), name, world.now, Config(packages=2))
        world.begin(name, Disk(state, exact))
    world.run_for(MINUTE)
    return world, steps


def said(world: World, name: str) -> list[bytes]:
    return [event.data for event in world.devices[name].disk.told if isinstance(event, events.Message)]


def say(data: bytes) -> inputs.Say:
    return inputs.Say(conversation=TEA, nonce=sha256(data).digest()[:16], data=data)


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize("boundary", range(1, 8))
def test_a_command_is_carried_out_once_wherever_the_device_crashes(boundary: int) -> None:
    world, _ = world_of("anna")
    world.command("anna", inputs.Open(conversation=TEA))
    world.run_for(MINUTE)
    world.burn(world.devices["anna"], boundary, down_for=1000)
    world.command("anna", say(b"hello"))
    world.run_for(HOUR)
    assert said(world, "anna") == [b"hello"]
    assert world.devices["anna"].state is not None
    assert not world.devices["anna"].state.unsent


def test_what_was_not_stored_is_wanted_again() -> None:
    world, steps = world_of("anna")
    world.burn(world.devices["anna"], 1, down_for=1000)
    world.command("anna", inputs.Open(conversation=TEA))
    assert steps.count(inputs.Open) == 0
    assert world.devices["anna"].state is None
    world.run_for(MINUTE)
    assert steps.count(inputs.Open) == 1


def test_what_apps_want_of_a_device_that_is_away_is_given_to_it_later() -> None:
    world, steps = world_of("anna")
    anna = world.devices["anna"]
    world.sleep(anna)
    world.command("anna", inputs.Open(conversation=TEA))
    world.run_for(HOUR)
    assert steps.count(inputs.Open) == 0
    world.wake(anna)
    world.run_for(MINUTE)
    assert steps.count(inputs.Open) == 1
    assert steps.count(inputs.Slept) == 1


def test_a_command_that_cannot_be_carried_out_is_refused_once() -> None:
    world, steps = world_of("anna")
    world.command("anna", say(b"hello"))
    world.run_for(HOUR)
    assert steps.codes == ["no-conversation"]


def test_a_device_that_is_lost_never_comes_back() -> None:
    world, _ = world_of("anna", "bert")
    disk = world.lose(world.devices["anna"])
    world.run_for(DAY)
    world.restart(world.devices["anna"])
    assert world.devices["anna"].state is None
    assert disk.state.home is not None


def test_an_older_disk_has_told_what_it_had_told() -> None:
    world, _ = world_of("anna")
    anna = world.devices["anna"]
    world.command("anna", inputs.Open(conversation=TEA))
    world.run_for(MINUTE)
    backup = anna.disk.copy()
    world.command("anna", say(b"hello"))
    world.run_for(MINUTE)
    world.crash(anna, 0)
    world.restart(anna, backup)
    assert said(world, "anna") == []
    assert anna.state is not None
    assert anna.state.household.listening


# ---------------------------------------------------------------- disks, clocks


def test_an_exact_disk_holds_what_the_state_is() -> None:
    world, _ = world_of("anna", exact=True)
    world.command("anna", inputs.Open(conversation=TEA))
    world.command("anna", say(b"hello"))
    world.run_for(DAY)
    disk = world.devices["anna"].disk
    disk.load(world.provider("anna"))
    disk.rows.pop(min(disk.rows))
    with pytest.raises(StoreBroken):
        disk.load(world.provider("anna"))


def test_timers_ring_by_the_devices_own_clock() -> None:
    for skew in (-HOUR, HOUR):
        world, steps = World(1, conditions=PERFECT), Steps()
        world.observers.append(steps)
        provider = world.provider("anna")
        state = new_account(provider, new_seed(provider), "anna", world.now + skew)
        device = world.begin("anna", Disk(state), skew=skew)
        assert device.state is not None
        at = device.state.clock.wake_at
        world.run_until(at - skew - 1)
        assert steps.count(inputs.Tick) == 0
        world.run_until(at - skew)
        assert steps.count(inputs.Tick) == 1


def test_a_device_that_does_something_for_ever_is_noticed() -> None:
    world, _ = world_of("anna")
    with pytest.raises(Runaway):
        for _ in range(MOST_IN_A_MINUTE + 2):
            world.give(world.devices["anna"], inputs.Tick())


@pytest.mark.parametrize("new", [True, False])
def test_who_catches_up_with_much_does_nothing_for_ever(new: bool) -> None:
    world, _ = world_of("anna")
    anna = world.devices["anna"]
    assert anna.state is not None
    topic = next(iter(anna.state.joined))
    try:
        for number in range(MOST_IN_A_MINUTE + 3):
            frame = NodeFrameId((number if new else 0).to_bytes(32))
            world.give(anna, inputs.Arrived(frame=frame, topic=topic, payload=b""))
    except Runaway:
        assert not new
    else:
        assert new


# ---------------------------------------------------------------- thieves


def test_a_thief_reads_what_is_said_with_keys_that_it_has() -> None:
    """So what it does not read in the simulation is not for want of trying."""
    world, _ = world_of("anna")
    world.command("anna", inputs.Open(conversation=TEA))
    world.run_for(MINUTE)
    stolen = world.devices["anna"].disk.copy()
    world.command("anna", say(b"hello"))
    world.command("anna", inputs.Refresh(intent=_intent(1), conversation=TEA))
    world.run_for(MINUTE)
    world.command("anna", say(b"and after a commit"))
    world.run_for(MINUTE)
    loot = Thief(stolen.state, world.provider("thief"), world.now).read(world.frames.values())
    assert sorted(loot.messages) == [b"and after a commit", b"hello"]
    assert loot.epochs


def test_a_thief_of_today_does_not_read_what_was_read_here_before() -> None:
    world, _ = world_of("anna", "bert")  # windows count while somebody is there
    world.command("anna", inputs.Open(conversation=TEA))
    world.command("anna", say(b"hello"))
    world.run_for(MINUTE)
    world.command("anna", inputs.Refresh(intent=_intent(1), conversation=TEA))
    world.run_for(3 * DAY)
    loot = Thief(world.devices["anna"].disk.state, world.provider("thief"), world.now).read(world.frames.values())
    assert not loot.messages


def _intent(number: int) -> IntentId:
    return IntentId(number.to_bytes(16, "big"))


# ---------------------------------------------------------------- plans and runs


def test_plans_stay_within_their_bounds() -> None:
    plans = [draw(seed) for seed in range(2000)]
    assert all(sum(plan.devices) <= MAX_DEVICES and len(plan.devices) <= 6 and len(plan.modes) <= 10 for plan in plans)
    assert {plan.size for plan in plans} == set(Size)
    assert any(plan.hostile for plan in plans)
    assert any(plan.days > 20 for plan in plans)
    small = sum(plan.size is Size.SMALL for plan in plans)
    assert small > len(plans) // 2  # so the median is one of these


_DIGEST = """
import hashlib
from tests.sim.seeds import run, trace
from vcd.core import stored
found = trace({seed})
digest = hashlib.sha256(repr(sorted(found.world.counts.items())).encode())
for device in found.world.devices.values():
    for (table, key), row in sorted(stored.rows(device.disk.state).items()):
        digest.update(table.encode() + key + row)
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_the_same_seed_is_the_same_run_in_every_process() -> None:
    """Whatever hashes of strings are, and sets are in: every row of every device is the same."""
    digests = set()
    for hashes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST.format(seed=1)],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_broken_seed_says_how_to_see_it_again() -> None:
    result = run(1)
    assert result.command == "python -m tests.sim --seeds 1"
    assert result.line() == "seed 1: good"
    assert result.values()["broken"] == ""
