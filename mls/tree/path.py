"""RFC 9420 §7.4 to §7.6: the update path, which gives every node on a direct path a fresh key pair.

Made by the committer: path secrets climb from the leaf, each one sealed to the resolution of the copath node beside
it. Followed by everyone else: one ciphertext is opened, the secrets above it derived and compared with the public
keys that were sent. A decoded path keeps the ciphertexts as bytes and reads only the one that is for us.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mls.codec import Reader, opaque, vector
from mls.errors import PeerError
from mls.hpke import CryptoError
from mls.leaf_node import LeafNode
from mls.registries import LeafIndex
from mls.secrets import CommitSecret, HpkePrivateKey, PathSecret
from mls.suite import Suite
from mls.tree.nodes import Cell, ParentNode, Value
from mls.tree.ratchet_tree import RatchetTree, Step

PrivateKeys = dict[int, HpkePrivateKey]
"""Private keys by node index: the own leaf's, and those of its direct path that are known. Treated as immutable."""


@dataclass(frozen=True, slots=True)
class UpdatePathNode:
    """A public key and its path secret, sealed once per node of the copath's resolution."""

    encryption_key: bytes
    sealed: bytes
    """The encrypted_path_secret vector's content."""
    count: int
    stride: int
    """The size of every entry, or 0 if they differ."""

    @classmethod
    def decode(cls, reader: Reader) -> UpdatePathNode:
        key = reader.opaque()
        sealed = reader.opaque()
        count, stride = _entries(sealed)
        return cls(key, sealed, count, stride)

    def encode(self) -> bytes:
        return opaque(self.encryption_key) + opaque(self.sealed)

    def ciphertext(self, position: int) -> tuple[bytes, bytes]:
        reader = Reader(self.sealed)
        if self.stride:
            reader.pos = position * self.stride
        else:
            reader.skip_vectors(2 * position)
        return reader.opaque(), reader.opaque()


def _entries(sealed: bytes) -> tuple[int, int]:
    """How many entries a vector of HPKECiphertexts has, and their common size.

    Honest entries are all of one size, so the length bytes of the first are compared with those of all others at
    once; only a vector that is not so regular is walked.
    """
    if not sealed:
        return 0, 0
    reader = Reader(sealed)
    headers: list[int] = []
    for _ in range(2):
        start = reader.pos
        size = reader.varint()
        headers.extend(range(start, reader.pos))
        reader.take(size)
    stride = reader.pos
    if stride == len(sealed):
        return 1, stride
    count, rest = divmod(len(sealed), stride)
    if not rest and all(sealed[at::stride] == sealed[at : at + 1] * count for at in headers):
        return count, stride
    count = 1
    while reader.pos < reader.end:
        reader.skip_vectors(2)
        count += 1
    return count, 0


@dataclass(frozen=True, slots=True)
class UpdatePath:
    """A new leaf and the nodes above it (§7.6)."""

    leaf_node: LeafNode
    nodes: tuple[UpdatePathNode, ...]

    @classmethod
    def decode(cls, reader: Reader) -> UpdatePath:
        return cls(LeafNode.decode(reader), reader.vector(UpdatePathNode.decode))

    def encode(self) -> bytes:
        return self.leaf_node.encoded + vector([node.encode() for node in self.nodes])


@dataclass(frozen=True, slots=True)
class PathKeys:
    """What a path secret unfolds to along a filtered direct path."""

    path_secrets: list[bytes] = field(repr=False)
    private: list[HpkePrivateKey]
    public: list[bytes]
    last: PathSecret
    """The one nearest the root, which a commit's followers all learn."""
    commit_secret: CommitSecret


def derive_path(suite: Suite, first: PathSecret, count: int) -> PathKeys:
    """Key pairs of `count` nodes from the path secret of the lowest (§7.4), and the commit secret above them.

    With no node at all the given secret is the commit secret itself: it stands where the next one would.
    """
    secret = first.raw
    derive = suite.derive_secret
    secrets, private, public = [], [], []
    for _ in range(count):
        secrets.append(secret)
        key, shared = suite.derive_key_pair(derive(secret, b"node"))
        private.append(key)
        public.append(shared)
        secret = derive(secret, b"path")
    return PathKeys(secrets, private, public, PathSecret(secrets[-1] if secrets else secret), CommitSecret(secret))


def seal_path(
    suite: Suite,
    tree: RatchetTree,
    steps: list[Step],
    keys: PathKeys,
    group_context: bytes,
    excluded: frozenset[int],
    random: Callable[[int], bytes],
) -> tuple[UpdatePathNode, ...]:
    """Each path secret to everybody beside it, except the leaves that this commit adds (they get a Welcome)."""
    context = suite.encryption_context(b"UpdatePathNode", group_context)
    nodes = []
    for step, secret, public in zip(steps, keys.path_secrets, keys.public, strict=True):
        sealed = []
        for cell in tree.resolution(step.copath):
            if excluded and cell.level == 0 and cell.index >> 1 in excluded:
                continue
            enc, ciphertext = suite.seal(cell.value.encryption_key, context, secret, random)  # type: ignore[union-attr]
            sealed.append(opaque(enc) + opaque(ciphertext))
        nodes.append(UpdatePathNode(public, b"".join(sealed), len(sealed), 0))
    return tuple(nodes)


def merge_path(
    tree: RatchetTree,
    leaf: int,
    leaf_node: LeafNode,
    whole: list[Step],
    steps: list[Step],
    public: list[bytes],
    hashes: list[bytes],
) -> RatchetTree:
    """§7.5: fresh nodes where the filtered path goes, blanks elsewhere on the path, and the new leaf below."""
    known: dict[int, Value] = {step.cell.index: step.cell.value for step in whole}
    values: dict[int, Value] = dict.fromkeys(known)
    for step, key, above in zip(steps, public, hashes, strict=False):
        values[step.cell.index] = ParentNode.of(key, above)
    values[2 * leaf] = leaf_node
    known[2 * leaf] = whole[0].child.value if whole else tree.root.value
    return tree.replaced(values, known)


def check_shape(steps: list[Step], path: UpdatePath, excluded: frozenset[int]) -> None:
    """§12.4.2: one node per filtered path node, one ciphertext per resolution entry."""
    if len(path.nodes) != len(steps):
        raise PeerError("VAL-12.4.2-5")
    for step, node in zip(steps, path.nodes, strict=True):
        cell = step.copath
        if node.count != cell.resolved - _excluded_below(cell, excluded):
            raise PeerError("VAL-12.4.2-6")


def _excluded_below(cell: Cell, excluded: frozenset[int]) -> int:
    """How many of the leaves that a commit adds are under `cell`: each is one entry of its resolution."""
    if not excluded:
        return 0
    span = (1 << cell.level) - 1
    low, high = cell.index - span, cell.index + span
    return sum(1 for leaf in excluded if low <= 2 * leaf <= high)


@dataclass(frozen=True, slots=True)
class Followed:
    """What one member learns from somebody else's path."""

    private: PrivateKeys
    last: PathSecret
    commit_secret: CommitSecret


def follow_path(
    suite: Suite,
    own_leaf: LeafIndex,
    private: PrivateKeys,
    steps: list[Step],
    path: UpdatePath,
    group_context: bytes,
    excluded: frozenset[int],
) -> Followed:
    """Open the one path secret that is for us and derive what is above it (§7.5)."""
    node = 2 * own_leaf
    found = None
    for at, step in enumerate(steps):
        cell = step.copath
        span = (1 << cell.level) - 1
        if cell.index - span <= node <= cell.index + span:
            found = _own_position(cell, node, private, excluded)
            break
    if found is None:
        raise PeerError("VAL-12.4.2-7")
    position, key = found
    enc, ciphertext = path.nodes[at].ciphertext(position)
    try:
        context = suite.encryption_context(b"UpdatePathNode", group_context)
        secret = suite.open(key, context, enc, ciphertext)
    except CryptoError:
        raise PeerError("VAL-12.4.2-8") from None
    if len(secret) != suite.hash_size:
        raise PeerError("VAL-12.4.2-8")
    keys = derive_path(suite, PathSecret(secret), len(steps) - at)
    learned = dict(private)
    for step, node_above, shared, own in zip(steps[at:], path.nodes[at:], keys.public, keys.private, strict=True):
        if node_above.encryption_key != shared:
            raise PeerError("VAL-12.4.2-9")
        learned[step.cell.index] = own
    return Followed(learned, keys.last, keys.commit_secret)


def _own_position(
    cell: Cell, node: int, private: PrivateKeys, excluded: frozenset[int]
) -> tuple[int, HpkePrivateKey] | None:
    """Where in the resolution of `cell` the entry is that we can open, found by walking down to our leaf."""
    position = 0
    while True:
        value = cell.value
        key = private.get(cell.index)
        if value is not None and key is not None:
            return position, key
        if type(value) is ParentNode:
            position += 1
            for leaf in value.unmerged_leaves:
                if 2 * leaf == node and node in private:
                    return position, private[node]
                position += leaf not in excluded
            return None
        if cell.level == 0:
            return None
        if node < cell.index:
            cell = cell.left
        else:
            position += cell.left.resolved - _excluded_below(cell.left, excluded)
            cell = cell.right


def kept_private(private: PrivateKeys, before: RatchetTree, after: RatchetTree, own_leaf: int) -> PrivateKeys:
    """The private keys whose node still carries the same public key; the others are forgotten (§7.5)."""
    kept: PrivateKeys = {}
    old = {step.cell.index: step.cell.value for step in before.path(own_leaf)}
    new = {step.cell.index: step.cell.value for step in after.path(own_leaf)}
    for index, key in private.items():
        if index == 2 * own_leaf:
            kept[index] = key
            continue
        was = old.get(index)
        now = new.get(index)
        if was is not None and now is not None and was.encryption_key == now.encryption_key:
            kept[index] = key
    return kept
