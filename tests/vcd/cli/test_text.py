"""Text for terminals: nothing that others wrote moves the cursor."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from vcd.cli import text


@given(st.text())
def test_plain_prints(said: str) -> None:
    shown = text.plain(said)
    assert all(each.isprintable() or each in "\u200c\u200d" for each in shown)
    assert text.plain(shown) == shown
    if said.isprintable():
        assert shown == said


@pytest.mark.parametrize(
    "said", ["\x1b[31mred", "a\rb", "a\x08b", "\x9b2J", "a\u202eb", "a\u2028b", "\x07", "\udc80", "\u2066"]
)
def test_what_is_shown_as_its_number(said: str) -> None:
    shown = text.plain(said, lines=True)
    assert "\\" in shown
    assert shown.isprintable()


def test_emoji_stay_whole() -> None:
    family = "👩\u200d👧"
    assert text.plain(family) == family
    assert text.plain("a\nb", lines=True) == "a\nb"
    assert text.plain("a\nb") == "a\\nb"


def test_times_and_sizes() -> None:
    assert [text.span(each) for each in (0, 999, 61_000, 3_600_000, 90_061_000)] == [
        "0 s",
        "0 s",
        "1 min 1 s",
        "1 h",
        "1 d 1 h",
    ]
    assert text.until(10_000, now=0) == "in 10 s"
    assert text.until(0, now=10) == "10 s ago"
    assert text.size(512) == "512 bytes"
    assert text.size(70_000) == "68.4 KiB"
    assert text.clock(10**18)
    assert text.count(1, "chat") == "1 chat"
    assert text.count(2, "branch", "branches") == "2 branches"


def test_tables_line_up() -> None:
    shown = text.table(["NAME", "ID"], [["日本", "1"], ["a\x1b", "22"]])
    assert [text.width(line[: line.rindex(" ") + 1]) for line in shown.splitlines()] == [7, 7, 7]


@given(st.binary(max_size=50), st.sampled_from(["", "text/plain;charset=utf-8", "image/png"]))
def test_bodies(data: bytes, media: str) -> None:
    assert isinstance(text.said(data, media), str)


def test_this_device_is_listed_first_and_the_others_by_name() -> None:
    from vcd.cli.device import _listed as devices_listed

    each = {"seen_at": None, "delegate": False, "stale": False, "removing": False}
    several = [
        {**each, "device": bytes([number]) * 16, "name": name, "this": name == "tablet"}
        for number, name in enumerate(("phone", "laptop", "tablet"))
    ]
    lines = devices_listed({"devices": several, "removal": None}).splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["tablet", "laptop", "phone"]


@pytest.mark.parametrize(
    ("online", "peers", "said"),
    [
        (True, 1, "online, 1 peer"),
        (False, 0, "offline, 0 peers"),
        (False, 3, "connected to 3 peers, none of whom shares a chat or account"),
    ],
)
def test_who_is_connected_is_not_said_to_be_offline(online: bool, peers: int, said: str) -> None:
    assert text.network({"online": online, "peers": peers}) == said
