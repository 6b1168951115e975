"""Cryptography for simulations: cheap, repeatable, watched.

A simulation runs thousands of epochs and cares for what the node does with keys, not for how hard they are to break.
`hash_suite` is cipher suite 1 with everything of curves replaced by hashes. A public key is the hash of its private
key. What only the private key's owner can compute in reality is here a hash over the public key and a secret of the
world that no simulated program ever sees: the suite's own methods are the only way to it, and those that stand for the
owner's side want the private key. So there is no table of keys to keep: a signature is `H(content, public, world)`,
the secret in an encapsulation `H(enc, public, world)`. All lengths are those of the real suite, and whatever fails
there fails here: other keys, altered bytes, keys of another length or of small order. What is not copied are second
encodings of one key, which X25519 has and hashes have not. HKDF is one hash over key and data. AES-GCM stays the real
one, which is quicker than anything made of hashes in Python.

`Watched` goes around any provider, real ones too. It counts operations, device by device, and its `Ledger`, which all
devices of a world share, notices a key, or a key and nonce, that seals two different things, whichever devices did it.

`world_provider` puts it together: a `World`, called with a device's name, gives that device's provider. Its random
bytes depend on seed and name alone and are the same with hashes and with curves, so that a run can be tried with both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mls.dhkem import check_x25519
from mls.hpke import CryptoError, Hpke, Random, UnreadableKeyError, check_psk
from mls.provider import Provider
from mls.registries import CipherSuite
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.signatures import Scheme, Signed
from mls.suite import Suite
from tests.providers import SeededProvider

HASHED = CipherSuite.X25519_AES128GCM_SHA256_ED25519
"""The suite that has a hashed form."""

_sha256 = hashlib.sha256
_sha512 = hashlib.sha512
_NONCE = bytes(12)

# ---------------------------------------------------------------- hashes in the place of curves


def hash_mac(key: bytes, data: bytes) -> bytes:
    """HMAC without its second hash; keys are padded and shortened as there, so the same keys are the same."""
    if len(key) > 64:
        key = _sha256(key).digest()
    return _sha256(key.ljust(64, b"\x00") + data).digest()


class HashScheme(Scheme):
    """Signatures of one world. Like Ed25519's they have 64 bytes, there is one of each content, and keys have 32."""

    def __init__(self, world: bytes) -> None:
        self._world = world
        self._key = b"signature key" + world

    def generate(self, random: Random) -> tuple[SignaturePrivateKey, bytes]:
        private = SignaturePrivateKey(random(32))
        return private, self.public_key(private)

    def public_key(self, private: SignaturePrivateKey) -> bytes:
        raw = private.raw
        if len(raw) != 32:
            raise UnreadableKeyError
        return _sha256(self._key + raw).digest()

    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes:
        return _sha512(content + self.public_key(private) + self._world).digest()

    def verify(self, public: bytes, content: bytes, signature: bytes) -> bool:
        if len(public) != 32:
            return False
        return compare_digest(_sha512(content + public + self._world).digest(), signature)


class HashHpke:
    """HPKE of one world, with the lengths of DHKEM(X25519) and AES-128-GCM. A fresh `enc` makes the key a fresh one."""

    def __init__(self, world: bytes) -> None:
        self._world = world
        self._derive = b"kem derive" + world
        self._key = b"kem key" + world
        self._none = _sha256(b"").digest() * 2

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]:
        raw = _sha256(self._derive + ikm).digest()
        return HpkePrivateKey(raw), _sha256(self._key + raw).digest()

    def public_key(self, private: HpkePrivateKey) -> bytes:
        raw = private.raw
        if len(raw) != 32:
            raise CryptoError
        return _sha256(self._key + raw).digest()

    def check_public(self, public: bytes) -> None:
        check_x25519(public)

    def context(self, info: bytes) -> bytes:
        return b"\x00" + _sha256(info).digest() + self._none

    def _psk_context(self, info: bytes, psk: bytes, psk_id: bytes) -> bytes:
        parts = (info, psk, psk_id)
        return b"\x01" + b"".join(_sha256(part).digest() for part in parts)

    def _encapsulate(self, public: bytes, context: bytes, random: Random) -> tuple[bytes, bytes]:
        check_x25519(public)
        _, enc = self.derive_key_pair(random(32))
        return enc, _sha256(context + enc + public + self._world).digest()

    def _decapsulate(self, private: HpkePrivateKey, enc: bytes, context: bytes) -> bytes:
        check_x25519(enc)
        return _sha256(context + enc + self.public_key(private) + self._world).digest()

    def _seal(self, public: bytes, context: bytes, aad: bytes, plaintext: bytes, random: Random) -> tuple[bytes, bytes]:
        enc, key = self._encapsulate(public, context, random)
        return enc, AESGCM(key[:16]).encrypt(_NONCE, plaintext, aad)

    def _open(self, private: HpkePrivateKey, enc: bytes, context: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        key = self._decapsulate(private, enc, context)
        try:
            return AESGCM(key[:16]).decrypt(_NONCE, ciphertext, aad)
        except (InvalidTag, ValueError):
            raise CryptoError from None

    def seal(self, public: bytes, context: bytes, aad: bytes, plaintext: bytes, random: Random) -> tuple[bytes, bytes]:
        return self._seal(public, context, aad, plaintext, random)

    def open(self, private: HpkePrivateKey, enc: bytes, context: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        return self._open(private, enc, context, aad, ciphertext)

    def seal_psk(
        self, public: bytes, info: bytes, aad: bytes, plaintext: bytes, psk: bytes, psk_id: bytes, random: Random
    ) -> tuple[bytes, bytes]:
        check_psk(psk, psk_id)
        return self._seal(public, self._psk_context(info, psk, psk_id), aad, plaintext, random)

    def open_psk(
        self,
        private: HpkePrivateKey,
        enc: bytes,
        info: bytes,
        aad: bytes,
        ciphertext: bytes,
        psk: bytes,
        psk_id: bytes,
    ) -> bytes:
        return self._open(private, enc, self._psk_context(info, psk, psk_id), aad, ciphertext)

    def send_export(self, public: bytes, info: bytes, label: bytes, length: int, random: Random) -> tuple[bytes, bytes]:
        enc, secret = self._encapsulate(public, self.context(info), random)
        return enc, hashlib.shake_256(secret + label).digest(length)

    def receive_export(self, private: HpkePrivateKey, enc: bytes, info: bytes, label: bytes, length: int) -> bytes:
        return hashlib.shake_256(self._decapsulate(private, enc, self.context(info)) + label).digest(length)


def hash_suite(world: bytes) -> Suite:
    """Cipher suite 1 of the world with that secret. It has no state: all devices of a world can share one."""
    suite = Suite(HASHED, hpke=HashHpke(world), scheme=HashScheme(world))
    suite.mac = suite.kdf.mac = hash_mac
    return suite


class HashProvider:
    """A device's own stream of random bytes, and the suite of its world; other suites are the real ones."""

    def __init__(self, stream: SeededProvider, suite: Suite) -> None:
        self._stream = stream
        self._suite = suite

    def random(self, length: int) -> bytes:
        return self._stream.random(length)

    def suite(self, cipher_suite: int) -> Suite:
        if cipher_suite == self._suite.cipher_suite:
            return self._suite
        return self._stream.suite(cipher_suite)


# ---------------------------------------------------------------- watching

OPERATIONS = ("sign", "verify", "seal", "open", "hpke_seal", "hpke_open", "key_pair")
"""What is counted. An export by HPKE counts as a seal at the one end and as an opening at the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """One key that sealed two different things."""

    operation: str
    first: str
    """The device that sealed first."""
    second: str
    authenticated_data: bytes
    """Of the second. In a message it says which group, epoch and kind of content."""

    @property
    def by_one_device(self) -> bool:
        """Whether nobody else had a part in it, as when a device forgets that it sealed."""
        return self.first == self.second


@dataclass(slots=True)
class _Uses:
    """Of one key: who sealed which content with which nonce, and what each device sealed first, by hashes."""

    nonces: dict[bytes, dict[bytes, str]] = field(default_factory=dict)
    first: dict[str, bytes] = field(default_factory=dict)


class Ledger:
    """What the devices of a world did. It remembers a hash for each key that sealed, never a key.

    `nonces_again` are the fatal ones: key and nonce were those of something else. `keys_again` are those whose nonce
    was another one, as when two devices that share a leaf take the same generation: MLS seals once with each key, and
    only the reuse guard kept these apart. To seal the same again, with the same nonce or not, is neither.
    Under authenticated data that is `shared` a key is there to seal many things, and only nonces are looked at.

    Remembering takes about 350 bytes a seal, for as long as the ledger lives; `remember=False` only counts.
    """

    def __init__(self, *, remember: bool = True, shared: bytes | None = None) -> None:
        self.nonces_again: list[Reuse] = []
        self.keys_again: list[Reuse] = []
        self.by_device: dict[str, dict[str, int]] = {}
        self._remember = remember
        self._shared = shared
        self._uses: dict[bytes, _Uses] = {}

    def counts(self, device: str) -> dict[str, int]:
        """The counters of a device, live."""
        return self.by_device.setdefault(device, dict.fromkeys(OPERATIONS, 0))

    def total(self) -> dict[str, int]:
        """How many of each operation all devices did."""
        return {name: sum(counts[name] for counts in self.by_device.values()) for name in OPERATIONS}

    def sealed(
        self, device: str, operation: str, key: Sequence[bytes], nonce: bytes, aad: bytes, plaintext: bytes
    ) -> None:
        """Note what was sealed under the key that these parts make, or name."""
        if not self._remember:
            return
        uses = self._uses.setdefault(_digest(operation.encode(), *key), _Uses())
        content = _digest(aad, plaintext)
        there = uses.nonces.setdefault(nonce, {})
        if content in there:
            return
        for first in there.values():
            self.nonces_again.append(Reuse(operation=operation, first=first, second=device, authenticated_data=aad))
        if not there and aad != self._shared:
            for first, other in uses.first.items():
                if other != content:
                    reuse = Reuse(operation=operation, first=first, second=device, authenticated_data=aad)
                    self.keys_again.append(reuse)
        there[content] = device
        uses.first.setdefault(device, content)

    def require_unique_nonces(self) -> None:
        """Fail, with who did it, if a key and nonce ever sealed two different things."""
        assert not self.nonces_again, f"{len(self.nonces_again)} nonces used twice, the first: {self.nonces_again[0]}"


def _digest(*parts: bytes) -> bytes:
    """Sixteen bytes for the parts; none can run over into its neighbor."""
    return _sha256(b"".join([b"%d:%b" % (len(part), part) for part in parts])).digest()[:16]


class WatchedScheme(Scheme):
    """A signature scheme, counted."""

    def __init__(self, inner: Scheme, counts: dict[str, int]) -> None:
        self._inner = inner
        self._counts = counts

    def generate(self, random: Random) -> tuple[SignaturePrivateKey, bytes]:
        self._counts["key_pair"] += 1
        return self._inner.generate(random)

    def public_key(self, private: SignaturePrivateKey) -> bytes:
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


class WatchedHpke:
    """HPKE, counted. Its AEAD key and nonce follow from recipient, encapsulation, context and pre-shared key."""

    def __init__(self, inner: Hpke, ledger: Ledger, device: str) -> None:
        self._inner = inner
        self._ledger = ledger
        self._device = device
        self._counts = ledger.counts(device)
        self.public_key = inner.public_key
        self.check_public = inner.check_public
        self.context = inner.context

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]:
        self._counts["key_pair"] += 1
        return self._inner.derive_key_pair(ikm)

    def seal(self, public: bytes, context: bytes, aad: bytes, plaintext: bytes, random: Random) -> tuple[bytes, bytes]:
        self._counts["hpke_seal"] += 1
        enc, ciphertext = self._inner.seal(public, context, aad, plaintext, random)
        self._ledger.sealed(self._device, "hpke_seal", (public, enc, context), b"", aad, plaintext)
        return enc, ciphertext

    def open(self, private: HpkePrivateKey, enc: bytes, context: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        self._counts["hpke_open"] += 1
        return self._inner.open(private, enc, context, aad, ciphertext)

    def seal_psk(
        self, public: bytes, info: bytes, aad: bytes, plaintext: bytes, psk: bytes, psk_id: bytes, random: Random
    ) -> tuple[bytes, bytes]:
        self._counts["hpke_seal"] += 1
        enc, ciphertext = self._inner.seal_psk(public, info, aad, plaintext, psk, psk_id, random)
        self._ledger.sealed(self._device, "hpke_seal", (public, enc, info, psk, psk_id), b"", aad, plaintext)
        return enc, ciphertext

    def open_psk(
        self,
        private: HpkePrivateKey,
        enc: bytes,
        info: bytes,
        aad: bytes,
        ciphertext: bytes,
        psk: bytes,
        psk_id: bytes,
    ) -> bytes:
        self._counts["hpke_open"] += 1
        return self._inner.open_psk(private, enc, info, aad, ciphertext, psk, psk_id)

    def send_export(self, public: bytes, info: bytes, label: bytes, length: int, random: Random) -> tuple[bytes, bytes]:
        self._counts["hpke_seal"] += 1
        return self._inner.send_export(public, info, label, length, random)

    def receive_export(self, private: HpkePrivateKey, enc: bytes, info: bytes, label: bytes, length: int) -> bytes:
        self._counts["hpke_open"] += 1
        return self._inner.receive_export(private, enc, info, label, length)


class WatchedSuite(Suite):
    """A suite with its parts watched."""

    __slots__ = ("_counts", "_device", "_inner", "_ledger")

    def __init__(self, inner: Suite, ledger: Ledger, device: str) -> None:
        counts = ledger.counts(device)
        hpke, scheme = WatchedHpke(inner.hpke, ledger, device), WatchedScheme(inner.scheme, counts)
        super().__init__(inner.cipher_suite, hpke=hpke, scheme=scheme)
        self.kdf, self.mac, self.hash = inner.kdf, inner.mac, inner.hash
        self._inner = inner
        self._ledger = ledger
        self._device = device
        self._counts = counts

    def aead_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        self._counts["seal"] += 1
        self._ledger.sealed(self._device, "seal", (key,), nonce, aad, plaintext)
        return self._inner.aead_seal(key, nonce, aad, plaintext)

    def aead_open(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        self._counts["open"] += 1
        return self._inner.aead_open(key, nonce, aad, ciphertext)


class Watched:
    """Any provider, its suites watched for one device."""

    def __init__(self, inner: Provider, ledger: Ledger, device: str) -> None:
        self._inner = inner
        self._ledger = ledger
        self._device = device
        self._suites: dict[int, WatchedSuite] = {}

    def random(self, length: int) -> bytes:
        return self._inner.random(length)

    def suite(self, cipher_suite: int) -> Suite:
        suite = self._suites.get(cipher_suite)
        if suite is None:
            suite = WatchedSuite(self._inner.suite(cipher_suite), self._ledger, self._device)
            self._suites[cipher_suite] = suite
        return suite


# ---------------------------------------------------------------- worlds


class World:
    """Providers by device name. Asked twice, a device gets the same one: after a restart its randomness goes on."""

    def __init__(self, seed: int | str | bytes, *, real: bool, watched: bool) -> None:
        self.ledger = Ledger()
        self._watched = watched
        self._root = SeededProvider(seed)
        self._hashed = None if real else hash_suite(_sha256(b"world" + self._root.seed).digest())
        self._devices: dict[str, Provider] = {}

    def __call__(self, device: str) -> Provider:
        provider = self._devices.get(device)
        if provider is None:
            provider = self._devices[device] = self._made(device)
        return provider

    def _made(self, device: str) -> Provider:
        stream = self._root.fork(device)
        provider: Provider = stream if self._hashed is None else HashProvider(stream, self._hashed)
        return Watched(provider, self.ledger, device) if self._watched else provider


def world_provider(seed: int | str | bytes, real: bool, *, watched: bool = True) -> World:
    """A world of devices: with the real primitives, or with hashes in their place."""
    return World(seed, real=real, watched=watched)
