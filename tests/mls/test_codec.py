"""RFC 9420 §2.1: every struct survives its encoding, and every length has one form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from mls.codec import (
    MAX_VECTOR,
    Reader,
    decode_exactly,
    opaque,
    optional,
    read_u16_vector,
    read_u32_vector,
    u8,
    u16,
    u16_vector,
    u32,
    u32_vector,
    u64,
    varint,
    vector,
)
from mls.credential import decode_credential
from mls.errors import BugError, PeerError
from mls.framing import (
    AuthenticatedContent,
    Commit,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    decode_sender,
    encode_message,
    read_wire_format,
)
from mls.key_package import KeyPackage
from mls.leaf_node import (
    Capabilities,
    LeafNode,
    RequiredCapabilities,
    decode_extension,
    decode_extensions,
    encode_extensions,
)
from mls.proposals import ExternalSender, decode_proposal, encode_proposal
from mls.psk import decode_psk_id
from mls.schedule import GroupContext
from mls.tree.nodes import ParentNode
from mls.tree.path import UpdatePath, UpdatePathNode
from mls.welcome import (
    EncryptedGroupSecrets,
    GroupInfo,
    GroupSecrets,
    Welcome,
    decode_group_info,
    decode_welcome,
)
from tests.mls import strategies as make


def encode(value: Any) -> bytes:
    return bytes(value.encode())


def encoded(value: Any) -> bytes:
    return bytes(value.encoded)


ROUND_TRIPS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], bytes], Callable[[Reader], Any]]] = {
    "Extension": (make.extension, encode, decode_extension),
    "Extensions": (make.extensions_, encode_extensions, decode_extensions),
    "RequiredCapabilities": (make.required, encode, RequiredCapabilities.decode),
    "Credential": (make.credentials, encode, decode_credential),
    "LeafNode": (make.leaf_nodes(), encode, LeafNode.decode),
    "LeafNode in many trees": (make.leaf_nodes(), encode, LeafNode.decode_shared),
    "KeyPackage": (make.key_packages(), encode, KeyPackage.decode),
    "ParentNode": (make.parent_nodes, encoded, ParentNode.decode),
    "UpdatePathNode": (make.path_nodes, encode, UpdatePathNode.decode),
    "UpdatePath": (make.update_paths, encode, UpdatePath.decode),
    "PreSharedKeyID": (make.psk_ids, encode, decode_psk_id),
    "Proposal": (make.proposals, encode_proposal, decode_proposal),
    "ExternalSender": (make.external_senders, encode, ExternalSender.decode),
    "Commit": (make.commits, encode, Commit.decode),
    "Sender": (make.senders, encode, decode_sender),
    "FramedContent": (make.framed_contents(), encoded, FramedContent.decode),
    "AuthenticatedContent": (make.authenticated_contents(), encode, AuthenticatedContent.decode),
    "PublicMessage": (make.public_messages(), encode, PublicMessage.decode),
    "PrivateMessage": (make.private_messages, encode, PrivateMessage.decode),
    "GroupContext": (make.group_contexts, encode, GroupContext.decode),
    "GroupInfo": (make.group_infos(), encoded, GroupInfo.decode),
    "EncryptedGroupSecrets": (make.encrypted_group_secrets, encode, EncryptedGroupSecrets.decode),
    "Welcome": (make.welcomes, encode, Welcome.decode),
    "GroupSecrets": (make.group_secrets, encode, GroupSecrets.decode),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
@given(data=st.data(), before=st.binary(max_size=3), after=st.binary(max_size=3))
def test_round_trip(name: str, data: st.DataObject, before: bytes, after: bytes) -> None:
    """Also between other bytes: a struct that keeps the bytes it came from must take its own and no more."""
    strategy, to_bytes, decode = ROUND_TRIPS[name]
    value = data.draw(strategy)
    wire = to_bytes(value)
    assert decode_exactly(wire, decode) == value
    reader = Reader(before + wire + after, len(before))
    again = decode(reader)
    assert again == value
    assert reader.pos == len(before) + len(wire)
    assert to_bytes(again) == wire
    for name_, field in getattr(type(value), "__dataclass_fields__", {}).items():
        if not field.compare:  # what is derived from the wire is the same as what was derived in making it
            assert getattr(again, name_) == getattr(value, name_)
    with pytest.raises(PeerError):
        decode_exactly(wire[:-1], decode)
    with pytest.raises(PeerError, match=r"VAL-2\.1-5"):
        decode_exactly(wire + b"\x00", decode)


@given(value=make.capabilities)
def test_capabilities_are_five_lists(value: Capabilities) -> None:
    reader = Reader(value.encode())
    lists = [read_u16_vector(reader) for _ in range(5)]
    reader.finish()
    assert Capabilities(lists[0], lists[1], lists[2], lists[3], lists[4]) == value


def _read(wire: bytes, decode: Callable[[Reader], LeafNode]) -> tuple[LeafNode, int] | None:
    reader = Reader(wire)
    try:
        return decode(reader), reader.pos
    except PeerError:
        return None


@given(leaf=make.leaf_nodes(), place=st.integers(min_value=0), value=st.integers(0, 255))
def test_a_shared_leaf_is_read_like_any_other(leaf: LeafNode, place: int, value: int) -> None:
    """Also where bytes are wrong: its end is found before it is read, and must be found where the reading ends."""
    wire = bytearray(leaf.encoded + b"\x00\x00\x00")
    wire[place % len(wire)] = value
    assert _read(bytes(wire), LeafNode.decode_shared) == _read(bytes(wire), LeafNode.decode)


def test_a_shared_leaf_is_kept_once() -> None:
    leaf = LeafNode.decode_shared(Reader(SMALL_LEAF))
    assert LeafNode.decode_shared(Reader(b"".join([SMALL_LEAF]))) is leaf
    large = SMALL_LEAF[:-1] + opaque(bytes(4096))
    first, second = (LeafNode.decode_shared(Reader(large)) for _ in range(2))
    assert first == second
    assert first is not second


SMALL_LEAF = b"".join([opaque(b"key"), opaque(b"signer"), u16(1), opaque(b"anna"), *[b"\x00"] * 5, b"\x02\x00\x00"])
"""An Update's, without capabilities, extensions or signature."""


@given(welcome=make.welcomes, info=make.group_infos())
def test_framed_round_trip(welcome: Welcome, info: GroupInfo) -> None:
    framed = encode_message(3, welcome.encode())
    assert read_wire_format(Reader(framed)) == 3
    assert decode_welcome(framed) == welcome
    assert decode_group_info(encode_message(4, info.encoded)) == info
    with pytest.raises(PeerError, match=r"VAL-6-4"):
        decode_group_info(framed)
    with pytest.raises(PeerError, match=r"VAL-6-3"):
        decode_welcome(b"\x00\x02" + framed[2:])


@given(key=make.opaques, sealed=make.hpke_ciphertexts)
def test_the_entries_of_a_path_node(key: bytes, sealed: list[tuple[bytes, bytes]]) -> None:
    """They stay undecoded; each is found by its place, whether or not they are of one size."""
    node = make.path_node(key, sealed)
    assert node.count == len(sealed)
    assert [node.ciphertext(place) for place in range(node.count)] == sealed


# ---------------------------------------------------------------- the presentation language itself


@given(value=st.integers(0, MAX_VECTOR))
@example(0)
@example(63)
@example(64)
@example(0x3FFF)
@example(0x4000)
@example(MAX_VECTOR)
def test_a_length_has_one_form(value: int) -> None:
    """§2.1.2: the shortest one; of the other two, every one that could hold the value is refused."""
    wire = varint(value)
    assert len(wire) == (1 if value < 64 else 2 if value < 0x4000 else 4)
    reader = Reader(wire)
    assert reader.varint() == value
    reader.finish()
    longer = [(0x4000 | value).to_bytes(2, "big")] if value < 64 else []
    longer += [(0x8000_0000 | value).to_bytes(4, "big")] if value < 0x4000 else []
    for other in longer:
        with pytest.raises(PeerError, match=r"VAL-2\.1-2"):
            Reader(other).varint()
    with pytest.raises(PeerError, match=r"VAL-2\.1-3"):
        Reader(bytes([wire[0] | 0xC0]) + wire[1:] + bytes(8)).varint()
    for size in range(len(wire)):
        with pytest.raises(PeerError, match=r"VAL-2\.1-1"):
            Reader(wire[:size]).varint()


def test_a_length_beyond_the_form_is_our_bug() -> None:
    with pytest.raises(BugError):
        varint(MAX_VECTOR + 1)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("u8"), make.u8s),
            st.tuples(st.just("u16"), make.u16s),
            st.tuples(st.just("u32"), make.u32s),
            st.tuples(st.just("u64"), make.u64s),
            st.tuples(st.just("opaque"), make.opaques),
            st.tuples(st.just("optional"), st.none() | make.opaques),
            st.tuples(st.just("vector"), st.lists(make.opaques, max_size=4).map(tuple)),
            st.tuples(st.just("u16s"), make.u16_lists),
            st.tuples(st.just("u32s"), st.lists(make.u32s, max_size=4).map(tuple)),
        ),
        max_size=8,
    )
)
def test_a_sequence_of_values(items: list[tuple[str, Any]]) -> None:
    writers: dict[str, Callable[[Any], bytes]] = {
        "u8": u8,
        "u16": u16,
        "u32": u32,
        "u64": u64,
        "opaque": opaque,
        "optional": lambda value: optional(None if value is None else opaque(value)),
        "vector": lambda value: vector([opaque(each) for each in value]),
        "u16s": u16_vector,
        "u32s": u32_vector,
    }
    readers: dict[str, Callable[[Reader], Any]] = {
        "u8": Reader.u8,
        "u16": Reader.u16,
        "u32": Reader.u32,
        "u64": Reader.u64,
        "opaque": Reader.opaque,
        "optional": lambda reader: reader.optional(Reader.opaque),
        "vector": lambda reader: reader.vector(Reader.opaque),
        "u16s": read_u16_vector,
        "u32s": read_u32_vector,
    }
    wire = b"".join(writers[kind](value) for kind, value in items)
    reader = Reader(wire)
    assert [(kind, readers[kind](reader)) for kind, _ in items] == items
    reader.finish()
    skipping = Reader(wire)
    for kind, value in items:
        if kind in {"opaque", "vector", "u16s", "u32s"}:
            skipping.skip_vectors(1)
        else:
            readers[kind](skipping)
        assert value is None or skipping.pos <= skipping.end
    skipping.finish()


@pytest.mark.parametrize(
    ("wire", "decode", "rule"),
    [
        (b"\x02", lambda reader: reader.optional(Reader.u8), "VAL-2.1-4"),
        (b"\x03ab", Reader.opaque, "VAL-2.1-1"),
        (b"\x03ab", lambda reader: reader.skip_vectors(1), "VAL-2.1-1"),
        (b"\x01a", read_u16_vector, "VAL-2.1-1"),
        (b"\x03abc", read_u32_vector, "VAL-2.1-1"),
        (b"\x02\x05a", lambda reader: reader.vector(Reader.opaque), "VAL-2.1-1"),
        (b"\x04\x01a", lambda reader: reader.vector(Reader.opaque), "VAL-2.1-1"),
        (b"", Reader.u8, "VAL-2.1-1"),
        (b"a", Reader.u16, "VAL-2.1-1"),
        (b"abc", Reader.u32, "VAL-2.1-1"),
        (b"abcdefg", Reader.u64, "VAL-2.1-1"),
        (b"ab", Reader.u8, "VAL-2.1-5"),
    ],
)
def test_refusals(wire: bytes, decode: Callable[[Reader], Any], rule: str) -> None:
    with pytest.raises(PeerError) as refused:
        decode_exactly(wire, decode)
    assert refused.value.check == rule


def test_an_item_ends_with_its_vector() -> None:
    """What follows a vector in the buffer is no part of its last item."""
    with pytest.raises(PeerError, match=r"VAL-2\.1-1"):
        Reader(b"\x02\x05a" + b"bcdefgh").vector(Reader.opaque)


def test_two_extensions_of_one_type() -> None:
    with pytest.raises(PeerError, match=r"VAL-13\.4-1"):
        decode_exactly(vector([b"\x0a\x0a\x00", b"\x0a\x0a\x00"]), decode_extensions)
