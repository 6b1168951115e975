"""Ed25519 keys, signatures and libp2p peer ids, without loading libp2p.

libp2p's own Ed25519 is PyNaCl underneath; calling it directly keeps a second of import out of everything that
only checks frames: mailbox tools, the simulated mesh, tests. Which signatures are valid is libsodium's rule,
the same that `vcd.crypto` follows (docs/adr/0003-one-ed25519-rule.md): every relay decides alike.

A peer id is the identity multihash of the key in libp2p's protobuf, in base58: for Ed25519 the key itself can
be read out of the id, so a record can be checked with nothing but the id it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from transport.base import PeerId

KEY_SIZE = 32
SIGNATURE_SIZE = 64
_PEER_ID_PREFIX = bytes.fromhex("0024 0801 1220")  # identity multihash of 36 bytes: key type Ed25519, 32 bytes
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUE = {letter: value for value, letter in enumerate(_BASE58)}


class SigningKey:
    """An Ed25519 private key. Shows nothing of itself and cannot be pickled."""

    __slots__ = ("_expanded", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_SIZE:
            raise ValueError("an Ed25519 seed has 32 bytes")
        self.public, self._expanded = crypto_sign_seed_keypair(seed)

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> SigningKey:
        return cls(random_bytes(KEY_SIZE))

    def sign(self, message: bytes) -> bytes:
        return crypto_sign(message, self._expanded)[:SIGNATURE_SIZE]

    def seed(self) -> bytes:
        """For whoever stores the key sealed, and for libp2p, which wants its own kind of key."""
        return self._expanded[:KEY_SIZE]

    def __repr__(self) -> str:
        return f"SigningKey({self.public.hex()[:16]}…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled")


def verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this is the key's signature. Junk of any shape is simply not."""
    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


def peer_id(public: bytes) -> PeerId:
    """The libp2p peer id of an Ed25519 public key."""
    return PeerId(base58(_PEER_ID_PREFIX + public))


def public_key(peer: str) -> bytes | None:
    """The Ed25519 public key that a peer id contains; None if it is not such an id."""
    raw = unbase58(peer)
    if raw is None or len(raw) != len(_PEER_ID_PREFIX) + KEY_SIZE or not raw.startswith(_PEER_ID_PREFIX):
        return None
    return raw[len(_PEER_ID_PREFIX) :]


def base58(data: bytes) -> str:
    number = int.from_bytes(data)
    letters = []
    while number:
        number, digit = divmod(number, 58)
        letters.append(_BASE58[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(letters))


def unbase58(text: str) -> bytes | None:
    """None for what is not base58, or longer than any peer id."""
    if len(text) > 128:
        return None
    number = 0
    for letter in text:
        value = _BASE58_VALUE.get(letter)
        if value is None:
            return None
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)
