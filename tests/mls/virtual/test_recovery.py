"""draft-ietf-mls-virtual-clients §5.2: the roll at mailboxes, and the grant to join from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls import group as front
from mls.codec import decode_exactly, opaque, u8, u32, u64, vector
from mls.components.aad import encode_items
from mls.components.dictionary import dictionary_extension, dictionary_of
from mls.components.labels import safe_open, safe_seal
from mls.components.lists import ComponentsList
from mls.components.numbers import ComponentId, Numbers
from mls.credential import BasicCredential, Credential
from mls.errors import CallerError, PeerError
from mls.group import CommitMessage
from mls.leaf_node import Extensions
from mls.registries import KeyPackageRef, LeafIndex
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.virtual import recovery as room
from mls.virtual.recovery import (
    MAX_CONVERSATIONS,
    MAX_PACKAGES,
    Claim,
    Entry,
    Grant,
    Opened,
    RecoveryAuthority,
    Roll,
    Writer,
    admission,
    check_grant,
    decode_grant,
    encode_grant,
    newest,
    open_roll,
    seal_roll,
    sign_grant,
)
from tests.mls.clients import client, environment, party
from tests.mls.refusals import A, B, refused
from tests.mls.strategies import Mutation, mutated, mutations
from tests.validation import breaks
from tests.vector_files import load
from tests.vectors.own import announcements as own

CASES = [case for case in load(own.PATH) if "sealed_roll" in case]
SUITE, PRIVATE, PUBLIC, SIGNING, VERIFYING = own.recovery_keys(1)
COMPONENT, NUMBERS = own.COMPONENT, own.NUMBERS
AUTHORITY = RecoveryAuthority(suite=SUITE, public_key=VERIFYING, component=COMPONENT)
ROLL = own.roll()
WRITER = own.writer(1)


class Knows:
    """An authentication service that accepts one credential."""

    def __init__(self, known: Credential) -> None:
        self.known = known

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:
        if credential != self.known or signature_key != WRITER.signature_key:
            raise PeerError("VAL-5.3.1-1")

    def succeeds(self, old: Credential, new: Credential) -> bool:
        return old == new


ENV = environment("recovery", authentication=Knows(WRITER.credential))


def sealed(roll: Roll = ROLL, writer: Writer = WRITER) -> bytes:
    return seal_roll(roll, ENV, SUITE, PUBLIC, writer, NUMBERS, COMPONENT)


def opened(data: bytes) -> Roll:
    return open_roll(data, ENV, SUITE, PRIVATE, PUBLIC, COMPONENT).roll


def by(key: bytes, *rolls: Roll) -> list[Opened]:
    """Rolls that a device with that key wrote."""
    return [Opened(roll=roll, credential=WRITER.credential, signature_key=key) for roll in rolls]


def newest_of(rolls: list[Roll]) -> Roll:
    return newest(by(b"laptop", *rolls))


def content_of(data: bytes) -> bytes:
    """What is inside a sealed roll, padding and all."""
    size = len(PUBLIC)
    return safe_open(SUITE, PRIVATE, COMPONENT, b"Roll", b"\x01", data[2 : 2 + size], _ciphertext(data[2 + size :]))


def _ciphertext(data: bytes) -> bytes:
    return decode_exactly(data, lambda reader: reader.opaque())


def resealed(content: bytes) -> bytes:
    kem_output, ciphertext = safe_seal(SUITE, PUBLIC, COMPONENT, b"Roll", b"\x01", content, ENV.provider.random)
    return b"\x01" + opaque(kem_output) + opaque(ciphertext)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_known_answers(case: dict[str, Any]) -> None:
    suite, private, public, _, verifying = own.recovery_keys(case["cipher_suite"])
    known = {
        name: bytes.fromhex(text) for name, text in case.items() if name not in ("name", "cipher_suite", "component_id")
    }
    assert (private.raw, public, verifying) == (
        known["recovery_priv"],
        known["recovery_pub"],
        known["recovery_signature_pub"],
    )
    component = ComponentId(case["component_id"])
    read = open_roll(known["sealed_roll"], environment(), suite, HpkePrivateKey(private.raw), public, component)
    found = read.roll
    writer = own.writer(case["cipher_suite"])
    assert found == own.roll(case["cipher_suite"])
    assert found.encode() == known["roll"]
    assert (read.credential, read.signature_key) == (writer.credential, known["writer_signature_pub"])
    claim = Claim.from_group_info(found.emulation.group_info, known["writer_signature_pub"], writer.credential)
    assert claim.encode() == known["claim"]
    authority = RecoveryAuthority(suite=suite, public_key=verifying, component=component)
    authority.check(claim, decode_grant(known["grant"]))


def test_the_bytes() -> None:
    """By hand, from docs/vectors.md."""
    entry = Entry(group_info=b"info", own_leaf=LeafIndex(3), tree=b"tree", place=b"place")
    assert entry.encode() == b"\x04info" + u32(3) + b"\x01\x04tree" + b"\x05place"
    other = Entry(group_info=b"info", own_leaf=LeafIndex(3))
    assert other.encode() == b"\x04info" + u32(3) + b"\x00\x00"
    roll = Roll(sequence=258, emulation=other, conversations=(entry,), references=(KeyPackageRef(b"r"),), settings=b"s")
    assert roll.encode() == u64(258) + other.encode() + opaque(entry.encode()) + b"\x02\x01r\x01s"
    content = content_of(sealed())
    written = opaque(ROLL.encode()) + WRITER.credential.encode() + opaque(WRITER.signature_key)
    assert content.startswith(written)
    assert content[len(written) : len(written) + 2] == b"\x40\x40"  # the length of a signature of suite 1
    assert content[len(written) + 66 :] == bytes(8192 - len(written) - 66)
    assert encode_grant(Grant(b"signature")) == b"\x01\x09signature"


def test_it_comes_back() -> None:
    assert opened(sealed()) == ROLL
    assert [entry.group_id for entry in ROLL.conversations] == [b"first", b"second"]
    assert ROLL.emulation.epoch == 0


def test_little_is_seen_from_outside() -> None:
    """Rolls of about one size have one size, and no part of one is in clear."""
    sizes = set()
    for count in range(6):
        entries = tuple([own.entry(b"conversation %d" % number) for number in range(count)])
        data = sealed(replace(ROLL, conversations=entries))
        sizes.add(len(data))
        hidden = [b"laptop", b"emulation", b"conversation", WRITER.signature_key, *ROLL.references]
        assert not any(each in data for each in hidden)
    assert len(sizes) == 1
    large = [replace(ROLL, settings=bytes(20_000 + 100 * step)) for step in range(16)]
    assert len({len(sealed(roll)) for roll in large}) <= 5


def test_what_may_not_be_in_a_roll() -> None:
    """A GroupInfo for a new device has everything in it that there is, in two components that may come apart."""
    for number in (NUMBERS.virtual_clients, NUMBERS.virtual_companion):
        secret = dictionary_extension({number: b"all secrets"})
        leaking = Entry(group_info=own.group_info(b"x", extensions=(secret,)), own_leaf=LeafIndex(0))
        for roll in (replace(ROLL, conversations=(leaking,)), replace(ROLL, emulation=leaking)):
            with pytest.raises(CallerError, match="holds the secrets"):
                sealed(roll)
    harmless = dictionary_extension({NUMBERS.app_ack: b"something"})
    plain = Entry(group_info=own.group_info(b"x", extensions=(harmless,)), own_leaf=LeafIndex(0))
    sealed(replace(ROLL, conversations=(plain,)))


def test_what_no_device_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (
        replace(ROLL, conversations=ROLL.conversations * 2),
        replace(ROLL, conversations=(ROLL.emulation,)),
        replace(ROLL, references=ROLL.references * 2),
    ):
        with pytest.raises(CallerError, match="twice"):
            sealed(wrong)
    with pytest.raises(CallerError, match="cannot be read"):
        sealed(replace(ROLL, emulation=replace(ROLL.emulation, group_info=b"info")))
    for limit, value in (("MAX_CONVERSATIONS", 1), ("MAX_PACKAGES", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(room, limit, value)
            with pytest.raises(CallerError, match="too many"):
                sealed()
    monkeypatch.setattr(room, "MAX_SIZE", 100)
    with pytest.raises(CallerError, match="too large"):
        sealed()


@breaks("VC-5.2-1")
def test_another_version() -> None:
    data = sealed()
    for version in (0, 2):
        refused("VC-5.2-1", partial(opened, u8(version) + data[1:]))


def test_another_key() -> None:
    other = own.recovery_keys(3)
    refused("EXT-4.2-1", lambda: open_roll(sealed(), ENV, SUITE, other[1], other[2], COMPONENT))
    refused("EXT-4.2-1", lambda: open_roll(sealed(), ENV, SUITE, PRIVATE, PUBLIC, ComponentId(COMPONENT + 1)))
    with pytest.raises(PeerError, match=r"EXT-4\.2-2"):
        seal_roll(ROLL, ENV, SUITE, bytes(32), WRITER, NUMBERS, COMPONENT)


@breaks("VC-5.2-2")
def test_padding_that_says_something() -> None:
    content = content_of(sealed())
    assert content.endswith(b"\x00")
    refused("VC-5.2-2", lambda: opened(resealed(content[:-1] + b"\x01")))
    assert opened(resealed(content)) == ROLL
    assert opened(resealed(content + b"\x00")) == ROLL


@breaks("VC-5.2-3")
def test_who_did_not_write_it() -> None:
    """Who knows the recovery key can seal; nobody can say that a device wrote it."""
    other = own.writer(3)
    refused("VC-5.2-3", lambda: opened(sealed(writer=replace(WRITER, signature_private=other.signature_private))))
    content = content_of(sealed())
    newer = opaque(replace(ROLL, sequence=13).encode()) + content[len(opaque(ROLL.encode())) :]
    refused("VC-5.2-3", lambda: opened(resealed(newer)))
    _, private, public, _, _ = own.recovery_keys(3)
    kem_output, ciphertext = safe_seal(SUITE, public, COMPONENT, b"Roll", b"\x01", content, ENV.provider.random)
    passed_on = b"\x01" + opaque(kem_output) + opaque(ciphertext)
    refused("VC-5.2-3", lambda: open_roll(passed_on, ENV, SUITE, private, public, COMPONENT))


def test_who_is_no_device() -> None:
    """Of a removed device, the signature still holds, and the credential does not."""
    with pytest.raises(PeerError, match=r"VAL-5\.3\.1-1"):
        opened(sealed(writer=replace(WRITER, credential=BasicCredential(b"lost phone"))))


def test_a_suite_s_other_devices_may_have_any_kind_of_key() -> None:
    for cipher_suite in (2, 7):
        suite, private, public, _, _ = own.recovery_keys(cipher_suite)
        env = environment("any")
        data = seal_roll(ROLL, env, suite, public, own.writer(cipher_suite), NUMBERS, COMPONENT)
        assert open_roll(data, env, suite, private, public, COMPONENT).roll == ROLL


def read(data: bytes) -> Roll:
    return decode_exactly(data, Roll.decode)


@breaks("VC-5.2-4")
@pytest.mark.slow
def test_too_many_entries() -> None:
    most = [u32(n) for n in range(MAX_PACKAGES)]
    full = replace(ROLL, references=tuple(map(KeyPackageRef, most)))
    assert read(full.encode()) == full
    more = replace(full, references=(*full.references, KeyPackageRef(b"more")))
    refused("VC-5.2-4", lambda: read(more.encode()))
    entry = own.entry(b"0000")
    entries = [replace(entry, group_info=entry.group_info.replace(b"0000", u32(n))) for n in range(MAX_CONVERSATIONS)]
    fuller = replace(ROLL, conversations=tuple(entries))
    assert read(fuller.encode()) == fuller
    refused("VC-5.2-4", lambda: read(replace(fuller, conversations=(*entries, entry)).encode()))


@breaks("VC-5.2-5")
def test_one_thing_twice() -> None:
    for wrong in (
        replace(ROLL, conversations=ROLL.conversations * 2),
        replace(ROLL, conversations=(ROLL.emulation,)),
        replace(ROLL, references=(*ROLL.references, ROLL.references[0])),
    ):
        refused("VC-5.2-5", partial(read, wrong.encode()))
    assert read(ROLL.encode()) == ROLL


@pytest.mark.slow
@given(changes=st.lists(mutations, max_size=4), noise=st.none() | st.binary())
def test_hostile_bytes_are_refused_or_read_whole(changes: list[Mutation], noise: bytes | None) -> None:
    hostile = mutated(ROLL.encode(), changes) if noise is None else noise
    try:
        found = read(hostile)
    except PeerError:
        return
    assert found.encode() == hostile
    assert len({entry.group_id for entry in found.conversations}) == len(found.conversations)


@pytest.mark.slow
@given(changes=st.lists(mutations, min_size=1, max_size=3), inside=st.booleans())
def test_a_mailbox_changes_nothing(changes: list[Mutation], inside: bool) -> None:
    data = _SEALED
    hostile = resealed(mutated(content_of(data), changes)) if inside else mutated(data, changes)
    try:
        assert opened(hostile) == ROLL
    except PeerError:
        return
    assert inside or hostile == data


_SEALED = sealed()


# Several mailboxes


def later(group_id: bytes, epochs: int) -> Entry:
    """The entry of a group after so many commits."""
    env = environment(f"later {group_id!r}")
    group = client("virtual").create(env, group_id)
    for _ in range(epochs):
        group = front.commit(group, env).group
    return Entry(group_info=front.group_info(group), own_leaf=LeafIndex(0))


def test_the_newest_is_taken() -> None:
    older, newer = replace(ROLL, sequence=3), replace(ROLL, sequence=4, conversations=())
    assert newest_of([older, newer]) == newest_of([newer, older]) == newer
    assert newest_of([ROLL]) == ROLL
    with pytest.raises(CallerError, match="no roll"):
        newest([])


def test_who_is_not_believed() -> None:
    """The last number that there is leaves nobody room for a newer roll, but for whoever does without its writer."""
    last = replace(ROLL, sequence=2**64 - 1, conversations=())
    honest = replace(ROLL, sequence=3)
    rolls = [*by(b"lost phone", last, replace(ROLL, sequence=4)), *by(b"laptop", honest)]
    assert newest(rolls) == last
    assert newest(rolls, discarding=[b"lost phone"]) == newest(reversed(rolls), discarding=[b"lost phone"]) == honest
    with pytest.raises(CallerError, match="no roll"):
        newest(rolls, discarding=[b"lost phone", b"laptop"])


def test_two_of_one_number_are_joined() -> None:
    mine = Roll(
        sequence=4,
        emulation=later(b"emulation", 1),
        conversations=(later(b"both", 0), later(b"mine", 0)),
        references=(KeyPackageRef(b"a"), KeyPackageRef(b"b")),
    )
    yours = Roll(
        sequence=4,
        emulation=later(b"emulation", 2),
        conversations=(later(b"yours", 0), later(b"both", 1)),
        references=(KeyPackageRef(b"b"), KeyPackageRef(b"c")),
    )
    both = newest_of([mine, yours, replace(ROLL, sequence=3)])
    assert both == newest_of([yours, mine])
    assert both.emulation == yours.emulation
    assert {entry.group_id: entry.epoch for entry in both.conversations} == {b"both": 1, b"mine": 0, b"yours": 0}
    assert sorted(both.references) == [b"a", b"b", b"c"]
    stray = replace(mine, emulation=later(b"another emulation", 5))
    assert newest_of([stray, mine]) == newest_of([mine, stray])


# Grants

SAFE: Extensions = (
    dictionary_extension(
        {
            NUMBERS.app_components: ComponentsList.of([NUMBERS.safe_aad]).encode(),
            NUMBERS.safe_aad: ComponentsList.of([]).encode(),
        }
    ),
)


def joining(authenticated_data: Callable[[Claim], bytes]) -> tuple[CommitMessage, Claim]:
    """An external commit to a group of two, as one of them receives it."""
    devices = party(2)
    newcomer = client("newcomer")
    info = front.group_info(devices[A])
    claim = Claim.from_group_info(
        info, newcomer.package(devices.env).key_package.leaf_node.signature_key, newcomer.credential
    )
    joined = newcomer.join_externally(devices.env, info, authenticated_data=authenticated_data(claim))
    event = front.receive(devices[B], devices.env, joined.message)
    assert isinstance(event, CommitMessage)
    assert event.external
    return event, claim


def asked(event: CommitMessage, authority: RecoveryAuthority = AUTHORITY, **changes: Any) -> None:
    leaf = event.group.public.tree.leaf(event.committer)
    assert leaf is not None
    data = changes.pop("authenticated_data", event.authenticated_data)
    check_grant(event.before.public, replace(leaf, **changes), data, authority, NUMBERS, COMPONENT)


def granted(claim: Claim, key: SignaturePrivateKey = SIGNING) -> bytes:
    return encode_grant(sign_grant(SUITE, key, claim, COMPONENT))


def test_a_grant_lets_in() -> None:
    event, claim = joining(granted)
    asked(event)
    assert claim == Claim.of(event.before.public, claim.signature_key, claim.credential)
    admits = admission(AUTHORITY, NUMBERS, COMPONENT)
    assert admits(event.before, event)
    refused("VC-5.2-7", lambda: admits(event.before, replace(event, authenticated_data=b"")))


@breaks("VC-5.2-7")
def test_no_grant() -> None:
    event, _ = joining(lambda claim: b"")
    refused("VC-5.2-7", lambda: asked(event))


@breaks("VC-5.2-8")
def test_a_grant_of_another_version() -> None:
    for version in (0, 2):
        event, _ = joining(partial(lambda claim, version: u8(version) + granted(claim)[1:], version=version))
        refused("VC-5.2-8", partial(asked, event))
    event, claim = joining(granted)
    refused("VAL-2.1-5", lambda: asked(event, authenticated_data=granted(claim) + b"\x00"))


@breaks("VC-5.2-9")
def test_a_grant_for_something_else() -> None:
    changes: list[dict[str, Any]] = [
        {"group_id": b"another"},
        {"epoch": 9},
        {"tree_hash": bytes(32)},
        {"confirmation_tag": bytes(32)},
        {"signature_key": bytes(32)},
        {"credential": BasicCredential(b"somebody")},
    ]
    for change in changes:
        event, _ = joining(partial(lambda claim, change: granted(replace(claim, **change)), change=change))
        refused("VC-5.2-9", partial(asked, event))
    event, claim = joining(lambda claim: granted(claim, WRITER.signature_private))
    refused("VC-5.2-9", lambda: asked(event))
    asked(event, authenticated_data=granted(claim))
    refused("VC-5.2-9", lambda: asked(event, authenticated_data=granted(claim), credential=BasicCredential(b"x")))
    refused(
        "VC-5.2-9",
        lambda: asked(event, replace(AUTHORITY, component=NUMBERS.app_ack), authenticated_data=granted(claim)),
    )


def test_where_authenticated_data_is_divided() -> None:
    event, claim = joining(granted)
    before = event.before.public
    divided = replace(before, context=replace(before.context, extensions=SAFE, dictionary=dictionary_of(SAFE)))
    leaf = event.group.public.tree.leaf(event.committer)
    assert leaf is not None

    def ask(data: bytes) -> None:
        check_grant(divided, leaf, data, AUTHORITY, NUMBERS, COMPONENT)

    grant = granted(claim)
    ask(encode_items({COMPONENT: grant, NUMBERS.virtual_clients: b"something"}))
    refused("VC-5.2-7", lambda: ask(encode_items({NUMBERS.virtual_clients: grant})))
    refused("VC-5.2-7", lambda: ask(vector([])))
    moved = Numbers(safe_aad=ComponentId(0x9999))
    check_grant(divided, leaf, grant, AUTHORITY, moved, COMPONENT)
