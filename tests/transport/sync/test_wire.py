"""Every message has one way to be written, and junk is refused as such."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from transport.base import Frame, FrameId, Milliseconds, Reason, Refused, TopicId
from transport.frames import seal
from transport.signing import SigningKey
from transport.sync import wire
from transport.sync.index import KEY_SIZE, TOP, Border, Key
from transport.sync.ranges import MESSAGE, Answer, Ask, Claim, Item, Keys, Part, Same, Split
from transport.sync.wire import (
    LARGE,
    MOST_IDS,
    Absent,
    Compare,
    Compared,
    End,
    Hello,
    Large,
    Message,
    Mode,
    Next,
    No,
    Offer,
    Page,
    Piece,
    Pull,
    Small,
    Taken,
    Welcome,
    Why,
    decode,
    encode,
    entry_of,
    entry_size,
)

KEY = SigningKey(bytes(32))
SMALL = seal(KEY, b"payload", Milliseconds(10**12))
BIG = seal(KEY, bytes(LARGE + 1), Milliseconds(10**12))

times = st.integers(0, (0xFF << 56) - 1).map(Milliseconds)
numbers = st.integers(0, 2**32 - 1)
prints = st.binary(min_size=16, max_size=16)
ids = st.binary(min_size=32, max_size=32).map(FrameId)
border = st.binary(min_size=1, max_size=KEY_SIZE).map(lambda b: b.rstrip(b"\0")).filter(lambda b: b"" < b <= TOP)
key_bytes = st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE).filter(lambda b: b < TOP).map(Key)
keys = st.lists(key_bytes, max_size=20, unique=True).map(tuple)


@st.composite
def compares(draw: st.DrawFn) -> Compare:
    ends = sorted(set(draw(st.lists(border, min_size=2, max_size=20))))
    items: list[Item] = []
    for low, high in zip(ends, ends[1:], strict=False):
        match draw(st.integers(0, 2)):
            case 1:
                items.append(Claim(low=low, high=high, count=draw(numbers), fingerprint=draw(prints)))
            case 2:
                items.append(Ask(low=low, high=high))
            case _:
                pass
    return Compare(items=tuple(items))


parts = st.builds(Part, count=numbers, fingerprint=prints)


@st.composite
def splits(draw: st.DrawFn) -> Split:
    borders = draw(st.lists(border, min_size=1, max_size=15, unique=True))
    return Split(borders=tuple(borders), parts=tuple(draw(parts) for _ in range(len(borders) + 1)))


answers: st.SearchStrategy[Answer] = st.one_of(
    st.just(Same()),
    st.builds(Keys, keys=keys),
    st.builds(Keys, keys=keys, high=border, left=numbers),
    splits(),
)
credentials = st.binary(max_size=1024)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Hello,
        mode=st.sampled_from(Mode),
        topic=st.binary(min_size=32, max_size=32).map(TopicId),
        low=times,
        high=times,
        salt=prints,
        credential=credentials,
    ),
    st.builds(Welcome, may_write=st.booleans(), low=times, high=times, credential=credentials),
    st.builds(No, why=st.sampled_from(Why)),
    compares(),
    st.builds(Compared, answers=st.lists(answers, max_size=20).map(tuple)),
    st.builds(Pull, ids=st.lists(ids, max_size=20).map(tuple), wait=st.integers(0, 60_000)),
    st.just(Next()),
    st.just(Page(entries=())),
    st.just(Page(entries=(entry_of(SMALL), Absent(), entry_of(SMALL), entry_of(BIG)))),
    st.builds(Piece, data=st.binary(max_size=100)),
    st.builds(Offer, keys=keys),
    st.builds(Taken, frames=numbers),
    st.builds(End, received=numbers, sent=numbers),
)


@pytest.mark.slow
@given(messages)
def test_what_is_written_is_read(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.slow
@given(messages, st.data())
def test_there_is_no_second_way_to_write_it(message: Message, data: st.DataObject) -> None:
    """Whatever a changed message decodes to, if anything, is written exactly so."""
    written = bytearray(encode(message))
    place = data.draw(st.integers(0, len(written) - 1))
    match data.draw(st.integers(0, 2)):
        case 0:
            written[place] = data.draw(st.integers(0, 255))
        case 1:
            del written[place]
        case _:
            written.insert(place, data.draw(st.integers(0, 255)))
    try:
        read = decode(bytes(written))
    except Refused:
        return
    assert encode(read) == written


@pytest.mark.slow
@given(st.binary(max_size=300))
def test_junk_is_refused_or_read(junk: bytes) -> None:
    for kind in range(15):
        try:
            message = decode(bytes((kind,)) + junk)
        except Refused:
            continue
        assert encode(message) == bytes((kind,)) + junk


@pytest.mark.slow
@given(messages, st.data())
def test_nothing_is_read_from_a_part_of_it(message: Message, data: st.DataObject) -> None:
    written = encode(message)
    cut = written[: data.draw(st.integers(0, len(written) - 1))]
    with suppress(Refused):
        assert encode(decode(cut)) == cut  # a page or a piece may be shorter


def test_limits() -> None:
    def refused(data: bytes, reason: Reason = Reason.MALFORMED) -> None:
        with pytest.raises(Refused) as caught:
            decode(data)
        assert caught.value.reason is reason

    refused(b"")
    refused(bytes((1, 2)) + bytes(200), Reason.VERSION)
    refused(encode(Pull(ids=(FrameId(bytes(32)),) * (MOST_IDS + 1))))
    refused(encode(Pull(ids=(), wait=wire.LONGEST_WAIT + 1)))
    refused(encode(Piece(data=bytes((64 << 10) + 1))))
    refused(encode(Page(entries=(Absent(),) * (MOST_IDS + 1))))
    refused(encode(Page(entries=(entry_of(BIG), Absent()))))
    big = entry_of(BIG)
    assert isinstance(big, Large)
    refused(encode(Page(entries=(Small(head=big.head, payload=BIG.payload),))))
    small = entry_of(SMALL)
    assert isinstance(small, Small)
    refused(encode(Page(entries=(Large(head=small.head),))))
    refused(encode(Taken(frames=1)) + b"x")
    rng = random.Random(1)
    many = sorted(Key(b"\0" + rng.randbytes(KEY_SIZE - 1)) for _ in range(1000))
    refused(encode(Offer(keys=tuple(many))))
    refused(encode(Offer(keys=tuple(many[: MOST_IDS + 1]))))
    assert len(encode(Offer(keys=tuple(many[:MOST_IDS])))) < MESSAGE


def test_sizes_of_entries() -> None:
    entries = (entry_of(SMALL), Absent(), entry_of(BIG))
    assert len(encode(Page(entries=entries))) == 1 + sum(entry_size(entry) for entry in entries)


def test_credentials_stay_out_of_prints() -> None:
    shown = repr(Welcome(may_write=True, low=Milliseconds(0), high=Milliseconds(1), credential=b"secret token"))
    assert "secret" not in shown


def test_the_opening_is_pinned() -> None:
    hello = Hello(
        mode=Mode.RECONCILE,
        topic=TopicId(b"t" * 32),
        low=Milliseconds(1),
        high=Milliseconds(2),
        salt=b"s" * 16,
        credential=b"c",
    )
    assert encode(hello).hex() == "010101" + "74" * 32 + f"{1:016x}{2:016x}" + "73" * 16 + "000163"


def test_a_comparison_is_pinned() -> None:
    low: Border = b"\1\2"
    items: tuple[Item, ...] = (
        Claim(low=low, high=b"\1\3", count=5, fingerprint=b"f" * 16),
        Ask(low=b"\1\3", high=TOP),
    )
    written = encode(Compare(items=items))
    assert written.hex() == "040002" + "01" + "0002" + "0102" + "0101" + "03" + "00000005" + "66" * 16 + "12" + "0001ff"


def test_a_page_is_pinned() -> None:
    frame: Frame = SMALL
    assert encode(Page(entries=(Absent(), entry_of(frame)))) == b"\x08\x00\x01" + frame.head + frame.payload
