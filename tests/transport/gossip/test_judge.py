"""What a message's frames earn it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.transport.gossip.scene import NOW, TOPIC, RecordingIntake, frame
from transport.base import MAX_LIFE, Frame, Milliseconds, PeerId
from transport.conduct import Offence
from transport.frames import WriteKey, parse
from transport.gossip.batch import Item, Tag, encode, item_of
from transport.gossip.judge import Findings, examine
from transport.gossip.router import Verdict

STRANGER_KEY = WriteKey(b"s" * 32)
LARGE = 100_000
MINUTE = 60_000


async def judged(*frames: Frame, intake: RecordingIntake | None = None) -> Findings:
    return await look(encode([item_of(each) for each in frames]), intake)


async def look(data: bytes, intake: RecordingIntake | None = None) -> Findings:
    return await examine(TOPIC, data, intake or RecordingIntake(), lambda: NOW)


async def test_good_frames_and_heads() -> None:
    small, large = frame(), frame(LARGE)
    found = await judged(small, large)
    assert found.verdict is Verdict.ACCEPT
    assert found.frames == (small,)
    assert [head.id for head in found.heads] == [large.id]
    assert found.offence is None


async def test_many_frames() -> None:
    some = [frame() for _ in range(100)]
    assert (await judged(*some)).frames == tuple(some)


async def test_known_frames_are_left_out() -> None:
    old, new = frame(), frame()
    intake = RecordingIntake(got={old.id: PeerId("x")})
    found = await judged(old, new, intake=intake)
    assert (found.verdict, found.frames, found.known) == (Verdict.ACCEPT, (new,), 1)
    found = await judged(old, intake=intake)
    assert (found.verdict, found.frames, found.known, found.offence) == (Verdict.IGNORE, (), 1, None)


@pytest.mark.parametrize(
    ("bad", "offence"),
    [
        (frame(expires=Milliseconds(NOW - 6 * MINUTE)), Offence.EXPIRED),
        (frame(expires=Milliseconds(NOW + MAX_LIFE + 6 * MINUTE)), Offence.EXPIRED),
        (frame(key=STRANGER_KEY), Offence.STRANGER),
        (frame(LARGE, key=STRANGER_KEY), Offence.STRANGER),
    ],
    ids=["expired", "too long", "another topic", "head of another topic"],
)
async def test_what_is_not_for_us_is_dropped_alone(bad: Frame, offence: Offence) -> None:
    good = frame()
    for found in (await judged(bad, good), await judged(good, bad, bad)):
        assert (found.verdict, found.frames, found.offence) == (Verdict.IGNORE, (good,), offence)
        assert found.rest == (item_of(good),)


@pytest.mark.parametrize("expires", [NOW - 1000, NOW, NOW + MAX_LIFE + 1000])
async def test_what_may_be_alive_elsewhere_is_nobodys_fault(expires: int) -> None:
    good, over = frame(), frame(expires=Milliseconds(expires))
    found = await judged(over, good)
    assert found == Findings(verdict=Verdict.IGNORE, frames=(good,), rest=(item_of(good),), known=1, news=1)
    assert await judged(over) == Findings(verdict=Verdict.IGNORE, known=1)


@pytest.mark.parametrize("expires", [NOW + 1000, NOW + MAX_LIFE - 1000])
async def test_what_will_be_over_elsewhere_is_taken_and_goes_no_further(expires: int) -> None:
    good, last = frame(), frame(expires=Milliseconds(expires))
    found = await judged(last, good)
    assert found == Findings(verdict=Verdict.IGNORE, frames=(last, good), rest=(item_of(good),), news=2)


async def test_junk_behind_a_head_that_is_known() -> None:
    old = frame()
    for junk in (b"", old.payload + b"x", bytes(len(old.payload))):
        found = await look(
            encode([Item(tag=Tag.FRAME, content=old.head + junk), item_of(frame())]),
            RecordingIntake(got={old.id: PeerId("x")}),
        )
        assert found == Findings(verdict=Verdict.REJECT, offence=Offence.FORGED)


async def test_what_is_wanted_is_taken_whole_and_heads_of_it_tell_who_has_it() -> None:
    small, large = frame(), frame(LARGE)
    intake = RecordingIntake(heads=[parse(small.head), parse(large.head)])
    found = await judged(small, large, intake=intake)
    assert (found.verdict, found.frames, found.known, found.news) == (Verdict.ACCEPT, (small,), 1, 1)
    assert [head.id for head in found.heads] == [large.id]
    found = await judged(large, intake=intake)
    assert (found.verdict, found.known, found.news) == (Verdict.IGNORE, 1, 0)
    assert [head.id for head in found.heads] == [large.id]


async def test_twice_in_one_message_is_once() -> None:
    one = frame()
    found = await judged(one, one)
    assert (found.frames, found.known) == ((one,), 1)


def forged_head() -> Item:
    made = frame()
    return Item(tag=Tag.FRAME, content=made.head[:-1] + bytes((made.head[-1] ^ 1,)) + made.payload)


def forged_payload() -> Item:
    made = frame()
    return Item(tag=Tag.FRAME, content=made.encode()[:-1] + b"x")


def wrong_length() -> Item:
    return Item(tag=Tag.FRAME, content=frame().encode() + b"x")


def forged_announcement() -> Item:
    return replace(forged_head(), tag=Tag.HEAD, content=forged_head().content[:141])


def other_version() -> Item:
    return Item(tag=Tag.FRAME, content=b"\x07" + frame().encode()[1:])


def too_large() -> Item:
    head = frame().head
    return Item(tag=Tag.HEAD, content=head[:41] + (5 << 20).to_bytes(4) + head[45:])


@pytest.mark.parametrize(
    ("bad", "offence"),
    [
        (forged_head(), Offence.FORGED),
        (forged_payload(), Offence.FORGED),
        (wrong_length(), Offence.FORGED),
        (forged_announcement(), Offence.FORGED),
        (other_version(), Offence.VERSION),
        (too_large(), Offence.OVERSIZE),
    ],
)
async def test_what_is_bad_spoils_all(bad: Item, offence: Offence) -> None:
    found = await look(encode([item_of(frame()), bad, item_of(frame())]))
    assert found == Findings(verdict=Verdict.REJECT, offence=offence)


async def test_not_a_batch() -> None:
    assert await look(b"\x01rubbish") == Findings(verdict=Verdict.REJECT, offence=Offence.MALFORMED)


async def test_a_topic_that_is_no_longer_kept() -> None:
    found = await judged(frame(), intake=RecordingIntake(topics=set()))
    assert found == Findings(verdict=Verdict.IGNORE)
