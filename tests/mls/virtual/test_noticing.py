"""draft-ietf-mls-virtual-clients §5.3: what a device finds that a removal has to take care of."""

from __future__ import annotations

from mls.commit import NewLeaf
from mls.registries import GroupId
from mls.virtual.announcements import Keys, SignatureKey
from mls.virtual.noticing import noticed
from mls.virtual.removal import Fingerprint, Removal, Step, Task, Withdrawal, begin
from mls.virtual.stock import make_reserved
from tests.mls.virtual.household import DERIVED, Household, offer

FIRST, SECOND, GONE = "device0", "device1", "device2"
A, B = b"group", b"other"
PHONE = Fingerprint(b"phone")


def begun() -> Removal:
    return begin([PHONE], references=(), group_ids=(), old_keys=())


def seen(home: Household, progress: Removal, by: str = FIRST) -> Removal:
    device = home[by]
    found = noticed(progress, device.emulation, device.groups.values())
    assert noticed(found, device.emulation, device.groups.values()) == found
    return found


def newest(home: Household) -> bytes:
    return home[FIRST].emulation.head.newest


def removed(home: Household, progress: Removal) -> Removal:
    """With all that was found before withdrawn."""
    for reference in progress.packages:
        progress = progress.withdrawn(reference, Withdrawal.BOTH, epoch_id=newest(home))
    home.remove_device(GONE, by=FIRST)
    return progress.adopted(newest(home), removes=[PHONE])


def drawn(home: Household, by: str) -> bytes:
    device = home[by]
    device.emulation, public = device.emulation.drawn_key(device.env, 1)
    key = SignatureKey(cipher_suite=1, public=public, private=device.emulation.keys[public].private)
    home.announce(by, [Keys((key,))])
    return public


def test_all_that_there_is_before_the_remove() -> None:
    home = Household(3)
    home.create(FIRST, A)
    home.create(SECOND, B)
    home.upload(SECOND)
    device = home[FIRST]
    progress = seen(home, begun())
    assert set(progress.packages) == set(device.emulation.stock)
    assert set(progress.conversations) == {A, B}
    leaves = {group.own_leaf_node.signature_key for group in device.groups.values()}
    assert len(leaves) == 2
    assert progress.old_keys == leaves | set(device.emulation.keys)
    assert seen(home, begun(), SECOND) == progress


def test_packages_that_come_to_light_later() -> None:
    """Those of an epoch that the phone is in, for as long as the new epoch stands; reserved ones at all times."""
    home = Household(3)
    home.upload(SECOND)
    progress = removed(home, seen(home, begun()))
    assert progress.todo == (Task(Step.RENEW),)
    old = list(progress.packages)
    home.upload(SECOND)
    fresh = [reference for reference in home[FIRST].emulation.stock if reference not in old]
    assert seen(home, progress) == progress
    assert set(seen(home, progress.lost(newest(home))).packages) == {*old, *fresh}
    device = home[FIRST]
    device.emulation = make_reserved(device.emulation, device.env, offer()).emulation
    (reserved,) = set(seen(home, progress).packages) - {*old, *fresh}
    assert seen(home, progress).todo == (Task(Step.WITHDRAW, reserved), Task(Step.RENEW))


def test_keys_are_old_until_the_remove() -> None:
    home = Household(3)
    home.create(FIRST, A)
    known = drawn(home, SECOND)
    progress = removed(home, seen(home, begun()))
    assert known in progress.old_keys
    new = drawn(home, SECOND)
    assert seen(home, progress).old_keys == progress.old_keys
    progress = seen(home, progress.renewed(newest(home), new))
    lost = seen(home, progress.lost(newest(home)))
    assert new not in lost.old_keys  # nobody but who stays was told, and the branch may win again
    unsaid = drawn(home, SECOND)
    assert unsaid in seen(home, lost).old_keys
    assert unsaid not in seen(home, progress).old_keys


def test_the_leaf_that_is_there_counts() -> None:
    home = Household(3)
    home.create(FIRST, A)
    progress = seen(home, removed(home, seen(home, begun())))
    new, unsaid = drawn(home, FIRST), drawn(home, SECOND)
    progress = seen(home, progress.renewed(newest(home), new))
    rotate = Task(Step.ROTATE, A)
    assert progress.todo == (rotate,)
    home.commit(FIRST, A, force_path=True)  # a new leaf with the old key
    assert seen(home, progress).todo == (rotate,)
    for key, good in ((new, True), (unsaid, False), (new, True)):
        private = home[SECOND].emulation.keys[key].private
        home.commit(SECOND, A, new=NewLeaf(signature_private=private), force_path=True)
        progress = seen(home, progress)
        assert progress.may_send(GroupId(A)) is good
    assert progress.todo == ()


def test_a_conversation_that_a_sibling_says_was_left() -> None:
    home = Household(3)
    home.create(FIRST, A)
    home.create(FIRST, B)
    progress = removed(home, begun())
    progress = progress.renewed(newest(home), drawn(home, FIRST)).left(GroupId(A))
    assert seen(home, progress).todo == (Task(Step.ROTATE, A), Task(Step.ROTATE, B))


def test_keys_that_are_derived() -> None:
    """A leaf of the new epoch has a key that nobody announces; one of the old epoch has one that the phone derives."""
    home = Household(3, settings=DERIVED)
    home.create(FIRST, A)
    progress = removed(home, seen(home, begun())).renewed(newest(home), b"hash of a credential")
    assert seen(home, progress).todo == (Task(Step.ROTATE, A),)
    home.commit(SECOND, A, force_path=True)
    assert seen(home, progress).may_send(GroupId(A))
