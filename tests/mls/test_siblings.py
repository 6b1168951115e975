"""What virtual clients need of the core: several devices that act as one member.

Two devices hold the same leaf here. One of them acts with secrets that both can derive (in these tests: that both look
up in one `Notebook`), and the other follows from the wire alone. `mls.group` learns nothing of why.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls import group as front
from mls.commit import NewLeaf
from mls.errors import CallerError, FutureEpochError, OwnMessageError, PeerError, ReplayError, UnderivedError
from mls.group import ApplicationMessage, CommitMessage, ProposalMessage
from mls.leaf_node import Extensions, LeafNode
from mls.parameters import Parameters
from mls.proposals import GroupContextExtensions, Remove
from mls.provider import OwnPath, PendingUpdate
from mls.registries import LeafIndex
from mls.schedule import external_key_pair, send_external_init
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.secrets import InitSecret, PathSecret
from tests.mls.clients import (
    DEFAULT,
    Psks,
    check_private_keys,
    client,
    party,
    removed,
    snapshot,
    with_parameters,
)
from tests.mls.frankenstein import PathSurgery, flipped, forge_commit
from tests.mls.siblings import APPLICATION_ID, Notebook, Siblings, alike
from tests.mls.suite_variants import GROUP_SUITES

COMMITS: dict[str, dict[str, Any]] = {
    "empty": {},
    "public": {"encrypt": False},
    "remove": {"proposals": [Remove(LeafIndex(3))]},
    "extensions": {"proposals": [GroupContextExtensions((APPLICATION_ID,))]},
    "leaf": {"leaf": NewLeaf(extensions=(APPLICATION_ID,))},
    "data": {"authenticated_data": b"a note"},
}


@pytest.mark.parametrize("kind", COMMITS)
@pytest.mark.parametrize("shape", ["flat", "full"])
def test_a_commit_of_the_other_device(kind: str, shape: Any) -> None:
    siblings = Siblings(party(5, shape=shape))
    event = siblings.commit(**COMMITS[kind])
    assert event.authenticated_data == COMMITS[kind].get("authenticated_data", b"")
    assert not event.external
    siblings.party.commit("member00")
    follow_all(siblings)


def follow_all(siblings: Siblings) -> None:
    """Life goes on for both devices."""
    ours = siblings.party
    siblings.second = replace(ours["member01"])
    for by in ("member00", "member02"):
        sent = front.commit(ours[by], ours.env)
        assert isinstance(siblings.hear(sent.message), CommitMessage)
        ours.deliver(sent.message, by=by)
        ours.groups[by] = sent.group
        ours.agree()
        alike(siblings.first, siblings.second)
    siblings.commit()
    assert isinstance(siblings.hear(ours.say("member00", b"for both")), ApplicationMessage)


@pytest.mark.parametrize("suite", range(2, 8))
def test_a_commit_of_the_other_device_in_every_suite(suite: int) -> None:
    siblings = Siblings(party(3, suite, shape="full"))
    siblings.commit()
    siblings.commit(encrypt=False)


def test_a_commit_of_the_other_device_that_adds() -> None:
    siblings = Siblings(party(3, shape="full"))
    ours = siblings.party
    anna = client("anna")
    siblings.commit(joining=[(anna, anna.package(ours.env))])
    ours.say("anna", b"hello")
    follow_all(siblings)


def test_a_pathless_commit_of_the_other_device() -> None:
    """Nothing to derive: it is followed like anybody's, once it is asked for."""
    siblings = Siblings(party(3))
    ours = siblings.party
    anna = client("anna")
    sent = ours.commit("member01", joining=[(anna, anna.package(ours.env))])
    siblings.hear(sent.message)
    assert not siblings.notebook.asked
    alike(siblings.first, siblings.second)


def test_both_devices_commit_in_turn() -> None:
    siblings = Siblings(party(4, shape="full"))
    ours = siblings.party
    for _ in range(3):
        siblings.commit()
        ours.groups["member01"], siblings.second = siblings.second, siblings.first
    for name in ours.names:
        ours.say(name, b"still one group")


def test_a_proposal_and_an_update_of_the_other_device() -> None:
    siblings = Siblings(party(4, shape="full", psks=Psks()))
    ours, env = siblings.party, siblings.party.env
    key = ours.suite.generate_key_pair(env.provider.random)
    signer, _ = ours.suite.scheme.generate(env.provider.random)
    message = ours.propose_update(
        "member01", leaf_key=key, leaf=NewLeaf(signature_private=signer, extensions=(APPLICATION_ID,))
    )
    event = siblings.hear(message)
    assert isinstance(event, ProposalMessage)
    remove = ours.propose("member01", Remove(LeafIndex(3)), encrypt=False)
    assert isinstance(siblings.hear(remove), ProposalMessage)
    assert list(siblings.second.proposals) == list(siblings.first.proposals)
    sent = front.commit(ours["member00"], env)
    with pytest.raises(UnderivedError):  # this device has not derived the key yet
        siblings.hear(sent.message)
    siblings.notebook.updates[key[1]] = PendingUpdate(key[0], signer)
    siblings.hear(sent.message)
    ours.deliver(sent.message, by="member00")
    ours.groups["member00"] = sent.group
    ours.agree()
    alike(siblings.first, siblings.second)
    assert siblings.second.signature_key is signer
    assert siblings.second.own_leaf_node.extensions == (APPLICATION_ID,)
    siblings.commit()


def test_a_new_signature_key_by_the_other_device() -> None:
    """The leaf that a sibling commits may carry a new signature key; whoever follows must be able to sign with it."""
    siblings = Siblings(party(3, shape="full"))
    ours = siblings.party
    signer, _ = ours.suite.scheme.generate(ours.env.provider.random)
    supply = siblings.notebook.supply(siblings.first, ours.env)
    sent = ours.commit("member01", supply=supply, leaf=NewLeaf(signature_private=signer))
    noted = siblings.notebook.paths[supply.leaf_public]
    with pytest.raises(PeerError) as refused:  # without the key this device would be mute from here on
        siblings.hear(sent.message)
    assert refused.value.check == "VAL-12.4.2-9"
    siblings.notebook.paths[supply.leaf_public] = replace(noted, signature_private=signer)
    siblings.hear(sent.message)
    alike(siblings.first, siblings.second)
    ours.groups["member01"] = siblings.second
    ours.say("member01", b"signed by the second device")


def test_what_the_other_device_cannot_derive() -> None:
    siblings = Siblings(party(3, shape="full"))
    ours = siblings.party
    sent = front.commit(ours["member01"], ours.env)
    before = snapshot(siblings.second)
    with pytest.raises(UnderivedError):
        siblings.hear(sent.message)
    assert siblings.notebook.asked == [sent.group.own_leaf_node.encryption_key]
    with pytest.raises(OwnMessageError):
        front.receive(siblings.second, ours.env, sent.message)
    assert snapshot(siblings.second) == before


def test_what_the_other_device_derives_wrongly() -> None:
    siblings = Siblings(party(3, shape="full"))
    ours = siblings.party
    supply = siblings.notebook.supply(siblings.first, ours.env)
    sent = front.commit(siblings.first, ours.env, supply=supply)
    right = siblings.notebook.paths[supply.leaf_public]
    other, _ = ours.suite.generate_key_pair(ours.env.provider.random)
    before = snapshot(siblings.second)
    for wrong in (replace(right, leaf_private=other), replace(right, path_secret=PathSecret(bytes(32)))):
        siblings.notebook.paths[supply.leaf_public] = wrong
        with pytest.raises(PeerError) as refused:
            siblings.hear(sent.message)
        assert refused.value.check == "VAL-12.4.2-9"
    assert snapshot(siblings.second) == before
    siblings.notebook.paths[supply.leaf_public] = right
    assert isinstance(siblings.hear(sent.message), CommitMessage)


def test_commits_of_others_are_not_asked_about() -> None:
    siblings = Siblings(party(3))
    sent = siblings.party.commit("member00")
    siblings.hear(sent.message)
    assert not siblings.notebook.asked
    alike(siblings.first, siblings.second)


def test_being_removed_is_not_mistaken_for_a_resync() -> None:
    siblings = Siblings(party(3))
    sent = siblings.party.commit("member00", proposals=[Remove(LeafIndex(1))])
    assert removed(siblings.hear(sent.message).group)
    assert not siblings.notebook.asked


# ---------------------------------------------------------------- external commits of one's own leaf


@pytest.mark.parametrize("carried", [False, True], ids=["derived", "carried"])
@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_a_resync_by_the_other_device(suite: int, carried: bool) -> None:
    """The device that kept its state follows; the init secret it has from the epoch before, or from its sibling."""
    siblings = Siblings(party(4, suite, shape="full"))
    ours, env = siblings.party, siblings.party.env
    seen: list[tuple[bytes, InitSecret | None]] = []

    def extensions(encryption_key: bytes, external_init: InitSecret | None) -> Extensions:
        seen.append((encryption_key, external_init))
        return (APPLICATION_ID,)

    supply = siblings.notebook.supply(siblings.first, env)
    joined = ours.join_externally(
        "member01", through="member00", remove=LeafIndex(1), supply=supply, leaf_extensions=extensions
    )
    ((key, init),) = seen
    assert key == supply.leaf_public
    assert init is not None
    assert init == joined.external_init
    assert joined.group.own_leaf_node.extensions == (APPLICATION_ID,)
    if carried:
        noted = siblings.notebook.paths[supply.leaf_public]
        siblings.notebook.paths[supply.leaf_public] = replace(noted, external_init=joined.external_init)
    event = siblings.hear(joined.message)
    assert isinstance(event, CommitMessage)
    assert event.external
    assert event.group.ended is None
    # Who joined has no older resumption PSKs; in everything else the devices are alike.
    alike(siblings.first, replace(siblings.second, resumption=siblings.second.resumption[-1:]))
    ours.groups["member01"] = siblings.second
    ours.say("member01", b"from the device that kept its state")


def test_a_resync_to_another_leaf_by_the_other_device() -> None:
    siblings = Siblings(party(4, shape="full"))
    ours = siblings.party
    removal = ours.commit("member01", proposals=[Remove(LeafIndex(0))])
    siblings.second = removal.group
    supply = siblings.notebook.supply(siblings.first, ours.env)
    joined = ours.join_externally("member01", through="member02", remove=LeafIndex(1), supply=supply)
    event = siblings.hear(joined.message)
    assert event.group.own_leaf == joined.group.own_leaf == 0
    check_private_keys(event.group)


def test_a_resync_that_is_not_ours() -> None:
    """Somebody with our credential takes our place, and no device of ours can derive how: we are out."""
    siblings = Siblings(party(3))
    ours = siblings.party
    joined = client("member01").join_externally(ours.env, front.group_info(ours["member00"]), remove=LeafIndex(1))
    assert removed(siblings.hear(joined.message).group)
    assert siblings.notebook.asked == [joined.group.own_leaf_node.encryption_key]
    assert siblings.notebook.external == [True]


class Strict(Notebook):
    """A notebook that says more of what is not in it."""

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None:
        raise FutureEpochError("an epoch that this device has not heard of")

    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> PendingUpdate | None:
        raise FutureEpochError("an epoch that this device has not heard of")


def test_a_hook_says_for_itself_what_is_missing() -> None:
    """Commits, commits from outside and Updates: the hook's own word reaches the caller, and nothing has changed."""
    siblings = Siblings(party(3))
    ours = siblings.party
    siblings.notebook = Strict()
    siblings.hear(ours.propose_update("member01"))
    before = snapshot(siblings.second)
    joined = client("member01").join_externally(ours.env, front.group_info(ours["member00"]), remove=LeafIndex(1))
    own, update = (front.commit(ours[name], ours.env).message for name in ("member01", "member00"))
    for message in (own, update, joined.message):
        with pytest.raises(FutureEpochError, match="not heard of"):
            siblings.hear(message)
    assert snapshot(siblings.second) == before


def test_a_hook_is_not_asked_about_what_is_wrong_anyway() -> None:
    """It may be costly, or may note down what it was asked; a leaf whose signature is false is not worth that."""
    siblings = Siblings(party(3))
    ours = siblings.party
    surgery = PathSurgery(leaf={"signature": flipped})
    bad = forge_commit(siblings.first, ours.env, ours.clients["member01"], path=surgery)
    with pytest.raises(PeerError) as refused:
        siblings.hear(bad.message)
    assert refused.value.check == "VAL-7.3-2"
    assert not siblings.notebook.asked


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_a_supplied_external_init(suite: int) -> None:
    ours = party(2, suite)
    _, public = external_key_pair(ours.suite, ours.any.secrets.external)
    pair = send_external_init(ours.suite, public, ours.env.provider.random)
    joined = ours.join_externally("anna", external_init=pair)
    assert joined.external_init is pair[1]
    wrong = pair[0], InitSecret(bytes(len(pair[1].raw)))
    other = client("ben", suite).join_externally(ours.env, front.group_info(ours.any), external_init=wrong)
    with pytest.raises(PeerError):
        front.receive(ours.any, ours.env, other.message)


# ---------------------------------------------------------------- messages of one's own leaf


SHARED = Parameters(own_keys=3, out_of_order=4)


def speaking(parameters: Parameters = SHARED) -> Siblings:
    return Siblings(party(2, parameters=parameters))


def test_both_devices_take_the_same_generation() -> None:
    """Neither knows of the other's message when it sends; each can read the other's all the same."""
    siblings = speaking()
    env = siblings.party.env
    first, one = front.seal(siblings.first, env, b"from the first")
    second, two = front.seal(siblings.second, env, b"from the second")
    for group, message, data in ((first, two, b"from the second"), (second, one, b"from the first")):
        event = front.receive(group, env, message, own=siblings.notebook)
        assert isinstance(event, ApplicationMessage)
        assert (event.data, event.sealing.generation, event.sender) == (data, 0, 1)
        again = front.receive(event.group, env, message, own=siblings.notebook)  # duplicates are the caller's to notice
        assert isinstance(again, ApplicationMessage)
        with pytest.raises(OwnMessageError):
            front.receive(group, env, message)
    # Everybody else reads the one that comes first: the other is what its sender has to send again.
    other = front.receive(siblings.party["member00"], env, two).group
    with pytest.raises(ReplayError):
        front.receive(other, env, one)


def test_own_keys_are_kept_so_long() -> None:
    siblings = speaking()
    env = siblings.party.env
    heard = []
    for number in range(5):
        siblings.second, message = front.seal(siblings.second, env, b"%d" % number)
        heard.append(message)
    group = siblings.first
    for _ in range(5):
        group, _ = front.seal(group, env, b"mine")
    for number in range(5):
        if number < 5 - max(SHARED.own_keys, SHARED.out_of_order):
            with pytest.raises(ReplayError):
                front.receive(group, env, heard[number], own=siblings.notebook)
        else:
            group = front.receive(group, env, heard[number], own=siblings.notebook).group


def test_without_own_keys_a_used_generation_is_gone() -> None:
    siblings = speaking(DEFAULT)
    env = siblings.party.env
    first, _ = front.seal(siblings.first, env, b"mine")
    second, message = front.seal(siblings.second, env, b"yours")
    with pytest.raises(ReplayError):
        front.receive(first, env, message, own=siblings.notebook)
    assert isinstance(front.receive(siblings.first, env, message, own=siblings.notebook), ApplicationMessage)
    _, later = front.seal(second, env, b"later")
    event = front.receive(first, env, later, own=siblings.notebook)
    assert isinstance(event, ApplicationMessage)
    # Having read generation 1 of its own leaf, this device goes on with 2.
    _, message = front.seal(event.group, env, b"next")
    read = front.receive(siblings.party["member00"], env, message)
    assert isinstance(read, ApplicationMessage)
    assert read.sealing.generation == 2


@given(
    turns=st.lists(st.tuples(st.integers(0, 1), st.booleans()), min_size=1, max_size=12),
)
def test_two_devices_talk_at_once(turns: list[tuple[int, bool]]) -> None:
    """Whatever they send before they hear of each other, each reads all that the other sent, and once."""
    window = replace(SHARED, own_keys=20, out_of_order=20)
    siblings = speaking()
    env = siblings.party.env
    devices = [with_parameters(siblings.first, own_keys=20, out_of_order=20) for _ in range(2)]
    assert devices[0].parameters == window
    unread: list[list[bytes]] = [[], []]

    def hear(device: int) -> None:
        for message in unread[device]:
            event = front.receive(devices[device], env, message, own=siblings.notebook)
            assert isinstance(event, ApplicationMessage)
            assert event.data == b"from %d" % (1 - device)
            devices[device] = event.group
        unread[device].clear()

    for device, listens in turns:
        if listens:
            hear(device)
        devices[device], message = front.seal(devices[device], env, b"from %d" % device)
        unread[1 - device].append(message)
    hear(0)
    hear(1)


def test_the_reuse_guard_is_replaced() -> None:
    ours = party(2)
    asked: list[tuple[bytes, int, int]] = []

    def guard(nonce: bytes, generation: int, ratchet: int) -> bytes:
        asked.append((nonce, generation, ratchet))
        return b"\1\2\3\4"

    _, message = front.seal(ours["member00"], ours.env, b"data", reuse_guard=guard)
    event = front.receive(ours["member01"], ours.env, message)
    assert isinstance(event, ApplicationMessage)
    assert event.sealing.reuse_guard == b"\1\2\3\4"
    assert asked == [(event.sealing.nonce, 0, APPLICATION)]
    assert len(event.sealing.nonce) == 12
    _, other = front.seal(ours["member00"], ours.env, b"data", reuse_guard=guard)
    third = front.receive(ours["member01"], ours.env, other)
    assert isinstance(third, ApplicationMessage)
    assert (third.sealing.generation, third.sealing.nonce) == (event.sealing.generation, event.sealing.nonce)
    # That was the same value and so the same key. Handshakes are marked as well.
    sent = front.commit(ours["member00"], ours.env, reuse_guard=guard)
    followed = front.receive(ours["member01"], ours.env, sent.message)
    assert isinstance(followed, CommitMessage)
    assert followed.sealing is not None
    assert followed.sealing.reuse_guard == b"\1\2\3\4"
    assert asked[-1] == (followed.sealing.nonce, 0, HANDSHAKE)
    _, proposal, _ = front.propose_update(ours["member00"], ours.env, reuse_guard=guard)
    heard = front.receive(ours["member01"], ours.env, proposal)
    assert isinstance(heard, ProposalMessage)
    assert heard.sealing is not None
    assert heard.sealing.reuse_guard == b"\1\2\3\4"


def test_a_reuse_guard_is_four_bytes() -> None:
    """Another one would make a message that nobody can read."""
    ours = party(2)
    for guard in (b"", b"\1\2\3", b"\1\2\3\4\5"):
        for call in (
            partial(front.seal, ours.any, ours.env, b"data"),
            partial(front.propose_update, ours.any, ours.env, encrypt=True),
            partial(front.commit, ours.any, ours.env, encrypt=True),
        ):
            with pytest.raises(CallerError, match="four bytes"):
                call(reuse_guard=lambda *_, guard=guard: guard)


def test_random_reuse_guards_differ() -> None:
    ours = party(2)
    guards = set()
    for _ in range(20):
        event = front.receive(ours["member01"], ours.env, front.seal(ours["member00"], ours.env, b"x")[1])
        assert isinstance(event, ApplicationMessage)
        guards.add(event.sealing.reuse_guard)
    assert len(guards) == 20
