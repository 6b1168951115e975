"""draft-ietf-mls-virtual-clients §6.4: what devices tell each other: its forms, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls.codec import opaque, u8, u16, u32, u64, vector
from mls.credential import BasicCredential
from mls.errors import CallerError, PeerError
from mls.psk import ExternalPskId, ResumptionPskId
from mls.registries import (
    CipherSuite,
    Epoch,
    Generation,
    GroupId,
    HybridSuite,
    KeyPackageRef,
    LeafIndex,
    ResumptionUsage,
)
from mls.secrets import (
    EpochEncryptionKey,
    GenerationIdSecret,
    KeyPackageSeed,
    OperationSecret,
    ReuseGuardSecret,
    SignaturePrivateKey,
)
from mls.virtual.actions import Form
from mls.virtual.announcements import (
    MAX_ENTRIES,
    Announcement,
    Claims,
    Created,
    ExternalJoin,
    JoinedExternally,
    Keys,
    LostEpoch,
    Operations,
    Progress,
    Renewed,
    Reserved,
    SignatureKey,
    Uploaded,
    Wanted,
    Welcomed,
    Withdrawn,
    check_keys,
    decode_announcement,
    encode_announcement,
)
from mls.virtual.generation_id import GenerationId
from mls.virtual.operations import Operation, OperationType
from tests.mls.refusals import refused
from tests.mls.strategies import Mutation, credentials, mutated, mutations
from tests.mls.virtual.test_actions import bare, uploads
from tests.providers import SeededProvider
from tests.validation import breaks
from tests.vector_files import load
from tests.vectors.own import announcements as own

CASES = [case for case in load(own.PATH) if "announcement" in case]
PROVIDER = SeededProvider()

u16s, u32s, u64s = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
some = st.binary(max_size=70)
signature_keys = st.builds(
    SignatureKey, cipher_suite=u16s, public=some, private=st.builds(SignaturePrivateKey, st.binary(max_size=9))
)
key_lists = st.lists(signature_keys, max_size=3, unique_by=lambda key: (key.cipher_suite, key.public)).map(tuple)
operations = st.builds(
    Operation,
    epoch_id=some,
    leaf=u32s,
    generation=u32s,
    type=st.sampled_from(OperationType),
    context=some,
    secret=st.sampled_from([32, 48, 64]).flatmap(lambda n: st.binary(min_size=n, max_size=n)).map(OperationSecret),
)
operation_lists = st.lists(
    operations, max_size=3, unique_by=lambda each: (each.epoch_id, each.type, each.leaf, each.generation)
).map(tuple)
names = st.lists(some, max_size=4, unique=True).map(tuple)


@st.composite
def uploaded(draw: st.DrawFn) -> Uploaded:
    upload = draw(uploads)
    count = len(upload.key_packages)
    times = draw(st.lists(u64s, min_size=count, max_size=count))
    return Uploaded(upload=upload, keys=draw(key_lists), not_after=tuple(times))


KINDS: dict[type, st.SearchStrategy[Announcement]] = {
    Uploaded: uploaded(),
    Keys: st.builds(Keys, key_lists),
    Created: st.builds(
        Created,
        some,
        st.none()
        | st.builds(
            ResumptionPskId,
            st.sampled_from([ResumptionUsage.REINIT, ResumptionUsage.BRANCH]),
            some,
            u64s,
            some,
        ),
    ),
    Wanted: st.builds(Wanted, names),
    JoinedExternally: st.builds(JoinedExternally, group_info=some, tree=st.none() | some, commit=some),
    Welcomed: st.builds(Welcomed, some, st.none() | some),
    ExternalJoin: st.builds(ExternalJoin, some),
    Operations: st.builds(Operations, operation_lists),
    Claims: st.builds(Claims, names),
    Withdrawn: st.builds(Withdrawn, names),
    Reserved: st.builds(
        Reserved, reference=some, cipher_suite=u16s, seed=st.builds(KeyPackageSeed, some), not_after=u64s
    ),
    Renewed: st.builds(Renewed, credentials, key_lists),
    LostEpoch: st.builds(
        LostEpoch,
        cipher_suite=u16s,
        epoch_id=some,
        parent=st.none() | some,
        number=u64s,
        leaf_count=u32s,
        encryption_key=st.builds(EpochEncryptionKey, some),
        generation_id=st.builds(GenerationIdSecret, some),
        reuse_guard=st.builds(ReuseGuardSecret, some),
    ),
    Progress: st.builds(Progress, some),
}


def read(data: bytes, form: Form = Form.DRAFT, *, targeted: bool | None = None) -> Announcement:
    alone = data[1:2] == u8(Reserved.kind) if targeted is None else targeted
    return decode_announcement(data, form, targeted=alone)


def body(announcement: Announcement) -> bytes:
    return encode_announcement(announcement)[2:]


def test_the_file_is_what_its_module_writes() -> None:
    assert own.generate() == load(own.PATH)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_known_answers(case: dict[str, Any]) -> None:
    ours = own.announcements()[case["name"]]
    written = bytes.fromhex(case["announcement"])
    assert decode_announcement(written, targeted=case["targeted"]) == ours
    assert encode_announcement(ours) == written
    if isinstance(ours, Uploaded):
        old = bytes.fromhex(case["announcement_without_extensions"])
        assert read(old, Form.WITHOUT_EXTENSIONS) == replace(ours, upload=bare(ours.upload))


def test_every_kind_is_known() -> None:
    assert {type(each) for each in own.announcements().values()} == set(KINDS)
    assert sorted(kind.kind for kind in KINDS) == [*range(1, 15)]  # type: ignore[attr-defined]  # all have one


def test_the_bytes() -> None:
    """By hand, from docs/vectors.md."""
    key = SignatureKey(cipher_suite=2, public=b"public", private=SignaturePrivateKey(b"private"))
    pair = b"\x00\x02\x06public\x07private"
    info = own.upload(False).encode()
    ours = Uploaded(upload=own.upload(False), keys=(key,), not_after=(258,))
    assert encode_announcement(ours) == b"\x01\x01" + info + opaque(pair) + b"\x08" + u64(258)
    assert (
        encode_announcement(Keys((key, replace(key, cipher_suite=3))))
        == b"\x01\x02\x22" + pair + b"\x00\x03" + pair[2:]
    )
    assert encode_announcement(Created(b"info")) == b"\x01\x03\x04info\x00"
    joined = JoinedExternally(group_info=b"info", commit=b"commit")
    assert encode_announcement(joined) == b"\x01\x04\x04info\x00\x06commit"
    assert encode_announcement(replace(joined, tree=b"tree")) == b"\x01\x04\x04info\x01\x04tree\x06commit"
    assert encode_announcement(Welcomed(b"welcome", b"")) == b"\x01\x05\x07welcome\x01\x00"
    assert encode_announcement(ExternalJoin(GroupId(b"id"))) == b"\x01\x06\x02id"
    assert encode_announcement(Claims((GenerationId(b"b"), GenerationId(b"a")))) == b"\x01\x08\x04\x01b\x01a"
    assert encode_announcement(Withdrawn((KeyPackageRef(b"ref"),))) == b"\x01\x09\x04\x03ref"
    operation = own.operation(7, b"group")
    place = opaque(operation.epoch_id) + b"\x02" + u32(3) + u32(7) + b"\x05group"
    assert encode_announcement(Operations((operation,))) == b"\x01\x07" + opaque(place + opaque(operation.secret.raw))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data(), form=st.sampled_from(Form))
def test_what_is_written_is_read(kind: type, data: st.DataObject, form: Form) -> None:
    ours = data.draw(KINDS[kind])
    if isinstance(ours, Uploaded) and form is Form.WITHOUT_EXTENSIONS:
        ours = replace(ours, upload=bare(ours.upload))
    written = encode_announcement(ours, form)
    assert read(written, form) == ours
    refused("VAL-2.1-5", lambda: read(written + b"\x00", form))


@pytest.mark.slow
@given(
    ours=st.one_of(list(KINDS.values())),
    changes=st.lists(mutations, max_size=4),
    form=st.sampled_from(Form),
    noise=st.none() | st.binary(),
    targeted=st.booleans(),
)
def test_hostile_bytes_are_refused_or_read_whole(
    ours: Announcement, changes: list[Mutation], form: Form, noise: bytes | None, targeted: bool
) -> None:
    hostile = mutated(encode_announcement(ours), changes) if noise is None else noise
    try:
        found = decode_announcement(hostile, form, targeted=targeted)
    except PeerError:
        return
    assert encode_announcement(found, form) == hostile
    assert isinstance(found, Reserved) is targeted


@breaks("VC-6.4-10")
def test_another_version() -> None:
    good = encode_announcement(ExternalJoin(GroupId(b"id")))
    for version in (0, 2, 255):
        refused("VC-6.4-10", partial(read, u8(version) + good[1:]))
    assert read(good) == ExternalJoin(GroupId(b"id"))


@breaks("VC-6.4-11")
def test_another_type() -> None:
    for kind in (0, 15, 255):
        refused("VC-6.4-11", partial(read, u8(1) + u8(kind) + opaque(b"id")))


LISTS: dict[str, tuple[Callable[[Any], Announcement], Callable[[int], Any], Callable[[Any], bytes]]] = {
    "keys": (
        Keys,
        lambda n: SignatureKey(cipher_suite=1, public=u16(n), private=SignaturePrivateKey(b"")),
        SignatureKey.encode,
    ),
    "operations": (
        Operations,
        lambda n: Operation(
            epoch_id=b"e",
            leaf=LeafIndex(0),
            generation=Generation(n),
            type=OperationType.LEAF_NODE,
            context=b"",
            secret=OperationSecret(bytes(32)),
        ),
        lambda each: b"\x01e\x02" + u32(0) + u32(each.generation) + b"\x00" + opaque(bytes(32)),
    ),
    "claims": (Claims, u16, opaque),
    "withdrawn": (Withdrawn, u16, opaque),
    "renewed": (
        lambda all_: Renewed(BasicCredential(b"virtual"), all_),
        lambda n: SignatureKey(cipher_suite=1, public=u16(n), private=SignaturePrivateKey(b"")),
        SignatureKey.encode,
    ),
    "uploaded": (
        lambda all_: Uploaded(upload=own.upload(), keys=all_, not_after=()),
        lambda n: SignatureKey(cipher_suite=1, public=u16(n), private=SignaturePrivateKey(b"")),
        SignatureKey.encode,
    ),
}


def forged(name: str, entries: list[Any]) -> bytes:
    """An announcement of that kind with this list, which no honest device would make."""
    make, _, encode = LISTS[name]
    empty = make(())
    written = encode_announcement(empty)
    tail = b"\x00" if isinstance(empty, Uploaded) else b""  # its expiry times, none
    assert written.endswith(b"\x00" + tail)
    return written[: len(written) - 1 - len(tail)] + vector([encode(each) for each in entries]) + tail


@breaks("VC-6.4-12")
@pytest.mark.parametrize("name", LISTS)
def test_too_many_entries(name: str) -> None:
    make, entry, _ = LISTS[name]
    most = [entry(n) for n in range(MAX_ENTRIES)]
    assert read(forged(name, most)) == make(tuple(most))
    one_more = [*most, entry(MAX_ENTRIES)]
    refused("VC-6.4-12", lambda: read(forged(name, one_more)))
    with pytest.raises(CallerError, match="at most"):
        make(tuple(one_more))


@breaks("VC-6.4-13")
@pytest.mark.parametrize("name", LISTS)
def test_one_thing_twice(name: str) -> None:
    make, entry, _ = LISTS[name]
    twice = [entry(1), entry(0), entry(1)]
    refused("VC-6.4-13", lambda: read(forged(name, twice)))
    with pytest.raises(CallerError, match="twice"):
        make(tuple(twice))
    assert read(forged(name, twice[:2])) == make(tuple(twice[:2]))


def test_what_makes_a_key_or_an_operation_another_one() -> None:
    key = own.key("first")
    other = replace(key, private=SignaturePrivateKey(b"another"))
    refused("VC-6.4-13", lambda: read(forged("keys", [key, other])))
    two = (key, replace(key, cipher_suite=3))
    assert read(forged("keys", [*two])) == Keys(two)
    operation = own.operation(7, b"group")
    refused("VC-6.4-13", lambda: read(b"\x01\x07" + _raw([operation, replace(operation, context=b"another")])))
    for change in ({"generation": 8}, {"leaf": 4}, {"epoch_id": b"e"}, {"type": OperationType.APPLICATION}):
        changed: dict[str, Any] = change
        both = (operation, replace(operation, **changed))
        assert read(b"\x01\x07" + _raw([*both])) == Operations(both)


def _raw(several: list[Operation]) -> bytes:
    singles = [body(Operations((each,))) for each in several]
    return vector([single[2:] if single[0] >= 0x40 else single[1:] for single in singles])


@breaks("VC-6.4-14")
def test_expiry_times_for_other_key_packages() -> None:
    ours = own.announcements()["uploaded"]
    assert isinstance(ours, Uploaded)
    head = encode_announcement(ours)[: -len(vector([u64(0)] * 2))]
    for count in (0, 1, 3):
        refused("VC-6.4-14", partial(read, head + vector([u64(0)] * count)))
        with pytest.raises(CallerError, match="as many"):
            replace(ours, not_after=(0,) * count)
    assert read(head + vector([u64(0)] * 2)) == replace(ours, not_after=(0, 0))


@breaks("VC-6.4-15")
@pytest.mark.parametrize("cipher_suite", [1, 4, 2, 5, 7, HybridSuite.MLKEM768_AES256GCM_SHA384_MLDSA65])
def test_a_key_that_is_not_its_public_key_s(cipher_suite: int) -> None:
    good, other = own.key("one", cipher_suite), own.key("other", cipher_suite)
    check_keys([good, other], PROVIDER)
    refused("VC-6.4-15", lambda: check_keys([good, replace(other, public=good.public)], PROVIDER))
    for private in (b"", other.private.raw + b"\x00", b"\xff" * len(other.private.raw) * 3):
        bad = replace(other, private=SignaturePrivateKey(private))
        refused("VC-6.4-15", partial(check_keys, [good, bad], PROVIDER))


def test_a_key_of_a_suite_that_we_lack_is_not_ours_to_judge() -> None:
    check_keys([replace(own.key("one"), cipher_suite=0xEEEE)], PROVIDER)
    assert 0xEEEE not in (*CipherSuite, *HybridSuite)


@breaks("VC-6.4-16")
def test_each_comes_by_its_own_way() -> None:
    for announcement in own.announcements().values():
        written = encode_announcement(announcement)
        alone = isinstance(announcement, Reserved)
        refused("VC-6.4-16", partial(read, written, targeted=not alone))
        assert read(written, targeted=alone) == announcement


def test_no_secret_is_shown() -> None:
    secrets = [
        *[own.secret(name) for name in ("seed", "encryption key", "generation id", "reuse guard", "operation 7")],
        *[own.key(*of).private.raw for of in (("first", 1), ("second", 2))],
    ]
    shown = repr(own.announcements())
    assert all(str(secret)[2:-1] not in shown and secret.hex() not in shown for secret in secrets)
    assert str(own.secret("epoch id"))[2:-1] in shown


@breaks("VC-6.4-18")
def test_a_conversation_that_continues_nothing() -> None:
    good = ResumptionPskId(ResumptionUsage.BRANCH, GroupId(b"group"), Epoch(3), bytes(32))
    assert decode_announcement(encode_announcement(Created(b"info", good))) == Created(b"info", good)
    for wrong in (replace(good, usage=ResumptionUsage.APPLICATION), ExternalPskId(b"psk", bytes(32))):
        refused("VC-6.4-18", partial(decode_announcement, encode_announcement(Created(b"info", wrong))))
