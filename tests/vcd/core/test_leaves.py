"""Who may encrypt under the account's leaf (`vcd.core.leaves`)."""

from __future__ import annotations

from tests.vcd.core.homes import TEA, link, restore, say
from tests.vcd.core.people import friends, open_talk
from vcd.core import leaves
from vcd.core.names import GroupId


def test_a_device_that_has_no_part_in_the_leaf_knows_that_what_it_says_is_kept() -> None:
    village = friends("anna", "ben")
    phone = link(village, "anna", "phone")
    open_talk(village, "anna", "ben", group=TEA)
    village.wait(minutes=5)
    assert leaves.speaks(village.state(phone), TEA)

    village.part(["anna", "ben"], [phone])
    restore(village, phone, village.state(phone))
    assert not leaves.speaks(village.state(phone), TEA)
    say(village, phone, b"hello")
    assert village.state(phone).talks[TEA].queue.size == 1

    village.heal()
    village.wait(hours=2)
    assert leaves.speaks(village.state(phone), TEA)
    assert village.state(phone).talks[TEA].queue.size == 0
    assert b"hello" in village.said("ben")


def test_nobody_speaks_where_there_is_no_conversation() -> None:
    village = friends("anna", "ben")
    assert not leaves.speaks(village.state("anna"), GroupId(b"none"))
    assert not leaves.speaks(village.state("anna"), TEA)
