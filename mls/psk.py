"""RFC 9420 §8.4: pre-shared keys, their ids, and how many of them become one secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mls.codec import Reader, opaque, u16, u64
from mls.components.numbers import ComponentId
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


@dataclass(frozen=True, slots=True)
class ApplicationPskId:
    """A key of one application component, by a name of its choosing (mls-extensions §4.5)."""

    component_id: ComponentId
    psk_id: bytes
    nonce: bytes

    def encode(self) -> bytes:
        return b"\x03" + u16(self.component_id) + opaque(self.psk_id) + opaque(self.nonce)


PreSharedKeyId = ExternalPskId | ResumptionPskId | ApplicationPskId


def _decode_resumption(reader: Reader) -> ResumptionPskId:
    usage = reader.u8()
    if usage not in (ResumptionUsage.APPLICATION, ResumptionUsage.REINIT, ResumptionUsage.BRANCH):
        raise PeerError("VAL-8.4-1")
    return ResumptionPskId(usage, GroupId(reader.opaque()), Epoch(reader.u64()), reader.opaque())


DECODERS: dict[int, Callable[[Reader], PreSharedKeyId]] = {
    PskType.EXTERNAL: lambda reader: ExternalPskId(reader.opaque(), reader.opaque()),
    PskType.RESUMPTION: _decode_resumption,
    PskType.APPLICATION: lambda reader: ApplicationPskId(ComponentId(reader.u16()), reader.opaque(), reader.opaque()),
}


def decode_psk_id(reader: Reader) -> PreSharedKeyId:
    decode = DECODERS.get(reader.u8())
    if decode is None:
        raise PeerError("VAL-8.4-1")
    return decode(reader)


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
