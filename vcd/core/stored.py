"""The state as rows for a store: all of it once, and then what each step changed.

    put, gone = changes(before, after)      what one step writes and deletes; in one transaction, before any effect
    state = load(rows, provider)            after a restart

A row has a table, a key, and bytes. Which rows there are follows from the classes: every field of a dataclass that is a
`PMap` is a table with a row an entry, all its other fields together are one row, and whatever holds such a class holds
its tables under its own name (`strands.kept`), with its own key before theirs. So a room that gets a field has it
stored, and nothing is written twice. Three classes have rows of their own kind:

    Group       the public half and the secrets of an epoch are one row each, and so is every node and every ratchet
                of its message keys: a message, sent or read, writes one ratchet
    Emulation   a row for each derivation epoch, operation, package and key. Its group is the home's, and is written
                with the home; only a device that cannot follow its home has it apart
    Graph       its anchor, and a row a step

`changes` goes by identity: what both states share is not looked at. So it costs what a step did, whatever the state
holds, and an equal value that was made anew is written once more, which does no harm.

Nothing is sealed here, and the rows hold every secret that the state holds. `seal_under` says for a row which key a
vault is to seal it with. A key of that name lives as long as a row is under it, and no longer: with the last row of an
epoch its key is deleted, so that what the disk, a journal or a backup still has of it opens no more. Rows that name no
key are sealed with the store's own.

A state that may be older than what its device did last (a disk restored from a backup) is loaded as `restored`: the
device only listens then, until it has begun an epoch of its own (`founding.restored`).
"""

from __future__ import annotations

import dataclasses
import typing
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from types import UnionType
from typing import Any, TypeVar

from mls import snapshot
from mls.codec import Reader, decode_exactly, opaque, optional, u32, u64, vector
from mls.distributed.values import Session
from mls.errors import MlsError
from mls.parameters import Parameters
from mls.persistent import PMap
from mls.provider import Provider
from mls.registries import KeyPackageRef
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
from mls.virtual.emulation import Emulation, Head, Known, Material, OperationKey, Origin, RingKey
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.operations import Operation
from mls.virtual.settings import Settings
from mls.virtual.transfer import decode_operation, encode_operation
from vcd.core.errors import Malformed, NodeError
from vcd.core.founding import restored as as_restored
from vcd.core.kinds import home_parameters, parameters_of
from vcd.core.names import EpochId
from vcd.core.ordering.graph import Anchor, Graph, Step
from vcd.core.record import Source, decode_as, encode_as
from vcd.core.sends import BESIDE_OTHERS, decode_session, encode_other, encode_own
from vcd.core.state import State
from vcd.core.strand import Strand

VERSION = 1

T = TypeVar("T")

Row = tuple[str, bytes]
"""A table's name, and a key in it."""
Rows = dict[Row, bytes]


class Unreadable(NodeError):
    """What was stored cannot be read: it is damaged, or a newer program wrote it."""


# ---------------------------------------------------------------- whole, changed, and back


def rows(state: State) -> Rows:
    """All of a state."""
    out: Rows = {_VERSION_ROW: _VERSION}
    _STATE.write(state, b"", out)
    return out


def changes(before: State, after: State) -> tuple[Rows, list[Row]]:
    """The rows to write, and those to delete, that lead from `before` to `after`, in order."""
    out: Rows = {}
    gone: dict[Row, None] = {}
    _STATE.differ(before, after, b"", out, gone)
    return {row: out[row] for row in sorted(out)}, sorted(row for row in gone if row not in out)


def load(rows: Mapping[Row, bytes], provider: Provider, *, restored: bool = False) -> State:
    """The state that these are the rows of."""
    version = rows.get(_VERSION_ROW)
    if version is None:
        raise Unreadable("nothing of ours is stored here")
    try:
        number = decode_as(int, version)
    except Malformed:
        raise Unreadable("what is stored is damaged") from None
    if number > VERSION:
        raise Unreadable(f"this was stored by a newer program, in version {number}: this one reads up to {VERSION}")
    try:
        state = _read_state(_Found(rows, provider))
    except (Malformed, MlsError, KeyError, ValueError) as damage:
        raise Unreadable("what is stored is damaged") from damage
    return as_restored(state) if restored else state


def seal_under(table: str, key: bytes) -> bytes | None:
    """The name of the key that a row is to be sealed with; None for the store's own."""
    for prefix, part in _KEYS:
        if table == prefix or table.startswith(prefix + "."):
            source = Source(key)
            for _ in range(part):
                source.take(source.length())
            return source.take(source.length())
    return None


_KEYS: tuple[tuple[str, int], ...] = (
    ("strands.kept", 1),
    ("emulation.epochs", 0),
    ("emulation.operations", 0),
    ("emulation.stock", 0),
    ("emulation.seeds", 0),
    ("emulation.keys", 0),
    ("emulation.group", 0),
    ("outbox", 0),
    ("joined", 0),
    ("sessions", 0),
)
"""Tables with secrets that are deleted one by one, and which part of a row's key names the key that it is sealed with:
an epoch, a derivation epoch, a package, a signature key, a message, a topic. Rows of one epoch have one key."""

_VERSION_ROW: Row = ("version", b"")
_VERSION = encode_as(int, VERSION)


# ---------------------------------------------------------------- shapes: how a value lies in rows


class _Found:
    """The rows of a state that is being read, by table and in order of keys."""

    def __init__(self, rows: Mapping[Row, bytes], provider: Provider) -> None:
        self.provider = provider
        self.parameters: Parameters = home_parameters()
        """Of the groups that are being read now."""
        self._rows = rows
        self._keys: dict[str, list[bytes]] = {}
        for table, key in sorted(rows):
            self._keys.setdefault(table, []).append(key)

    def has(self, table: str, key: bytes) -> bool:
        return (table, key) in self._rows

    def row(self, table: str, key: bytes) -> bytes:
        return self._rows[table, key]

    def under(self, table: str, prefix: bytes) -> Iterator[bytes]:
        """The keys of a table that begin like this."""
        keys = self._keys.get(table, [])
        at = bisect_left(keys, prefix)
        while at < len(keys) and keys[at].startswith(prefix):
            yield keys[at]
            at += 1


class _Shape:
    """How values of one type lie in rows, under a table's name."""

    def write(self, value: Any, key: bytes, out: Rows) -> None:
        raise NotImplementedError

    def differ(self, old: Any, new: Any, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        raise NotImplementedError

    def read(self, found: _Found, key: bytes) -> Any:
        raise NotImplementedError

    def there(self, found: _Found, key: bytes) -> bool:
        """Whether there is a value with this key."""
        raise NotImplementedError

    def drop(self, old: Any, key: bytes, gone: dict[Row, None]) -> None:
        """All rows of a value that is there no more."""
        out: Rows = {}
        self.write(old, key, out)
        gone.update(dict.fromkeys(out))


class _Cell(_Shape):
    """One row."""

    def __init__(self, table: str, encode: Callable[[Any], bytes], decode: Callable[[_Found, bytes], Any]) -> None:
        self._table, self._encode, self._decode = table, encode, decode

    @classmethod
    def of(cls, table: str, kind: Any) -> _Cell:
        """Of a type that `record` knows."""
        return cls(table, partial(encode_as, kind), lambda _, data: decode_as(kind, data))

    def write(self, value: Any, key: bytes, out: Rows) -> None:
        out[self._table, key] = self._encode(value)

    def differ(self, old: Any, new: Any, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        del gone
        if old is not new:
            self.write(new, key, out)

    def read(self, found: _Found, key: bytes) -> Any:
        return self._decode(found, found.row(self._table, key))

    def there(self, found: _Found, key: bytes) -> bool:
        return found.has(self._table, key)

    def drop(self, old: Any, key: bytes, gone: dict[Row, None]) -> None:
        del old
        gone[self._table, key] = None


class _Table(_Shape):
    """A `PMap`: its entries in rows, or in rows of their own shape."""

    def __init__(self, table: str, kind: Any, item: _Shape) -> None:
        self._table, self._item = table, item
        self._encode_key = partial(encode_as, kind)
        self._kind = kind

    def write(self, value: PMap[Any, Any], key: bytes, out: Rows) -> None:
        for name, each in value.items():
            self._item.write(each, key + self._encode_key(name), out)

    def differ(self, old: PMap[Any, Any], new: PMap[Any, Any], key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        if old is new:
            return
        changed, dropped = new.changes(old)
        for name, each in changed.items():
            place = key + self._encode_key(name)
            before = old.find(name)
            if before is None:
                self._item.write(each, place, out)
            else:
                self._item.differ(before, each, place, out, gone)
        for name in dropped:
            self._item.drop(old[name], key + self._encode_key(name), gone)

    def read(self, found: _Found, key: bytes) -> PMap[Any, Any]:
        entries = {}
        for place in list(found.under(self._table, key)):
            entries[decode_as(self._kind, place[len(key) :])] = self._item.read(found, place)
        return PMap(entries)


class _Maybe(_Shape):
    """A value or None."""

    def __init__(self, inner: _Shape) -> None:
        self._inner = inner

    def write(self, value: Any, key: bytes, out: Rows) -> None:
        if value is not None:
            self._inner.write(value, key, out)

    def differ(self, old: Any, new: Any, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        if old is None:
            self.write(new, key, out)
        elif new is None:
            self._inner.drop(old, key, gone)
        else:
            self._inner.differ(old, new, key, out, gone)

    def read(self, found: _Found, key: bytes) -> Any:
        return self._inner.read(found, key) if self._inner.there(found, key) else None


class _Parts(_Shape):
    """A dataclass: its plain fields in one row, and whatever has rows of its own."""

    def __init__(self, table: str, prefix: str, kind: type[Any], *, but: tuple[str, ...] = ()) -> None:
        """`prefix` is what the tables of its fields have before their names; `but` are fields that others write."""
        self.kind = kind
        self._table = table
        self._plain: list[str] = []
        self._inner: list[tuple[str, _Shape]] = []
        hints = typing.get_type_hints(kind)
        plain = []
        for field in dataclasses.fields(kind):
            if not field.init or field.name in but:
                continue
            shape = _own_shape(prefix + field.name, hints[field.name])
            if shape is not None:
                self._inner.append((field.name, shape))
            else:
                self._plain.append(field.name)
                plain.append(hints[field.name])
        self._types: Any = tuple.__class_getitem__(tuple(plain))

    def write(self, value: Any, key: bytes, out: Rows) -> None:
        out[self._table, key] = encode_as(self._types, tuple([getattr(value, name) for name in self._plain]))
        for name, shape in self._inner:
            shape.write(getattr(value, name), key, out)

    def differ(self, old: Any, new: Any, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        if old is new:
            return
        now = [getattr(new, name) for name in self._plain]
        if any(getattr(old, name) is not each for name, each in zip(self._plain, now, strict=True)):
            out[self._table, key] = encode_as(self._types, tuple(now))
        for name, shape in self._inner:
            was, is_now = getattr(old, name), getattr(new, name)
            if was is not is_now:
                shape.differ(was, is_now, key, out, gone)

    def read(self, found: _Found, key: bytes) -> Any:
        plain = decode_as(self._types, found.row(self._table, key))
        fields = dict(zip(self._plain, plain, strict=True))
        if self.kind is Strand:
            found.parameters = home_parameters() if fields["home"] else parameters_of(fields["mode"])
        for name, shape in self._inner:
            fields[name] = shape.read(found, key)
        return self.kind(**fields)

    def there(self, found: _Found, key: bytes) -> bool:
        return found.has(self._table, key)


def _own_shape(table: str, kind: Any) -> _Shape | None:
    """The shape of what has rows of its own; None for what is part of a row."""
    if kind is Group:
        return _GroupRows(table)
    if kind is Graph:
        return _GraphRows(table)
    if kind is Session:
        return _SessionRows(table)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is PMap:
        item = _own_shape(table, arguments[1])
        return _Table(table, arguments[0], item or _Cell.of(table, arguments[1]))
    if origin in (typing.Union, UnionType):
        rest = [each for each in arguments if each is not type(None)]
        inner = _own_shape(table, rest[0]) if len(rest) == 1 else None
        return None if inner is None else _Maybe(inner)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and _has_rows(kind):
        return _Parts(table, table + ".", kind)
    return None


@cache
def _has_rows(kind: type[Any]) -> bool:
    """Whether something in a class has rows of its own. No class of the state contains itself."""
    hints = typing.get_type_hints(kind)
    return any(field.init and _own_shape("", hints[field.name]) is not None for field in dataclasses.fields(kind))


# ---------------------------------------------------------------- a group


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


class _GroupRows(_Shape):
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

    def read(self, found: _Found, key: bytes) -> Group:
        half = snapshot.decode(found.provider, found.parameters, Snapshot(found.row(self._public, key)))
        group = snapshot.apply_delta(half, Delta(found.row(self._secrets, key)))
        at = len(key)
        nodes = {_index(place, at): found.row(self._nodes, place) for place in found.under(self._nodes, key)}
        ratchets = {
            _index(place, at): decode_exactly(found.row(self._ratchets, place), _decode_ratchet)
            for place in found.under(self._ratchets, key)
        }
        return replace(group, keys=SecretTree(half.keys.leaf_count, PMap(nodes), PMap(ratchets)))

    def there(self, found: _Found, key: bytes) -> bool:
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


# ---------------------------------------------------------------- a graph


class _SessionRows(_Shape):
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

    def read(self, found: _Found, key: bytes) -> Session:
        others = [found.row(self._others, place) for place in found.under(self._others, key)]
        return decode_session(found.provider, found.row(self._table, key), others)

    def there(self, found: _Found, key: bytes) -> bool:
        return found.has(self._table, key)


class _GraphRows(_Shape):
    """The anchor and the steps; all else in a graph follows from them."""

    def __init__(self, table: str) -> None:
        self._anchor = _Cell.of(table, Anchor)
        self._steps = _Table(table + ".steps", EpochId, _Cell.of(table + ".steps", Step))

    def write(self, value: Graph, key: bytes, out: Rows) -> None:
        self._anchor.write(value.anchor, key, out)
        self._steps.write(value.steps, key, out)

    def differ(self, old: Graph, new: Graph, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        self._anchor.differ(old.anchor, new.anchor, key, out, gone)
        self._steps.differ(old.steps, new.steps, key, out, gone)

    def read(self, found: _Found, key: bytes) -> Graph:
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

    def there(self, found: _Found, key: bytes) -> bool:
        return self._anchor.there(found, key)


# ---------------------------------------------------------------- the virtual client


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeadOf:
    """What is stored of an emulation beside its tables."""

    settings: bytes
    newest: bytes
    epoch: bytes
    """Of the emulation group; which group that is, the home has."""


def _encode_known(known: Known) -> bytes:
    return known.epoch.encode() + optional(None if known.parent is None else opaque(known.parent))


def _decode_known(found: _Found, data: bytes) -> Known:
    reader = Reader(data)
    known = Known(DerivationEpoch.decode(reader, found.provider), reader.optional(Reader.opaque))
    reader.finish()
    return known


def _decode_operation(_: _Found, data: bytes) -> Operation:
    return decode_exactly(data, decode_operation)


def _tables_of_emulation() -> dict[str, _Table]:
    name = "emulation."

    def table(field: str, kind: Any, item: Any) -> _Table:
        return _Table(name + field, kind, _Cell.of(name + field, item))

    return {
        "epochs": _Table(name + "epochs", bytes, _Cell(name + "epochs", _encode_known, _decode_known)),
        "operations": _Table(
            name + "operations", OperationKey, _Cell(name + "operations", encode_operation, _decode_operation)
        ),
        "stock": table("stock", KeyPackageRef, Material),
        "withdrawn": table("withdrawn", KeyPackageRef, int),
        "seeds": table("seeds", Origin, Material),
        "keys": table("keys", bytes, RingKey),
        "past": table("past", bytes, int),
    }


_EMULATION = _Cell.of("emulation", _HeadOf)
_EMULATION_TABLES = _tables_of_emulation()
_EMULATION_GROUP = _GroupRows("emulation.group")


def _head_of(emulation: Emulation) -> _HeadOf:
    return _HeadOf(settings=emulation.settings.encode(), newest=emulation.head.newest, epoch=emulation.group.epoch_id)


def _own_group(state: State) -> Group | None:
    """The emulation group, where the home does not have it."""
    emulation = state.emulation
    if emulation is None:
        return None
    strand = None if state.home is None else state.strands.find(state.home)
    kept = None if strand is None else strand.kept.find(EpochId(emulation.group.epoch_id))
    return None if kept is not None and kept.group is emulation.group else emulation.group


def _group_key(group: Group) -> bytes:
    return encode_as(bytes, group.epoch_id)


class _StateRows(_Shape):
    """A state: its fields, and the emulation."""

    def __init__(self) -> None:
        self.fields = _Parts("state", "", State, but=("emulation", "agenda"))

    def write(self, value: State, key: bytes, out: Rows) -> None:
        self.fields.write(value, key, out)
        emulation = value.emulation
        if emulation is None:
            return
        _EMULATION.write(_head_of(emulation), key, out)
        for name, table in _EMULATION_TABLES.items():
            table.write(getattr(emulation, name), key, out)
        group = _own_group(value)
        if group is not None:
            _EMULATION_GROUP.write(group, _group_key(group), out)

    def differ(self, old: State, new: State, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        self.fields.differ(old, new, key, out, gone)
        if old.emulation is new.emulation and old.strands is new.strands:
            return
        self._group_differs(_own_group(old), _own_group(new), out, gone)
        before, after = old.emulation, new.emulation
        if before is after:
            return
        if before is None or after is None:
            empty: PMap[Any, Any] = PMap()
            if before is not None:
                _EMULATION.drop(None, key, gone)
            for name, table in _EMULATION_TABLES.items():
                table.differ(getattr(before, name, empty), getattr(after, name, empty), key, out, gone)
        else:
            for name, table in _EMULATION_TABLES.items():
                table.differ(getattr(before, name), getattr(after, name), key, out, gone)
        if after is not None:
            head = _head_of(after)
            if before is None or head != _head_of(before):
                _EMULATION.write(head, key, out)

    def _group_differs(self, old: Group | None, new: Group | None, out: Rows, gone: dict[Row, None]) -> None:
        if old is not None and (new is None or old.epoch_id != new.epoch_id):
            _EMULATION_GROUP.drop(old, _group_key(old), gone)
            old = None
        if new is not None:
            if old is None:
                _EMULATION_GROUP.write(new, _group_key(new), out)
            else:
                _EMULATION_GROUP.differ(old, new, _group_key(new), out, gone)


def _read_state(found: _Found) -> State:
    state: State = _STATE.fields.read(found, b"")
    if not _EMULATION.there(found, b""):
        return state
    head: _HeadOf = _EMULATION.read(found, b"")
    found.parameters = home_parameters()
    own = list(found.under("emulation.group", b""))
    if own:
        group: Group = _EMULATION_GROUP.read(found, own[0])
    else:
        if state.home is None:
            raise Malformed("no home")
        group = state.strands[state.home].kept[EpochId(head.epoch)].group
    tables = {name: table.read(found, b"") for name, table in _EMULATION_TABLES.items()}
    if head.newest not in tables["epochs"] or group.epoch_id != head.epoch:
        raise Malformed("the emulation does not fit its group")
    emulation = Emulation(
        settings=decode_exactly(head.settings, Settings.decode), head=Head(group, head.newest), **tables
    )
    return replace(state, emulation=emulation)


_STATE = _StateRows()
