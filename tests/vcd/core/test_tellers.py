"""What counts of what a device announces of keys and KeyPackages, above all of one that was removed and is stolen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from mls.commit import NewLeaf
from mls.registries import KeyPackageRef
from mls.virtual.announcements import Keys, LostEpoch, Operations, SignatureKey, Withdrawn
from mls.virtual.emulation import Emulation
from mls.virtual.stock import make_batch
from tests.vcd.core.company import act, step
from tests.vcd.core.homes import TEA, device, devices_of, link, refresh_home, remove, tea, trio
from tests.vcd.core.people import befriend
from tests.vcd.core.village import Village
from vcd.core import acting, devices, inputs, ourselves, stock, tellers
from vcd.core.errors import Misuse
from vcd.core.turn import Turn

STAY = ("laptop", "phone")


def removed() -> Village:
    """The tablet is stolen and removed, and its thief lets it hear nothing of that."""
    village = Village()
    trio(village)
    village.account("anna")
    befriend(village, "laptop", "anna")
    village.wait(minutes=2)
    village.part(["tablet"], ["laptop", "phone", "anna"])
    remove(village, "laptop", "tablet")
    village.wait(minutes=30)
    assert village.state("laptop").rotation is None
    assert device(village, "tablet") not in devices_of(village, "laptop")
    return village


def drawn(turn: Turn, count: int) -> Keys:
    suite = turn.provider.suite(1)
    several = []
    for _ in range(count):
        private, public = suite.scheme.generate(turn.provider.random)
        several.append(SignatureKey(cipher_suite=1, public=public, private=private))
    return Keys(tuple(several))


def fill(turn: Turn) -> None:
    for size in [1000] * 9 + [100] * 11 + [10] * 11 + [1] * 11:
        devices.announce(turn, drawn(turn, size))


def knows(village: Village, name: str) -> Emulation:
    found = village.state(name).emulation
    assert found is not None
    return found


def small(village: Village, *names: str, keys: int = 8192, packages: int = 4096) -> None:
    """Tables that are soon full."""
    for name in names:
        held = village.devices[name]
        known = knows(village, name)
        settings = replace(known.settings, max_keys=keys, max_packages=packages)
        held.state = replace(held.state, emulation=replace(known, settings=settings))


def ring(village: Village, name: str) -> set[bytes]:
    return set(knows(village, name).keys)


# ---------------------------------------------------------------- one that was removed


def test_a_removed_device_does_not_withdraw_what_was_made_after_it() -> None:
    village = removed()
    before = {name: set(knows(village, name).stock) for name in STAY}
    assert before["laptop"]
    assert before["laptop"] == before["phone"]
    # whoever has a card is given these, and can name them
    names = tuple(sorted(before["laptop"]))
    act(village, "tablet", lambda turn: devices.announce(turn, Withdrawn(names)))
    village.heal()
    assert {name: set(knows(village, name).stock) for name in STAY} == before
    assert not any(each in knows(village, name).withdrawn for name in STAY for each in names)


def test_a_removed_device_fills_no_table() -> None:
    village = removed()
    before = {name: knows(village, name) for name in STAY}

    def tell(turn: Turn) -> None:
        for _ in range(3):
            devices.announce(turn, drawn(turn, 200))
        offers = [ourselves.offer(turn, announced=False) for _ in range(3)]
        devices.announce(turn, make_batch(turn.emulation, turn.env, offers).announcement)
        epoch = turn.emulation.newest
        for at in range(5):
            name = bytes([at]) * 32
            lost = LostEpoch(
                cipher_suite=1,
                epoch_id=name,
                number=epoch.number,
                leaf_count=2,
                encryption_key=epoch.encryption_key,
                generation_id=epoch.generation_id,
                reuse_guard=epoch.reuse_guard,
            )
            devices.announce(turn, lost)
        operation = next(each for _, each in turn.emulation.operations.items())
        devices.announce(turn, Operations((replace(operation, epoch_id=b"x" * 32),)))

    act(village, "tablet", tell)
    village.heal()
    village.wait(minutes=1)
    for name in STAY:
        after = knows(village, name)
        assert len(after.keys) <= len(before[name].keys) + tellers.GONE
        assert set(after.stock) == set(before[name].stock)
        assert set(after.epochs) == set(before[name].epochs)
        assert set(after.operations) == set(before[name].operations)


def test_a_removed_device_does_not_hold_up_the_removal_of_another_one() -> None:
    """The phone is to go next; the thief of the tablet speaks right before that."""
    village = removed()
    act(village, "tablet", fill)
    frames = [each for each in village.log if each.by == "tablet" and each.expires > village.now][-42:]
    for name in STAY:
        there = village.devices[name]
        for each in frames:
            if each.id not in there.has and each.topic in there.topics:
                there.has.add(each.id)
                village.step(name, inputs.Arrived(frame=each.id, topic=each.topic, payload=each.payload))
    known = tea(village, "laptop").own_leaf_node.signature_key
    remove(village, "laptop", "phone")
    village.wait(hours=12)
    assert tea(village, "laptop").own_leaf_node.signature_key != known
    assert village.state("laptop").rotation is None
    assert knows(village, "laptop").stock


# ---------------------------------------------------------------- honest ones, late


def test_who_hears_a_device_only_after_its_removal_follows_what_it_did() -> None:
    """The tablet gave the chat a new leaf, with a key that it told of, and was removed before the phone heard of it."""
    village = Village()
    trio(village)
    village.wait(minutes=2)
    village.part(["phone"], ["laptop", "tablet"])
    since = len(village.log)

    def renew(turn: Turn) -> bytes:
        credential, private = ourselves.new_leaf(turn)
        acting.commit(
            turn, turn.strand(TEA), force_path=True, leaf=NewLeaf(credential=credential, signature_private=private)
        )
        return turn.provider.suite(1).scheme.public_key(private)

    public = act(village, "tablet", renew)
    made = tea(village, "laptop").epoch_id
    remove(village, "laptop", "tablet")
    village.wait(minutes=5)
    phone, group_id = village.devices["phone"], village.state("phone").home
    assert group_id is not None
    at_home = phone.state.topics[group_id]
    late = [each for each in village.log[since:] if each.by == "tablet" and each.topic in at_home]
    phone.has |= {each.id for each in late}
    village.heal()  # it hears what the tablet told last
    assert device(village, "tablet") not in devices_of(village, "phone")
    assert public not in ring(village, "phone")
    assert made not in {kept.group.epoch_id for kept in village.state("phone").strands[TEA].kept.values()}
    for each in late:
        village.step("phone", inputs.Arrived(frame=each.id, topic=each.topic, payload=each.payload))
    assert village.state("phone").household.held
    assert public in ring(village, "phone")
    assert made in {kept.group.epoch_id for kept in village.state("phone").strands[TEA].kept.values()}
    assert tea(village, "phone").epoch_id == tea(village, "laptop").epoch_id


def test_what_waited_counts_when_the_device_is_there_again() -> None:
    """A removal on a branch that loses: what the device announced meanwhile counts after that, all of it."""
    village = Village()
    trio(village)
    village.wait(minutes=2)
    names = tuple(sorted(knows(village, "laptop").stock))[:2]
    before, me, present = knows(village, "phone"), device(village, "tablet"), devices.present
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(devices, "present", lambda strand: tuple(each for each in present(strand) if each != me))
        village.part(["tablet", "phone"], ["laptop"])
        act(village, "tablet", lambda turn: devices.announce(turn, Withdrawn(names)))
        act(village, "tablet", lambda turn: stock._make(turn, 2, 0, last=False))
        assert set(names) <= set(knows(village, "phone").stock)
        assert len(village.state("phone").household.held) >= 2
        new = set(knows(village, "tablet").stock) - set(before.stock)
        assert new
        assert not new & set(knows(village, "phone").stock)
    step(village, "phone", devices.try_held)
    after = set(knows(village, "phone").stock)
    assert not set(names) & after
    assert new <= after
    assert not village.state("phone").household.held


# ---------------------------------------------------------------- shares


def test_a_device_tells_no_more_than_its_share_of_keys() -> None:
    village = Village()
    trio(village)
    village.wait(minutes=2)
    small(village, *STAY, keys=600)
    before = ring(village, "phone")
    for _ in range(25):
        act(village, "tablet", lambda turn: devices.announce(turn, drawn(turn, 20)))
    after = ring(village, "phone")
    assert before <= after
    assert len(after) <= len(before) + 600 // tellers.KEYS
    act(village, "laptop", lambda turn: devices.announce(turn, drawn(turn, 20)))
    assert len(ring(village, "phone")) >= len(after) + 20


def test_a_device_takes_nobody_elses_keys_into_its_share() -> None:
    """The thief tells the keys of others as its own, before them and after them; then it is removed."""
    village = Village()
    trio(village)
    village.wait(minutes=2)
    theirs = [
        step(village, "laptop", lambda turn: drawn(turn, 5)),
        step(village, "laptop", lambda turn: drawn(turn, 5)),
    ]
    mine = sorted(ring(village, "laptop"))
    act(village, "tablet", lambda turn: devices.announce(turn, theirs[0]))
    act(village, "laptop", lambda turn: devices.announce(turn, theirs[0]))
    act(village, "laptop", lambda turn: devices.announce(turn, theirs[1]))
    known = knows(village, "tablet").keys
    again = [
        SignatureKey(cipher_suite=known[each].cipher_suite, public=each, private=known[each].private)
        for each in mine
        if each in known
    ]
    act(village, "tablet", lambda turn: devices.announce(turn, Keys((*theirs[1].keys, *again))))
    act(village, "tablet", lambda turn: devices.announce(turn, drawn(turn, 500)))
    waiting = {name: ring(village, name) for name in STAY}
    assert all(len(each) > 500 for each in waiting.values())
    told = {key.public for each in theirs for key in each.keys}
    remove(village, "laptop", "tablet")
    village.wait(minutes=30)
    for name in STAY:
        assert len(ring(village, name)) < tellers.GONE + 200
    assert told <= ring(village, "phone")


def test_a_device_that_is_linked_later_is_no_fuller_than_others() -> None:
    """What a thief told before somebody new came, and what it tells after that, is one share there too."""
    village = Village()
    trio(village)
    village.wait(minutes=2)
    small(village, *STAY, "tablet", keys=800)
    for _ in range(60):
        act(village, "tablet", lambda turn: devices.announce(turn, drawn(turn, 5)))
    link(village, "laptop", "watch")
    small(village, "watch", keys=800)
    for size in [20] * 20 + [1] * 40:
        act(village, "tablet", partial(_tell_drawn, size))
    assert len(ring(village, "watch")) <= len(ring(village, "laptop")) + 100
    remove(village, "laptop", "tablet")
    village.wait(hours=2)
    assert all(village.state(name).rotation is None for name in (*STAY, "watch"))
    assert len({tea(village, name).epoch_id for name in (*STAY, "watch")}) == 1
    for name in (*STAY, "watch"):
        told = Counter(each for _, who in village.state(name).household.tellers.items() for each in who)
        assert told[device(village, "tablet")] <= tellers.GONE
        assert len(ring(village, name)) < tellers.GONE + 350


def _tell_drawn(size: int, turn: Turn) -> None:
    devices.announce(turn, drawn(turn, size))


def test_a_device_makes_no_more_than_its_share_of_packages() -> None:
    village = Village()
    trio(village)
    village.wait(minutes=2)
    act(village, "phone", lambda turn: stock._make(turn, 30, 0, last=False))
    small(village, *STAY, packages=400)
    mine = tellers.made(
        Turn(village.state("laptop"), village.now, village.devices["laptop"].provider), device(village, "phone")
    )
    assert mine >= 30

    def upload(turn: Turn) -> None:
        for _ in range(10):
            offers = [ourselves.offer(turn, announced=False) for _ in range(20)]
            batch = make_batch(turn.emulation, turn.env, offers)
            turn.change(emulation=batch.emulation)
            devices.announce(turn, batch.announcement)

    act(village, "tablet", upload)
    for name in STAY:
        turn = Turn(village.state(name), village.now, village.devices[name].provider)
        assert tellers.made(turn, device(village, "tablet")) <= 400 // tellers.PACKAGES
        assert tellers.made(turn, device(village, "phone")) == mine


def test_keys_of_packages_that_are_gone_leave_room_for_others() -> None:
    """A device makes KeyPackages all its life: those that are gone take nothing of its share of keys."""
    village = Village()
    trio(village)
    village.wait(minutes=2)
    small(village, *STAY, "tablet", keys=600, packages=400)
    first = len(ring(village, "phone"))
    for number, size in enumerate([20] * 14 + [1] * 22):
        before = set(knows(village, "tablet").stock)
        act(village, "tablet", partial(_make, size))
        new = tuple(sorted(set(knows(village, "tablet").stock) - before))
        assert len(new) == size
        act(village, "tablet", partial(_withdraw, new))
        refresh_home(village, "laptop", number)
        village.wait(minutes=5)
    assert all(len(ring(village, name)) <= first for name in (*STAY, "tablet"))

    def renew(turn: Turn) -> None:
        credential, private = ourselves.new_leaf(turn)
        acting.commit(
            turn, turn.strand(TEA), force_path=True, leaf=NewLeaf(credential=credential, signature_private=private)
        )

    known = tea(village, "phone").epoch_id
    act(village, "tablet", renew)
    assert len({tea(village, name).epoch_id for name in (*STAY, "tablet")}) == 1
    assert tea(village, "phone").epoch_id != known


def _withdraw(names: tuple[KeyPackageRef, ...], turn: Turn) -> None:
    devices.announce(turn, Withdrawn(names))


def _make(size: int, turn: Turn) -> None:
    stock._make(turn, size, 0, last=False)


def test_operations_of_epochs_that_nobody_tells_of_go_in_the_end() -> None:
    """A device that is there tells of as many as can be kept: what it says of epochs that are not goes."""
    village = Village()
    trio(village)
    village.wait(minutes=2)

    def tell(turn: Turn) -> None:
        operation = next(each for _, each in turn.emulation.operations.items())
        for part in range(2):
            several = [replace(operation, epoch_id=bytes([part, at // 256, at % 256]) * 11) for at in range(1000)]
            devices.announce(turn, Operations(tuple(several)))

    act(village, "tablet", tell)
    assert len(knows(village, "laptop").operations) >= 2000
    refresh_home(village, "laptop", 1)
    village.wait(minutes=5)
    for name in STAY:
        assert len(knows(village, name).operations) < 20


def test_a_ring_that_is_full_ends_no_step() -> None:
    """Nothing that draws a key raises: what a person asks is refused, and the rest waits."""
    village = removed()
    for name in STAY:
        small(village, name, keys=len(ring(village, name)))
    with pytest.raises(Misuse) as full:
        step(village, "laptop", ourselves.new_leaf)
    assert full.value.code == "too-many"
    before = knows(village, "laptop")
    step(village, "laptop", lambda turn: stock._make(turn, 2, 2, last=True))
    assert knows(village, "laptop").keys == before.keys
    assert ("stock-full", "too-many") in village.devices["laptop"].refused
    village.wait(hours=30)
    refresh_home(village, "laptop", 1)
    remove(village, "laptop", "phone")
    village.wait(hours=3)
    assert device(village, "phone") not in devices_of(village, "laptop")
