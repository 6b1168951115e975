"""RFC 9420 a second time: the key schedule, Welcomes and messages, as far as a run of emulation.json goes.

Nothing of `mls` is imported. `second_structs.py` has what these are about, `second_crypto.py` what they are made with,
and `second_device.py` the virtual client. An assertion fails where something does not fit.

An epoch is entered by its Welcome or by the commit before it, from the secrets and the tree that were there. Of what
the file says of it, everything is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.mls.virtual.ladder import number, var
from tests.mls.virtual.second_crypto import Nn, Suite
from tests.mls.virtual.second_structs import (
    MLS10,
    RATCHET_TREE,
    Commit,
    Context,
    Leaf,
    Reader,
    Tree,
    Updated,
    extensions,
    message,
    read_commit,
    read_proposal,
)

Entry = dict[str, Any]

PUBLIC_MESSAGE, PRIVATE_MESSAGE, WELCOME, GROUP_INFO = 1, 2, 3, 4
APPLICATION, PROPOSAL, COMMIT = 1, 2, 3
MEMBER, NEW_MEMBER_COMMIT = 1, 4


@dataclass(frozen=True)
class GroupInfo:
    context: Context
    tree: Tree
    extensions: dict[int, bytes]
    confirmation_tag: bytes

    @classmethod
    def read(cls, suite: Suite, reader: Reader) -> GroupInfo:
        start = reader.at
        context, found, tag, signer = Context.read(reader), extensions(reader), reader.var(), reader.number(4)
        signed, signature = reader.since(start), reader.var()
        reader.finish()
        tree = Tree.read(suite, context.group_id, found[RATCHET_TREE])
        assert tree.hash() == context.tree_hash
        suite.verify(tree.leaf(signer).signature_key, b"GroupInfoTBS", signed, signature)
        return cls(context, tree, found, tag)


# Epochs


class Outside:
    """An epoch as everybody sees it who has a GroupInfo."""

    secret = b""

    def __init__(self, context: Context, tree: Tree, tag: bytes) -> None:
        self.suite = tree.suite
        self.context = context
        self.tree = tree
        self.interim = self.suite.hash(context.confirmed + var(tag))
        assert context.cipher_suite == self.suite.cipher_suite
        assert context.tree_hash == tree.hash()

    def derive(self, label: bytes) -> bytes:
        return self.suite.derive(self.secret, label)

    def enter(
        self, init: bytes, commit_secret: bytes, content: Content, begins: Entry, updates: Mapping[bytes, Updated]
    ) -> Epoch:
        """The epoch that a commit begins; `updates` are by their references, as the commit has them."""
        suite = self.suite
        context = bytes.fromhex(begins["group_context"])
        joiner = suite.expand(suite.extract(commit_secret, init), b"joiner", context)
        tree = self.tree.after(read_commit(Reader(content.body)), content.sender, updates)
        entered = Epoch.joined(tree, joiner, begins)
        there = entered.context
        assert there.confirmed == suite.hash(self.interim + content.transcript)
        assert (there.group_id, there.epoch) == (self.context.group_id, self.context.epoch + 1)
        assert content.confirmation_tag.hex() == begins["confirmation_tag"]
        return entered


class Epoch(Outside):
    """An epoch that the one who reads is in."""

    def __init__(self, tree: Tree, begins: Entry) -> None:
        context, tag = bytes.fromhex(begins["group_context"]), bytes.fromhex(begins["confirmation_tag"])
        super().__init__(Context.read(Reader(context)), tree, tag)
        self.secret = bytes.fromhex(begins["epoch_secret"])
        self.leaf_count, self.leaf_index = tree.leaf_count, begins["leaf_index"]
        assert self.leaf_count == begins["leaf_count"]
        assert self.suite.mac(self.derive(b"confirm"), self.context.confirmed) == tag
        assert self.derive(b"authentication").hex() == begins["epoch_authenticator"]

    @classmethod
    def joined(cls, tree: Tree, joiner: bytes, begins: Entry) -> Epoch:
        """From the joiner secret on; there are no pre-shared keys in a run."""
        assert joiner.hex() == begins["joiner_secret"]
        suite = tree.suite
        secret = suite.expand(member(suite, joiner), b"epoch", bytes.fromhex(begins["group_context"]))
        assert secret.hex() == begins["epoch_secret"]
        return cls(tree, begins)

    @property
    def leaf(self) -> Leaf:
        """Of the one who reads."""
        return self.tree.leaf(self.leaf_index)

    def key(self, leaf: int, content_type: int, generation: int) -> tuple[bytes, bytes]:
        """Of the secret tree (RFC 9420 §9): key and nonce."""
        suite, low, high, secret = self.suite, 0, self.leaf_count, self.derive(b"encryption")
        assert leaf < high
        while high - low > 1:
            middle = (low + high) // 2
            left = leaf < middle
            secret = suite.expand(secret, b"tree", b"left" if left else b"right")
            low, high = (low, middle) if left else (middle, high)
        secret = suite.expand(secret, b"application" if content_type == APPLICATION else b"handshake", b"")
        for passed in range(generation):
            secret = suite.expand(secret, b"secret", number(passed, 4))
        at = number(generation, 4)
        return suite.expand(secret, b"key", at, suite.numbers.key_size), suite.expand(secret, b"nonce", at, Nn)


def member(suite: Suite, joiner: bytes) -> bytes:
    return suite.extract(bytes(suite.size), joiner)


def open_welcome(suite: Suite, data: bytes, reference: bytes, init_private: bytes) -> tuple[bytes, GroupInfo]:
    """The joiner secret, and what the group is."""
    reader = message(data, WELCOME)
    assert reader.number(2) == suite.cipher_suite
    sealed = dict(reader.all(lambda r: (r.var(), (r.var(), r.var()))))
    info = reader.var()
    reader.finish()
    secrets = Reader(suite.decrypt_with_label(init_private, b"Welcome", info, *sealed[reference]))
    joiner = secrets.var()
    welcome = suite.derive(member(suite, joiner), b"welcome")
    key = suite.expand(welcome, b"key", b"", suite.numbers.key_size)
    plain = suite.open(key, suite.expand(welcome, b"nonce", b"", Nn), b"", info)
    return joiner, GroupInfo.read(suite, Reader(plain))


# Messages


@dataclass(frozen=True)
class Sealing:
    """What was found in a PrivateMessage besides its content."""

    leaf: int
    generation: int
    nonce: bytes
    reuse_guard: bytes


@dataclass(frozen=True)
class Content:
    """FramedContent and what authenticates it."""

    content_type: int
    body: bytes
    authenticated_data: bytes
    transcript: bytes
    """ConfirmedTranscriptHashInput, if it is a commit."""
    signed: bytes
    signature: bytes
    confirmation_tag: bytes
    sender: int | None
    """A leaf, or nobody yet."""
    sealing: Sealing | None


def open_message(epoch: Outside, data: bytes) -> Content:
    """A message of any member in this epoch, or a commit from outside; its signature is verified."""
    reader = Reader(data)
    assert reader.take(2) == MLS10
    wire_format, suite = reader.number(2), epoch.suite
    start = reader.at
    assert (reader.var(), reader.number(8)) == (epoch.context.group_id, epoch.context.epoch)
    head = reader.since(start)
    if wire_format == PUBLIC_MESSAGE:
        by = reader.at
        kind = reader.number(1)
        assert kind in (MEMBER, NEW_MEMBER_COMMIT)
        sender = reader.number(4) if kind == MEMBER else None
        who, authenticated_data = reader.since(by), reader.var()
        found = _content(epoch, wire_format, head + who, authenticated_data, reader.number(1), reader, sender, None)
        if kind == MEMBER:
            authenticated = var(found.signature)
            authenticated += var(found.confirmation_tag) if found.content_type == COMMIT else b""
            expected = suite.mac(epoch.derive(b"membership"), found.signed + authenticated)
            assert reader.var() == expected
        reader.finish()
        return found
    assert wire_format == PRIVATE_MESSAGE
    kind = reader.number(1)
    outside = reader.since(start)
    authenticated_data, sender_data, ciphertext = reader.var(), reader.var(), reader.var()
    reader.finish()
    secret, sample = epoch.derive(b"sender data"), ciphertext[: suite.size]
    key, nonce = (
        suite.expand(secret, b"key", sample, suite.numbers.key_size),
        suite.expand(secret, b"nonce", sample, Nn),
    )
    about = Reader(suite.open(key, nonce, outside, sender_data))
    sender, generation, guard = about.number(4), about.number(4), about.take(4)
    about.finish()
    assert isinstance(epoch, Epoch)
    key, nonce = epoch.key(sender, kind, generation)
    mixed = bytes(a ^ b for a, b in zip(nonce, guard + bytes(Nn - 4), strict=True))
    plain = Reader(suite.open(key, mixed, outside + var(authenticated_data), ciphertext))
    who = number(MEMBER, 1) + number(sender, 4)
    sealing = Sealing(sender, generation, nonce, guard)
    found = _content(epoch, wire_format, head + who, authenticated_data, kind, plain, sender, sealing)
    assert not any(plain.data[plain.at :])
    return found


def _content(
    epoch: Outside,
    wire_format: int,
    head: bytes,
    authenticated_data: bytes,
    kind: int,
    reader: Reader,
    sender: int | None,
    sealing: Sealing | None,
) -> Content:
    start = reader.at
    readers: dict[int, Callable[[Reader], object]] = {
        APPLICATION: Reader.var,
        PROPOSAL: read_proposal,
        COMMIT: read_commit,
    }
    found = readers[kind](reader)
    body = reader.since(start)
    framed = number(wire_format, 2) + head + var(authenticated_data) + number(kind, 1) + body
    signature = reader.var()
    tag = reader.var() if kind == COMMIT else b""
    signed = MLS10 + framed + epoch.context.encoded
    leaf = epoch.tree.leaf(sender) if sender is not None else None
    if isinstance(found, Commit) and sender is None:
        leaf = found.leaf
    assert leaf is not None
    epoch.suite.verify(leaf.signature_key, b"FramedContentTBS", signed, signature)
    return Content(kind, body, authenticated_data, framed + var(signature), signed, signature, tag, sender, sealing)
