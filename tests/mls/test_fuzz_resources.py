"""A mebibyte of trouble: refused or accepted, it costs its length in time and in memory, not its square."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from mls import group as front
from mls.codec import decode_exactly, opaque, u16, u32, u32_vector, u64, vector
from mls.errors import PeerError
from mls.framing import Commit, encode_message
from mls.key_package import KeyPackage
from mls.leaf_node import Capabilities, Extension, RequiredCapabilities
from mls.proposals import (
    Add,
    GroupContextExtensions,
    decode_proposal,
)
from mls.registries import ContentType, WireFormat
from mls.tree.ratchet_tree import RatchetTree
from tests.conftest import LONG
from tests.mls.clients import (
    ANY,
    client,
    framed,
    insider_private,
    insider_public,
)
from tests.mls.frankenstein import (
    forge_leaf,
    forge_package,
)
from tests.mls.frankenstein_welcome import forge_info, forge_welcome
from tests.mls.fuzz_scene import lies, outcome, scene

MIB = 1 << 20
SECONDS = 3.0
"""Of processor time for a mebibyte. The worst takes a fourth of that on an idle core; what is not linear, minutes."""
MULTIPLE = 96
"""How often a message's size may be in memory while it is looked at: a member of a list is an object in Python."""


def crafted(size: int) -> dict[str, tuple[Callable[[], bytes], Callable[[bytes], object]]]:
    """Inputs of about so many bytes, each made to be expensive in its own way, and where they go in."""
    at = scene()
    insider, reader, env = at.party["member00"], at.reader, at.env
    suite = reader.suite
    liar, stranger = client("liar"), client("stranger")
    key = suite.generate_key_pair(env.provider.random)[1]
    victim, package, _ = lies()

    def receive(data: bytes) -> object:
        return front.receive(reader, env, data)

    def enter(data: bytes) -> object:
        return stranger.join_externally(env, data)

    def join(data: bytes) -> object:
        return victim.join(env, data, [package])

    def commit(entries: list[bytes], path: bytes = b"\0") -> bytes:
        body = opaque(b"".join(entries)) + path
        return insider_public(insider, framed(insider, ContentType.COMMIT, body), tag=bytes(32))

    def path(nodes: bytes) -> bytes:
        leaf = forge_leaf(at.party.clients["member00"], key, source=3, group_id=b"group")
        return commit([], b"\1" + leaf.encoded + opaque(nodes))

    def told(nodes: list[bytes], group_extensions: bytes = b"\0") -> bytes:
        """A GroupInfo of a tree whose first leaf is the liar's."""
        encoded = vector(nodes)
        tree_hash = RatchetTree.decode(suite, encoded).hash
        body = u16(1) + u16(1) + opaque(b"group") + u64(1) + opaque(tree_hash) + b"\0" + group_extensions
        extensions = [u16(4) + opaque(opaque(key)), u16(2) + opaque(encoded)]
        body += vector(extensions) + opaque(b"tag") + u32(0)
        return encode_message(
            WireFormat.GROUP_INFO, body + opaque(suite.sign_with_label(liar.signer, b"GroupInfoTBS", body))
        )

    def leaf(**fields: Any) -> bytes:
        return b"\1\1" + forge_leaf(liar, key, **fields).encoded

    def other(number: int, capabilities: bytes = ANY.encoded) -> bytes:
        """A leaf that nobody signed."""
        name = number.to_bytes(3, "big")
        return b"\1\1" + opaque(name) + opaque(name) + b"\0\1\0" + capabilities + b"\2\0\0"

    def capabilities(count: int) -> Capabilities:
        return Capabilities((1,), (1,), tuple(10_000 + n % 50_000 for n in range(count)), (), (1,))

    def required(kinds: list[int]) -> bytes:
        return vector([RequiredCapabilities(tuple(kinds)).extension().encode()])

    def unmerged_everywhere() -> list[bytes]:
        parts = []
        for place in range((1 << (size // 80).bit_length()) - 1):
            level = (~place & (place + 1)).bit_length() - 1
            if level == 0:
                parts.append(other(place) if place else leaf())
                continue
            span = (1 << level) - 1
            below = tuple(range((place - span) // 2, (place + span) // 2 + 1))
            parts.append(b"\1\2" + opaque(b"p" + place.to_bytes(3, "big")) + b"\0" + u32_vector(below))
        return parts

    def signed_profiles() -> bytes:
        """Many members that differ in their capabilities, and a long list of what they need to support."""
        nodes = [leaf()]
        for number in range(1, size // 500):
            someone = client(f"profile{number}")
            own = Capabilities((1,), (1,), (10_000 + number,), (), (1,))
            node = forge_leaf(someone, env.provider.random(32), capabilities=own)
            nodes.extend([b"\0", b"\1\1" + node.encoded])
        return told(nodes, required([1 + n % 5 for n in range(size // 4)]))

    blank = size - 600 | 1
    extension = u16(0x0A0A) + b"\0"
    return {
        "a tree of blanks": (lambda: told([leaf(), b"\0" * blank, other(1)]), enter),
        "a tree of leaves": (lambda: told([leaf(), *(b"\0" + other(n) for n in range(1, size // 55))]), enter),
        "unmerged leaves everywhere": (lambda: told(unmerged_everywhere()), enter),
        "a leaf that supports everything": (lambda: told([leaf(capabilities=capabilities(size // 2))]), enter),
        "everything required": (
            lambda: told(
                [leaf(capabilities=capabilities(size // 4))], required([59_999 - n % 50_000 for n in range(size // 4)])
            ),
            enter,
        ),
        "extensions that everybody supports": (
            lambda: told(
                [
                    leaf(
                        capabilities=capabilities(min(size // 6, 50_000)),
                        extensions=tuple(Extension(10_000 + n, b"") for n in range(min(size // 6, 50_000)))[::-1],
                    )
                ]
            ),
            enter,
        ),
        "profiles by requirements": (signed_profiles, enter),
        "a chain of empty certificates": (
            lambda: told([b"\1\1" + opaque(key) + opaque(b"k") + b"\0\2" + opaque(bytes(size)) + bytes(5) + b"\2\0\0"]),
            enter,
        ),
        "one extension many times": (
            lambda: encode_message(4, u16(1) + u16(1) + b"\0" + u64(0) + b"\0\0" + opaque(extension * (size // 3))),
            enter,
        ),
        "a vector that says it is huge": (lambda: b"\0\1\0\4\0\1\0\1\xbf\xff\xff\xff" + bytes(size), enter),
        "a Welcome for nobody, many times": (
            lambda: encode_message(3, u16(1) + opaque(bytes(size // 3 * 3)) + b"\0"),
            join,
        ),
        "GroupSecrets of many small PSKs": (
            lambda: forge_welcome(
                env,
                forge_info(env, b"", liar),
                package,
                secrets=lambda plain: opaque(bytes(32)) + b"\0" + opaque(b"\1\0\0" * (size // 3)),
            ),
            join,
        ),
        "GroupSecrets of many PSKs": (
            lambda: forge_welcome(
                env,
                forge_info(env, b"", liar),
                package,
                secrets=lambda plain: (
                    opaque(bytes(32)) + b"\0" + opaque((b"\1" + opaque(b"psk") + opaque(bytes(32))) * (size // 38))
                ),
            ),
            join,
        ),
        "references": (lambda: commit([b"\2\0"] * (size // 2)), receive),
        "references that differ": (lambda: commit([b"\2\3" + n.to_bytes(3, "big") for n in range(size // 5)]), receive),
        "PSK proposals": (
            lambda: commit([b"\1\0\4\1" + opaque(b"%06d" % n) + opaque(bytes(32)) for n in range(size // 44)]),
            receive,
        ),
        "Removes": (lambda: commit([b"\1\0\3" + u32(3)] * (size // 7)), receive),
        "new extensions, many times": (lambda: commit([b"\1\0\7\0"] * (size // 4)), receive),
        "many new extensions": (
            lambda: commit([b"\1\0\7" + vector([u16(n) + opaque(bytes(12)) for n in range(min(size // 16, 65_536))])]),
            receive,
        ),
        "external senders": (
            lambda: commit([b"\1\0\7" + vector([u16(5) + opaque(opaque(b"\0\0\1\0" * (size // 4)))])]),
            receive,
        ),
        "a path of nothing": (lambda: path(b"\0\0" * (size // 2)), receive),
        "a path of many secrets": (lambda: path(opaque(key) + opaque(b"\0\0" * (size // 2))), receive),
        "a path of secrets that differ": (
            lambda: path(opaque(key) + opaque(b"\0\1a" * (size // 3) + b"\0\0")),
            receive,
        ),
        "a far generation": (
            lambda: insider_private(insider, 1, bytes(size), generation=0xFFFF_FFFF),
            receive,
        ),
        "padding": (lambda: insider_private(insider, 1, opaque(b"") + opaque(b"") + bytes(size)), receive),
    }


CRAFTED = tuple(crafted(MIB))


@pytest.mark.slow
@pytest.mark.parametrize("name", CRAFTED)
def test_a_mebibyte_of_trouble(name: str) -> None:
    make, enter = crafted(MIB)[name]
    data = make()
    assert len(data) > MIB // 5
    started = time.process_time()
    outcome(lambda: enter(data))
    assert time.process_time() - started < SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("name", CRAFTED)
def test_memory_for_trouble(name: str) -> None:
    """Tracing every allocation is slow, so CI does it for a quarter of a mebibyte; it is a multiple either way."""
    make, enter = crafted(MIB if LONG else MIB // 4)[name]
    data = make()
    tracemalloc.start()
    try:
        outcome(lambda: enter(data))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MULTIPLE * len(data)


def test_refused_input_is_not_kept() -> None:
    """Nothing remembers what a stranger sent: no cache grows with it."""
    at = scene()
    many = tuple(range(5_000))
    someone = client("someone")

    def refuse(number: int) -> None:
        own = Capabilities((1,), (1,), (number, *many), (), (2,))
        package = forge_package(someone, at.env, capabilities=own, signature=lambda signed: bytes(64)).key_package
        with pytest.raises(PeerError):
            front.commit(
                front.shelve_proposals(at.reader),
                at.env,
                proposals=[Add(decode_exactly(package.encoded, KeyPackage.decode))],
            )

    refuse(5_999)
    tracemalloc.start()
    try:
        for number in range(6_000, 6_040):
            refuse(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20 * len(many)  # forty packages of which each is 10 kB, and 360 kB when read


def test_nothing_nests() -> None:
    """§2.1: no struct contains itself, so what is packed into what is packed is bytes, however deep."""
    at = scene()
    proposal = b"\0\7\0"
    for _ in range(2_000):
        proposal = b"\0\7" + vector([u16(0xF000) + opaque(proposal)])
    decoded = decode_exactly(proposal, decode_proposal)
    assert isinstance(decoded, GroupContextExtensions)
    assert [extension.type for extension in decoded.extensions] == [0xF000]
    body = opaque(b"\1" + proposal) + b"\0"
    assert len(decode_exactly(body, Commit.decode).proposals) == 1
    message = insider_public(at.party["member00"], framed(at.party["member00"], 3, body), tag=bytes(32))
    assert outcome(lambda: front.receive(at.reader, at.env, message)).startswith("VAL-1")
