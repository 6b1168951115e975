"""RFC 9420 §2.1: what cannot be the encoding of anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mls.codec import Reader, decode_exactly, opaque, read_u16_vector, read_u32_vector, u16, u32
from mls.key_package import KeyPackage
from mls.leaf_node import LeafNode
from mls.registries import ContentType
from mls.tree.path import UpdatePath, UpdatePathNode
from mls.tree.ratchet_tree import RatchetTree
from mls.welcome import decode_welcome
from tests.mls.clients import client, environment, party
from tests.mls.frankenstein import Raw, as_private, authenticated, forge_package
from tests.mls.refusals import A, B, refused, refuses
from tests.validation import breaks

Decoder = Callable[[Reader], Any]


@breaks("VAL-2.1-1")
@pytest.mark.parametrize(
    ("decode", "good", "bad"),
    [
        (Reader.u8, b"\x07", b""),
        (Reader.u16, b"\x07\x07", b"\x07"),
        (Reader.u32, b"\x07\x07\x07\x07", b"\x07\x07\x07"),
        (Reader.u64, bytes(8), bytes(7)),
        (Reader.varint, b"\x07", b""),
        (Reader.varint, b"\x40\x40", b"\x40"),
        (Reader.varint, b"\x80\x00\x40\x00", b"\x80\x00\x40"),
        (Reader.opaque, b"\x03abc", b"\x03ab"),
        (Reader.opaque, b"\x40\x40" + bytes(64), b"\x40\x40" + bytes(63)),
        (lambda reader: reader.skip_vectors(1), b"\x03abc", b"\x03ab"),
        (lambda reader: reader.skip_vectors(2), b"\x40\x40" + bytes(65), b"\x40\x40" + bytes(63)),
        (lambda reader: reader.vector(Reader.u8), b"\x03abc", b"\x03ab"),
        (lambda reader: reader.vector(Reader.u16), b"\x04abcd", b"\x03abcd"),
        (read_u16_vector, b"\x04abcd", b"\x03abcd"),
        (read_u32_vector, b"\x04abcd", b"\x06abcdef"),
    ],
)
def test_too_few_bytes(decode: Decoder, good: bytes, bad: bytes) -> None:
    decode_exactly(good, decode)
    refused("VAL-2.1-1", lambda: decode(Reader(bad)))


@breaks("VAL-2.1-1")
def test_no_field_goes_past_the_vector_it_is_in() -> None:
    """The bytes are there, but they belong to what comes after."""

    def pair(reader: Reader) -> tuple[tuple[bytes, ...], bytes]:
        return reader.vector(Reader.opaque), reader.opaque()

    assert decode_exactly(b"\x03\x02ab\x02cd", pair) == ((b"ab",), b"cd")
    refused("VAL-2.1-1", lambda: decode_exactly(b"\x03\x03ab\x01c", pair))


@breaks("VAL-2.1-1")
def test_every_truncation_of_a_key_package() -> None:
    package = client(A).package(environment("cut")).key_package
    for cut in range(len(package.encoded)):
        refused("VAL-2.1-1", lambda: decode_exactly(package.encoded[:cut], KeyPackage.decode))  # noqa: B023 - used at once


@breaks("VAL-2.1-1")
@pytest.mark.parametrize("sealed", [b"\x02ab\x03cd", b"\x02ab", b"\x02ab\x02cd\x01e", b"\x01a\x01b\x02"])
def test_a_path_node_with_half_a_ciphertext(sealed: bytes) -> None:
    decode_exactly(opaque(b"key") + opaque(b"\x02ab\x02cd"), UpdatePathNode.decode)
    refused("VAL-2.1-1", lambda: decode_exactly(opaque(b"key") + opaque(sealed), UpdatePathNode.decode))


@breaks("VAL-2.1-1")
def test_a_truncated_message() -> None:
    party_ = party(2)
    message = as_private(party_[B], party_.env, authenticated(party_[B], ContentType.APPLICATION, b"good"))
    refuses("VAL-2.1-1", party_, A, message[:-1], message)


@breaks("VAL-2.1-1")
def test_a_truncated_proposal_inside_a_message() -> None:
    party_ = party(2)
    good = authenticated(party_[B], ContentType.PROPOSAL, Raw(u32(1), type=3))
    bad = authenticated(party_[B], ContentType.PROPOSAL, Raw(b"\x00", type=3))

    def cut(plain: bytes) -> bytes:
        return plain[:3]

    refuses(
        "VAL-2.1-1",
        party_,
        A,
        as_private(party_[B], party_.env, bad, plain=cut),
        as_private(party_[B], party_.env, good),
    )


@breaks("VAL-2.1-2")
@pytest.mark.parametrize("bad", [b"\x40\x00", b"\x40\x3f", b"\x80\x00\x00\x00", b"\x80\x00\x3f\xff"])
def test_a_length_in_more_bytes_than_it_needs(bad: bytes) -> None:
    refused("VAL-2.1-2", lambda: Reader(bad + bytes(20_000)).varint())
    refused("VAL-2.1-2", lambda: Reader(bad + bytes(20_000)).opaque())
    refused("VAL-2.1-2", lambda: decode_welcome(u16(1) + u16(3) + u16(1) + bad + bytes(20_000)))


@pytest.mark.parametrize(
    ("good", "value"),
    [
        (b"\x3f", 63),
        (b"\x40\x40", 64),
        (b"\x7f\xff", 16_383),
        (b"\x80\x00\x40\x00", 16_384),
        (b"\xbf\xff\xff\xff", 2**30 - 1),
    ],
)
def test_the_shortest_form_is_read(good: bytes, value: int) -> None:
    assert decode_exactly(good, Reader.varint) == value


@breaks("VAL-2.1-3")
@pytest.mark.parametrize("first", [0xC0, 0xDA, 0xFF])
def test_a_length_of_the_reserved_form(first: int) -> None:
    bad = bytes([first]) + bytes(300)
    refused("VAL-2.1-3", lambda: Reader(bad).varint())
    refused("VAL-2.1-3", lambda: Reader(bad).opaque())
    refused("VAL-2.1-3", lambda: Reader(bad).vector(Reader.u8))


@breaks("VAL-2.1-4")
def test_an_optional_that_is_neither() -> None:
    def maybe(reader: Reader) -> bytes | None:
        return reader.optional(Reader.opaque)

    assert decode_exactly(b"\x00", maybe) is None
    assert decode_exactly(b"\x01\x01a", maybe) == b"a"
    refused("VAL-2.1-4", lambda: decode_exactly(b"\x02\x01a", maybe))
    refused("VAL-2.1-4", lambda: decode_exactly(b"\xff", maybe))


@breaks("VAL-2.1-4")
def test_a_tree_node_that_is_neither() -> None:
    group = party(2)[A]
    encoded = decode_exactly(group.public.tree.encode(), Reader.opaque)
    RatchetTree.decode(group.suite, opaque(encoded))
    refused("VAL-2.1-4", lambda: RatchetTree.decode(group.suite, opaque(b"\x02" + encoded[1:])))


@breaks("VAL-2.1-4")
def test_a_commit_whose_path_is_neither() -> None:
    party_ = party(2)
    bad = authenticated(party_[B], ContentType.COMMIT, Raw(b"\x00\x02"))
    refuses("VAL-2.1-4", party_, A, as_private(party_[B], party_.env, bad))


@breaks("VAL-2.1-5")
def test_bytes_after_a_message() -> None:
    party_ = party(2)
    message = as_private(party_[B], party_.env, authenticated(party_[B], ContentType.APPLICATION, b"good"))
    refuses("VAL-2.1-5", party_, A, message + b"\x00", message)


@breaks("VAL-2.1-5")
def test_bytes_after_a_struct() -> None:
    package = client(A).package(environment("rest")).key_package
    decode_exactly(package.encoded, KeyPackage.decode)
    refused("VAL-2.1-5", lambda: decode_exactly(package.encoded + b"\x00", KeyPackage.decode))


def test_lists_and_structs_of_a_good_leaf_are_read() -> None:
    leaf = forge_package(client(A), environment("good")).key_package.leaf_node
    assert decode_exactly(leaf.encoded, LeafNode.decode) == leaf
    path = UpdatePath(leaf, ())
    assert decode_exactly(path.encode(), UpdatePath.decode) == path
    assert decode_exactly(b"\x04" + u16(1) + u16(2), read_u16_vector) == (1, 2)
