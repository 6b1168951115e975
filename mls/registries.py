"""RFC 9420 §17: the numbers IANA keeps for MLS, and the newtypes that keep indices apart.

Values are plain integers rather than enums where the registry is open: an unknown number is data to be carried,
not an error (§13). GREASE numbers (§13.5) are recognized only to be generated, never to be treated specially.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NewType

GroupId = NewType("GroupId", bytes)
Epoch = NewType("Epoch", int)
LeafIndex = NewType("LeafIndex", int)
NodeIndex = NewType("NodeIndex", int)
Generation = NewType("Generation", int)
ProposalRef = NewType("ProposalRef", bytes)
KeyPackageRef = NewType("KeyPackageRef", bytes)

MLS10 = 1


class CipherSuite(IntEnum):
    X25519_AES128GCM_SHA256_ED25519 = 1
    P256_AES128GCM_SHA256_P256 = 2
    X25519_CHACHA20POLY1305_SHA256_ED25519 = 3
    X448_AES256GCM_SHA512_ED448 = 4
    P521_AES256GCM_SHA512_P521 = 5
    X448_CHACHA20POLY1305_SHA512_ED448 = 6
    P384_AES256GCM_SHA384_P384 = 7


class WireFormat(IntEnum):
    PUBLIC_MESSAGE = 1
    PRIVATE_MESSAGE = 2
    WELCOME = 3
    GROUP_INFO = 4
    KEY_PACKAGE = 5


class ContentType(IntEnum):
    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3


class SenderType(IntEnum):
    MEMBER = 1
    EXTERNAL = 2
    NEW_MEMBER_PROPOSAL = 3
    NEW_MEMBER_COMMIT = 4


class LeafNodeSource(IntEnum):
    KEY_PACKAGE = 1
    UPDATE = 2
    COMMIT = 3


class ProposalType:
    """RFC 9420 §17.4."""

    ADD = 1
    UPDATE = 2
    REMOVE = 3
    PSK = 4
    REINIT = 5
    EXTERNAL_INIT = 6
    GROUP_CONTEXT_EXTENSIONS = 7


DEFAULT_PROPOSALS = frozenset(range(1, 8))


class ExtensionType:
    """RFC 9420 §17.3."""

    APPLICATION_ID = 1
    RATCHET_TREE = 2
    REQUIRED_CAPABILITIES = 3
    EXTERNAL_PUB = 4
    EXTERNAL_SENDERS = 5


DEFAULT_EXTENSIONS = frozenset(range(1, 6))


class CredentialType:
    """RFC 9420 §17.5."""

    BASIC = 1
    X509 = 2


class PskType(IntEnum):
    EXTERNAL = 1
    RESUMPTION = 2


class ResumptionUsage(IntEnum):
    APPLICATION = 1
    REINIT = 2
    BRANCH = 3


GREASE = tuple(0x0A0A + 0x1010 * n for n in range(15))
