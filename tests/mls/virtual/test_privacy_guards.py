"""draft-ietf-mls-virtual-clients §6.5.2: 50,000 reuse guards of five devices, as the conversation's members see them.

Members can read a message's sender data, its leaf, generation and guard, and they know the key schedule's nonce.
What they do not know is the permutation. So to them guards must be four even bytes, each independent of the one before,
of the nonce, and of the device that drew it. A chi-square test asks each of these, with the p-value below which chance
is not believed any more; seeds are fixed, so it is passed or failed once and for all. Guards that are not permuted, or
not by all devices, must fail the same tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from mls.messages import open_message
from mls.provider import ReuseGuard
from mls.registries import LeafIndex
from mls.secret_tree import APPLICATION
from mls.virtual import client as vc
from tests.mls.virtual.household import Household
from tests.mls.virtual.privacy_statistics import evenness, independence, survival

COUNT = 50_000
LIMIT = 1e-4
"""Of a p-value. Some twenty are asked for, so chance would fail one in five hundred sets of seeds."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One message, and who really sent it."""

    device: int
    nonce: int
    """The first four bytes of it, which the guard is mixed into."""
    guard: int


def p_values(seen: Sequence[Seen]) -> dict[str, float]:
    guards = [each.guard for each in seen]
    devices = [each.device for each in seen]
    mixed = [each.guard ^ each.nonce for each in seen]
    found = {f"byte {at}": evenness([guard >> 8 * at & 255 for guard in guards], 256) for at in range(4)}
    for bits in (1, 2, 3, 4, 12):  # N_e is 8: the third is what tells a device where nothing is permuted
        found[f"mod {1 << bits}"] = evenness([guard & (1 << bits) - 1 for guard in guards], 1 << bits)
    found["mixed with the nonce, mod 8"] = evenness([each & 7 for each in mixed], 8)
    found["mixed with the nonce, top"] = evenness([each >> 24 for each in mixed], 256)
    pairs = list(zip(guards, guards[1:], strict=False))
    found["pairs, low bits"] = evenness([(one & 31) << 5 | other & 31 for one, other in pairs], 1024)
    found["pairs, high bits"] = evenness([one >> 27 << 5 | other >> 27 for one, other in pairs], 1024)
    found["difference to the last, mod 8"] = evenness([(other - one) & 7 for one, other in pairs], 8)
    found["difference to the last, top"] = evenness([(one ^ other) >> 24 for one, other in pairs], 256)
    found["device and low bits"] = independence(devices, [guard & 63 for guard in guards])
    found["device and high bits"] = independence(devices, [guard >> 26 for guard in guards])
    found["device and low bits mixed with the nonce"] = independence(devices, [each & 63 for each in mixed])
    same = [one.device == other.device for one, other in zip(seen, seen[1:], strict=False)]
    found["same device as before and low bits"] = independence(same, [(one ^ other) & 7 for one, other in pairs])
    return found


Maker = Callable[[Household, str], ReuseGuard]


def permuted(house: Household, name: str) -> ReuseGuard:
    """What devices do."""
    device = house[name]
    guard = vc.guard_of(device.emulation, device.groups[b"group"])
    assert guard is not None
    assert guard.leaf_count == 8
    return guard.sender(device.env.provider)


def plain(house: Household, name: str) -> ReuseGuard:
    """The number itself, of the device's class modulo 8, without the permutation."""
    own, random = house[name].emulation.group.own_leaf, house[name].env.provider.random

    def draw(nonce: bytes, generation: int, ratchet: int) -> bytes:
        return (int.from_bytes(random(4), "big") & ~7 | own).to_bytes(4, "big")

    return draw


def masked(house: Household, name: str) -> ReuseGuard:
    """The number, mixed with the nonce that every member knows."""
    bare = plain(house, name)

    def draw(nonce: bytes, generation: int, ratchet: int) -> bytes:
        return bytes(one ^ other for one, other in zip(bare(nonce, generation, ratchet), nonce, strict=False))

    return draw


def biased(house: Household, name: str) -> ReuseGuard:
    """Right, but that one device never sets the highest bit."""
    right = permuted(house, name)

    def draw(nonce: bytes, generation: int, ratchet: int) -> bytes:
        while True:
            guard = right(nonce, generation, ratchet)
            if guard[0] < 128:
                return guard

    return draw if name == "device3" else right


def household() -> Household:
    house = Household(5, seed="guards")
    house.create("device0")
    house.invite("device0", b"group", "anna")
    house.commit("device1", force_path=True)
    return house


def collected(make: Maker, count: int) -> list[Seen]:
    """Guards for the nonces of one epoch of a conversation, by devices that take turns at random."""
    house = household()
    die = Random("turns")
    senders = [make(house, name) for name in house.names]
    group = house["device0"].groups[b"group"]
    keys, suite, leaf = group.keys, group.suite, group.own_leaf
    seen = []
    for _ in range(count):
        keys, key = keys.next_key(suite, leaf, APPLICATION)
        device = die.randrange(5)
        guard = senders[device](key.nonce, key.generation, APPLICATION)
        seen.append(Seen(device, int.from_bytes(key.nonce[:4], "big"), int.from_bytes(guard, "big")))
    return seen


@pytest.mark.slow
def test_50_000_guards_tell_nothing() -> None:
    found = p_values(collected(permuted, COUNT))
    print(found)
    assert min(found.values()) > LIMIT, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "tells"),
    [
        (plain, ["byte 0", "mod 8", "pairs, low bits", "device and low bits"]),
        (masked, ["mixed with the nonce, mod 8", "device and low bits mixed with the nonce"]),
        (biased, ["byte 3", "device and high bits"]),
    ],
)
def test_guards_that_tell_are_found(make: Maker, tells: list[str]) -> None:
    found = p_values(collected(make, 10_000))
    for name in tells:
        assert found[name] < 1e-9, found


@pytest.mark.slow
def test_guards_of_messages_that_were_sent() -> None:
    """The same, of messages that go through the conversation, as a member opens them."""
    house = household()
    die = Random("sent")
    devices = list(house.devices.values())
    reader = house.others[b"group"]["anna"]
    shared = devices[0].groups[b"group"]
    seen = []
    for turn in range(4_000):
        device = devices[die.randrange(5)]
        # In one value of the conversation all devices stand at the same generation: they have heard each other.
        sent = vc.seal(device.emulation, shared, device.env, b"message %d" % turn)
        shared = sent.group
        opened = open_message(reader, sent.message, shared_leaf=False)
        reader = opened.group
        assert opened.sealing is not None
        assert opened.sealing.generation == turn
        assert opened.verified.content.sender.index == shared.own_leaf
        sealing = opened.sealing
        seen.append(
            Seen(
                device.emulation.group.own_leaf,
                int.from_bytes(sealing.nonce[:4], "big"),
                int.from_bytes(sealing.reuse_guard, "big"),
            )
        )
    assert {each.device for each in seen} == {LeafIndex(leaf) for leaf in range(5)}
    found = p_values(seen)
    print(found)
    assert min(found.values()) > LIMIT, found


@pytest.mark.slow
def test_two_guards_under_one_nonce_tell_nothing_but_that_they_differ() -> None:
    """Where two devices took one generation, an outsider cannot tell which, nor whether one sent first."""
    house = household()
    group = house["device0"].groups[b"group"]
    senders = [permuted(house, name) for name in house.names]
    die = Random("collisions")
    keys = group.keys
    pairs, devices = [], []
    for _ in range(10_000):
        keys, key = keys.next_key(group.suite, group.own_leaf, APPLICATION)
        one, other = die.sample(range(5), 2)
        guards = [int.from_bytes(senders[at](key.nonce, key.generation, APPLICATION), "big") for at in (one, other)]
        assert guards[0] != guards[1]
        pairs.append(guards[0] ^ guards[1])
        devices.append(5 * one + other)
    assert evenness([each & 7 for each in pairs], 8) > LIMIT
    assert evenness([each & 255 for each in pairs], 256) > LIMIT
    assert evenness([each >> 24 for each in pairs], 256) > LIMIT
    assert independence(devices, [each & 7 for each in pairs]) > LIMIT


# The test itself


@pytest.mark.parametrize(
    ("statistic", "freedom", "probability"),
    [
        (3.841458820694124, 1, 0.05),
        (6.6348966010212145, 1, 0.01),
        (18.307038053275146, 10, 0.05),
        (23.209251158954356, 10, 0.01),
        (124.3421134, 100, 0.05),
        (99.33412923598846, 100, 0.5),
        (0.0, 7, 1.0),
        (293.24783508, 255, 0.05),
    ],
)
def test_the_survival_function_is_that_of_tables(statistic: float, freedom: int, probability: float) -> None:
    assert survival(statistic, freedom) == pytest.approx(probability, rel=1e-6)


def test_the_survival_function_with_two_degrees_is_exponential() -> None:
    from math import exp

    for statistic in (0.1, 1.0, 3.9, 4.1, 20.0, 200.0):
        assert survival(statistic, 2) == pytest.approx(exp(-statistic / 2), rel=1e-10)


def test_p_values_of_chance_are_even() -> None:
    """A p-value under which fair dice fall too often, or too rarely, would be worth nothing."""
    draw = Random("dice")
    ps = [evenness([draw.randrange(16) for _ in range(400)], 16) for _ in range(1_000)]
    assert evenness([min(9, int(10 * p)) for p in ps], 10) > LIMIT
    ps = [
        independence([draw.randrange(3) for _ in range(300)], [draw.randrange(4) for _ in range(300)])
        for _ in range(500)
    ]
    assert evenness([min(9, int(10 * p)) for p in ps], 10) > LIMIT
