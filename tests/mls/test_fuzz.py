"""Whatever bytes come from outside, only `PeerError` and `StaleError` come out, soon, and for little memory.

Three kinds of hands: a stranger's, who can only alter what was sent; a newcomer's, who may sign what it likes under its
own name; and an insider's, who knows every key of the epoch and seals garbage as it should be. Whoever accepts what
such a one sends must be able to go on from there.
"""

from __future__ import annotations

from functools import lru_cache, partial

import pytest
from hypothesis import given, strategies as st

from mls import group as front
from mls.codec import Reader, decode_exactly, opaque, u16, u64
from mls.errors import PeerError
from mls.framing import FramedContent, Sender
from mls.registries import ContentType, SenderType
from tests.mls.clients import (
    client,
    framed,
    insider_private,
    insider_public,
    snapshot,
)
from tests.mls.fuzz_scene import outcome, scene
from tests.mls.strategies import Mutation, mutated, mutations
from tests.mls.test_codec import ROUND_TRIPS

KINDS = tuple(scene().messages)
GOOD = {
    "welcome": {"join", "decode a Welcome"},
    "group info": {"join externally", "decode a GroupInfo"},
    "bare group info": {"decode a GroupInfo"},
    "key package": {"add a KeyPackage"},
    "tree": {"join externally with a tree", "decode a tree"},
    "tree for a Welcome": {"join with a tree", "decode a tree"},
}
"""By which ways in a message is good; the others it is for `receive`."""


def test_the_scene_is_good() -> None:
    at = scene()
    for kind, message in at.messages.items():
        found = {way: outcome(call) for way, call in at.entries(message).items()}
        accepted = {way for way, what in found.items() if what == "accepted"}
        outside = set() if kind.startswith("tree") else {"decode an envelope"}
        assert accepted == GOOD.get(kind, {"receive", "receive as a sibling"}) | outside, kind
        assert (found["join externally"] == "no tree") == (kind == "bare group info")


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_and_every_byte(kind: str) -> None:
    """Each prefix, and each byte changed in its lowest bit, its highest bit and altogether."""
    at = scene()
    message = at.messages[kind]
    ways = sorted(GOOD.get(kind, {"receive"}))
    altered = [message[:size] for size in range(len(message))]
    for place, byte in enumerate(message):
        altered.extend(message[:place] + bytes([byte ^ change]) + message[place + 1 :] for change in (1, 0x80, 0xFF))
    before = snapshot(at.reader)
    for way in ways:
        found = [outcome(at.entries(data)[way]) for data in altered]
        # Only a GroupInfo can lose its tree: the signature of one without cannot be checked.
        assert "no tree" not in found or kind == "group info"
        harmless = found.count("accepted")
        # Decoding alone cannot tell; of what is acted upon, every bit is covered by a signature, a tag or a hash.
        assert way.startswith("decode") or harmless == 0, way
    assert snapshot(at.reader) == before


@given(kind=st.sampled_from(KINDS), changes=st.lists(mutations, min_size=1, max_size=3))
def test_altered_messages(kind: str, changes: list[Mutation]) -> None:
    at = scene()
    message = mutated(at.messages[kind], changes)
    if message == at.messages[kind]:
        return
    for way, call in at.entries(message).items():
        found = outcome(call)
        assert found != "accepted" or way.startswith("decode")
        assert found != "no tree" or way == "join externally"


@given(data=st.binary(max_size=200), head=st.sampled_from([b"", *(b"\0\1\0" + bytes([n]) for n in range(7))]))
def test_random_bytes(data: bytes, head: bytes) -> None:
    at = scene()
    for call in at.entries(head + data).values():
        outcome(call)


@pytest.mark.parametrize("name", ROUND_TRIPS)
@given(data=st.data(), changes=st.lists(mutations, min_size=1, max_size=3))
def test_what_decodes_encodes_to_the_same(name: str, data: st.DataObject, changes: list[Mutation]) -> None:
    """There is one encoding for a value, so altered bytes are refused or are the encoding of another one."""
    strategy, encode, decode = ROUND_TRIPS[name]
    wire = mutated(encode(data.draw(strategy)), changes)
    try:
        value = decode_exactly(wire, decode)
    except PeerError:
        return
    assert encode(value) == wire


# ---------------------------------------------------------------- insiders: garbage, signed and sealed


BODIES = {
    "application": ContentType.APPLICATION,
    "public proposal": ContentType.PROPOSAL,
    "public commit": ContentType.COMMIT,
}


@lru_cache(maxsize=8)
def body_of(kind: str) -> bytes:
    if kind == "application":
        return opaque(b"data")
    reader = Reader(scene().messages[kind][4:])
    content = FramedContent.decode(reader)
    head = len(framed(scene().party["member00"], content.content_type, b""))
    return content.encoded[head:]


@given(
    kind=st.sampled_from(sorted(BODIES)),
    changes=st.lists(mutations, max_size=3),
    tag=st.binary(max_size=40),
    leaf=st.sampled_from([0, 0, 2, 4, 5, 900, 0xFFFF_FFFF]),
    generation=st.sampled_from([0, 0, 1, 70, 1001, 0xFFFF_FFFF]),
    padding=st.sampled_from([b"", bytes(9), b"\0\1"]),
)
def test_garbage_signed_by_a_member(
    kind: str, changes: list[Mutation], tag: bytes, leaf: int, generation: int, padding: bytes
) -> None:
    at = scene()
    insider = at.party["member00"]
    body = mutated(body_of(kind), changes)
    content_type = BODIES[kind]
    commit = content_type == ContentType.COMMIT
    content = framed(insider, content_type, body)
    sealed_tag = opaque(tag) if commit else b""
    signed = opaque(
        insider.suite.sign_with_label(
            insider.signature_key,
            b"FramedContentTBS",
            u16(1) + u16(2) + content + insider.public.context.encoded,
        )
    )
    for message in (
        insider_public(insider, content, tag=tag if commit else None),
        insider_private(insider, content_type, body + signed + sealed_tag + padding, leaf=leaf, generation=generation),
        insider_private(insider, content_type, body + changes_bytes(changes), generation=generation),
    ):
        for name in ("member01", "late"):
            outcome(partial(front.receive, at.party[name], at.env, message))


def changes_bytes(changes: list[Mutation]) -> bytes:
    return b"".join(u64(change.value) for change in changes)


@given(sender_data=st.binary(max_size=20), content_type=st.integers(0, 5), plaintext=st.binary(max_size=30))
def test_any_sender_data(sender_data: bytes, content_type: int, plaintext: bytes) -> None:
    at = scene()
    message = insider_private(at.party["member00"], content_type, plaintext, sender_data=sender_data)
    assert outcome(lambda: front.receive(at.reader, at.env, message)) != "accepted"


@given(
    kind=st.sampled_from(["external commit", "new member proposal"]),
    changes=st.lists(mutations, max_size=2),
    sender=st.integers(1, 4),
    tag=st.binary(max_size=40),
)
def test_garbage_signed_by_a_stranger(kind: str, changes: list[Mutation], sender: int, tag: bytes) -> None:
    """Who is not in can still sign what its own message says about it."""
    at = scene()
    original = FramedContent.decode(Reader(at.messages[kind][4:]))
    empty = framed(at.reader, original.content_type, b"", sender=original.sender)
    body = mutated(original.encoded[len(empty) :], changes)
    content = framed(at.reader, original.content_type, body, sender=Sender(sender))
    message = insider_public(
        at.reader,
        content,
        tag=tag if original.content_type == ContentType.COMMIT else None,
        signer=client("outsider").signer,
        member=sender == SenderType.MEMBER,
    )
    for name in ("member00", "late"):
        outcome(partial(front.receive, at.party[name], at.env, message))
