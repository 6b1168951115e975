"""mls-extensions §6.4: KeyPackages of last resort, in the groups that they lead into."""

from __future__ import annotations

from mls import group as front
from mls.components.last_resort import is_last_resort, mark
from mls.components.numbers import ComponentId, Numbers
from mls.group import CommitMessage, ProposalMessage
from mls.leaf_node import default_capabilities
from mls.proposals import Add
from mls.registries import GroupId
from tests.mls.clients import client, party
from tests.mls.refusals import A, B, accepts

ABLE = default_capabilities(extensions=(6,))


def test_used_in_two_groups() -> None:
    """One KeyPackage, two Welcomes, two groups: its keys stay until the client drops them."""
    anna = client("anna", capabilities=ABLE)
    first, second = party(2, seed="first"), party(2, seed="second")
    package = anna.package(first.env, extensions=mark(()))
    for ours in (first, second):
        ours.commit(A, joining=[(anna, package)])
        ours.say("anna", b"here")
    assert first["anna"].own_leaf_node == second["anna"].own_leaf_node
    # Each group gives the leaf a key of its own as soon as its member commits.
    for ours in (first, second):
        ours.commit("anna")
    assert first["anna"].own_leaf_node != second["anna"].own_leaf_node


def test_others_see_the_mark() -> None:
    """§6.4: it is part of the Add, so members can make a policy of it."""
    ours = party(2)
    anna, ben = client("anna", capabilities=ABLE), client("ben", capabilities=ABLE)
    marked = anna.package(ours.env, extensions=mark(()))
    plain = ben.package(ours.env)
    message = ours.propose(B, Add(marked.key_package))
    assert front.peek(message).epoch == ours.any.epoch
    proposal = next(iter(ours[A].proposals.values())).proposal
    assert isinstance(proposal, Add)
    assert is_last_resort(proposal.key_package.extensions)
    sent = front.commit(ours[A], ours.env, proposals=[Add(plain.key_package)])
    event = accepts(ours, B, sent.message)
    assert isinstance(event, CommitMessage)
    marks = [is_last_resort(package.extensions) for package in event.plan.joining]
    assert sorted(marks) == [False, True]


def test_a_mark_does_not_need_support() -> None:
    """RFC 9420 §13.4: extensions of a KeyPackage that the group does not know are ignored."""
    ours = party(2)
    anna = client("anna")
    ours.commit(A, joining=[(anna, anna.package(ours.env, extensions=mark(())))])
    ours.say("anna", b"here")


def test_under_another_number() -> None:
    other = Numbers(last_resort_key_package=ComponentId(0x9003))
    anna = client("anna", capabilities=ABLE)
    ours = party(2)
    package = anna.package(ours.env, extensions=mark((), other))
    group, message, _ = front.propose(ours[A], ours.env, Add(package.key_package))
    event = front.receive(ours[B], ours.env, message)
    assert isinstance(event, ProposalMessage)
    assert isinstance(event.proposal, Add)
    extensions = event.proposal.key_package.extensions
    assert (is_last_resort(extensions), is_last_resort(extensions, other)) == (False, True)
    assert group.group_id == GroupId(b"group")
