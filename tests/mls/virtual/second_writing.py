"""RFC 9420 and draft-ietf-mls-virtual-clients a second time, as far as a run of emulation.json goes.

Nothing of `mls` is imported. Here is what MLS has: structs, the ratchet tree of a GroupInfo, the key schedule, Welcomes
and messages; `second_device.py` has the virtual client. An assertion fails where something does not fit.

Trees are not kept from epoch to epoch. The tree hash of an epoch that a commit begins is what its GroupContext says;
were it wrong, the epoch's secrets would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.mls.virtual.ladder import number, var
from tests.mls.virtual.second_crypto import Nn, Suite

Entry = dict[str, Any]
T = TypeVar("T")

MLS10 = number(1, 2)
PUBLIC_MESSAGE, PRIVATE_MESSAGE, WELCOME, GROUP_INFO = 1, 2, 3, 4
APPLICATION, PROPOSAL, COMMIT = 1, 2, 3
KEY_PACKAGE, UPDATE, COMMITTED = 1, 2, 3
MEMBER, NEW_MEMBER_COMMIT = 1, 4
DICTIONARY, RATCHET_TREE, EXTERNAL_PUB = 6, 2, 4


# Reading


class Reader:
    """Bytes from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        assert self.at + size <= len(self.data)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def var(self) -> bytes:
        size = 1 << (self.data[self.at] >> 6)
        return self.take(self.number(size) & ((1 << (8 * size - 2)) - 1))

    def all(self, each: Callable[[Reader], T]) -> list[T]:
        inner, found = Reader(self.var()), []
        while inner.at < len(inner.data):
            found.append(each(inner))
        return found

    def optional(self, each: Callable[[Reader], T]) -> T | None:
        return each(self) if self.number(1) else None

    def since(self, start: int) -> bytes:
        return self.data[start : self.at]

    def finish(self) -> None:
        assert self.at == len(self.data)


def message(data: bytes, wire_format: int) -> Reader:
    reader = Reader(data)
    assert reader.take(4) == MLS10 + number(wire_format, 2)
    return reader


def extensions(reader: Reader) -> dict[int, bytes]:
    return dict(reader.all(lambda r: (r.number(2), r.var())))


def dictionary(found: dict[int, bytes]) -> dict[int, bytes]:
    """app_data_dictionary, by component."""
    return extensions(Reader(found[DICTIONARY]))


@dataclass(frozen=True)
class Leaf:
    """LeafNode."""

    encoded: bytes
    signed: bytes
    encryption_key: bytes
    signature_key: bytes
    source: int
    extensions: dict[int, bytes]
    signature: bytes

    @classmethod
    def read(cls, reader: Reader) -> Leaf:
        start = reader.at
        encryption_key, signature_key = reader.var(), reader.var()
        assert reader.number(2) == 1  # a basic credential
        reader.var()
        for _ in range(5):
            reader.var()  # capabilities
        source = reader.number(1)
        if source == KEY_PACKAGE:
            reader.take(16)
        if source == COMMITTED:
            reader.var()
        found = extensions(reader)
        signed = reader.since(start)
        signature = reader.var()
        return cls(reader.since(start), signed, encryption_key, signature_key, source, found, signature)

    def verify(self, suite: Suite, place: bytes) -> None:
        """`place` is group id and leaf index, which a KeyPackage's leaf does not sign."""
        bound = b"" if self.source == KEY_PACKAGE else place
        suite.verify(self.signature_key, b"LeafNodeTBS", self.signed + bound, self.signature)


@dataclass(frozen=True)
class KeyPackage:
    cipher_suite: int
    init_key: bytes
    leaf: Leaf
    extensions: bytes
    signed: bytes
    signature: bytes

    @classmethod
    def read(cls, reader: Reader) -> KeyPackage:
        start = reader.at
        assert reader.take(2) == MLS10
        cipher_suite, init_key, leaf = reader.number(2), reader.var(), Leaf.read(reader)
        found = reader.at
        reader.var()
        return cls(cipher_suite, init_key, leaf, reader.since(found), reader.since(start), reader.var())


@dataclass(frozen=True)
class Context:
    """GroupContext."""

    encoded: bytes
    cipher_suite: int
    group_id: bytes
    epoch: int
    tree_hash: bytes
    confirmed: bytes
    rest: bytes

    @classmethod
    def read(cls, reader: Reader) -> Context:
        start = reader.at
        assert reader.take(2) == MLS10
        cipher_suite, group_id, epoch = reader.number(2), reader.var(), reader.number(8)
        tree_hash, confirmed, rest = reader.var(), reader.var(), reader.at
        reader.var()
        return cls(reader.since(start), cipher_suite, group_id, epoch, tree_hash, confirmed, reader.since(rest))

    def provisional(self, confirmed: bytes) -> bytes:
        """With the transcript hash of the epoch before, as path secrets are sealed (RFC 9420 §12.4.1)."""
        head = MLS10 + number(self.cipher_suite, 2) + var(self.group_id) + number(self.epoch, 8)
        return head + var(self.tree_hash) + var(confirmed) + self.rest


class Tree:
    """The ratchet tree as GroupInfo carries it."""

    def __init__(self, suite: Suite, encoded: bytes) -> None:
        self.suite = suite
        self.nodes = Reader(encoded).all(lambda r: r.optional(self._node))
        width = 1
        while width < len(self.nodes):
            width = 2 * width + 1
        self.nodes += [None] * (width - len(self.nodes))

    @staticmethod
    def _node(reader: Reader) -> Leaf | bytes:
        if reader.number(1) == 1:
            return Leaf.read(reader)
        start = reader.at
        for _ in range(3):
            reader.var()
        return reader.since(start)

    @property
    def leaf_count(self) -> int:
        return len(self.nodes) // 2 + 1

    def leaf(self, index: int) -> Leaf:
        found = self.nodes[2 * index]
        assert isinstance(found, Leaf)
        return found

    def hash(self, low: int = 0, high: int | None = None) -> bytes:
        """Of the nodes from `low` to `high`, the second not included."""
        end = len(self.nodes) if high is None else high
        middle = (low + end) // 2
        node = self.nodes[middle]
        if end - low == 1:
            leaf = b"\0" if node is None else b"\1" + self.leaf(middle // 2).encoded
            return self.suite.hash(number(1, 1) + number(middle // 2, 4) + leaf)
        parent = b"\0"
        if node is not None:
            assert isinstance(node, bytes)
            parent = b"\1" + node
        below = [self.hash(low, middle), self.hash(middle + 1, end)]
        return self.suite.hash(number(2, 1) + parent + var(below[0]) + var(below[1]))


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
        tree = Tree(suite, found[RATCHET_TREE])
        assert tree.hash() == context.tree_hash
        suite.verify(tree.leaf(signer).signature_key, b"GroupInfoTBS", signed, signature)
        return cls(context, tree, found, tag)


# Epochs


class Outside:
    """An epoch as everybody sees it who has a GroupInfo."""

    secret = b""

    def __init__(self, suite: Suite, context: Context, tag: bytes) -> None:
        self.suite = suite
        self.context = context
        assert context.cipher_suite == suite.cipher_suite
        self.interim = suite.hash(context.confirmed + var(tag))

    def derive(self, label: bytes) -> bytes:
        return self.suite.derive(self.secret, label)

    def after(self, content: Content) -> bytes:
        """The transcript hash of the epoch that a commit begins."""
        return self.suite.hash(self.interim + content.transcript)

    def enter(self, init: bytes, commit_secret: bytes, begins: Entry, content: Content, leaf: Leaf | None) -> Epoch:
        """The epoch that a commit begins."""
        suite = self.suite
        context = bytes.fromhex(begins["group_context"])
        joiner = suite.expand(suite.extract(commit_secret, init), b"joiner", context)
        entered = Epoch.joined(suite, joiner, begins, leaf)
        there = entered.context
        assert there.confirmed == self.after(content)
        assert (there.group_id, there.epoch) == (self.context.group_id, self.context.epoch + 1)
        assert content.confirmation_tag.hex() == begins["confirmation_tag"]
        return entered


class Epoch(Outside):
    """An epoch that the virtual client is in, and its leaf there."""

    def __init__(self, suite: Suite, begins: Entry, leaf: Leaf | None) -> None:
        super().__init__(
            suite,
            Context.read(Reader(bytes.fromhex(begins["group_context"]))),
            bytes.fromhex(begins["confirmation_tag"]),
        )
        self.secret = bytes.fromhex(begins["epoch_secret"])
        self.leaf_count = begins["leaf_count"]
        self.leaf_index = begins["leaf_index"]
        self.own_leaf = leaf
        assert suite.mac(self.derive(b"confirm"), self.context.confirmed).hex() == begins["confirmation_tag"]
        assert self.derive(b"authentication").hex() == begins["epoch_authenticator"]

    @property
    def leaf(self) -> Leaf:
        assert self.own_leaf is not None
        return self.own_leaf

    @property
    def place(self) -> bytes:
        return var(self.context.group_id) + number(self.leaf_index, 4)

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

    @classmethod
    def joined(cls, suite: Suite, joiner: bytes, begins: Entry, leaf: Leaf | None) -> Epoch:
        """From the joiner secret on; there are no pre-shared keys in a run."""
        assert joiner.hex() == begins["joiner_secret"]
        secret = suite.expand(member(suite, joiner), b"epoch", bytes.fromhex(begins["group_context"]))
        assert secret.hex() == begins["epoch_secret"]
        return cls(suite, begins, leaf)


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
    sender: int
    sealing: Sealing | None


def open_message(epoch: Outside, data: bytes) -> Content:
    """A message of any member in this epoch."""
    reader = Reader(data)
    assert reader.take(2) == MLS10
    wire_format, suite = reader.number(2), epoch.suite
    start = reader.at
    assert (reader.var(), reader.number(8)) == (epoch.context.group_id, epoch.context.epoch)
    head = reader.since(start)
    if wire_format == PUBLIC_MESSAGE:
        by, start = reader.at, reader.at
        kind = reader.number(1)
        sender = reader.number(4) if kind == MEMBER else -1
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
    sender: int,
    sealing: Sealing | None,
) -> Content:
    start = reader.at
    {APPLICATION: Reader.var, PROPOSAL: read_proposal, COMMIT: read_commit}[kind](reader)
    body = reader.since(start)
    framed = number(wire_format, 2) + head + var(authenticated_data) + number(kind, 1) + body
    signature = reader.var()
    tag = reader.var() if kind == COMMIT else b""
    signed = MLS10 + framed + epoch.context.encoded
    return Content(kind, body, authenticated_data, framed + var(signature), signed, signature, tag, sender, sealing)


@dataclass(frozen=True)
class Proposal:
    """Of those that occur."""

    type: int
    content: Leaf | KeyPackage | bytes


ADD, UPDATE_PROPOSAL, REMOVE, EXTERNAL_INIT = 1, 2, 3, 6


def read_proposal(reader: Reader) -> Proposal:
    readers: dict[int, Callable[[Reader], Leaf | KeyPackage | bytes]] = {
        ADD: KeyPackage.read,
        UPDATE_PROPOSAL: Leaf.read,
        REMOVE: lambda r: r.take(4),
        EXTERNAL_INIT: Reader.var,
    }
    kind = reader.number(2)
    return Proposal(kind, readers[kind](reader))


@dataclass(frozen=True)
class Commit:
    proposals: list[Proposal | bytes]
    """By value, or a reference."""
    leaf: Leaf | None
    nodes: list[tuple[bytes, list[tuple[bytes, bytes]]]]
    """Public key, and the path secret sealed to each node below."""


def read_commit(reader: Reader) -> Commit:
    proposals = reader.all(lambda r: read_proposal(r) if r.number(1) == 1 else r.var())
    if not reader.number(1):
        return Commit(proposals, None, [])
    leaf = Leaf.read(reader)
    return Commit(proposals, leaf, reader.all(lambda r: (r.var(), r.all(lambda s: (s.var(), s.var())))))
