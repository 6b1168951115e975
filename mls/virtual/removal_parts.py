"""draft-ietf-mls-virtual-clients §5.3: the parts that the progress of a removal is made of (`mls.virtual.removal`).

Each part only grows: sets and flags, the higher of two counts, the greater of two names. So two values of one part can
be joined in any order and any number of times. What can go back and forth, as branches lose and win, is a count of
turns: odd is standing, even is lost. The forms in bytes are in docs/vectors.md; what is read is bounded and in order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import STRICT, IntEnum, IntFlag
from typing import NamedTuple, NewType, TypeVar

from mls.codec import Reader, opaque, u8, u32, u64, vector
from mls.errors import PeerError
from mls.registries import Epoch

Fingerprint = NewType("Fingerprint", bytes)
"""Of one incarnation of a device: of its leaf's signature key and credential, say."""

MAX_DEVICES = 256
MAX_EPOCHS = 256
MAX_ROTATIONS = 64
"""Of one conversation, on all its branches."""
MAX_ENTRIES = 1 << 16
"""In every other list."""
MAX_COUNT = 0xFFFF_FFFE  # even, so that who pretends that something turned so often made it lost for good

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Step(IntEnum):
    """What there is to do, in the order in which it begins."""

    WITHDRAW = 1
    REMOVE = 2
    RENEW = 3
    ROTATE = 4
    UPLOAD = 5


class Task(NamedTuple):
    """One thing to do: a step, and what it is done to if there are many of it."""

    step: Step
    name: bytes = b""
    """The KeyPackage's reference, or the conversation's group id."""


class Withdrawal(IntFlag, boundary=STRICT):
    """What was done to withdraw a KeyPackage."""

    NOTHING = 0
    UNPUBLISHED = 1
    ANNOUNCED = 2
    BOTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """How far a KeyPackage is withdrawn."""

    unpublished: bool = False
    announced_in: frozenset[bytes] = frozenset()
    """Epochs of the emulation group in which devices were told. Who was never in one of them did not hear it there."""

    def join(self, other: Package) -> Package:
        return Package(
            unpublished=self.unpublished or other.unpublished, announced_in=self.announced_in | other.announced_in
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """An epoch of the emulation group, as far as it matters here."""

    parent: bytes = b""
    """The derivation epoch before it; nothing if that is from before the removal."""
    removes: frozenset[Fingerprint] = frozenset()
    turns: int = 1
    final: bool = False

    @property
    def stands(self) -> bool:
        return self.final or is_standing(self.turns)

    def join(self, other: Branch) -> Branch:
        return Branch(
            parent=max(self.parent, other.parent),
            removes=self.removes | other.removes,
            turns=max(self.turns, other.turns),
            final=self.final or other.final,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A leaf that a conversation was given."""

    epoch: Epoch
    """Of the conversation: the one that began with this leaf. Of several leaves, the last counts."""
    derived_in: bytes
    """The emulation epoch."""
    signature_key: bytes
    """Nothing if it is derived with the leaf, and so is new if the leaf is (`SignaturePolicy.DERIVED`)."""
    turns: int = 1

    def join(self, other: Rotation) -> Rotation:
        return Rotation(
            epoch=max(self.epoch, other.epoch),
            derived_in=max(self.derived_in, other.derived_in),
            signature_key=max(self.signature_key, other.signature_key),
            turns=max(self.turns, other.turns),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation of the virtual client, and the leaves it was given since."""

    turns: int = 1
    rotations: Mapping[bytes, Rotation] = field(default_factory=dict)
    """By the leaf's encryption key."""

    @property
    def stands(self) -> bool:
        """Whether there is something to rotate; so it is too if somebody claims more turns than can be counted."""
        return is_standing(self.turns) or self.turns >= MAX_COUNT

    def join(self, other: Conversation) -> Conversation:
        rotations = last_of(joined(self.rotations, other.rotations, Rotation.join), MAX_ROTATIONS)
        return Conversation(turns=max(self.turns, other.turns), rotations=rotations)


def joined(one: Mapping[K, T], other: Mapping[K, T], join: Callable[[T, T], T]) -> dict[K, T]:
    both = dict(one)
    for name, value in other.items():
        both[name] = join(both[name], value) if name in both else value
    return both


def last_of(rotations: dict[bytes, Rotation], most: int) -> dict[bytes, Rotation]:
    """As many as are kept: nobody can fill the list with what never was. What one sees oneself is kept in any case."""
    return dict(sorted(rotations.items(), key=lambda item: (item[1].epoch, item[0]))[-most:])


def is_standing(turns: int) -> bool:
    return turns % 2 == 1


def turned(turns: int, *, stands: bool) -> int:
    return turns if is_standing(turns) is stands else min(turns + 1, MAX_COUNT)


# Bytes


def encode_names(names: Iterable[bytes]) -> bytes:
    return vector([opaque(each) for each in sorted(names)])


def encode_package(package: Package) -> bytes:
    return u8(package.unpublished) + encode_names(package.announced_in)


def encode_branch(branch: Branch) -> bytes:
    return opaque(branch.parent) + encode_names(branch.removes) + u32(branch.turns) + u8(branch.final)


def encode_conversation(conversation: Conversation) -> bytes:
    rotations = [
        opaque(leaf) + u64(each.epoch) + opaque(each.derived_in) + opaque(each.signature_key) + u32(each.turns)
        for leaf, each in sorted(conversation.rotations.items(), key=lambda item: item[0])
    ]
    return u32(conversation.turns) + vector(rotations)


def decode_table(
    reader: Reader, name: Callable[[Reader], K], value: Callable[[Reader], T], most: int = MAX_ENTRIES
) -> dict[K, T]:
    entries = reader.vector(lambda r: (name(r), value(r)))
    if len(entries) > most:
        raise PeerError("VC-5.3-2", f"{len(entries)} entries")
    table = dict(entries)
    if len(table) != len(entries) or list(table) != sorted(table):  # type: ignore[type-var]  # bytes, or tuples of them
        raise PeerError("VC-5.3-3")
    return table


def decode_names(reader: Reader, most: int = MAX_ENTRIES) -> dict[bytes, None]:
    return decode_table(reader, Reader.opaque, lambda _: None, most)


def _flag(reader: Reader) -> bool:
    flag = reader.u8()
    if flag > 1:
        raise PeerError("VC-5.3-4", f"{flag}")
    return bool(flag)


def decode_count(reader: Reader) -> int:
    count = reader.u32()
    if count > MAX_COUNT:
        raise PeerError("VC-5.3-7")
    return count


def decode_package(reader: Reader) -> Package:
    return Package(unpublished=_flag(reader), announced_in=frozenset(decode_names(reader, MAX_EPOCHS)))


def decode_branch(reader: Reader) -> Branch:
    return Branch(
        parent=reader.opaque(),
        removes=frozenset([Fingerprint(each) for each in decode_names(reader, MAX_DEVICES)]),
        turns=decode_count(reader),
        final=_flag(reader),
    )


def _decode_rotation(reader: Reader) -> Rotation:
    return Rotation(
        epoch=Epoch(reader.u64()), derived_in=reader.opaque(), signature_key=reader.opaque(), turns=decode_count(reader)
    )


def decode_conversation(reader: Reader) -> Conversation:
    return Conversation(
        turns=decode_count(reader), rotations=decode_table(reader, Reader.opaque, _decode_rotation, MAX_ROTATIONS)
    )


def decode_task(reader: Reader) -> Task:
    step = reader.u8()
    if step not in _STEPS:
        raise PeerError("VC-5.3-5", f"step {step}")
    return Task(Step(step), reader.opaque())


_STEPS = frozenset(int(step) for step in Step)
