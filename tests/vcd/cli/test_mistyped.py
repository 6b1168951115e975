"""What people type who do not know yet how it is called, or who leave something empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vcd.cli.house import Daemon, example, ran, secret
from vcd.rpc import samples


@pytest.mark.parametrize("fingerprint", ["", "  "])
def test_an_empty_fingerprint_verifies_nobody(daemon: Daemon, fingerprint: str) -> None:
    """It said that Bob is verified, as for a variable that was not set."""
    done = ran("contact", "verify", "Bob", "--fingerprint", fingerprint)
    assert (done.code, "is empty" in done.err) == (3, True)
    assert daemon.asked_for("contact.verify") == []
    assert ran("contact", "verify", "Bob", "--fingerprint", "12345").code == 0
    assert [each.fingerprint for each in daemon.asked_for("contact.verify")] == ["12345"]


@pytest.mark.parametrize("said", [f"<{samples.LINK}>", f'"{samples.LINK}"', f" {samples.LINK}\n"])
def test_a_link_as_mail_writes_it(daemon: Daemon, said: str) -> None:
    assert ran("contact", "add", said).code == 0
    assert ran("contact", "add", "-", stdin=said.encode()).code == 0
    assert [each.link for each in daemon.asked_for("contact.add")] == [samples.LINK] * 2


def test_a_file_in_the_place_of_a_link(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "a link"
    path.write_text(samples.LINK, encoding="utf-8")
    done = ran("contact", "add", str(path), "--json")
    assert (done.code, done.json["error"]["code"]) == (3, "E_LINK")
    assert done.json["error"]["next"] == f"Give what is in it: vcd contact add - < '{path}'"
    for argv in (["-"], [""], ["<>"]):
        assert ran("contact", "add", *argv, "--json").json["error"]["code"] == "E_LINK"
    assert daemon.asked_for("contact.add") == []


def test_a_chat_without_a_title(daemon: Daemon) -> None:
    for title in ([], [""], ["  "]):
        assert ran("chat", "new", *title).out.startswith("7ea07ea0 is open. ")
    assert {each.title for each in daemon.asked_for("chat.create")} == {""}
    assert ran("chat", "new", " tea ").out.startswith("tea (7ea07ea0) is open. ")
    assert ran("chat", "rename", "tea", "").out == "7ea07ea0 has no title now\n"
    assert ran("chat", "rename", "tea", "cake").out == "7ea07ea0 is called cake\n"


@pytest.mark.parametrize("who", ["Alice", "alice", "a1a1"])
def test_nobody_takes_themselves_out_of_a_chat(daemon: Daemon, who: str) -> None:
    done = ran("chat", "remove", "tea", who, "--yes", "--json")
    assert (done.code, done.json["error"]["next"]) == (3, "To go yourself: vcd chat leave tea")
    assert daemon.asked_for("chat.remove") == []


@pytest.mark.parametrize("argv", [("account", "recover"), ("init", "--recover")])
def test_nobody_types_two_dozen_words_in_vain(daemon: Daemon, argv: tuple[str, ...]) -> None:
    daemon.answers["status.get"] = lambda _: example("status.get", account=samples.ALICE)
    with secret(" ".join(samples.WORDS)) as number:
        done = ran(*argv, "--words-fd", number, "--json")
        assert (done.code, done.json["error"]["code"]) == (1, "E_ACCOUNT_EXISTS")
        assert daemon.asked_for("account.recover") == []
        daemon.without_account()
        assert ran(*argv, "--words-fd", number, "--json").code == 0


def test_a_file_without_a_certificate(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk", encoding="utf-8")
    done = ran("account", "certificate", str(path))
    assert (done.code, "neither PEM nor DER" in done.err) == (3, True)
    assert daemon.asked_for("account.set_certificate") == []


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["send", "tea", "hi"], "vcd chat send"),
        (["help"], "vcd --help"),
        (["version"], "vcd --version"),
        (["pair"], "vcd device add"),
        (["join", "7-otter-marble"], "vcd device join"),
        (["stop"], "vcd call daemon.stop"),
        (["chat", "create", "tea"], "vcd chat new"),
        (["chat", "rm", "tea"], "vcd chat remove"),
        (["contact", "new"], "vcd contact add"),
        (["contact", "delete", "Bob"], "vcd contact remove"),
        (["device", "create"], "vcd device add"),
        (["mailbox", "start"], "vcd mailbox run"),
        (["chat", "snd"], "vcd chat send"),
    ],
)
def test_the_command_that_is_meant(argv: list[str], meant: str) -> None:
    done = ran(*argv)
    assert done.code == 3
    assert f"Did you mean `{meant}`?" in done.err


def test_numbers_are_asked_for_in_words() -> None:
    assert "'soon' is no number." in ran("wait", "--timeout", "soon").err
    assert "'few' is no whole number." in ran("chat", "tail", "tea", "-n", "few").err


@pytest.mark.parametrize("argv", [("config", "check"), ("config", "show")])
def test_settings_that_are_not_there_have_no_lines_to_correct(home: Path, argv: tuple[str, ...]) -> None:
    done = ran(*argv, "--config", str(home / "none.toml"), "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "config")
    assert done.json["error"]["next"].startswith("Give another file")
