"""Everything of draft-ietf-mls-virtual-clients §6.2 by its letter: HMAC and nothing else, each time from the root."""

from __future__ import annotations

import hashlib
import hmac
from functools import cache

HASHES = {
    1: "sha256",
    2: "sha256",
    3: "sha256",
    7: "sha384",
    5: "sha512",
    0xF001: "sha256",
    4: "sha512",
    0xF009: "sha384",
}


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def var(value: bytes) -> bytes:
    """`<V>`, for what fits into two bytes of length."""
    size = len(value)
    return (number(size, 1) if size < 64 else number(0x4000 | size, 2)) + value


class Hash:
    """HKDF with the labels of MLS."""

    def __init__(self, cipher_suite: int) -> None:
        self.name = HASHES[cipher_suite]
        self.size = len(hmac.digest(b"", b"", self.name))

    def expand(self, secret: bytes, label: bytes, context: bytes, length: int | None = None) -> bytes:
        wanted = self.size if length is None else length
        return self.stretch(secret, number(wanted, 2) + var(b"MLS 1.0 " + label) + var(context), wanted)

    def stretch(self, secret: bytes, info: bytes, wanted: int) -> bytes:
        """HKDF-Expand, without a label."""
        out = block = b""
        while len(out) < wanted:
            block = hmac.digest(secret, block + info + number(len(out) // self.size + 1, 1), self.name)
            out += block
        return out[:wanted]

    def derive(self, secret: bytes, label: bytes) -> bytes:
        return self.expand(secret, label, b"")

    def extract(self, secret: bytes, salt: bytes = b"") -> bytes:
        return hmac.digest(salt or bytes(self.size), secret, self.name)

    def hash(self, data: bytes) -> bytes:
        return hashlib.new(self.name, data).digest()

    def mac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self.name)


class Ladder:
    """All operations of an emulation epoch."""

    def __init__(self, cipher_suite: int, base: bytes, epoch_id: bytes, leaf_count: int) -> None:
        self.hash = Hash(cipher_suite)
        self.base = base
        self.epoch_id = epoch_id
        self.leaf_count = leaf_count

    def nodes(self, leaf: int) -> list[bytes]:
        """The node secrets from the root down to a leaf."""
        low, high, secret = 0, self.leaf_count, self.base
        found = [secret]
        while high - low > 1:
            middle = (low + high) // 2
            if leaf < middle:
                secret, high = self.hash.expand(secret, b"tree", b"left"), middle
            else:
                secret, low = self.hash.expand(secret, b"tree", b"right"), middle
            found.append(secret)
        return found

    @cache  # noqa: B019 - a few ladders, for as long as the tests run
    def ratchet(self, leaf: int, kind: int, generation: int) -> bytes:
        if generation == 0:
            return self.hash.expand(self.nodes(leaf)[-1], b"vc operation init", number(kind, 1))
        return self.hash.derive(self.ratchet(leaf, kind, generation - 1), b"VC Operation Ratchet")

    def skipped(self, leaf: int, kind: int, generation: int) -> bytes:
        return self.hash.derive(self.ratchet(leaf, kind, generation), b"VC Operation Secret")

    def secret(self, leaf: int, kind: int, generation: int, context: bytes) -> bytes:
        bound = var(self.epoch_id) + number(leaf, 4) + number(generation, 4) + number(kind, 1) + var(context)
        return self.hash.expand(self.skipped(leaf, kind, generation), b"vc operation", bound)


def imported(cipher_suite: int, source: bytes, label: bytes, context: bytes) -> bytes:
    """ImportSecret."""
    target = Hash(cipher_suite)
    return target.expand(target.extract(source), label, number(cipher_suite, 2) + context)
