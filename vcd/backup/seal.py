"""The file: a header in the clear, and then the rest in sealed pieces, so that it can have any size.

    header      64 bytes
        mark        8   "vcdback" and the version, "1"
        salt       16   random, for each file
        memory      4   of Argon2id in KiB, big-endian
        passes      1
        lanes       1
        zero        2
        check      32   keyed BLAKE2b over all of the above: tells a wrong passphrase from a damaged file, and binds
                        the file to one key
    piece       65536 bytes of the content under AES-256-GCM, and 16 of its tag; the last one is shorter or as long
        nonce      12   which piece it is, 11 bytes big-endian; 1 if it is the last one, else 0
    content     each record with its length before it, 4 bytes big-endian

The key comes from a passphrase and the salt by Argon2id, and what seals pieces is derived from it. A salt is new with
each file, so no nonce is used twice under one key. As pieces are numbered and the last one is marked, whoever changes,
leaves out, repeats or cuts off any of them makes a file that is refused, and nothing behind the damage is given out.
What a header asks for is bounded before any work is done for it, as the file may be anybody's.

    header, key = begin(passphrase)             slow, on purpose: in a thread
    writer = Writer(key); writer.add(record), writer.end()          what each gives belongs into the file
    key = read_header(data).open(passphrase)    the same; `WrongPassphrase`
    reader = Reader(key); reader.feed(data), reader.end()           records, whole and in order
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vcd.vault.errors import NotOpened, VaultDamaged
from vcd.vault.sealing import KEY_SIZE, SealKey
from vcd.vault.unlockers import Parameters, Passphrase

__all__ = ["HEADER", "MAX_RECORD", "PIECE", "BackupError", "Header", "Reader", "Writer", "WrongPassphrase", "begin"]

MARK: Final = b"vcdback"
VERSION: Final = b"1"
HEADER: Final = 64
PIECE: Final = 1 << 16
MAX_RECORD: Final = (16 << 20) + (1 << 16)
"""Bytes of one record: a message of the largest size, and what is told of it."""
_TAG: Final = 16
_CHECK: Final = 32
_SALT: Final = 16


class BackupError(Exception):
    """This is no backup, or it is damaged."""


class WrongPassphrase(BackupError):
    """This is not the passphrase of that backup."""


# ---------------------------------------------------------------- the header


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its key."""

    salt: bytes
    memory_kib: int
    passes: int
    lanes: int
    check: bytes

    @property
    def content(self) -> bytes:
        return _content(self.salt, self.memory_kib, self.passes, self.lanes)

    def open(self, text: str) -> SealKey:
        """The key, by its passphrase. Takes a second and as much memory as the header says."""
        parameters: Parameters = {
            "salt": self.salt.hex(),
            "memory_kib": self.memory_kib,
            "passes": self.passes,
            "lanes": self.lanes,
        }
        try:
            key = Passphrase(text).key(parameters)
        except NotOpened:
            raise WrongPassphrase("The passphrase is empty.") from None
        except VaultDamaged:
            raise BackupError("This backup asks for more work than a backup may.") from None
        if not hmac.compare_digest(_check(key, self.content), self.check):
            raise WrongPassphrase(WrongPassphrase.__doc__)
        return key


def _content(salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
    return MARK + VERSION + salt + memory_kib.to_bytes(4) + bytes([passes, lanes, 0, 0])


def _check(key: SealKey, content: bytes) -> bytes:
    return blake2b(content, key=key.raw, digest_size=_CHECK, person=b"vcd backup head").digest()


def begin(passphrase: Passphrase) -> tuple[bytes, SealKey]:
    """A header, and the key of the file. Takes a second."""
    if not passphrase.text:
        raise WrongPassphrase("The passphrase is empty.")
    parameters, key = passphrase.new()
    content = _content(
        bytes.fromhex(str(parameters["salt"])), passphrase.memory_kib, passphrase.passes, passphrase.lanes
    )
    return content + _check(key, content), key


def read_header(data: bytes) -> Header:
    """The first 64 bytes of a file."""
    if len(data) < HEADER or data[: len(MARK)] != MARK:
        raise BackupError("This is no backup of vcd.")
    if data[len(MARK) : len(MARK) + 1] != VERSION:
        raise BackupError("A newer vcd made this backup: use that one.")
    at = len(MARK) + len(VERSION)
    salt, numbers = data[at : at + _SALT], data[at + _SALT : HEADER - _CHECK]
    header = Header(salt, int.from_bytes(numbers[:4]), numbers[4], numbers[5], data[HEADER - _CHECK : HEADER])
    if header.content != data[: HEADER - _CHECK]:
        raise BackupError("The header of this backup is damaged.")
    for name, (least, most) in Passphrase.LIMITS.items():
        if not least <= getattr(header, name) <= most:
            raise BackupError("This backup asks for more work than a backup may, or for less.")
    return header


# ---------------------------------------------------------------- pieces


def _cipher(key: SealKey) -> AESGCM:
    return AESGCM(blake2b(key=key.raw, digest_size=KEY_SIZE, person=b"vcd backup data").digest())


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11) + bytes([last])


@dataclass(slots=True, eq=False)
class Writer:
    """Seals records. What `add` and `end` give is to be written in that order; nothing is complete without `end`."""

    key: SealKey = field(repr=False)
    _buffer: bytearray = field(default_factory=bytearray, repr=False)
    _number: int = 0
    _ended: bool = False

    def add(self, record: bytes) -> bytes:
        if not 0 < len(record) <= MAX_RECORD:
            raise ValueError("a record is empty or too long")
        assert not self._ended  # noqa: S101 - after `end` there is nothing more
        self._buffer += len(record).to_bytes(4) + record
        out = bytearray()
        while len(self._buffer) > PIECE:  # the last piece is not known before the end
            out += self._sealed(bytes(self._buffer[:PIECE]), last=False)
            del self._buffer[:PIECE]
        return bytes(out)

    def end(self) -> bytes:
        assert not self._ended  # noqa: S101 - it ends once
        self._ended = True
        return self._sealed(bytes(self._buffer), last=True)

    def _sealed(self, piece: bytes, *, last: bool) -> bytes:
        number, self._number = self._number, self._number + 1
        return _cipher(self.key).encrypt(_nonce(number, last=last), piece, None)


@dataclass(slots=True, eq=False)
class Reader:
    """Opens what comes after the header, in parts of any size. `BackupError` for whatever is not as it was written."""

    key: SealKey = field(repr=False)
    _sealed: bytearray = field(default_factory=bytearray, repr=False)
    _plain: bytearray = field(default_factory=bytearray, repr=False)
    _number: int = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The records that are whole by now. To be read to its end before the next call."""
        self._sealed += data
        while len(self._sealed) > PIECE + _TAG:
            piece = bytes(self._sealed[: PIECE + _TAG])
            del self._sealed[: PIECE + _TAG]
            yield from self._records(self._opened(piece, last=False))

    def end(self) -> Iterator[bytes]:
        """Those of the last piece."""
        yield from self._records(self._opened(bytes(self._sealed), last=True))
        if self._plain:
            raise BackupError("This backup ends within something.")

    def _opened(self, piece: bytes, *, last: bool) -> bytes:
        number, self._number = self._number, self._number + 1
        try:
            return _cipher(self.key).decrypt(_nonce(number, last=last), piece, None)
        except (InvalidTag, ValueError):
            raise BackupError("This backup is damaged, or cut off.") from None

    def _records(self, plain: bytes) -> Iterator[bytes]:
        self._plain += plain
        while len(self._plain) >= 4:
            size = int.from_bytes(self._plain[:4])
            if not 0 < size <= MAX_RECORD:
                raise BackupError("This backup has a part of a wrong size.")
            if len(self._plain) < 4 + size:
                return
            record = bytes(self._plain[4 : 4 + size])
            del self._plain[: 4 + size]
            yield record
