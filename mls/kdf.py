"""HMAC and HKDF (RFC 2104, RFC 5869), the symmetric work that MLS does most.

HMAC is written as its two hashes over padded keys: from Python that is half the cost of the one-shot calls,
whose time goes into setting up a context per call. Outputs up to one hash long, which is nearly all of them,
are one HMAC.
"""

from __future__ import annotations

import hashlib
import hmac as _hmac
from collections.abc import Callable
from typing import Protocol

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class _Digest(Protocol):
    def digest(self) -> bytes: ...


_HASHES: dict[str, tuple[Callable[[bytes], _Digest], int, int]] = {
    "sha256": (hashlib.sha256, 32, 64),
    "sha384": (hashlib.sha384, 48, 128),
    "sha512": (hashlib.sha512, 64, 128),
}
SIZES = frozenset(size for _, size, _ in _HASHES.values())
"""The values that KDF.Nh can have."""


def _hmac_of(name: str) -> Callable[[bytes, bytes], bytes]:
    """HMAC over one hash, with everything it needs bound: this is called some dozens of times per message."""
    hash_, _, block = _HASHES[name]
    inner, outer = _INNER, _OUTER
    digest = _hmac.digest

    def mac(key: bytes, data: bytes) -> bytes:
        if len(key) > block:
            return digest(key, data, name)
        padded = key.ljust(block, b"\x00")
        made: bytes = hash_(padded.translate(outer) + hash_(padded.translate(inner) + data).digest()).digest()
        return made

    return mac


class Kdf:
    """HKDF over one hash."""

    __slots__ = ("_hash", "mac", "name", "size")

    def __init__(self, name: str) -> None:
        self.name = name
        self._hash, self.size, _ = _HASHES[name]
        self.mac = _hmac_of(name)

    def hash(self, data: bytes) -> bytes:
        digest: bytes = self._hash(data).digest()
        return digest

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        return self.mac(salt, ikm)

    def expand(self, prk: bytes, info: bytes, length: int) -> bytes:
        if length <= self.size:
            return self.mac(prk, info + b"\x01")[:length]
        if length > 255 * self.size:
            raise ValueError("HKDF gives at most 255 blocks")
        block = out = b""
        counter = 0
        while len(out) < length:
            counter += 1
            block = self.mac(prk, block + info + bytes([counter]))
            out += block
        return out[:length]
