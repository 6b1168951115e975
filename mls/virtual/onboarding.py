"""draft-ietf-mls-virtual-clients §5.1: a new device, as the one that adds it sees it and as it sees itself.

    admission = admit(emulation, env, key_package, conversations=...)   a commit, and a Welcome that is kept back
    new = onboard(env, device, parameters, welcome, packages, trees=...)   new.emulation and new.conversations
    handed = take_up(new.emulation, env, parameters, waiting, tree)   a conversation whose tree came later

The device that adds another one commits its Add, and puts the virtual client's secrets into the Welcome's GroupInfo:
there and nowhere else may they stand. Conversations go in one of two ways, each as the caller likes: with their secrets
(`Handed`), so that nobody in them notices; or by name (`external`), and then the new device joins from outside in the
place of the virtual client's leaf, which everybody sees. The trees of conversations are public and travel apart.

An Add can lose to a rival commit, and then the secrets would be with somebody who is no device. So a Welcome that holds
any is given out only once the commit is final (`Admission.welcome`), which the caller alone can know. Who will not wait
admits with nothing but names. With one device, every commit is final at once.

What is handed over is of the moment of the commit. Whatever happens until the new device reads its Welcome it reads
like any other device that was away. KeyPackages that only some devices can open are not handed over. It must not
encrypt in a conversation before a device that was there earlier has replaced the leaf (`mls.virtual.conversation`).

The new device judges what it is told like what siblings announce, since a device may lie. Signature keys belong
together, and each epoch is newer than the one before it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mls import group as front
from mls.codec import Reader, decode_exactly, optional
from mls.components.dictionary import dictionary_extension, dictionary_of
from mls.errors import CallerError, PeerError
from mls.hpke import CryptoError
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.leaf_node import LeafNode
from mls.parameters import Parameters
from mls.persistent import PMap
from mls.proposals import Add, Proposal
from mls.provider import Environment, Provider
from mls.registries import GroupId, KeyPackageRef
from mls.schedule import GroupContext
from mls.secrets import HpkePrivateKey, KeyPackageSeed
from mls.state import Group
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from mls.virtual.announcements import SignatureKey, check_keys
from mls.virtual.companion import (
    Companion,
    ConversationPart,
    PackagePart,
    check_ancestry,
    hand_over_epochs,
    suite_of,
    take_over_epochs,
)
from mls.virtual.derive import Imported, leaf_key, target_operation_secret
from mls.virtual.devices import DeviceCommit, check_size, commit
from mls.virtual.emulation import NO_PACKAGE, Emulation, Known, Material, Origin, RingKey, begun, operation_key
from mls.virtual.handover import Handover, hand_over, take_over, take_over_bare
from mls.virtual.leaves import signer_of
from mls.virtual.settings import Settings
from mls.virtual.transfer import (
    ExternalGroup,
    KeyPackageDerivationInfo,
    NewEmulatorClientState,
    RetainedKeyPackageMaterial,
    SigningKey,
    TransferredGroup,
    decode_group_state,
)
from mls.welcome import decode_group_info


@dataclass(frozen=True, slots=True)
class Handed:
    """A conversation that the new device is to be in at once."""

    group: Group
    past: tuple[Group, ...] = ()
    """Earlier and rival epochs that are kept for late messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A device that was added, by a commit that may still lose."""

    made: DeviceCommit
    """To be stored, sent and adopted like any other."""
    trees: Mapping[GroupId, bytes]
    """Ratchet trees of the conversations that are handed over; public, and to reach the new device by any way."""
    holds_secrets: bool
    _welcome: bytes = field(repr=False)

    def welcome(self, *, final: bool) -> bytes:
        """For the new device; `final` says whether the commit can lose no more."""
        if self.holds_secrets and not final:
            raise CallerError(
                "this Welcome holds the virtual client's secrets, and its commit may still lose",
                "wait until it is final, or admit the device with names of conversations only",
            )
        return self._welcome


def admit(
    emulation: Emulation,
    env: Environment,
    key_package: KeyPackage,
    *,
    conversations: Sequence[Handed] = (),
    external: Sequence[GroupId] = (),
    with_state: bool = True,
    proposals: Sequence[Proposal] = (),
) -> Admission:
    """Add a device. Without `with_state` it is told names of conversations only, and none may be handed over."""
    if conversations and not with_state:
        raise CallerError("conversations are handed over with the virtual client's state", "name them as external")
    numbers = emulation.settings.numbers
    handed = [_hand_over(emulation, each) for each in conversations]
    named = [Handover.by_external_commit(group_id) for group_id in external]
    if with_state:
        state, companion = _told(_with_their_keys(emulation, conversations), handed, named)
    else:
        state = NewEmulatorClientState(groups=tuple([each.state for each in named]))
        companion = Companion(settings=emulation.settings.encode())
    dictionary = dictionary_extension(
        {numbers.virtual_clients: state.encode(), numbers.virtual_companion: companion.encode()}
    )
    made = commit(emulation, env, proposals=[Add(key_package), *proposals], group_info_extensions=(dictionary,))
    welcome = made.commit.welcome
    if welcome is None:
        raise CallerError("the commit adds nobody")
    # The Welcome is had from the Admission alone, and what it was made of not at all.
    bare = replace(made, commit=replace(made.commit, welcome=None, group_info=None))
    return Admission(
        made=bare,
        trees={each.group.group_id: handover.tree for each, handover in zip(conversations, handed, strict=True)},
        holds_secrets=with_state,
        _welcome=welcome,
    )


def _hand_over(emulation: Emulation, each: Handed) -> Handover:
    """With the key of our leaf, unless the new device can derive it from what the state has."""
    maker = emulation.maker(each.group.own_leaf_node, each.group.group_id)
    if maker is None or emulation.epoch(maker.epoch_id).operations.is_gone:
        derivable = False  # what reads such a leaf stands in the companion too
    elif isinstance(maker, Origin):
        derivable = _seed(emulation, maker) is not None
    else:
        derivable = maker in emulation.operations
    return hand_over(each.group, each.past, carry_leaf_key=not derivable)


def _seed(emulation: Emulation, origin: Origin) -> KeyPackageSeed | None:
    """Of a KeyPackage that was used, whether a Welcome to it may still come or not."""
    spent = emulation.seeds.find(origin)
    if spent is not None:
        return spent.seed
    return next((each.seed for _, each in emulation.stock.items() if each.origin == origin), None)


def _with_their_keys(emulation: Emulation, conversations: Sequence[Handed]) -> Emulation:
    """With the signature keys that only the conversations hold, as those that were derived do."""
    for each in conversations:
        group = each.group
        public = group.own_leaf_node.signature_key
        emulation = emulation.with_key(group.suite.cipher_suite, public, group.signature_key)
    return emulation


def _told(
    emulation: Emulation, handed: Sequence[Handover], named: Sequence[Handover]
) -> tuple[NewEmulatorClientState, Companion]:
    stock = [emulation.stock[each] for each in sorted(emulation.stock)]
    derived = [(each, each.origin) for each in stock if each.origin is not None]
    spent = [emulation.seeds[each] for each in sorted(emulation.seeds)]
    epochs = hand_over_epochs([(known.epoch, known.parent) for known in _in_order(emulation)])
    keys = emulation.keys
    state = NewEmulatorClientState(
        signing_keys=tuple(
            [
                SigningKey(
                    cipher_suite=keys[each].cipher_suite, public=each, private=keys[each].private, used=keys[each].used
                )
                for each in sorted(keys)
            ]
        ),
        key_packages=tuple([_package(each, origin) for each, origin in derived]),
        key_package_material=tuple(
            [
                _material(each, origin)
                for each, origin in [*derived, *((each, each.origin) for each in spent if each.origin is not None)]
            ]
        ),
        operations=tuple([emulation.operations[each] for each in sorted(emulation.operations)]),
        epochs=epochs.state,
        groups=tuple([each.state for each in (*handed, *named)]),
    )
    companion = Companion(
        settings=emulation.settings.encode(),
        newest=emulation.head.newest,
        epochs=epochs.parts,
        rivals=epochs.rivals,
        lost=epochs.lost,
        packages=tuple(
            [
                PackagePart(
                    reference=each.reference,
                    not_after=each.not_after,
                    signature_key=each.signature_key,
                    used=each.used,
                )
                for each, _ in derived
            ]
        ),
        withdrawn=tuple(sorted(emulation.withdrawn, key=emulation.withdrawn.__getitem__)),
        conversations=tuple([each.part for each in handed if each.part is not None]),
    )
    return state, companion


def _in_order(emulation: Emulation) -> list[Known]:
    """Our branch first: of rivals with one number, the draft's struct has room for the first."""
    present = list(emulation.lineage(emulation.head.newest))
    others = sorted(set(emulation.epochs) - set(present))
    return [emulation.epochs[each] for each in (*present, *others)]


def _package(material: Material, origin: Origin) -> KeyPackageDerivationInfo:
    return KeyPackageDerivationInfo(
        reference=material.reference,
        cipher_suite=material.cipher_suite,
        epoch_id=origin.epoch_id,
        leaf=origin.leaf,
        generation=origin.generation,
        index=origin.index,
        extensions=material.extensions,
    )


def _material(material: Material, origin: Origin) -> RetainedKeyPackageMaterial:
    return RetainedKeyPackageMaterial(
        cipher_suite=material.cipher_suite,
        epoch_id=origin.epoch_id,
        leaf=origin.leaf,
        generation=origin.generation,
        index=origin.index,
        seed=material.seed,
    )


# The new device


@dataclass(frozen=True, slots=True)
class Waiting:
    """A conversation that was handed over, without the tree that it has. It is secret, and to be stored until then.

    What its leaf was made by must not be pruned before.
    """

    state: TransferredGroup
    part: ConversationPart | None

    @property
    def group_id(self) -> GroupId:
        return self.state.group_id

    def encode(self) -> bytes:
        return self.state.encode() + optional(None if self.part is None else self.part.encode())

    @classmethod
    def decode(cls, reader: Reader) -> Waiting:
        """What `encode` made; from our own storage."""
        try:
            state = decode_group_state(reader)
            part = reader.optional(ConversationPart.decode)
        except PeerError:
            state, part = None, None
        if not isinstance(state, TransferredGroup):
            raise CallerError("the stored conversation is damaged", "join it from outside")
        return cls(state, part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarded:
    """A new device."""

    emulation: Emulation
    conversations: tuple[Handed, ...]
    external: tuple[GroupId, ...]
    """To be joined from outside, in the place of the virtual client's leaf (`mls.virtual.client.join_externally`)."""
    waiting: tuple[Waiting, ...]
    """Handed over, and their tree is missing, or is another one: `take_up` each when it is there."""


def onboard(
    env: Environment,
    device: Parameters,
    parameters: Parameters,
    welcome: bytes,
    packages: Sequence[KeyPackageSecrets],
    *,
    settings: Settings | None = None,
    tree: bytes | None = None,
    trees: Mapping[GroupId, bytes] | None = None,
    infos: Mapping[GroupId, bytes] | None = None,
    known_groups: Container[bytes] = (),
) -> Onboarded:
    """What a new device makes of its Welcome.

    `device` are its parameters in the emulation group, `parameters` those for conversations. `settings` are for a
    Welcome of another implementation, which does not tell them; so are `infos`, current GroupInfos of conversations.
    """
    joined = front.join_informed(env, device, welcome, packages, tree=tree, known_groups=known_groups)
    group = joined.group
    numbers = device.components.numbers
    dictionary = dictionary_of(joined.extensions)
    told, beside = dictionary.find(numbers.virtual_clients), dictionary.find(numbers.virtual_companion)
    companion = None if beside is None else decode_exactly(beside, Companion.decode)
    if companion is not None and companion.settings:
        settings = decode_exactly(companion.settings, Settings.decode)
    if settings is None:
        raise CallerError("the Welcome does not tell the virtual client's settings", "give them")
    check_size(settings, group)
    emulation = begun(settings, group)
    if told is None:
        return Onboarded(emulation=emulation, conversations=(), external=(), waiting=())
    state = decode_exactly(told, NewEmulatorClientState.decode)
    emulation = _with_state(emulation, env, state, companion)
    conversations: list[Handed] = []
    external: list[GroupId] = []
    waiting: list[Waiting] = []
    for each in state.groups:
        if isinstance(each, ExternalGroup):
            external.append(each.group_id)
            continue
        handed = Waiting(each, None if companion is None else companion.conversation(each.group_id))
        public = (trees or {}).get(each.group_id)
        info = (infos or {}).get(each.group_id)
        taken = None if public is None else take_up(emulation, env, parameters, handed, public, info=info)
        if taken is None:
            waiting.append(handed)
        else:
            conversations.append(taken)
    return Onboarded(
        emulation=emulation, conversations=tuple(conversations), external=tuple(external), waiting=tuple(waiting)
    )


def _with_state(
    emulation: Emulation, env: Environment, state: NewEmulatorClientState, companion: Companion | None
) -> Emulation:
    provider = env.provider
    present = emulation.head.newest
    epochs = dict(emulation.epochs.items())
    for epoch, parent in take_over_epochs(state, companion, emulation.group.suite, provider):
        if epoch.epoch_id == present:
            raise PeerError("VC-5.1-41")
        epochs[epoch.epoch_id] = Known(epoch, parent)
    before = state.epochs[-1].epoch_id if state.epochs else None
    newest = before if companion is None else companion.newest
    if newest is not None:
        if newest not in epochs:
            raise PeerError("VC-5.1-12")
        epochs[present] = Known(epochs[present].epoch, newest)
    check_ancestry([(known.epoch, known.parent) for known in epochs.values()])
    seeds = {Origin(each.epoch_id, each.leaf, each.generation, each.index): each for each in state.key_package_material}
    parts = {} if companion is None else {each.reference: each for each in companion.packages}
    stock: dict[KeyPackageRef, Material] = {}
    for each in state.key_packages:
        origin = Origin(each.epoch_id, each.leaf, each.generation, each.index)
        seed = seeds.pop(origin, None)
        if seed is None or seed.cipher_suite != each.cipher_suite:
            raise PeerError("VC-5.1-40")
        part = parts.get(each.reference)
        stock[each.reference] = Material(
            reference=each.reference,
            cipher_suite=each.cipher_suite,
            seed=seed.seed,
            origin=origin,
            extensions=each.extensions,
            not_after=0 if part is None else part.not_after,
            signature_key=b"" if part is None else part.signature_key,
            used=part is not None and part.used,
        )
    withdrawn = () if companion is None else companion.withdrawn
    spent = {
        origin: Material(reference=NO_PACKAGE, cipher_suite=each.cipher_suite, seed=each.seed, origin=origin)
        for origin, each in seeds.items()
    }
    return replace(
        emulation,
        epochs=PMap(epochs),
        operations=PMap({operation_key(each): each for each in state.operations}),
        stock=PMap(stock),
        withdrawn=PMap({reference: number for number, reference in enumerate(withdrawn)}),
        seeds=PMap(spent),
        keys=_ring(state.signing_keys, provider),
    )


def _ring(told: Sequence[SigningKey], provider: Provider) -> PMap[bytes, RingKey]:
    """Signature keys that are what they say. Of a suite that we lack we can neither tell that nor use them."""
    ring: dict[bytes, RingKey] = {}
    for each in told:
        try:
            provider.suite(each.cipher_suite)
        except KeyError:
            continue
        key = SignatureKey(cipher_suite=each.cipher_suite, public=each.public, private=each.private)
        check_keys([key], provider)
        ring[each.public] = RingKey(each.cipher_suite, each.private, each.used)
    return PMap(ring)


def take_up(
    emulation: Emulation,
    env: Environment,
    parameters: Parameters,
    waiting: Waiting,
    tree: bytes,
    *,
    info: bytes | None = None,
) -> Handed | None:
    """The conversation, if this is its tree; trees come from anywhere, so another one is nobody's offense.

    `info` is its current GroupInfo, for what another implementation handed over.
    """
    part = waiting.part
    if part is not None:
        context, tag = part.context, part.confirmation_tag
    elif info is not None:
        described = decode_group_info(info)
        context, tag = described.context, described.confirmation_tag
    else:
        return None
    suite = suite_of(env.provider, context.cipher_suite)
    if not _is_tree(suite, context, tree):
        return None
    state, group_id = waiting.state, waiting.group_id
    shared = emulation.settings.shared(parameters)
    leaf, private = _own_leaf(emulation, suite, group_id, tree, None if part is None else part.leaf_private)
    signer = signer_of(emulation, suite, leaf, _imported(emulation, suite, leaf, group_id))
    if part is None:
        group = take_over_bare(
            state, context, tag, tree, shared, env.provider, leaf_private=private, signature_private=signer
        )
        return Handed(group)
    group, past = take_over(state, part, tree, shared, env.provider, leaf_private=private, signature_private=signer)
    return Handed(group, past)


def _is_tree(suite: Suite, context: GroupContext, encoded: bytes) -> bool:
    try:
        return RatchetTree.decode(suite, encoded).hash == context.tree_hash
    except PeerError:
        return False


def _own_leaf(
    emulation: Emulation, suite: Suite, group_id: GroupId, tree: bytes, carried: HpkePrivateKey | None
) -> tuple[LeafNode, HpkePrivateKey]:
    """The virtual client's leaf: the one whose key was carried, or follows from what it says of its making."""
    public = None if carried is None else _public(suite, carried)
    for _, leaf in RatchetTree.decode(suite, tree).leaves():
        if carried is not None:
            if leaf.encryption_key == public:
                return leaf, carried
            continue
        private = _derived(emulation, suite, leaf, group_id)
        if private is not None and suite.hpke.public_key(private) == leaf.encryption_key:
            return leaf, private
    raise PeerError("VC-5.1-18")


def _public(suite: Suite, private: HpkePrivateKey) -> bytes | None:
    try:
        return suite.hpke.public_key(private)
    except CryptoError:
        return None


def _derived(emulation: Emulation, suite: Suite, leaf: LeafNode, group_id: GroupId) -> HpkePrivateKey | None:
    try:
        imported = _imported(emulation, suite, leaf, group_id)
    except PeerError:
        return None  # somebody else's leaf with a copy of what ours once said
    return None if imported is None else leaf_key(suite, imported)[0]


def _imported(emulation: Emulation, suite: Suite, leaf: LeafNode, group_id: GroupId) -> Imported | None:
    """What a leaf's keys were derived from, if that is kept."""
    maker = emulation.maker(leaf, group_id)
    if isinstance(maker, Origin):
        return _seed(emulation, maker)
    operation = None if maker is None else emulation.operations.find(maker)
    return None if operation is None else target_operation_secret(suite, operation.secret, group_id)
