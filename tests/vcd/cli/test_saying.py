"""Messages that say nothing, and when something was said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.vcd.cli.house import Daemon, example, ran
from vcd.rpc import samples

HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("argv", "stdin"),
    [
        ([""], b""),
        (["  \t "], b""),
        (["-"], b""),
        (["-"], b"\n \n"),
        (["", "--media", "text/markdown"], b""),
        (["--file", "/dev/null"], b""),
    ],
)
def test_an_empty_message_is_not_sent(daemon: Daemon, argv: list[str], stdin: bytes) -> None:
    done = ran("chat", "send", "tea", *argv, "--json", stdin=stdin)
    assert (done.code, done.json["error"]["code"]) == (3, "E_MESSAGE")
    assert "empty" in done.json["error"]["message"]
    assert daemon.asked_for("msg.send") == []


def test_what_is_not_empty_is_sent_as_it_is(daemon: Daemon, tmp_path: Path) -> None:
    blank = tmp_path / "blank"
    blank.write_bytes(b"\n")
    assert ran("chat", "send", "tea", " a ").code == 0
    assert ran("chat", "send", "tea", "--file", str(blank)).code == 0
    assert ran("chat", "send", "tea", "--file", "/dev/null", "--media", "application/x-ping").code == 0
    assert [each.data for each in daemon.asked_for("msg.send")] == [b" a ", b"\n", b""]


def tailed(daemon: Daemon, said_at: int) -> Any:
    [message] = example("msg.list").messages
    shown = msgspec.structs.replace(message, at=samples.AT, said_at=said_at)
    daemon.answers["msg.list"] = lambda _: example("msg.list", messages=[shown], more=False)
    [line] = ran("chat", "tail", "tea").out.splitlines()
    return line


@pytest.mark.parametrize(
    ("said_at", "begins"),
    [
        (samples.AT - 8 * HOUR, "2026-09-21 06:13:20  you: "),  # it waited for a night
        (samples.AT - 70 * DAY, "2026-07-13 14:13:20  you: "),
        (samples.AT + 60_000, "2026-09-21 14:14:20  you: "),  # a clock that is a minute ahead
    ],
)
def test_the_time_is_when_it_was_said(daemon: Daemon, said_at: int, begins: str) -> None:
    line = tailed(daemon, said_at)
    assert line.startswith(begins)
    assert "clock" not in line


@pytest.mark.parametrize(
    ("said_at", "shown"),
    [
        (samples.AT + HOUR, "2026-09-21 15:13:20"),
        (samples.AT + 5000 * DAY, "2040-05-30 14:13:20"),
        (0, "1970-01-01 00:00:00"),
    ],
)
def test_a_clock_that_cannot_be_right_is_told_of(daemon: Daemon, said_at: int, shown: str) -> None:
    line = tailed(daemon, said_at)
    assert line.startswith("2026-09-21 14:13:20  you: ")
    assert line.endswith(f"(came then; said {shown}, by its author's clock)")


def test_programs_have_both_times(daemon: Daemon) -> None:
    tailed(daemon, samples.AT - HOUR)
    [row] = ran("chat", "tail", "tea", "--json").lines
    assert (row["at"], row["said_at"]) == (samples.AT, samples.AT - HOUR)
