"""Two sides of a reconciliation talking to each other, without streams: for tests and measurements."""

from __future__ import annotations

import random
from collections.abc import Iterable
from hashlib import sha256

from hypothesis import settings

from transport.base import FrameId, Milliseconds
from transport.sync.index import TOP, Border, Key, SetIndex, Snapshot, key
from transport.sync.ranges import MESSAGE, Initiator, answer
from transport.sync.wire import Compare, Compared, decode, encode

SALT = bytes(16)

FEWER = settings(max_examples=(settings.default or settings()).max_examples // 3)
"""For properties whose every example is a long story."""


def numbered(number: int, expires: int | None = None) -> Key:
    digest = FrameId(sha256(number.to_bytes(8)).digest())
    return key(Milliseconds(number % 1000 if expires is None else expires), digest)


def loaded(keys: Iterable[Key]) -> SetIndex:
    index = SetIndex()
    index.load(sorted(keys))
    return index


class Talk:
    """Both sides, with everything they say written and read again."""

    def __init__(
        self, ours: Snapshot, theirs: Snapshot, *, low: Border = b"", high: Border = TOP, seed: int = 0
    ) -> None:
        initiator = Initiator(ours, low, high, SALT, random.Random(seed))
        self.lacked: list[Key] = []
        self.owed: list[Key] = []
        self.bytes = 0
        while not initiator.finished:
            asked = decode(self.weigh(encode(Compare(items=tuple(initiator.request())))))
            assert isinstance(asked, Compare)
            said = decode(self.weigh(encode(Compared(answers=tuple(answer(theirs, low, high, SALT, asked.items))))))
            assert isinstance(said, Compared)
            found = initiator.answered(said.answers)
            self.lacked += found.lacked
            self.owed += found.owed
        self.rounds = initiator.rounds
        self.complete = initiator.complete

    def weigh(self, message: bytes) -> bytes:
        assert len(message) <= MESSAGE
        self.bytes += len(message)
        return message
