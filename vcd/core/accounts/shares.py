"""A secret in parts, of which any few together give it back and fewer tell nothing (Shamir's sharing over GF(2^8)).

Each byte of the secret is the value at 0 of a polynomial with random coefficients, of a degree one less than how many
parts are needed. A part is its own place (a byte that is not 0) and the value of all polynomials there.

Whoever puts parts together has to know that each is genuine, as a wrong one gives a wrong secret: `seal_of` names a
part without telling it, since a part is as random as the secret is long.
"""

from __future__ import annotations

from collections.abc import Sequence

from mls.provider import Provider
from mls.secrets import Secret
from vcd.core.accounts.identity import digest
from vcd.core.errors import Malformed, Misuse

MAX_SHARES = 255


class Share(Secret):
    """One part: its place, and the values there."""

    __slots__ = ()


def _multiply(one: int, other: int) -> int:
    """In GF(2^8) with the polynomial of AES. Without tables, and without branches that depend on secrets."""
    product = 0
    for _ in range(8):
        product ^= one & -(other & 1)
        other >>= 1
        one = (one << 1) ^ (0x11B & -(one >> 7))
    return product


def _inverse(value: int) -> int:
    """value^254."""
    result, power = 1, value
    for _ in range(7):
        power = _multiply(power, power)
        result = _multiply(result, power)
    return result


def split(secret: bytes, needed: int, parts: int, provider: Provider) -> tuple[Share, ...]:
    if not 1 <= needed <= parts <= MAX_SHARES:
        raise Misuse("bad-threshold", f"{needed} of {parts} is no way to share something.")
    rows = [secret, *[provider.random(len(secret)) for _ in range(needed - 1)]]
    shares = []
    for place in range(1, parts + 1):
        values = bytes(len(secret))
        for row in reversed(rows):
            values = bytes([_multiply(value, place) ^ byte for value, byte in zip(values, row, strict=True)])
        shares.append(Share(bytes([place]) + values))
    return tuple(shares)


def combine(shares: Sequence[Share]) -> bytes:
    """The secret, if there are as many as are needed and all are genuine; else something else."""
    sizes = {len(share.raw) for share in shares}
    places = [share.raw[0] for share in shares if share.raw]
    if len(sizes) != 1 or min(sizes) < 2 or len(set(places)) != len(shares) or 0 in places:
        raise Malformed("these parts do not belong together")
    secret = bytes(len(shares[0].raw) - 1)
    for share in shares:
        place, factor = share.raw[0], 1
        for other in places:
            if other != place:
                factor = _multiply(factor, _multiply(other, _inverse(other ^ place)))
        secret = bytes([total ^ _multiply(factor, value) for total, value in zip(secret, share.raw[1:], strict=True)])
    return secret


def seal_of(share: Share) -> bytes:
    """What tells a genuine part from any other."""
    return digest("vcd overrule share", share.raw)
