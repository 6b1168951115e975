"""Frames on a disk that is full for a while, with a real store; and on one that will not be well again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from tests.vcd.store.disks import opened
from transport.base import Frame, Milliseconds
from transport.frames import WriteKey, seal
from vcd.daemon.patient import AGAIN, PatientFrames
from vcd.store.frames import Frames
from vcd.store.trouble import StoreTrouble, Trouble

FRAME = seal(WriteKey(bytes(32)), b"load", Milliseconds(1 << 42))


class Failing(Frames[Frame]):
    """A store's frames, on a disk that is so for a number of writes."""

    def __init__(self, frames: Frames[Frame], code: Trouble, times: int) -> None:
        self._inner, self._code, self.left = frames, code, times

    async def add(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        if self.left:
            self.left -= 1
            raise StoreTrouble(self._code, "as the disk says")
        return await self._inner.add(frames)


@pytest.mark.parametrize("code", [Trouble.FULL, Trouble.READ_ONLY, Trouble.BUSY, Trouble.BROKEN])
async def test_what_has_no_room_now_is_stored_when_there_is_room(tmp_path: Path, code: Trouble) -> None:
    async with opened(tmp_path) as store:
        failing = Failing(store.frames(Frame), code, 2)
        began = trio.current_time()
        with trio.fail_after(10):
            assert await PatientFrames(failing).add([FRAME]) == [FRAME.id]
        assert trio.current_time() - began >= 3 * AGAIN
        assert await store.frames(Frame).fetch(FRAME.topic, [FRAME.id]) == [FRAME]


@pytest.mark.parametrize("code", [Trouble.CORRUPT, Trouble.CLOSED])
async def test_what_does_not_pass_by_itself_is_not_waited_for(tmp_path: Path, code: Trouble) -> None:
    async with opened(tmp_path) as store:
        failing = Failing(store.frames(Frame), code, 1)
        with trio.fail_after(10), pytest.raises(StoreTrouble):
            await PatientFrames(failing).add([FRAME])


async def test_who_waits_for_room_can_be_ended(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        failing = Failing(store.frames(Frame), Trouble.FULL, 1 << 30)
        with trio.move_on_after(AGAIN / 2) as scope:
            await PatientFrames(failing).add([FRAME])
        assert scope.cancelled_caught
