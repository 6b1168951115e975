"""What people call things (`vcd.core.labels`)."""

from __future__ import annotations

import pytest

from tests.vcd.core.company import step
from tests.vcd.core.homes import device, home, link
from tests.vcd.core.people import friends, open_talk
from tests.vcd.core.talking import TEA
from tests.vcd.core.village import Village
from vcd.core import devices, inputs, labels, siblings
from vcd.core.errors import Misuse
from vcd.core.turn import Turn


def called(village: Village, name: str, what: bytes = TEA) -> str:
    return labels.text(village.state(name), what)


def village() -> Village:
    v = friends("anna", "ben")
    link(v, "anna", "phone")
    open_talk(v, "anna", "ben")
    v.wait(minutes=1)
    return v


def test_a_name_is_the_same_on_all_devices_and_nobody_else_hears_of_it() -> None:
    v = village()
    v.do("anna", inputs.Label(what=TEA, text="tea"))
    v.do("phone", inputs.Label(what=labels.ACCOUNT, text="Anna"))
    v.deliver()
    assert [called(v, each) for each in ("anna", "phone", "ben")] == ["tea", "tea", ""]
    assert [called(v, each, labels.ACCOUNT) for each in ("anna", "phone", "ben")] == ["Anna", "Anna", ""]


def test_a_device_that_is_linked_later_knows_the_names() -> None:
    v = village()
    v.do("anna", inputs.Label(what=TEA, text="tea"))
    link(v, "anna", "tablet")
    v.wait(minutes=1)
    assert called(v, "tablet") == "tea"


def test_of_two_names_given_apart_the_later_one_stands_everywhere() -> None:
    v = village()
    v.part(["anna"], ["phone"])
    v.do("phone", inputs.Label(what=TEA, text="coffee"))
    v.wait(seconds=5)
    v.do("anna", inputs.Label(what=TEA, text="tea"))
    v.heal()
    v.wait(minutes=2)
    assert called(v, "anna") == called(v, "phone") == "tea"


@pytest.mark.parametrize("at", [1 << 53, (1 << 64) - 1])
def test_whatever_time_another_device_says_a_name_can_be_given_here_afterwards(at: int) -> None:
    """It may be a thief's, until it is removed."""
    v = village()

    def lie(turn: Turn) -> None:
        for what in (labels.ACCOUNT, TEA):
            devices.tell(turn, siblings.Labeled(what=what, text="stolen", at=at))

    step(v, "phone", lie)
    v.deliver()
    assert (called(v, "anna") == "stolen") is (at == 1 << 53)
    for what in (labels.ACCOUNT, TEA):
        v.do("anna", inputs.Label(what=what, text="anna"))
        assert called(v, "anna", what) == "anna"


def test_a_name_can_be_taken_back() -> None:
    v = village()
    v.do("anna", inputs.Label(what=TEA, text="tea"))
    v.do("phone", inputs.Label(what=TEA, text=""))
    v.deliver()
    assert called(v, "anna") == called(v, "phone") == ""


@pytest.mark.parametrize("text", ["x" * 65, "two\nlines", "\u202eback"])
def test_names_are_one_line_that_can_be_seen(text: str) -> None:
    v = village()
    with pytest.raises(Misuse, match=str(labels.MAX_TEXT)):
        v.do("anna", inputs.Label(what=TEA, text=text))
    told = siblings.Told(device=device(v, "phone"), epoch=home(v, "anna").head, newest=b"")
    record = siblings.Labeled(what=TEA, text=text, at=1 << 50)
    step(v, "anna", lambda turn: labels.on_labeled(turn, told, record))
    assert called(v, "anna") == ""


def test_there_are_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MAX_LABELS", 4)
    v = village()
    v.do("anna", inputs.Label(what=labels.ACCOUNT, text="Anna"))
    v.do("anna", inputs.Label(what=TEA, text="tea"))
    for number in range(6):
        v.do("anna", inputs.Label(what=b"gone %d" % number, text="old"))
    kept = v.state("anna").household.labels
    assert sorted(kept) == [b"", b"gone 4", b"gone 5", TEA]
