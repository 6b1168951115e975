"""draft-ietf-mls-virtual-clients §6.4: what devices announce to each other: their forms, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls.codec import Reader, decode_exactly, opaque, u16, u32, vector
from mls.components import aad
from mls.components.numbers import VIRTUAL_CLIENTS
from mls.errors import CallerError, PeerError
from mls.leaf_node import Extension
from mls.registries import Generation, KeyPackageRef, LeafIndex
from mls.virtual.actions import (
    MAX_ACTIONS,
    MAX_KEY_PACKAGES,
    Action,
    CommitData,
    Form,
    KeyPackageInfo,
    KeyPackageUpload,
    NewDerivationEpoch,
    decode_action,
    encode_action,
)
from tests.mls.refusals import refused
from tests.mls.strategies import Mutation, mutated, mutations
from tests.validation import breaks
from tests.vector_files import load
from tests.vectors.own import virtual as own

CASES = load(own.PATH)
FORMS = tuple(Form)
MARK = NewDerivationEpoch()
u32s = st.integers(0, 2**32 - 1)
extensions = st.lists(
    st.builds(Extension, st.integers(0, 0xFFFF), st.binary(max_size=9)), max_size=3, unique_by=lambda e: e.type
)
infos = st.builds(
    KeyPackageInfo,
    reference=st.binary(max_size=70).map(KeyPackageRef),
    cipher_suite=st.integers(0, 0xFFFF),
    index=u32s,
    extensions=extensions.map(tuple),
)
uploads = st.builds(
    KeyPackageUpload,
    epoch_id=st.binary(max_size=70),
    leaf=u32s,
    generation=u32s,
    key_packages=st.lists(infos, max_size=5, unique_by=(lambda i: i.index, lambda i: i.reference)).map(tuple),
)
datas = st.builds(
    lambda actions, mark: CommitData((*actions, *mark)),
    st.lists(uploads, max_size=3),
    st.sampled_from([(), (MARK,)]),
)


def info(index: int = 0, reference: bytes = b"reference", cipher_suite: int = 1) -> KeyPackageInfo:
    return KeyPackageInfo(reference=KeyPackageRef(reference), cipher_suite=cipher_suite, index=index)


def upload(*key_packages: KeyPackageInfo) -> KeyPackageUpload:
    return KeyPackageUpload(
        epoch_id=b"epoch", leaf=LeafIndex(1), generation=Generation(2), key_packages=tuple(key_packages)
    )


def raw_upload(*key_packages: KeyPackageInfo) -> bytes:
    """An upload that no honest device would send."""
    return opaque(b"epoch") + u32(1) + u32(2) + vector([each.encode() for each in key_packages])


def read_upload(data: bytes, form: Form = Form.DRAFT) -> KeyPackageUpload:
    return decode_exactly(data, lambda reader: KeyPackageUpload.decode(reader, form))


def read_data(data: bytes, form: Form = Form.DRAFT) -> CommitData:
    return decode_exactly(data, lambda reader: CommitData.decode(reader, form))


def bare(value: KeyPackageUpload) -> KeyPackageUpload:
    return own.upload_without_extensions(value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"suite {case['cipher_suite']}")
def test_known_answers(case: dict[str, Any]) -> None:
    known = {name: bytes.fromhex(data) for name, data in case["actions"].items()}
    _, epoch = own.epoch_of(case["cipher_suite"])
    ours = own.upload_of(epoch)
    assert read_upload(known["key_package_upload"]) == ours
    assert read_upload(known["key_package_upload_without_extensions"], Form.WITHOUT_EXTENSIONS) == bare(ours)
    assert decode_exactly(known["virtual_client_action"], decode_action) == ours
    data = read_data(known["virtual_client_commit_data"])
    assert data == CommitData((ours, MARK))
    assert (data.uploads, data.new_derivation_epoch) == ((ours,), True)
    assert known["new_derivation_epoch"] == b"\x01\x02"
    assert read_data(b"\x01\x02") == CommitData((MARK,))


def test_the_text_s_bytes() -> None:
    last_resort = Extension(6, b"\x03\x00\x04\x00")
    one = replace(info(7, b"ref", 0xF001), extensions=(last_resort,))
    fixed = b"\x03ref" + u16(0xF001) + u32(7)
    assert one.encode() == fixed + b"\x07" + u16(6) + b"\x04\x03\x00\x04\x00"
    assert replace(one, extensions=()).encode(Form.WITHOUT_EXTENSIONS) == fixed
    ours = upload(info(0, b"a"))
    body = b"\x05epoch" + u32(1) + u32(2) + b"\x09" + b"\x01a" + u16(1) + u32(0) + b"\x00"
    assert ours.encode() == body
    assert encode_action(ours) == b"\x01" + body
    assert encode_action(MARK) == b"\x02"
    assert CommitData().encode() == b"\x00"
    assert read_data(b"\x00") == CommitData()
    assert not CommitData((ours,)).new_derivation_epoch


@pytest.mark.slow
@given(data=datas, form=st.sampled_from(FORMS))
def test_what_is_written_is_read(data: CommitData, form: Form) -> None:
    if form is Form.WITHOUT_EXTENSIONS:
        data = CommitData(tuple(bare(each) if isinstance(each, KeyPackageUpload) else each for each in data.actions))
    written = data.encode(form)
    assert read_data(written, form) == data
    items = aad.decode_items(aad.encode_items({VIRTUAL_CLIENTS: written}))
    assert items == ((VIRTUAL_CLIENTS, written),)


DECODERS: dict[str, tuple[Callable[[Reader, Form], Any], Callable[[Any, Form], bytes]]] = {
    "upload": (KeyPackageUpload.decode, KeyPackageUpload.encode),
    "action": (decode_action, encode_action),
    "commit data": (CommitData.decode, CommitData.encode),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DECODERS)
@given(data=datas, form=st.sampled_from(FORMS), changes=st.lists(mutations, max_size=4), noise=st.none() | st.binary())
def test_hostile_bytes_are_refused_or_read_whole(
    kind: str, data: CommitData, form: Form, changes: list[Mutation], noise: bytes | None
) -> None:
    decode, encode = DECODERS[kind]
    first: Action = data.actions[0] if data.actions else MARK
    whole = {
        "upload": data.uploads[0].encode() if data.uploads else b"",
        "action": encode_action(first),
        "commit data": data.encode(),
    }[kind]
    hostile = mutated(whole, changes) if noise is None else noise
    try:
        value = decode_exactly(hostile, lambda reader: decode(reader, form))
    except PeerError:
        return
    assert encode(value, form) == hostile


@breaks("VC-6.4-1")
def test_an_action_of_another_type() -> None:
    for kind in (0, 3, 255):
        refused("VC-6.4-1", partial(read_data, vector([bytes([kind])])))
        refused("VC-6.4-1", partial(decode_action, Reader(bytes([kind]))))
    assert read_data(vector([b"\x02"])).new_derivation_epoch


@breaks("VC-6.4-2")
def test_too_many_actions() -> None:
    most = [upload(info(n, bytes([n]))) for n in range(MAX_ACTIONS)]
    assert len(read_data(vector([encode_action(each) for each in most])).uploads) == MAX_ACTIONS
    one_more: list[Action] = [*most, MARK]
    refused("VC-6.4-2", lambda: read_data(vector([encode_action(each) for each in one_more])))
    with pytest.raises(CallerError, match="at most"):
        CommitData(tuple(one_more))


@breaks("VC-6.4-3")
def test_two_new_derivation_epochs() -> None:
    refused("VC-6.4-3", lambda: read_data(vector([b"\x02", b"\x02"])))
    with pytest.raises(CallerError, match="once"):
        CommitData((MARK, MARK))
    assert read_data(vector([b"\x02"])) == CommitData((MARK,))


@breaks("VC-6.4.1-1")
def test_too_many_key_packages() -> None:
    most = [info(n, u16(n)) for n in range(MAX_KEY_PACKAGES)]
    assert read_upload(raw_upload(*most)) == upload(*most)
    one_more = [*most, info(MAX_KEY_PACKAGES, b"one more")]
    refused("VC-6.4.1-1", lambda: read_upload(raw_upload(*one_more)))
    with pytest.raises(CallerError, match="too many"):
        upload(*one_more)


@breaks("VC-6.4.1-2")
def test_an_index_twice() -> None:
    first, second = info(4, b"first"), info(4, b"second", 2)
    refused("VC-6.4.1-2", lambda: read_upload(raw_upload(first, second)))
    refused("VC-6.4.1-2", lambda: read_data(vector([b"\x01" + raw_upload(first, second)])))
    with pytest.raises(CallerError, match="twice"):
        upload(first, second)
    assert len(read_upload(raw_upload(first, replace(second, index=5))).key_packages) == 2


@breaks("VC-6.4.1-3")
def test_a_key_package_twice() -> None:
    first, second = info(4, b"same"), info(5, b"same", 2)
    refused("VC-6.4.1-3", lambda: read_upload(raw_upload(first, second)))
    with pytest.raises(CallerError, match="twice"):
        upload(first, second)
    assert len(read_upload(raw_upload(first, info(5, b"other", 2))).key_packages) == 2


def test_an_extension_twice_in_an_entry() -> None:
    twice = vector([Extension(6, b"").encode()] * 2)
    entry = opaque(b"ref") + u16(1) + u32(0) + twice
    refused("VAL-13.4-1", lambda: read_upload(opaque(b"epoch") + u32(1) + u32(2) + vector([entry])))


def test_a_form_without_place_for_extensions_drops_none() -> None:
    ours = upload(replace(info(), extensions=(Extension(6, b""),)))
    with pytest.raises(CallerError, match="no place"):
        ours.encode(Form.WITHOUT_EXTENSIONS)
