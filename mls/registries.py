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


class HybridSuite(IntEnum):
    """draft-ietf-mls-pq-ciphersuites: suites whose KEM, and for the last three whose signatures, are post-quantum.

    IANA has given out no numbers yet. 0xF000 + n, for private use (§17.1), is the draft's row "TBDn"; when a number
    is assigned it will be added, and this one stays.
    """

    MLKEM768X25519_AES128GCM_SHA256_ED25519 = 0xF001
    MLKEM768X25519_AES256GCM_SHA384_ED25519 = 0xF002
    MLKEM768P256_AES128GCM_SHA256_P256 = 0xF003
    MLKEM768P256_AES256GCM_SHA384_P256 = 0xF004
    MLKEM1024P384_AES256GCM_SHA384_P384 = 0xF005
    MLKEM768_AES256GCM_SHA384_ED25519 = 0xF006
    MLKEM768_AES256GCM_SHA384_P256 = 0xF007
    MLKEM1024_AES256GCM_SHA384_P384 = 0xF008
    MLKEM768X25519_CHACHA20POLY1305_SHA384_MLDSA44 = 0xF009
    MLKEM768_AES256GCM_SHA384_MLDSA65 = 0xF00A
    MLKEM1024_AES256GCM_SHA384_MLDSA87 = 0xF00B


class OpenMlsSuite(IntEnum):
    """The provisional numbers of OpenMLS for the same suites, and for one of its own that is older than the draft.

    They mean something else: OpenMLS derives KEM key pairs as the drafts before draft-ietf-hpke-pq did
    (`mls.mlkem`), so groups of the two kinds cannot be mixed up.
    """

    MLKEM1024_AES256GCM_SHA384_P384 = 0x0042
    MLKEM768X25519_CHACHA20POLY1305_SHA256_ED25519 = 0x004D
    MLKEM768X25519_AES256GCM_SHA384_ED25519 = 0x004E
    MLKEM768X25519_AES128GCM_SHA256_ED25519 = 0x004F
    MLKEM768_AES256GCM_SHA384_P256 = 0x0050
    MLKEM768_AES256GCM_SHA384_MLDSA65 = 0x0051
    MLKEM768X25519_CHACHA20POLY1305_SHA384_MLDSA44 = 0x0052
    MLKEM1024_AES256GCM_SHA384_MLDSA87 = 0x0907
    MLKEM768_AES256GCM_SHA384_ED25519 = 0xF042


class WireFormat(IntEnum):
    PUBLIC_MESSAGE = 1
    PRIVATE_MESSAGE = 2
    WELCOME = 3
    GROUP_INFO = 4
    KEY_PACKAGE = 5
    TARGETED_MESSAGE = 6
    """draft-ietf-mls-targeted-messages."""


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
    APP_DATA_UPDATE = 8
    """This and the next two: mls-extensions §7.2."""
    APP_EPHEMERAL = 9
    SELF_REMOVE = 10
    LEAF_REPLACEMENT = 0xF0D1
    """For private use: DiMLS does not say how its leaves are replaced (docs/spec-notes.md)."""


DEFAULT_PROPOSALS = frozenset(range(1, 8))


class ExtensionType:
    """RFC 9420 §17.3."""

    APPLICATION_ID = 1
    RATCHET_TREE = 2
    REQUIRED_CAPABILITIES = 3
    EXTERNAL_PUB = 4
    EXTERNAL_SENDERS = 5
    APP_DATA_DICTIONARY = 6
    """This and the next two: mls-extensions §7.1."""
    SUPPORTED_WIRE_FORMATS = 7
    REQUIRED_WIRE_FORMATS = 8


DEFAULT_EXTENSIONS = frozenset(range(1, 6))


class CredentialType:
    """RFC 9420 §17.5."""

    BASIC = 1
    X509 = 2


class PskType(IntEnum):
    EXTERNAL = 1
    RESUMPTION = 2
    APPLICATION = 3
    """mls-extensions §4.5."""


class ResumptionUsage(IntEnum):
    APPLICATION = 1
    REINIT = 2
    BRANCH = 3


GREASE = tuple(0x0A0A + 0x1010 * n for n in range(15))
