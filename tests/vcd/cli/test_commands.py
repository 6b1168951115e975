"""Every command, in words and in JSON, against a daemon that answers from the table's examples."""

from __future__ import annotations

import json
import shlex
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from tests.vcd.cli.house import Daemon, Ran, daemon_at, example, process, ran, refusing, secret
from vcd.cli.root import vcd
from vcd.rpc import samples
from vcd.rpc.nouns.account import Certificate
from vcd.rpc.table import FUNCTIONS

COMMANDS = {
    "status": ["status.get"],
    "status --socket-path": [],
    "doctor": ["status.get", "health.list"],
    "wait --ready --timeout 5": ["status.get"],
    "wait --online --timeout 5": ["status.get"],
    "unlock": ["vault.unlock"],
    "lock": ["vault.lock"],
    "account show": ["account.get"],
    "account rotate --chats": ["account.rotate"],
    "account rename Anna": ["account.rename"],
    "account rename ''": ["account.rename"],
    "account certificate --none": ["account.set_certificate"],
    "device add --no-wait": ["pair.start"],
    "device add --no-wait --no-qr --expires 60": ["pair.start"],
    "device join 7-otter-marble --name phone --no-wait": ["pair.join"],
    "device cancel": ["pair.get", "pair.cancel"],
    "device list": ["device.list"],
    "device rename laptop 'old laptop'": ["device.list", "device.rename"],
    "device remove 0101 --yes": ["device.remove"],
    "contact link": ["contact.link"],
    "contact add vcd1:AAEC --name Bob": ["contact.add"],
    "contact list --all": ["contact.list"],
    "contact show Bob": ["contact.list", "contact.get"],
    "contact verify Bob --yes": ["contact.verify"],
    "contact verify bob --fingerprint '30121 44871'": ["contact.verify"],
    "contact block Bob --undo": ["contact.block"],
    "contact remove Bob --yes": ["contact.remove"],
    "chat new tea --invite Bob --mode lead": ["chat.create", "chat.invite"],
    "chat list": ["chat.list"],
    "chat list --standing invited": ["chat.list"],
    "chat show tea": ["chat.get"],
    "chat rename tea coffee": ["chat.rename"],
    "chat invite tea Bob --greeting 'tea?'": ["chat.invite"],
    "chat accept tea": ["chat.accept"],
    "chat decline tea": ["chat.decline"],
    "chat remove tea Bob --yes": ["chat.get", "chat.remove"],
    "chat leave tea --yes": ["chat.leave"],
    "chat rotate tea": ["chat.rotate"],
    "chat send tea 'tea at five?'": ["msg.send"],
    "chat tail tea -n 5": ["msg.list"],
    "chat graph tea": ["chat.graph"],
    "chat graph tea --svg": ["chat.graph"],
    "chat graph tea --html": ["chat.graph"],
    "chat graph tea --dot": ["chat.graph"],
    "chat graph --own": ["chat.graph"],
    "events --from 25": [],
    "events --limit 2": [],
    "config check": [],
    "config show --origin": [],
    "config show network --changed": [],
    "config show network.listen": [],
    "call chat.list": ["chat.list"],
    "api": [],
    "api msg.send": [],
    "api msg.received": [],
    "top --once": ["status.get", "device.list", "chat.list"],
    "bugreport": ["status.get", "health.list", "metrics.get", "chat.list"],
    "completion bash": [],
    "completion zsh": [],
    "completion fish": [],
}
ELSEWHERE = {
    *("init", "run", "mailbox run"),  # test_beginning
    *("device confirm",),  # test_pairing
    *("account recover", "backup"),  # below, with secrets
    "rpc",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon_at(tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture
def inside(house: Daemon, home: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The one daemon of this module, as it was in the beginning."""
    del home
    monkeypatch.setenv("VCD_HOME", str(house.home))
    house.answers.clear()
    house.asked.clear()
    return house


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from leaves(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


def test_none_is_left_out() -> None:
    known = {name for name, _ in leaves(vcd)}
    tried = {name for name in known for line in COMMANDS if f"{line} ".startswith(f"{name} ")}
    assert known - tried == ELSEWHERE


@pytest.mark.parametrize("line", COMMANDS)
def test_in_words(inside: Daemon, line: str) -> None:
    done = ran(*shlex.split(line))
    assert done.code == 0, done.err
    assert done.out or line.startswith("config show network --changed")
    assert '{"' not in done.out.split("\n", maxsplit=1)[0] or line == "bugreport"
    asked = [each.method for each in inside.asked]
    assert set(COMMANDS[line]) <= set(asked)


@pytest.mark.parametrize("line", COMMANDS)
def test_in_json(inside: Daemon, line: str) -> None:
    done = ran(*shlex.split(line), "--json")
    assert done.code == 0, done.err
    assert done.lines
    assert done.err == ""
    again = ran("--json", *shlex.split(line))
    assert [each.keys() for each in again.lines] == [each.keys() for each in done.lines]
    for each in inside.asked:
        assert each.socket == FUNCTIONS[each.method].socket, "the admin socket only where it must be"
        assert (each.request_id is not None) == FUNCTIONS[each.method].mutates


def test_what_is_asked_is_what_was_said(inside: Daemon) -> None:
    ran("chat", "send", "tea", "tea at five?")
    [sent] = inside.asked_for("msg.send")
    assert (sent.chat, sent.data, sent.media) == (samples.TEA, b"tea at five?", "text/plain;charset=utf-8")
    ran("chat", "send", "7ea0", "--file", "/dev/null", "--media", "image/png")
    assert (inside.asked_for("msg.send")[1].data, inside.asked_for("msg.send")[1].media) == (b"", "image/png")
    ran("chat", "send", "tea", "-", stdin=b"from a pipe\n")
    assert inside.asked_for("msg.send")[2].data == b"from a pipe\n"
    ran("chat", "invite", "tea", "Bob", "--greeting", "hello")
    assert inside.asked_for("chat.invite")[0].account == samples.BOB
    ran("contact", "block", "Bob")
    ran("contact", "block", "Bob", "--undo")
    assert [each.blocked for each in inside.asked_for("contact.block")] == [True, False]
    ran("contact", "add", "-", stdin=b"  vcd1:AAAA\n")
    assert inside.asked_for("contact.add")[0].link == "vcd1:AAAA"


def test_sending_wants_one_of_both(inside: Daemon) -> None:
    assert ran("chat", "send", "tea").code == 3
    assert ran("chat", "send", "tea", "a", "--file", "/dev/null").code == 3
    assert ran("chat", "send", "tea", "-", stdin=bytes(1024 * 1024 + 1)).code == 3
    assert inside.asked_for("msg.send") == []


def test_sending_waits_for_its_end(inside: Daemon) -> None:
    seq = inside.do(lambda house: house.journal.last)
    inside.answers["msg.send"] = lambda _: example("msg.send", seq=seq)
    data = {"chat": samples.TEA, "msg": samples.MESSAGE}
    inside.do(lambda house: house.journal.add(type="msg.delivered", chat=samples.TEA, data=data))
    assert ran("chat", "send", "tea", "hi", "--wait", "10", "--json").json["fate"] == "delivered"
    inside.answers["msg.send"] = lambda _: example("msg.send", seq=seq, msg=b"\x44" * 32)
    done = ran("chat", "send", "tea", "hi", "--wait", "0.1")
    assert done.code == 5
    assert "goes on by itself" in done.err


def test_secrets_reach_the_daemon_by_descriptors(inside: Daemon, tmp_path: Path) -> None:
    with secret("correct horse\n") as fd:
        assert ran("unlock", "--passphrase-fd", fd).code == 0
    assert inside.asked_for("vault.unlock")[0].passphrase == "correct horse"
    words = " ".join(samples.WORDS)
    with secret("p w\n") as passphrase, secret(words.upper()) as fd:
        done = ran("backup", str(tmp_path / "b"), "--passphrase-fd", passphrase, "--words-fd", fd, "--no-history")
    assert done.code == 0, done.err
    [made] = inside.asked_for("backup.create")
    assert (made.path, made.passphrase, made.words) == (str(tmp_path / "b"), "p w", samples.WORDS)
    assert made.history is False
    (tmp_path / "b").touch()
    inside.without_account()
    with secret("p w") as passphrase, secret(words) as fd:
        done = ran(
            *("account", "recover", "--device", "new", "--backup", str(tmp_path / "b")),
            *("--words-fd", fd, "--passphrase-fd", passphrase, "--json"),
        )
    assert done.code == 0, done.out
    [recovered] = inside.asked_for("account.recover")
    assert (recovered.device_name, recovered.words, recovered.passphrase) == ("new", samples.WORDS, "p w")
    with secret(words) as fd:
        assert ran("device", "remove", "laptop", "--yes", "--words-fd", fd).code == 0
    assert inside.asked_for("device.remove")[0].words == samples.WORDS


def test_what_a_descriptor_may_hold(inside: Daemon) -> None:
    del inside
    assert "cannot be read" in ran("unlock", "--passphrase-fd", "987").err
    with secret("x" * 5000) as fd:
        assert ran("unlock", "--passphrase-fd", fd).code == 3
    with secret("\udcff") as fd:
        assert "UTF-8" in ran("unlock", "--passphrase-fd", fd).err


def test_no_option_takes_a_secret() -> None:
    """What stands on a command line, every process of the machine can read."""
    for name, found in leaves(vcd):
        for param in found.params:
            if any(each in (param.name or "") for each in ("passphrase", "words", "secret")):
                harmless = (param.name or "").endswith("_fd") or getattr(param, "is_flag", False)
                assert harmless, f"vcd {name} {param.name}"


@pytest.mark.parametrize(
    "line",
    ["device remove laptop", "contact remove Bob", "chat leave tea", "chat remove tea Bob", "contact verify Bob"],
)
def test_without_a_terminal_nothing_is_guessed(inside: Daemon, line: str) -> None:
    done = ran(*shlex.split(line))
    assert (done.code, "--yes" in done.err) == (3, True)
    assert not any(FUNCTIONS[each.method].mutates for each in inside.asked)
    assert "--passphrase-fd" in ran("backup", "/tmp/never").err
    inside.answers["device.remove"] = refusing("E_ROOT_NEEDED")
    assert "--words" in ran("device", "remove", "laptop", "--yes").err


def test_a_removal_is_counted_to_its_end(inside: Daemon) -> None:
    from vcd.rpc.nouns.device import Removal

    left = [Removal(devices=[samples.PHONE], rotated=number, chats=2) for number in range(2)]

    def listed(_params: object) -> object:
        looks = len(inside.asked_for("device.list"))
        return example("device.list", removal=None if looks == 1 or not left else left.pop(0))

    inside.answers["device.list"] = listed
    done = ran("device", "remove", "laptop", "--yes", "--wait", "20")
    assert done.code == 0, done.err
    assert "0 of 2 chats" in done.err
    assert "1 of 2 chats" in done.err
    assert "shut out of every chat" in done.out


def test_locked_is_shown_and_exits_with_4(tmp_path: Path, home: Path) -> None:
    assert home == tmp_path
    with daemon_at(home, "locked") as daemon:
        done = ran("status")
        assert done.code == 4
        assert "vcd unlock" in done.out
        assert ran("status", "--json").json["state"] == "locked"
        refused = ran("chat", "list", "--json")
        assert (refused.code, refused.json["error"]["code"], refused.json["exit"]) == (4, "E_LOCKED", 4)
        assert ran("events", "--follow").code == 4
        assert ran("events").code == 4
        assert ran("doctor").code == 1
        assert "is locked" in ran("wait", "--timeout", "0.2").err
        assert ran("wait", "--timeout", "0.2", "--json").code == 5
        with secret("correct horse") as fd:
            assert ran("unlock", "--passphrase-fd", fd).code == 0
        assert daemon.asked_for("vault.unlock")[0].passphrase == "correct horse"


class TestDoctor:
    def checks(self, code: int) -> dict[str, dict[str, str]]:
        done = ran("doctor", "--json")
        assert done.code == code, done.out
        assert done.json["ok"] == (code == 0)
        return {each["code"]: each for each in done.json["checks"]}

    def test_nothing_runs(self, home: Path) -> None:
        found = self.checks(2)
        assert found["config"]["severity"] == "ok"
        assert "Start it" in found["daemon"]["command"]
        assert ran("doctor").code == 2

    def test_what_is_wrong_outside(self, daemon: Daemon) -> None:
        (daemon.home / "vcd.toml").write_text("version = 1\nprofle = 'x'\n")
        (daemon.home / "state").mkdir()
        (daemon.home / "state").chmod(0o777)
        found = self.checks(1)
        assert "profle" in found["config"]["text"]
        assert found["state-folder"]["command"] == f"chmod 700 {daemon.home}/state"
        assert "ERROR" in ran("doctor").out

    def test_a_folder_that_run_refuses(self, home: Path) -> None:
        (home / "state").write_text("")
        found = self.checks(2)["state-folder"]
        assert (found["severity"], found["text"]) == ("error", f"{home}/state is not a folder")
        assert "Move it away" in found["command"]
        (home / "state").unlink()
        for there in (False, True):
            home.chmod(0o777)
            found = self.checks(2)["state-folder"]
            assert (found["severity"], found["command"]) == ("error", f"chmod o-w {home}")
            home.chmod(0o700)
            assert self.checks(2)["state-folder"]["severity"] == ("ok" if there else "info")
            (home / "state").mkdir(mode=0o700, exist_ok=True)

    @pytest.mark.parametrize(
        ("unlocker", "reason", "typed"),
        [
            ("keyfile", "/x/vault.key is not there. Bring it back.", False),
            ("keyfile", "This does not unlock the vault. Check the passphrase.", False),
            ("passphrase", "The vault's file is damaged, or a newer program wrote it.", False),
            ("passphrase", "This does not unlock the vault. Check the passphrase.", True),
            ("passphrase", "", True),
        ],
    )
    def test_a_vault_that_nothing_typed_can_open(self, home: Path, unlocker: str, reason: str, typed: bool) -> None:
        with daemon_at(home, "locked") as daemon:
            daemon.answers["status.get"] = lambda _: example(
                "status.get", state="locked", store="locked", reason=reason, unlocker=unlocker, account=None
            )
            problem = msgspec.structs.replace(example("health.list").problems[0], code="locked", command="vcd unlock")
            daemon.answers["health.list"] = lambda _: example("health.list", problems=[problem])
            found = self.checks(1)
        for each in (found["state"], found["locked"]):
            assert ("put a copy of it back" in each["command"]) is not typed
            assert ("vcd init --restore" in each["command"]) is not typed
        assert found["state"]["text"] == reason

    def test_a_damaged_database_takes_more_than_another_look(self, daemon: Daemon) -> None:
        daemon.answers["status.get"] = lambda _: example("status.get", store="damaged", reason="It is no database.")
        command = self.checks(1)["store"]["command"]
        assert "vcd doctor" not in command
        assert "vcd init --restore" in command

    def test_what_the_daemon_knows(self, daemon: Daemon) -> None:
        daemon.answers["status.get"] = lambda _: example("status.get", store="full", reason="No space is left.")
        found = self.checks(1)
        assert found["store"]["text"] == "No space is left."
        assert found["keypackages-low"]["severity"] == "warning"
        assert daemon.asked_for("health.list")[0].all

    def test_a_newer_database_takes_a_newer_vcd_and_no_waiting(self, daemon: Daemon) -> None:
        reason = "The database is of vcd 9.1, in format 7. Install vcd 9.1, or a newer one, and start that."
        daemon.answers["status.get"] = lambda _: example(
            "status.get", state="starting", store="newer", reason=reason, account=None, device=None
        )
        found = self.checks(1)
        assert (found["store"]["title"], found["store"]["text"]) == ("The database is of a newer vcd", reason)
        assert "vcd --version" in found["store"]["command"]
        assert found["state"]["command"] == ""
        assert "wait" not in ran("doctor").out


class TestWait:
    def test_for_a_daemon_that_is_not_there_yet(self, home: Path) -> None:
        waiting = process("wait", "--timeout", "30", "--json", home=home)
        with daemon_at(home):
            assert waiting.wait(30) == 0
        assert waiting.stdout is not None
        assert json.loads(waiting.stdout.read())["state"] == "ready"
        waiting.communicate()

    def test_not_for_ever(self, home: Path) -> None:
        done = ran("wait", "--timeout", "0.1")
        assert done.code == 5
        assert "Start it" in done.err


class TestEvents:
    def numbers(self, *argv: str) -> list[int]:
        done = ran("events", "--json", *argv)
        assert done.code == 0, done.out
        return [each["seq"] for each in done.lines] if done.out else []

    def test_kept(self, daemon: Daemon) -> None:
        assert self.numbers() == list(range(11, 31))
        assert self.numbers("--from", "0") == list(range(1, 31))
        assert self.numbers("--from", "29") == [29, 30]
        assert self.numbers("--from", "5", "--limit", "3") == [5, 6, 7]
        assert self.numbers("--from", "0", "--type", "chat.*") == []
        daemon.do(lambda house: house.journal.add(type="chat.changed", chat=None))
        assert self.numbers("--from", "0", "--type", "chat.*") == [31]

    def test_what_is_gone(self, daemon: Daemon) -> None:
        daemon.do(lambda house: setattr(house.journal, "floor", 10))
        done = ran("events", "--from", "3")
        assert (done.code, "E_CURSOR_EXPIRED" in done.err, "--from 0" in done.err) == (1, True, True)

    def test_a_consumer_goes_on_where_it_was(self, daemon: Daemon) -> None:
        assert self.numbers("--consumer", "bot", "--limit", "10") == list(range(1, 11))
        assert self.numbers("--consumer", "bot") == list(range(11, 31))
        assert self.numbers("--consumer", "bot") == []
        assert daemon.do(lambda house: house.journal.acked("bot")) == 30

    def test_follows(self, daemon: Daemon) -> None:
        assert self.numbers("--from", "29", "--follow", "--limit", "2") == [29, 30]
        following = process("events", "--follow", "--json", "--limit", "2", home=daemon.home)
        assert following.stdout is not None
        daemon.do(lambda house: house.journal.wait)  # it is there
        while following.poll() is None:
            daemon.do(lambda house: house.journal.add())
            try:
                following.wait(0.2)
            except Exception:  # noqa: BLE001 - it goes on listening
                continue
        out = following.communicate()[0].splitlines()
        first, second = (json.loads(line)["seq"] for line in out)
        assert second == first + 1

    def test_the_reader_may_leave(self, daemon: Daemon) -> None:
        daemon.do(lambda house: [house.journal.add() for _ in range(5000)])
        reading = process("events", "--from", "0", home=daemon.home)
        assert reading.stdout is not None
        assert reading.stdout.readline().split()[0] == "1"
        reading.stdout.close()
        assert reading.stderr is not None
        assert reading.wait(30) == 0
        assert reading.stderr.read() == ""
        reading.stderr.close()


class TestCall:
    def params(self, inside: Daemon, *argv: str) -> tuple[Ran, list[object]]:
        done = ran("call", *argv)
        return done, [each.params for each in inside.asked if each.method == argv[0]]

    def test_values_are_what_the_function_takes(self, inside: Daemon, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"\x00\xff")
        chat = samples.TEA.hex()
        calls = [
            ("msg.list", f"chat={chat}", "before=812", "most=5"),
            ("msg.send", "chat=tea", "data=tea at five?"),
            ("msg.send", "chat=tea", f"data=@{tmp_path}/f"),
            ("chat.set_rules", "chat=tea", 'rules:={"add": "admins"}'),
            ("contact.block", "account=Bob", "blocked=no"),
            ("device.rename", "device=laptop", "name=x"),
            ("health.list", "all=yes"),
            ("msg.get", "chat=tea", f"msg={samples.MESSAGE.hex()}"),
        ]
        for each in calls:
            done = ran("call", *each, "--json")
            assert done.code == 0, done.out
        asked = {each.method: each.params for each in inside.asked}
        assert (asked["msg.list"].before, asked["msg.list"].most) == (812, 5)
        assert [each.data for each in inside.asked_for("msg.send")] == [b"tea at five?", b"\x00\xff"]
        assert asked["chat.set_rules"].rules.add == "admins"
        assert (asked["contact.block"].account, asked["contact.block"].blocked) == (samples.BOB, False)
        assert asked["device.rename"].device == samples.LAPTOP
        assert asked["health.list"].all is True

    def test_secrets_come_from_files(self, inside: Daemon, tmp_path: Path) -> None:
        (tmp_path / "words").write_text("\n".join(samples.WORDS) + "\n")
        done = ran("call", "account.recover", f"words=@{tmp_path}/words", "device_name=x", "--json")
        assert done.code == 0, done.out
        assert inside.asked_for("account.recover")[0].words == samples.WORDS
        with secret("correct horse\n") as fd:
            assert ran("call", "vault.unlock", f"passphrase=@/dev/fd/{fd}").code == 0
        assert inside.asked_for("vault.unlock")[0].passphrase == "correct horse"

    @pytest.mark.parametrize(
        ("argv", "code", "says"),
        [
            (["msg.list", "chat=tea", "most=many"], 3, "is a number"),
            (["msg.list", "chat"], 3, "NAME=VALUE"),
            (["msg.list", "chat:={"], 3, "not JSON"),
            (["chat.set_rules", "chat=tea", "rules=x"], 3, "rules:=JSON"),
            (["contact.block", "account=Bob", "blocked=maybe"], 3, "yes or no"),
            (["msg.get", "chat=tea", "msg=zz"], 3, "bytes"),
            (["msg.lst", "chat=x"], 1, "E_METHOD_UNKNOWN"),
            (["msg.list", "chat=tea", "mst=5"], 1, "E_PARAM_UNKNOWN"),
            (["msg.list", "chat=nowhere"], 1, "E_CHAT_UNKNOWN"),
            (["msg.get", "chat=tea", "msg=@/nonexistent"], 1, "/nonexistent"),
            (["vault.rewrap", "unlocker=passphrase", "passphrase=horse"], 3, "=@FILE"),
            (["account.recover", 'words:=["a"]', "device_name=x"], 3, "=@FILE"),
        ],
    )
    def test_wrong_ones(self, inside: Daemon, argv: list[str], code: int, says: str) -> None:
        del inside
        done = ran("call", *argv)
        assert done.code == code
        assert says in done.err or says in ran("call", *argv, "--json").out
        assert done.err.count("\n") >= 2, "what it is, and what to do"


def test_rpc_bridges(daemon: Daemon) -> None:
    bridge = process("rpc", "--json", home=daemon.home, stdin=-1)
    out, _ = bridge.communicate('{"id": 1, "method": "chat.list"}\n', timeout=30)
    assert json.loads(out)["result"]["chats"][0]["title"] == "tea"
    assert bridge.returncode == 0
    assert ran("rpc").code == 3


def test_a_bug_report_names_nobody(inside: Daemon) -> None:
    done = ran("bugreport", "--json")
    text = done.out
    for secret_text in ("Alice", "Bob", "laptop", "tea", samples.ALICE.hex(), "oaGhoa", samples.TEA.hex()):
        assert secret_text not in text
    assert done.json["status"]["state"] == "ready"
    inside.answers["status.get"] = refusing("E_INTERNAL", bug="x")
    assert ran("bugreport", "--json").json["trouble"]["code"] == "E_INTERNAL"


def test_graph_is_written_to_a_file(inside: Daemon, tmp_path: Path) -> None:
    del inside
    assert ran("chat", "graph", "tea", "--svg", "--out", str(tmp_path / "tea.svg")).code == 0
    assert (tmp_path / "tea.svg").read_text().startswith("<svg ")
    assert ran("chat", "graph").code == 3
    assert ran("chat", "graph", "tea", "--svg", "--out", "/nonexistent/x").code == 1


class TestConfig:
    def test_what_is_wrong_is_named(self, home: Path) -> None:
        (home / "vcd.toml").write_text("version = 1\n[network]\nlisen = []\n")
        done = ran("config", "check", "--json")
        assert (done.code, done.json["error"]["data"]["problems"][0]["key"]) == (1, "network.lisen")
        assert "network.listen" in ran("config", "check").err
        (home / "other.toml").write_text("version = 1\n[network]\nmdns = false\n")
        done = ran("config", "show", "--changed", "--origin", "--config", str(home / "other.toml"))
        assert done.code == 0
        assert "other.toml, line 3" in done.out
        assert ran("config", "check", "--config", str(home / "none.toml")).code == 1

    def test_unknown_settings_are_not_shown_as_nothing(self, home: Path) -> None:
        done = ran("config", "show", "netwrk.listen")
        assert (done.code, "network.listen" in done.err) == (1, True)


def test_completion_completes(home: Path) -> None:
    words = {"_VCD_COMPLETE": "bash_complete", "COMP_WORDS": "vcd dev", "COMP_CWORD": "1"}
    done = process(home=home, environ=words)
    assert done.communicate(timeout=30)[0].split() == ["plain,device"]
    words = {"_VCD_COMPLETE": "bash_complete", "COMP_WORDS": "vcd device re", "COMP_CWORD": "2"}
    done = process(home=home, environ=words)
    assert done.communicate(timeout=30)[0].split() == ["plain,remove", "plain,rename"]


def test_a_certificate_is_read_from_a_file_in_either_form(inside: Daemon, tmp_path: Path) -> None:
    one, other = b"\x30\x01\x01", b"\x30\x01\x02"
    path = tmp_path / "chain.pem"
    begin, end = b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n"
    path.write_bytes(b"subject: Anna\n" + begin + b64encode(one) + end + begin + b64encode(other) + end)
    done = ran("account", "certificate", str(path))
    assert done.code == 0, done.err
    assert "CN=Alice, by CN=Example CA" in done.out
    assert "verified" in done.out
    path.write_bytes(one)
    assert ran("account", "certificate", str(path)).code == 0
    assert [each.params.chain for each in inside.asked] == [[one, other], [one]]


@pytest.mark.parametrize("words", [[], ["--none", "a.pem"], ["missing.pem"], ["empty.pem"], ["broken.pem"]])
def test_a_certificate_that_is_none_is_not_given_on(
    inside: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.pem").touch()
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n")
    done = ran("account", "certificate", *words)
    assert done.code == 3
    assert not inside.asked


def test_what_is_refused_of_a_contact_has_its_reason(inside: Daemon) -> None:
    refused = Certificate(subject="", issuer="", expires_at=0, trust="refused", reason="It has ended.")
    bob = msgspec.structs.replace(FUNCTIONS["contact.get"].example[1], certificate=refused)
    inside.answers["contact.get"] = lambda _: bob
    assert "refused: It has ended." in ran("contact", "show", "Bob").out
    inside.answers["contact.get"] = lambda _: msgspec.structs.replace(bob, certificate=None)
    assert "certificate" not in ran("contact", "show", "Bob").out


def test_what_a_certificate_is_worth_is_said_before_what_strangers_wrote_into_it(inside: Daemon) -> None:
    words = "verified: CN=Bob, by CN=Example CA, ends 2030-01-01"
    unchecked = Certificate(subject=words, issuer=words, expires_at=0, trust="unchecked", reason="")
    bob = msgspec.structs.replace(FUNCTIONS["contact.get"].example[1], certificate=unchecked)
    inside.answers["contact.get"] = lambda _: bob
    line = next(each for each in ran("contact", "show", "Bob").out.splitlines() if each.startswith("certificate"))
    assert line.split(maxsplit=1)[1].startswith("not checked")


def test_a_contact_without_a_name_has_a_mark_in_its_place(daemon: Daemon) -> None:
    one = msgspec.structs.replace(example("contact.list").contacts[0], name="", suggested="")
    daemon.answers["contact.list"] = lambda _: example("contact.list", contacts=[one])
    assert ran("contact", "list").out.split("\n")[1].startswith("-  ")


def test_a_bugreport_overwrites_nothing(daemon: Daemon, tmp_path: Path) -> None:
    assert daemon.entries
    path = tmp_path / "report.json"
    assert ran("bugreport", "--out", str(path)).code == 0
    before = path.read_text()
    assert ran("bugreport", "--out", str(path), "--json").json["error"]["code"] == "E_FILE"
    assert path.read_text() == before
