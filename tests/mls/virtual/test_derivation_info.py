"""draft-ietf-mls-virtual-clients §6.3: what a leaf tells its siblings, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, strategies as st

from mls.codec import decode_exactly
from mls.components.dictionary import Dictionary, dictionary_of
from mls.components.numbers import APP_COMPONENTS, VIRTUAL_CLIENTS, ComponentId, Numbers
from mls.errors import CallerError, PeerError, ReplayError
from mls.leaf_node import Extension
from mls.registries import ExtensionType, Generation, LeafIndex, LeafNodeSource
from mls.secrets import EpochEncryptionKey, InitSecret
from mls.suite import Suite
from mls.virtual import derive
from mls.virtual.derivation_info import (
    CommitDerivation,
    Derivation,
    DerivationInfo,
    KeyPackageDerivation,
    UpdateDerivation,
    derivation_info_of,
    external_init_of,
    open_sealed,
    seal,
    with_derivation_info,
)
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.operations import OperationType
from tests.mls.refusals import refused
from tests.mls.strategies import Mutation, mutated, mutations
from tests.mls.virtual.ladder import Hash, number, var
from tests.validation import breaks
from tests.vector_files import load
from tests.vectors.own import virtual as own

CASES = load(own.PATH)
INFOS = [(case, each) for case in CASES for each in case["derivation_infos"]]
_, EPOCH = own.epoch_of(1)
KEY = bytes(range(32))
NUMBERS = Numbers()
SUITE = Suite(1)
INIT = InitSecret(b"\x77" * 32)
LEAF, GENERATION = LeafIndex(5), Generation(7)
ALL: tuple[Derivation, ...] = (
    KeyPackageDerivation(LEAF, GENERATION, 3),
    UpdateDerivation(LEAF, GENERATION),
    CommitDerivation(LEAF, GENERATION),
    CommitDerivation(LEAF, GENERATION, INIT),
)
u32s = st.integers(0, 2**32 - 1)
derivations = st.one_of(
    st.builds(KeyPackageDerivation, u32s, u32s, u32s),
    st.builds(UpdateDerivation, u32s, u32s),
    st.builds(CommitDerivation, u32s, u32s, st.none() | st.builds(InitSecret, st.binary(max_size=70))),
)


def opened(epoch: DerivationEpoch, info: DerivationInfo, source: int, key: bytes = KEY) -> Derivation:
    return open_sealed(epoch, info, own.leaf_of(1, source, key))


def by_hand(plain: bytes, key: bytes = KEY, epoch: DerivationEpoch = EPOCH) -> DerivationInfo:
    """Sealed by the letter, whatever it is; in suite 1."""
    expand, secret = Hash(1).expand, epoch.encryption_key.raw
    aead = AESGCM(expand(secret, b"key", var(key), 16))
    return DerivationInfo(epoch.epoch_id, aead.encrypt(expand(secret, b"nonce", var(key), 12), plain, epoch.epoch_id))


@pytest.mark.parametrize(
    ("case", "each"),
    INFOS,
    ids=lambda value: str(value["cipher_suite"] if "operations" in value else value["leaf_node_source"]),
)
def test_known_answers(case: dict[str, Any], each: dict[str, Any]) -> None:
    _, epoch = own.epoch_of(case["cipher_suite"])
    source, key = each["leaf_node_source"], bytes.fromhex(each["encryption_key"])
    info = decode_exactly(bytes.fromhex(each["derivation_info"]), DerivationInfo.decode)
    assert info.epoch_id.hex() == case["epoch_id"]
    about = opened(epoch, info, source, key)
    assert about.source == source
    assert about.encode().hex() == each["derivation_info_tbe"]
    assert seal(epoch, key, about) == info
    if case["cipher_suite"] == 1:
        assert by_hand(about.encode(), key, epoch) == info


def test_the_text_s_bytes() -> None:
    place = number(5, 4) + number(7, 4)
    assert [about.encode() for about in ALL] == [
        place + number(3, 4),
        place,
        place + b"\x00",
        place + b"\x01" + var(INIT.raw),
    ]
    assert [about.type for about in ALL] == [
        OperationType.KEY_PACKAGE,
        OperationType.LEAF_NODE,
        OperationType.LEAF_NODE,
        OperationType.LEAF_NODE,
    ]


@given(about=derivations, key=st.binary(max_size=80))
def test_what_is_sealed_is_opened(about: Derivation, key: bytes) -> None:
    info = seal(EPOCH, key, about)
    assert decode_exactly(info.encode(), DerivationInfo.decode) == info
    assert opened(EPOCH, info, about.source, key) == about
    assert seal(EPOCH, key, about) == info


@breaks("VC-6.3-1")
def test_another_key_epoch_id_or_ciphertext_does_not_open() -> None:
    _, other = own.epoch_of(7)
    for about in ALL:
        info = seal(EPOCH, KEY, about)
        flipped = bytes([info.ciphertext[0] ^ 1]) + info.ciphertext[1:]
        bad = [
            (EPOCH, info, KEY[::-1]),  # copied to a leaf with a key of its own
            (EPOCH, info, KEY + b"\x00"),
            (EPOCH, replace(info, ciphertext=flipped), KEY),
            (EPOCH, replace(info, ciphertext=info.ciphertext[:-1]), KEY),
            (EPOCH, replace(info, ciphertext=b""), KEY),
            (replace(EPOCH, encryption_key=EpochEncryptionKey(bytes(32))), info, KEY),
            (replace(EPOCH, epoch_id=b"other"), replace(info, epoch_id=b"other"), KEY),  # the id is authenticated
            (other, replace(info, epoch_id=other.epoch_id), KEY),
        ]
        for epoch, changed, key in bad:
            refused("VC-6.3-1", partial(opened, epoch, changed, about.source, key))
        assert opened(EPOCH, info, about.source) == about


def test_a_leaf_copied_into_another_group_shows_and_takes_nothing() -> None:
    """Key and info of a leaf in one group, in somebody's leaf in another: they open, and the keys are not those."""
    operation, ours = EPOCH.next_operation(OperationType.LEAF_NODE, b"group A")
    key = derive.leaf_key(SUITE, derive.target_operation_secret(SUITE, operation.secret, b"group A"))[1]
    about = CommitDerivation(operation.leaf, operation.generation)
    info = seal(ours, key, about)

    def followed(group_id: bytes) -> tuple[bytes, DerivationEpoch]:
        found = opened(EPOCH, info, LeafNodeSource.COMMIT, key)
        assert found == about
        there, after = EPOCH.operation_at(found.leaf, found.type, found.generation, group_id)
        return derive.leaf_key(SUITE, derive.target_operation_secret(SUITE, there.secret, group_id))[1], after

    assert followed(b"group B")[0] != key  # so what follows that derivation is not stored,
    right, after = followed(b"group A")  # and the leaf's own group is followed from the value before
    assert right == key
    with pytest.raises(ReplayError):
        after.operation_at(about.leaf, about.type, about.generation, b"group A")


def test_the_wrong_epoch_is_the_caller_s_mistake() -> None:
    _, other = own.epoch_of(7)
    with pytest.raises(CallerError, match="another emulation epoch"):
        opened(other, seal(EPOCH, KEY, ALL[0]), ALL[0].source)


def test_each_source_has_its_own_form() -> None:
    """What was sealed for a leaf of one source is not taken for that of another, even where the key fits."""
    for about in ALL:
        info = seal(EPOCH, KEY, about)
        for source in LeafNodeSource:
            if source != about.source:
                with pytest.raises(PeerError, match=r"VAL-2\.1-"):
                    opened(EPOCH, info, source)


@pytest.mark.parametrize(
    ("source", "plain", "rule"),
    [
        (1, b"", "VAL-2.1-1"),
        (1, bytes(11), "VAL-2.1-1"),
        (1, bytes(13), "VAL-2.1-5"),
        (2, bytes(7), "VAL-2.1-1"),
        (2, bytes(9), "VAL-2.1-5"),
        (3, bytes(8), "VAL-2.1-1"),
        (3, bytes(8) + b"\x02", "VAL-2.1-4"),
        (3, bytes(8) + b"\x01\x02a", "VAL-2.1-1"),
        (3, bytes(9) + b"\x00", "VAL-2.1-5"),
        (3, bytes(8) + b"\x01\x40\x01a", "VAL-2.1-2"),
    ],
)
def test_sealed_nonsense(source: int, plain: bytes, rule: str) -> None:
    """A sibling may be broken too."""
    refused(rule, lambda: opened(EPOCH, by_hand(plain), source))


@pytest.mark.slow
@given(info=st.builds(DerivationInfo, st.binary(max_size=70), st.binary(max_size=90)), changes=st.lists(mutations))
def test_hostile_bytes_are_refused_or_read_whole(info: DerivationInfo, changes: list[Mutation]) -> None:
    data = mutated(info.encode(), changes)
    try:
        again = decode_exactly(data, DerivationInfo.decode)
    except PeerError:
        return
    assert again.encode() == data


@given(plain=st.binary(max_size=60), source=st.sampled_from(LeafNodeSource))
def test_hostile_plaintext_is_refused_or_read_whole(plain: bytes, source: LeafNodeSource) -> None:
    try:
        about = opened(EPOCH, by_hand(plain), source)
    except PeerError:
        return
    assert about.encode() == plain


# The init secret of an external commit

PLAIN, EXTERNAL = CommitDerivation(LEAF, GENERATION), CommitDerivation(LEAF, GENERATION, INIT)


def test_an_external_commit_and_no_other_carries_its_init_secret() -> None:
    assert external_init_of(PLAIN, SUITE, external=False) is None
    assert external_init_of(EXTERNAL, SUITE, external=True) == INIT


@breaks("VC-6.3-2")
def test_an_init_secret_in_an_ordinary_commit() -> None:
    refused("VC-6.3-2", lambda: external_init_of(EXTERNAL, SUITE, external=False))


@breaks("VC-6.3-3")
def test_an_external_commit_without_its_init_secret() -> None:
    refused("VC-6.3-3", lambda: external_init_of(PLAIN, SUITE, external=True))


@breaks("VC-6.3-4")
def test_an_init_secret_of_another_size() -> None:
    for raw in (b"", INIT.raw[:-1], INIT.raw + b"\x00"):
        about = CommitDerivation(LEAF, GENERATION, InitSecret(raw))
        refused("VC-6.3-4", partial(external_init_of, about, SUITE, external=True))
    refused("VC-6.3-4", lambda: external_init_of(EXTERNAL, Suite(7), external=True))  # the target's size counts


# In a leaf

SOMETHING = Extension(ExtensionType.APPLICATION_ID, b"virtual")


def test_a_leaf_has_it_beside_whatever_else_it_says() -> None:
    info = seal(EPOCH, KEY, ALL[0])
    listed = Extension(ExtensionType.APP_DATA_DICTIONARY, Dictionary.of({APP_COMPONENTS: b"\x02\x66\x7a"}).encode())
    for extensions in ((), (SOMETHING,), (listed, SOMETHING)):
        assert derivation_info_of(extensions, NUMBERS) is None
        after = with_derivation_info(extensions, NUMBERS, info)
        assert derivation_info_of(after, NUMBERS) == info
        assert [each for each in after if each.type != ExtensionType.APP_DATA_DICTIONARY] == [
            each for each in extensions if each.type != ExtensionType.APP_DATA_DICTIONARY
        ]
        assert dictionary_of(after).without(VIRTUAL_CLIENTS) == dictionary_of(extensions)
        newer = seal(EPOCH, KEY, ALL[1])
        assert derivation_info_of(with_derivation_info(after, NUMBERS, newer), NUMBERS) == newer
        assert derivation_info_of(after, Numbers(virtual_clients=ComponentId(0x0777))) is None


@pytest.mark.parametrize(("data", "rule"), [(b"", "VAL-2.1-1"), (b"\x00", "VAL-2.1-1"), (b"\x00\x00\x00", "VAL-2.1-5")])
def test_a_leaf_with_something_else_under_the_number(data: bytes, rule: str) -> None:
    extension = Extension(ExtensionType.APP_DATA_DICTIONARY, Dictionary.of({VIRTUAL_CLIENTS: data}).encode())
    refused(rule, lambda: derivation_info_of((extension,), NUMBERS))


def test_repr_shows_no_secret() -> None:
    shown = repr(EXTERNAL) + repr(seal(EPOCH, KEY, EXTERNAL))
    assert repr(INIT.raw)[2:-1] not in shown
    assert INIT.raw.hex() not in shown
