"""Every device is lost, and the account is taken up again: real daemons, and a file in between."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.vcd.daemon.process import Daemon, home, until
from vcd.client import RpcError, new_request_id

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("recovery"),
]


SECRET = "correct horse"
SAID = (b"tea at five?", b"yes", "with milk \N{HOT BEVERAGE}".encode())


@dataclass
class Scene:
    """Alice has a chat with Bob, a backup with her phrase in it and one without."""

    folder: Path
    alice: Daemon
    bob: Daemon
    chat: bytes
    accounts: tuple[bytes, bytes]
    words: list[str]
    device: bytes
    messages: list[dict[str, Any]]
    made: dict[str, Any]

    @property
    def backup(self) -> str:
        return str(self.folder / "vcd.backup")


def found(daemon: Daemon, name: str) -> dict[str, Any]:
    made: dict[str, Any] = daemon.call("account.create", device_name="laptop", name=name)
    settled(daemon)
    return made


def settled(daemon: Daemon) -> bytes:
    account: bytes = until(lambda: daemon.until_state("ready") and daemon.call("status.get")["account"])
    return account


def history(daemon: Daemon, chat: bytes) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = daemon.call("msg.list", chat=chat, most=500)["messages"]
    return [{name: value for name, value in each.items() if name != "seq"} for each in listed]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("recovery")
    with home(folder / "alice") as alice, home(folder / "bob") as bob:
        alice.start(ready=False)
        bob.start()
        alice.until_state("ready")
        hers, his = found(alice, "Alice"), found(bob, "Bob")
        alice.call("contact.add", link=bob.call("contact.link")["link"], name="Bobby")
        bob.call("contact.add", link=alice.call("contact.link")["link"])
        alice.call("contact.verify", account=his["account"], fingerprint=his["fingerprint"])
        chat = alice.call("chat.create", title="tea")["chat"]
        alice.call("chat.invite", chat=chat, account=his["account"])
        until(lambda: chat in [each["chat"] for each in bob.call("chat.list")["chats"]])
        for number, text in enumerate(SAID):
            daemon = (alice, bob)[number % 2]
            daemon.call("msg.send", chat=chat, data=text, media="text/plain")
            until(lambda text=text: text in alice.heard(chat) and text in bob.heard(chat))  # type: ignore[misc]
        until(lambda: all(each["fate"] in {"", "delivered"} for each in history(alice, chat)))
        made = alice.call("backup.create", path=str(folder / "vcd.backup"), passphrase=SECRET, words=hers["words"])
        alice.call("backup.create", path=str(folder / "plain.backup"), passphrase=SECRET, history=False)
        yield Scene(
            folder=folder,
            alice=alice,
            bob=bob,
            chat=chat,
            accounts=(hers["account"], his["account"]),
            words=hers["words"],
            device=hers["device"],
            messages=history(alice, chat),
            made=made,
        )


def test_a_backup_is_its_owners_file_and_shows_nothing(scene: Scene) -> None:
    path = Path(scene.backup)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = path.read_bytes()
    assert scene.made["bytes"] == len(data)
    assert (scene.made["contacts"], scene.made["chats"], scene.made["messages"]) == (1, 1, len(SAID))
    assert scene.made["with_root"]
    for secret in (*SAID, b"Bob", scene.chat, scene.accounts[0], scene.accounts[1], *map(str.encode, scene.words)):
        assert len(secret) < 5 or secret not in data
    assert scene.made["at"] <= scene.alice.call("metrics.get")["at"]


def test_no_file_is_overwritten_and_what_is_wrong_is_said(scene: Scene) -> None:
    before = Path(scene.backup).read_bytes()
    wrong: dict[str, list[dict[str, Any]]] = {
        "E_FILE": [{"path": scene.backup}, {"path": "vcd.backup"}, {"path": str(scene.folder / "no" / "x")}],
        "E_PASSPHRASE": [{"passphrase": ""}],
        "E_WORDS": [{"words": ["abandon"] * 24}, {"words": ["abandon"] * 23 + ["art"]}],
    }
    for code, several in wrong.items():
        for each in several:
            given = {"path": str(scene.folder / "new.backup"), "passphrase": SECRET, **each}
            with pytest.raises(RpcError, match=code):
                scene.alice.call("backup.create", **given)
    assert Path(scene.backup).read_bytes() == before
    assert sorted(each.name for each in scene.folder.iterdir()) == ["alice", "bob", "plain.backup", "vcd.backup"]


def test_a_backup_that_is_asked_for_again_is_not_made_again(scene: Scene) -> None:
    request, path = new_request_id(), str(scene.folder / "once.backup")
    first = scene.alice.call("backup.create", path=path, passphrase=SECRET, request_id=request)
    assert scene.alice.call("backup.create", path=path, passphrase=SECRET, request_id=request) == first
    assert not first["with_root"]


def test_who_has_an_account_recovers_none(scene: Scene) -> None:
    with pytest.raises(RpcError, match="E_ACCOUNT_EXISTS"):
        scene.bob.call("account.recover", words=scene.words, device_name="desk")


def test_all_devices_are_lost_and_the_account_goes_on(scene: Scene) -> None:
    alice, bob, chat = scene.alice, scene.bob, scene.chat
    old = until(lambda: alice.call("key_packages.status")["left"])
    assert old
    alice.end()
    shutil.rmtree(alice.home / "state")
    alice.start()
    assert alice.call("status.get")["account"] is None
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("E_PASSPHRASE", {"backup": scene.backup, "passphrase": "donkey"}),
        ("E_PASSPHRASE", {"backup": scene.backup}),
        ("E_FILE", {"backup": str(scene.folder / "nothing"), "passphrase": SECRET}),
        ("E_FILE", {"backup": str(alice.home / "vcd.toml"), "passphrase": SECRET}),
        ("E_WORDS", {"backup": scene.backup, "passphrase": SECRET, "words": ["abandon"] * 23 + ["art"]}),
        ("E_WORDS", {"backup": str(scene.folder / "plain.backup"), "passphrase": SECRET, "words": None}),
        ("E_WORDS", {"words": None}),
        ("E_NAME", {"device_name": "a\nb"}),
    ]
    for code, given in wrong:
        with pytest.raises(RpcError, match=code):
            alice.call("account.recover", **{"words": scene.words, "device_name": "desk", **given})
    damaged = Path(scene.backup).read_bytes()
    (scene.folder / "damaged").write_bytes(damaged[:-20])
    with pytest.raises(RpcError, match="E_FILE"):
        alice.call("account.recover", device_name="desk", backup=str(scene.folder / "damaged"), passphrase=SECRET)
    assert alice.call("status.get")["account"] is None

    found = alice.call("account.recover", device_name="desk", backup=scene.backup, passphrase=SECRET)
    assert (found["account"], found["contacts"], found["chats"]) == (scene.accounts[0], 1, 1)
    assert found["device"] != scene.device
    assert settled(alice) == scene.accounts[0]
    assert [each.data["reason"] for each in alice.events("account.changed")] == ["recovered"]
    account = alice.call("account.get")
    assert (account["name"], account["devices"], account["delegate"]) == ("Alice", 1, True)
    assert [each["name"] for each in alice.call("device.list")["devices"]] == ["desk"]

    # People and what was said are there; nothing was told as if it were said now.
    (contact,) = alice.call("contact.list")["contacts"]
    assert (contact["account"], contact["name"], contact["verified"]) == (scene.accounts[1], "Bobby", True)
    assert history(alice, chat) == scene.messages
    assert not alice.events("msg.received")
    assert [each.chat for each in alice.events("msg.restored")] == [chat] * len(SAID)
    (line,) = alice.call("chat.list")["chats"]
    assert (line["chat"], line["title"], line["standing"], line["members"]) == (chat, "tea", "past", 2)
    shown = alice.call("chat.get", chat=chat)
    assert not shown["can_speak"]
    assert {each["account"]: each["name"] for each in shown["members"]} == {
        scene.accounts[0]: "Alice",
        scene.accounts[1]: "Bobby",
    }
    with pytest.raises(RpcError, match="E_NOT_MEMBER"):
        alice.call("msg.send", chat=chat, data=b"hello?")
    with pytest.raises(RpcError, match="E_NOT_MEMBER"):
        alice.call("chat.graph", chat=chat)

    # Contacts have nothing to do: they see a newer list under the same root.
    new = alice.call("chat.create", title="tea again")["chat"]
    alice.call("chat.invite", chat=new, account=scene.accounts[1])
    until(lambda: new in [each["chat"] for each in bob.call("chat.list")["chats"]])
    changed = until(lambda: bob.events("contact.changed"))
    assert [(each.data["account"], each.data["shut_out"]) for each in changed] == [(scene.accounts[0], True)]
    assert not bob.events("contact.needs_attention")
    assert bob.call("contact.get", account=scene.accounts[0])["relation"] == "contact"
    alice.call("msg.send", chat=new, data=b"it is me")
    until(lambda: b"it is me" in bob.heard(new))
    bob.call("msg.send", chat=new, data=b"hello again")
    until(lambda: b"hello again" in alice.heard(new))

    # What the lost device gave out is of no use to anybody who knows that; a new link is.
    assert not bob.call("contact.get", account=scene.accounts[0])["reachable"]
    bob.call("contact.add", link=alice.call("contact.link")["link"])
    other = bob.call("chat.create", title="bob's")["chat"]
    bob.call("chat.invite", chat=other, account=scene.accounts[0])
    until(lambda: other in [each["chat"] for each in alice.call("chat.list", standing="member")["chats"]])

    # Another backup has the past as well, and it stays what it is over a restart.
    again = alice.call("backup.create", path=str(scene.folder / "again.backup"), passphrase=SECRET)
    assert again["chats"] == 3
    assert again["messages"] >= len(SAID) + 2
    alice.end()
    alice.start()
    assert history(alice, chat) == scene.messages


def test_with_the_phrase_alone_the_account_is_the_same(scene: Scene) -> None:
    with home(scene.folder / "alone") as daemon:
        daemon.start()
        found = daemon.call("account.recover", words=scene.words, device_name="hut")
        assert (found["account"], found["contacts"], found["chats"]) == (scene.accounts[0], 0, 0)
        assert settled(daemon) == scene.accounts[0]
        assert daemon.call("account.get")["term"] > 29_000_000


def test_no_secret_of_it_is_in_a_log(scene: Scene) -> None:
    for daemon in (scene.alice, scene.bob):
        for secret in (SECRET, " ".join(scene.words[:3]), scene.accounts[0].hex()):
            assert secret not in daemon.log
