"""What a device knows of its virtual client, as bytes for its own storage.

`encode` gives everything of an `Emulation` but the emulation group, which is stored like any other group
(`mls.snapshot`) and given back to `decode`; both are to be written in one transaction, with the conversations that the
same act changed. Every secret stands in it in the clear: sealing it is the vault's business.

The form is versioned, and docs/snapshots.md spells it out. What does not fit together is damage of our own storage, so
it is a `CallerError`.

A storage that is older than what the device did last shows no damage, and who goes on from it takes operations and
message keys again that it took before. The next commit from outside would seal another init secret under the same key
and nonce, for all to see. No value can tell its age, so whoever knows that the storage is an old one has to say it
(`decode` with `restored`, `listening`).
"""

from __future__ import annotations

from dataclasses import replace

from mls.codec import Reader, decode_exactly, opaque, optional, u8, u16, u32, u64, vector
from mls.errors import CallerError, PeerError
from mls.leaf_node import decode_extensions, encode_extensions
from mls.persistent import PMap
from mls.provider import Provider
from mls.registries import Generation, KeyPackageRef, LeafIndex
from mls.secrets import KeyPackageSeed, Secret, SignaturePrivateKey
from mls.state import Group
from mls.virtual.emulation import Emulation, Head, Known, Material, Origin, RingKey, operation_key
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.secret_state import flag
from mls.virtual.settings import Settings
from mls.virtual.transfer import decode_operation, encode_operation

VERSION = 1


class StoredEmulation(Secret):
    """A device's `Emulation` as bytes."""

    __slots__ = ()


def encode(emulation: Emulation) -> StoredEmulation:
    """Everything but the emulation group."""
    epochs, operations, keys = emulation.epochs, emulation.operations, emulation.keys
    return StoredEmulation(
        b"".join(
            [
                u16(VERSION),
                opaque(emulation.settings.encode()),
                opaque(emulation.head.newest),
                opaque(emulation.group.epoch_id),
                vector([_epoch(epochs[each]) for each in sorted(epochs)]),
                vector([encode_operation(operations[each]) for each in sorted(operations)]),
                vector([_material(emulation.stock[each]) for each in sorted(emulation.stock)]),
                vector([opaque(each) for each in sorted(emulation.withdrawn, key=emulation.withdrawn.__getitem__)]),
                vector([_material(emulation.seeds[each]) for each in sorted(emulation.seeds)]),
                vector([opaque(each) + _key(keys[each]) for each in sorted(keys)]),
                vector([opaque(each) for each in sorted(emulation.past, key=emulation.past.__getitem__)]),
            ]
        )
    )


def decode(stored: StoredEmulation, provider: Provider, group: Group, *, restored: bool = False) -> Emulation:
    """What `encode` made, with the emulation group that was stored beside it.

    `restored` says that the device may have gone on after this was stored. It is then one that only listens.
    """
    try:
        reader = Reader(stored.raw)
        if reader.u16() != VERSION:
            raise CallerError("what is stored of the virtual client is of another version", "use the one that wrote it")
        settings = decode_exactly(reader.opaque(), Settings.decode)
        newest = reader.opaque()
        group_epoch = reader.opaque()
        epochs = reader.vector(lambda r: (DerivationEpoch.decode(r, provider), r.optional(Reader.opaque)))
        operations = reader.vector(decode_operation)
        stock = reader.vector(_read_material)
        withdrawn = reader.vector(Reader.opaque)
        seeds = reader.vector(_read_material)
        keys = reader.vector(lambda r: (r.opaque(), _read_key(r)))
        past = reader.vector(Reader.opaque)
        reader.finish()
    except PeerError:
        raise _damaged() from None
    known = PMap({epoch.epoch_id: Known(epoch, parent) for epoch, parent in epochs})
    if newest not in known or group_epoch != group.epoch_id:
        raise _damaged()
    emulation = Emulation(
        settings=settings,
        head=Head(group, newest),
        epochs=known,
        operations=PMap({operation_key(operation): operation for operation in operations}),
        stock=PMap({material.reference: material for material in stock}),
        withdrawn=PMap({KeyPackageRef(each): number for number, each in enumerate(withdrawn, 1)}),
        seeds=PMap({material.origin: material for material in seeds if material.origin is not None}),
        keys=PMap(keys),
        past=PMap({each: number for number, each in enumerate(past, 1)}),
    )
    return listening(emulation) if restored else emulation


def listening(emulation: Emulation) -> Emulation:
    """The same device as one that was no member in any derivation epoch that it knows.

    It follows what others do and knows who did it. It takes no operation and encrypts in no conversation, but raises
    CallerError, until a derivation epoch begins that it is a member of, and the leaf was made in that one. What this
    does not cover:

    * Epochs that begin while it catches up count as new, and it may have acted in them before. So whoever comes back
      catches up first, then calls this again, and then begins an epoch by a commit of its own.
    * In the emulation group nothing holds it back, and there its keys were used before, with 32 random bits to keep the
      nonces apart. That commit is to be unencrypted, and nothing is said before it.
    * What it learned since is gone. KeyPackages that were withdrawn are in the stock again, so it takes up no Welcome
      before siblings have said what they withdrew; signature keys may be missing until siblings tell of them.
    * Somebody else who has the old storage has all that it opens. If that may be, the device is to be removed.
    """
    epochs = {
        name: replace(known, epoch=replace(known.epoch, own_leaf=None)) for name, known in emulation.epochs.items()
    }
    return replace(emulation, epochs=PMap(epochs))


def _epoch(known: Known) -> bytes:
    return known.epoch.encode() + optional(None if known.parent is None else opaque(known.parent))


def _material(material: Material) -> bytes:
    origin = material.origin
    made = None
    if origin is not None:
        made = opaque(origin.epoch_id) + u32(origin.leaf) + u32(origin.generation) + u32(origin.index)
    return b"".join(
        [
            opaque(material.reference),
            u16(material.cipher_suite),
            opaque(material.seed.raw),
            optional(made),
            encode_extensions(material.extensions),
            u64(material.not_after),
            opaque(material.signature_key),
            u8(material.used),
        ]
    )


def _read_material(reader: Reader) -> Material:
    return Material(
        reference=KeyPackageRef(reader.opaque()),
        cipher_suite=reader.u16(),
        seed=KeyPackageSeed(reader.opaque()),
        origin=reader.optional(
            lambda r: Origin(r.opaque(), LeafIndex(r.u32()), Generation(r.u32()), r.u32()),
        ),
        extensions=decode_extensions(reader),
        not_after=reader.u64(),
        signature_key=reader.opaque(),
        used=flag(reader),
    )


def _key(key: RingKey) -> bytes:
    return u16(key.cipher_suite) + opaque(key.private.raw) + u8(key.used)


def _read_key(reader: Reader) -> RingKey:
    return RingKey(reader.u16(), SignaturePrivateKey(reader.opaque()), flag(reader))


def _damaged() -> CallerError:
    return CallerError(
        "what is stored of the virtual client is damaged", "join as a new device, or decode an older copy as `restored`"
    )
