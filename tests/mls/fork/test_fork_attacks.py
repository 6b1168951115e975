"""What an attacker tries in a group that forks, and what remains possible (docs/threat-model.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front, snapshot
from mls.errors import LimitError, PeerError, StaleError
from mls.fork.founding import fork_resilient, with_forks
from mls.fork.retention import left
from mls.group import CommitMessage
from mls.parameters import Parameters
from mls.proposals import Add, ExternalSender, Remove, external_senders_extension
from mls.registries import LeafIndex
from mls.suite import Suite
from tests.mls.clients import NAMES, Party, client
from tests.mls.fork.company import FORKING, LEAF, company, forker, parent_tree
from tests.mls.frankenstein import PathSurgery, forge_commit
from tests.mls.refusals import refuses
from tests.validation import breaks

A, B, C = NAMES[:3]
PATH = PathSurgery(leaf={"extensions": LEAF})


def two_branches(party: Party) -> list[front.Committed]:
    """Rivals by the first two members: one adds somebody, the other somebody else."""
    rivals = []
    for name, newcomer in ((A, "first newcomer"), (B, "second newcomer")):
        package = forker(newcomer).package(party.env, leaf_extensions=LEAF)
        rivals.append(front.commit(party[name], party.env, proposals=[Add(package.key_package)]))
    return rivals


@breaks("VAL-12.4.2-10")
def test_a_commit_that_is_refused_takes_nothing_from_the_tree() -> None:
    """Right up to its confirmation tag: the leaf was evaluated by then, and the value never saw it."""
    party = company(3)
    good = forge_commit(party[B], party.env, party.clients[B], path=PATH)
    bad = forge_commit(party[B], party.env, party.clients[B], path=PATH, tag=lambda tag: bytes(len(tag)))
    refuses("VAL-12.4.2-10", party, A, bad.message, good.message)
    assert parent_tree(party[A]).points == ()


def test_a_flood_of_commits_is_bounded() -> None:
    """A member commits on one epoch as often as it can; what it costs the others ends at the limit."""
    party = company(2, parameters=with_forks(Parameters(), children=16))
    value = party[A]
    before = len(snapshot.encode(value).raw)
    followed = 0
    for _ in range(20):
        message = front.commit(party[B], party.env, encrypt=False).message
        try:
            event = front.receive(value, party.env, message)
        except LimitError:
            continue
        assert isinstance(event, CommitMessage)
        value = left(event.before)
        followed += 1
    assert followed == 16
    assert len(snapshot.encode(value).raw) - before <= 16 * (8_192 + 32)


def test_what_is_for_one_branch_is_refused_on_the_other() -> None:
    """Same group, same number, same leaf: what members say in one epoch, and what a joiner commits, fits no rival."""
    party = company(3)
    env = party.env
    one, two = two_branches(party)
    joined = forker("stranger").join_externally(env, front.group_info(one.group), leaf_extensions=LEAF)
    messages = [
        front.seal(one.group, env, b"for one")[1],
        front.commit(one.group, env).message,
        front.commit(one.group, env, encrypt=False).message,
        front.propose_update(one.group, env)[1],
        front.propose_update(one.group, env, encrypt=False)[1],
        joined.message,
    ]
    reader = two.group
    assert reader.epoch == one.group.epoch
    for message in messages:
        with pytest.raises(PeerError):
            front.receive(reader, env, message)


def test_what_external_senders_propose_is_for_no_branch() -> None:
    """RFC 9420 §6.1 signs it over group and epoch number alone, so it can be carried to a rival, where a leaf's index
    may be somebody else's. The commit's plan says whom it removes.
    """
    bot = client("bot")
    sender = external_senders_extension((ExternalSender(Suite(1).scheme.public_key(bot.signer), bot.credential),))
    party = company(1)
    env = party.env
    people = [forker(name) for name in (A, B)]
    founder = people[0].create(env, extensions=fork_resilient(FORKING, (sender,)), leaf_extensions=LEAF)
    package = people[1].package(env, leaf_extensions=LEAF)
    sent = front.commit(founder, env, proposals=[Add(package.key_package)])
    party.groups = {A: sent.group, B: people[1].join(env, sent.welcome, [package])}
    one, two = two_branches(party)
    third = LeafIndex(2)
    message = front.propose_as_sender(
        env, 1, one.group.group_id, one.group.epoch, Remove(third), sender_index=0, signature_private=bot.signer
    )
    names = set()
    for branch in (one.group, two.group):
        event = front.receive(branch, env, message)
        done = front.commit(event.group, env)
        leaf = branch.public.tree.leaf(third)
        assert leaf is not None
        assert third not in [index for index, _ in done.group.members]
        names.add(leaf.credential.encode())
    assert len(names) == 2


def test_one_key_package_on_two_branches() -> None:
    """Whoever keeps its init key until the fork is over can join both."""
    party = company(2)
    env = party.env
    newcomer = forker("newcomer")
    package = newcomer.package(env, leaf_extensions=LEAF)
    for name in (A, B):
        sent = front.commit(party[name], env, proposals=[Add(package.key_package)])
        joined = newcomer.join(env, sent.welcome, [package])
        assert joined.epoch_id == sent.group.epoch_id
        again = front.commit(joined, env)
        assert front.receive(sent.group, env, again.message).group.epoch_id == again.group.epoch_id


def test_a_former_member_follows_no_branch_that_was_made_without_it() -> None:
    """It has the parent with its whole tree, and not the path secret that says where in it."""
    party = company(3)
    env = party.env
    sent = front.commit(party[A], env, proposals=[Remove(LeafIndex(2))])
    then = front.commit(sent.group, env)
    _, said = front.seal(sent.group, env, b"without C")
    gone = front.receive(party[C], env, sent.message)
    assert isinstance(gone, CommitMessage)
    for message in (then.message, said):
        for value in (gone.before, replace(gone.before, public=sent.group.public)):
            with pytest.raises((PeerError, StaleError)):
                front.receive(value, env, message)


def test_a_member_of_one_branch_cannot_speak_on_another_that_it_was_not_in() -> None:
    """Who joined one branch from outside knows nothing of its rival, though both have one parent."""
    party = company(3)
    env = party.env
    info = front.group_info(party[A])
    one = forker("stranger").join_externally(env, info, leaf_extensions=LEAF)
    two = front.commit(party[B], env)
    event = front.receive(left(two.before), env, one.message)
    assert isinstance(event, CommitMessage)
    assert event.group.epoch_id == one.group.epoch_id
    _, message = front.seal(one.group, env, b"hello")
    with pytest.raises(PeerError):
        front.receive(two.group, env, message)
    _, message = front.seal(two.group, env, b"hello")
    with pytest.raises(PeerError):
        front.receive(one.group, env, message)
