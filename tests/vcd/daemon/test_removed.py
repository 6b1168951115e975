"""A device that another one removes from its account, as its person meets it: in processes, by the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vcd.daemon.process import Daemon, home, until
from vcd.client import RpcError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]

PATIENT = 60.0
WHY = "his device was removed from its account"


@dataclass
class Circle:
    """Alice has a laptop and a phone, and a chat with Bob."""

    laptop: Daemon
    phone: Daemon
    bob: Daemon
    chat: bytes
    device: bytes
    """The phone."""


def has_account(daemon: Daemon) -> bytes:
    found: bytes = until(lambda: daemon.until_state("ready") and daemon.status().get("account"), PATIENT)
    return found


def link(old: Daemon, new: Daemon, name: str) -> bytes:
    offer = old.call("pair.start")
    joined = new.call("pair.join", code=offer["uri"], device_name=name)
    met = old.call("pair.get", pair=offer["pair"], step="waiting", wait_ms=20_000)
    new.call("pair.get", pair=joined["pair"], step="waiting", wait_ms=20_000)
    old.call("pair.confirm", pair=offer["pair"], check=met["check"])
    has_account(new)
    until(lambda: old.call("pair.get", pair=offer["pair"])["step"] == "finished", PATIENT)
    device: bytes = new.call("status.get")["device"]
    return device


@contextmanager
def circle(folder: Path) -> Iterator[Circle]:
    with home(folder / "laptop") as laptop, home(folder / "phone") as phone, home(folder / "bob") as bob:
        for daemon in (laptop, phone, bob):
            daemon.start(ready=False)
        for daemon, name in ((laptop, "Alice"), (bob, "Bob")):
            daemon.until_state("ready")
            daemon.call("account.create", device_name="laptop", name=name)
            has_account(daemon)
        phone.until_state("ready")
        device = link(laptop, phone, "phone")
        laptop.call("contact.add", link=bob.call("contact.link")["link"])
        bob.call("contact.add", link=laptop.call("contact.link")["link"])
        chat = laptop.call("chat.create", title="tea")["chat"]
        laptop.call("chat.invite", chat=chat, account=bob.call("status.get")["account"])
        until(lambda: chat in [each["chat"] for each in bob.call("chat.list")["chats"]], PATIENT)
        bob.call("msg.send", chat=chat, data=b"tea at five?", media="text/plain")
        until(lambda: chat in [each["chat"] for each in phone.call("chat.list")["chats"]], PATIENT)
        until(lambda: b"tea at five?" in phone.heard(chat), PATIENT)
        until(lambda: phone.call("chat.get", chat=chat)["title"] == "tea", PATIENT)
        yield Circle(laptop, phone, bob, chat, device)


def removed(circle: Circle) -> None:
    """The laptop removes the phone, for good as far as it and Bob go."""
    circle.laptop.call("device.remove", device=circle.device)
    until(lambda: any(each.data["complete"] for each in circle.laptop.events("device.rotation")), PATIENT)


def typed(daemon: Daemon, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vcd.cli", *argv]
    return subprocess.run(command, env=daemon.environment(), capture_output=True, text=True, check=False, timeout=60)


def forgotten(phone: Daemon) -> None:
    def look() -> bool:
        found = phone.status()
        return found.get("state") == "ready" and found["account"] is None

    until(look, 2 * PATIENT)


def says_so(circle: Circle) -> None:
    """Everything that a person would try on that phone."""
    phone = circle.phone
    status = phone.call("status.get")
    assert status["account"] is None
    assert status["removed"] is not None
    assert phone.call("health.list")["problems"][0]["code"] == "removed"
    assert [each.data["title"] for each in phone.events("chat.renamed")] == ["tea"]  # it is called so still
    shown = typed(phone, "status")
    assert shown.returncode == 0
    assert WHY in shown.stdout
    assert "vcd device join CODE links it again, vcd init begins anew" in shown.stdout
    doctor = typed(phone, "doctor")
    assert doctor.returncode == 1
    assert WHY in doctor.stdout
    assert "Nothing is sent or received." in doctor.stdout
    for argv in (("device", "list"), ("contact", "list"), ("chat", "send", "tea", "hello"), ("account", "show")):
        refused = typed(phone, *argv)
        assert refused.returncode == 1
        assert WHY in refused.stderr
        assert "E_NO_ACCOUNT" in refused.stderr
        assert "vcd device join CODE" in refused.stderr
    chats = typed(phone, "chat", "list")
    assert "tea" in chats.stdout
    assert "past" in chats.stdout
    assert WHY in chats.stderr
    said = typed(phone, "chat", "tail", "tea")
    assert "Bob: tea at five?" in said.stdout
    assert WHY in said.stderr
    assert "Alice" in typed(phone, "chat", "show", "tea").stdout
    with pytest.raises(RpcError, match="E_NO_ACCOUNT"):
        phone.call("pair.start")


def test_one_that_was_off_says_so_when_it_comes_back_and_after_that(tmp_path: Path) -> None:
    with circle(tmp_path) as there:
        phone = there.phone
        phone.end()
        removed(there)
        phone.start()
        forgotten(phone)
        says_so(there)
        since = phone.call("status.get")["removed"]
        phone.end()
        there.bob.call("msg.send", chat=there.chat, data=b"not for the phone")
        phone.start()
        assert phone.call("status.get")["removed"] == since
        says_so(there)
        assert phone.heard(there.chat) == [b"tea at five?"]

        again = link(there.laptop, phone, "phone")
        assert again != there.device
        assert phone.call("status.get")["removed"] is None
        assert "removed" not in phone.call("status.get")["problems"]
        assert WHY not in typed(phone, "status").stdout
        until(lambda: phone.call("chat.get", chat=there.chat)["standing"] == "member", PATIENT)
        there.bob.call("msg.send", chat=there.chat, data=b"welcome back")
        until(lambda: b"welcome back" in phone.heard(there.chat), PATIENT)
        assert b"tea at five?" in phone.heard(there.chat)


def test_one_that_is_on_says_so_too(tmp_path: Path) -> None:
    with circle(tmp_path) as there:
        removed(there)
        forgotten(there.phone)
        says_so(there)
        there.phone.call("account.create", device_name="phone", name="Anew")
        has_account(there.phone)
        assert there.phone.call("status.get")["removed"] is None
        assert there.phone.heard(there.chat) == [b"tea at five?"]
