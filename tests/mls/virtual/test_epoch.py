"""draft-ietf-mls-virtual-clients §6.2: an emulation epoch's secrets, from a group's safe exporter and from the file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.codec import Reader, decode_exactly
from mls.components.logic import Components
from mls.components.numbers import ComponentId, Numbers
from mls.errors import CallerError, PeerError, PuncturedError
from mls.parameters import Parameters
from mls.persistent import PMap
from mls.registries import Epoch, Generation, LeafIndex
from mls.secrets import EpochBaseSecret, ExportedSecret, ReuseGuardSecret
from mls.suite import Suite
from mls.virtual.epoch import DerivationEpoch, derivation_epoch
from mls.virtual.operations import OperationTree, OperationType
from tests.mls.clients import party
from tests.mls.refusals import A, B, C
from tests.mls.virtual.ladder import Hash, Ladder
from tests.providers import SeededProvider
from tests.vector_files import load
from tests.vectors.own import virtual as own

CASES = load(own.PATH)
SECRETS = {
    "epoch_base_secret": b"Base Secret",
    "epoch_encryption_key": b"Encryption Key",
    "epoch_id": b"Epoch ID",
    "generation_id_secret": b"Generation ID Secret",
    "reuse_guard_secret": b"Reuse Guard",
}
PROVIDER = SeededProvider()


def read(data: bytes) -> DerivationEpoch:
    return decode_exactly(data, lambda reader: DerivationEpoch.decode(reader, PROVIDER))


def secrets_of(epoch: DerivationEpoch) -> list[bytes]:
    """But for the id, which everybody sees."""
    return [
        epoch.encryption_key.raw,
        epoch.generation_id.raw,
        epoch.reuse_guard.raw,
        *[secret for _, secret in epoch.operations.nodes.items()],
    ]


def small(own_leaf: int | None = 1, leaf_count: int = 2) -> DerivationEpoch:
    leaf = None if own_leaf is None else LeafIndex(own_leaf)
    return derivation_epoch(Suite(1), ExportedSecret(bytes(range(32))), Epoch(9), leaf_count, leaf)


def test_the_file_is_what_its_module_writes() -> None:
    assert own.generate() == CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"suite {case['cipher_suite']}")
def test_the_secrets_are_those_of_the_text(case: dict[str, Any]) -> None:
    source = bytes.fromhex(case["emulator_epoch_secret"])
    hash_ = Hash(case["cipher_suite"])
    for name, label in SECRETS.items():
        assert case[name] == hash_.derive(source, label).hex()
    suite = Suite(case["cipher_suite"])
    epoch = derivation_epoch(suite, ExportedSecret(source), Epoch(77), case["leaf_count"], LeafIndex(5))
    assert epoch.epoch_id.hex() == case["epoch_id"]
    assert [secret.hex() for secret in secrets_of(epoch)] == [
        case["epoch_encryption_key"],
        case["generation_id_secret"],
        case["reuse_guard_secret"],
        case["epoch_base_secret"],
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"suite {case['cipher_suite']}")
def test_the_operations_are_those_of_the_text(case: dict[str, Any]) -> None:
    base, epoch_id = bytes.fromhex(case["epoch_base_secret"]), bytes.fromhex(case["epoch_id"])
    ladder = Ladder(case["cipher_suite"], base, epoch_id, case["leaf_count"])
    _, epoch = own.epoch_of(case["cipher_suite"])
    for each in case["operations"]:
        leaf, kind, generation = each["leaf_index"], each["operation_type"], each["generation"]
        context = bytes.fromhex(each["operation_context"])
        assert each["operation_secret"] == ladder.secret(leaf, kind, generation, context).hex()
        operation, epoch = epoch.operation_at(LeafIndex(leaf), OperationType(kind), Generation(generation), context)
        assert operation.secret.raw.hex() == each["operation_secret"]
    stored = bytes.fromhex(case["stored"])
    assert epoch.encode() == stored
    again = read(stored)
    assert again.encode() == stored
    assert (again.epoch_id, again.number, again.leaf_count, again.own_leaf) == (epoch_id, 77, 8, 5)
    assert again.operations == epoch.operations


def test_all_members_have_one_and_each_its_leaf() -> None:
    ours = party(3)
    found = []
    for name in (A, B, C):
        group, epoch = DerivationEpoch.of(ours[name])
        found.append(epoch)
        assert epoch.own_leaf == ours[name].own_leaf
        assert (epoch.number, epoch.leaf_count, epoch.suite) == (group.epoch, 4, group.suite)
        with pytest.raises(PuncturedError):
            DerivationEpoch.of(group)
        with pytest.raises(PuncturedError):
            front.safe_export(group, 0x667A)
        assert DerivationEpoch.of(ours[name])[1].epoch_id == epoch.epoch_id  # the value before has it still
    assert len({epoch.epoch_id for epoch in found}) == 1
    assert secrets_of(found[0]) == secrets_of(found[1]) == secrets_of(found[2])
    operation, after = found[0].next_operation(OperationType.LEAF_NODE, b"conversation")
    assert operation.leaf == ours[A].own_leaf
    theirs, _ = found[2].operation_at(operation.leaf, operation.type, operation.generation, operation.context)
    assert theirs == operation
    assert after.next_operation(OperationType.LEAF_NODE, b"conversation")[0].generation == 1


def test_another_epoch_has_nothing_in_common() -> None:
    ours = party(2)
    _, before = DerivationEpoch.of(ours[A])
    ours.commit(A)
    _, after = DerivationEpoch.of(ours[A])
    assert after.number == before.number + 1
    assert not {before.epoch_id, *secrets_of(before)} & {after.epoch_id, *secrets_of(after)}


def test_the_component_s_number_is_a_setting() -> None:
    ours = party(2)
    numbers = Numbers(virtual_clients=ComponentId(0x0777))
    moved = replace(ours[A], parameters=Parameters(components=Components(numbers=numbers)))
    _, epoch = DerivationEpoch.of(moved)
    _, secret = front.safe_export(ours[A], 0x0777)
    assert epoch.epoch_id == moved.suite.derive_secret(secret.raw, b"Epoch ID")
    assert epoch.epoch_id != DerivationEpoch.of(ours[A])[1].epoch_id


def test_too_many_devices() -> None:
    ours = party(3)
    with pytest.raises(CallerError, match="too large"):
        DerivationEpoch.of(ours[A], max_leaves=2)
    assert DerivationEpoch.of(ours[A], max_leaves=4)[1].leaf_count == 4


def test_who_was_no_member_follows_and_does_not_lead() -> None:
    epoch = small(own_leaf=None)
    with pytest.raises(CallerError, match="no member"):
        epoch.next_operation(OperationType.KEY_PACKAGE)
    with pytest.raises(CallerError, match="begin an epoch"):
        _ = epoch.member_leaf
    made, _ = small().next_operation(OperationType.KEY_PACKAGE)
    followed, after = epoch.operation_at(made.leaf, made.type, made.generation, made.context)
    assert followed == made
    assert read(after.encode()).own_leaf is None


def test_the_bounds_are_those_asked_for() -> None:
    epoch = small()
    with pytest.raises(PeerError):
        epoch.operation_at(LeafIndex(0), OperationType.KEY_PACKAGE, Generation(4), max_forward=3)
    _, after = epoch.operation_at(LeafIndex(0), OperationType.KEY_PACKAGE, Generation(4), keep=1)
    assert list(after.operations.ratchets[1].skipped) == [3]


def test_damage_is_noticed() -> None:
    """Truncated, with an impossible part, or in a suite that is not there: never another epoch."""
    epoch = small()
    whole = epoch.encode()
    for end in range(len(whole)):
        with pytest.raises(CallerError):
            DerivationEpoch.decode(Reader(whole[:end]), PROVIDER)
    unfit = [
        replace(epoch, leaf_count=3),
        replace(epoch, leaf_count=0),
        replace(epoch, leaf_count=4),
        replace(epoch, own_leaf=LeafIndex(2)),
        replace(epoch, epoch_id=b"short"),
        replace(epoch, reuse_guard=ReuseGuardSecret(b"")),
        replace(epoch, operations=OperationTree(2, PMap(), PMap())),
        replace(epoch, operations=OperationTree.of(EpochBaseSecret(bytes(48)), 2)),
    ]
    for bad in unfit:
        with pytest.raises(CallerError, match="damaged"):
            read(bad.encode())
    with pytest.raises(CallerError, match="lacks"):
        read(b"\x0b\xad" + whole[2:])
    assert read(whole).encode() == whole


def test_repr_shows_no_secret() -> None:
    _, epoch = small().operation_at(LeafIndex(0), OperationType.APPLICATION, Generation(3))
    shown = repr(epoch)
    held = [*secrets_of(epoch), *[epoch.operations.ratchets[key].secret for key in epoch.operations.ratchets]]
    for secret in held:
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
