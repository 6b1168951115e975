"""What travels beside NewEmulatorClientState: there and back, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls.codec import Reader, decode_exactly, opaque, u16, u64, vector
from mls.errors import PeerError
from mls.proposals import ReInit, Remove, encode_proposal
from mls.puncture import Puncturable
from mls.registries import Epoch, Generation, GroupId, KeyPackageRef, LeafIndex
from mls.secrets import (
    EpochEncryptionKey,
    EpochSecret,
    GenerationIdSecret,
    HpkePrivateKey,
    ResumptionPsk,
    ReuseGuardSecret,
)
from mls.snapshot import Delta
from mls.suite import Suite
from mls.virtual.companion import (
    MAX_PAST,
    Companion,
    ConversationPart,
    EpochPart,
    LostPart,
    PackagePart,
    check_ancestry,
    hand_over_epochs,
    take_over_epochs,
)
from mls.virtual.operations import OperationType
from mls.virtual.secret_state import Skipped
from mls.virtual.transfer import NewEmulatorClientState
from tests.mls.refusals import refused
from tests.providers import SeededProvider
from tests.validation import breaks
from tests.vector_files import load
from tests.vectors.own import transfer as own

CASES = load(own.PATH)
SUITE = Suite(1)
SHORT = st.binary(max_size=70)
WORD = st.integers(0, 0xFFFF_FFFF)
PART = decode_exactly(bytes.fromhex(CASES[0]["conversation_part"]), ConversationPart.decode)
WHOLE = decode_exactly(bytes.fromhex(CASES[0]["companion"]), Companion.decode)
STATE = decode_exactly(bytes.fromhex(CASES[0]["new_emulator_client_state"]), NewEmulatorClientState.decode)
REINIT = ReInit(GroupId(b"next"), 1, 2, ())

skipped = st.builds(
    Skipped,
    leaf=WORD.map(LeafIndex),
    type=st.integers(0, 255),
    secrets=st.lists(st.tuples(WORD, SHORT), max_size=3).map(tuple),
)
epoch_parts = st.builds(
    EpochPart,
    epoch_id=SHORT,
    parent=st.none() | SHORT,
    cipher_suite=st.integers(0, 0xFFFF),
    skipped=st.lists(skipped, max_size=3).map(tuple),
)
package_parts = st.builds(
    PackagePart,
    reference=SHORT.map(KeyPackageRef),
    not_after=st.integers(0, 2**64 - 1),
    signature_key=SHORT,
    used=st.booleans(),
)
lost_parts = st.builds(
    LostPart,
    epoch_id=SHORT,
    parent=st.none() | SHORT,
    cipher_suite=st.integers(0, 0xFFFF),
    number=st.integers(0, 2**64 - 1).map(Epoch),
    leaf_count=WORD,
    encryption_key=SHORT.map(EpochEncryptionKey),
    generation_id=SHORT.map(GenerationIdSecret),
    reuse_guard=SHORT.map(ReuseGuardSecret),
)


def named(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(SHORT, strategy), max_size=3, unique_by=lambda each: each[0]).map(tuple)


@st.composite
def trees(draw: st.DrawFn) -> Puncturable:
    tree = Puncturable.of(bytes(32), draw(st.sampled_from([1, 16, 256])))
    for point in draw(st.sets(st.integers(0, (1 << tree.bits) - 1), max_size=2)):
        _, tree = tree.evaluate(SUITE, point)
    return tree


conversation_parts = st.builds(
    replace,
    st.just(PART),
    confirmation_tag=SHORT,
    epoch_id=SHORT,
    leaf_private=st.none() | st.binary(min_size=1, max_size=40).map(HpkePrivateKey),
    extra=named(SHORT.map(EpochSecret)),
    skipped=st.lists(skipped, max_size=3).map(tuple),
    trees=named(trees()),
    resumption=st.dictionaries(st.integers(0, 2**64 - 1).map(Epoch), SHORT.map(ResumptionPsk), max_size=3).map(
        lambda found: tuple(found.items())
    ),
    ended=st.none() | st.just(REINIT),
    followed=st.lists(SHORT, max_size=3, unique=True).map(tuple),
    past=st.lists(SHORT.map(Delta), max_size=3).map(tuple),
)


@given(value=epoch_parts)
def test_parts_of_emulation_epochs(value: EpochPart) -> None:
    assert decode_exactly(value.encode(), EpochPart.decode) == value


@given(value=lost_parts)
def test_parts_of_emulation_epochs_that_lost(value: LostPart) -> None:
    assert decode_exactly(value.encode(), LostPart.decode) == value


@given(value=package_parts)
def test_parts_of_key_packages(value: PackagePart) -> None:
    assert decode_exactly(value.encode(), PackagePart.decode) == value


@pytest.mark.slow
@given(value=conversation_parts)
def test_parts_of_conversations(value: ConversationPart) -> None:
    data = value.encode()
    again = decode_exactly(data, ConversationPart.decode)
    assert again == value
    assert again.encode() == data


@pytest.mark.slow
@given(
    settings=SHORT,
    newest=st.none() | SHORT,
    epochs=st.lists(epoch_parts, max_size=3, unique_by=lambda part: part.epoch_id).map(tuple),
    packages=st.lists(package_parts, max_size=3, unique_by=lambda part: part.reference).map(tuple),
    rivals=st.sampled_from([(), WHOLE.rivals]),
    lost=st.lists(lost_parts, max_size=3, unique_by=lambda part: part.epoch_id).map(tuple),
    withdrawn=st.lists(SHORT.map(KeyPackageRef), max_size=3, unique=True).map(tuple),
    conversations=st.sampled_from([(), (PART,)]),
)
def test_whole_companions(**fields: Any) -> None:
    value = Companion(**fields)
    assert decode_exactly(value.encode(), Companion.decode) == value
    assert value.conversation(b"group") is (value.conversations or (None,))[0]
    assert value.conversation(b"another") is None


@pytest.mark.slow
@given(data=st.data())
def test_hostile_bytes(data: st.DataObject) -> None:
    raw = bytearray(WHOLE.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for damaged in (bytes(raw), bytes(raw[:cut]), bytes(raw) + b"\x00"):
        try:
            found = decode_exactly(damaged, Companion.decode)
        except PeerError:
            continue
        assert found.encode() == damaged


def test_nothing_secret_is_shown() -> None:
    shown = repr(replace(WHOLE, conversations=(replace(PART, leaf_private=HpkePrivateKey(b"a private key")),)))
    secrets = [secret for each in (*PART.skipped, *WHOLE.epochs[0].skipped) for _, secret in each.secrets]
    secrets += [each.raw for part in WHOLE.lost for each in (part.encryption_key, part.generation_id, part.reuse_guard)]
    secrets += [psk.raw for _, psk in PART.resumption] + [delta.raw for delta in PART.past]
    secrets += [key.raw for _, update in PART.updates for key in (update.leaf_private, update.signature_private)]
    assert len(secrets) >= 10
    for secret in [*secrets, b"a private key"]:
        assert repr(secret)[2:-1] not in shown


# What is refused


def refuses(rule: str, decode: Callable[[Reader], Any], bad: bytes, good: bytes) -> None:
    refused(rule, lambda: decode_exactly(bad, decode))
    decode_exactly(good, decode)


@breaks("VC-5.1-2")
def test_too_many_earlier_epochs() -> None:
    good, bad = (replace(PART, past=(Delta(b""),) * count).encode() for count in (MAX_PAST, MAX_PAST + 1))
    refuses("VC-5.1-2", ConversationPart.decode, bad, good)


@breaks("VC-5.1-3")
@pytest.mark.parametrize("name", ["epochs", "rivals", "lost", "packages", "withdrawn", "conversations"])
def test_one_thing_twice(name: str) -> None:
    one = getattr(WHOLE, name)[:1]
    assert one
    bad, good = (replace(WHOLE, **{name: each}).encode() for each in (one * 2, one))
    refuses("VC-5.1-3", Companion.decode, bad, good)


@breaks("VC-5.1-3")
@pytest.mark.parametrize("name", ["extra", "trees", "proposals", "updates", "resumption", "followed"])
def test_one_thing_of_a_conversation_twice(name: str) -> None:
    part = replace(
        PART,
        extra=((b"label", EpochSecret(bytes(32))),),
        trees=((b"label", Puncturable.of(bytes(32), 16)),),
        followed=(b"child",),
    )
    one = getattr(part, name)[:1]
    assert one
    bad, good = (replace(part, **{name: each}).encode() for each in (one * 2, one))
    refuses("VC-5.1-3", ConversationPart.decode, bad, good)


@breaks("VC-5.1-10")
@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
def test_another_version(version: int) -> None:
    good = WHOLE.encode()
    refuses("VC-5.1-10", Companion.decode, u16(version) + good[2:], good)


@breaks("VC-5.1-13")
@pytest.mark.parametrize(
    "tree",
    [
        pytest.param(u16(0) + opaque(b"") + opaque(bytes(32)), id="of no levels"),
        pytest.param(u16(16) + opaque(b"") + opaque(bytes(33)), id="of another size"),
        pytest.param(u16(16) + opaque(b"\x00") + opaque(bytes(32)), id="with half a point"),
    ],
)
def test_trees_that_are_none(tree: bytes) -> None:
    good = replace(PART, trees=((b"label", Puncturable.of(bytes(32), 16)),)).encode()
    fine = opaque(Puncturable.of(bytes(32), 16).encode())
    there, wrong = vector([opaque(b"label") + fine]), vector([opaque(b"label") + opaque(tree)])
    assert good.count(there) == 1
    refuses("VC-5.1-13", ConversationPart.decode, good.replace(there, wrong), good)


@breaks("VC-5.1-14")
def test_a_conversation_ended_by_something_else() -> None:
    good = replace(PART, ended=REINIT).encode()
    ending, removal = encode_proposal(REINIT), encode_proposal(Remove(LeafIndex(1)))
    assert good.count(b"\x01" + ending) == 1
    refuses("VC-5.1-14", ConversationPart.decode, good.replace(b"\x01" + ending, b"\x01" + removal), good)


# Emulation epochs


@pytest.mark.parametrize("cipher_suite", own.SUITES)
def test_emulation_epochs_there_and_back(cipher_suite: int) -> None:
    """With what was passed over, and with a rival of the same number; without our leaf, since we had none."""
    made = [(epoch, parent) for epoch, parent, _ in own.emulation(cipher_suite)]
    handed = hand_over_epochs(made)
    assert [epoch.number for epoch in handed.state] == [77, 78]
    assert [epoch.epoch_id for epoch in handed.rivals] == [made[2][0].epoch_id]
    state = NewEmulatorClientState(epochs=handed.state)
    assert not handed.lost
    companion = Companion(epochs=handed.parts, rivals=handed.rivals)
    suite, provider = Suite(cipher_suite), SeededProvider()
    again = take_over_epochs(state, companion, suite, provider)
    expected = [(replace(epoch, own_leaf=None).encode(), parent) for epoch, parent in made]
    assert [(epoch.encode(), parent) for epoch, parent in again] == expected


@pytest.mark.parametrize("cipher_suite", own.SUITES)
def test_an_emulation_epoch_that_lost_there_and_back(cipher_suite: int) -> None:
    """The state has no place for it, and the companion says all there is to say."""
    ((first, _, _), *_), epoch = own.emulation(cipher_suite), own.lost(cipher_suite)
    handed = hand_over_epochs([(first, None), (epoch, first.epoch_id)])
    assert [each.epoch_id for each in handed.state] == [first.epoch_id]
    assert [each.epoch_id for each in handed.parts] == [first.epoch_id]
    state, companion = NewEmulatorClientState(epochs=handed.state), Companion(epochs=handed.parts, lost=handed.lost)
    _, (again, parent) = take_over_epochs(state, companion, SUITE, SeededProvider())
    assert again.encode() == epoch.encode()
    assert again.suite.cipher_suite == cipher_suite
    assert parent == first.epoch_id


def test_an_emulation_epoch_that_lost_in_a_suite_that_we_lack() -> None:
    """Whoever told of it may have said anything, and who added us had to believe it."""
    taken = take_over_epochs(
        STATE, replace(WHOLE, lost=(replace(WHOLE.lost[0], cipher_suite=0x0A0A),)), SUITE, SeededProvider()
    )
    assert [epoch.epoch_id for epoch, _ in taken] == [part.epoch_id for part in WHOLE.epochs]


def test_what_cannot_be_before_an_epoch_is_not_handed_on() -> None:
    """A sibling may have told of epochs in a circle. Who adds a device must not tell it so."""
    one = own.lost(1)
    other = replace(own.emulation(1)[1][0], number=one.number)
    circle = [(one, other.epoch_id), (other, one.epoch_id), (own.emulation(1)[0][0], b"of a time before")]
    handed = hand_over_epochs(circle)
    assert {each.parent for each in handed.lost} == {None}
    assert {each.parent for each in handed.parts} == {None, b"of a time before"}


def test_emulation_epochs_of_a_group_that_changed_its_suite() -> None:
    """The struct does not say in which suite an epoch was; the companion does."""
    epoch = own.emulation(5)[0][0]
    handed = hand_over_epochs([(epoch, None)])
    state = NewEmulatorClientState(epochs=handed.state)
    ((found, _),) = take_over_epochs(state, Companion(epochs=handed.parts), SUITE, SeededProvider())
    assert found.suite.cipher_suite == 5
    refused("VC-5.1-7", lambda: take_over_epochs(state, None, SUITE, SeededProvider()))


def test_without_a_companion_what_was_passed_over_is_lost() -> None:
    made = own.emulation(1)
    handed = hand_over_epochs([(epoch, parent) for epoch, parent, _ in made])
    state = NewEmulatorClientState(epochs=handed.state)
    (first, parent), (_, parent_of_second) = take_over_epochs(state, None, SUITE, SeededProvider())
    assert parent is None
    assert parent_of_second == first.epoch_id
    before = made[0][0]
    place = (LeafIndex(0), OperationType.LEAF_NODE)
    assert before.operations.ratchets[4 * place[0] + place[1]].skipped
    assert not first.operations.ratchets[4 * place[0] + place[1]].skipped
    following = first.operation_at(*place, Generation(2), b"group")[0]
    assert following == before.operation_at(*place, Generation(2), b"group")[0]


def take(**changes: Any) -> object:
    return take_over_epochs(STATE, replace(WHOLE, **changes), SUITE, SeededProvider())


@breaks("VC-5.1-3")
def test_an_emulation_epoch_in_both() -> None:
    refused("VC-5.1-3", lambda: take(rivals=STATE.epochs[:1]))
    refused("VC-5.1-3", lambda: take(lost=(replace(WHOLE.lost[0], epoch_id=STATE.epochs[0].epoch_id),)))
    take()


@breaks("VC-5.1-42")
@pytest.mark.parametrize("ahead", [0, 1])
def test_an_emulation_epoch_that_is_not_newer_than_the_one_before_it(ahead: int) -> None:
    older, newer = [epoch for epoch, _, _ in own.emulation(1)[:2]]
    good = [(newer, older.epoch_id), (older, b"one that is not known")]
    bad = [(newer, older.epoch_id), (replace(older, number=Epoch(newer.number + ahead)), None)]
    refused("VC-5.1-42", lambda: check_ancestry(bad))
    check_ancestry(good)


@breaks("VC-5.1-43")
@pytest.mark.parametrize(
    "changes",
    [
        {"epoch_id": b"short"},
        {"leaf_count": 0},
        {"leaf_count": 3},
        {"leaf_count": 512},
        {"encryption_key": EpochEncryptionKey(b"short")},
        {"generation_id": GenerationIdSecret(bytes(33))},
        {"reuse_guard": ReuseGuardSecret(b"")},
    ],
)
def test_an_emulation_epoch_that_lost_and_does_not_hold_together(changes: dict[str, Any]) -> None:
    refused("VC-5.1-43", lambda: take(lost=(replace(WHOLE.lost[0], **changes),)))
    take()


@breaks("VC-5.1-1")
def test_a_key_package_that_is_neither_used_nor_not() -> None:
    good = WHOLE.packages[0].encode()
    refuses("VC-5.1-1", PackagePart.decode, good[:-1] + b"\2", good)


@breaks("VC-5.1-12")
def test_an_emulation_epoch_of_which_only_the_companion_speaks() -> None:
    refused("VC-5.1-12", lambda: take(epochs=(*WHOLE.epochs, replace(WHOLE.epochs[0], epoch_id=bytes(32)))))
    refused("VC-5.1-12", lambda: take(rivals=()))
    take()


@breaks("VC-5.1-15")
@pytest.mark.parametrize("cipher_suite", [0, 0x0A0A, 0xFFFF])
def test_an_emulation_epoch_of_an_unknown_suite(cipher_suite: int) -> None:
    first, *others = WHOLE.epochs
    refused("VC-5.1-15", lambda: take(epochs=(replace(first, cipher_suite=cipher_suite), *others)))
    take()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"suite {case['cipher_suite']}")
def test_known_answers(case: dict[str, Any]) -> None:
    companion = decode_exactly(bytes.fromhex(case["companion"]), Companion.decode)
    assert companion.encode().hex() == case["companion"]
    assert companion.epochs[1].encode().hex() == case["epoch_part"]
    assert companion.conversations[0].encode().hex() == case["conversation_part"]
    assert companion.lost[0].encode().hex() == case["lost_part"]
    assert companion.packages[1].encode()[-10:] == u64(1_800_000_001) + b"\x00\x01"
    state = decode_exactly(bytes.fromhex(case["new_emulator_client_state"]), NewEmulatorClientState.decode)
    suite = Suite(case["cipher_suite"])
    assert [len(suite.hash(b"")) == len(each.epoch_id) for each in companion.epochs] == [True] * 3
    assert len(take_over_epochs(state, companion, suite, SeededProvider())) == 4
