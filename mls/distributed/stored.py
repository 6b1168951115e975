"""draft-xue-distributed-mls-02: a DiMLS session as bytes.

Like a group's snapshot (docs/snapshots.md), which it is made of, it holds every secret in the clear and is a secret
itself. Parameters and settings are configuration and are given again when reading. In the presentation language of
RFC 9420 §2.1:

    struct { uint16 version = 1; opaque dgroup_id<V>; SendGroup own; SendGroup others<V>;
             KeyPackage invited<V>; Removal dropped<V>; opaque forgotten<V><V>; } Session;
    struct { opaque removed<V>; opaque group_id<V>; uint64 epoch; } Removal;
    struct { opaque snapshot<V>; Place places<V>; Taken taken<V>; Kept epochs<V>;
             opaque removed<V><V>; opaque retired<V><V>; } SendGroup;
    struct { opaque group_id<V>; uint32 leaf_index; } Place;
    struct { opaque group_id<V>; uint64 epoch; } Taken;
    struct { uint64 epoch; LeafNode leaf; opaque psk<V>; optional<Members> members; optional<Keys> keys; } Kept;
    struct { opaque group_ids<V><V>; } Members;
    struct { opaque leaf_private<V>; opaque signature_private<V>; } Keys;

Members that are absent are those of the entry before, or in the first entry those of `places`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mls import snapshot
from mls.codec import Reader, opaque, optional, u16, u32, u64, vector
from mls.distributed.errors import EpochName
from mls.distributed.mode import send_group_of
from mls.distributed.send_group import Kept, SendGroup
from mls.distributed.values import Session, Settings
from mls.errors import CallerError, MlsError
from mls.key_package import KeyPackage
from mls.leaf_node import LeafNode
from mls.parameters import Parameters
from mls.provider import PendingUpdate, Provider
from mls.registries import Epoch, GroupId, LeafIndex
from mls.secrets import ExternalPsk, HpkePrivateKey, Secret, SignaturePrivateKey

VERSION = 1


class SessionSnapshot(Secret):
    """A whole session as bytes."""

    __slots__ = ()


def encode(session: Session) -> SessionSnapshot:
    """Everything but the parameters and settings."""
    return SessionSnapshot(
        b"".join(
            [
                u16(VERSION),
                opaque(session.dgroup_id),
                _write(session.own),
                vector([_write(each) for each in session.others.values()]),
                vector([package.encoded for package in session.invited.values()]),
                vector([opaque(gone) + opaque(by.group_id) + u64(by.epoch) for gone, by in session.dropped.items()]),
                vector([opaque(name) for name in sorted(session.forgotten)]),
            ]
        )
    )


def decode(
    provider: Provider, parameters: Parameters, stored: SessionSnapshot, *, settings: Settings | None = None
) -> Session:
    """The session that was encoded. The bytes are our own: they are parsed, not judged again."""
    reader = Reader(stored.raw)
    try:
        version = reader.u16()
        if version != VERSION:
            raise CallerError(f"the session was stored as version {version}, not {VERSION}", "upgrade the program")
        session = _decode(provider, parameters, settings or Settings(), reader)
        reader.finish()
    except CallerError:
        raise
    except (MlsError, KeyError, ValueError) as damage:
        raise CallerError("the stored session is damaged", "restore it from a backup") from damage
    return session


def _decode(provider: Provider, parameters: Parameters, settings: Settings, reader: Reader) -> Session:
    numbers = parameters.components.numbers
    dgroup_id = reader.opaque()
    own = _read(provider, parameters, reader)
    others = reader.vector(lambda r: _read(provider, parameters, r))
    invited = reader.vector(KeyPackage.decode)
    dropped = dict(reader.vector(_read_removal))
    return Session(
        parameters=parameters,
        settings=settings,
        dgroup_id=dgroup_id,
        own=own,
        others={each.id: each for each in others},
        invited={send_group_of(numbers, package.leaf_node): package for package in invited},
        dropped=dropped,
        forgotten=frozenset(map(GroupId, reader.vector(Reader.opaque))),
    )


def _read_removal(reader: Reader) -> tuple[GroupId, EpochName]:
    return GroupId(reader.opaque()), EpochName(GroupId(reader.opaque()), Epoch(reader.u64()))


def _write(send_group: SendGroup) -> bytes:
    return b"".join(
        [
            opaque(snapshot.encode(send_group.group).raw),
            vector([opaque(name) + u32(index) for name, index in send_group.places.items()]),
            vector([opaque(name) + u64(epoch) for name, epoch in send_group.taken.items()]),
            _write_epochs(send_group.members, send_group.epochs),
            vector([opaque(name) for name in sorted(send_group.removed)]),
            vector([opaque(snapshot.encode(each).raw) for each in send_group.retired]),
        ]
    )


def _read(provider: Provider, parameters: Parameters, reader: Reader) -> SendGroup:
    group = snapshot.decode(provider, parameters, snapshot.Snapshot(reader.opaque()))
    places = dict(reader.vector(lambda r: (GroupId(r.opaque()), LeafIndex(r.u32()))))
    members = frozenset(places)
    taken = dict(reader.vector(lambda r: (GroupId(r.opaque()), r.u64())))
    epochs = _read_epochs(members, reader)
    removed = frozenset(map(GroupId, reader.vector(Reader.opaque)))
    retired = reader.vector(lambda r: snapshot.decode(provider, parameters, snapshot.Snapshot(r.opaque())))
    return SendGroup(
        group=group,
        places=places,
        members=members,
        taken=taken,
        epochs=epochs,
        removed=removed,
        retired=retired,
    )


def _write_epochs(members: frozenset[GroupId], epochs: Mapping[int, Kept]) -> bytes:
    parts = []
    last = members
    for epoch, kept in epochs.items():
        changed = None if kept.members == last else vector([opaque(name) for name in sorted(kept.members)])
        last = kept.members
        keys = kept.keys
        secret = None if keys is None else opaque(keys.leaf_private.raw) + opaque(keys.signature_private.raw)
        parts.append(u64(epoch) + kept.leaf.encoded + opaque(kept.psk.raw) + optional(changed) + optional(secret))
    return vector(parts)


def _read_epochs(members: frozenset[GroupId], reader: Reader) -> dict[int, Kept]:
    last = members

    def one(r: Reader) -> tuple[int, Kept]:
        nonlocal last
        epoch, leaf, psk = r.u64(), LeafNode.decode(r), ExternalPsk(r.opaque())
        changed = r.optional(lambda inner: frozenset(map(GroupId, inner.vector(Reader.opaque))))
        last = last if changed is None else changed
        return epoch, Kept(leaf=leaf, psk=psk, members=last, keys=r.optional(_read_keys))

    return dict(reader.vector(one))


def _read_keys(reader: Reader) -> PendingUpdate:
    return PendingUpdate(HpkePrivateKey(reader.opaque()), SignaturePrivateKey(reader.opaque()))
