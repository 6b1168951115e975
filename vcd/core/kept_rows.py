"""The rows of groups, of sessions of send groups, and of graphs: what `vcd.core.shapes` cannot know by itself.

Group     the public half and the secrets of an epoch are one row each, and so is every node and every ratchet of
          its message keys: a message, sent or read, writes one ratchet
Session   a row for each send group
Graph     its anchor, and a row a step; all else in a graph follows from them
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace

from mls import snapshot
from mls.codec import Reader, decode_exactly, opaque, u32, u64, vector
from mls.distributed.values import Session
from mls.persistent import PMap
from mls.schedule import EpochSecrets
from mls.secret_tree import Ratchet, SecretTree
from mls.secrets import (
    ConfirmationKey,
    ExporterSecret,
    ExternalSecret,
    InitSecret,
    MembershipKey,
    ResumptionPsk,
    SenderDataSecret,
    SignaturePrivateKey,
)
from mls.snapshot import Delta, Snapshot
from mls.state import Group
from vcd.core.errors import Malformed
from vcd.core.names import EpochId
from vcd.core.ordering.graph import Anchor, Graph, Step
from vcd.core.sends import BESIDE_OTHERS, decode_session, encode_other, encode_own
from vcd.core.shapes import SPECIAL, Cell, Found, Row, Rows, Shape, Table

_NOTHING = EpochSecrets(
    SenderDataSecret(b""),
    ExporterSecret(b""),
    ExternalSecret(b""),
    ConfirmationKey(b""),
    MembershipKey(b""),
    ResumptionPsk(b""),
    b"",
    b"",
    InitSecret(b""),
)
_NO_KEY = SignaturePrivateKey(b"")


def _public_half(group: Group) -> Group:
    """What everybody in the epoch has, in the place of a group."""
    return Group(
        parameters=group.parameters,
        public=group.public,
        own_leaf=group.own_leaf,
        signature_key=_NO_KEY,
        private={},
        secrets=_NOTHING,
        keys=_no_keys(group),
        trees={},
        proposals={},
        updates={},
        resumption=(),
        ended=None,
        followed=frozenset(),
    )


def _no_keys(group: Group) -> SecretTree:
    return SecretTree(group.keys.leaf_count, PMap(), PMap())


class GroupRows(Shape):
    """The public half as a snapshot, the secrets as the difference to it, the message keys one by one."""

    def __init__(self, table: str) -> None:
        self._public = table
        self._secrets = table + ".secrets"
        self._nodes = table + ".nodes"
        self._ratchets = table + ".ratchets"

    def write(self, value: Group, key: bytes, out: Rows) -> None:
        self._write_public(value, key, out)
        self._write_secrets(value, key, out)
        for index, secret in value.keys.nodes.items():
            out[self._nodes, key + u32(index)] = secret
        for index, ratchet in value.keys.ratchets.items():
            out[self._ratchets, key + u32(index)] = _encode_ratchet(ratchet)

    def _write_public(self, value: Group, key: bytes, out: Rows) -> None:
        out[self._public, key] = snapshot.encode(_public_half(value)).raw

    def _write_secrets(self, value: Group, key: bytes, out: Rows) -> None:
        half = _public_half(value)
        out[self._secrets, key] = snapshot.encode_delta(half, replace(value, keys=half.keys)).raw

    def differ(self, old: Group, new: Group, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        if old is new:
            return
        if old.public is not new.public or old.own_leaf != new.own_leaf:
            self._write_public(new, key, out)
        if any(getattr(old, name) is not getattr(new, name) for name in _BESIDE_MESSAGE_KEYS):
            self._write_secrets(new, key, out)
        nodes, dropped = new.keys.nodes.changes(old.keys.nodes)
        for index, secret in nodes.items():
            out[self._nodes, key + u32(index)] = secret
        for index in dropped:
            gone[self._nodes, key + u32(index)] = None
        ratchets, over = new.keys.ratchets.changes(old.keys.ratchets)
        for index, ratchet in ratchets.items():
            out[self._ratchets, key + u32(index)] = _encode_ratchet(ratchet)
        for index in over:
            gone[self._ratchets, key + u32(index)] = None

    def read(self, found: Found, key: bytes) -> Group:
        half = snapshot.decode(found.provider, found.parameters, Snapshot(found.row(self._public, key)))
        group = snapshot.apply_delta(half, Delta(found.row(self._secrets, key)))
        at = len(key)
        nodes = {_index(place, at): found.row(self._nodes, place) for place in found.under(self._nodes, key)}
        ratchets = {
            _index(place, at): decode_exactly(found.row(self._ratchets, place), _decode_ratchet)
            for place in found.under(self._ratchets, key)
        }
        return replace(group, keys=SecretTree(half.keys.leaf_count, PMap(nodes), PMap(ratchets)))

    def there(self, found: Found, key: bytes) -> bool:
        return found.has(self._public, key)


_BESIDE_MESSAGE_KEYS = tuple(
    field.name for field in dataclasses.fields(Group) if field.name not in ("parameters", "public", "own_leaf", "keys")
)


def _index(place: bytes, at: int) -> int:
    if len(place) != at + 4:
        raise Malformed("no place in a tree")
    return int.from_bytes(place[at:], "big")


def _encode_ratchet(ratchet: Ratchet) -> bytes:
    skipped = [
        u32(generation) + opaque(key) + opaque(nonce) for generation, (key, nonce) in sorted(ratchet.skipped.items())
    ]
    return u64(ratchet.generation) + opaque(ratchet.secret) + vector(skipped)


def _decode_ratchet(reader: Reader) -> Ratchet:
    return Ratchet(
        reader.u64(),
        reader.opaque(),
        dict(reader.vector(lambda r: (r.u32(), (r.opaque(), r.opaque())))),
    )


# ---------------------------------------------------------------- sessions of send groups


class SessionRows(Shape):
    """A session of send groups: a row for each of them, and with our own what belongs to none."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._others = table + ".others"

    def write(self, value: Session, key: bytes, out: Rows) -> None:
        out[self._table, key] = encode_own(value)
        for name, group in value.others.items():
            out[self._others, key + opaque(name)] = encode_other(value, group)

    def differ(self, old: Session, new: Session, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        if any(getattr(old, name) is not getattr(new, name) for name in BESIDE_OTHERS):
            out[self._table, key] = encode_own(new)
        for name, group in new.others.items():
            if old.others.get(name) is not group:
                out[self._others, key + opaque(name)] = encode_other(new, group)
        for name in old.others:
            if name not in new.others:
                gone[self._others, key + opaque(name)] = None

    def read(self, found: Found, key: bytes) -> Session:
        others = [found.row(self._others, place) for place in found.under(self._others, key)]
        return decode_session(found.provider, found.row(self._table, key), others)

    def there(self, found: Found, key: bytes) -> bool:
        return found.has(self._table, key)


# ---------------------------------------------------------------- a graph


class GraphRows(Shape):
    """The anchor and the steps; all else in a graph follows from them."""

    def __init__(self, table: str) -> None:
        self._anchor = Cell.of(table, Anchor)
        self._steps = Table(table + ".steps", EpochId, Cell.of(table + ".steps", Step))

    def write(self, value: Graph, key: bytes, out: Rows) -> None:
        self._anchor.write(value.anchor, key, out)
        self._steps.write(value.steps, key, out)

    def differ(self, old: Graph, new: Graph, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        self._anchor.differ(old.anchor, new.anchor, key, out, gone)
        self._steps.differ(old.steps, new.steps, key, out, gone)

    def read(self, found: Found, key: bytes) -> Graph:
        graph = Graph(self._anchor.read(found, key))
        children: dict[EpochId, list[Step]] = {}
        steps: PMap[EpochId, Step] = self._steps.read(found, key)
        for epoch in steps:
            children.setdefault(steps[epoch].parent, []).append(steps[epoch])
        ready = [graph.anchor.epoch]
        while ready:
            for step in sorted(children.pop(ready.pop(), []), key=lambda each: each.epoch):
                graph = graph.with_step(step)
                ready.append(step.epoch)
        if children:
            raise Malformed("steps without a parent")
        return graph

    def there(self, found: Found, key: bytes) -> bool:
        return self._anchor.there(found, key)


SPECIAL[Group] = GroupRows
SPECIAL[Graph] = GraphRows
SPECIAL[Session] = SessionRows
