"""Messages of one member that come in any order (`vcd.core.sequence`)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random

from mls.persistent import PMap
from mls.virtual.announcements import Uploaded
from tests.vcd.core.branches import commit, payload_of, sent, talk as converse, tea
from tests.vcd.core.company import step
from tests.vcd.core.homes import couple, device, home
from tests.vcd.core.talking import TEA, heard, say
from tests.vcd.core.village import Frame, Village
from vcd.core import conversations, devices, following, inputs, sequence
from vcd.core.names import FrameId, GroupId
from vcd.core.payloads import Missed, Post, Want
from vcd.core.policy import MINUTE
from vcd.core.siblings import KeyWanted
from vcd.core.strand import dropped
from vcd.core.turn import Turn
from vcd.core.waiting import Need

OTHER = GroupId(b"other")
MANY = 180
"""More than twice as many as keys are kept that were passed over."""


def alone(count: int = MANY, *, room: int = 4096) -> tuple[Village, list[str], list[Frame]]:
    """Anna says a lot that nobody hears yet."""
    village = converse("anna", "ben", max_waiting=room)
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


def give_again(village: Village, frames: list[Frame]) -> None:
    """What Ben put back, as long as anything comes of it."""
    known = {(frame.topic, frame.id): frame for frame in frames}
    while again := village.devices["ben"].put_back:
        village.devices["ben"].put_back = []
        give(village, [known[each] for each in again])
        assert len(village.devices["ben"].put_back) < len(again)


def test_what_there_is_no_room_for_is_put_back_and_not_lost() -> None:
    """The newest come first, and more of them than may wait."""
    for way in (list[Frame].reverse, Random(7).shuffle):
        village, texts, frames = alone(4 * MANY, room=64)
        way(frames)
        give(village, frames)
        assert waiting(village) <= 64
        assert village.devices["ben"].put_back
        give_again(village, frames)
        assert heard(village, "ben") == texts
        assert waiting(village) == 0
        assert village.devices["ben"].refused == []


def test_what_is_given_once_more_puts_off_that_what_waits_is_opened_all_the_same() -> None:
    village, _, frames = alone(4 * MANY)
    give(village, frames[-20:])
    for _ in range(4):
        village.wait(seconds=20)
        given = inputs.Arrived(frame=frames[-1].id, topic=frames[-1].topic, payload=frames[-1].payload, again=True)
        village.step("ben", given)
    assert waiting(village) == 20
    village.wait(seconds=60)
    assert waiting(village) == 0


def test_of_what_waits_the_furthest_gives_way() -> None:
    village, _, frames = alone(4 * MANY, room=64)
    give(village, frames[:1:-1])
    held = [each.needs[1][-4:] for each in village.state("ben").waiting.items.values()]
    far = max(int.from_bytes(each, "big") for each in held)
    assert len(held) == 64
    assert far * 32 < 4 * MANY - 200


def test_what_lies_too_far_ahead_is_put_back_when_nothing_more_comes() -> None:
    """Whoever said it went on, and what it said before is still on its way: no ratchet skips so much."""
    village, texts, frames = alone(1100)
    give(village, frames[-20:])
    assert waiting(village) == 20
    village.wait(minutes=10)
    assert waiting(village) == 0
    assert sorted(village.devices["ben"].put_back) == sorted((frame.topic, frame.id) for frame in frames[-20:])
    give(village, frames[:-20])
    give_again(village, frames)
    assert heard(village, "ben") == texts


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


def test_what_comes_after_what_never_came_waits_no_more() -> None:
    """Of what was missed the keys of the last few are kept, and they are as far behind as makes others wait."""
    village, texts, frames = alone(100)
    give(village, frames[-1:])
    village.wait(minutes=1)
    assert heard(village, "ben") == texts[-1:]
    for number in range(70):
        say(village, "anna", f"later {number}")
        assert heard(village, "ben")[-1] == f"later {number}"
        village.wait(seconds=1)
    assert waiting(village) == 0


def test_the_while_begins_anew_with_each_message_that_is_opened() -> None:
    village, texts, frames = alone()
    give(village, [*frames[1:64], *frames[64:96][::-1], *frames[160:]])
    village.wait(seconds=20)
    assert heard(village, "ben") == texts[1:64]
    give(village, frames[:1])
    assert sorted(heard(village, "ben"), key=int) == texts[:96]
    village.wait(seconds=20)
    assert waiting(village) == MANY - 160
    village.wait(seconds=15)
    assert sorted(heard(village, "ben"), key=int) == [*texts[:96], *texts[160:]]


def test_a_long_way_to_catch_up_costs_nothing() -> None:
    """What is new comes first, and what was said before it over more time than is waited where nothing comes."""
    village, texts, frames = alone()
    give(village, frames[-10:])
    for start in range(0, MANY - 10, 10):
        village.wait(seconds=20)
        give(village, frames[start : start + 10])
    assert sorted(heard(village, "ben"), key=int) == texts
    assert waiting(village) == 0
    village.wait(minutes=1)
    assert not any(need is Need.TURN for need, _ in village.state("ben").waiting.asked)


def test_who_is_not_connected_waits_for_longer() -> None:
    village, texts, frames = alone()
    give(village, frames[-10:])
    village.step("ben", inputs.Online(online=False))
    village.wait(minutes=20)
    assert waiting(village) == 10
    village.step("ben", inputs.Online(online=True))
    give(village, frames[:-10])
    assert sorted(heard(village, "ben"), key=int) == texts


def test_who_is_not_connected_does_not_look_again_and_again() -> None:
    """The connection ends a moment before the while is over; no moment of it goes by then."""
    village, texts, frames = alone()
    give(village, frames[-10:])
    village.wait(seconds=29)
    village.now += 999
    village.step("ben", inputs.Online(online=False))
    village.wait(minutes=5, most=50)
    assert waiting(village) == 10
    village.step("ben", inputs.Online(online=True))
    village.wait(seconds=31)
    assert heard(village, "ben") == texts[-10:]


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


def give_bent(village: Village, frames: list[Frame]) -> None:
    """As any member can make them in another's name: what says whose they are is good, and nothing else."""
    for frame in frames:
        payload = payload_of(village, frame)
        assert isinstance(payload, Post)
        bad = replace(payload, message=payload.message[:-1] + bytes([payload.message[-1] ^ 1]))
        name = FrameId(frame.id[::-1])

        def come(turn: Turn, bad: Post = bad, name: FrameId = name) -> None:
            following.on_post(turn, TEA, bad, name)

        step(village, "ben", come)


def test_of_junk_that_waited_a_step_looks_at_little() -> None:
    village, texts, frames = alone()
    give_bent(village, frames[100:])
    assert waiting(village) == 80
    before = len(village.devices["ben"].refused)
    village.now += 31_000
    village.step("ben", inputs.Tick())
    assert len(village.devices["ben"].refused) - before == sequence.JUNK == 80 - waiting(village)
    village.wait(seconds=1)
    assert waiting(village) == 0
    assert not any(need is Need.TURN for need, _ in village.state("ben").waiting.asked)
    give(village, frames)
    assert heard(village, "ben") == texts


def test_what_is_no_message_of_a_member_has_no_place() -> None:
    village = converse("anna", "ben")
    here = tea(village, "ben").here
    assert here is not None
    for junk in (b"", b"junk", bytes(100), Post(epoch=tea(village, "ben").head, message=b"").message):
        assert sequence.place(here.group, junk) is None


# ---------------------------------------------------------------- in the home


def test_what_is_known_and_told_once_more_is_not_asked_for() -> None:
    """KeyPackages that were derived already cannot be derived again, though the message that says so has its key."""
    village = Village()
    laptop, phone = couple(village)
    step(village, laptop, lambda turn: turn.use(replace(turn.emulation, stock=PMap(), withdrawn=PMap())))
    told = [each for each in village.state(phone).household.said.values() if each.data[0] == Uploaded.kind]
    before = len(village.log)
    for number, each in enumerate(told, start=9000):
        step(village, phone, partial(devices._say, number=number, saying=each))
    village.deliver()
    village.wait(minutes=10)
    assert len(list(sent(village, Post, before))) == len(told)
    assert not list(sent(village, Missed, before))


def test_what_a_device_told_is_told_again_once_if_its_key_is_gone_when_it_comes() -> None:
    village = Village()
    laptop, phone = couple(village)
    before = len(village.log)
    step(village, laptop, lambda turn: conversations.open_(turn, inputs.Open(conversation=OTHER)))
    late = village.log[before:]
    village.lost = lambda frame, name: frame in late and name == phone
    for _ in range(MANY):
        step(village, laptop, lambda turn: devices.tell(turn, KeyWanted(device=device(village, phone), public=b"")))
    village.deliver()
    village.wait(minutes=2)
    assert OTHER not in village.state(phone).strands
    village.lost = lambda _frame, _name: False
    village.deliver()
    assert OTHER not in village.state(phone).strands
    before = len(village.log)
    village.wait(minutes=1)
    assert OTHER in village.state(phone).strands
    asked = [payload for _, payload in sent(village, Missed, before)]
    assert [len(each.digests) for each in asked] == [len(late)]
    assert village.state(phone).household.missed == ()
    before = len(village.log)
    step(village, phone, lambda turn: turn.publish(home(village, phone).kept[asked[0].at].topic, asked[0]))
    village.wait(minutes=1)
    assert not list(sent(village, Post, before))


def test_nobody_puts_off_for_long_what_waits_for_what_never_comes() -> None:
    """Anna's first message is lost, and a member has junk in her name put back and given again all the time."""
    village, texts, frames = alone(100)
    give(village, frames[70:])
    assert waiting(village) == 30
    began = village.now
    payload = payload_of(village, frames[99])
    assert isinstance(payload, Post)
    junk = replace(payload, message=payload.message[:-1] + bytes([payload.message[-1] ^ 1]))

    def comes_again(turn: Turn) -> None:
        turn.came_again = True
        following.on_post(turn, TEA, junk, FrameId(b"junk" * 8))

    for _ in range(4 * 60 * 2):
        village.wait(seconds=20)
        step(village, "ben", comes_again)
        if heard(village, "ben"):
            break
    assert sorted(heard(village, "ben"), key=int) == texts[70:]
    assert village.now - began <= village.config.retry_most + 2 * MINUTE
