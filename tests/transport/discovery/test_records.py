from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.transport.discovery.samples import KEY_A, NOW, PLACES, A, B
from transport.base import Address, Milliseconds, Reason, Refused
from transport.discovery.addresses import MAX_ADDRESS
from transport.discovery.records import LIFE, MAX_LIFE, MAX_RECORD, MOST_ADDRESSES, PeerRecord, make, open_record

EXPIRES = Milliseconds(NOW + LIFE)
RECORD = make(KEY_A, PLACES[:3], sequence=7, expires=EXPIRES)


def reason(data: bytes, now: int = NOW) -> Reason:
    with pytest.raises(Refused) as caught:
        open_record(data, Milliseconds(now))
    return caught.value.reason


@given(st.lists(st.sampled_from(PLACES), unique=True, max_size=MOST_ADDRESSES), st.integers(0, 2**64 - 1))
def test_round_trip(addresses: list[Address], sequence: int) -> None:
    record = make(KEY_A, addresses, sequence=sequence, expires=EXPIRES)
    assert open_record(record.encoded, NOW, about=A) == record
    assert (record.peer, record.addresses, record.sequence) == (A, tuple(addresses), sequence)


@given(st.integers(0, len(RECORD.encoded) * 8 - 1))
def test_no_bit_can_be_changed(bit: int) -> None:
    data = bytearray(RECORD.encoded)
    data[bit // 8] ^= 1 << bit % 8
    reason(bytes(data))


@given(st.binary(max_size=400) | st.binary(max_size=300).map(lambda data: b"\x01" + data))
def test_junk(data: bytes) -> None:
    reason(data)


@given(st.integers(0, len(RECORD.encoded) - 1))
def test_cut_short(size: int) -> None:
    reason(RECORD.encoded[:size])


def test_the_largest_fits() -> None:
    long = "/dns4/" + "a" * 60 + "." + "b" * 39 + "/tcp/65535/p2p/" + A + "/p2p-circuit"
    assert len(long) <= MAX_ADDRESS
    addresses = [Address(long.replace("aaaa", f"a{number:02}a", 1)) for number in range(MOST_ADDRESSES)]
    record = make(KEY_A, addresses, sequence=2**64 - 1, expires=EXPIRES)
    assert len(record.encoded) <= MAX_RECORD
    assert open_record(record.encoded, NOW) == record
    with pytest.raises(ValueError):
        make(KEY_A, PLACES[: MOST_ADDRESSES + 1], sequence=1, expires=EXPIRES)


def test_reasons() -> None:
    assert reason(b"") is Reason.MALFORMED
    assert reason(b"\x02" + RECORD.encoded[1:]) is Reason.VERSION
    assert reason(RECORD.encoded + bytes(MAX_RECORD)) is Reason.SIZE
    assert reason(RECORD.encoded[:-1] + b"x") is Reason.FORGED
    assert reason(RECORD.encoded, EXPIRES) is Reason.EXPIRED
    assert reason(RECORD.encoded, EXPIRES - MAX_LIFE - 1) is Reason.TOO_LONG
    with pytest.raises(Refused, match="another peer"):
        open_record(RECORD.encoded, NOW, about=B)


def hand_made(*texts: bytes, count: int | None = None, rest: bytes = b"") -> bytes:
    """A record with a true signature over whatever is in it."""
    body = RECORD.encoded[:49] + (len(texts) if count is None else count).to_bytes()
    body += b"".join(len(text).to_bytes() + text for text in texts) + rest
    return body + KEY_A.sign(b"vcd peer record 1" + body)


@pytest.mark.parametrize(
    "data",
    [
        hand_made(b"/ip4/0.0.0.0/tcp/1"),
        hand_made(b"/ip6/2001:DB8::1/tcp/1"),  # not the one spelling
        hand_made(b"/ip4/192.0.2.1/tcp/1", b"/ip4/192.0.2.1/tcp/1"),
        hand_made(b"/ip4/192.0.2.1/tcp/1/p2p/" + A.encode()),
        hand_made("/ip4/192.0.2.1/tcp/\u0661".encode()),
        hand_made(b"/ip4/192.0.2.1/tcp/1", count=2),
        hand_made(b"/ip4/192.0.2.1/tcp/1", count=0),
        hand_made(rest=b"\0", count=0),
        hand_made(count=255),
    ],
)
def test_a_signature_does_not_excuse_the_shape(data: bytes) -> None:
    assert reason(data) is Reason.MALFORMED


def test_making_refuses_what_others_would() -> None:
    for bad in ("/ip4/0.0.0.0/tcp/1", "junk", f"{PLACES[0]}/p2p/{A}"):
        with pytest.raises(ValueError):
            make(KEY_A, [Address(bad)], sequence=1, expires=EXPIRES)


def versions() -> st.SearchStrategy[PeerRecord]:
    return st.builds(
        lambda sequence, expires, place: make(KEY_A, [place], sequence=sequence, expires=expires),
        st.integers(0, 3),
        st.integers(0, 3).map(lambda more: Milliseconds(EXPIRES + more)),
        st.sampled_from(PLACES[:3]),
    )


@given(st.lists(versions(), min_size=1, max_size=8))
def test_all_who_see_the_same_records_keep_the_same(records: list[PeerRecord]) -> None:
    def kept(order: list[PeerRecord]) -> PeerRecord | None:
        best: PeerRecord | None = None
        for record in order:
            if record.newer_than(best):
                best = record
        return best

    first = kept(records)
    assert kept(records[::-1]) == first
    assert first is not None
    assert first.sequence == max(record.sequence for record in records)
    assert not first.newer_than(first)
