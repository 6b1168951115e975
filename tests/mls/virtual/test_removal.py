"""draft-ietf-mls-virtual-clients §5.3: the order of a removal, what undoes its steps, and what two devices know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, strategies as st

from mls.codec import opaque, u8, u32, u64, vector
from mls.errors import CallerError, LimitError, PeerError
from mls.registries import Epoch, GroupId, KeyPackageRef
from mls.virtual import removal as room
from mls.virtual.removal import (
    MAX_DEVICES,
    MAX_ENTRIES,
    MAX_EPOCHS,
    MAX_ROTATIONS,
    Branch,
    Conversation,
    Fingerprint,
    Package,
    Removal,
    Rotation,
    Step,
    Task,
    Withdrawal,
    begin,
    merge,
)
from tests.mls.refusals import refused
from tests.mls.strategies import Mutation, mutated, mutations
from tests.validation import breaks
from tests.vector_files import load
from tests.vectors.own import announcements as own

PHONE, TABLET = Fingerprint(b"phone"), Fingerprint(b"tablet")
P, Q = KeyPackageRef(b"package p"), KeyPackageRef(b"package q")
ONE, TWO = GroupId(b"one"), GroupId(b"two")
OLD, NEW = b"old key", b"new key"
REMOVE, RENEW, UPLOAD = Task(Step.REMOVE), Task(Step.RENEW), Task(Step.UPLOAD)
E0, E1, E2, E3 = b"epoch 0", b"epoch 1", b"epoch 2", b"epoch 3"


def start() -> Removal:
    return begin([PHONE], references=[Q, P], group_ids=[TWO, ONE], old_keys=[OLD])


def withdraw(progress: Removal, *references: KeyPackageRef, epoch: bytes = E0) -> Removal:
    for reference in references:
        progress = progress.withdrawn(reference, Withdrawal.BOTH, epoch_id=epoch)
    return progress


def withdrawn() -> Removal:
    return withdraw(start(), P, Q)


def removed() -> Removal:
    return withdrawn().adopted(E1, removes=[PHONE])


def rotated(
    progress: Removal, group_id: GroupId, epoch: bytes = E1, leaf: bytes = b"leaf", at: int = 1, key: bytes = NEW
) -> Removal:
    return progress.rotated(group_id, epoch=Epoch(at), leaf=leaf, derived_in=epoch, signature_key=key)


def done() -> Removal:
    progress = removed().renewed(E1, NEW).uploaded(E1)
    return rotated(rotated(progress, ONE), TWO)


def again(progress: Removal) -> Removal:
    found = Removal.decode(progress.encode())
    assert found == progress
    return found


def rotate(group_id: GroupId) -> Task:
    return Task(Step.ROTATE, group_id)


def test_known_answer() -> None:
    (case,) = [case for case in load(own.PATH) if case["name"] == "removal"]
    written = bytes.fromhex(case["removal"])
    assert own.removal().encode() == written
    assert Removal.decode(written) == own.removal()


def test_the_order() -> None:
    progress = start()
    assert progress.todo == (Task(Step.WITHDRAW, P), Task(Step.WITHDRAW, Q))
    progress = again(progress.withdrawn(P, Withdrawal.UNPUBLISHED))
    assert progress.todo == (Task(Step.WITHDRAW, P), Task(Step.WITHDRAW, Q))
    progress = again(progress.withdrawn(P, Withdrawal.ANNOUNCED, epoch_id=E0))
    assert progress.todo == (Task(Step.WITHDRAW, Q),)
    progress = again(withdraw(progress, Q))
    assert progress.todo == (REMOVE,)
    progress = again(progress.adopted(E1, removes=[PHONE]))
    assert progress.todo == (RENEW,)
    progress = again(progress.renewed(E1, b"credential").renewed(E1, NEW))
    assert progress.todo == (rotate(ONE), rotate(TWO), UPLOAD)
    progress = again(progress.uploaded(E1))
    assert progress.todo == (rotate(ONE), rotate(TWO))
    progress = again(rotated(progress, TWO))
    assert progress.todo == (rotate(ONE),)
    assert progress.may_send(TWO)
    assert not progress.may_send(ONE)
    progress = again(rotated(progress, ONE))
    assert progress.todo == ()
    assert progress.may_send(ONE)
    assert not progress.complete  # the removal may still lose
    progress = again(progress.final(E1))
    assert progress.complete


def test_who_had_no_key_packages_uploads_none() -> None:
    progress = begin([PHONE], references=[], group_ids=[], old_keys=[])
    assert progress.todo == (REMOVE,)
    progress = progress.adopted(E1, removes=[PHONE]).renewed(E1, NEW).final(E1)
    assert progress.complete
    assert not progress.may_send(ONE)


def test_somebody_has_to_be_removed() -> None:
    with pytest.raises(CallerError, match="no device"):
        begin([], references=[], group_ids=[], old_keys=[])


def test_later_epochs_are_as_good() -> None:
    """Each rests on the one before it, back to the Remove, however deep."""
    progress = removed().adopted(E2, parent=E1).adopted(E3, parent=E2)
    progress = progress.renewed(E2, NEW).uploaded(E3)
    progress = rotated(rotated(progress, ONE, E3), TWO, E1)
    assert progress.todo == ()
    assert progress.final(E2).complete
    other = removed().adopted(E2)  # nobody said what was before it
    assert other.renewed(E2, NEW).todo == (RENEW,)


def test_what_is_noticed_late_holds_nothing_up() -> None:
    progress = removed().renewed(E1, NEW).also(references=[KeyPackageRef(b"late")], group_ids=[GroupId(b"x")])
    late = (Task(Step.WITHDRAW, b"late"), rotate(ONE), rotate(TWO), rotate(GroupId(b"x")), UPLOAD)
    assert progress.todo == late
    finished = done().final(E1)
    assert finished.complete
    assert not finished.also(group_ids=[GroupId(b"x")]).complete
    assert not finished.also(references=[KeyPackageRef(b"late")]).complete
    assert finished.also(references=[P], group_ids=[ONE], old_keys=[OLD]) == finished


def test_a_remove_that_loses() -> None:
    progress = done()
    progress = again(progress.lost(E1))
    assert progress.todo == (REMOVE,)
    assert not progress.may_send(ONE)
    assert again(progress.lost(E1)) == progress
    progress = progress.adopted(E2, removes=[PHONE])
    assert progress.todo == (RENEW,)
    progress = progress.renewed(E2, NEW)
    assert progress.todo == (rotate(ONE), rotate(TWO), UPLOAD)
    back = again(progress.lost(E2).adopted(E1))  # it won after all
    assert back.todo == ()
    assert back.final(E1).complete
    assert not back.final(E1).lost(E2).lost(E2).also([TABLET]).complete


def test_what_stands_on_an_epoch_that_loses() -> None:
    progress = removed().adopted(E2, parent=E1).renewed(E2, NEW).uploaded(E2)
    progress = rotated(rotated(progress, ONE, E2), TWO, E2)
    assert progress.todo == ()
    assert progress.lost(E1).todo == (REMOVE,)
    assert progress.lost(E2).todo == (RENEW,)
    assert progress.final(E2).lost(b"never heard of").complete
    assert progress.lost(E1).final(E2).complete  # final is for what it stands on too
    with pytest.raises(CallerError, match="cannot lose"):
        progress.final(E2).lost(E2)


def test_an_epoch_is_not_before_itself() -> None:
    """Only a liar says so, and nothing comes of it, or hangs."""
    progress = withdrawn().adopted(E1, parent=E2, removes=[PHONE]).adopted(E2, parent=E1)
    assert progress.todo == (REMOVE,)
    assert withdrawn().adopted(E1, parent=E1, removes=[PHONE]).todo == (REMOVE,)


def test_another_device() -> None:
    """What was done is due again, as the other device had a part in it."""
    progress = done().final(E1)
    fresh = KeyPackageRef(b"fresh")
    progress = again(progress.also([TABLET], references=[fresh], old_keys=[NEW]))
    assert progress.todo == (Task(Step.WITHDRAW, fresh),)
    assert not progress.may_send(ONE)
    progress = withdraw(progress, fresh)
    assert progress.todo == (REMOVE,)
    progress = progress.adopted(E2, parent=E1, removes=[TABLET])
    assert progress.todo == (RENEW,)
    progress = progress.renewed(E2, b"third key").uploaded(E2)
    assert progress.todo == (rotate(ONE), rotate(TWO))
    for group_id in (ONE, TWO):
        progress = rotated(progress, group_id, E2, leaf=b"leaf 2", at=2, key=b"third key")
    assert progress.todo == ()
    assert not progress.complete
    assert progress.final(E2).complete


def test_two_devices_each_on_a_branch_of_its_own() -> None:
    """Out is who is out on one branch: that each is out somewhere is not enough."""
    both = withdraw(start().also([TABLET]), P, Q)
    progress = both.adopted(E1, removes=[PHONE]).adopted(E2, removes=[TABLET])
    assert progress.todo == (REMOVE,)
    assert progress.adopted(E3, parent=E2, removes=[PHONE]).todo == (RENEW,)


def test_rotations() -> None:
    progress = removed().renewed(E1, NEW).uploaded(E1)
    assert rotated(progress, ONE, key=OLD).todo == progress.todo
    assert rotated(progress, ONE, E2).todo == progress.todo
    progress = rotated(rotated(progress, ONE), TWO)
    assert progress.todo == ()
    lost = again(progress.reverted(ONE, b"leaf"))
    assert lost.todo == (rotate(ONE),)
    assert not lost.may_send(ONE)
    assert lost.reverted(ONE, b"leaf") == lost
    assert lost.reverted(ONE, b"another") == lost
    assert lost.reverted(GroupId(b"x"), b"leaf") == lost
    assert rotated(lost, ONE).todo == ()  # it won after all
    assert rotated(lost, ONE, leaf=b"leaf 2").todo == ()
    assert lost.left(ONE).todo == ()
    assert lost.left(ONE).left(ONE) == lost.left(ONE)
    assert lost.left(ONE).also(group_ids=[ONE]).todo == (rotate(ONE),)
    late = rotated(progress, GroupId(b"x"))
    assert late.todo == ()
    assert late.may_send(GroupId(b"x"))
    old = progress.also(old_keys=[NEW])
    assert old.todo == (RENEW,)  # there is none to rotate with
    assert old.renewed(E1, b"newer").todo == (rotate(ONE), rotate(TWO))


def test_the_last_leaf_counts() -> None:
    """A sibling on a branch that lost gave a conversation a leaf after ours, and the removed device derives it too."""
    progress = removed().renewed(E1, NEW).uploaded(E1).left(TWO)
    progress = rotated(progress, ONE, at=4)
    assert progress.may_send(ONE)
    for worse in (rotated(progress, ONE, b"rival", b"leaf 2", 5), rotated(progress, ONE, E1, b"leaf 2", 5, OLD)):
        assert worse.todo == (rotate(ONE),)
        assert not worse.may_send(ONE)
        assert worse.reverted(ONE, b"leaf 2").may_send(ONE)
        assert rotated(worse, ONE, leaf=b"leaf 3", at=6).may_send(ONE)
        assert rotated(worse, ONE, leaf=b"leaf 3", at=5).may_send(ONE)  # so it was not the other
        elsewhere = rotated(progress, ONE, leaf=b"leaf 3", at=5)
        assert not merge(worse, elsewhere).may_send(ONE)  # nobody said which of the two it is
        assert merge(worse, rotated(progress, ONE, leaf=b"leaf 3", at=6)).may_send(ONE)
    assert not rotated(progress, ONE, b"rival", b"leaf 0", 3).may_send(ONE)


def test_a_key_is_new_if_it_was_announced_after_the_remove() -> None:
    """Nobody needs to have heard of all others: what is not known to be new is not."""
    unheard = b"a key that a sibling drew in good time"
    progress = removed().renewed(E1, b"credential").uploaded(E1).left(TWO)
    assert not rotated(progress, ONE, key=unheard).may_send(ONE)
    assert rotated(progress, ONE, key=b"").may_send(ONE)  # derived with the leaf
    assert not rotated(progress, ONE, E2, key=b"").may_send(ONE)
    assert not rotated(progress, ONE).may_send(ONE)
    late = rotated(progress, ONE).renewed(E1, NEW)
    assert late.may_send(ONE)
    assert not rotated(progress.renewed(E1, OLD), ONE, key=OLD).may_send(ONE)
    rival = rotated(progress.adopted(E2).renewed(E2, NEW), ONE)
    assert not rival.may_send(ONE)  # announced where the phone is a member
    assert not late.also([TABLET]).adopted(E3, parent=E1, removes=[TABLET]).may_send(ONE)


def test_a_withdrawal_that_others_never_heard_of() -> None:
    """It was announced in an epoch that lost, before the Remove or after it."""
    tasks = tuple(Task(Step.WITHDRAW, each) for each in (P, Q))
    progress = again(withdrawn().lost(E0))
    assert progress.todo == tasks
    assert again(withdraw(progress, P, epoch=b"rival")).todo == tasks[1:]
    assert merge(withdrawn(), start().lost(E0)).todo == tasks
    known = withdrawn().adopted(E0, parent=b"before")
    assert known.todo == (REMOVE,)
    assert known.lost(b"before").todo == tasks
    assert known.lost(b"before").adopted(b"before").todo == (REMOVE,)  # it won after all
    late = KeyPackageRef(b"late")
    told = withdraw(done().also(references=[late]), late, epoch=E1)
    assert told.final(E1).complete
    assert told.lost(E1).todo == (Task(Step.WITHDRAW, late),)
    assert withdraw(told, late, epoch=E0).lost(E1).todo == (REMOVE,)


def test_what_one_sees_oneself_counts() -> None:
    """Whatever a sibling says of leaves that are not there, and however often."""
    said = rotated(rotated(removed(), ONE, at=2**64 - 1, leaf=b"nowhere"), ONE, at=2**64 - 1, leaf=b"nowhere")
    ours = rotated(merge(removed().renewed(E1, NEW), said), ONE, b"before", b"present", 7)
    assert not ours.may_send(ONE)
    assert not merge(ours, said).may_send(ONE)
    lies = {u32(number): Rotation(epoch=Epoch(number), derived_in=E1, signature_key=OLD) for number in range(64)}
    full = replace(removed(), conversations={ONE: Conversation(rotations=lies)})
    both = merge(removed().renewed(E1, NEW), full)
    assert not both.may_send(ONE)
    seen = again(rotated(both, ONE, at=100))
    assert seen.may_send(ONE)
    assert len(seen.conversations[ONE].rotations) == MAX_ROTATIONS
    assert merge(seen, full) == merge(full, seen)
    assert merge(seen, full).may_send(ONE)


def test_a_conversation_that_was_left_too_often_is_there() -> None:
    progress = replace(removed().renewed(E1, b""), conversations={ONE: Conversation(turns=0xFFFF_FFFE)})
    assert rotate(ONE) in progress.todo
    assert rotate(ONE) in again(progress.left(ONE)).todo
    assert again(progress.also(group_ids=[ONE])) == progress


def test_an_unknown_conversation_may_be_left() -> None:
    assert rotate(GroupId(b"x")) not in done().left(GroupId(b"x")).todo


def test_what_is_not_known_cannot_be_done() -> None:
    with pytest.raises(CallerError, match="not among"):
        withdraw(start(), KeyPackageRef(b"another"))
    for how, epoch in ((Withdrawal.BOTH, b""), (Withdrawal.ANNOUNCED, b""), (Withdrawal.UNPUBLISHED, E0)):
        with pytest.raises(CallerError, match="in an epoch"):
            start().withdrawn(P, how, epoch_id=epoch)
    for act in (Removal.final, Removal.uploaded, lambda progress, epoch: progress.renewed(epoch, b"")):
        with pytest.raises(CallerError, match="none that was adopted"):
            act(start(), E1)


def test_attempts_are_counted() -> None:
    task = rotate(ONE)
    progress = start().failed(task).failed(task)
    assert (progress.attempts(task), progress.attempts(rotate(TWO))) == (2, 0)
    assert again(progress).attempts(task) == 2
    both = merge(progress, start().failed(task).failed(REMOVE))
    assert (both.attempts(task), both.attempts(REMOVE)) == (2, 1)


def test_counts_end() -> None:
    """Who claims that something turned back and forth for ever made it lost."""
    last = 0xFFFF_FFFE
    progress = replace(done(), epochs={E1: Branch(removes=frozenset([PHONE]), turns=last)}, tries={REMOVE: last})
    assert progress.todo == (REMOVE,)
    assert again(progress.adopted(E1)).todo == (REMOVE,)
    assert progress.failed(REMOVE).attempts(REMOVE) == last
    assert progress.final(E1).complete


# Limits, of what we are told here and of what is read

LIMITS: dict[str, tuple[int, Callable[[Removal, list[bytes]], Removal]]] = {
    "devices": (MAX_DEVICES, lambda progress, names: replace(progress, devices=frozenset(map(Fingerprint, names)))),
    "old keys": (MAX_ENTRIES, lambda progress, names: replace(progress, old_keys=frozenset(names))),
    "packages": (
        MAX_ENTRIES,
        lambda progress, names: replace(
            progress, packages=dict.fromkeys(map(KeyPackageRef, sorted(names)), Package(unpublished=True))
        ),
    ),
    "announced": (
        MAX_EPOCHS,
        lambda progress, names: replace(progress, packages={P: Package(announced_in=frozenset(names))}),
    ),
    "epochs": (MAX_EPOCHS, lambda progress, names: replace(progress, epochs=dict.fromkeys(sorted(names), Branch()))),
    "removed": (
        MAX_DEVICES,
        lambda progress, names: replace(progress, epochs={E1: Branch(removes=frozenset(map(Fingerprint, names)))}),
    ),
    "renewals": (MAX_ENTRIES, lambda progress, names: replace(progress, renewals=frozenset((n, b"") for n in names))),
    "conversations": (
        MAX_ENTRIES,
        lambda progress, names: replace(
            progress, conversations=dict.fromkeys(map(GroupId, sorted(names)), Conversation())
        ),
    ),
    "rotations": (
        MAX_ROTATIONS,
        lambda progress, names: replace(
            progress,
            conversations={
                ONE: Conversation(
                    rotations=dict.fromkeys(sorted(names), Rotation(epoch=Epoch(1), derived_in=E1, signature_key=NEW))
                )
            },
        ),
    ),
    "uploads": (MAX_ENTRIES, lambda progress, names: replace(progress, uploads=frozenset(names))),
    "tries": (
        MAX_ENTRIES,
        lambda progress, names: replace(progress, tries={Task(Step.ROTATE, name): 1 for name in sorted(names)}),
    ),
}


def unlimited(monkeypatch: pytest.MonkeyPatch, value: int) -> None:
    for limit in ("MAX_DEVICES", "MAX_EPOCHS", "MAX_ROTATIONS", "MAX_ENTRIES"):
        monkeypatch.setattr(room, limit, value)


@breaks("VC-5.3-2")
@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_too_many(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    most, give = LIMITS[name]
    names = [u32(number) for number in range(most + 1)]
    full = give(start(), names[:-1])
    assert Removal.decode(full.encode()) == full
    with pytest.raises(LimitError, match=str(most)):
        give(start(), names)
    with monkeypatch.context() as patch:
        unlimited(patch, 1 << 20)
        hostile = give(start(), names).encode()
    refused("VC-5.3-2", lambda: Removal.decode(hostile))


# Merging

names = st.sampled_from([b"a", b"b", b"c"])
few = st.frozensets(names, max_size=3)
turns = st.integers(0, 4)
branches = st.builds(Branch, parent=names | st.just(b""), removes=few, turns=turns, final=st.booleans())
rotations = st.builds(
    Rotation, epoch=st.integers(0, 3), derived_in=names, signature_key=names | st.just(b""), turns=turns
)
packages = st.builds(Package, unpublished=st.booleans(), announced_in=few)
conversations = st.builds(Conversation, turns=turns, rotations=st.dictionaries(names, rotations, max_size=2))
removals = st.builds(
    Removal,
    devices=st.frozensets(names, min_size=1),
    old_keys=few,
    packages=st.dictionaries(names, packages),
    conversations=st.dictionaries(names, conversations),
    epochs=st.dictionaries(names, branches),
    renewals=st.frozensets(st.tuples(names, names), max_size=3),
    uploads=few,
    tries=st.dictionaries(st.builds(Task, st.sampled_from(Step), names), st.integers(1, 9), max_size=3),
)


@pytest.mark.slow
@given(one=removals, two=removals, three=removals)
def test_merging_has_no_order_and_repeats_without_harm(one: Removal, two: Removal, three: Removal) -> None:
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(one, one) == one
    assert merge(merge(one, two), two) == merge(one, two)
    assert Removal.decode(merge(one, two).encode()) == merge(one, two)
    assert merge(one, two).encode() == merge(two, one).encode()


@pytest.mark.slow
@given(progress=removals)
def test_whatever_was_said_there_is_one_order(progress: Removal) -> None:
    todo = progress.todo
    steps = {task.step for task in todo}
    assert list(todo) == sorted(set(todo))
    assert Step.REMOVE not in steps or steps == {Step.REMOVE}
    assert Step.RENEW not in steps or not steps & {Step.ROTATE, Step.UPLOAD, Step.REMOVE}
    for group_id in progress.conversations:
        assert not (progress.may_send(group_id) and rotate(group_id) in todo)
    if progress.complete:
        assert not todo
        assert all(each.unpublished and each.announced_in for each in progress.packages.values())


# What is read


@pytest.mark.slow
@given(progress=removals, changes=st.lists(mutations, max_size=4), noise=st.none() | st.binary())
def test_hostile_bytes_are_refused_or_read_whole(
    progress: Removal, changes: list[Mutation], noise: bytes | None
) -> None:
    hostile = mutated(progress.encode(), changes) if noise is None else noise
    try:
        found = Removal.decode(hostile)
    except PeerError:
        return
    assert found.encode() == hostile
    assert found.todo is not None


NOTHING = vector([])


def raw(**lists: bytes) -> bytes:
    """Progress in which each list is as given, or has nothing."""
    order = ("devices", "keys", "packages", "epochs", "renewals", "conversations", "uploads", "tries")
    given = {"devices": vector([opaque(PHONE)]), **lists}
    return u8(1) + b"".join(given.get(name, NOTHING) for name in order)


def branch(name: bytes = E1, removes: bytes = NOTHING, turns: int = 1, final: int = 0) -> bytes:
    return opaque(name) + opaque(b"") + removes + u32(turns) + u8(final)


def rotation(leaf: bytes = b"leaf", turns: int = 1) -> bytes:
    return opaque(leaf) + u64(9) + opaque(E1) + opaque(b"key") + u32(turns)


def conversation(group_id: bytes = ONE, rotations: bytes = NOTHING, turns: int = 1) -> bytes:
    return opaque(group_id) + u32(turns) + rotations


def test_the_bytes() -> None:
    """By hand, from docs/vectors.md."""
    assert Removal.decode(raw()) == begin([PHONE], references=[], group_ids=[], old_keys=[])
    full = raw(
        keys=vector([opaque(OLD)]),
        packages=vector([opaque(P) + u8(1) + NOTHING, opaque(Q) + u8(0) + vector([opaque(E0), opaque(E1)])]),
        epochs=vector([branch(removes=vector([opaque(PHONE)]), final=1)]),
        renewals=vector([opaque(E1) + opaque(b"credential")]),
        conversations=vector([conversation(rotations=vector([rotation(turns=2)]))]),
        uploads=vector([opaque(E1)]),
        tries=vector([u8(4) + opaque(ONE) + u32(7)]),
    )
    progress = begin([PHONE], references=[Q, P], group_ids=[ONE], old_keys=[OLD]).withdrawn(P, Withdrawal.UNPUBLISHED)
    for epoch in (E1, E0):
        progress = progress.withdrawn(Q, Withdrawal.ANNOUNCED, epoch_id=epoch)
    progress = progress.adopted(E1, removes=[PHONE]).final(E1).renewed(E1, b"credential").uploaded(E1)
    progress = rotated(progress, ONE, at=9, key=b"key").reverted(ONE, b"leaf")
    for _ in range(7):
        progress = progress.failed(rotate(ONE))
    assert progress.encode() == full
    assert Removal.decode(full) == progress


@breaks("VC-5.3-1")
def test_another_version() -> None:
    for version in (0, 2):
        refused("VC-5.3-1", partial(Removal.decode, u8(version) + raw()[1:]))
    Removal.decode(raw())


TWICE: dict[str, Callable[[bytes], bytes]] = {
    "devices": opaque,
    "keys": opaque,
    "packages": lambda name: opaque(name) + u8(0) + NOTHING,
    "epochs": branch,
    "renewals": lambda name: opaque(name) + opaque(b"credential"),
    "conversations": conversation,
    "uploads": opaque,
    "tries": lambda name: u8(4) + opaque(name) + u32(1),
}
INSIDE: dict[str, Callable[[bytes], bytes]] = {
    "packages": lambda announced: vector([opaque(P) + u8(1) + announced]),
    "epochs": lambda removes: vector([branch(removes=removes)]),
    "conversations": lambda rotations: vector([conversation(rotations=rotations)]),
}


@breaks("VC-5.3-3")
def test_lists_out_of_order() -> None:
    for name, entry in TWICE.items():
        for entries in ([entry(b"b"), entry(b"a")], [entry(b"a"), entry(b"a")]):
            refused("VC-5.3-3", partial(Removal.decode, raw(**{name: vector(entries)})))
        Removal.decode(raw(**{name: vector([entry(b"a"), entry(b"b")])}))
    for name, inside in INSIDE.items():
        one: Callable[[bytes], bytes] = rotation if name == "conversations" else opaque
        for entries in ([one(b"b"), one(b"a")], [one(b"a"), one(b"a")]):
            refused("VC-5.3-3", partial(Removal.decode, raw(**{name: inside(vector(entries))})))
        Removal.decode(raw(**{name: inside(vector([one(b"a"), one(b"b")]))}))


@breaks("VC-5.3-4")
def test_marks_that_there_are_not() -> None:
    for mark in (2, 255):
        refused("VC-5.3-4", partial(Removal.decode, raw(packages=vector([opaque(P) + u8(mark) + NOTHING]))))
        refused("VC-5.3-4", partial(Removal.decode, raw(epochs=vector([branch(final=mark)]))))
    Removal.decode(raw(packages=vector([opaque(P) + u8(1) + NOTHING]), epochs=vector([branch(final=1)])))


@breaks("VC-5.3-5")
def test_a_step_that_there_is_not() -> None:
    for step in (0, 6):
        refused("VC-5.3-5", partial(Removal.decode, raw(tries=vector([u8(step) + opaque(b"") + u32(1)]))))
    Removal.decode(raw(tries=vector([u8(5) + opaque(b"") + u32(1)])))


@breaks("VC-5.3-6")
def test_nobody_is_removed() -> None:
    refused("VC-5.3-6", lambda: Removal.decode(raw(devices=NOTHING)))


@breaks("VC-5.3-7")
def test_a_count_too_high() -> None:
    counts: dict[str, Callable[[int], bytes]] = {
        "epochs": lambda count: vector([branch(turns=count)]),
        "conversations": lambda count: vector([conversation(turns=count)]),
        "tries": lambda count: vector([u8(2) + opaque(b"") + u32(count)]),
    }
    for name, make in counts.items():
        refused("VC-5.3-7", partial(Removal.decode, raw(**{name: make(0xFFFF_FFFF)})))
        Removal.decode(raw(**{name: make(0xFFFF_FFFE)}))
    inside = vector([rotation(turns=0xFFFF_FFFF)])
    refused("VC-5.3-7", lambda: Removal.decode(raw(conversations=vector([conversation(rotations=inside)]))))
