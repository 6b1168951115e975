"""DMLS §6: what of an epoch is deleted when, field by field, and what keeping one costs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from mls import group as front, snapshot
from mls.errors import GroupEndedError, PastEpochError, PuncturedError, ReplayError
from mls.fork import retention
from mls.fork.retention import left, settled
from mls.fork.schedule import PARENT_INIT
from mls.group import ApplicationMessage, CommitMessage
from mls.proposals import Add, Remove
from mls.registries import Epoch, LeafIndex
from mls.schedule import EXPORTER_TREE, EpochSecrets
from mls.state import Ended, Group
from mls.targeted import Channel
from tests.mls.clients import NAMES, Party, secret_bytes
from tests.mls.fork.company import FORKING, HASHES, LEAF, company, forker, parent_tree

A, B, C, D = NAMES[:4]
LABEL = b"something of the application"


def scene() -> tuple[Party, Group, bytes, bytes]:
    """An epoch of B's with everything in it that an epoch can have, left by a commit; a rival, and a late message."""
    party = company(4, full=True, parameters=replace(FORKING, epoch_labels=(LABEL,)))
    env = party.env
    party.propose_update(B)
    _, late = front.seal(front.shelve_proposals(party[C]), env, b"late")
    first = front.commit(front.shelve_proposals(party[A]), env, references=[])
    rival = front.commit(party[D], env)
    event = front.receive(party[B], env, first.message)
    assert isinstance(event, CommitMessage)
    return party, event.before, rival.message, late


Kept = Callable[[Group, Group], bool]


def same(name: str) -> Kept:
    return lambda old, new: getattr(old, name) == getattr(new, name)


def empty(name: str) -> Kept:
    return lambda old, new: bool(getattr(old, name)) and not getattr(new, name)


def secret(name: str, *, kept: bool) -> Kept:
    def answer(old: Group, new: Group) -> bool:
        before, after = getattr(old.secrets, name), getattr(new.secrets, name)
        return bool(before.raw) and (after == before if kept else after.raw == b"")

    return answer


STAYS, GONE = True, False

GROUP: dict[str, tuple[Kept, Kept]] = {
    "parameters": (same("parameters"), same("parameters")),
    "public": (same("public"), same("public")),
    "own_leaf": (same("own_leaf"), same("own_leaf")),
    "signature_key": (same("signature_key"), lambda old, new: new.signature_key.raw == b""),
    "private": (same("private"), empty("private")),
    "secrets": (lambda old, new: True, lambda old, new: True),  # below
    "keys": (
        same("keys"),
        lambda old, new: (
            new.keys.nodes == old.keys.nodes
            and any(key % 2 == 0 for key in old.keys.ratchets)
            and sorted(new.keys.ratchets) == sorted(key for key in old.keys.ratchets if key % 2)
        ),
    ),
    "trees": (
        lambda old, new: (
            set(old.trees) == {PARENT_INIT, EXPORTER_TREE} and new.trees == {PARENT_INIT: parent_tree(old)}
        ),
        lambda old, new: new.trees == {},
    ),
    "proposals": (same("proposals"), empty("proposals")),
    "updates": (same("updates"), empty("updates")),
    "resumption": (same("resumption"), same("resumption")),
    "ended": (lambda old, new: new.ended is None, lambda old, new: new.ended is Ended.RETIRED),
    "followed": (same("followed"), lambda old, new: not new.followed),
}
SECRETS: dict[str, tuple[bool, bool]] = {
    "sender_data": (STAYS, STAYS),
    "exporter": (GONE, GONE),
    "external": (STAYS, GONE),
    "confirmation": (GONE, GONE),
    "membership": (STAYS, GONE),
    "resumption": (STAYS, STAYS),
}


def test_every_part_of_an_epoch_has_its_fate() -> None:
    """A new field of a group or of its secrets fails here until somebody decides what happens to it."""
    names = [each.name for each in fields(Group)]
    secrets = [each.name for each in fields(EpochSecrets)]
    assert sorted(GROUP) == sorted(names)
    assert sorted([*SECRETS, "authenticator", "epoch_id", "init", "extra"]) == sorted(secrets)
    theory = retention.__doc__ or ""
    tables = [line.split("|")[1] for line in theory.splitlines() if line.startswith("|")]
    listed = {word.strip(" :") for cell in tables for word in cell.replace(":", ",").split(",")}
    assert listed >= set(names) - {"secrets"}
    assert listed >= set(secrets)


def test_what_is_left_and_what_is_settled() -> None:
    _, before, _, _ = scene()
    kept, late = left(before), settled(left(before))
    for name, (when_left, when_settled) in GROUP.items():
        assert when_left(before, kept), name
        assert when_settled(before, late), name
    for name, (when_left_, when_settled_) in SECRETS.items():
        assert secret(name, kept=when_left_)(before, kept), name
        assert secret(name, kept=when_settled_)(before, late), name
    for value in (kept, late):
        assert before.secrets.extra
        assert value.secrets.extra == ()
        assert value.secrets.init.raw == before.secrets.init.raw == b""
        assert (value.authenticator, value.epoch_id) == (before.authenticator, before.epoch_id)


def test_what_is_deleted_is_nowhere_in_what_is_stored() -> None:
    _, before, _, _ = scene()
    everything = set(secret_bytes(before)) - {b"", before.authenticator, before.epoch_id}
    for value in (left(before), settled(before)):
        stored = snapshot.encode(value).raw
        still = set(secret_bytes(value))
        gone = everything - still
        assert gone
        assert [raw for raw in gone if raw in stored] == []


def test_an_epoch_that_was_left_follows_a_rival_and_reads_what_comes_late() -> None:
    party, before, rival, late = scene()
    kept = left(before)
    event = front.receive(kept, party.env, late)
    assert isinstance(event, ApplicationMessage)
    done = front.receive(event.group, party.env, rival)
    assert isinstance(done, CommitMessage)
    assert done.plan.updated  # the rival committed the update that waits here
    over = settled(done.before)
    with pytest.raises(ReplayError):
        front.receive(over, party.env, late)
    fresh = front.receive(settled(kept), party.env, late)
    assert isinstance(fresh, ApplicationMessage)
    with pytest.raises(GroupEndedError):
        front.receive(settled(kept), party.env, rival)


def test_an_epoch_that_was_left_can_be_spoken_in_and_committed_on() -> None:
    party = company(3)
    kept = left(front.commit(party[A], party.env).before)
    _, message = front.seal(kept, party.env, b"on the parent")
    event = front.receive(party[B], party.env, message)
    assert isinstance(event, ApplicationMessage)
    again = front.commit(kept, party.env)
    assert front.receive(party[B], party.env, again.message).group.epoch_id == again.group.epoch_id


def test_what_was_deleted_is_refused_and_not_derived_from_nothing() -> None:
    party = company(3)
    env = party.env
    before = front.commit(party[A], env).before
    kept = left(before)
    for value in (kept, settled(kept)):
        with pytest.raises(GroupEndedError):
            front.export_secret(value, b"label", b"", 32)
        with pytest.raises(GroupEndedError):
            Channel.of(value).seal(
                env.provider.random,
                sender=LeafIndex(0),
                signature_private=before.signature_key,
                recipient=LeafIndex(1),
                recipient_key=party[B].own_leaf_node.encryption_key,
                data=b"",
                authenticated_data=b"",
                pad=lambda size: 0,
            )
    with pytest.raises(PuncturedError):
        front.safe_export(kept, 1)
    exporting = left(before, exports=True)
    assert front.export_secret(exporting, b"label", b"", 32) == front.export_secret(party[B], b"label", b"", 32)
    assert front.safe_export(exporting, 1)[1] == front.safe_export(party[B], 1)[1]


def test_commits_from_outside_on_an_epoch_that_was_left() -> None:
    """Any number of them on one parent, while its external secret is kept; they take nothing from its tree."""
    party = company(3)
    env = party.env
    info = front.group_info(party[A])
    joins = [forker(name).join_externally(env, info, leaf_extensions=LEAF) for name in ("stranger", "another stranger")]
    sent = front.commit(party[A], env)
    value = left(sent.before)
    for joined in joins:
        done = front.receive(value, env, joined.message)
        assert isinstance(done, CommitMessage)
        assert done.group.epoch_id == joined.group.epoch_id
        assert parent_tree(done.before) is parent_tree(value)
        assert parent_tree(done.group) == parent_tree(joined.group)
        value = done.before
    closed = left(sent.before, external_joins=False)
    with pytest.raises(GroupEndedError):
        front.receive(closed, env, joins[0].message)
    with pytest.raises(GroupEndedError):
        front.group_info(closed)
    front.group_info(closed, external_join=False)


def test_a_resumption_psk_of_a_branch() -> None:
    """The history is that of the branch: two epochs of one number have each their own."""
    party = company(3)
    env = party.env
    one, two = front.commit(party[A], env), front.commit(party[B], env)
    psk = front.resumption_psk(one.group, env, one.group.epoch)
    then = front.commit(one.group, env, proposals=[psk])
    value = party[C]
    heads = []
    for sent in (one, two):
        event = front.receive(value, env, sent.message)
        assert isinstance(event, CommitMessage)
        heads.append(event.group)
        value = event.before
    assert front.receive(heads[0], env, then.message).group.epoch_id == then.group.epoch_id
    assert heads[0].epoch == heads[1].epoch == Epoch(2)
    assert heads[0].resumption[-1] != heads[1].resumption[-1]
    with pytest.raises(PastEpochError):
        front.receive(then.group, env, one.message)


# Costs


def stored(group: Group) -> int:
    return len(snapshot.encode(group).raw)


@pytest.mark.parametrize(("cipher_suite", "per_child"), list(zip(HASHES, (8_192, 18_432, 32_768), strict=True)))
def test_what_a_child_costs(cipher_suite: int, per_child: int) -> None:
    """Notes 2.3's figure for the first child, less for each further one, plus what names the child."""
    party = company(3, cipher_suite)
    env = party.env
    size = party.suite.hash_size
    lengths = 8  # of vectors that grow by a byte or two
    value = party[A]
    sizes = [stored(value)]
    held = [sys.getsizeof(parent_tree(value).secrets)]
    for _ in range(3):
        # As PublicMessage, so that no handshake key comes into it.
        value = front.commit(value, env, encrypt=False).before
        sizes.append(stored(value))
        held.append(sys.getsizeof(parent_tree(value).secrets))
    first, *more = [after - before for before, after in zip(sizes, sizes[1:], strict=False)]
    assert 0 <= first - per_child <= lengths  # the root gives way to 8 * size subtrees, and the point is as long as it
    assert all(per_child - 20 * size <= each <= per_child + lengths for each in more)
    assert held[1] - held[0] == per_child - size
    assert all(0 < after - before <= per_child for before, after in zip(held[1:], held[2:], strict=False))
    tree = parent_tree(value)
    assert len(tree.points) == 3
    assert sum(sys.getsizeof(point) for point in tree.points) <= 3 * (2 * size + 32)


def test_an_epoch_that_was_left_shares_the_rest_with_the_epoch_that_begins() -> None:
    party = company(8, full=True)
    sent = front.commit(party[A], party.env)
    event = front.receive(party[B], party.env, sent.message)
    assert isinstance(event, CommitMessage)
    kept = left(event.before)
    assert kept.public is party[B].public
    assert kept.private is party[B].private
    delta = snapshot.encode_delta(party[B], event.before)
    assert len(delta.raw) <= 8_192 + 32 + 700  # the tree, and the ratchets that the commit opened
    assert snapshot.apply_delta(party[B], delta).trees == event.before.trees


def test_a_snapshot_of_every_stage_reads_back() -> None:
    party, before, rival, late = scene()
    env = party.env
    for value in (before, left(before), left(before, exports=True)):
        again = snapshot.decode(env.provider, value.parameters, snapshot.encode(value))
        assert snapshot.encode(again).raw == snapshot.encode(value).raw
        assert front.receive(again, env, rival).group.epoch_id == front.receive(value, env, rival).group.epoch_id
    over = snapshot.decode(env.provider, before.parameters, snapshot.encode(settled(before)))
    assert isinstance(front.receive(over, env, late), ApplicationMessage)


def test_the_stages_go_one_way() -> None:
    party, before, rival, _ = scene()
    over = settled(before)
    for attempt in (
        lambda: front.commit(left(over), party.env),
        lambda: front.seal(left(over), party.env, b""),
        lambda: front.receive(left(over), party.env, rival),
    ):
        with pytest.raises(GroupEndedError):
            attempt()


def test_one_who_was_removed_settles_like_the_others() -> None:
    party = company(3)
    package = forker("newcomer").package(party.env, leaf_extensions=LEAF)
    sent = front.commit(party[A], party.env, proposals=[Remove(LeafIndex(2)), Add(package.key_package)])
    event = front.receive(party[C], party.env, sent.message)
    assert isinstance(event, CommitMessage)
    assert event.group.ended is Ended.REMOVED
    assert parent_tree(event.before).points == ()
    assert settled(event.before).trees == {}
