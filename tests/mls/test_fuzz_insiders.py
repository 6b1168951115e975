"""Whole commits, proposals and GroupInfos by people with keys, right but for what is drawn.

What is accepted of them must do no harm: whoever follows can be followed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from hypothesis import given, strategies as st

from mls import group as front
from mls.codec import vector
from mls.errors import PeerError
from mls.framing import FramedContent, Sender, encode_message
from mls.group import CommitMessage
from mls.leaf_node import Capabilities, Extension, RequiredCapabilities
from mls.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
)
from mls.psk import ExternalPskId
from mls.registries import ContentType, GroupId, LeafIndex, ProposalRef, SenderType, WireFormat
from mls.state import Group
from mls.suite import Suite
from mls.tree.nodes import ParentNode
from mls.tree.path import UpdatePathNode
from mls.tree.ratchet_tree import RatchetTree
from mls.validation import Proposed
from tests.mls.clients import (
    ANY,
    Party,
    check_private_keys,
    client,
    environment,
    insider_public,
)
from tests.mls.frankenstein import (
    PathSurgery,
    external_init,
    forge_commit,
    forge_leaf,
    forge_package,
    own_update,
)
from tests.mls.frankenstein_welcome import forge_info, forge_welcome
from tests.mls.fuzz_scene import OUTCOMES, lies, outcome, scene
from tests.mls.strategies import Mutation, mutated, mutations

SMALL_ORDER = bytes(32), (1).to_bytes(32, "little")


@lru_cache(maxsize=1)
def some_keys() -> list[bytes]:
    """Public keys that a member might put where its own should be."""
    ours = scene().party
    suite = ours.suite
    tree = ours.any.public.tree
    found = [value.encryption_key for value in (cell.value for cell in tree.root.cells()) if value is not None]
    fresh = suite.generate_key_pair(ours.env.provider.random)[1]
    return [*found[:6], *SMALL_ORDER, fresh, b"", fresh[:-1], fresh + b"\0", bytes(31) + b"\xff", fresh]


HUGE = tuple(range(0x1000, 0x1800))


@st.composite
def surgeries(draw: st.DrawFn) -> PathSurgery:
    key = st.sampled_from(some_keys())
    leaf: dict[str, Any] = {}
    for field in draw(st.lists(st.sampled_from(LEAF_FIELDS), max_size=2)):
        leaf[field] = draw(
            {
                "encryption_key": key,
                "source": st.sampled_from([1, 2, 3]),
                "parent_hash": st.binary(max_size=33),
                "group_id": st.just(b"another group"),
                "leaf_index": st.integers(0, 9),
                "signature_key": key,
                "capabilities": st.sampled_from(
                    [Capabilities((), (), (), (), ()), Capabilities((1,), (1,), HUGE, HUGE, (1,)), ANY]
                ),
                "extensions": st.sampled_from([(Extension(1, b""),), (Extension(0x1000, b"x"),)]),
            }[field]
        )
    places = st.integers(0, 3)
    kind = draw(st.sampled_from(["none", "none", "key", "drop", "double", "swap", "bytes", "entries"]))
    at, other, new, changes = draw(places), draw(places), draw(key), draw(st.lists(mutations, max_size=2))

    def public(known: list[bytes]) -> list[bytes]:
        if kind == "key" and known:
            known[at % len(known)] = new
        return known

    def nodes(known: tuple[UpdatePathNode, ...]) -> tuple[UpdatePathNode, ...]:
        if not known:
            return known
        first, second = at % len(known), other % len(known)
        listed = list(known)
        if kind == "drop":
            del listed[first]
        elif kind == "double":
            listed.insert(first, listed[second])
        elif kind == "swap":
            listed[first], listed[second] = listed[second], listed[first]
        elif kind == "bytes":
            listed[first] = replace(listed[first], sealed=mutated(listed[first].sealed, changes))
        elif kind == "entries":
            node = listed[first]
            listed[first] = replace(node, sealed=node.sealed * (at + 1) if at else b"")
        return tuple(listed)

    return PathSurgery(leaf=leaf, first=draw(st.sampled_from([None, None, 0, 31])), public=public, nodes=nodes)


LEAF_FIELDS = (
    "encryption_key",
    "source",
    "parent_hash",
    "group_id",
    "leaf_index",
    "signature_key",
    "capabilities",
    "extensions",
)


@st.composite
def hostile_proposals(draw: st.DrawFn) -> list[Proposal | Proposed]:
    at = scene()
    ours, env = at.party, at.fresh("proposals")
    key = draw(st.sampled_from(some_keys()))
    leaf = draw(st.integers(0, 9))
    nonce = bytes(draw(st.sampled_from([32, 32, 31, 0])))
    stranger = client("stranger")

    def package(**fields: Any) -> Add:
        return Add(forge_package(stranger, env, **fields).key_package)

    pool: list[Callable[[], Proposal | Proposed]] = [
        lambda: Remove(LeafIndex(leaf)),
        lambda: Remove(LeafIndex(0xFFFF_FFFF)),
        lambda: PreSharedKey(ExternalPskId(b"psk", nonce)),
        lambda: GroupContextExtensions(()),
        lambda: GroupContextExtensions((Extension(3, b"\x01" * leaf),)),
        lambda: GroupContextExtensions((RequiredCapabilities(HUGE).extension(),)),
        lambda: GroupContextExtensions((Extension(5, b"\x03\0\0\0"),)),
        lambda: GroupContextExtensions((Extension(leaf, b""),)),
        lambda: PreSharedKey(ExternalPskId(b"unheard of", nonce)),
        lambda: ReInit(GroupId(b"next"), leaf % 3, 1, ()),
        lambda: ExternalInit(key),
        package,
        lambda: package(leaf_key=key),
        lambda: package(init_key=key),
        lambda: package(signature_key=key),
        lambda: package(capabilities=Capabilities((1,), (1,), HUGE, (), (1,))),
        lambda: Add(ours.clients["member03"].package(env).key_package),
        lambda: own_update(ours["member00"], ours.clients["member00"], env),
        lambda: Proposed(
            own_update(ours["member03"], ours.clients["member03"], env, encryption_key=key),
            Sender(SenderType.MEMBER, 3),
        ),
    ]
    return [made() for made in draw(st.lists(st.sampled_from(pool), max_size=3))]


@given(
    hostile=hostile_proposals(),
    surgery=st.none() | surgeries(),
    references=st.lists(st.binary(max_size=33), max_size=2),
    encrypt=st.booleans(),
)
def test_commits_of_a_malicious_member(
    hostile: list[Proposal | Proposed],
    surgery: PathSurgery | None,
    references: list[bytes],
    encrypt: bool,
) -> None:
    """They are refused, or they do no harm: whoever follows one can be followed by the others who did."""
    at = scene()
    ours = at.party
    listed: list[Proposal | ProposalRef] | None = None
    if references:
        listed = [item.proposal if isinstance(item, Proposed) else item for item in hostile]
        listed.extend(map(ProposalRef, references))
    try:
        forged = forge_commit(
            ours["member00"],
            at.fresh("insider"),
            ours.clients["member00"],
            hostile,
            path=surgery or True,
            listed=listed,
            encrypt=encrypt,
        )
    except Exception:  # noqa: BLE001 - what cannot even be made, such as a secret sealed to no key
        return
    check_what_follows(forged.message, by="member00")


@given(
    hostile=hostile_proposals(),
    surgery=surgeries(),
    init=st.sampled_from(["right", "missing", "twice", "wrong"]),
)
def test_commits_of_a_malicious_newcomer(hostile: list[Proposal | Proposed], surgery: PathSurgery, init: str) -> None:
    at = scene()
    env = at.fresh("newcomer")
    proposal, secret = external_init(at.reader, env)
    first = {
        "right": [proposal],
        "missing": [],
        "twice": [proposal, proposal],
        "wrong": [ExternalInit(SMALL_ORDER[0])],
    }[init]
    try:
        forged = forge_commit(at.reader, env, client("stranger"), [*first, *hostile], path=surgery, external=secret)
    except Exception:  # noqa: BLE001 - what cannot even be made
        return
    check_what_follows(forged.message, by=None)


def check_what_follows(message: bytes, *, by: str | None) -> None:
    ours = Party(scene().fresh("honest"), scene().party.clients, scene().party.groups)
    followed: dict[str, Group] = {}
    for name in ours.names:
        if name == by:
            continue
        try:
            event = front.receive(ours[name], ours.env, message)
        except OUTCOMES:
            continue
        assert isinstance(event, CommitMessage)
        if event.group.ended is None:
            check_private_keys(event.group)
            followed[name] = event.group
    if len(followed) > 1:
        after = Party(ours.env, ours.clients, followed)
        after.agree()
        for name in list(followed)[:2]:
            after.commit(name)


def test_most_forged_commits_are_good_without_surgery() -> None:
    """So that the two properties above are about the surgery."""
    ours = scene().party
    forged = forge_commit(ours["member00"], ours.env, ours.clients["member00"], [], path=PathSurgery())
    for name in ("member01", "late"):
        assert front.receive(ours[name], ours.env, forged.message).group.epoch == ours.any.epoch + 1


@given(hostile=hostile_proposals(), by=st.sampled_from(["member00", "member03"]))
def test_proposals_of_a_malicious_member(hostile: list[Proposal | Proposed], by: str) -> None:
    """Whatever waits after them, every other member can commit, and the others follow."""
    at = scene()
    ours = Party(at.fresh("honest"), at.party.clients, at.party.groups)
    insider = ours[by]
    for item in hostile:
        proposal = item.proposal if isinstance(item, Proposed) else item
        content = FramedContent.of(
            insider.group_id,
            insider.epoch,
            Sender(SenderType.MEMBER, insider.own_leaf),
            b"",
            ContentType.PROPOSAL,
            proposal,
        )
        message = insider_public(insider, content.encoded)
        names = [name for name in ours.names if name != by]
        found = {outcome(partial(front.receive, ours[name], ours.env, message)) for name in names}
        assert len(found) == 1
        if found == {"accepted"}:
            for name in names:
                ours.groups[name] = front.receive(ours[name], ours.env, message).group
    del ours.groups[by]
    sent = front.commit(ours["member01"], ours.env)
    for name, event in ours.deliver(sent.message, by="member01").items():
        assert isinstance(event, CommitMessage), name
    ours.groups["member01"] = sent.group
    if sent.group.reinit is None:
        ours.agree()
    else:
        assert not ours.names


# ---------------------------------------------------------------- newcomers are told lies


@st.composite
def hostile_trees(draw: st.DrawFn) -> bytes:
    """A tree of a few leaves that sign for themselves, with parents made up, and then perhaps altered."""
    _, package, liar = lies()
    env = environment("hostile tree")
    size = draw(st.sampled_from([3, 7, 15]))
    parts = []
    leaves = [b"\1\1" + forge_leaf(liar, env.provider.random(32)).encoded]
    leaves.append(b"\1\1" + package.key_package.leaf_node.encoded)
    for number in range(6):
        other = client(f"other{number}")
        node = forge_leaf(
            other,
            env.provider.random(32),
            source=3,
            parent_hash=draw(st.binary(max_size=4)),
            group_id=b"group",
            leaf_index=number + 2,
        )
        leaves.append(b"\1\1" + node.encoded)
    for at in range(size):
        if at % 2 == 0:
            present = at < 4 or at == size - 1 or draw(st.booleans())
            parts.append(leaves[at // 2] if present else b"\0")
        elif draw(st.booleans()):
            unmerged = tuple(sorted(draw(st.sets(st.integers(0, 9), max_size=3))))
            parts.append(b"\1\2" + ParentNode.of(env.provider.random(32), b"", unmerged).encoded)
        else:
            parts.append(b"\0")
    return mutated(vector(parts), draw(st.lists(mutations, max_size=1)))


@given(
    encoded=hostile_trees(),
    version=st.sampled_from([1, 1, 1, 0, 2]),
    suite=st.sampled_from([1, 1, 1, 2, 0, 9, 0x0A0A]),
    epoch=st.sampled_from([0, 1, 2**64 - 1]),
    leaf=st.sampled_from([0, 0, 0, 1, 2, 7, 0xFFFF_FFFF]),
    group_extensions=st.sampled_from(
        [
            (),
            (),
            (Extension(3, b""),),
            (Extension(3, b"\x02\0\1\0\0"),),
            (Extension(5, b"\1"),),
            (Extension(0x0A0A, b""),),
            (RequiredCapabilities(HUGE).extension(),),
        ]
    ),
    external_pub=st.sampled_from([bytes(32), b"", b"x" * 32, b"x" * 31, None]),
    path_secret=st.none() | st.sampled_from([b"", bytes(31), bytes(32)]),
    surgery=st.lists(mutations, max_size=1),
    info_surgery=st.lists(mutations, max_size=1),
)
def test_lies_to_a_newcomer(
    encoded: bytes,
    version: int,
    suite: int,
    epoch: int,
    leaf: int,
    group_extensions: tuple[Extension, ...],
    external_pub: bytes | None,
    path_secret: bytes | None,
    surgery: list[Mutation],
    info_surgery: list[Mutation],
) -> None:
    victim, package, liar = lies()
    env = environment("lies")
    try:
        tree_hash = RatchetTree.decode(Suite(1), encoded).hash
    except PeerError:
        tree_hash = None
    info = forge_info(
        env,
        encoded,
        liar,
        leaf=leaf,
        version=version,
        cipher_suite=suite,
        epoch=epoch,
        tree_hash=tree_hash,
        group_extensions=group_extensions,
        external_pub=None if external_pub is None else lambda public: external_pub or public,
    )
    told = encode_message(WireFormat.GROUP_INFO, mutated(info.encoded, info_surgery))
    welcome = forge_welcome(
        env,
        info,
        package,
        path_secret=path_secret,
        group_info=lambda data: mutated(data, info_surgery),
        secrets=lambda data: mutated(data, surgery),
    )
    for call in (
        lambda: victim.join_externally(env, told),
        lambda: victim.join(env, welcome, [package]),
    ):
        outcome(call)


def test_some_lies_are_believed() -> None:
    """Nothing was wrong with those: so that the property above gets past the first checks."""
    victim, package, liar = lies()
    env = environment("truth")
    parts = [b"\1\1" + forge_leaf(liar, env.provider.random(32)).encoded, b"\0"]
    parts.append(b"\1\1" + package.key_package.leaf_node.encoded)
    tree = RatchetTree.decode(Suite(1), vector(parts))
    info = forge_info(env, tree, liar)
    assert victim.join(env, forge_welcome(env, info, package), [package]).own_leaf == 1
    assert client("another").join_externally(env, info.message).group.own_leaf == 2
