"""A new device is given the virtual client's state, and is one of the devices from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from mls import group as front
from mls.components.dictionary import dictionary_extension
from mls.errors import CallerError
from mls.proposals import Add
from mls.registries import GroupId
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.virtual import client as vc, devices, onboarding
from mls.virtual.announcements import Keys, SignatureKey, Welcomed, Withdrawn
from mls.virtual.companion import Companion
from mls.virtual.errors import MissingKeyError
from mls.virtual.handover import hand_over
from mls.virtual.leaves import active_epoch
from mls.virtual.onboarding import Admission, Handed, Onboarded, admit, onboard
from mls.virtual.operations import OperationTree
from mls.virtual.settings import Settings, SignaturePolicy
from mls.virtual.transfer import NewEmulatorClientState, SigningKey
from tests.mls.refusals import refused
from tests.mls.virtual.household import DERIVED, SETTINGS, Device, Household, offer
from tests.validation import breaks

SEEDS = Settings(retain_seeds=True)
FORGETFUL = Settings(retain=False)
DERIVED_FORGETFUL = Settings(retain=False, signatures=SignaturePolicy.DERIVED)


def admitted(
    house: Household, by: str, name: str, *, external: Sequence[bytes] = (), with_state: bool = True
) -> tuple[Admission, Onboarded]:
    """A device added with all conversations but those named, and what it makes of its Welcome."""
    package = house.package(name)
    device = house[by]
    handed = [Handed(group) for group_id, group in device.groups.items() if group_id not in external and with_state]
    admission = admit(
        device.emulation,
        device.env,
        package.key_package,
        conversations=handed,
        external=[GroupId(group_id) for group_id in external],
        with_state=with_state,
    )
    device.emulation = devices.adopt(admission.made.emulation, admission.made)
    house._to_devices(by, admission.made.commit.message)
    env = house._env(f"{name}, acting")
    new = onboard(
        env,
        house._device_parameters(),
        house.parameters,
        admission.welcome(final=True),
        [package],
        trees=admission.trees,
    )
    house.devices[name] = Device(
        name, env, new.emulation, {each.group.group_id: each.group for each in new.conversations}
    )
    return admission, new


def settled(settings: Settings = SETTINGS) -> Household:
    """Two devices in three conversations, their leaves of each source: created, added, committed."""
    house = Household(2, settings=settings)
    house.create("device0", b"created")
    house.invite("device1", b"created", "anna")
    house.create("device1", b"committed")
    house.invite("device0", b"committed", "anna", "ben")
    house.commit("device0", b"committed", force_path=True)
    batch = house.upload("device1", offer(2), offer(2))
    anna = house.person("anna", 2)
    group = anna.create(house.env, b"added")
    sent = front.commit(group, house.env, proposals=[Add(batch.released(announced=True)[0])])
    assert sent.welcome is not None
    house.others[b"added"] = {"anna": sent.group}
    for name in house.names:
        house.follow(name, Welcomed(sent.welcome))
    house.agree()
    return house


@pytest.mark.parametrize("settings", [SETTINGS, DERIVED, SEEDS, FORGETFUL, DERIVED_FORGETFUL])
def test_a_new_device_holds_what_the_others_hold(settings: Settings) -> None:
    house = settled(settings)
    _, new = admitted(house, "device0", "device2")
    assert not new.external
    assert not new.waiting
    assert {each.group.group_id for each in new.conversations} == {b"created", b"committed", b"added"}
    house.agree()
    old = house["device0"].emulation
    assert new.emulation.settings == settings
    assert set(new.emulation.stock) == set(old.stock)
    assert [*new.emulation.lineage(new.emulation.head.newest)] == [*old.lineage(old.head.newest)]
    for group_id in house["device2"].groups:
        house.other_say("anna", group_id)
        house.say("device1", group_id)
        with pytest.raises(CallerError, match="was no member"):
            house.say("device2", group_id)
        house.commit("device1", group_id, force_path=True)
        house.agree()
        house.say("device2", group_id)
        house.commit("device2", group_id, force_path=True)
        house.agree()
        house.other_commit("anna", group_id)


def test_a_new_device_takes_up_welcomes_to_older_key_packages() -> None:
    house = settled()
    batch = house.upload("device0", offer())
    admitted(house, "device0", "device2")
    ben = house.person("ben")
    sent = front.commit(ben.create(house.env, b"late"), house.env, proposals=[Add(batch.released(announced=True)[0])])
    assert sent.welcome is not None
    house.others[b"late"] = {"ben": sent.group}
    for name in house.names:
        house.follow(name, Welcomed(sent.welcome))
    house.agree()


def test_secrets_wait_for_the_commit_to_be_final() -> None:
    house = settled()
    device = house["device0"]
    package = house.package("device2").key_package
    handed = [Handed(group) for group in device.groups.values()]
    admission = admit(device.emulation, device.env, package, conversations=handed)
    assert admission.holds_secrets
    with pytest.raises(CallerError, match="may still lose"):
        admission.welcome(final=False)
    names = [GroupId(group_id) for group_id in device.groups]
    modest = admit(device.emulation, device.env, package, external=names, with_state=False)
    assert modest.welcome(final=False)
    with pytest.raises(CallerError, match="name them as external"):
        admit(device.emulation, device.env, package, conversations=handed, with_state=False)


@pytest.mark.parametrize("settings", [SETTINGS, DERIVED])
def test_both_ways_in_one_welcome(settings: Settings) -> None:
    house = settled(settings)
    _, new = admitted(house, "device1", "device2", external=[b"created"])
    assert new.external == (b"created",)
    device = house["device2"]
    assert set(device.groups) == {b"committed", b"added"}
    private = None
    if settings is SETTINGS:
        device.emulation, public = device.emulation.drawn_key(device.env, 1)
        private = device.emulation.keys[public].private
        house.announce("device2", [Keys((SignatureKey(cipher_suite=1, public=public, private=private),))])
    info = front.group_info(house.others[b"created"]["anna"])
    wanted = offer()
    entered = vc.join_externally(
        device.emulation,
        device.env,
        house.parameters,
        info,
        credential=wanted.credential,
        capabilities=wanted.capabilities,
        signature_private=private,
        remove=house["device0"].groups[b"created"].own_leaf,
        prior=house["device0"].groups[b"created"],
    )
    device.emulation = entered.emulation
    house.spread(b"created", entered.joined.message, by="device2")
    device.groups[b"created"] = entered.joined.group
    house.agree()
    house.say("device2", b"created")


def test_a_conversation_that_was_entered_again_from_a_longer_branch_can_be_handed_over() -> None:
    house = Household(1)
    house.create("device0", b"group")
    house.invite("device0", b"group", "anna")
    left = house.others[b"group"]["anna"]
    for _ in range(3):
        house.commit("device0", b"group", force_path=True)
    device = house["device0"]
    longer = device.groups[b"group"]
    device.emulation, public = device.emulation.drawn_key(device.env, 1)
    wanted = offer()
    entered = vc.join_externally(
        device.emulation,
        device.env,
        house.parameters,
        front.group_info(left),
        credential=wanted.credential,
        capabilities=wanted.capabilities,
        signature_private=device.emulation.keys[public].private,
        remove=longer.own_leaf,
        prior=longer,
    )
    assert entered.joined.group.epoch < longer.epoch
    device.emulation, device.groups[b"group"] = entered.emulation, entered.joined.group
    _, new = admitted(house, "device0", "device1")
    assert [each.group.epoch_id for each in new.conversations] == [entered.joined.group.epoch_id]


def test_names_alone_tell_no_secret() -> None:
    house = settled()
    group_ids = list(house["device0"].groups)
    admission, new = admitted(house, "device0", "device2", external=group_ids, with_state=False)
    assert not admission.holds_secrets
    assert set(new.external) == set(group_ids)
    assert len(new.emulation.epochs) == 1
    assert not new.emulation.keys
    assert not new.emulation.stock


def test_a_tree_that_is_still_to_come() -> None:
    house = settled()
    package = house.package("device2")
    device = house["device0"]
    handed = [Handed(group) for group in device.groups.values()]
    admission = admit(device.emulation, device.env, package.key_package, conversations=handed)
    trees = {group_id: tree for group_id, tree in admission.trees.items() if group_id != b"added"}
    new = onboard(
        house.env,
        house._device_parameters(),
        house.parameters,
        admission.welcome(final=True),
        [package],
        trees=trees,
    )
    assert [each.group_id for each in new.waiting] == [b"added"]
    assert len(new.conversations) == 2


@breaks("VC-5.1-18")
@pytest.mark.parametrize("key", [b"", bytes(32), b"\1" * 32, b"\1" * 31, None])
def test_a_carried_key_that_belongs_to_no_leaf(key: bytes | None) -> None:
    house = settled(FORGETFUL)
    device = house["device0"]
    group = device.groups[b"committed"]
    handover = hand_over(group, carry_leaf_key=True)
    assert handover.part is not None
    private = handover.part.leaf_private if key is None else HpkePrivateKey(key)
    state = NewEmulatorClientState(groups=(handover.state,))
    companion = Companion(settings=FORGETFUL.encode(), conversations=(replace(handover.part, leaf_private=private),))
    numbers = FORGETFUL.numbers
    dictionary = dictionary_extension(
        {numbers.virtual_clients: state.encode(), numbers.virtual_companion: companion.encode()}
    )
    package = house.package("device2")
    made = devices.commit(
        device.emulation,
        device.env,
        proposals=[Add(package.key_package)],
        group_info_extensions=(dictionary,),
    )
    welcome = made.commit.welcome
    assert welcome is not None

    def taken(trees: dict[GroupId, bytes]) -> Onboarded:
        own = house._device_parameters()
        return onboard(house.env, own, house.parameters, welcome, [package], trees=trees)

    if key is None:  # the right one, and only the signature keys are missing
        with pytest.raises(MissingKeyError):
            taken({group.group_id: handover.tree})
    else:
        refused("VC-5.1-18", lambda: taken({group.group_id: handover.tree}))


# What is told beside the conversations


def test_what_is_known_of_key_packages() -> None:
    """Which were used, and their Welcomes may come again; which were withdrawn, and none is taken any more."""
    house = settled()
    batch = house.upload("device0", offer(), offer(), offer())
    references = [info.reference for info in batch.announcement.upload.key_packages]
    house.announce("device1", [Withdrawn((references[2],)), Withdrawn((references[0],))])
    _, new = admitted(house, "device0", "device2")
    old = house["device0"].emulation
    assert dict(new.emulation.stock.items()) == dict(old.stock.items())
    assert [each.used for _, each in sorted(new.emulation.stock.items())].count(True) == 1
    assert sorted(new.emulation.withdrawn, key=new.emulation.withdrawn.__getitem__) == [references[2], references[0]]
    house.announce("device0", [batch.announcement])
    assert set(house["device2"].emulation.stock) == set(old.stock)


def heard_of(device: Device) -> set[bytes]:
    """A device that has the epochs that leaves come from by a sibling's word alone; their ids."""
    lost = set()
    for group in device.groups.values():
        epoch_id = active_epoch(device.emulation, group.own_leaf_node)
        assert epoch_id is not None
        epoch = device.emulation.epoch(epoch_id)
        gone = replace(epoch, own_leaf=None, operations=OperationTree.gone(epoch.leaf_count))
        device.emulation = device.emulation.with_epoch(gone)
        lost.add(epoch_id)
    return lost


@pytest.mark.parametrize("settings", [SETTINGS, DERIVED, SEEDS, FORGETFUL, DERIVED_FORGETFUL])
def test_conversations_whose_leaves_come_from_an_epoch_that_lost(settings: Settings) -> None:
    """The draft's state has no place for the epoch. Whoever reads the companion knows who speaks all the same."""
    house = settled(settings)
    house.commit_devices("device1", derive=True)
    device = house["device0"]
    lost = heard_of(device)
    for group in device.groups.values():
        part = onboarding._hand_over(device.emulation, Handed(group)).part
        assert part is not None
        assert part.leaf_private == group.private[2 * group.own_leaf]
    _, new = admitted(house, "device0", "device2")
    assert set(new.emulation.epochs) == {*device.emulation.epochs}
    assert {name for name, known in new.emulation.epochs.items() if known.epoch.operations.is_gone} == lost
    house.agree()
    for group_id in device.groups:
        author = house.say("device1", group_id)["device2"].author
        assert author is not None
        assert author.leaf == house["device1"].emulation.group.own_leaf
        house.commit("device1", group_id, force_path=True)
        house.say("device2", group_id)
        house.agree()


def test_what_the_draft_s_own_state_needs_is_kept_if_it_is_to_be() -> None:
    """Who does not read the companion derives the key of each leaf, however it came into the conversation."""
    house = settled(SEEDS)
    house.announce("device0", [Withdrawn(tuple(house["device0"].emulation.stock))])
    for name in house.names:
        device = house[name]
        device.emulation = device.emulation.pruned(device.groups.values(), since=device.emulation.head.newest)
        assert len(device.emulation.seeds) == 2
        for group_id, group in device.groups.items():
            part = onboarding._hand_over(device.emulation, Handed(group)).part
            assert part is not None
            assert part.leaf_private is None, group_id
    for group_id in house["device0"].groups:
        house.commit("device1", group_id, force_path=True)
    for name in house.names:
        device = house[name]
        emulation = device.emulation.pruned(device.groups.values(), since=device.emulation.head.newest)
        assert not emulation.seeds


Told = Callable[[NewEmulatorClientState, Companion], tuple[NewEmulatorClientState, Companion]]


def lied_to(change: Told) -> Onboarded:
    """What a new device makes of another state than the true one."""
    house = settled()
    honest = onboarding._told

    def told(*arguments: Any) -> tuple[NewEmulatorClientState, Companion]:
        state, companion = change(*honest(*arguments))
        return replace(state, groups=()), replace(companion, conversations=())

    with mock.patch.object(onboarding, "_told", told):
        return admitted(house, "device0", "device2")[1]


@breaks("VC-5.1-12")
def test_a_newest_epoch_that_nobody_was_told_of() -> None:
    refused("VC-5.1-12", lambda: lied_to(lambda state, companion: (state, replace(companion, newest=bytes(32)))))
    assert lied_to(lambda *told: told).emulation.epochs


@breaks("VC-5.1-42")
def test_epochs_that_go_in_a_circle() -> None:
    def circle(state: NewEmulatorClientState, companion: Companion) -> tuple[NewEmulatorClientState, Companion]:
        first, *others = companion.epochs
        return state, replace(companion, epochs=(replace(first, parent=first.epoch_id), *others))

    refused("VC-5.1-42", lambda: lied_to(circle))


@breaks("VC-6.4-15")
@pytest.mark.parametrize("private", [b"", bytes(31), b"\1" * 32, b"\1" * 33])
def test_signature_keys_that_do_not_belong_together(private: bytes) -> None:
    def other(state: NewEmulatorClientState, companion: Companion) -> tuple[NewEmulatorClientState, Companion]:
        first, *others = state.signing_keys
        wrong = replace(first, private=SignaturePrivateKey(private))
        return replace(state, signing_keys=(wrong, *others)), companion

    refused("VC-6.4-15", lambda: lied_to(other))


def test_signature_keys_of_a_suite_that_we_lack() -> None:
    """Nobody here can judge them, so that they must not be found by their public halves either."""
    public = b"as somebody's leaf will have it"

    def more(state: NewEmulatorClientState, companion: Companion) -> tuple[NewEmulatorClientState, Companion]:
        key = SigningKey(cipher_suite=0x7777, public=public, private=SignaturePrivateKey(b"false"), used=False)
        return replace(state, signing_keys=(*state.signing_keys, key)), companion

    found = lied_to(more).emulation.keys
    assert public not in found
    assert set(found) == set(lied_to(lambda *told: told).emulation.keys)
