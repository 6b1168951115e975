"""RFC 9420 §7.9, §12.4.3.1 and §12.4.3.3: trees that no honest group has.

A tree arrives whole when somebody joins, and as a path when somebody commits. Whoever joins by external commit checks
it by the same code as whoever joins by a Welcome.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mls import group as front
from mls.codec import Reader, decode_exactly, opaque
from mls.key_package import KeyPackageSecrets
from mls.proposals import Remove
from mls.provider import Environment
from mls.registries import LeafIndex
from mls.suite import Suite
from mls.tree.hashes import parent_hash
from mls.tree.nodes import ParentNode, Value, grown
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.clients import Party, client, environment, party
from tests.mls.frankenstein import (
    PathSurgery,
    changed_tree,
    external_init,
    flipped,
    forge_commit,
    forge_leaf,
    tree_after,
)
from tests.mls.frankenstein_welcome import forge_info, forge_welcome
from tests.mls.refusals import A, B, G, refused, refuses, refuses_to_enter, refuses_to_join, small_tree
from tests.validation import breaks

NEWCOMER = client("newcomer")
STRANGER = client("stranger")


def refuses_tree(
    rule: str,
    env: Environment,
    package: KeyPackageSecrets,
    bad: RatchetTree | bytes,
    good: RatchetTree,
    **context: object,
) -> None:
    """Neither a Welcome nor a GroupInfo with that tree lets anybody in."""
    wrong = forge_info(env, bad, client(A), **context)  # type: ignore[arg-type]
    fine = forge_info(env, good, client(A))
    welcomes = [forge_welcome(env, info, package) for info in (wrong, fine)]
    refuses_to_join(rule, env, package, *welcomes)
    refuses_to_enter(rule, env, STRANGER, wrong.message, fine.message)
    # and beside the Welcome instead of in it
    bare = forge_info(env, good, client(A), bare=True)
    beside = good.encode()
    front.join(env, NEWCOMER.parameters, forge_welcome(env, bare, package), [package], tree=beside)


def parent(tree: RatchetTree, index: int) -> ParentNode:
    value = tree.cell(index).value
    assert isinstance(value, ParentNode)
    return value


def with_newcomer(size: int) -> tuple[Party, KeyPackageSecrets, RatchetTree]:
    """A full tree into which somebody was just added, so that the nodes above are not merged with that leaf."""
    party_ = party(size, shape="full")
    package = NEWCOMER.package(party_.env)
    tree, _ = tree_after(party_[A].public.tree, {}, [], [package.key_package.leaf_node])
    return party_, package, tree


# §7.9


@breaks("VAL-7.9-1")
@pytest.mark.parametrize("spoil", [flipped, lambda value: b"", lambda value: value + b"\x00"])
def test_a_path_whose_leaf_has_another_parent_hash(spoil: Callable[[bytes], bytes]) -> None:
    party_ = party(4, shape="full")
    env = party_.env
    bad = forge_commit(party_[B], env, party_.clients[B], path=PathSurgery(parent_hash=spoil))
    good = forge_commit(party_[B], env, party_.clients[B])
    for name in (A, "member02"):
        refuses("VAL-7.9-1", party_, name, bad.message, good.message)
    init, secret = external_init(party_[A], env)
    commits = [
        forge_commit(party_[A], env, STRANGER, [init], external=secret, path=path).message
        for path in (PathSurgery(parent_hash=spoil), True)
    ]
    refuses("VAL-7.9-1", party_, A, *commits)


def vouched_tree(
    env: Environment,
    package: KeyPackageSecrets,
    *,
    leaf: Callable[[bytes], bytes] = lambda value: value,
    source: int = 3,
) -> RatchetTree:
    """Two leaves under a root that A's commit set."""
    suite = Suite(1)
    plain = small_tree(env, package)
    newcomer = plain.root.right
    _, root_key = suite.generate_key_pair(env.provider.random)
    _, leaf_key = suite.generate_key_pair(env.provider.random)
    expected = parent_hash(suite, root_key, b"", newcomer.tree_hash(suite))
    first = forge_leaf(client(A), leaf_key, source=source, parent_hash=leaf(expected), group_id=b"group", leaf_index=0)
    return changed_tree(plain, {0: first, 1: ParentNode.of(root_key, b"")})


@breaks("VAL-7.9.2-1")
@pytest.mark.parametrize("fault", [{"leaf": flipped}, {"source": 2}, {"source": 1}])
def test_a_parent_that_no_leaf_vouches_for(fault: dict[str, object]) -> None:
    env = environment("vouched")
    package = NEWCOMER.package(env)
    bad = vouched_tree(env, package, **fault)  # type: ignore[arg-type]
    refuses_tree("VAL-7.9.2-1", env, package, bad, vouched_tree(env, package))


@breaks("VAL-7.9.2-1")
@pytest.mark.parametrize("index", [1, 3, 5])
def test_a_parent_whose_key_was_changed(index: int) -> None:
    """What an outsider would do: put a key of its own into the tree."""
    party_, package, tree = with_newcomer(7)
    _, key = party_[A].suite.generate_key_pair(party_.env.provider.random)
    node = parent(tree, index)
    bad = changed_tree(tree, {index: ParentNode.of(key, node.parent_hash, node.unmerged_leaves)})
    refuses_tree("VAL-7.9.2-1", party_.env, package, bad, tree)


@breaks("VAL-7.9.2-1")
def test_a_parent_that_hides_an_unmerged_leaf() -> None:
    """The newcomer was added after the node was set: a node that does not say so was not set as it stands."""
    party_, package, tree = with_newcomer(3)
    root = parent(tree, 3)
    assert root.unmerged_leaves == (3,)
    bad = changed_tree(tree, {3: ParentNode.of(root.encryption_key, root.parent_hash)})
    refuses_tree("VAL-7.9.2-1", party_.env, package, bad, tree)


@breaks("VAL-7.9.2-1")
def test_a_parent_with_a_leaf_removed_and_put_back() -> None:
    """§7.9.2: what is below the node on the vouching side is the vouching node and unmerged leaves, nothing else."""
    party_, package, tree = with_newcomer(4)
    moved = changed_tree(tree, {1: None})
    refuses_tree("VAL-7.9.2-1", party_.env, package, moved, tree)


# §12.4.3.1


@breaks("VAL-12.4.3.1-9")
def test_a_tree_with_another_hash() -> None:
    party_, package, tree = with_newcomer(3)
    refuses_tree("VAL-12.4.3.1-9", party_.env, package, tree, tree, tree_hash=flipped(tree.hash))


@breaks("VAL-12.4.3.1-9")
def test_a_tree_that_is_not_the_one_that_the_group_info_means() -> None:
    party_, package, tree = with_newcomer(3)
    env = party_.env
    other = party(3)[A].public.tree
    other, _ = tree_after(other, {}, [], [package.key_package.leaf_node])
    bare = forge_info(env, tree, client(A), bare=True)
    welcome = forge_welcome(env, bare, package)
    mine = NEWCOMER.parameters
    refused("VAL-12.4.3.1-9", lambda: front.join(env, mine, welcome, [package], tree=other.encode()))
    front.join(env, mine, welcome, [package], tree=tree.encode())
    refused("VAL-12.4.3.1-9", lambda: STRANGER.join_externally(env, bare.message, tree=other.encode()))
    STRANGER.join_externally(env, bare.message, tree=tree.encode())


@breaks("VAL-12.4.3.1-10")
@pytest.mark.parametrize(("index", "extra"), [(7, 7), (7, 8), (7, 0xFFFF_FFFF), (11, 7), (11, 0), (11, 3)])
def test_an_unmerged_leaf_that_is_blank_or_not_below(index: int, extra: int) -> None:
    """Node 7 is the root, node 11 is above leaves 4 to 7, of which 7 is blank; the newcomer is 5.

    Nobody vouches for what the root lists, so there everything else fits.
    """
    party_ = party(7, shape="full")
    party_.commit(A, proposals=[Remove(LeafIndex(5))])
    party_.commit(G)
    package = NEWCOMER.package(party_.env)
    tree, _ = tree_after(party_[A].public.tree, {}, [], [package.key_package.leaf_node])
    node = parent(tree, index)
    assert (node.unmerged_leaves, tree.leaf(7)) == ((5,), None)
    leaves = tuple(sorted((5, extra)))
    bad = changed_tree(tree, {index: ParentNode.of(node.encryption_key, node.parent_hash, leaves)})
    refuses_tree("VAL-12.4.3.1-10", party_.env, package, bad, tree)


@breaks("VAL-12.4.3.1-11")
def test_an_unmerged_leaf_that_a_node_in_between_does_not_list() -> None:
    party_, package, tree = with_newcomer(7)
    assert parent(tree, 7).unmerged_leaves == parent(tree, 11).unmerged_leaves == (7,)
    node = parent(tree, 11)
    bad = changed_tree(tree, {11: ParentNode.of(node.encryption_key, node.parent_hash)})
    refuses_tree("VAL-12.4.3.1-11", party_.env, package, bad, tree)


@breaks("VAL-12.4.3.1-11")
def test_an_unmerged_leaf_that_a_node_in_between_has_merged() -> None:
    """A and B made this together, so that every parent hash fits: the newcomer was there when B set node 5, and has
    yet to come in what A says of the root.
    """
    env = environment("merged")
    package = NEWCOMER.package(env)
    suite = Suite(1)
    newcomer = package.key_package.leaf_node
    keys = [suite.generate_key_pair(env.provider.random)[1] for _ in range(4)]
    others = [client(name).package(env).key_package.leaf_node for name in (B, "somebody")]
    late = changed_tree(small_tree(env, package, *others), {2: None})
    assert late.leaf(3) == newcomer
    below = parent_hash(suite, keys[2], b"earlier", late.cell(6).tree_hash(suite))
    second = forge_leaf(client(B), keys[1], source=3, parent_hash=below, group_id=b"group", leaf_index=2)

    def made(unmerged: tuple[int, ...]) -> RatchetTree:
        right = changed_tree(late, {4: second, 5: ParentNode.of(keys[2], b"earlier")})
        original = right.cell(5).tree_hash_without(suite, unmerged)
        above = parent_hash(suite, keys[3], b"", original)
        first = forge_leaf(client(A), keys[0], source=3, parent_hash=above, group_id=b"group", leaf_index=0)
        return changed_tree(right, {0: first, 3: ParentNode.of(keys[3], b"", unmerged)})

    refuses_tree("VAL-12.4.3.1-11", env, package, made((3,)), made(()))


# §12.4.3.3


def nodes(tree: RatchetTree) -> list[bytes]:
    """The entries of the ratchet_tree extension."""
    values: list[Value] = [tree.cell(index).value for index in range(2 * tree.leaf_count - 1)]
    return [
        b"\x00" if value is None else (b"\x01\x02" if isinstance(value, ParentNode) else b"\x01\x01") + value.encoded
        for value in values
    ]


@breaks("VAL-12.4.3.3-1")
@pytest.mark.parametrize("trailing", [1, 2, 4])
def test_a_tree_that_ends_with_a_blank_node(trailing: int) -> None:
    env = environment("trailing")
    package = NEWCOMER.package(env)
    tree = small_tree(env, package)
    whole = decode_exactly(tree.encode(), Reader.opaque)
    longer = replace(tree, root=grown(tree.root))  # what the blanks would make of it
    refuses_tree("VAL-12.4.3.3-1", env, package, opaque(whole + bytes(trailing)), tree, tree_hash=longer.hash)


@breaks("VAL-12.4.3.3-1")
def test_a_tree_with_nothing_in_it() -> None:
    env = environment("nothing")
    package = NEWCOMER.package(env)
    for empty in (b"\x00", b"\x01\x00"):
        refuses_tree("VAL-12.4.3.3-1", env, package, empty, small_tree(env, package))


@breaks("VAL-12.4.3.3-2")
def test_a_tree_that_ends_with_a_parent() -> None:
    """A member alone under a parent that it vouches for: such a tree would have been truncated."""
    env = environment("parent")
    suite = Suite(1)
    _, key = suite.generate_key_pair(env.provider.random)
    _, root_key = suite.generate_key_pair(env.provider.random)
    blank = small_tree(env, NEWCOMER.package(env))
    nobody = changed_tree(blank, {2: None}).root.right.tree_hash(suite)
    hashed = parent_hash(suite, root_key, b"", nobody)
    alone = forge_leaf(client(A), key, source=3, parent_hash=hashed, group_id=b"group")
    bad = changed_tree(blank, {0: alone, 1: ParentNode.of(root_key, b""), 2: None})
    whole = opaque(b"".join(nodes(bad)[:2]))
    good = RatchetTree.of_values(suite, [forge_leaf(client(A), key)])
    infos = [
        forge_info(env, tree, client(A), tree_hash=each.hash) for tree, each in ((whole, bad), (good.encode(), good))
    ]
    refuses_to_enter("VAL-12.4.3.3-2", env, STRANGER, infos[0].message, infos[1].message)


@breaks("VAL-12.4.3.3-2")
@pytest.mark.parametrize(("index", "other"), [(1, 2), (2, 1)])
def test_a_node_of_the_other_kind(index: int, other: int) -> None:
    party_, package, tree = with_newcomer(3)
    entries = nodes(tree)
    entries[index] = entries[other]
    refuses_tree("VAL-12.4.3.3-2", party_.env, package, opaque(b"".join(entries)), tree, tree_hash=tree.hash)


def test_good_trees_of_every_shape_are_joined() -> None:
    for size in (1, 2, 3, 4, 5, 7, 8):
        for party_ in (party(size), party(size, shape="full")):
            package = NEWCOMER.package(party_.env)
            tree, places = tree_after(party_[A].public.tree, {}, [], [package.key_package.leaf_node])
            info = forge_info(party_.env, tree, client(A))
            joined = NEWCOMER.join(party_.env, forge_welcome(party_.env, info, package), [package])
            assert joined.own_leaf == places[0]
