"""What a seed stands for: how many people, how bad the network, how long, and what goes wrong.

Most seeds are small, so that the median one takes under a second; a few are as large as the simulation goes: twenty
devices of six people in ten conversations. Everything is drawn here, in one place and in one order, so a seed is the
same run for as long as nothing is drawn before what it draws.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, replace

from transport.memory.values import PERFECT, Conditions
from vcd.core.config import Config
from vcd.core.policy import DAY, HOUR, MINUTE, SECOND, Mode

MAX_DEVICES = 20


class Size(enum.Enum):
    """How large a seed is."""

    SMALL = "small"
    MIDDLE = "middle"
    LARGE = "large"


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """What half of the seeds play besides. It is drawn apart, so the others are what they are without it."""

    names: int = 0
    """How often something of an account's is named."""
    contacts: int = 0
    """How often a contact goes, or comes again."""
    recoveries: int = 0
    """How often somebody loses all devices, and takes the account up again."""
    groups: int = 0
    """Groups of apps with a delivery service of their own."""
    app_acts: int = 0
    """How many things are done in these."""
    choruses: int = 0
    """How often all who are in a conversation speak at once, again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """See above. Times are milliseconds."""

    seed: int
    size: Size
    devices: tuple[int, ...]
    """How many each person begins with."""
    modes: tuple[Mode, ...]
    """Of the conversations."""
    acts: int
    """How many things people do."""
    duration: int
    """Over how long."""
    conditions: Conditions
    skew: int
    """By how much clocks are wrong at most."""
    splits: int
    crashes: int
    sleeps: int
    backups: int
    """How often a device is restored from an old disk."""
    losses: int
    """How many devices are lost for good."""
    vanishes: bool
    """Whether somebody goes away with all devices, and never comes back."""
    hostile: bool
    """Whether one of the people is."""
    mailbox: bool
    exact: bool
    """Whether disks write what changed, row by row."""
    config: Config
    more: More = More()

    @property
    def days(self) -> float:
        return self.duration / DAY


def _sizes(rng: random.Random) -> tuple[Size, tuple[int, ...], int, int]:
    """The size, devices a person, conversations, and acts."""
    roll = rng.random()
    if roll < 0.80:
        people = rng.choice((2, 2, 2, 3, 3))
        devices = tuple(rng.choice((1, 1, 2)) for _ in range(people))
        return Size.SMALL, devices, rng.choice((1, 1, 1, 2)), rng.randint(4, 14)
    if roll < 0.97:
        people = rng.choice((3, 3, 4))
        devices = tuple(rng.choice((1, 1, 2, 3)) for _ in range(people))
        return Size.MIDDLE, devices, rng.choice((1, 2, 3)), rng.randint(10, 30)
    people = rng.choice((5, 6))
    devices = tuple(rng.randint(1, 4) for _ in range(people))
    while sum(devices) > MAX_DEVICES:
        devices = tuple(max(1, each - 1) for each in devices)
    return Size.LARGE, devices, rng.randint(3, 10), rng.randint(30, 80)


_CONDITIONS = (
    PERFECT,
    Conditions(),
    Conditions(delay=50, jitter=200, loss=0.05, reordering=0.3),
    Conditions(delay=100, jitter=1000, loss=0.2, duplication=0.2, reordering=0.5),
    Conditions(delay=400, jitter=3000, loss=0.4, duplication=0.1, reordering=0.7),
)
_DURATIONS = ((0.55, 10 * MINUTE, 6 * HOUR), (0.85, 6 * HOUR, 4 * DAY), (1.0, 4 * DAY, 24 * DAY))
"""Up to which roll, from how long, to how long. Frames live thirty days; who was away longer comes back anew."""


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")
    size, devices, conversations, acts = _sizes(rng)
    roll = rng.random()
    low, high = next((low, high) for most, low, high in _DURATIONS if roll <= most)
    duration = rng.randint(low, high)
    modes = tuple(_mode(rng) for _ in range(conversations))
    trouble = rng.random()
    scale = 1 if size is Size.SMALL else 2 if size is Size.MIDDLE else 4
    plan = Plan(
        seed=seed,
        size=size,
        devices=devices,
        modes=modes,
        acts=acts,
        duration=duration,
        conditions=rng.choice(_CONDITIONS),
        skew=rng.choice((0, 0, 10 * SECOND, 2 * MINUTE, 20 * MINUTE)),
        splits=rng.choice((0, 1, 1, 2, 3)) * scale,
        crashes=rng.choice((0, 0, 1, 3, 6)) * scale,
        sleeps=rng.choice((0, 0, 1, 2)) * scale,
        backups=rng.choice((0, 0, 0, 0, 1)),
        losses=rng.choice((0, 0, 0, 1)),
        vanishes=rng.random() < 0.1 and len(devices) > 2,
        hostile=rng.random() < 0.2 and len(devices) > 2,
        mailbox=rng.random() < 0.8,
        exact=rng.random() < 0.25,
        config=config(rng, duration),
    )
    if plan.backups:  # who is set back learns what it missed from its other devices
        plan = replace(plan, losses=0)
    if trouble < 0.1:  # some seeds are as easy as can be: whatever fails there is no matter of luck
        plan = replace(
            plan, conditions=PERFECT, splits=0, crashes=0, sleeps=0, backups=0, losses=0, skew=0, vanishes=False
        )
    return replace(plan, more=MORE[seed % len(MORE)](seed, scale))


def _choruses(seed: int, scale: int) -> More:
    return More(choruses=random.Random(f"choruses {seed}").choice((1, 2, 3)) * scale)


def _more(seed: int, scale: int) -> More:
    rng = random.Random(f"more {seed}")
    return More(
        names=rng.choice((0, 2, 6)) * scale,
        contacts=rng.choice((0, 0, 2, 4)) * scale,
        recoveries=rng.choice((0, 0, 1)),
        groups=rng.choice((0, 1, 1, 2)),
        app_acts=rng.randint(4, 16) * scale,
    )


def _nothing(seed: int, scale: int) -> More:
    del seed, scale
    return More()


MORE = (_more, _nothing, _choruses, _nothing)
"""What seeds play more, in turn. With real cryptography are some of each (one seed in ten is)."""


def _mode(rng: random.Random) -> Mode:
    return rng.choices((Mode.DEMLS, Mode.EC1, Mode.EC2, Mode.LEAD, Mode.DIMLS), weights=MODE_WEIGHTS)[0]


MODE_WEIGHTS = (80, 7, 7, 6, 0)
"""Of the modes, in their order."""


def config(rng: random.Random, duration: int) -> Config:
    """What is done again and again is done less often in a run that lasts longer; some devices have little room."""
    plain = Config()
    slower = max(1, duration // (6 * HOUR))
    chosen = replace(
        plain,
        packages=4,
        digest_every=min(plain.digest_every * slower, 6 * HOUR),
        ask_again=min(plain.ask_again * slower, 30 * MINUTE),
        split_most=rng.choice((HOUR, DAY, plain.split_most)),
    )
    return replace(chosen, max_kept=6) if rng.random() < 0.1 else chosen
