"""draft-ietf-mls-virtual-clients §5 and §6.4: the emulation group, whose members are the devices of a virtual client.

    emulation = start(settings, group)                       a device begins, with the emulation group it is in
    made = commit(emulation, env, proposals=...)             adopt(emulation, made) once the commit is accepted
    told = announce(emulation, env, announcement)            told.message, for all devices to hear
    heard = receive(emulation, env, message)                 whatever another device said

It is an ordinary MLS group, with three rules of its own.

* Not every epoch is one to derive in. Its first is, and each that begins with a commit which adds or removes a device
  or asks for it (`derive`). What a commit asks and announces stands in its authenticated data, where whoever carries it
  can read it, and is of the epoch that it ends. All other epochs leave the virtual client's keys alone.
* Application messages that begin with a byte below 128 are announcements. Those that concern keys and KeyPackages are
  carried out here; conversations are followed by the caller (`mls.virtual.client`), who knows what they may be.
  Whatever begins with a higher byte is the application's own. A device that was removed can still speak in epochs
  before that, whose keys are kept for late messages: whoever keeps some gives a `Carry`, which says what counts of it.
* Who joins from outside takes over the virtual client. Nobody may, unless `admits` says so
  (`mls.virtual.recovery` has who should).

Branches of the emulation group are heads (`Emulation.on`, `receive_on`). What was learned on one stays known on all.
Neither does the group end in another one: a ReInit is refused, as no device could go on after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mls import group as front, targeted
from mls.codec import decode_exactly
from mls.commit import KEEP as KEEP_LEAF, Committed, NewLeaf
from mls.components.aad import decode_items, encode_items
from mls.errors import CallerError, LimitError, MlsError, PeerError, StaleError
from mls.group import ApplicationMessage, CommitMessage, Event, TargetedMessage
from mls.leaf_node import Extensions
from mls.proposals import Proposal
from mls.provider import Environment
from mls.registries import LeafIndex, ProposalRef
from mls.state import Group
from mls.validation import Plan
from mls.virtual.actions import CommitData, KeyPackageUpload, NewDerivationEpoch
from mls.virtual.announcements import (
    UNKNOWN,
    Announcement,
    Keys,
    LostEpoch,
    Operations,
    Renewed,
    Reserved,
    Uploaded,
    Withdrawn,
    decode_announcement,
    encode_announcement,
)
from mls.virtual.emulation import Emulation, Head, Known, begun
from mls.virtual.epoch import DerivationEpoch, sound
from mls.virtual.operations import OperationTree
from mls.virtual.settings import Settings
from mls.virtual.stock import take_in, take_in_reserved, with_known_keys

APPLICATIONS = 0x80
"""First byte, at least, of what is no announcement."""

Admits = Callable[[Group, CommitMessage], bool]
"""Whether a device may have joined the emulation group (in the state before) by this commit from outside."""

Carry = Callable[[Emulation, Announcement, LeafIndex], Emulation]
"""What a device knows after another one, of that leaf, announced something: `carried_out`, or less than that."""


def start(settings: Settings, group: Group) -> Emulation:
    """A device with the emulation group that it created or joined, and nothing else.

    Who was added by another device has more to begin with (`mls.virtual.onboarding`).
    """
    return begun(settings, group)


# Acting


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCommit:
    """A commit in the emulation group. Give it to `adopt` once it is accepted."""

    emulation: Emulation
    """To be stored before the commit is sent."""
    commit: Committed
    derives: bool
    """Whether it begins an epoch to derive in."""
    newest: bytes
    """The derivation epoch in which it was made."""


def commit(
    emulation: Emulation,
    env: Environment,
    *,
    proposals: Sequence[Proposal] = (),
    references: Sequence[ProposalRef] | None = None,
    uploads: Sequence[KeyPackageUpload] = (),
    derive: bool = False,
    items: Mapping[int, bytes] | None = None,
    force_path: bool = False,
    encrypt: bool | None = None,
    leaf: NewLeaf = KEEP_LEAF,
    group_info_extensions: Extensions = (),
) -> DeviceCommit:
    """Commit in the emulation group.

    `uploads` and `derive` travel in the authenticated data, which carriers can read, beside whatever `items` other
    components put there; the group must be one whose components share it (mls-extensions §4.9). Signature keys have no
    place there: those of the uploaded KeyPackages are announced before (`Keys`), if they are not derived.
    """
    group = emulation.group
    numbers = emulation.settings.numbers
    said = CommitData((*uploads, *([NewDerivationEpoch()] if derive else [])))
    parts = dict(items or {})
    if said.actions:
        parts[numbers.virtual_clients] = said.encode(emulation.settings.profile.form)
    if parts and group.public.context.dictionary.find(numbers.safe_aad) is None:
        raise CallerError(
            "the emulation group has no place for what a commit announces", "found it with a `safe_aad` component"
        )
    made = front.commit(
        group,
        env,
        proposals=proposals,
        references=references,
        authenticated_data=encode_items(parts) if parts else b"",
        force_path=force_path,
        encrypt=encrypt,
        leaf=leaf,
        group_info_extensions=group_info_extensions,
    )
    derives = derive or _changes_devices(made.plan)
    leaves = made.group.public.tree.leaf_count
    if derives and leaves > emulation.settings.max_leaves:
        raise CallerError(
            f"an emulation group with {leaves} leaves is too large", f"{emulation.settings.max_leaves} are allowed"
        )
    if made.plan.reinit is not None:
        raise CallerError("the emulation group does not continue in another one", "let the ReInit wait")
    return DeviceCommit(
        emulation=emulation.with_group(made.before), commit=made, derives=derives, newest=emulation.head.newest
    )


def adopt(emulation: Emulation, made: DeviceCommit) -> Emulation:
    """After our own commit was accepted. `emulation` is the present value, whatever it used up in the meantime.

    It may be on a branch that the commit did not follow; afterwards it is on the commit's own.
    """
    group = made.commit.group
    after = emulation.adopting(group.epoch_id).on(Head(group, made.newest))
    return _entered(after, group, derives=made.derives)


def _entered(emulation: Emulation, group: Group, *, derives: bool) -> Emulation:
    after = emulation.with_group(group)
    if group.ended is not None or not derives:
        return after
    return after.entered(group)


def _changes_devices(plan: Plan) -> bool:
    return bool(plan.added or plan.removed) or plan.resynced is not None or plan.external_init is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A message for other devices."""

    emulation: Emulation
    message: bytes


def announce(emulation: Emulation, env: Environment, announcement: Announcement) -> Announced:
    """To all devices. Who says that KeyPackages are withdrawn takes no Welcome to them either."""
    data = encode_announcement(announcement, emulation.settings.profile.form)
    told = _said(emulation, env, data)
    if isinstance(announcement, Withdrawn):
        return replace(told, emulation=told.emulation.without(announcement.references))
    return told


def say(emulation: Emulation, env: Environment, data: bytes) -> Announced:
    """What the application has to say to the other devices."""
    if not data or data[0] < APPLICATIONS:
        raise CallerError("this would be read as an announcement", f"begin with a byte of {APPLICATIONS} or more")
    return _said(emulation, env, data)


def _said(emulation: Emulation, env: Environment, data: bytes) -> Announced:
    group, message = front.seal(emulation.group, env, data)
    return Announced(emulation=emulation.with_group(group), message=message)


def tell(emulation: Emulation, env: Environment, device: LeafIndex, reserved: Reserved) -> bytes:
    """To one device: a KeyPackage that it shall be able to open, and others not."""
    data = encode_announcement(reserved, emulation.settings.profile.form)
    return targeted.seal(emulation.group, env, device, data)


# Hearing


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Whatever another device said."""

    emulation: Emulation
    event: Event
    announcement: Announcement | None = None
    """What was announced. Created, JoinedExternally and Welcomed are for `follow_creation`, `follow_external` and
    `join` of `mls.virtual.client`; Progress is for `mls.virtual.removal.merge`. What concerns keys was carried out."""
    actions: CommitData | None = None
    """What a commit announced; it was carried out, but for `refused`."""
    refused: tuple[tuple[KeyPackageUpload, MlsError], ...] = ()
    """Uploads in a commit that this device could not use. The commit stands all the same: others follow it."""
    derives: bool = False
    """Whether a commit began an epoch to derive in."""

    @property
    def head(self) -> Head:
        """Where the branch stands that it was said on."""
        return self._head or self.emulation.head

    _head: Head | None = None


def receive_on(
    emulation: Emulation,
    head: Head,
    env: Environment,
    message: bytes,
    *,
    admits: Admits | None = None,
    carry: Carry | None = None,
) -> Heard:
    """Whatever arrived late for an earlier epoch or another branch: keep `Heard.head` in the place of `head`.

    The device stays where it is (`Emulation.head`), and keeps what it learned.
    """
    heard = receive(emulation.on(head), env, message, admits=admits, carry=carry)
    return replace(heard, emulation=heard.emulation.on(emulation.head), _head=heard.emulation.head)


def receive(
    emulation: Emulation,
    env: Environment,
    message: bytes,
    *,
    admits: Admits | None = None,
    carry: Carry | None = None,
) -> Heard:
    """Whatever arrived for the emulation group's present epoch, on this branch. All of it is carried out, if nothing
    else is said (`carry`).

    A device that was set back to an old storage hears also what it said itself since then: the others go by it.
    """
    group = emulation.group

    def after_it(before: Emulation, told: Announcement, sender: LeafIndex) -> Emulation:
        return carried_out(before, env, told, sender) if carry is None else carry(before, told, sender)

    event = front.receive(group, env, message, own_words=True)
    after = emulation.with_group(event.group)
    if isinstance(event, ApplicationMessage):
        if event.data and event.data[0] >= APPLICATIONS:
            return Heard(emulation=after, event=event)
        told = decode_announcement(event.data, emulation.settings.profile.form)
        return Heard(emulation=after_it(after, told, event.sender), event=event, announcement=told)
    if isinstance(event, TargetedMessage):
        told = decode_announcement(event.data, emulation.settings.profile.form, targeted=True)
        return Heard(emulation=after_it(after, told, event.sender), event=event, announcement=told)
    if not isinstance(event, CommitMessage):
        return Heard(emulation=after, event=event)
    if event.plan.reinit is not None:
        raise PeerError("VC-5-4")
    if event.external and (admits is None or not admits(group, event)):
        raise PeerError("VC-5-1")
    actions = _actions(emulation, group, event)
    before = emulation.with_group(event.before)
    refused: list[tuple[KeyPackageUpload, MlsError]] = []
    for upload in actions.uploads:
        try:
            before = after_it(before, _uploaded(upload), event.committer)
        except (PeerError, StaleError) as error:
            refused.append((upload, error))
    derives = actions.new_derivation_epoch or _changes_devices(event.plan)
    check_size(emulation.settings, event.group)
    after = _entered(before, event.group, derives=derives)
    event = replace(event, group=after.group)
    return Heard(emulation=after, event=event, actions=actions, refused=tuple(refused), derives=derives)


def check_size(settings: Settings, group: Group) -> None:
    """Whether the emulation group is one that can be derived in."""
    leaves = group.public.tree.leaf_count
    if leaves > settings.max_leaves:
        raise PeerError("VC-5-5", f"{leaves} leaves")


def _actions(emulation: Emulation, group: Group, event: CommitMessage) -> CommitData:
    numbers = emulation.settings.numbers
    if event.external or group.public.context.dictionary.find(numbers.safe_aad) is None:
        return CommitData()
    form = emulation.settings.profile.form
    for component, data in decode_items(event.authenticated_data):
        if component == numbers.virtual_clients:
            return decode_exactly(data, lambda reader: CommitData.decode(reader, form))
    return CommitData()


def _uploaded(upload: KeyPackageUpload) -> Uploaded:
    """What a commit says of KeyPackages: nothing of keys, or of when they expire."""
    return Uploaded(upload=upload, not_after=(UNKNOWN,) * len(upload.key_packages))


def carried_out(emulation: Emulation, env: Environment, told: Announcement, sender: LeafIndex) -> Emulation:
    """What an announcement changes in what this device knows."""
    if isinstance(told, Uploaded):
        return take_in(emulation, env, told.upload, sender=sender, keys=told.keys, not_after=told.not_after)
    if isinstance(told, Keys | Renewed):
        return with_known_keys(emulation, env, told.keys)
    if isinstance(told, Withdrawn):
        return emulation.without(told.references)
    if isinstance(told, Operations):
        return emulation.told(told.operations)
    if isinstance(told, LostEpoch):
        return _with_lost_epoch(emulation, env, told)
    if isinstance(told, Reserved):
        return take_in_reserved(emulation, told)
    return emulation


def _with_lost_epoch(emulation: Emulation, env: Environment, told: LostEpoch) -> Emulation:
    """Enough of an epoch of another branch to read what its leaves say, and nothing to derive with."""
    if told.epoch_id in emulation.epochs:
        return emulation
    try:
        suite = env.provider.suite(told.cipher_suite)
    except KeyError:
        raise PeerError("VC-6.4-17", f"cipher suite {told.cipher_suite}") from None
    if len(emulation.epochs) >= emulation.settings.max_epochs:
        raise LimitError("too many derivation epochs are kept already; prune what is not in use")
    epoch = DerivationEpoch(
        suite=suite,
        epoch_id=told.epoch_id,
        number=told.number,
        leaf_count=told.leaf_count,
        own_leaf=None,
        encryption_key=told.encryption_key,
        generation_id=told.generation_id,
        reuse_guard=told.reuse_guard,
        operations=OperationTree.gone(told.leaf_count),
    )
    if not sound(epoch):
        raise PeerError("VC-6.4-17", f"{told.leaf_count} leaves")
    return replace(emulation, epochs=emulation.epochs.set(told.epoch_id, Known(epoch, told.parent)))
