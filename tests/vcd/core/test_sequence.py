"""Messages of one member that come in any order (`vcd.core.sequence`)."""

from __future__ import annotations

from random import Random

from tests.vcd.core.branches import commit, sent, talk as converse, tea
from tests.vcd.core.company import step
from tests.vcd.core.talking import TEA, heard, say
from tests.vcd.core.village import Frame, Village
from vcd.core import inputs, sequence
from vcd.core.payloads import Post, Want
from vcd.core.strand import dropped
from vcd.core.waiting import Need

MANY = 180
"""More than twice as many as keys are kept that were passed over."""


def alone(count: int = MANY) -> tuple[Village, list[str], list[Frame]]:
    """Anna says a lot that nobody hears yet."""
    village = converse("anna", "ben")
    village.part(["anna"])
    before = len(village.log)
    texts = [f"{each}" for each in range(count)]
    for text in texts:
        say(village, "anna", text)
    frames = village.log[before:]
    del village.log[before:]
    village.heal()
    return village, texts, frames


def give(village: Village, frames: list[Frame]) -> None:
    for frame in frames:
        village.step("ben", inputs.Arrived(frame=frame.id, topic=frame.topic, payload=frame.payload))


def waiting(village: Village) -> int:
    """How many messages wait for their turn."""
    return sum(each.needs[0] is Need.TURN for each in village.state("ben").waiting.items.values())


def test_messages_in_any_order_are_all_read_and_shown_in_order() -> None:
    village, texts, frames = alone()
    Random(7).shuffle(frames)
    give(village, frames)
    assert heard(village, "ben") == texts
    assert waiting(village) == 0
    assert village.devices["ben"].refused == []


def test_messages_in_the_opposite_order_are_all_read() -> None:
    village, texts, frames = alone()
    give(village, frames[::-1])
    assert heard(village, "ben") == texts


def test_keys_that_were_passed_over_are_never_more_than_are_kept() -> None:
    """One message of each block first: each would cost keys of the block before."""
    village, texts, frames = alone()
    give(village, frames[::32])
    group = tea(village, "ben").kept[tea(village, "ben").head].group
    ratchet = group.keys.ratchets[1]
    assert ratchet.generation <= 64
    give(village, [frame for each, frame in enumerate(frames) if each % 32])
    assert heard(village, "ben") == texts


def test_what_never_comes_holds_nothing_up_for_ever() -> None:
    village, texts, frames = alone()
    give(village, frames[1:])
    assert len(heard(village, "ben")) < MANY - 1
    village.wait(minutes=1)
    assert heard(village, "ben") == texts[1:]
    assert waiting(village) == 0


def test_each_block_has_a_while_of_its_own() -> None:
    village, texts, frames = alone()
    give(village, [*frames[1:64], *frames[64:96][::-1]])
    village.wait(seconds=20)
    assert heard(village, "ben") == texts[1:64]
    give(village, frames[160:])
    village.wait(seconds=15)
    assert heard(village, "ben") == texts[1:96]
    assert waiting(village) == MANY - 160
    village.wait(seconds=20)
    assert heard(village, "ben") == [*texts[1:96], *texts[160:]]


def test_what_waits_for_its_turn_is_not_asked_for() -> None:
    """Nobody else has it to give: it is here."""
    village, _, frames = alone()
    give(village, frames[100:])
    assert waiting(village) == 80
    before = len(village.log)
    village.wait(seconds=20)
    asked = [each for _, each in sent(village, Want, before)]
    assert all(not each.proposals and len(each.epochs) <= 1 for each in asked)
    assert heard(village, "ben") == []


def test_what_waits_for_its_turn_when_its_keys_go_is_given_up() -> None:
    village, _, frames = alone()
    root = tea(village, "ben").head
    give(village, frames[100:])
    commit(village, "anna")
    step(village, "ben", lambda turn: turn.put(dropped(turn.strand(TEA), root)))
    village.wait(minutes=1)
    assert waiting(village) == 0
    assert ("post-late", "") in village.devices["ben"].refused


def test_what_is_no_message_of_a_member_has_no_place() -> None:
    village = converse("anna", "ben")
    here = tea(village, "ben").here
    assert here is not None
    for junk in (b"", b"junk", bytes(100), Post(epoch=tea(village, "ben").head, message=b"").message):
        assert sequence.place(here.group, junk) is None
