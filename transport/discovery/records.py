"""Peer records: where a peer says it is, signed by the peer itself, until when.

    version      1    1
    public key  32    Ed25519; the peer id is made of it, so a record proves itself
    sequence     8    larger is newer
    expires      8    milliseconds since 1970
    count        1    at most 16
    addresses         each one byte of length and that many of text, in its one spelling (discovery.addresses)
    signature   64    over "vcd peer record 1" and all of the above

Numbers are big-endian. Whoever keeps records for others can withhold one, or serve one that is older and not yet
expired; it cannot invent or change one. That is why records live for a day and are replaced every few hours.
A record says nothing about who may connect: addresses are only tried, and the Noise handshake decides.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from transport.base import Address, Milliseconds, PeerId, Reason, Refused, Sealing
from transport.discovery.addresses import MAX_ADDRESS, parse as parse_address
from transport.signing import SIGNATURE_SIZE, peer_id, verifies

VERSION: Final = 1
MOST_ADDRESSES: Final = 16
_HEAD = struct.Struct(">B32sQQB")
MAX_RECORD: Final = _HEAD.size + MOST_ADDRESSES * (1 + MAX_ADDRESS) + SIGNATURE_SIZE
_CONTEXT: Final = b"vcd peer record 1"

HOUR: Final = 3600 * 1000
LIFE: Final = Milliseconds(24 * HOUR)
MAX_LIFE: Final = Milliseconds(48 * HOUR)
"""A record that expires later than this from now is refused: it would outlive what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """A record whose signature has been checked, or that we made."""

    peer: PeerId
    sequence: int
    expires: Milliseconds
    addresses: tuple[Address, ...]
    encoded: bytes = field(repr=False)

    def newer_than(self, other: PeerRecord | None) -> bool:
        """Newest wins; among equals the bytes decide, so that all who see both choose alike."""
        if other is None:
            return True
        return (self.sequence, self.expires, self.encoded) > (other.sequence, other.expires, other.encoded)


def make(key: Sealing, addresses: Sequence[Address], *, sequence: int, expires: Milliseconds) -> PeerRecord:
    """Sign where we are. ValueError for an address that others would refuse, or for too many."""
    texts = tuple(dict.fromkeys(_plain(address) for address in addresses))
    if len(texts) > MOST_ADDRESSES:
        raise ValueError(f"{len(texts)} addresses, at most {MOST_ADDRESSES}")
    parts = [_HEAD.pack(VERSION, key.public, sequence, expires, len(texts))]
    for text in texts:
        parts.append(len(text).to_bytes() + text.encode("ascii"))
    signed = b"".join(parts)
    encoded = signed + key.sign(_CONTEXT + signed)
    return PeerRecord(peer=peer_id(key.public), sequence=sequence, expires=expires, addresses=texts, encoded=encoded)


def open_record(data: bytes, now: Milliseconds, *, about: PeerId | None = None) -> PeerRecord:
    """A record from bytes of anybody: shape, expiry, signature, and that it is `about` whom we asked for."""
    if not data:
        raise Refused(Reason.MALFORMED, "empty")
    if data[0] != VERSION:
        raise Refused(Reason.VERSION, str(data[0]))
    if len(data) > MAX_RECORD:
        raise Refused(Reason.SIZE, f"{len(data)} bytes, at most {MAX_RECORD}")
    if len(data) < _HEAD.size + SIGNATURE_SIZE:
        raise Refused(Reason.MALFORMED, f"{len(data)} bytes")
    _, public, sequence, expires, count = _HEAD.unpack_from(data)
    addresses = _addresses(data[_HEAD.size : -SIGNATURE_SIZE], count)
    peer = peer_id(public)
    if about is not None and peer != about:
        raise Refused(Reason.FORGED, "a record of another peer")
    if expires <= now:
        raise Refused(Reason.EXPIRED)
    if expires > now + MAX_LIFE:
        raise Refused(Reason.TOO_LONG)
    if not verifies(public, _CONTEXT + data[:-SIGNATURE_SIZE], data[-SIGNATURE_SIZE:]):
        raise Refused(Reason.FORGED)
    return PeerRecord(
        peer=peer, sequence=sequence, expires=Milliseconds(expires), addresses=addresses, encoded=bytes(data)
    )


def _addresses(data: bytes, count: int) -> tuple[Address, ...]:
    if count > MOST_ADDRESSES:
        raise Refused(Reason.MALFORMED, f"{count} addresses")
    addresses: list[Address] = []
    at = 0
    for _ in range(count):
        if at >= len(data):
            raise Refused(Reason.MALFORMED, "ends inside")
        size = data[at]
        text = data[at + 1 : at + 1 + size]
        if len(text) != size:
            raise Refused(Reason.MALFORMED, "ends inside")
        at += 1 + size
        try:
            addresses.append(_plain(text.decode("ascii")))
        except ValueError as error:
            raise Refused(Reason.MALFORMED, "an address") from error
    if at != len(data):
        raise Refused(Reason.MALFORMED, "bytes left over")
    if len(set(addresses)) != len(addresses):
        raise Refused(Reason.MALFORMED, "an address twice")
    return tuple(addresses)


def _plain(text: str) -> Address:
    """The address if it is in its one spelling and names no peer at the end."""
    place = parse_address(text)
    if place.text != text:
        raise ValueError(f"not the one spelling of an address: {text!r}")
    return place.text
