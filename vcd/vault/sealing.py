"""Sealing: bytes that only a key opens, and only at the place that they were sealed for.

    sealed = Sealer().seal(key, place("journal", b"17", "entry", 1), data)
    data = open_sealed(key, place("journal", b"17", "entry", 1), sealed)

    run       16   random, of the Sealer
    counter    8   of the Sealer, big-endian
    body           AES-256-GCM under BLAKE2b(key, run), with the counter as nonce and the place as associated data

**No nonce is ever used twice.** A counter on disk would be set back by a restored copy, a torn write or a transaction
that failed, and then repeat; 96 random bits are too few for a key that lives for years. So every Sealer, and there is
a new one whenever a store is opened, draws 128 random bits that choose a key of its own below each key, and counts
under that, in memory only. Whatever happens to the disk, another run seals under other keys; within a run the counter
cannot repeat. It costs one short hash for each key and run, and 1.2 microseconds a row (libsodium's XChaCha20, with the
same promise, takes 8 through its binding).

A **place** is a table, a row in it, a column, and the version of the column's format, each with its length before it: a
sealed value that was moved to another row or read as something else does not open. As nonces are unique, the first 24
bytes name one sealing and no other (`NONCE_SIZE`); the store's ledger counts on that.
"""

from __future__ import annotations

import os
import struct
from hashlib import blake2b
from itertools import count
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mls.secrets import Secret

__all__ = ["KEY_SIZE", "NONCE_SIZE", "OVERHEAD", "SealKey", "Sealer", "Unopened", "open_sealed", "place"]

KEY_SIZE: Final = 32
_RUN: Final = 16
NONCE_SIZE: Final = _RUN + 8
OVERHEAD: Final = NONCE_SIZE + 16
_CIPHERS: Final = 16
_PERSON: Final = b"vcd seal 1"
_PARTS: Final = struct.Struct(">BHBH")


class Unopened(Exception):
    """Sealed bytes do not open: they were changed, moved, or sealed under another key."""


class SealKey(Secret):
    """A key that things are sealed under. What was derived from it goes when it goes."""

    __slots__ = ("_ciphers",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_SIZE:
            raise ValueError(f"a sealing key has {KEY_SIZE} bytes")
        super().__init__(raw)
        self._ciphers: dict[bytes, AESGCM] = {}

    def cipher(self, run: bytes) -> AESGCM:
        """What seals in one run. Some are kept: rows that lie together were mostly sealed in the same run."""
        cipher = self._ciphers.get(run)
        if cipher is None:
            cipher = AESGCM(blake2b(run, key=self.raw, digest_size=KEY_SIZE, person=_PERSON).digest())
            if len(self._ciphers) >= _CIPHERS:
                self._ciphers = {}
            self._ciphers[run] = cipher
        return cipher


def new_key() -> SealKey:
    return SealKey(os.urandom(KEY_SIZE))


def place(table: str, row: bytes, column: str, version: int) -> bytes:
    """Where something is sealed for. Different arguments, different bytes."""
    first, second = table.encode(), column.encode()
    return _PARTS.pack(len(first), len(row), len(second), version) + first + row + second


class Sealer:
    """Seals, under any number of keys, from any thread; for as long as the process has it."""

    __slots__ = ("_counter", "_run")

    def __init__(self) -> None:
        self._run = os.urandom(_RUN)
        self._counter = count(1)

    def seal(self, key: SealKey, where: bytes, data: bytes) -> bytes:
        counter = next(self._counter).to_bytes(8)
        return self._run + counter + key.cipher(self._run).encrypt(b"\0\0\0\0" + counter, data, where)


def open_sealed(key: SealKey, where: bytes, sealed: bytes) -> bytes:
    """What was sealed for this place; `Unopened` otherwise."""
    if len(sealed) < OVERHEAD:
        raise Unopened("too short to be sealed")
    try:
        return key.cipher(sealed[:_RUN]).decrypt(b"\0\0\0\0" + sealed[_RUN:NONCE_SIZE], sealed[NONCE_SIZE:], where)
    except InvalidTag:
        raise Unopened("it was changed, moved, or sealed under another key") from None
