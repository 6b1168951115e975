"""Who signs a gossip message: a key that was made for it and is forgotten with it.

StrictSign wants an author and a signature on every message. A device's own key would tell everybody in the mesh
who wrote what, so each message gets a key of its own: it proves nothing but that the bytes were not changed on
the way, which is all that forwarding needs. Who may write at all is said by the frames inside. The sequence
number is random for the same reason: a clock's offset in it would link a device's messages to one another. Author
and number are unique together, so the default message id is, too.

An Ed25519 author carries its key in its peer id. Others send the key along; of those we can check Ed25519 under
a hashed id. A message whose signature cannot be checked here (RSA, secp256k1) is not believed, and not held
against the peer that passed it on.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable
from typing import Final

from transport.gossip.wire import Message
from transport.signing import KEY_SIZE, SigningKey, verifies

SEQNO_SIZE: Final = 8
_KEY_PREFIX: Final = bytes.fromhex("0801 1220")  # libp2p's protobuf of a public key: type Ed25519, 32 bytes
_IDENTITY: Final = bytes.fromhex("0024")  # multihash that is the key itself, 36 bytes
_SHA256: Final = bytes.fromhex("1220")
_AUTHOR_PREFIX: Final = _IDENTITY + _KEY_PREFIX


class Authenticity(enum.Enum):
    GENUINE = "genuine"
    FORGED = "forged"
    UNCHECKED = "unchecked"  # signed in a way that cannot be checked here
    INCOMPLETE = "incomplete"  # not what StrictSign asks for


def compose(topic: str, data: bytes, random_bytes: Callable[[int], bytes]) -> Message:
    """A message signed by a key that exists only here."""
    key = SigningKey.generate(random_bytes)
    unsigned = Message(author=_AUTHOR_PREFIX + key.public, data=data, seqno=random_bytes(SEQNO_SIZE), topic=topic)
    return Message(
        author=unsigned.author,
        data=data,
        seqno=unsigned.seqno,
        topic=topic,
        signature=key.sign(unsigned.signed()),
    )


def authentic(message: Message) -> Authenticity:
    """Whether the author signed this."""
    if not (message.author and message.data and message.topic and message.signature):
        return Authenticity.INCOMPLETE
    if len(message.seqno) != SEQNO_SIZE:
        return Authenticity.INCOMPLETE  # others count peers as bad that pass on shorter or longer ones
    public = _author_key(message)
    if public is None:
        return Authenticity.UNCHECKED
    if not public or not verifies(public, message.signed(), message.signature):
        return Authenticity.FORGED
    return Authenticity.GENUINE


def _author_key(message: Message) -> bytes | None:
    """The author's Ed25519 key; None if it has another kind, empty if what is said of it contradicts itself."""
    author, key = message.author, message.key
    if author.startswith(_AUTHOR_PREFIX) and len(author) == len(_AUTHOR_PREFIX) + KEY_SIZE:
        inlined = author[len(_IDENTITY) :]
        return inlined[len(_KEY_PREFIX) :] if key in {b"", inlined} else b""
    if author.startswith(_SHA256) and len(author) == len(_SHA256) + 32:
        if hashlib.sha256(key).digest() != author[len(_SHA256) :]:
            return b""
        if key.startswith(_KEY_PREFIX) and len(key) == len(_KEY_PREFIX) + KEY_SIZE:
            return key[len(_KEY_PREFIX) :]
    return None
