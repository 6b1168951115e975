"""What people do in the machine of `test_machine`, and how everything comes to rest there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mls import group as front
from mls.proposals import Add, Remove
from mls.registries import GroupId
from mls.state import Group
from mls.virtual.announcements import Withdrawn
from mls.welcome import decode_welcome
from tests.mls.clients import check_private_keys, client, snapshot
from tests.mls.virtual.household import ABLE
from tests.mls.virtual.machine_delivery import Entry, Kind, Topic, leaf_of, virtual_leaf
from tests.mls.virtual.machine_device import Stored, Tell
from tests.mls.virtual.machine_world import Crash, World

UNLIKE = ("nodes", "ratchets", "parameters", "resumption", "proposals", "updates")
"""What may differ between devices: keys that they used, the order of arrival, when they came."""


def found(world: World, name: str, suite: int) -> bytes:
    """Somebody begins a conversation, in which the virtual client is not yet."""
    group_id = b"conversation%d" % world.number()
    group = client(name, suite, capabilities=ABLE).create(world.people_env, group_id)
    topic = world.topics[group_id] = Topic(GroupId(group_id), world.people_env)
    topic.people[name] = group
    topic.agree(group)
    return group_id


def commit(
    world: World,
    group_id: bytes,
    name: str,
    *,
    inviting: Sequence[str] = (),
    removing: str | None = None,
    household: bool = False,
    path: bool = False,
) -> None:
    """Somebody commits whatever was proposed; with `household`, adds the virtual client if it has a KeyPackage out."""
    topic = world.topics[group_id]
    group = topic.people[name]
    suite = group.suite.cipher_suite
    invited = []
    proposals: list[Add | Remove] = []
    for each in inviting:
        if leaf_of(group, each) is None:
            person = client(each, suite, capabilities=ABLE)
            invited.append((person, person.package(world.people_env)))
            proposals.append(Add(invited[-1][1].key_package))
    leaf = None if removing in (None, name) else leaf_of(group, str(removing))
    if leaf is not None:
        proposals.append(Remove(leaf))
    welcomed = False
    if household and virtual_leaf(group) is None:
        package = next((each for each in world.directory if each.cipher_suite == suite), None)
        if package is not None:
            world.directory.remove(package)
            proposals.append(Add(package))
            welcomed = True
    sent = front.commit(group, world.people_env, proposals=proposals, force_path=path)
    present = virtual_leaf(sent.group)
    entry = Entry(
        by=name,
        group_id=group_id,
        epoch=group.epoch,
        kind=Kind.COMMIT,
        message=sent.message,
        leaf=None if present is None else present[1],
        welcome=sent.welcome,
        invited=tuple(invited),
        removed=() if removing is None else (removing,),
    )
    assert world.accepted(entry)
    topic.past[name, group.epoch] = front.retired(sent.before)
    topic.people[name] = sent.group
    topic.agree(sent.group)
    if welcomed:
        assert sent.welcome is not None
        world.mail.append(sent.welcome)


# Removal


def to_rotate(world: World) -> list[bytes]:
    """Conversations that a removed device may be in, or may sign in."""
    found = []
    for group_id in world.conversations:
        topic = world.topics[group_id]
        leaf = topic.leaf
        if leaf is None:
            continue
        if topic.open_to.get(topic.epoch) or any(each.knows_key(leaf.signature_key) for each in world.removed):
            found.append(group_id)
    return found


def withdraw_rest(world: World, by: str) -> None:
    """KeyPackages that were announced while a device was being removed."""
    device = world.ready(by)
    if device is None:
        return
    stock = device.state.emulation.stock
    late = []
    for reference in sorted(stock):
        origin = stock[reference].origin
        if origin is not None and any(adversary.knows(origin.epoch_id) for adversary in world.removed):
            late.append(reference)
    if late:
        suites = device.env.provider.suite
        world.directory[:] = [each for each in world.directory if each.reference(suites(each.cipher_suite)) not in late]
        emulation = device.state.emulation.without(late)
        told = Tell(Withdrawn(tuple(late)))
        world.done(device, replace(device.state, emulation=emulation).later(told), Crash.NOT, world.recorder.mark())


def carry_on(world: World, by: str, crash: Crash) -> None:
    """A device takes a removal further by one conversation."""
    withdraw_rest(world, by)
    device = world.ready(by)
    if device is None:
        return
    for group_id in to_rotate(world):
        if group_id in device.state.groups:
            world.deliver(by, group_id, len(world.topics[group_id].log))
            world.commit(by, group_id, crash, path=True, new_key=True)
            return
    if not world.directory:
        world.upload(by, [1], crash)


# Rest


def settle(world: World) -> None:
    """Everything that waits is sent and heard, removals are completed, and then everybody agrees."""
    for name in world.names:
        if name in world.devices:
            world.flush(world.devices[name])
    _hear_all(world)
    for welcome in world.mail:
        for name in world.names:
            world.take_welcome(name, welcome, Crash.NOT)
    _hear_all(world)
    for group_id in world.conversations:
        if world.info(group_id) is None:
            del world.topics[group_id]  # begun by a device that was removed before it told anybody
    for group_id in world.conversations:
        for name in world.names:
            if world.topics[group_id].leaf is not None and group_id not in world.devices[name].state.groups:
                world.join_externally(name, group_id, Crash.NOT)
                _hear_all(world)
    withdraw_rest(world, world.names[0])
    _hear_all(world)
    for group_id in to_rotate(world):
        # Whoever rotates must have been there when the leaf was made, or say it unencrypted.
        world.commit(world.names[0], group_id, path=True, new_key=True)
        _hear_all(world)
    assert to_rotate(world) == []
    check_agreement(world)
    for adversary in world.removed:
        for welcome in world.mail:
            adversary.open_welcome(welcome, world.topics)
        for topic in world.topics.values():
            adversary.listen(topic)
        for device in world.devices.values():
            adversary.check_shares_nothing(device.state)


def _hear_all(world: World) -> None:
    for name in world.names:
        device = world.devices[name]
        world.flush(device)
        world.catch_up(device)
    for name in world.names:
        world.catch_up(world.devices[name])
    for group_id in world.conversations:
        for name in world.names:
            world.deliver(name, group_id, len(world.topics[group_id].log))


def check_agreement(world: World) -> None:
    """All devices have read everything, and hold the same."""
    for device in world.devices.values():
        state = device.state
        assert state.outbox == ()
        assert not state.pending
        for group_id in world.conversations:
            topic = world.topics[group_id]
            assert (group_id in state.groups) == (topic.leaf is not None)
            if topic.leaf is None:
                continue
            group = state.groups[group_id]
            assert group.epoch == topic.epoch
            topic.agree(group)
            check_private_keys(group)
            assert state.at.get(group_id, 0) == len(topic.log)
            for at, entry in enumerate(topic.log):
                if entry.kind is Kind.APPLICATION and entry.epoch >= state.since[group_id]:
                    assert (group_id, at) in state.read
        # Nothing is on its way, so nothing old is needed any more.
        used = [reference for reference, each in state.emulation.stock.items() if each.used]
        emulation = state.emulation.without(sorted(used)).pruned(
            state.groups.values(), since=state.emulation.head.newest
        )
        taken = {sealed.new_member for welcome in state.welcomes for sealed in decode_welcome(welcome).secrets}
        assert taken.isdisjoint(emulation.stock)
        device.state = replace(state, past={}, emulation=emulation)
    first, *others = world.devices.values()
    for other in others:
        _same(known(first.state), known(other.state))
        for group_id, group in first.state.groups.items():
            _same(content(group), content(other.state.groups[group_id]))


def _same(one: dict[str, object], other: dict[str, object]) -> None:
    unlike = [part for part in one if one[part] != other[part]]
    assert unlike == [], unlike


def content(group: Group) -> dict[str, object]:
    """What all devices hold alike in a conversation."""
    whole = snapshot(group)
    kept = {part: value for part, value in whole.items() if part not in UNLIKE}
    proposals = {reference: replace(item, checked=True, shelved=False) for reference, item in group.proposals.items()}
    return {**kept, "proposals": proposals}


def known(state: Stored) -> dict[str, object]:
    """What all devices hold alike beside the conversations.

    Operations of Updates that wait are another thing: who could not derive one when it came does it with the commit.
    """
    emulation = state.emulation
    group = emulation.group
    made = {emulation.maker(each.own_leaf_node, group_id) for group_id, each in state.groups.items()}
    return {
        "authenticator": group.authenticator,
        "tree": group.public.tree.hash,
        "newest": emulation.head.newest,
        "epochs": {
            epoch_id: (each.parent, each.epoch.number, each.epoch.leaf_count, each.epoch.reuse_guard.raw)
            for epoch_id, each in emulation.epochs.items()
        },
        "operations": {key: operation.secret.raw for key, operation in emulation.operations.items() if key in made},
        "stock": {
            reference: (material.seed.raw, material.origin, material.extensions, material.not_after)
            for reference, material in emulation.stock.items()
        },
        "keys": {
            public: (key.cipher_suite, key.private.raw)
            for public, key in emulation.keys.items()
            if public in {material.signature_key for _, material in emulation.stock.items()}
        },
    }
