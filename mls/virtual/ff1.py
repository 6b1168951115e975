"""NIST SP 800-38G FF1, and the small-space PRP that draft-ietf-mls-virtual-clients §6.5.1 makes of it.

FF1 enciphers a string of `n` numerals to the base `radix` into another one of the same kind: ten Feistel rounds whose
round function is a CBC-MAC with AES. `encrypt` and `decrypt` are the whole algorithm, so that it can be held against
the published samples, none of which has the draft's parameters. `SmallSpacePrp` is what virtual clients use: radix 2,
32 numerals, no tweak, AES-128. There each round's input is one AES block and the halves are 16 bits, so a value costs
eleven AES blocks: one that is the same in all rounds, and ten.

The draft lists the bits of a 32-bit number from the most significant to the least. OpenMLS lists the bytes in that
order and the bits within each byte in the other one. Both are permutations, but not the same one, and devices that do
not agree can choose the same value: the order is a setting of the virtual client, never of one device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from mls.errors import CallerError

Numerals = tuple[int, ...]
Block = Callable[[bytes], bytes]
"""AES with one key: 16 bytes to 16 bytes."""

KEY_SIZE = 16
"""Of the PRP's key, whatever the cipher suite."""

ROUNDS = 10
MAX_RADIX = 1 << 16
MIN_DOMAIN = 100
"""SP 800-38G §5.1 asks for at least so many strings; later drafts of it for 1,000,000. The PRP has 2^32."""
MAX_NUMERALS = 4_096
"""Ours, as is the next: FF1 goes up to 2^32 of either."""
MAX_TWEAK = 4_096

_ECB = ECB()  # noqa: S305 - the bare block cipher is what FF1 is made of


def _aes(key: bytes) -> Block:
    if len(key) not in (16, 24, 32):
        raise CallerError(f"{len(key)} bytes are no AES key", "give 16, 24 or 32")
    return Cipher(AES(key), _ECB).encryptor().update


# FF1


class _Feistel:
    """FF1 for one key, radix, length and tweak: the round function and the sizes of the halves."""

    __slots__ = ("_block", "_prefix", "_width", "radix", "sizes", "split")

    def __init__(self, key: bytes, radix: int, length: int, tweak: bytes) -> None:
        if not 2 <= radix <= MAX_RADIX:
            raise CallerError(f"radix {radix} is not between 2 and {MAX_RADIX}")
        if not 2 <= length <= MAX_NUMERALS:
            raise CallerError(f"{length} numerals are not between 2 and {MAX_NUMERALS}")
        if radix**length < MIN_DOMAIN:
            raise CallerError(f"{radix**length} strings are fewer than {MIN_DOMAIN}", "take more numerals")
        if len(tweak) > MAX_TWEAK:
            raise CallerError(f"a tweak of {len(tweak)} bytes is over {MAX_TWEAK}")
        self._block = _aes(key)
        self.radix = radix
        self.split = length // 2
        longer = length - self.split
        self.sizes = (radix**self.split, radix**longer)
        self._width = ((self.sizes[1] - 1).bit_length() + 7) // 8
        head = b"\1\2\1" + radix.to_bytes(3, "big") + bytes((ROUNDS, self.split % 256))
        head += length.to_bytes(4, "big") + len(tweak).to_bytes(4, "big")
        self._prefix = head + tweak + bytes((-len(tweak) - self._width - 1) % 16)

    def mix(self, index: int, half: int) -> int:
        """The number that a round adds to the other half."""
        data = self._prefix + bytes((index,)) + half.to_bytes(self._width, "big")
        state = bytes(16)
        for at in range(0, len(data), 16):
            state = self._block(_xor(state, data[at : at + 16]))
        size = 4 * ((self._width + 3) // 4) + 4
        stream = state
        for counter in range(1, (size + 15) // 16):
            stream += self._block(_xor(state, counter.to_bytes(16, "big")))
        return int.from_bytes(stream[:size], "big")

    def number(self, numerals: Sequence[int]) -> int:
        value = 0
        for numeral in numerals:
            if not 0 <= numeral < self.radix:
                raise CallerError(f"a numeral to the base {self.radix} is between 0 and {self.radix - 1}")
            value = value * self.radix + numeral
        return value

    def numerals(self, value: int, length: int) -> Numerals:
        found = []
        for _ in range(length):
            value, numeral = divmod(value, self.radix)
            found.append(numeral)
        return tuple(reversed(found))


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(16, "big")


def encrypt(key: bytes, numerals: Sequence[int], *, radix: int, tweak: bytes = b"") -> Numerals:
    """FF1.Encrypt (SP 800-38G, algorithm 7) with AES of the key's size."""
    feistel = _Feistel(key, radix, len(numerals), tweak)
    left, right = feistel.number(numerals[: feistel.split]), feistel.number(numerals[feistel.split :])
    for index in range(ROUNDS):
        left, right = right, (left + feistel.mix(index, right)) % feistel.sizes[index % 2]
    return feistel.numerals(left, feistel.split) + feistel.numerals(right, len(numerals) - feistel.split)


def decrypt(key: bytes, numerals: Sequence[int], *, radix: int, tweak: bytes = b"") -> Numerals:
    """FF1.Decrypt (SP 800-38G, algorithm 8) with AES of the key's size."""
    feistel = _Feistel(key, radix, len(numerals), tweak)
    left, right = feistel.number(numerals[: feistel.split]), feistel.number(numerals[feistel.split :])
    for index in reversed(range(ROUNDS)):
        left, right = (right - feistel.mix(index, left)) % feistel.sizes[index % 2], left
    return feistel.numerals(left, feistel.split) + feistel.numerals(right, len(numerals) - feistel.split)


# The small-space PRP


class BitOrder(Enum):
    """How a 32-bit number is written as 32 numerals."""

    MSB_FIRST = "msb-first"
    """From the most significant bit to the least: the draft."""
    LSB_FIRST_PER_BYTE = "lsb-first-per-byte"
    """The most significant byte first, but of each byte the least significant bit: OpenMLS."""


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

_CONSTANT = b"\1\2\1\0\0\2\x0a\x10\0\0\0\x20\0\0\0\0"
"""FF1's first block for radix 2, halves of 16 of 32 numerals, and an empty tweak."""


def _turned(value: int) -> int:
    """With the bits within each of the four bytes reversed."""
    return int.from_bytes(value.to_bytes(4, "big").translate(_REVERSED), "big")


class SmallSpacePrp:
    """A permutation of the 32-bit numbers, by a key.

    The second block of a round is zeros, the round's number in byte 13 and a half in bytes 14 and 15; what it adds is
    taken modulo 2^16, so only bytes 6 and 7 of FF1's eight count.
    """

    __slots__ = ("_block", "_fixed", "_low", "_reverses")

    def __init__(self, key: bytes, bit_order: BitOrder = BitOrder.MSB_FIRST) -> None:
        if len(key) != KEY_SIZE:
            raise CallerError(f"the key of the PRP has {KEY_SIZE} bytes")
        self._block = _aes(key)
        constant = self._block(_CONSTANT)
        self._fixed = constant[:13]
        self._low = int.from_bytes(constant[13:], "big")
        self._reverses = bit_order is BitOrder.LSB_FIRST_PER_BYTE

    def encrypt(self, value: int) -> int:
        """SmallSpacePRP.Encrypt."""
        block, fixed, low = self._block, self._fixed, self._low
        value = self._taken(value)
        left, right = value >> 16, value & 0xFFFF
        for shifted in _FORWARD:
            made = block(fixed + (low ^ (shifted | right)).to_bytes(3, "big"))
            left, right = right, (left + (made[6] << 8 | made[7])) & 0xFFFF
        value = left << 16 | right
        return _turned(value) if self._reverses else value

    def decrypt(self, value: int) -> int:
        """SmallSpacePRP.Decrypt."""
        block, fixed, low = self._block, self._fixed, self._low
        value = self._taken(value)
        left, right = value >> 16, value & 0xFFFF
        for shifted in _BACKWARD:
            made = block(fixed + (low ^ (shifted | left)).to_bytes(3, "big"))
            left, right = (right - (made[6] << 8 | made[7])) & 0xFFFF, left
        value = left << 16 | right
        return _turned(value) if self._reverses else value

    def _taken(self, value: int) -> int:
        if value >> 32:
            raise CallerError("the PRP is one of the 32-bit numbers")
        return _turned(value) if self._reverses else value


_FORWARD = tuple(index << 16 for index in range(ROUNDS))
_BACKWARD = _FORWARD[::-1]
