"""Attacks on a virtual client by time: old disks, values that were kept too long, what was thrown away too soon.

An operation, a message key or a KeyPackage is good once, and no device asks another before it takes one. So everything
hangs on what each device stores, and on what it may drop.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from mls import group as front
from mls.commit import NewLeaf
from mls.components.last_resort import mark
from mls.errors import CallerError, MissingPskError, MlsError, StaleError
from mls.persistent import PMap
from mls.proposals import Add, Remove
from mls.psk import ExternalPskId
from mls.secrets import Secret
from mls.virtual import client as vc, devices, stored
from mls.virtual.announcements import Keys, SignatureKey, Withdrawn
from mls.virtual.derivation_info import derivation_info_of
from mls.virtual.emulation import Emulation, Head
from mls.virtual.errors import UnknownPackageError
from mls.virtual.stock import make_batch
from tests.mls.virtual.household import DERIVED, Device, Household, offer

FIRST, SECOND, THIRD = "device0", "device1", "device2"
A, B = b"group", b"other"


def rejoined(home: Household, device: Device, emulation: Emulation, group_id: bytes = A, **options: Any) -> vc.Entered:
    """A device brings the virtual client back into a conversation from outside."""
    plain = offer()
    return vc.join_externally(
        emulation,
        device.env,
        home.parameters,
        front.group_info(home.others[group_id]["anna"]),
        credential=plain.credential,
        capabilities=plain.capabilities,
        remove=device.groups[group_id].own_leaf,
        **options,
    )


def info_of(home: Household, entered: vc.Entered) -> tuple[bytes, bytes]:
    """What everybody sees of a commit from outside: the leaf's key, and what is sealed to siblings."""
    leaf = entered.joined.group.own_leaf_node
    info = derivation_info_of(leaf.extensions, home.settings.numbers)
    assert info is not None
    return leaf.encryption_key, info.ciphertext


def talking(**options: Any) -> Household:
    home = Household(2, **options)
    home.create(FIRST)
    home.invite(FIRST, A, "anna")
    return home


# One operation, once


def test_what_was_taken_by_a_call_that_failed_is_told() -> None:
    """Every act that takes an operation and fails says so, and the next try takes another."""
    home = talking(settings=DERIVED)
    device = home[FIRST]
    unknown = ExternalPskId(b"nobody has it", b"n" * 32)
    keys = set()
    emulation = device.emulation
    for _ in range(3):
        with pytest.raises(MlsError) as failed:
            rejoined(home, device, emulation, psks=[unknown])
        assert isinstance(failed.value, MissingPskError)
        consumed = failed.value.consumed
        assert isinstance(consumed, Emulation)
        emulation = consumed
        keys.add(info_of(home, rejoined(home, device, emulation))[0])
    assert len(keys) == 3


def test_a_batch_that_fails_tells_what_it_took() -> None:
    home = Household(1)
    device = home[FIRST]
    with pytest.raises(CallerError) as failed:
        make_batch(device.emulation, device.env, [offer(), offer(0x7777)])
    assert isinstance(failed.value.consumed, Emulation)


def test_a_leaf_with_a_strange_key_takes_nothing() -> None:
    home = talking()
    device = home[FIRST]
    stranger = home.person("stranger").signer
    with pytest.raises(CallerError) as failed:
        vc.commit(device.emulation, device.groups[A], device.env, new=NewLeaf(signature_private=stranger))
    assert failed.value.consumed is None


def test_a_device_with_an_old_disk_does_not_seal_two_secrets_alike() -> None:
    """Everybody in the conversation would see both leaves, whose difference is that of two init secrets.

    A storage cannot tell its age, so the device has to be told that its disk is an old one.
    """
    home = talking(settings=DERIVED)
    device = home[FIRST]
    disk = stored.encode(device.emulation)
    once = info_of(home, rejoined(home, device, device.emulation))
    careless = stored.decode(disk, device.env.provider, device.emulation.group)
    again = info_of(home, rejoined(home, device, careless))
    assert once[0] == again[0]
    assert once[1] != again[1]
    restored = stored.decode(disk, device.env.provider, device.emulation.group, restored=True)
    with pytest.raises(CallerError, match="was no member"):
        rejoined(home, device, restored)
    device.emulation = restored
    home.commit_devices(FIRST, derive=True, encrypt=False)
    assert info_of(home, rejoined(home, device, device.emulation))[0] != once[0]


def test_a_device_with_an_old_disk_learns_from_its_siblings_where_it_was() -> None:
    """Whoever hears of its own later operation moves past it."""
    home = talking()
    device = home[FIRST]
    before, group = device.emulation, device.groups[A]
    acted = home.commit(FIRST, A, force_path=True)
    device.emulation, device.groups[A] = before, group
    got = vc.receive(device.emulation, device.groups[A], device.env, acted.commit.message)
    assert got.echo
    device.emulation, device.groups[A] = got.emulation, got.event.group
    home.agree()
    home.commit(FIRST, A, force_path=True)
    home.agree()


def test_going_back_to_another_branch_takes_no_operation_twice() -> None:
    home = talking()
    device = home[FIRST]
    old = device.emulation.head
    acted = vc.commit(device.emulation, device.groups[A], device.env, force_path=True)
    again = vc.commit(acted.emulation.on(old), device.groups[A], device.env, force_path=True)
    keys = {each.commit.group.own_leaf_node.encryption_key for each in (acted, again)}
    assert len(keys) == 2


def test_two_conversations_from_one_value_have_different_keys_and_one_is_lost() -> None:
    """A caller that does not store in between: the context keeps the secrets apart, and siblings follow one of them."""
    home = talking()
    home.create(FIRST, B)
    first, second = home[FIRST], home[SECOND]
    stale = first.emulation
    acted = [vc.commit(stale, first.groups[each], first.env, force_path=True) for each in (A, B)]
    keys = {each.commit.group.own_leaf_node.encryption_key for each in acted}
    assert len(keys) == 2
    got = vc.receive(second.emulation, second.groups[A], second.env, acted[0].commit.message)
    with pytest.raises(StaleError):
        vc.receive(got.emulation, second.groups[B], second.env, acted[1].commit.message)


# What is dropped


def welcomed(home: Household, package: Any, group_id: bytes, name: str) -> None:
    """Everybody of the household is added to somebody's conversation."""
    sent = front.commit(home.person(name).create(home.env, group_id), home.env, proposals=[Add(package)])
    assert sent.welcome is not None
    home.others[group_id] = {name: sent.group}
    for each in home.names:
        device = home[each]
        joined = vc.join(device.emulation, device.env, home.parameters, sent.welcome)
        device.emulation, device.groups[group_id] = joined.emulation, joined.group
    home.agree()


def prune(home: Household) -> None:
    for name in home.names:
        home[name].emulation = home[name].emulation.pruned(
            home[name].groups.values(), since=home[name].emulation.head.newest
        )


def new_key(home: Household, by: str) -> Any:
    """A signature key that all devices know."""
    device = home[by]
    device.emulation, public = device.emulation.drawn_key(device.env, 1)
    private = device.emulation.keys[public].private
    home.announce(by, [Keys((SignatureKey(cipher_suite=1, public=public, private=private),))])
    return private


def test_a_last_resort_outlives_the_first_conversation_that_it_was_used_for() -> None:
    """From then on, who has nothing else left cannot add the virtual client: its Welcome is taken by no device."""
    home = Household(2)
    (package,) = home.upload(FIRST, offer(extensions=mark(()))).released(announced=True)
    welcomed(home, package, A, "anna")
    prune(home)
    home.commit(FIRST, A, new=NewLeaf(signature_private=new_key(home, FIRST)))
    prune(home)
    welcomed(home, package, B, "ben")


def test_key_packages_that_share_a_signature_key_do_not_fall_together() -> None:
    home = Household(2)
    private = new_key(home, FIRST)
    offers = [offer(signature_private=private)] * 2
    one, other = home.upload(FIRST, *offers).released(announced=True)
    home.announce(SECOND, [Withdrawn((one.reference(home[FIRST].env.suite(1)),))])
    welcomed(home, other, A, "anna")


def test_what_conversations_need_survives_pruning() -> None:
    home = talking()
    home.commit(SECOND, A, force_path=True)
    home.commit_devices(FIRST, derive=True)
    prune(home)
    home.say(SECOND, A)
    home.commit(FIRST, A, force_path=True)
    prune(home)
    assert len(home[SECOND].emulation.epochs) == 1
    home.say(SECOND, A)


def test_an_old_key_package_brings_back_its_old_epoch() -> None:
    """Nobody withdrew it, so it is good; but what is to heal by a new epoch is undone by who adds us again with it.

    So whoever replaces leaves because a device may have been read withdraws KeyPackages first, as at a removal.
    """
    home = Household(2)
    one, other = home.upload(FIRST, offer(), offer()).released(announced=True)
    welcomed(home, one, A, "anna")
    old = home[FIRST].emulation.head.newest
    home.commit_devices(FIRST, derive=True)
    home.commit(FIRST, A, force_path=True)
    anna = home.others[A]["anna"]
    leaf = home[FIRST].groups[A].own_leaf
    sent = front.commit(anna, home.env, proposals=[Remove(leaf), Add(other)])
    assert sent.welcome is not None
    device = home[SECOND]
    joined = vc.join(device.emulation, device.env, home.parameters, sent.welcome)
    info = derivation_info_of(joined.group.own_leaf_node.extensions, home.settings.numbers)
    assert info is not None
    assert info.epoch_id == old
    home.announce(SECOND, [Withdrawn((other.reference(device.env.suite(1)),))])
    with pytest.raises(UnknownPackageError):
        vc.join(home[FIRST].emulation, home[FIRST].env, home.parameters, sent.welcome)


# Branches


def test_a_leaf_of_the_branch_that_wins_later_is_not_refused_for_good() -> None:
    """Two devices commit at once in their own group. Until all agree which one stands, no one is at fault."""
    home = Household(3)
    home.create(FIRST)
    home.invite(FIRST, A, "anna")
    start = {name: home[name].emulation.head for name in home.names}
    made = {}
    for name in (FIRST, SECOND):
        device = home[name]
        for _ in range(16):
            device.env.provider.random(1)  # past the draws that its KeyPackage was made of
        made[name] = devices.commit(device.emulation, device.env, derive=True)
    heads: dict[str, dict[str, Head]] = {}
    for name in home.names:
        device = home[name]
        heads[name] = {}
        for by in (FIRST, SECOND):
            at = device.emulation.on(start[name])
            if name == by:
                after = devices.adopt(at, made[by])
            else:
                after = devices.receive(at, device.env, made[by].commit.message).emulation
            device.emulation, heads[name][by] = after, after.head
    for name, by in ((FIRST, FIRST), (SECOND, SECOND), (THIRD, SECOND)):
        home[name].emulation = home[name].emulation.on(heads[name][by])
    home.commit(SECOND, A, force_path=True)
    first, third = home[FIRST], home[THIRD]
    acted = vc.commit(first.emulation, first.groups[A], first.env, force_path=True)
    with pytest.raises(StaleError):
        vc.receive(third.emulation, third.groups[A], third.env, acted.commit.message)
    third.emulation = third.emulation.on(heads[THIRD][FIRST])
    vc.receive(third.emulation, third.groups[A], third.env, acted.commit.message)


# Secrets that show


def raw_secrets(value: Any, found: set[bytes], seen: set[int]) -> set[bytes]:
    """Every secret within a value."""
    if id(value) in seen:
        return found
    seen.add(id(value))
    if isinstance(value, Secret):
        if len(value.raw) >= 16:
            found.add(value.raw)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            raw_secrets(getattr(value, each.name), found, seen)
    elif isinstance(value, PMap | dict):
        for each in dict(value.items()).values():
            raw_secrets(each, found, seen)
    elif isinstance(value, tuple | list):
        for each in value:
            raw_secrets(each, found, seen)
    return found


def test_no_value_shows_its_secrets() -> None:
    home = talking()
    home.upload(SECOND, offer(), offer())
    device = home[FIRST]
    acted = vc.commit(device.emulation, device.groups[A], device.env, force_path=True)
    batch = make_batch(device.emulation, device.env, [offer()])
    update = vc.propose_update(device.emulation, device.groups[A], device.env)
    shown: list[Any] = [device.emulation, acted, batch, update, batch.announcement, device.groups[A]]
    shown += [each for _, each in device.emulation.epochs.items()]
    shown += [each.epoch.operations for _, each in device.emulation.epochs.items()]
    shown += [each for _, each in device.emulation.stock.items()]
    shown += [each for _, each in device.emulation.keys.items()]
    shown += [each for _, each in device.emulation.operations.items()]
    secrets: set[bytes] = set()
    for each in shown:
        raw_secrets(each, secrets, set())
    for known in device.emulation.epochs.items():
        tree = known[1].epoch.operations
        secrets.update(each for _, each in tree.nodes.items())
        secrets.update(each.secret for _, each in tree.ratchets.items())
    assert len(secrets) > 20
    text = "".join([repr(each) + str(each) for each in shown])
    for secret in secrets:
        assert repr(secret)[2:-1] not in text
        assert secret.hex() not in text
