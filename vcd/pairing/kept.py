"""Both sides of a pairing as bytes, so that one goes on after a restart.

Whoever stores this seals it: there are keys in it.
"""

from __future__ import annotations

from typing import Final

from vcd.core.errors import Malformed
from vcd.core.record import decode_as, encode_as
from vcd.pairing import existing, new
from vcd.pairing.existing import Existing
from vcd.pairing.new import Visit

FORMAT: Final = 2

Either = Existing | Visit


def pack(pairing: Either) -> bytes:
    kept: Either = existing.to_keep(pairing) if isinstance(pairing, Existing) else new.to_keep(pairing)
    return bytes((FORMAT,)) + encode_as(Either, kept)


def unpack(data: bytes) -> Either:
    """`Malformed` if another version stored it, or it is damaged."""
    if data[:1] != bytes((FORMAT,)):
        raise Malformed("a pairing of another version")
    found: Either = decode_as(Either, data[1:])
    return found
