"""What a device told before it was removed: it counts if one that stays had heard it by then, and for all of them."""

from __future__ import annotations

import pytest

from tests.vcd.core.homes import TEA, remove, trio
from tests.vcd.core.people import card
from tests.vcd.core.village import Village
from vcd.core import devices, inputs, labels, siblings
from vcd.core.accounts.book import Relation
from vcd.core.turn import Turn


def people() -> tuple[Village, str, str, str]:
    village = Village()
    laptop, phone, tablet = trio(village)
    for name in ("anna", "ben"):
        village.account(name)
    village.do(laptop, inputs.AddContact(card=card(village, "ben"), petname="ben"))
    village.wait(minutes=1)
    return village, laptop, phone, tablet


def told_on(village: Village, tablet: str) -> None:
    """Somebody is added, somebody is removed, and a conversation gets a name."""
    village.do(tablet, inputs.AddContact(card=card(village, "anna"), petname="Anna B."))
    village.do(tablet, inputs.RemoveContact(account=village.own("ben")))
    village.do(tablet, inputs.Label(what=TEA, text="five o'clock"))


def known(village: Village, name: str) -> tuple[Relation, str, Relation, str]:
    state = village.state(name)
    anna = state.book.find(village.own("anna"))
    return (
        state.book.relation(village.own("anna")),
        "" if anna is None else anna.petname,
        state.book.relation(village.own("ben")),
        labels.text(state, TEA),
    )


HEARD = (Relation.CONTACT, "Anna B.", Relation.STRANGER, "five o'clock")
UNHEARD = (Relation.STRANGER, "", Relation.CONTACT, "")


@pytest.mark.parametrize("asleep", [False, True])
def test_what_one_device_heard_of_another_that_went_counts_for_all(asleep: bool) -> None:
    """The phone hears the tablet while the laptop removes it; or it sleeps, and hears the tablet first."""
    village, laptop, phone, tablet = people()
    if asleep:
        village.down(phone)
    village.part([laptop], [phone, tablet])
    told_on(village, tablet)
    remove(village, laptop, tablet)
    village.wait(minutes=2)
    assert known(village, phone) == (UNHEARD if asleep else HEARD)
    assert known(village, laptop) == UNHEARD
    village.heal()
    village.wait(minutes=2)
    if asleep:
        village.restart(phone)
        village.deliver()
        village.wait(minutes=2)
    assert known(village, phone) == HEARD
    assert known(village, laptop) == HEARD


def test_what_nobody_who_stays_had_heard_does_not_count() -> None:
    village, laptop, phone, tablet = people()
    village.part([laptop, phone], [tablet])
    told_on(village, tablet)
    remove(village, laptop, tablet)
    village.wait(minutes=2)
    village.heal()
    village.wait(minutes=5)
    assert known(village, laptop) == known(village, phone) == UNHEARD


def test_a_later_word_of_one_who_stays_counts_for_more() -> None:
    village, laptop, phone, tablet = people()
    village.part([laptop], [phone, tablet])
    told_on(village, tablet)
    village.wait(minutes=1)
    village.do(laptop, inputs.Label(what=TEA, text="half past five"))
    village.do(laptop, inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    remove(village, laptop, tablet)
    village.wait(minutes=2)
    village.heal()
    village.wait(minutes=5)
    assert known(village, laptop) == known(village, phone)
    assert known(village, laptop) == (Relation.CONTACT, "Anna", Relation.STRANGER, "half past five")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What devices tell each other from now on, by its kind."""
    kinds: list[str] = []
    tell = devices.tell

    def noting(turn: Turn, record: siblings.Sibling) -> None:
        kinds.append(type(record).__name__)
        tell(turn, record)

    monkeypatch.setattr(devices, "tell", noting)
    return kinds


def test_where_all_know_the_same_nothing_is_told_again(told: list[str]) -> None:
    village, laptop, phone, tablet = people()
    told_on(village, tablet)
    village.wait(minutes=1)
    told.clear()
    remove(village, laptop, tablet)
    village.wait(minutes=5)
    assert known(village, laptop) == known(village, phone) == HEARD
    assert told.count("Compare") == 2
    assert "Recalled" not in told
