"""What an attacker tries in a group that forks, and what remains possible (docs/threat-model.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from mls import group as front, snapshot
from mls.errors import LimitError, PeerError, PuncturedError, StaleError
from mls.fork.founding import fork_resilient, with_forks
from mls.fork.mode import BY_CHILD, BY_PARENT, VERSIONS
from mls.fork.retention import left
from mls.framing import AuthenticatedContent, FramedContent, Sender, sign
from mls.group import CommitMessage, Committed
from mls.messages import open_message
from mls.parameters import Parameters
from mls.proposals import Add, ExternalSender, Remove, external_senders_extension
from mls.provider import PathSupply
from mls.registries import ContentType, LeafIndex, SenderType, WireFormat
from mls.secrets import PathSecret
from mls.signatures import Ecdsa
from mls.state import Group
from mls.suite import Suite
from tests.mls.clients import NAMES, Party, client, with_parameters
from tests.mls.fork.company import FORKING, HASHES, LEAF, company, forker, last_secret, parent_tree, repeated
from tests.mls.frankenstein import PathSurgery, as_private, as_public, forge_commit
from tests.mls.refusals import refuses
from tests.validation import breaks

A, B, C, D = NAMES[:4]
PATH = PathSurgery(leaf={"extensions": LEAF})


def two_branches(party: Party) -> list[front.Committed]:
    """Rivals by the first two members: one adds somebody, the other somebody else."""
    rivals = []
    for name, newcomer in ((A, "first newcomer"), (B, "second newcomer")):
        package = forker(newcomer).package(party.env, leaf_extensions=LEAF)
        rivals.append(front.commit(party[name], party.env, proposals=[Add(package.key_package)]))
    return rivals


# Two commits with one path


def followed(group: Group, party: Party, message: bytes) -> CommitMessage:
    event = front.receive(group, party.env, message)
    assert isinstance(event, CommitMessage)
    return event


def by_one_insider(party: Party) -> tuple[Committed, Committed]:
    """Two commits of A's on one epoch, with the same secrets all along the path."""
    env = party.env
    one = front.commit(party[A], env)
    two = front.commit(party[A], env, supply=repeated(one), authenticated_data=b"the other one")
    return one, two


def by_two_insiders(party: Party) -> tuple[Committed, Committed]:
    """The third of three members has one node on its path, the root: it can repeat what a commit of A's told it."""
    env = party.env
    one = front.commit(party[A], env)
    private, public = party.suite.generate_key_pair(env.provider.random)
    supply = PathSupply(leaf_private=private, leaf_public=public, path_secret=PathSecret(last_secret(one)))
    return one, front.commit(party[C], env, supply=supply)


@pytest.mark.parametrize("liars", [by_one_insider, by_two_insiders])
def test_two_commits_with_one_path_split_a_group_of_version_1(
    liars: Callable[[Party], tuple[Committed, Committed]],
) -> None:
    """Where the draft's words are taken as they stand: they meet in one leaf, and who took it cannot take it again."""
    party = company(3, version=BY_PARENT)
    one, two = liars(party)
    assert last_secret(one) == last_secret(two)
    assert one.group.epoch_id != two.group.epoch_id
    assert parent_tree(one.before).points == parent_tree(two.before).points
    for first, second in ((one, two), (two, one)):
        event = followed(party[B], party, first.message)
        assert event.group.epoch_id == first.group.epoch_id
        with pytest.raises(PuncturedError):
            front.receive(left(event.before), party.env, second.message)


@pytest.mark.parametrize("cipher_suite", HASHES)
@pytest.mark.parametrize("liars", [by_one_insider, by_two_insiders])
def test_two_commits_with_one_path_are_both_followed(
    liars: Callable[[Party], tuple[Committed, Committed]], cipher_suite: int
) -> None:
    """By everybody in either order, the liars included; each of them still once."""
    party = company(3, cipher_suite)
    one, two = liars(party)
    assert last_secret(one) == last_secret(two)
    states = []
    for name in (B, C) if liars is by_one_insider else (B,):
        for order in ((one, two), (two, one)):
            value = party[name]
            for sent in order:
                event = followed(value, party, sent.message)
                assert event.group.epoch_id == sent.group.epoch_id
                assert event.group.authenticator == sent.group.authenticator
                value = left(event.before)
            states.append(parent_tree(value))
            for sent in order:
                with pytest.raises(PuncturedError):
                    front.receive(value, party.env, sent.message)
    assert len(states[0].points) == 2
    assert all(state == states[0] for state in states)
    if liars is by_two_insiders:
        assert followed(left(one.before), party, two.message).group.epoch_id == two.group.epoch_id
        assert followed(left(two.before), party, one.message).group.epoch_id == one.group.epoch_id


def test_two_commits_with_one_path_on_the_epoch_that_the_first_left() -> None:
    """The liar's own value gives both; that of version 1 would refuse to make the second."""
    party = company(3)
    one = front.commit(party[A], party.env)
    two = front.commit(left(one.before), party.env, supply=repeated(one))
    assert len(parent_tree(two.before).points) == 2
    assert followed(party[B], party, two.message).group.epoch_id == two.group.epoch_id
    older = company(3, version=BY_PARENT)
    one = front.commit(older[A], older.env)
    with pytest.raises(PuncturedError):
        front.commit(left(one.before), older.env, supply=repeated(one))


@pytest.mark.parametrize("version", VERSIONS)
def test_one_commit_in_two_envelopes_is_one_commit(version: int) -> None:
    """Sealed again with another key it is in the same place, so nobody has the child twice, nor two children."""
    party = company(3, version=version)
    sent = front.commit(party[A], party.env)
    content = open_message(party[B], sent.message, shared_leaf=False).verified.authenticated
    again = as_private(party[A], party.env, content, ahead=1)
    for first, second in ((sent.message, again), (again, sent.message)):
        event = followed(party[B], party, first)
        assert event.group.epoch_id == sent.group.epoch_id
        with pytest.raises(PuncturedError):
            front.receive(left(event.before), party.env, second)


@pytest.mark.parametrize(("version", "both"), [(BY_PARENT, False), (BY_CHILD, True)])
def test_what_is_no_part_of_the_path_makes_a_commit_another_one(version: int, both: bool) -> None:
    """How it is sent, what it commits and what it authenticates is in the transcript, so in the child's context."""
    party = company(4, full=True, version=version)
    env = party.env
    one = front.commit(party[A], env)
    supply = repeated(one)
    others = [
        front.commit(party[A], env, supply=supply, encrypt=False),
        front.commit(party[A], env, supply=supply, proposals=[Remove(party.leaf(D))]),
        front.commit(party[A], env, supply=supply, authenticated_data=b"data"),
    ]
    assert {last_secret(sent) for sent in others} == {last_secret(one)}
    value = followed(party[B], party, one.message).before
    for sent in others:
        if both:
            event = followed(value, party, sent.message)
            assert event.group.epoch_id == sent.group.epoch_id
            value = event.before
        else:
            with pytest.raises(PuncturedError):
                front.receive(value, env, sent.message)
    assert len(parent_tree(value).points) == (4 if both else 1)


# Commits without end, and commits that are refused


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


def test_whoever_holds_the_branches_can_bound_what_each_member_begins() -> None:
    """A commit says who made it before anything is adopted, and what is not adopted costs nothing to keep."""
    party = company(3)
    value = party[B]
    begun: Counter[LeafIndex] = Counter()
    messages = [front.commit(party[A], party.env).message for _ in range(4)]
    messages.append(front.commit(party[C], party.env).message)
    for message in messages:
        event = followed(value, party, message)
        if begun[event.committer] < 2:
            begun[event.committer] += 1
            value = left(event.before)
    assert begun == {party.leaf(A): 2, party.leaf(C): 1}
    assert len(parent_tree(value).points) == 3
    assert followed(value, party, messages[3]).committer == party.leaf(A)  # what was not adopted can be, later


# Branches


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


@breaks("EXT-5-10")
@pytest.mark.parametrize("suite", [2, 7])
def test_a_signature_in_its_second_form(suite: int) -> None:
    """Both forms of an ECDSA signature verify; whoever sees one can write the other, and has another message."""
    party = company(3, suite)
    group = party[NAMES[0]]
    content = AuthenticatedContent(
        WireFormat.PUBLIC_MESSAGE,
        FramedContent.of(
            group.group_id,
            group.epoch,
            Sender(SenderType.MEMBER, group.own_leaf),
            b"",
            ContentType.PROPOSAL,
            Remove(LeafIndex(2)),
        ),
        b"",
        b"",
    )
    signed = sign(group.suite, group.signature_key, content.wire_format, content.content, group.public.context.encoded)
    scheme = group.suite.scheme
    assert isinstance(scheme, Ecdsa)
    r, s = decode_dss_signature(signed)
    good, bad = [
        as_public(group, replace(content, signature=encode_dss_signature(r, each))) for each in (s, scheme.order - s)
    ]
    refuses("EXT-5-10", party, NAMES[1], bad, good)


@breaks("VAL-15.3-1")
def test_a_handshake_further_ahead_than_keys_are_kept() -> None:
    """In two jumps, each of which would do: the second would cost a key that a rival may still come on."""
    party = company(3)
    made = [front.commit(party[NAMES[0]], party.env, authenticated_data=b"%d" % each) for each in range(2)]
    group = with_parameters(party[NAMES[1]], max_forward=5)
    contents = [open_message(group, each.message, shared_leaf=False).verified.authenticated for each in made]
    event = front.receive(group, party.env, as_private(party[NAMES[0]], party.env, contents[0], ahead=4))
    assert isinstance(event, CommitMessage)
    party.groups[NAMES[1]] = left(event.before)
    bad, good = [as_private(party[NAMES[0]], party.env, contents[1], ahead=each) for each in (6, 5)]
    refuses("VAL-15.3-1", party, NAMES[1], bad, good)
