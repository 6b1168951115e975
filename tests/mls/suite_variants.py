"""RFC 9420 §5.1: the suites as tests ask for them, and points that no key may be.

Suites 1 and 3 exist twice, over libsodium and over OpenSSL; whatever is said of a suite is said of both.
"""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import strategies as st

from mls.suite import SUITES, Suite
from tests.providers import SeededProvider

CURVE25519 = (1, 3)
NIST = {2: ec.SECP256R1(), 5: ec.SECP521R1(), 7: ec.SECP384R1()}
VARIANTS = [(number, True) for number in SUITES] + [(number, False) for number in CURVE25519]
variants = pytest.mark.parametrize(
    ("number", "libsodium"),
    VARIANTS,
    ids=[f"{number}-{'libsodium' if libsodium else 'openssl'}" for number, libsodium in VARIANTS],
)
any_variant = st.sampled_from(VARIANTS)

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
