"""The emulation group forks: two devices commit in it at once, and both commits are followed.

What is made on a branch may be in use when the branch loses. Each branch has a derivation epoch of its own, whoever was
on it follows what is made there wherever it stands now, and whoever was not is told what it takes. Operations never
repeat, on no branch and not across branches. A leaf never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from mls import group as front, snapshot
from mls.errors import CallerError, MlsError, PeerError, PuncturedError, ReplayError
from mls.provider import Environment
from mls.registries import Generation
from mls.state import Group
from mls.virtual import client as vc, devices, stored
from mls.virtual.announcements import LostEpoch, Operations
from mls.virtual.conversation import Author
from mls.virtual.emulation import Emulation, Head, Known
from mls.virtual.errors import OtherBranchError, UnknownEpochError
from mls.virtual.operations import OperationType
from mls.virtual.stock import make_batch
from tests.mls.virtual.household import SETTINGS, offer
from tests.mls.virtual.machine_branches import Forked
from tests.mls.virtual.machine_people import content


def settled(emulation: Emulation, groups: Iterable[Group]) -> Emulation:
    """Pruned when all devices are in the newest epoch and no other branch can win any more."""
    present = set(emulation.lineage(emulation.head.newest))
    return emulation.pruned(groups, since=emulation.head.newest, drop=set(emulation.epochs) - present)


def lost(emulation: Emulation, epoch_id: bytes) -> LostEpoch:
    """What a device that has an epoch tells those that have not."""
    known = emulation.epochs[epoch_id]
    epoch = known.epoch
    return LostEpoch(
        cipher_suite=epoch.suite.cipher_suite,
        epoch_id=epoch.epoch_id,
        parent=known.parent,
        number=epoch.number,
        leaf_count=epoch.leaf_count,
        encryption_key=epoch.encryption_key,
        generation_id=epoch.generation_id,
        reuse_guard=epoch.reuse_guard,
    )


def operations_of(emulation: Emulation, epoch_id: bytes) -> Operations:
    return Operations(tuple([each for _, each in emulation.operations.items() if each.epoch_id == epoch_id]))


# Branches and their epochs


def test_each_branch_has_its_own_derivation_epoch() -> None:
    world = Forked(3)
    before = world.newest(world.root)
    one, other = world.rivals(0, 1, 2)
    assert one != other
    ours, theirs = world.newest(one), world.newest(other)
    assert len({before, ours, theirs}) == 3
    for device in world.devices:
        epochs = device.emulation.epochs
        assert epochs[ours].parent == epochs[theirs].parent == before
        assert epochs[ours].epoch.number == epochs[theirs].epoch.number
        assert epochs[ours].epoch.reuse_guard.raw != epochs[theirs].epoch.reuse_guard.raw
        assert list(device.on(one).lineage(ours)) == [ours, before]


def test_rivals_that_ask_for_no_derivation_share_the_one_before() -> None:
    world = Forked(2)
    before = world.newest(world.root)
    one, by_one = world.commit(0, world.root)
    other, by_other = world.commit(1, world.root)
    world.hear(1, world.root, by_one)
    world.hear(0, world.root, by_other)
    assert world.newest(one) == world.newest(other) == before
    longer, message = world.commit(0, other, derive=True)
    world.hear(1, other, message)
    assert world[1].emulation.epochs[world.newest(longer)].parent == before


def test_a_commit_is_followed_once_and_an_epoch_entered_once() -> None:
    world = Forked(2)
    _, by_one = world.commit(0, world.root, derive=True)
    world.hear(1, world.root, by_one)
    with pytest.raises(PuncturedError):
        world.hear(1, world.root, by_one)


def test_what_is_learned_on_one_branch_is_known_on_all() -> None:
    world = Forked(3)
    one, other = world.rivals(0, 1, 2)
    first = world[0]
    batch = make_batch(first.on(one), first.env, [offer(), offer(2)])
    first.took(one, batch.emulation)
    world.tell(0, one, batch.announcement, 1, 2)
    for device in world.devices:
        assert set(device.on(other).stock) == set(device.on(one).stock)
        assert len(device.on(other).stock) == 2


# Leaves of a branch that lost


def test_a_leaf_of_the_other_branch_is_followed_by_who_was_on_both() -> None:
    world = Forked(3)
    anna = world.converse()
    one, other = world.rivals(0, 1, 2)
    message, _ = world.act(0, one, force_path=True)
    anna = front.receive(anna, world[0].env, message).group
    for number in (1, 2):
        got = world.follow(number, other, message)
        assert got.author == Author(world.newest(one), world[0].emulation.group.own_leaf)
        assert content(world[number].groups[b"group"]) == content(world[0].groups[b"group"])
    # All devices were members of both, so each may send under that leaf, wherever it stands.
    sealed = vc.seal(world[1].on(other), world[1].groups[b"group"], world[1].env, b"hello")
    got = world.follow(2, other, sealed.message)
    assert got.author == Author(world.newest(one), world[1].emulation.group.own_leaf)
    # The winner's leaf takes its place, and then nothing holds the loser's epoch any more.
    message, _ = world.act(1, other, force_path=True)
    for number in (0, 2):
        world.follow(number, other, message)
    for device in world.devices:
        kept = settled(device.on(other), device.groups.values())
        assert set(kept.epochs) == {world.newest(other)}
        assert {operation.epoch_id for _, operation in kept.operations.items()} == {world.newest(other)}


@pytest.fixture
def apart() -> tuple[Forked, bytes, bytes, bytes]:
    """Devices 0 and 1 are on both branches, device 2 on the winning one alone; the leaf is of the one that lost."""
    world = Forked(3)
    world.converse()
    lost_one, by_one = world.commit(0, world.root, derive=True)
    won, by_other = world.commit(1, world.root, derive=True)
    world.hear(1, world.root, by_one)
    world.hear(0, world.root, by_other)
    world.hear(2, world.root, by_other)
    message, _ = world.act(0, lost_one, force_path=True)
    world.follow(1, won, message)
    return world, lost_one, won, message


def test_an_epoch_that_is_not_here(apart: tuple[Forked, bytes, bytes, bytes]) -> None:
    world, lost_one, won, message = apart
    with pytest.raises(UnknownEpochError) as waiting:
        world.follow(2, won, message)
    assert waiting.value.epoch_id == world.newest(lost_one)


def test_an_epoch_that_lost_is_passed_on(apart: tuple[Forked, bytes, bytes, bytes]) -> None:
    world, lost_one, won, message = apart
    epoch_id = world.newest(lost_one)
    world.tell(1, won, lost(world[1].emulation, epoch_id), 0, 2)
    with pytest.raises(ReplayError):  # the epoch alone gives no operation
        world.follow(2, won, message)
    world.tell(1, won, operations_of(world[1].emulation, epoch_id), 0, 2)
    got = world.follow(2, won, message)
    assert got.author == Author(epoch_id, world[0].emulation.group.own_leaf)
    assert content(world[2].groups[b"group"]) == content(world[0].groups[b"group"])

    # It reads and attributes what is sent under the leaf, and must not send itself: it has no place there.
    sealed = vc.seal(world[0].on(won), world[0].groups[b"group"], world[0].env, b"under the lost leaf")
    for number in (1, 2):
        got = world.follow(number, won, sealed.message)
        assert got.author == Author(epoch_id, world[0].emulation.group.own_leaf)
    late = world[2]
    with pytest.raises(CallerError, match="was no member"):
        vc.seal(late.on(won), late.groups[b"group"], late.env, b"hello")
    # Nothing new is made of what it was told.
    with pytest.raises(ReplayError):
        late.emulation.follow(epoch_id, world[0].emulation.group.own_leaf, OperationType.LEAF_NODE, Generation(1))
    with pytest.raises(CallerError, match="was no member"):
        late.emulation.epoch(epoch_id).next_operation(OperationType.LEAF_NODE)

    # It rotates the leaf to the branch that won, in the clear, and all go on.
    message, _ = world.act(2, won, force_path=True, encrypt=False)
    for number in (0, 1):
        got = world.follow(number, won, message)
        assert got.author == Author(world.newest(won), late.emulation.group.own_leaf)
    sealed = vc.seal(late.on(won), late.groups[b"group"], late.env, b"hello")
    for number in (0, 1):
        world.follow(number, won, sealed.message)
    for device in world.devices:
        assert set(settled(device.on(won), device.groups.values()).epochs) == {world.newest(won)}


def test_an_epoch_that_was_told_of_may_still_be_entered(apart: tuple[Forked, bytes, bytes, bytes]) -> None:
    """Which branch wins may be thought again: then device 2 hears the commit of the other one after all."""
    world, lost_one, won, _ = apart
    epoch_id = world.newest(lost_one)
    world.tell(1, won, lost(world[1].emulation, epoch_id), 0, 2)
    world.tell(1, won, operations_of(world[1].emulation, epoch_id), 0, 2)
    assert world.hear(2, world.root, world.sent[lost_one]) == lost_one
    emulation = world[2].on(lost_one)
    assert emulation.newest.own_leaf == emulation.group.own_leaf
    emulation.take(OperationType.LEAF_NODE, b"group")


def test_what_was_told_stays_while_a_conversation_may_come_to_it(apart: tuple[Forked, bytes, bytes, bytes]) -> None:
    world, lost_one, won, message = apart
    epoch_id = world.newest(lost_one)
    world.tell(1, won, lost(world[1].emulation, epoch_id), 2)
    world.tell(1, won, operations_of(world[1].emulation, epoch_id), 2)
    heard = world[2].emulation

    def kept(*names: bytes) -> Emulation:
        return heard.pruned([], since=heard.head.newest, drop=[epoch_id], ahead={epoch_id: names} if names else {})

    assert epoch_id not in kept().epochs
    assert epoch_id in kept(b"another").epochs
    assert all(key.epoch_id != epoch_id for key in kept(b"another").operations)
    world[2].emulation = kept(b"group")
    world.follow(2, won, message)


def test_epochs_that_are_told_to_go_in_circles(apart: tuple[Forked, bytes, bytes, bytes]) -> None:
    """A sibling that lies about what came before what keeps nobody busy for ever."""
    world, lost_one, won, message = apart
    told = lost(world[1].emulation, world.newest(lost_one))
    names = [bytes([number]) * 32 for number in range(3)]
    world.tell(1, won, replace(told, parent=told.epoch_id), 2)
    for name, parent in zip(names, [*names[1:], names[0]], strict=True):
        world.tell(1, won, replace(told, epoch_id=name, parent=parent), 2)
    emulation = world[2].emulation
    assert list(emulation.lineage(told.epoch_id)) == [told.epoch_id]
    assert list(emulation.lineage(names[0])) == names
    with pytest.raises(OtherBranchError):
        world.follow(2, won, message)
    dropped = emulation.pruned([], since=emulation.head.newest, drop=names[:2])
    assert set(dropped.epochs) == {emulation.head.newest, told.epoch_id, names[2]}


# A leaf never goes back


@pytest.mark.parametrize(
    ("active", "new", "refusal"),
    [
        ("before", "ours", None),
        ("before", "theirs", None),
        ("ours", "ours", None),
        ("theirs", "ours", None),
        ("theirs", "later theirs", None),
        ("ours", "before", PeerError),
        ("theirs", "before", PeerError),
        ("later theirs", "theirs", PeerError),
        ("ours", "theirs", OtherBranchError),
        ("ours", "later theirs", OtherBranchError),
    ],
)
def test_the_order_of_leaves(active: str, new: str, refusal: type[MlsError] | None) -> None:
    """In every constellation, as a device judges it that holds `ours` for right."""
    world = Forked(3)
    world.converse()
    ours, theirs = world.rivals(0, 1, 2)
    later, message = world.commit(1, theirs, derive=True)
    for number in (0, 2):
        world.hear(number, theirs, message)
    places = {"before": world.root, "ours": ours, "theirs": theirs, "later theirs": later}
    # Device 1 makes the leaves. It has another opinion of what is right each time, or says so.
    device = world[1]
    first = vc.commit(device.on(places[active]), device.groups[b"group"], device.env, force_path=True)
    device.took(places[active], first.emulation)
    device.groups[b"group"] = first.commit.group
    judge = world[0]
    world.follow(0, ours if active != "before" else world.root, first.commit.message)
    values = judge.emulation, judge.groups[b"group"]
    second = _forced(device.on(places[new]), first.commit.group, device.env)
    if refusal is None:
        got = world.follow(0, ours, second)
        assert got.author == Author(world.newest(places[new]), device.emulation.group.own_leaf)
        return
    with pytest.raises(refusal) as refused:
        world.follow(0, ours, second)
    assert (judge.emulation, judge.groups[b"group"]) == values
    if isinstance(refused.value, PeerError):
        assert refused.value.check == "VC-6.2-3"
        return
    # Should the other branch win after all, then so does the leaf.
    got = world.follow(0, places[new], second)
    assert got.author == Author(world.newest(places[new]), device.emulation.group.own_leaf)


def _forced(emulation: Emulation, group: Group, env: Environment) -> bytes:
    """A commit by a device that does not look at the order: it forgot which epoch came before which."""
    rootless = {epoch_id: Known(known.epoch, None) for epoch_id, known in emulation.epochs.items()}
    careless = replace(emulation, epochs=emulation.epochs.update(rootless))
    return vc.commit(careless, group, env, force_path=True).commit.message


def test_an_honest_device_does_not_make_such_a_leaf() -> None:
    world = Forked(3)
    world.converse()
    ours, _ = world.rivals(0, 1, 2)
    world.act(0, ours, force_path=True)
    device = world[0]
    with pytest.raises(CallerError, match="newer emulation epoch"):
        vc.commit(device.on(world.root), device.groups[b"group"], device.env, force_path=True)


# Operations never repeat


@pytest.mark.slow
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from(["take", "take", "restart", "branch"])),
        max_size=14,
    )
)
@settings(max_examples=40)
def test_operations_never_repeat_across_branches(steps: list[tuple[int, int, str]]) -> None:
    """Whatever branches devices go to and come back from, restarting on the way."""
    world = Forked(3)
    epochs = [world.root, *world.rivals(0, 1, 2)]
    taken: set[tuple[object, ...]] = set()
    secrets: set[bytes] = set()
    for number, where, what in steps:
        device = world[number]
        at = epochs[where % len(epochs)]
        if what == "branch":
            new, message = world.commit(number, at, derive=where % 2 == 0)
            for other in range(3):
                if other != number:
                    world.hear(other, at, message)
            epochs.append(new)
        elif what == "restart":
            provider = device.env.provider
            for epoch, head in device.heads.items():
                group = snapshot.decode(provider, head.group.parameters, snapshot.encode(head.group))
                device.heads[epoch] = Head(group, head.newest)
            device.emulation = stored.decode(stored.encode(device.emulation), provider, device.emulation.group)
        else:
            after, operation = device.on(at).take(OperationType.LEAF_NODE, b"group")
            device.took(at, after)
            assert operation.leaf == device.emulation.group.own_leaf
            name = operation.epoch_id, operation.leaf, operation.generation
            assert name not in taken
            taken.add(name)
            secrets.add(operation.secret.raw)
    assert len(secrets) == len(taken)


def test_a_branch_without_its_epoch() -> None:
    world = Forked(2, SETTINGS)
    one, other = world.rivals(0, 1)
    device = world[0]
    device.emulation = settled(device.on(other), [])
    with pytest.raises(CallerError, match="not kept any more"):
        device.on(one)
    assert devices.announce(device.on(other), device.env, Operations(())).message
