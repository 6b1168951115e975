"""An epoch between its commit and its end: rivals on one key, late messages, what is kept and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front, snapshot
from mls.errors import (
    GroupEndedError,
    LimitError,
    MissingProposalsError,
    PeerError,
    ReplayError,
)
from mls.framing import encode_message
from mls.group import ApplicationMessage, CommitMessage, ProposalMessage
from mls.leaf_node import Extension, LeafNode
from mls.proposals import Add, GroupContextExtensions, Remove
from mls.provider import OwnPath, PendingUpdate
from mls.registries import ContentType, ExtensionType, LeafIndex, WireFormat
from mls.state import Ended, Group
from tests.mls.clients import DEFAULT, PUBLIC, Party, client, party, secret_bytes
from tests.validation import breaks

FORKING = replace(DEFAULT, keep_handshake_keys=True)


def commits_on_one_generation(ours: Party) -> list[front.Committed]:
    """Two commits of one leaf from one value, as siblings or a liar make them: both sealed by the same key."""
    return [front.commit(ours["member00"], ours.env) for _ in range(2)]


def test_rival_commits_on_one_key_are_both_followed_in_any_order() -> None:
    ours = party(3, parameters=FORKING)
    rivals = commits_on_one_generation(ours)
    for order in (rivals, rivals[::-1]):
        group = ours["member01"]
        for sent in order:
            event = front.receive(group, ours.env, sent.message)
            assert isinstance(event, CommitMessage)
            assert event.group.authenticator == sent.group.authenticator
            group = event.before


def test_without_that_the_second_is_lost_to_who_let_the_first_one_go() -> None:
    ours = party(3)
    first, second = commits_on_one_generation(ours)
    event = front.receive(ours["member01"], ours.env, first.message)
    assert isinstance(event, CommitMessage)
    with pytest.raises(ReplayError):
        front.receive(event.before, ours.env, second.message)
    assert front.receive(ours["member01"], ours.env, second.message).group.authenticator == second.group.authenticator


def test_a_retired_epoch_reads_late_messages_and_holds_little_else() -> None:
    ours = party(3)
    env = ours.env
    _, early = front.seal(ours["member02"], env, b"said before the commit")
    sent = front.commit(ours["member00"], env)
    event = front.receive(ours["member01"], env, sent.message)
    assert isinstance(event, CommitMessage)
    full = event.before
    late = front.retired(full)
    assert late.ended is Ended.RETIRED
    read = front.receive(late, env, early)
    assert isinstance(read, ApplicationMessage)
    assert read.data == b"said before the commit"
    with pytest.raises(ReplayError):
        front.receive(read.group, env, early)
    with pytest.raises(GroupEndedError, match="late application messages only"):
        front.receive(late, env, sent.message)
    for attempt in (front.commit, front.propose_update):
        with pytest.raises(GroupEndedError):
            attempt(late, env)
    with pytest.raises(GroupEndedError):
        front.seal(late, env, b"no")
    stored = snapshot.encode(late).raw
    secrets = full.secrets
    gone = [secrets.init, secrets.external, secrets.exporter, secrets.confirmation, secrets.membership]
    for secret in (*gone, *full.private.values(), full.signature_key):
        assert secret.raw not in stored
    loaded = snapshot.decode(env.provider, late.parameters, snapshot.encode(late))
    assert isinstance(front.receive(loaded, env, early), ApplicationMessage)


def test_who_is_removed_keeps_the_proof_of_having_been_there_and_nothing_else() -> None:
    ours = party(3)
    target = ours["member02"]
    sent = front.commit(ours["member00"], ours.env, proposals=[Remove(target.own_leaf)])
    event = front.receive(target, ours.env, sent.message)
    assert isinstance(event, CommitMessage)
    stored = snapshot.encode(event.group).raw
    kept = {target.authenticator, *(psk.raw for _, psk in target.resumption)}
    for secret in secret_bytes(target):
        assert (secret in stored) == (secret in kept)


def waiting(group: Group) -> int:
    return len(group.proposals)


def test_a_flood_by_one_sender_keeps_nobody_else_out() -> None:
    ours = party(3, parameters=replace(PUBLIC, max_pending=4))
    env = ours.env
    flooder, reader = ours["member02"], ours["member01"]
    flood = []
    for number in range(6):
        extension = Extension(ExtensionType.APPLICATION_ID, b"%d" % number)
        flooder, message, reference = front.propose(flooder, env, GroupContextExtensions((extension,)))
        flood.append((message, reference))
    for message, _ in flood[:4]:
        reader = front.receive(reader, env, message).group
    with pytest.raises(LimitError):
        front.receive(reader, env, flood[4][0])
    honest, removal, reference = front.propose(ours["member00"], env, Remove(flooder.own_leaf))
    reader = front.receive(reader, env, removal).group
    assert waiting(reader) == 5
    assert reference in reader.proposals
    # Should a commit need what was not kept, it is kept on demand.
    for message, _ in flood:
        honest = front.receive(honest, env, message, admit={name for _, name in flood}).group
    sent = front.commit(honest, env, references=[flood[5][1]])
    with pytest.raises(MissingProposalsError) as missing:
        front.receive(reader, env, sent.message)
    assert missing.value.references == (flood[5][1],)
    reader = front.receive(reader, env, flood[5][0], admit=set(missing.value.references)).group
    assert front.receive(reader, env, sent.message).group.authenticator == sent.group.authenticator


def test_what_waits_has_a_size() -> None:
    ours = party(2, parameters=replace(PUBLIC, max_pending_bytes=4000))
    big = Extension(ExtensionType.APPLICATION_ID, bytes(2000))
    group = ours["member01"]
    for number in range(3):
        _, message, _ = front.propose(
            ours["member00"], ours.env, GroupContextExtensions((big,)), authenticated_data=b"%d" % number
        )
        if number < 1:
            group = front.receive(group, ours.env, message).group
        else:
            with pytest.raises(LimitError, match="too large"):
                front.receive(group, ours.env, message)


def test_shelved_proposals_can_still_be_committed_by_others() -> None:
    ours = party(3, parameters=PUBLIC)
    ours.propose_update("member01")
    shelved = {name: front.shelve_proposals(ours[name]) for name in ours.names}
    sent = front.commit(ours["member00"], ours.env)  # who did not shelve it
    assert sent.group.public.tree.leaf(1) != ours["member00"].public.tree.leaf(1)
    for name in ("member01", "member02"):
        assert front.receive(shelved[name], ours.env, sent.message).group.authenticator == sent.group.authenticator
    plain = front.commit(shelved["member02"], ours.env)
    assert plain.group.public.tree.leaf(1) == ours["member00"].public.tree.leaf(1)


def test_a_proposal_that_cannot_be_resolved_stops_nobody() -> None:
    """One member's pre-shared key that nobody has: the others commit without it and talk on."""
    ours = party(3, parameters=PUBLIC)
    ours.propose("member02", front.external_psk(ours.any, ours.env, b"nobody has it"))
    ours.commit("member00", proposals=[Remove(ours.leaf("member02"))])
    ours.say("member01", b"on we go")


class Liar:
    """A hook that hands out keys which are not those of the leaf."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None:
        return None

    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> PendingUpdate | None:
        return PendingUpdate(self.group.private[2 * self.group.own_leaf], self.group.signature_key)


@breaks("VAL-12.1.2-3")
def test_a_sibling_s_update_with_keys_that_are_not_its_own() -> None:
    ours = party(3, parameters=PUBLIC)
    sibling = ours["member01"]
    _, message, _ = front.propose_update(ours["member01"], ours.env)
    liar = Liar(sibling)
    sibling = front.receive(sibling, ours.env, message, own=liar).group
    committer = front.receive(ours["member00"], ours.env, message).group
    sent = front.commit(committer, ours.env)
    with pytest.raises(PeerError) as refused:
        front.receive(sibling, ours.env, sent.message, own=liar)
    assert refused.value.check == "VAL-12.1.2-3"


@breaks("VAL-6-4")
def test_peeking_says_where_a_message_belongs() -> None:
    ours = party(2)
    env, group = ours.env, ours["member00"]
    _, private = front.seal(group, env, b"data")
    package = client("anna").package(env)
    sent = front.commit(group, env, proposals=[Add(package.key_package)], encrypt=False)
    info = front.group_info(group)
    envelope = front.peek(private)
    assert (envelope.wire_format, envelope.group_id, envelope.epoch, envelope.content_type) == (
        WireFormat.PRIVATE_MESSAGE,
        group.group_id,
        group.epoch,
        ContentType.APPLICATION,
    )
    assert front.peek(sent.message).content_type == ContentType.COMMIT
    assert front.peek(info).epoch == group.epoch
    assert sent.welcome is not None
    assert front.peek(sent.welcome).group_id is None
    for cut in range(8):
        with pytest.raises(PeerError):
            front.peek(private[:cut])
    with pytest.raises(PeerError, match=r"VAL-6-4"):
        front.peek(encode_message(9, b""))


def test_a_proposal_of_ours_is_marked_and_read() -> None:
    ours = party(2)
    _, message, reference = front.propose(ours["member00"], ours.env, Remove(LeafIndex(1)))
    event = front.receive(ours["member01"], ours.env, message)
    assert isinstance(event, ProposalMessage)
    assert event.reference == reference
    assert event.sealing is not None
    assert event.sealing.generation == 0
