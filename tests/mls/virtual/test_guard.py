"""Reuse guards: no two devices choose alike, siblings read who sent, and nobody else sees anything.

The known answers are computed a second time here from HMAC and from FF1 over 32 numerals, as the draft has it.
"""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Iterable
from math import sqrt
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls import group as front
from mls.errors import CallerError
from mls.group import ApplicationMessage, CommitMessage, ProposalMessage
from mls.messages import Sealing
from mls.registries import Generation, LeafIndex
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.secrets import ReuseGuardSecret
from mls.suite import Suite
from mls.virtual.ff1 import BitOrder, SmallSpacePrp, encrypt
from mls.virtual.guard import MAX_LEAVES, Guard, is_leaf_count
from tests.mls.clients import party
from tests.mls.siblings import Siblings
from tests.mls.virtual.test_ff1 import listed
from tests.providers import SeededProvider
from tests.vectors.own import guard as pinned
from tests.vectors.own.guard import Scripted

CASES: list[dict[str, Any]] = json.loads(pinned.PATH.read_text())["reuse_guards"]
BY_SUITE = {1: "sha256", 7: "sha384", 5: "sha512"}
SUITE = Suite(1)
SECRET = ReuseGuardSecret(bytes(range(32)))
NONCE = b"twelve bytes"
COUNTS = [1 << bits for bits in range(9)]

nonces = st.binary(min_size=12, max_size=12)
orders = st.sampled_from(BitOrder)
draws = st.binary(min_size=4, max_size=4)


def device(own_leaf: int | None, leaf_count: int = 8, **changes: Any) -> Guard:
    leaf = None if own_leaf is None else LeafIndex(own_leaf)
    return Guard(**{"suite": SUITE, "secret": SECRET, "leaf_count": leaf_count, "own_leaf": leaf, **changes})


def drawn(guard: Guard, random: bytes, nonce: bytes = NONCE) -> bytes:
    return guard.sender(Scripted(random))(nonce, 0, APPLICATION)


def sealed(reuse_guard: bytes, nonce: bytes = NONCE) -> Sealing:
    return Sealing(Generation(0), reuse_guard, nonce)


def number_of(reuse_guard: bytes, nonce: bytes = NONCE) -> int:
    """The draft's x."""
    key = SUITE.expand_with_label(SECRET.raw, b"reuse guard", nonce, 16)
    return SmallSpacePrp(key).decrypt(int.from_bytes(reuse_guard, "big"))


# Known answers


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["cipher_suite"]))
def test_known_answers(case: dict[str, Any]) -> None:
    secret = bytes.fromhex(case["reuse_guard_secret"])
    for sent in case["sent"]:
        nonce, random = bytes.fromhex(sent["key_schedule_nonce"]), bytes.fromhex(sent["random"])
        label = b"\x00\x10\x13MLS 1.0 reuse guard\x0c" + nonce
        key = hmac.digest(secret, label + b"\x01", BY_SUITE[case["cipher_suite"]])[:16]
        assert key.hex() == sent["prp_key"]
        x = int(sent["x"], 16)
        assert x % sent["leaf_count"] == sent["leaf_index"]
        assert x // sent["leaf_count"] == int.from_bytes(random, "big") // sent["leaf_count"]
        for order in BitOrder:
            answer = bytes.fromhex(sent["reuse_guard"][order.value])
            assert encrypt(key, listed(x, order), radix=2) == listed(int.from_bytes(answer, "big"), order)


def test_known_answers_are_those_of_the_generator() -> None:
    answers = json.loads(pinned.PATH.read_text())
    assert pinned.generate() == answers
    for case in answers["small_space_prp"]:
        for order in BitOrder:
            number, made = int(case["input"], 16), int(case["output"][order.value], 16)
            assert encrypt(bytes.fromhex(case["key"]), listed(number, order), radix=2) == listed(made, order)


# Attribution


@pytest.mark.slow
@pytest.mark.parametrize("order", BitOrder)
@pytest.mark.parametrize("leaf_count", COUNTS)
def test_every_device_is_recognized(leaf_count: int, order: BitOrder) -> None:
    provider = SeededProvider(leaf_count)
    stranger = device(None, leaf_count, bit_order=order)
    for index in range(leaf_count):
        sender = device(index, leaf_count, bit_order=order).sender(provider)
        for _ in range(4):
            nonce = provider.random(12)
            for ratchet in (APPLICATION, HANDSHAKE):
                sealing = sealed(sender(nonce, 5, ratchet), nonce)
                assert stranger.attribute(sealing) == index


@given(
    reuse_guard=draws, nonce=nonces, secret=st.binary(min_size=32, max_size=32), order=orders, bits=st.integers(0, 8)
)
def test_any_bytes_are_attributed_to_some_leaf(
    reuse_guard: bytes, nonce: bytes, secret: bytes, order: BitOrder, bits: int
) -> None:
    """Other clients of the leaf, and rules broken by a sibling, give a wrong answer and no error."""
    guard = device(0, 1 << bits, secret=ReuseGuardSecret(secret), bit_order=order)
    assert 0 <= guard.attribute(sealed(reuse_guard, nonce)) < 1 << bits


@pytest.mark.parametrize("leaf_count", [2, 8, 128])
def test_another_leaf_count_attributes_wrongly(leaf_count: int) -> None:
    provider = SeededProvider("counts")
    half, double = device(None, leaf_count // 2), device(None, leaf_count * 2)
    found = Counter[bool]()
    for index in range(leaf_count):
        sender = device(index, leaf_count).sender(provider)
        for _ in range(256 // leaf_count):
            sealing = sealed(sender(NONCE, 0, APPLICATION))
            assert half.attribute(sealing) == index % (leaf_count // 2)
            told = double.attribute(sealing)
            assert told in (index, index + leaf_count)
            found[told == index] += 1
    assert 85 < found[True] < 171


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": ReuseGuardSecret(bytes(32))},
        {"suite": Suite(3), "secret": ReuseGuardSecret(SECRET.raw[::-1])},
        {"suite": Suite(7), "secret": ReuseGuardSecret(SECRET.raw + bytes(16))},
        {"bit_order": BitOrder.LSB_FIRST_PER_BYTE},
    ],
)
def test_another_secret_suite_or_order_attributes_at_random(wrong: dict[str, Any]) -> None:
    provider = SeededProvider("wrong")
    sender, other = device(5, 64).sender(provider), device(5, 64, **wrong)
    told = [other.attribute(sealed(sender(nonce, 0, APPLICATION), nonce)) for nonce in _nonces(provider, 640)]
    assert told.count(LeafIndex(5)) < 30  # 10 are expected
    assert len(set(told)) == 64
    right = [device(None, 64).attribute(sealed(sender(NONCE, 0, APPLICATION))) for _ in range(64)]
    assert set(right) == {5}


def test_another_nonce_attributes_at_random() -> None:
    provider = SeededProvider("nonces")
    sender = device(5, 64).sender(provider)
    told = [device(5, 64).attribute(sealed(sender(nonce, 0, 0), NONCE)) for nonce in _nonces(provider, 640)]
    assert told.count(LeafIndex(5)) < 30


def _nonces(provider: SeededProvider, count: int) -> Iterable[bytes]:
    return (provider.random(12) for _ in range(count))


# Drawing


@pytest.mark.parametrize("leaf_count", COUNTS)
def test_each_number_of_the_class_is_as_likely(leaf_count: int) -> None:
    """Exactly `leaf_count` of the 2^32 draws lead to each number: the low bits of a draw are replaced."""
    index = leaf_count - 1
    for high in (0, 1, (1 << 32) // leaf_count - 1, (1 << 32) // leaf_count // 2):
        expected = high * leaf_count + index
        for low in {0, leaf_count // 2, leaf_count - 1}:
            random = (high * leaf_count + low).to_bytes(4, "big")
            assert number_of(drawn(device(index, leaf_count), random)) == expected


@pytest.mark.slow
@given(one=draws, other=draws, nonce=nonces, order=orders, data=st.data(), bits=st.integers(1, 8))
def test_two_devices_never_choose_alike(
    one: bytes, other: bytes, nonce: bytes, order: BitOrder, data: st.DataObject, bits: int
) -> None:
    indices = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=2, max_size=2, unique=True))
    first, second = (device(index, 1 << bits, bit_order=order) for index in indices)
    assert drawn(first, one, nonce) != drawn(second, other, nonce)
    assert drawn(first, one, nonce) != drawn(second, one, nonce)


@pytest.mark.slow
@pytest.mark.parametrize("order", BitOrder)
def test_images_are_disjoint(order: BitOrder) -> None:
    """All 16 devices draw the same 500 numbers under one nonce, and no guard comes up twice."""
    provider = SeededProvider("images")
    highs = [bytes([index >> 8, index & 255, 0, 0]) for index in range(250)]
    highs += [provider.random(3) + b"\0" for _ in range(250)]
    assert len(set(highs)) == 500
    made = [drawn(device(index, 16, bit_order=order), random) for index in range(16) for random in highs]
    assert len(set(made)) == 16 * 500


def test_a_device_alone_has_all_guards() -> None:
    for random in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x23\x45\x67"):
        assert number_of(drawn(device(0, 1), random)) == int.from_bytes(random, "big")


def test_who_was_no_member_reads_and_does_not_send() -> None:
    stranger = device(None)
    assert stranger.attribute(sealed(drawn(device(3), b"abcd"))) == 3
    provider = SeededProvider("stranger")
    with pytest.raises(CallerError, match="no member") as caught:
        stranger.sender(provider)
    assert "rotated" in caught.value.hint
    assert provider.random(4) == SeededProvider("stranger").random(4)  # nothing was drawn


# Uniformity


def chi_square(counts: Iterable[int]) -> float:
    """How far from even, in standard deviations of what chance does."""
    found = list(counts)
    mean = sum(found) / len(found)
    freedom = len(found) - 1
    return (sum((count - mean) ** 2 for count in found) / mean - freedom) / sqrt(2 * freedom)


def unevenness(guards: list[bytes]) -> float:
    """The worst of the four bytes."""
    columns = [Counter(guard[at] for guard in guards) for at in range(4)]
    return max(abs(chi_square([column[byte] for byte in range(256)])) for column in columns)


LIMIT = 5.0
"""Standard deviations; seeds are fixed, so that this is passed or failed once and for all."""


def test_the_measure_sees_what_is_uneven() -> None:
    provider = SeededProvider("measure")
    assert unevenness([provider.random(4) for _ in range(8_000)]) < LIMIT
    plain = [(int.from_bytes(provider.random(4), "big") & ~7 | 5).to_bytes(4, "big") for _ in range(8_000)]
    assert unevenness(plain) > 100  # what would be seen without the permutation


def many(count: int, leaf_count: int, devices: list[int], *, one_nonce: bool = False) -> dict[int, list[bytes]]:
    """Guards of some devices who take turns, as an outsider would collect them."""
    provider = SeededProvider(f"{count} guards of {devices}")
    senders = [device(index, leaf_count).sender(provider) for index in devices]
    guards: dict[int, list[bytes]] = {index: [] for index in devices}
    for turn in range(count):
        nonce = NONCE if one_nonce else turn.to_bytes(12, "big")
        guards[devices[turn % len(devices)]].append(senders[turn % len(devices)](nonce, turn, APPLICATION))
    return guards


@pytest.mark.slow
@pytest.mark.parametrize("one_nonce", [False, True])
@pytest.mark.parametrize("leaf_count", [1, 8, 256])
def test_guards_look_random(leaf_count: int, one_nonce: bool) -> None:
    (guards,) = many(10_000, leaf_count, [leaf_count - 1], one_nonce=one_nonce).values()
    assert unevenness(guards) < LIMIT


@pytest.mark.slow
def test_50_000_guards_of_five_devices() -> None:
    """Even as a whole and for each device; each device's bits are as likely as another's, alone and in pairs."""
    by_device = many(50_000, 8, [0, 1, 2, 5, 7])
    together = [guard for guards in by_device.values() for guard in guards]
    assert unevenness(together) < LIMIT
    for guards in by_device.values():
        assert unevenness(guards) < LIMIT
        numbers = [int.from_bytes(guard, "big") for guard in guards]
        half = sqrt(len(numbers) / 4)
        for bit in range(32):
            ones = sum(number >> bit & 1 for number in numbers)
            equal = sum((number >> bit ^ number >> (bit + 1) % 32) & 1 for number in numbers)
            assert abs(ones - len(numbers) / 2) < LIMIT * half
            assert abs(equal - len(numbers) / 2) < LIMIT * half


# In a group


def test_siblings_recognize_each_other_in_a_conversation() -> None:
    """Two devices on one leaf speak, propose and commit; everyone reads, and siblings know which one it was."""
    siblings = Siblings(party(3))
    env = siblings.party.env
    laptop, phone = device(2), device(6)
    for own, sibling, index in ((laptop, phone, 2), (phone, laptop, 6)):
        ratchets: list[int] = []
        draw = own.sender(env.provider)

        def noted(nonce: bytes, generation: int, ratchet: int) -> bytes:
            ratchets.append(ratchet)  # noqa: B023 - called within this round
            return draw(nonce, generation, ratchet)  # noqa: B023 - the same

        first = siblings.first
        _, said = front.seal(first, env, b"hello", reuse_guard=noted)
        _, proposed, _ = front.propose_update(first, env, reuse_guard=noted)
        heard = front.receive(siblings.second, env, said, own=siblings.notebook)
        assert isinstance(heard, ApplicationMessage)
        assert heard.data == b"hello"
        other = front.receive(siblings.party["member00"], env, said)
        assert isinstance(other, ApplicationMessage)
        for event in (heard, other):
            assert sibling.attribute(event.sealing) == own.attribute(event.sealing) == index
        asked = front.receive(siblings.party["member00"], env, proposed)
        assert isinstance(asked, ProposalMessage)
        assert asked.sealing is not None
        assert sibling.attribute(asked.sealing) == index
        supply = siblings.notebook.supply(first, env)
        sent = front.commit(first, env, supply=supply, reuse_guard=noted)
        followed = front.receive(siblings.second, env, sent.message, own=siblings.notebook)
        assert isinstance(followed, CommitMessage)
        assert followed.sealing is not None
        assert sibling.attribute(followed.sealing) == index
        assert ratchets == [APPLICATION, HANDSHAKE, HANDSHAKE]


def test_two_devices_take_one_key() -> None:
    """Same group value, same generation, same key and nonce: the guards are what differs."""
    ours = party(2)
    sealings = []
    for index in range(8):
        draw = device(index).sender(ours.env.provider)
        _, message = front.seal(ours["member00"], ours.env, b"data", reuse_guard=draw)
        event = front.receive(ours["member01"], ours.env, message)
        assert isinstance(event, ApplicationMessage)
        sealings.append(event.sealing)
    assert len({(sealing.generation, sealing.nonce) for sealing in sealings}) == 1
    assert len({sealing.reuse_guard for sealing in sealings}) == 8
    assert [device(None).attribute(sealing) for sealing in sealings] == list(range(8))


# Values


def test_leaf_counts() -> None:
    good = [count for count in range(-8, 1_100) if is_leaf_count(count)]
    assert good == COUNTS
    assert COUNTS[-1] == MAX_LEAVES


def test_what_cannot_be_a_guard() -> None:
    for count in (-8, -1, 0, 3, 5, 6, 7, 255, 257, 512, 1 << 32):
        with pytest.raises(CallerError, match="no power of two"):
            device(None, count)
    for leaf, count in ((-1, 8), (8, 8), (1, 1)):
        with pytest.raises(CallerError, match=f"leaf {leaf} is not in a tree of {count}"):
            device(leaf, count)
    for size in (0, 16, 31, 48):
        with pytest.raises(CallerError, match=f"{size} bytes"):
            device(0, secret=ReuseGuardSecret(bytes(size)))


def test_a_guard_of_another_length_is_a_mistake() -> None:
    """`mls.framing` gives four bytes or refuses the message."""
    with pytest.raises(CallerError, match="32-bit"):
        device(0).attribute(sealed(b"\1" * 5))


def test_values_hold_secrets_well() -> None:
    guard = device(3)
    assert repr(SECRET) == "<ReuseGuardSecret 32 bytes>"
    shown = repr(guard)
    assert SECRET.raw.hex() not in shown
    assert repr(SECRET.raw) not in shown
    assert guard == device(3)
    assert guard != device(3, bit_order=BitOrder.LSB_FIRST_PER_BYTE)
    assert guard != device(3, secret=ReuseGuardSecret(bytes(32)))
    sender = guard.sender(SeededProvider(1))
    assert str(NONCE) not in repr(sender)
