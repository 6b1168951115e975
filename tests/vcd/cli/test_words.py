"""The recovery words: why they are asked for, and how to give them without being asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vcd.cli.house import Daemon, example, ran, refusing, secret
from tests.vcd.cli.test_terminal import terminal
from vcd.rpc import samples


def without_words(code: str) -> Any:
    """A daemon that may not remove that device by itself."""
    refuse = refusing(code)
    return lambda given: refuse(given) if given.words is None else example("device.remove")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("E_NOT_DELEGATE", "This device may not remove others, so it takes the recovery words."),
        ("E_ROOT_NEEDED", "That device may let in others, so removing it takes the recovery words."),
    ],
)
@pytest.mark.parametrize("json", [False, True])
def test_the_question_says_why(daemon: Daemon, code: str, why: str, json: bool) -> None:
    """With --json it asked for them and said nothing."""
    daemon.answers["device.remove"] = without_words(code)
    with terminal(daemon.home, "device", "remove", "laptop", "--yes", *(["--json"] if json else [])) as screen:
        screen.until("(they are not shown): ")
        assert why in screen.shown
        assert ("--words-fd 3 3<FILE" in screen.shown) is json
        screen.type(" ".join(samples.WORDS))
        assert screen.end() == 0
    assert [each.words for each in daemon.asked_for("device.remove")] == [None, samples.WORDS]


@pytest.mark.parametrize("code", ["E_NOT_DELEGATE", "E_ROOT_NEEDED"])
def test_without_a_terminal_it_is_said_how(daemon: Daemon, code: str) -> None:
    daemon.answers["device.remove"] = without_words(code)
    done = ran("device", "remove", "laptop", "--yes", "--json")
    assert (done.code, done.json["error"]["code"]) == (1, code)
    assert done.json["error"]["next"].endswith("--words-fd 3 3<FILE")
    done = ran("device", "remove", "laptop", "--yes", "--words", "--json")
    assert (done.code, done.json["error"]["next"]) == (3, "Add: --words-fd 3 3<FILE")
    with secret(" ".join(samples.WORDS)) as number:
        assert ran("device", "remove", "laptop", "--yes", "--words-fd", number).code == 0


@pytest.mark.parametrize("words", ["", "base goddess", "base " * 60])
def test_what_cannot_be_the_words_is_counted(daemon: Daemon, words: str) -> None:
    """It was called a wrong parameter of a function."""
    with secret(words) as number:
        done = ran("device", "remove", "laptop", "--yes", "--words-fd", number, "--json")
    assert (done.code, done.json["error"]["code"]) == (3, "E_WORDS")
    assert f"these are {len(words.split())}" in done.json["error"]["message"]
    assert daemon.asked_for("device.remove") == []


def test_words_with_their_numbers_are_words(daemon: Daemon) -> None:
    numbered = " ".join(f"{number}. {word}" for number, word in enumerate(samples.WORDS, 1))
    with secret(numbered) as number:
        assert ran("device", "remove", "laptop", "--yes", "--words-fd", number).code == 0
