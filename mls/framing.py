"""RFC 9420 §6: messages on the wire, signed, and public or encrypted.

The order of a received message is fixed by types: bytes become an `MlsMessage`; a `PublicMessage` or `PrivateMessage`
is opened to an `AuthenticatedContent` whose signature is still unchecked; only `Verified` content, which nothing but
`verify` makes, is acted upon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hmac import compare_digest

from mls.codec import Reader, opaque, optional, u16, u32, u64
from mls.errors import PeerError
from mls.hpke import CryptoError
from mls.proposals import Proposal, decode_proposal, encode_proposal
from mls.registries import (
    MLS10,
    ContentType,
    Epoch,
    GroupId,
    LeafIndex,
    ProposalRef,
    SenderType,
    WireFormat,
)
from mls.secret_tree import MessageKey
from mls.secrets import MembershipKey, SenderDataSecret, SignaturePrivateKey
from mls.suite import NONCE_SIZE, Suite
from mls.tree.path import UpdatePath


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks: a member by leaf, an external sender by place in the list, or somebody joining."""

    type: int
    index: int = 0

    def encode(self) -> bytes:
        if self.type <= SenderType.EXTERNAL:
            return bytes([self.type]) + u32(self.index)
        return bytes([self.type])


def decode_sender(reader: Reader) -> Sender:
    kind = reader.u8()
    if kind in (SenderType.MEMBER, SenderType.EXTERNAL):
        return Sender(kind, reader.u32())
    if kind in (SenderType.NEW_MEMBER_PROPOSAL, SenderType.NEW_MEMBER_COMMIT):
        return Sender(kind)
    raise PeerError("VAL-6-1")


@dataclass(frozen=True, slots=True)
class Commit:
    """The proposals of an epoch's end, by value or reference, and perhaps a path (§12.4)."""

    proposals: tuple[Proposal | ProposalRef, ...]
    path: UpdatePath | None

    def encode(self) -> bytes:
        items = [
            b"\x02" + opaque(item) if isinstance(item, bytes) else b"\x01" + encode_proposal(item)
            for item in self.proposals
        ]
        return opaque(b"".join(items)) + optional(None if self.path is None else self.path.encode())

    @classmethod
    def decode(cls, reader: Reader) -> Commit:
        return cls(reader.vector(_read_proposal_or_ref), reader.optional(UpdatePath.decode))


def _read_proposal_or_ref(reader: Reader) -> Proposal | ProposalRef:
    kind = reader.u8()
    if kind == 1:
        return decode_proposal(reader)
    if kind == 2:
        return ProposalRef(reader.opaque())
    raise PeerError("VAL-12.4-1")


Body = bytes | Proposal | Commit


@dataclass(frozen=True, slots=True)
class FramedContent:
    """What a sender says to a group in an epoch (§6)."""

    group_id: GroupId
    epoch: Epoch
    sender: Sender
    authenticated_data: bytes
    content_type: int
    body: Body
    encoded: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        group_id: GroupId,
        epoch: Epoch,
        sender: Sender,
        authenticated_data: bytes,
        content_type: int,
        body: Body,
    ) -> FramedContent:
        encoded = b"".join(
            [
                opaque(group_id),
                u64(epoch),
                sender.encode(),
                opaque(authenticated_data),
                bytes([content_type]),
                encode_body(content_type, body),
            ]
        )
        return cls(group_id, epoch, sender, authenticated_data, content_type, body, encoded)

    @classmethod
    def decode(cls, reader: Reader) -> FramedContent:
        start = reader.pos
        group_id = GroupId(reader.opaque())
        epoch = Epoch(reader.u64())
        sender = decode_sender(reader)
        authenticated_data = reader.opaque()
        content_type = reader.u8()
        body = decode_body(content_type, reader)
        return cls(group_id, epoch, sender, authenticated_data, content_type, body, reader.data[start : reader.pos])

    @staticmethod
    def decode_place(reader: Reader) -> tuple[GroupId, Epoch, int]:
        """Group, epoch and content type alone, for whoever asks only where it belongs: the body may be long."""
        group_id = GroupId(reader.opaque())
        epoch = Epoch(reader.u64())
        decode_sender(reader)
        reader.opaque()
        return group_id, epoch, _read_content_type(reader)


def _read_content_type(reader: Reader) -> int:
    content_type = reader.u8()
    if content_type not in (ContentType.APPLICATION, ContentType.PROPOSAL, ContentType.COMMIT):
        raise PeerError("VAL-6-2")
    return content_type


def encode_body(content_type: int, body: Body) -> bytes:
    if content_type == ContentType.APPLICATION:
        return opaque(body)  # type: ignore[arg-type]  # the content type says which
    if content_type == ContentType.PROPOSAL:
        return encode_proposal(body)  # type: ignore[arg-type]
    return body.encode()  # type: ignore[union-attr]


def decode_body(content_type: int, reader: Reader) -> Body:
    if content_type == ContentType.APPLICATION:
        return reader.opaque()
    if content_type == ContentType.PROPOSAL:
        return decode_proposal(reader)
    if content_type == ContentType.COMMIT:
        return Commit.decode(reader)
    raise PeerError("VAL-6-2")


@dataclass(frozen=True, slots=True)
class AuthenticatedContent:
    """Content with its signature and, for a commit, its confirmation tag; not verified yet."""

    wire_format: int
    content: FramedContent
    signature: bytes
    confirmation_tag: bytes

    def encode_auth(self) -> bytes:
        if self.content.content_type == ContentType.COMMIT:
            return opaque(self.signature) + opaque(self.confirmation_tag)
        return opaque(self.signature)

    def encode(self) -> bytes:
        return u16(self.wire_format) + self.content.encoded + self.encode_auth()

    @classmethod
    def decode(cls, reader: Reader) -> AuthenticatedContent:
        wire_format = reader.u16()
        content = FramedContent.decode(reader)
        signature = reader.opaque()
        tag = reader.opaque() if content.content_type == ContentType.COMMIT else b""
        return cls(wire_format, content, signature, tag)

    def transcript_input(self) -> bytes:
        """ConfirmedTranscriptHashInput (§8.2)."""
        return u16(self.wire_format) + self.content.encoded + opaque(self.signature)

    def proposal_ref(self, suite: Suite) -> ProposalRef:
        return ProposalRef(suite.ref_hash(b"MLS 1.0 Proposal Reference", self.encode()))


@dataclass(frozen=True, slots=True)
class Verified:
    """Content whose signature was checked; only `verify` and our own signing make it."""

    authenticated: AuthenticatedContent

    @property
    def content(self) -> FramedContent:
        return self.authenticated.content


def _signed_content(wire_format: int, content: FramedContent, group_context: bytes) -> bytes:
    """FramedContentTBS (§6.1); members and external committers sign the group context as well."""
    head = u16(MLS10) + u16(wire_format) + content.encoded
    if content.sender.type in (SenderType.MEMBER, SenderType.NEW_MEMBER_COMMIT):
        return head + group_context
    return head


def sign(
    suite: Suite, key: SignaturePrivateKey, wire_format: int, content: FramedContent, group_context: bytes
) -> bytes:
    return suite.sign_with_label(key, b"FramedContentTBS", _signed_content(wire_format, content, group_context))


def verify(suite: Suite, public: bytes, authenticated: AuthenticatedContent, group_context: bytes) -> Verified:
    signed = _signed_content(authenticated.wire_format, authenticated.content, group_context)
    if not suite.verify_with_label(public, b"FramedContentTBS", signed, authenticated.signature):
        raise PeerError("VAL-6.1-1")
    return Verified(authenticated)


# Public messages (§6.2)


@dataclass(frozen=True, slots=True)
class PublicMessage:
    """Readable by anyone; a member's carries a tag that only members can make."""

    authenticated: AuthenticatedContent
    membership_tag: bytes

    @property
    def group_id(self) -> GroupId:
        return self.authenticated.content.group_id

    @property
    def epoch(self) -> Epoch:
        return self.authenticated.content.epoch

    def encode(self) -> bytes:
        content = self.authenticated.content
        tag = opaque(self.membership_tag) if content.sender.type == SenderType.MEMBER else b""
        return content.encoded + self.authenticated.encode_auth() + tag

    @classmethod
    def decode(cls, reader: Reader) -> PublicMessage:
        content = FramedContent.decode(reader)
        signature = reader.opaque()
        tag = reader.opaque() if content.content_type == ContentType.COMMIT else b""
        membership_tag = reader.opaque() if content.sender.type == SenderType.MEMBER else b""
        authenticated = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, content, signature, tag)
        return cls(authenticated, membership_tag)


def membership_tag(
    suite: Suite, key: MembershipKey, authenticated: AuthenticatedContent, group_context: bytes
) -> bytes:
    signed = _signed_content(WireFormat.PUBLIC_MESSAGE, authenticated.content, group_context)
    return suite.mac(key.raw, signed + authenticated.encode_auth())


def open_public(suite: Suite, key: MembershipKey, message: PublicMessage, group_context: bytes) -> AuthenticatedContent:
    content = message.authenticated.content
    if content.content_type == ContentType.APPLICATION:
        raise PeerError("VAL-6.2-1")
    if content.sender.type == SenderType.MEMBER:
        expected = membership_tag(suite, key, message.authenticated, group_context)
        if not compare_digest(expected, message.membership_tag):
            raise PeerError("VAL-6.2-2")
    return message.authenticated


# Private messages (§6.3)


@dataclass(frozen=True, slots=True)
class PrivateMessage:
    """Encrypted: outsiders see the group, the epoch, the kind of content and the authenticated data."""

    group_id: GroupId
    epoch: Epoch
    content_type: int
    authenticated_data: bytes
    encrypted_sender_data: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        return b"".join(
            [
                opaque(self.group_id),
                u64(self.epoch),
                bytes([self.content_type]),
                opaque(self.authenticated_data),
                opaque(self.encrypted_sender_data),
                opaque(self.ciphertext),
            ]
        )

    @classmethod
    def decode(cls, reader: Reader) -> PrivateMessage:
        group_id = GroupId(reader.opaque())
        epoch = Epoch(reader.u64())
        content_type = _read_content_type(reader)
        return cls(group_id, epoch, content_type, reader.opaque(), reader.opaque(), reader.opaque())


@dataclass(frozen=True, slots=True)
class SenderData:
    """Who sent a PrivateMessage, and with which key (§6.3.2)."""

    leaf_index: LeafIndex
    generation: int
    reuse_guard: bytes


def _sender_data_key(suite: Suite, secret: SenderDataSecret, ciphertext: bytes) -> tuple[bytes, bytes]:
    sample = ciphertext[: suite.hash_size]
    return (
        suite.expand_with_label(secret.raw, b"key", sample, suite.key_size),
        suite.expand_with_label(secret.raw, b"nonce", sample, NONCE_SIZE),
    )


def open_sender_data(suite: Suite, secret: SenderDataSecret, message: PrivateMessage) -> SenderData:
    key, nonce = _sender_data_key(suite, secret, message.ciphertext)
    aad = opaque(message.group_id) + u64(message.epoch) + bytes([message.content_type])
    try:
        plain = suite.aead_open(key, nonce, aad, message.encrypted_sender_data)
    except CryptoError:
        raise PeerError("VAL-6.3.2-1") from None
    if len(plain) != 12:
        raise PeerError("VAL-6.3.2-2")
    return SenderData(LeafIndex(int.from_bytes(plain[:4], "big")), int.from_bytes(plain[4:8], "big"), plain[8:])


def guarded_nonce(nonce: bytes, reuse_guard: bytes) -> bytes:
    """The nonce with its first four bytes mixed with the reuse guard (§6.3.1)."""
    mixed = int.from_bytes(nonce[:4], "big") ^ int.from_bytes(reuse_guard, "big")
    return mixed.to_bytes(4, "big") + nonce[4:]


def seal_private(
    suite: Suite,
    authenticated: AuthenticatedContent,
    message_key: MessageKey,
    sender_data_secret: SenderDataSecret,
    reuse_guard: bytes,
    pad: Callable[[int], int],
) -> PrivateMessage:
    content = authenticated.content
    content_type = content.content_type
    plain = encode_body(content_type, content.body) + authenticated.encode_auth()
    plain += bytes(pad(len(plain)))
    head = opaque(content.group_id) + u64(content.epoch) + bytes([content_type])
    aad = head + opaque(content.authenticated_data)
    nonce = guarded_nonce(message_key.nonce, reuse_guard)
    ciphertext = suite.aead_seal(message_key.key, nonce, aad, plain)
    sender_data = u32(content.sender.index) + u32(message_key.generation) + reuse_guard
    key, sender_nonce = _sender_data_key(suite, sender_data_secret, ciphertext)
    return PrivateMessage(
        content.group_id,
        content.epoch,
        content_type,
        content.authenticated_data,
        suite.aead_seal(key, sender_nonce, head, sender_data),
        ciphertext,
    )


def open_private(
    suite: Suite, message: PrivateMessage, sender: SenderData, message_key: MessageKey
) -> AuthenticatedContent:
    content_type = message.content_type
    aad = opaque(message.group_id) + u64(message.epoch) + bytes([content_type])
    aad += opaque(message.authenticated_data)
    nonce = guarded_nonce(message_key.nonce, sender.reuse_guard)
    try:
        plain = suite.aead_open(message_key.key, nonce, aad, message.ciphertext)
    except CryptoError:
        raise PeerError("VAL-6.3.1-1") from None
    reader = Reader(plain)
    body = decode_body(content_type, reader)
    end = reader.pos
    signature = reader.opaque()
    tag = reader.opaque() if content_type == ContentType.COMMIT else b""
    if plain.count(b"\x00", reader.pos) != len(plain) - reader.pos:
        raise PeerError("VAL-6.3.1-2")
    by = Sender(SenderType.MEMBER, sender.leaf_index)
    encoded = b"".join(
        [
            opaque(message.group_id),
            u64(message.epoch),
            by.encode(),
            opaque(message.authenticated_data),
            bytes([content_type]),
            plain[:end],
        ]
    )
    content = FramedContent(
        message.group_id, message.epoch, by, message.authenticated_data, content_type, body, encoded
    )
    return AuthenticatedContent(WireFormat.PRIVATE_MESSAGE, content, signature, tag)


# The outermost frame (§6)


def encode_message(wire_format: int, body: bytes) -> bytes:
    return u16(MLS10) + u16(wire_format) + body


def read_wire_format(reader: Reader) -> int:
    """Version and wire format, leaving the reader at the body."""
    if reader.u16() != MLS10:
        raise PeerError("VAL-6-3")
    return reader.u16()
