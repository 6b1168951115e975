"""The words for a device that was removed from its account."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.vcd.cli.house import Daemon, example, ran, refusing
from vcd.rpc import samples

WHY = "his device was removed from its account, as it learned on "


@pytest.fixture
def removed(daemon: Daemon) -> Daemon:
    """It has forgotten the account, and has chats of before."""
    daemon.answers["status.get"] = lambda _: example("status.get", account=None, device=None, removed=samples.AT)
    for method in ("contact.list", "device.list"):
        daemon.answers[method] = refusing("E_NO_ACCOUNT", removed=samples.AT)
    return daemon


@pytest.mark.usefixtures("removed")
def test_status_says_so_and_what_to_do() -> None:
    done = ran("status")
    assert done.code == 0
    assert WHY in done.out
    assert "nothing is sent or received" in done.out
    assert "vcd device join CODE links it again, vcd init begins anew" in done.out
    assert "none yet" not in done.out
    assert ran("status", "--json").json["removed"] == samples.AT


@pytest.mark.usefixtures("daemon")
def test_a_device_that_was_not_removed_says_nothing_of_it() -> None:
    for command in (("status",), ("chat", "list"), ("top", "--once")):
        done = ran(*command)
        assert "removed" not in done.out + done.err


def test_it_is_said_before_the_account_is_forgotten(daemon: Daemon) -> None:
    daemon.answers["status.get"] = lambda _: example("status.get", removed=samples.AT)
    for command, around in ((("status",), "account"), (("top", "--once"), "laptop")):
        done = ran(*command)
        assert WHY in done.out
        assert around in done.out
    assert "none any more" not in ran("status").out
    assert WHY in ran("chat", "list").err


@pytest.mark.usefixtures("removed")
def test_top_says_so() -> None:
    assert WHY in ran("top", "--once").out


def test_what_was_said_is_shown_with_names_and_with_why_that_is_all(removed: Daemon) -> None:
    [line], [message] = example("chat.list").chats, example("msg.list").messages
    answers = {
        "chat.list": example("chat.list", chats=[replace(line, standing="past")]),
        "chat.get": example("chat.get", standing="past", pending=[]),
        "msg.list": example("msg.list", messages=[replace(message, sender=samples.BOB, ours=False)], more=False),
    }
    for method, answer in answers.items():
        removed.answers[method] = lambda _, answer=answer: answer  # type: ignore[misc]  # the loop's own
    said = ran("chat", "tail", "tea")
    assert said.code == 0
    assert "Bob: tea at five?" in said.out
    for done in (said, ran("chat", "list"), ran("chat", "show", "tea")):
        assert WHY in done.err
        assert "vcd doctor" in done.err
    assert ran("chat", "list", "--json").err == ""
