"""Members of fork-resilient groups for tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from mls.fork.founding import advertised, fork_resilient, with_forks
from mls.fork.mode import BY_CHILD, VERSIONS
from mls.fork.schedule import PARENT_INIT
from mls.group import Committed
from mls.leaf_node import Extensions
from mls.parameters import Parameters
from mls.provider import PathSupply, PskStore
from mls.puncture import Puncturable
from mls.secrets import PathSecret
from mls.state import Group
from mls.suite import Suite
from mls.tree.math import level
from tests.mls.clients import DEFAULT, NAMES, Client, Party, client, default_in, environment

FORKING = with_forks(DEFAULT)
_, LEAF = advertised(FORKING, default_in(1))
MARKED_AS: dict[int, Extensions] = {version: fork_resilient(FORKING, version=version) for version in VERSIONS}
MARKED = MARKED_AS[BY_CHILD]
HASHES = (1, 7, 5)
"""A cipher suite for each hash."""


def forker(name: str, cipher_suite: int = 1, *, parameters: Parameters = FORKING) -> Client:
    """A client that can be in fork-resilient groups; its leaves say so with `leaf_extensions=LEAF`."""
    capabilities, _ = advertised(parameters, default_in(cipher_suite))
    return client(name, cipher_suite, capabilities=capabilities, parameters=parameters)


def company(
    count: int,
    cipher_suite: int = 1,
    *,
    full: bool = False,
    seed: object = "company",
    parameters: Parameters = FORKING,
    psks: PskStore | None = None,
    version: int = BY_CHILD,
) -> Party:
    """A fork-resilient group, made by its first member; in a full tree everybody has committed since."""
    return _made(count, cipher_suite, full, parameters, version).copy(environment(seed, psks=psks))


@lru_cache(maxsize=64)
def _made(count: int, cipher_suite: int, full: bool, parameters: Parameters, version: int) -> Party:
    env = environment(f"making a company of {count} {cipher_suite} {full}")
    people = [forker(name, cipher_suite, parameters=parameters) for name in NAMES[:count]]
    first = people[0]
    group = first.create(env, extensions=MARKED_AS[version], leaf_extensions=LEAF)
    made = Party(env, {first.name: first}, {first.name: group})
    if count > 1:
        made.commit(first.name, joining=[(each, each.package(env, leaf_extensions=LEAF)) for each in people[1:]])
    if full:
        for name in made.names:
            made.commit(name)
    return made


def repeated(sent: Committed) -> PathSupply:
    """The secrets of a commit's path, as whoever made it can use them for another commit on the same epoch."""
    group = sent.group
    return PathSupply(
        leaf_private=group.private[2 * group.own_leaf],
        leaf_public=group.own_leaf_node.encryption_key,
        path_secret=PathSecret(sent.path_secrets[min(sent.path_secrets, key=level)]),
    )


def last_secret(sent: Committed) -> bytes:
    """The path secret nearest the root."""
    return sent.path_secrets[sent.group.public.tree.root.index]


def parent_tree(group: Group) -> Puncturable:
    return group.trees[PARENT_INIT]


def path_to(suite: Suite, root: bytes, point: int) -> list[bytes]:
    """Every secret from the root of an epoch's tree down to the init secret at a point, by RFC 9420 §9."""
    size = suite.hash_size
    found = [root]
    for bit in format(point, f"0{8 * size}b"):
        side = b"right" if bit == "1" else b"left"
        found.append(suite.expand_with_label(found[-1], b"tree", side, size))
    return [*found, suite.derive_secret(found[-1], b"pprf")]


def holds(data: bytes, secrets: list[bytes] | Mapping[str, bytes]) -> list[int | str]:
    """Which of the secrets occur anywhere in the data."""
    named = secrets.items() if isinstance(secrets, Mapping) else enumerate(secrets)
    return [name for name, secret in named if secret in data]
