"""draft-ietf-mls-virtual-clients §6.4.1: KeyPackages of the virtual client, and the Welcomes that use them.

One operation makes a batch, and each KeyPackage has a seed of its own by its place in it. The device that makes a batch
announces it, and only then may anybody outside see a KeyPackage: else a Welcome could come that no other device can
read. So `make_batch` gives the announcement and keeps the KeyPackages back; `Batch.released` gives them to whoever says
that the announcement went out and is kept by whoever keeps messages.

A sibling never has the KeyPackages themselves. It has their seeds by reference, and finds the virtual client's leaf in
the tree of a Welcome by its key (`take_up`). What the leaf says there of the operation that made it must be what the
upload said.

A KeyPackage stays in the stock when its Welcome was taken up, and is marked as used. The Welcome may be needed again,
on another branch of the conversation; and if somebody sends two to one KeyPackage, devices that hear them in different
orders must be able to take up both. When it is certain which it is, the caller ends that (`Emulation.without`, and
`Withdrawn` for the others): the seed gives the init key, and with it all Welcomes that were sealed to it.

`make_reserved` is for KeyPackages that only some devices can open (draft-kohbrok-mls-virtual-clients-04 §4.1): the seed
is random and sent to those devices, each by a targeted message, and all its keys follow from it. Somebody outside may
then remove the virtual client and add it again by that KeyPackage, and who was not told is locked out. Nothing in such
a leaf names an emulation epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mls.components.last_resort import is_last_resort
from mls.components.logic import COMPONENTS, Components
from mls.credential import Credential
from mls.errors import CallerError, LimitError, OwnMessageError, PeerError, ReplayError
from mls.key_package import JoinSecrets, KeyPackage, KeyPackageSecrets, create_key_package
from mls.leaf_node import Capabilities, Extensions, LeafNode, Lifetime
from mls.provider import Environment
from mls.registries import KeyPackageRef, LeafIndex
from mls.secrets import KeyPackageSeed, SignaturePrivateKey
from mls.suite import Suite
from mls.virtual.actions import KeyPackageInfo, KeyPackageUpload
from mls.virtual.announcements import Reserved, SignatureKey, Uploaded, check_keys
from mls.virtual.derivation_info import KeyPackageDerivation, derivation_info_of, open_sealed
from mls.virtual.derive import derived_signature_key, init_key, key_package_seed, leaf_key
from mls.virtual.emulation import Emulation, Material, Origin, consuming
from mls.virtual.errors import UnknownPackageError, WithdrawnPackageError
from mls.virtual.leaves import check_capable, check_owned, listed, sealed_into, signer_of
from mls.virtual.operations import Operation, OperationType
from mls.virtual.settings import SignaturePolicy
from mls.welcome import Welcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a KeyPackage is to say."""

    cipher_suite: int
    credential: Credential
    capabilities: Capabilities
    lifetime: Lifetime
    extensions: Extensions = ()
    """Of the KeyPackage (`mls.components.last_resort.mark` makes a last resort)."""
    leaf_extensions: Extensions = ()
    components: Components = COMPONENTS
    """What the leaf lists, if its extensions list nothing."""
    signature_private: SignaturePrivateKey | None = None
    """A key that the others know; a new one is drawn if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """KeyPackages that were made and are not published."""

    emulation: Emulation
    announcement: Uploaded
    _packages: tuple[KeyPackage, ...] = field(repr=False)

    def released(self, *, announced: bool) -> tuple[KeyPackage, ...]:
        """The KeyPackages, once every device has the announcement or will find it (§6.4.1)."""
        if not announced:
            raise CallerError("KeyPackages are published after they were announced", "send the announcement first")
        return self._packages


def make_batch(emulation: Emulation, env: Environment, offers: Sequence[Offer]) -> Batch:
    """A batch by one operation. Nothing can be added to it later."""
    if not offers:
        raise CallerError("a batch of no KeyPackages", "say what they are to offer")
    _check_room(emulation, len(offers))
    after, operation = emulation.take(OperationType.KEY_PACKAGE)
    with consuming(after):
        return _made(after, env, offers, operation)


def _made(emulation: Emulation, env: Environment, offers: Sequence[Offer], operation: Operation) -> Batch:
    after = emulation
    made: list[KeyPackageSecrets] = []
    infos: list[KeyPackageInfo] = []
    materials: dict[KeyPackageRef, Material] = {}
    keys: list[SignatureKey] = []
    for index, offer in enumerate(offers):
        suite = env.suite(offer.cipher_suite)
        seed = key_package_seed(suite, operation.secret, index)
        derivation = KeyPackageDerivation(operation.leaf, operation.generation, index)
        after, private, drawn = _signature_key(after, env, suite, offer.signature_private, seed)
        keys += drawn
        package = _package(after, env, suite, offer, seed, private, derivation)
        reference = package.key_package.reference(suite)
        made.append(package)
        infos.append(
            KeyPackageInfo(
                reference=reference, cipher_suite=suite.cipher_suite, index=index, extensions=offer.extensions
            )
        )
        materials[reference] = Material(
            reference=reference,
            cipher_suite=suite.cipher_suite,
            seed=seed,
            origin=Origin(operation.epoch_id, operation.leaf, operation.generation, index),
            extensions=offer.extensions,
            not_after=offer.lifetime.not_after,
            signature_key=package.key_package.leaf_node.signature_key,
        )
    upload = KeyPackageUpload(
        epoch_id=operation.epoch_id,
        leaf=operation.leaf,
        generation=operation.generation,
        key_packages=tuple(infos),
    )
    return Batch(
        emulation=replace(after, stock=after.stock.update(materials)),
        announcement=Uploaded(
            upload=upload, keys=tuple(keys), not_after=tuple([offer.lifetime.not_after for offer in offers])
        ),
        _packages=tuple([package.key_package for package in made]),
    )


def take_in(
    emulation: Emulation,
    env: Environment,
    upload: KeyPackageUpload,
    *,
    sender: LeafIndex,
    keys: Sequence[SignatureKey] = (),
    not_after: Sequence[int] = (),
) -> Emulation:
    """A sibling's batch. `sender` is the leaf of the emulation group that the message came from."""
    if upload.leaf != sender:
        raise PeerError("VC-6.4.1-4", f"leaf {upload.leaf} by leaf {sender}")
    infos = upload.key_packages
    origins = [Origin(upload.epoch_id, upload.leaf, upload.generation, info.index) for info in infos]
    known = {info.reference: emulation.stock.find(info.reference) for info in infos}
    told_again = any(
        each is not None and each.origin == origin for each, origin in zip(known.values(), origins, strict=True)
    )
    claimed = [reference for reference, each in known.items() if each is not None]
    if not told_again and infos and len(claimed) == len(infos):
        raise PeerError("VC-6.4.1-5")
    for info in infos:
        is_last_resort(info.extensions, emulation.settings.numbers)  # refuses what is none, before a Welcome meets it
    _check_room(emulation, len(infos) - len(claimed))
    try:
        after, operation = emulation.follow(upload.epoch_id, upload.leaf, OperationType.KEY_PACKAGE, upload.generation)
    except (ReplayError, OwnMessageError):
        if told_again or any(info.reference in emulation.withdrawn for info in infos):
            return emulation
        raise
    after = with_known_keys(after, env, keys)
    parallel = [key.public for key in keys] if len(keys) == len(infos) else [b""] * len(infos)
    times = not_after or [0] * len(infos)
    materials: dict[KeyPackageRef, Material] = {}
    for info, origin, signature_key, expiry in zip(infos, origins, parallel, times, strict=True):
        if info.reference in after.stock or info.reference in after.withdrawn:
            continue  # the name is taken, or means nothing any more
        try:
            suite = env.provider.suite(info.cipher_suite)
        except KeyError:
            continue  # a Welcome to it is for devices that have the suite
        materials[info.reference] = Material(
            reference=info.reference,
            cipher_suite=info.cipher_suite,
            seed=key_package_seed(suite, operation.secret, info.index),
            origin=origin,
            extensions=info.extensions,
            not_after=expiry,
            signature_key=signature_key,
        )
    return replace(after, stock=after.stock.update(materials))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedPackage:
    """A KeyPackage that only some devices can open, and what to tell each of them in a targeted message."""

    emulation: Emulation
    package: KeyPackage
    told: Reserved


def make_reserved(emulation: Emulation, env: Environment, offer: Offer) -> ReservedPackage:
    """See above; which devices are told is for the caller to say, by whom `told` is sent to."""
    _check_room(emulation, 1)
    suite = env.suite(offer.cipher_suite)
    seed = KeyPackageSeed(env.provider.random(suite.hash_size))
    if offer.signature_private is not None:
        raise CallerError("the signature key of such a KeyPackage comes of its seed", "give none")
    made = _package(emulation, env, suite, offer, seed, derived_signature_key(suite, seed)[0], None)
    reference = made.key_package.reference(suite)
    told = Reserved(reference=reference, cipher_suite=suite.cipher_suite, seed=seed, not_after=offer.lifetime.not_after)
    return ReservedPackage(emulation=take_in_reserved(emulation, told), package=made.key_package, told=told)


def take_in_reserved(emulation: Emulation, told: Reserved) -> Emulation:
    """What a sibling told this device and perhaps not all."""
    if told.reference in emulation.stock or told.reference in emulation.withdrawn:
        return emulation
    _check_room(emulation, 1)
    material = Material(
        reference=told.reference,
        cipher_suite=told.cipher_suite,
        seed=told.seed,
        origin=None,
        not_after=told.not_after,
    )
    return replace(emulation, stock=emulation.stock.set(told.reference, material))


def _check_room(emulation: Emulation, more: int) -> None:
    if len(emulation.stock) + more > emulation.settings.max_packages:
        raise LimitError("too many KeyPackages wait for a Welcome; withdraw what is used or expired")


def _signature_key(
    emulation: Emulation, env: Environment, suite: Suite, given: SignaturePrivateKey | None, seed: KeyPackageSeed
) -> tuple[Emulation, SignaturePrivateKey, list[SignatureKey]]:
    """The key of a new KeyPackage's leaf, and what the others must be told of it."""
    if emulation.settings.signatures is SignaturePolicy.DERIVED:
        if given is not None:
            raise CallerError("this virtual client derives its signature keys", "give none")
        return emulation, derived_signature_key(suite, seed)[0], []
    if given is not None:
        check_owned(emulation, suite, given)
        return emulation, given, []
    emulation, public = emulation.drawn_key(env, suite.cipher_suite)
    private = emulation.keys[public].private
    return emulation, private, [SignatureKey(cipher_suite=suite.cipher_suite, public=public, private=private)]


def _package(
    emulation: Emulation,
    env: Environment,
    suite: Suite,
    offer: Offer,
    seed: KeyPackageSeed,
    private: SignaturePrivateKey,
    derivation: KeyPackageDerivation | None,
) -> KeyPackageSecrets:
    pair = leaf_key(suite, seed)
    extensions = offer.leaf_extensions
    if derivation is not None:
        check_capable(offer.capabilities)
        extensions = listed(emulation, extensions, offer.components)
        extensions = sealed_into(emulation, emulation.newest, extensions, pair[1], derivation)
    return create_key_package(
        env,
        offer.cipher_suite,
        credential=offer.credential,
        signature_private=private,
        capabilities=offer.capabilities,
        lifetime=offer.lifetime,
        leaf_extensions=extensions,
        extensions=offer.extensions,
        init_key=init_key(suite, seed),
        leaf_key=pair,
    )


# Welcomes


def secrets_for(emulation: Emulation, env: Environment, welcome: Welcome) -> tuple[Material, JoinSecrets]:
    """The KeyPackage of ours that a Welcome is for, as far as it takes to take it up."""
    for sealed in welcome.secrets:
        material = emulation.stock.find(sealed.new_member)
        if material is None or material.cipher_suite != welcome.cipher_suite:
            continue
        try:
            suite = env.provider.suite(welcome.cipher_suite)
        except KeyError:
            continue  # it is for devices that have the suite
        return material, _join_secrets(emulation, suite, material)
    if any(sealed.new_member in emulation.withdrawn for sealed in welcome.secrets):
        raise WithdrawnPackageError
    raise UnknownPackageError


def _join_secrets(emulation: Emulation, suite: Suite, material: Material) -> JoinSecrets:
    def signer(leaf_node: LeafNode) -> SignaturePrivateKey:
        if not _made_like(emulation, suite, material, leaf_node):
            raise PeerError("VC-6.4.1-6")
        if material.origin is None:
            return derived_signature_key(suite, material.seed)[0]
        return signer_of(emulation, suite, leaf_node, material.seed)

    return JoinSecrets(
        reference=material.reference,
        cipher_suite=material.cipher_suite,
        init_private=init_key(suite, material.seed)[0],
        leaf_private=leaf_key(suite, material.seed)[0],
        signer=signer,
    )


def _made_like(emulation: Emulation, suite: Suite, material: Material, leaf_node: LeafNode) -> bool:
    """Whether a leaf with our key says of its making what the upload said, or nothing if it came of a seed alone."""
    info = derivation_info_of(leaf_node.extensions, emulation.settings.numbers)
    origin = material.origin
    if origin is None:
        return info is None and derived_signature_key(suite, material.seed)[1] == leaf_node.signature_key
    if info is None or info.epoch_id != origin.epoch_id:
        return False
    derivation = open_sealed(emulation.epoch(info.epoch_id), info, leaf_node)
    return derivation == KeyPackageDerivation(origin.leaf, origin.generation, origin.index)


def used(emulation: Emulation, material: Material) -> Emulation:
    """After a Welcome to this KeyPackage was taken up; `Emulation.without` ends that others are."""
    return replace(emulation, stock=emulation.stock.set(material.reference, replace(material, used=True)))


def with_known_keys(emulation: Emulation, env: Environment, keys: Iterable[SignatureKey]) -> Emulation:
    """With signature keys that a sibling told, after it was seen that they are what they say."""
    known = list(keys)
    check_keys(known, env.provider)
    if emulation.settings.signatures is SignaturePolicy.DERIVED:
        return emulation
    for key in known:
        try:
            env.provider.suite(key.cipher_suite)
        except KeyError:
            continue  # nothing of ours can be signed with it, and nobody here can judge it
        emulation = emulation.with_key(key.cipher_suite, key.public, key.private)
    return emulation
