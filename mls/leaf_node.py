"""RFC 9420 §7.2: leaf nodes, with the capabilities, lifetime and extensions they carry.

A decoded leaf keeps the bytes it came from: signatures and tree hashes are taken over those, so nothing is encoded
twice, and equality of leaves is equality of bytes. Clients of one make send equal capabilities, so those are parsed
once per distinct encoding. Whether a leaf may stand where it stands is asked in `mls.validation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from mls.codec import Reader, decode_exactly, opaque, read_u16_vector, u16, u16_vector, u32, u64, vector
from mls.credential import Credential, decode_credential
from mls.errors import CallerError, PeerError
from mls.registries import (
    DEFAULT_EXTENSIONS,
    DEFAULT_PROPOSALS,
    GREASE,
    MLS10,
    CredentialType,
    ExtensionType,
    LeafNodeSource,
)
from mls.secrets import SignaturePrivateKey
from mls.suite import Suite


@dataclass(frozen=True, slots=True)
class Extension:
    """A typed piece of data whose meaning may be unknown here (§13.4)."""

    type: int
    data: bytes

    def encode(self) -> bytes:
        return u16(self.type) + opaque(self.data)


def decode_extension(reader: Reader) -> Extension:
    return Extension(reader.u16(), reader.opaque())


Extensions = tuple[Extension, ...]


def encode_extensions(extensions: Extensions) -> bytes:
    if len(extensions) > 1 and len({extension.type for extension in extensions}) != len(extensions):
        raise CallerError("a list has two extensions of one type", "give one of each; nobody would accept both")
    return vector([extension.encode() for extension in extensions]) if extensions else b"\x00"


def decode_extensions(reader: Reader) -> Extensions:
    if reader.data[reader.pos : reader.pos + 1] == b"\x00" and reader.pos < reader.end:
        reader.pos += 1  # none, as in most leaves
        return ()
    extensions = reader.vector(decode_extension)
    if len(extensions) > 1 and len({extension.type for extension in extensions}) != len(extensions):
        raise PeerError("VAL-13.4-1")
    return extensions


def find_extension(extensions: Extensions, kind: int) -> bytes | None:
    for extension in extensions:
        if extension.type == kind:
            return extension.data
    return None


@dataclass(frozen=True, slots=True)
class RequiredCapabilities:
    """The group's demands on every member (§11.1)."""

    extensions: tuple[int, ...] = ()
    proposals: tuple[int, ...] = ()
    credentials: tuple[int, ...] = ()

    def encode(self) -> bytes:
        return u16_vector(self.extensions) + u16_vector(self.proposals) + u16_vector(self.credentials)

    @classmethod
    def decode(cls, reader: Reader) -> RequiredCapabilities:
        return cls(read_u16_vector(reader), read_u16_vector(reader), read_u16_vector(reader))

    def extension(self) -> Extension:
        return Extension(ExtensionType.REQUIRED_CAPABILITIES, self.encode())


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a client supports beyond what every client must."""

    versions: tuple[int, ...]
    cipher_suites: tuple[int, ...]
    extensions: tuple[int, ...]
    proposals: tuple[int, ...]
    credentials: tuple[int, ...]
    encoded: bytes = field(default=b"", compare=False, repr=False)

    def encode(self) -> bytes:
        return self.encoded or b"".join(
            [
                u16_vector(self.versions),
                u16_vector(self.cipher_suites),
                u16_vector(self.extensions),
                u16_vector(self.proposals),
                u16_vector(self.credentials),
            ]
        )

    # Both sides of these comparisons may be as long as a message, so each is walked once: sets, not look-ups.

    def supports_extensions(self, kinds: frozenset[int]) -> bool:
        beyond = kinds - DEFAULT_EXTENSIONS
        return not beyond or beyond.issubset(self.extensions)

    def supports_proposals(self, kinds: frozenset[int]) -> bool:
        beyond = kinds - DEFAULT_PROPOSALS
        return not beyond or beyond.issubset(self.proposals)

    def supports_credentials(self, kinds: frozenset[int]) -> bool:
        return not kinds or kinds.issubset(self.credentials)


_COMMON = 512
"""Encoded capabilities of more bytes are nobody's habit, and are not remembered: they would fill the memory."""


def _capabilities(encoded: bytes) -> Capabilities:
    return _remembered(encoded) if len(encoded) <= _COMMON else _parsed(encoded)


@lru_cache(maxsize=256)
def _remembered(encoded: bytes) -> Capabilities:
    return _parsed(encoded)


def _parsed(encoded: bytes) -> Capabilities:
    reader = Reader(encoded)
    lists = [read_u16_vector(reader) for _ in range(5)]
    return Capabilities(lists[0], lists[1], lists[2], lists[3], lists[4], encoded)


def default_capabilities(
    cipher_suites: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7),
    *,
    extensions: tuple[int, ...] = (),
    proposals: tuple[int, ...] = (),
    credentials: tuple[int, ...] = (CredentialType.BASIC, CredentialType.X509),
    grease: bytes = b"",
) -> Capabilities:
    """Capabilities of this implementation; each byte of `grease` adds one GREASE number to a list (§13.5)."""
    picked = [GREASE[byte % len(GREASE)] for byte in grease[:4].ljust(4, b"\xff")] if grease else []
    suites, kinds, acts, creds = [[value] for value in picked] if picked else [[], [], [], []]
    plain = Capabilities(
        (MLS10,),
        (*cipher_suites, *suites),
        (*extensions, *kinds),
        (*proposals, *acts),
        (*credentials, *creds),
    )
    return _capabilities(plain.encode())


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds since 1970 between which a KeyPackage's leaf may be used."""

    not_before: int
    not_after: int

    def encode(self) -> bytes:
        return u64(self.not_before) + u64(self.not_after)

    def covers(self, now: int) -> bool:
        """`now` in milliseconds."""
        return self.not_before * 1000 <= now <= self.not_after * 1000 + 999


@dataclass(frozen=True, slots=True)
class LeafNode:
    """A member as the group sees it."""

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    source: int
    lifetime: Lifetime | None
    parent_hash: bytes
    extensions: Extensions
    signature: bytes
    encoded: bytes = field(repr=False)
    signed_size: int = field(compare=False, repr=False)
    """How many of the encoded bytes the signature covers."""

    @classmethod
    def decode(cls, reader: Reader) -> LeafNode:
        data = reader.data
        start = reader.pos
        encryption_key = reader.opaque()
        signature_key = reader.opaque()
        credential = decode_credential(reader)
        at = reader.pos
        reader.skip_vectors(5)
        capabilities = _capabilities(data[at : reader.pos])
        source = reader.u8()
        lifetime = None
        parent_hash = b""
        if source == 1:
            span = reader.take(16)
            lifetime = Lifetime(int.from_bytes(span[:8], "big"), int.from_bytes(span[8:], "big"))
        elif source == 3:
            parent_hash = reader.opaque()
        elif source != 2:
            raise PeerError("VAL-7.2-1")
        extensions = decode_extensions(reader)
        signed = reader.pos
        signature = reader.opaque()
        return cls(
            encryption_key,
            signature_key,
            credential,
            capabilities,
            source,
            lifetime,
            parent_hash,
            extensions,
            signature,
            data[start : reader.pos],
            signed - start,
        )

    @classmethod
    def decode_shared(cls, reader: Reader) -> LeafNode:
        """A leaf that comes again and again, because it stands in many trees: parsed once, and kept once for all."""
        start = reader.pos
        reader.skip_vectors(2)
        reader.take(2)
        reader.skip_vectors(6)  # the credential, whatever its type, and the capabilities
        source = reader.u8()
        if source == LeafNodeSource.KEY_PACKAGE:
            reader.take(16)
        reader.skip_vectors(3 if source == LeafNodeSource.COMMIT else 2)
        encoded = reader.data[start : reader.pos]
        return _shared(encoded) if len(encoded) <= _SHARED else decode_exactly(encoded, cls.decode)

    def encode(self) -> bytes:
        return self.encoded

    def signed_content(self, group_id: bytes, leaf_index: int) -> bytes:
        """LeafNodeTBS: the place in the group is signed too, except in a KeyPackage."""
        body = self.encoded[: self.signed_size]
        if self.source == LeafNodeSource.KEY_PACKAGE:
            return body
        return body + opaque(group_id) + u32(leaf_index)

    def supports_extensions(self) -> bool:
        """Whether the leaf's own extensions are among its capabilities (§7.3)."""
        return self.capabilities.supports_extensions(frozenset(extension.type for extension in self.extensions))


_SHARED = 2048
"""Leaves of more bytes are not remembered."""


@lru_cache(maxsize=1024)
def _shared(encoded: bytes) -> LeafNode:
    return decode_exactly(encoded, LeafNode.decode)


def sign_leaf_node(
    suite: Suite,
    key: SignaturePrivateKey,
    *,
    encryption_key: bytes,
    signature_key: bytes,
    credential: Credential,
    capabilities: Capabilities,
    extensions: Extensions = (),
    lifetime: Lifetime | None = None,
    parent_hash: bytes | None = None,
    group_id: bytes = b"",
    leaf_index: int = 0,
) -> LeafNode:
    """A leaf whose source follows from what is given: a lifetime, a parent hash, or neither (an Update)."""
    if lifetime is not None:
        source, part = LeafNodeSource.KEY_PACKAGE, lifetime.encode()
    elif parent_hash is not None:
        source, part = LeafNodeSource.COMMIT, opaque(parent_hash)
    else:
        source, part = LeafNodeSource.UPDATE, b""
    capabilities = _capabilities(capabilities.encode())
    body = b"".join(
        [
            opaque(encryption_key),
            opaque(signature_key),
            credential.encode(),
            capabilities.encode(),
            bytes([source]),
            part,
            encode_extensions(extensions),
        ]
    )
    place = b"" if source == LeafNodeSource.KEY_PACKAGE else opaque(group_id) + u32(leaf_index)
    signature = suite.sign_with_label(key, b"LeafNodeTBS", body + place)
    return LeafNode(
        encryption_key,
        signature_key,
        credential,
        capabilities,
        source,
        lifetime,
        parent_hash or b"",
        extensions,
        signature,
        body + opaque(signature),
        len(body),
    )
