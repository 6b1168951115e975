"""draft-ietf-mls-virtual-clients §5.1: NewEmulatorClientState and its parts, there and back, and what is no such thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given, strategies as st

from mls.codec import Reader, decode_exactly, opaque, u8, u16, u32, u64, vector
from mls.errors import CallerError, PeerError
from mls.leaf_node import Extension
from mls.persistent import PMap
from mls.registries import Epoch, Generation, GroupId, KeyPackageRef, LeafIndex
from mls.secret_tree import APPLICATION, HANDSHAKE, Ratchet, SecretTree
from mls.secrets import (
    EncryptionSecret,
    EpochBaseSecret,
    EpochEncryptionKey,
    GenerationIdSecret,
    HpkePrivateKey,
    KeyPackageSeed,
    OperationSecret,
    ReuseGuardSecret,
    SignaturePrivateKey,
)
from mls.suite import Suite
from mls.virtual.guard import MAX_LEAVES
from mls.virtual.operations import Operation, OperationRatchet, OperationTree, OperationType
from mls.virtual.secret_state import (
    RatchetType,
    SecretTreeNodeState,
    SecretTreeRatchetState,
    SecretTreeState,
    Skipped,
    several,
    skipped_messages,
    skipped_operations,
    with_skipped_messages,
    with_skipped_operations,
)
from mls.virtual.transfer import (
    MAX_ENTRIES,
    MAX_PATH,
    SECRETS,
    ExternalGroup,
    KeyPackageDerivationInfo,
    NewEmulatorClientState,
    RetainedKeyPackageMaterial,
    RetainedVcEpoch,
    SigningKey,
    TransferredGroup,
    decode_group_state,
    decode_operation,
    decode_signing_keys,
    encode_operation,
    encode_signing_keys,
)
from tests.mls.refusals import refused
from tests.mls.test_vectors import load
from tests.validation import breaks
from tests.vectors.own import transfer as own

T = TypeVar("T")

SUITE = Suite(1)
CASES = load(own.PATH)
HASH = st.sampled_from([32, 48, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size))
SHORT = st.binary(max_size=70)
WORD = st.integers(0, 0xFFFF_FFFF)
SUITES = st.integers(0, 0xFFFF)
EXTENSIONS = st.lists(
    st.builds(Extension, st.integers(7, 0xFFFF), SHORT), max_size=3, unique_by=lambda extension: extension.type
).map(tuple)


@st.composite
def heads(draw: st.DrawFn) -> SecretTreeRatchetState:
    kind = draw(st.sampled_from(RatchetType))
    return SecretTreeRatchetState(
        leaf=LeafIndex(draw(WORD)),
        type=kind,
        operation=draw(st.sampled_from(OperationType)) if kind is RatchetType.OPERATION else None,
        generation=Generation(draw(WORD)),
        secret=draw(SHORT),
    )


tree_states = st.builds(
    SecretTreeState,
    st.lists(st.builds(SecretTreeNodeState, WORD, SHORT), max_size=4).map(tuple),
    st.lists(heads(), max_size=4).map(tuple),
)
operations = st.builds(
    Operation,
    epoch_id=SHORT,
    leaf=WORD.map(LeafIndex),
    generation=WORD.map(Generation),
    type=st.sampled_from(OperationType),
    context=SHORT,
    secret=HASH.map(OperationSecret),
)
packages = st.builds(
    KeyPackageDerivationInfo,
    reference=SHORT.map(KeyPackageRef),
    cipher_suite=SUITES,
    epoch_id=SHORT,
    leaf=WORD.map(LeafIndex),
    generation=WORD.map(Generation),
    index=WORD,
    extensions=EXTENSIONS,
)
materials = st.builds(
    RetainedKeyPackageMaterial,
    cipher_suite=SUITES,
    epoch_id=SHORT,
    leaf=WORD.map(LeafIndex),
    generation=WORD.map(Generation),
    index=WORD,
    seed=HASH.map(KeyPackageSeed),
)
epochs = st.builds(
    RetainedVcEpoch,
    number=st.integers(0, 2**64 - 1).map(Epoch),
    epoch_id=SHORT,
    operations=tree_states,
    encryption_key=SHORT.map(EpochEncryptionKey),
    generation_id=SHORT.map(GenerationIdSecret),
    reuse_guard=SHORT.map(ReuseGuardSecret),
    leaf_count=st.sampled_from([1, 2, 64, MAX_LEAVES]),
)
transferred = st.builds(
    TransferredGroup,
    group_id=SHORT.map(GroupId),
    **{name: SHORT.map(kind) for name, kind in SECRETS},
    authenticator=SHORT,
    secret_tree=tree_states,
    exporter_tree=SHORT.map(opaque),
    path_keys=st.lists(SHORT.map(HpkePrivateKey), max_size=4).map(tuple),
)
groups = transferred | SHORT.map(GroupId).map(ExternalGroup)
signing_keys = st.builds(
    SigningKey, cipher_suite=SUITES, public=SHORT, private=SHORT.map(SignaturePrivateKey), used=st.booleans()
)


def unique(strategy: st.SearchStrategy[T], name: Callable[[T], Any]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(strategy, max_size=3, unique_by=name).map(tuple)


states = st.builds(
    NewEmulatorClientState,
    signing_keys=unique(signing_keys, lambda key: key.public),
    key_packages=unique(packages, lambda package: package.reference),
    key_package_material=unique(materials, lambda material: material.name),
    operations=unique(operations, lambda each: (each.epoch_id, each.type, each.leaf, each.generation, each.context)),
    epochs=st.lists(epochs, max_size=3, unique_by=(lambda epoch: epoch.number, lambda epoch: epoch.epoch_id)).map(
        lambda found: tuple(sorted(found, key=lambda epoch: epoch.number))
    ),
    groups=unique(groups, lambda group: group.group_id),
)


# There and back


@given(value=tree_states)
def test_secret_tree_states(value: SecretTreeState) -> None:
    assert decode_exactly(value.encode(), SecretTreeState.decode) == value


@given(value=operations)
def test_operations(value: Operation) -> None:
    assert decode_exactly(encode_operation(value), decode_operation) == value


@given(value=packages)
def test_key_packages(value: KeyPackageDerivationInfo) -> None:
    assert decode_exactly(value.encode(), KeyPackageDerivationInfo.decode) == value


@given(value=materials)
def test_key_package_material(value: RetainedKeyPackageMaterial) -> None:
    assert decode_exactly(value.encode(), RetainedKeyPackageMaterial.decode) == value


@given(value=epochs)
def test_epochs(value: RetainedVcEpoch) -> None:
    assert decode_exactly(value.encode(), RetainedVcEpoch.decode) == value


@given(value=groups)
def test_groups(value: TransferredGroup | ExternalGroup) -> None:
    assert decode_exactly(value.encode(), decode_group_state) == value


@given(keys=unique(signing_keys, lambda key: key.public))
def test_signing_keys(keys: tuple[SigningKey, ...]) -> None:
    assert decode_signing_keys(encode_signing_keys(keys)) == keys


def test_no_signing_keys_are_no_bytes() -> None:
    assert encode_signing_keys(()) == b""
    with pytest.raises(PeerError, match="left over"):
        decode_signing_keys(u16(1) + vector([]) + b"\x00")


@pytest.mark.slow
@given(value=states)
def test_whole_states(value: NewEmulatorClientState) -> None:
    data = value.encode()
    again = decode_exactly(data, NewEmulatorClientState.decode)
    assert again == value
    assert again.encode() == data


@pytest.mark.slow
@given(data=st.data())
def test_hostile_bytes(data: st.DataObject) -> None:
    """A `PeerError` or a value that is written as it was read; never anything else."""
    raw = bytearray(data.draw(st.sampled_from([bytes.fromhex(CASES[0]["new_emulator_client_state"]), b"\x00" * 6])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for damaged in (bytes(raw), bytes(raw[:cut]), bytes(raw) + b"\x00"):
        try:
            state = decode_exactly(damaged, NewEmulatorClientState.decode)
        except PeerError:
            continue
        assert state.encode() == damaged


def test_nothing_secret_is_shown() -> None:
    state = decode_exactly(bytes.fromhex(CASES[0]["new_emulator_client_state"]), NewEmulatorClientState.decode)
    shown = repr(state)
    group = CASES[0]["state_transfer"]
    secrets = [value for name, value in group.items() if name.endswith(("_secret", "_key", "_psk"))]
    secrets += [each["next_secret"] for each in group["secret_tree"]["ratchet_states"]]
    secrets += [each["node_secret"] for each in group["secret_tree"]["node_secrets"]]
    secrets += [CASES[0]["retained_operation_secret"]["operation_secret"], *group["direct_path_private_keys"]]
    secrets.append(CASES[0]["retained_key_package_material"]["key_package_seed_secret"])
    for secret in secrets:
        assert repr(bytes.fromhex(secret))[2:-1] not in shown


# Trees of secrets


def messages(leaf_count: int, sent: list[tuple[int, int, int]]) -> SecretTree:
    tree = SecretTree.of(EncryptionSecret(bytes(range(32))), leaf_count)
    for leaf, kind, generation in sent:
        if generation < 0:
            tree, _ = tree.next_key(SUITE, LeafIndex(leaf % leaf_count), kind)
            continue
        try:
            tree, _ = tree.key_at(SUITE, LeafIndex(leaf % leaf_count), kind, generation, max_forward=10, out_of_order=4)
        except (PeerError, Exception):  # noqa: BLE001, S112 - used before, which is no history of interest
            continue
    return tree
