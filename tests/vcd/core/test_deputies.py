"""A lead that fell out of its own group, and the account's other devices that are still in it."""

from __future__ import annotations

from dataclasses import replace

from mls.proposals import Remove
from mls.registries import LeafIndex
from tests.vcd.core.company import act, step
from tests.vcd.core.homes import link
from tests.vcd.core.led import TEA, commit, heads, leads, member, payloads, said, strand, village
from tests.vcd.core.village import Village
from vcd.core import acting, deputies, devices, kinds, lead
from vcd.core.names import EpochId
from vcd.core.payloads import Decision
from vcd.core.policy import HOUR, Mode, Policy, Who, of_group
from vcd.core.siblings import Passed
from vcd.core.strand import Strand
from vcd.core.turn import Turn


def fallen_out(*siblings: str) -> Village:
    """Anna's first device is cut off and goes another way. The others go on, and give anna the lead again."""
    v = village("anna", "ben", "cleo", policy=Policy(mode=Mode.LEAD, window=HOUR, change=Who.EVERYBODY))
    for name in siblings:
        link(v, "anna", name)
    commit(v, "ben")  # so that the leaf is one of an epoch that all devices are in
    v.wait(hours=1)
    ours, cleos = member(v, "anna"), v.own("cleo")
    v.part(["anna"], [*siblings, "ben", "cleo"])
    mine = strand(v, "anna")
    leaf = LeafIndex(next(each.leaf for each in mine.graph.members(mine.head) if each.account == cleos))
    act(v, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), proposals=[Remove(leaf)])[0].step.epoch)
    commit(v, "cleo")
    v.wait(hours=26)

    def give_back(turn: Turn) -> None:
        here = turn.strand(TEA).kept[turn.strand(TEA).head].group
        acting.commit(turn, turn.strand(TEA), proposals=[kinds.policy_change(here, replace_lead(of_group(here)))])

    def replace_lead(policy: Policy) -> Policy:
        return Policy(mode=policy.mode, window=policy.window, change=policy.change, lead=ours)

    act(v, "ben", give_back)
    v.wait(minutes=1)
    assert leads(v, "ben") == ours
    return v


def decided_on(v: Village, epoch: EpochId) -> set[bytes]:
    return {bytes(each.device) for each in payloads(v, Decision) if each.parent == epoch}


def test_the_next_device_chooses_where_the_first_one_comes_back_from_outside() -> None:
    v = fallen_out("phone")
    theirs = strand(v, "phone").head
    v.heal()
    v.wait(hours=2)
    assert strand(v, "anna").here is not None
    assert len(heads(v)) == 1
    assert decided_on(v, theirs) == {lead.named(TEA, v.state("phone").me.device)}
    after = commit(v, "ben")
    assert heads(v) == {after}
    before = strand(v, "anna").graph.parent(after)
    assert before is not None
    assert decided_on(v, before) == {lead.named(TEA, v.state("anna").me.device)}


def test_who_passed_keeps_to_it_whatever_it_hears_later() -> None:
    v = village("anna", "ben")
    head = strand(v, "anna").head
    act(v, "anna", lambda turn: deputies._noted(turn, turn.strand(TEA), head, turn.state.me.device))
    commit(v, "ben")
    assert heads(v) == {head}
    assert not decided_on(v, head)


def test_a_device_chooses_only_when_all_before_it_have_passed() -> None:
    v = fallen_out("phone", "tablet")
    head, names = strand(v, "tablet").head, ("anna", "phone", "tablet")
    which = {name: v.state(name).me.device for name in names}
    assert deputies.chooser(v.state("tablet"), strand(v, "tablet")) == which["anna"]

    def passes(turn: Turn) -> None:
        deputies._noted(turn, turn.strand(TEA), head, turn.state.me.device)
        devices.tell(turn, Passed(group_id=TEA, epoch=head))

    act(v, "phone", passes)
    assert (head, which["phone"]) in said(v, "tablet").passed
    assert deputies.chooser(v.state("tablet"), strand(v, "tablet")) == which["anna"]
    v.heal()
    v.wait(hours=2)
    assert decided_on(v, head) == {lead.named(TEA, which["tablet"])}
    assert len(heads(v)) == 1


def test_words_of_devices_that_passed_are_few_and_push_out_none_of_others() -> None:
    v = fallen_out("phone", "tablet")
    head = strand(v, "phone").head
    act(v, "phone", lambda turn: devices.tell(turn, Passed(group_id=TEA, epoch=head)))
    for number in range(deputies.MAX_PASSED + 3):
        record = Passed(group_id=TEA, epoch=EpochId(bytes([number]) * 32))
        act(v, "tablet", lambda turn, record=record: devices.tell(turn, record))  # type: ignore[misc]
    v.heal()
    passed = said(v, "anna").passed
    assert (head, v.state("phone").me.device) in passed
    assert sum(device == v.state("tablet").me.device for _, device in passed) == deputies.MAX_PASSED


def test_who_has_chosen_on_an_epoch_does_not_pass_there() -> None:
    v = village("anna", "ben")
    head = strand(v, "anna").head
    commit(v, "ben")
    assert decided_on(v, head)
    step(v, "anna", lambda turn: deputies.pass_on(turn, without(turn.strand(TEA), head), head))
    assert said(v, "anna").passed == ()


def without(mine: Strand, epoch: EpochId) -> Strand:
    return replace(mine, kept=mine.kept.discard(epoch))


def test_of_an_account_only_one_device_votes_for_steps_and_for_leads() -> None:
    """The first device of anna is let in again where the lead is, and votes there; its phone hears nothing of that."""
    everybody = Policy(mode=Mode.LEAD, window=HOUR, change=Who.EVERYBODY, remove=Who.EVERYBODY)
    v = village("leo", "anna", "ben", "cleo", "dora", policy=everybody)
    link(v, "anna", "phone")
    commit(v, "ben")
    v.wait(hours=1)
    v.part(["leo", "anna"], ["phone", "ben", "cleo", "dora"])
    commit(v, "leo")
    commit(v, "cleo")
    v.wait(hours=26)
    mine, leos = strand(v, "cleo"), v.own("leo")
    leaf = LeafIndex(next(each.leaf for each in mine.graph.members(mine.head) if each.account == leos))
    act(v, "cleo", lambda turn: acting.commit(turn, turn.strand(TEA), proposals=[Remove(leaf)])[0].step.epoch)
    v.wait(minutes=5)
    v.down("leo")
    lead_now = next(name for name in ("ben", "cleo", "dora") if member(v, name) == leads(v, name))
    others = [name for name in ("ben", "cleo", "dora") if name != lead_now]
    v.part([lead_now], ["anna", "phone", *others])
    v.deliver()
    v.wait(minutes=20)
    v.part(["anna", lead_now], ["phone", *others])
    v.deliver()
    v.wait(hours=30)
    v.heal()
    v.wait(hours=3)
    there = ("anna", "phone", lead_now, *others)
    assert len({strand(v, name).head for name in there}) == len({strand(v, name).final for name in there}) == 1
