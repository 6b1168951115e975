"""What a stolen device can do before, while and after it is removed: nothing that stands."""

from __future__ import annotations

import pytest

from mls.codec import decode_exactly
from mls.key_package import KeyPackage
from mls.proposals import Add, Remove
from mls.registries import LeafIndex
from tests.sim.thief import Thief
from tests.vcd.core import people
from tests.vcd.core.company import act
from tests.vcd.core.homes import PHRASE, appoint, device, devices_of, here, home, link, remove, root, say, tea, trio
from tests.vcd.core.village import Village
from transport.base import Frame
from vcd.core import acting, events, flow, inputs, listing, rotation
from vcd.core.accounts.admission import version_under
from vcd.core.accounts.identity import RecoverySeed, root_key
from vcd.core.errors import Refused
from vcd.core.founding import new_account
from vcd.core.names import Incarnation, IntentId
from vcd.core.policy import Policy, Who
from vcd.core.state import State
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


def test_new_leaves_that_lose_after_a_removal_are_made_again() -> None:
    """The removal is over when Bob's commit comes, which goes before ours and stands on a leaf that the thief has."""
    village = people.friends("laptop", "bob", "carol")
    link(village, "laptop", "phone")
    link(village, "laptop", "stolen")
    people.open_talk(village, "laptop", "bob", "carol", policy=Policy(remove=Who.EVERYBODY))
    village.wait(minutes=2)
    old, leaf = village.state("stolen"), tea(village, "laptop", people.TEA).own_leaf_node
    village.part(["laptop", "phone"], ["bob", "carol"], ["stolen"])
    carol = village.own("carol")
    village.do("bob", inputs.Remove(intent=IntentId(b"carol has to go"), conversation=people.TEA, account=carol))
    remove(village, "laptop", "stolen")
    village.wait(minutes=3)
    assert village.told("laptop", events.Removing)[-1].complete
    ours = people.strand(village, "laptop").head
    village.heal()
    village.wait(minutes=5)
    for name in ("laptop", "phone"):
        assert people.accounts(village, name) == {village.own("laptop"), village.own("bob")}
        strand, now = people.strand(village, name), tea(village, name, people.TEA).own_leaf_node
        assert not strand.graph.is_ancestor(ours, strand.head)
        assert now.encryption_key != leaf.encryption_key
        assert now.signature_key != leaf.signature_key
    assert people.together(village, "laptop", "phone", "bob")
    for name in ("laptop", "phone", "bob"):
        say(village, name, f"among us, says {name}".encode(), people.TEA)
        assert village.said(name) == village.said("laptop")
    assert len(village.said("phone")) == 3
    assert not stolen_from(village, old)


def test_a_leaf_that_shows_that_somebody_was_shut_out_has_a_new_signature_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes it, and whatever for: what others have is what the old list says."""
    village = anna_and_bob()
    before = tea(village, "laptop", people.TEA).own_leaf_node
    monkeypatch.setattr(rotation, "_rotate", lambda _turn, removal, _names: removal)
    remove(village, "laptop", "stolen")
    village.wait(minutes=1)
    assert tea(village, "laptop", people.TEA).own_leaf_node == before
    village.do("phone", inputs.Refresh(intent=IntentId(b"fresh"), conversation=people.TEA))
    for name in ("laptop", "phone", "bob"):
        strand = people.strand(village, name)
        member = next(each for each in strand.graph.members(strand.head) if each.account == village.own("laptop"))
        now = tea(village, name, people.TEA).public.tree.leaf(member.leaf)
        assert now is not None
        assert version_under(now.credential) > version_under(before.credential)
        assert now.signature_key != before.signature_key


def stolen_from(village: Village, old: State) -> list[bytes]:
    """What can be read with what a stolen device had."""
    frames = [
        Frame(id=each.id, topic=each.topic, expires=each.expires, head=b"", payload=each.payload)  # type: ignore[arg-type]
        for each in village.log
    ]
    return sorted(Thief(old, village.world("thief"), village.now).read(frames).messages)


def came_in_alone(village: Village) -> State:
    """Bob, who may not remove anybody, invites Anna; of her devices the one that is to be lost comes in, and no other.

    What it had then. It is shut out since, by a device that knows nothing of that conversation.
    """
    link(village, "laptop", "stolen")
    people.open_talk(village, "carol", "bob")
    village.wait(minutes=2)
    village.part(["laptop"], ["stolen", "bob", "carol"])
    people.invite(village, "bob", "laptop")
    village.wait(minutes=15)
    assert people.together(village, "stolen", "bob", "carol")
    assert next(each for each in people.members(village, "bob") if each.account == village.own("laptop")).acted
    old = village.state("stolen")
    village.down("stolen")
    remove(village, "laptop", "stolen")
    village.wait(minutes=2)
    assert village.told("laptop", events.Removing)[-1].complete
    assert people.TEA not in village.state("laptop").strands
    return old


def test_where_only_a_device_came_in_that_is_shut_out_since_its_account_comes_in_anew_and_its_leaf_goes() -> None:
    village = people.friends("laptop", "bob", "carol")
    old = came_in_alone(village)
    village.heal()
    village.wait(minutes=15)
    assert people.together(village, "laptop", "bob", "carol")
    whose = [each.account for each in people.members(village, "carol")]
    assert sorted(whose) == sorted({*whose})
    for name in ("laptop", "bob", "carol"):
        say(village, name, f"among us, says {name}".encode(), people.TEA)
    assert len(village.said("laptop")) == 3
    assert not stolen_from(village, old)


def test_an_invitation_is_not_given_up_for_what_a_device_that_was_shut_out_has_left_to_be_given_out() -> None:
    village = people.friends("laptop", "bob", "carol", max_fetches=2)
    came_in_alone(village)
    shelf = village.packages[village.own("laptop")]
    stale = [each for each in village.offered.values() if each not in shelf]
    shelf[:0] = stale
    assert len(stale) > village.config.max_fetches
    village.heal()
    village.wait(minutes=15)
    assert people.together(village, "laptop", "bob", "carol")


def exchange(village: Village, by: str, who: str, package: bytes) -> None:
    """Take out a member, and add its account anew by a KeyPackage, in one commit."""

    def do(turn: Turn) -> None:
        strand, account = turn.strand(people.TEA), village.own(who)
        (leaf,) = [each.leaf for each in strand.graph.members(strand.head) if each.account == account]
        added = Add(decode_exactly(package, KeyPackage.decode))
        acting.commit(turn, strand, proposals=[Remove(LeafIndex(leaf)), added])

    act(village, by, do)


def test_only_who_brought_somebody_in_exchanges_them_and_only_under_a_list_that_shuts_somebody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    village = people.friends("laptop", "bob", "carol", "dora")
    link(village, "laptop", "stolen")
    people.open_talk(village, "carol", "bob", "dora")
    people.invite(village, "bob", "laptop")
    village.wait(minutes=15)
    shelf = village.packages[village.own("laptop")]
    with pytest.raises(Refused, match="policy-remove"):
        exchange(village, "bob", "laptop", shelf[-1])
    monkeypatch.setattr(rotation, "_rotate", lambda _turn, removal, _names: removal)
    remove(village, "laptop", "stolen")
    village.wait(minutes=1)
    with pytest.raises(Refused, match="policy-remove"):
        exchange(village, "dora", "laptop", shelf[-1])
    assert village.own("laptop") in people.accounts(village, "dora")
    exchange(village, "bob", "laptop", shelf[-1])
    assert people.together(village, "bob", "carol", "dora")
    assert people.accounts(village, "carol") == {village.own(each) for each in ("laptop", "bob", "carol", "dora")}


def brought_by_bob() -> tuple[Village, Incarnation]:
    """Bob brought Anna in, who is an admin there as Carol is; of Anna's devices one is stolen. Bob may remove nobody.

    With who Anna is there.
    """
    village = people.friends("laptop", "bob", "carol", "dora")
    link(village, "laptop", "stolen")
    people.open_talk(village, "carol", "bob", "dora")
    people.invite(village, "bob", "laptop")
    village.wait(minutes=15)
    policy = Policy(admins=tuple(sorted([village.own("carol"), village.own("laptop")])))
    village.do("carol", inputs.ChangePolicy(intent=IntentId(b"admins"), conversation=people.TEA, policy=policy))
    village.wait(minutes=5)
    anna = next(each for each in people.members(village, "carol") if each.account == village.own("laptop"))
    return village, anna.incarnation


def test_who_is_removed_does_not_exchange_beside_that_whoever_removed_it() -> None:
    """The list that it shows is hers. That makes it no senior of hers."""
    village, anna = brought_by_bob()
    bob = village.own("bob")
    village.part(["laptop"], ["bob"], ["carol", "dora"], ["stolen"])
    remove(village, "laptop", "stolen")
    village.wait(minutes=2)
    village.do("laptop", inputs.Remove(intent=IntentId(b"bob has to go"), conversation=people.TEA, account=bob))
    village.wait(seconds=5)
    assert bob not in people.accounts(village, "laptop")
    exchange(village, "bob", "laptop", village.packages[village.own("laptop")][-1])
    village.heal()
    village.wait(minutes=15)
    assert people.together(village, "laptop", "carol", "dora")
    for name in ("laptop", "carol", "dora"):
        assert bob not in people.accounts(village, name)
        assert anna in {each.incarnation for each in people.members(village, name)}


def test_nobody_is_exchanged_whose_leaf_shows_the_newer_list_on_another_branch() -> None:
    """It is not final there yet, as somebody is away. Nor is that a removal that others owe."""
    village, anna = brought_by_bob()
    village.part(["laptop", "carol"], ["bob"], ["dora"], ["stolen"])
    remove(village, "laptop", "stolen")
    village.wait(minutes=2)
    exchange(village, "bob", "laptop", village.packages[village.own("laptop")][-1])
    lost = people.strand(village, "bob").head
    village.heal()
    village.wait(minutes=15)
    for name in ("laptop", "carol", "dora", "bob"):
        strand = people.strand(village, name)
        assert anna in {each.incarnation for each in people.members(village, name)}
        assert not strand.graph.has(lost) or lost in strand.standing.void
    assert people.together(village, "laptop", "bob", "carol", "dora")


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


@pytest.mark.parametrize("senior", [True, False])
def test_a_stolen_delegate_does_not_shut_out_the_device_on_which_the_phrase_shuts_it_out(senior: bool) -> None:
    """At the same time, whichever of the two was there first; and whoever saw its removal first does not owe it."""
    village = Village()
    provider = village.world("laptop")
    village.move_in("laptop", provider, new_account(provider, PHRASE, "laptop", village.now, village.config))
    several = [link(village, "laptop", name) for name in ("phone", "tablet")]
    phone, tablet = several if senior else reversed(several)
    appoint(village, "laptop", "laptop", tablet)
    village.wait(minutes=10)
    assert village.state(tablet).household.delegate is not None
    stolen = device(village, tablet)
    village.part(["laptop"], [phone], [tablet])
    remove(village, tablet, phone)
    village.do(phone, inputs.RemoveDevice(intent=IntentId(b"stolen"), device=stolen, root=root(village, phone)))
    village.wait(minutes=2)
    village.heal()
    village.wait(minutes=20)
    for name in ("laptop", phone):
        assert devices_of(village, name) == {device(village, "laptop"), device(village, phone)}
        assert village.state(name).rotation is None
    assert village.state(tablet).home is None
