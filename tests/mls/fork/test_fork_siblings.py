"""Devices that share one leaf of a group that forks: they commit at once, and each follows the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.errors import PuncturedError
from mls.fork.retention import left
from mls.group import CommitMessage
from tests.mls.fork.company import FORKING, HASHES, LEAF, company, parent_tree
from tests.mls.siblings import Siblings

SHARED = replace(FORKING, own_keys=8)


@pytest.mark.parametrize("cipher_suite", HASHES)
def test_a_commit_of_the_other_device(cipher_suite: int) -> None:
    """It is derived again and not decrypted, and takes the same leaf of the tree."""
    siblings = Siblings(company(4, cipher_suite, full=True, parameters=SHARED))
    event = siblings.commit()
    assert event.group.epoch_id == siblings.party.any.epoch_id
    assert len(parent_tree(event.before).points) == 1


@pytest.mark.parametrize("encrypt", [True, False])
def test_both_devices_commit_at_once(encrypt: bool) -> None:
    """On one handshake key, if they encrypt: whoever shares a leaf keeps what it used (`own_keys`)."""
    siblings = Siblings(company(4, full=True, parameters=SHARED))
    env, notebook = siblings.party.env, siblings.notebook
    first, second = [
        front.commit(value, env, supply=notebook.supply(value, env), encrypt=encrypt)
        for value in (siblings.first, siblings.second)
    ]
    assert first.group.epoch_id != second.group.epoch_id
    states = []
    for ours, theirs in ((first, second), (second, first)):
        event = front.receive(left(ours.before), env, theirs.message, own=notebook)
        assert isinstance(event, CommitMessage)
        assert event.group.epoch_id == theirs.group.epoch_id
        states.append(parent_tree(event.before))
        with pytest.raises(PuncturedError):
            front.receive(event.before, env, theirs.message, own=notebook)
        with pytest.raises(PuncturedError):  # our own, come back: we share the leaf, so it is looked at
            front.receive(event.before, env, ours.message, own=notebook)
    for order in ((first, second), (second, first)):
        value = siblings.party["member02"]
        for sent in order:
            event = front.receive(value, env, sent.message)
            assert isinstance(event, CommitMessage)
            value = left(event.before)
        states.append(parent_tree(value))
    assert all(state == states[0] for state in states)


def test_a_join_from_outside_in_the_place_of_the_shared_leaf() -> None:
    """A resync of one device brings an init secret of its own; the other is told it."""
    siblings = Siblings(company(4, full=True, parameters=SHARED))
    party, env = siblings.party, siblings.party.env
    client = party.clients["member01"]
    joined = client.join_externally(
        env,
        front.group_info(party.any),
        remove=siblings.first.own_leaf,
        leaf_extensions=LEAF,
        supply=siblings.notebook.supply(siblings.first, env),
    )
    [public] = siblings.notebook.paths
    siblings.notebook.paths[public] = replace(siblings.notebook.paths[public], external_init=joined.external_init)
    event = siblings.hear(joined.message)
    assert isinstance(event, CommitMessage)
    assert event.group.epoch_id == joined.group.epoch_id
    assert parent_tree(event.before).points == ()
