"""draft-ietf-mls-targeted-messages §3 to §7: a message from one member to another, which only that one can read.

    message = seal(group, env, recipient, data)     an MLSMessage of wire format 6
    found = open_message(group, message)            found.sender, found.data

The content is sealed by HPKE to the recipient's leaf key, in PSK mode with a key that the epoch exports: who is not in
the epoch can neither open nor make one. That alone does not say which member made it, so the sender signs what it
sealed, by the hash of the ciphertext. Leaf index, signature and KEM output are sealed once more under another exported
key, which all members have; whoever carries the message sees for whom it is and not from whom. The signature is checked
before anything is opened.

A targeted message uses up no key, and neither function changes the group. So there is no forward secrecy within the
epoch, and nothing notices that a message is delivered twice: to whoever that matters, each message must bring something
that occurs once (in the data, or in `authenticated_data` for others to see), and the recipient must remember it until
the epoch ends. Applications that want more forward secrecy end epochs sooner.

The wire format has to be supported by whom it is sent to (mls-extensions §5); `seal` looks that up in the leaf. A
message to one's own leaf is one for those who share it.

Only the current epoch is read. The draft allows more, at the price of keeping its exporter secret and leaf key, and an
epoch that is over here has lost both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mls.codec import Reader, decode_exactly, opaque, u16, u32, u64
from mls.components.lists import supported_wire_formats
from mls.errors import BugError, CallerError, PeerError, WrongRecipientError
from mls.framing import Sender, encode_message, read_wire_format
from mls.hpke import CryptoError
from mls.messages import check_place
from mls.provider import Environment
from mls.registries import MLS10, Epoch, GroupId, LeafIndex, SenderType, WireFormat
from mls.schedule import export
from mls.secrets import ExporterSecret, HpkePrivateKey, SignaturePrivateKey
from mls.state import Group
from mls.suite import NONCE_SIZE, Random, Suite

_EXPORTER_LABEL = b"targeted message"
_PSK_ID_LABEL = b"MLS 1.0 targeted message psk"
_INFO_LABEL = b"MLS 1.0 TargetedMessageData"
_SIGNATURE_LABEL = b"TargetedMessageTBS"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetedMessage:
    """What one member sent to us."""

    sender: LeafIndex
    data: bytes = field(repr=False)
    authenticated_data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """TargetedMessage on the wire (§3)."""

    group_id: GroupId
    epoch: Epoch
    recipient: LeafIndex
    authenticated_data: bytes
    encrypted_sender_auth_data: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        return b"".join(
            [
                opaque(self.group_id),
                u64(self.epoch),
                u32(self.recipient),
                opaque(self.authenticated_data),
                opaque(self.encrypted_sender_auth_data),
                opaque(self.ciphertext),
            ]
        )

    @classmethod
    def decode(cls, reader: Reader) -> Frame:
        return cls(
            group_id=GroupId(reader.opaque()),
            epoch=Epoch(reader.u64()),
            recipient=LeafIndex(reader.u32()),
            authenticated_data=reader.opaque(),
            encrypted_sender_auth_data=reader.opaque(),
            ciphertext=reader.opaque(),
        )


@dataclass(frozen=True, slots=True)
class _SenderAuthData:
    """TargetedMessageSenderAuthData: what the recipient needs first, and the carrier must not see."""

    sender: LeafIndex
    signature: bytes
    kem_output: bytes

    def encode(self) -> bytes:
        return u32(self.sender) + opaque(self.signature) + opaque(self.kem_output)

    @classmethod
    def decode(cls, reader: Reader) -> _SenderAuthData:
        return cls(LeafIndex(reader.u32()), reader.opaque(), reader.opaque())


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What sender and recipient have in common: an epoch of a group."""

    suite: Suite
    group_id: GroupId
    epoch: Epoch
    exporter: ExporterSecret

    @classmethod
    def of(cls, group: Group) -> Channel:
        return cls(suite=group.suite, group_id=group.group_id, epoch=group.epoch, exporter=group.secrets.exporter)

    def _place(self, recipient: LeafIndex) -> bytes:
        """SenderAuthDataAAD, which is also how the message itself begins."""
        return opaque(self.group_id) + u64(self.epoch) + u32(recipient)

    def _psk(self) -> tuple[bytes, bytes]:
        """The key that every member can export, and its id (§5)."""
        psk = export(self.suite, self.exporter, _EXPORTER_LABEL, b"psk", self.suite.hash_size)
        return psk, opaque(self.group_id) + u64(self.epoch) + opaque(_PSK_ID_LABEL)

    def _sender_auth_key(self, ciphertext: bytes) -> tuple[bytes, bytes]:
        """Key and nonce of the sender's data, by a sample of the ciphertext that it goes with (§6.3)."""
        suite = self.suite
        secret = export(suite, self.exporter, _EXPORTER_LABEL, b"sender auth data secret", suite.hash_size)
        sample = ciphertext[: suite.hash_size]
        key = suite.expand_with_label(secret, b"key", sample, suite.key_size)
        return key, suite.expand_with_label(secret, b"nonce", sample, NONCE_SIZE)

    def _signed(
        self, recipient: LeafIndex, authenticated_data: bytes, sender: LeafIndex, kem_output: bytes, ciphertext: bytes
    ) -> bytes:
        """TargetedMessageTBS."""
        return b"".join(
            [
                u16(MLS10),
                u16(WireFormat.TARGETED_MESSAGE),
                self._place(recipient),
                opaque(authenticated_data),
                u32(sender),
                opaque(kem_output),
                opaque(self.suite.hash(ciphertext)),
            ]
        )

    def seal(
        self,
        random: Random,
        *,
        sender: LeafIndex,
        signature_private: SignaturePrivateKey,
        recipient: LeafIndex,
        recipient_key: bytes,
        data: bytes,
        authenticated_data: bytes,
        pad: Callable[[int], int],
    ) -> Frame:
        """What `sender` sends to `recipient`; `pad` says how many zeros to add to so many bytes (§6.1)."""
        suite = self.suite
        content = opaque(data)
        content += bytes(pad(len(content)))
        psk, psk_id = self._psk()
        try:
            kem_output, ciphertext = suite.hpke.seal_psk(
                recipient_key, _info(recipient, sender), authenticated_data, content, psk, psk_id, random
            )
        except CryptoError:
            raise BugError("a leaf key that was checked on arrival cannot be sealed to") from None
        signed = self._signed(recipient, authenticated_data, sender, kem_output, ciphertext)
        signature = suite.sign_with_label(signature_private, _SIGNATURE_LABEL, signed)
        key, nonce = self._sender_auth_key(ciphertext)
        auth = _SenderAuthData(sender, signature, kem_output).encode()
        return Frame(
            group_id=self.group_id,
            epoch=self.epoch,
            recipient=recipient,
            authenticated_data=authenticated_data,
            encrypted_sender_auth_data=suite.aead_seal(key, nonce, self._place(recipient), auth),
            ciphertext=ciphertext,
        )

    def open(
        self, frame: Frame, private: HpkePrivateKey, signature_key: Callable[[LeafIndex], bytes | None]
    ) -> TargetedMessage:
        """What was sent to the leaf that `private` belongs to, in the order of §7 after its third step.

        `signature_key` gives a member's key, and None for a blank leaf.
        """
        suite = self.suite
        key, nonce = self._sender_auth_key(frame.ciphertext)
        try:
            plain = suite.aead_open(key, nonce, self._place(frame.recipient), frame.encrypted_sender_auth_data)
        except CryptoError:
            raise PeerError("TM-6.3-1") from None
        auth = decode_exactly(plain, _SenderAuthData.decode)
        verifying = signature_key(auth.sender)
        if verifying is None:
            raise PeerError("TM-7-1", f"leaf {auth.sender}")
        signed = self._signed(frame.recipient, frame.authenticated_data, auth.sender, auth.kem_output, frame.ciphertext)
        if not suite.verify_with_label(verifying, _SIGNATURE_LABEL, signed, auth.signature):
            raise PeerError("TM-5-1")
        psk, psk_id = self._psk()
        info = _info(frame.recipient, auth.sender)
        try:
            content = suite.hpke.open_psk(
                private, auth.kem_output, info, frame.authenticated_data, frame.ciphertext, psk, psk_id
            )
        except CryptoError:
            raise PeerError("TM-6.2-1") from None
        reader = Reader(content)
        data = reader.opaque()
        if content.count(0, reader.pos) != len(content) - reader.pos:
            raise PeerError("TM-6.1-1")
        return TargetedMessage(sender=auth.sender, data=data, authenticated_data=frame.authenticated_data)


def _info(recipient: LeafIndex, sender: LeafIndex) -> bytes:
    """TargetedMessageContext (§6.2); its context is a struct and not a vector, so it has no length of its own."""
    return opaque(_INFO_LABEL) + u32(recipient) + u32(sender)


def seal(
    group: Group, env: Environment, recipient: LeafIndex, data: bytes, *, authenticated_data: bytes = b""
) -> bytes:
    """An MLSMessage for one member; `authenticated_data` is signed and not encrypted.

    The group is as it was: the same data may be sealed again, and a repetition is not noticed by whoever opens it.
    """
    group.require_active()
    leaf = group.public.tree.leaf(recipient)
    if leaf is None:
        raise CallerError(f"leaf {recipient} is blank", "send to a member")
    try:
        reads = WireFormat.TARGETED_MESSAGE in supported_wire_formats(leaf.extensions)
    except PeerError:  # its list cannot be read
        reads = False
    if not reads:
        raise CallerError(
            f"member {recipient} does not read targeted messages", "send to one whose supported_wire_formats has 6"
        )
    frame = Channel.of(group).seal(
        env.provider.random,
        sender=group.own_leaf,
        signature_private=group.signature_key,
        recipient=recipient,
        recipient_key=leaf.encryption_key,
        data=data,
        authenticated_data=authenticated_data,
        pad=group.parameters.padding.size,
    )
    return encode_message(WireFormat.TARGETED_MESSAGE, frame.encode())


def decode_message(message: bytes) -> Frame:
    """A targeted message as anybody can read it: nothing of this is verified."""
    reader = Reader(message)
    wire_format = read_wire_format(reader)
    if wire_format != WireFormat.TARGETED_MESSAGE:
        raise PeerError("VAL-6-4", f"wire format {wire_format}")
    frame = Frame.decode(reader)
    reader.finish()
    return frame


def open_message(group: Group, message: bytes) -> TargetedMessage:
    """What a member sent to our leaf in this epoch.

    The same message opens as often as it comes: a caller to whom that matters remembers what it has seen until the
    epoch ends. `StaleError` if it is for another group, epoch or member.
    """
    frame = decode_message(message)
    check_place(group, frame.group_id, frame.epoch)
    group.require_active()
    if frame.recipient != group.own_leaf:
        raise WrongRecipientError(f"the message is for leaf {frame.recipient}; ours is {group.own_leaf}")
    tree = group.public.tree

    def signature_key(leaf: LeafIndex) -> bytes | None:
        node = tree.leaf(leaf)
        return None if node is None else node.signature_key

    found = Channel.of(group).open(frame, group.private[2 * group.own_leaf], signature_key)
    group.mode.check_sender(Sender(SenderType.MEMBER, found.sender))
    return found
