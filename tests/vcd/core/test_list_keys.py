"""Keys that come with a list of devices, on a device that lacks them (`vcd.core.list_keys`)."""

from __future__ import annotations

import pytest

from tests.vcd.core import homes
from tests.vcd.core.company import step
from tests.vcd.core.homes import appoint, delegates, device, here, home, link
from tests.vcd.core.village import Village
from vcd.core import devices, founding, inputs, list_keys, listing, siblings
from vcd.core.errors import Misuse
from vcd.core.names import IntentId
from vcd.core.policy import HOUR
from vcd.core.state import State
from vcd.core.turn import Turn


def edition(village: Village, name: str) -> bytes:
    """Which list others are shown by a device."""
    found = village.state(name).book.edition
    assert found is not None
    return found.head.digest


def able(village: Village, name: str) -> bool:
    """Whether a device has the list of the home, and all keys that it should have."""
    strand = home(village, name)
    final = strand.kept.find(strand.final) or here(village, name)
    turn = Turn(village.state(name), village.now, village.devices[name].provider)
    return edition(village, name) == listing.of_group(final.group).head.digest and not [*list_keys._lacking(turn)]


def told(village: Village, name: str, kind: type[siblings.Sibling]) -> int:
    """How much of that kind a device may have to tell again."""
    said = village.state(name).household.said.values()
    return sum(each.data[:2] == bytes([siblings.MARK, kind.RECORD_TAG]) for each in said)


def wants(village: Village, name: str, of: str, public: bytes) -> None:
    """A device asks another one for a key."""
    record = siblings.KeyWanted(device=device(village, of), public=public)
    step(village, name, lambda turn: devices.tell(turn, record))
    village.deliver()


def account_key(village: Village, name: str) -> bytes:
    return listing.of_group(here(village, name).group).head.signing_key


def delegate_key(village: Village, name: str) -> bytes:
    return listing.of_group(here(village, name).group).head.authority.delegate


def begins_a_term(village: Village, name: str, *several: str) -> State:
    """With the recovery phrase; gives what that device had stored before."""
    old = village.state(name)
    appoint(village, name, *several)
    village.wait(minutes=5)
    assert all(able(village, each) for each in several)
    return old


def family(*names: str) -> Village:
    """An account whose devices all are delegates."""
    village = Village()
    delegates(village, *names)
    return village


def test_an_old_disk_is_told_the_keys_of_a_term_that_it_had_begun_itself() -> None:
    village = family("laptop", "phone")
    old = begins_a_term(village, "laptop", "phone", "laptop")
    homes.refresh_home(village, "phone", 1)
    village.wait(minutes=5)
    homes.restore(village, "laptop", old)
    village.wait(minutes=10)
    assert able(village, "laptop")
    assert village.state("laptop").household.delegate is not None
    link(village, "laptop", "watch")
    assert device(village, "watch") in homes.devices_of(village, "phone")


def test_an_old_disk_is_told_the_account_key_of_a_removal_that_it_had_made_itself() -> None:
    village = Village()
    laptop, _, tablet = homes.trio(village)
    old = village.state(laptop)
    homes.remove(village, laptop, tablet)
    village.wait(minutes=10)
    homes.restore(village, laptop, old)
    village.wait(minutes=15)
    assert able(village, laptop)
    assert device(village, tablet) not in homes.devices_of(village, laptop)


def test_who_is_asked_may_be_off_or_lack_it_too() -> None:
    village = family("laptop", "phone", "tablet", "watch")
    old = {name: village.state(name) for name in ("laptop", "phone")}
    begins_a_term(village, "laptop", "laptop", "phone", "tablet", "watch")
    homes.refresh_home(village, "phone", 1)
    village.wait(minutes=5)
    for name, state in old.items():
        homes.restore(village, name, state)
    village.wait(seconds=30)
    village.down("tablet")
    village.wait(minutes=30)
    assert able(village, "laptop")
    assert able(village, "phone")


def test_a_device_that_lacks_a_key_as_it_starts_asks() -> None:
    village = family("laptop", "phone")
    old = begins_a_term(village, "laptop", "phone", "laptop")
    known = village.state("laptop")
    keys = old.household

    def forget(turn: Turn) -> None:
        devices.keep(turn, account_keys=keys.account_keys, signing=keys.signing, delegate=None)
        turn.change(book=old.book)

    step(village, "laptop", forget)
    assert not able(village, "laptop")
    assert known.home is not None
    village.restart("laptop")
    village.wait(minutes=5)
    assert able(village, "laptop")


def test_who_is_no_delegate_is_not_told_the_delegates_key() -> None:
    village = Village()
    laptop, phone = homes.couple(village)
    village.wait(hours=1)
    before = told(village, laptop, siblings.NewDelegateKey)
    wants(village, phone, laptop, delegate_key(village, phone))
    assert told(village, laptop, siblings.NewDelegateKey) == before
    wants(village, phone, laptop, account_key(village, phone))
    assert told(village, laptop, siblings.NewAccountKey) == 1


def test_who_asks_all_the_time_is_answered_once() -> None:
    village = family("laptop", "phone")
    village.wait(hours=1)
    seen = []
    for _ in range(5):
        wants(village, "phone", "laptop", delegate_key(village, "phone"))
        wants(village, "phone", "laptop", account_key(village, "phone"))
        said = village.state("laptop").household.said
        seen.append([*said.keys()])
        village.wait(minutes=1)
    assert seen == [seen[0]] * 5
    village.wait(hours=2)
    wants(village, "phone", "laptop", delegate_key(village, "phone"))
    assert told(village, "laptop", siblings.NewDelegateKey) == 1
    assert [*village.state("laptop").household.said.keys()] != seen[0]


def test_the_key_of_a_list_that_may_lose_is_not_told() -> None:
    """Where it loses, somebody whom it shuts out may be there, and hear what is told again."""
    village = Village()
    laptop, phone, tablet = homes.trio(village)
    watch = link(village, laptop, "watch")
    village.wait(hours=1)
    village.part([laptop, phone], [tablet, watch])
    homes.remove(village, laptop, tablet)
    village.wait(minutes=1)
    public = account_key(village, phone)
    assert public in village.state(phone).household.account_keys
    assert home(village, phone).head != home(village, phone).final
    wants(village, laptop, phone, public)
    assert told(village, laptop, siblings.KeyWanted) == 1
    assert told(village, phone, siblings.NewAccountKey) == 0
    village.heal()
    village.wait(hours=3)
    assert home(village, phone).head == home(village, phone).final
    wants(village, laptop, phone, public)
    assert told(village, phone, siblings.NewAccountKey) == 1


def test_where_nobody_has_a_key_it_is_asked_for_now_and_then() -> None:
    village = family("laptop", "phone")
    begins_a_term(village, "laptop", "phone", "laptop")
    for name in ("laptop", "phone"):
        step(village, name, lambda turn: devices.keep(turn, delegate=None))
        village.restart(name)
    asked = set()
    for _ in range(5 * 60):
        village.wait(minutes=1)
        asked |= {
            number
            for number, each in village.state("phone").household.said.items()
            if each.data[:2] == bytes([siblings.MARK, siblings.KeyWanted.RECORD_TAG])
        }
    assert 4 <= len(asked) <= 6
    assert village.config.retry_most == HOUR


def test_until_the_home_stands_in_a_new_term_the_key_of_the_old_one_signs() -> None:
    """A removal with the recovery phrase waits a moment for others."""
    village = family("laptop", "phone")
    was = village.state("laptop").household.delegate
    command = inputs.RemoveDevice(
        intent=IntentId(b"with the phrase!"), device=device(village, "phone"), root=homes.root(village, "laptop")
    )
    village.do("laptop", command)
    assert village.state("laptop").household.delegate == was
    link(village, "laptop", "watch")
    village.wait(minutes=5)
    assert village.state("laptop").household.delegate != was
    assert homes.devices_of(village, "laptop") == {device(village, "laptop"), device(village, "watch")}


def test_a_device_comes_in_when_the_key_of_the_term_is_there() -> None:
    village = family("laptop", "phone")
    package = homes.blank(village, "laptop", "watch")
    mine = village.state("laptop").household.delegate
    other = founding.new_account(village.world("desk"), homes.PHRASE, "desk", village.now, village.config)
    step(village, "laptop", lambda turn: devices.keep(turn, delegate=other.household.delegate))
    homes.ask(village, "laptop", "watch", package)
    village.wait(seconds=10)
    assert ("link-later", "the key of this term is still on its way") in village.devices["laptop"].refused
    step(village, "laptop", lambda turn: devices.keep(turn, delegate=mine))
    village.wait(minutes=5)
    assert device(village, "watch") in homes.devices_of(village, "phone")


def test_who_began_a_term_without_itself_lets_in_nobody() -> None:
    village = family("laptop", "phone")
    package = homes.blank(village, "laptop", "watch")
    appoint(village, "laptop", "phone")
    with pytest.raises(Misuse):
        homes.ask(village, "laptop", "watch", package)


def test_who_began_a_term_keeps_its_key_and_takes_the_one_with_which_the_home_stands() -> None:
    village = family("laptop", "phone", "tablet")
    one, first = village.state("tablet").household.delegate, delegate_key(village, "tablet")
    village.part(["tablet"], ["laptop", "phone"])
    appoint(village, "tablet", "laptop", "phone", "tablet")
    two = village.state("tablet").household.delegate
    assert one is not None
    assert two not in (None, one)
    group, to = here(village, "laptop").group, device(village, "tablet")
    leaf = next(node for at, node in group.members if devices.device_at(group, at) == to)
    record = step(village, "laptop", lambda turn: list_keys._sealed(turn, group, leaf.encryption_key, to, one, first))
    step(village, "tablet", lambda turn: list_keys.take(turn, record))
    keys = village.state("tablet").household
    assert (keys.delegate, keys.term_key) == (two, two)
    homes.refresh_home(village, "phone", 1)
    homes.refresh_home(village, "laptop", 1)
    village.wait(minutes=2)
    village.down("laptop")
    village.heal()
    for _ in range(100):
        village.wait(seconds=1)
        if delegate_key(village, "tablet") == first:
            break
    step(village, "tablet", lambda turn: list_keys.take(turn, record))
    keys = village.state("tablet").household
    assert (keys.delegate, keys.term_key) == (one, two)
    village.restart("laptop")
    village.wait(minutes=20)
    for name in ("laptop", "phone", "tablet"):
        assert able(village, name)
        assert village.state(name).household.delegate == two
