"""mls-extensions §4.9: authenticated data divided among components, in every message of a group that wants it so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mls import group as front
from mls.components.aad import decode_items, encode_items
from mls.components.lists import ComponentsList
from mls.components.numbers import ComponentId
from mls.errors import CallerError
from mls.framing import PublicMessage, Sender, encode_message
from mls.group import ApplicationMessage, CommitMessage
from mls.proposals import Add, ExternalSender, Remove, SelfRemove, external_senders_extension
from mls.registries import ContentType, LeafIndex, SenderType, WireFormat
from mls.suite import Suite
from tests.mls.clients import Party, client
from tests.mls.components.company import (
    COLOR,
    NOTE,
    OFFER,
    SAFE_AAD,
    WITH,
    company,
    demand,
    knowing,
    someone,
    updated,
)
from tests.mls.frankenstein import PathSurgery, as_private, as_public, authenticated, external_init, forge_commit
from tests.mls.refusals import A, B, accepts, refused, refuses
from tests.validation import breaks

ITEMS = encode_items({COLOR: b"red", NOTE: b""})
NOTHING = b"\x00"
UNSORTED = bytes([8]) + (b"\x80\x02\x01n" + b"\x80\x01\x01c")
TWICE = bytes([8]) + (b"\x80\x01\x01n" + b"\x80\x01\x01c")
TRAILING = ITEMS + b"unsafe"

OUTSIDER = client("outside")
LISTED = external_senders_extension((ExternalSender(Suite(1).scheme.public_key(OUTSIDER.signer), OUTSIDER.credential),))


def dividing(count: int) -> Party:
    return company(count, extensions=(*demand(safe_aad=[COLOR]), LISTED))


def application(ours: Party, data: bytes) -> bytes:
    return as_private(ours[B], ours.env, authenticated(ours[B], ContentType.APPLICATION, b"text", data=data))


def public_proposal(ours: Party, data: bytes) -> bytes:
    content = authenticated(
        ours[B],
        ContentType.PROPOSAL,
        updated(NOTE, b""),
        wire_format=WireFormat.PUBLIC_MESSAGE,
        data=data,
    )
    return as_public(ours[B], content)


def private_proposal(ours: Party, data: bytes) -> bytes:
    return as_private(ours[B], ours.env, authenticated(ours[B], ContentType.PROPOSAL, updated(NOTE, b""), data=data))


def from_outside(ours: Party, data: bytes) -> bytes:
    return front.propose_as_sender(
        ours.env,
        1,
        ours.any.group_id,
        ours.any.epoch,
        Remove(LeafIndex(1)),
        sender_index=0,
        signature_private=OUTSIDER.signer,
        authenticated_data=data,
    )


def from_somebody_new(ours: Party, data: bytes) -> bytes:
    package = someone("new").package(ours.env, leaf_extensions=OFFER)
    return front.propose_self(ours.env, ours.any.group_id, ours.any.epoch, package, authenticated_data=data)


def commit(ours: Party, data: bytes, *, encrypt: bool) -> bytes:
    """Made where nobody divides anything, and so without a question."""
    path = PathSurgery(leaf={"extensions": OFFER})
    return forge_commit(ours[B], ours.env, ours.clients[B], path=path, encrypt=encrypt, data=data).message


def external_commit(ours: Party, data: bytes) -> bytes:
    first, init = external_init(ours[B], ours.env)
    path = PathSurgery(leaf={"extensions": OFFER})
    return forge_commit(ours[B], ours.env, someone("new"), [first], path=path, external=init, data=data).message


MAKERS: dict[str, Callable[[Party, bytes], bytes]] = {
    "application": application,
    "public proposal": public_proposal,
    "private proposal": private_proposal,
    "external sender": from_outside,
    "new member": from_somebody_new,
    "public commit": lambda ours, data: commit(ours, data, encrypt=False),
    "private commit": lambda ours, data: commit(ours, data, encrypt=True),
    "external commit": external_commit,
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))


@breaks("EXT-4.9-1", "EXT-4.9-2")
@makers
def test_every_kind_of_message(make: Callable[[Party, bytes], bytes]) -> None:
    for bad, rule in (
        (UNSORTED, "EXT-4.9-1"),
        (TWICE, "EXT-4.9-1"),
        (TRAILING, "EXT-4.9-2"),
        (b"", "VAL-2.1-1"),
        (b"free text", "VAL-2.1-1"),
    ):
        for good in (ITEMS, NOTHING):
            ours = dividing(2)
            refuses(rule, ours, A, make(ours, bad), make(ours, good))


@makers
def test_where_nobody_divides_anything_goes(make: Callable[[Party, bytes], bytes]) -> None:
    for data in (b"", b"free text", UNSORTED, ITEMS):
        ours = company(2, extensions=(LISTED,))
        event = accepts(ours, A, make(ours, data))
        assert event.authenticated_data == data


def test_who_says_nothing_sends_an_empty_list() -> None:
    """§4.9: a zero-length vector, also in what joins from outside."""
    ours = dividing(2)
    assert encode_items({}) == NOTHING
    for encrypt in (True, False):
        event = front.receive(ours[B], ours.env, front.commit(ours[A], ours.env, encrypt=encrypt).message)
        assert event.authenticated_data == NOTHING
    _, message = front.seal(ours[A], ours.env, b"text")
    assert front.receive(ours[B], ours.env, message).authenticated_data == NOTHING
    _, message, _ = front.propose(ours[A], ours.env, updated(NOTE, b""))
    assert front.receive(ours[B], ours.env, message).authenticated_data == NOTHING
    _, message, _ = front.propose_update(ours[A], ours.env)
    assert front.receive(ours[B], ours.env, message).authenticated_data == NOTHING
    joined = someone("new").join_externally(ours.env, front.group_info(ours[A]), leaf_extensions=OFFER)
    assert front.receive(ours[B], ours.env, joined.message).authenticated_data == NOTHING


def test_items_arrive_by_component() -> None:
    ours = dividing(2)
    _, message = front.seal(ours[A], ours.env, b"text", authenticated_data=ITEMS)
    event = front.receive(ours[B], ours.env, message)
    assert isinstance(event, ApplicationMessage)
    assert dict(decode_items(event.authenticated_data)) == {COLOR: b"red", NOTE: b""}
    sent = front.commit(ours[A], ours.env, authenticated_data=ITEMS)
    event = front.receive(ours[B], ours.env, sent.message)
    assert isinstance(event, CommitMessage)
    assert event.authenticated_data == ITEMS


@pytest.mark.parametrize("data", [UNSORTED, TWICE, TRAILING, b"free text", b"\x04"])
def test_what_is_no_list_is_not_sent(data: bytes) -> None:
    ours = dividing(2)
    info = front.group_info(ours[A])
    for call in (
        lambda: front.seal(ours[A], ours.env, b"text", authenticated_data=data),
        lambda: front.commit(ours[A], ours.env, authenticated_data=data),
        lambda: front.propose(ours[A], ours.env, updated(NOTE, b""), authenticated_data=data),
        lambda: front.propose_update(ours[A], ours.env, authenticated_data=data),
        lambda: someone("new").join_externally(ours.env, info, leaf_extensions=OFFER, authenticated_data=data),
    ):
        with pytest.raises(CallerError, match="divided among components"):
            call()


def test_it_begins_and_ends_with_an_epoch() -> None:
    """The commit that makes the rule is itself of the old way, and so is the one that ends it."""
    ours = company(2)
    ours.commit(A, proposals=[updated(SAFE_AAD, ComponentsList().encode())], authenticated_data=b"free text")
    _, message = front.seal(ours[A], ours.env, b"text")
    assert front.receive(ours[B], ours.env, message).authenticated_data == NOTHING
    with pytest.raises(CallerError):
        front.commit(ours[A], ours.env, proposals=[updated(SAFE_AAD, None)], authenticated_data=b"free text")
    sent = ours.commit(A, proposals=[updated(SAFE_AAD, None)], authenticated_data=ITEMS)
    assert sent.group.public.context.dictionary.entries == ()
    _, message = front.seal(ours[A], ours.env, b"text", authenticated_data=b"free text")
    assert front.receive(ours[B], ours.env, message).authenticated_data == b"free text"


def test_late_messages_are_read_by_the_rule_of_their_epoch() -> None:
    ours = dividing(2)
    _, late = front.seal(ours[B], ours.env, b"late")
    bad = application(ours, b"free text")
    before = ours[A]
    ours.commit(A, proposals=[updated(SAFE_AAD, None)])
    retired = front.retired(before)
    assert front.receive(retired, ours.env, late).authenticated_data == NOTHING
    refused("VAL-2.1-1", lambda: front.receive(retired, ours.env, bad))


def test_under_another_number() -> None:
    """§4.1: it is the deployment's number for it that counts."""
    numbers = replace(WITH.components.numbers, safe_aad=ComponentId(0x9002))
    parameters = knowing(WITH, numbers=numbers)
    other = company(2, parameters=parameters, extensions=demand(data={SAFE_AAD: b"\x00"}))
    _, message = front.seal(other[A], other.env, b"text", authenticated_data=b"free text")
    assert front.receive(other[B], other.env, message).authenticated_data == b"free text"
    ours = company(2, parameters=parameters, extensions=demand(data={0x9002: b"\x00"}))
    with pytest.raises(CallerError):
        front.seal(ours[A], ours.env, b"text", authenticated_data=b"free text")


def test_the_new_member_s_own_commit_and_proposal() -> None:
    """One who is added by its own proposal had to know how the group frames things."""
    ours = dividing(2)
    package = someone("new").package(ours.env, leaf_extensions=OFFER)
    message = front.propose_self(
        ours.env, ours.any.group_id, ours.any.epoch, package, authenticated_data=encode_items({})
    )
    for name in (A, B):
        accepts(ours, name, message)
    references = list(ours[A].proposals)
    sent = front.commit(ours[A], ours.env, references=references)
    assert isinstance(next(iter(ours[A].proposals.values())).proposal, Add)
    assert sent.added == (LeafIndex(2),)
    stray = authenticated(
        ours[A],
        ContentType.PROPOSAL,
        Add(package.key_package),
        wire_format=WireFormat.PUBLIC_MESSAGE,
        sender=Sender(SenderType.NEW_MEMBER_PROPOSAL),
        signer=package.signature_private,
    )
    bare = encode_message(WireFormat.PUBLIC_MESSAGE, PublicMessage(stray, b"").encode())
    refuses("VAL-2.1-1", ours, B, bare, sent.message)


@breaks("EXT-4.9-1", "EXT-4.9-2")
def test_a_wish_to_leave_that_members_would_refuse() -> None:
    """Who joins refuses it too: a commit that named it would wait for it forever."""
    ours = dividing(3)
    info = front.group_info(ours[A])
    joiner = someone("new")

    def enter(data: bytes) -> None:
        content = authenticated(
            ours[B], ContentType.PROPOSAL, SelfRemove(), wire_format=WireFormat.PUBLIC_MESSAGE, data=data
        )
        wishes = [as_public(ours[B], content)]
        joined = joiner.join_externally(ours.env, info, leaf_extensions=OFFER, self_removes=wishes)
        group = front.receive(ours[A], ours.env, wishes[0]).group
        assert isinstance(front.receive(group, ours.env, joined.message), CommitMessage)

    for bad, rule in ((UNSORTED, "EXT-4.9-1"), (TRAILING, "EXT-4.9-2"), (b"", "VAL-2.1-1")):
        refused(rule, lambda: enter(bad))  # noqa: B023 - used at once
    enter(NOTHING)
    enter(ITEMS)
