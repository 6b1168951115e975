"""draft-ietf-mls-virtual-clients §5.1: NewEmulatorClientState and its parts, there and back, and what is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given, strategies as st

from mls.codec import Reader, decode_exactly, opaque, u8, u16, u32, u64, vector
from mls.errors import CallerError, PeerError
from mls.leaf_node import Extension
from mls.registries import Epoch, Generation, GroupId, KeyPackageRef, LeafIndex
from mls.secrets import (
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
from mls.virtual.operations import Operation, OperationType
from mls.virtual.secret_state import (
    RatchetType,
    SecretTreeNodeState,
    SecretTreeRatchetState,
    SecretTreeState,
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
from tests.validation import breaks
from tests.vector_files import load
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


# What is refused


def refuses(rule: str, decode: Callable[[Reader], Any], bad: bytes, good: bytes) -> None:
    refused(rule, lambda: decode_exactly(bad, decode))
    decode_exactly(good, decode)


@breaks("VC-5.1-1")
@pytest.mark.parametrize("kind", [0, 4, 255])
def test_an_unknown_type_of_operation(kind: int) -> None:
    def operation(value: int) -> bytes:
        return opaque(b"id") + u8(value) + u32(1) + u32(2) + opaque(b"") + opaque(bytes(32))

    refuses("VC-5.1-1", decode_operation, operation(kind), operation(2))

    def ratchet(value: int) -> bytes:
        return u32(0) + u8(RatchetType.OPERATION) + u8(value) + u32(0) + opaque(bytes(32))

    refuses("VC-5.1-1", SecretTreeRatchetState.decode, ratchet(kind), ratchet(3))


@breaks("VC-5.1-1")
@pytest.mark.parametrize("kind", [0, 4, 255])
def test_an_unknown_type_of_ratchet(kind: int) -> None:
    good, bad = (u32(0) + u8(value) + u32(0) + opaque(bytes(32)) for value in (1, kind))
    refuses("VC-5.1-1", SecretTreeRatchetState.decode, bad, good)


@breaks("VC-5.1-1")
@pytest.mark.parametrize("kind", [0, 3, 255])
def test_an_unknown_way_to_hand_over_a_group(kind: int) -> None:
    good, bad = (opaque(b"group") + u8(value) for value in (2, kind))
    refuses("VC-5.1-1", decode_group_state, bad, good)


@breaks("VC-5.1-1")
@pytest.mark.parametrize("used", [2, 255])
def test_a_signature_key_that_is_neither_used_nor_not(used: int) -> None:
    good, bad = (u16(1) + opaque(b"public") + opaque(b"private") + u8(value) for value in (1, used))
    refuses("VC-5.1-1", SigningKey.decode, bad, good)


def state_of(**parts: bytes) -> bytes:
    names = ("keys", "packages", "material", "operations", "epochs", "groups")
    return b"".join([opaque(parts.get(name, b"")) for name in names])


def refuses_state(rule: str, name: str, bad: bytes, good: bytes) -> None:
    refuses(rule, NewEmulatorClientState.decode, state_of(**{name: bad}), state_of(**{name: good}))


@breaks("VC-5.1-2")
def test_too_many_conversations() -> None:
    entries = [ExternalGroup(GroupId(u32(number))).encode() for number in range(MAX_ENTRIES + 1)]
    refuses_state("VC-5.1-2", "groups", b"".join(entries), b"".join(entries[1:]))


@breaks("VC-5.1-2")
def test_too_many_keys_above_a_leaf() -> None:
    group = decode_exactly(bytes.fromhex(CASES[0]["state_transfer"]["encoded"]), decode_group_state)
    assert isinstance(group, TransferredGroup)
    good, bad = (replace(group, path_keys=(HpkePrivateKey(b""),) * n).encode() for n in (MAX_PATH, MAX_PATH + 1))
    refuses("VC-5.1-2", decode_group_state, bad, good)


def some_epoch(number: int, *, epoch_id: bytes = b"", leaf_count: int = 4) -> RetainedVcEpoch:
    return RetainedVcEpoch(
        number=Epoch(number),
        epoch_id=epoch_id or b"epoch %d" % number,
        operations=SecretTreeState(),
        encryption_key=EpochEncryptionKey(bytes(32)),
        generation_id=GenerationIdSecret(bytes(32)),
        reuse_guard=ReuseGuardSecret(bytes(32)),
        leaf_count=leaf_count,
    )


def twice(name: str) -> tuple[bytes, bytes]:
    """An entry twice, which is otherwise fine, and the same with two different ones."""
    place: dict[str, Any] = {"epoch_id": b"id", "leaf": LeafIndex(1), "generation": Generation(2)}
    key = SigningKey(cipher_suite=1, public=b"public", private=SignaturePrivateKey(b"private"), used=True)
    package = KeyPackageDerivationInfo(reference=KeyPackageRef(b"reference"), cipher_suite=1, index=0, **place)
    material = RetainedKeyPackageMaterial(cipher_suite=1, index=0, seed=KeyPackageSeed(bytes(32)), **place)
    operation = Operation(type=OperationType.LEAF_NODE, context=b"", secret=OperationSecret(bytes(32)), **place)
    made: dict[str, list[bytes]] = {
        "packages": [package.encode(), replace(package, reference=KeyPackageRef(b"other")).encode()],
        "material": [material.encode(), replace(material, index=1).encode()],
        "operations": [encode_operation(operation), encode_operation(replace(operation, context=b"other"))],
        "epochs": [some_epoch(1, epoch_id=b"id").encode(), some_epoch(2, epoch_id=b"id").encode()],
        "groups": [ExternalGroup(GroupId(b"one")).encode(), ExternalGroup(GroupId(b"two")).encode()],
    }
    if name == "keys":
        first, second = key.encode(), replace(key, public=b"other").encode()
        return u16(1) + vector([first, first]), u16(1) + vector([first, second])
    first, second = made[name]
    if name == "epochs":
        return first + second, first + some_epoch(2).encode()
    return first + first, first + second


@breaks("VC-5.1-3")
@pytest.mark.parametrize("name", ["keys", "packages", "material", "operations", "epochs", "groups"])
def test_one_thing_twice(name: str) -> None:
    refuses_state("VC-5.1-3", name, *twice(name))


@breaks("VC-5.1-4")
@pytest.mark.parametrize("numbers", [(2, 1), (1, 1), (1, 3, 2)])
def test_emulation_epochs_out_of_order(numbers: tuple[int, ...]) -> None:
    entries = [some_epoch(number, epoch_id=b"%d" % at).encode() for at, number in enumerate(numbers)]
    good = [some_epoch(number).encode() for number in range(1, len(numbers) + 1)]
    refuses_state("VC-5.1-4", "epochs", b"".join(entries), b"".join(good))


@breaks("VC-5.1-7")
@pytest.mark.parametrize("size", [0, 31, 33, 65])
def test_secrets_that_no_hash_gives(size: int) -> None:
    def operation(secret: bytes) -> bytes:
        return opaque(b"id") + u8(2) + u32(1) + u32(2) + opaque(b"") + opaque(secret)

    def material(secret: bytes) -> bytes:
        return u16(1) + opaque(b"id") + u32(1) + u32(2) + u32(3) + opaque(secret)

    refuses("VC-5.1-7", decode_operation, operation(bytes(size)), operation(bytes(48)))
    refuses("VC-5.1-7", RetainedKeyPackageMaterial.decode, material(bytes(size)), material(bytes(64)))


@breaks("VC-5.1-7")
@pytest.mark.parametrize("name", ["epoch_id", "encryption_key", "generation_id", "reuse_guard"])
def test_secrets_of_an_epoch_of_another_hash(name: str) -> None:
    good = decode_exactly(bytes.fromhex(CASES[0]["retained_vc_epoch"]["encoded"]), RetainedVcEpoch.decode)
    value: Any = bytes(48) if name == "epoch_id" else type(getattr(good, name))(bytes(48))
    changes: dict[str, Any] = {name: value}
    refused("VC-5.1-7", lambda: replace(good, **changes).derivation_epoch(SUITE))
    good.derivation_epoch(SUITE)


@breaks("VC-5.1-9")
@pytest.mark.parametrize("leaf_count", [0, 3, 2 * MAX_LEAVES, 2**64 - 1])
def test_an_emulation_epoch_of_no_size(leaf_count: int) -> None:
    good, bad = (some_epoch(1, leaf_count=count).encode() for count in (MAX_LEAVES, leaf_count))
    refuses("VC-5.1-9", RetainedVcEpoch.decode, bad, good)
    assert bad[-8:] == u64(leaf_count)


@breaks("VC-5.1-10")
@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
def test_signature_keys_in_another_form(version: int) -> None:
    refuses_state("VC-5.1-10", "keys", u16(version) + vector([]), u16(1) + vector([]))


def test_nothing_is_written_that_nobody_would_read() -> None:
    with pytest.raises(CallerError, match=r"VC-5\.1-4"):
        NewEmulatorClientState(epochs=(some_epoch(2), some_epoch(1))).encode()
    with pytest.raises(CallerError, match=r"VC-5\.1-3"):
        NewEmulatorClientState(groups=(ExternalGroup(GroupId(b"x")),) * 2).encode()
    with pytest.raises(CallerError, match="a ratchet of operations"):
        SecretTreeRatchetState(
            leaf=LeafIndex(0), type=RatchetType.HANDSHAKE, operation=OperationType.LEAF_NODE,
            generation=Generation(0), secret=b"",
        )  # fmt: skip


# Known answers


def test_the_file_is_what_the_code_gives() -> None:
    assert own.generate() == CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"suite {case['cipher_suite']}")
def test_known_answers(case: dict[str, Any]) -> None:
    """Every struct that is there alone is in the whole state too, and a past epoch goes on where it stood."""
    raw = bytes.fromhex(case["new_emulator_client_state"])
    state = decode_exactly(raw, NewEmulatorClientState.decode)
    assert state.key_packages[1].encode().hex() == case["key_package_derivation_info"]["encoded"]
    assert state.key_package_material[1].encode().hex() == case["retained_key_package_material"]["encoded"]
    assert encode_operation(state.operations[0]).hex() == case["retained_operation_secret"]["encoded"]
    assert state.epochs[1].encode().hex() == case["retained_vc_epoch"]["encoded"]
    assert [group.encode().hex() for group in state.groups] == [
        case["state_transfer"]["encoded"],
        case["external_commit"],
    ]
    epoch = state.epochs[1].derivation_epoch(Suite(case["cipher_suite"]))
    assert epoch.own_leaf is None
    for each in case["retained_vc_epoch"]["following"]:
        found, epoch = epoch.operation_at(
            LeafIndex(each["leaf_index"]),
            OperationType(each["operation_type"]),
            Generation(each["generation"]),
            bytes.fromhex(each["operation_context"]),
        )
        assert found.secret.raw.hex() == each["operation_secret"]
