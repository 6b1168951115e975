"""A device of ours in a virtual client with OpenMLS's, with nothing from `mls.virtual` but derivations.

`Hand` does what §6 of draft-ietf-mls-virtual-clients says step by step, from the emulation epoch to the keys of a leaf,
so that what OpenMLS writes is compared with the derivations and not with what our own devices make of them. It is not
a device: it stores nothing and knows one epoch. `Pair` is what most tests begin with.
"""

from __future__ import annotations

from dataclasses import replace

from mls import group as front
from mls.commit import Committed, NewLeaf
from mls.framing import encode_message
from mls.group import ExternallyJoined
from mls.key_package import KeyPackageSecrets, create_key_package
from mls.leaf_node import Extension, Extensions, LeafNode
from mls.proposals import Add
from mls.provider import Creation, Environment, OwnPath, PathSupply, PendingUpdate
from mls.registries import GroupId, WireFormat
from mls.secrets import InitSecret, SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.virtual.actions import Form, KeyPackageInfo, KeyPackageUpload
from mls.virtual.derivation_info import (
    CommitDerivation,
    Derivation,
    KeyPackageDerivation,
    derivation_info_of,
    external_init_of,
    open_sealed,
    seal,
    with_derivation_info,
)
from mls.virtual.derive import (
    KeyPair,
    group_creation_secret,
    init_key,
    key_package_seed,
    leaf_key,
    path_secret,
    path_supply,
    target_operation_secret,
)
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.ff1 import BitOrder
from mls.virtual.guard import Guard
from mls.virtual.operations import OperationType
from mls.welcome import decode_group_info
from tests.peers.openmls_company import (
    OURS,
    PARAMETERS,
    THEIRS,
    Company,
    capabilities,
    key_package_of,
    lifetime,
    our_client,
)
from tests.peers.openmls_emulation import LISTED, LISTED_EXTENSIONS, NUMBERS, Acting, acting, register
from tests.peers.openmls_peer import OpenMls

SHARED = replace(PARAMETERS, own_keys=8)


class Hand:
    """A device of ours that derives by hand."""

    def __init__(self, company: Company, suite: int) -> None:
        self.env: Environment = company.env
        company.ours[OURS], self.epoch = DerivationEpoch.of(company.ours[OURS])
        self.suite: Suite = self.env.provider.suite(suite)
        self.who = our_client("virtual", suite)

    @property
    def signer(self) -> SignaturePrivateKey:
        return self.who.signer

    @property
    def guard(self) -> Guard:
        return Guard(
            suite=self.epoch.suite,
            secret=self.epoch.reuse_guard,
            leaf_count=self.epoch.leaf_count,
            own_leaf=self.epoch.own_leaf,
            bit_order=BitOrder.LSB_FIRST_PER_BYTE,
        )

    # ---------------------------------------------------------------- KeyPackages

    def package(self, leaf_node: LeafNode) -> tuple[KeyPackageDerivation, KeyPair, KeyPair]:
        """What a leaf in a KeyPackage says, and the keys that follow: the leaf's, and the init key."""
        said = self._said(leaf_node)
        assert isinstance(said, KeyPackageDerivation)
        operation, _ = self.epoch.operation_at(said.leaf, said.type, said.generation)  # one for the whole batch
        seed = key_package_seed(self.suite, operation.secret, said.index)
        return said, leaf_key(self.suite, seed), init_key(self.suite, seed)

    def secrets(self, message: bytes) -> KeyPackageSecrets:
        """Of a KeyPackage that the other device made."""
        package = key_package_of(message)
        _, (leaf_private, _), (init_private, _) = self.package(package.leaf_node)
        return KeyPackageSecrets(package, init_private, leaf_private, self.signer)

    def batch(self, count: int, *, extensions: Extensions = ()) -> tuple[list[KeyPackageSecrets], bytes]:
        """KeyPackages with these extensions, and the upload that tells of them."""
        operation, self.epoch = self.epoch.next_operation(OperationType.KEY_PACKAGE)
        packages = []
        for index in range(count):
            seed = key_package_seed(self.suite, operation.secret, index)
            pair = leaf_key(self.suite, seed)
            info = seal(self.epoch, pair[1], KeyPackageDerivation(operation.leaf, operation.generation, index))
            packages.append(
                create_key_package(
                    self.env,
                    self.suite.cipher_suite,
                    credential=self.who.credential,
                    signature_private=self.signer,
                    capabilities=capabilities(self.suite.cipher_suite),
                    lifetime=lifetime(self.env),
                    leaf_extensions=with_derivation_info(LISTED_EXTENSIONS, NUMBERS, info),
                    extensions=extensions,
                    init_key=init_key(self.suite, seed),
                    leaf_key=pair,
                )
            )
        infos = [
            KeyPackageInfo(
                reference=each.key_package.reference(self.suite), cipher_suite=self.suite.cipher_suite, index=index
            )
            for index, each in enumerate(packages)
        ]
        upload = KeyPackageUpload(
            epoch_id=self.epoch.epoch_id,
            leaf=operation.leaf,
            generation=operation.generation,
            key_packages=tuple(infos),
        )
        return packages, upload.encode(Form.WITHOUT_EXTENSIONS)

    # ---------------------------------------------------------------- new groups

    def found(self, group_id: bytes, *, index: int = 0) -> Group:
        """A group of one, everything of it derived."""
        operation, self.epoch = self.epoch.next_operation(OperationType.KEY_PACKAGE)
        seed = key_package_seed(self.suite, operation.secret, index)
        pair = leaf_key(self.suite, seed)
        info = seal(self.epoch, pair[1], KeyPackageDerivation(operation.leaf, operation.generation, index))
        return front.create(
            self.env,
            SHARED,
            self.suite.cipher_suite,
            GroupId(group_id),
            credential=self.who.credential,
            signature_private=self.signer,
            capabilities=capabilities(self.suite.cipher_suite),
            lifetime=lifetime(self.env),
            leaf_extensions=with_derivation_info(LISTED_EXTENSIONS, NUMBERS, info),
            leaf_key=pair,
            epoch_secret=group_creation_secret(self.suite, seed),
        )

    def own_creation(self, leaf_node: LeafNode, cipher_suite: int) -> Creation | None:
        assert cipher_suite == self.suite.cipher_suite
        said = self._said(leaf_node)
        assert isinstance(said, KeyPackageDerivation)
        operation, self.epoch = self.epoch.operation_at(said.leaf, said.type, said.generation)
        seed = key_package_seed(self.suite, operation.secret, said.index)
        return Creation(
            leaf_private=leaf_key(self.suite, seed)[0],
            epoch_secret=group_creation_secret(self.suite, seed),
            signature_private=self.signer,
        )

    # ---------------------------------------------------------------- leaves in conversations

    def _said(self, leaf_node: LeafNode) -> Derivation:
        info = derivation_info_of(leaf_node.extensions, NUMBERS)
        assert info is not None
        return open_sealed(self.epoch, info, leaf_node)

    def supply(self, group_id: bytes) -> tuple[PathSupply, NewLeaf]:
        """For a commit of ours."""
        operation, self.epoch = self.epoch.next_operation(OperationType.LEAF_NODE, group_id)
        imported = target_operation_secret(self.suite, operation.secret, group_id)

        def extensions(encryption_key: bytes, external_init: InitSecret | None) -> tuple[Extension, ...]:
            said = CommitDerivation(operation.leaf, operation.generation, external_init)
            return with_derivation_info(LISTED_EXTENSIONS, NUMBERS, seal(self.epoch, encryption_key, said))

        return path_supply(self.suite, imported), NewLeaf(extensions=extensions)

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None:
        said = self._said(leaf_node)
        assert isinstance(said, CommitDerivation)
        operation, self.epoch = self.epoch.operation_at(said.leaf, said.type, said.generation, group_id)
        imported = target_operation_secret(self.suite, operation.secret, group_id)
        private, public = leaf_key(self.suite, imported)
        assert public == leaf_node.encryption_key
        return OwnPath(
            leaf_private=private,
            path_secret=path_secret(self.suite, imported),
            external_init=external_init_of(said, self.suite, external=external),
            signature_private=self.signer,
        )

    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> PendingUpdate | None:
        raise AssertionError("nobody proposes updates here")


class Pair:
    """An emulation group of our device and OpenMLS's, and a conversation of the virtual client with an ordinary member.

    Everything is in the hands of one test; nobody carries messages.
    """

    def __init__(self, openmls: OpenMls, suites: tuple[int, int], founder: str = OURS) -> None:
        self.company = Company.of_both(openmls, founder, suite=suites[0], leaf_components=LISTED)
        self.emulation_group = self.company.ours[OURS]
        """From which nothing was exported yet."""
        self.hand = Hand(self.company, suites[1])
        device = self.company.theirs[THEIRS]
        self.theirs: Acting = acting(device, "virtual", self.hand.suite, self.hand.signer)
        self.theirs.epoch = register(device)
        self.env = self.company.env

    @property
    def leaf_of_theirs(self) -> int:
        return self.company.leaf(THEIRS)

    def conversation(self, package: bytes) -> tuple[Group, bytes]:
        """An ordinary member of ours founds one, and adds the virtual client."""
        suite = self.hand.suite.cipher_suite
        who = our_client("otherwise", suite)
        other = front.create(
            self.env,
            PARAMETERS,
            suite,
            GroupId(b"conversation"),
            credential=who.credential,
            signature_private=who.signer,
            capabilities=who.capabilities,
            lifetime=lifetime(self.env),
        )
        sent = front.commit(other, self.env, proposals=[Add(key_package_of(package))])
        assert sent.welcome is not None
        return sent.group, sent.welcome

    def both_in(self, maker: str = THEIRS) -> tuple[Group, Group]:
        """A conversation that both devices entered by one Welcome, to a KeyPackage of `maker`: ours and the other's."""
        if maker == OURS:
            packages, upload = self.hand.batch(2)
            self.theirs.take_upload(upload)
            secrets = packages[1]
            message = encode_message(WireFormat.KEY_PACKAGE, secrets.key_package.encoded)
        else:
            message = self.theirs.batch(count=2).messages[1]
            secrets = self.hand.secrets(message)
        other, welcome = self.conversation(message)
        ours, _ = front.join(self.env, SHARED, welcome, [secrets])
        assert self.theirs.join(welcome).authenticator == ours.authenticator == other.authenticator
        return ours, other

    def commit_of_ours(self, ours: Group) -> Committed:
        """A commit with a derived leaf; not delivered."""
        supply, leaf = self.hand.supply(ours.group_id)
        guard = self.hand.guard.sender(self.env.provider)
        return front.commit(ours, self.env, force_path=True, supply=supply, leaf=leaf, reuse_guard=guard)

    def entry_of_ours(self, info: bytes, old: Group | None) -> ExternallyJoined:
        """An external commit, in the place of our leaf if there is one; not delivered."""
        supply, leaf = self.hand.supply(decode_group_info(info).context.group_id)
        return front.join_externally(
            self.env,
            SHARED,
            info,
            credential=self.hand.who.credential,
            signature_private=self.hand.signer,
            capabilities=capabilities(self.hand.suite.cipher_suite),
            leaf_extensions=leaf.extensions or (),
            supply=supply,
            remove=None if old is None else old.own_leaf,
        )

    def commit_of_theirs(self, *groups: Group) -> list[Group]:
        """A commit with a derived leaf, taken up by all of these; the first is our device's."""
        made = self.theirs.derived()
        self.theirs.merge()
        return [front.receive(group, self.env, made.message, own=self.hand).group for group in groups]
