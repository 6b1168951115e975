"""draft-ietf-mls-virtual-clients §5.3: removals carried on by several devices, at random, while branches come and go.

The machine keeps a world: the emulation group's epochs with their members, the conversations with the leaves they were
given, and which KeyPackages are published. Devices do what their `todo` says, tell each other now and then, restart,
and see commits win and lose. Whatever they believe must hold in the world; and in the end they finish.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mls.registries import Epoch as Number, GroupId, KeyPackageRef
from mls.virtual.removal import Fingerprint, Removal, Step, Task, Withdrawal, begin, merge

LAPTOP, DESKTOP, PHONE, TABLET = (Fingerprint(name) for name in (b"laptop", b"desktop", b"phone", b"tablet"))
STAYING = (LAPTOP, DESKTOP)
picks = st.integers(0, 99)


@dataclass
class Epoch:
    parent: bytes
    members: frozenset[Fingerprint]
    lost: bool = False
    final: bool = False


@dataclass
class Leaf:
    name: bytes
    epoch: bytes
    key: bytes
    lost: bool = False


@dataclass
class World:
    """What is the case."""

    epochs: dict[bytes, Epoch] = field(default_factory=dict)
    head: bytes = b"epoch 0"
    leaves: dict[GroupId, list[Leaf]] = field(default_factory=dict)
    published: dict[KeyPackageRef, bool] = field(default_factory=dict)
    announced: set[tuple[KeyPackageRef, bytes]] = field(default_factory=set)
    """In which epoch devices heard that a KeyPackage is withdrawn."""
    key: bytes = b"key 0"
    keys: list[bytes] = field(default_factory=lambda: [b"key 0"])
    known: dict[Fingerprint, set[bytes]] = field(default_factory=dict)
    """Signature keys that a device knows which is to be removed."""

    def stands(self, epoch_id: bytes) -> bool:
        while epoch_id in self.epochs:
            if self.epochs[epoch_id].lost:
                return False
            epoch_id = self.epochs[epoch_id].parent
        return True

    def leaf(self, group_id: GroupId) -> Leaf:
        """The one that stands now."""
        return [leaf for leaf in self.leaves[group_id] if not leaf.lost][-1]

    def withdrawn(self, reference: KeyPackageRef) -> bool:
        heard = any(each == reference and self.stands(epoch_id) for each, epoch_id in self.announced)
        return heard and not self.published[reference]

    def shut_out(self, group_id: GroupId, devices: frozenset[Fingerprint]) -> bool:
        leaf = self.leaf(group_id)
        epoch = self.epochs[leaf.epoch]
        knows = any(leaf.key in self.known[device] for device in devices)
        return self.stands(leaf.epoch) and not knows and not devices & epoch.members


class Removing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = count(1)
        self.world = World()
        world = self.world
        world.epochs[world.head] = Epoch(b"", frozenset([*STAYING, PHONE, TABLET]), final=True)
        world.known = {PHONE: {world.key}}
        for name in (b"one", b"two"):
            world.leaves[GroupId(name)] = [Leaf(b"first", world.head, world.key)]
            world.published[KeyPackageRef(name)] = True
        first = begin([PHONE], references=world.published, group_ids=world.leaves, old_keys=[])
        self.devices: dict[Fingerprint, Removal] = dict.fromkeys(STAYING, first)

    # What all see, as it is a commit

    def all_see(self, change: Any) -> None:
        self.devices = {name: change(progress) for name, progress in self.devices.items()}

    def new_epoch(self, parent: bytes, members: frozenset[Fingerprint]) -> None:
        name = b"epoch %d" % next(self.numbers)
        gone = self.world.epochs[parent].members - members
        self.world.epochs[name] = Epoch(parent, members)
        self.world.head = name
        self.all_see(lambda progress: progress.adopted(name, parent=parent, removes=gone))

    @rule(again=st.booleans())
    def commit(self, again: bool) -> None:
        """An empty one, or one that lets a device in again: that is another one."""
        members = self.world.epochs[self.world.head].members
        if again and len(members) < 6:
            members |= {Fingerprint(b"new %d" % next(self.numbers))}
        self.new_epoch(self.world.head, members)

    @precondition(lambda self: not self.world.epochs[self.world.head].final)
    @rule(depth=st.integers(0, 3))
    def lose(self, depth: int) -> None:
        """The head, or an epoch that it stands on, loses to a rival that did nothing."""
        lost = self.world.head
        for _ in range(depth):
            above = self.world.epochs[lost].parent
            if self.world.epochs[above].final:
                break
            lost = above
        self.world.epochs[lost].lost = True
        parent = self.world.epochs[lost].parent
        self.all_see(lambda progress: progress.lost(lost))
        self.new_epoch(parent, self.world.epochs[parent].members)

    def end(self, name: bytes) -> bytes:
        """Of what stands on that epoch, the last."""
        following = [each for each, epoch in self.world.epochs.items() if epoch.parent == name and not epoch.lost]
        return self.end(following[-1]) if following else name

    @precondition(lambda self: not self.world.epochs[self.world.head].final)
    @rule()
    def turn(self) -> None:
        """A rival of the head that lost before wins."""
        head = self.world.epochs[self.world.head]
        rivals = [name for name, each in self.world.epochs.items() if each.lost and each.parent == head.parent]
        if not rivals:
            return
        lost, won = self.world.head, rivals[-1]
        head.lost = True
        self.world.epochs[won].lost = False
        self.all_see(lambda progress: progress.lost(lost).adopted(won, parent=head.parent))
        self.world.head = self.end(won)

    @rule()
    def settle(self) -> None:
        head = self.world.head
        at = head
        while at:
            self.world.epochs[at].final = True
            at = self.world.epochs[at].parent
        if head != b"epoch 0":
            self.all_see(lambda progress: progress.final(head))

    @rule(pick=picks)
    def lose_rotation(self, pick: int) -> None:
        names = sorted(self.world.leaves)
        group_id = names[pick % len(names)]
        leaf = self.world.leaf(group_id)
        if leaf.name != b"first":
            leaf.lost = True
            self.all_see(lambda progress: progress.reverted(group_id, leaf.name))

    # What one device does

    @rule(device=st.sampled_from(STAYING), several=st.lists(picks, min_size=1, max_size=9))
    def work(self, device: Fingerprint, several: list[int]) -> None:
        for pick in several:
            todo = self.devices[device].todo
            if todo:
                self.do(device, todo[pick % len(todo)], pick)

    def do(self, device: Fingerprint, task: Task, pick: int) -> None:
        progress, world = self.devices[device], self.world
        head = world.head
        match task.step:
            case Step.WITHDRAW:
                reference, how = KeyPackageRef(task.name), Withdrawal(pick % 4 or 3)
                if how & Withdrawal.UNPUBLISHED:
                    world.published[reference] = False
                if how & Withdrawal.ANNOUNCED:
                    world.announced.add((reference, head))
                told = head if how & Withdrawal.ANNOUNCED else b""
                self.devices[device] = progress.withdrawn(reference, how, epoch_id=told)
            case Step.REMOVE:
                self.new_epoch(head, world.epochs[head].members - progress.devices)
            case Step.RENEW:
                self.draw()
                self.devices[device] = progress.renewed(head, world.key)
            case Step.ROTATE:
                known = {key for epoch_id, key in progress.renewals if epoch_id in progress.clean}
                self.give_leaf(GroupId(task.name), sorted(known)[pick % len(known)])
            case Step.UPLOAD:
                self.devices[device] = progress.uploaded(head)

    @rule()
    def draw(self) -> None:
        """A key that all hear of who are in the present epoch, with no regard to the removal."""
        world = self.world
        world.key = b"key %d" % next(self.numbers)
        world.keys.append(world.key)
        for other in world.epochs[world.head].members & world.known.keys():
            world.known[other].add(world.key)

    def give_leaf(self, group_id: GroupId, key: bytes, epoch_id: bytes | None = None) -> None:
        """The conversation's next leaf, which all see."""
        leaves, name = self.world.leaves[group_id], b"leaf %d" % next(self.numbers)
        derived_in = epoch_id or self.world.head
        leaves.append(Leaf(name, derived_in, key))
        at = Number(sum(not leaf.lost for leaf in leaves))
        self.all_see(lambda each: each.rotated(group_id, epoch=at, leaf=name, derived_in=derived_in, signature_key=key))

    @rule(pick=picks, where=st.none() | picks, which=picks)
    def rotate_elsewhere(self, pick: int, where: int | None, which: int) -> None:
        """A device that knows nothing of all this gives a conversation a leaf, with any key, in any epoch."""
        groups, epochs, keys = sorted(self.world.leaves), sorted(self.world.epochs), self.world.keys
        epoch_id = None if where is None else epochs[where % len(epochs)]
        self.give_leaf(groups[pick % len(groups)], keys[which % len(keys)], epoch_id)

    @rule(device=st.sampled_from(STAYING), pick=picks)
    def fail(self, device: Fingerprint, pick: int) -> None:
        todo = self.devices[device].todo
        if todo:
            task = todo[pick % len(todo)]
            before = self.devices[device]
            self.devices[device] = before.failed(task)
            assert self.devices[device].todo == todo
            assert self.devices[device].attempts(task) == before.attempts(task) + 1

    @rule(device=st.sampled_from(STAYING))
    def notice(self, device: Fingerprint) -> None:
        """A conversation that was joined by an old KeyPackage."""
        if len(self.world.leaves) < 4:
            group_id = GroupId(b"late %d" % next(self.numbers))
            self.world.leaves[group_id] = [Leaf(b"first", b"epoch 0", b"key 0")]
            self.devices[device] = self.devices[device].also(group_ids=[group_id])

    @precondition(lambda self: TABLET not in self.world.known)
    @rule(device=st.sampled_from(STAYING))
    def remove_another(self, device: Fingerprint) -> None:
        world = self.world
        keys = {world.key, b"key 0", *[leaf.key for leaves in world.leaves.values() for leaf in leaves]}
        world.known[TABLET] = keys  # which nobody lists: none of them was announced after it was removed
        fresh = KeyPackageRef(b"fresh %d" % next(self.numbers))
        world.published[fresh] = True
        known = self.devices[device]
        self.devices[device] = known.also([TABLET], references=[fresh], group_ids=world.leaves)

    @rule(device=st.sampled_from(STAYING), other=st.sampled_from(STAYING))
    def hear(self, device: Fingerprint, other: Fingerprint) -> None:
        told = Removal.decode(self.devices[other].encode())
        self.devices[device] = merge(self.devices[device], told)

    # What must hold

    @invariant()
    def what_is_stored_is_all(self) -> None:
        for progress in self.devices.values():
            assert Removal.decode(progress.encode()) == progress

    @invariant()
    def nothing_is_out_of_order(self) -> None:
        for progress in self.devices.values():
            steps = {task.step for task in progress.todo}
            out = not progress.devices & self.world.epochs[self.world.head].members
            if Step.REMOVE in steps:
                assert all(self.world.withdrawn(reference) for reference in progress.packages)
            if steps & {Step.RENEW, Step.ROTATE, Step.UPLOAD}:
                assert out
            if steps & {Step.ROTATE, Step.UPLOAD}:
                assert any(self.world.stands(epoch_id) for epoch_id, _ in progress.renewals)

    @invariant()
    def who_may_send_is_not_overheard(self) -> None:
        for progress in self.devices.values():
            for group_id in progress.conversations:
                if progress.may_send(group_id):
                    assert self.world.shut_out(group_id, progress.devices)

    @invariant()
    def complete_is_complete(self) -> None:
        for progress in self.devices.values():
            if progress.complete:
                assert all(self.world.shut_out(each, progress.devices) for each in progress.conversations)
                assert all(self.world.withdrawn(each) for each in progress.packages)
                assert any(epoch.final and not progress.devices & epoch.members for epoch in self.world.epochs.values())

    def teardown(self) -> None:
        """Left to itself, one device that heard from the other finishes."""
        device = self.devices[LAPTOP] = merge(*self.devices.values())
        for _ in range(30):
            todo = device.todo
            if not todo:
                break
            self.do(LAPTOP, todo[0], 0)
            device = self.devices[LAPTOP]
        self.settle()
        assert self.devices[LAPTOP].complete
        self.complete_is_complete()


@pytest.mark.slow
def test_removals_at_random() -> None:
    run_state_machine_as_test(Removing, settings=settings(max_examples=150, stateful_step_count=30))
