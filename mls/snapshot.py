"""Group values as bytes: whole, and as the difference that one step made.

A device stores a group once per epoch and a delta per step in one transaction with what the step sends, so what is
written is proportional to what changed: for a message one ratchet, for a commit one path. Both are versioned. The
bytes hold every secret of the group in the clear and are therefore secrets themselves (`Snapshot`, `Delta`); sealing
them is the vault's business. Parameters are configuration, not state, and are given again when reading.

Layout, in the presentation language of RFC 9420 §2.1 (docs/snapshots.md spells it out): a version, then the parts
below in order. A delta precedes each part with a byte that says whether it is there. Trees and secret trees appear
in a delta as their changed entries; everything else is small and appears whole. Version 1 had no epoch ids and no
trees of consumed secrets; it is still read, and what comes of it names its epoch by the authenticator and has nothing
left to export from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from mls.codec import Reader, opaque, u8, u16, u32, u64, vector
from mls.errors import CallerError, MlsError, PeerError
from mls.framing import decode_sender
from mls.leaf_node import LeafNode
from mls.parameters import Parameters
from mls.persistent import PMap
from mls.proposals import ReInit, decode_proposal, encode_proposal
from mls.provider import PendingUpdate, Provider
from mls.public_state import PublicState
from mls.puncture import Puncturable
from mls.registries import Epoch, LeafIndex, ProposalRef
from mls.schedule import EpochSecrets, GroupContext, Trees
from mls.secret_tree import GENERATIONS, Ratchet, SecretTree
from mls.secrets import (
    ConfirmationKey,
    EpochSecret,
    ExporterSecret,
    ExternalSecret,
    HpkePrivateKey,
    InitSecret,
    MembershipKey,
    ResumptionPsk,
    Secret,
    SenderDataSecret,
    SignaturePrivateKey,
)
from mls.state import Ended, Group
from mls.tree.nodes import Cell, ParentNode, Value, grown
from mls.tree.path import PrivateKeys
from mls.tree.ratchet_tree import RatchetTree
from mls.validation import Proposed

T = TypeVar("T")

VERSION = 2
OLDEST = 1


class Snapshot(Secret):
    """A whole group as bytes."""

    __slots__ = ()


class Delta(Secret):
    """What one step changed, as bytes."""

    __slots__ = ()


# Parts: each an encoder and a decoder


def _write_keys(private: PrivateKeys) -> bytes:
    return vector([u32(index) + opaque(private[index].raw) for index in sorted(private)])


def _read_keys(reader: Reader) -> PrivateKeys:
    return dict(reader.vector(lambda r: (r.u32(), HpkePrivateKey(r.opaque()))))


_SECRETS = (
    ("sender_data", SenderDataSecret),
    ("exporter", ExporterSecret),
    ("external", ExternalSecret),
    ("confirmation", ConfirmationKey),
    ("membership", MembershipKey),
    ("resumption", ResumptionPsk),
    ("init", InitSecret),
)


def _write_secrets(secrets: EpochSecrets) -> bytes:
    fixed = [opaque(getattr(secrets, name).raw) for name, _ in _SECRETS]
    extra = vector([opaque(label) + opaque(secret.raw) for label, secret in secrets.extra])
    return b"".join([*fixed, opaque(secrets.authenticator), opaque(secrets.epoch_id), extra])


def _read_secrets(reader: Reader, version: int) -> EpochSecrets:
    sender_data = SenderDataSecret(reader.opaque())
    exporter = ExporterSecret(reader.opaque())
    external = ExternalSecret(reader.opaque())
    confirmation = ConfirmationKey(reader.opaque())
    membership = MembershipKey(reader.opaque())
    resumption = ResumptionPsk(reader.opaque())
    init = InitSecret(reader.opaque())
    authenticator = reader.opaque()
    epoch_id = authenticator if version == 1 else reader.opaque()
    extra = reader.vector(lambda r: (r.opaque(), EpochSecret(r.opaque())))
    return EpochSecrets(
        sender_data, exporter, external, confirmation, membership, resumption, authenticator, epoch_id, init, extra
    )


def _write_trees(trees: Trees) -> bytes:
    return vector([opaque(label) + trees[label].encode() for label in sorted(trees)])


def _read_trees(reader: Reader) -> Trees:
    return dict(reader.vector(lambda r: (r.opaque(), Puncturable.decode(r))))


def _write_trees_delta(old: Trees, new: Trees) -> bytes:
    """Those that are gone, then those that differ."""
    gone = vector([opaque(label) for label in sorted(old) if label not in new])
    return gone + _write_trees({label: tree for label, tree in new.items() if old.get(label) is not tree})


def _read_trees_delta(old: Trees, reader: Reader) -> Trees:
    gone = reader.vector(Reader.opaque)
    kept = {label: tree for label, tree in old.items() if label not in gone}
    return {**kept, **_read_trees(reader)}


def _write_ratchet(ratchet: Ratchet) -> bytes:
    skipped = [
        u32(generation) + opaque(key) + opaque(nonce) for generation, (key, nonce) in sorted(ratchet.skipped.items())
    ]
    return u64(ratchet.generation) + opaque(ratchet.secret) + vector(skipped)


def _read_ratchet(reader: Reader) -> Ratchet:
    generation = reader.u64()
    if generation > GENERATIONS:
        raise ValueError(f"generation {generation}")
    secret = reader.opaque()
    skipped = dict(reader.vector(lambda r: (r.u32(), (r.opaque(), r.opaque()))))
    return Ratchet(generation, secret, skipped)


def _write_secret_tree(nodes: dict[int, bytes], ratchets: dict[int, Ratchet]) -> bytes:
    return vector([u32(index) + opaque(nodes[index]) for index in sorted(nodes)]) + vector(
        [u32(key) + _write_ratchet(ratchets[key]) for key in sorted(ratchets)]
    )


def _read_secret_tree(reader: Reader) -> tuple[dict[int, bytes], dict[int, Ratchet]]:
    nodes = dict(reader.vector(lambda r: (r.u32(), r.opaque())))
    return nodes, dict(reader.vector(lambda r: (r.u32(), _read_ratchet(r))))


def _write_proposals(proposals: Mapping[ProposalRef, Proposed]) -> bytes:
    return vector(
        [
            opaque(reference) + u8(item.shelved) + item.sender.encode() + encode_proposal(item.proposal)
            for reference, item in proposals.items()
        ]
    )


def _read_proposals(reader: Reader) -> dict[ProposalRef, Proposed]:
    def one(r: Reader) -> tuple[ProposalRef, Proposed]:
        reference = ProposalRef(r.opaque())
        shelved = bool(r.u8())
        sender = decode_sender(r)
        return reference, Proposed(decode_proposal(r), sender, reference, checked=True, shelved=shelved)

    return dict(reader.vector(one))


def _write_updates(updates: Mapping[bytes, PendingUpdate]) -> bytes:
    return vector(
        [
            opaque(leaf) + opaque(update.leaf_private.raw) + opaque(update.signature_private.raw)
            for leaf, update in updates.items()
        ]
    )


def _read_updates(reader: Reader) -> dict[bytes, PendingUpdate]:
    return dict(
        reader.vector(
            lambda r: (
                r.opaque(),
                PendingUpdate(HpkePrivateKey(r.opaque()), SignaturePrivateKey(r.opaque())),
            )
        )
    )


def _write_resumption(history: tuple[tuple[Epoch, ResumptionPsk], ...]) -> bytes:
    return vector([u64(epoch) + opaque(psk.raw) for epoch, psk in history])


def _read_resumption(reader: Reader) -> tuple[tuple[Epoch, ResumptionPsk], ...]:
    return reader.vector(lambda r: (Epoch(r.u64()), ResumptionPsk(r.opaque())))


def _write_ended(ended: Ended | ReInit | None) -> bytes:
    if ended is None:
        return u8(0)
    if isinstance(ended, ReInit):
        return u8(2) + encode_proposal(ended)
    return u8(1 if ended is Ended.REMOVED else 3)


def _read_ended(reader: Reader) -> Ended | ReInit | None:
    kind = reader.u8()
    if kind == 0:
        return None
    if kind == 1:
        return Ended.REMOVED
    if kind == 3:
        return Ended.RETIRED
    proposal = decode_proposal(reader)
    if not isinstance(proposal, ReInit):
        raise CallerError("the snapshot is damaged", "restore it from a backup or join again")
    return proposal


def _write_followed(followed: frozenset[bytes]) -> bytes:
    return vector([opaque(child) for child in sorted(followed)])


def _read_followed(reader: Reader, version: int) -> frozenset[bytes]:
    return frozenset() if version == 1 else frozenset(reader.vector(Reader.opaque))


# Whole


def encode(group: Group) -> Snapshot:
    """Everything but the parameters."""
    public = group.public
    return Snapshot(
        b"".join(
            [
                u16(VERSION),
                public.context.encoded,
                opaque(public.interim_hash),
                opaque(public.confirmation_tag),
                public.tree.encode(),
                u32(group.own_leaf),
                opaque(group.signature_key.raw),
                _write_keys(group.private),
                _write_secrets(group.secrets),
                u32(group.keys.leaf_count),
                _write_secret_tree(dict(group.keys.nodes.items()), dict(group.keys.ratchets.items())),
                _write_trees(group.trees),
                _write_proposals(group.proposals),
                _write_updates(group.updates),
                _write_resumption(group.resumption),
                _write_ended(group.ended),
                _write_followed(group.followed),
            ]
        )
    )


def decode(provider: Provider, parameters: Parameters, snapshot: Snapshot) -> Group:
    """The group that was encoded. The bytes are our own: they are parsed, not judged again."""
    return _read(snapshot.raw, lambda reader, version: _decode(provider, parameters, reader, version))


def _decode(provider: Provider, parameters: Parameters, reader: Reader, version: int) -> Group:
    context = GroupContext.decode(reader)
    suite = provider.suite(context.cipher_suite)
    try:
        parameters.mode(context.dictionary)
    except PeerError:
        raise CallerError(
            "the group is of a kind that is not in these parameters", "give Parameters its mode"
        ) from None
    interim = reader.opaque()
    tag = reader.opaque()
    start = reader.pos
    reader.skip_vectors(1)
    tree = RatchetTree.decode(suite, reader.data[start : reader.pos])
    own_leaf = LeafIndex(reader.u32())
    signature_key = SignaturePrivateKey(reader.opaque())
    private = _read_keys(reader)
    secrets = _read_secrets(reader, version)
    leaf_count = reader.u32()
    nodes, ratchets = _read_secret_tree(reader)
    return Group(
        parameters=parameters,
        public=PublicState(suite, context, tree, interim, tag),
        own_leaf=own_leaf,
        signature_key=signature_key,
        private=private,
        secrets=secrets,
        keys=SecretTree(leaf_count, PMap(nodes), PMap(ratchets)),
        trees={} if version == 1 else _read_trees(reader),
        proposals=_read_proposals(reader),
        updates=_read_updates(reader),
        resumption=_read_resumption(reader),
        ended=_read_ended(reader),
        followed=_read_followed(reader, version),
    )


def _read(data: bytes, body: Callable[[Reader, int], T]) -> T:
    reader = Reader(data)
    try:
        version = reader.u16()
        if not OLDEST <= version <= VERSION:
            raise CallerError(
                f"the snapshot has version {version}, this program reads up to {VERSION}", "upgrade the program"
            )
        value = body(reader, version)
        reader.finish()
    except CallerError:
        raise
    except (MlsError, KeyError, ValueError) as damage:
        raise CallerError("the snapshot is damaged", "restore it from a backup or join again") from damage
    return value


# Differences


def _flag(changed: bool, body: Callable[[], bytes]) -> bytes:
    return b"\x01" + body() if changed else b"\x00"


def encode_delta(before: Group, after: Group) -> Delta:
    """What leads from `before` to `after`; cheap if `after` was made from it."""
    old, new = before.public, after.public
    return Delta(
        b"".join(
            [
                u16(VERSION),
                _flag(
                    old.context is not new.context,
                    lambda: new.context.encoded + opaque(new.interim_hash) + opaque(new.confirmation_tag),
                ),
                _flag(old.tree is not new.tree, lambda: _write_tree_delta(old.tree, new.tree)),
                _flag(before.own_leaf != after.own_leaf, lambda: u32(after.own_leaf)),
                _flag(before.signature_key is not after.signature_key, lambda: opaque(after.signature_key.raw)),
                _flag(before.private is not after.private, lambda: _write_keys(after.private)),
                _flag(before.secrets is not after.secrets, lambda: _write_secrets(after.secrets)),
                _flag(before.keys is not after.keys, lambda: _write_keys_delta(before, after)),
                _flag(before.trees is not after.trees, lambda: _write_trees_delta(before.trees, after.trees)),
                _flag(before.proposals is not after.proposals, lambda: _write_proposals(after.proposals)),
                _flag(before.updates is not after.updates, lambda: _write_updates(after.updates)),
                _flag(before.resumption is not after.resumption, lambda: _write_resumption(after.resumption)),
                _write_ended(after.ended),
                _write_followed(after.followed),
            ]
        )
    )


def apply_delta(before: Group, delta: Delta) -> Group:
    """The value that `encode_delta` was given as `after`."""
    return _read(delta.raw, lambda reader, version: _apply(before, reader, version))


def _apply(before: Group, reader: Reader, version: int) -> Group:
    old = before.public
    suite = old.suite
    context, interim, tag = old.context, old.interim_hash, old.confirmation_tag
    if reader.u8():
        context, interim, tag = GroupContext.decode(reader), reader.opaque(), reader.opaque()
    tree = _read_tree_delta(old.tree, reader) if reader.u8() else old.tree
    public = PublicState(suite, context, tree, interim, tag)
    own_leaf = LeafIndex(reader.u32()) if reader.u8() else before.own_leaf
    signature_key = SignaturePrivateKey(reader.opaque()) if reader.u8() else before.signature_key
    private = _read_keys(reader) if reader.u8() else before.private
    secrets = _read_secrets(reader, version) if reader.u8() else before.secrets
    keys = _read_keys_delta(before.keys, reader) if reader.u8() else before.keys
    if version == 1:
        trees: Trees = {}
    else:
        trees = _read_trees_delta(before.trees, reader) if reader.u8() else before.trees
    return replace(
        before,
        public=public,
        own_leaf=own_leaf,
        signature_key=signature_key,
        private=private,
        secrets=secrets,
        keys=keys,
        trees=trees,
        proposals=_read_proposals(reader) if reader.u8() else before.proposals,
        updates=_read_updates(reader) if reader.u8() else before.updates,
        resumption=_read_resumption(reader) if reader.u8() else before.resumption,
        ended=_read_ended(reader),
        followed=_read_followed(reader, version),
    )


def _write_keys_delta(before: Group, after: Group) -> bytes:
    """The secret tree of the same epoch as its changes; of another epoch whole."""
    old, new = before.keys, after.keys
    same = before.secrets is after.secrets
    if not same:
        old = SecretTree(new.leaf_count, PMap(), PMap())
    nodes, gone = new.nodes.changes(old.nodes)
    ratchets, _ = new.ratchets.changes(old.ratchets)
    removed = vector([u32(index) for index in sorted(gone)])
    return u8(same) + u32(new.leaf_count) + removed + _write_secret_tree(nodes, ratchets)


def _read_keys_delta(old: SecretTree, reader: Reader) -> SecretTree:
    same = reader.u8()
    leaf_count = reader.u32()
    gone = reader.vector(Reader.u32)
    nodes, ratchets = _read_secret_tree(reader)
    if not same:
        return SecretTree(leaf_count, PMap(nodes), PMap(ratchets))
    return SecretTree(leaf_count, old.nodes.changed(gone, nodes), old.ratchets.changed((), ratchets))


def _write_tree_delta(old: RatchetTree, new: RatchetTree) -> bytes:
    changed = []
    for index, value in _tree_changes(old.root, new.root):
        if value is None:
            changed.append(u32(index) + u8(0))
        else:
            changed.append(u32(index) + u8(1 if type(value) is LeafNode else 2) + value.encoded)
    return u8(new.root.level) + vector(changed)


def _tree_changes(old: Cell, new: Cell) -> Iterator[tuple[int, Value]]:
    """Node indices whose value differs, visiting only cells that are not shared."""
    if old is new:
        return
    if old.level > new.level:
        for cell in old.right.cells():
            yield cell.index, None
        if old.value is not None:
            yield old.index, None
        yield from _tree_changes(old.left, new)
    elif old.level < new.level:
        if new.value is not None:
            yield new.index, new.value
        yield from _tree_changes(old, new.left)
        for cell in new.right.cells():
            yield cell.index, cell.value
    else:
        if old.value is not new.value:
            yield new.index, new.value
        if new.level:
            yield from _tree_changes(old.left, new.left)
            yield from _tree_changes(old.right, new.right)


def _read_tree_delta(old: RatchetTree, reader: Reader) -> RatchetTree:
    level = reader.u8()
    values = dict(reader.vector(_read_change))
    root = old.root
    while root.level < level:
        root = grown(root)
    tree = replace(old, root=root).replaced(values)
    root = tree.root
    while root.level > level:
        root = root.left
    return replace(tree, root=root)


def _read_change(reader: Reader) -> tuple[int, Value]:
    index = reader.u32()
    kind = reader.u8()
    if kind == 0:
        return index, None
    return index, LeafNode.decode(reader) if kind == 1 else ParentNode.decode(reader)
