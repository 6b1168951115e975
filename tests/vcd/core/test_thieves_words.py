"""What a stolen device says of people and names, and what of it outlasts its removal (`vcd.core.recalling`)."""

from __future__ import annotations

from tests.vcd.core import homes
from tests.vcd.core.company import act
from tests.vcd.core.homes import device, remove, trio
from tests.vcd.core.people import TEA, befriend, card, invite
from tests.vcd.core.test_recalling import begins_an_epoch, call, called
from tests.vcd.core.village import Village
from vcd.core import devices, inputs, recalling, siblings
from vcd.core.accounts.book import Relation
from vcd.core.duties import Duty
from vcd.core.names import AccountId, GroupId
from vcd.core.turn import Turn

LAST = siblings.MAX_TIME
TEA2 = GroupId(b"another tea")


def theft() -> Village:
    """The tablet is stolen. Everybody of the account knows Anna."""
    village = Village()
    trio(village)
    village.account("anna")
    befriend(village, "laptop", "anna")
    village.wait(minutes=1)
    return village


def says(village: Village, *records: siblings.Sibling) -> None:
    """The thief does."""

    def tell(turn: Turn) -> None:
        for each in records:
            devices.tell(turn, each)

    act(village, "tablet", tell)


def test_what_was_said_with_the_last_time_there_is_ends_no_answer() -> None:
    """The user goes on where the thief left off: what they say then has to be something that others can read."""
    village = theft()
    anna = village.own("anna")
    says(
        village,
        siblings.Labeled(what=TEA, text="stolen", at=LAST),
        siblings.ContactRemoved(account=anna, at=LAST),
        siblings.CertificateSet(chain=(), key=b"", at=LAST),
    )
    call(village, "laptop", "tea")
    village.do("laptop", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    says(village, siblings.Compare(whole=b"nothing"))
    village.wait(minutes=5)
    assert called(village, "laptop") == "tea"
    assert village.state("laptop").book.relation(anna) is Relation.CONTACT
    assert not [each for name in ("laptop", "phone") for each in village.devices[name].refused if each[0] == "sibling"]


def test_who_was_removed_and_blocked_as_a_stranger_stays_blocked_on_an_old_disk() -> None:
    """The old disk hears at once that Anna was removed, which takes a block with it, and that she is blocked."""
    village = theft()
    anna = village.own("anna")
    village.do("anna", inputs.AddContact(card=card(village, "laptop"), petname="laptop"))
    old = begins_an_epoch(village, "phone")
    village.do("phone", inputs.RemoveContact(account=anna))
    village.do("anna", inputs.Open(conversation=TEA2))
    invite(village, "anna", "laptop", TEA2)
    village.wait(minutes=1)
    village.do("phone", inputs.Block(account=anna, blocked=True))
    village.wait(minutes=5)
    assert {village.state(name).book.relation(anna) for name in ("laptop", "phone")} == {Relation.BLOCKED}
    homes.restore(village, "phone", old)
    village.wait(minutes=15)
    assert village.state("phone").book.relation(anna) is Relation.BLOCKED


def test_who_asks_without_end_is_answered_once_in_a_while() -> None:
    """A question is some hundred bytes, and an answer as much as the account knows."""
    village = theft()
    answers = set()
    for _ in range(120):
        says(village, siblings.Compare(whole=b"nothing"))
        village.wait(seconds=10)
        said = [each for name in ("laptop", "phone") for each in village.state(name).household.said.values()]
        answers |= {each.at for each in said if recalling._is_for(device(village, "tablet"), each.data)}
    assert 0 < len(answers) <= 4  # two devices, twice


def test_a_name_that_is_none_is_not_noted() -> None:
    village = theft()
    before = village.state("laptop").book
    says(village, siblings.ContactRemoved(account=AccountId(bytes(1 << 20)), at=village.now))
    assert village.state("laptop").book == before


def test_what_was_removed_stays_so_whatever_is_recalled() -> None:
    """By a thief that tells what was so before: a contact that was removed, a label and a certificate of before."""
    village = theft()
    anna = village.own("anna")
    call(village, "laptop", "tea")
    old = recalling._known(turn_of(village, "tablet"))
    village.wait(minutes=1)
    call(village, "laptop", "coffee")
    village.do("laptop", inputs.RemoveContact(account=anna))
    for name in ("laptop", "phone"):
        says(village, siblings.Recalled(device=device(village, name), records=tuple(old), whole=b""))
    for name in ("laptop", "phone", "tablet"):
        assert called(village, name) == "coffee"
        assert village.state(name).book.relation(anna) is Relation.STRANGER


def test_who_was_removed_neither_asks_nor_answers() -> None:
    """It goes on in the epoch that it had; one that stays has not heard of the removal when it says so."""
    village = theft()
    village.part(["tablet"])
    says(village, siblings.Compare(whole=b"nothing"))
    anna = village.own("anna")
    lies = (siblings.ContactBlocked(account=anna, blocked=True), siblings.Labeled(what=TEA, text="x", at=LAST))
    packed = tuple(siblings.pack(each) for each in lies)
    for name in ("laptop", "phone"):
        says(village, siblings.Recalled(device=device(village, name), records=packed, whole=b""))
    delegates_remove(village)
    village.heal()
    village.wait(minutes=15)
    for name in ("laptop", "phone"):
        assert called(village, name) != "x"
        assert village.state(name).book.relation(anna) is Relation.CONTACT
        said = village.state(name).household.said.values()
        assert not any(recalling._is_for(device(village, "tablet"), each.data) for each in said)
        assert not any(
            duty is Duty.HOME and each == devices.RECALL + device(village, "tablet")
            for duty, each in dues(village, name)
        )


def delegates_remove(village: Village) -> None:
    remove(village, "laptop", "tablet")
    village.wait(minutes=10)
    assert device(village, "tablet") not in homes.devices_of(village, "phone")


def dues(village: Village, name: str) -> list[tuple[Duty, bytes]]:
    return list(village.state(name).duties)


def turn_of(village: Village, name: str) -> Turn:
    return Turn(village.state(name), village.now, village.devices[name].provider)
