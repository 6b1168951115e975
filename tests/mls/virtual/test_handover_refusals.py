"""draft-ietf-mls-virtual-clients §5.1: what is handed over and does not fit together is refused, whoever sent it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls import group as front, snapshot
from mls.codec import decode_exactly, opaque, u8, u32, vector
from mls.errors import CallerError, PeerError
from mls.fork.retention import left
from mls.fork.schedule import PARENT_INIT
from mls.framing import Sender
from mls.provider import PendingUpdate
from mls.puncture import Puncturable
from mls.registries import Epoch, GroupId, LeafIndex, ProposalRef, SenderType
from mls.schedule import EXPORTER_TREE, GroupContext, confirmation_tag, interim_hash
from mls.secret_tree import GENERATIONS, HANDSHAKE, Ratchet
from mls.secrets import ConfirmationKey, EpochSecret, HpkePrivateKey, ResumptionPsk, Secret, SignaturePrivateKey
from mls.snapshot import Delta
from mls.state import Ended, Group
from mls.tree.nodes import ParentNode, grown
from mls.tree.ratchet_tree import RatchetTree
from mls.virtual.companion import ConversationPart
from mls.virtual.handover import MAX_PAST_LEAVES, hand_over, take_over
from mls.virtual.transfer import SECRETS, ExternalGroup, TransferredGroup, decode_group_state
from tests.mls.clients import NAMES, client, party
from tests.mls.fork.company import company
from tests.mls.refusals import refused
from tests.providers import SeededProvider
from tests.validation import breaks

US, THEM, OTHER = NAMES[1], NAMES[0], NAMES[2]


class Taking:
    """What is handed over of one conversation, to be changed before it is taken over."""

    def __init__(self, group: Group, past: tuple[Group, ...] = ()) -> None:
        handed = hand_over(group, past)
        assert isinstance(handed.state, TransferredGroup)
        assert handed.part is not None
        self.group = group
        self.past = past
        self.state: TransferredGroup = handed.state
        self.part: ConversationPart = handed.part
        self.tree = handed.tree

    def __call__(self, **changes: Any) -> tuple[Group, tuple[Group, ...]]:
        return take_over(
            changes.get("state", self.state),
            changes.get("part", self.part),
            changes.get("tree", self.tree),
            self.group.parameters,
            SeededProvider("another device"),
            leaf_private=changes.get("leaf_private"),
            signature_private=changes.get("signature_private", self.group.signature_key),
        )

    def refuses(self, rule: str, **changes: Any) -> None:
        """With the change it is refused for that, and without it is taken."""
        refused(rule, lambda: self(**changes))
        group, _ = self()
        assert snapshot.encode(group) == snapshot.encode(self.group)

    def refuses_state(self, rule: str, **changes: Any) -> None:
        self.refuses(rule, state=replace(self.state, **changes))

    def refuses_part(self, rule: str, **changes: Any) -> None:
        self.refuses(rule, part=replace(self.part, **changes))

    def refuses_past(self, rule: str, past: Group) -> None:
        """An earlier epoch like that; it says of itself how it differs from the present one."""
        self.refuses_part(rule, past=(snapshot.encode_delta(self.group, past),))


@cache
def plain() -> Taking:
    ours = party(4, shape="full")
    ours.propose_update(US)
    ours.propose_update(OTHER)
    before = ours[US]
    ours.commit(THEM)
    ours.propose_update(US)
    ours.propose_update(OTHER)
    return Taking(ours[US], (before,))


@cache
def forking() -> Taking:
    ours = company(4, full=True)
    before = left(ours[US])
    ours.commit(THEM)
    return Taking(ours[US], (before,))


BOTH = pytest.mark.parametrize("made", [plain, forking])
Made = Callable[[], Taking]


def changed(secret: Secret, raw: bytes | None = None) -> Any:
    return type(secret)(bytes(reversed(secret.raw)) if raw is None else raw)


def other_context(context: GroupContext, **changes: Any) -> GroupContext:
    fields = {
        name: changes.get(name, getattr(context, name))
        for name in ("cipher_suite", "group_id", "epoch", "tree_hash", "confirmed_transcript_hash", "extensions")
    }
    return GroupContext.of(**fields)


# The head


@breaks("VC-5.1-7")
@BOTH
@pytest.mark.parametrize("size", [0, 16, 31, 33, 48])
@pytest.mark.parametrize("name", [name for name, _ in SECRETS])
def test_a_secret_of_another_size(made: Made, name: str, size: int) -> None:
    taking = made()
    if made is forking and name == "init" and size == 0:
        return  # such groups have none
    taking.refuses_state("VC-5.1-7", **{name: changed(getattr(taking.state, name), bytes(size))})


@breaks("VC-5.1-7")
def test_an_init_secret_where_there_is_none() -> None:
    taking = forking()
    taking.refuses_state("VC-5.1-7", init=type(taking.state.init)(bytes(32)))


@breaks("VC-5.1-7")
def test_names_and_further_secrets_of_another_size() -> None:
    taking = plain()
    taking.refuses_state("VC-5.1-7", authenticator=bytes(31))
    taking.refuses_part("VC-5.1-7", epoch_id=bytes(33))
    taking.refuses_part("VC-5.1-7", extra=((b"label", EpochSecret(bytes(31))),))
    taking.refuses_part("VC-5.1-7", resumption=((Epoch(0), ResumptionPsk(bytes(31))),))


@breaks("VC-5.1-15")
@pytest.mark.parametrize("cipher_suite", [0, 0x0A0A, 0xFFFF])
def test_an_unknown_suite(cipher_suite: int) -> None:
    taking = plain()
    taking.refuses_part("VC-5.1-15", context=other_context(taking.part.context, cipher_suite=cipher_suite))


@breaks("VC-5.1-16")
def test_a_part_of_another_conversation() -> None:
    taking = plain()
    taking.refuses_state("VC-5.1-16", group_id=GroupId(b"another"))
    taking.refuses_part("VC-5.1-16", context=other_context(taking.part.context, group_id=b"another"))


@breaks("VC-5.1-17")
@BOTH
def test_a_tree_of_another_hash(made: Made) -> None:
    taking = made()
    taking.refuses("VC-5.1-17", tree=taking.past[0].public.tree.encode())
    taking.refuses_part("VC-5.1-17", context=other_context(taking.part.context, tree_hash=bytes(32)))


@breaks("VAL-12.4.3.1-10", "VAL-7.9.2-1")
def test_an_unsound_tree_with_its_hash() -> None:
    """A sibling can make a context to any tree; the tree would contradict itself later."""
    taking = plain()
    tree = taking.group.public.tree
    root = tree.root.value
    assert isinstance(root, ParentNode)
    for rule, value in (
        ("VAL-12.4.3.1-10", ParentNode.of(root.encryption_key, root.parent_hash, (7,))),
        ("VAL-7.9.2-1", ParentNode.of(bytes(32), root.parent_hash)),
    ):
        bad = tree.replaced({tree.root.index: value})
        context = other_context(taking.part.context, tree_hash=bad.hash)
        taking.refuses(rule, tree=bad.encode(), part=replace(taking.part, context=context))


@breaks("VC-5.1-18")
def test_a_leaf_key_of_nobody() -> None:
    taking = plain()
    suite = taking.group.suite
    stranger, _ = suite.generate_key_pair(SeededProvider("stranger").random)
    above = next(key for index, key in taking.group.private.items() if index % 2)
    for key in (stranger, above, HpkePrivateKey(b"short")):
        taking.refuses("VC-5.1-18", leaf_private=key)


@breaks("VC-5.1-19")
def test_a_signature_key_of_somebody_else() -> None:
    taking = plain()
    for key in (client(THEM).signer, SignaturePrivateKey(b"short")):
        taking.refuses("VC-5.1-19", signature_private=key)


@breaks("VC-5.1-20")
@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_keys_above_our_leaf(count: int) -> None:
    taking = plain()
    assert len(taking.state.path_keys) == 2
    taking.refuses_state("VC-5.1-20", path_keys=(*taking.state.path_keys, HpkePrivateKey(b""))[:count])


@breaks("VC-5.1-21")
def test_a_wrong_key_above_our_leaf() -> None:
    taking = plain()
    first, second = taking.state.path_keys
    for keys in ((second, first), (first, HpkePrivateKey(b"")), (HpkePrivateKey(b"short"), second)):
        taking.refuses_state("VC-5.1-21", path_keys=keys)


@breaks("VC-5.1-21")
def test_a_key_where_our_leaf_is_unmerged() -> None:
    """Nobody gave it to us, so it is not ours to have."""
    ours = party(3, shape="full")
    newcomer = client("newcomer")
    ours.commit(THEM, joining=[(newcomer, newcomer.package(ours.env))], force_path=False)
    taking = Taking(ours["newcomer"])
    assert taking.state.path_keys[-1].raw == b""
    stolen = ours[THEM].private[ours.any.public.tree.root.index]
    taking.refuses_state("VC-5.1-21", path_keys=(*taking.state.path_keys[:-1], stolen))


@breaks("VC-5.1-22")
@BOTH
def test_a_confirmation_key_that_does_not_fit(made: Made) -> None:
    taking = made()
    taking.refuses_state("VC-5.1-22", confirmation=changed(taking.state.confirmation))
    taking.refuses_part("VC-5.1-22", confirmation_tag=bytes(32))
    context = other_context(taking.part.context, confirmed_transcript_hash=bytes(32))
    taking.refuses_part("VC-5.1-22", context=context)


@breaks("VC-5.1-7")
@BOTH
def test_a_confirmation_key_that_is_missing_beside_an_exporter(made: Made) -> None:
    """Of an epoch that was left, both are gone."""
    taking = made()
    taking.refuses_state("VC-5.1-7", confirmation=ConfirmationKey(b""))


@breaks("VC-5.1-23")
def test_an_ordinary_epoch_with_a_name_of_its_own() -> None:
    taking = plain()
    taking.refuses_part("VC-5.1-23", epoch_id=bytes(32))
    assert forking().part.epoch_id != forking().state.authenticator


@breaks("VC-5.1-24")
def test_a_history_of_resumption_psks_that_cannot_be() -> None:
    taking = plain()
    *earlier, (epoch, psk) = taking.part.resumption
    assert epoch == taking.group.epoch
    for history in (
        (*earlier, (epoch, changed(psk))),
        ((epoch, psk), *earlier),
        (*earlier, (Epoch(epoch + 1), psk)),
    ):
        taking.refuses_part("VC-5.1-24", resumption=history)
    for history in ((), tuple(earlier), ((epoch, psk),)):
        taking(part=replace(taking.part, resumption=history))


@breaks("VC-5.1-25")
def test_trees_of_secrets_of_another_kind_of_group() -> None:
    taking = forking()
    ((label, tree),) = taking.part.trees
    assert label == PARENT_INIT
    other = Puncturable.of(bytes(32), 16)
    for trees in (
        (),
        ((b"other", tree),),
        ((label, tree), (b"other", other)),
        ((label, other),),
        ((label, Puncturable.of(bytes(48), tree.bits)),),
    ):
        taking.refuses_part("VC-5.1-25", trees=trees)
    plain().refuses_part("VC-5.1-25", trees=((label, tree),))


@breaks("VC-5.1.2-6")
def test_an_exporter_tree_of_another_hash() -> None:
    taking = plain()
    taking.refuses_state("VC-5.1.2-6", exporter_tree=opaque(b"\x00\x00" + opaque(bytes(48))))


@breaks("VC-5.1-26")
def test_proposals_of_nobody() -> None:
    taking = plain()
    reference, item = taking.part.proposals[0]
    for leaf in (4, 0xFFFFFFFF):
        stray = replace(item, sender=Sender(SenderType.MEMBER, LeafIndex(leaf)), reference=ProposalRef(b"stray"))
        taking.refuses_part("VC-5.1-26", proposals=(*taking.part.proposals, (ProposalRef(b"stray"), stray)))
    outside = replace(item, sender=Sender(SenderType.EXTERNAL, 4))
    taking(part=replace(taking.part, proposals=((reference, outside),)))


@breaks("VC-5.1-26")
def test_an_update_with_other_keys() -> None:
    taking = plain()
    ((node, update),) = taking.part.updates
    wrong = taking.group.private[2 * taking.group.own_leaf]
    for keys in (
        PendingUpdate(wrong, update.signature_private),
        PendingUpdate(HpkePrivateKey(b""), update.signature_private),
        PendingUpdate(update.leaf_private, client(THEM).signer),
        PendingUpdate(update.leaf_private, SignaturePrivateKey(b"")),
    ):
        taking.refuses_part("VC-5.1-26", updates=((node, keys),))


# Earlier epochs


@breaks("VC-5.1-27")
def test_an_earlier_epoch_that_cannot_be_read() -> None:
    taking = plain()
    raw = taking.part.past[0].raw
    for damaged in (b"", raw[:-1], raw + b"\x00", b"\xff\xff" + raw[2:]):
        taking.refuses_part("VC-5.1-27", past=(Delta(damaged),))


def with_public(group: Group, **changes: Any) -> Group:
    return replace(group, public=replace(group.public, **changes))


def of_tree(group: Group, tree: RatchetTree) -> Group:
    """An epoch that fits that tree, however odd it is."""
    context = other_context(group.public.context, tree_hash=tree.hash)
    return with_public(group, tree=tree, context=context)


def large(past: Group) -> Group:
    """A tree with somebody far out; hashing it would take as long as if all places before were taken."""
    tree = past.public.tree
    root = tree.root
    while 1 << root.level <= MAX_PAST_LEAVES:
        root = grown(root)
    leaf = client("far out").package(party(2).env).key_package.leaf_node
    far = replace(tree, root=root).replaced({2 * ((1 << root.level) - 1): leaf})
    return with_public(past, tree=far)


def with_trees(past: Group, **trees: Puncturable) -> Group:
    return replace(past, trees={**past.trees, **{label.encode(): tree for label, tree in trees.items()}})


def with_wrong_update(past: Group) -> Group:
    wrong = {node: replace(each, leaf_private=HpkePrivateKey(b"")) for node, each in past.updates.items()}
    return replace(past, updates=wrong)


def context_of(past: Group, **changes: Any) -> Group:
    return with_public(past, context=other_context(past.public.context, **changes))


EXPORTER = EXPORTER_TREE.decode()
UNSOUND: dict[str, Callable[[Group], Group]] = {
    "of another group": lambda past: context_of(past, group_id=b"another"),
    "of another suite": lambda past: context_of(past, cipher_suite=3),
    "removed from it": lambda past: replace(past, ended=Ended.REMOVED),
    "a tree of another hash": lambda past: context_of(past, tree_hash=bytes(32)),
    "a tree too large": large,
    "a tree that grew for nobody": lambda past: of_tree(
        past, replace(past.public.tree, root=grown(past.public.tree.root))
    ),
    "a leaf of ours that is none": lambda past: replace(past, own_leaf=LeafIndex(9)),
    "message keys of another tree": lambda past: replace(past, keys=replace(past.keys, leaf_count=8)),
    "an exporter of another kind": lambda past: with_trees(past, **{EXPORTER: Puncturable.of(bytes(32), 15)}),
    "an exporter of another hash": lambda past: with_trees(past, **{EXPORTER: Puncturable.of(bytes(48), 16)}),
    "an unknown tree": lambda past: with_trees(past, other=Puncturable.of(bytes(32), 16)),
    "a wrong key": lambda past: replace(past, private={**past.private, 2 * past.own_leaf: HpkePrivateKey(bytes(32))}),
    "a key of no node": lambda past: replace(past, private={**past.private, 99: past.private[2 * past.own_leaf]}),
    "a wrong signature key": lambda past: replace(past, signature_key=client(THEM).signer),
    "a wrong interim hash": lambda past: with_public(past, interim_hash=bytes(32)),
    "an Update with other keys": with_wrong_update,
}


@breaks("VC-5.1-28")
@pytest.mark.parametrize("case", UNSOUND)
def test_an_earlier_epoch_that_does_not_hold_together(case: str) -> None:
    taking = plain()
    taking.refuses_past("VC-5.1-28", UNSOUND[case](taking.past[0]))


@breaks("VC-5.1-3")
def test_one_epoch_twice() -> None:
    taking = plain()
    taking.refuses_part("VC-5.1-3", past=taking.part.past * 2)
    taking.refuses_past("VC-5.1-3", taking.group)


@breaks("VC-5.1-6", "VC-5.1-7", "VC-5.1-8")
def test_message_keys_of_an_earlier_epoch_that_cannot_be() -> None:
    taking = plain()
    (past,) = taking.past
    keys = past.keys
    ratchet = keys.ratchets[2 * 2 + HANDSHAKE]
    short = keys.ratchets.set(2 * 2 + HANDSHAKE, Ratchet(ratchet.generation, b"short", {}))
    key = keys.ratchets.set(2 * 2 + HANDSHAKE, replace(ratchet, skipped={0: (b"short", bytes(12))}))
    node = min(keys.nodes)
    taking.refuses_past("VC-5.1-7", replace(past, keys=replace(keys, ratchets=short)))
    taking.refuses_past("VC-5.1-7", replace(past, keys=replace(keys, ratchets=key)))
    taking.refuses_past(
        "VC-5.1-8", replace(past, keys=replace(keys, ratchets=keys.ratchets.discard(2 * 2 + HANDSHAKE)))
    )
    taking.refuses_past("VC-5.1-6", replace(past, keys=replace(keys, nodes=keys.nodes.discard(node))))


@breaks("VC-5.1-7")
def test_a_secret_of_an_earlier_epoch_of_another_size() -> None:
    taking = plain()
    (past,) = taking.past
    taking.refuses_past(
        "VC-5.1-7", replace(past, secrets=replace(past.secrets, external=changed(past.secrets.external, b"x")))
    )


def test_an_epoch_made_up_by_a_sibling() -> None:
    """What cannot be found out: whoever has the conversation's secrets can say that the transcript was another one."""
    taking = plain()
    key = ConfirmationKey(bytes(32))
    context = other_context(taking.part.context, confirmed_transcript_hash=bytes(32))
    tag = confirmation_tag(taking.group.suite, key, bytes(32))
    group, _ = taking(
        state=replace(taking.state, confirmation=key),
        part=replace(taking.part, context=context, confirmation_tag=tag, past=()),
    )
    assert group.public.interim_hash == interim_hash(group.suite, bytes(32), tag)


# Whatever bytes


@pytest.mark.slow
@pytest.mark.parametrize("made", [plain, forking])
@given(data=st.data())
def test_damaged_deltas(made: Made, data: st.DataObject) -> None:
    """An earlier epoch of damaged bytes is refused by a `PeerError`, or can be used."""
    taking = made()
    raw = bytearray(taking.part.past[0].raw)
    for _ in range(data.draw(st.integers(1, 2))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        _, (past,) = taking(part=replace(taking.part, past=(Delta(bytes(raw)),)))
    except PeerError:
        return
    assert snapshot.encode(past).raw
    if past.ended is None:
        end = [ratchet.generation for ratchet in past.keys.ratchets.values()].count(GENERATIONS)
        with pytest.raises(CallerError, match="ran out of generations") if end else nullcontext():
            front.seal(front.shelve_proposals(past), party(2).env, b"x")


@cache
def of_suite(cipher_suite: int) -> Taking:
    ours = party(4, cipher_suite, shape="full")
    ours.say(THEM, b"said")
    ours.propose_update(US)
    return Taking(ours[US])


@pytest.mark.slow
@pytest.mark.parametrize("cipher_suite", [1, 2, 5, 0xF001, 0xF009])
@given(data=st.data())
def test_damaged_parts(cipher_suite: int, data: st.DataObject) -> None:
    """One byte of the state, the companion's part or the tree is another: a `PeerError`, or a value like any."""
    taking = of_suite(cipher_suite)
    parts = [taking.state.encode(), taking.part.encode(), taking.tree]
    which = data.draw(st.integers(0, 2))
    raw = bytearray(parts[which])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    parts[which] = bytes(raw)
    try:
        state = decode_exactly(parts[0], decode_group_state)
        if isinstance(state, ExternalGroup):
            return
        group, _ = taking(state=state, part=decode_exactly(parts[1], ConversationPart.decode), tree=parts[2])
    except PeerError:
        return
    assert snapshot.encode(group).raw
    front.seal(front.shelve_proposals(group), party(2).env, b"x")


@breaks("VC-5.1-27", "VC-5.1-28")
@pytest.mark.parametrize("level", [0, 21, 64, 255])
def test_a_delta_that_makes_a_tree_of_any_size(level: int) -> None:
    taking = plain()
    raw = taking.part.past[0].raw
    unchanged = snapshot.encode_delta(taking.group, taking.group).raw
    body = u8(level) + vector([u32(0xFFFFFFFE) + u8(0)])
    at = 3  # after the version and the flag of the context
    assert unchanged[:at] == raw[:2] + b"\x00"
    grown_far = unchanged[:at] + b"\x01" + body + unchanged[at + 1 :]
    refused_by = {0: "VC-5.1-27", 21: "VC-5.1-27"}
    taking.refuses_part(refused_by.get(level, "VC-5.1-28"), past=(Delta(grown_far),))
