"""What cannot be read yet: bounded, fair, asked for, and given again when what it needs is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.vcd.core.village import START, Village
from vcd.core import waiting
from vcd.core.config import Config
from vcd.core.effects import Publish, Synchronize
from vcd.core.names import EpochId, FrameId, GroupId
from vcd.core.payloads import Post
from vcd.core.turn import Turn
from vcd.core.waiting import Need

TEA, CHAT = GroupId(b"tea"), GroupId(b"chat")


def turn(**limits: Any) -> Turn:
    village = Village(config=replace(Config(), **limits))
    name = village.account("anna")
    return Turn(village.state(name), START, village.devices[name].provider)


def frame(number: int) -> FrameId:
    return FrameId(number.to_bytes(32, "big"))


def hold(at: Turn, number: int, group: GroupId = TEA, need: bytes = b"epoch", size: int = 10) -> None:
    post = Post(epoch=EpochId(need), message=bytes(size))
    waiting.hold(at, frame(number), group, (Need.EPOCH, need), post)


def kept(at: Turn) -> set[int]:
    return {int.from_bytes(each, "big") for each in at.state.waiting.items}


def test_what_waits_is_given_again_when_its_need_is_there_and_not_before() -> None:
    at = turn()
    hold(at, 1, need=b"one")
    hold(at, 2, need=b"two")
    waiting.wake(at, (Need.EPOCH, b"two"))
    assert list(at.again) == [frame(2)]


def test_what_waits_again_for_something_else_is_found_by_that_alone() -> None:
    at = turn()
    hold(at, 1, need=b"one")
    hold(at, 1, need=b"two")
    waiting.wake(at, (Need.EPOCH, b"one"))
    assert not at.again
    waiting.wake(at, (Need.EPOCH, b"two"))
    assert list(at.again) == [frame(1)]
    assert at.state.waiting.items[frame(1)].tries == 1
    assert len(at.state.waiting.by_need) == 1


def test_what_is_done_leaves_nothing_behind() -> None:
    at = turn()
    hold(at, 1)
    waiting.done(at, frame(1))
    room = at.state.waiting
    assert (len(room.items), len(room.by_need), room.bytes) == (0, 0, 0)


def test_a_full_table_gives_up_the_oldest_of_who_has_most() -> None:
    at = turn(max_waiting=4)
    hold(at, 1, CHAT)
    for number in (2, 3, 4):
        hold(at, number, TEA)
    at.now += 1
    hold(at, 5, TEA)
    assert kept(at) == {1, 3, 4, 5}
    assert ("waiting-full", "") in at.refused


def test_bytes_are_bounded_too() -> None:
    at = turn(max_waiting_bytes=4000)
    for number in range(20):
        hold(at, number, size=900)
    assert at.state.waiting.bytes <= 4000
    assert at.state.waiting.bytes == sum(len(each.payload) for each in at.state.waiting.items.values())
    hold(at, 99, size=2000)
    assert 99 not in kept(at)


def test_what_waited_too_long_is_let_go() -> None:
    at = turn(waiting_life=1000)
    hold(at, 1)
    at.now += 600
    hold(at, 2)
    at.now += 600
    waiting.expire(at, b"")
    assert kept(at) == {2}


def test_waiting_again_does_not_make_it_young() -> None:
    at = turn(waiting_life=1000)
    hold(at, 1)
    at.now += 900
    hold(at, 1, need=b"other")
    at.now += 200
    waiting.expire(at, b"")
    assert kept(at) == set()


def test_a_missing_epoch_is_asked_for_once_in_a_while() -> None:
    at = turn()
    home = at.home.group_id
    post = Post(epoch=EpochId(b"missing"), message=b"m")
    waiting.hold(at, frame(1), home, (Need.EPOCH, b"missing"), post)
    waiting.hold(at, frame(2), home, (Need.EPOCH, b"missing"), post)

    def asked() -> int:
        return sum(isinstance(effect, Publish) for effect in at.effects)

    waiting.ask(at, b"")
    assert asked() == 1
    assert [type(effect) for effect in at.effects] == [Synchronize, Publish]
    waiting.ask(at, b"")
    assert asked() == 1
    at.now += at.state.config.ask_again
    waiting.ask(at, b"")
    assert asked() == 2


def test_what_only_our_own_devices_can_bring_is_not_asked_of_others() -> None:
    at = turn()
    home = at.home.group_id
    waiting.hold(at, frame(1), home, (Need.HOME, home), Post(epoch=EpochId(b"e"), message=b"m"))
    waiting.ask(at, b"")
    assert not [effect for effect in at.effects if isinstance(effect, Publish)]
