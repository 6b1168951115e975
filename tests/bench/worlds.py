"""Groups of any size, made directly instead of by ten thousand commits.

`World` builds a tree whose every private key is known, flat (all members freshly added, no parent nodes) or full
(every parent node set, as after everybody committed), gives it an epoch, and hands out the `Group` value of any
member. The tree is a real one: the same checks that a joiner makes accept it, and a test does so.

In the full tree every parent is vouched for by its right child: a left subtree is built first, with a parent hash of
some earlier time, then its tree hash goes into the parent hash of the right one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from mls.credential import BasicCredential, TrustBasic
from mls.key_package import KeyPackageSecrets, create_key_package
from mls.leaf_node import Capabilities, Extensions, Lifetime, default_capabilities, sign_leaf_node
from mls.parameters import Parameters
from mls.provider import Environment, Provider
from mls.public_state import PublicState
from mls.registries import Epoch, GroupId, LeafIndex
from mls.schedule import GroupContext, confirmation_tag, derive_epoch, interim_hash
from mls.secret_tree import SecretTree
from mls.secrets import EpochSecret, HpkePrivateKey, SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.tree.hashes import parent_hash
from mls.tree.nodes import Cell, ParentNode, Value
from mls.tree.ratchet_tree import RatchetTree

NOW = 1_800_000_000_000
LIFETIME = Lifetime(NOW // 1000 - 3600, NOW // 1000 + 90 * 24 * 3600)
PARAMETERS = Parameters(encrypt_handshakes=False)
GROUP_ID = GroupId(b"a group for measuring")


@cache
def capabilities(cipher_suite: int) -> Capabilities:
    """What everybody in a world of that suite advertises."""
    listed = default_capabilities().cipher_suites
    return default_capabilities(listed if cipher_suite in listed else (*listed, cipher_suite))


def environment(provider: Provider) -> Environment:
    return Environment(provider=provider, authentication=TrustBasic(), now=NOW)


def client_key(env: Environment, suite: Suite) -> SignaturePrivateKey:
    private, _ = suite.scheme.generate(env.provider.random)
    return private


def key_package(env: Environment, suite: Suite, name: bytes) -> KeyPackageSecrets:
    return create_key_package(
        env,
        suite.cipher_suite,
        credential=BasicCredential(name),
        signature_private=client_key(env, suite),
        capabilities=capabilities(suite.cipher_suite),
        lifetime=LIFETIME,
    )


@dataclass(slots=True)
class World:
    """A group of `size` members with all its secrets."""

    env: Environment
    size: int
    full: bool
    cipher_suite: int = 1
    parameters: Parameters = PARAMETERS
    extensions: Extensions = ()
    leaf_extensions: Extensions = ()
    capabilities: Capabilities | None = None
    """What everybody advertises, if it is not what everybody else does."""
    suite: Suite = field(init=False)
    tree: RatchetTree = field(init=False)
    context: GroupContext = field(init=False)
    _private: dict[int, HpkePrivateKey] = field(init=False, default_factory=dict, repr=False)
    _signers: dict[int, SignaturePrivateKey] = field(init=False, default_factory=dict, repr=False)
    _epoch_secret: EpochSecret = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.suite = self.env.provider.suite(self.cipher_suite)
        level = max(self.size - 1, 0).bit_length()
        values: list[Value] = [None] * (2 * self.size - 1)
        self._build((1 << level) - 1, level, b"", values)
        self.tree = RatchetTree.of_values(self.suite, values)
        self.context = GroupContext.of(self.cipher_suite, GROUP_ID, 7, self.tree.hash, b"\x00" * 32, self.extensions)
        self._epoch_secret = EpochSecret(self.env.provider.random(self.suite.hash_size))

    def _build(self, index: int, level: int, above: bytes, values: list[Value]) -> Cell:
        suite = self.suite
        if level == 0:
            value = self._leaf(index >> 1, above) if index >> 1 < self.size else None
            if index < len(values):
                values[index] = value
            return Cell(index, 0, value, None, None)
        half = 1 << (level - 1)
        # The right subtree may be empty; a node is only in the filtered paths below if neither side is.
        occupied = self.full and (index + 1) // 2 < self.size
        left = self._build(index - half, level - 1, b"" if occupied else above, values)
        value = None
        below = above
        if occupied:
            private, public = suite.generate_key_pair(self.env.provider.random)
            self._private[index] = private
            value = ParentNode.of(public, above)
            values[index] = value
            below = parent_hash(suite, public, above, left.tree_hash(suite))
        right = self._build(index + half, level - 1, below, values)
        return Cell(index, level, value, left, right)

    def _leaf(self, leaf: int, above: bytes) -> Value:
        suite = self.suite
        signer = self._signers[leaf] = client_key(self.env, suite)
        private, public = suite.generate_key_pair(self.env.provider.random)
        self._private[2 * leaf] = private
        return sign_leaf_node(
            suite,
            signer,
            encryption_key=public,
            signature_key=suite.scheme.public_key(signer),
            credential=BasicCredential(b"member %d" % leaf),
            capabilities=self.capabilities or capabilities(suite.cipher_suite),
            extensions=self.leaf_extensions,
            lifetime=None if self.full else LIFETIME,
            parent_hash=above if self.full else None,
            group_id=GROUP_ID,
            leaf_index=leaf,
        )

    def member(self, leaf: int) -> Group:
        suite = self.suite
        recipe = self.parameters.recipe(suite, self.context.dictionary)
        started = derive_epoch(suite, self._epoch_secret, recipe)
        secrets = started.secrets
        tag = confirmation_tag(suite, secrets.confirmation, self.context.confirmed_transcript_hash)
        interim = interim_hash(suite, self.context.confirmed_transcript_hash, tag)
        private = {2 * leaf: self._private[2 * leaf]}
        for step in self.tree.path(leaf):
            if step.cell.index in self._private:
                private[step.cell.index] = self._private[step.cell.index]
        return Group(
            parameters=self.parameters,
            public=PublicState(suite, self.context, self.tree, interim, tag),
            own_leaf=LeafIndex(leaf),
            signature_key=self._signers[leaf],
            private=private,
            secrets=secrets,
            keys=SecretTree.of(started.encryption, self.tree.leaf_count),
            trees=started.trees,
            proposals={},
            updates={},
            resumption=((Epoch(7), secrets.resumption),),
            ended=None,
        )
