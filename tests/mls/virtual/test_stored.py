"""What a device stores and finds again, and what it makes of damage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls import snapshot as groups
from mls.codec import Reader, decode_exactly, u16, u32
from mls.errors import CallerError, PeerError
from mls.persistent import PMap
from mls.virtual import client as vc, devices
from mls.virtual.emulation import Emulation
from mls.virtual.settings import DRAFT, LIMITS, OPENMLS, Settings, SignaturePolicy
from mls.virtual.stock import make_batch
from mls.virtual.stored import StoredEmulation, decode, encode, listening
from tests.mls.virtual.household import SETTINGS, Device, Household, offer
from tests.validation import breaks


def busy(settings: Settings = SETTINGS) -> Household:
    """A household in which there is something of everything."""
    house = Household(2, settings=settings)
    house.create("device0")
    house.invite("device1", b"group", "anna")
    house.upload("device0", offer(), offer(2))
    house.upload("device1", offer())
    house.commit("device0", force_path=True)
    house.add_device("device2", by="device1")
    house.commit("device1", force_path=True)
    return house


def again(device: Device) -> Emulation:
    """What is found after a restart."""
    provider, group = device.env.provider, device.emulation.group
    found = groups.decode(provider, group.parameters, groups.encode(group))
    return decode(StoredEmulation(encode(device.emulation).raw), provider, found)


@pytest.mark.parametrize("settings", [SETTINGS, Settings(signatures=SignaturePolicy.DERIVED, retain_seeds=True)])
def test_a_device_goes_on_after_a_restart(settings: Settings) -> None:
    house = busy(settings)
    for device in house.devices.values():
        found = again(device)
        assert encode(found) == encode(device.emulation)
        assert found.settings == settings
        device.emulation = found
    for name in house.names[:2]:
        house.commit(name, force_path=True)
        house.say(name)
        house.agree()


def test_no_operation_twice_after_a_restart() -> None:
    house = busy()
    device = house["device0"]
    group = device.groups[b"group"]
    before = vc.commit(device.emulation, group, device.env, force_path=True)
    device.emulation = before.emulation
    device.emulation = again(device)
    after = vc.commit(device.emulation, group, device.env, force_path=True)
    first, second = before.commit.group.own_leaf_node, after.commit.group.own_leaf_node
    assert first.encryption_key != second.encryption_key


def test_no_secret_shows() -> None:
    stored = encode(busy()["device0"].emulation)
    assert stored.raw.hex()[:40] not in repr(stored)
    shown = repr(busy()["device0"].emulation)
    for material in busy()["device0"].emulation.stock:
        seed = busy()["device0"].emulation.stock[material].seed
        assert repr(seed.raw) not in shown


def test_damage_is_told() -> None:
    device = busy()["device0"]
    whole = encode(device.emulation).raw
    provider, group = device.env.provider, device.emulation.group
    for damaged in (whole[:-1], whole + b"\0", u16(9) + whole[2:], whole[:40]):
        with pytest.raises(CallerError):
            decode(StoredEmulation(damaged), provider, group)
    elsewhere = replace(device.emulation, head=replace(device.emulation.head, newest=b"nowhere"))
    with pytest.raises(CallerError, match="damaged"):
        decode(encode(elsewhere), provider, group)


@given(st.binary(max_size=400), st.integers(0, 4000))
def test_any_damage_is_a_caller_error(noise: bytes, at: int) -> None:
    device = _DEVICE
    whole = encode(device.emulation).raw
    at %= len(whole)
    damaged = whole[:at] + noise + whole[at + len(noise) :]
    try:
        found = decode(StoredEmulation(damaged), device.env.provider, device.emulation.group)
    except CallerError:
        return
    assert sorted(encode(found).raw) == sorted(damaged)  # a secret, a time or a name is another one


_DEVICE = busy()["device0"]


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        Settings(profile=OPENMLS, signatures=SignaturePolicy.DERIVED),
        Settings(profile=DRAFT, retain=False, retain_seeds=True, max_leaves=64, max_epochs=7),
    ],
)
def test_settings_travel(settings: Settings) -> None:
    assert decode_exactly(settings.encode(), Settings.decode) == settings


@breaks("VC-5-2")
def test_settings_of_another_version() -> None:
    with pytest.raises(PeerError, match="VC-5-2"):
        Settings.decode(Reader(u16(2) + SETTINGS.encode()[2:]))


@breaks("VC-5-3")
@pytest.mark.parametrize("at", [2, 3, 4, 5, 6])
def test_settings_that_there_are_not(at: int) -> None:
    good = SETTINGS.encode()
    with pytest.raises(PeerError, match="VC-5-3"):
        Settings.decode(Reader(good[:at] + b"\7" + good[at + 1 :]))


def limited(name: str, value: int) -> bytes:
    """Settings with a limit that nobody could set."""
    good = SETTINGS.encode()
    at = 8 + 4 * list(LIMITS).index(name)
    assert good[at : at + 4] == u32(getattr(SETTINGS, name))
    return good[:at] + u32(value) + good[at + 4 :]


def unreasonable() -> list[tuple[str, int]]:
    ends = [(name, wrong) for name, most in LIMITS.items() for wrong in (0, most + 1, (1 << 32) - 1)]
    return [*ends, ("max_leaves", 3)]


@breaks("VC-5-3")
@pytest.mark.parametrize(("name", "value"), unreasonable())
def test_limits_out_of_reason(name: str, value: int) -> None:
    """Here and with us: what could not be read again, or told to a new device, is not begun with."""
    limits: dict[str, Any] = {name: value}
    with pytest.raises(CallerError):
        replace(SETTINGS, **limits)
    with pytest.raises(PeerError, match="VC-5-3"):
        decode_exactly(limited(name, value), Settings.decode)


@pytest.mark.parametrize("name", LIMITS)
def test_limits_within_reason(name: str) -> None:
    for value in (1, LIMITS[name]):
        limits: dict[str, Any] = {name: value}
        assert decode_exactly(limited(name, value), Settings.decode) == replace(SETTINGS, **limits)


@breaks("VC-5-3")
def test_settings_without_a_limit_or_with_impossible_numbers() -> None:
    good = SETTINGS.encode()
    numbers = good.index(u16(SETTINGS.numbers.app_components) + u16(SETTINGS.numbers.safe_aad))
    twice = good[:numbers] + good[numbers : numbers + 2] * 2 + good[numbers + 4 :]
    with pytest.raises(PeerError, match="VC-5-3"):
        Settings.decode(Reader(twice))
    with pytest.raises(PeerError, match="VC-5-3"):
        Settings.decode(Reader(good[:7] + b"\0" + good[numbers - 1 :]))


# An old storage


def test_a_device_from_an_old_storage_listens_until_it_begins_an_epoch_itself() -> None:
    house = busy()
    device = house["device0"]
    provider, parameters = device.env.provider, device.emulation.group.parameters
    disk = encode(device.emulation), groups.encode(device.emulation.group)
    old = device.groups[b"group"]
    ours = [house.commit("device0", force_path=True).commit]
    began = house.commit_devices("device1", derive=True).commit.message
    ours.append(house.commit("device0", force_path=True).commit)
    keys = {each.group.own_leaf_node.encryption_key for each in ours}

    def silent() -> None:
        for act in (vc.commit, vc.propose_update):
            with pytest.raises(CallerError, match="was no member"):
                act(device.emulation, device.groups[b"group"], device.env)
        with pytest.raises(CallerError, match="was no member"):
            vc.seal(device.emulation, device.groups[b"group"], device.env, b"again")
        with pytest.raises(CallerError, match="was no member"):
            make_batch(device.emulation, device.env, [offer()])

    device.emulation = decode(disk[0], provider, groups.decode(provider, parameters, disk[1]), restored=True)
    device.groups[b"group"] = old
    silent()
    for message in (ours[0].message, began, ours[1].message):
        if message is began:
            device.emulation = devices.receive(device.emulation, device.env, message).emulation
            continue
        got = vc.receive(device.emulation, device.groups[b"group"], device.env, message)
        assert got.ours
        device.emulation, device.groups[b"group"] = got.emulation, got.event.group
    house.agree()
    device.emulation = listening(device.emulation)
    silent()
    house.commit_devices("device0", derive=True, encrypt=False)
    house.commit("device1", force_path=True)
    acted = house.commit("device0", force_path=True)
    assert acted.commit.group.own_leaf_node.encryption_key not in keys
    house.say("device0")
    house.agree()


def test_what_is_stored_of_what_must_not_come_again() -> None:
    """KeyPackages that were used and withdrawn, and epochs that were left."""
    house = busy()
    device = house["device0"]
    first, second, third = sorted(device.emulation.stock)
    emulation = device.emulation.without([third]).without([first])
    stock = emulation.stock.set(second, replace(emulation.stock[second], used=True))
    past = PMap({b"b": 1, b"a": 2})
    device.emulation = replace(emulation, stock=stock, past=past)
    found = again(device)
    assert dict(found.past.items()) == dict(past.items())
    assert found.stock[second].used
    assert sorted(found.withdrawn, key=found.withdrawn.__getitem__) == [third, first]
    assert encode(found) == encode(device.emulation)
