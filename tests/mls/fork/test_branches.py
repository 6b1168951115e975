"""A fork-resilient group of eight, up to five branches at once, and messages that reach everybody in any order."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.conftest import LONG
from tests.mls.fork.branches import MOST_BRANCHES, World
from tests.mls.fork.company import HASHES

KINDS = ("empty", "update", "add", "remove", "psk", "resumption", "join", "come back")

whom = st.integers(0, 1 << 16)


class Branches(RuleBasedStateMachine):
    """Somebody does something on some epoch; somebody hears of something. At the end all is delivered and looked at."""

    suite = 1

    @initialize(start=st.lists(st.tuples(whom, st.sampled_from(KINDS), whom), min_size=2, max_size=8))
    def begin(self, start: list[tuple[int, str, int]]) -> None:
        self.world = World(cipher_suite=self.suite)
        for where, kind, choice in start:
            self.commit_of(where, kind, choice)

    def somewhere(self, choice: int) -> tuple[str, bytes]:
        """A device and one of its epochs."""
        world = self.world
        places = [(name, epoch) for name, device in world.devices.items() for epoch in device.values]
        return places[choice % len(places)]

    @rule(where=whom, kind=st.sampled_from(KINDS), choice=whom)
    def commit(self, where: int, kind: str, choice: int) -> None:
        self.commit_of(where, kind, choice)

    def commit_of(self, where: int, kind: str, choice: int) -> None:
        name, epoch = self.somewhere(where)
        world = self.world
        if not world.may_commit(epoch):
            return
        if kind == "join":
            world.enter(name, epoch, None)
        elif kind == "come back":
            others = sorted(world.epochs[epoch].members - {name})
            if others and epoch in world.devices[others[choice % len(others)]].values:
                world.enter(name, epoch, others[choice % len(others)])
        else:
            world.commit(name, epoch, kind, choice)
        assert len(world.heads()) <= MOST_BRANCHES

    @rule(where=whom, choice=whom)
    def repeat(self, where: int, choice: int) -> None:
        """An insider commits once more on one epoch, with the path that it had."""
        world = self.world
        places = [
            (name, epoch) for name, device in world.devices.items() for epoch in device.paths if world.may_commit(epoch)
        ]
        if places:
            name, epoch = places[where % len(places)]
            world.commit(name, epoch, "repeat", choice)

    @rule(where=whom)
    def propose(self, where: int) -> None:
        self.world.propose(*self.somewhere(where))

    @rule(where=whom)
    def say(self, where: int) -> None:
        self.world.say(*self.somewhere(where))

    @rule(order=whom, count=st.integers(1, 12))
    def deliver(self, order: int, count: int) -> None:
        self.world.deliver_some(Random(order), count)

    @precondition(lambda self: len(self.world.epochs) > 2)
    @rule(where=whom)
    def restart(self, where: int) -> None:
        self.world.restart(self.somewhere(where)[0])

    def teardown(self) -> None:
        if hasattr(self, "world"):
            conclude(self.world, Random(len(self.world.commits)))


def conclude(world: World, order: Random) -> None:
    world.deliver_all(order)
    world.check_everybody_is_everywhere()
    world.check_no_commit_is_followed_twice()
    world.check_consumed_secrets_are_gone()
    world.end_retention()


class InSha384(Branches):
    suite = 7


class InSha512(Branches):
    suite = 5


@pytest.mark.slow
def test_branches() -> None:
    examples, steps = (300, 60) if LONG else (10, 25)
    run_state_machine_as_test(Branches, settings=settings(max_examples=examples, stateful_step_count=steps))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("machine", [InSha384, InSha512])
def test_branches_with_other_hashes(machine: type[Branches]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40))


@pytest.mark.slow
@pytest.mark.parametrize("cipher_suite", HASHES)
def test_eight_members_and_five_branches(cipher_suite: int) -> None:
    """Five rivals on one epoch, two more commits on each of them, everything heard in another order by everybody.

    The last of the five is a liar's, who makes it with the path secrets of the first.
    """
    world = World(cipher_suite, cipher_suite=cipher_suite)
    order = Random(cipher_suite)
    [root] = world.epochs
    names = sorted(world.epochs[root].members)
    world.propose(names[7], root)
    world.deliver_all(order)
    committers = [*names[:4], names[0]]
    heads = [
        world.commit(name, root, kind, 1)
        for name, kind in zip(committers, ("empty", "update", "add", "remove", "repeat"), strict=True)
    ]
    assert len(world.heads()) == MOST_BRANCHES
    for name, head in zip(committers, heads, strict=True):
        world.say(name, head)
        world.say(name, root)
        world.commit(name, world.commit(name, head, "empty"), "psk")
    world.deliver_some(order, 40)
    for name in names:
        for epoch in sorted(world.devices[name].values):
            world.say(name, epoch)
    assert len(world.heads()) == MOST_BRANCHES
    conclude(world, order)
