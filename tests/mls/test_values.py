"""A group is a value: nothing changes its input, a fork is two values with one parent, a refusal leaves no trace."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls import group as front
from mls.errors import (
    FutureEpochError,
    MlsError,
    OwnMessageError,
    PastEpochError,
    PeerError,
    ReplayError,
    StaleError,
)
from mls.framing import encode_message
from mls.group import ApplicationMessage, CommitMessage, Event, ProposalMessage
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import Extension
from mls.messages import open_message
from mls.proposals import Add, GroupContextExtensions, Remove
from mls.registries import GroupId, WireFormat
from mls.secrets import Secret
from mls.tree.path import derive_path
from tests.mls.clients import (
    PUBLIC,
    Party,
    Psks,
    client,
    environment,
    party,
    secret_bytes,
    snapshot,
)
from tests.mls.strategies import Mutation, mutated, mutations


def everything(ours: Party, message: bytes) -> list[Event | Exception]:
    """What a message does to each member's present value."""
    found: list[Event | Exception] = []
    for name in ours.names:
        try:
            found.append(front.receive(ours[name], ours.env, message))
        except MlsError as refused:
            found.append(refused)
    return found


OPERATIONS: dict[str, Callable[[Party], Any]] = {
    "commit": lambda ours: front.commit(ours["member00"], ours.env),
    "commit that adds and removes": lambda ours: front.commit(
        ours["member00"],
        ours.env,
        proposals=[
            Add(client("new").package(ours.env).key_package),
            Remove(ours.leaf("member02")),
            front.external_psk(ours["member00"], ours.env, b"psk"),
        ],
        encrypt=False,
    ),
    "commit without path": lambda ours: front.commit(
        ours["member00"], ours.env, proposals=[Add(client("new").package(ours.env).key_package)]
    ),
    "propose": lambda ours: front.propose(ours["member00"], ours.env, Remove(ours.leaf("member02"))),
    "propose an update": lambda ours: front.propose_update(ours["member00"], ours.env),
    "seal": lambda ours: front.seal(ours["member00"], ours.env, b"data"),
    "group info": lambda ours: front.group_info(ours["member00"]),
    "export": lambda ours: front.export_secret(ours["member00"], b"label", b"context", 32),
    "branch": lambda ours: front.continue_group(
        ours["member00"],
        ours.env,
        [Add(client("member01").package(ours.env).key_package)],
        signature_private=ours.clients["member00"].signer,
        branch=GroupId(b"branch"),
        lifetime=client("member01").package(ours.env).key_package.leaf_node.lifetime,  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", ["flat", "full"])
def test_making_changes_nothing(name: str, shape: Any) -> None:
    ours = party(3, shape=shape, psks=Psks({b"psk": b"shared"}))
    before = {who: snapshot(ours[who]) for who in ours.names}
    OPERATIONS[name](ours)
    assert {who: snapshot(ours[who]) for who in ours.names} == before
    ours.say("member01", b"still here")
    ours.commit("member00")


def messages(ours: Party) -> dict[str, bytes]:
    """One of each kind, all for the present epoch of `ours`, by different members, and by nobody of them."""
    group, env = ours["member00"], ours.env
    outsider = client("outsider")
    return {
        "application": front.seal(group, env, b"data", authenticated_data=b"aad")[1],
        "proposal": front.propose(group, env, Remove(ours.leaf("member02")))[1],
        "public proposal": front.propose(group, env, Remove(ours.leaf("member02")), encrypt=False)[1],
        "update": front.propose_update(group, env)[1],
        "public update": front.propose_update(group, env, encrypt=False)[1],
        "commit": front.commit(group, env).message,
        "public commit": front.commit(group, env, encrypt=False).message,
        "pathless commit": front.commit(
            group, env, proposals=[Add(outsider.package(env).key_package)], encrypt=False
        ).message,
        "removing commit": front.commit(group, env, proposals=[Remove(ours.leaf("member02"))], encrypt=False).message,
        "external commit": outsider.join_externally(env, front.group_info(group)).message,
        "resync": ours.clients["member00"].join_externally(env, front.group_info(group), remove=group.own_leaf).message,
        "new member proposal": front.propose_self(env, group.group_id, group.epoch, outsider.package(env)),
    }


KINDS = tuple(messages(party(3)))


@pytest.mark.parametrize("kind", KINDS)
def test_receiving_changes_nothing(kind: str) -> None:
    ours = party(3, shape="full")
    message = messages(ours)[kind]
    for name in ("member01", "member02"):
        before = snapshot(ours[name])
        first = front.receive(ours[name], ours.env, message)
        assert snapshot(ours[name]) == before
        again = front.receive(ours[name], ours.env, message)  # the old value can do it once more
        assert snapshot(again.group) == snapshot(first.group)
        if isinstance(first, CommitMessage):
            assert first.before.epoch == ours[name].epoch
        if isinstance(first, ApplicationMessage):
            with pytest.raises(ReplayError):
                front.receive(first.group, ours.env, message)


@given(kind=st.sampled_from(KINDS), changes=st.lists(mutations, min_size=1, max_size=2))
def test_a_refused_message_leaves_no_trace(kind: str, changes: list[Mutation]) -> None:
    ours = party(3, shape="full")
    message = mutated(MESSAGES[kind], changes)
    if message == MESSAGES[kind]:
        return
    group = ours["member01"]
    before = snapshot(group)
    try:
        front.receive(group, ours.env, message)
    except (PeerError, StaleError):
        pass
    else:
        raise AssertionError("an altered message was accepted")
    assert snapshot(group) == before
    front.receive(group, ours.env, MESSAGES[kind])


MESSAGES = messages(party(3, shape="full"))


# ---------------------------------------------------------------- forks


def test_two_commits_on_one_parent() -> None:
    """Everybody can follow both from the same value, in any order, and live on in both."""
    ours = party(4, shape="full")
    ours.say("member03", b"before the fork")
    sent = {
        "member00": front.commit(ours["member00"], ours.env, proposals=[Remove(ours.leaf("member03"))]),
        "member01": front.commit(ours["member01"], ours.env, encrypt=False),
        "member02": front.commit(
            ours["member02"], ours.env, proposals=[Add(client("new").package(ours.env).key_package)]
        ),
    }
    parents = {name: snapshot(ours[name]) for name in ours.names}
    branches = {}
    for by, made in sent.items():
        branch = ours.copy(environment(by))
        branch.deliver(made.message, by=by)
        branch.groups[by] = made.group
        branches[by] = branch
    assert {name: snapshot(ours[name]) for name in ours.names} == parents
    for by, branch in branches.items():
        branch.agree()
        for name in branch.names:
            branch.say(name, b"on the branch of " + by.encode())
        branch.commit(branch.names[-1])
    assert len({branch.any.authenticator for branch in branches.values()}) == 3
    assert {branch.any.epoch for branch in branches.values()} == {ours.any.epoch + 2}
    for name in ours.names:  # and what was said in the parent is still read by the values that were kept
        assert snapshot(ours[name]) == parents[name]
    ours.say("member02", b"late")


def test_a_message_of_one_branch_is_nothing_on_another() -> None:
    ours = party(3)
    left, right = ours.copy(environment("left")), ours.copy(environment("right"))
    left.commit("member00")
    right.commit("member01")
    for message in (
        front.seal(left["member00"], left.env, b"left")[1],
        front.commit(left["member00"], left.env, encrypt=False).message,
        front.commit(left["member00"], left.env, encrypt=True).message,
    ):
        for name in ("member01", "member02"):
            before = snapshot(right[name])
            with pytest.raises(PeerError):
                front.receive(right[name], right.env, message)
            assert snapshot(right[name]) == before


def test_the_value_before_a_commit() -> None:
    """`before` reads what was sent before the commit and follows a rival, but its key for the commit is gone."""
    ours = party(3)
    late = front.seal(ours["member00"], ours.env, b"late")[1]
    rival = front.commit(ours["member02"], ours.env).message
    sent = front.commit(ours["member00"], ours.env)
    event = front.receive(ours["member01"], ours.env, sent.message)
    assert isinstance(event, CommitMessage)
    assert front.receive(event.before, ours.env, rival).group.epoch == sent.group.epoch
    read = front.receive(event.before, ours.env, late)
    assert isinstance(read, ApplicationMessage)
    assert read.data == b"late"
    with pytest.raises(ReplayError):
        front.receive(event.before, ours.env, sent.message)
    with pytest.raises(PastEpochError):
        front.receive(event.group, ours.env, late)
    # The committer keeps such a value too; the generation that its commit took is not taken again.
    again = front.commit(sent.before, ours.env)
    opened = open_message(ours["member01"], again.message, shared_leaf=False)
    assert opened.sealing is not None
    assert opened.sealing.generation == 1
    assert front.receive(sent.before, ours.env, rival).group.epoch == sent.group.epoch


def test_the_committer_and_the_others_reach_one_value() -> None:
    ours = party(3)
    sent = front.commit(ours["member00"], ours.env, proposals=[Remove(ours.leaf("member02"))])
    event = front.receive(ours["member01"], ours.env, sent.message)
    mine, theirs = snapshot(sent.group), snapshot(event.group)
    for own in ("own leaf", "signer", "private", "resumption"):
        mine.pop(own)
        theirs.pop(own)
    assert mine == theirs
    assert sent.group.resumption[-2:] == event.group.resumption[-2:]


def test_the_past_is_forgotten() -> None:
    """No secret of an epoch is reachable from the next, but the signature key, node keys and resumption PSKs."""
    ours = party(3, shape="full")
    ours.say("member01", b"so that there are ratchets")
    old = {name: set(secret_bytes(ours[name])) for name in ours.names}
    ours.propose_update("member02")
    pending = [update.leaf_private.raw for update in ours["member02"].updates.values()]
    ours.commit("member00")
    for name in ours.names:
        group = ours[name]
        kept = old[name] & set(secret_bytes(group))
        node_keys = {key.raw for key in group.private.values()}
        assert kept <= {group.signature_key.raw} | node_keys | {psk.raw for _, psk in group.resumption}
        assert not group.updates
        assert not group.proposals
    first, last = ours["member00"], ours["member02"]
    assert not old["member00"] & {key.raw for key in first.private.values()}  # a path replaces all of them
    assert {key.raw for key in last.private.values()} >= set(pending)
    assert not old["member02"] & {key.raw for key in last.private.values()}
    # A member beside the path loses what is above the common ancestor, and keeps what is below.
    middle = ours["member01"]
    assert old["member01"] & {key.raw for key in middle.private.values()} == {middle.private[2].raw}


# ---------------------------------------------------------------- secrets stay out of sight


def shown(secret: bytes) -> tuple[str, ...]:
    return (secret.hex(), repr(secret)[2:-1], str(list(secret))[1:-1])


def assert_hidden(text: str, secrets: list[bytes]) -> None:
    for secret in secrets:
        for form in shown(secret):
            assert form not in text


def rich(suite: int) -> tuple[Party, KeyPackageSecrets]:
    """A group in which a member holds every kind of secret there is."""
    ours = party(
        3,
        suite,
        shape="full",
        psks=Psks({b"psk": b"an external pre-shared key"}),
        parameters=replace(PUBLIC, epoch_labels=(b"extension",), own_keys=2),
    )
    ours.commit("member00", proposals=[front.external_psk(ours["member00"], ours.env, b"psk")])
    ours.groups["member01"], _ = front.seal(ours["member01"], ours.env, b"skipped")
    ours.say("member01", b"read")
    ours.say("member00", b"own key kept")
    ours.propose_update("member00")
    return ours, client("new", suite).package(ours.env)


@pytest.mark.parametrize("suite", [1, 2, 4])
def test_repr_and_str_show_no_secret(suite: int) -> None:
    ours, package = rich(suite)
    group = ours["member00"]
    secrets = secret_bytes(group)
    assert len(secrets) > 15
    assert group.updates
    assert_hidden(repr(group) + str(group) + repr(group.keys) + repr(group.secrets), secrets)
    for part in (group.private, group.resumption, group.updates, group.proposals, group.public):
        assert_hidden(repr(part), secrets)
    own = [package.init_private.raw, package.leaf_private.raw, package.signature_private.raw]
    assert_hidden(repr(package) + str(package), own)


def test_repr_of_results_shows_no_secret() -> None:
    ours, package = rich(1)
    sent = front.commit(
        ours["member01"],
        ours.env,
        proposals=[Add(package.key_package)],
        force_path=True,
    )
    secrets = [*secret_bytes(sent.group), *sent.path_secrets.values()]
    assert_hidden(repr(sent), secrets)
    event = front.receive(ours["member02"], ours.env, sent.message)
    assert_hidden(repr(event), [*secret_bytes(event.group), *secret_bytes(ours["member02"])])
    joined, used = front.join(ours.env, PUBLIC, sent.welcome or b"", [package])
    assert_hidden(repr((joined, used)), [*secret_bytes(joined), package.leaf_private.raw])
    outside = client("outside").join_externally(ours.env, front.group_info(joined))
    assert_hidden(repr(outside), [*secret_bytes(outside.group), outside.external_init.raw])
    suite = joined.suite
    keys = derive_path(suite, joined.secrets.init, 3)  # type: ignore[arg-type]  # any secret will do
    assert_hidden(repr(keys), [*keys.path_secrets, keys.commit_secret.raw, *(key.raw for key in keys.private)])


def test_repr_of_a_message_shows_no_plaintext() -> None:
    ours = party(2)
    plaintext = b"an application's secret"
    message = front.seal(ours["member00"], ours.env, plaintext)[1]
    event = front.receive(ours["member01"], ours.env, message)
    assert isinstance(event, ApplicationMessage)
    assert_hidden(repr(event), [plaintext, event.sealing.nonce])
    opened = open_message(ours["member01"], message, shared_leaf=False)
    assert opened.sealing is not None
    assert_hidden(repr(opened), [opened.sealing.nonce])


def test_errors_show_no_plaintext() -> None:
    """Nor does the chain of what caused them."""
    ours = party(3)
    for kind, message in messages(ours).items():
        for altered in (message[:-1], message[:-1] + bytes([message[-1] ^ 1])):
            with pytest.raises((PeerError, StaleError)) as refused:
                front.receive(ours["member01"], ours.env, altered)
            assert refused.value.__cause__ is None, kind
            assert refused.value.__suppress_context__ or refused.value.__context__ is None
            assert_hidden(str(refused.value), [b"data", *secret_bytes(ours["member01"])])


def test_secrets_of_a_group_are_not_pickled() -> None:
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(party(2)["member00"])


def test_every_secret_of_a_group_has_a_type_or_is_known_here() -> None:
    """`secret_bytes` finds each `Secret` that a group refers to, however deep."""
    ours, _ = rich(1)
    group = ours["member00"]
    known = set(secret_bytes(group))
    seen: set[int] = set()
    found = 0
    todo: list[Any] = [group]
    while todo:
        at = todo.pop()
        if id(at) in seen or isinstance(at, type) or callable(at):
            continue
        seen.add(id(at))
        if isinstance(at, Secret):
            assert at.raw in known
            found += 1
            continue
        if type(at).__module__.startswith("mls") or isinstance(at, dict | list | tuple):
            todo.extend(gc.get_referents(at))
    assert found > 15


# ---------------------------------------------------------------- what a value is told apart by


def test_own_messages_come_back() -> None:
    ours = party(2)
    group = ours["member00"]
    for encrypt in (True, False):
        after, message, _ = front.propose(group, ours.env, Remove(ours.leaf("member01")), encrypt=encrypt)
        for value in (group, after):
            with pytest.raises(OwnMessageError):
                front.receive(value, ours.env, message)
        sent = front.commit(group, ours.env, encrypt=encrypt)
        for value in (group, sent.before):
            with pytest.raises(OwnMessageError):
                front.receive(value, ours.env, sent.message)
        with pytest.raises(PastEpochError):
            front.receive(sent.group, ours.env, sent.message)
        with pytest.raises(FutureEpochError):
            front.receive(group, ours.env, front.seal(sent.group, ours.env, b"")[1])


def test_who_was_set_back_reads_what_it_said_since_if_it_wants() -> None:
    ours = party(2)
    group = ours["member00"]
    sent, message = front.seal(group, ours.env, b"said since")
    with pytest.raises(OwnMessageError):
        front.receive(group, ours.env, message)
    event = front.receive(group, ours.env, message, own_words=True)
    assert isinstance(event, front.ApplicationMessage)
    assert (event.sender, event.data) == (group.own_leaf, b"said since")
    for value in (sent, event.group):  # it has sent that itself, or has read it
        with pytest.raises(ReplayError):
            front.receive(value, ours.env, message, own_words=True)
    for encrypt in (True, False):
        committed = front.commit(group, ours.env, encrypt=encrypt)
        with pytest.raises(OwnMessageError):
            front.receive(group, ours.env, committed.message, own_words=True)


def test_a_proposal_twice() -> None:
    """In the clear it is the same proposal again; encrypted, its key is gone."""
    ours = party(2)
    for encrypt in (False, True):
        message = front.propose(
            ours["member00"],
            ours.env,
            GroupContextExtensions((Extension(1, b"x"),)),
            encrypt=encrypt,
        )[1]
        once = front.receive(ours["member01"], ours.env, message)
        assert isinstance(once, ProposalMessage)
        if encrypt:
            with pytest.raises(ReplayError):
                front.receive(once.group, ours.env, message)
        else:
            twice = front.receive(once.group, ours.env, message)
            assert isinstance(twice, ProposalMessage)
            assert twice.reference == once.reference
            assert snapshot(twice.group) == snapshot(once.group)


def test_what_is_no_message_for_a_group() -> None:
    ours = party(2)
    group = ours["member00"]
    package = client("new").package(ours.env)
    sent = front.commit(group, ours.env, proposals=[Add(package.key_package)])
    assert sent.welcome is not None
    for message in (
        sent.welcome,
        front.group_info(group),
        encode_message(WireFormat.KEY_PACKAGE, package.key_package.encoded),
        encode_message(0x0A0A, b""),
        b"",
    ):
        with pytest.raises(PeerError):
            front.receive(group, ours.env, message)


def test_copies_of_a_party_are_independent() -> None:
    """The fixtures themselves: what one test does to its party, another must not see."""
    one, two = party(3), party(3)
    one.commit("member00")
    assert two.any.epoch + 1 == one.any.epoch
