"""What a device refuses to believe of its own virtual client, each time beside what it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.components.dictionary import dictionary_extension
from mls.credential import BasicCredential
from mls.errors import CallerError, PeerError, StaleError
from mls.key_package import create_key_package
from mls.leaf_node import default_capabilities
from mls.persistent import PMap
from mls.proposals import Add
from mls.registries import Generation, GroupId, KeyPackageRef, LeafIndex
from mls.secrets import KeyPackageSeed, SignaturePrivateKey
from mls.suite import Suite
from mls.virtual import client as vc, devices
from mls.virtual.announcements import (
    Created,
    JoinedExternally,
    Keys,
    LostEpoch,
    Reserved,
    SignatureKey,
    Welcomed,
    Withdrawn,
)
from mls.virtual.derivation_info import KeyPackageDerivation
from mls.virtual.derive import derived_signature_key, group_creation_secret, init_key, key_package_seed, leaf_key
from mls.virtual.emulation import Emulation
from mls.virtual.errors import MissingKeyError, UnknownEpochError, UnknownPackageError, WithdrawnPackageError
from mls.virtual.leaves import sealed_into
from mls.virtual.membership import device_capabilities, device_extensions
from mls.virtual.onboarding import Onboarded, onboard
from mls.virtual.operations import OperationTree, OperationType
from mls.virtual.settings import Settings, SignaturePolicy
from mls.virtual.stock import make_batch, take_in_reserved
from mls.virtual.transfer import KeyPackageDerivationInfo, NewEmulatorClientState, RetainedVcEpoch
from mls.welcome import decode_welcome
from tests.mls.clients import DEFAULT, client, environment
from tests.mls.refusals import refused
from tests.mls.virtual.household import DERIVED, SUITES, Household, offer
from tests.validation import breaks

ELSEWHERE = bytes(32)


def talking(count: int = 2, **options: Any) -> Household:
    house = Household(count, **options)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    return house


@breaks("VC-5-1")
def test_nobody_joins_the_devices_from_outside_without_leave() -> None:
    house = Household(2)
    info = front.group_info(house["device0"].emulation.group)
    env = environment("stranger")
    joined = front.join_externally(
        env,
        house._device_parameters(),
        info,
        credential=BasicCredential(b"stranger"),
        signature_private=client("stranger").signer,
        capabilities=device_capabilities(SUITES),
        leaf_extensions=device_extensions(house.settings, house.parameters),
    )
    device = house["device1"]
    refused("VC-5-1", lambda: devices.receive(device.emulation, device.env, joined.message))
    refused("VC-5-1", lambda: devices.receive(device.emulation, device.env, joined.message, admits=lambda *_: False))
    heard = devices.receive(device.emulation, device.env, joined.message, admits=lambda *_: True)
    assert heard.derives
    assert heard.emulation.newest.epoch_id != device.emulation.newest.epoch_id


@breaks("VC-6.2-3")
def test_our_leaf_does_not_go_back() -> None:
    house = talking()
    device0, device1 = house["device0"], house["device1"]
    old = device1.emulation.head.newest
    house.commit_devices("device0", derive=True)
    new = device1.emulation.head.newest
    assert old != new
    house.commit("device0", force_path=True)
    group = device1.groups[b"group"]
    head = replace(device1.emulation.head, newest=old)
    with pytest.raises(CallerError, match="newer emulation epoch"):
        vc.commit(replace(device1.emulation, head=head), group, device1.env, force_path=True)
    unaware = replace(device1.emulation, head=head, epochs=device1.emulation.epochs.discard(new))
    backward = vc.commit(unaware, group, device1.env, force_path=True, encrypt=False)
    refused(
        "VC-6.2-3",
        lambda: vc.receive(device0.emulation, device0.groups[b"group"], device0.env, backward.commit.message),
    )
    house.commit("device1", force_path=True)
    house.agree()


def created(house: Household, index: int) -> tuple[Emulation, Created]:
    """A conversation whose first leaf was made as that one of a batch."""
    device = house["device1"]
    emulation, operation = device.emulation.take(OperationType.KEY_PACKAGE)
    suite = device.emulation.group.suite
    seed = key_package_seed(suite, operation.secret, index)
    pair = leaf_key(suite, seed)
    derivation = KeyPackageDerivation(operation.leaf, operation.generation, index)
    wanted = offer()
    group = front.create(
        device.env,
        house.parameters,
        1,
        GroupId(b"crafted"),
        credential=wanted.credential,
        signature_private=house["device0"].groups[b"group"].signature_key,
        capabilities=wanted.capabilities,
        lifetime=wanted.lifetime,
        leaf_extensions=sealed_into(emulation, emulation.newest, (), pair[1], derivation),
        leaf_key=pair,
        epoch_secret=group_creation_secret(suite, seed),
    )
    return emulation, Created(front.group_info(group, external_join=False))


@breaks("VC-6.3-5")
def test_a_first_leaf_is_the_first_of_its_batch() -> None:
    house = talking()
    device = house["device0"]
    _, good = created(house, 0)
    _, bad = created(house, 1)
    refused("VC-6.3-5", lambda: vc.follow_creation(device.emulation, device.env, house.parameters, bad))
    assert vc.follow_creation(device.emulation, device.env, house.parameters, good).group.group_id == b"crafted"


@breaks("VC-6.3-6")
def test_a_signature_key_that_does_not_follow() -> None:
    house = talking(settings=DERIVED)
    device0, device1 = house["device0"], house["device1"]
    drawing = replace(device1.emulation, settings=Settings(signatures=SignaturePolicy.DISTRIBUTED))
    drawing, public = drawing.drawn_key(device1.env, 1)
    new = front.NewLeaf(signature_private=drawing.keys[public].private)
    crafted = vc.commit(drawing, device1.groups[b"group"], device1.env, new=new)
    refused(
        "VC-6.3-6",
        lambda: vc.receive(device0.emulation, device0.groups[b"group"], device0.env, crafted.commit.message),
    )
    house.commit("device1", force_path=True)
    house.agree()


@breaks("VC-6.4-17")
@pytest.mark.parametrize(
    "wrong", [{"leaf_count": 3}, {"leaf_count": 512}, {"cipher_suite": 0x5A5A}, {"epoch_id": b"short"}]
)
def test_a_lost_epoch_of_an_impossible_kind(wrong: dict[str, Any]) -> None:
    house = Household(2)
    epoch = house["device0"].emulation.newest
    good = LostEpoch(
        cipher_suite=1,
        epoch_id=ELSEWHERE,
        number=epoch.number,
        leaf_count=2,
        encryption_key=epoch.encryption_key,
        generation_id=epoch.generation_id,
        reuse_guard=epoch.reuse_guard,
    )
    refused("VC-6.4-17", lambda: house.announce("device0", [replace(good, **wrong)]))
    house = Household(2)
    house.announce("device0", [good])
    lost = house["device1"].emulation.epoch(ELSEWHERE)
    assert lost.operations == OperationTree.gone(2)
    with pytest.raises(StaleError):
        lost.operation_at(LeafIndex(0), OperationType.LEAF_NODE, Generation(0), b"group")
    with pytest.raises(CallerError):
        replace(lost, own_leaf=LeafIndex(0)).next_operation(OperationType.LEAF_NODE, b"group")


@breaks("VC-6.4.1-4")
def test_an_upload_in_anothers_name() -> None:
    house = Household(3)
    batch = make_batch(house["device0"].emulation, house["device0"].env, [offer()])
    refused("VC-6.4.1-4", lambda: house.announce("device1", [batch.announcement]))
    house = Household(3)
    house.announce("device0", [batch.announcement])


@breaks("VC-6.4.1-5")
def test_an_upload_of_what_was_uploaded() -> None:
    house = Household(2)
    first = house.upload("device0", offer())
    device = house["device0"]
    second = make_batch(device.emulation, device.env, [offer()])
    reference = first.announcement.upload.key_packages[0].reference
    infos = (replace(second.announcement.upload.key_packages[0], reference=reference),)
    upload = replace(second.announcement.upload, key_packages=infos)
    stock = house["device1"].emulation.stock
    house.announce("device0", [first.announcement])  # told again
    assert house["device1"].emulation.stock == stock
    refused("VC-6.4.1-5", lambda: house.announce("device0", [replace(second.announcement, upload=upload)]))


def welcomed(house: Household, *, index: int = 0, info: str = "its own") -> bytes:
    """A Welcome to the first KeyPackage of a batch, whose leaf says that it is another one, or something else."""
    device = house["device0"]
    elsewhere = device.emulation.newest
    if info == "another epoch's":
        house.commit_devices("device0", derive=True)
    emulation, operation = device.emulation.take(OperationType.KEY_PACKAGE)
    suite = emulation.group.suite
    seed = key_package_seed(suite, operation.secret, 0)
    derivation = KeyPackageDerivation(operation.leaf, operation.generation, index)
    pair = leaf_key(suite, seed)
    epoch = elsewhere if info == "another epoch's" else emulation.newest
    wanted = offer()
    package = create_key_package(
        device.env,
        1,
        credential=wanted.credential,
        signature_private=house["device0"].groups[b"group"].signature_key,
        capabilities=wanted.capabilities,
        lifetime=wanted.lifetime,
        leaf_extensions=() if info == "none" else sealed_into(emulation, epoch, (), pair[1], derivation),
        init_key=init_key(suite, seed),
        leaf_key=pair,
    )
    batch = make_batch(device.emulation, device.env, [offer()])
    named = replace(batch.announcement.upload.key_packages[0], reference=package.key_package.reference(suite))
    upload = replace(batch.announcement.upload, key_packages=(named,))
    device.emulation = emulation
    house.announce("device0", [replace(batch.announcement, upload=upload, keys=())])
    anna = house.person("anna")
    group = anna.create(house.env, b"other")
    sent = front.commit(group, house.env, proposals=[Add(package.key_package)])
    assert sent.welcome is not None
    return sent.welcome


@breaks("VC-6.4.1-6")
def test_a_leaf_that_was_not_made_like_its_key_package() -> None:
    house = talking()
    refused("VC-6.4.1-6", lambda: house.follow("device1", Welcomed(welcomed(house, index=1))))
    house = talking()
    house.follow("device1", Welcomed(welcomed(house)))
    assert b"other" in house["device1"].groups


@breaks("VC-6.4.1-6")
@pytest.mark.parametrize("info", ["none", "another epoch's"])
def test_a_leaf_that_says_nothing_of_its_key_package(info: str) -> None:
    house = talking()
    refused("VC-6.4.1-6", lambda: house.follow("device1", Welcomed(welcomed(house, info=info))))


@breaks("VC-6.4.1-6")
@pytest.mark.parametrize("wrong", ["an info", "another signature key", None])
def test_a_leaf_that_did_not_come_of_the_reserved_seed(wrong: str | None) -> None:
    house = talking()
    device = house["device1"]
    suite = device.env.suite(1)
    seed = KeyPackageSeed(b"s" * 32)
    pair = leaf_key(suite, seed)
    wanted = offer()
    derivation = KeyPackageDerivation(LeafIndex(0), Generation(0), 0)
    package = create_key_package(
        device.env,
        1,
        credential=wanted.credential,
        signature_private=client("other").signer if wrong == "another signature key" else signer_of_seed(suite, seed),
        capabilities=wanted.capabilities,
        lifetime=wanted.lifetime,
        leaf_extensions=()
        if wrong != "an info"
        else sealed_into(device.emulation, device.emulation.newest, (), pair[1], derivation),
        init_key=init_key(suite, seed),
        leaf_key=pair,
    )
    told = Reserved(reference=package.key_package.reference(suite), cipher_suite=1, seed=seed, not_after=0)
    device.emulation = take_in_reserved(device.emulation, told)
    anna = house.person("anna")
    sent = front.commit(anna.create(house.env, b"other"), house.env, proposals=[Add(package.key_package)])
    assert sent.welcome is not None
    welcome = Welcomed(sent.welcome)
    if wrong is None:
        house.follow("device1", welcome)
    else:
        refused("VC-6.4.1-6", lambda: house.follow("device1", welcome))


def signer_of_seed(suite: Suite, seed: KeyPackageSeed) -> SignaturePrivateKey:
    return derived_signature_key(suite, seed)[0]


def told(house: Household, state: NewEmulatorClientState) -> Onboarded:
    """A new device that is given this state."""
    device = house["device0"]
    package = house.package("newcomer")
    dictionary = dictionary_extension({house.settings.numbers.virtual_clients: state.encode()})
    made = devices.commit(
        device.emulation,
        environment("repeatable"),
        proposals=[Add(package.key_package)],
        group_info_extensions=(dictionary,),
    )
    assert made.commit.welcome is not None
    own = house._device_parameters()
    return onboard(house.env, own, house.parameters, made.commit.welcome, [package], settings=house.settings)


@breaks("VC-5.1-40")
def test_a_key_package_without_its_seed() -> None:
    house = Household(1)
    without = KeyPackageDerivationInfo(
        reference=KeyPackageRef(b"reference"),
        cipher_suite=1,
        epoch_id=b"epoch",
        leaf=LeafIndex(0),
        generation=Generation(0),
        index=0,
        extensions=(),
    )
    refused("VC-5.1-40", lambda: told(house, NewEmulatorClientState(key_packages=(without,))))
    assert told(house, NewEmulatorClientState()).emulation.stock == PMap()


@breaks("VC-5.1-41")
def test_the_present_epoch_is_no_past_one() -> None:
    house = Household(1)
    present = told(house, NewEmulatorClientState()).emulation.newest
    past = house["device0"].emulation.newest
    new = told(house, NewEmulatorClientState(epochs=(RetainedVcEpoch.of(past),))).emulation
    assert new.epoch(past.epoch_id).own_leaf is None
    refused("VC-5.1-41", lambda: told(house, NewEmulatorClientState(epochs=(RetainedVcEpoch.of(present),))))


# What is only not there yet


def test_a_leaf_of_an_emulation_epoch_to_come() -> None:
    house = talking()
    device0, device1 = house["device0"], house["device1"]
    made = devices.commit(device0.emulation, device0.env, derive=True)
    device0.emulation = devices.adopt(made.emulation, made)
    acted = vc.commit(device0.emulation, device0.groups[b"group"], device0.env, force_path=True)
    group = device1.groups[b"group"]
    with pytest.raises(UnknownEpochError):
        vc.receive(device1.emulation, group, device1.env, acted.commit.message)
    device1.emulation = devices.receive(device1.emulation, device1.env, made.commit.message).emulation
    got = vc.receive(device1.emulation, group, device1.env, acted.commit.message)
    assert got.event.group.authenticator == acted.commit.group.authenticator


def test_a_signature_key_that_is_told_later() -> None:
    house = talking()
    device0, device1 = house["device0"], house["device1"]
    device0.emulation, public = device0.emulation.drawn_key(device0.env, 1)
    private = device0.emulation.keys[public].private
    acted = vc.commit(
        device0.emulation,
        device0.groups[b"group"],
        device0.env,
        new=front.NewLeaf(signature_private=private),
    )
    device0.emulation = acted.emulation
    group = device1.groups[b"group"]
    with pytest.raises(MissingKeyError) as missing:
        vc.receive(device1.emulation, group, device1.env, acted.commit.message)
    assert missing.value.public_key == public
    newest = device0.emulation.newest
    assert missing.value.maker == (newest.epoch_id, newest.own_leaf)
    house.announce("device0", [Keys((SignatureKey(cipher_suite=1, public=public, private=private),))])
    got = vc.receive(device1.emulation, group, device1.env, acted.commit.message)
    assert got.event.group.authenticator == acted.commit.group.authenticator
    strange = client("strange").signer
    with pytest.raises(CallerError, match="announce it first"):
        vc.commit(
            device0.emulation,
            device0.groups[b"group"],
            device0.env,
            new=front.NewLeaf(signature_private=strange),
        )


def test_a_welcome_before_its_upload() -> None:
    house = talking()
    device0 = house["device0"]
    batch = make_batch(device0.emulation, device0.env, [offer()])
    device0.emulation = batch.emulation
    with pytest.raises(CallerError, match="send the announcement first"):
        batch.released(announced=False)
    anna = house.person("anna")
    package = batch.released(announced=True)[0]
    sent = front.commit(anna.create(house.env, b"other"), house.env, proposals=[Add(package)])
    assert sent.welcome is not None
    with pytest.raises(UnknownPackageError):
        house.follow("device1", Welcomed(sent.welcome))
    house.announce("device0", [batch.announcement])
    house.follow("device1", Welcomed(sent.welcome))
    house.follow("device0", Welcomed(sent.welcome))
    device1 = house["device1"]
    welcome = sent.welcome
    again = vc.join(device1.emulation, device1.env, house.parameters, welcome)
    assert again.again
    refused(
        "VAL-12.4.3.1-7",
        lambda: vc.join(device1.emulation, device1.env, house.parameters, welcome, known_groups=device1.groups),
    )
    house.announce("device0", [Withdrawn((again.reference,))])
    for name in house.names:
        with pytest.raises(UnknownPackageError):
            house.follow(name, Welcomed(sent.welcome))
    house.announce("device0", [batch.announcement])
    assert not house["device1"].emulation.stock


def test_what_a_failed_act_used_up() -> None:
    """The path is made, and only then it shows that the commit cannot be: its operation is gone all the same."""
    house = talking()
    device = house["device0"]
    group = device.groups[b"group"]
    wrong = front.NewLeaf(credential=BasicCredential(b"somebody else"))
    with pytest.raises(PeerError) as failed:
        vc.commit(device.emulation, group, device.env, new=wrong)
    after = failed.value.consumed
    assert isinstance(after, Emulation)
    epoch_id = device.emulation.head.newest
    leaf = device.emulation.group.own_leaf
    fresh, operation = device.emulation.take(OperationType.LEAF_NODE, b"group")
    next_, following = after.take(OperationType.LEAF_NODE, b"group")
    assert (operation.generation, following.generation) == (0, 1)
    assert after.epoch(epoch_id).operations != device.emulation.epoch(epoch_id).operations
    assert fresh.newest.own_leaf == next_.newest.own_leaf == leaf
    before = device.emulation
    with pytest.raises(CallerError) as early:
        vc.commit(before, group, device.env, references=[b"none such"])  # type: ignore[list-item]
    assert early.value.consumed is None


UNSUPPORTED = 0x5A5A


def test_conversations_and_key_packages_of_a_suite_that_we_lack() -> None:
    """A sibling may have it. Whatever comes of that is no fault of the local program."""
    house = talking()
    device = house["device0"]
    info = front.group_info(device.groups[b"group"])
    version_and_suite = b"\x00\x01\x00\x01\x05group"
    assert info.count(version_and_suite) == 1
    other = info.replace(version_and_suite, b"\x00\x01\x5a\x5a\x05group")
    drawn, public = device.emulation.drawn_key(device.env, 1)
    told = JoinedExternally(group_info=other, commit=b"")
    refused("VAL-12.4.3.1-8", lambda: vc.follow_creation(drawn, device.env, house.parameters, Created(other)))
    refused("VAL-12.4.3.1-8", lambda: vc.follow_external(drawn, device.env, house.parameters, told))
    refused(
        "VAL-12.4.3.1-8",
        lambda: vc.join_externally(
            drawn,
            device.env,
            house.parameters,
            other,
            credential=offer().credential,
            capabilities=offer().capabilities,
            signature_private=drawn.keys[public].private,
        ),
    )
    sent = front.commit(
        house.person("ben").create(house.env),
        house.env,
        proposals=[Add(house.person("carl").package(house.env).key_package)],
    )
    assert sent.welcome is not None
    (entry,) = decode_welcome(sent.welcome).secrets
    reserved = Reserved(
        reference=KeyPackageRef(entry.new_member), cipher_suite=UNSUPPORTED, seed=KeyPackageSeed(bytes(32)), not_after=0
    )
    welcome = sent.welcome[:4] + UNSUPPORTED.to_bytes(2, "big") + sent.welcome[6:]
    knowing = take_in_reserved(device.emulation, reserved)
    with pytest.raises(UnknownPackageError):
        vc.join(knowing, device.env, house.parameters, welcome)


def test_what_would_only_be_noticed_by_others() -> None:
    """A leaf without room for what it has to say, and parameters that lose siblings' messages."""
    house = talking()
    device = house["device0"]
    poor = offer(capabilities=default_capabilities())
    with pytest.raises(CallerError, match="client_capabilities"):
        make_batch(device.emulation, device.env, [poor])
    with pytest.raises(CallerError, match="client_capabilities"):
        vc.create(device.emulation, device.env, house.parameters, GroupId(b"poor"), poor)
    group = device.groups[b"group"]
    new = front.NewLeaf(capabilities=default_capabilities())
    with pytest.raises(CallerError, match="client_capabilities"):
        vc.commit(device.emulation, group, device.env, new=new)
    with pytest.raises(CallerError, match=r"Settings\.shared"):
        vc.receive(device.emulation, replace(group, parameters=DEFAULT), device.env, b"")
    withdrawn = welcomed(house)
    second = house["device1"]
    second.emulation = second.emulation.without(second.emulation.stock)
    with pytest.raises(WithdrawnPackageError):
        house.follow("device1", Welcomed(withdrawn))
