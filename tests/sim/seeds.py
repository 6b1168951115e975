"""One seed, from its plan to its verdict."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

from tests.sim.agreed import AGREED
from tests.sim.delivered import APPS_AFTER_PROBES, APPS_AT_REST, apps_told_what_was_said
from tests.sim.disk import StoreBroken
from tests.sim.expected import Expected
from tests.sim.invariants import Broken, Run, Watch, noting_steps
from tests.sim.people import Life
from tests.sim.plan import Plan, draw
from tests.sim.rest import AFTER_PROBES, AFTER_WINDOWS, AT_REST
from tests.sim.world import Device, Runaway, World
from transport.memory.values import PERFECT
from vcd.core.duties import Duty
from vcd.core.policy import DAY, HOUR, MINUTE, Mode

REST = 3 * HOUR
"""How long the network is whole before everything must have come to rest."""
MOST_REST = REST + 7 * HOUR
"""The same if a device has just begun to vote for its account."""
WINDOWS = 8 * DAY


@dataclass(frozen=True)
class Result:
    """What became of a seed."""

    seed: int
    real: bool
    mode: str | None
    plan: Plan
    broken: str = ""
    invariant: str = ""
    seconds: float = 0.0
    simulated: int = 0
    """Milliseconds."""
    boundaries: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """What reproduces it."""
        mode = f" --mode {self.mode}" if self.mode else ""
        return f"python -m tests.sim --seeds {self.seed}{' --real' if self.real else ''}{mode}"

    def line(self) -> str:
        if not self.broken:
            return f"seed {self.seed}: good"
        return f"{self.command}   # {self.broken}"

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seed": self.seed,
            "real": self.real,
            "broken": self.broken,
            "invariant": self.invariant,
            "seconds": round(self.seconds, 3),
            "simulated_days": round(self.simulated / DAY, 3),
            "size": self.plan.size.value,
            "devices": sum(self.plan.devices),
            "counts": dict(sorted(self.counts.items())),
        }


def _plan(seed: int, mode: str | None) -> Plan:
    plan = draw(seed)
    return plan if mode is None else replace(plan, modes=(Mode[mode.upper()],) * len(plan.modes))


def run(seed: int, *, real: bool = False, mode: str | None = None, crash_at: int = 0) -> Result:
    """Run a seed to its end. Whatever raises is what broke it. `crash_at`: a boundary at which a device crashes."""
    plan = _plan(seed, mode)
    begun = time.perf_counter()
    world = World(seed, real=real, conditions=plan.conditions, mailbox=plan.mailbox)
    world.crash_at = crash_at
    start, broken, invariant = world.now, "", ""
    try:
        _live(plan, world)
    except Broken as wrong:
        broken, invariant = str(wrong), wrong.invariant
    except StoreBroken as wrong:
        broken, invariant = f"stored: {wrong}", "stored"
    except Runaway as wrong:
        broken, invariant = f"runaway: {wrong}", "runaway"
    except Exception as wrong:  # noqa: BLE001 -- whatever it is, it is what this seed found
        broken, invariant = f"raised: {type(wrong).__name__}: {wrong}", "raised"
    return Result(
        seed=seed,
        real=real,
        mode=mode,
        plan=plan,
        broken=broken,
        invariant=invariant,
        seconds=time.perf_counter() - begun,
        simulated=world.now - start,
        boundaries=world.boundaries,
        counts=world.counts,
    )


def trace(seed: int, *, real: bool = False, mode: str | None = None) -> Run:
    """The same, and what broke it comes through."""
    plan = _plan(seed, mode)
    return _live(plan, World(seed, real=real, conditions=plan.conditions, mailbox=plan.mailbox))


def _live(plan: Plan, world: World) -> Run:
    expected = Expected()
    world.observers.append(expected)
    life = Life(world, plan, expected)
    found = Run(world, life, expected)
    world.observers.append(Watch(found, apps_told_what_was_said))
    with noting_steps(found.parents):
        _through(plan, world, life, found)
    return found


def _through(plan: Plan, world: World, life: Life, found: Run) -> None:
    """A life, and what must be so after it."""
    life.set_up()
    life.schedule()
    world.run_for(plan.duration)
    come_to_rest(found)
    for invariant in (*AT_REST, *AGREED, *APPS_AT_REST):
        invariant(found)
    life.say_everywhere()
    world.run_for(10 * MINUTE)
    for invariant in (*AFTER_PROBES, *APPS_AFTER_PROBES):
        invariant(found)
    world.run_for(WINDOWS)
    for invariant in AFTER_WINDOWS:
        invariant(found)


def come_to_rest(found: Run) -> None:
    """Everybody comes back, and the network is whole and good."""
    world, life = found.world, found.life
    life.over = True
    end = world.now + MOST_REST
    world.heal()
    world.calm(PERFECT)
    for device in world.devices.values():
        device.fuse = None
        if device.lost:
            continue
        if device.asleep_since is not None:
            world.wake(device)
        world.restart(device)
    life.leaving.rest()
    life.accounts.rest()
    life.apps.rest()
    world.run_for(REST)
    while world.now < end and any(_takes_over(device) for device in world.devices.values()):
        world.run_for(HOUR)


def _takes_over(device: Device) -> bool:
    """Whether it has just begun to vote for its account, as the one that did was removed: it listens first, for as long
    as it takes until somebody sums up (`voting.begin`).
    """
    return device.state is not None and (Duty.VOTE, b"") in device.state.duties
