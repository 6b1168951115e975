"""RFC 9420 §6, §12.1 and §15: sealing and opening what members say to each other.

`open_message` takes bytes as far as verified content and the group value whose key they used; what the content then
does is for `mls.follow` and `mls.group`. `send` is the way out for everything a member sends.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mls.codec import Reader
from mls.components.aad import decode_items, encode_items
from mls.errors import (
    CallerError,
    FutureEpochError,
    OwnMessageError,
    PastEpochError,
    PeerError,
    WrongGroupError,
)
from mls.framing import (
    AuthenticatedContent,
    Body,
    Commit,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
    Verified,
    encode_message,
    membership_tag,
    open_private,
    open_public,
    open_sender_data,
    read_wire_format,
    seal_private,
    sign,
    verify,
)
from mls.parameters import Parameters
from mls.proposals import Add
from mls.provider import Environment, ReuseGuard
from mls.public_state import PublicState
from mls.registries import ContentType, Epoch, Generation, GroupId, SenderType, WireFormat
from mls.secret_tree import APPLICATION, HANDSHAKE, SecretTree
from mls.state import Ended, Group


@dataclass(frozen=True, slots=True)
class Sealing:
    """How a PrivateMessage was sealed: with these, clients that share a leaf find out which of them sent it."""

    generation: Generation
    reuse_guard: bytes
    nonce: bytes = field(repr=False)
    """The key schedule's nonce, before the reuse guard."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Verified content, the group without the key that opened it, and how it was sealed if it was."""

    group: Group
    verified: Verified
    sealing: Sealing | None


def check_place(group: Group, group_id: GroupId, epoch: Epoch) -> None:
    """Whether a message that says so is for this group and epoch."""
    if group_id != group.group_id:
        raise WrongGroupError("the message is for another group")
    check_epoch(group.epoch, epoch)


def check_epoch(ours: Epoch, epoch: Epoch) -> None:
    if epoch < ours:
        raise PastEpochError(f"epoch {epoch} is over; this is {ours}")
    if epoch > ours:
        raise FutureEpochError(f"epoch {epoch} is still to come; this is {ours}")


def open_message(group: Group, message: bytes, *, shared_leaf: bool, own_words: bool = False) -> Opened:
    """Decrypt and verify. Without `shared_leaf`, what our own leaf sent is our echo and is not opened.

    With `own_words`, application messages of our leaf are, as far as this value has not sent them: a member that was
    set back to an older value does not know what it said since. Those that it has sent have no key any more.
    """
    opened = _open(group, message, shared_leaf=shared_leaf, own_words=own_words)
    check_content(group.public, group.parameters, opened.verified.authenticated)
    return opened


def check_content(state: PublicState, parameters: Parameters, authenticated: AuthenticatedContent) -> None:
    """What a group of this kind and with this application data asks of every message."""
    content = authenticated.content
    dictionary = state.context.dictionary
    if not dictionary.entries:
        return  # an ordinary group
    mode = parameters.mode(dictionary)
    mode.check_sender(content.sender)
    if mode.unique_signatures and not state.suite.scheme.canonical(authenticated.signature):
        raise PeerError("EXT-5-10")
    if dictionary.find(parameters.components.numbers.safe_aad) is not None:
        decode_items(content.authenticated_data)  # refuses what is not SafeAAD


def _open(group: Group, message: bytes, *, shared_leaf: bool, own_words: bool) -> Opened:
    reader = Reader(message)
    wire_format = read_wire_format(reader)
    if wire_format == WireFormat.PRIVATE_MESSAGE:
        private = PrivateMessage.decode(reader)
        reader.finish()
        check_place(group, private.group_id, private.epoch)
        if not (group.ended is Ended.RETIRED and private.content_type == ContentType.APPLICATION):
            group.require_active()
        own_words = own_words and private.content_type == ContentType.APPLICATION
        return _open_private(group, private, shared_leaf=shared_leaf or own_words)
    if wire_format == WireFormat.PUBLIC_MESSAGE:
        public = PublicMessage.decode(reader)
        reader.finish()
        check_place(group, public.group_id, public.epoch)
        group.require_active()
        return _open_public(group, public, shared_leaf=shared_leaf)
    raise PeerError("VAL-6-4", f"wire format {wire_format}")


def _open_private(group: Group, message: PrivateMessage, *, shared_leaf: bool) -> Opened:
    suite = group.public.suite
    sender = open_sender_data(suite, group.secrets.sender_data, message)
    leaf = group.public.tree.leaf(sender.leaf_index)
    if leaf is None:
        raise PeerError("VAL-6.3.2-3", f"leaf {sender.leaf_index}")
    if sender.leaf_index == group.own_leaf and not shared_leaf:
        raise OwnMessageError("our own message came back")
    parameters = group.parameters
    kind = APPLICATION if message.content_type == ContentType.APPLICATION else HANDSHAKE
    keep = parameters.own_keys if sender.leaf_index == group.own_leaf else 0
    if kind == HANDSHAKE and (parameters.keep_handshake_keys or group.mode.keeps_handshake_keys):
        keep = parameters.max_forward
        if sender.generation > keep:  # so no key is ever dropped for a later one, whatever came first
            raise PeerError("VAL-15.3-1", f"generation {sender.generation}")
    keys, message_key = group.keys.key_at(
        suite,
        sender.leaf_index,
        kind,
        sender.generation,
        max_forward=parameters.max_forward,
        out_of_order=parameters.out_of_order,
        keep=keep,
    )
    authenticated = open_private(suite, message, sender, message_key)
    verified = verify(suite, leaf.signature_key, authenticated, group.public.context.encoded)
    sealing = Sealing(message_key.generation, sender.reuse_guard, message_key.nonce)
    if group.ended is Ended.RETIRED:
        keys = keys.without_handshakes()  # the first message of a sender's starts both of its ratchets
    return Opened(with_keys(group, keys), verified, sealing)


def with_keys(group: Group, keys: SecretTree) -> Group:
    return replace(group, keys=keys)


def _open_public(group: Group, message: PublicMessage, *, shared_leaf: bool) -> Opened:
    suite = group.public.suite
    context = group.public.context.encoded
    authenticated = open_public(suite, group.secrets.membership, message, context)
    content = authenticated.content
    if content.sender.type == SenderType.MEMBER and content.sender.index == group.own_leaf and not shared_leaf:
        raise OwnMessageError("our own message came back")
    verified = verify(suite, _signer(group, content), authenticated, context)
    return Opened(group, verified, None)


def _signer(group: Group, content: FramedContent) -> bytes:
    """§6.1: whose key must have signed."""
    sender = content.sender
    body = content.body
    if sender.type == SenderType.MEMBER:
        leaf = group.public.tree.leaf(sender.index)
        if leaf is None:
            raise PeerError("VAL-6-5", f"leaf {sender.index}")
        return leaf.signature_key
    if sender.type == SenderType.NEW_MEMBER_COMMIT:
        if not isinstance(body, Commit):
            raise PeerError("VAL-6-6")
        if body.path is None:
            raise PeerError("VAL-12.4.3.2-3")
        return body.path.leaf_node.signature_key
    if content.content_type != ContentType.PROPOSAL:
        raise PeerError("VAL-6-6")
    if sender.type == SenderType.EXTERNAL:
        senders = group.public.external_senders()
        if sender.index >= len(senders):
            raise PeerError("VAL-12.1.8.1-1", f"sender {sender.index}")
        return senders[sender.index].signature_key
    if not isinstance(body, Add):
        raise PeerError("VAL-12.1.8-2")
    return body.key_package.leaf_node.signature_key


# Sending


def framed_aad(state: PublicState, parameters: Parameters, authenticated_data: bytes) -> bytes:
    """Authenticated data as the group wants it: nothing said is an empty SafeAAD where that is the form."""
    if state.context.dictionary.find(parameters.components.numbers.safe_aad) is None:
        return authenticated_data
    if not authenticated_data:
        return encode_items({})
    try:
        decode_items(authenticated_data)
    except PeerError:
        raise CallerError(
            "the group's authenticated data is divided among components", "use mls.components.aad.encode_items"
        ) from None
    return authenticated_data


def frame(
    group: Group, content_type: int, body: Body, authenticated_data: bytes, *, encrypt: bool
) -> AuthenticatedContent:
    """Content of ours, signed; a commit's confirmation tag is still to come."""
    public = group.public
    content = FramedContent.of(
        public.group_id,
        public.epoch,
        Sender(SenderType.MEMBER, group.own_leaf),
        framed_aad(public, group.parameters, authenticated_data),
        content_type,
        body,
    )
    wire_format = WireFormat.PRIVATE_MESSAGE if encrypt else WireFormat.PUBLIC_MESSAGE
    signature = sign(public.suite, group.signature_key, wire_format, content, public.context.encoded)
    return AuthenticatedContent(wire_format, content, signature, b"")


def send(
    group: Group,
    env: Environment,
    authenticated: AuthenticatedContent,
    *,
    reuse_guard: ReuseGuard | None = None,
) -> tuple[Group, bytes]:
    """The message, and the group without the key it used."""
    suite = group.public.suite
    if authenticated.wire_format == WireFormat.PUBLIC_MESSAGE:
        context = group.public.context.encoded
        tag = membership_tag(suite, group.secrets.membership, authenticated, context)
        message = PublicMessage(authenticated, tag)
        return group, encode_message(WireFormat.PUBLIC_MESSAGE, message.encode())
    kind = APPLICATION if authenticated.content.content_type == ContentType.APPLICATION else HANDSHAKE
    parameters = group.parameters
    keys, message_key = group.keys.next_key(
        suite, group.own_leaf, kind, keep=parameters.own_keys, out_of_order=parameters.out_of_order
    )
    if reuse_guard is None:
        guard = env.provider.random(4)
    else:
        guard = reuse_guard(message_key.nonce, message_key.generation, kind)
        if len(guard) != 4:
            raise CallerError("a reuse guard is four bytes", "return four from the hook")
    sealed = seal_private(suite, authenticated, message_key, group.secrets.sender_data, guard, parameters.padding.size)
    return with_keys(group, keys), encode_message(WireFormat.PRIVATE_MESSAGE, sealed.encode())
