"""draft-ietf-mls-virtual-clients, privacy considerations: one member in every list, and what the draft admits is seen.

Devices act, come and go; others hold the tree, the messages and the keys to read them, and find one member there who
now and then renews its leaf. The second half says what they do find, so that nobody believes more: the DerivationInfo
with the emulation epoch's name, the longer leaf of an external commit, and what happens when devices act at once.
"""

from __future__ import annotations

import pytest

from mls import group as front
from mls.errors import ReplayError
from mls.framing import Commit
from mls.leaf_node import LeafNode
from mls.messages import open_message
from mls.registries import LeafNodeSource, SenderType, WireFormat
from mls.state import Group
from mls.virtual import client as vc
from mls.virtual.announcements import Keys, SignatureKey
from mls.virtual.derivation_info import DerivationInfo, derivation_info_of
from tests.mls.clients import environment
from tests.mls.virtual.household import Household, offer
from tests.mls.virtual.privacy_subjects import Virtual
from tests.mls.virtual.traces import NUMBERS, bare_leaf

GROUP = b"group"


def roster(group: Group) -> list[tuple[int, bytes, bytes]]:
    """The members as others see them."""
    return [(index, leaf.credential.encode(), leaf.signature_key) for index, leaf in group.public.tree.leaves()]


def gathering() -> Household:
    house = Household(5, seed="member")
    for name, device in house.devices.items():
        device.env = environment(f"acts of {name}")  # not the one that drew its keys: draws are compared here
    house.create("device0")
    house.invite("device0", GROUP, "anna", "ben")
    return house


def ours(house: Household, group_id: bytes = GROUP) -> LeafNode:
    """The virtual client's leaf, as Anna has it."""
    leaf = house.others[group_id]["anna"].public.tree.leaf(0)
    assert leaf is not None
    return leaf


def info_of(leaf: LeafNode) -> DerivationInfo:
    info = derivation_info_of(leaf.extensions, NUMBERS)
    assert info is not None
    return info


# One member


@pytest.mark.slow
def test_others_see_one_member_whichever_device_acts() -> None:
    house = gathering()
    before = roster(house.others[GROUP]["anna"])
    assert len(before) == 3
    assert [credential for _, credential, _ in before].count(offer().credential.encode()) == 1
    for name in house.names:
        house.say(name, data=name.encode())
        house.commit(name)
        house.commit(name, force_path=True)
        house.other_say("ben")
    for reader in ("anna", "ben"):
        group = house.others[GROUP][reader]
        assert roster(group) == before
        assert group.public.tree.member_count == 3
        assert group.public.tree.leaf_count == 4
    house.agree()


@pytest.mark.slow
def test_devices_that_come_and_go_show_as_an_ordinary_commit_or_not_at_all() -> None:
    house = gathering()
    before = roster(house.others[GROUP]["anna"])
    for change in (lambda: house.add_device("newest"), lambda: house.remove_device("device3", by="device1")):
        sent, leaf, epoch = len(house.wire), ours(house), house.others[GROUP]["anna"].epoch
        change()
        assert len(house.wire) == sent  # nothing is said in the conversation
        assert ours(house) == leaf
        reader = house.others[GROUP]["anna"]
        house.commit("device0", force_path=True)
        opened = open_message(reader, house.wire[-1], shared_leaf=False)
        body = opened.verified.content.body
        assert isinstance(body, Commit)
        assert body.proposals == ()
        assert body.path is not None
        fresh = ours(house)
        assert fresh.source == LeafNodeSource.COMMIT
        assert len(bare_leaf(fresh).encoded) == len(bare_leaf(body.path.leaf_node).encoded)
        assert house.others[GROUP]["anna"].epoch == epoch + 1
        assert roster(house.others[GROUP]["anna"]) == before


@pytest.mark.slow
def test_nothing_of_the_emulation_group_is_in_a_conversation() -> None:
    """No key, name or group id of theirs in any message, opened or not, nor in the tree; nor who sent it."""
    house = gathering()
    emulation = house["device0"].emulation
    tree = emulation.group.public.tree
    private = [name.encode() for name in house.names]
    private += [bytes(emulation.group.group_id), emulation.group.authenticator]
    for _, leaf in tree.leaves():
        private += [leaf.encryption_key, leaf.signature_key]
    claims = []
    for name in house.names:
        device = house[name]
        sealed = vc.seal(device.emulation, device.groups[GROUP], device.env, b"message")
        assert sealed.claim is not None
        claims.append(bytes(sealed.claim))
        reader = house.others[GROUP]["anna"]
        house.spread(GROUP, sealed.message, by=name)
        device.groups[GROUP] = sealed.group
        acted = house.commit(name, force_path=True)
        assert acted.claim is not None
        claims.append(bytes(acted.claim))
        said = open_message(reader, house.wire[-2], shared_leaf=False).verified.authenticated.encode()
        acted_in_clear = open_message(reader, house.wire[-1], shared_leaf=False).verified.authenticated.encode()
        told = [house.wire[-2], house.wire[-1], said, acted_in_clear, reader.public.tree.encode()]
        told.append(front.group_info(house.others[GROUP]["anna"], with_tree=True))
        for secret in (*private, *claims):  # names of generations are for siblings and the service, not for messages
            assert not any(secret in each for each in told)


# What is seen


@pytest.mark.slow
def test_the_emulation_epochs_name_links_leaves_and_shows_when_devices_change() -> None:
    house = gathering()
    house.create("device2", b"other")
    house.invite("device3", b"other", "anna", "ben")
    package = house.upload("device4", offer()).released(announced=True)[0]
    names = {info_of(leaf).epoch_id for leaf in (ours(house), ours(house, b"other"), package.leaf_node)}
    assert len(names) == 1
    sealed = {info_of(leaf).ciphertext for leaf in (ours(house), ours(house, b"other"), package.leaf_node)}
    assert len(sealed) == 3
    house.commit("device1", force_path=True)
    assert info_of(ours(house)).epoch_id in names
    house.remove_device("device4", by="device0")
    house.commit("device1", force_path=True)
    assert info_of(ours(house)).epoch_id not in names
    assert info_of(ours(house, b"other")).epoch_id in names


@pytest.mark.slow
def test_an_external_commit_shows_and_its_leaf_is_longer() -> None:
    house = gathering()
    house.commit("device1", force_path=True)
    before = ours(house)
    device = house["device2"]
    device.emulation, public = device.emulation.drawn_key(device.env, 1)
    private = device.emulation.keys[public].private
    house.announce("device2", [Keys((SignatureKey(cipher_suite=1, public=public, private=private),))])
    group = device.groups[GROUP]
    entered = vc.join_externally(
        device.emulation,
        device.env,
        house.parameters,
        front.group_info(house.others[GROUP]["anna"]),
        credential=offer().credential,
        capabilities=offer().capabilities,
        signature_private=private,
        remove=group.own_leaf,
        prior=group,
    )
    reader = house.others[GROUP]["anna"]
    house.spread(GROUP, entered.joined.message, by="device2")
    opened = open_message(reader, entered.joined.message, shared_leaf=False)
    assert opened.verified.authenticated.wire_format == WireFormat.PUBLIC_MESSAGE
    assert opened.verified.content.sender.type == SenderType.NEW_MEMBER_COMMIT
    # The init secret, with its length before it, is sealed for siblings.
    assert len(info_of(ours(house)).ciphertext) - len(info_of(before).ciphertext) == 1 + 32
    assert len(roster(house.others[GROUP]["anna"])) == 3


@pytest.mark.slow
def test_devices_that_speak_at_once_show_as_one_generation_twice() -> None:
    """What an ordinary client never does. Siblings who hear of claims first do not do it either (§6.5.3)."""
    house = gathering()
    reader = house.others[GROUP]["anna"]
    sealed = {}
    for name in ("device1", "device4"):
        device = house[name]
        sealed[name] = vc.seal(device.emulation, device.groups[GROUP], device.env, name.encode())
    one, other = [open_message(reader, each.message, shared_leaf=False) for each in sealed.values()]
    assert one.sealing is not None
    assert other.sealing is not None
    assert one.sealing.generation == other.sealing.generation
    assert one.sealing.reuse_guard != other.sealing.reuse_guard
    with pytest.raises(ReplayError):
        open_message(one.group, sealed["device4"].message, shared_leaf=False)
    assert sealed["device1"].claim == sealed["device4"].claim  # so siblings and a Delivery Service see it coming
    # Whoever hears the sibling first goes on where it stopped, as one client does.
    late = house["device4"]
    got = vc.receive(late.emulation, late.groups[GROUP], late.env, sealed["device1"].message)
    again = vc.seal(got.emulation, got.event.group, late.env, b"device4")
    after = open_message(one.group, again.message, shared_leaf=False)
    assert after.sealing is not None
    assert after.sealing.generation == one.sealing.generation + 1


@pytest.mark.slow
def test_a_script_has_each_device_act() -> None:
    """The subject that the distinguisher watches has five devices that all do something."""
    subject = Virtual("turns")
    subject.create()
    for turn in range(60):
        subject.say(b"%d" % turn)
    subject.finish()
    assert set(subject.acted) == {f"device{number}" for number in range(5)}
