"""What is answered to an invitation that nobody can take up, as the account's list of devices changes."""

from __future__ import annotations

from tests.vcd.core.homes import link, remove
from tests.vcd.core.people import TEA, card, final_accounts, friends, invite, members, together
from tests.vcd.core.test_invitations import withdraw_all
from tests.vcd.core.village import Village
from vcd.core import inputs
from vcd.core.wanting import Stage


def answers(village: Village, name: str) -> int:
    """How many a device keeps, as they may have to be given again; it has no more to give for the first time."""
    held = village.state(name).invitations
    assert all(each.stage is Stage.SIBLINGS for each in held.values())
    assert len(held) == sum(key.startswith(b"answered") for key in held)
    return len(held)


def superseded(village: Village, name: str) -> int:
    return village.devices[name].refused.count(("retry-superseded", ""))


def answered(*others: str) -> Village:
    """The last of ben's devices has answered that nobody can take up an invitation. Anna is away since, and has not
    heard it.
    """
    by = ("ben", *others)[-1]
    village = friends("anna", "ben", "cleo")
    for name in others:
        link(village, "ben", name)
    village.do("anna", inputs.Open(conversation=TEA))
    for name in (*others, "ben"):
        withdraw_all(village, name)
    village.part(["anna"])
    invite(village, "anna", "ben")
    village.devices["cleo"].has |= village.devices["anna"].has  # what others say lies there for those who are away
    village.down("anna")
    village.part(["anna"], [name for name in ("ben", *others) if name != by])
    village.deliver()
    village.wait(minutes=12)
    assert answers(village, by) == 1
    village.heal()
    village.devices["cleo"].has |= village.devices[by].has
    assert all(answers(village, name) == 1 for name in ("ben", *others))
    return village


def hears_of_the_list_first(village: Village, by: str) -> None:
    """Anna is shown a newer list, and then hears all that was said meanwhile."""
    village.part(["anna"])
    village.restart("anna")
    village.do("anna", inputs.AddContact(card=card(village, by), petname="ben"))
    village.heal()


def comes_in(village: Village, *names: str) -> None:
    assert superseded(village, "anna")
    village.wait(minutes=30)
    assert together(village, "anna", *names)
    assert len(members(village, "anna")) == 2  # the one that nobody is behind is out again
    assert final_accounts(village, "anna") == {village.own("anna"), village.own("ben")}


def test_who_invites_and_hears_of_a_newer_list_before_the_answer_is_answered_under_that() -> None:
    village = answered()
    link(village, "ben", "phone")
    hears_of_the_list_first(village, "ben")
    comes_in(village, "ben")


def test_what_was_answered_by_a_device_that_is_shut_out_since_is_answered_by_another_one() -> None:
    village = answered("phone", "tablet")
    village.down("tablet")
    remove(village, "ben", "tablet")
    village.wait(minutes=10)
    hears_of_the_list_first(village, "phone")
    comes_in(village, "ben", "phone")


def test_an_answer_is_kept_for_as_long_as_it_may_lie_unheard() -> None:
    village = answered()
    said = len(village.log)
    village.wait(days=29)
    assert answers(village, "ben") == 1
    village.wait(days=2)
    assert answers(village, "ben") == 0
    assert not [
        each for each in village.log[said:] if each.by == "ben" and each.topic not in village.devices["ben"].topics
    ]
