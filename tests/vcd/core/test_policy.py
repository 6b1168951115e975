"""What the policy keeps members from, whichever way they try."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mls import group as mls
from mls.codec import opaque, vector
from mls.components.dictionary import dictionary_of, with_dictionary
from mls.credential import BasicCredential
from mls.leaf_node import Extension
from mls.proposals import Add, AppDataUpdate, GroupContextExtensions, PreSharedKey, Proposal, ReInit, Remove, SelfRemove
from mls.psk import ResumptionPskId
from mls.registries import ExtensionType, LeafIndex, ResumptionUsage
from tests.vcd.core.company import Plain, act, add, gather, package, strand_of
from tests.vcd.core.village import Village
from vcd.core import acting, inputs, keys, listing, policy as policies
from vcd.core.errors import Refused
from vcd.core.names import GroupId
from vcd.core.payloads import Post
from vcd.core.policy import DAY, MINUTE, Mode, Policy, Who, of_group
from vcd.core.strand import Membership, Strand
from vcd.core.turn import Turn

TEA = GroupId(b"tea")
PEOPLE = ("anna", "ben", "cleo")


def village() -> Village:
    """Anna opened the conversation, so she is its admin, and ben is none."""
    found = Village()
    gather(found, TEA, Mode.DEMLS, *PEOPLE)
    return found


def members(v: Village, name: str) -> set[bytes]:
    strand = strand_of(v, name, TEA)
    return {bytes(each.account) for each in strand.graph.members(strand.head)}


def removal(v: Village, strand: Strand, who: str) -> Remove:
    (found,) = [each for each in strand.graph.members(strand.head) if each.account == v.own(who)]
    return Remove(LeafIndex(found.leaf))


def propose(v: Village, name: str, make: Callable[[Strand], Proposal]) -> None:
    def do(turn: Turn) -> None:
        sealed = keys.propose(turn, turn.strand(TEA), make(turn.strand(TEA)))
        turn.publish(turn.strand(TEA).kept[sealed.epoch].topic, Post(epoch=sealed.epoch, message=sealed.message))

    act(v, name, do)


def test_who_may_not_remove_has_nobody_removed_by_a_proposal_that_an_admin_takes_up() -> None:
    v = village()
    propose(v, "ben", lambda strand: removal(v, strand, "cleo"))
    act(v, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), force_path=True))
    for name in PEOPLE:
        assert members(v, name) == {v.own(each) for each in PEOPLE}


def test_who_may_not_change_the_rules_does_not_by_a_proposal_that_an_admin_takes_up() -> None:
    v = village()
    loose = policies.entry(Policy(remove=Who.EVERYBODY, admins=(v.own("ben"),)))
    propose(v, "ben", lambda _strand: AppDataUpdate(policies.COMPONENT, loose))
    act(v, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), force_path=True))
    for name in PEOPLE:
        here = strand_of(v, name, TEA).here
        assert here is not None
        assert of_group(here.group).admins == (v.own("anna"),)


def _reinit(strand: Strand) -> Proposal:
    assert strand.here is not None
    return ReInit(GroupId(b"elsewhere"), 1, 1, strand.here.group.public.context.extensions)


def _external_senders(strand: Strand) -> Proposal:
    assert strand.here is not None
    group = strand.here.group
    sender = opaque(group.own_leaf_node.signature_key) + BasicCredential(b"eve").encode()
    added = Extension(int(ExtensionType.EXTERNAL_SENDERS), vector([sender]))
    return GroupContextExtensions((*group.public.context.extensions, added))


def _psk(strand: Strand) -> Proposal:
    assert strand.here is not None
    group = strand.here.group
    nonce = bytes(group.suite.hash_size)
    return PreSharedKey(ResumptionPskId(ResumptionUsage.APPLICATION, group.group_id, group.epoch, nonce))


def _list(strand: Strand) -> Proposal:
    """What would make a home of a conversation."""
    assert strand.here is not None
    extensions = strand.here.group.public.context.extensions
    changed = dictionary_of(extensions).with_entry(listing.COMPONENT, b"a list")
    return GroupContextExtensions(with_dictionary(extensions, changed))


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (_reinit, "policy-proposal"),
        (_psk, "policy-proposal"),
        (_external_senders, "policy-extensions"),
        (_list, "policy-extensions"),
    ],
    ids=["reinit", "psk", "senders", "list"],
)
@pytest.mark.parametrize("name", ["anna", "ben"])
def test_nobody_ends_a_group_uses_keys_that_others_lack_or_lets_outsiders_propose(
    name: str, make: Callable[[Strand], Proposal], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    v = village()

    def do(turn: Turn) -> None:
        acting.commit(turn, turn.strand(TEA), proposals=[make(turn.strand(TEA))])

    with pytest.raises(Refused, match=rule):
        act(v, name, do)
    before = {each: strand_of(v, each, TEA).head for each in PEOPLE if each != name}
    with monkeypatch.context() as patch:  # a program that does not keep to the rules
        patch.setattr(acting, "check", lambda *_: None)
        act(v, name, do)
    assert {each: strand_of(v, each, TEA).head for each in before} == before
    assert all(rule in [found for found, _ in v.devices[each].refused] for each in before)


def test_a_wish_to_leave_goes_into_the_next_commit_whatever_that_is_for() -> None:
    v = village()
    propose(v, "ben", lambda _strand: SelfRemove())
    act(v, "cleo", lambda turn: keys.seal(turn, turn.strand(TEA), b"stay"))  # what waits is let wait for that
    act(v, "cleo", lambda turn: acting.commit(turn, turn.strand(TEA), force_path=True))
    assert members(v, "anna") == {v.own("anna"), v.own("cleo")}


def test_who_may_not_remove_removes_nobody_and_who_is_meant_does_not_believe_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v = village()

    def do(turn: Turn) -> None:
        acting.commit(turn, turn.strand(TEA), proposals=[removal(v, turn.strand(TEA), "cleo")])

    with pytest.raises(Refused, match="policy-remove"):
        act(v, "ben", do)
    with monkeypatch.context() as patch:
        patch.setattr(acting, "check", lambda *_: None)
        act(v, "ben", do)
    for name in ("anna", "cleo"):
        assert "policy-remove" in [rule for rule, _ in v.devices[name].refused]
        assert v.own("cleo") in members(v, name)
    assert strand_of(v, "cleo", TEA).membership is Membership.IN


# ---------------------------------------------------------------- ordinary clients


def led() -> tuple[Village, Plain]:
    """Anna is the admin and leads; dora is an ordinary client."""
    v = Village()
    gather(v, TEA, Mode.LEAD, *PEOPLE)
    dora = Plain(v, "dora")
    dora.join(add(v, "anna", TEA, dora.package.key_package))
    return v, dora


def carry(v: Village, dora: Plain, proposal: Proposal) -> None:
    dora.group, message, _ = mls.propose(dora.here, dora.env, proposal)
    v.do("cleo", inputs.Carry(conversation=TEA, message=message))


def test_whom_an_ordinary_client_proposes_is_brought_in_by_somebody_else() -> None:
    v, dora = led()
    v.account("emil")
    carry(v, dora, Add(package(v, "emil")))
    v.wait(minutes=1)
    assert v.own("emil") in members(v, "ben")


def test_an_ordinary_client_may_leave_by_the_only_proposal_that_it_knows() -> None:
    v, dora = led()
    carry(v, dora, Remove(dora.here.own_leaf))
    v.wait(minutes=1)
    assert members(v, "ben") == {v.own(each) for each in PEOPLE}


def test_an_ordinary_client_has_nobody_removed_whom_it_may_not_remove() -> None:
    v, dora = led()
    carry(v, dora, removal(v, strand_of(v, "ben", TEA), "ben"))
    act(v, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), force_path=True))
    v.wait(minutes=1)
    assert v.own("ben") in members(v, "cleo")


def test_where_nobody_but_admins_may_bring_people_in_a_proposal_of_others_brings_nobody() -> None:
    v = Village()
    gather(v, TEA, Mode.LEAD, "anna", "ben", policy=Policy(add=Who.ADMINS))
    v.account("emil")
    found = package(v, "emil")
    propose(v, "ben", lambda _strand: Add(found))
    act(v, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), force_path=True))
    assert v.own("emil") not in members(v, "ben")


# ---------------------------------------------------------------- what is usual


@pytest.mark.parametrize(("mode", "window"), [(Mode.EC2, 15 * MINUTE), (Mode.EC1, DAY), (Mode.DEMLS, DAY)])
def test_only_where_plain_states_are_kept_are_they_kept_for_a_quarter_of_an_hour(mode: Mode, window: int) -> None:
    v = Village()
    gather(v, TEA, mode, "anna")
    here = strand_of(v, "anna", TEA).here
    assert here is not None
    assert of_group(here.group).window == window
    gather(v, GroupId(b"coffee"), mode, "anna", policy=Policy(mode=mode, window=2 * DAY))
    other = strand_of(v, "anna", GroupId(b"coffee")).here
    assert other is not None
    assert of_group(other.group).window == 2 * DAY
