"""RFC 9420 §7.3 and §16.6: keys that somebody else has already."""

from __future__ import annotations

from mls import group as front
from mls.proposals import Add
from tests.mls.clients import client, environment, party
from tests.mls.frankenstein import (
    PathSurgery,
    external_init,
    forge_commit,
    forge_package,
    own_update,
    proposed,
)
from tests.mls.refusals import A, B, C, accepts, refused, refuses, refuses_in_tree, refuses_to_add, refuses_update
from tests.validation import breaks

STRANGER = client("stranger")


@breaks("VAL-7.3-8")
def test_an_encryption_key_of_another_member() -> None:
    party_ = party(3, shape="full")
    env = party_.env
    group = party_[A]
    taken = [party_[name].own_leaf_node.encryption_key for name in (A, C)]
    root = group.public.tree.root.value
    assert root is not None
    good = forge_package(STRANGER, env)
    for key in (*taken, root.encryption_key):
        bad = forge_package(STRANGER, env, leaf_key=key)
        if key != root.encryption_key:
            refuses_to_add("VAL-7.3-8", party_, bad, good, alone=False)
        else:
            refused("VAL-7.3-8", lambda: front.commit(group, env, proposals=[Add(bad.key_package)]))  # noqa: B023 - used at once
    refuses_update("VAL-7.3-8", party_, alone=False, encryption_key=taken[0])


@breaks("VAL-7.3-8")
def test_an_encryption_key_that_two_newcomers_share() -> None:
    party_ = party(2)
    env = party_.env
    one, two = client("one"), client("two")
    _, key = party_[A].suite.generate_key_pair(env.provider.random)
    bad = [Add(forge_package(who, env, leaf_key=key).key_package) for who in (one, two)]
    good = [Add(forge_package(who, env).key_package) for who in (one, two)]
    refused("VAL-7.3-8", lambda: front.commit(party_[A], env, proposals=bad))
    messages = [forge_commit(party_[B], env, party_.clients[B], adds).message for adds in (bad, good)]
    refuses("VAL-7.3-8", party_, A, *messages)


@breaks("VAL-7.3-8")
def test_a_path_that_uses_one_key_twice() -> None:
    party_ = party(4, shape="full")
    env = party_.env

    def twice(keys: list[bytes]) -> list[bytes]:
        return [keys[-1], *keys[1:]]

    bad = forge_commit(party_[B], env, party_.clients[B], path=PathSurgery(public=twice))
    refuses("VAL-7.3-8", party_, C, bad.message, forge_commit(party_[B], env, party_.clients[B]).message)


@breaks("VAL-7.3-8")
def test_an_encryption_key_that_is_twice_in_the_tree_of_a_group_to_join() -> None:
    refuses_in_tree("VAL-7.3-8", environment("twice"), copied="encryption_key")


@breaks("VAL-7.3-9")
def test_a_signature_key_of_another_member() -> None:
    """An Add of one is an Add of the same client (VAL-12.2-5); here a member takes over another one's key."""
    party_ = party(3)
    env = party_.env
    thief = client(A)  # signs with the key that it claims
    own = party_.clients[B].credential
    bad = own_update(party_[B], thief, env, credential=own)
    message = proposed(party_[B], env, bad)
    for name in (A, C):
        accepts(party_, name, message)
    items = list(party_[C].proposals.values())
    third = party_.clients[C]
    commit = forge_commit(party_[C], env, third, items).message
    refuses("VAL-7.3-9", party_, A, commit, forge_commit(party_[C], env, third).message)
    party_ = party(3)
    surgery = PathSurgery(leaf={"credential": own}, client=thief)
    commits = [forge_commit(party_[B], env, party_.clients[B], path=path).message for path in (surgery, True)]
    refuses("VAL-7.3-9", party_, A, *commits)


@breaks("VAL-7.3-9")
def test_a_stranger_with_a_member_s_signature_key() -> None:
    party_ = party(3)
    env = party_.env
    init, secret = external_init(party_[A], env)
    messages = [
        forge_commit(party_[A], env, who, [init], external=secret).message for who in (party_.clients[B], STRANGER)
    ]
    refuses("VAL-7.3-9", party_, A, *messages)


@breaks("VAL-7.3-9")
def test_two_members_who_update_to_one_signature_key() -> None:
    party_ = party(3)
    env = party_.env
    for name in (B, C):
        update = own_update(party_[name], STRANGER, env, credential=party_.clients[name].credential)
        message = proposed(party_[name], env, update)
        for other in {A, B, C} - {name}:
            accepts(party_, other, message)
    group = party_[A]
    assert len(group.proposals) == 2
    sent = front.commit(group, env)  # ours takes one of them and leaves the other
    assert len(sent.group.public.tree.signature_keys) == 3
    refused("VAL-7.3-9", lambda: front.commit(group, env, references=list(group.proposals)))


@breaks("VAL-7.3-9")
def test_a_signature_key_that_is_twice_in_the_tree_of_a_group_to_join() -> None:
    refuses_in_tree("VAL-7.3-9", environment("twice"), by=client(A), credential=client(B).credential)
