"""draft-ietf-mls-virtual-clients §6.4: what the devices of a virtual client tell each other besides their commits.

The draft has the devices know of every KeyPackage before it is published, and leaves to the application how they learn
of new signature keys, of conversations that one of them creates or enters, and of much else. Each of these is an
`Announcement`: the content of an application message of the emulation group, and so never readable for whoever carries
it, which a commit's authenticated data would be. The form is ours. It begins with a version; the version says all of
it, so an unknown type, or a byte too many, is refused and not passed over.

What is announced is a statement of fact, safe to hear twice and late. Order matters in two places: what a device makes
is announced, and the announcement stored by whoever keeps messages, before anyone outside can see it; and a Welcome is
passed on before its KeyPackage is withdrawn, or a sibling would have thrown away what opens it.

An announcement says what one device wants believed. That its sender is a device is shown by the message that it came
in. What it says of keys and groups is checked by whoever uses it: `check_keys` here for signature keys, and the
following of a group where the group is followed.

* Operations and LostEpoch serve one purpose. A leaf may come from an emulation epoch that lost to another branch, and
  devices that never were on that branch can then not follow it. The secrets of the operations that are in use pass to
  them, and what opens the DerivationInfo of these leaves (only there stands the init secret of an external commit) and
  attributes messages sent under them. The root of the epoch's operations does not pass: nothing new is made of it.
* Reserved holds the secret of a KeyPackage that only some devices shall be able to use (draft-kohbrok §4.1), so it is
  sent to each of them by a targeted message; it is refused where all can read it, and nothing else comes that way.
* Renewed and Progress belong to the removal of a device, which any of the others may take further: the credential and
  keys that leaves are to have from now on, and how far things are.
* Wanted asks for a new leaf: who came late must not encrypt under one that was made before (§5.1).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, TypeVar

from mls.codec import Reader, opaque, optional, u8, u16, u32, u64, vector
from mls.credential import Credential, decode_credential
from mls.errors import CallerError, PeerError
from mls.hpke import UnreadableKeyError
from mls.provider import Provider
from mls.psk import PreSharedKeyId, ResumptionPskId, decode_psk_id
from mls.registries import Epoch, GroupId, KeyPackageRef, ResumptionUsage
from mls.secrets import (
    EpochEncryptionKey,
    GenerationIdSecret,
    KeyPackageSeed,
    ReuseGuardSecret,
    SignaturePrivateKey,
)
from mls.signatures import Scheme
from mls.virtual.actions import Form, KeyPackageUpload
from mls.virtual.generation_id import GenerationId
from mls.virtual.operations import Operation
from mls.virtual.transfer import decode_operation, encode_operation

VERSION = 1

MAX_ENTRIES = 1024
"""In one list. Who has more to say sends several announcements."""

UNKNOWN = 0
"""For a time that is not known: when a KeyPackage expires."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureKey:
    """A signature key pair of the virtual client, for a leaf or KeyPackage of that suite."""

    cipher_suite: int
    public: bytes
    private: SignaturePrivateKey

    def encode(self) -> bytes:
        return u16(self.cipher_suite) + opaque(self.public) + opaque(self.private.raw)

    @classmethod
    def decode(cls, reader: Reader) -> SignatureKey:
        return cls(cipher_suite=reader.u16(), public=reader.opaque(), private=SignaturePrivateKey(reader.opaque()))


def check_keys(keys: Iterable[SignatureKey], provider: Provider) -> None:
    """Whether each private key is that of its public key; those of suites that we lack are for others to judge."""
    for key in keys:
        try:
            scheme = provider.suite(key.cipher_suite).scheme
        except KeyError:
            continue
        if not _is_pair(scheme, key):
            raise PeerError("VC-6.4-15")


def _is_pair(scheme: Scheme, key: SignatureKey) -> bool:
    try:
        return scheme.public_key(key.private) == key.public
    except UnreadableKeyError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """A batch of KeyPackages that is about to be published."""

    kind: ClassVar[int] = 1

    upload: KeyPackageUpload
    keys: tuple[SignatureKey, ...] = ()
    """Those of the KeyPackages' leaves that siblings do not derive and were not told before."""
    not_after: tuple[int, ...]
    """When each KeyPackage expires, in seconds since 1970, in the order of the upload; `UNKNOWN` if that is so."""

    def __post_init__(self) -> None:
        _check_list(self.keys, _of_key)
        if len(self.not_after) != len(self.upload.key_packages):
            raise CallerError("an upload has as many expiry times as KeyPackages", f"give {UNKNOWN} for unknown ones")

    def encode(self, form: Form) -> bytes:
        times = vector([u64(time) for time in self.not_after])
        return self.upload.encode(form) + vector([key.encode() for key in self.keys]) + times

    @classmethod
    def decode(cls, reader: Reader, form: Form) -> Uploaded:
        upload = KeyPackageUpload.decode(reader, form)
        keys = _list(reader, SignatureKey.decode, _of_key)
        not_after = reader.vector(Reader.u64)
        if len(not_after) != len(upload.key_packages):
            raise PeerError("VC-6.4-14", f"{len(not_after)} for {len(upload.key_packages)}")
        return cls(upload=upload, keys=keys, not_after=not_after)


@dataclass(frozen=True, slots=True)
class Keys:
    """Signature keys that were drawn for leaves to come."""

    kind: ClassVar[int] = 2

    keys: tuple[SignatureKey, ...]

    def __post_init__(self) -> None:
        _check_list(self.keys, _of_key)

    def encode(self) -> bytes:
        return vector([key.encode() for key in self.keys])

    @classmethod
    def decode(cls, reader: Reader) -> Keys:
        return cls(_list(reader, SignatureKey.decode, _of_key))


@dataclass(frozen=True, slots=True)
class Created:
    """A conversation that this device created."""

    kind: ClassVar[int] = 3

    group_info: bytes = field(repr=False)
    """An MLSMessage: the GroupInfo of epoch 0, with its tree."""
    continues: PreSharedKeyId | None = None
    """How it is going to be tied to another conversation, if it continues one (RFC 9420 §11.2, §11.3)."""

    def encode(self) -> bytes:
        return opaque(self.group_info) + optional(None if self.continues is None else self.continues.encode())

    @classmethod
    def decode(cls, reader: Reader) -> Created:
        return cls(reader.opaque(), reader.optional(_decode_continues))


def _decode_continues(reader: Reader) -> PreSharedKeyId:
    psk_id = decode_psk_id(reader)
    if not isinstance(psk_id, ResumptionPskId) or psk_id.usage == ResumptionUsage.APPLICATION:
        raise PeerError("VC-6.4-18")
    return psk_id


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedExternally:
    """An external commit by which this device brought the virtual client into a conversation, and what it stood on."""

    kind: ClassVar[int] = 4

    group_info: bytes = field(repr=False)
    """An MLSMessage: the GroupInfo of the epoch that the commit ends."""
    tree: bytes | None = field(default=None, repr=False)
    """The ratchet tree of that epoch, if the GroupInfo has none."""
    commit: bytes = field(repr=False)
    """The MLSMessage as it was sent."""

    def encode(self) -> bytes:
        return opaque(self.group_info) + _optional_opaque(self.tree) + opaque(self.commit)

    @classmethod
    def decode(cls, reader: Reader) -> JoinedExternally:
        return cls(group_info=reader.opaque(), tree=reader.optional(Reader.opaque), commit=reader.opaque())


@dataclass(frozen=True, slots=True)
class Welcomed:
    """A Welcome to the virtual client, passed on so that every device takes it up."""

    kind: ClassVar[int] = 5

    welcome: bytes = field(repr=False)
    tree: bytes | None = field(default=None, repr=False)
    """The ratchet tree, if it came apart from the Welcome."""

    def encode(self) -> bytes:
        return opaque(self.welcome) + _optional_opaque(self.tree)

    @classmethod
    def decode(cls, reader: Reader) -> Welcomed:
        return cls(reader.opaque(), reader.optional(Reader.opaque))


@dataclass(frozen=True, slots=True)
class ExternalJoin:
    """This device is going to bring the virtual client into that conversation: the others should not try as well."""

    kind: ClassVar[int] = 6

    group_id: GroupId

    def encode(self) -> bytes:
        return opaque(self.group_id)

    @classmethod
    def decode(cls, reader: Reader) -> ExternalJoin:
        return cls(GroupId(reader.opaque()))


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations of an emulation epoch that lost, for devices that never had it and must follow what came of them."""

    kind: ClassVar[int] = 7

    operations: tuple[Operation, ...]

    def __post_init__(self) -> None:
        _check_list(self.operations, _of_operation)

    def encode(self) -> bytes:
        return vector([encode_operation(each) for each in self.operations])

    @classmethod
    def decode(cls, reader: Reader) -> Operations:
        return cls(_list(reader, decode_operation, _of_operation))


@dataclass(frozen=True, slots=True)
class Claims:
    """Ratchet generations that this device is about to use, or has used, by their names."""

    kind: ClassVar[int] = 8

    ids: tuple[GenerationId, ...]

    def __post_init__(self) -> None:
        _check_list(self.ids, _itself)

    def encode(self) -> bytes:
        return vector([opaque(each) for each in self.ids])

    @classmethod
    def decode(cls, reader: Reader) -> Claims:
        return cls(_list(reader, lambda r: GenerationId(r.opaque()), _itself))


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """KeyPackages that no Welcome is to be taken for any more: they were used up, or revoked."""

    kind: ClassVar[int] = 9

    references: tuple[KeyPackageRef, ...]

    def __post_init__(self) -> None:
        _check_list(self.references, _itself)

    def encode(self) -> bytes:
        return vector([opaque(each) for each in self.references])

    @classmethod
    def decode(cls, reader: Reader) -> Withdrawn:
        return cls(_list(reader, lambda r: KeyPackageRef(r.opaque()), _itself))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """A KeyPackage that only the devices that are told this can open a Welcome for."""

    kind: ClassVar[int] = 10

    reference: KeyPackageRef
    cipher_suite: int
    seed: KeyPackageSeed
    """In place of the one that every device would derive: all keys of the KeyPackage follow from it in the same way."""
    not_after: int
    """When it expires, in seconds since 1970; `UNKNOWN` if that is so."""

    def encode(self) -> bytes:
        return opaque(self.reference) + u16(self.cipher_suite) + opaque(self.seed.raw) + u64(self.not_after)

    @classmethod
    def decode(cls, reader: Reader) -> Reserved:
        return cls(
            reference=KeyPackageRef(reader.opaque()),
            cipher_suite=reader.u16(),
            seed=KeyPackageSeed(reader.opaque()),
            not_after=reader.u64(),
        )


@dataclass(frozen=True, slots=True)
class Renewed:
    """The credential that leaves of the virtual client are to have from now on, and keys that it goes with."""

    kind: ClassVar[int] = 11

    credential: Credential
    keys: tuple[SignatureKey, ...] = ()

    def __post_init__(self) -> None:
        _check_list(self.keys, _of_key)

    def encode(self) -> bytes:
        return self.credential.encode() + vector([key.encode() for key in self.keys])

    @classmethod
    def decode(cls, reader: Reader) -> Renewed:
        return cls(decode_credential(reader), _list(reader, SignatureKey.decode, _of_key))


@dataclass(frozen=True, slots=True, kw_only=True)
class LostEpoch:
    """What reads the leaves of an emulation epoch that lost, and tells who sent under them; nothing to derive with."""

    kind: ClassVar[int] = 12

    cipher_suite: int
    epoch_id: bytes
    parent: bytes | None = None
    """The derivation epoch before it, so that a leaf which moves from that one to this one does not seem to go back."""
    number: Epoch
    leaf_count: int
    encryption_key: EpochEncryptionKey
    generation_id: GenerationIdSecret
    reuse_guard: ReuseGuardSecret

    def encode(self) -> bytes:
        return b"".join(
            [
                u16(self.cipher_suite),
                opaque(self.epoch_id),
                _optional_opaque(self.parent),
                u64(self.number),
                u32(self.leaf_count),
                opaque(self.encryption_key.raw),
                opaque(self.generation_id.raw),
                opaque(self.reuse_guard.raw),
            ]
        )

    @classmethod
    def decode(cls, reader: Reader) -> LostEpoch:
        return cls(
            cipher_suite=reader.u16(),
            epoch_id=reader.opaque(),
            parent=reader.optional(Reader.opaque),
            number=Epoch(reader.u64()),
            leaf_count=reader.u32(),
            encryption_key=EpochEncryptionKey(reader.opaque()),
            generation_id=GenerationIdSecret(reader.opaque()),
            reuse_guard=ReuseGuardSecret(reader.opaque()),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the removal of a device is: an encoded `mls.virtual.removal.Removal`, to be merged with one's own."""

    kind: ClassVar[int] = 13

    removal: bytes

    def encode(self) -> bytes:
        return opaque(self.removal)

    @classmethod
    def decode(cls, reader: Reader) -> Progress:
        return cls(reader.opaque())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conversations in which this device cannot speak before another one has replaced the leaf (§5.1)."""

    kind: ClassVar[int] = 14

    group_ids: tuple[GroupId, ...]

    def __post_init__(self) -> None:
        _check_list(self.group_ids, _itself)

    def encode(self) -> bytes:
        return vector([opaque(each) for each in self.group_ids])

    @classmethod
    def decode(cls, reader: Reader) -> Wanted:
        return cls(_list(reader, lambda r: GroupId(r.opaque()), _itself))


Announcement = (
    Uploaded
    | Keys
    | Created
    | JoinedExternally
    | Welcomed
    | ExternalJoin
    | Operations
    | Claims
    | Withdrawn
    | Reserved
    | Renewed
    | LostEpoch
    | Progress
    | Wanted
)

_DECODERS: Mapping[int, Callable[[Reader], Announcement]] = {
    Keys.kind: Keys.decode,
    Created.kind: Created.decode,
    JoinedExternally.kind: JoinedExternally.decode,
    Welcomed.kind: Welcomed.decode,
    ExternalJoin.kind: ExternalJoin.decode,
    Operations.kind: Operations.decode,
    Claims.kind: Claims.decode,
    Withdrawn.kind: Withdrawn.decode,
    Reserved.kind: Reserved.decode,
    Renewed.kind: Renewed.decode,
    LostEpoch.kind: LostEpoch.decode,
    Progress.kind: Progress.decode,
    Wanted.kind: Wanted.decode,
}


def encode_announcement(announcement: Announcement, form: Form = Form.DRAFT) -> bytes:
    """To be sealed: as a targeted message to each device that is meant if it is `Reserved`, else for all devices."""
    body = announcement.encode(form) if isinstance(announcement, Uploaded) else announcement.encode()
    return u8(VERSION) + u8(announcement.kind) + body


def decode_announcement(data: bytes, form: Form = Form.DRAFT, *, targeted: bool = False) -> Announcement:
    """What a device announced; `targeted` says whether it came to us alone."""
    reader = Reader(data)
    version = reader.u8()
    if version != VERSION:
        raise PeerError("VC-6.4-10", f"version {version}")
    kind = reader.u8()
    decode = partial(Uploaded.decode, form=form) if kind == Uploaded.kind else _DECODERS.get(kind)
    if decode is None:
        raise PeerError("VC-6.4-11", f"type {kind}")
    if targeted is not (kind == Reserved.kind):
        raise PeerError("VC-6.4-16")
    announcement = decode(reader)
    reader.finish()
    return announcement


# Lists


def _list(reader: Reader, decode: Callable[[Reader], T], identity: Callable[[T], Hashable]) -> tuple[T, ...]:
    count = 0

    def counted(each: Reader) -> T:
        nonlocal count
        count += 1
        if count > MAX_ENTRIES:  # before the rest is read
            raise PeerError("VC-6.4-12")
        return decode(each)

    entries = reader.vector(counted)
    if _repeats(entries, identity):
        raise PeerError("VC-6.4-13")
    return entries


def _check_list(entries: Sequence[T], identity: Callable[[T], Hashable]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise CallerError(f"an announcement has at most {MAX_ENTRIES} entries", "send several")
    if _repeats(entries, identity):
        raise CallerError("an announcement names one thing twice", "name it once")


def _repeats(entries: Sequence[T], identity: Callable[[T], Hashable]) -> bool:
    return len({identity(entry) for entry in entries}) != len(entries)


def _itself(entry: bytes) -> Hashable:
    return entry


def _of_key(key: SignatureKey) -> Hashable:
    return key.cipher_suite, key.public


def _of_operation(operation: Operation) -> Hashable:
    return operation.epoch_id, operation.type, operation.leaf, operation.generation


def _optional_opaque(value: bytes | None) -> bytes:
    return optional(None if value is None else opaque(value))
