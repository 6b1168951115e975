"""What a member, a removed device or a contact makes up: nobody believes it, or falls over it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vcd.core import homes
from tests.vcd.core.branches import bring, member, talk, tea
from tests.vcd.core.company import act, package, show_up
from tests.vcd.core.homes import remove, trio
from tests.vcd.core.people import TEA, card, friends, invite, open_talk, strand
from tests.vcd.core.test_invitations import withdraw_all
from tests.vcd.core.village import Village
from vcd.core import acting, events, inputs, introductions, nobody, steps, voting
from vcd.core.accounts.identity import sign, suite_of
from vcd.core.names import AccountId, EpochId, GroupId, Incarnation, IntentId
from vcd.core.ordering.graph import Graph, Member, Step
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Digest, Introduction, Nobody, Retry, SignedStep
from vcd.core.policy import Mode
from vcd.core.record import encode
from vcd.core.strand import Membership, Strand

MADE_UP = EpochId(b"made up".ljust(32, b"!"))
STRANGE = b"\x77\x77"
"""A cipher suite that nobody has."""


def orders(village: Village, name: str, found: Strand) -> None:
    """Say, by a header of one's own, that a list ordered all others out, and vote for it."""
    here, me = found.here, voting.own(village.state(name), found)
    assert here is not None
    assert me is not None
    suite, key = village.devices[name].provider.suite(found.cipher_suite), here.group.signature_key
    gone = tuple(each.incarnation for each in found.graph.members(found.head) if each.incarnation != me)
    step = Step(epoch=MADE_UP, parent=found.final, author=me, removes=gone, tag=b"\xff" * 32, root=True)
    said = steps.signed(suite, key, step)
    ballots = tuple(
        steps.cast(
            suite, key, Ballot(voter=me, parent=found.final, round=at, child=MADE_UP), found.final, found.group_id, step
        )
        for at in (0, 1)
    )
    digest = Digest(final=found.final, head=MADE_UP, steps=(said,), ballots=ballots, at=1)
    act(village, name, lambda turn: acting.publish_wide(turn, found, found.head, digest))


def test_nobody_is_out_of_a_conversation_because_a_member_calls_its_removals_an_order() -> None:
    village = friends("anna", "ben", "cleo", "dora", "mallory")
    open_talk(village, "anna", "ben", "cleo", "dora", "mallory")
    village.wait(minutes=10)
    before = strand(village, "anna")
    orders(village, "mallory", strand(village, "mallory"))
    village.wait(minutes=5)
    for name in ("anna", "ben", "cleo", "dora"):
        assert strand(village, name).final == before.final
        assert strand(village, name).membership is Membership.IN


def test_nobody_is_out_of_the_home_because_a_device_calls_its_removals_an_order() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    village.wait(minutes=10)
    orders(village, tablet, homes.home(village, tablet))
    village.wait(minutes=5)
    for name in (laptop, phone):
        assert village.state(name).home is not None
        assert not village.state(name).household.gone
        assert len(homes.devices_of(village, name)) == 3


def test_nobody_votes_as_a_member_whom_they_say_they_brought_in_once_more() -> None:
    """Dave came when the epochs by which anna and ben came in were over: other commits could be said to begin them."""
    village = talk("anna", "mallory")
    epochs: set[EpochId] = set()

    def note() -> None:
        for name in ("anna", "mallory"):
            found = tea(village, name)
            epochs.update((found.graph.anchor.epoch, *found.graph.steps, *found.past, *found.kept))

    note()
    for guest in ("ben", "cleo", "dave"):
        bring(village, "anna", guest)
        village.wait(seconds=60)
        show_up(village, TEA, guest)
        note()
    village.wait(minutes=5)
    found, dave = tea(village, "mallory"), tea(village, "dave")
    here, me, at = found.here, voting.own(village.state("mallory"), found), found.final
    assert here is not None
    assert me is not None
    assert at == dave.final
    suite, key = village.devices["mallory"].provider.suite(found.cipher_suite), here.group.signature_key
    end = Step(epoch=MADE_UP, parent=at, author=me, removes=(member(village, "mallory", "dave").incarnation,), tag=b"t")
    said, voters = [steps.signed(suite, key, end)], [(me, at)]
    for each in found.graph.members(at):
        names = {(steps.incarnation(epoch, leaf), epoch, leaf) for epoch in epochs for leaf in range(8)}
        old = [(epoch, leaf) for who, epoch, leaf in sorted(names) if who == each.incarnation]
        if each.incarnation == me or not old or dave.entered(old[0][0]):
            continue
        epoch, leaf = old[0]
        comer = replace(
            each, since=found.graph.number(at) + 1, leaf=leaf, by=me, key=here.group.own_leaf_node.signature_key
        )
        step = Step(epoch=epoch, parent=at, author=me, removes=(each.incarnation,), adds=(comer,))
        said.append(steps.signed(suite, key, step))
        voters.append((each.incarnation, epoch))
    assert len(voters) > 2
    ballots = tuple(
        steps.cast(suite, key, Ballot(voter=who, parent=at, round=number, child=MADE_UP), where, TEA, end)
        for who, where in voters
        for number in (0, 1)
    )
    digest = Digest(final=at, head=MADE_UP, steps=tuple(said), ballots=ballots, at=1)
    act(village, "mallory", lambda turn: acting.publish_wide(turn, turn.strand(TEA), at, digest))
    village.wait(minutes=5)
    assert tea(village, "dave").final == at
    assert not village.told("dave", events.Gone)
    assert "step-adds" in {rule for rule, _ in village.devices["dave"].refused}


def beyond(graph: Graph, at: EpochId) -> SignedStep:
    """A header, signed by nobody, by which somebody comes to a leaf that no tree has."""
    author = graph.members(at)[0].incarnation
    comer = Member(
        incarnation=Incarnation(b"x" * 32),
        account=AccountId(b"y" * 32),
        since=graph.number(at) + 1,
        leaf=1 << 32,
        admin=False,
        by=author,
    )
    return SignedStep(step=Step(epoch=MADE_UP, parent=at, author=author, adds=(comer,)), signature=b"")


def test_a_leaf_that_no_tree_has_is_refused_in_a_conversation() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    village.wait(minutes=3)
    found = strand(village, "ben")
    said = Digest(final=found.final, head=found.head, steps=(beyond(found.graph, found.head),), at=1)
    act(village, "ben", lambda turn: acting.publish_wide(turn, found, found.head, said))
    for name in ("anna", "cleo"):
        assert "step-members" in {rule for rule, _ in village.devices[name].refused}


def test_a_leaf_that_no_tree_has_is_refused_of_a_removed_device() -> None:
    """It has the secret of the home's topic of before."""
    village = Village()
    laptop, phone, tablet = trio(village)
    village.wait(minutes=2)
    topic = homes.here(village, tablet).topic
    village.devices[tablet].up = False
    remove(village, laptop, tablet)
    village.wait(minutes=10)
    old = homes.home(village, laptop)
    said = Digest(final=old.final, head=old.final, steps=(beyond(old.graph, old.final),), at=1)
    village.devices[tablet].up = True
    act(village, tablet, lambda turn: turn.publish(topic, said))
    for name in (laptop, phone):
        assert "step-members" in {rule for rule, _ in village.devices[name].refused}


def test_a_leaf_that_no_tree_has_is_refused_beside_a_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stranger, before anybody is asked."""
    village = Village()
    for name in ("anna", "ben"):
        village.account(name)
    village.do("anna", inputs.AddContact(card=card(village, "ben"), petname="ben"))
    village.wait(seconds=1)

    def lying(told: object) -> bytes:
        assert isinstance(told, Introduction)
        anchor = told.lineage.anchor
        more = (beyond(Graph(anchor), anchor.epoch), *told.lineage.steps)
        return encode(replace(told, lineage=replace(told.lineage, steps=more)))

    monkeypatch.setattr(introductions, "encode", lying)
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    village.wait(minutes=1)
    assert "step-members" in {rule for rule, _ in village.devices["ben"].refused}


def test_a_member_passes_on_an_answer_about_a_key_package_of_no_suite() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    village.wait(minutes=3)
    found, state = strand(village, "ben"), village.state("ben")
    raw, edition, signing = package(village, "ben").encode(), state.book.edition, state.household.signing
    assert edition is not None
    assert signing is not None
    assert found.here is not None
    suite = suite_of(village.devices["ben"].provider, edition.head.authority.mandate.cipher_suite)
    signature = sign(suite, signing, nobody.RETRY, edition.head.digest + b"r" * 32)
    answer = Retry(reference=b"r" * 32, head=edition.head, signature=signature)
    said, topic = Nobody(epoch=found.head, package=raw[:2] + STRANGE + raw[4:], said=answer), found.here.topic
    act(village, "ben", lambda turn: turn.publish(topic, said))
    assert "nobody-package" in {rule for rule, _ in village.devices["anna"].refused}


def test_a_contact_gives_out_a_key_package_of_no_suite() -> None:
    village = friends("anna", "ben")
    raw = package(village, "ben").encode()
    village.packages[village.own("ben")][:] = [raw[:2] + STRANGE + raw[4:]]
    village.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    village.do("anna", inputs.Invite(intent=IntentId(b"i" * 16), conversation=TEA, account=village.own("ben")))
    assert "call-package" in {rule for rule, _ in village.devices["anna"].refused}


def test_a_contact_calls_a_group_like_a_welcome_that_waits_to_be_answered() -> None:
    """All contacts read the inbox, and so see what the Welcomes in it are called."""
    village = friends("anna", "ben", "mallory")
    village.do("anna", inputs.Open(conversation=TEA))
    withdraw_all(village, "ben")
    invite(village, "anna", "ben")
    [waits] = village.state("ben").invitations
    village.do("mallory", inputs.Open(conversation=GroupId(waits)))
    invite(village, "mallory", "ben", GroupId(waits), "mallory is there first")
    assert "invite-id" in {rule for rule, _ in village.devices["ben"].refused}
    village.wait(minutes=30)
    assert {village.own(name) for name in ("anna", "ben")} == {
        each.account for each in strand(village, "anna").graph.members(strand(village, "anna").head)
    }
    assert strand(village, "ben").head == strand(village, "anna").head
    assert GroupId(waits) not in village.state("ben").talks
