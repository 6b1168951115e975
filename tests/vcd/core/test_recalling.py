"""What an old disk has lost of what an account's devices told each other, and is told again."""

from __future__ import annotations

from dataclasses import replace

from tests.vcd.core import homes
from tests.vcd.core.company import step
from tests.vcd.core.homes import couple, device, link, trio
from tests.vcd.core.people import SMALL, TEA, befriend, card
from tests.vcd.core.village import Village
from vcd.core import devices, inputs, labels, siblings
from vcd.core.accounts.book import Relation
from vcd.core.household import Saying
from vcd.core.policy import MINUTE
from vcd.core.state import State


def call(village: Village, name: str, text: str) -> None:
    village.do(name, inputs.Label(what=TEA, text=text))


def called(village: Village, name: str) -> str:
    return labels.text(village.state(name), TEA)


def begins_an_epoch(village: Village, name: str) -> State:
    """A device changes the home's keys, and what it had stored before that is still somewhere."""
    old = village.state(name)
    homes.refresh_home(village, name, 1)
    village.wait(minutes=5)
    assert homes.home(village, name).final != old.strands[homes.home(village, name).group_id].final
    return old


def recalls(village: Village, several: tuple[str, ...], minutes: int) -> set[str]:
    """Who tells somebody again, and whom, while time goes by."""
    whose = {device(village, name): name for name in several}
    found = set()
    for _ in range(minutes * 12):
        village.wait(seconds=5)
        for name in several:
            for record in map(_record, village.state(name).household.said.values()):
                if isinstance(record, siblings.Recalled):
                    found.add(f"{name} tells {whose[record.device]}")
    return found


def _record(saying: Saying) -> siblings.Sibling | None:
    return siblings.unpack(saying.data) if saying.data[:1] >= bytes([siblings.MARK]) else None


def test_an_old_disk_is_told_what_was_said_in_an_epoch_that_it_had_begun_itself() -> None:
    village = Village()
    laptop, phone = couple(village)
    village.account("anna")
    village.account("ben")
    befriend(village, laptop, "ben")
    village.wait(minutes=1)
    old = begins_an_epoch(village, laptop)
    call(village, laptop, "tea")
    village.do(laptop, inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    village.do(laptop, inputs.RemoveContact(account=village.own("ben")))
    village.do(phone, inputs.Label(what=labels.ACCOUNT, text="us"))
    village.wait(minutes=1)
    homes.restore(village, laptop, old)
    village.wait(minutes=10)
    known = village.state(laptop).book
    assert called(village, laptop) == "tea"
    assert labels.text(village.state(laptop), labels.ACCOUNT) == "us"
    assert known.relation(village.own("anna")) is Relation.CONTACT
    assert known.relation(village.own("ben")) is Relation.STRANGER
    assert link(village, laptop, "tablet")
    assert called(village, "tablet") == "tea"


def test_whom_an_old_disk_lets_in_before_it_is_answered_hears_the_answer_too() -> None:
    village = Village(config=replace(SMALL, turn_taking=20 * MINUTE))
    laptop, phone = couple(village)
    old = begins_an_epoch(village, laptop)
    call(village, laptop, "tea")
    village.wait(minutes=1)
    homes.restore(village, laptop, old)
    while village.state(laptop).household.listening:
        village.wait(seconds=1)
    link(village, laptop, "tablet")
    assert called(village, "tablet") == ""
    village.wait(minutes=30)
    assert {called(village, name) for name in (laptop, phone, "tablet")} == {"tea"}


def test_of_many_one_answers_and_nobody_if_nothing_is_lacking() -> None:
    village = Village()
    several = trio(village)
    _, phone, tablet = several
    call(village, phone, "tea")
    village.wait(minutes=5)
    homes.restore(village, tablet, begins_an_epoch(village, tablet))
    assert recalls(village, several, minutes=10) == set()
    old = begins_an_epoch(village, tablet)
    call(village, tablet, "coffee")
    village.wait(minutes=5)
    homes.restore(village, tablet, old)
    assert recalls(village, several, minutes=10) == {"laptop tells tablet"}
    assert {called(village, name) for name in several} == {"coffee"}


def test_of_two_old_disks_both_are_told_by_one_who_is_none() -> None:
    village = Village()
    several = trio(village)
    laptop, phone, _ = several
    old = {name: village.state(name) for name in (laptop, phone)}
    begins_an_epoch(village, laptop)
    call(village, laptop, "tea")
    village.wait(minutes=5)
    for name, state in old.items():
        homes.restore(village, name, state)
    village.wait(minutes=15)
    assert {called(village, name) for name in several} == {"tea"}


def test_who_asks_all_the_time_pushes_out_nothing_else_that_is_told() -> None:
    village = Village()
    laptop, phone = couple(village)
    for number in range(5):
        call(village, phone, f"tea {number}")
        step(village, phone, lambda turn: devices.tell(turn, siblings.Compare(whole=b"nothing")))
        village.deliver()
        village.wait(minutes=1)
    told = map(_record, village.state(laptop).household.said.values())
    assert [type(each) for each in told if isinstance(each, siblings.Recalled)] == [siblings.Recalled]


def test_nothing_else_is_told_again() -> None:
    village = Village()
    laptop, phone = couple(village)
    record = siblings.pack(siblings.Replied(key=b"key"))
    recalled = siblings.Recalled(device=device(village, phone), records=(record,), whole=b"")
    step(village, laptop, lambda turn: devices.tell(turn, recalled))
    village.deliver()
    assert ("sibling", "nothing that an old disk is told again") in village.devices[phone].refused


def test_only_who_asked_takes_what_has_no_time() -> None:
    village = Village()
    several = trio(village)
    laptop, phone, tablet = several
    village.account("anna")
    befriend(village, laptop, "anna")
    village.wait(minutes=1)
    old = begins_an_epoch(village, tablet)
    anna = village.own("anna")
    village.do(tablet, inputs.Block(account=anna, blocked=True))
    village.wait(minutes=5)
    village.part([phone])
    village.do(phone, inputs.Block(account=anna, blocked=False))
    homes.restore(village, tablet, old)
    village.wait(minutes=10)
    assert village.state(tablet).book.relation(anna) is Relation.BLOCKED
    blocked = siblings.pack(siblings.ContactBlocked(account=anna, blocked=True))
    assert any(
        blocked in record.records
        for record in map(_record, village.state(laptop).household.said.values())
        if isinstance(record, siblings.Recalled)
    )
    village.heal()
    village.wait(minutes=10)
    assert village.state(phone).book.relation(anna) is Relation.CONTACT
