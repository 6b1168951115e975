"""The state as rows for a store: all of it once, and then what each step changed.

    put, gone = changes(before, after)      what one step writes and deletes; in one transaction, before any effect
    state = load(rows, provider)            after a restart
    put, gone = renewed(rows, state)        what makes rows of an older version rows of this one

A row has a table, a key, and bytes. Which rows there are follows from the classes (`vcd.core.shapes`), so a room that
gets a field has it stored, and nothing is written twice. The emulation has a row for each derivation epoch, operation,
package and key. Its group is the home's, and is written with the home; only a device that cannot follow its home has
it apart.

`changes` goes by identity: what both states share is not looked at. So it costs what a step did, whatever the state
holds, and an equal value that was made anew is written once more, which does no harm.

Nothing is sealed here, and the rows hold every secret that the state holds. `seal_under` says for a row which key a
vault is to seal it with. A key of that name lives as long as a row is under it, and no longer: with the last row of an
epoch its key is deleted, so that what the disk, a journal or a backup still has of it opens no more. Rows that name no
key are sealed with the store's own.

Whatever an older version of this program stored is read. A field that is new says since which version it is there
(`record.since`), and VERSION becomes that; anything else that is read otherwise than it was written needs code here.
Rows of two versions are never mixed: before the first step, `renewed` is stored, in one transaction.

A state that may be older than what its device did last (a disk restored from a backup) is loaded as `restored`: the
device only listens then, until it has begun an epoch of its own (`founding.restored`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mls.codec import Reader, decode_exactly, opaque, optional
from mls.errors import MlsError
from mls.persistent import PMap
from mls.provider import Provider
from mls.registries import KeyPackageRef
from mls.state import Group
from mls.virtual.emulation import Emulation, Head, Known, Material, OperationKey, Origin, RingKey
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.operations import Operation
from mls.virtual.settings import Settings
from mls.virtual.transfer import decode_operation, encode_operation
from vcd.core.errors import Malformed, NodeError
from vcd.core.founding import restored as as_restored
from vcd.core.kept_rows import GroupRows
from vcd.core.kinds import home_parameters, parameters_of, raw_parameters
from vcd.core.names import EpochId
from vcd.core.raw_state import Raw
from vcd.core.record import Source, decode_as, encode_as
from vcd.core.shapes import PREPARE, Cell, Found, Parts, Row, Rows, Shape, Table
from vcd.core.state import State
from vcd.core.strand import NEVER, Strand

__all__ = ["VERSION", "Newer", "Row", "Rows", "Unreadable", "changes", "load", "renewed", "rows", "seal_under"]

VERSION = 5
"""Of what is stored. What each version brought are the fields that say so."""


class Unreadable(NodeError):
    """What was stored cannot be read: it is damaged, or a newer program wrote it."""


class Newer(Unreadable):
    """A newer program wrote it."""


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
    version = _version(rows)
    try:
        state = _read_state(Found(rows, provider, home_parameters(), version))
    except (Malformed, MlsError, KeyError, ValueError) as damage:
        raise Unreadable("what is stored is damaged") from damage
    if version < _FROM_ONE:
        state = _from_one(state)
    return as_restored(state) if restored else state


_FROM_ONE = 3
"""Since which version nothing in `Strand.past` has the number 0 but what is `NEVER`."""


def _from_one(state: State) -> State:
    """A device that was linked counted from 0 the epochs that it was told of, and in which its account was."""
    strands = {
        name: replace(strand, past=PMap({epoch: number + 1 for epoch, number in strand.past.items()}))
        for name, strand in state.strands.items()
        if NEVER in strand.past.values()
    }
    return replace(state, strands=state.strands.update(strands))


def renewed(found: Mapping[Row, bytes], state: State) -> tuple[Rows, list[Row]]:
    """What to write and what to delete, in order, so that the rows that a state was read from are of this version.

    Nothing if they are. What both versions write alike stays as it lies, under its key.
    """
    if _version(found) == VERSION:
        return {}, []
    now = rows(state)
    put = {row: now[row] for row in sorted(now) if found.get(row) != now[row]}
    return put, sorted(row for row in found if row not in now)


def _version(found: Mapping[Row, bytes]) -> int:
    version = found.get(_VERSION_ROW)
    if version is None:
        raise Unreadable("nothing of ours is stored here")
    try:
        number: int = decode_as(int, version)
    except Malformed:
        raise Unreadable("what is stored is damaged") from None
    if number > VERSION:
        raise Newer(f"this was stored by a newer program, in version {number}: this one reads up to {VERSION}")
    return number


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
    ("raws.epochs", 1),
    ("emulation.epochs", 0),
    ("emulation.operations", 0),
    ("emulation.stock", 0),
    ("emulation.seeds", 0),
    ("emulation.keys", 0),
    ("emulation.group", 0),
    ("outbox", 0),
    ("joined", 0),
    ("sessions", 0),
    ("daemon.pairing", 0),
)
"""Tables with secrets that are deleted one by one, and which part of a row's key names the key that it is sealed with:
an epoch, a derivation epoch, a package, a signature key, a message, a topic. Rows of one epoch have one key. The last
table is not ours, but the daemon's, which keeps the KeyPackage there by which a device is let in."""

_VERSION_ROW: Row = ("version", b"")
_VERSION = encode_as(int, VERSION)


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


def _decode_known(found: Found, data: bytes) -> Known:
    reader = Reader(data)
    known = Known(DerivationEpoch.decode(reader, found.provider), reader.optional(Reader.opaque))
    reader.finish()
    return known


def _decode_operation(_: Found, data: bytes) -> Operation:
    return decode_exactly(data, decode_operation)


def _tables_of_emulation() -> dict[str, Table]:
    name = "emulation."

    def table(field: str, kind: Any, item: Any) -> Table:
        return Table(name + field, kind, Cell.of(name + field, item))

    return {
        "epochs": Table(name + "epochs", bytes, Cell(name + "epochs", _encode_known, _decode_known)),
        "operations": Table(
            name + "operations", OperationKey, Cell(name + "operations", encode_operation, _decode_operation)
        ),
        "stock": table("stock", KeyPackageRef, Material),
        "withdrawn": table("withdrawn", KeyPackageRef, int),
        "seeds": table("seeds", Origin, Material),
        "keys": table("keys", bytes, RingKey),
        "past": table("past", bytes, int),
    }


_EMULATION = Cell.of("emulation", _HeadOf)
_EMULATION_TABLES = _tables_of_emulation()
_EMULATION_GROUP = GroupRows("emulation.group")


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


class _StateRows(Shape):
    """A state: its fields, and the emulation."""

    def __init__(self) -> None:
        self.fields = Parts("state", "", State, but=("emulation", "agenda"))

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


def _read_state(found: Found) -> State:
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


def _prepare_strand(found: Found, fields: Mapping[str, Any]) -> None:
    """The parameters of its groups are no part of them."""
    found.parameters = home_parameters() if fields["home"] else parameters_of(fields["mode"])


def _prepare_raw(found: Found, _: Mapping[str, Any]) -> None:
    found.parameters = raw_parameters()


PREPARE[Strand] = _prepare_strand
PREPARE[Raw] = _prepare_raw
_STATE = _StateRows()
