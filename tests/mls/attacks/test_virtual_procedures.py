"""Attacks on the procedures of a virtual client: what a device that stays can tell the others of a removal.

Progress is a sibling's word, and merged without asking. A lie that makes work is a nuisance; one that makes work
disappear lets a removed device read on while everybody believes that it is shut out.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.errors import PeerError
from mls.registries import Epoch, GroupId, KeyPackageRef
from mls.virtual.removal import Conversation, Fingerprint, Removal, Rotation, Step, Task, Withdrawal, begin, merge

GONE = Fingerprint(b"gone")
GROUP = GroupId(b"group")
PACKAGE = KeyPackageRef(b"package")
OLD, NEW, CLEAN = b"old key", b"new key", b"clean epoch"
LAST_TURN = 0xFFFF_FFFE


def begun() -> Removal:
    return begin([GONE], references=[PACKAGE], group_ids=[GROUP], old_keys=[OLD])


def heard(ours: Removal, lie: Removal) -> Removal:
    """What another device announced, if it can be read and merged at all."""
    return merge(ours, Removal.decode(lie.encode()))


def removed(ours: Removal) -> Removal:
    """With all that comes before the rotations."""
    ours = ours.withdrawn(PACKAGE, Withdrawal.BOTH, epoch_id=b"epoch").adopted(CLEAN, removes=[GONE])
    return ours.renewed(CLEAN, NEW)


def test_honest_progress_needs_the_conversation() -> None:
    assert Task(Step.ROTATE, GROUP) in removed(begun()).todo


def test_a_lie_does_not_hide_a_conversation_for_good() -> None:
    """Whoever is in it says so again. Else the removal would count as complete without it."""
    lie = replace(begun(), conversations={GROUP: Conversation(turns=LAST_TURN)})
    ours = removed(heard(begun(), lie))
    ours = ours.also(group_ids=[GROUP])
    assert Task(Step.ROTATE, GROUP) in ours.todo


def test_a_lie_about_leaving_is_undone_by_who_is_in_the_conversation() -> None:
    lie = begun().left(GROUP)
    ours = removed(heard(begun(), lie))
    assert Task(Step.ROTATE, GROUP) not in ours.todo
    assert Task(Step.ROTATE, GROUP) in ours.also(group_ids=[GROUP]).todo


def test_a_rotation_that_never_was_does_not_hide_a_leaf_that_is_there() -> None:
    """The liar names an epoch that the conversation does not reach. What a device sees itself is older, and counts."""
    told = removed(begun()).rotated(
        GROUP, epoch=Epoch((1 << 64) - 1), leaf=b"nowhere", derived_in=CLEAN, signature_key=NEW
    )
    ours = heard(removed(begun()), told)
    ours = ours.rotated(GROUP, epoch=Epoch(7), leaf=b"present", derived_in=b"epoch of before", signature_key=OLD)
    assert not ours.may_send(GROUP)


def test_rotations_that_never_were_leave_room_for_one_that_is() -> None:
    lies = {
        bytes([number]) * 4: Rotation(epoch=Epoch(number), derived_in=b"nowhere", signature_key=b"none", turns=1)
        for number in range(64)
    }
    lie = replace(begun(), conversations={GROUP: Conversation(rotations=lies)})
    ours = removed(heard(begun(), lie))
    ours.rotated(GROUP, epoch=Epoch(100), leaf=b"present", derived_in=CLEAN, signature_key=NEW)


def test_rotations_far_ahead_do_not_keep_the_removal_from_its_end() -> None:
    """What a device sees itself is kept, however far ahead the invented ones are."""
    lies = {
        bytes([number]) * 4: Rotation(epoch=Epoch((1 << 63) + number), derived_in=CLEAN, signature_key=NEW)
        for number in range(64)
    }
    lie = replace(begun(), conversations={GROUP: Conversation(rotations=lies)})
    ours = removed(heard(begun(), lie))
    ours = ours.rotated(GROUP, epoch=Epoch(100), leaf=b"present", derived_in=CLEAN, signature_key=NEW)
    assert ours.may_send(GROUP)


def test_a_lie_about_withdrawals_hides_them() -> None:
    """A sibling's word is taken for it: nobody can look whether all devices heard of it."""
    lie = begun().withdrawn(PACKAGE, Withdrawal.BOTH, epoch_id=b"epoch")
    assert Task(Step.WITHDRAW, PACKAGE) not in heard(begun(), lie).todo


def test_progress_of_nobody_s_removal_is_refused() -> None:
    encoded = bytearray(begun().encode())
    start = encoded.index(b"\x05\x04gone")
    with pytest.raises(PeerError, match=r"VC-5\.3-6"):
        Removal.decode(bytes(encoded[:start]) + b"\x00" + bytes(encoded[start + 6 :]))
