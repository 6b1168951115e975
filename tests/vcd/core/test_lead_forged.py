"""What a lead makes up, and what others do in its name: it is trusted with the order, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as mls
from mls.proposals import Remove
from mls.registries import LeafIndex
from tests.vcd.core.branches import release, withhold
from tests.vcd.core.company import Plain, act, add, step
from tests.vcd.core.led import (
    TEA,
    commit,
    forged,
    give,
    heads,
    leads,
    member,
    refresh,
    said,
    strand,
    village,
)
from tests.vcd.core.village import Village
from vcd.core import acting, events, inputs, kinds, lead, steps
from vcd.core.names import EpochId, Incarnation
from vcd.core.ordering.graph import Anchor, Member, Step
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Decision, Lineage, Nomination, Post, Votes
from vcd.core.policy import Mode, Policy, Who, of_group, usual
from vcd.core.record import encode
from vcd.core.strand import Membership, dropped
from vcd.core.turn import Turn

MADE_UP = EpochId(b"made up".ljust(32, b"!"))
OTHERS = ("anna", "ben", "cleo")
FOREVER = replace(usual(Mode.LEAD), succeed_after=0)
"""Nobody succeeds the lead, so nobody votes either."""

POLICIES = pytest.mark.parametrize("policy", [usual(Mode.LEAD), FOREVER], ids=["succeeded", "for ever"])


def led_by_mallory(policy: Policy | None = None) -> Village:
    """Mallory leads, and is no admin."""
    v = village(*OTHERS, "mallory", policy=policy)
    v.wait(minutes=5)
    mallory = member(v, "mallory")

    def name(turn: Turn) -> None:
        here = turn.strand(TEA).kept[turn.strand(TEA).head].group
        change = kinds.policy_change(here, replace(of_group(here), lead=mallory))
        acting.commit(turn, turn.strand(TEA), proposals=[change], force_path=True)

    act(v, "anna", name)
    v.wait(minutes=5)
    assert {leads(v, each) for each in v.devices} == {mallory}
    return v


def tell(v: Village, name: str, said: Decision | Lineage | Nomination | Votes) -> None:
    def publish(turn: Turn) -> None:
        mine = turn.strand(TEA)
        acting.publish_wide(turn, mine, mine.head, said)

    act(v, name, publish)


def alone(v: Village, author: Incarnation) -> Step:
    """By this header nobody is left but its author and mallory."""
    mallory = member(v, "mallory")
    here = strand(v, "mallory")
    gone = [each.incarnation for each in here.graph.members(here.head)]
    key = here.kept[here.head].group.own_leaf_node.signature_key
    return Step(
        epoch=MADE_UP,
        parent=here.head,
        author=author,
        removes=tuple(each for each in gone if each not in (author, mallory)),
        keys=((author, key),) if author != mallory else (),
        tag=b"t" * 32,
    )


def nobody_is_out(v: Village) -> None:
    v.wait(minutes=10)
    for name in OTHERS:
        mine = strand(v, name)
        assert not mine.graph.is_ancestor(MADE_UP, mine.head)
        assert mine.membership is Membership.IN
        assert {v.own(each) for each in v.devices} <= {each.account for each in mine.graph.members(mine.head)}
        assert not v.told(name, events.Gone)


# ---------------------------------------------------------------- headers that nobody followed


@POLICIES
def test_a_lead_makes_up_a_commit_of_a_member_that_signs_its_headers(policy: Policy) -> None:
    v = led_by_mallory(policy)
    made = alone(v, member(v, "anna"))
    tell(v, "mallory", forged(v, "mallory", child=MADE_UP, step=made))
    nobody_is_out(v)
    before = strand(v, "anna").here
    assert before is not None
    for name in OTHERS:  # and it goes on
        commit(v, name)
    nobody_is_out(v)
    here = strand(v, "anna").here
    assert here is not None
    assert here.group.epoch == before.group.epoch + 3


@POLICIES
def test_a_lead_makes_up_a_commit_of_its_own(policy: Policy) -> None:
    """Signed with its own key, in the open."""
    v = led_by_mallory(policy)
    mine = strand(v, "mallory")
    group = mine.kept[mine.head].group
    made = steps.signed(group.suite, group.signature_key, alone(v, member(v, "mallory")))
    tell(v, "mallory", Lineage(anchor=Anchor(epoch=mine.head, number=group.epoch, members=()), steps=(made,)))
    tell(v, "mallory", forged(v, "mallory", child=MADE_UP))
    nobody_is_out(v)


def with_dora(v: Village) -> Plain:
    """An ordinary client comes in."""
    dora = Plain(v, "dora")
    dora.join(add(v, "anna", TEA, dora.package.key_package))
    v.wait(minutes=5)
    return dora


def ordinary(v: Village) -> Incarnation:
    here = strand(v, "anna")
    people = {v.own(name) for name in v.devices}
    return next(each.incarnation for each in here.graph.members(here.head) if each.account not in people)


@POLICIES
def test_a_lead_makes_up_a_commit_of_an_ordinary_client(policy: Policy) -> None:
    """Which may remove members; who could open the commit waits for that."""
    v = led_by_mallory(replace(policy, remove=Who.EVERYBODY))
    with_dora(v)
    made = replace(alone(v, ordinary(v)), keys=())
    tell(v, "mallory", forged(v, "mallory", child=MADE_UP, step=made))
    nobody_is_out(v)


@POLICIES
@pytest.mark.parametrize("first", ["the commit", "the decision"])
def test_who_is_removed_by_an_ordinary_client_opens_the_commit(policy: Policy, first: str) -> None:
    v = village(policy=replace(policy, remove=Who.EVERYBODY))
    dora = with_dora(v)
    cleo = next(
        each for each in strand(v, "anna").graph.members(strand(v, "anna").head) if each.account == v.own("cleo")
    )
    sent = mls.commit(dora.here, dora.env, proposals=[Remove(LeafIndex(cleo.leaf))])
    late = Post if first == "the decision" else Decision
    withhold(v, lambda payload: isinstance(payload, late), "cleo")
    v.do("ben", inputs.Carry(conversation=TEA, message=sent.message))
    v.wait(minutes=1)
    assert heads(v) - {strand(v, "cleo").head} == {EpochId(sent.group.epoch_id)}
    assert strand(v, "cleo").membership is Membership.IN
    release(v)
    v.wait(minutes=5)
    assert strand(v, "cleo").membership is Membership.OUT
    assert v.told("cleo", events.Gone)
    assert len(heads(v)) == 1


# ---------------------------------------------------------------- what is read as it comes


def test_a_leaf_that_no_tree_has_beside_a_decision() -> None:
    v = led_by_mallory()
    with_dora(v)
    mine, dora = strand(v, "mallory"), ordinary(v)
    comer = Member(
        incarnation=Incarnation(b"x" * 32),
        account=v.own("anna"),
        since=mine.graph.number(mine.head) + 1,
        leaf=1 << 32,
        admin=False,
        by=dora,
    )
    made = Step(epoch=MADE_UP, parent=mine.head, author=dora, adds=(comer,))
    tell(v, "mallory", forged(v, "mallory", child=MADE_UP, step=made))
    for name in OTHERS:
        assert "step-members" in {rule for rule, _ in v.devices[name].refused}
        assert not strand(v, name).graph.has(MADE_UP)


def test_a_decision_in_a_group_of_another_suite_than_our_own() -> None:
    v = village()
    device = v.devices["cleo"]
    device.state = replace(device.state, config=replace(device.state.config, cipher_suite=5))
    decided = commit(v, "ben")
    assert strand(v, "cleo").head == decided


@pytest.mark.parametrize("what", ["a decision", "a vote"])
def test_what_is_said_of_the_end_of_a_thousand_headers_that_nobody_followed(what: str) -> None:
    v = led_by_mallory()
    mine = strand(v, "mallory")
    group, me = mine.kept[mine.head].group, member(v, "mallory")
    at, made = mine.head, []
    for number in range(1500):
        epoch = EpochId(number.to_bytes(32, "big"))
        made.append(steps.signed(group.suite, group.signature_key, Step(epoch=epoch, parent=at, author=me)))
        at = epoch
    for start in range(0, len(made), 500):
        told = Lineage(
            anchor=Anchor(epoch=mine.head, number=group.epoch, members=()), steps=tuple(made[start : start + 500])
        )
        give(v, "cleo", told)
    assert strand(v, "cleo").graph.has(at)
    if what == "a decision":
        give(v, "cleo", forged(v, "mallory", parent=at, child=MADE_UP, step=replace(alone(v, me), parent=at)))
    else:
        vote = Nomination(epoch=at, round=0, candidate=member(v, "ben"), voter=me, signature=b"")
        signature = group.suite.sign_with_label(group.signature_key, b"vcd nomination", TEA + encode(vote))
        give(v, "cleo", replace(vote, signature=signature))
    assert commit(v, "ben") in strand(v, "cleo").kept


# ---------------------------------------------------------------- what is said too late


def late(v: Village) -> tuple[EpochId, EpochId]:
    """Anna decided on an epoch that is before the last final one by now; gives that, and what else stood on it."""
    v.lost = lambda frame, name: name == "anna"
    one, two = step(v, "ben", refresh), step(v, "ben", refresh)
    parent = strand(v, "ben").graph.parent(one)
    assert parent is not None
    give(v, "ben", forged(v, "anna", child=one))
    v.lost = lambda frame, name: False

    def settle(turn: Turn) -> None:
        mine = turn.strand(TEA)
        after = replace(mine, graph=mine.graph.rebased(mine.final)[0])
        turn.put(after, graph=True)
        lead.moved(turn, mine, after)

    step(v, "ben", settle)
    assert not strand(v, "ben").graph.has(parent)
    return parent, two


def test_nobody_says_too_late_that_the_lead_said_two_things() -> None:
    v = village("anna", "ben", "cleo", policy=FOREVER)
    anna = member(v, "anna")
    parent, other = late(v)
    lie = Decision(
        parent=parent, child=other, author=anna, device=lead.named(TEA, v.state("cleo").me.device), signature=b""
    )
    group = strand(v, "cleo").kept[strand(v, "cleo").head].group
    signature = group.suite.sign_with_label(group.signature_key, b"vcd decision", TEA + encode(lie))
    give(v, "ben", replace(lie, signature=signature))
    assert not v.told("ben", events.Warned)


def test_who_says_ever_more_too_late_is_told_of_once() -> None:
    v = village("anna", "ben", "cleo", policy=FOREVER)
    parent, _ = late(v)
    for number in range(5):
        give(v, "ben", forged(v, "anna", parent=parent, child=EpochId(bytes([number]) * 32)))
    assert len(v.told("ben", events.Warned)) == 1
    assert len([each for each in said(v, "ben").past if each.parent == parent]) == 2


# ---------------------------------------------------------------- going round


def own_header(v: Village, made: Step) -> None:
    """Mallory signs it, tells of it in the open, and decides on it."""
    mine = strand(v, "mallory")
    group = mine.kept[mine.head].group
    said = steps.signed(group.suite, group.signature_key, made)
    tell(v, "mallory", Lineage(anchor=Anchor(epoch=mine.head, number=group.epoch, members=()), steps=(said,)))
    tell(v, "mallory", forged(v, "mallory", child=MADE_UP))


def test_neither_the_lead_nor_whom_it_says_it_brought_in_stands_by_its_word() -> None:
    v = led_by_mallory()
    mine, mallory = strand(v, "mallory"), member(v, "mallory")
    group, parent = mine.kept[mine.head].group, mine.head
    comer = Member(
        incarnation=steps.incarnation(MADE_UP, 9),
        account=v.own("mallory"),
        since=mine.graph.number(parent) + 1,
        leaf=9,
        admin=False,
        key=group.own_leaf_node.signature_key,
        by=mallory,
    )
    header = replace(alone(v, mallory), adds=(comer,))
    own_header(v, header)
    said = []
    for who, at in ((mallory, parent), (comer.incarnation, MADE_UP)):
        vote = Ballot(voter=who, parent=parent, round=0, child=MADE_UP)
        said.append(steps.cast(group.suite, group.signature_key, vote, at, TEA, header))
    tell(v, "mallory", Votes(ballots=tuple(said)))
    on = Step(epoch=EpochId(b"on".ljust(32, b"!")), parent=MADE_UP, author=comer.incarnation)
    signed = steps.signed(group.suite, group.signature_key, on)
    tell(v, "mallory", Lineage(anchor=Anchor(epoch=parent, number=group.epoch, members=()), steps=(signed,)))
    for name in OTHERS:
        assert strand(v, name).graph.has(on.epoch)
    nobody_is_out(v)


def test_a_lead_says_a_second_thing_of_an_epoch_whose_keys_are_gone() -> None:
    """The lower name would win."""
    v = led_by_mallory()
    withhold(v, lambda payload: isinstance(payload, Votes), *v.devices)
    mine = strand(v, "mallory")
    parent, group, low = mine.head, mine.kept[mine.head].group, EpochId(bytes(32))
    made = replace(alone(v, member(v, "mallory")), epoch=low)
    decided = commit(v, "ben")
    act(v, "cleo", lambda turn: turn.put(dropped(turn.strand(TEA), parent)))
    assert strand(v, "cleo").graph.has(parent)
    signed = steps.signed(group.suite, group.signature_key, made)
    give(v, "cleo", Lineage(anchor=Anchor(epoch=parent, number=group.epoch, members=()), steps=(signed,)))
    assert strand(v, "cleo").graph.has(low)
    second = forged(v, "mallory", parent=parent, child=low)
    give(v, "cleo", second)
    assert second in said(v, "cleo").decisions[parent]
    assert strand(v, "cleo").head == decided


def test_where_nobody_can_stand_by_a_leads_word_the_user_is_asked() -> None:
    v = led_by_mallory(FOREVER)
    own_header(v, alone(v, member(v, "mallory")))
    v.wait(hours=1)
    for name in OTHERS:
        assert [each.asks for each in v.told(name, events.OutOfSync)] == [True]
    nobody_is_out(v)
