"""The delegates' keys of two terms, on one device (`vcd.core.list_keys`)."""

from __future__ import annotations

import pytest

from tests.vcd.core import homes
from tests.vcd.core.company import step
from tests.vcd.core.homes import appoint, delegates, device, here, link
from tests.vcd.core.village import Village
from vcd.core import devices, founding, inputs, list_keys, listing
from vcd.core.errors import Misuse
from vcd.core.names import IntentId


def delegate_key(village: Village, name: str) -> bytes:
    return listing.of_group(here(village, name).group).head.authority.delegate


def family(*names: str) -> Village:
    """An account whose devices all are delegates."""
    village = Village()
    delegates(village, *names)
    return village


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
        assert village.state(name).household.delegate == two
