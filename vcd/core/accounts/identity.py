"""The keys of an account, and what people can compare.

An account has keys of four kinds, each with a type of its own so that none is used for another:

* the *root* key follows from 32 bytes that exist only in the recovery phrase or in a sealed backup. It is taken out to
  found the account, to say which devices are delegates, and to overrule them; no device keeps it. Its hash is the
  account's name, so nobody can have two names, and a name vouches for its key.
* the *delegate* key is shared by the devices that may let in others. It signs what the account's list of devices is.
* the *account* key is shared by all devices. It signs that a leaf in a conversation belongs to the account. Every
  removal of a device brings a new one.
* a *device* key is one device's own, and signs its leaf in the home.

Shared keys are handed on in the home. Why they are shared: a signature by a device's own key would tell contacts how
many devices there are, and which one was at work.

A key's owner puts a label before whatever it signs, so that no statement can pass for another one.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256, sha512
from typing import TypeVar

from mls.codec import opaque
from mls.provider import Provider
from mls.secrets import HpkePrivateKey, Secret, SignaturePrivateKey
from mls.suite import Suite
from vcd.core.errors import Misuse, Refused
from vcd.core.names import AccountId, DeviceId

MAX_KEY = 2592
"""Bytes of the longest public key of a signature scheme that there is (ML-DSA-87)."""
MAX_SIGNATURE = 4627
"""And of its signatures."""
DIGEST = 32
SEED = 32
DEVICE_ID = 16


class RecoverySeed(Secret):
    """What the recovery phrase stands for."""

    __slots__ = ()


class RootKey(SignaturePrivateKey):
    """Signs who the delegates are. On no device."""

    __slots__ = ()


class DelegateKey(SignaturePrivateKey):
    """Signs lists of devices. On every delegate."""

    __slots__ = ()


class OverruleKey(SignaturePrivateKey):
    """Signs new delegates without the root. On no device: some of them together have it."""

    __slots__ = ()


class AccountKey(SignaturePrivateKey):
    """Signs leaves in conversations. On every device."""

    __slots__ = ()


class DeviceKey(SignaturePrivateKey):
    """Signs one device's leaf in the home."""

    __slots__ = ()


K = TypeVar("K", RootKey, DelegateKey, OverruleKey, AccountKey, DeviceKey)


def suite_of(provider: Provider, cipher_suite: int) -> Suite:
    """The suite that somebody else chose."""
    try:
        return provider.suite(cipher_suite)
    except KeyError:
        raise Refused("unknown-suite", str(cipher_suite)) from None


def new_key(kind: type[K], suite: Suite, provider: Provider) -> tuple[K, bytes]:
    """A key pair at random."""
    private, public = suite.scheme.generate(provider.random)
    return kind(private.raw, private.handle), public


def new_device_id(provider: Provider) -> DeviceId:
    return DeviceId(provider.random(DEVICE_ID))


def new_seed(provider: Provider) -> RecoverySeed:
    return RecoverySeed(provider.random(SEED))


def root_key(suite: Suite, seed: RecoverySeed) -> tuple[RootKey, bytes]:
    """The root key pair that a recovery phrase stands for, in the signature scheme of a suite."""
    private, public = suite.scheme.generate(lambda size: _derived(suite, seed, b"vcd root", size))
    return RootKey(private.raw, private.handle), public


def recovery_key(suite: Suite, seed: RecoverySeed) -> tuple[HpkePrivateKey, bytes]:
    """The key pair to which devices seal what they leave for the day on which all of them are lost."""
    return suite.derive_key_pair(_derived(suite, seed, b"vcd recovery", suite.hash_size))


def _derived(suite: Suite, seed: RecoverySeed, label: bytes, size: int) -> bytes:
    if len(seed.raw) != SEED:
        raise Misuse("bad-seed", "A recovery phrase stands for 32 bytes.")
    # A seed is for one suite: the suite is part of what is derived, and no two have related keys.
    return suite.expand_with_label(seed.raw, label, suite.cipher_suite.to_bytes(2, "big"), size)


def digest(label: str, content: bytes) -> bytes:
    """SHA-256, apart for each use. It does not depend on an account's suite, as names must not."""
    return sha256(opaque(label.encode()) + content).digest()


@lru_cache(maxsize=4096)
def account_id(root: bytes) -> AccountId:
    """The name of the account of that root key."""
    return AccountId(digest("vcd account", root))


def fingerprint(public: bytes) -> str:
    """A root key for people to compare: twelve groups of five digits, 199 bits."""
    return _grouped(sha512(opaque(b"vcd fingerprint") + public).digest())


def safety_number(one: bytes, other: bytes) -> str:
    """Two root keys in one number, which is the same on both sides: in the same form, for two people to compare."""
    both = b"".join(opaque(key) for key in sorted((one, other)))
    return _grouped(sha512(opaque(b"vcd safety number") + both).digest())


def _grouped(full: bytes) -> str:
    groups = [int.from_bytes(full[5 * at : 5 * at + 5], "big") % 100_000 for at in range(12)]
    return " ".join(f"{group:05}" for group in groups)


def sign(suite: Suite, private: SignaturePrivateKey, label: str, content: bytes) -> bytes:
    return suite.sign_with_label(private, label.encode(), content)


def verify(suite: Suite, public: bytes, label: str, content: bytes, signature: bytes) -> bool:
    """Only the one form of a signature that its maker sends counts: nobody else can make a second statement of one."""
    return suite.scheme.canonical(signature) and suite.verify_with_label(public, label.encode(), content, signature)


# ---------------------------------------------------------------- what values demand of their fields


def bounded(value: bytes, most: int, what: str) -> None:
    if not 0 < len(value) <= most:
        raise ValueError(f"{what} has {len(value)} bytes")


def exactly(value: bytes, size: int, what: str) -> None:
    if len(value) != size:
        raise ValueError(f"{what} has {len(value)} bytes")


def readable(text: str, most: int, what: str) -> None:
    """Names that people see: one line, nothing invisible or that turns the writing around."""
    if not 0 < len(text) <= most or not text.isprintable():
        raise ValueError(f"{what} is no name")
