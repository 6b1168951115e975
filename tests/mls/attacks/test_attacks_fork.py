"""Attacks on groups that fork: an old join played again, a signature turned over, a key that was passed too soon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.errors import GroupEndedError, MlsError, OwnMessageError, ReplayError
from mls.fork.retention import left, settled
from mls.group import ApplicationMessage, CommitMessage
from mls.messages import open_message
from mls.state import Group
from tests.mls.attacks.turned import turned_over
from tests.mls.clients import NAMES, Party
from tests.mls.fork.company import LEAF, company, forker, parent_tree
from tests.mls.frankenstein import as_private, as_public

A, B, C, D = NAMES[:4]
DID_NOT_RAISE = pytest.fail.Exception


def followed(group: Group, party: Party, message: bytes) -> CommitMessage:
    event = front.receive(group, party.env, message)
    assert isinstance(event, CommitMessage)
    return event


# What was there already comes again


def outsider_s_child(party: Party) -> tuple[bytes, CommitMessage]:
    """A commit from outside, and what B has of it."""
    joined = forker("stranger").join_externally(party.env, front.group_info(party[A]), leaf_extensions=LEAF)
    return joined.message, followed(party[B], party, joined.message)


def test_a_commit_of_a_member_gives_its_child_once() -> None:
    party = company(3)
    sent = front.commit(party[A], party.env)
    parent = left(followed(party[B], party, sent.message).before)
    with pytest.raises(ReplayError):
        front.receive(parent, party.env, sent.message)


def test_a_commit_from_outside_gives_its_child_once() -> None:
    """Anybody on the way can do it. Stored under its name (docs/fork.md), the new value undoes the child's life."""
    party = company(3)
    message, event = outsider_s_child(party)
    parent = left(event.before)
    with pytest.raises(ReplayError):
        front.receive(parent, party.env, message)


def test_what_comes_again_gives_no_key_twice() -> None:
    """Steps of the guide's own program: the parent becomes `left(before)`, the child is stored under its name."""
    party = company(3)
    message, event = outsider_s_child(party)
    epochs = {party[B].epoch_id: left(event.before), event.group.epoch_id: event.group}
    said = []
    for text in (b"one", b"two"):
        epochs[event.group.epoch_id], sealed = front.seal(epochs[event.group.epoch_id], party.env, text)
        said.append(sealed)
        try:
            again = followed(epochs[party[B].epoch_id], party, message)
        except ReplayError:
            continue
        epochs[party[B].epoch_id] = left(again.before)
        epochs[again.group.epoch_id] = again.group
    listener = followed(party[C], party, message).group
    generations = []
    for sealed in said:
        heard = front.receive(listener, party.env, sealed)
        assert isinstance(heard, ApplicationMessage)
        assert heard.sealing is not None
        generations.append(heard.sealing.generation)
    assert len(set(generations)) == 2


# Two commits of one member


def test_the_order_of_two_commits_far_apart_decides_nothing() -> None:
    """A liar's second commit is 200 generations ahead. Who hears it first can never follow the first; others can."""
    party = company(3)
    one = front.commit(party[A], party.env)
    two = front.commit(party[A], party.env, authenticated_data=b"the other one")
    content = open_message(party[B], two.message, shared_leaf=False).verified.authenticated
    far = as_private(party[A], party.env, content, ahead=200)
    first = followed(party[B], party, one.message)
    assert followed(left(first.before), party, far).group.epoch_id == two.group.epoch_id
    first = followed(party[C], party, far)
    assert followed(left(first.before), party, one.message).group.epoch_id == one.group.epoch_id


# A commit in somebody else's name


@pytest.mark.parametrize("cipher_suite", [2, 7])
def test_a_commit_with_its_signature_turned_over(cipher_suite: int) -> None:
    """C follows a commit of A's that A never made, counts it as A's, and A takes it for its own echo."""
    party = company(3, cipher_suite)
    sent = front.commit(party[A], party.env, encrypt=False)
    rival = as_public(party[B], turned_over(party[B], party.env, sent.message))
    with pytest.raises(OwnMessageError):
        front.receive(left(sent.before), party.env, rival)
    with pytest.raises(MlsError):
        front.receive(party[C], party.env, rival)


# What a thief finds, and what the wrong order does


def test_a_thief_of_all_stages_but_the_parent_s_old_value_has_no_child() -> None:
    """No value that a careful program keeps follows a member's commit again, whatever else is done with it."""
    party = company(4, full=True)
    sent = front.commit(party[A], party.env)
    rival = front.commit(party[D], party.env)
    event = followed(party[B], party, sent.message)
    kept = left(event.before)
    spoken, _ = front.seal(kept, party.env, b"on the parent")
    made = front.commit(spoken, party.env)
    other = followed(kept, party, rival.message)
    for value in (kept, spoken, made.before, left(made.before), left(other.before), left(kept, exports=True)):
        with pytest.raises(ReplayError):
            front.receive(value, party.env, sent.message)
    for value in (settled(kept), settled(made.before), left(settled(kept))):
        with pytest.raises(GroupEndedError):
            front.receive(value, party.env, sent.message)
    assert not any(set(parent_tree(made.group).points) & set(parent_tree(each).points) for each in (kept, made.before))


def test_an_older_value_of_the_parent_is_what_leads_to_the_child_again() -> None:
    """The price of a backup, on record: rule 2 of docs/fork.md is about this value."""
    party = company(3)
    sent = front.commit(party[A], party.env)
    older = replace(party[B], proposals={})
    assert followed(older, party, sent.message).group.epoch_id == sent.group.epoch_id
