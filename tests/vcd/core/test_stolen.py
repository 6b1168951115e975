"""What a stolen device can do before, while and after it is removed: nothing that stands."""

from __future__ import annotations

import pytest

from mls.proposals import Remove
from tests.vcd.core import people
from tests.vcd.core.homes import device, devices_of, here, home, link, remove, trio
from tests.vcd.core.village import Village
from vcd.core import acting, events, flow, inputs, listing
from vcd.core.accounts.identity import RecoverySeed, root_key
from vcd.core.founding import new_account
from vcd.core.names import IntentId
from vcd.core.turn import Turn


def refresh(village: Village, name: str, number: int) -> None:
    intent = IntentId(b"refresh" + name.encode() + bytes([number]))
    village.do(name, inputs.Refresh(intent=intent, conversation=home(village, name).group_id))
    village.wait(seconds=10)


def anna_and_bob() -> Village:
    """Anna has a laptop, a phone and a device that is going to be stolen. She talks with Bob."""
    village = people.friends("laptop", "bob")
    link(village, "laptop", "phone")
    link(village, "laptop", "stolen")
    people.open_talk(village, "laptop", "bob")
    village.wait(minutes=2)
    assert people.together(village, "laptop", "phone", "stolen", "bob")
    return village


def test_a_stolen_device_commits_on_the_virtual_leaf_itself() -> None:
    """It has the leaf's keys, and so Bob cannot tell its commit from ours. The list that shuts it out can."""
    village = anna_and_bob()
    bob = village.own("bob")
    village.part(["laptop", "phone", "bob"], ["stolen"])
    village.do("stolen", inputs.Remove(intent=IntentId(b"bob has to go"), conversation=people.TEA, account=bob))
    village.wait(seconds=5)
    theirs = people.strand(village, "stolen").head
    assert bob not in people.accounts(village, "stolen")
    remove(village, "laptop", "stolen")
    village.wait(minutes=3)
    village.heal()
    village.wait(minutes=5)
    for name in ("laptop", "phone", "bob"):
        strand = people.strand(village, name)
        assert people.accounts(village, name) == {village.own("laptop"), bob}
        assert not strand.graph.has(theirs) or theirs in strand.standing.void
    assert people.together(village, "laptop", "phone", "bob")
    assert not village.told("bob", events.Gone)


def test_a_stolen_device_takes_nobody_in_while_it_is_removed() -> None:
    village = anna_and_bob()
    village.account("mallory")
    people.befriend(village, "stolen", "mallory")
    village.wait(minutes=1)
    village.part(["laptop", "phone", "bob"], ["stolen", "mallory"])
    people.invite(village, "stolen", "mallory")
    village.wait(minutes=1)
    assert village.own("mallory") in people.accounts(village, "stolen")
    remove(village, "laptop", "stolen")
    village.wait(minutes=3)
    village.heal()
    village.wait(minutes=5)
    for name in ("laptop", "phone", "bob"):
        assert village.own("mallory") not in people.accounts(village, name)


def test_the_removed_device_forks_the_home_earlier_than_its_removal() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    village.part([laptop, phone], [tablet])
    shut_out = device(village, tablet)
    for number in range(3):
        refresh(village, laptop, number)
        refresh(village, tablet, number)
    remove(village, laptop, tablet)
    village.wait(minutes=2)
    for number in range(3, 6):
        refresh(village, tablet, number)
    forked = home(village, tablet).graph
    village.heal()
    village.wait(minutes=10)
    for name in (laptop, phone):
        strand = home(village, name)
        assert shut_out not in devices_of(village, name)
        assert strand.final == strand.head
        assert all(
            epoch not in strand.graph.steps or epoch in strand.standing.void
            for epoch in forked.steps
            if epoch != strand.head
        )
        assert village.state(name).rotation is None
    assert home(village, laptop).head == home(village, phone).head
    assert village.state(tablet).home is None


def test_a_device_that_removes_the_others_while_it_is_removed_does_not_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no delegate, so its removals bring no list, and nobody follows them."""
    village = Village()
    laptop, phone, tablet = trio(village)
    village.part([laptop], [phone, tablet])
    turn = Turn(village.state(tablet), village.now, village.devices[tablet].provider)
    leaves = [leaf for leaf, _ in here(village, tablet).group.members if leaf != here(village, tablet).group.own_leaf]
    with monkeypatch.context() as dishonest:
        dishonest.setattr(listing, "check", lambda *_: None)
        said, _ = acting.commit(turn, turn.home, proposals=[Remove(leaf) for leaf in leaves])
        flow.settle(turn)
    village.devices[tablet].state = turn.state
    for effect in turn.effects:
        village._run(village.devices[tablet], effect)
    village.deliver()
    remove(village, laptop, tablet)
    village.wait(minutes=1)
    village.heal()
    village.wait(minutes=10)
    for name in (laptop, phone):
        assert devices_of(village, name) == {device(village, laptop), device(village, phone)}
        assert village.state(name).rotation is None
        assert not home(village, name).entered(said.step.epoch)
    assert ("removal-unlisted", "removal-unlisted: nobody goes but by the list") in village.devices[phone].refused


def test_the_recovery_phrase_is_above_a_stolen_delegate() -> None:
    """Both remove each other at once. The delegate was there first and signs lists; the root signs a higher one."""
    village = Village()
    provider = village.world("laptop")
    seed = RecoverySeed(b"s" * 32)
    village.move_in("laptop", provider, new_account(provider, seed, "laptop", village.now, village.config))
    phone, tablet = link(village, "laptop", "phone"), link(village, "laptop", "tablet")
    stolen = device(village, "laptop")
    root, _ = root_key(provider.suite(1), seed)
    village.part(["laptop"], [phone], [tablet])
    remove(village, "laptop", phone)
    village.do(phone, inputs.RemoveDevice(intent=IntentId(b"stolen"), device=stolen, root=root))
    village.wait(minutes=2)
    village.heal()
    village.wait(minutes=10)
    for name in (phone, tablet):
        assert devices_of(village, name) == {device(village, phone), device(village, tablet)}
        edition = listing.of_group(here(village, name).group)
        assert edition.devices.revoked(stolen) is not None
        assert edition.head.authority.term > 0
    assert village.state("laptop").home is None
