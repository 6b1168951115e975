"""RFC 9420 §8.4: pre-shared keys, their ids, and how many of them become one secret."""

from __future__ import annotations

from dataclasses import dataclass

from mls.codec import Reader, opaque, u16, u64
from mls.errors import PeerError
from mls.registries import Epoch, GroupId, PskType, ResumptionUsage
from mls.secrets import PskSecret
from mls.suite import Suite


@dataclass(frozen=True, slots=True)
class ExternalPskId:
    """A key that the application hands over, by a name of its choosing."""

    psk_id: bytes
    nonce: bytes

    def encode(self) -> bytes:
        return b"\x01" + opaque(self.psk_id) + opaque(self.nonce)


@dataclass(frozen=True, slots=True)
class ResumptionPskId:
    """The resumption PSK of an epoch that members were in."""

    usage: int
    group_id: GroupId
    epoch: Epoch
    nonce: bytes

    def encode(self) -> bytes:
        return b"\x02" + bytes([self.usage]) + opaque(self.group_id) + u64(self.epoch) + opaque(self.nonce)


PreSharedKeyId = ExternalPskId | ResumptionPskId


def decode_psk_id(reader: Reader) -> PreSharedKeyId:
    kind = reader.u8()
    if kind == PskType.EXTERNAL:
        return ExternalPskId(reader.opaque(), reader.opaque())
    if kind == PskType.RESUMPTION:
        usage = reader.u8()
        if usage not in (ResumptionUsage.APPLICATION, ResumptionUsage.REINIT, ResumptionUsage.BRANCH):
            raise PeerError("VAL-8.4-1")
        return ResumptionPskId(usage, GroupId(reader.opaque()), Epoch(reader.u64()), reader.opaque())
    raise PeerError("VAL-8.4-1")


def psk_secret(suite: Suite, psks: list[tuple[PreSharedKeyId, bytes]]) -> PskSecret:
    """All of them in order, each bound to its id, its place and their number."""
    zero = bytes(suite.hash_size)
    secret = zero
    count = u16(len(psks))
    for index, (psk_id, psk) in enumerate(psks):
        extracted = suite.extract(zero, psk)
        label = psk_id.encode() + u16(index) + count
        bound = suite.expand_with_label(extracted, b"derived psk", label, suite.hash_size)
        secret = suite.extract(bound, secret)
    return PskSecret(secret)
