"""What people do with groups, one flow a test: joining, leaving, asking from outside, starting over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from mls import group as front
from mls.codec import opaque, varint
from mls.commit import NewLeaf
from mls.credential import BasicCredential, Credential, TrustBasic
from mls.errors import (
    CallerError,
    FutureEpochError,
    GroupEndedError,
    LimitError,
    MissingProposalsError,
    MissingPskError,
    MlsError,
    OwnMessageError,
    PastEpochError,
    PeerError,
    ReplayError,
    WrongGroupError,
)
from mls.framing import PrivateMessage, Sender
from mls.group import ApplicationMessage, CommitMessage, ProposalMessage
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import (
    Capabilities,
    Extension,
    Lifetime,
    RequiredCapabilities,
    default_capabilities,
)
from mls.parameters import Padding, Parameters
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
    GREASE,
    MLS10,
    ContentType,
    Epoch,
    ExtensionType,
    GroupId,
    LeafIndex,
    ResumptionUsage,
    SenderType,
)
from mls.secrets import ResumptionPsk
from mls.welcome import decode_group_info, decode_welcome, read_message
from tests.mls.clients import (
    DEFAULT,
    LIFETIME,
    NOW,
    PUBLIC,
    Client,
    Party,
    Psks,
    client,
    environment,
    framed,
    insider_private,
    insider_public,
    party,
    removed,
    with_parameters,
)

SUITES = range(1, 8)


def refusal(call: Callable[[], object]) -> str:
    """The rule that a call breaks."""
    with pytest.raises(PeerError) as refused:
        call()
    return refused.value.check


# ---------------------------------------------------------------- life in a group


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("parameters", [DEFAULT, PUBLIC], ids=["private", "public"])
def test_a_life(suite: int, parameters: Parameters) -> None:
    """Every step there is, once, in every suite."""
    ours = party(3, suite, parameters=parameters, psks=Psks({b"psk": b"shared"}))
    ours.say("member01", b"hello", authenticated_data=b"aad")
    ours.commit("member02")
    ours.add("member01", "anna", "ben")
    ours.propose_update("anna")
    ours.propose("ben", Remove(ours.leaf("member00")))
    ours.propose("member02", front.external_psk(ours["member02"], ours.env, b"psk"))
    ours.commit("member01")
    assert removed(ours["member00"])
    with pytest.raises(GroupEndedError):
        front.seal(ours["member00"], ours.env, b"no longer")
    ours.join_externally("carl")
    ours.say("carl", b"in by the window")
    ours.join_externally("anna", through="carl", remove=ours.leaf("anna"))
    ours.commit("anna", proposals=[front.resumption_psk(ours["anna"], ours.env, ours["anna"].epoch)])
    for name in ours.names:
        ours.say(name, name.encode())
    assert ours.names == ["member01", "member02", "anna", "ben", "carl"]


def test_everybody_exports_the_same() -> None:
    ours = party(3, shape="full")
    exported = {front.export_secret(ours[name], b"label", b"context", 40) for name in ours.names}
    assert len(exported) == 1
    group = ours.any
    others = [
        front.export_secret(group, b"label2", b"context", 40),
        front.export_secret(group, b"label", b"context2", 40),
        front.export_secret(group, b"label", b"context", 41)[:40],
    ]
    ours.commit("member00")
    others.append(front.export_secret(ours.any, b"label", b"context", 40))
    assert len({*exported, *others}) == 5
    longest = 255 * 32
    assert len(front.export_secret(group, b"", b"", longest)) == longest
    assert front.export_secret(group, b"", b"", 0) == b""
    with pytest.raises(CallerError):
        front.export_secret(group, b"", b"", longest + 1)


def test_the_authenticator_names_an_epoch() -> None:
    ours = party(2)
    seen = []
    for _ in range(3):
        assert ours["member00"].authenticator == ours["member01"].authenticator
        seen.append(ours.any.authenticator)
        ours.commit("member00")
    assert len(set(seen)) == 3


def test_extra_secrets_of_an_epoch() -> None:
    """`epoch_labels` are derived at the start of each epoch, for founder, committer, joiners and receivers alike."""
    ours = party(2, parameters=replace(DEFAULT, epoch_labels=(b"one", b"two")))
    ours.add("member01", "anna")
    ours.join_externally("ben")
    seen = {tuple((label, secret.raw) for label, secret in ours[name].secrets.extra) for name in ours.names}
    assert len(seen) == 1
    (pairs,) = seen
    assert [label for label, _ in pairs] == [b"one", b"two"]
    assert pairs[0][1] != pairs[1][1]
    alone = client("alone", parameters=ours.any.parameters).create(ours.env)
    assert len(alone.secrets.extra) == 2


def test_authenticated_data_goes_with_everything() -> None:
    ours = party(2)
    aad = b"for all to see"
    group, env = ours["member00"], ours.env
    for message in (
        front.seal(group, env, b"x", authenticated_data=aad)[1],
        front.propose(group, env, Remove(LeafIndex(1)), authenticated_data=aad)[1],
        front.propose(group, env, Remove(LeafIndex(1)), authenticated_data=aad, encrypt=False)[1],
        front.propose_update(group, env, authenticated_data=aad)[1],
        front.commit(group, env, authenticated_data=aad).message,
        front.commit(group, env, authenticated_data=aad, encrypt=False).message,
        client("anna").join_externally(env, front.group_info(group), authenticated_data=aad).message,
        front.propose_self(env, group.group_id, group.epoch, client("anna").package(env), authenticated_data=aad),
    ):
        event = front.receive(ours["member01"], env, message)
        assert event.authenticated_data == aad
        assert aad in message


# ---------------------------------------------------------------- new leaves


class Rename(TrustBasic):
    """Lets a client change its name by appending to it."""

    def succeeds(self, old: Credential, new: Credential) -> bool:
        return (
            isinstance(old, BasicCredential)
            and isinstance(new, BasicCredential)
            and new.identity.startswith(old.identity)
        )


def renamed(ours: Party, name: str) -> NewLeaf:
    signer, _ = ours.suite.scheme.generate(ours.env.provider.random)
    return NewLeaf(
        credential=BasicCredential(name.encode() + b"-2"),
        signature_private=signer,
        capabilities=default_capabilities((1, 2)),
        extensions=(Extension(ExtensionType.APPLICATION_ID, b"app"),),
    )


def check_renamed(ours: Party, name: str, new: NewLeaf) -> None:
    leaf = ours.any.public.tree.leaf(ours.leaf(name))
    assert leaf is not None
    assert leaf.credential == new.credential
    assert leaf.capabilities == new.capabilities
    assert leaf.extensions == new.extensions
    assert leaf.signature_key == ours.suite.scheme.public_key(new.signature_private)  # type: ignore[arg-type]
    assert ours[name].signature_key is new.signature_private
    ours.say(name, b"under a new key")
    ours.commit(name)  # which keeps what the leaf says
    again = ours.any.public.tree.leaf(ours.leaf(name))
    assert again is not None
    assert (again.credential, again.extensions, again.capabilities) == (
        new.credential,
        new.extensions,
        new.capabilities,
    )


@pytest.mark.parametrize("suite", [1, 2])
def test_an_update_with_a_new_key_and_name(suite: int) -> None:
    ours = party(3, suite, shape="full").copy(environment(authentication=Rename()))
    new = renamed(ours, "member02")
    ours.propose_update("member02", leaf=new)
    ours.commit("member00")
    check_renamed(ours, "member02", new)


@pytest.mark.parametrize("suite", [1, 2])
def test_a_commit_with_a_new_key_and_name(suite: int) -> None:
    ours = party(3, suite, shape="full").copy(environment(authentication=Rename()))
    new = renamed(ours, "member01")
    anna = client("anna", suite)
    ours.commit("member01", leaf=new, joining=[(anna, anna.package(ours.env))])
    check_renamed(ours, "member01", new)


def test_a_name_is_not_changed_without_leave() -> None:
    ours = party(2)
    new = renamed(ours, "member00")
    for call in (
        lambda: front.propose_update(ours["member00"], ours.env, leaf=new),
        lambda: front.commit(ours["member00"], ours.env, leaf=new),
    ):
        assert refusal(call) == "VAL-5.3.1-2"
    trusting = environment(authentication=Rename())
    for message in (
        front.propose_update(ours["member00"], trusting, leaf=new)[1],
        front.commit(ours["member00"], trusting, leaf=new).message,
    ):
        assert refusal(lambda message=message: front.receive(ours["member01"], ours.env, message)) == (  # type: ignore[misc]
            "VAL-5.3.1-2"
        )


def test_our_update_in_somebody_elses_commit() -> None:
    """The private key waits with the value that proposed it; of several, the one that is committed is used."""
    ours = party(3, shape="full")
    keys = []
    for _ in range(3):
        ours.propose_update("member02")
        keys.append([update.leaf_private for update in ours["member02"].updates.values()][-1])
    assert len(ours["member02"].updates) == 3
    ours.commit("member00")  # takes the latest
    group = ours["member02"]
    assert group.private[2 * group.own_leaf] is keys[-1]
    assert not group.updates
    ours.say("member02", b"after the update")


def test_an_update_of_ours_that_is_not_ours() -> None:
    """Whoever lost the private key of its Update cannot follow the commit, and is told so."""
    ours = party(2)
    before = ours["member00"]
    after, message, _ = front.propose_update(before, ours.env, encrypt=False)
    other = front.receive(ours["member01"], ours.env, message).group
    sent = front.commit(other, ours.env, encrypt=False)
    assert front.receive(after, ours.env, sent.message).group.authenticator == sent.group.authenticator
    lost = replace(after, updates={})
    assert refusal(lambda: front.receive(lost, ours.env, sent.message)) == "VAL-12.1.2-3"


# ---------------------------------------------------------------- resynchronizing and joining from outside


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


@pytest.mark.parametrize("suite", SUITES)
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


@pytest.mark.parametrize("suite", SUITES)
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


# ---------------------------------------------------------------- required capabilities, extensions, GREASE


def test_required_capabilities() -> None:
    wanted = RequiredCapabilities((0xF001,), (0xF002,), (1,)).extension()
    able = default_capabilities(extensions=(0xF001,), proposals=(0xF002,))
    ours = party(2, extensions=(wanted,), capabilities=able)
    strong = client("anna", capabilities=able)
    ours.commit("member00", joining=[(strong, strong.package(ours.env))])
    for weak in (
        client("ben"),
        client("ben", capabilities=default_capabilities(extensions=(0xF001,))),
        client("ben", capabilities=default_capabilities(proposals=(0xF002,))),
    ):
        package = weak.package(ours.env)
        for call in (
            lambda package=package: front.commit(ours.any, ours.env, proposals=[Add(package.key_package)]),
            lambda weak=weak: weak.join_externally(ours.env, front.group_info(ours.any)),
            lambda weak=weak: front.commit(ours.any, ours.env, leaf=NewLeaf(capabilities=weak.capabilities)),
        ):
            assert refusal(call) == "VAL-7.3-3"
    more = RequiredCapabilities((0xF003,)).extension()
    assert refusal(lambda: front.commit(ours.any, ours.env, proposals=[GroupContextExtensions((more,))])) == "VAL-7.3-3"
    ours.commit("member00", proposals=[GroupContextExtensions(())])
    ours.add("member01", "ben")


def test_extensions_that_not_everybody_implements() -> None:
    """A GroupContext extension must be known to every member, by its capabilities, and to us, by our parameters."""
    mine = Extension(0xF001, b"settings")
    able = default_capabilities(extensions=(0xF001,))
    knows = replace(DEFAULT, extensions=frozenset({0xF001}))
    ours = party(2, capabilities=able, parameters=knows)
    ours.commit("member00", proposals=[GroupContextExtensions((mine,))])
    assert ours["member01"].public.context.extensions == (mine,)
    with_it = client("anna", capabilities=able, parameters=knows)
    ours.commit("member01", joining=[(with_it, with_it.package(ours.env))])
    package = client("ben").package(ours.env)
    assert refusal(lambda: front.commit(ours.any, ours.env, proposals=[Add(package.key_package)])) == "VAL-13.4-2"
    boasts = client("ben", capabilities=able)  # says so, but does not
    package = boasts.package(ours.env)
    sent = front.commit(ours.any, ours.env, proposals=[Add(package.key_package)])
    assert refusal(lambda: boasts.join(ours.env, sent.welcome, [package])) == "VAL-13.4-3"
    assert refusal(lambda: boasts.join_externally(ours.env, front.group_info(ours.any))) == "VAL-13.4-3"
    plain = party(2, capabilities=able)
    offered = GroupContextExtensions((mine,))
    with pytest.raises(MlsError):  # what we could not follow we do not commit
        front.commit(plain["member00"], plain.env, proposals=[offered])
    sent = front.commit(
        with_parameters(plain["member00"], extensions=frozenset({0xF001})), plain.env, proposals=[offered]
    )
    assert refusal(lambda: front.receive(plain["member01"], plain.env, sent.message)) == "VAL-13.4-3"


def greasy(name: str, suite: int) -> tuple[Client, KeyPackageSecrets]:
    grease = bytes([len(name), 7, 200, 31])
    capabilities = default_capabilities(grease=grease)
    listed = next(kind for kind in capabilities.extensions if kind in GREASE)
    someone = client(name, suite, capabilities=capabilities)
    package = someone.package(
        environment(name),
        extensions=(Extension(GREASE[3], b"in the package"),),
        leaf_extensions=(Extension(listed, b"in the leaf"),),
    )
    return someone, package


@pytest.mark.parametrize("suite", SUITES)
def test_grease_everywhere(suite: int) -> None:
    """§13.5: wherever it may stand, it changes nothing."""
    first, _ = greasy("first", suite)
    founder = first.create(environment(), leaf_extensions=(Extension(first.capabilities.extensions[0], b""),))
    ours = Party(environment(), {"first": first}, {"first": founder})
    anna, package = greasy("anna", suite)
    ours.commit(
        "first",
        joining=[(anna, package)],
        group_info_extensions=(Extension(GREASE[5], b"in the GroupInfo"),),
    )
    ours.add("anna", "plain")
    ours.propose_update("anna")
    ours.commit("plain")
    info = front.group_info(ours["anna"], extensions=(Extension(GREASE[9], b""), Extension(GREASE[10], b"x")))
    ben, _ = greasy("ben", suite)
    joined = ben.join_externally(ours.env, info, leaf_extensions=(Extension(ben.capabilities.extensions[0], b"x"),))
    ours.deliver(joined.message)
    ours.clients["ben"], ours.groups["ben"] = ben, joined.group
    ours.agree()
    for name in ours.names:
        ours.say(name, b"clean")
    capabilities = ben.capabilities
    for numbers in (
        capabilities.cipher_suites,
        capabilities.extensions,
        capabilities.proposals,
        capabilities.credentials,
    ):
        assert any(number in GREASE for number in numbers)


@pytest.mark.parametrize("kind", ["extension", "proposal"])
def test_grease_where_it_may_not_be(kind: str) -> None:
    ours = party(2)
    if kind == "extension":
        grease = GroupContextExtensions((Extension(GREASE[0], b""),))
        with pytest.raises(MlsError):
            front.commit(ours["member00"], ours.env, proposals=[grease])
        return
    content = framed(ours["member00"], ContentType.PROPOSAL, GREASE[0].to_bytes(2, "big"))
    assert (
        refusal(lambda: front.receive(ours["member01"], ours.env, insider_public(ours["member00"], content)))
        == "VAL-12.1-1"
    )


# ---------------------------------------------------------------- lists of proposals


def test_a_client_is_replaced_in_one_commit() -> None:
    """By value, and by references in either order: an Add of a member's client is right beside its Remove."""
    for how in ("value", "remove first", "add first"):
        ours = party(3, shape="full", seed=how)
        again = ours.clients["member01"]
        package = again.package(ours.env)
        add, remove = Add(package.key_package), Remove(ours.leaf("member01"))
        if how == "value":
            sent = ours.commit("member00", proposals=[remove, add])
        else:
            for proposal in (remove, add) if how == "remove first" else (add, remove):
                ours.propose("member02", proposal)
            sent = ours.commit("member00")
        assert removed(ours["member01"])
        ours.welcome(again, package, sent)
        ours.agree()
        assert ours.leaf("member01") == 1


def test_extensions_and_an_add_that_needs_them() -> None:
    """§12.3: what is added is judged by the new extensions, also when both come by reference."""
    wanted = RequiredCapabilities((0xF001,)).extension()
    able = default_capabilities(extensions=(0xF001,))
    ours = party(2, capabilities=able, extensions=(wanted,))
    weak = client("weak")
    package = weak.package(ours.env)
    ours.propose("member00", Add(package.key_package))
    ours.propose("member01", GroupContextExtensions(()))
    sent = ours.commit("member01")
    ours.welcome(weak, package, sent)
    ours.agree()


def proposals_that_collide(ours: Party) -> dict[str, list[tuple[str, Proposal]]]:
    """Each right alone; together, no list can hold all of them."""
    anna, ben = client("anna"), client("ben")
    key = ours.suite.generate_key_pair(ours.env.provider.random)
    psk = PreSharedKey(ExternalPskId(b"psk", bytes(32)))
    needy = RequiredCapabilities((0xF001,)).extension()
    first, second = anna.package(ours.env), anna.package(ours.env)
    return {
        "one client twice": [("member01", Add(first.key_package)), ("member02", Add(second.key_package))],
        "one key twice": [
            ("member01", Add(anna.package(ours.env, leaf_key=key).key_package)),
            ("member02", Add(ben.package(ours.env, leaf_key=key).key_package)),
        ],
        "a member once more": [("member01", Add(ours.clients["member02"].package(ours.env).key_package))],
        "one leaf removed twice": [
            ("member01", Remove(ours.leaf("member03"))),
            ("member02", Remove(ours.leaf("member03"))),
        ],
        "the committer": [("member01", Remove(ours.leaf("member00")))],
        "a psk that nobody has": [("member01", PreSharedKey(ExternalPskId(b"unheard of", bytes(32))))],
        "an extension that is none of a GroupContext": [
            ("member01", GroupContextExtensions((Extension(ExtensionType.EXTERNAL_PUB, b""),))),
            ("member02", Remove(ours.leaf("member03"))),
        ],
        "one psk twice": [("member01", psk), ("member02", psk)],
        "two extensions": [
            ("member01", GroupContextExtensions((Extension(ExtensionType.APPLICATION_ID, b"a"),))),
            ("member02", GroupContextExtensions((Extension(ExtensionType.APPLICATION_ID, b"b"),))),
        ],
        "a reinit beside": [
            ("member01", ReInit(GroupId(b"next"), MLS10, 1, ())),
            ("member02", Remove(ours.leaf("member03"))),
        ],
        "extensions that a newcomer lacks": [
            ("member01", GroupContextExtensions((needy,))),
            ("member02", Add(first.key_package)),
        ],
    }


COLLISIONS = tuple(proposals_that_collide(party(4)))


@pytest.mark.parametrize("kind", COLLISIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_no_proposals_keep_a_member_from_committing(kind: str, order: int) -> None:
    """§12.4: the committer includes what makes a valid list. Insiders cannot choose what that leaves stuck."""
    able = default_capabilities(extensions=(0xF001,))
    ours = party(4, shape="full", capabilities=able, psks=Psks({b"psk": b"shared"}))
    for by, proposal in proposals_that_collide(ours)[kind][::order]:
        ours.propose(by, proposal)
    pending = len(ours["member00"].proposals)
    ours.propose_update("member03")
    sent = front.commit(ours["member00"], ours.env)
    for event in ours.deliver(sent.message, by="member00").values():
        assert isinstance(event, CommitMessage)
        taken = event.plan
        assert taken.removed or taken.updated or taken.joining or taken.psks
    ours.groups["member00"] = sent.group
    ours.agree()
    assert pending >= 1
    ours.say("member00", b"not stuck")


def test_updates_and_removals_of_one_leaf() -> None:
    """§12.2: a Remove is preferred to an Update, and a later Update to an earlier one."""
    ours = party(3)
    ours.propose_update("member02")
    ours.propose("member01", Remove(ours.leaf("member02")))
    ours.propose_update("member01")
    ours.propose_update("member01")
    latest = list(ours["member01"].updates)[-1]
    ours.commit("member00")
    assert removed(ours["member02"])
    leaf = ours.any.public.tree.leaf(ours.leaf("member01"))
    assert leaf is not None
    assert leaf.encoded == latest


def test_chosen_references() -> None:
    """A committer may take some of what waits, in its own order; what is left out is dropped with the epoch."""
    ours = party(3, psks=Psks({b"a": b"1", b"b": b"2"}))
    ours.propose("member01", front.external_psk(ours.any, ours.env, b"a"))
    ours.propose("member02", front.external_psk(ours.any, ours.env, b"b"))
    ours.propose_update("member01")
    first, second, _ = list(ours["member00"].proposals)
    sent = ours.commit("member00", references=[second, first])
    assert not ours["member00"].proposals
    with pytest.raises(CallerError, match="pending"):
        front.commit(sent.group, ours.env, references=[first])
    none = party(3)
    none.propose_update("member01")
    none.commit("member00", references=[])
    assert not none["member01"].updates


def test_a_commit_by_the_member_whose_update_waits() -> None:
    """Its own Update cannot be in its commit; the path does the same work."""
    ours = party(2)
    ours.propose_update("member00")
    sent = ours.commit("member00")
    assert sent.group.public.tree.leaf(LeafIndex(0)).source == 3  # type: ignore[union-attr]


def test_what_a_pathless_commit_may_hold() -> None:
    ours = party(2, psks=Psks({b"psk": b"shared"}))

    def has_path(*proposals: Proposal, force: bool = False) -> bool:
        sent = front.commit(ours["member00"], ours.env, proposals=proposals, force_path=force, encrypt=False)
        return sent.group.own_leaf_node != ours["member00"].own_leaf_node

    add = Add(client("anna").package(ours.env).key_package)
    psk = front.external_psk(ours.any, ours.env, b"psk")
    reinit = ReInit(GroupId(b"next"), MLS10, 1, ())
    assert [has_path(add), has_path(psk), has_path(add, psk), has_path(reinit)] == [False] * 4
    assert [has_path(), has_path(Remove(LeafIndex(1))), has_path(GroupContextExtensions(()))] == [True] * 3
    assert has_path(add, force=True)
    assert has_path(reinit, force=True)


def test_application_data_waits_for_a_commit() -> None:
    """§12.4: whoever saw a proposal commits before it sends application data."""
    ours = party(2)
    ours.propose("member01", GroupContextExtensions(()))
    for name in ours.names:
        with pytest.raises(CallerError, match="proposals are waiting"):
            front.seal(ours[name], ours.env, b"too early")
    shelved = front.shelve_proposals(ours["member00"])
    front.seal(shelved, ours.env, b"on my own account")
    ours.commit("member00")
    ours.say("member01", b"now")


# ---------------------------------------------------------------- starting over: ReInit and branch


def others(ours: Party, founder: str, suite: int) -> list[tuple[Client, KeyPackageSecrets]]:
    people = [client(name, suite) for name in ours.groups if name != founder]
    return [(each, each.package(ours.env)) for each in people]


def end(ours: Party, reinit: ReInit, by: str = "member00") -> None:
    sent = front.commit(ours[by], ours.env, proposals=[reinit])
    ours.deliver(sent.message, by=by)
    ours.groups[by] = sent.group


NEXT = ReInit(GroupId(b"next"), MLS10, 2, (Extension(ExtensionType.APPLICATION_ID, b"new"),))


@pytest.mark.parametrize("suite", SUITES)
def test_reinit(suite: int) -> None:
    """Into any suite, founded by somebody other than who ended the old group."""
    ours = party(3, psks=Psks())
    reinit = replace(NEXT, cipher_suite=suite)
    ours.propose("member02", reinit)
    sent = front.commit(ours["member00"], ours.env)
    for event in ours.deliver(sent.message, by="member00").values():
        assert isinstance(event, CommitMessage)
        assert event.plan.reinit == reinit
    ours.groups["member00"] = sent.group
    assert [ours[name].reinit for name in NAMES3] == [reinit] * 3
    assert len({ours[name].authenticator for name in NAMES3}) == 1
    for name in NAMES3:
        for call in (
            lambda name=name: front.seal(ours[name], ours.env, b"over"),
            lambda name=name: front.commit(ours[name], ours.env),
            lambda name=name: front.propose_update(ours[name], ours.env),
        ):
            with pytest.raises(GroupEndedError):
                call()
    joining = others(ours, "member01", suite)
    founder = client("member01", suite)
    founded = front.continue_group(
        ours["member01"],
        ours.env,
        [Add(package.key_package) for _, package in joining],
        signature_private=founder.signer,
        lifetime=LIFETIME,
    )
    after = Party(ours.env, {"member01": founder}, {"member01": founded.group})
    for each, package in joining:
        after.clients[each.name] = each
        after.groups[each.name] = each.join(ours.env, founded.welcome, [package], prior=ours[each.name])
    after.agree()
    group = after.any
    assert (group.group_id, group.epoch) == (b"next", 1)
    assert group.suite.cipher_suite == suite
    assert group.public.context.extensions == NEXT.extensions
    for name in after.names:
        after.say(name, b"in the new group")
    after.commit("member00")


NAMES3 = ("member00", "member01", "member02")


def found(
    prior: front.Group,
    env: Any,
    joining: list[tuple[Client, KeyPackageSecrets]],
    **options: Any,
) -> bytes:
    made = front.continue_group(
        prior,
        env,
        [Add(package.key_package) for _, package in joining],
        signature_private=options.pop("signer", None) or client("member00", 2).signer,
        lifetime=LIFETIME,
        **options,
    )
    assert made.welcome is not None
    return made.welcome


def test_a_reinit_that_does_not_match() -> None:
    ours = party(3)
    env = ours.env
    unfinished = ours["member01"]
    end(ours, NEXT)
    joining = others(ours, "member00", 2)
    anna, package = joining[0]
    prior = ours[anna.name]
    base = ours["member00"]

    def answer(ended: object, people: list[tuple[Client, KeyPackageSecrets]] = joining) -> str:
        welcome = found(replace(base, ended=ended), env, people)  # type: ignore[arg-type]
        return refusal(lambda: anna.join(env, welcome, [package], prior=prior))

    assert answer(replace(NEXT, group_id=GroupId(b"elsewhere"))) == "VAL-12.4.3.1-16"
    assert answer(replace(NEXT, extensions=())) == "VAL-12.4.3.1-16"
    assert answer(NEXT, joining[:1]) == "VAL-12.4.3.1-17"  # somebody is missing
    welcome = found(base, env, joining)
    assert anna.join(env, welcome, [package], prior=prior).epoch == 1
    with pytest.raises(MissingPskError):  # the joiner knows nothing of the old group
        anna.join(env, welcome, [package])
    knows = replace(env, psks=Psks({}, {(b"group", prior.epoch): ResumptionPsk(prior.secrets.resumption.raw)}))
    with pytest.raises(CallerError, match="prior"):
        anna.join(knows, welcome, [package])
    # A group that did not end, or another group, is not the one that is continued.
    for wrong in (unfinished, party(3, 2)["member01"]):
        with pytest.raises(MlsError):
            anna.join(knows, welcome, [package], prior=wrong)


def test_a_reinit_to_another_suite_than_said() -> None:
    ours = party(2)
    end(ours, NEXT)
    ended = ours["member00"]
    people = others(ours, "member00", 3)
    anna, package = people[0]
    welcome = found(
        replace(ended, ended=replace(NEXT, cipher_suite=3)), ours.env, people, signer=client("member00", 3).signer
    )
    assert refusal(lambda: anna.join(ours.env, welcome, [package], prior=ours["member01"])) == "VAL-12.4.3.1-16"


def test_continuing_needs_a_reinit() -> None:
    ours = party(2)
    with pytest.raises(CallerError, match="ReInit"):
        found(ours.any, ours.env, [])


def test_founding_psks_are_for_founding() -> None:
    """§12.1.4: in a group that exists, a PSK of usage reinit or branch is refused, from anybody."""
    ours = party(2)
    for usage in (ResumptionUsage.REINIT, ResumptionUsage.BRANCH):
        psk = PreSharedKey(ResumptionPskId(usage, GroupId(b"group"), ours.any.epoch, bytes(32)))
        for call in (
            lambda psk=psk: front.commit(ours.any, ours.env, proposals=[psk]),
            lambda psk=psk: front.propose(ours.any, ours.env, psk),
        ):
            assert refusal(call) == "VAL-12.1.4-2"


@pytest.mark.parametrize("suite", SUITES)
def test_branch(suite: int) -> None:
    """A subgroup of some; the old group goes on."""
    ours = party(4, suite, shape="full")
    ann = ours.clients["member02"]
    package = ann.package(ours.env)
    welcome = found(
        ours["member01"],
        ours.env,
        [(ann, package)],
        branch=GroupId(b"branch"),
        signer=ours.clients["member01"].signer,
    )
    joined = ann.join(ours.env, welcome, [package], prior=ours["member02"])
    assert (joined.group_id, joined.epoch) == (b"branch", 1)
    assert len(joined.members) == 2
    ours.say("member02", b"still here too")


def test_a_branch_that_does_not_match() -> None:
    ours = party(3)
    env = ours.env
    ann, ben, stranger = ours.clients["member01"], ours.clients["member02"], client("stranger")
    package = ann.package(env)
    signer = ours.clients["member00"].signer

    def welcome(*more: Client, **options: Any) -> bytes:
        people = [(ann, package), *((each, each.package(env)) for each in more)]
        return found(ours["member00"], env, people, branch=GroupId(b"branch"), signer=signer, **options)

    assert ann.join(env, welcome(ben), [package], prior=ours["member01"]).epoch == 1
    foreign = welcome(stranger)
    assert refusal(lambda: ann.join(env, foreign, [package], prior=ours["member01"])) == "VAL-12.4.3.1-19"
    with pytest.raises(MissingPskError):
        ann.join(env, foreign, [package])
    # Joined from another epoch of the old group than the one that was branched from: the key is of that epoch.
    before = ours["member01"]
    ours.commit("member02")
    later = welcome()
    with pytest.raises(MissingPskError):
        ann.join(env, later, [package], prior=before)
    assert ann.join(env, later, [package], prior=ours["member01"]).epoch == 1


# ---------------------------------------------------------------- what a message is refused as


def test_kinds_of_refusal() -> None:
    ours = party(3, shape="full")
    env = ours.env
    group, peer = ours["member00"], ours["member01"]
    data = front.seal(group, env, b"data")[1]
    past = [data, front.commit(group, env).message, front.propose_update(group, env, encrypt=False)[1]]
    ahead = front.commit(group, env)
    future = [
        front.seal(ahead.group, env, b"data")[1],
        front.commit(ahead.group, env, encrypt=False).message,
        front.propose_update(ahead.group, env)[1],
    ]
    for message in future:
        with pytest.raises(FutureEpochError):
            front.receive(peer, env, message)
    after = front.receive(peer, env, ahead.message).group
    for message in past:
        with pytest.raises(PastEpochError):
            front.receive(after, env, message)
    stranger = client("stranger").create(env, b"another group")
    for message in (*past, *future):
        with pytest.raises(WrongGroupError):
            front.receive(stranger, env, message)
    with pytest.raises(OwnMessageError):
        front.receive(group, env, data)
    read = front.receive(peer, env, data).group
    with pytest.raises(ReplayError):
        front.receive(read, env, data)


def test_missing_proposals() -> None:
    ours = party(3)
    env = ours.env
    group, first, _ = front.propose(ours["member00"], env, Remove(LeafIndex(2)), encrypt=False)
    group, second, _ = front.propose(group, env, GroupContextExtensions(()), encrypt=False)
    sent = front.commit(group, env, encrypt=False)
    peer = ours["member01"]
    with pytest.raises(MissingProposalsError) as missing:
        front.receive(peer, env, sent.message)
    assert missing.value.references == tuple(group.proposals)
    peer = front.receive(peer, env, second).group
    with pytest.raises(MissingProposalsError) as missing:
        front.receive(peer, env, sent.message)
    assert missing.value.references == tuple(group.proposals)[:1]
    peer = front.receive(peer, env, first).group
    assert front.receive(peer, env, sent.message).group.authenticator == sent.group.authenticator


def test_missing_psks() -> None:
    ours = party(2, psks=Psks({b"psk": b"shared"}))
    psk = front.external_psk(ours.any, ours.env, b"psk")
    ignorant = environment()
    with pytest.raises(MissingPskError):
        front.commit(ours["member00"], ignorant, proposals=[psk])
    sent = front.commit(ours["member00"], ours.env, proposals=[psk])
    with pytest.raises(MissingPskError):
        front.receive(ours["member01"], ignorant, sent.message)
    mistaken = environment(psks=Psks({b"psk": b"something else"}))
    assert refusal(lambda: front.receive(ours["member01"], mistaken, sent.message)) == "VAL-12.4.2-10"
    front.receive(ours["member01"], ours.env, sent.message)
    # A proposal needs no key to be kept; whoever lacks it is told by the commit.
    _, message, _ = front.propose(ours["member00"], ignorant, psk)
    front.receive(ours["member01"], ignorant, message)


def test_messages_after_the_end() -> None:
    ours = party(3)
    env = ours.env
    data = front.seal(ours["member01"], env, b"late")[1]
    sent = front.commit(ours["member00"], env, proposals=[Remove(ours.leaf("member02"))])
    out = front.receive(ours["member02"], env, sent.message)
    assert isinstance(out, CommitMessage)
    assert removed(out.group)
    with pytest.raises(GroupEndedError):
        front.receive(out.group, env, data)
    front.receive(out.before, env, data)  # the epoch before is another value
    with pytest.raises(FutureEpochError):
        front.receive(out.group, env, front.seal(sent.group, env, b"secret")[1])


def test_application_data_in_the_clear() -> None:
    ours = party(2)
    content = framed(ours["member00"], ContentType.APPLICATION, opaque(b"data"))
    message = insider_public(ours["member00"], content)
    assert refusal(lambda: front.receive(ours["member01"], ours.env, message)) == "VAL-6.2-1"


def test_the_signature_of_another_member() -> None:
    """Everybody can encrypt as anybody; only the signature says who it was."""
    ours = party(3)
    body = opaque(b"data")
    content = framed(ours["member00"], ContentType.APPLICATION, body, sender=Sender(SenderType.MEMBER, 2))
    signed = body + opaque(ours.suite.sign_with_label(ours["member00"].signature_key, b"FramedContentTBS", content))
    message = insider_private(ours["member00"], ContentType.APPLICATION, signed, leaf=2)
    assert refusal(lambda: front.receive(ours["member01"], ours.env, message)) == "VAL-6.1-1"


# ---------------------------------------------------------------- parameters


def ciphertext(message: bytes) -> bytes:
    return PrivateMessage.decode(read_message(message, 2)).ciphertext


@pytest.mark.parametrize("policy", list(Padding))
def test_padding(policy: Padding) -> None:
    ours = party(2, parameters=replace(DEFAULT, padding=policy))
    group, env = ours["member00"], ours.env
    sizes = {}
    for size in (0, 1, 2, 100, 255, 256, 1000, 5000):
        message = front.seal(group, env, bytes(size))[1]
        sizes[size] = len(ciphertext(message)) - 16
        event = front.receive(ours["member01"], env, message)
        assert isinstance(event, ApplicationMessage)
        assert event.data == bytes(size)
    for size, padded in sizes.items():
        content = len(varint(size)) + size + 66  # data, then the signature
        if policy is Padding.NONE:
            assert padded == content
        elif policy is Padding.BLOCK:
            assert padded % 256 == 0
            assert content <= padded < content + 256
        else:
            assert content <= padded <= content * 1.12
            exponent = content.bit_length() - 1
            assert padded % (1 << (exponent - exponent.bit_length())) == 0
    handshake = front.commit(group, env).message
    if policy is Padding.BLOCK:
        assert (len(ciphertext(handshake)) - 16) % 256 == 0
    front.receive(ours["member01"], env, handshake)


@pytest.mark.parametrize("policy", list(Padding))
def test_padding_hides_what_it_says(policy: Padding) -> None:
    sizes = {length + policy.size(length) for length in range(2000)}
    assert all(policy.size(length) >= 0 for length in range(2000))
    if policy is Padding.BLOCK:
        assert sizes == set(range(0, 2049, 256))
    else:
        assert len(sizes) == {Padding.NONE: 2000, Padding.PADME: 93}[policy]


def sealed(ours: Party, by: str, count: int) -> list[bytes]:
    messages = []
    for number in range(count):
        ours.groups[by], message = front.seal(ours[by], ours.env, b"%d" % number)
        messages.append(message)
    return messages


def test_late_messages() -> None:
    ours = party(2, parameters=replace(DEFAULT, out_of_order=3))
    messages = sealed(ours, "member00", 8)
    group = ours["member01"]

    def read(number: int) -> None:
        nonlocal group
        event = front.receive(group, ours.env, messages[number])
        assert isinstance(event, ApplicationMessage)
        assert (event.data, event.sealing.generation) == (b"%d" % number, number)
        group = event.group

    read(5)
    for number in (2, 4):
        read(number)
    for number in (0, 1, 2, 4, 5):  # too late, or read already
        with pytest.raises(ReplayError):
            read(number)
    read(7)
    for number in (6,):
        read(number)
    with pytest.raises(ReplayError):
        read(3)  # the window moved on


def test_messages_from_far_ahead() -> None:
    ours = party(2, parameters=replace(DEFAULT, max_forward=5))
    messages = sealed(ours, "member00", 8)
    group = ours["member01"]
    assert refusal(lambda: front.receive(group, ours.env, messages[6])) == "VAL-15.3-1"
    after = front.receive(group, ours.env, messages[5]).group
    front.receive(after, ours.env, messages[7])


def test_how_many_proposals_may_wait() -> None:
    ours = party(2, parameters=replace(DEFAULT, max_pending=3))
    messages = []
    for number in range(4):
        extension = Extension(ExtensionType.APPLICATION_ID, b"%d" % number)
        group, message, _ = front.propose(
            ours["member00"], ours.env, GroupContextExtensions((extension,)), encrypt=False
        )
        ours.groups["member00"] = front.shelve_proposals(group)
        messages.append(message)
    group = ours["member01"]
    for message in messages[:3]:
        group = front.receive(group, ours.env, message).group
    with pytest.raises(LimitError, match="of this sender"):
        front.receive(group, ours.env, messages[3])
    front.receive(group, ours.env, messages[0])  # which is waiting already
    assert len(group.proposals) == 3


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_how_far_back_resumption_goes(kept: int) -> None:
    ours = party(2, parameters=replace(DEFAULT, resumption_psks=kept))
    for _ in range(4):
        ours.commit("member00")
    now = ours.any.epoch
    assert [epoch for epoch, _ in ours.any.resumption] == [now - kept + 1 + n for n in range(kept)]
    for epoch in range(now + 1):
        psk = front.resumption_psk(ours.any, ours.env, Epoch(epoch))
        if epoch > now - kept:
            sent = front.commit(ours["member00"], ours.env, proposals=[psk])
            assert (
                front.receive(ours["member01"], ours.env, sent.message).group.authenticator == sent.group.authenticator
            )
        else:
            with pytest.raises(MissingPskError):
                front.commit(ours["member00"], ours.env, proposals=[psk])


def test_lifetimes() -> None:
    ours = party(2)
    later = environment("later", now=NOW + 91 * 24 * 3600 * 1000)
    sooner = environment("sooner", now=NOW - 2 * 3600 * 1000)
    package = client("anna").package(ours.env)
    add = Add(package.key_package)
    for other in (later, sooner):
        assert refusal(partial(front.commit, ours.any, other, proposals=[add])) == "VAL-7.3-5"
        assert refusal(partial(front.propose, ours.any, other, add)) == "VAL-7.3-5"
    sent = front.commit(ours["member00"], ours.env, proposals=[add])
    # A device that slept follows what was right when it was sent, unless it is told otherwise.
    assert front.receive(ours["member01"], later, sent.message).group.epoch == 2
    strict = with_parameters(ours["member01"], refuse_expired=True)
    assert refusal(lambda: front.receive(strict, later, sent.message)) == "VAL-7.3-5"
    # A proposal that was right when it came may have expired when it is to be committed.
    waiting = front.propose(ours["member00"], ours.env, add)[0]
    assert refusal(partial(front.commit, waiting, later, references=list(waiting.proposals))) == "VAL-7.3-5"
    # Whoever joins late finds leaves in the tree that have expired since, its own among them.
    assert client("anna").join(later, sent.welcome, [package]).epoch == 2
    edge = LIFETIME.not_after
    assert LIFETIME.covers(edge * 1000 + 999)
    assert not LIFETIME.covers(edge * 1000 + 1000)
    long = Lifetime(LIFETIME.not_before, LIFETIME.not_before + DEFAULT.max_lifetime + 1)
    assert (
        refusal(
            lambda: front.commit(
                ours.any,
                ours.env,
                proposals=[Add(client("ben").package(ours.env, lifetime=long).key_package)],
            )
        )
        == "VAL-7.2-2"
    )


@pytest.mark.parametrize("encrypt", [True, False])
def test_how_handshakes_are_sent(encrypt: bool) -> None:
    ours = party(2, parameters=replace(DEFAULT, encrypt_handshakes=encrypt))
    group, env = ours.any, ours.env
    wire = b"\x00\x01\x00\x02" if encrypt else b"\x00\x01\x00\x01"
    other = b"\x00\x01\x00\x01" if encrypt else b"\x00\x01\x00\x02"
    assert front.commit(group, env).message.startswith(wire)
    assert front.propose_update(group, env)[1].startswith(wire)
    assert front.commit(group, env, encrypt=not encrypt).message.startswith(other)
    assert front.propose_update(group, env, encrypt=not encrypt)[1].startswith(other)
    assert client("anna").join_externally(env, front.group_info(group)).message.startswith(b"\x00\x01\x00\x01")


def test_a_group_of_one() -> None:
    """Nobody to write to, yet everything works; also when everybody else has left."""
    ours = party(1)
    for _ in range(3):
        ours.commit("member00")
    ours.add("member00", "anna")
    ours.commit("anna", proposals=[Remove(LeafIndex(0))])
    assert ours.names == ["anna"]
    ours.commit("anna")
    assert ours["anna"].own_leaf == 1
    assert ours["anna"].public.tree.leaf_count == 2
    ours.add("anna", "ben")
    assert ours.leaf("ben") == 0
    ours.say("ben", b"hello")


def test_growing_and_shrinking() -> None:
    ours = party(1)
    ours.add("member00", *(f"new{number}" for number in range(8)))
    assert ours.any.public.tree.leaf_count == 16
    ours.commit("member00", proposals=[Remove(ours.leaf("new7"))])
    assert ours.any.public.tree.leaf_count == 8
    ours.commit("new3", proposals=[Remove(LeafIndex(leaf)) for leaf in (0, 5, 6, 7)])
    assert ours.any.public.tree.leaf_count == 8
    ours.commit("new0", proposals=[Remove(LeafIndex(4))])
    assert ours.any.public.tree.leaf_count == 4
    assert ours.names == ["new0", "new1", "new2"]
    for name in ours.names:
        ours.commit(name)
        ours.say(name, b"still here")


def test_capabilities_must_list_the_group() -> None:
    """§11, §7.2: a member lists the version and the suite of the group it is in."""
    ours = party(2)
    for capabilities in (
        default_capabilities((2, 3)),
        Capabilities((), (1,), (), (), (1,)),
        default_capabilities(credentials=(2,)),
    ):
        odd = client("odd", capabilities=capabilities)
        package = odd.package(ours.env)
        with pytest.raises(PeerError):
            front.commit(ours.any, ours.env, proposals=[Add(package.key_package)])
        with pytest.raises(PeerError):
            odd.join_externally(ours.env, front.group_info(ours.any))


def test_wrong_calls_say_what_to_do() -> None:
    ours = party(2)
    for call, word in (
        (lambda: found(ours.any, ours.env, []), "ReInit"),
        (lambda: front.commit(ours.any, ours.env, references=[b"unknown"]), "references"),  # type: ignore[list-item]
        (lambda: front.export_secret(ours.any, b"", b"", 1 << 20), "less"),
    ):
        with pytest.raises(CallerError) as wrong:
            call()
        assert word in wrong.value.hint + str(wrong.value)
        assert wrong.value.hint
