"""DMLS §2, §4 and §5: children of one epoch, each had once, in any order, by everybody."""

from __future__ import annotations

import hmac
import itertools

import pytest
from hypothesis import given, settings, strategies as st

from mls import group as front, snapshot
from mls.codec import opaque, u16
from mls.errors import BugError, LimitError, PuncturedError, ReplayError
from mls.fork.founding import with_forks
from mls.fork.mode import BY_CHILD, BY_PARENT, VERSIONS
from mls.fork.schedule import child_init, child_input, commit_confirmation
from mls.group import ApplicationMessage, CommitMessage
from mls.parameters import Parameters
from mls.proposals import Add, Remove
from mls.provider import PathSupply
from mls.puncture import Puncturable
from mls.registries import CipherSuite, HybridSuite, LeafIndex
from mls.secrets import EpochSecret, HpkePrivateKey, PathSecret
from mls.state import Group
from mls.suite import Suite
from tests.mls.clients import NAMES, Party
from tests.mls.fork.company import (
    FORKING,
    HASHES,
    LEAF,
    MARKED,
    company,
    forker,
    holds,
    last_secret,
    parent_tree,
    path_to,
)

A, B, C, D = NAMES[:4]
BY_HASH = {32: "sha256", 48: "sha384", 64: "sha512"}


def followed(group: Group, party: Party, message: bytes) -> CommitMessage:
    event = front.receive(group, party.env, message)
    assert isinstance(event, CommitMessage)
    return event


def supply_of(private: HpkePrivateKey, public: bytes, first: PathSecret) -> PathSupply:
    return PathSupply(leaf_private=private, leaf_public=public, path_secret=first)


def bound_to(version: int, parent: Group, child: Group) -> bytes:
    """The context that says where in the parent's tree the child is."""
    return {BY_PARENT: parent, BY_CHILD: child}[version].public.context.encoded


# What an epoch derives


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cipher_suite", HASHES)
def test_the_init_secret_by_the_letter_of_the_draft(cipher_suite: int, version: int) -> None:
    """Every step with nothing but HMAC; the versions differ in whose context it is."""
    party = company(3, cipher_suite, version=version)
    group = party[A]
    size = group.suite.hash_size

    def expand(secret: bytes, label: bytes, context: bytes) -> bytes:
        info = u16(size) + opaque(b"MLS 1.0 " + label) + opaque(context)
        return hmac.digest(secret, info + b"\x01", BY_HASH[size])

    sent = front.commit(group, party.env)
    confirmation = expand(last_secret(sent), b"conf", b"")
    context = bound_to(version, group, sent.group)
    point = expand(confirmation, b"child_init", context)
    [secret] = [parent_tree(group).secrets]
    for bit in "".join(f"{byte:08b}" for byte in point):
        secret = expand(secret, b"tree", b"right" if bit == "1" else b"left")
    suite = group.suite
    last = PathSecret(last_secret(sent))
    assert commit_confirmation(suite, last) == confirmation
    assert child_input(suite, confirmation, context) == point
    init, rest = child_init(suite, parent_tree(group), point)
    assert init.raw == expand(secret, b"pprf", b"")
    assert rest == parent_tree(sent.before)
    assert rest.points == (int.from_bytes(point, "big"),)


@pytest.mark.parametrize(
    "cipher_suite", [*CipherSuite, HybridSuite(0xF001), HybridSuite(0xF009)], ids=lambda suite: suite.name
)
def test_every_suite_forks(cipher_suite: int) -> None:
    party = company(3, cipher_suite)
    ones = [front.commit(party[name], party.env) for name in (A, B)]
    for order in (ones, ones[::-1]):
        value = party[C]
        for sent in order:
            event = followed(value, party, sent.message)
            assert event.group.authenticator == sent.group.authenticator
            assert event.group.epoch_id == sent.group.epoch_id
            value = event.before
    assert ones[0].group.epoch == ones[1].group.epoch
    assert ones[0].group.epoch_id != ones[1].group.epoch_id


@pytest.mark.parametrize("cipher_suite", HASHES)
def test_the_name_of_an_epoch_and_the_root_of_its_tree(cipher_suite: int) -> None:
    size = Suite(cipher_suite).hash_size
    secret = bytes(range(size))
    env = company(1, cipher_suite).env
    group = forker(A, cipher_suite).create(
        env, extensions=MARKED, leaf_extensions=LEAF, epoch_secret=EpochSecret(secret)
    )
    derived = {
        label: hmac.digest(secret, u16(size) + opaque(b"MLS 1.0 " + label) + b"\x00\x01", BY_HASH[size])
        for label in (b"epoch", b"parent_init", b"init", b"authentication")
    }
    assert group.epoch_id == derived[b"epoch"]
    assert parent_tree(group) == Puncturable.of(derived[b"parent_init"], 8 * size)
    assert group.authenticator == derived[b"authentication"]
    assert derived[b"init"] not in snapshot.encode(group).raw
    assert group.secrets.init.raw == b""


# Two children of one epoch


@pytest.mark.parametrize("version", VERSIONS)
def test_two_commits_on_one_epoch_are_followed_in_either_order_by_everybody(version: int) -> None:
    """The committers too, who follow each other's commit on the epoch that making their own left them with."""
    party = company(4, full=True, version=version)
    by_a, by_b = front.commit(party[A], party.env), front.commit(party[B], party.env)
    assert followed(by_a.before, party, by_b.message).group.authenticator == by_b.group.authenticator
    assert followed(by_b.before, party, by_a.message).group.authenticator == by_a.group.authenticator
    states = [parent_tree(followed(by_a.before, party, by_b.message).before)]
    for order in ((by_a, by_b), (by_b, by_a)):
        value = party[C]
        for sent in order:
            event = followed(value, party, sent.message)
            assert event.group.authenticator == sent.group.authenticator
            value = event.before
        states.append(parent_tree(value))
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_commit_by_the_only_member(version: int) -> None:
    """Its path has no node above the leaf: the secret that it would have started with stands for the last one.

    Nothing in it is sealed, and signatures of this suite are as good as hashes, so the same keys make the same commit.
    """
    party = company(1, version=version)
    group, env = party[A], party.env
    first = PathSecret(bytes(range(32)))
    private, public = group.suite.generate_key_pair(env.provider.random)
    sent = front.commit(group, env, supply=supply_of(private, public, first))
    context = bound_to(version, group, sent.group)
    point = child_input(group.suite, commit_confirmation(group.suite, first), context)
    assert parent_tree(sent.before).points == (int.from_bytes(point, "big"),)
    with pytest.raises(PuncturedError):
        front.commit(sent.before, env, supply=supply_of(private, public, first))
    again = front.commit(sent.before, env)
    assert again.group.epoch_id != sent.group.epoch_id


def test_new_members_start_with_a_whole_tree() -> None:
    party = company(2)
    newcomer = forker("newcomer")
    package = newcomer.package(party.env, leaf_extensions=LEAF)
    sent = front.commit(party[A], party.env, proposals=[Add(package.key_package)])
    joined = newcomer.join(party.env, sent.welcome, [package])
    assert parent_tree(joined) == parent_tree(sent.group)
    assert (joined.epoch_id, parent_tree(joined).points) == (sent.group.epoch_id, ())


def test_who_is_removed_on_one_branch_is_still_there_on_the_other() -> None:
    party = company(3)
    without_c = front.commit(party[A], party.env, proposals=[Remove(LeafIndex(2))])
    with_c = front.commit(party[B], party.env)
    for order in ((without_c, with_c), (with_c, without_c)):
        value = party[C]
        seen = []
        for sent in order:
            event = followed(value, party, sent.message)
            seen.append(event.group.ended is None)
            value = event.before
        assert seen == [sent is with_c for sent in order]


# Once


@pytest.mark.parametrize("version", VERSIONS)
def test_no_child_is_had_twice(version: int) -> None:
    party = company(3, version=version)
    sent = front.commit(party[A], party.env)
    event = followed(party[B], party, sent.message)
    before = event.before
    held = snapshot.encode(before).raw
    attempts = [
        before,
        snapshot.decode(party.env.provider, FORKING, snapshot.encode(before)),
        snapshot.apply_delta(party[B], snapshot.encode_delta(party[B], before)),
    ]
    for value in attempts:
        with pytest.raises(PuncturedError):
            front.receive(value, party.env, sent.message)
        assert snapshot.encode(value).raw == held
    assert issubclass(PuncturedError, ReplayError)


@pytest.mark.parametrize("cipher_suite", HASHES)
def test_nothing_that_is_kept_leads_to_a_child_that_was_followed(cipher_suite: int) -> None:
    """No secret from the root down to the init secret is in anything that its followers keep."""
    party = company(4, cipher_suite)
    root = parent_tree(party[A]).secrets
    sent = front.commit(party[A], party.env)
    [point] = parent_tree(sent.before).points
    lost = path_to(party.suite, root, point)
    lost += [last_secret(sent), commit_confirmation(party.suite, PathSecret(last_secret(sent)))]
    for event in [followed(party[name], party, sent.message) for name in (B, C, D)]:
        for value in (event.before, event.group, sent.before, sent.group):
            assert holds(snapshot.encode(value).raw, lost) == []
    assert holds(snapshot.encode(party[B]).raw, lost) == [0]  # the test sees what is there


def test_the_limit_of_children() -> None:
    few = with_forks(Parameters(), children=2)
    party = company(3, parameters=few)
    value = party[C]
    ones = [front.commit(party[A], party.env) for _ in range(3)]
    for sent in ones[:2]:
        value = followed(value, party, sent.message).before
    held = snapshot.encode(value).raw
    with pytest.raises(LimitError):
        front.receive(value, party.env, ones[2].message)
    with pytest.raises(LimitError):
        front.commit(value, party.env)
    assert snapshot.encode(value).raw == held
    joined = few_joins(party)
    assert followed(value, party, joined).external  # takes nothing from the tree
    assert front.receive(party[C], party.env, ones[2].message).group.epoch_id == ones[2].group.epoch_id


def few_joins(party: Party) -> bytes:
    stranger = forker("stranger")
    return stranger.join_externally(party.env, front.group_info(party[A]), leaf_extensions=LEAF).message


# Handshakes of one generation, and messages on branches


@pytest.mark.parametrize("encrypt", [True, False])
def test_commits_on_one_handshake_key_need_no_setting(encrypt: bool) -> None:
    party = company(3)
    assert not FORKING.keep_handshake_keys
    ones = [front.commit(party[A], party.env, encrypt=encrypt) for _ in range(2)]
    for order in (ones, ones[::-1]):
        value = party[B]
        for sent in order:
            value = followed(value, party, sent.message).before


def test_no_key_and_nonce_are_used_on_two_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generations start anew on every branch and so coincide; what they stand for never does."""
    party = company(3)
    ones = [front.commit(party[name], party.env) for name in (A, B)]
    parent = followed(ones[0].before, party, ones[1].message).before
    branches = [ones[0].group, followed(ones[0].before, party, ones[1].message).group, parent]
    used: list[tuple[bytes, bytes]] = []
    seal = Suite.aead_seal

    def watching(suite: Suite, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        used.append((key, nonce))
        return seal(suite, key, nonce, aad, plaintext)

    monkeypatch.setattr(Suite, "aead_seal", watching)
    generations = []
    for _ in range(4):
        for at, value in enumerate(branches):
            after, _ = front.seal(value, party.env, b"the same", reuse_guard=lambda *_: bytes(4))
            generations.append(after.keys.ratchets[2 * after.own_leaf + 1].generation)
            branches[at] = after
    assert generations == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert len(used) == 24  # content and sender data
    assert len(set(used)) == 24


def test_messages_of_every_branch_and_of_the_parent_are_read() -> None:
    party = company(3)
    env = party.env
    late_value, late = front.seal(party[A], env, b"parent")
    by_a, by_b = front.commit(late_value, env), front.commit(party[B], env)
    value = party[C]
    heads = []
    for sent in (by_a, by_b):
        event = followed(value, party, sent.message)
        heads.append(event.group)
        value = event.before
    for head, sent in zip(heads, (by_a, by_b), strict=True):
        _, message = front.seal(sent.group, env, b"branch")
        event_ = front.receive(head, env, message)
        assert isinstance(event_, ApplicationMessage)
        assert event_.data == b"branch"
    event_ = front.receive(value, env, late)
    assert isinstance(event_, ApplicationMessage)
    assert event_.data == b"parent"


# Order


@pytest.mark.slow
@given(st.data())
@settings(max_examples=25)
def test_the_order_of_children_leaves_no_trace(data: st.DataObject) -> None:
    suite = Suite(data.draw(st.sampled_from(HASHES)))
    root = bytes(range(suite.hash_size))
    size = suite.hash_size
    points = data.draw(st.lists(st.binary(min_size=size, max_size=size), min_size=2, max_size=5, unique=True))
    whole = Puncturable.of(root, 8 * size)
    results = set()
    for order in (points, data.draw(st.permutations(points))):
        tree = whole
        inits = {}
        for point in order:
            init, tree = child_init(suite, tree, point)
            inits[point] = init.raw
            with pytest.raises(PuncturedError):
                child_init(suite, tree, point)
        results.add((tree.encode(), tuple(sorted(inits.items()))))
    assert len(results) == 1


def test_children_in_every_order_through_the_front_door() -> None:
    party = company(4)
    ones = [front.commit(party[name], party.env) for name in (A, B, C)]
    states = set()
    for order in itertools.permutations(ones):
        value = party[D]
        for sent in order:
            value = followed(value, party, sent.message).before
        states.add(snapshot.encode(value).raw[-20_000:])
        assert len(parent_tree(value).points) == 3
    assert len(states) == 1


def test_a_commit_without_a_path_does_not_reach_the_tree() -> None:
    group = company(2)[A]
    with pytest.raises(BugError):
        group.mode.next_init(group, None, b"")
