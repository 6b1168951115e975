"""What must never be otherwise: at every step that was stored, and when everything has come to rest.

Each invariant is a function with its name, and raises `Broken` by calling `fail`. Those of steps get the device that
took the step; those of rest get the whole run. tests/sim/mutations.py has for each of them a bug that it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn
from unittest.mock import patch

from tests.sim.expected import Expected
from tests.sim.people import Life
from tests.sim.world import Device, World
from vcd.core import events, inputs
from vcd.core.duties import Duty
from vcd.core.errors import Misuse
from vcd.core.names import AccountId, ContentId, EpochId, GroupId
from vcd.core.node import Outcome
from vcd.core.ordering.graph import Graph, Member, Step as GraphStep
from vcd.core.policy import MINUTE, of_group
from vcd.core.state import State
from vcd.core.strand import Strand
from vcd.core.summaries import provisional


class Broken(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


@contextmanager
def noting_steps(parents: dict[EpochId, EpochId]) -> Iterator[None]:
    """Note each step that enters a graph. One that is final at once has left it again when the state is stored."""
    plain = Graph.with_step

    def with_step(graph: Graph, step: GraphStep) -> Graph:
        parents.setdefault(step.epoch, step.parent)
        return plain(graph, step)

    with patch.object(Graph, "with_step", with_step):
        yield


def fail(invariant: str, text: str) -> NoReturn:
    raise Broken(invariant, text)


@dataclass
class Run:
    """All that there is to look at."""

    world: World
    life: Life
    expected: Expected
    heard: dict[str, tuple[object, dict[tuple[GroupId, ContentId], int]]] = field(default_factory=dict)
    """By device: its disk, and how often it told its app of each message."""
    parents: dict[EpochId, EpochId] = field(default_factory=dict)
    """Of every step that any device took into a graph, if only for a moment: see `noting_steps`."""
    finals: dict[GroupId, EpochId] = field(default_factory=dict)
    """The newest final epoch that any honest device has seen."""
    rosters: dict[EpochId, tuple[Member, ...]] = field(default_factory=dict)

    def descends(self, epoch: EpochId, ancestor: EpochId) -> bool:
        at: EpochId | None = epoch
        while at is not None:
            if at == ancestor:
                return True
            at = self.parents.get(at)
        return False

    def honest(self) -> list[Device]:
        """Devices of honest people that are there, and have an account."""
        return [
            device
            for device in self.world.devices.values()
            if not device.hostile and not device.lost and device.state is not None and device.state.home is not None
        ]

    def present(self) -> list[Device]:
        """Those of them that their people still have in hand."""
        owned = {name for person in self.life.people for name in person.devices}
        return [device for device in self.honest() if device.name in owned]


# ---------------------------------------------------------------- at every step


@dataclass(frozen=True)
class Step:
    device: Device
    before: State
    given: inputs.Input
    outcome: Outcome

    @property
    def state(self) -> State:
        return self.outcome.state

    def moved(self) -> list[Strand]:
        """Strands that are not what they were."""
        if self.before.strands is self.state.strands:
            return []
        changed, _ = self.state.strands.changes(self.before.strands)
        return [changed[name] for name in sorted(changed)]


def told_once(run: Run, step: Step) -> None:
    """No app is told of a message twice."""
    disk = step.device.disk
    known = run.heard.get(step.device.name)
    if known is None or known[0] is not disk:
        earlier: dict[tuple[GroupId, ContentId], int] = {}
        for event in disk.told[: len(disk.told) - len(step.outcome.events)]:
            if isinstance(event, events.Message):
                earlier[event.conversation, event.content] = 1
        known = run.heard[step.device.name] = (disk, earlier)
    for event in step.outcome.events:
        if isinstance(event, events.Message):
            name = event.conversation, event.content
            known[1][name] = known[1].get(name, 0) + 1
            if known[1][name] > 1:
                fail("told_once", f"{step.device.name} told its app twice of {event.data!r}")


def told_what_was_said(run: Run, step: Step) -> None:
    """An app is told what somebody said, there, and of nobody else."""
    for event in step.outcome.events:
        if isinstance(event, events.Message):
            said = run.expected.said.get(event.data)
            if said is None or (said.conversation, said.sender) != (event.conversation, event.sender):
                fail("told_what_was_said", f"{step.device.name} told its app {event.data!r}, which nobody said")


def told_to_its_readers(run: Run, step: Step) -> None:
    """Nobody is told what was said to others."""
    for event in step.outcome.events:
        if isinstance(event, events.Message):
            said = run.expected.said.get(event.data)
            if said is not None and not said.widened and step.state.book.own not in said.audience:
                fail("told_to_its_readers", f"{step.device.name} reads {event.data!r}, which was said to others")


def final_is_for_good(run: Run, step: Step) -> None:
    """Of any two final epochs of a group, wherever they were seen, one is an ancestor of the other."""
    for strand in step.moved():
        old = step.before.strands.find(strand.group_id)
        if old is None or old.final == strand.final:
            continue  # where somebody came in is final for nobody but them
        newest = run.finals.get(strand.group_id)
        if newest is None or run.descends(strand.final, newest):
            run.finals[strand.group_id] = strand.final
        elif not run.descends(newest, strand.final):
            fail(
                "final_is_for_good",
                f"{step.device.name} has {strand.final.hex()[:8]} final, and {newest.hex()[:8]} was",
            )


def one_roster(run: Run, step: Step) -> None:
    """An epoch has the same members for everybody.

    Who came in and was not told yet what led there knows of them what the tree says, and makes up the rest until then.
    """
    for strand in step.moved():
        old = step.before.strands.find(strand.group_id)
        if old is not None and old.head == strand.head and not provisional(old):
            continue
        members = strand.graph.members(strand.head)
        if provisional(strand):
            known = run.rosters.get(strand.head, members)
            same = _in_the_tree(known) == _in_the_tree(members)
        else:
            same = run.rosters.setdefault(strand.head, members) == members
        if not same:
            fail("one_roster", f"{step.device.name} sees other members in {strand.head.hex()[:8]}")


def _in_the_tree(members: tuple[Member, ...]) -> list[tuple[int, AccountId, bool, bytes]]:
    return sorted((each.leaf, each.account, each.admin, each.key) for each in members)


def bounded(run: Run, step: Step) -> None:
    """Tables that others can fill have an end."""
    del run
    config = step.state.config
    for strand in step.moved():
        if len(strand.kept) > config.max_kept:
            fail("bounded", f"{step.device.name} keeps {len(strand.kept)} epochs")
        if len(strand.graph.steps) > config.max_unfinal:
            fail("bounded", f"{step.device.name} has {len(strand.graph.steps)} steps that are not final")
    waiting = step.state.waiting
    if len(waiting.items) > config.max_waiting or waiting.bytes > config.max_waiting_bytes:
        fail("bounded", f"{step.device.name} has {len(waiting.items)} messages waiting")


SLACK = 30 * MINUTE


def windows(run: Run, step: Step) -> None:
    """An epoch that was left is gone when its window is over: later only if the network seems to be split."""
    if not isinstance(step.given, inputs.Tick) or step.device.steps % 8:
        return
    del run
    awake, config = step.state.clock.awake, step.state.config
    for group_id, strand in step.state.strands.items():
        here, looks = strand.here, step.state.duties.find((Duty.RETAIN, group_id))
        if here is None or (looks is not None and looks <= step.state.clock.now + SLACK):
            continue  # a window that became shorter is noticed soon
        sight = step.state.sights.find(group_id)
        returning = sight is not None and sight.recovery.entered is not None
        longer = config.split_most if sight is not None and sight.suspected is not None else 0
        oldest = awake - of_group(here.group).window - longer - SLACK
        for epoch, kept in strand.kept.items():
            if returning and strand.home and kept.settled:
                continue  # nobody has followed it back yet: where its virtual client stood stays, as before that
            if kept.left_at is not None and epoch != strand.head and kept.left_at < oldest:
                fail("windows", f"{step.device.name} still has {epoch.hex()[:8]}, which it left long ago")


StepInvariant = Callable[[Run, Step], None]

AT_EVERY_STEP: tuple[StepInvariant, ...] = (
    told_once,
    told_what_was_said,
    told_to_its_readers,
    final_is_for_good,
    one_roster,
    bounded,
    windows,
)


class Watch:
    """The observer that looks at every step."""

    def __init__(self, run: Run, *more: StepInvariant) -> None:
        self._run = run
        self._invariants = (*AT_EVERY_STEP, *more)

    def stepped(self, device: Device, before: State, given: inputs.Input, outcome: Outcome) -> None:
        if device.hostile:
            return
        step = Step(device, before, given, outcome)
        for invariant in self._invariants:
            invariant(self._run, step)

    def refused(self, device: Device, given: inputs.Input, reason: Misuse) -> None:
        """A command that cannot be carried out changes nothing."""


# ---------------------------------------------------------------- nonces


def no_nonce_twice(run: Run) -> None:
    """No key and nonce ever sealed two different things; a device alone never used a message key twice."""
    honest = {device.name for device in run.world.devices.values() if not device.hostile}
    ledger = run.world.ledger
    for reuse in ledger.nonces_again:
        if {reuse.first, reuse.second} & honest:
            fail("no_nonce_twice", f"{reuse.first} and {reuse.second} used one nonce, by {reuse.operation}")
    for reuse in ledger.keys_again:
        if reuse.by_one_device and reuse.first in honest:
            fail("no_nonce_twice", f"{reuse.first} used one message key twice")
