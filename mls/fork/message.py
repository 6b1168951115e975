"""DMLS §3: a message with the name of the epoch that it belongs to.

RFC 9420's messages name their epoch by a number, which rivals share. `DMLSMessage` puts the epoch's identifier beside
an unchanged MLSMessage, so that a member who keeps several branches knows which value to give it to:

    { MLSMessage message; opaque dmls_epoch<V>; }

The draft does not say which epoch that is. Here it is the one whose keys protect the message, so a commit names its
parent; a Welcome and a GroupInfo name the epoch they describe; a KeyPackage is of no epoch and has an empty name.
Somebody outside cannot compute the name of an epoch, and repeats the one that came with the GroupInfo.

The name is outside of all that MLS protects. It is a hint that anybody on the way may have changed: what it leads to is
believed only because the message then decrypts and verifies. Messages of one branch can be told by it from those of
another, so whoever minds seals the whole.

The inner message has no length before it; where it ends is known once it is parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mls.codec import Reader, opaque
from mls.errors import CallerError, PeerError
from mls.framing import PrivateMessage, PublicMessage, read_wire_format
from mls.kdf import SIZES
from mls.key_package import KeyPackage
from mls.registries import WireFormat
from mls.state import Group
from mls.targeted import Frame
from mls.welcome import GroupInfo, Welcome

Body = PublicMessage | PrivateMessage | Welcome | GroupInfo | KeyPackage | Frame

_BODIES: dict[int, Callable[[Reader], Body]] = {
    WireFormat.PUBLIC_MESSAGE: PublicMessage.decode,
    WireFormat.PRIVATE_MESSAGE: PrivateMessage.decode,
    WireFormat.WELCOME: Welcome.decode,
    WireFormat.GROUP_INFO: GroupInfo.decode,
    WireFormat.KEY_PACKAGE: KeyPackage.decode,
    WireFormat.TARGETED_MESSAGE: Frame.decode,
}


def _read(reader: Reader) -> Body:
    """An MLSMessage; the reader is left where it ends."""
    wire_format = read_wire_format(reader)
    decode = _BODIES.get(wire_format)
    if decode is None:
        raise PeerError("VAL-6-4", f"wire format {wire_format}")
    return decode(reader)


@dataclass(frozen=True, slots=True, kw_only=True)
class DmlsMessage:
    """An MLSMessage, encoded, and the epoch that it says it is of."""

    message: bytes
    dmls_epoch: bytes

    @classmethod
    def of(cls, group: Group, message: bytes) -> DmlsMessage:
        """For a message that a member made: a commit with `before`, its Welcome and GroupInfo with the next epoch."""
        reader = Reader(message)
        body = _read(reader)
        reader.finish()
        if isinstance(body, KeyPackage):
            return cls(message=message, dmls_epoch=b"")
        place = None if isinstance(body, Welcome) else _place(body)
        if place not in (None, (group.group_id, group.epoch)):
            raise CallerError("the message is not of this epoch", "give the value that it was made with")
        return cls(message=message, dmls_epoch=group.epoch_id)

    def encode(self) -> bytes:
        return self.message + opaque(self.dmls_epoch)

    @classmethod
    def decode(cls, data: bytes) -> DmlsMessage:
        reader = Reader(data)
        body = _read(reader)
        end = reader.pos
        epoch = reader.opaque()
        reader.finish()
        if isinstance(body, KeyPackage) is bool(epoch):
            raise PeerError("DMLS-3-2")
        if epoch and len(epoch) not in SIZES:
            raise PeerError("DMLS-3-1")
        return cls(message=data[:end], dmls_epoch=epoch)


def _place(body: PublicMessage | PrivateMessage | GroupInfo | Frame) -> tuple[bytes, int]:
    """Group and epoch, as the message itself says."""
    if isinstance(body, GroupInfo):
        return body.context.group_id, body.context.epoch
    return body.group_id, body.epoch
