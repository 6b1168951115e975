"""A provider that counts which primitives a step called, and what these would have taken by themselves.

The suites are the real ones. What is counted is what a step *did*; that it could not have done with less is for the
reader of the counts to see, which is why the rows carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mls.hpke import Random
from mls.kdf import Kdf
from mls.provider import Environment, Provider
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.signatures import Scheme, Signed
from mls.suite import SUITES, Suite
from tests.bench import floors

Counts = dict[str, int]


class _Scheme(Scheme):
    def __init__(self, inner: Scheme, counts: Counts) -> None:
        self._inner, self._counts = inner, counts

    def generate(self, random: Random) -> tuple[SignaturePrivateKey, bytes]:
        self._counts["generate"] += 1
        return self._inner.generate(random)

    def public_key(self, private: SignaturePrivateKey) -> bytes:
        self._counts["public"] += 1
        return self._inner.public_key(private)

    def canonical(self, signature: bytes) -> bool:
        return self._inner.canonical(signature)

    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes:
        self._counts["sign"] += 1
        return self._inner.sign(private, content)

    def verify(self, public: bytes, content: bytes, signature: bytes) -> bool:
        self._counts["verify"] += 1
        return self._inner.verify(public, content, signature)

    def verify_many(self, signed: Sequence[Signed]) -> bool:
        self._counts["verify"] += len(signed)
        return self._inner.verify_many(signed)


class _Hpke:
    """By name, as it is called: whatever is not counted goes through."""

    def __init__(self, inner: Any, counts: Counts) -> None:
        self._inner, self._counts = inner, counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]:
        self._counts["derive"] += 1
        made: tuple[HpkePrivateKey, bytes] = self._inner.derive_key_pair(ikm)
        return made

    def seal(self, *given: Any) -> Any:
        self._counts["seal"] += 1
        return self._inner.seal(*given)

    def open(self, *given: Any) -> Any:
        self._counts["open"] += 1
        return self._inner.open(*given)


class _Suite(Suite):
    __slots__ = ("_counts",)

    def __init__(self, inner: Suite, counts: Counts) -> None:
        super().__init__(inner.cipher_suite, hpke=_Hpke(inner.hpke, counts), scheme=_Scheme(inner.scheme, counts))
        self._counts = counts
        self.kdf = Kdf(SUITES[inner.cipher_suite].hash)
        mac, hash_ = self.kdf.mac, self.kdf.hash

        def counted_mac(key: bytes, data: bytes) -> bytes:
            counts["mac"] += 1
            return mac(key, data)

        def counted_hash(data: bytes) -> bytes:
            counts["hash"] += 1
            return hash_(data)

        self.kdf.mac = self.mac = counted_mac
        self.hash = counted_hash

    def aead_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        self._counts["aead"] += 1
        return super().aead_seal(key, nonce, aad, plaintext)

    def aead_open(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        self._counts["aead"] += 1
        return super().aead_open(key, nonce, aad, ciphertext)


UNITS = ("sign", "verify", "generate", "public", "derive", "seal", "open", "aead", "mac", "hash")


class Counted:
    """Any provider, counted."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner
        self._suites: dict[int, Suite] = {}
        self.counts: Counts = dict.fromkeys(UNITS, 0)

    def random(self, length: int) -> bytes:
        return self._inner.random(length)

    def suite(self, cipher_suite: int) -> Suite:
        found = self._suites.get(cipher_suite)
        if found is None:
            found = self._suites[cipher_suite] = _Suite(self._inner.suite(cipher_suite), self.counts)
        return found


def units(env: Environment, suite: Suite, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds of one call of each, in this run."""
    found = floors.units(env, suite, rounds, clock)
    private, _ = suite.scheme.generate(env.provider.random)
    taken = []
    for _ in range(rounds):
        fresh = SignaturePrivateKey(bytes(private.raw))  # a key that was used before remembers what it is parsed to
        start = clock()
        suite.scheme.public_key(fresh)
        taken.append((clock() - start) * 1000)
    found["public"] = sorted(taken)[len(taken) // 2]
    return {name: found[name] for name in UNITS}


def floor(counts: dict[str, float], unit: dict[str, float]) -> float:
    """Milliseconds of so many calls."""
    return sum(unit[name] * count for name, count in counts.items())
