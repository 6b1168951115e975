"""The page is well formed, whatever stands in it, and tells what happened."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.docker.report import bars, color, page, told
from tests.docker.story import Happening, Story

SVG = "{http://www.w3.org/2000/svg}"
XHTML = "{http://www.w3.org/1999/xhtml}"
EVIL = "</svg><script>alert('&amp;')</script>\x00\x1b \N{LEFT-TO-RIGHT OVERRIDE}"


def story() -> Story:
    made = Story("cut_in_two", "namespaces", said=lambda _: None)
    made.wall, made.ended, made.outcome = 1_790_000_000.0, 60.0, EVIL
    made.happened = [
        Happening(0, "", "about", EVIL),
        Happening(1, "a-1", "step", "started"),
        Happening(2, "b-1", "step", "started"),
        Happening(10, "a-1", "fault", "killed"),
        Happening(15, "a-1", "mended", "started again"),
        Happening(20, "b-1", "fault", "cut: a-1 | b-1"),
        Happening(30, "b-1", "mended", "no cut any more"),
        Happening(40, "b-1", "fault", "its clock is off by 24 h", {"off": 86_400.0}),
    ]

    def event(at: float, kind: str, **data: object) -> dict[str, object]:
        return {"at": int((made.wall + at) * 1000), "type": kind, "chat": b"c", "data": data}

    said = {"data": EVIL.encode(), "ours": False}
    made.stands = {
        "a-1": {
            "status": {"state": "ready", "peers": 1},
            "problems": [{"code": "peerless"}],
            "events": [
                event(5, "msg.received", **said),
                event(6, "chat.changed", epoch=b"e"),
                event(7, "chat.forked", branches=2),
                event(8, "chat.healed"),
            ],
        },
        "b-1": {"events": [event(86_400 + 45, "msg.received", **said), event(6, "chat.changed", epoch=b"e")]},
    }
    made.memory = {"a-1": [(1, 7, 50_000_000), (2, 7, 60_000_000)]}
    return made


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    text = page([story(), Story("idle", "containers")])
    root = ET.fromstring(text.removeprefix("<!DOCTYPE html>"))
    assert root.tag == f"{XHTML}html"
    assert not root.findall(f".//{XHTML}script")
    assert not [each for each in root.iter() if {"src", "onclick", "onload"} & each.attrib.keys()]
    assert [each.get("href") for each in root.iter(f"{XHTML}a")] == ["#s0", "#s1"]
    assert "1 of 2 scenarios are as they should be" in text


def test_each_node_has_a_line_with_what_happened_there() -> None:
    root = ET.fromstring(page([story()]).removeprefix("<!DOCTYPE html>"))
    tips = [each.text or "" for each in root.iter(f"{SVG}title")]
    for words in ("10.0 s: killed", "20.0 s: cut: a-1 | b-1", "7.0 s: chat.forked", "8.0 s: chat.healed is over"):
        assert words in tips
    assert sum("chat.changed" in each for each in tips) == 2
    names = [each.text for each in root.iter(f"{SVG}text")]
    assert {"a-1", "b-1"} <= set(names)


def test_of_many_messages_it_shows_where_there_are_any() -> None:
    made = story()
    one = made.stands["a-1"]["events"][0]
    made.stands["a-1"]["events"] = [{**one, "at": one["at"] + 10 * n} for n in range(5000)]
    text = page([made])
    root = ET.fromstring(text.removeprefix("<!DOCTYPE html>"))
    assert "5000 messages, from 5.0 to 55.0 s" in [each.text for each in root.iter(f"{SVG}title")]
    assert len(text) < 40_000


def test_a_fault_lasts_until_it_is_mended() -> None:
    made = story()
    assert [(each.start, each.end, each.kind) for each in bars(made, "a-1")] == [(10, 15, "off")]
    assert [(each.start, each.end, each.kind) for each in bars(made, "b-1")] == [(20, 30, "cut"), (40, 60.0, "clock")]


def test_what_a_clock_that_is_off_says_stands_where_it_happened() -> None:
    assert [round(each.at) for each in told(story(), "b-1")] == [45, 6]


def test_one_epoch_has_one_color() -> None:
    assert color(b"e") == color(b"e")
    assert color(b"e") != color(b"f")
