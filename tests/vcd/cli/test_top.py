"""`vcd top`: the same panes as `--once`, on a screen."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import pytest

from tests.vcd.cli.house import Daemon, daemon_at, ran, refusing
from vcd.cli.talk import Talk


def test_without_textual_it_says_how_to_get_it(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.delitem(sys.modules, "vcd.cli.screen", raising=False)
    done = ran("top")
    assert done.code == 1
    assert "vcd-daemon[tui]" in done.err
    assert "vcd top --once" in done.err
    assert daemon.asked_for("status.get"), "whether there is a daemon is said first"


def test_without_an_account(daemon: Daemon) -> None:
    daemon.answers["device.list"] = refusing("E_NO_ACCOUNT")
    done = ran("top", "--once", "--json")
    assert (done.code, done.json["devices"]) == (0, [])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_screen_shows_the_panes(daemon: Daemon) -> None:
    from vcd.cli.screen import Screen

    talk = Talk()
    talk.json = True

    async def look() -> list[str]:
        app = Screen(talk, 0.2)
        async with app.run_test(size=(100, 40)) as pilot:
            for _ in range(600):
                await pilot.pause(0.05)
                shown = [str(app.query_one(f"#{name}").render()) for name in ("vcd", "conversations", "events")]
                if all(shown):
                    return shown
        return []

    try:
        status, chats, events = asyncio.run(look())
    finally:
        talk.close()
    assert "laptop" in status
    assert "tea" in chats
    assert "msg.delivered" in events


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_slow_daemon_is_asked_by_one_thread_at_a_time(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    from vcd.cli import screen

    inside, most = 0, 0

    def slow(_talk: Talk) -> dict[str, Any]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.3)
        inside -= 1
        return {}

    monkeypatch.setattr(screen, "look", slow)
    monkeypatch.setattr(screen, "panes", lambda _found: [("vcd", "there")])

    async def run() -> str:
        app = screen.Screen(Talk(), 0.02)
        async with app.run_test() as pilot:
            for pause in range(600):
                await pilot.pause(0.05)
                shown = str(app.query_one("#vcd").render())
                if shown and pause > 20:
                    return shown
            return ""

    assert "there" in asyncio.run(run())
    assert most == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_comes_after_somebody_left_is_shown_to_nobody(daemon: Daemon) -> None:
    from vcd.cli.screen import Screen

    talk = Talk()
    talk.json = True

    async def run() -> None:
        app = Screen(talk, 60)
        async with app.run_test() as pilot:
            await pilot.pause()
            await app.query("Static").remove()
            app._show([("vcd", "late")])

    try:
        asyncio.run(run())
    finally:
        talk.close()


def test_locked(daemon: Daemon) -> None:
    daemon.stop()
    with daemon_at(daemon.home, "locked"):
        assert ran("top", "--once").code == 0


@pytest.mark.filterwarnings("ignore")
def test_without_a_terminal_it_is_refused(daemon: Daemon) -> None:
    done = ran("top")
    assert daemon.asked_for("status.get")
    assert done.code == 3
    assert "vcd status --json" in done.err
    assert done.out == ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_it_is_left_by_a_key(daemon: Daemon, key: str) -> None:
    from vcd.cli.screen import Screen

    assert daemon.entries
    talk = Talk()
    talk.json = True

    async def left() -> int | None:
        app = Screen(talk, 60)
        async with app.run_test(size=(100, 40)) as pilot:
            await pilot.press(key)
            await pilot.pause(0.05)
            return app.return_code

    try:
        assert asyncio.run(left()) == 0
    finally:
        talk.close()
