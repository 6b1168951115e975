"""What the account's devices are called."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.vcd.core import homes
from tests.vcd.core.company import step
from tests.vcd.core.village import Village
from vcd.core import devices, inputs, listing, renaming
from vcd.core.accounts import editions
from vcd.core.accounts.device_list import Edition
from vcd.core.accounts.identity import root_key
from vcd.core.errors import Misuse
from vcd.core.household import Naming
from vcd.core.names import DeviceId, IntentId
from vcd.core.turn import Turn


def names(v: Village, name: str) -> dict[DeviceId, str]:
    edition = v.state(name).book.edition
    assert edition is not None
    return {each.device: each.name for each in edition.devices.devices}


def rename(v: Village, by: str, which: str, to: str) -> None:
    v.do(by, inputs.RenameDevice(device=homes.device(v, which), name=to))


def test_all_devices_see_the_new_name() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    rename(v, laptop, phone, "old phone")
    v.wait(minutes=2)
    for name in (laptop, phone):
        assert names(v, name)[homes.device(v, phone)] == "old phone"
        assert not v.state(name).household.names
    homes.link(v, laptop, "tablet")
    assert names(v, "tablet")[homes.device(v, phone)] == "old phone"


def test_a_name_that_a_device_has_already_is_wanted_no_longer() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    for _ in range(2):
        rename(v, laptop, phone, "old phone")
        v.wait(minutes=2)
        assert not v.state(laptop).household.names
    head = homes.home(v, laptop).head
    v.wait(hours=1)
    assert homes.home(v, laptop).head == head


def test_an_account_of_one_device_renames_it() -> None:
    v = Village()
    v.account("laptop")
    rename(v, "laptop", "laptop", "desk")
    v.wait(minutes=2)
    assert [*names(v, "laptop").values()] == ["desk"]


def test_who_is_no_delegate_renames_nobody() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    with pytest.raises(Misuse) as refused:
        rename(v, phone, laptop, "desk")
    assert refused.value.code == "not-delegate"


def test_a_delegate_without_the_key_of_this_term_is_told_that_it_may_not() -> None:
    """It has one of a term before, or of a rival one; a name that it were to sign would come to nothing."""
    v = Village()
    laptop, phone = homes.couple(v)
    other = Village(2)
    other.account("desk")
    key = other.state("desk").household.delegate
    step(v, laptop, lambda turn: devices.keep(turn, delegate=key))
    with pytest.raises(Misuse) as refused:
        rename(v, laptop, phone, "old phone")
    assert refused.value.code == "not-delegate"
    assert not v.state(laptop).household.names


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 65, "\u202ename", "LAPTOP"])
def test_names_are_readable_and_no_two_devices_have_the_same(name: str) -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    with pytest.raises(Misuse) as refused:
        rename(v, laptop, phone, name)
    assert refused.value.code == "bad-name"
    rename(v, laptop, laptop, "Laptop")  # its own, otherwise written


def test_a_name_that_is_wanted_already_is_taken() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    rename(v, laptop, laptop, "desk")
    with pytest.raises(Misuse, match="called so"):
        rename(v, laptop, phone, "desk")
    rename(v, laptop, phone, "laptop")
    v.wait(minutes=5)
    assert sorted(names(v, phone).values()) == ["desk", "laptop"]


def test_a_stranger_among_the_devices_has_no_name() -> None:
    v = Village()
    v.account("laptop")
    with pytest.raises(Misuse) as refused:
        v.do("laptop", inputs.RenameDevice(device=DeviceId(bytes(16)), name="x"))
    assert refused.value.code == "no-such-device"


def test_a_name_whose_commit_lost_is_given_again() -> None:
    v = Village()
    laptop, phone, tablet = homes.trio(v)
    v.part([laptop], [phone, tablet])
    rename(v, laptop, tablet, "slate")
    group = v.state(phone).home
    assert group is not None
    for number in range(3):
        v.do(phone, inputs.Refresh(intent=IntentId(bytes([number]) * 16), conversation=group))
        v.wait(minutes=2)
    v.heal()
    v.wait(minutes=10)
    for name in (laptop, phone, tablet):
        assert names(v, name)[homes.device(v, tablet)] == "slate"
        assert not v.state(name).household.names


def test_two_names_at_once_end_in_one() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    rename(v, laptop, phone, "one")
    rename(v, laptop, phone, "two")
    v.wait(minutes=5)
    assert names(v, phone)[homes.device(v, phone)] == "two"
    assert listing.of_group(homes.here(v, phone).group).devices.find(homes.device(v, phone)) is not None


@pytest.mark.parametrize("seed", range(1, 9))
def test_two_delegates_who_rename_two_devices_at_once_both_get_what_they_want(seed: int) -> None:
    v = Village(seed)
    homes.delegates(v, "laptop", "phone", "tablet")
    v.part(["laptop"], ["phone"], ["tablet"])
    rename(v, "laptop", "tablet", "board")
    rename(v, "phone", "phone", "mobile")
    v.heal()
    v.wait(minutes=20)
    for name in ("laptop", "phone", "tablet"):
        assert sorted(names(v, name).values()) == ["board", "laptop", "mobile"]
        assert not v.state(name).household.names


def everywhere(v: Village, which: str) -> set[str]:
    """What that device is called on all devices. Nobody wants another name any more."""
    everybody = ("laptop", "phone", "tablet")
    assert not any(v.state(name).household.names for name in everybody)
    return {names(v, name)[homes.device(v, which)] for name in everybody}


def away(v: Village) -> None:
    """Three delegates of whom one is away, so that nothing becomes final."""
    homes.delegates(v, "laptop", "phone", "tablet")
    v.part(["laptop", "phone"], ["tablet"])


def test_who_had_heard_a_name_gives_another_one_that_stays() -> None:
    v = Village()
    away(v)
    rename(v, "laptop", "tablet", "one")
    v.wait(minutes=2)
    assert v.state("laptop").household.names
    rename(v, "phone", "tablet", "two")
    v.wait(minutes=2)
    assert not v.state("laptop").household.names
    v.heal()
    v.wait(minutes=20)
    assert everywhere(v, "tablet") == {"two"}


def test_a_name_that_was_given_up_is_not_given_again_with_another_one() -> None:
    v = Village()
    away(v)
    rename(v, "laptop", "tablet", "one")
    v.wait(minutes=2)
    rename(v, "phone", "tablet", "two")
    v.wait(minutes=2)
    rename(v, "laptop", "phone", "mobile")
    v.wait(minutes=2)
    entry = listing.of_group(homes.here(v, "laptop").group).devices.find(homes.device(v, "tablet"))
    assert entry is not None
    assert entry.name == "two"
    v.heal()
    v.wait(minutes=20)
    assert everywhere(v, "tablet") == {"two"}
    assert everywhere(v, "phone") == {"mobile"}


@pytest.mark.parametrize(
    ("wanted", "now", "new", "stays"),
    [
        ("one", "one", "two", False),
        ("one", "one", "one", True),
        ("one", "two", "three", True),  # whoever said so had not heard it
        ("phone", "phone 2", "phone 3", False),
        ("phone", "phone 2", "phone 2", True),  # though the phone may be called otherwise by then
    ],
)
def test_names_that_somebody_else_takes_back(wanted: str, now: str, new: str, *, stays: bool) -> None:
    v = Village()
    laptop, phone, tablet = homes.trio(v)
    called = {homes.device(v, laptop): laptop, homes.device(v, phone): phone, homes.device(v, tablet): now}
    before = edition_with(v, called)
    after = edition_with(v, {**called, homes.device(v, phone): "mobile", homes.device(v, tablet): new})
    assert step(v, laptop, lambda turn: heard(turn, homes.device(v, tablet), wanted, before, after)) is stays


def edition_with(v: Village, called: Mapping[DeviceId, str]) -> Edition:
    edition, delegate = v.state("laptop").book.edition, v.state("laptop").household.delegate
    assert edition is not None
    assert delegate is not None
    made = editions.with_names(v.devices["laptop"].provider, edition, delegate, called)
    return edition if made is None else made.edition


def heard(turn: Turn, device: DeviceId, wanted: str, before: Edition, after: Edition) -> bool:
    """Whether that name is wanted still, after another device's commit."""
    devices.keep(turn, names=turn.state.household.names.set(device, Naming(name=wanted, tries=1)))
    renaming.followed(turn, before, after)
    return device in turn.state.household.names


def test_a_list_of_a_newer_term_takes_back_no_name() -> None:
    """It may have been signed where the name did not stand, and is given again as it is."""
    v = Village()
    homes.delegates(v, "laptop", "phone", "tablet")
    tablet = homes.device(v, "tablet")
    before = edition_with(v, {tablet: "one"})
    root, _ = root_key(v.devices["laptop"].provider.suite(1), homes.PHRASE)
    edition = v.state("laptop").book.edition
    assert edition is not None
    after = editions.new_term(v.devices["laptop"].provider, root, edition, delegates=[tablet]).edition
    assert step(v, "laptop", lambda turn: heard(turn, tablet, "one", before, after))


def test_a_name_of_who_had_not_heard_the_other_one_is_given_again() -> None:
    v = Village()
    homes.delegates(v, "laptop", "phone", "tablet")
    v.part(["laptop"], ["phone", "tablet"])
    rename(v, "laptop", "tablet", "one")
    rename(v, "phone", "tablet", "two")
    v.wait(minutes=2)
    rename(v, "phone", "tablet", "three")
    v.wait(minutes=2)
    assert v.state("laptop").household.names
    v.heal()
    v.wait(minutes=20)
    assert everywhere(v, "tablet") == {"one"}


@pytest.mark.parametrize("again", range(1, 4))
def test_a_list_that_lost_takes_back_no_names_that_stand(again: int) -> None:
    """However many versions it is ahead of the one that stands."""
    v = Village()
    homes.delegates(v, "laptop", "phone", "tablet")
    v.part(["laptop"], ["phone", "tablet"])
    for number in range(again):
        rename(v, "laptop", "tablet", f"board {number}")
    rename(v, "phone", "laptop", "desk")
    v.wait(minutes=2)
    v.heal()
    v.wait(minutes=20)
    assert everywhere(v, "laptop") == {"desk"}
    assert everywhere(v, "tablet") == {f"board {again - 1}"}


def test_a_newer_term_takes_back_no_names_that_stand() -> None:
    v = Village()
    homes.delegates(v, "laptop", "phone", "tablet")
    v.part(["tablet"], ["laptop", "phone"])
    homes.appoint(v, "tablet", "laptop", "phone", "tablet")
    begun = v.state("tablet").household.made
    assert begun is not None
    rename(v, "phone", "laptop", "desk")
    v.do("phone", inputs.Refresh(intent=IntentId(bytes(16)), conversation=homes.home(v, "phone").group_id))
    v.wait(minutes=2)
    v.heal()
    v.wait(minutes=20)
    edition = v.state("phone").book.edition
    assert edition is not None
    assert edition.head.authority.digest == begun.head.authority.digest
    assert everywhere(v, "laptop") == {"desk"}


def test_what_stands_keeps_its_name_and_what_is_called_so_too_gets_a_number() -> None:
    v = Village()
    laptop, phone, tablet = homes.trio(v)
    edition = edition_with(v, {homes.device(v, tablet): "desk"})
    delegate, provider = v.state(laptop).household.delegate, v.devices[laptop].provider
    assert delegate is not None
    stand = {homes.device(v, laptop): "Desk", homes.device(v, phone): "mobile", DeviceId(bytes(16)): "gone"}
    made = editions.with_names(provider, edition, delegate, stand)
    assert made is not None
    assert sorted(each.name for each in made.edition.devices.devices) == ["Desk", "desk 2", "mobile"]
    assert made.edition.version == edition.version + 1
    assert editions.with_names(provider, made.edition, delegate, stand) is None


def test_a_device_that_is_removed_meanwhile_is_not_named() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    rename(v, laptop, phone, "old phone")
    homes.remove(v, laptop, phone)
    v.wait(minutes=5)
    assert [*names(v, laptop).values()] == ["laptop"]
    assert not v.state(laptop).household.names


def test_two_devices_of_one_name_that_come_in_apart_are_told_apart() -> None:
    v = Village()
    laptop, phone, tablet = homes.trio(v)
    edition, delegate = v.state(laptop).book.edition, v.state(laptop).household.delegate
    assert edition is not None
    assert delegate is not None
    provider = v.devices[laptop].provider
    one, other = [
        editions.add_device(
            provider, edition, delegate, editions.NewDevice(device=DeviceId(byte * 16), key=byte * 32, name="Desk")
        ).edition
        for byte in (b"a", b"b")
    ]
    joined = editions.join(provider, one, other, delegate).edition
    assert sorted(each.name for each in joined.devices.devices) == ["Desk", "Desk 2", laptop, phone, tablet]
    again = editions.join(provider, other, one, delegate).edition
    assert {each.device: each.name for each in again.devices.devices} == {
        each.device: each.name for each in joined.devices.devices
    }


def test_two_devices_that_are_renamed_alike_apart_are_told_apart() -> None:
    v = Village()
    laptop, phone, tablet = homes.trio(v)
    edition, delegate = v.state(laptop).book.edition, v.state(laptop).household.delegate
    assert edition is not None
    assert delegate is not None
    provider = v.devices[laptop].provider
    one, other = [
        editions.rename_device(provider, edition, delegate, homes.device(v, name), "same").edition
        for name in (phone, tablet)
    ]
    joined = editions.join(provider, one, other, delegate).edition
    called = [each.name for each in joined.devices.devices]
    assert len({each.casefold() for each in called}) == len(called) == 3


def test_a_device_that_comes_in_under_another_one_s_name_gets_a_number() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    package = homes.blank(v, laptop, "new")
    command = inputs.LinkDevice(
        intent=IntentId(bytes(16)), device=homes.device(v, "new"), name="PHONE", package=package.key_package
    )
    v.do(laptop, command)
    v.wait(seconds=30)
    homes.take_up(v, laptop, "new", package)
    v.wait(minutes=1)
    assert names(v, phone)[homes.device(v, "new")] == "PHONE 2"


@pytest.mark.parametrize(
    ("name", "taken", "free"),
    [
        ("desk", ["laptop"], "desk"),
        ("desk", ["Desk"], "desk 2"),
        ("desk", ["desk", "DESK 2", "desk 4"], "desk 3"),
        ("x" * 64, ["x" * 64], "x" * 62 + " 2"),
    ],
)
def test_free_names(name: str, taken: list[str], free: str) -> None:
    assert editions.free_name(name, taken) == free
