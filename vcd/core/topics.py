"""Where a group's frames travel: topics that only its members can write to, and whose frames only they can read.

A topic's secret comes from an epoch's exporter. Each epoch that begins with somebody coming or going has a topic of its
own; the others stay in that of the epoch before. So whoever is in an epoch derives its topic, and need not be told.

    write key    Ed25519, seed expanded from the secret; a relay checks it and learns nothing else
    name         SHA-256 of the public write key: what peers join
    read key     seals each payload once more, so that carriers see neither the group's id nor the epoch's name, whose
                 messages belong to one branch, nor a commit that is not encrypted itself

A sealed payload is `version, nonce, ciphertext`. The nonce is a hash of the payload under a third key, so equal
payloads are equal frames, two different ones never meet under one nonce, and no randomness is used up. Lengths are
padded: what is sent inside has its own padding, and votes and questions are all of one size or another few.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from hmac import digest

from mls.group import export_secret
from mls.hpke import CryptoError
from mls.parameters import Padding
from mls.secrets import Secret, SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from vcd.core.errors import Malformed
from vcd.core.names import TopicId

VERSION = b"\x01"
LABEL = b"vcd topic"
SMALLEST = 256
MAX_SEALED = 4 << 20
_NONCE = 12


class TopicSecret(Secret):
    """Writes to a topic and reads it. What follows from it is kept with it, once it was needed."""

    __slots__ = ("keys",)

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.keys: TopicKeys | None = None


class WriteSeed(Secret):
    """The seed of a topic's private write key, for the mesh."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TopicKeys:
    """What follows from a topic's secret."""

    name: TopicId
    seed: WriteSeed
    read: Secret
    nonces: Secret


def topic_of(group: Group) -> TopicSecret:
    """The topic of an epoch that begins one; while the group is what its commit, or its Welcome, made it."""
    return TopicSecret(export_secret(group, LABEL, b"", 32))


def keys_of(suite: Suite, secret: TopicSecret) -> TopicKeys:
    if secret.keys is None:
        secret.keys = _keys_of(suite, secret)
    return secret.keys


def _keys_of(suite: Suite, secret: TopicSecret) -> TopicKeys:
    seed = suite.expand_with_label(secret.raw, b"write", b"", 32)
    public = suite.scheme.public_key(SignaturePrivateKey(seed))
    return TopicKeys(
        name=TopicId(hashlib.sha256(public).digest()),
        seed=WriteSeed(seed),
        read=Secret(suite.expand_with_label(secret.raw, b"read", b"", suite.key_size)),
        nonces=Secret(suite.expand_with_label(secret.raw, b"nonce", b"", 32)),
    )


def seal(suite: Suite, keys: TopicKeys, payload: bytes) -> bytes:
    """A payload as the topic's members read it."""
    size = max(SMALLEST, len(payload) + 4)
    padded = len(payload).to_bytes(4, "big") + payload + bytes(Padding.PADME.size(size) + size - len(payload) - 4)
    nonce = digest(keys.nonces.raw, padded, "sha256")[:_NONCE]
    return VERSION + nonce + suite.aead_seal(keys.read.raw, nonce, VERSION, padded)


def open_sealed(suite: Suite, keys: TopicKeys, sealed: bytes) -> bytes:
    """The payload, if a member of the topic sealed it."""
    if sealed[:1] != VERSION or len(sealed) > MAX_SEALED:
        raise Malformed("no envelope of ours")
    nonce, body = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
    try:
        padded = suite.aead_open(keys.read.raw, nonce, VERSION, body)
    except CryptoError:
        raise Malformed("not sealed for this topic") from None
    size = int.from_bytes(padded[:4], "big")
    if size > len(padded) - 4:
        raise Malformed("cut short")
    return padded[4 : 4 + size]
