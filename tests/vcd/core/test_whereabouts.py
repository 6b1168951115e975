"""Where devices can be reached: shown to those who share a group, and to nobody else."""

from __future__ import annotations

import pytest

from tests.vcd.core.branches import TEA
from tests.vcd.core.homes import couple
from tests.vcd.core.people import friends, intent, invite, open_talk
from tests.vcd.core.village import Village
from vcd.core import effects, inputs
from vcd.core.errors import Misuse
from vcd.core.payloads import MAX_RECORD


def met(village: Village, name: str) -> set[tuple[bytes, bytes]]:
    """What a device was told of others, by group and record."""
    return {(each.group, each.record) for each in village.devices[name].effects if isinstance(each, effects.Met)}


def say_where(village: Village, name: str, record: bytes) -> None:
    village.do(name, inputs.Here(record=record, expires=village.now + 86_400_000))
    village.wait(seconds=5)


def test_members_of_a_conversation_hear_where_the_others_are() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    say_where(village, "anna", b"anna is here")
    assert (TEA, b"anna is here") in met(village, "ben")
    assert not met(village, "cleo")


def test_a_newcomer_hears_it_too_as_the_topic_is_a_new_one() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    say_where(village, "ben", b"ben is here")
    invite(village, "anna", "cleo")
    village.wait(minutes=1)
    assert (TEA, b"ben is here") in met(village, "cleo")


def test_the_account_s_own_devices_hear_it_in_the_home() -> None:
    village = Village()
    first, second = couple(village)
    say_where(village, first, b"here")
    home = village.state(second).home
    assert (home, b"here") in met(village, second)


def test_it_is_said_once_in_each_topic_until_there_is_a_newer_record() -> None:
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben")
    say_where(village, "anna", b"one")
    before = len(village.log)
    say_where(village, "anna", b"one")
    village.wait(hours=1)
    assert len(village.log) == before
    say_where(village, "anna", b"two")
    assert (TEA, b"two") in met(village, "ben")


def test_who_was_removed_hears_of_nobody_any_more_and_says_nothing() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    village.do("anna", inputs.Remove(intent=intent("out"), conversation=TEA, account=village.own("cleo")))
    village.wait(minutes=2)
    say_where(village, "anna", b"anna is here")
    say_where(village, "cleo", b"cleo is here")
    assert not met(village, "cleo")
    assert (TEA, b"cleo is here") not in met(village, "ben")


def test_who_says_nothing_is_not_heard_of() -> None:
    village = friends("anna", "ben")
    say_where(village, "anna", b"")
    open_talk(village, "anna", "ben")
    assert not met(village, "ben")


def test_a_record_that_is_over_is_not_shown() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Here(record=b"old", expires=village.now))
    open_talk(village, "anna", "ben")
    assert not met(village, "ben")


def test_a_record_is_short() -> None:
    village = friends("anna")
    with pytest.raises(Misuse):
        village.do("anna", inputs.Here(record=bytes(MAX_RECORD + 1), expires=village.now + 1))
