"""What both sides have: how far it is, why it ended, and the channel between them."""

from __future__ import annotations

import enum
import hmac
from dataclasses import dataclass, field, replace
from typing import Final

from vcd.core.errors import Malformed
from vcd.pairing.keys import ChannelKey, Keys, Unsealed, seal, unseal
from vcd.pairing.wire import MOST_AT_ONCE, Bye, Exchange, Inside, Leave, inside, read_inside

TALK: Final = 600_000
"""Milliseconds from the meeting until the new device has to be admitted and let in."""
MOST_TRIES: Final = 3
"""How often people may type the check string."""


class Step(enum.Enum):
    """How far it is, as apps are told it."""

    WAITING = "waiting"
    COMPARING = "comparing"
    CONFIRMED = "confirmed"
    LINKING = "linking"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"


OVER: Final = frozenset({Step.FINISHED, Step.FAILED, Step.CANCELED})


class Why(enum.Enum):
    """Why it came to nothing. `TEXT` has it for people."""

    NONE = 0
    CANCELED = 1
    CANCELED_THERE = 2
    EXPIRED = 3
    EXPIRED_THERE = 4
    WRONG_CODE = 5
    GONE = 6
    LOST = 7
    VERSION = 8
    REFUSED = 9
    BROKEN = 10
    CHECK = 11
    FLOODED = 12
    REPLACED = 13


TEXT: Final = {
    Why.NONE: "",
    Why.CANCELED: "It was given up on this device.",
    Why.CANCELED_THERE: "It was given up on the other device.",
    Why.EXPIRED: "It took too long. Begin again.",
    Why.EXPIRED_THERE: "It took too long for the other device. Begin again.",
    Why.WRONG_CODE: "The code was typed wrong, or somebody is between the two devices. Begin again with a new code.",
    Why.GONE: "The other device does not wait for this code, or not any more. Show a new one there.",
    Why.LOST: "The other device knows nothing of this any more. Begin again.",
    Why.VERSION: "The other device has another version of vcd. Bring both up to date.",
    Why.REFUSED: "The devices of the account did not let the new one in. Begin again.",
    Why.BROKEN: "The other device said what makes no sense. Bring both up to date, and begin again.",
    Why.CHECK: "The two screens did not show the same: somebody may be between the two devices.",
    Why.FLOODED: "Too many tried that code. Begin again.",
    Why.REPLACED: "It was begun anew on this device.",
}

_BYE: Final = {
    Why.CANCELED: Bye.CANCELED,
    Why.REPLACED: Bye.CANCELED,
    Why.EXPIRED: Bye.EXPIRED,
    Why.REFUSED: Bye.REFUSED,
    Why.CHECK: Bye.CHECK,
}
_HEARD: Final = {
    Bye.CANCELED: Why.CANCELED_THERE,
    Bye.EXPIRED: Why.EXPIRED_THERE,
    Bye.REFUSED: Why.REFUSED,
    Bye.BROKEN: Why.BROKEN,
    Bye.CHECK: Why.CHECK,
}


class NotNow(Exception):
    """The pairing is not at a step where that can be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Two logs of sealed messages, numbered from 0, each with its own key."""

    meeting: bytes
    ours: ChannelKey
    theirs: ChannelKey
    check: str
    log: tuple[bytes, ...] = field(default=(), repr=False)
    """Ours, sealed. Only what is stored is sent."""
    taken: int = 0
    """How many of theirs came."""
    given: int = 0
    """How many of ours they have."""

    def say(self, message: Inside) -> Channel:
        sealed = seal(self.ours, self.meeting, len(self.log), inside(message))
        return replace(self, log=(*self.log, sealed))

    def outgoing(self) -> Exchange:
        """What to send now: what they do not have, as far as we know."""
        sealed = self.log[self.given : self.given + MOST_AT_ONCE]
        return Exchange(meeting=self.meeting, taken=self.taken, first=self.given, sealed=sealed)

    def take(self, came: Exchange) -> tuple[Channel, tuple[Inside, ...]]:
        """What they sent: repeated messages are passed over, and so is what came before its turn.

        `Malformed` if it is not what they sealed, and nothing is changed then. What they say that they have counts as
        they say it, also if it is less than before: they may have begun again from what they had stored.
        """
        if came.meeting != self.meeting:
            raise Malformed("of another meeting")
        taken, found = self.taken, list[Inside]()
        for number, sealed in enumerate(came.sealed, came.first):
            if number != taken:
                continue
            try:
                found.append(read_inside(unseal(self.theirs, self.meeting, number, sealed)))
            except Unsealed:
                raise Malformed("not sealed by them") from None
            taken += 1
        given = min(came.taken, len(self.log))
        if (taken, given) == (self.taken, self.given):
            return self, ()
        return replace(self, taken=taken, given=given), tuple(found)

    @property
    def settled(self) -> bool:
        """They have all that we said."""
        return self.given == len(self.log)


def channel_new(keys: Keys, meeting: bytes) -> Channel:
    return Channel(meeting=meeting, ours=keys.seal_new, theirs=keys.seal_existing, check=keys.check)


def channel_existing(keys: Keys, meeting: bytes) -> Channel:
    return Channel(meeting=meeting, ours=keys.seal_existing, theirs=keys.seal_new, check=keys.check)


def leave(why: Why) -> Leave:
    """What the other side is told of it."""
    return Leave(why=_BYE.get(why, Bye.BROKEN))


def heard(message: Leave) -> tuple[Step, Why]:
    """What it means for us that they gave up."""
    return (Step.CANCELED if message.why is Bye.CANCELED else Step.FAILED), _HEARD[message.why]


def same(shown: str, typed: str) -> bool:
    """Whether people typed what is shown: capitals, and how words are parted, do not matter."""
    return hmac.compare_digest(_plain(shown), _plain(typed))


def _plain(text: str) -> bytes:
    return "".join(each for each in text.casefold() if each.isalnum()).encode()
