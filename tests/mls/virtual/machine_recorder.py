"""Every use of an AEAD key, on all devices, forever: no key is ever used twice with one nonce.

`RecordingProvider` stands where devices and people have their provider, and gives cipher suites that note each
(key, nonce) pair they seal with: of message contents above all, and of whatever else a suite seals. What a device
sealed and then forgot, because it lost power before anything was stored or sent, was never seen by anybody and is
struck off (`forget`).
"""

from __future__ import annotations

from mls.credential import TrustBasic
from mls.provider import Environment
from mls.suite import Suite
from tests.mls.clients import NOW, Psks
from tests.providers import SeededProvider


class Recorder:
    """The pairs so far."""

    def __init__(self) -> None:
        self._pairs: set[tuple[bytes, bytes]] = set()
        self._journal: list[tuple[bytes, bytes]] = []
        self._suites: dict[int, Suite] = {}

    @property
    def seals(self) -> int:
        return len(self._pairs)

    def note(self, key: bytes, nonce: bytes) -> None:
        pair = key, nonce
        assert pair not in self._pairs, "a key was used twice with one nonce"
        self._pairs.add(pair)
        self._journal.append(pair)

    def mark(self) -> int:
        return len(self._journal)

    def forget(self, since: int) -> None:
        self._pairs.difference_update(self._journal[since:])
        del self._journal[since:]

    def suite(self, plain: Suite) -> Suite:
        found = self._suites.get(plain.cipher_suite)
        if found is None:
            found = self._suites[plain.cipher_suite] = RecordingSuite(plain, self)
        return found

    def environment(self, seed: str) -> Environment:
        return Environment(provider=RecordingProvider(seed, self), authentication=TrustBasic(), now=NOW, psks=Psks())


class RecordingSuite(Suite):
    """A suite whose seals are noted."""

    __slots__ = ("_recorder",)

    def __init__(self, plain: Suite, recorder: Recorder) -> None:
        super().__init__(plain.cipher_suite, hpke=plain.hpke, scheme=plain.scheme)
        self._recorder = recorder

    def aead_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        self._recorder.note(key, nonce)
        return super().aead_seal(key, nonce, aad, plaintext)


class RecordingProvider(SeededProvider):
    """Seeded randomness, and suites that are watched."""

    def __init__(self, seed: str, recorder: Recorder) -> None:
        super().__init__(seed)
        self._recorder = recorder

    def suite(self, cipher_suite: int) -> Suite:
        return self._recorder.suite(super().suite(cipher_suite))
