"""Signatures by keys of one use, and whose signatures are believed: the same as libp2p believes."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair as ed25519_pair
from libp2p.crypto.rsa import create_new_key_pair as rsa_pair
from libp2p.crypto.secp256k1 import create_new_key_pair as secp256k1_pair
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import signature_validator

from transport.gossip.authors import Authenticity, authentic, compose
from transport.gossip.wire import Message, decode

RANDOM = random.Random(0).randbytes


def as_libp2p(message: Message) -> rpc_pb2.Message:
    return rpc_pb2.Message.FromString(message.encode())


def made_by_libp2p(pair: object, data: bytes = b"data", *, with_key: bool) -> Message:
    key = pair.public_key  # type: ignore[attr-defined]
    author = ID.from_pubkey(key).to_bytes()
    theirs = rpc_pb2.Message(data=data, topicIDs=["t"], from_id=author, seqno=bytes(8))
    signature = pair.private_key.sign(b"libp2p-pubsub:" + theirs.SerializeToString())  # type: ignore[attr-defined]
    theirs.signature = signature
    if with_key:
        theirs.key = key.serialize()
    (message,) = decode(rpc_pb2.RPC(publish=[theirs]).SerializeToString()).publish
    return message


@pytest.mark.slow
@given(st.text(min_size=1, max_size=30), st.binary(min_size=1, max_size=500))
def test_libp2p_believes_us(topic: str, data: bytes) -> None:
    message = compose(topic, data, RANDOM)
    assert authentic(message) is Authenticity.GENUINE
    assert signature_validator(as_libp2p(message))
    assert not message.key


def test_no_two_messages_have_an_author_or_a_number_in_common() -> None:
    made = [compose("t", b"same", RANDOM) for _ in range(50)]
    for part in ("author", "seqno", "signature", "id"):
        assert len({getattr(message, part) for message in made}) == 50


@pytest.mark.parametrize("with_key", [True, False])
def test_we_believe_libp2p(with_key: bool) -> None:
    message = made_by_libp2p(ed25519_pair(), with_key=with_key)
    assert authentic(message) is Authenticity.GENUINE


@pytest.mark.parametrize("field", ["author", "data", "seqno", "topic", "signature"])
def test_every_field_is_covered(field: str) -> None:
    message = compose("topic", b"data", RANDOM)
    value = getattr(message, field)
    changed = value[:-1] + ("x" if field == "topic" else bytes((value[-1] ^ 1,)))
    forged = replace(message, **{field: changed})
    assert authentic(forged) is Authenticity.FORGED
    assert not signature_validator(as_libp2p(forged))


@pytest.mark.parametrize("field", ["author", "data", "seqno", "topic", "signature"])
def test_nothing_may_be_missing(field: str) -> None:
    message = compose("topic", b"data", RANDOM)
    emptied: Any = {field: "" if field == "topic" else b""}
    assert authentic(replace(message, **emptied)) is Authenticity.INCOMPLETE


@pytest.mark.parametrize("size", [7, 9, 64])
def test_numbers_have_eight_bytes(size: int) -> None:
    assert authentic(replace(compose("t", b"d", RANDOM), seqno=bytes(size))) is Authenticity.INCOMPLETE


def test_a_key_that_is_not_the_authors() -> None:
    message = compose("topic", b"data", RANDOM)
    other = compose("topic", b"data", RANDOM)
    assert authentic(replace(message, key=other.author[2:])) is Authenticity.FORGED
    assert authentic(replace(message, key=message.author[2:])) is Authenticity.GENUINE


def test_an_ed25519_author_under_a_hashed_id() -> None:
    pair = ed25519_pair()
    key = pair.public_key.serialize()
    author = bytes.fromhex("1220") + hashlib.sha256(key).digest()
    unsigned = Message(author=author, data=b"d", seqno=bytes(8), topic="t")
    message = replace(unsigned, signature=pair.private_key.sign(unsigned.signed()), key=key)
    assert authentic(message) is Authenticity.GENUINE
    assert authentic(replace(message, key=b"")) is Authenticity.FORGED
    assert authentic(replace(message, key=ed25519_pair().public_key.serialize())) is Authenticity.FORGED


@pytest.mark.slow
def test_other_kinds_of_keys_are_not_believed() -> None:
    for pair in (rsa_pair(2048), secp256k1_pair()):
        assert authentic(made_by_libp2p(pair, with_key=True)) is Authenticity.UNCHECKED


def test_the_key_that_ends_libp2p_is_refused() -> None:
    """Junk in `key` under a hashed author raises out of libp2p's validator."""
    message = Message(
        author=bytes.fromhex("1220") + bytes(32), data=b"d", seqno=bytes(8), topic="t", signature=b"s", key=b"\xff" * 9
    )
    assert authentic(message) is Authenticity.FORGED
    with pytest.raises(Exception, match=r"."):
        signature_validator(as_libp2p(message))


@given(st.binary(max_size=60), st.binary(max_size=80), st.binary(max_size=80))
def test_junk_is_never_genuine(author: bytes, signature: bytes, key: bytes) -> None:
    message = Message(author=author, data=b"d", seqno=bytes(8), topic="t", signature=signature, key=key)
    assert authentic(message) is not Authenticity.GENUINE
