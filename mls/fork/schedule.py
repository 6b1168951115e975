"""DMLS §4 and §5: the key schedule's end, where one epoch may have several children.

All of RFC 9420 §8 stands but its last line. Instead of an init secret, an epoch has the root of a puncturable tree with
a leaf for every string of KDF.Nh bytes. Which leaf a commit takes its init secret from is decided by the last path
secret of the commit, so only those who can follow the commit find it, and by a GroupContext. Whoever takes it keeps the
tree without that leaf: the same child cannot be had twice, all others still can.

Which context that is, `mode` knows. The draft says `GroupContext_[n]` next to `init_secret_[n]`, which by its figure is
the parent's. Then a commit's path secret alone says where its child is, and two commits with one path secret meet.
The child's own context has the commit in its transcript hash, so that two children meet only if they are one.
`path_secret[n]` is the path secret nearest the root, the one that all followers learn (docs/spec-notes.md).
"""

from __future__ import annotations

from mls.puncture import Puncturable
from mls.secrets import InitSecret, PathSecret
from mls.suite import Suite

EPOCH_ID = b"epoch"
"""§2: the label of what tells epochs apart."""
PARENT_INIT = b"parent_init"
"""§4: the label of the tree's root, and the tree's name among those of a group."""


def levels(suite: Suite) -> int:
    """A leaf for each string of KDF.Nh bytes. §5 speaks of KDF.Nh leaves, which no string of that size could index."""
    return 8 * suite.hash_size


def commit_confirmation(suite: Suite, last: PathSecret) -> bytes:
    """What a commit's followers have in common, and nobody else: §4."""
    return suite.derive_secret(last.raw, b"conf")


def child_input(suite: Suite, confirmation: bytes, context: bytes) -> bytes:
    """Which leaf of the parent's tree a child's init secret comes from."""
    return suite.expand_with_label(confirmation, b"child_init", context, suite.hash_size)


def child_init(suite: Suite, tree: Puncturable, child: bytes) -> tuple[InitSecret, Puncturable]:
    """DeriveFSSecret (§5), and the tree that cannot give it again; PuncturedError if this one cannot."""
    leaf, rest = tree.evaluate(suite, int.from_bytes(child, "big"))
    return InitSecret(suite.derive_secret(leaf, b"pprf")), rest
