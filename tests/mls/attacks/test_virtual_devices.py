"""Attacks on a virtual client by one of its devices: what a liar, or a broken one, can lock the others out of.

Every device knows every secret of the virtual client, so there is nothing to steal from the others. What they can still
lose is each other: a device that takes a lie for the truth cannot follow what an honest one does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.components.dictionary import dictionary_extension
from mls.errors import CallerError, LimitError, MlsError, PeerError
from mls.proposals import Add, Remove
from mls.registries import Generation, KeyPackageRef, LeafIndex
from mls.secrets import (
    EpochEncryptionKey,
    GenerationIdSecret,
    KeyPackageSeed,
    OperationSecret,
    ReuseGuardSecret,
    SignaturePrivateKey,
)
from mls.virtual import client as vc, devices, stored
from mls.virtual.actions import KeyPackageInfo, KeyPackageUpload
from mls.virtual.announcements import Keys, LostEpoch, Operations, Reserved, SignatureKey, Uploaded, Withdrawn
from mls.virtual.derivation_info import UpdateDerivation
from mls.virtual.derive import derived_signature_key, target_operation_secret
from mls.virtual.emulation import Emulation
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.leaves import sealed_into
from mls.virtual.onboarding import onboard
from mls.virtual.operations import Operation, OperationType
from mls.virtual.settings import Settings
from mls.virtual.stock import make_batch
from tests.mls.refusals import refused
from tests.mls.virtual.household import DERIVED, Household, offer
from tests.mls.virtual.test_onboarding import admitted
from tests.validation import breaks

DID_NOT_RAISE = pytest.fail.Exception
HONEST, LIAR, VICTIM = "device0", "device1", "device2"


def house(**options: Any) -> Household:
    home = Household(3, **options)
    for name in home.names:
        for _ in range(16):
            home[name].env.provider.random(1)  # past the draws that its KeyPackage was made of
    return home


def lie(home: Household, *announcements: Any, to: tuple[str, ...] = (HONEST, VICTIM)) -> None:
    """Announcements of the liar's, as far as they are believed."""
    for announcement in announcements:
        liar = home[LIAR]
        told = devices.announce(liar.emulation, liar.env, announcement)
        liar.emulation = told.emulation
        for name in to:
            device = home[name]
            device.emulation = devices.receive(device.emulation, device.env, told.message).emulation


def lost(home: Household, **changes: Any) -> LostEpoch:
    """What a device says of an epoch that nobody else was in."""
    size = home[LIAR].emulation.newest.suite.hash_size
    plain = LostEpoch(
        cipher_suite=1,
        epoch_id=b"e" * size,
        number=home[LIAR].emulation.group.epoch,
        leaf_count=2,
        encryption_key=EpochEncryptionKey(b"k" * size),
        generation_id=GenerationIdSecret(b"g" * size),
        reuse_guard=ReuseGuardSecret(b"r" * size),
    )
    return replace(plain, **changes)


# Epochs that lost


def restarted(home: Household, name: str) -> Emulation:
    device = home[name]
    return stored.decode(stored.encode(device.emulation), device.env.provider, device.emulation.group)


def test_an_epoch_that_lost_survives_a_restart() -> None:
    home = house()
    lie(home, lost(home))
    assert set(restarted(home, VICTIM).epochs) == set(home[VICTIM].emulation.epochs)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch_id": b"short"},
        {"encryption_key": EpochEncryptionKey(b"short")},
        {"generation_id": GenerationIdSecret(b"short")},
        {"reuse_guard": ReuseGuardSecret(b"short")},
    ],
)
def test_a_lie_does_not_keep_a_device_from_starting_again(changes: dict[str, Any]) -> None:
    """One announcement, and no other device ever reads its own storage again."""
    home = house()
    try:
        lie(home, lost(home, **changes))
    except PeerError:
        return
    restarted(home, VICTIM)


def test_an_epoch_cannot_be_declared_lost_before_it_begins() -> None:
    """The liar makes the commit first, and so knows the name of the epoch that it begins."""
    home = house()
    liar = home[LIAR]
    made = devices.commit(liar.emulation, liar.env, derive=True)
    _, coming = DerivationEpoch.of(made.commit.group)
    lie(home, lost(home, epoch_id=coming.epoch_id))
    for name in (HONEST, VICTIM):
        device = home[name]
        device.emulation = devices.receive(device.emulation, device.env, made.commit.message).emulation
        assert device.emulation.newest.own_leaf == device.emulation.group.own_leaf


def test_epochs_that_lost_are_many_until_somebody_prunes() -> None:
    """A device that fills the table cannot keep itself from being removed by it."""
    home = house(settings=Settings(max_epochs=8))
    with pytest.raises(LimitError):
        lie(home, *[lost(home, epoch_id=bytes([number]) * 32) for number in range(8)], to=(HONEST,))
    honest = home[HONEST]
    made = devices.commit(honest.emulation, honest.env, proposals=[Remove(home[LIAR].emulation.group.own_leaf)])
    honest.emulation = devices.adopt(made.emulation, made)
    assert honest.emulation.newest.number == made.commit.group.epoch


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="whoever speaks first of an epoch that lost is believed, and nobody is heard after that",
)
def test_a_false_epoch_does_not_keep_out_the_true_one() -> None:
    """With the false one, no leaf of that epoch opens, and no commit that brought one is followed."""
    home = house()
    true = home[HONEST].emulation.newest
    home.add_device("device3")
    told = LostEpoch(
        cipher_suite=1,
        epoch_id=true.epoch_id,
        number=true.number,
        leaf_count=true.leaf_count,
        encryption_key=true.encryption_key,
        generation_id=true.generation_id,
        reuse_guard=true.reuse_guard,
    )
    lie(home, replace(told, encryption_key=EpochEncryptionKey(b"k" * 32)), to=(HONEST, VICTIM, "device3"))
    home.announce(HONEST, [told])
    assert home["device3"].emulation.epoch(true.epoch_id).encryption_key == true.encryption_key


def test_a_device_can_be_added_after_an_epoch_was_lost() -> None:
    """It has no tree of operations left, and the draft's state wants one. A lie is handed on like the truth."""
    home = house()
    lie(home, lost(home))
    admitted(home, HONEST, "device3")
    home.agree()
    late, honest = home["device3"].emulation, home[HONEST].emulation
    assert {*late.epochs} == {*honest.epochs}
    assert late.epochs[b"e" * 32].epoch.encode() == honest.epochs[b"e" * 32].epoch.encode()


def test_a_device_too_many_is_refused_before_anybody_is_told() -> None:
    """The commit stands in the emulation group, and no device can go on, the one that made it included."""
    home = Household(2, settings=Settings(max_leaves=2))
    first = home[HONEST]
    try:
        made = devices.commit(first.emulation, first.env, proposals=[Add(home.package("device2").key_package)])
    except CallerError:
        return
    devices.adopt(made.emulation, made)


@breaks("VC-5-5")
def test_a_device_too_many_is_refused_by_those_who_hear_of_it() -> None:
    """Whoever made the commit had other settings, or none."""
    home = Household(2, settings=Settings(max_leaves=2))
    first, second = home[HONEST], home[LIAR]
    package = home.package("device2")
    made = front.commit(second.emulation.group, second.env, proposals=[Add(package.key_package)])
    refused("VC-5-5", lambda: devices.receive(first.emulation, first.env, made.message))
    assert made.welcome is not None
    welcome = made.welcome
    own, plain = home._device_parameters(), home.parameters
    refused("VC-5-5", lambda: onboard(first.env, own, plain, welcome, [package], settings=home.settings))
    home.commit_devices(LIAR, derive=True)
    home.agree()


# Operations


def planted(home: Household, leaf: str, kind: OperationType, context: bytes) -> Operation:
    """What the liar says is the next operation of another device."""
    maker = home[leaf].emulation
    genuine, _ = maker.newest.next_operation(kind, context)
    return replace(genuine, secret=OperationSecret(b"x" * 32))


def test_an_operation_cannot_be_put_in_the_place_of_an_honest_one() -> None:
    """The victim can follow no commit by which an honest device would replace the leaf."""
    home = house()
    home.create(HONEST)
    home.invite(HONEST, b"group", "anna")
    lie(home, Operations((planted(home, HONEST, OperationType.LEAF_NODE, b"group"),)), to=(VICTIM,))
    home.commit(HONEST, force_path=True)
    home.agree()


def test_the_seeds_of_an_honest_batch_cannot_be_exchanged() -> None:
    home = house()
    lie(home, Operations((planted(home, HONEST, OperationType.KEY_PACKAGE, b""),)), to=(VICTIM,))
    (package,) = home.upload(HONEST).released(announced=True)
    anna = home.person("anna")
    sent = front.commit(anna.create(home.env), home.env, proposals=[Add(package)])
    victim = home[VICTIM]
    assert sent.welcome is not None
    assert vc.join(victim.emulation, victim.env, home.parameters, sent.welcome).group.epoch == 1


def test_an_update_that_does_not_follow_from_what_it_names_takes_nothing() -> None:
    """Its leaf has another key than the operation gives, which the liar says was an honest device's next."""
    home = house()
    for group_id in (b"group", b"other"):
        home.create(HONEST, group_id)
        home.invite(HONEST, group_id, "anna")
    liar, victim = home[LIAR], home[VICTIM]
    epoch, group = liar.emulation.newest, liar.groups[b"group"]
    genuine, _ = home[HONEST].emulation.newest.next_operation(OperationType.LEAF_NODE, b"group")
    pair = group.suite.generate_key_pair(liar.env.provider.random)
    derivation = UpdateDerivation(genuine.leaf, genuine.generation)
    extensions = sealed_into(liar.emulation, epoch, group.own_leaf_node.extensions, pair[1], derivation)
    _, message, _ = front.propose_update(
        group, liar.env, leaf=front.NewLeaf(extensions=extensions), leaf_key=pair, encrypt=False
    )
    got = vc.receive(victim.emulation, victim.groups[b"group"], victim.env, message)
    assert got.ours
    assert got.emulation is victim.emulation
    home.spread(b"group", message, by=LIAR)
    acted = home.commit(HONEST, b"other", force_path=True)
    assert victim.groups[b"other"].authenticator == acted.commit.group.authenticator


def test_an_operation_that_is_kept_is_not_replaced() -> None:
    home = house()
    home.create(HONEST)
    home.commit(HONEST, force_path=True)
    victim = home[VICTIM]
    (name,) = victim.emulation.operations
    before = victim.emulation.operations[name].secret
    lie(home, Operations((replace(victim.emulation.operations[name], secret=OperationSecret(b"x" * 32)),)))
    assert victim.emulation.operations[name].secret == before


def test_operations_fill_their_table_and_no_more() -> None:
    home = house(settings=Settings(max_operations=4))
    epoch_id = b"e" * 32
    many = [
        Operation(
            epoch_id=epoch_id,
            leaf=LeafIndex(0),
            generation=Generation(number),
            type=OperationType.LEAF_NODE,
            context=b"",
            secret=OperationSecret(b"x" * 32),
        )
        for number in range(3)
    ]
    with pytest.raises(LimitError):
        lie(home, Operations(tuple(many)))
    lie(home, Operations(tuple(many[:2])))
    home.create(HONEST)
    home.commit(HONEST, force_path=True)  # what was told leaves room for what is derived
    home.agree()
    emulation = home[HONEST].emulation
    emulation = emulation.pruned(home[HONEST].groups.values(), since=emulation.head.newest, drop=[epoch_id])
    assert all(key.epoch_id != epoch_id for key in emulation.operations)


# Uploads


def claim(home: Household, by: str, *references: KeyPackageRef) -> Uploaded:
    """An upload by a device that names KeyPackages it did not make."""
    operation, _ = home[by].emulation.newest.next_operation(OperationType.KEY_PACKAGE)
    infos = [
        KeyPackageInfo(reference=reference, cipher_suite=1, index=index) for index, reference in enumerate(references)
    ]
    upload = KeyPackageUpload(
        epoch_id=operation.epoch_id,
        leaf=operation.leaf,
        generation=operation.generation,
        key_packages=tuple(infos),
    )
    return Uploaded(upload=upload, not_after=(0,) * len(infos))


def test_who_made_a_key_package_is_not_robbed_of_it() -> None:
    home = house()
    batch = home.upload(HONEST)
    reference = batch.announcement.upload.key_packages[0].reference
    with pytest.raises(PeerError, match=r"VC-6\.4\.1-5"):
        lie(home, claim(home, LIAR, reference))


@pytest.mark.xfail(
    strict=True,
    raises=PeerError,
    reason="whoever names a KeyPackage first has it, and its Welcome does not open for those who heard that first",
)
@pytest.mark.parametrize("how", ["upload", "reserved"])
def test_a_key_package_cannot_be_claimed_before_its_upload_arrives(how: str) -> None:
    """The liar hears of the batch before the victim does, which is how it goes in a mesh."""
    home = house()
    honest, victim, liar = home[HONEST], home[VICTIM], home[LIAR]
    batch = make_batch(honest.emulation, honest.env, [offer(), offer()])
    told = devices.announce(batch.emulation, honest.env, batch.announcement)
    reference = batch.announcement.upload.key_packages[1].reference
    if how == "upload":
        lie(home, claim(home, LIAR, reference), to=(VICTIM,))
    else:
        reserved = Reserved(reference=reference, cipher_suite=1, seed=KeyPackageSeed(b"s" * 32), not_after=0)
        message = devices.tell(liar.emulation, liar.env, victim.emulation.group.own_leaf, reserved)
        victim.emulation = devices.receive(victim.emulation, victim.env, message).emulation
    victim.emulation = devices.receive(victim.emulation, victim.env, told.message).emulation
    anna = home.person("anna")
    for package in batch.released(announced=True):
        sent = front.commit(anna.create(home.env, package.init_key), home.env, proposals=[Add(package)])
        assert sent.welcome is not None
        vc.join(victim.emulation, victim.env, home.parameters, sent.welcome)


def test_an_upload_in_a_commit_does_not_split_the_devices() -> None:
    """It is judged by what each device has in stock. Who refuses a commit that the others follow is out for good."""
    home = house()
    liar, victim = home[LIAR], home[VICTIM]
    reference = KeyPackageRef(b"r" * 32)
    reserved = Reserved(reference=reference, cipher_suite=1, seed=KeyPackageSeed(b"s" * 32), not_after=0)
    message = devices.tell(liar.emulation, liar.env, victim.emulation.group.own_leaf, reserved)
    victim.emulation = devices.receive(victim.emulation, victim.env, message).emulation
    home.commit_devices(LIAR, uploads=[claim(home, LIAR, reference).upload])
    home.agree()


def test_an_upload_that_was_announced_may_come_again_with_a_commit() -> None:
    """Nobody lies here: the device makes sure that everybody has the upload."""
    home = house()
    batch = home.upload(HONEST)
    (package,) = batch.released(announced=True)
    anna = home.person("anna")
    sent = front.commit(anna.create(home.env), home.env, proposals=[Add(package)])
    assert sent.welcome is not None
    victim = home[VICTIM]
    victim.emulation = vc.join(victim.emulation, victim.env, home.parameters, sent.welcome).emulation
    home.commit_devices(HONEST, uploads=[batch.announcement.upload])
    home.agree()


def test_an_upload_may_be_heard_twice() -> None:
    home = house()
    batch = home.upload(HONEST, offer(), offer())
    package, _ = batch.released(announced=True)
    anna = home.person("anna")
    sent = front.commit(anna.create(home.env), home.env, proposals=[Add(package)])
    assert sent.welcome is not None
    victim = home[VICTIM]
    victim.emulation = vc.join(victim.emulation, victim.env, home.parameters, sent.welcome).emulation
    home.announce(HONEST, [batch.announcement])


@pytest.mark.xfail(
    strict=True,
    raises=DID_NOT_RAISE,
    reason="an upload's leaf is compared with the sender's in the present epoch, not in the one that it names",
)
def test_who_sits_where_another_device_sat_makes_no_key_packages_of_that_time() -> None:
    """All that is derived in that epoch, the device that was removed can derive too."""
    home = house()
    old = home[VICTIM].emulation.newest
    home.remove_device(VICTIM, by=HONEST)
    home.add_device("device3")
    late, honest = home["device3"], home[HONEST]
    assert late.emulation.group.own_leaf == 2
    upload = KeyPackageUpload(
        epoch_id=old.epoch_id,
        leaf=LeafIndex(2),
        generation=Generation(0),
        key_packages=(KeyPackageInfo(reference=KeyPackageRef(b"r" * 32), cipher_suite=1, index=0),),
    )
    told = devices.announce(late.emulation, late.env, Uploaded(upload=upload, not_after=(0,)))
    with pytest.raises(MlsError):
        devices.receive(honest.emulation, honest.env, told.message)


def test_an_upload_does_not_move_the_ratchets_of_others() -> None:
    home = house()
    said = claim(home, HONEST, KeyPackageRef(b"r" * 32))
    with pytest.raises(PeerError, match=r"VC-6\.4\.1-4"):
        lie(home, said)


def test_an_upload_cannot_jump_far() -> None:
    home = house()
    said = claim(home, LIAR, KeyPackageRef(b"r" * 32))
    for ahead in (1025, (1 << 32) - 1):
        with pytest.raises(LimitError, match="too far ahead"):
            lie(home, replace(said, upload=replace(said.upload, generation=Generation(ahead))))


def test_extensions_of_an_upload_are_read_when_it_comes() -> None:
    home = house()
    liar, victim = home[LIAR], home[VICTIM]
    batch = make_batch(liar.emulation, liar.env, [offer()])
    told = batch.announcement
    marked = dictionary_extension({home.settings.numbers.last_resort_key_package: b"with data"})
    infos = (replace(told.upload.key_packages[0], extensions=(marked,)),)
    try:
        lie(home, replace(told, upload=replace(told.upload, key_packages=infos)))
    except PeerError:
        return
    (package,) = batch.released(announced=True)
    sent = front.commit(home.person("anna").create(home.env), home.env, proposals=[Add(package)])
    assert sent.welcome is not None
    vc.join(victim.emulation, victim.env, home.parameters, sent.welcome)


# Keys


def key_pairs(home: Household, count: int) -> Keys:
    scheme = home[LIAR].emulation.newest.suite.scheme
    pairs = [scheme.generate(home.env.provider.random) for _ in range(count)]
    return Keys(tuple([SignatureKey(cipher_suite=1, public=public, private=private) for private, public in pairs]))


def test_the_key_ring_can_be_emptied_of_what_a_removed_device_put_there() -> None:
    home = house(settings=Settings(max_keys=4))
    lie(home, key_pairs(home, 4))
    with pytest.raises(LimitError):
        home.create(HONEST)
    home.remove_device(LIAR, by=HONEST)
    for name in home.names:
        emulation = home[name].emulation
        unused = [public for public, key in emulation.keys.items() if not key.used]
        home[name].emulation = emulation.without_keys(unused)
    home.create(HONEST)


def test_an_announced_key_does_not_replace_another() -> None:
    home = house()
    told = key_pairs(home, 1)
    lie(home, told)
    forged = replace(told.keys[0], private=SignaturePrivateKey(b"x" * 32))
    with pytest.raises(PeerError, match=r"VC-6\.4-15"):
        lie(home, Keys((forged,)))
    lie(home, Keys((replace(forged, cipher_suite=0x7777),)))
    assert home[VICTIM].emulation.keys[forged.public].private == told.keys[0].private


def ahead(home: Household, by: str, group_id: bytes) -> bytes:
    """The signature key that a device's next leaf will have, as every device can compute it."""
    operation, _ = home[by].emulation.newest.next_operation(OperationType.LEAF_NODE, group_id)
    suite = home[by].groups[group_id].suite
    return derived_signature_key(suite, target_operation_secret(suite, operation.secret, group_id))[1]


@pytest.mark.parametrize("private", [b"x" * 32, b"short"])
def test_a_false_private_key_cannot_be_planted_under_a_suite_that_nobody_has(private: bytes) -> None:
    home = house(settings=DERIVED)
    home.create(HONEST)
    home.invite(HONEST, b"group", "anna")
    public = ahead(home, HONEST, b"group")
    false = SignatureKey(cipher_suite=0x7777, public=public, private=SignaturePrivateKey(private))
    lie(home, Keys((false,)), to=(VICTIM,))
    home.commit(HONEST, force_path=True)
    home.agree()


# What a device can do that no rule of this kind prevents


def test_a_device_can_withdraw_what_others_published() -> None:
    """Everybody hears it, and nobody can take up a Welcome to it. The emulation group's tree says who did."""
    home = house()
    batch = home.upload(HONEST)
    lie(home, Withdrawn(tuple([info.reference for info in batch.announcement.upload.key_packages])))
    assert not home[HONEST].emulation.stock
    assert not home[VICTIM].emulation.stock


def test_a_device_can_push_another_device_s_ratchet_forward() -> None:
    """A leaf says which device made it. Siblings follow, and that device too, past what was used in its name."""
    home = house()
    home.create(HONEST)
    home.invite(HONEST, b"group", "anna")
    liar = home[LIAR]
    honest_epoch = home[HONEST].emulation.newest
    posing = replace(liar.emulation.newest, own_leaf=honest_epoch.own_leaf)
    liar.emulation = liar.emulation.with_epoch(posing)
    acted = home.commit(LIAR, force_path=True)
    home.agree()
    assert acted.commit.group.epoch == home[HONEST].groups[b"group"].epoch
    home.commit(HONEST, force_path=True)
    home.agree()
