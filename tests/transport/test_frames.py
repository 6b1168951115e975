"""Nothing but the frame that was sealed opens; everything else is `Refused`, and never anything else."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given, strategies as st

from transport.base import MAX_LIFE, MAX_PAYLOAD, FrameId, Milliseconds, Reason, Refused, TopicId
from transport.frames import (
    HEAD_SIZE,
    WriteKey,
    check,
    check_life,
    join_payload,
    member_topic,
    open_frame,
    parse,
    seal,
    split,
    topic_id,
)

KEY = WriteKey(bytes(range(32)))
NOW = Milliseconds(1_800_000_000_000)


def refusal(encoded: bytes) -> Reason:
    with pytest.raises(Refused) as refused:
        open_frame(encoded)
    return refused.value.reason


# ---------------------------------------------------------------- what is right


@pytest.mark.slow
@given(payload=st.binary(max_size=2000), expires=st.integers(0, 2**64 - 1), seed=st.binary(min_size=32, max_size=32))
def test_what_was_sealed_opens_and_is_the_same(payload: bytes, expires: int, seed: bytes) -> None:
    key = WriteKey(seed)
    frame = seal(key, payload, Milliseconds(expires))
    assert open_frame(frame.encode()) == frame
    assert seal(key, payload, Milliseconds(expires)) == frame
    assert (frame.payload, frame.expires, frame.topic) == (payload, expires, topic_id(key.public))


def test_the_bytes_are_as_documented() -> None:
    """Written out once more from the docstring: a change of these is a new version."""
    frame = seal(KEY, b"payload", NOW)
    signed = b"\x01" + KEY.public + struct.pack(">QI", NOW, 7) + hashlib.sha256(b"payload").digest()
    assert frame.head == signed + KEY.sign(b"vcd frame 1" + signed)
    assert frame.encode() == frame.head + b"payload"
    assert len(frame.head) == HEAD_SIZE == 141
    assert frame.id == FrameId(hashlib.sha256(frame.head).digest())
    assert frame.topic == TopicId(hashlib.sha256(KEY.public).digest())
    assert frame.id.hex() == "1dbc42e5e8e5db60dfbd90d112abbcc485f27092bcb793173afd055cb15ae177"


def test_sizes_at_the_limit() -> None:
    whole = seal(KEY, bytes(MAX_PAYLOAD), NOW)
    assert open_frame(whole.encode()) == whole
    assert open_frame(seal(KEY, b"", NOW).encode()).payload == b""
    with pytest.raises(Refused) as refused:
        seal(KEY, bytes(MAX_PAYLOAD + 1), NOW)
    assert refused.value.reason is Reason.SIZE


def test_a_member_s_topic_has_the_key_and_shows_it_to_nobody() -> None:
    topic = member_topic(KEY)
    assert topic.id == topic_id(KEY.public)
    assert topic.key is KEY
    assert KEY.seed().hex() not in repr(topic)
    assert "payload" not in repr(seal(KEY, b"secret payload", NOW))


def test_the_parts_are_the_whole() -> None:
    frame = seal(KEY, b"payload", NOW)
    head, payload = split(frame.encode())
    assert head == parse(frame.head)
    check(head)
    assert join_payload(head, payload) == frame


# ---------------------------------------------------------------- what is wrong


def test_every_flipped_bit_is_refused() -> None:
    encoded = seal(KEY, b"sixteen bytes ..", NOW).encode()
    for place in range(8 * len(encoded)):
        flipped = bytearray(encoded)
        flipped[place // 8] ^= 1 << place % 8
        refusal(bytes(flipped))


def test_every_length_but_the_right_one_is_refused() -> None:
    encoded = seal(KEY, b"payload", NOW).encode()
    for length in range(len(encoded)):
        assert refusal(encoded[:length]) is Reason.MALFORMED
    assert refusal(encoded + b"x") is Reason.MALFORMED


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_versions_are_told_apart_whatever_follows(version: int) -> None:
    encoded = seal(KEY, b"payload", NOW).encode()
    assert refusal(bytes([version]) + encoded[1:]) is Reason.VERSION
    assert refusal(bytes([version])) is Reason.VERSION
    assert refusal(b"") is Reason.MALFORMED


def test_an_announced_size_over_the_limit_is_refused_before_the_signature() -> None:
    signed = struct.pack(">B32sQI32s", 1, KEY.public, NOW, MAX_PAYLOAD + 1, bytes(32))
    with pytest.raises(Refused) as refused:
        parse(signed + KEY.sign(b"vcd frame 1" + signed))
    assert refused.value.reason is Reason.SIZE


def test_a_signature_for_something_else_is_refused() -> None:
    frame = seal(KEY, b"payload", NOW)
    signed = frame.head[:-64]
    assert refusal(signed + KEY.sign(signed) + b"payload") is Reason.FORGED  # without the context
    stranger = WriteKey(bytes(32))
    assert refusal(signed + stranger.sign(b"vcd frame 1" + signed) + b"payload") is Reason.FORGED


def test_another_payload_of_the_same_size_is_refused() -> None:
    frame = seal(KEY, b"payload", NOW)
    assert refusal(frame.head + b"daolyap") is Reason.FORGED
    with pytest.raises(Refused) as refused:
        join_payload(parse(frame.head), b"longer payload")
    assert refused.value.reason is Reason.FORGED


@given(junk=st.binary(max_size=400))
def test_junk_raises_refused_and_nothing_else(junk: bytes) -> None:
    for taken in (parse, open_frame, split):
        with pytest.raises(Refused):
            taken(junk)


@given(junk=st.binary(min_size=140, max_size=160))
def test_junk_that_begins_like_a_head_raises_refused_and_nothing_else(junk: bytes) -> None:
    with pytest.raises(Refused):
        open_frame(b"\x01" + junk)
    with pytest.raises(Refused) as refused:
        check(parse(b"\x01" + junk[:140]))
    assert refused.value.reason in {Reason.SIZE, Reason.FORGED}


@pytest.mark.slow
@given(data=st.data())
def test_anything_put_over_a_part_of_a_frame_is_refused(data: st.DataObject) -> None:
    encoded = seal(KEY, bytes(200), NOW).encode()
    start = data.draw(st.integers(0, len(encoded) - 1))
    end = data.draw(st.integers(start, len(encoded)))
    changed = encoded[:start] + data.draw(st.binary(max_size=100)) + encoded[end:]
    if changed != encoded:
        refusal(changed)


# ---------------------------------------------------------------- time


def test_a_frame_lives_until_it_expires_and_not_too_long() -> None:
    for life in (1, MAX_LIFE):
        check_life(Milliseconds(NOW + life), NOW)
    for life, reason in ((0, Reason.EXPIRED), (-1, Reason.EXPIRED), (MAX_LIFE + 1, Reason.TOO_LONG)):
        with pytest.raises(Refused) as refused:
            check_life(Milliseconds(NOW + life), NOW)
        assert refused.value.reason is reason
    with pytest.raises(Refused):
        check_life(Milliseconds(2**64 - 1), NOW)


def test_refusals_say_why() -> None:
    assert str(Refused(Reason.SIZE, "5 bytes")) == "too large: 5 bytes"
    assert str(Refused(Reason.EXPIRED)) == "expired"
