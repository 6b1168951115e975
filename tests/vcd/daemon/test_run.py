"""`vcd run` as people and apps meet it: real processes, real sockets, real files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vcd.daemon.process import RUN, SETTINGS, Daemon, home, until
from vcd.client import RpcError, new_request_id

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("run"),
]


@dataclass
class Pair:
    """Two people with a chat."""

    alice: Daemon
    bob: Daemon
    chat: bytes
    accounts: tuple[bytes, bytes]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with home(folder / "alice") as alice, home(folder / "bob") as bob:
        alice.start(ready=False)
        bob.start(ready=False)
        alice.until_state("ready")
        bob.until_state("ready")
        accounts = tuple(
            daemon.call("account.create", device_name="laptop", name=name)["account"]
            for daemon, name in ((alice, "Alice"), (bob, "Bob"))
        )
        links = [daemon.call("contact.link")["link"] for daemon in (alice, bob)]
        alice.call("contact.add", link=links[1])
        bob.call("contact.add", link=links[0])
        chat = alice.call("chat.create", title="tea")["chat"]
        alice.call("chat.invite", chat=chat, account=accounts[1])
        until(lambda: chat in [each["chat"] for each in bob.call("chat.list")["chats"]])
        yield Pair(alice, bob, chat, (accounts[0], accounts[1]))


def test_what_one_says_the_other_hears_once(pair: Pair) -> None:
    sent = pair.alice.call("msg.send", chat=pair.chat, data=b"tea at five?", media="text/plain")
    until(lambda: b"tea at five?" in pair.bob.heard(pair.chat))
    assert pair.bob.heard(pair.chat).count(b"tea at five?") == 1
    kept = pair.alice.call("msg.get", chat=pair.chat, msg=sent["msg"])
    assert (kept["data"], kept["ours"], kept["seq"]) == (b"tea at five?", True, sent["seq"])
    until(lambda: pair.alice.call("msg.get", chat=pair.chat, msg=sent["msg"])["fate"] == "delivered")
    told = [each.type for each in pair.alice.events() if each.data.get("msg") == sent["msg"]]
    assert told[0] == "msg.received"
    assert told[-1] == "msg.delivered"
    assert told.count("msg.sent") == 1


def test_a_request_that_comes_again_does_nothing_more(pair: Pair) -> None:
    request = new_request_id()
    first = pair.alice.call("msg.send", chat=pair.chat, data=b"once", request_id=request)
    assert pair.alice.call("msg.send", chat=pair.chat, data=b"once", request_id=request) == first
    with pytest.raises(RpcError, match="E_REQUEST_REUSED"):
        pair.alice.call("msg.send", chat=pair.chat, data=b"twice", request_id=request)
    assert pair.alice.heard(pair.chat).count(b"once") == 1


def test_chats_are_shown_as_they_are(pair: Pair) -> None:
    line = next(each for each in pair.alice.call("chat.list")["chats"] if each["chat"] == pair.chat)
    assert (line["title"], line["standing"], line["members"], line["mode"]) == ("tea", "member", 2, "demls")
    chat = pair.bob.call("chat.get", chat=pair.chat)
    assert [each["account"] for each in chat["members"]] == list(pair.accounts)
    assert [each["name"] for each in chat["members"]] == ["Alice", "Bob"]
    assert chat["can_speak"]
    assert chat["rules"]["admins"] == [pair.accounts[0]]
    with pytest.raises(RpcError, match="E_FORBIDDEN"):
        pair.bob.call("chat.remove", chat=pair.chat, account=pair.accounts[0])
    with pytest.raises(RpcError, match="E_CHAT_UNKNOWN"):
        pair.bob.call("chat.get", chat=b"no such chat")
    pair.alice.call("chat.rename", chat=pair.chat, title="coffee")
    assert pair.alice.call("chat.get", chat=pair.chat)["title"] == "coffee"
    assert pair.bob.call("chat.get", chat=pair.chat)["title"] == ""
    graph = until(lambda: _settled(pair.alice.call("chat.graph", chat=pair.chat)))
    assert [each["head"] for each in graph["steps"]] == [True]
    home_graph = pair.alice.call("chat.graph")
    assert home_graph["chat"] is None
    assert len(home_graph["steps"]) >= 1


def _settled(graph: dict) -> dict | None:  # type: ignore[type-arg]
    return graph if graph["final"] == graph["head"] else None


def test_what_is_wanted_of_a_chat_is_settled(pair: Pair) -> None:
    action = pair.alice.call("chat.set_rules", chat=pair.chat, rules={"add": "admins"})["action"]
    settled = until(
        lambda: next((each for each in pair.alice.events("action.settled") if each.data["action"] == action), None)
    )
    assert settled.data["stands"]
    until(lambda: pair.bob.call("chat.get", chat=pair.chat)["rules"]["add"] == "admins")
    with pytest.raises(RpcError, match="E_RULES"):
        pair.alice.call("chat.set_rules", chat=pair.chat, rules={"window_ms": 366 * 86_400_000, "lead": b"x" * 32})


def test_people_are_known_by_what_they_gave(pair: Pair) -> None:
    alice, bob = pair.alice, pair.bob
    seen = alice.call("contact.get", account=pair.accounts[1])
    assert (seen["name"], seen["relation"], seen["verified"], seen["reachable"]) == ("Bob", "contact", False, True)
    other = bob.call("contact.get", account=pair.accounts[0])
    assert seen["safety_number"] == other["safety_number"]
    assert bob.call("account.get")["fingerprint"] == seen["fingerprint"]
    with pytest.raises(RpcError, match="E_FINGERPRINT"):
        alice.call("contact.verify", account=pair.accounts[1], fingerprint="1" * 60)
    assert alice.call("contact.verify", account=pair.accounts[1], fingerprint=seen["fingerprint"])["verified"]
    assert alice.call("contact.block", account=pair.accounts[1])["relation"] == "blocked"
    assert alice.call("contact.block", account=pair.accounts[1], blocked=False)["relation"] == "contact"
    with pytest.raises(RpcError, match="E_LINK"):
        alice.call("contact.add", link="vcd1:nothing")
    kinds = [each.type for each in alice.events() if each.type.startswith("contact.")]
    assert kinds == ["contact.added", "contact.verified", "contact.blocked", "contact.blocked"]


def test_a_contact_is_removed_and_the_chat_goes_on(pair: Pair) -> None:
    alice, bob = pair.alice, pair.bob
    with pytest.raises(RpcError, match="E_CONTACT_UNKNOWN"):
        alice.call("contact.remove", account=bytes(32))
    assert alice.call("contact.remove", account=pair.accounts[1]) == {}
    gone = alice.call("contact.get", account=pair.accounts[1])
    assert (gone["relation"], gone["verified"], gone["reachable"], gone["name"]) == ("stranger", False, False, "")
    assert [each.data["name"] for each in alice.events("contact.removed")] == ["Bob"]
    alice.call("msg.send", chat=pair.chat, data=b"whoever you are")
    until(lambda: b"whoever you are" in bob.heard(pair.chat))
    assert alice.call("contact.add", link=bob.call("contact.link")["link"])["relation"] == "contact"


def test_a_device_is_called_otherwise(pair: Pair) -> None:
    (device,) = pair.alice.call("device.list")["devices"]
    for wrong, code in (({"name": "a\nb"}, "E_NAME"), ({"device": bytes(16)}, "E_DEVICE_UNKNOWN")):
        with pytest.raises(RpcError, match=code):
            pair.alice.call("device.rename", **{"device": device["device"], "name": "desk", **wrong})
    assert pair.alice.call("device.rename", device=device["device"], name="desk") == {}
    told = until(lambda: pair.alice.events("device.renamed"))
    assert [(each.data["name"], each.data["this"]) for each in told] == [("desk", True)]
    assert [each["name"] for each in pair.alice.call("device.list")["devices"]] == ["desk"]
    pair.alice.call("device.rename", device=device["device"], name="laptop")
    until(lambda: len(pair.alice.events("device.renamed")) == 2)


def test_the_account_is_called_otherwise(pair: Pair) -> None:
    before = len(pair.alice.events("account.renamed"))
    pair.alice.call("account.rename", name="Alice L.")
    assert pair.alice.call("account.get")["name"] == "Alice L."
    link = pair.alice.call("contact.link")["link"]
    contact = pair.bob.call("contact.add", link=link)
    assert contact["suggested"] == "Alice L."
    for name, code in (("two\nlines", "E_NAME"), ("x" * 65, "E_PARAM_INVALID")):
        with pytest.raises(RpcError, match=code):
            pair.alice.call("account.rename", name=name)
    pair.alice.call("account.rename", name="")
    assert pair.alice.call("account.get")["name"] == ""
    pair.alice.call("account.rename", name="Alice")
    told = pair.alice.events("account.renamed")[before:]
    assert [each.data["name"] for each in told] == ["Alice L.", "", "Alice"]


def test_a_message_is_deleted_with_what_the_log_has_of_it(pair: Pair) -> None:
    sent = pair.bob.call("msg.send", chat=pair.chat, data=b"a secret")
    until(lambda: b"a secret" in pair.alice.heard(pair.chat))
    assert pair.alice.call("msg.delete", chat=pair.chat, msg=sent["msg"]) == {"deleted": True}
    assert pair.alice.call("msg.delete", chat=pair.chat, msg=sent["msg"]) == {"deleted": False}
    assert b"a secret" not in pair.alice.heard(pair.chat)
    assert all(each.data.get("data") != b"a secret" for each in pair.alice.events("msg.received"))


def test_an_account_is_shown_and_ruled_by_its_words(pair: Pair) -> None:
    account = pair.alice.call("account.get")
    assert (account["name"], account["devices"], account["delegate"], account["in_sync"]) == ("Alice", 1, True, True)
    with pytest.raises(RpcError, match="E_ACCOUNT_EXISTS"):
        pair.alice.call("account.create", device_name="laptop")
    with pytest.raises(RpcError, match="E_WORDS"):
        pair.alice.call("account.set_rules", words=["abandon"] * 24, rules={})
    devices = pair.alice.call("device.list")["devices"]
    assert [(each["name"], each["this"]) for each in devices] == [("laptop", True)]
    with pytest.raises(RpcError, match="E_DEVICE_OWN"):
        pair.alice.call("device.remove", device=devices[0]["device"])
    assert pair.alice.call("key_packages.status")["last_resort"]


def test_who_is_killed_goes_on_where_it_was(pair: Pair) -> None:
    pair.alice.end(signal.SIGKILL, code=-signal.SIGKILL)
    pair.bob.call("msg.send", chat=pair.chat, data=b"while you were out")
    pair.alice.start()
    until(lambda: b"while you were out" in pair.alice.heard(pair.chat))
    pair.alice.call("msg.send", chat=pair.chat, data=b"back again")
    until(lambda: b"back again" in pair.bob.heard(pair.chat))
    assert pair.bob.heard(pair.chat).count(b"back again") == 1


def test_a_locked_daemon_says_so_and_hears_everything_later(pair: Pair) -> None:
    assert pair.alice.call("vault.lock")["state"] == "locked"
    with pytest.raises(Exception, match="E_LOCKED"):
        pair.alice.call("chat.list")
    pair.bob.call("msg.send", chat=pair.chat, data=b"while you were locked")
    assert pair.alice.call("vault.unlock")["state"] == "ready"
    until(lambda: b"while you were locked" in pair.alice.heard(pair.chat))


def test_a_passphrase_opens_it_and_the_old_way_does_not(pair: Pair) -> None:
    with pytest.raises(RpcError, match="E_PASSPHRASE"):
        pair.alice.call("vault.rewrap", unlocker="passphrase")
    assert pair.alice.call("vault.rewrap", unlocker="passphrase", passphrase="horse")["unlocker"] == "passphrase"
    pair.alice.end()
    pair.alice.start(ready=False)
    assert pair.alice.until_state("locked", "ready") == "locked"
    assert [each["code"] for each in pair.alice.call("health.list")["problems"]] == ["locked"]
    with pytest.raises(RpcError, match="E_PASSPHRASE"):
        pair.alice.call("vault.unlock", passphrase="donkey")
    with pytest.raises(RpcError, match="E_UNLOCKER"):
        pair.alice.call("vault.unlock")
    assert pair.alice.call("vault.unlock", passphrase="horse")["state"] == "ready"
    assert pair.alice.call("vault.rewrap", unlocker="keyfile")["unlocker"] == "keyfile"
    assert "horse" not in pair.alice.log


def test_a_vault_that_is_not_there_yet_is_said_to_be_new(tmp_path: Path) -> None:
    with home(tmp_path / "home", SETTINGS + '[vault]\nunlocker = "passphrase"\n') as daemon:
        daemon.start(ready=False)
        daemon.until_state("locked")
        assert (daemon.status()["unlocker"], daemon.status()["vault_new"]) == ("passphrase", True)
        daemon.call("vault.unlock", passphrase="horse")
        assert not daemon.status()["vault_new"]
        daemon.call("vault.lock")
        assert not daemon.status()["vault_new"]
        daemon.end()


def test_settings_that_come_too_late_for_the_vault_are_a_problem(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        daemon.start()
        daemon.end()
        (daemon.home / "vcd.toml").write_text(SETTINGS + '[vault]\nunlocker = "passphrase"\n', encoding="utf-8")
        daemon.start()
        [problem] = [each for each in daemon.call("health.list")["problems"] if each["code"] == "unlocker-differs"]
        assert (problem["severity"], problem["args"]) == ("warning", {"wanted": "passphrase", "opens": "keyfile"})
        assert problem["command"].startswith("vcd call vault.rewrap unlocker=passphrase passphrase=@")
        daemon.call("vault.rewrap", unlocker="passphrase", passphrase="horse")
        assert "unlocker-differs" not in [each["code"] for each in daemon.call("health.list")["problems"]]
        daemon.end()


def test_there_is_one_daemon_for_a_state(pair: Pair) -> None:
    again = subprocess.run(
        [sys.executable, "-c", RUN], env=pair.alice.environment(), capture_output=True, timeout=30, check=False
    )
    assert again.returncode == 4
    assert b"vcd status" in again.stderr
    assert pair.alice.call("status.get")["state"] == "ready"


def test_settings_are_read_again(pair: Pair) -> None:
    path = pair.bob.home / "vcd.toml"
    assert pair.bob.process is not None
    path.write_text(SETTINGS + 'packages = 7\n\n[logs]\nlevel = "debug"\nform = "json"\n', encoding="utf-8")
    pair.bob.process.send_signal(signal.SIGHUP)
    until(lambda: pair.bob.call("key_packages.status")["wanted"] == 7)
    until(lambda: any(each["code"] == "restart-needed" for each in pair.bob.call("health.list")["problems"]))
    path.write_text(SETTINGS + "pakages = 9\n", encoding="utf-8")
    pair.bob.process.send_signal(signal.SIGHUP)
    until(lambda: "pakages" in pair.bob.log)
    assert pair.bob.call("key_packages.status")["wanted"] == 7
    path.write_text(SETTINGS, encoding="utf-8")


def test_nothing_in_the_log_says_what_was_said(pair: Pair) -> None:
    for daemon in (pair.alice, pair.bob):
        for secret in ("tea at five", "a secret", pair.chat.hex(), pair.accounts[0].hex()):
            assert secret not in daemon.log


def test_metrics_name_nobody(pair: Pair) -> None:
    text = pair.alice.call("metrics.get")["text"]
    assert 'vcd_state{state="ready"} 1' in text
    for account in pair.accounts:
        assert account.hex() not in text
    assert all(line.startswith(("# ", "vcd_")) for line in text.splitlines())


# ---------------------------------------------------------------- by itself


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {**daemon.environment(), "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        daemon.process = subprocess.Popen([sys.executable, "-c", RUN], env=environment, stderr=subprocess.DEVNULL)
        seen: list[bytes] = []
        while len([each for each in seen if each == b"WATCHDOG=1"]) < 3 or not any(b"READY=1" in each for each in seen):
            seen.append(manager.recv(4096))
        daemon.process.send_signal(signal.SIGTERM)
        while not seen[-1].startswith(b"STOPPING=1"):
            seen.append(manager.recv(4096))
        assert daemon.process.wait(20) == 0
        daemon.process = None


def test_sockets_that_are_open_already_are_served(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        (tmp_path / "home" / "run").mkdir(mode=0o700)
        listening = []
        for name in ("app", "admin"):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.bind(str(tmp_path / "home" / "run" / f"{name}.sock"))
            sock.listen()
            listening.append(sock)
        start = (
            "import os, sys\n"
            f"for at, given in enumerate(({listening[0].fileno()}, {listening[1].fileno()})): os.dup2(given, 3 + at)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='app:admin')\n" + RUN
        )
        numbers = [each.fileno() for each in listening]
        if set(numbers) & {3, 4}:
            pytest.skip("the descriptors of the test are in the way")
        daemon.process = subprocess.Popen(
            [sys.executable, "-c", start], env=daemon.environment(), pass_fds=numbers, stderr=subprocess.DEVNULL
        )
        assert daemon.until_state("ready") == "ready"
        daemon.end()
        assert (tmp_path / "home" / "run" / "app.sock").exists()
        for sock in listening:
            sock.close()


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ("version = 1\n[network]\nlisden = []\n", 3, b"listen"),
        ("version = 9\n", 3, b"version"),
    ],
)
def test_wrong_settings_end_it_with_what_is_wrong(tmp_path: Path, settings: str, code: int, says: bytes) -> None:
    with home(tmp_path / "home", settings) as daemon:
        ran = subprocess.run(
            [sys.executable, "-c", RUN], env=daemon.environment(), capture_output=True, timeout=30, check=False
        )
        assert ran.returncode == code
        assert says in ran.stderr
        assert b"Traceback" not in ran.stderr


def test_a_state_that_is_damaged_is_said_and_not_lost(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        daemon.start()
        daemon.call("account.create", device_name="laptop")
        until(lambda: daemon.until_state("ready") and daemon.call("status.get")["account"])
        daemon.end()
        path = tmp_path / "home" / "state" / "vcd.db"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        daemon.start(ready=False)
        until(lambda: daemon.status().get("store") == "damaged")
        codes = [each["code"] for each in daemon.call("health.list")["problems"]]
        assert "store-damaged" in codes
        daemon.end()
        path.write_bytes(whole)
        daemon.start()
        assert daemon.call("status.get")["account"]


def test_start_and_stop_are_fast(tmp_path: Path) -> None:
    """Without a load beside it, it is ready in two seconds; this bound is for machines that do other things too."""
    with home(tmp_path / "home") as daemon:
        before = time.monotonic()
        daemon.start()
        assert time.monotonic() - before < 20
        before = time.monotonic()
        daemon.end()
        assert time.monotonic() - before < 10
        assert not os.path.exists(tmp_path / "home" / "run" / "app.sock")  # noqa: PTH110
