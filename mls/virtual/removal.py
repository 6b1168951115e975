"""draft-ietf-mls-virtual-clients §5.3: the removal of a device, as a procedure whose progress is a value.

Every device holds every key of the virtual client, so whoever is to be shut out must be shut out of everything, which
is many steps over hours, on several devices, on branches that may lose. `Removal` says what is done and what may be
done now (`todo`); the caller does it, with `mls.virtual.client` and `mls.virtual.devices`, and says how it went. The
order is the draft's:

1. WITHDRAW every outstanding KeyPackage: no longer published anywhere, and announced to siblings as withdrawn, in an
   epoch that stands.
2. REMOVE the devices in the emulation group.
3. RENEW the credential and signature keys of the virtual client, in an epoch that the removed devices have no part in.
4. ROTATE every conversation: its present leaf comes from such an epoch, and has a signature key that was announced in
   one, or that is derived with the leaf.
5. UPLOAD fresh KeyPackages, made in such an epoch, if any were withdrawn. 4 and 5 go in any order.

No step waits for the epoch to be final, as the rotations are urgent; `complete` does. Everything that was done rests on
an emulation epoch, and epochs may lose: what was made in one that did is to do again, the removal itself included.
Where a KeyPackage or conversation comes to notice late, its step is due late, and nothing else is held up by it.
`mls.virtual.noticing` finds such in what a device knows: call it after whatever was heard.

*Several devices.* Any device that stays can carry on: devices announce their progress and `merge` what they hear. The
value is built of parts that only grow, so merging has no order and repeats without harm (`mls.virtual.removal_parts`).
Progress is a sibling's word: take it from devices that stay, in epochs that the removed ones have no part in, and after
each merge say again which leaves one's own conversations have, and that one is in them. A lie can then make work; that
KeyPackages were withdrawn and signature keys are new is all it can hide, as nobody else can look.

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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mls.codec import Reader, decode_exactly, opaque, u8, u32, vector
from mls.errors import CallerError, LimitError, PeerError
from mls.registries import Epoch, GroupId, KeyPackageRef
from mls.virtual.removal_parts import (
    MAX_COUNT,
    MAX_DEVICES,
    MAX_ENTRIES,
    MAX_EPOCHS,
    MAX_ROTATIONS,
    Branch,
    Conversation,
    Fingerprint,
    Package,
    Rotation,
    Step,
    Task,
    Withdrawal,
    decode_branch,
    decode_conversation,
    decode_count,
    decode_names,
    decode_package,
    decode_table,
    decode_task,
    encode_branch,
    encode_conversation,
    encode_names,
    encode_package,
    is_standing,
    joined,
    last_of,
    turned,
)

__all__ = [
    "MAX_DEVICES",
    "MAX_ENTRIES",
    "MAX_EPOCHS",
    "MAX_ROTATIONS",
    "Branch",
    "Conversation",
    "Fingerprint",
    "Package",
    "Removal",
    "Rotation",
    "Step",
    "Task",
    "Withdrawal",
    "begin",
    "merge",
]

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """How far the removal of one or several devices is. See `begin`."""

    devices: frozenset[Fingerprint]
    old_keys: frozenset[bytes]
    """Signature keys that these devices know. They do not count as new, whatever somebody says."""
    packages: Mapping[KeyPackageRef, Package]
    conversations: Mapping[GroupId, Conversation]
    epochs: Mapping[bytes, Branch] = field(default_factory=dict)
    renewals: frozenset[tuple[bytes, bytes]] = frozenset()
    """Emulation epoch and what was provided in it: public halves of signature keys, hashes of credentials."""
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
            *[(len(each.announced_in), MAX_EPOCHS) for each in self.packages.values()],
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
            Task(Step.WITHDRAW, reference) for reference, each in self.packages.items() if not self._withdrawn(each)
        ]
        withdrawals.sort()
        clean = self.clean
        if not clean:
            return tuple(withdrawals) or (Task(Step.REMOVE),)
        if not any(epoch_id in clean and identity not in self.old_keys for epoch_id, identity in self.renewals):
            return (*withdrawals, Task(Step.RENEW))  # also if somebody said that all of them are old
        new = self._new_keys(clean)
        rotations = [
            Task(Step.ROTATE, group_id)
            for group_id, conversation in self.conversations.items()
            if conversation.stands and not self._rotated(conversation, clean, new)
        ]
        rotations.sort()
        upload = [Task(Step.UPLOAD)] if self.packages and clean.isdisjoint(self.uploads) else []
        return (*withdrawals, *rotations, *upload)

    @property
    def complete(self) -> bool:
        """Whether the removed devices are shut out, in the sense that is explained above."""
        return not self.todo and any(self.epochs[epoch_id].final for epoch_id in self.clean)

    def may_send(self, group_id: GroupId) -> bool:
        """Whether what we send there now can be read by none of the removed devices.

        Policy is the caller's; ours is to send nothing there before. False too for a conversation not noticed yet.
        """
        conversation = self.conversations.get(group_id)
        clean = self.clean
        return conversation is not None and self._rotated(conversation, clean, self._new_keys(clean))

    def attempts(self, task: Task) -> int:
        """How often it failed, at least: devices that fail at the same time may count as one."""
        return self.tries.get(task, 0)

    @property
    def clean(self) -> frozenset[bytes]:
        """The epochs that stand and that none of the devices has a part in."""
        return frozenset(epoch_id for epoch_id in self.epochs if self.devices <= self._gone_in(epoch_id))

    def _gone_in(self, epoch_id: bytes) -> frozenset[Fingerprint]:
        """Who was removed by the commit that began the epoch or one before it; nobody if one of these lost."""
        none: frozenset[Fingerprint] = frozenset()
        return none.union(*[branch.removes for branch in self._standing(epoch_id) or ()])

    def _standing(self, epoch_id: bytes) -> list[Branch] | None:
        """What is known of the epoch and those before it; None if one of these lost."""
        line: list[Branch] = []
        final = False
        for _ in range(len(self.epochs)):
            branch = self.epochs.get(epoch_id)
            if branch is None:
                return line
            final = final or branch.final  # and so is all that it stands on
            if not (final or branch.stands):
                return None
            line.append(branch)
            epoch_id = branch.parent
        return line if epoch_id not in self.epochs else None  # an epoch is not before itself

    def _withdrawn(self, package: Package) -> bool:
        return package.unpublished and any(self._standing(each) is not None for each in package.announced_in)

    def _new_keys(self, clean: frozenset[bytes]) -> frozenset[bytes]:
        """Keys that none of the devices heard of, and nothing for those that are derived."""
        announced = {identity for epoch_id, identity in self.renewals if epoch_id in clean}
        return frozenset(announced - self.old_keys) | {b""}

    def _rotated(self, conversation: Conversation, clean: frozenset[bytes], new: frozenset[bytes]) -> bool:
        """Whether the last leaf is one that we want; where we know of rivals, all of them."""
        standing = [rotation for rotation in conversation.rotations.values() if is_standing(rotation.turns)]
        last = max([rotation.epoch for rotation in standing], default=None)
        present = [rotation for rotation in standing if rotation.epoch == last]
        good = [each for each in present if each.derived_in in clean and each.signature_key in new]
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

        With another device come all KeyPackages that are out now, and all signature keys that are known here.
        """
        packages = dict.fromkeys(references, Package())
        conversations = dict(self.conversations)
        for group_id in group_ids:
            found = conversations.get(group_id, Conversation(turns=0))
            conversations[group_id] = replace(found, turns=turned(found.turns, stands=True))
        return replace(
            self,
            devices=self.devices.union(devices),
            old_keys=self.old_keys.union(old_keys),
            packages=joined(self.packages, packages, Package.join),
            conversations=conversations,
        )

    def left(self, group_id: GroupId) -> Removal:
        """The virtual client is no member of that conversation any more, so there is nothing to rotate."""
        found = self.conversations.get(group_id, Conversation())
        return self._with_conversation(group_id, replace(found, turns=turned(found.turns, stands=False)))

    def withdrawn(self, reference: KeyPackageRef, how: Withdrawal, *, epoch_id: bytes = b"") -> Removal:
        """A KeyPackage was taken back from where it was published, or announced to siblings as withdrawn.

        `epoch_id` is the emulation group's epoch that it was announced in, which may be one from before the Remove. If
        that loses, others never heard of it, and it is to announce again.
        """
        if reference not in self.packages:
            raise CallerError("this KeyPackage is not among those to withdraw", "tell of it with `also`")
        if bool(how & Withdrawal.ANNOUNCED) is not bool(epoch_id):
            raise CallerError("what is announced is announced in an epoch", "name it, or none if nothing was")
        done = Package(
            unpublished=bool(how & Withdrawal.UNPUBLISHED), announced_in=frozenset([epoch_id] if epoch_id else [])
        )
        return replace(self, packages={**self.packages, reference: self.packages[reference].join(done)})

    def adopted(self, epoch_id: bytes, *, parent: bytes = b"", removes: Iterable[Fingerprint] = ()) -> Removal:
        """A derivation epoch of the emulation group that we are in: the one that the Remove began, and each later one.

        `removes` is who is not a member any more by the commits since `parent`. To be said again if the epoch lost and
        then won.
        """
        branch = Branch(parent=parent, removes=frozenset(removes))
        known = self.epochs.get(epoch_id)
        if known is not None:
            branch = known.join(branch)
            branch = replace(branch, turns=turned(branch.turns, stands=True))
        return replace(self, epochs={**self.epochs, epoch_id: branch})

    def lost(self, epoch_id: bytes) -> Removal:
        """That epoch's commit lost to another one: what rested on it, and on the epochs after it, is to do again.

        To be said of epochs from before the Remove as well, of each one: what they stand on is known only if `adopted`
        said so, and something may have been announced in them.
        """
        branch = self.epochs.get(epoch_id, Branch())
        if branch.final:
            raise CallerError("an epoch that is final cannot lose", "see how it came to be called final")
        branch = replace(branch, turns=turned(branch.turns, stands=False))
        return replace(self, epochs={**self.epochs, epoch_id: branch})

    def final(self, epoch_id: bytes) -> Removal:
        """That epoch, and with it those before it, can lose no more."""
        self._require(epoch_id)
        return replace(self, epochs={**self.epochs, epoch_id: replace(self.epochs[epoch_id], final=True)})

    def renewed(self, epoch_id: bytes, identity: bytes) -> Removal:
        """A new credential or signature key was announced in that epoch.

        `identity` is the key's public half, so that leaves may have it; of a credential, a hash of it is enough.
        """
        self._require(epoch_id)
        return replace(self, renewals=self.renewals | {(epoch_id, identity)})

    def rotated(
        self, group_id: GroupId, *, epoch: Epoch, leaf: bytes, derived_in: bytes, signature_key: bytes
    ) -> Removal:
        """From that epoch on, and now, a conversation has a leaf of ours with this encryption key, whoever made it.

        To be said of every new leaf, as the last one counts, and a sibling may have made it on a branch that lost; when
        its commit lost and then won; and after each merge, of what one sees oneself. Whatever was said of this epoch or
        later ones, and of another leaf, is taken for wrong. `signature_key` is nothing if it is derived with the leaf.
        """
        conversation = self.conversations.get(group_id, Conversation())
        rotation = Rotation(epoch=epoch, derived_in=derived_in, signature_key=signature_key)
        known = conversation.rotations.get(leaf)
        if known is not None:
            rotation = replace(known.join(rotation), turns=turned(known.turns, stands=True))
        others = {
            name: each if each.epoch < epoch else replace(each, turns=turned(each.turns, stands=False))
            for name, each in conversation.rotations.items()
            if name != leaf
        }
        rotations = {**last_of(others, MAX_ROTATIONS - 1), leaf: rotation}
        return self._with_conversation(group_id, replace(conversation, rotations=rotations))

    def reverted(self, group_id: GroupId, leaf: bytes) -> Removal:
        """The commit that gave a conversation that leaf lost to another one."""
        conversation = self.conversations.get(group_id)
        rotation = None if conversation is None else conversation.rotations.get(leaf)
        if conversation is None or rotation is None:
            return self
        back = replace(rotation, turns=turned(rotation.turns, stands=False))
        return self._with_conversation(
            group_id, replace(conversation, rotations={**conversation.rotations, leaf: back})
        )

    def uploaded(self, epoch_id: bytes) -> Removal:
        """Fresh KeyPackages, made in that epoch, are announced and published."""
        self._require(epoch_id)
        return replace(self, uploads=self.uploads | {epoch_id})

    def failed(self, task: Task) -> Removal:
        """It did not work, and is still to do."""
        return replace(self, tries={**self.tries, task: min(self.attempts(task) + 1, MAX_COUNT)})

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
                encode_names(self.devices),
                encode_names(self.old_keys),
                vector([opaque(each) + encode_package(self.packages[each]) for each in sorted(self.packages)]),
                vector([opaque(each) + encode_branch(self.epochs[each]) for each in sorted(self.epochs)]),
                vector([opaque(epoch_id) + opaque(identity) for epoch_id, identity in sorted(self.renewals)]),
                vector(
                    [
                        opaque(each) + encode_conversation(self.conversations[each])
                        for each in sorted(self.conversations)
                    ]
                ),
                encode_names(self.uploads),
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
        packages=dict.fromkeys(references, Package()),
        conversations={group_id: Conversation() for group_id in group_ids},
    )


def merge(one: Removal, other: Removal) -> Removal:
    """What two devices know together."""
    return Removal(
        devices=one.devices | other.devices,
        old_keys=one.old_keys | other.old_keys,
        packages=joined(one.packages, other.packages, Package.join),
        conversations=joined(one.conversations, other.conversations, Conversation.join),
        epochs=joined(one.epochs, other.epochs, Branch.join),
        renewals=one.renewals | other.renewals,
        uploads=one.uploads | other.uploads,
        tries=joined(one.tries, other.tries, max),
    )


def _decode(reader: Reader) -> Removal:
    version = reader.u8()
    if version != VERSION:
        raise PeerError("VC-5.3-1", f"version {version}")
    devices = frozenset([Fingerprint(each) for each in decode_names(reader, MAX_DEVICES)])
    if not devices:
        raise PeerError("VC-5.3-6")
    return Removal(
        devices=devices,
        old_keys=frozenset(decode_names(reader)),
        packages=decode_table(reader, lambda r: KeyPackageRef(r.opaque()), decode_package),
        epochs=decode_table(reader, Reader.opaque, decode_branch, MAX_EPOCHS),
        renewals=frozenset(decode_table(reader, lambda r: (r.opaque(), r.opaque()), lambda _: None)),
        conversations=decode_table(reader, lambda r: GroupId(r.opaque()), decode_conversation),
        uploads=frozenset(decode_names(reader)),
        tries=decode_table(reader, decode_task, decode_count),
    )
