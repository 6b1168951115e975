"""What follows from the code and from what was said: SPAKE2, tags, seals, and the string that people compare.

    K           SPAKE2 on Ed25519 (docs/adr/0022-spake2.md), of the code and both ids in the mesh
    transcript  SHA-256 of the version, both ids, the hello, the welcome, and the nonce that the proof shows
    keys        HKDF-SHA256 of K, salted with the transcript: two for tags, two for seals, eight bytes for people
    tag         HMAC-SHA256 of the transcript, under the key of who sends it
    seal        ChaCha20-Poly1305, under the key of who sends it; the nonce is the number of the message

The arithmetic is Python's, and takes 15 ms for each half. It does not take equally long for each code; whoever answers
a hello answers after a fixed time (`vcd.daemon.pairing`), so that nobody can measure that from afar.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError

from mls.secrets import Secret
from vcd.core.errors import Malformed
from vcd.pairing.code import Password
from vcd.pairing.wire import VERSION
from vcd.pairing.words import WORDS

_LABEL: Final = b"vcd pair %d" % VERSION
DIGITS: Final = 10_000

Random = Callable[[int], bytes]


class Shared(Secret):
    """What SPAKE2 gives."""

    __slots__ = ()


class Half(Secret):
    """A SPAKE2 that waits for the other share."""

    __slots__ = ()


class TagKey(Secret):
    """Shows that one side has the right keys."""

    __slots__ = ()


class ChannelKey(Secret):
    """Seals what one side says."""

    __slots__ = ()


class Unsealed(Exception):
    """A sealed message is not what the other side sealed, or not at its place."""


# ---------------------------------------------------------------- SPAKE2


def _ids(new: str, existing: str) -> dict[str, bytes]:
    return {"idA": _LABEL + b" new " + new.encode(), "idB": _LABEL + b" existing " + existing.encode()}


def begin(password: Password, new: str, existing: str, random: Random) -> tuple[Half, bytes]:
    """On the new device: what to keep, and what to send."""
    made: Any = SPAKE2_A(password.raw, **_ids(new, existing), entropy_f=random)
    share: bytes = made.start()
    half: bytes = made.serialize()
    return Half(half), share


def end(half: Half, share: bytes) -> Shared:
    """On the new device, with the other share. `Malformed` if that is none."""
    made: Any = SPAKE2_A.from_serialized(half.raw)
    return _finish(made, share)


def reply(password: Password, new: str, existing: str, share: bytes, random: Random) -> tuple[Shared, bytes]:
    """On the device of the account, both at once: what follows, and what to send."""
    made: Any = SPAKE2_B(password.raw, **_ids(new, existing), entropy_f=random)
    sent: bytes = made.start()
    return _finish(made, share), sent


def _finish(made: Any, share: bytes) -> Shared:
    try:
        return Shared(made.finish(share))
    except (SPAKEError, ValueError):  # another side's, no point, or one of small order
        raise Malformed("no share") from None


# ---------------------------------------------------------------- what follows


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Of a meeting."""

    transcript: bytes
    tag_new: TagKey
    tag_existing: TagKey
    seal_new: ChannelKey
    seal_existing: ChannelKey
    check: str
    """What both screens show."""

    @property
    def proof(self) -> bytes:
        """By the new device."""
        return hmac.digest(self.tag_new.raw, b"new" + self.transcript, "sha256")

    @property
    def proved(self) -> bytes:
        """By the device of the account."""
        return hmac.digest(self.tag_existing.raw, b"existing" + self.transcript, "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said until both have keys."""

    new: str
    existing: str
    hello: bytes = field(repr=False)
    welcome: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    """The new device's."""


def keys_of(shared: Shared, said: Said) -> Keys:
    parts = (_LABEL, said.new.encode(), said.existing.encode(), said.hello, said.welcome, said.nonce)
    transcript = sha256(b"".join(len(each).to_bytes(4, "big") + each for each in parts)).digest()
    raw = HKDF(SHA256(), length=4 * 32 + 8, salt=transcript, info=_LABEL + b" keys").derive(shared.raw)
    number = int.from_bytes(raw[128:], "big")
    return Keys(
        transcript=transcript,
        tag_new=TagKey(raw[:32]),
        tag_existing=TagKey(raw[32:64]),
        seal_new=ChannelKey(raw[64:96]),
        seal_existing=ChannelKey(raw[96:128]),
        check=f"{WORDS[number % len(WORDS)]} {number // len(WORDS) % DIGITS:04}",
    )


def commit(nonce: bytes) -> bytes:
    return sha256(_LABEL + b" nonce" + nonce).digest()


# ---------------------------------------------------------------- seals


def seal(key: ChannelKey, meeting: bytes, number: int, data: bytes) -> bytes:
    """A number is for one message: what is sealed again has to be the same."""
    return ChaCha20Poly1305(key.raw).encrypt(number.to_bytes(12, "big"), data, meeting)


def unseal(key: ChannelKey, meeting: bytes, number: int, sealed: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key.raw).decrypt(number.to_bytes(12, "big"), sealed, meeting)
    except InvalidTag:
        raise Unsealed from None
