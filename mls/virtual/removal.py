"""draft-ietf-mls-virtual-clients §5.3: the removal of a device, as a procedure whose progress is a value.

Every device holds every key of the virtual client, so whoever is to be shut out must be shut out of everything, which
is many steps over hours, on several devices, on branches that may lose. `Removal` says what is done and what may be
done now (`todo`); the caller does it, with `mls.virtual.client` and `mls.virtual.devices`, and says how it went. The
order is the draft's:

1. WITHDRAW every outstanding KeyPackage: no longer published anywhere, and announced to siblings as withdrawn.
2. REMOVE the devices in the emulation group.
3. RENEW the credential and signature keys of the virtual client, in an epoch that the removed devices have no part in.
4. ROTATE every conversation: its present leaf comes from such an epoch and has a signature key they do not know.
5. UPLOAD fresh KeyPackages, made in such an epoch, if any were withdrawn. 4 and 5 go in any order.

No step waits for the epoch to be final, as the rotations are urgent; `complete` does. Everything that was done rests on
an emulation epoch, and epochs may lose: what was made in one that did is to do again, the removal itself included.
Where a KeyPackage or conversation comes to notice late, its step is due late, and nothing else is held up by it.

*Several devices.* Any device that stays can carry on: devices announce their progress and `merge` what they hear. The
value is built of parts that only grow (a set, a flag, the higher count), so merging has no order and repeats without
harm. What can go back and forth, a branch that loses and wins again, is a count of turns: odd is standing, even is
lost. Progress is a sibling's word: take it from devices that stay, in epochs that the removed ones have no part in, and
after each merge say again which leaves one's own conversations have, and that one is in them. A lie can then make work;
that KeyPackages were withdrawn is all it can hide, as nobody else can look.

*What complete means.* A removed device that kept everything it had can, from then on, read nothing that is sent in the
conversations named here, nor in the emulation group; it can open no Welcome that a sibling answers; and it signs with
no key that a leaf of ours has. It does not mean: that what was sent before a conversation was rotated, or comes late on
an epoch before that, is hidden; that nobody uses a KeyPackage that they fetched before it was withdrawn (siblings
refuse the Welcome, the removed device does not); that nobody accepts the old credential, which its issuer must revoke,
or the old client could come back by an external commit; or anything of a conversation that nobody here knew of.

*Names.* Devices are named by fingerprints that differ for each time a device was added, so that one that is let in
again is another one. Several removals at once are one `Removal` with several devices; each new one makes everything
that was done before it due again, as the new device had a part in that.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import STRICT, IntEnum, IntFlag
from typing import NamedTuple, NewType, TypeVar

from mls.codec import Reader, decode_exactly, opaque, u8, u32, u64, vector
from mls.errors import CallerError, LimitError, PeerError
from mls.registries import Epoch, GroupId, KeyPackageRef

Fingerprint = NewType("Fingerprint", bytes)
"""Of one incarnation of a device: of its leaf's signature key and credential, say."""

VERSION = 1
MAX_DEVICES = 256
MAX_EPOCHS = 256
MAX_ROTATIONS = 64
"""Of one conversation, on all its branches."""
MAX_ENTRIES = 1 << 16
"""In every other list."""
_MAX_COUNT = 0xFFFF_FFFE  # even, so that who pretends that something turned so often made it lost for good

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
    """How far a KeyPackage is withdrawn."""

    NOTHING = 0
    UNPUBLISHED = 1
    ANNOUNCED = 2
    BOTH = 3


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
        return self.final or _stands(self.turns)

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
        return _stands(self.turns) or self.turns >= _MAX_COUNT

    def join(self, other: Conversation) -> Conversation:
        rotations = _last(_join(self.rotations, other.rotations, Rotation.join), MAX_ROTATIONS)
        return Conversation(turns=max(self.turns, other.turns), rotations=rotations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """How far the removal of one or several devices is. See `begin`."""

    devices: frozenset[Fingerprint]
    old_keys: frozenset[bytes]
    """Signature keys of the virtual client that these devices know: all that were announced, or derived, in an epoch
    that one of them was a member of. Some of these are heard of late."""
    packages: Mapping[KeyPackageRef, Withdrawal]
    conversations: Mapping[GroupId, Conversation]
    epochs: Mapping[bytes, Branch] = field(default_factory=dict)
    renewals: frozenset[tuple[bytes, bytes]] = frozenset()
    """Emulation epoch and identity of what was provided in it."""
    uploads: frozenset[bytes] = frozenset()
    """Emulation epochs in which fresh KeyPackages were made."""
    tries: Mapping[Task, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.devices:
            raise CallerError("there is no device to remove", "name at least one")
        lists: Sequence[tuple[int, int]] = [
            (len(self.devices), MAX_DEVICES),
            (len(self.epochs), MAX_EPOCHS),
            *[(len(each.rotations), MAX_ROTATIONS) for each in self.conversations.values()],
            *[(len(each.removes), MAX_DEVICES) for each in self.epochs.values()],
            *[
                (len(each), MAX_ENTRIES)
                for each in (
                    self.old_keys,
                    self.packages,
                    self.conversations,
                    self.renewals,
                    self.uploads,
                    self.tries,
                )
            ],
        ]
        for size, most in lists:
            if size > most:
                raise LimitError(f"a removal keeps at most {most} of these; {size} were given")

    # What there is to do

    @property
    def todo(self) -> tuple[Task, ...]:
        """All that may be done now, in a fixed order. Nothing at all may mean that finality is waited for."""
        withdrawals = [
            Task(Step.WITHDRAW, reference) for reference, how in self.packages.items() if how != Withdrawal.BOTH
        ]
        withdrawals.sort()
        clean = self._clean()
        if not clean:
            return tuple(withdrawals) or (Task(Step.REMOVE),)
        if not any(epoch_id in clean for epoch_id, _ in self.renewals):
            return (*withdrawals, Task(Step.RENEW))
        rotations = [
            Task(Step.ROTATE, group_id)
            for group_id, conversation in self.conversations.items()
            if conversation.stands and not self._rotated(conversation, clean)
        ]
        rotations.sort()
        upload = [Task(Step.UPLOAD)] if self.packages and clean.isdisjoint(self.uploads) else []
        return (*withdrawals, *rotations, *upload)

    @property
    def complete(self) -> bool:
        """Whether the removed devices are shut out, in the sense that is explained above."""
        return not self.todo and any(self.epochs[epoch_id].final for epoch_id in self._clean())

    def may_send(self, group_id: GroupId) -> bool:
        """Whether what we send there now can be read by none of the removed devices.

        Policy is the caller's; ours is to send nothing there before. False too for a conversation not noticed yet.
        """
        conversation = self.conversations.get(group_id)
        return conversation is not None and self._rotated(conversation, self._clean())

    def attempts(self, task: Task) -> int:
        """How often it failed, at least: devices that fail at the same time may count as one."""
        return self.tries.get(task, 0)

    def _clean(self) -> frozenset[bytes]:
        """The epochs that stand and that none of the devices has a part in."""
        return frozenset(epoch_id for epoch_id in self.epochs if self.devices <= self._gone_in(epoch_id))

    def _gone_in(self, epoch_id: bytes) -> frozenset[Fingerprint]:
        """Who was removed by the commit that began the epoch or one before it; nobody if one of these lost."""
        gone: frozenset[Fingerprint] = frozenset()
        final = False
        for _ in range(len(self.epochs)):
            branch = self.epochs.get(epoch_id)
            if branch is None:
                return gone
            final = final or branch.final  # and so is all that it stands on
            if not (final or branch.stands):
                return frozenset()
            gone |= branch.removes
            epoch_id = branch.parent
        return gone if epoch_id not in self.epochs else frozenset()  # an epoch is not before itself

    def _rotated(self, conversation: Conversation, clean: frozenset[bytes]) -> bool:
        """Whether the last leaf is one that we want; where we know of rivals, all of them."""
        standing = [rotation for rotation in conversation.rotations.values() if _stands(rotation.turns)]
        last = max([rotation.epoch for rotation in standing], default=None)
        present = [rotation for rotation in standing if rotation.epoch == last]
        good = [each for each in present if each.derived_in in clean and each.signature_key not in self.old_keys]
        return bool(present) and good == present

    # What was done, or found

    def also(
        self,
        devices: Iterable[Fingerprint] = (),
        *,
        references: Iterable[KeyPackageRef] = (),
        group_ids: Iterable[GroupId] = (),
        old_keys: Iterable[bytes] = (),
    ) -> Removal:
        """More of what it began with: another device, or a KeyPackage or conversation that was noticed meanwhile.

        With another device come all KeyPackages that are out now, and all signature keys that are known here. A key
        comes later too if it was announced in an epoch in which one of the devices was still a member, by a sibling who
        had not heard of the removal.
        """
        packages = dict.fromkeys(references, Withdrawal.NOTHING)
        conversations = dict(self.conversations)
        for group_id in group_ids:
            found = conversations.get(group_id, Conversation(turns=0))
            conversations[group_id] = replace(found, turns=_turned(found.turns, stands=True))
        return replace(
            self,
            devices=self.devices.union(devices),
            old_keys=self.old_keys.union(old_keys),
            packages=_join(self.packages, packages, Withdrawal.__or__),
            conversations=conversations,
        )

    def left(self, group_id: GroupId) -> Removal:
        """The virtual client is no member of that conversation any more, so there is nothing to rotate."""
        found = self.conversations.get(group_id, Conversation())
        return self._with_conversation(group_id, replace(found, turns=_turned(found.turns, stands=False)))

    def withdrawn(self, reference: KeyPackageRef, how: Withdrawal) -> Removal:
        """A KeyPackage was taken back from where it was published, or announced to siblings as withdrawn."""
        if reference not in self.packages:
            raise CallerError("this KeyPackage is not among those to withdraw", "tell of it with `also`")
        return replace(self, packages={**self.packages, reference: self.packages[reference] | how})

    def adopted(self, epoch_id: bytes, *, parent: bytes = b"", removes: Iterable[Fingerprint] = ()) -> Removal:
        """A derivation epoch of the emulation group that we are in: the one that the Remove began, and each later one.

        `removes` is who is not a member any more by the commits since `parent`. To be said again if the epoch lost and
        then won.
        """
        branch = Branch(parent=parent, removes=frozenset(removes))
        known = self.epochs.get(epoch_id)
        if known is not None:
            branch = known.join(branch)
            branch = replace(branch, turns=_turned(branch.turns, stands=True))
        return replace(self, epochs={**self.epochs, epoch_id: branch})

    def lost(self, epoch_id: bytes) -> Removal:
        """That epoch's commit lost to another one: what rested on it, and on the epochs after it, is to do again."""
        branch = self.epochs.get(epoch_id)
        if branch is None:
            return self
        if branch.final:
            raise CallerError("an epoch that is final cannot lose", "see how it came to be called final")
        branch = replace(branch, turns=_turned(branch.turns, stands=False))
        return replace(self, epochs={**self.epochs, epoch_id: branch})

    def final(self, epoch_id: bytes) -> Removal:
        """That epoch, and with it those before it, can lose no more."""
        self._require(epoch_id)
        return replace(self, epochs={**self.epochs, epoch_id: replace(self.epochs[epoch_id], final=True)})

    def renewed(self, epoch_id: bytes, identity: bytes) -> Removal:
        """A new credential or signature key was announced in that epoch; a hash of it is enough."""
        self._require(epoch_id)
        return replace(self, renewals=self.renewals | {(epoch_id, identity)})

    def rotated(
        self, group_id: GroupId, *, epoch: Epoch, leaf: bytes, derived_in: bytes, signature_key: bytes
    ) -> Removal:
        """From that epoch on, and now, a conversation has a leaf of ours with this encryption key, whoever made it.

        To be said of every new leaf, as the last one counts, and a sibling may have made it on a branch that lost; when
        its commit lost and then won; and after each merge, of what one sees oneself. Whatever was said of this epoch or
        later ones, and of another leaf, is taken for wrong.
        """
        conversation = self.conversations.get(group_id, Conversation())
        rotation = Rotation(epoch=epoch, derived_in=derived_in, signature_key=signature_key)
        known = conversation.rotations.get(leaf)
        if known is not None:
            rotation = replace(known.join(rotation), turns=_turned(known.turns, stands=True))
        others = {
            name: each if each.epoch < epoch else replace(each, turns=_turned(each.turns, stands=False))
            for name, each in conversation.rotations.items()
            if name != leaf
        }
        rotations = {**_last(others, MAX_ROTATIONS - 1), leaf: rotation}
        return self._with_conversation(group_id, replace(conversation, rotations=rotations))

    def reverted(self, group_id: GroupId, leaf: bytes) -> Removal:
        """The commit that gave a conversation that leaf lost to another one."""
        conversation = self.conversations.get(group_id)
        rotation = None if conversation is None else conversation.rotations.get(leaf)
        if conversation is None or rotation is None:
            return self
        back = replace(rotation, turns=_turned(rotation.turns, stands=False))
        return self._with_conversation(
            group_id, replace(conversation, rotations={**conversation.rotations, leaf: back})
        )

    def uploaded(self, epoch_id: bytes) -> Removal:
        """Fresh KeyPackages, made in that epoch, are announced and published."""
        self._require(epoch_id)
        return replace(self, uploads=self.uploads | {epoch_id})

    def failed(self, task: Task) -> Removal:
        """It did not work, and is still to do."""
        return replace(self, tries={**self.tries, task: min(self.attempts(task) + 1, _MAX_COUNT)})

    def _with_conversation(self, group_id: GroupId, conversation: Conversation) -> Removal:
        return replace(self, conversations={**self.conversations, group_id: conversation})

    def _require(self, epoch_id: bytes) -> None:
        if epoch_id not in self.epochs:
            raise CallerError("this emulation epoch is none that was adopted since the removal", "tell of it first")

    # Storage and announcement

    def encode(self) -> bytes:
        """For storage, and for siblings (`mls.virtual.announcements.Progress`). Nothing of it is secret."""
        return b"".join(
            [
                u8(VERSION),
                _names(self.devices),
                _names(self.old_keys),
                vector([opaque(each) + u8(self.packages[each]) for each in sorted(self.packages)]),
                vector([opaque(each) + _encode_branch(self.epochs[each]) for each in sorted(self.epochs)]),
                vector([opaque(epoch_id) + opaque(identity) for epoch_id, identity in sorted(self.renewals)]),
                vector(
                    [
                        opaque(each) + _encode_conversation(self.conversations[each])
                        for each in sorted(self.conversations)
                    ]
                ),
                _names(self.uploads),
                vector([u8(each.step) + opaque(each.name) + u32(self.tries[each]) for each in sorted(self.tries)]),
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Removal:
        return decode_exactly(data, _decode)


def begin(
    devices: Iterable[Fingerprint],
    *,
    references: Iterable[KeyPackageRef],
    group_ids: Iterable[GroupId],
    old_keys: Iterable[bytes],
) -> Removal:
    """The removal of these devices, decided and not begun.

    `references` are the KeyPackages that are out, `group_ids` all conversations, `old_keys` the public halves of all
    signature keys of the virtual client.
    """
    return Removal(
        devices=frozenset(devices),
        old_keys=frozenset(old_keys),
        packages=dict.fromkeys(references, Withdrawal.NOTHING),
        conversations={group_id: Conversation() for group_id in group_ids},
    )


def merge(one: Removal, other: Removal) -> Removal:
    """What two devices know together."""
    return Removal(
        devices=one.devices | other.devices,
        old_keys=one.old_keys | other.old_keys,
        packages=_join(one.packages, other.packages, Withdrawal.__or__),
        conversations=_join(one.conversations, other.conversations, Conversation.join),
        epochs=_join(one.epochs, other.epochs, Branch.join),
        renewals=one.renewals | other.renewals,
        uploads=one.uploads | other.uploads,
        tries=_join(one.tries, other.tries, max),
    )


def _join(one: Mapping[K, T], other: Mapping[K, T], join: Callable[[T, T], T]) -> dict[K, T]:
    both = dict(one)
    for name, value in other.items():
        both[name] = join(both[name], value) if name in both else value
    return both


def _last(rotations: dict[bytes, Rotation], most: int) -> dict[bytes, Rotation]:
    """As many as are kept: nobody can fill the list with what never was. What one sees oneself is kept in any case."""
    return dict(sorted(rotations.items(), key=lambda item: (item[1].epoch, item[0]))[-most:])


def _stands(turns: int) -> bool:
    return turns % 2 == 1


def _turned(turns: int, *, stands: bool) -> int:
    return turns if _stands(turns) is stands else min(turns + 1, _MAX_COUNT)


def _names(names: Iterable[bytes]) -> bytes:
    return vector([opaque(each) for each in sorted(names)])


def _encode_branch(branch: Branch) -> bytes:
    return opaque(branch.parent) + _names(branch.removes) + u32(branch.turns) + u8(branch.final)


def _encode_conversation(conversation: Conversation) -> bytes:
    rotations = [
        opaque(leaf) + u64(each.epoch) + opaque(each.derived_in) + opaque(each.signature_key) + u32(each.turns)
        for leaf, each in sorted(conversation.rotations.items(), key=lambda item: item[0])
    ]
    return u32(conversation.turns) + vector(rotations)


def _decode(reader: Reader) -> Removal:
    version = reader.u8()
    if version != VERSION:
        raise PeerError("VC-5.3-1", f"version {version}")
    devices = frozenset([Fingerprint(each) for each in _decode_names(reader, MAX_DEVICES)])
    if not devices:
        raise PeerError("VC-5.3-6")
    return Removal(
        devices=devices,
        old_keys=frozenset(_decode_names(reader)),
        packages=_table(reader, lambda r: KeyPackageRef(r.opaque()), lambda r: Withdrawal(_flags(r, Withdrawal.BOTH))),
        epochs=_table(reader, Reader.opaque, _decode_branch, MAX_EPOCHS),
        renewals=frozenset(_table(reader, lambda r: (r.opaque(), r.opaque()), lambda _: None)),
        conversations=_table(reader, lambda r: GroupId(r.opaque()), _decode_conversation),
        uploads=frozenset(_decode_names(reader)),
        tries=_table(reader, _decode_task, _count),
    )


def _table(
    reader: Reader, name: Callable[[Reader], K], value: Callable[[Reader], T], most: int = MAX_ENTRIES
) -> dict[K, T]:
    entries = reader.vector(lambda r: (name(r), value(r)))
    if len(entries) > most:
        raise PeerError("VC-5.3-2", f"{len(entries)} entries")
    table = dict(entries)
    if len(table) != len(entries) or list(table) != sorted(table):  # type: ignore[type-var]  # bytes, or tuples of them
        raise PeerError("VC-5.3-3")
    return table


def _decode_names(reader: Reader, most: int = MAX_ENTRIES) -> dict[bytes, None]:
    return _table(reader, Reader.opaque, lambda _: None, most)


def _flags(reader: Reader, most: int) -> int:
    flags = reader.u8()
    if flags > most:
        raise PeerError("VC-5.3-4", f"{flags}")
    return flags


def _count(reader: Reader) -> int:
    count = reader.u32()
    if count > _MAX_COUNT:
        raise PeerError("VC-5.3-7")
    return count


def _decode_branch(reader: Reader) -> Branch:
    return Branch(
        parent=reader.opaque(),
        removes=frozenset([Fingerprint(each) for each in _decode_names(reader, MAX_DEVICES)]),
        turns=_count(reader),
        final=bool(_flags(reader, 1)),
    )


def _decode_rotation(reader: Reader) -> Rotation:
    return Rotation(
        epoch=Epoch(reader.u64()), derived_in=reader.opaque(), signature_key=reader.opaque(), turns=_count(reader)
    )


def _decode_conversation(reader: Reader) -> Conversation:
    return Conversation(turns=_count(reader), rotations=_table(reader, Reader.opaque, _decode_rotation, MAX_ROTATIONS))


def _decode_task(reader: Reader) -> Task:
    step = reader.u8()
    if step not in _STEPS:
        raise PeerError("VC-5.3-5", f"step {step}")
    return Task(Step(step), reader.opaque())


_STEPS = frozenset(int(step) for step in Step)
