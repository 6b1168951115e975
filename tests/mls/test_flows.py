"""What people do with groups, one flow a test: joining, leaving, asking from outside, starting over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.codec import opaque
from mls.commit import NewLeaf
from mls.credential import BasicCredential, Credential, TrustBasic
from mls.errors import (
    CallerError,
    FutureEpochError,
    GroupEndedError,
    MissingProposalsError,
    MissingPskError,
    OwnMessageError,
    PastEpochError,
    ReplayError,
    WrongGroupError,
)
from mls.framing import Sender
from mls.group import CommitMessage
from mls.leaf_node import (
    Extension,
    default_capabilities,
)
from mls.parameters import Parameters
from mls.proposals import (
    GroupContextExtensions,
    Remove,
)
from mls.registries import (
    ContentType,
    ExtensionType,
    LeafIndex,
    SenderType,
)
from tests.mls.clients import (
    DEFAULT,
    LIFETIME,
    PUBLIC,
    Party,
    Psks,
    client,
    environment,
    framed,
    insider_private,
    insider_public,
    party,
    refusal,
    removed,
)
from tests.mls.suite_variants import GROUP_SUITES


@pytest.mark.parametrize("suite", GROUP_SUITES)
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
    for length in (longest + 1, -1):
        with pytest.raises(CallerError):
            front.export_secret(group, b"", b"", length)


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


def test_wrong_calls_say_what_to_do() -> None:
    ours = party(2)
    for call, word in (
        (
            lambda: front.continue_group(
                ours.any,
                ours.env,
                [],
                signature_private=ours.clients["member00"].signer,
                lifetime=LIFETIME,
            ),
            "ReInit",
        ),
        (lambda: front.commit(ours.any, ours.env, references=[b"unknown"]), "references"),  # type: ignore[list-item]
        (lambda: front.export_secret(ours.any, b"", b"", 1 << 20), "less"),
    ):
        with pytest.raises(CallerError) as wrong:
            call()
        assert word in wrong.value.hint + str(wrong.value)
        assert wrong.value.hint


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
