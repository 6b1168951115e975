"""draft-ietf-mls-virtual-clients §6.3: leaves of the virtual client, as one device makes them and others make again.

Every leaf comes of an operation. `drafted` takes one and gives what a commit, an Update or an external commit needs:
keys, the first path secret, and the extensions with the sealed DerivationInfo in them. `Follower` goes the other way:
it is the hook that `mls.group.receive` and `mls.sharing` ask about a leaf that is ours and was made elsewhere. It is
for one message. What it derived is in its `emulation`, which is worth adopting only if the message held.

What a leaf says was perhaps copied from another leaf (docs/spec-notes.md), so nothing is believed before keys match:
the core compares all public keys with what the hook derives. The order of epochs is checked here (VC-6.2-3), because
only siblings can see it.

A leaf's dictionary also lists the component, as mls-extensions §5 has it for what a client supports. Where the leaf had
no list, it gets one of everything that the group's parameters know, since a list says of all others that they are not
supported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mls.commit import NewLeaf
from mls.components.dictionary import dictionary_of, with_dictionary
from mls.components.lists import ComponentsList, components_of
from mls.components.logic import Components
from mls.errors import BugError, CallerError, OwnMessageError, PeerError, ReplayError
from mls.leaf_node import Capabilities, Extensions, LeafNode
from mls.provider import Creation, OwnPath, PathSupply, PendingUpdate
from mls.registries import ExtensionType, LeafIndex
from mls.secrets import InitSecret, SignaturePrivateKey, TargetOperationSecret
from mls.state import Group
from mls.suite import SUITES, Suite
from mls.virtual.derivation_info import (
    CommitDerivation,
    Derivation,
    KeyPackageDerivation,
    UpdateDerivation,
    derivation_info_of,
    external_init_of,
    open_sealed,
    seal,
    with_derivation_info,
)
from mls.virtual.derive import (
    Imported,
    derived_signature_key,
    group_creation_secret,
    key_package_seed,
    leaf_key,
    path_secret,
    path_supply,
    target_operation_secret,
)
from mls.virtual.emulation import Emulation, OperationKey, Origin
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.errors import MissingKeyError
from mls.virtual.operations import OperationType
from mls.virtual.settings import SignaturePolicy


def listed(emulation: Emulation, extensions: Extensions, components: Components) -> Extensions:
    """The extensions of a leaf that lists the component of virtual clients among those that it supports."""
    numbers = emulation.settings.numbers
    dictionary = dictionary_of(extensions)
    present = dictionary.find(numbers.app_components)
    known = components.all if present is None else components_of(present)
    if present is not None and numbers.virtual_clients in known:
        return extensions
    whole = ComponentsList.of({*known, numbers.virtual_clients}).encode()
    return with_dictionary(extensions, dictionary.with_entry(numbers.app_components, whole))


def sealed_into(
    emulation: Emulation, epoch: DerivationEpoch, extensions: Extensions, encryption_key: bytes, derivation: Derivation
) -> Extensions:
    info = seal(epoch, encryption_key, derivation)
    return with_derivation_info(extensions, emulation.settings.numbers, info)


def active_epoch(emulation: Emulation, leaf_node: LeafNode) -> bytes | None:
    """The emulation epoch that a leaf of ours binds its group to; None if it is an ordinary one."""
    info = derivation_info_of(leaf_node.extensions, emulation.settings.numbers)
    return None if info is None else info.epoch_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A leaf of ours for a group, before it is signed."""

    emulation: Emulation
    """Without the operation."""
    supply: PathSupply
    leaf: NewLeaf
    """Without a signature key if it keeps the one that it has."""


def drafted(
    emulation: Emulation,
    target: Suite,
    group_id: bytes,
    extensions: Extensions,
    new: NewLeaf,
    *,
    update: bool = False,
) -> Draft:
    """A leaf for a commit, an external commit, or an Update; `new` is what it is to say that it did not say before.

    `extensions` are those it has but for the DerivationInfo.
    """
    if callable(new.extensions):
        raise CallerError("extensions of a virtual client's leaf are chosen beforehand", "give a tuple")
    base = extensions if new.extensions is None else new.extensions
    if new.capabilities is not None:
        check_capable(new.capabilities)
    private = new.signature_private
    derives = emulation.settings.signatures is SignaturePolicy.DERIVED
    if private is not None:
        if derives:
            raise CallerError("this virtual client derives its signature keys", "give none")
        check_owned(emulation, target, private)
    after, operation = emulation.take(OperationType.LEAF_NODE, group_id)
    epoch = after.newest
    imported = target_operation_secret(target, operation.secret, group_id)
    supply = path_supply(target, imported)

    def with_info(encryption_key: bytes, external_init: InitSecret | None) -> Extensions:
        derivation: Derivation
        if update:
            derivation = UpdateDerivation(operation.leaf, operation.generation)
        else:
            derivation = CommitDerivation(operation.leaf, operation.generation, external_init)
        return sealed_into(after, epoch, base, encryption_key, derivation)

    if derives:
        private, _ = derived_signature_key(target, imported)
    leaf = NewLeaf(
        credential=new.credential, signature_private=private, capabilities=new.capabilities, extensions=with_info
    )
    return Draft(emulation=after, supply=supply, leaf=leaf)


def check_capable(capabilities: Capabilities) -> None:
    """Whether a leaf with these may have application data, and so say how it was made."""
    if ExtensionType.APP_DATA_DICTIONARY not in capabilities.extensions:
        raise CallerError(
            "the capabilities do not list application data, so nobody would take the leaf",
            "start from `mls.virtual.membership.client_capabilities`",
        )


def check_owned(emulation: Emulation, target: Suite, private: SignaturePrivateKey) -> None:
    """Whether a signature key is one that the others were told of, or will be with what is made now."""
    if target.scheme.public_key(private) not in emulation.keys:
        raise CallerError(
            "the others do not know this signature key", "draw it with `Emulation.drawn_key` and announce it first"
        )


class Follower:
    """Answers for one message what the core cannot know of our own leaf."""

    __slots__ = ("_conversation", "_target", "device", "emulation")

    def __init__(self, emulation: Emulation, target: Suite, conversation: Group | None = None) -> None:
        self.emulation = emulation
        """With what was derived; to be adopted if the message held."""
        self.device: tuple[bytes, LeafIndex] | None = None
        """Who made the leaf: the emulation epoch, and a leaf of the emulation group then."""
        self._target = target
        self._conversation = conversation

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None:
        before = self.emulation
        found = None
        try:
            found = self._own_path(leaf_node, group_id, external=external)
        except PeerError as error:
            if not external or error.check == "VC-6.2-3":  # it is ours then, and should not be
                raise
        except (ReplayError, OwnMessageError):
            if not external or not self._is_copied(leaf_node, group_id):
                raise
        if found is None:
            # Somebody else's leaf, maybe with what one of ours once said. That we are out is then true, and adopted.
            self.emulation, self.device = before, None
        return found

    def _own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None:
        found = self._derivation(leaf_node)
        if found is None:
            return None
        epoch, derivation = found
        if not isinstance(derivation, CommitDerivation):
            raise BugError("the leaf of a path is of another source")
        init = external_init_of(derivation, self._target, external=external)
        if not external:
            self._check_order(epoch)
        imported = self._imported(epoch, derivation, group_id)
        private, public = leaf_key(self._target, imported)
        if external:
            if public != leaf_node.encryption_key:
                return None
            self._check_order(epoch)  # now that it is known to be ours
        return OwnPath(
            leaf_private=private,
            path_secret=path_secret(self._target, imported),
            external_init=init,
            signature_private=self._signer(leaf_node, imported),
        )

    def _is_copied(self, leaf_node: LeafNode, group_id: bytes) -> bool:
        """Whether the operation that a leaf names, and that is not kept, is known to have been for another group."""
        maker = self.emulation.maker(leaf_node, group_id)
        if not isinstance(maker, OperationKey):
            return False
        return any(replace(key, context=group_id) == maker for key, _ in self.emulation.operations.items())

    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> PendingUpdate | None:
        found = self._derivation(leaf_node)
        if found is None:
            return None
        epoch, derivation = found
        if not isinstance(derivation, UpdateDerivation):
            raise BugError("the leaf of an Update is of another source")
        self._check_order(epoch)
        imported = self._imported(epoch, derivation, group_id)
        private, _ = leaf_key(self._target, imported)
        return PendingUpdate(private, self._signer(leaf_node, imported))

    def own_creation(self, leaf_node: LeafNode, cipher_suite: int) -> Creation | None:
        if cipher_suite != self._target.cipher_suite:
            raise CallerError("the group has another cipher suite than was said")
        found = self._derivation(leaf_node)
        if found is None:
            return None
        epoch, derivation = found
        if not isinstance(derivation, KeyPackageDerivation):
            raise BugError("the first leaf of a group is of another source")
        if derivation.index:
            raise PeerError("VC-6.3-5")
        self.emulation, operation = self.emulation.follow(
            epoch.epoch_id, derivation.leaf, derivation.type, derivation.generation
        )
        self.device = (epoch.epoch_id, derivation.leaf)
        seed = key_package_seed(self._target, operation.secret, derivation.index)
        origin = Origin(epoch.epoch_id, derivation.leaf, derivation.generation, derivation.index)
        self.emulation = self.emulation.keeping(cipher_suite, seed, origin)
        private, _ = leaf_key(self._target, seed)
        return Creation(
            leaf_private=private,
            epoch_secret=group_creation_secret(self._target, seed),
            signature_private=self._signer(leaf_node, seed),
        )

    def _derivation(self, leaf_node: LeafNode) -> tuple[DerivationEpoch, Derivation] | None:
        emulation = self.emulation
        info = derivation_info_of(leaf_node.extensions, emulation.settings.numbers)
        if info is None:
            return None
        epoch = emulation.epoch(info.epoch_id)
        return epoch, open_sealed(epoch, info, leaf_node)

    def _check_order(self, epoch: DerivationEpoch) -> None:
        emulation = self.emulation
        active = None if self._conversation is None else active_epoch(emulation, self._conversation.own_leaf_node)
        if active is not None:
            emulation.check_order(active, epoch.epoch_id)

    def _imported(
        self, epoch: DerivationEpoch, derivation: CommitDerivation | UpdateDerivation, group_id: bytes
    ) -> TargetOperationSecret:
        self.emulation, operation = self.emulation.follow(
            epoch.epoch_id, derivation.leaf, derivation.type, derivation.generation, group_id
        )
        self.device = (epoch.epoch_id, derivation.leaf)
        return target_operation_secret(self._target, operation.secret, group_id)

    def _signer(self, leaf_node: LeafNode, imported: Imported) -> SignaturePrivateKey:
        conversation = self._conversation
        if conversation is not None and conversation.own_leaf_node.signature_key == leaf_node.signature_key:
            return conversation.signature_key
        return signer_of(self.emulation, self._target, leaf_node, imported, maker=self.device)


def signer_of(
    emulation: Emulation,
    target: Suite,
    leaf_node: LeafNode,
    imported: Imported | None,
    *,
    maker: tuple[bytes, LeafIndex] | None = None,
) -> SignaturePrivateKey:
    """The private half of a leaf's signature key: told by a sibling, or derived if that is the policy."""
    public = leaf_node.signature_key
    known = emulation.keys.find(public)
    if known is not None and SUITES[known.cipher_suite].signature == SUITES[target.cipher_suite].signature:
        return known.private
    if emulation.settings.signatures is SignaturePolicy.DERIVED and imported is not None:
        private, derived = derived_signature_key(target, imported)
        if derived != public:
            raise PeerError("VC-6.3-6")
        return private
    raise MissingKeyError(public, maker)
