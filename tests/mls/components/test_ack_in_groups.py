"""mls-extensions §6.1: members tell each other what arrived, and notice what was kept from them."""

from __future__ import annotations

import pytest

from mls import group as front
from mls.codec import decode_exactly
from mls.components.ack import AppAck, MessageRange, acknowledgment, gaps, missing
from mls.components.numbers import APP_ACK
from mls.group import ApplicationMessage, CommitMessage
from mls.proposals import AppEphemeral
from mls.registries import Generation, LeafIndex
from tests.mls.clients import Party
from tests.mls.components.company import NOTE, company, told, updated
from tests.mls.frankenstein import forge_commit
from tests.mls.refusals import A, B, C, refused, refuses
from tests.validation import breaks


def sent_by(ours: Party, name: str, count: int) -> list[bytes]:
    messages = []
    for nth in range(count):
        ours.groups[name], message = front.seal(ours[name], ours.env, b"%d" % nth)
        messages.append(message)
    return messages


def heard_by(ours: Party, name: str, messages: list[bytes]) -> list[tuple[int, int]]:
    """Sender and generation of each, as the reader of a message is told."""
    found: list[tuple[int, int]] = []
    for message in messages:
        event = front.receive(ours[name], ours.env, message)
        assert isinstance(event, ApplicationMessage)
        ours.groups[name] = event.group
        found.append((event.sender, event.sealing.generation))
    return found


def acks(event: object) -> list[AppAck]:
    """What a commit acknowledges, by whom each member told it."""
    assert isinstance(event, CommitMessage)
    return [
        decode_exactly(each.proposal.data, AppAck.decode)
        for each in event.plan.app_data
        if isinstance(each.proposal, AppEphemeral) and each.proposal.component_id == APP_ACK
    ]


def test_suppressed_messages_are_noticed() -> None:
    """A gap is seen at once, the end of a row only by what others acknowledge in a commit."""
    ours = company(3)
    messages = sent_by(ours, A, 5)
    everything = heard_by(ours, B, messages)
    some = heard_by(ours, C, [messages[0], messages[2]])
    mine = acknowledgment(some)
    leaf = ours.leaf(A)
    assert gaps(mine) == (MessageRange(leaf, Generation(1), Generation(1)),)
    sent = front.commit(ours[B], ours.env, proposals=[told(APP_ACK, acknowledgment(everything).encode())])
    event = front.receive(ours[C], ours.env, sent.message)
    (theirs,) = acks(event)
    assert theirs.received_ranges == (MessageRange(leaf, Generation(0), Generation(4)),)
    kept = missing(theirs, mine)
    assert kept == (
        MessageRange(leaf, Generation(1), Generation(1)),
        MessageRange(leaf, Generation(3), Generation(4)),
    )
    # The sender learns who has what; what was late can still be read in the epoch that was left.
    assert missing(acknowledgment(everything), theirs) == ()
    retired = front.retired(ours[C])
    late = front.receive(retired, ours.env, messages[4])
    assert isinstance(late, ApplicationMessage)


def test_proposed_and_committed_by_another() -> None:
    ours = company(3)
    heard = heard_by(ours, B, sent_by(ours, A, 2))
    ours.propose(B, told(APP_ACK, acknowledgment(heard).encode()))
    ours.propose(C, told(APP_ACK, AppAck().encode()))
    sent = front.commit(ours[A], ours.env)
    found = acks(front.receive(ours[B], ours.env, sent.message))
    assert sorted(len(ack.received_ranges) for ack in found) == [0, 1]
    assert LeafIndex(found[0].received_ranges[0].sender) == ours.leaf(A)


@breaks("EXT-6.1-1")
@pytest.mark.parametrize("how", ["value", "reference"])
def test_an_acknowledgment_of_nothing_in_no_order(how: str) -> None:
    """Everybody refuses a commit with one; a proposal of one is not taken up."""
    ours = company(2)
    bad = told(APP_ACK, b"\x0c" + bytes(4) + b"\x00\x00\x00\x02" + b"\x00\x00\x00\x01")
    good = told(APP_ACK, b"\x0c" + bytes(4) + b"\x00\x00\x00\x01" + b"\x00\x00\x00\x02")
    if how == "value":
        refused("EXT-6.1-1", lambda: front.commit(ours[A], ours.env, proposals=[bad]))
        commits = [forge_commit(ours[B], ours.env, ours.clients[B], [each], path=False).message for each in (bad, good)]
        refuses("EXT-6.1-1", ours, A, *commits)
        return
    ours.propose(B, bad)
    ours.propose(B, updated(NOTE, b"heard"))
    event = front.receive(ours[B], ours.env, front.commit(ours[A], ours.env).message)
    assert isinstance(event, CommitMessage)
    assert [each.proposal.component_id for each in event.plan.app_data] == [NOTE]
