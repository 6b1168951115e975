"""The daemon's provider: randomness of the operating system, and the fastest library for each primitive.

`mls` asks for cryptography through `Provider`; this one answers with libsodium (PyNaCl) for Ed25519 and
X25519, wherever a suite uses them (they are most of what suites 1 and 3 cost), and with `mls.suite`'s own choices for
the rest.
Signatures that come in heaps, as when joining a group, are shared among the cores: the libraries let go of
the interpreter lock while they work (`cryptography` 50 does not for ML-DSA, so there nothing is gained yet).

Measured through these classes, least of many runs, in microseconds, on one core:

                      libsodium   OpenSSL
    Ed25519 verify        40         81
    Ed25519 sign          16         25
      of 1.2 MB         4000       1500    so long contents go to OpenSSL
      sign 1.2 MB       5500       2800
    Ed25519 key pair      15         27
    X25519 key pair       16         30
    X25519 exchange       31         28
    HPKE seal             56         65
    HPKE open             39         36    and the key pair once, if the key was not used before
    1000 verified      43000      87000
    on two cores       24000      47000

and of the post-quantum suites, whose ML-KEM and ML-DSA are OpenSSL's in both columns:

                      libsodium   OpenSSL
    X-Wing key pair      115        131
    X-Wing seal           95        112
    X-Wing open           69         70
    ML-DSA-44 sign                  545
    ML-DSA-44 verify                117

Which signatures are valid must not depend on any of this (docs/adr/0003-one-ed25519-rule.md). libsodium
changed its mind about that once already on its development branch, and a PyNaCl can be built against any
libsodium, so its answers to five telling signatures are looked at before it is trusted; if one is unexpected,
OpenSSL does the work instead.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from nacl.bindings import (
    crypto_scalarmult,
    crypto_scalarmult_base,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError, CryptoError as SodiumError

from mls.dhkem import OpenSslX25519
from mls.hpke import CryptoError, UnreadableKeyError
from mls.secrets import Secret, SignaturePrivateKey
from mls.signatures import OpenSslEd25519, Random, Scheme, Signed
from mls.suite import SUITES, Suite, hpke_of

PARALLEL_FROM = 12  # signatures; below that, waking a thread costs what it saves, with the fastest scheme
LONG_TO_SIGN = 16 << 10  # bytes; OpenSSL hashes faster and copies nothing, which pays for its slower curve from here
LONG_TO_VERIFY = 80 << 10  # the same, of a check
_SHARE = 4  # signatures a thread takes at a time
_MOST_THREADS = 4


class X25519Key(Secret):
    """A private key whose public half is computed when first asked for: that is another multiplication."""

    __slots__ = ("public",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.public: bytes | None = None


class SodiumX25519:
    """X25519 by libsodium. Its bindings do not look at lengths, so nobody else may call them."""

    def load(self, private: bytes) -> X25519Key:
        if len(private) != 32:
            raise CryptoError
        return X25519Key(private)

    def public(self, handle: X25519Key) -> bytes:
        public = handle.public
        if public is None:
            public = handle.public = crypto_scalarmult_base(handle.raw)
        return public

    def exchange(self, handle: X25519Key, public: bytes) -> bytes:
        if len(public) != 32:
            raise CryptoError
        try:
            return crypto_scalarmult(handle.raw, public)
        except SodiumError:  # RFC 9180 §7.1.4: the all-zero output of a point of small order
            raise CryptoError from None


class SodiumEd25519(Scheme):
    """Ed25519 by libsodium; a key's handle is what libsodium calls the secret key: seed and public key."""

    _long = OpenSslEd25519()
    """For long contents; both libraries keep to one rule and give equal signatures (docs/adr/0003)."""

    def generate(self, random: Random) -> tuple[SignaturePrivateKey, bytes]:
        seed = random(32)
        public, secret = crypto_sign_seed_keypair(seed)
        return SignaturePrivateKey(seed, secret), public

    def _handle(self, private: SignaturePrivateKey) -> bytes:
        handle = private.handle
        if type(handle) is not bytes:  # not parsed yet, or by another provider's library
            if len(private.raw) != 32:
                raise UnreadableKeyError
            _, handle = crypto_sign_seed_keypair(private.raw)
            private.handle = handle
        return handle

    def public_key(self, private: SignaturePrivateKey) -> bytes:
        return self._handle(private)[32:]

    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes:
        if len(content) > LONG_TO_SIGN:
            return self._long.sign(SignaturePrivateKey(private.raw), content)
        return crypto_sign(content, self._handle(private))[:64]

    def verify(self, public: bytes, content: bytes, signature: bytes) -> bool:
        # libsodium sees one string; were a signature of another length let through, its end could move.
        if len(public) != 32 or len(signature) != 64:
            return False
        if len(content) > LONG_TO_VERIFY:
            return self._long.verify(public, content, signature)
        try:
            crypto_sign_open(signature + content, public)
        except BadSignatureError:
            return False
        return True

    def verify_many(self, signed: Sequence[Signed]) -> bool:
        verify = self.verify
        return all(verify(public, content, signature) for public, content, signature in signed)


# Key, the signature's halves R and S over b"vcd", and whether the rule takes it. Libraries differ in these.
_KEY = "6128326f0db58cfbdf1f16eebddd58f816d682f9d90ac23642d6fe520ba563bf"
PROBES: tuple[tuple[str, str, str, bool], ...] = (
    # an ordinary signature
    (
        _KEY,
        "fb7695e7cb0bb1a146b7a98375bf72c91c4afbb053f362b38c251c0d3269280c",
        "2b6f0809f993e713abb3dddd147b11fb09dd13667dbd45a7c3b1c4e62ce26604",
        True,
    ),
    # the same with the group order added to S
    (
        _KEY,
        "fb7695e7cb0bb1a146b7a98375bf72c91c4afbb053f362b38c251c0d3269280c",
        "1843fe6513f7f96b8150d580f374f00f0add13667dbd45a7c3b1c4e62ce26614",
        False,
    ),
    # R with a part of order 8, so that only the equation with the cofactor holds
    (
        _KEY,
        "a5b8cfb30f6a4497a3a1bb1d1c216323f6b67d271848ef4bdf796ffb93658517",
        "d35cbff88897e3647b22772be37056403e468294d5834326a53a43b5d4672409",
        False,
    ),
    # a key of order 8
    (
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "8af00eeb9c18894753c1bc35574cc11c8da2bac50d6a3252b6d4f528e189ec8b",
        "af6cab6b87475b7cbf32287ab477969bccca983693e50f3704d0fcf81d8d4a03",
        False,
    ),
    # R the neutral element
    (
        _KEY,
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ef3639878df60a11bd0b0f72693cf59b644cc86b87d16ae4ba3b254b7b160e0e",
        False,
    ),
)


@lru_cache(maxsize=1)
def libsodium_keeps_the_rule() -> bool:
    """Whether this libsodium answers the probes as `mls.ed25519` does; a fifth of a millisecond, once."""
    verify = SodiumEd25519().verify
    return all(verify(bytes.fromhex(public), b"vcd", bytes.fromhex(r + s)) is holds for public, r, s, holds in PROBES)


class Parallel:
    """Any scheme, with `verify_many` spread over threads once that pays."""

    def __init__(self, scheme: Scheme, pool: ThreadPoolExecutor, helpers: int) -> None:
        self.generate = scheme.generate
        self.public_key = scheme.public_key
        self.sign = scheme.sign
        self.verify = scheme.verify
        self.canonical = scheme.canonical
        self._alone = scheme.verify_many
        self._pool = pool
        self._helpers = helpers

    def verify_many(self, signed: Sequence[Signed]) -> bool:
        alone = self._alone
        if len(signed) < PARALLEL_FROM:
            return alone(signed)
        shares = deque(signed[at : at + _SHARE] for at in range(0, len(signed), _SHARE))

        def work() -> bool:
            while True:
                try:
                    share = shares.popleft()
                except IndexError:
                    return True
                if not alone(share):
                    shares.clear()  # the answer is known: nobody need go on
                    return False

        helpers = [self._pool.submit(work) for _ in range(self._helpers)]
        held = work()
        # A helper that has not begun by now, because the pool serves somebody else, would find nothing left.
        return all(helper.cancel() or helper.result() for helper in helpers) and held


class SystemProvider:
    """Randomness of the operating system and the fastest suites; it has no state but its threads.

    `threads` is how many cores `verify_many` may use, by default those this process may run on, at most four.
    `libsodium` chooses the library of Ed25519 and X25519, by default libsodium if it keeps the rule.
    """

    def __init__(self, *, threads: int | None = None, libsodium: bool | None = None) -> None:
        self.threads = min(_cores(), _MOST_THREADS) if threads is None else threads
        self.libsodium = libsodium_keeps_the_rule() if libsodium is None else libsodium
        # An executor starts its threads when it gets work, so an unused one costs nothing.
        self._pool = ThreadPoolExecutor(max(self.threads - 1, 1), thread_name_prefix="verify")
        self._suites: dict[int, Suite] = {}

    def random(self, length: int) -> bytes:
        return os.urandom(length)

    def suite(self, cipher_suite: int) -> Suite:
        suite = self._suites.get(cipher_suite)
        if suite is None:
            suite = self._suites[cipher_suite] = self._build(cipher_suite)
        return suite

    def _build(self, cipher_suite: int) -> Suite:
        row = SUITES[cipher_suite]
        hpke = hpke_of(row, SodiumX25519()) if self.libsodium else hpke_of(row, OpenSslX25519())
        scheme = row.signature
        if self.libsodium and isinstance(scheme, OpenSslEd25519):
            scheme = SodiumEd25519()
        if self.threads > 1:
            scheme = Parallel(scheme, self._pool, self.threads - 1)
        return Suite(cipher_suite, hpke=hpke, scheme=scheme)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
