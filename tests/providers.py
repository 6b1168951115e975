"""Providers for tests: the same run gives the same bytes, under either family of libraries."""

from __future__ import annotations

import hashlib
import itertools

from mls.suite import Suite
from vcd.crypto import SystemProvider

_SHARED = {libsodium: SystemProvider(threads=1, libsodium=libsodium) for libsodium in (True, False)}


class SeededProvider:
    """Randomness that follows from a seed: the n-th call returns SHAKE256(seed, n), whatever was asked
    before.

    Two providers of one seed give equal bytes for equal calls; `fork` gives one that is independent of its
    parent
    and of its siblings, for tests in which several clients draw in an order that should not matter.
    """

    def __init__(self, seed: int | str | bytes = 0, *, libsodium: bool = True) -> None:
        text = seed if isinstance(seed, bytes) else str(seed).encode()
        self.seed = hashlib.sha256(type(seed).__name__.encode() + b":" + text).digest()
        self.libsodium = libsodium
        self._calls = itertools.count()

    def random(self, length: int) -> bytes:
        return hashlib.shake_256(self.seed + next(self._calls).to_bytes(8, "big")).digest(length)

    def suite(self, cipher_suite: int) -> Suite:
        return _SHARED[self.libsodium].suite(cipher_suite)

    def fork(self, name: int | str) -> SeededProvider:
        return SeededProvider(self.seed + str(name).encode(), libsodium=self.libsodium)
