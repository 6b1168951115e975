"""Codes and links that were mixed up, that lead nowhere, and questions that were left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vcd.cli.house import Daemon, process, ran, refusing
from tests.vcd.cli.test_pairing import Pairing
from tests.vcd.cli.test_terminal import Terminal, terminal

URI = "vcd1:pair:12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo:AAECAwQFBgcICQoLDA0ODw:/ip4/192.0.2.1/tcp/4001"


@pytest.mark.parametrize(
    ("argv", "method", "code", "given", "then"),
    [
        (("contact", "add", "x"), "contact.add", "E_LINK", "own", "ask them for theirs"),
        (("contact", "add", "x"), "contact.add", "E_LINK", "pair", "vcd device join CODE"),
        (("contact", "add", "x"), "contact.add", "E_LINK", "part", "vcd contact add -"),
        (("contact", "add", "x"), "contact.add", "E_LINK", "old", "Ask them for a new link"),
        (("contact", "add", "x"), "contact.add", "E_LINK", None, "Ask them for a new link"),
        (("device", "join", "x"), "pair.join", "E_PAIR_CODE", "contact", "vcd contact add LINK"),
        (("device", "join", "x"), "pair.join", "E_PAIR_CODE", "words", "vcd device join vcd1:pair:"),
        (("device", "join", "x"), "pair.join", "E_PAIR_CODE", "uri", "network.listen"),
        (("device", "join", "x"), "pair.join", "E_PAIR_CODE", None, "Look at the code again"),
    ],
)
def test_which_command_takes_it(
    daemon: Daemon, argv: tuple[str, ...], method: str, code: str, given: str | None, then: str
) -> None:
    daemon.answers[method] = refusing(code, **({} if given is None else {"given": given}))
    done = ran(*argv, "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == code
    assert then in done.json["error"]["next"]


def test_a_code_of_several_words_need_not_be_quoted(daemon: Daemon) -> None:
    Pairing(daemon, "new", "finished", peer="laptop")
    assert ran("device", "join", "7", "otter", "marble", "--name", "phone").code == 0
    [joined] = daemon.asked_for("pair.join")
    assert joined.code == "7 otter marble"


@pytest.mark.parametrize(
    ("code", "said"), [("7-otter-marble", "one local network"), (URI, "Not reached yet, at /ip4/192.0.2.1/tcp/4001.")]
)
def test_who_is_not_found_soon_is_told_what_may_be_the_matter(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setattr("vcd.cli.pairing._PATIENT_MS", 50)
    Pairing(daemon, "new", "waiting")
    done = ran("device", "join", code, "--wait", "0.5")
    assert done.code == 5
    assert done.err.count("Not ") == 1
    assert said in done.err
    done = ran("device", "join", code, "--wait", "0.2", "--json")
    assert (done.code, done.err) == (5, "")
    Pairing(daemon, "new", "waiting", "comparing", "finished", peer="laptop")
    done = ran("device", "join", code)
    assert (done.code, "Not " in done.err) == (0, False)


@pytest.mark.slow
@pytest.mark.parametrize("how", [Terminal.interrupt, lambda screen: screen.press("\x04")], ids=["Ctrl-C", "Ctrl-D"])
def test_who_leaves_the_question_is_told_how_to_go_on(daemon: Daemon, how: Callable[[Terminal], None]) -> None:
    pairing = Pairing(daemon, "existing", "comparing", "finished")
    for argv in (("device", "add", "--no-qr"), ("device", "confirm"), ("device", "confirm", "--json")):
        with terminal(daemon.home, *argv) as screen:
            screen.until("show exactly that? [y/N]: ")
            how(screen)
            assert screen.end() == 130
        assert "vcd device confirm" in screen.shown
        assert "vcd device cancel" in screen.shown
    assert (pairing.confirmed, pairing.canceled) == ([], 0)


@pytest.mark.slow
def test_who_stops_while_the_other_one_is_looked_for_is_told_how_to_go_on(daemon: Daemon) -> None:
    pairing = Pairing(daemon, "new", "waiting")
    with process("device", "join", "7-otter-marble", "--json", home=daemon.home) as joining:
        assert joining.stdout is not None
        assert '"waiting"' in joining.stdout.readline()
        joining.send_signal(2)
        err = joining.communicate(timeout=20)[1]
    assert joining.returncode == 130
    assert "vcd device confirm" in err
    assert pairing.canceled == 0
