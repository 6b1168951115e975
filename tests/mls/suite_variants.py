"""RFC 9420 §5.1: the suites as tests ask for them, and points that no key may be.

A suite with X25519 or Ed25519 exists twice, over libsodium and over OpenSSL; whatever is said of a suite is said of
both.
"""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import strategies as st

from mls.registries import CipherSuite, HybridSuite
from mls.signatures import MlDsa, OpenSslEd25519
from mls.suite import SUITES, Suite
from tests.providers import SeededProvider

CURVE25519 = (1, 3)
NIST = {2: ec.SECP256R1(), 5: ec.SECP521R1(), 7: ec.SECP384R1()}
WITH_LIBSODIUM = [
    number for number, row in SUITES.items() if row.kem in {0x20, 0x647A} or isinstance(row.signature, OpenSslEd25519)
]
VARIANTS = [(number, True) for number in SUITES] + [(number, False) for number in WITH_LIBSODIUM]
RFC_VARIANTS = [(number, libsodium) for number, libsodium in VARIANTS if number in set(CipherSuite)]
DRAFT_VARIANTS = [variant for variant in VARIANTS if variant not in RFC_VARIANTS]

GROUP_SUITES = (*CipherSuite, HybridSuite(0xF001), HybridSuite(0xF009))
"""The suites that a whole group's life is tried in: all of the RFC, X-Wing, and X-Wing with ML-DSA."""


def each_of(kinds: list[tuple[int, bool]]) -> pytest.MarkDecorator:
    names = [f"{number:#x}-{'libsodium' if libsodium else 'openssl'}" for number, libsodium in kinds]
    return pytest.mark.parametrize(("number", "libsodium"), kinds, ids=names)


variants = each_of(VARIANTS)
draft_variants = each_of(DRAFT_VARIANTS)
any_variant = st.sampled_from(VARIANTS)
rfc_variant = st.sampled_from(RFC_VARIANTS)


def repeats_sealing(number: int) -> bool:
    """Whether a seeded run seals the same: encapsulation of ML-KEM draws its own randomness."""
    return SUITES[number].kem < 0x40


def repeats_signing(number: int) -> bool:
    """Whether a seeded run signs the same: ML-DSA is hedged."""
    return not isinstance(SUITES[number].signature, MlDsa)


REPEATING_SUITES = tuple(number for number in GROUP_SUITES if repeats_signing(number))
"""Those in which two devices with the same keys sign the same leaf."""


P25519 = 2**255 - 19
SMALL_X25519 = [
    value.to_bytes(32, "little")
    for value in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        P25519 - 1,
        P25519,
        P25519 + 1,
    )
]
P448 = 2**448 - 2**224 - 1
SMALL_X448 = [value.to_bytes(56, "little") for value in (0, 1, P448 - 1, P448, P448 + 1)]


def provider_of(number: int, libsodium: bool, seed: object = "suite") -> tuple[SeededProvider, Suite]:
    provider = SeededProvider(f"{seed} {number}", libsodium=libsodium)
    return provider, provider.suite(number)


def bad_hybrid_keys(number: int, good: bytes) -> list[bytes]:
    """Of the right length: FIPS 203 §7.2 wants coefficients below 3329, twelve bits each; then what no point is."""
    kem = SUITES[number].kem
    split = {0x51: 1568, 0x42: 1568}.get(kem, 1184)
    q, most = (3329).to_bytes(2, "little"), (4095).to_bytes(2, "little")
    bad = [q + good[2:], most + good[2:], b"\xff" * split + good[split:]]
    # The last coefficient of the vector, in front of its 32-byte seed: the upper twelve bits of three bytes.
    at = split - 32
    bad.append(good[: at - 2] + bytes([good[at - 2] & 0xF | (3329 << 4) & 0xF0, 3329 >> 4]) + good[at:])
    if kem == 0x647A:
        points = [*SMALL_X25519, *(point[:31] + bytes([point[31] | 0x80]) for point in SMALL_X25519)]
    elif kem in {0x50, 0x51}:
        element = good[split:]
        half = (len(element) - 1) // 2
        points = [
            bytes([6 + (element[-1] & 1)]) + element[1:],
            element[:-1] + bytes([element[-1] ^ 1]),
            b"\x04" + bytes(2 * half),
            bytes(1 + 2 * half),
            b"\x04" + b"\xff" * (2 * half),
        ]
    else:
        points = []
    return bad + [good[:split] + point for point in points]
