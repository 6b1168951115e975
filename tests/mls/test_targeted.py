"""draft-ietf-mls-targeted-messages: what one member sends to one other, and everybody else's attempts at it.

An insider knows all that the epoch exports, so most of what can be wrong is made here as an insider would make it: with
`Channel` itself, and with a suite that changes what is about to be sealed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from mls import group as front
from mls.components.lists import supported_wire_formats_extension
from mls.errors import (
    BugError,
    CallerError,
    FutureEpochError,
    GroupEndedError,
    PastEpochError,
    PeerError,
    StaleError,
    WrongGroupError,
    WrongRecipientError,
)
from mls.framing import encode_message
from mls.leaf_node import default_capabilities
from mls.parameters import Padding
from mls.proposals import Add, ReInit, Remove
from mls.registries import MLS10, CipherSuite, ExtensionType, GroupId, HybridSuite, LeafIndex, WireFormat
from mls.secrets import ExporterSecret, HpkePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.targeted import Channel, Frame, TargetedMessage, decode_message, open_message, seal
from tests.mls.clients import DEFAULT, Party, client, environment, snapshot
from tests.mls.refusals import A, B, C, D, refused
from tests.mls.strategies import Mutation, mutated, mutations
from tests.mls.suite_variants import variants
from tests.validation import breaks
from tests.vector_files import load
from tests.vectors.own import targeted as targeted_vectors
from tests.vectors.own.targeted import follow

LEAF = (supported_wire_formats_extension([WireFormat.TARGETED_MESSAGE]),)


def members(
    count: int, cipher_suite: int = 1, *, padding: Padding = Padding.NONE, deaf: str = "", libsodium: bool = True
) -> Party:
    """A group whose members read targeted messages, but for one that may be `deaf` to them."""
    env = environment(f"targeted {count} {cipher_suite}", libsodium=libsodium)
    parameters = replace(DEFAULT, padding=padding)
    capabilities = default_capabilities((1, cipher_suite), extensions=(ExtensionType.SUPPORTED_WIRE_FORMATS,))
    clients = {
        name: client(name, cipher_suite, capabilities=capabilities, parameters=parameters)
        for name in (A, B, C, D)[:count]
    }
    founder = clients[A].create(env, leaf_extensions=LEAF)
    packages = {
        name: each.package(env, leaf_extensions=() if name == deaf else LEAF)
        for name, each in clients.items()
        if name != A
    }
    sent = front.commit(founder, env, proposals=[Add(each.key_package) for each in packages.values()])
    groups = {A: sent.group}
    for name, package in packages.items():
        groups[name] = clients[name].join(env, sent.welcome, [package])
    return Party(env, clients, groups)


def place(group: Group) -> LeafIndex:
    return group.own_leaf


def forge(
    ours: Party,
    by: str,
    to: str,
    *,
    suite: Suite | None = None,
    sender: int | None = None,
    key_of: str | None = None,
    change: Callable[[Frame], Frame] = lambda frame: frame,
) -> bytes:
    """A message that an insider makes by hand."""
    group = ours[by]
    channel = Channel.of(group)
    frame = (replace(channel, suite=suite) if suite else channel).seal(
        ours.env.provider.random,
        sender=group.own_leaf if sender is None else LeafIndex(sender),
        signature_private=group.signature_key,
        recipient=ours[to].own_leaf,
        recipient_key=ours[key_of or to].own_leaf_node.encryption_key,
        data=b"data",
        authenticated_data=b"seen",
        pad=lambda size: 0,
    )
    return encode_message(WireFormat.TARGETED_MESSAGE, change(frame).encode())


class SealsAnother(Suite):
    """Seals sender data other than what it is given."""

    __slots__ = ("_change",)

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        super().__init__(1)
        self._change = change

    def aead_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        return super().aead_seal(key, nonce, aad, self._change(plaintext))


class ChangesContent:
    """An HPKE that seals content other than what it is given, or sends another KEM output."""

    def __init__(self, content: Callable[[bytes], bytes] = bytes, kem_output: Callable[[bytes], bytes] = bytes) -> None:
        self._hpke = Suite(1).hpke
        self._content = content
        self._kem_output = kem_output

    def seal_psk(self, public: bytes, info: bytes, aad: bytes, plaintext: bytes, *rest: Any) -> tuple[bytes, bytes]:
        kem_output, sealed = self._hpke.seal_psk(public, info, aad, self._content(plaintext), *rest)
        return self._kem_output(kem_output), sealed


def content_changer(**changes: Callable[[bytes], bytes]) -> Suite:
    return Suite(1, hpke=ChangesContent(**changes))  # type: ignore[arg-type]  # the part that sealing uses


# ---------------------------------------------------------------- what works


@variants
def test_one_member_reads_it(number: int, libsodium: bool) -> None:
    ours = members(3, number, libsodium=libsodium)
    before = {name: snapshot(ours[name]) for name in ours.names}
    for data, seen in ((b"hello", b""), (b"", b"seen by all"), (bytes(3000), bytes(100))):
        message = seal(ours[A], ours.env, place(ours[B]), data, authenticated_data=seen)
        assert open_message(ours[B], message) == TargetedMessage(
            sender=place(ours[A]), data=data, authenticated_data=seen
        )
        with pytest.raises(WrongRecipientError):
            open_message(ours[C], message)
    answer = seal(ours[B], ours.env, place(ours[A]), b"hello yourself")
    assert open_message(ours[A], answer).sender == place(ours[B])
    assert {name: snapshot(ours[name]) for name in ours.names} == before


def test_the_outside() -> None:
    ours = members(2)
    message = seal(ours[A], ours.env, place(ours[B]), b"hello", authenticated_data=b"seen")
    frame = decode_message(message)
    assert (frame.group_id, frame.epoch, frame.recipient) == (b"group", 1, 1)
    assert frame.authenticated_data == b"seen"
    assert message[:4] == bytes([0, MLS10, 0, 6])
    assert b"hello" not in message
    assert len(frame.ciphertext) == 1 + len(b"hello") + 16
    assert encode_message(WireFormat.TARGETED_MESSAGE, frame.encode()) == message


def test_a_repetition_is_read_again_and_sealing_again_differs() -> None:
    ours = members(2)
    message = seal(ours[A], ours.env, place(ours[B]), b"hello")
    assert open_message(ours[B], message) == open_message(ours[B], message)
    assert seal(ours[A], ours.env, place(ours[B]), b"hello") != message


def test_to_ones_own_leaf() -> None:
    """Those who share the leaf read it."""
    ours = members(2)
    message = seal(ours[A], ours.env, place(ours[A]), b"to my other device")
    assert open_message(ours[A], message).data == b"to my other device"
    with pytest.raises(WrongRecipientError):
        open_message(ours[B], message)


def test_padding_hides_the_length() -> None:
    ours = members(2, padding=Padding.BLOCK)
    sizes = set()
    for data in (b"", b"yes", bytes(200)):
        message = seal(ours[A], ours.env, place(ours[B]), data)
        assert open_message(ours[B], message).data == data
        sizes.add(len(message))
    assert len(sizes) == 1


def test_nothing_secret_is_shown() -> None:
    ours = members(2)
    message = seal(ours[A], ours.env, place(ours[B]), b"hello")
    assert "hello" not in repr(open_message(ours[B], message))
    shown = repr(Channel.of(ours[A]))
    assert ours[A].secrets.exporter.raw.hex() not in shown
    assert repr(ours[A].secrets.exporter.raw) not in shown


# ---------------------------------------------------------------- what the caller may not ask


@pytest.mark.parametrize("leaf", [-1, 2, 3, 4, 2**31, 2**32])
def test_nobody_is_there(leaf: int) -> None:
    ours = members(4)
    sent = front.commit(ours[A], ours.env, proposals=[Remove(place(ours[C])), Remove(place(ours[D]))])
    with pytest.raises(CallerError, match="blank"):
        seal(sent.group, ours.env, LeafIndex(leaf), b"hello")


def test_whoever_does_not_read_them_is_not_sent_any() -> None:
    ours = members(3, deaf=C)
    with pytest.raises(CallerError, match="supported_wire_formats"):
        seal(ours[A], ours.env, place(ours[C]), b"hello")
    message = seal(ours[C], ours.env, place(ours[A]), b"I can still talk")
    assert open_message(ours[A], message).data == b"I can still talk"


def test_an_epoch_that_is_over_sends_and_reads_none() -> None:
    ours = members(3)
    message = seal(ours[A], ours.env, place(ours[B]), b"hello")
    removal = front.commit(ours[A], ours.env, proposals=[Remove(place(ours[B]))])
    done = front.receive(ours[B], ours.env, removal.message)
    assert isinstance(done, front.CommitMessage)
    reinit = ReInit(GroupId(b"next"), 1, 1, ())
    ended = front.commit(ours[A], ours.env, proposals=[reinit]).group
    for over in (done.group, front.retired(ours[B]), ended):
        with pytest.raises(GroupEndedError):
            seal(over, ours.env, place(ours[A]), b"hello")
    with pytest.raises(GroupEndedError):
        open_message(front.retired(ours[B]), message)
    to_me = encode_message(
        WireFormat.TARGETED_MESSAGE, replace(decode_message(message), epoch=done.group.epoch).encode()
    )
    with pytest.raises(GroupEndedError):
        open_message(done.group, to_me)


def test_a_key_that_no_tree_can_hold_is_our_own_mistake() -> None:
    ours = members(2)
    with pytest.raises(BugError):
        Channel.of(ours[A]).seal(
            ours.env.provider.random,
            sender=place(ours[A]),
            signature_private=ours[A].signature_key,
            recipient=place(ours[B]),
            recipient_key=bytes(32),
            data=b"",
            authenticated_data=b"",
            pad=lambda size: 0,
        )


# ---------------------------------------------------------------- right, but not here and now


def test_another_group_and_other_epochs() -> None:
    ours = members(2)
    elsewhere = ours.clients[B].create(ours.env, b"elsewhere", leaf_extensions=LEAF)
    message = seal(ours[A], ours.env, place(ours[B]), b"hello")
    with pytest.raises(WrongGroupError):
        open_message(elsewhere, message)
    sent = front.commit(ours[A], ours.env)
    moved = front.receive(ours[B], ours.env, sent.message).group
    with pytest.raises(PastEpochError):
        open_message(moved, message)
    later = seal(sent.group, ours.env, place(ours[B]), b"hello again")
    with pytest.raises(FutureEpochError):
        open_message(ours[B], later)
    assert open_message(moved, later).data == b"hello again"


@breaks("TM-6.3-1")
def test_a_rival_epoch_of_the_same_number() -> None:
    """Two commits on one parent: what is sealed in one branch is not of the other."""
    ours = members(2)
    one = front.commit(ours[A], ours.env).group
    other = front.commit(ours[B], ours.env).group
    message = seal(one, ours.env, place(ours[B]), b"hello")
    refused("TM-6.3-1", lambda: open_message(other, message))


# ---------------------------------------------------------------- what is wrong


@breaks("VAL-6-4")
def test_another_wire_format() -> None:
    ours = members(2)
    message = seal(ours[A], ours.env, place(ours[B]), b"hello")
    refused("VAL-6-4", lambda: open_message(ours[B], message[:2] + b"\x00\x02" + message[4:]))
    event = front.receive(ours[B], ours.env, message)
    assert isinstance(event, front.TargetedMessage)
    assert event.group is ours[B]


@breaks("VAL-2.1-5")
def test_nothing_follows_the_message() -> None:
    ours = members(2)
    message = seal(ours[A], ours.env, place(ours[B]), b"hello")
    refused("VAL-2.1-5", lambda: open_message(ours[B], message + b"\x00"))


def changed(message: bytes, **fields: Any) -> bytes:
    return encode_message(WireFormat.TARGETED_MESSAGE, replace(decode_message(message), **fields).encode())


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@breaks("TM-6.3-1")
def test_sender_data_that_was_changed() -> None:
    ours = members(3)
    message = seal(ours[A], ours.env, place(ours[B]), bytes(64))
    sealed = decode_message(message).encrypted_sender_auth_data
    for bad in (flipped(sealed, 0), flipped(sealed, -1), sealed[:-1], sealed[:15], b"", sealed + b"\x00"):
        refused("TM-6.3-1", lambda: open_message(ours[B], changed(message, encrypted_sender_auth_data=bad)))  # noqa: B023 - used at once
    ciphertext = decode_message(message).ciphertext
    for bad in (flipped(ciphertext, 0), flipped(ciphertext, 31), ciphertext[1:], b""):
        refused("TM-6.3-1", lambda: open_message(ours[B], changed(message, ciphertext=bad)))  # noqa: B023 - the same
    refused("TM-6.3-1", lambda: open_message(ours[C], changed(message, recipient=place(ours[C]))))
    open_message(ours[B], message)


@breaks("TM-6.3-1")
def test_who_has_the_leaf_key_but_not_the_epoch() -> None:
    ours = members(2)
    frame = decode_message(seal(ours[A], ours.env, place(ours[B]), b"hello"))
    private = ours[B].private[2 * place(ours[B])]
    inside = Channel.of(ours[B])
    outside = replace(inside, exporter=ExporterSecret(bytes(32)))
    refused("TM-6.3-1", lambda: outside.open(frame, private, lambda leaf: None))
    assert inside.open(frame, private, lambda leaf: ours[A].own_leaf_node.signature_key).data == b"hello"


@breaks("VAL-2.1-1", "VAL-2.1-5")
def test_sender_data_of_another_form() -> None:
    ours = members(2)
    for rule, change in (
        ("VAL-2.1-1", lambda plain: plain[:-1]),
        ("VAL-2.1-1", lambda plain: b""),
        ("VAL-2.1-5", lambda plain: plain + b"\x00"),
    ):
        message = forge(ours, A, B, suite=SealsAnother(change))
        refused(rule, lambda: open_message(ours[B], message))  # noqa: B023 - used at once
    assert open_message(ours[B], forge(ours, A, B, suite=SealsAnother(bytes))).data == b"data"


@breaks("TM-7-1")
def test_a_sender_who_is_not_there() -> None:
    ours = members(3)
    sent = front.commit(ours[A], ours.env, proposals=[Remove(place(ours[C]))])
    left = {A: sent.group, B: front.receive(ours[B], ours.env, sent.message).group}
    after = Party(ours.env, ours.clients, left)
    for sender in (place(ours[C]), 3, 4, 2**32 - 1):
        refused("TM-7-1", lambda: open_message(after[B], forge(after, A, B, sender=sender)))  # noqa: B023 - used at once
    assert open_message(after[B], forge(after, A, B)).data == b"data"


@breaks("TM-5-1")
def test_who_speaks_for_another() -> None:
    ours = members(3)
    refused("TM-5-1", lambda: open_message(ours[B], forge(ours, C, B, sender=place(ours[A]))))
    assert open_message(ours[B], forge(ours, C, B)).sender == place(ours[C])


@breaks("TM-5-1")
def test_what_only_the_signature_covers_at_first() -> None:
    ours = members(2)
    message = seal(ours[A], ours.env, place(ours[B]), bytes(64), authenticated_data=b"seen")
    ciphertext = decode_message(message).ciphertext
    refused("TM-5-1", lambda: open_message(ours[B], changed(message, authenticated_data=b"see")))
    for bad in (flipped(ciphertext, 32), flipped(ciphertext, -1), ciphertext[:-1], ciphertext[:32]):
        refused("TM-5-1", lambda: open_message(ours[B], changed(message, ciphertext=bad)))  # noqa: B023 - used at once


class NeverOpens:
    """An HPKE that must not be asked."""

    def open_psk(self, *arguments: Any) -> bytes:
        raise AssertionError("opened before the signature was checked")


@breaks("TM-5-1")
def test_the_signature_comes_first() -> None:
    ours = members(3)
    frame = decode_message(forge(ours, C, B, sender=place(ours[A]), key_of=A))
    channel = replace(Channel.of(ours[B]), suite=Suite(1, hpke=NeverOpens()))  # type: ignore[arg-type]  # as it says
    key = ours[A].own_leaf_node.signature_key
    refused("TM-5-1", lambda: channel.open(frame, HpkePrivateKey(bytes(32)), lambda leaf: key))


@breaks("TM-6.2-1")
def test_content_sealed_to_another_key() -> None:
    ours = members(3)
    refused("TM-6.2-1", lambda: open_message(ours[B], forge(ours, A, B, key_of=C)))
    assert open_message(ours[B], forge(ours, A, B)).data == b"data"


@breaks("TM-6.2-1")
@pytest.mark.parametrize("bad", [b"", bytes(32), bytes(31), b"\x09" + bytes(32)])
def test_a_kem_output_that_is_none(bad: bytes) -> None:
    ours = members(2)
    message = forge(ours, A, B, suite=content_changer(kem_output=lambda good: bad))
    refused("TM-6.2-1", lambda: open_message(ours[B], message))
    assert open_message(ours[B], forge(ours, A, B, suite=content_changer())).data == b"data"


@breaks("TM-6.1-1")
@pytest.mark.parametrize("padding", [b"\x01", b"\x00\x00\x01", b"\x01\x00", b"0" * 300])
def test_padding_that_says_something(padding: bytes) -> None:
    ours = members(2)
    message = forge(ours, A, B, suite=content_changer(content=lambda good: good + padding))
    refused("TM-6.1-1", lambda: open_message(ours[B], message))
    message = forge(ours, A, B, suite=content_changer(content=lambda good: good + bytes(len(padding))))
    assert open_message(ours[B], message).data == b"data"


@breaks("VAL-2.1-1")
def test_content_of_another_form() -> None:
    ours = members(2)
    for content in (b"", b"\x05data"):
        message = forge(ours, A, B, suite=content_changer(content=lambda good: content))  # noqa: B023 - used at once
        refused("VAL-2.1-1", lambda: open_message(ours[B], message))  # noqa: B023 - used at once


@lru_cache(maxsize=1)
def one_message() -> tuple[Group, bytes]:
    """A recipient, and a message to it."""
    ours = members(2)
    return ours[B], seal(ours[A], ours.env, place(ours[B]), b"hello", authenticated_data=b"seen")


@pytest.mark.slow
@given(changes=st.lists(mutations, min_size=1, max_size=3))
@example(changes=[Mutation("truncate", 0, 0, 0)])
def test_whatever_is_changed_is_refused(changes: list[Mutation]) -> None:
    recipient, message = one_message()
    bad = mutated(message, changes)
    try:
        open_message(recipient, bad)
    except (PeerError, StaleError):
        return
    assert bad == message


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    recipient, _ = one_message()
    with pytest.raises((PeerError, StaleError)):
        open_message(recipient, encode_message(WireFormat.TARGETED_MESSAGE, noise))


# ---------------------------------------------------------------- known answers


def check_answers(case: dict[str, Any]) -> None:
    opened = follow(case)
    assert opened.message.sender == case["sender_leaf_index"]
    assert opened.message.data.hex() == case["application_data"]
    assert opened.message.authenticated_data.hex() == case["authenticated_data"]
    assert opened.padding_length == case["padding_length"]
    frame = decode_message(bytes.fromhex(case["targeted_message"]))
    assert (frame.group_id.hex(), frame.epoch) == (case["group_id"], case["epoch"])
    assert frame.recipient == case["recipient_leaf_index"]
    for name, value in opened.intermediate.items():
        assert case.get(name, value) == value, name


def test_the_drafts_vectors() -> None:
    cases = load(targeted_vectors.DRAFT)
    assert len(cases) == 3
    for case in cases:
        check_answers(case)


def test_our_vectors() -> None:
    cases = load(targeted_vectors.PATH)
    assert {case["cipher_suite"] for case in cases} == {*CipherSuite, *HybridSuite}
    for case in cases:
        check_answers(case)
        assert set(case) > set(load(targeted_vectors.DRAFT)[0])


def test_our_vectors_are_what_their_module_writes() -> None:
    """But for randomness that is not the provider's: ML-KEM's and ML-DSA's."""
    sealed = {"targeted_message", "ciphertext_hash", "sender_auth_data_key", "sender_auth_data_nonce"}
    classical = {int(each) for each in CipherSuite}
    for pinned, made in zip(load(targeted_vectors.PATH), targeted_vectors.generate(), strict=True):
        varies = set() if pinned["cipher_suite"] in classical else {*sealed, "sender_leaf_node"}
        assert {name for name in made if made[name] != pinned[name]} <= varies
        check_answers(made)
