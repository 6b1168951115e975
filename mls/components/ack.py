"""mls-extensions §6.1: acknowledging application messages, so that suppressed ones are noticed.

Who carries messages may drop some. Gaps in a sender's generations show it, unless everything after a point is dropped.
So members tell each other which messages they have, in an AppEphemeral proposal, which stands in the transcript: to
suppress that as well is to stop the group.

An AppAck is a set of messages of the current epoch, written as ranges. The set functions below work on ranges and never
on single generations, since one range of a few bytes can name four billion. The draft does not ask for an order or for
ranges that keep apart, so neither is asked here; what we write has both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mls.codec import Reader, u32, vector
from mls.errors import CallerError, PeerError
from mls.registries import Generation, LeafIndex


@dataclass(frozen=True, slots=True)
class MessageRange:
    """Messages of one sender, from one generation to another, both among them."""

    sender: LeafIndex
    first_generation: Generation
    last_generation: Generation

    def encode(self) -> bytes:
        return u32(self.sender) + u32(self.first_generation) + u32(self.last_generation)

    @classmethod
    def decode(cls, reader: Reader) -> MessageRange:
        sender, first, last = reader.u32(), reader.u32(), reader.u32()
        if first > last:
            raise PeerError("EXT-6.1-1", f"{first} to {last}")
        return cls(LeafIndex(sender), Generation(first), Generation(last))


Ranges = tuple[MessageRange, ...]


@dataclass(frozen=True, slots=True)
class AppAck:
    """Messages of an epoch that somebody has received."""

    received_ranges: Ranges = ()

    def encode(self) -> bytes:
        return vector([each.encode() for each in self.received_ranges])

    @classmethod
    def decode(cls, reader: Reader) -> AppAck:
        return cls(reader.vector(MessageRange.decode))


def acknowledgment(received: Iterable[tuple[int, int]]) -> AppAck:
    """Of single messages, each given as its sender's leaf and its generation, in as few ranges as there can be."""
    singles = []
    for sender, generation in received:
        if not (0 <= sender < 1 << 32 and 0 <= generation < 1 << 32):
            raise CallerError("a sender and a generation have 32 bits each", "give them as they were received")
        singles.append(MessageRange(LeafIndex(sender), Generation(generation), Generation(generation)))
    return AppAck(_joined(singles))


def union(*acks: AppAck) -> AppAck:
    """What any of them names, in as few ranges as there can be."""
    return AppAck(_joined([each for ack in acks for each in ack.received_ranges]))


def _order(each: MessageRange) -> tuple[int, int]:
    return each.sender, each.first_generation


def _joined(ranges: Iterable[MessageRange]) -> Ranges:
    """The same messages, by sender and generation, with ranges that touch or overlap made one."""
    found: list[MessageRange] = []
    for each in sorted(ranges, key=_order):
        last = found[-1] if found else None
        if last is not None and last.sender == each.sender and each.first_generation <= last.last_generation + 1:
            end = max(last.last_generation, each.last_generation)
            found[-1] = MessageRange(last.sender, last.first_generation, end)
        else:
            found.append(each)
    return tuple(found)


def missing(acked: AppAck, seen: AppAck) -> Ranges:
    """What `acked` names and `seen` does not.

    With what others acknowledge and what we received, it is what was kept from us; with what we sent and what one
    member acknowledges, it is what has not reached that member. A message may merely be late, so this is a suspicion.
    """
    holes: list[MessageRange] = []
    covered = _joined(seen.received_ranges)
    at = 0
    for each in _joined(acked.received_ranges):
        first = each.first_generation
        while at < len(covered) and (covered[at].sender, covered[at].last_generation) < (each.sender, first):
            at += 1
        while (
            at < len(covered)
            and covered[at].sender == each.sender
            and covered[at].first_generation <= each.last_generation
        ):
            have = covered[at]
            if have.first_generation > first:
                holes.append(MessageRange(each.sender, first, Generation(have.first_generation - 1)))
            first = Generation(have.last_generation + 1)
            if have.last_generation > each.last_generation:
                break  # it may reach into the next range as well
            at += 1
        if first <= each.last_generation:
            holes.append(MessageRange(each.sender, first, each.last_generation))
    return tuple(holes)


def gaps(seen: AppAck) -> Ranges:
    """What must have been sent before something that is in `seen`, and is not in it itself.

    Generations count from 0 in every epoch. A sender skips none, but siblings that share a leaf may.
    """
    holes = []
    before: MessageRange | None = None
    for each in _joined(seen.received_ranges):
        start = before.last_generation + 1 if before is not None and before.sender == each.sender else 0
        if start < each.first_generation:
            holes.append(MessageRange(each.sender, Generation(start), Generation(each.first_generation - 1)))
        before = each
    return tuple(holes)
