"""draft-ietf-mls-virtual-clients §5.2: coming back when no device of the virtual client is online.

A device that joins the emulation group from outside needs two things that the draft presumes: to know which
conversations there are, and to be let in. Both rest on the account's recovery keys, whose private halves are kept apart
from all devices. What is to be done with them, in which order, is `mls.virtual.rejoin`.

*The roll* lists the conversations, each with a GroupInfo by which it can be joined, the emulation group likewise, and
the KeyPackages that are out. A device seals it to the recovery key whenever it changed, and leaves it at mailboxes.

* A mailbox sees a version, a KEM output and a ciphertext that is padded, so that it learns when the roll changes and
  little about how long it is.
* Whoever knows the recovery key can seal to it, so inside is a signature by the device that wrote the roll, over the
  recovery key too: nobody can pass on a roll that was written for somebody else. The writer's credential is put before
  the authentication service. A MAC would be shorter, and a removed device would keep its key for ever; a signature
  ceases to count with the credential.
* A mailbox can keep an old roll and deny newer ones. Rolls have a sequence number, and the newest of all mailboxes is
  taken (`newest`), so this takes all of them. Then one comes back to an old epoch of the emulation group, of which
  devices that were removed since are members: compare its members with the account's list of devices, and remove whom
  it does not name, before anything else is derived.
* A device can write whatever it likes into a roll, and the last number there is on it. Nothing inside tells a lie: an
  epoch can be invented as well, and of two branches the one with fewer epochs may be right. So what is opened names its
  writer, and writers who are on no list of devices, or not believed, are left out (`newest`).
* A GroupInfo that was made for a Welcome to a new device contains all secrets of the virtual client. It is recognized
  by its components and not taken into a roll.

*The grant* is the recovery key's signature that a certain leaf may join a certain epoch of the emulation group. A
commit from outside gives its maker all that the virtual client has: it takes over the account. So devices accept none
unless told otherwise (`mls.virtual.devices.receive`). `admission` lets in who has a grant: the commit must carry it in
its authenticated data, for the epoch as the GroupInfo shows it (tree hash and confirmation tag tell it from rivals of
the same number) and for the new leaf's key and credential. A grant is of no use a second time, as the epoch is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from mls.codec import Reader, decode_exactly, opaque, optional, u8, u32, u64, vector
from mls.components.aad import decode_items
from mls.components.dictionary import dictionary_of
from mls.components.labels import safe_open, safe_seal, safe_sign, safe_verify
from mls.components.numbers import ComponentId, Numbers
from mls.credential import Credential, decode_credential
from mls.errors import CallerError, PeerError
from mls.group import CommitMessage
from mls.leaf_node import LeafNode
from mls.parameters import Padding
from mls.provider import Environment
from mls.public_state import PublicState
from mls.registries import Epoch, GroupId, KeyPackageRef, LeafIndex
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.welcome import GroupInfo, decode_group_info

VERSION = 1
MAX_CONVERSATIONS = 1 << 14
MAX_PACKAGES = 1 << 14
MAX_SIZE = 64 << 20
"""Of a roll. Trees can be left out, where they can be had elsewhere."""
FLOOR = 8192
"""Nothing shorter is sealed: with few conversations, each would show in the length."""

_ROLL = b"Roll"
_WRITTEN = b"RollTBS"
_GRANT = b"ExternalJoinTBS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A group as one needs to know it to join it from outside."""

    group_info: bytes = field(repr=False)
    """An MLSMessage."""
    own_leaf: LeafIndex
    """The virtual client's, to be removed by whoever joins anew; in the emulation group, the writer's."""
    tree: bytes | None = field(default=None, repr=False)
    """The ratchet tree, if the GroupInfo has none and it is not to be had elsewhere."""
    place: bytes = field(default=b"", repr=False)
    """Where a newer GroupInfo, or the tree, can be had, in the application's words."""

    @property
    def group_id(self) -> GroupId:
        return decode_group_info(self.group_info).context.group_id

    @property
    def epoch(self) -> Epoch:
        return decode_group_info(self.group_info).context.epoch

    def encode(self) -> bytes:
        tree = optional(None if self.tree is None else opaque(self.tree))
        return opaque(self.group_info) + u32(self.own_leaf) + tree + opaque(self.place)

    @classmethod
    def decode(cls, reader: Reader) -> Entry:
        return cls(
            group_info=reader.opaque(),
            own_leaf=LeafIndex(reader.u32()),
            tree=reader.optional(Reader.opaque),
            place=reader.opaque(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """What somebody needs to know of a virtual client who has nothing but its recovery keys."""

    sequence: int
    """Higher than that of every roll its writer knows of, and believes."""
    emulation: Entry
    conversations: tuple[Entry, ...]
    references: tuple[KeyPackageRef, ...]
    """KeyPackages that are published or given out."""
    settings: bytes = b""
    """How this virtual client does what implementations do in several ways, in the application's encoding."""

    def encode(self) -> bytes:
        return b"".join(
            [
                u64(self.sequence),
                self.emulation.encode(),
                vector([entry.encode() for entry in self.conversations]),
                vector([opaque(reference) for reference in self.references]),
                opaque(self.settings),
            ]
        )

    @classmethod
    def decode(cls, reader: Reader) -> Roll:
        roll = cls(
            sequence=reader.u64(),
            emulation=Entry.decode(reader),
            conversations=reader.vector(Entry.decode),
            references=reader.vector(lambda r: KeyPackageRef(r.opaque())),
            settings=reader.opaque(),
        )
        entries, packages = len(roll.conversations), len(roll.references)
        if entries > MAX_CONVERSATIONS or packages > MAX_PACKAGES:
            raise PeerError("VC-5.2-4", f"{entries} conversations, {packages} KeyPackages")
        named = [entry.group_id for entry in (roll.emulation, *roll.conversations)]
        if len(set(named)) != len(named) or len(set(roll.references)) != packages:
            raise PeerError("VC-5.2-5")
        return roll


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """The device that writes a roll."""

    credential: Credential
    signature_key: bytes
    signature_private: SignaturePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A roll, and the device that wrote it."""

    roll: Roll
    credential: Credential
    signature_key: bytes


def seal_roll(
    roll: Roll,
    env: Environment,
    suite: Suite,
    recovery_key: bytes,
    writer: Writer,
    numbers: Numbers,
    component: ComponentId,
) -> bytes:
    """The roll, to be left at mailboxes.

    `suite` is the emulation group's, to whose KEM the public key `recovery_key` belongs, and to whose signatures the
    writer's key does. `component` is the number under which the application seals and signs.
    """
    _check_sendable(roll, numbers)
    written = opaque(roll.encode())
    if len(written) > MAX_SIZE:
        raise CallerError(f"a roll of {len(written)} bytes is too large", "leave out trees that can be had elsewhere")
    signature = safe_sign(suite, writer.signature_private, component, _WRITTEN, opaque(recovery_key) + written)
    content = written + writer.credential.encode() + opaque(writer.signature_key) + opaque(signature)
    content = content.ljust(FLOOR, b"\x00")
    content += bytes(Padding.PADME.size(len(content)))
    kem_output, ciphertext = safe_seal(suite, recovery_key, component, _ROLL, u8(VERSION), content, env.provider.random)
    return u8(VERSION) + opaque(kem_output) + opaque(ciphertext)


def open_roll(
    data: bytes,
    env: Environment,
    suite: Suite,
    recovery_private: HpkePrivateKey,
    recovery_key: bytes,
    component: ComponentId,
) -> Opened:
    """A roll that was left for us, by a device that the authentication service accepts."""
    outer = Reader(data)
    version = outer.u8()
    if version != VERSION:
        raise PeerError("VC-5.2-1", f"version {version}")
    kem_output, ciphertext = outer.opaque(), outer.opaque()
    outer.finish()
    content = safe_open(suite, recovery_private, component, _ROLL, u8(VERSION), kem_output, ciphertext)
    reader = Reader(content)
    written = reader.opaque()
    credential, signature_key, signature = decode_credential(reader), reader.opaque(), reader.opaque()
    if content.count(0, reader.pos) != len(content) - reader.pos:
        raise PeerError("VC-5.2-2")
    signed = opaque(recovery_key) + opaque(written)
    if not safe_verify(suite, signature_key, component, _WRITTEN, signed, signature):
        raise PeerError("VC-5.2-3")
    env.authentication.validate(credential, signature_key, env.now)
    return Opened(roll=decode_exactly(written, Roll.decode), credential=credential, signature_key=signature_key)


def newest(found: Iterable[Opened], *, discarding: Iterable[bytes] = ()) -> Roll:
    """What several mailboxes had, as one roll. Writers with a signature key of `discarding` are not believed.

    Two devices may have written at once, each without the other's news; rolls of one number are joined, and of a group
    that both have, the later epoch is taken. Should they name different emulation groups, it is always the same one
    that is taken.
    """
    discarded = frozenset(discarding)
    rolls = [each.roll for each in found if each.signature_key not in discarded]
    if not rolls:
        raise CallerError("there is no roll to choose", "ask other mailboxes")
    last = max(roll.sequence for roll in rolls)
    equal = sorted([roll for roll in rolls if roll.sequence == last], key=Roll.encode)
    emulations: dict[GroupId, Entry] = {}
    conversations: dict[GroupId, Entry] = {}
    references: dict[KeyPackageRef, None] = {}
    for roll in equal:
        _take_later(emulations, [roll.emulation])
        _take_later(conversations, roll.conversations)
        references.update(dict.fromkeys(roll.references))
    return Roll(
        sequence=last,
        emulation=emulations[equal[-1].emulation.group_id],
        conversations=tuple(conversations.values()),
        references=tuple(references),
        settings=equal[-1].settings,
    )


def _take_later(found: dict[GroupId, Entry], entries: Iterable[Entry]) -> None:
    for entry in entries:
        known = found.get(entry.group_id)
        if known is None or known.epoch < entry.epoch:
            found[entry.group_id] = entry


def _check_sendable(roll: Roll, numbers: Numbers) -> None:
    if len(roll.conversations) > MAX_CONVERSATIONS or len(roll.references) > MAX_PACKAGES:
        raise CallerError("the roll has too many entries", f"{MAX_CONVERSATIONS} conversations are the most")
    infos = [_readable(entry) for entry in (roll.emulation, *roll.conversations)]
    named, packages = {info.context.group_id for info in infos}, set(roll.references)
    if len(named) != len(infos) or len(packages) != len(roll.references):
        raise CallerError("the roll names one group or KeyPackage twice", "name each once")
    secret = (numbers.virtual_clients, numbers.virtual_companion)
    if any(dictionary_of(info.extensions).find(number) is not None for info in infos for number in secret):
        raise CallerError(
            "this GroupInfo holds the secrets of the virtual client", "make one for the public, without them"
        )


def _readable(entry: Entry) -> GroupInfo:
    try:
        return decode_group_info(entry.group_info)
    except PeerError:
        raise CallerError("an entry's GroupInfo cannot be read", "give the whole MLSMessage") from None


# Being let in


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who wants to join which epoch of the emulation group."""

    group_id: GroupId
    epoch: Epoch
    tree_hash: bytes
    confirmation_tag: bytes
    signature_key: bytes
    """Of the leaf that joins, as is the credential."""
    credential: Credential

    @classmethod
    def of(cls, state: PublicState, signature_key: bytes, credential: Credential) -> Claim:
        """As members see it, whose present epoch it is."""
        return cls(
            group_id=state.group_id,
            epoch=state.epoch,
            tree_hash=state.context.tree_hash,
            confirmation_tag=state.confirmation_tag,
            signature_key=signature_key,
            credential=credential,
        )

    @classmethod
    def from_group_info(cls, group_info: bytes, signature_key: bytes, credential: Credential) -> Claim:
        """As somebody outside sees it."""
        info = decode_group_info(group_info)
        return cls(
            group_id=info.context.group_id,
            epoch=info.context.epoch,
            tree_hash=info.context.tree_hash,
            confirmation_tag=info.confirmation_tag,
            signature_key=signature_key,
            credential=credential,
        )

    def encode(self) -> bytes:
        return b"".join(
            [
                opaque(self.group_id),
                u64(self.epoch),
                opaque(self.tree_hash),
                opaque(self.confirmation_tag),
                opaque(self.signature_key),
                self.credential.encode(),
            ]
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """The recovery key's consent to a claim."""

    signature: bytes


class Authority(Protocol):
    """Decides who may join the emulation group from outside."""

    def check(self, claim: Claim, grant: Grant) -> None:
        """Raise `PeerError("VC-5.2-9")` unless this join is granted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryAuthority:
    """Lets in whom the holder of the account's recovery key signed for."""

    suite: Suite
    """Whose signature scheme the key is for; it need not be the emulation group's."""
    public_key: bytes
    component: ComponentId

    def check(self, claim: Claim, grant: Grant) -> None:
        if not safe_verify(self.suite, self.public_key, self.component, _GRANT, claim.encode(), grant.signature):
            raise PeerError("VC-5.2-9")


def sign_grant(suite: Suite, recovery_private: SignaturePrivateKey, claim: Claim, component: ComponentId) -> Grant:
    """By whoever holds the private recovery key; the suite is the authority's."""
    return Grant(safe_sign(suite, recovery_private, component, _GRANT, claim.encode()))


def encode_grant(grant: Grant) -> bytes:
    """For a commit's authenticated data: all of it, or where it is SafeAAD our component's item in it."""
    return u8(VERSION) + opaque(grant.signature)


def decode_grant(data: bytes) -> Grant:
    reader = Reader(data)
    version = reader.u8()
    if version != VERSION:
        raise PeerError("VC-5.2-8", f"version {version}")
    grant = Grant(reader.opaque())
    reader.finish()
    return grant


def check_grant(
    before: PublicState,
    leaf: LeafNode,
    authenticated_data: bytes,
    authority: Authority,
    numbers: Numbers,
    component: ComponentId,
) -> None:
    """What a device asks of an external commit to the emulation group before it adopts the next epoch.

    `before` is the epoch that the commit ends, `leaf` the committer's new one.
    """
    data = authenticated_data
    if before.context.dictionary.find(numbers.safe_aad) is not None:
        data = dict(decode_items(authenticated_data)).get(component, b"")
    if not data:
        raise PeerError("VC-5.2-7")
    authority.check(Claim.of(before, leaf.signature_key, leaf.credential), decode_grant(data))


def admission(authority: Authority, numbers: Numbers, component: ComponentId) -> Callable[[Group, CommitMessage], bool]:
    """Lets in whom the authority granted it, as `mls.virtual.devices.receive` asks; others are refused by number."""

    def admits(before: Group, event: CommitMessage) -> bool:
        leaf = event.group.public.tree.leaf(event.committer)
        assert leaf is not None  # noqa: S101 - of the committer, in the epoch that the commit began
        check_grant(before.public, leaf, event.authenticated_data, authority, numbers, component)
        return True

    return admits
