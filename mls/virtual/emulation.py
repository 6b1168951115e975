"""draft-ietf-mls-virtual-clients §6: what a device knows as one of those that are the virtual client.

`Emulation` is a value, like a group: every act of `mls.virtual` takes one and gives the next. It is stored in one
transaction with the groups that the same act changed, before anything is sent. Conversations are groups that the caller
holds beside it; nothing here is per conversation. Which emulation epoch a conversation's leaf is bound to is written in
the leaf, so each value of a conversation, of whatever epoch and branch, says it of itself.

* `head` is the emulation group and the newest derivation epoch, on the branch that is held for right. Another branch is
  another head (`on`); everything else is common to all branches. In particular the operation ratchets are: whoever went
  back to the value of a fork's parent would otherwise derive an operation twice.
* `epochs` are the derivation epochs still in use, each with the one before it on its branch, so that of any two it is
  known whether one is an ancestor of the other. That is what forbids a leaf to go back (`check_order`).
* `operations` are secrets of operations whose leaves are in use; `stock` are the KeyPackages that a Welcome may be for,
  `withdrawn` the names of those that none is taken for any more, `seeds` what is kept of them, and of first leaves
  of groups, if anything is; `keys` are the signature keys, by public key.

An operation is consumed when it is taken. A call that fails after it took one says so: the exception's `consumed` is
the value to store in the place of the old one. What is derived because a message said so is consumed only in the value
that is returned once the whole message held (docs/spec-notes.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mls.codec import decode_exactly
from mls.errors import CallerError, LimitError, MlsError, OwnMessageError, PeerError, ReplayError
from mls.leaf_node import Extensions, LeafNode
from mls.persistent import PMap
from mls.provider import Environment
from mls.registries import Generation, KeyPackageRef, LeafIndex
from mls.secrets import KeyPackageSeed, SignaturePrivateKey
from mls.state import Group
from mls.virtual.derivation_info import KeyPackageDerivation, derivation_info_of, open_sealed
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.errors import OtherBranchError, UnknownEpochError
from mls.virtual.operations import Operation, OperationTree, OperationType
from mls.virtual.settings import Settings

K = TypeVar("K", bytes, KeyPackageRef)

_NONE: Mapping[bytes, Collection[bytes]] = {}

NO_PACKAGE = KeyPackageRef(b"")
"""In the place of a reference where there is none, or it means nothing any more."""


@dataclass(frozen=True, slots=True, order=True)
class OperationKey:
    """What tells an operation from all others."""

    epoch_id: bytes
    type: OperationType
    leaf: LeafIndex
    generation: Generation
    context: bytes


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """The operation that made a KeyPackage, or the first leaf of a group, and its place in the batch."""

    epoch_id: bytes
    leaf: LeafIndex
    generation: Generation
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is kept of a KeyPackage of ours."""

    reference: KeyPackageRef
    cipher_suite: int
    seed: KeyPackageSeed
    origin: Origin | None
    """None for one that only some devices can open."""
    extensions: Extensions = ()
    """The KeyPackage's own; they tell a last resort."""
    not_after: int = 0
    """In seconds since 1970; 0 if whoever made it did not say."""
    signature_key: bytes = b""
    """The leaf's, if it is known before the leaf is seen."""
    used: bool = False
    """Whether a Welcome was taken up. It may come again, on another branch or after another one to the same package."""


@dataclass(frozen=True, slots=True)
class RingKey:
    """A signature key of the virtual client's."""

    cipher_suite: int
    private: SignaturePrivateKey
    used: bool = False
    """Whether a leaf was seen to have it. One that is not in use any more is dropped, one that was not yet stays."""


@dataclass(frozen=True, slots=True)
class Known:
    """A derivation epoch, and the newest one before it on its branch."""

    epoch: DerivationEpoch
    parent: bytes | None


@dataclass(frozen=True, slots=True)
class Head:
    """Where a branch of the emulation group stands."""

    group: Group
    newest: bytes
    """The derivation epoch in which new operations are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """What a device of a virtual client knows, beside the conversations."""

    settings: Settings
    head: Head
    epochs: PMap[bytes, Known]
    operations: PMap[OperationKey, Operation]
    stock: PMap[KeyPackageRef, Material]
    withdrawn: PMap[KeyPackageRef, int]
    """In order; the oldest are forgotten when there are too many."""
    seeds: PMap[Origin, Material]
    keys: PMap[bytes, RingKey]
    past: PMap[bytes, int] = field(default_factory=PMap)
    """Epochs that were entered and must not be again, in order: derivation epochs that were dropped, and epochs of the
    emulation group that a commit of our own began. The oldest are forgotten when there are too many."""

    @property
    def group(self) -> Group:
        """The emulation group."""
        return self.head.group

    @property
    def newest(self) -> DerivationEpoch:
        """The epoch that new operations are made in."""
        return self.epoch(self.head.newest)

    def epoch(self, epoch_id: bytes) -> DerivationEpoch:
        known = self.epochs.find(epoch_id)
        if known is None:
            raise UnknownEpochError(epoch_id)
        return known.epoch

    def on(self, head: Head) -> Emulation:
        """The same device on another branch, or on an earlier epoch of this one."""
        if head.newest not in self.epochs:
            raise CallerError("this branch's derivation epoch is not kept any more", "join the emulation group again")
        return replace(self, head=head)

    def adopting(self, epoch_id: bytes) -> Emulation:
        """With an epoch of the emulation group that a commit of our own begins, which is adopted once."""
        if epoch_id in self.past:
            raise CallerError("this commit was adopted before", "go to its head with `on`")
        return replace(self, past=_noted(self.past, [epoch_id], MAX_PAST))

    def with_group(self, group: Group) -> Emulation:
        """After the emulation group used up something within its epoch."""
        return replace(self, head=Head(group, self.head.newest))

    def with_epoch(self, epoch: DerivationEpoch) -> Emulation:
        known = self.epochs[epoch.epoch_id]
        return replace(self, epochs=self.epochs.set(epoch.epoch_id, Known(epoch, known.parent)))

    def entered(self, group: Group) -> Emulation:
        """With the derivation epoch that the emulation group's present epoch is, as the newest of this branch.

        There is no limit to these: who could not enter an epoch could not follow the removal of whoever filled the
        table. One that was dropped before is entered without its operations, as nobody knows any more which were used.
        """
        group, epoch = DerivationEpoch.of(group, max_leaves=self.settings.max_leaves)
        told = self.epochs.find(epoch.epoch_id)
        if epoch.epoch_id in self.past:
            epoch = replace(epoch, own_leaf=None, operations=OperationTree.gone(epoch.leaf_count))
        elif told is not None and not told.epoch.operations.is_gone:  # if it is, siblings told of it as of a lost one
            raise CallerError("this emulation epoch was entered before", "go to its head with `on`")
        known = Known(epoch, self.head.newest)
        return replace(self, head=Head(group, epoch.epoch_id), epochs=self.epochs.set(epoch.epoch_id, known))

    # Order

    def lineage(self, epoch_id: bytes) -> Iterator[bytes]:
        """A derivation epoch and those before it on its branch, as far back as they are kept."""
        at: bytes | None = epoch_id
        passed: set[bytes] = set()
        while at is not None and at not in passed:  # a sibling may have told of a circle
            known = self.epochs.find(at)
            if known is None:
                return
            yield at
            passed.add(at)
            at = known.parent

    def check_order(self, active: bytes, new: bytes) -> None:
        """A leaf derived in `new` may take the place of one derived in `active`: it does not go back.

        On one branch the newer epoch may follow the older. Across branches, whatever is on ours may follow what is not,
        and not the other way round (`OtherBranchError`: unless that branch wins); of two that are both elsewhere we are
        no judges.
        """
        if new == active or active not in self.epochs or active in self.lineage(new):
            return
        if new in self.lineage(active):
            raise PeerError("VC-6.2-3")
        present = set(self.lineage(self.head.newest))
        if active in present and new not in present:
            raise OtherBranchError(new)

    # Operations

    def take(self, kind: OperationType, context: bytes = b"") -> tuple[Emulation, Operation]:
        """An operation of ours, in the newest epoch. Store what is returned before anything made of it is sent."""
        operation, epoch = self.newest.next_operation(kind, context)
        return self.with_epoch(epoch).retaining(operation), operation

    def follow(
        self, epoch_id: bytes, leaf: LeafIndex, kind: OperationType, generation: Generation, context: bytes = b""
    ) -> tuple[Emulation, Operation]:
        """An operation that was heard of. Adopt what is returned once the message held that told of it."""
        epoch = self.epoch(epoch_id)
        settings = self.settings
        try:
            operation, epoch = epoch.operation_at(
                leaf, kind, generation, context, max_forward=settings.max_forward, keep=settings.keep
            )
        except PeerError as error:
            if error.check == "VC-6.2-2":
                raise LimitError("a sibling's operation is too far ahead of those that were heard of") from None
            raise
        except ReplayError:
            kept = self.operations.find(OperationKey(epoch_id, kind, leaf, generation, context))
            if kept is not None:
                return self, kept
            if leaf == epoch.own_leaf:
                raise OwnMessageError("this is of our own making, and what made it is not kept") from None
            raise
        return self.with_epoch(epoch).retaining(operation), operation

    def retaining(self, operation: Operation) -> Emulation:
        if not self.settings.retain or operation.type is not OperationType.LEAF_NODE:
            return self
        _check_room(len(self.operations), self.settings.max_operations, "operations")
        return self.remembering([operation])

    def remembering(self, operations: Iterable[Operation]) -> Emulation:
        """With operations that are kept by themselves; what is kept already stays as it is."""
        found = {operation_key(operation): operation for operation in operations}
        new = {key: operation for key, operation in found.items() if key not in self.operations}
        return replace(self, operations=self.operations.update(new))

    def keeping(self, cipher_suite: int, seed: KeyPackageSeed, origin: Origin) -> Emulation:
        """With the seed of a leaf that no KeyPackage had, if seeds are kept."""
        if not self.settings.retain_seeds:
            return self
        material = Material(reference=NO_PACKAGE, cipher_suite=cipher_suite, seed=seed, origin=origin)
        return replace(self, seeds=self.seeds.set(origin, material))

    def told(self, operations: Iterable[Operation]) -> Emulation:
        """With operations that a sibling passed on from a branch that lost, where no ratchet of ours can give them."""
        wanted = []
        for operation in operations:
            known = self.epochs.find(operation.epoch_id)
            if known is None or known.epoch.operations.is_gone:
                wanted.append(operation)
        present = set(self.lineage(self.head.newest))
        told = sum(key.epoch_id not in present for key, _ in self.operations.items())
        if told + len(wanted) > self.settings.max_operations // 2:  # the other half is for what we derive
            raise LimitError(
                "too many operations were told already; prune, and drop epochs that do not matter any more"
            )
        return self.remembering(wanted)

    # Signature keys

    def with_key(self, cipher_suite: int, public: bytes, private: SignaturePrivateKey) -> Emulation:
        """With a signature key, which the caller has checked."""
        if public in self.keys:
            return self
        _check_room(len(self.keys), self.settings.max_keys, "signature keys")
        return replace(self, keys=self.keys.set(public, RingKey(cipher_suite, private)))

    def using(self, public: bytes) -> Emulation:
        """After a leaf was seen to have that signature key, which may be replaced before anything is pruned."""
        key = self.keys.find(public)
        if key is None or key.used:
            return self
        return replace(self, keys=self.keys.set(public, replace(key, used=True)))

    def drawn_key(self, env: Environment, cipher_suite: int) -> tuple[Emulation, bytes]:
        """With a new signature key, by its public half; tell the others of it before it is used."""
        scheme = env.suite(cipher_suite).scheme
        private, public = scheme.generate(env.provider.random)
        return self.with_key(cipher_suite, public, private), public

    # What is not in use any more

    def without(self, references: Iterable[KeyPackageRef]) -> Emulation:
        """Without KeyPackages that were used, revoked or expired: no Welcome to them is taken again.

        Also not if they are only heard of later. Signature keys go with them, unless something else may need them.
        """
        named = dict.fromkeys(references)
        gone = [self.stock[reference] for reference in named if reference in self.stock]
        stock = self.stock.changed([each.reference for each in gone], {})
        after = replace(self, stock=stock, withdrawn=_noted(self.withdrawn, named, self.settings.max_packages))
        if self.settings.retain_seeds:
            kept = {each.origin: each for each in gone if each.used and each.origin is not None}
            after = replace(after, seeds=after.seeds.update(kept))
        needed = {each.signature_key for _, each in stock.items() if each.origin is not None}
        if b"" in needed:
            return after
        unused = {each.signature_key for each in gone if not each.used} - needed
        return after.without_keys([key for key in sorted(unused) if key in self.keys and not self.keys[key].used])

    def without_keys(self, public: Iterable[bytes]) -> Emulation:
        """Without signature keys that no leaf has, and none is to have."""
        return replace(self, keys=self.keys.changed([key for key in public if key in self.keys], {}))

    def expired(self, now: int) -> tuple[KeyPackageRef, ...]:
        """KeyPackages that nobody should use after `now`, in milliseconds since 1970."""
        return tuple(sorted([ref for ref, each in self.stock.items() if 0 < each.not_after < now // 1000]))

    def pruned(
        self,
        conversations: Iterable[Group],
        *,
        since: bytes,
        drop: Iterable[bytes] = (),
        keys: Iterable[bytes] = (),
        ahead: Mapping[bytes, Collection[bytes]] = _NONE,
    ) -> Emulation:
        """Without what nothing refers to any more.

        `conversations` are all values of conversations that are still held: the present ones, those that wait to be
        adopted, rivals, and old ones for as long as late messages are read. `since` is the oldest derivation epoch of
        this branch in which a device may still have acted: each that is left was heard to be in it, or in a later one.
        Epochs of other branches, and what was told of them, stay until `drop` names them. A signature key is
        dropped once it was in use and is not any more; `keys` are in use beside those of the conversations. `ahead` are
        derivation epochs that leaves which are still to come may rest on, each with the conversations that these come
        in: what was told for those stays, whatever `drop` says.
        """
        present = list(self.lineage(self.head.newest))
        if since not in present:
            raise CallerError("this is no derivation epoch of our branch", "name one that is kept")
        ours = set(present)
        dropped = set(drop) - {self.head.newest}
        epochs = {*present[: present.index(since) + 1], *(set(self.epochs) - ours - dropped), *ahead}
        makers: set[OperationKey | Origin] = set()
        in_use: set[bytes] = set(keys)
        for group in conversations:
            for leaf in _own_leaves(group):
                in_use.add(leaf.signature_key)
                maker = self.maker(leaf, group.group_id)
                if maker is not None:
                    makers.add(maker)
                    epochs.add(maker.epoch_id)
        epochs.update(each.origin.epoch_id for _, each in self.stock.items() if each.origin is not None)
        in_stock = {each.signature_key for _, each in self.stock.items() if each.origin is not None}
        in_use |= in_stock
        ring = {
            public: replace(key, used=key.used or (public in in_use and public not in in_stock))
            for public, key in self.keys.items()
            if public in in_use or not key.used or b"" in in_stock
        }
        return replace(
            self,
            epochs=self._kept_epochs(epochs),
            past=_noted(self.past, sorted(set(self.epochs) - epochs), MAX_PAST),
            operations=PMap(
                {
                    key: each
                    for key, each in self.operations.items()
                    if key in makers
                    or (key.epoch_id not in ours and key.epoch_id not in dropped)
                    or key.context in ahead.get(key.epoch_id, ())
                }
            ),
            seeds=PMap({key: each for key, each in self.seeds.items() if key in makers}),
            keys=PMap(ring),
        )

    def maker(self, leaf: LeafNode, group_id: bytes) -> OperationKey | Origin | None:
        """The operation that a leaf of ours says it was made by."""
        info = derivation_info_of(leaf.extensions, self.settings.numbers)
        known = None if info is None else self.epochs.find(info.epoch_id)
        if info is None or known is None:
            return None
        derivation = open_sealed(known.epoch, info, leaf)
        if isinstance(derivation, KeyPackageDerivation):
            return Origin(info.epoch_id, derivation.leaf, derivation.generation, derivation.index)
        return OperationKey(info.epoch_id, derivation.type, derivation.leaf, derivation.generation, group_id)

    def _kept_epochs(self, wanted: set[bytes]) -> PMap[bytes, Known]:
        """These epochs, each with the nearest kept one before it."""
        kept = {}
        for epoch_id in sorted(wanted):
            known = self.epochs.find(epoch_id)
            if known is None:
                continue
            before = (each for each in self.lineage(epoch_id) if each != epoch_id and each in wanted)
            kept[epoch_id] = Known(known.epoch, next(before, None))
        return PMap(kept)


MAX_PAST = 4096


def _check_room(have: int, limit: int, what: str) -> None:
    if have >= limit:
        raise LimitError(f"{limit} {what} are kept already; prune what is not in use")


def _noted(table: PMap[K, int], names: Iterable[K], most: int) -> PMap[K, int]:
    """With these names, and without the oldest if there are too many."""
    start = max([0, *(number for _, number in table.items())]) + 1
    new = [name for name in names if name not in table]
    whole = table.update({name: start + number for number, name in enumerate(new)})
    excess = len(whole) - most
    if excess <= 0:
        return whole
    oldest = sorted(whole.items(), key=lambda item: item[1])[:excess]
    return whole.changed([name for name, _ in oldest], {})


def operation_key(operation: Operation) -> OperationKey:
    return OperationKey(operation.epoch_id, operation.type, operation.leaf, operation.generation, operation.context)


def _own_leaves(group: Group) -> Iterator[LeafNode]:
    """Our leaf in a conversation, and those that we proposed to put in its place."""
    leaf = group.public.tree.leaf(group.own_leaf)
    if leaf is not None:
        yield leaf
    for encoded in group.updates:
        yield decode_exactly(encoded, LeafNode.decode)


def begun(settings: Settings, group: Group) -> Emulation:
    """From the emulation group's first epoch that this device is in."""
    group, epoch = DerivationEpoch.of(group, max_leaves=settings.max_leaves)
    return Emulation(
        settings=settings,
        head=Head(group, epoch.epoch_id),
        epochs=PMap({epoch.epoch_id: Known(epoch, None)}),
        operations=PMap(),
        stock=PMap(),
        withdrawn=PMap(),
        seeds=PMap(),
        keys=PMap(),
    )


@contextmanager
def consuming(after: Emulation) -> Iterator[None]:
    """What an act used up stays used up if the act fails."""
    try:
        yield
    except MlsError as error:
        error.consumed = after
        raise
