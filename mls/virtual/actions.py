"""draft-ietf-mls-virtual-clients §6.4: what the devices of a virtual client announce to each other.

A KeyPackageUpload tells all devices how a batch of KeyPackages was derived, before any of them is published, so that
each device can take up a Welcome. It may travel by itself, encrypted, or as one of the actions that a commit of the
emulation group carries in its authenticated data, which whoever carries the commit can read. The other action asks for
a derivation epoch to begin with the commit.

An index twice in a batch would make two KeyPackages of one seed, and a reference twice would have one entry hide
another, so neither is accepted. References are also to be compared with those of earlier uploads, which only the
keeper of them can do.

What a commit carries has changed: drafts up to -01 have one action there, and their successor a list (`CommitData`).
KeyPackageInfo has changed too: the successor has the KeyPackage's extensions in it, which say which one is a last
resort. `Form` tells the two apart; all devices of a virtual client must use the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum

from mls.codec import Reader, opaque, u8, u16, u32, vector
from mls.errors import CallerError, PeerError
from mls.leaf_node import Extensions, decode_extensions, encode_extensions
from mls.registries import Generation, KeyPackageRef, LeafIndex

MAX_KEY_PACKAGES = 1024
"""In one upload. An entry of few bytes costs its reader a derivation and a place to keep it."""

MAX_ACTIONS = 64


class Form(Enum):
    """How KeyPackageInfo is written."""

    DRAFT = "draft"
    WITHOUT_EXTENSIONS = "without extensions"
    """As before the draft had them there, and as OpenMLS 0.9 writes it."""


class ActionType(IntEnum):
    KEY_PACKAGE_UPLOAD = 1
    NEW_DERIVATION_EPOCH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPackageInfo:
    """One KeyPackage of a batch."""

    reference: KeyPackageRef
    cipher_suite: int
    index: int
    extensions: Extensions = ()
    """The KeyPackage's own, not its leaf's."""

    def encode(self, form: Form = Form.DRAFT) -> bytes:
        fixed = opaque(self.reference) + u16(self.cipher_suite) + u32(self.index)
        if form is Form.DRAFT:
            return fixed + encode_extensions(self.extensions)
        if self.extensions:
            raise CallerError("this form of an upload has no place for extensions", "use the draft's form")
        return fixed

    @classmethod
    def decode(cls, reader: Reader, form: Form = Form.DRAFT) -> KeyPackageInfo:
        return cls(
            reference=KeyPackageRef(reader.opaque()),
            cipher_suite=reader.u16(),
            index=reader.u32(),
            extensions=decode_extensions(reader) if form is Form.DRAFT else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPackageUpload:
    """A batch of KeyPackages that one operation made; nothing can be added to it later."""

    epoch_id: bytes
    leaf: LeafIndex
    """In the emulation group, of the device that made them."""
    generation: Generation
    key_packages: tuple[KeyPackageInfo, ...]

    def __post_init__(self) -> None:
        infos = self.key_packages
        if len(infos) > MAX_KEY_PACKAGES:
            raise CallerError(f"{len(infos)} KeyPackages are too many for one upload", f"send {MAX_KEY_PACKAGES}")
        if _repeats(info.index for info in infos) or _repeats(info.reference for info in infos):
            raise CallerError("an upload names one index or one KeyPackage twice", "give each its own")

    def encode(self, form: Form = Form.DRAFT) -> bytes:
        infos = vector([info.encode(form) for info in self.key_packages])
        return opaque(self.epoch_id) + u32(self.leaf) + u32(self.generation) + infos

    @classmethod
    def decode(cls, reader: Reader, form: Form = Form.DRAFT) -> KeyPackageUpload:
        epoch_id = reader.opaque()
        leaf, generation = LeafIndex(reader.u32()), Generation(reader.u32())
        infos: list[KeyPackageInfo] = []

        def one(each: Reader) -> None:
            if len(infos) == MAX_KEY_PACKAGES:  # before the rest is read
                raise PeerError("VC-6.4.1-1")
            infos.append(KeyPackageInfo.decode(each, form))

        reader.vector(one)
        if _repeats(info.index for info in infos):
            raise PeerError("VC-6.4.1-2")
        if _repeats(info.reference for info in infos):
            raise PeerError("VC-6.4.1-3")
        return cls(epoch_id=epoch_id, leaf=leaf, generation=generation, key_packages=tuple(infos))


def _repeats(values: Iterable[object]) -> bool:
    listed = list(values)
    return len(set(listed)) != len(listed)


@dataclass(frozen=True, slots=True)
class NewDerivationEpoch:
    """The epoch that the commit begins is one to derive in."""


Action = KeyPackageUpload | NewDerivationEpoch


def encode_action(action: Action, form: Form = Form.DRAFT) -> bytes:
    """VirtualClientAction; alone, what drafts up to -01 have in a commit."""
    if isinstance(action, NewDerivationEpoch):
        return u8(ActionType.NEW_DERIVATION_EPOCH)
    return u8(ActionType.KEY_PACKAGE_UPLOAD) + action.encode(form)


def decode_action(reader: Reader, form: Form = Form.DRAFT) -> Action:
    kind = reader.u8()
    if kind == ActionType.KEY_PACKAGE_UPLOAD:
        return KeyPackageUpload.decode(reader, form)
    if kind == ActionType.NEW_DERIVATION_EPOCH:
        return NewDerivationEpoch()
    raise PeerError("VC-6.4-1", f"type {kind}")  # its end cannot be found, so it cannot be passed over


@dataclass(frozen=True, slots=True)
class CommitData:
    """VirtualClientCommitData: stands under the component's number in the authenticated data of a commit."""

    actions: tuple[Action, ...] = ()

    def __post_init__(self) -> None:
        if len(self.actions) > MAX_ACTIONS:
            raise CallerError(f"a commit announces at most {MAX_ACTIONS} actions", "commit more often")
        if _markers(self.actions) > 1:
            raise CallerError("a commit begins one derivation epoch", "ask for it once")

    @property
    def uploads(self) -> tuple[KeyPackageUpload, ...]:
        return tuple([action for action in self.actions if isinstance(action, KeyPackageUpload)])

    @property
    def new_derivation_epoch(self) -> bool:
        return _markers(self.actions) > 0

    def encode(self, form: Form = Form.DRAFT) -> bytes:
        return vector([encode_action(action, form) for action in self.actions])

    @classmethod
    def decode(cls, reader: Reader, form: Form = Form.DRAFT) -> CommitData:
        actions = reader.vector(lambda r: decode_action(r, form))
        if len(actions) > MAX_ACTIONS:
            raise PeerError("VC-6.4-2", f"{len(actions)} actions")
        if _markers(actions) > 1:
            raise PeerError("VC-6.4-3")
        return cls(actions)


def _markers(actions: tuple[Action, ...]) -> int:
    return sum(isinstance(action, NewDerivationEpoch) for action in actions)
