"""The same people with the same devices, once as ordinary members and once as virtual clients.

Every leaf of a virtual world is made by an operation of its person's emulation group, and all devices there followed
it, so that any of them can act and follow. Nothing is filled in: the DerivationInfo in each leaf opens, and a test has
siblings follow each other and a joiner check the tree.

`PlainChurn` and `VirtualChurn` let devices come and go, one after the other, the same ones in both. Nobody commits
anything else meanwhile. Members who do nothing are not computed until somebody asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from mls import group as mls_group
from mls.credential import BasicCredential
from mls.key_package import KeyPackageSecrets, create_key_package
from mls.leaf_node import Capabilities, default_capabilities, sign_leaf_node
from mls.parameters import Parameters
from mls.proposals import Add, Proposal, Remove
from mls.provider import Environment
from mls.registries import GroupId, LeafIndex
from mls.state import Group
from mls.suite import Suite
from mls.tree.nodes import Cell, Value
from mls.tree.ratchet_tree import RatchetTree
from mls.virtual import client, devices
from mls.virtual.derivation_info import CommitDerivation, Derivation, KeyPackageDerivation
from mls.virtual.derive import Imported, key_package_seed, leaf_key, target_operation_secret
from mls.virtual.emulation import Emulation
from mls.virtual.leaves import listed, sealed_into
from mls.virtual.membership import (
    client_capabilities,
    device_capabilities,
    device_extensions,
    device_parameters,
    group_extensions,
)
from mls.virtual.operations import OperationType
from mls.virtual.settings import Settings
from tests.bench.worlds import GROUP_ID, LIFETIME, PARAMETERS, World, client_key, key_package

SETTINGS = Settings()
SHARED = SETTINGS.shared(PARAMETERS)
AT_HOME = device_parameters(SETTINGS, Parameters())
"""In emulation groups, where handshakes are encrypted."""
SUITES = default_capabilities().cipher_suites


def client_able(suite: Suite) -> Capabilities:
    return client_capabilities(_suites(suite))


def _suites(suite: Suite) -> tuple[int, ...]:
    return SUITES if suite.cipher_suite in SUITES else (*SUITES, suite.cipher_suite)


# Emulation groups


def device_package(env: Environment, suite: Suite, name: bytes) -> KeyPackageSecrets:
    """A device that wants to be one of somebody's."""
    return create_key_package(
        env,
        suite.cipher_suite,
        credential=BasicCredential(name),
        signature_private=client_key(env, suite),
        capabilities=device_capabilities(_suites(suite)),
        lifetime=LIFETIME,
        leaf_extensions=device_extensions(SETTINGS, Parameters()),
    )


def home(env: Environment, suite: Suite, name: bytes, count: int) -> tuple[Emulation, ...]:
    """The devices of one person: an emulation group to which the first added the others."""
    first = device_package(env, suite, name)
    group = mls_group.create(
        env,
        AT_HOME,
        suite.cipher_suite,
        GroupId(b"devices of " + name),
        credential=BasicCredential(name),
        signature_private=first.signature_private,
        capabilities=first.key_package.leaf_node.capabilities,
        lifetime=LIFETIME,
        leaf_extensions=device_extensions(SETTINGS, Parameters()),
        extensions=group_extensions(SETTINGS),
    )
    founder = devices.start(SETTINGS, group)
    if count == 1:
        return (founder,)
    packages = [device_package(env, suite, b"%b, device %d" % (name, number)) for number in range(1, count)]
    made = devices.commit(founder, env, proposals=[Add(package.key_package) for package in packages])
    welcome = made.commit.welcome
    assert welcome is not None
    others = [devices.start(SETTINGS, mls_group.join(env, AT_HOME, welcome, [package])[0]) for package in packages]
    return devices.adopt(made.emulation, made), *others


def homes(env: Environment, suite: Suite, people: int, count: int) -> list[tuple[Emulation, ...]]:
    return [home(env, suite, b"person %d" % person, count) for person in range(people)]


# Conversations


@dataclass(slots=True)
class VirtualWorld(World):
    """A conversation whose members are virtual clients; `homes` are their devices, by leaf."""

    homes: list[tuple[Emulation, ...]] = field(default_factory=list)

    def _leaf(self, leaf: int, above: bytes) -> Value:
        suite = self.suite
        first, *others = self.homes[leaf]
        kind = OperationType.LEAF_NODE if self.full else OperationType.KEY_PACKAGE
        context = GROUP_ID if self.full else b""
        first, operation = first.take(kind, context)
        derivation: Derivation
        imported: Imported
        if self.full:
            imported = target_operation_secret(suite, operation.secret, GROUP_ID)
            derivation = CommitDerivation(operation.leaf, operation.generation)
        else:
            imported = key_package_seed(suite, operation.secret, 0)
            derivation = KeyPackageDerivation(operation.leaf, operation.generation, 0)
        private, public = leaf_key(suite, imported)
        signer = self._signers[leaf] = client_key(self.env, suite)
        signature_key = suite.scheme.public_key(signer)
        self._private[2 * leaf] = private
        followed = [
            other.follow(operation.epoch_id, operation.leaf, kind, operation.generation, context)[0] for other in others
        ]
        self.homes[leaf] = tuple(
            [each.with_key(suite.cipher_suite, signature_key, signer) for each in (first, *followed)]
        )
        extensions = listed(first, (), self.parameters.components)
        return sign_leaf_node(
            suite,
            signer,
            encryption_key=public,
            signature_key=signature_key,
            credential=BasicCredential(b"member %d" % leaf),
            capabilities=client_able(suite),
            extensions=sealed_into(first, first.newest, extensions, public, derivation),
            lifetime=None if self.full else LIFETIME,
            parent_hash=above if self.full else None,
            group_id=GROUP_ID,
            leaf_index=leaf,
        )


def virtual_world(env: Environment, suite: Suite, at_home: list[tuple[Emulation, ...]], *, full: bool) -> VirtualWorld:
    return VirtualWorld(
        env, len(at_home), full, cipher_suite=suite.cipher_suite, parameters=SHARED, homes=list(at_home)
    )


# What a tree has come to


def parents(cell: Cell) -> tuple[int, int]:
    """Parent nodes with members on both sides, and how many of them are blank."""
    if not cell.level or not cell.resolved:
        return 0, 0
    (left, left_blank), (right, right_blank) = parents(cell.left), parents(cell.right)
    counts = bool(cell.left.resolved and cell.right.resolved)
    return left + right + counts, left_blank + right_blank + (counts and cell.value is None)


def ciphertexts(tree: RatchetTree, leaf: int) -> int:
    """What a commit with a path from that leaf has to seal."""
    return sum(step.copath.resolved for step in tree.filtered_path(leaf))


def mean_resolution(tree: RatchetTree) -> float:
    """Ciphertexts for each node of a path, over the paths of all members."""
    paths = [tree.filtered_path(leaf) for leaf, _ in tree.leaves()]
    return sum(step.copath.resolved for path in paths for step in path) / sum(map(len, paths))


def usual_member(tree: RatchetTree, among: list[LeafIndex]) -> LeafIndex:
    """The one whose commit is the median in ciphertexts."""
    order = sorted(among, key=lambda leaf: (ciphertexts(tree, leaf), leaf))
    return order[len(order) // 2]


# Churn


@dataclass(frozen=True, slots=True)
class Event:
    """A device of a person comes, or one goes."""

    person: int
    gone: int | None
    """Which of the person's devices after the first, by age; None for one that comes."""


def events(people: int, count: int, seed: int) -> list[Event]:
    """As many as there are people. Everybody keeps the first device, and has twice as many as at first at most."""
    rng = Random(seed)
    have = [count] * people
    found = []
    for _ in range(people):
        person = rng.randrange(people)
        goes = have[person] > 1 and (have[person] == 2 * count or rng.random() < 0.5)
        found.append(Event(person, rng.randrange(1, have[person]) if goes else None))
        have[person] += -1 if goes else 1
    return found


@dataclass(slots=True)
class PlainChurn:
    """A conversation in which every device is a member."""

    world: World
    count: int
    _log: list[bytes] = field(default_factory=list)
    _members: dict[int, tuple[Group, int]] = field(default_factory=dict)
    _leaves: dict[int, list[LeafIndex]] = field(default_factory=dict)

    def member(self, leaf: int) -> Group:
        """As that member stands now."""
        group, seen = self._members.get(leaf) or (self.world.member(leaf), 0)
        for message in self._log[seen:]:
            group = mls_group.receive(group, self.world.env, message).group
        self._members[leaf] = group, len(self._log)
        return group

    def happen(self, event: Event) -> None:
        """An Add or a Remove by the person's first device, with a path, as the virtual client's has one either way.

        Whoever leaves the path of an Add away, as the protocol allows, has worse trees than these.
        """
        env = self.world.env
        base = event.person * self.count
        leaves = self._leaves.setdefault(event.person, [LeafIndex(base + number) for number in range(self.count)])
        proposal: Proposal
        if event.gone is None:
            proposal = Add(key_package(env, self.world.suite, b"another device").key_package)
        else:
            proposal = Remove(leaves.pop(event.gone))
        sent = mls_group.commit(self.member(base), env, proposals=[proposal], force_path=True)
        leaves += sent.added
        self._log.append(sent.message)
        self._members[base] = sent.group, len(self._log)

    def bystanders(self) -> list[LeafIndex]:
        """Members by whose people nothing was committed."""
        others = [person for person in range(self.world.size // self.count) if person not in self._leaves]
        return [LeafIndex(person * self.count + number) for person in others for number in range(self.count)]


@dataclass(slots=True)
class VirtualChurn:
    """A conversation in which every person is a member."""

    world: VirtualWorld
    _log: list[bytes] = field(default_factory=list)
    _members: dict[int, tuple[Emulation, Group, int]] = field(default_factory=dict)
    _leaves: dict[int, list[LeafIndex]] = field(default_factory=dict)

    def member(self, person: int) -> tuple[Emulation, Group]:
        """The first device of that person, as it stands now."""
        start = self.world.homes[person][0]
        emulation, group, seen = self._members.get(person) or (start, self.world.member(person), 0)
        for message in self._log[seen:]:
            got = client.receive(emulation, group, self.world.env, message)
            emulation, group = got.emulation, got.event.group
        self._members[person] = emulation, group, len(self._log)
        return emulation, group

    def happen(self, event: Event) -> None:
        """A commit at home, which nobody else sees, and then a new leaf for the conversation (§5.1, §5.3)."""
        env = self.world.env
        emulation, group = self.member(event.person)
        at_home = range(len(self.world.homes[event.person]))
        leaves = self._leaves.setdefault(event.person, [LeafIndex(number) for number in at_home])
        proposal: Proposal
        if event.gone is None:
            proposal = Add(device_package(env, self.world.suite, b"another device").key_package)
        else:
            proposal = Remove(leaves.pop(event.gone))
        made = devices.commit(emulation, env, proposals=[proposal])
        leaves += made.commit.added
        acted = client.commit(devices.adopt(made.emulation, made), group, env, force_path=True)
        self._log.append(acted.commit.message)
        self._members[event.person] = acted.emulation, acted.commit.group, len(self._log)

    def bystanders(self) -> list[LeafIndex]:
        """Members who committed nothing."""
        return [LeafIndex(person) for person in range(self.world.size) if person not in self._leaves]
