"""RFC 9420 §12.1.8 and §12.4.3: coming in by Welcome, by commit from outside, and by asking; and asking for others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.credential import Credential, TrustBasic
from mls.errors import (
    CallerError,
    FutureEpochError,
    MissingPskError,
)
from mls.framing import Sender
from mls.group import CommitMessage, ProposalMessage
from mls.leaf_node import (
    Extension,
)
from mls.proposals import (
    Add,
    ExternalInit,
    ExternalSender,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
    external_senders_extension,
)
from mls.psk import ExternalPskId, ResumptionPskId
from mls.registries import (
    MLS10,
    Epoch,
    ExtensionType,
    GroupId,
    LeafIndex,
    ResumptionUsage,
    SenderType,
)
from mls.secrets import ResumptionPsk
from mls.welcome import decode_group_info, decode_welcome
from tests.mls.clients import (
    DEFAULT,
    Client,
    Party,
    Psks,
    client,
    environment,
    party,
    refusal,
    removed,
)
from tests.mls.suite_variants import GROUP_SUITES


def test_resync() -> None:
    ours = party(4, shape="full")
    old = ours["member02"]
    joined = ours.join_externally("member02", remove=old.own_leaf)
    assert joined.group.own_leaf == old.own_leaf
    ours.say("member02", b"here again")
    # The state that got lost learns that it is out, if it ever comes back.
    event = front.receive(old, ours.env, joined.message)
    assert isinstance(event, CommitMessage)
    assert event.external
    assert event.plan.removed == (old.own_leaf,)
    assert removed(event.group)


def test_resync_of_somebody_else() -> None:
    ours = party(3)
    info = front.group_info(ours.any)
    stranger = client("stranger")
    assert refusal(lambda: stranger.join_externally(ours.env, info, remove=ours.leaf("member01"))) == "VAL-5.3.1-2"
    lenient = environment(authentication=Everyone())
    message = stranger.join_externally(lenient, info, remove=ours.leaf("member01")).message
    assert refusal(lambda: front.receive(ours["member00"], ours.env, message)) == "VAL-5.3.1-2"
    assert not removed(front.receive(ours["member00"], lenient, message).group)


class Everyone(TrustBasic):
    def succeeds(self, old: Credential, new: Credential) -> bool:
        return True


def test_resync_to_another_leaf() -> None:
    """The old leaf is not kept: the leftmost blank one is taken, as for anybody who joins."""
    ours = party(4, shape="full")
    ours.commit("member00", proposals=[Remove(ours.leaf("member01"))])
    old = ours.leaf("member03")
    joined = ours.join_externally("member03", remove=old)
    assert (old, joined.group.own_leaf) == (3, 1)
    assert joined.group.public.tree.leaf_count == 4
    ours.join_externally("member02", remove=ours.leaf("member02"))
    assert ours["member02"].own_leaf == 2


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_many_join_from_outside(suite: int) -> None:
    ours = party(1, suite)
    for name in ("anna", "ben", "carl"):
        ours.join_externally(name, through=ours.names[-1])
    ours.commit("member00")
    for name in ours.names:
        ours.say(name, b"hello")


def test_an_external_join_with_psks() -> None:
    ours = party(2, psks=Psks({b"psk": b"shared"}))
    nonce = bytes(32)
    resumption = Psks({b"psk": b"shared"}, {(b"group", 1): ResumptionPsk(ours.any.secrets.resumption.raw)})
    ours.env = replace(ours.env, psks=resumption)
    ours.commit("member00")
    psks = [
        ExternalPskId(b"psk", nonce),
        ResumptionPskId(ResumptionUsage.APPLICATION, GroupId(b"group"), Epoch(1), nonce),
    ]
    ours.join_externally("anna", psks=psks)
    ours.say("anna", b"knows what members know")
    message = client("ben").join_externally(ours.env, front.group_info(ours.any), psks=[psks[0]]).message
    with pytest.raises(MissingPskError):
        front.receive(ours["member00"], environment(), message)


def test_group_info_with_and_without_tree() -> None:
    ours = party(3, shape="full")
    group, env, anna = ours.any, ours.env, client("anna")
    tree = group.public.tree.encode()
    bare = front.group_info(group, with_tree=False)
    assert len(bare) + len(tree) < len(front.group_info(group, with_tree=True)) + 10
    with pytest.raises(CallerError, match="tree"):
        anna.join_externally(env, bare)
    other = party(3, shape="flat").any.public.tree.encode()
    assert refusal(lambda: anna.join_externally(env, bare, tree=other)) in {"VAL-12.4.3.1-6", "VAL-12.4.3.1-9"}
    joined = anna.join_externally(env, bare, tree=tree)
    assert front.receive(group, env, joined.message).group.authenticator == joined.group.authenticator
    closed = front.group_info(group, external_join=False)
    assert refusal(lambda: anna.join_externally(env, closed)) == "VAL-12.4.3.2-1"
    assert decode_group_info(closed).context == group.public.context
    extended = front.group_info(group, extensions=(Extension(0xF00D, b"more"),))
    assert Extension(0xF00D, b"more") in decode_group_info(extended).extensions
    with pytest.raises(CallerError):
        anna.join_externally(env, bare, tree=tree, known_groups=[group.group_id])


def test_a_welcome_without_tree() -> None:
    ours = party(2, parameters=replace(DEFAULT, ratchet_tree=False))
    anna = client("anna", parameters=ours.any.parameters)
    package = anna.package(ours.env)
    sent = front.commit(ours.any, ours.env, proposals=[Add(package.key_package)])
    with pytest.raises(CallerError, match="tree"):
        anna.join(ours.env, sent.welcome, [package])
    assert (
        refusal(lambda: anna.join(ours.env, sent.welcome, [package], tree=ours.any.public.tree.encode()))
        == "VAL-12.4.3.1-9"
    )
    joined = anna.join(ours.env, sent.welcome, [package], tree=sent.group.public.tree.encode())
    assert joined.authenticator == sent.group.authenticator


def test_one_welcome_for_many() -> None:
    ours = party(1)
    people = [client(name) for name in ("anna", "ben", "carl", "dora")]
    packages = {each.name: each.package(ours.env) for each in people}
    sent = ours.commit("member00", joining=[(each, packages[each.name]) for each in people], force_path=True)
    assert sent.welcome is not None
    assert len(decode_welcome(sent.welcome).secrets) == 4
    assert sent.added == (1, 2, 3, 4)
    anna = people[0]
    others = [anna.package(ours.env), packages["anna"], anna.package(ours.env)]
    group, used = front.join(ours.env, DEFAULT, sent.welcome, others)
    assert used is packages["anna"]
    assert group.own_leaf == 1
    assert refusal(lambda: anna.join(ours.env, sent.welcome, [others[0]])) == "VAL-12.4.3.1-1"
    assert refusal(lambda: anna.join(ours.env, sent.welcome, [])) == "VAL-12.4.3.1-1"
    assert refusal(lambda: anna.join(ours.env, sent.welcome, others, known_groups=[b"group"])) == "VAL-12.4.3.1-7"
    wrong = replace(packages["anna"], init_private=packages["ben"].init_private)
    assert refusal(lambda: anna.join(ours.env, sent.welcome, [wrong])) == "VAL-12.4.3.1-2"


def test_a_welcome_with_psks() -> None:
    ours = party(2, psks=Psks({b"psk": b"shared"}))
    anna = client("anna")
    package = anna.package(ours.env)
    psk = front.external_psk(ours.any, ours.env, b"psk")
    sent = ours.commit("member00", proposals=[psk], joining=[(anna, package)])
    with pytest.raises(MissingPskError):
        anna.join(environment(), sent.welcome, [package])
    other = environment(psks=Psks({b"psk": b"another"}))
    assert refusal(lambda: anna.join(other, sent.welcome, [package])) == "VAL-12.4.3.1-4"
    ours.say("anna", b"knows it")


# ---------------------------------------------------------------- proposals from outside


def watched(count: int = 3) -> tuple[Party, list[Client]]:
    """A group with two external senders."""
    senders = [client("bot"), client("hr")]
    suite = environment().provider.suite(1)
    extension = external_senders_extension(
        tuple(ExternalSender(suite.scheme.public_key(each.signer), each.credential) for each in senders)
    )
    return party(count, extensions=(extension,), psks=Psks({b"psk": b"shared"})), senders


def from_outside(ours: Party, sender: Client, proposal: Proposal, *, index: int = 0, epoch: int | None = None) -> bytes:
    group = ours.any
    return front.propose_as_sender(
        ours.env,
        group.suite.cipher_suite,
        group.group_id,
        group.epoch if epoch is None else Epoch(epoch),
        proposal,
        sender_index=index,
        signature_private=sender.signer,
    )


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("kind", ["add", "remove", "psk", "reinit", "extensions"])
def test_what_external_senders_may_propose(kind: str, index: int) -> None:
    ours, senders = watched()
    anna = client("anna")
    package = anna.package(ours.env)
    kept = ours.any.public.context.extensions
    choices: dict[str, Proposal] = {
        "add": Add(package.key_package),
        "remove": Remove(LeafIndex(2)),
        "psk": PreSharedKey(ExternalPskId(b"psk", bytes(32))),
        "reinit": ReInit(GroupId(b"next"), MLS10, 2, ()),
        "extensions": GroupContextExtensions((*kept, Extension(ExtensionType.APPLICATION_ID, b"x"))),
    }
    proposal = choices[kind]
    for event in ours.deliver(from_outside(ours, senders[index], proposal, index=index)).values():
        assert isinstance(event, ProposalMessage)
        assert event.sender == Sender(SenderType.EXTERNAL, index)
        assert event.proposal == proposal
    sent = front.commit(ours["member01"], ours.env)
    for event in ours.deliver(sent.message, by="member01").values():
        assert isinstance(event, CommitMessage)
    group = ours.groups["member01"] = sent.group
    assert group.epoch == 2
    if kind == "add":
        ours.welcome(anna, package, sent)
    elif kind == "remove":
        assert removed(ours["member02"])
    elif kind == "reinit":
        assert group.reinit == proposal
        assert not ours.names
        return
    elif kind == "extensions":
        assert len(group.public.context.extensions) == 2
    ours.agree()


def test_what_external_senders_may_not() -> None:
    ours, (bot, hr) = watched()
    group, env = ours.any, ours.env
    node = group.own_leaf_node

    def answer(message: bytes) -> str:
        return refusal(lambda: front.receive(group, env, message))

    for proposal in (Update(node), ExternalInit(bytes(32))):
        assert answer(from_outside(ours, bot, proposal)) == "VAL-12.1.8-1"
    assert answer(from_outside(ours, bot, Remove(LeafIndex(7)))) == "VAL-12.1.3-1"
    remove = Remove(LeafIndex(1))
    assert answer(from_outside(ours, hr, remove)) == "VAL-6.1-1"  # not hr's place in the list
    assert answer(from_outside(ours, bot, remove, index=2)) == "VAL-12.1.8.1-1"
    with pytest.raises(FutureEpochError):
        front.receive(group, env, from_outside(ours, bot, remove, epoch=2))
    ours.commit("member00", proposals=[GroupContextExtensions(())])
    assert refusal(lambda: front.receive(ours.any, env, from_outside(ours, bot, remove))) == "VAL-12.1.8.1-1"


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_a_new_member_proposes_itself(suite: int) -> None:
    ours = party(2, suite)
    anna = client("anna", suite)
    package = anna.package(ours.env)
    message = front.propose_self(ours.env, ours.any.group_id, ours.any.epoch, package)
    for event in ours.deliver(message).values():
        assert isinstance(event, ProposalMessage)
        assert event.sender == Sender(SenderType.NEW_MEMBER_PROPOSAL)
    ours.say("member00", b"a stranger's wish holds nobody up")
    assert front.commit(ours["member01"], ours.env).welcome is None  # nor is it granted unasked
    sent = ours.commit("member01", references=list(ours["member01"].proposals))
    ours.welcome(anna, package, sent)
    ours.agree()
    ours.say("anna", b"let in")
