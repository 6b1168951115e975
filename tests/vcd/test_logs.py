"""What gets into the log, what does not, and that logging is never what goes wrong."""

from __future__ import annotations

import datetime
import gc
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, strategies as st

from mls.secrets import EpochSecret
from tests.repo.files import ROOT
from transport.base import Link
from transport.signing import peer_id
from vcd import logs
from vcd.core.names import FrameId
from vcd.logs import MOST_KEYS, MOST_TEXT, Lines, Redaction, as_json, as_text, event, plain, request, salt, started

log = logging.getLogger("vcd.test_logs")
HIDDEN = Redaction(b"s" * 32, home="/home/alice")
SHOWN = Redaction(None)
PEER = peer_id(bytes(range(32)))
SECRET = b"sixteen letters!"


class Said(io.StringIO):
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines()[-1]


@pytest.fixture
def said() -> Iterator[Said]:
    stream = Said()
    with started(redaction=HIDDEN, form="json", stream=stream, level="debug", environ={}):
        yield stream


# ---------------------------------------------------------------- the shape of a line


def test_an_event(said: Said) -> None:
    event(
        log, logging.INFO, "chat.forked", chat=FrameId(b"c" * 32), epoch=7, link=Link.UP if hasattr(Link, "UP") else 1
    )
    line = said.last
    assert list(line)[:4] == ["at", "level", "from", "event"]
    assert (line["level"], line["from"], line["event"], line["epoch"]) == ("info", log.name, "chat.forked", 7)
    assert line["chat"] == HIDDEN.id(b"c" * 32)
    assert line["at"].endswith("Z")


def test_a_message(said: Said) -> None:
    log.warning("%d of %s", 3, "seven")
    assert said.last["message"] == "3 of seven"
    assert said.last["level"] == "warning"
    log.info("%(one)s", {"one": "named"})
    assert said.last["message"] == "named"


def test_fields_do_not_overwrite_what_every_line_has(said: Said) -> None:
    event(log, logging.INFO, "x", level="none", at=0, error=1, event=2)
    line = said.last
    assert (line["level"], line["event"], line["level_"], line["event_"], line["error_"]) == ("info", "x", "none", 2, 1)


async def test_the_request_follows_its_task(said: Said) -> None:
    async def work(whose: str) -> None:
        request.set(whose)
        await trio.lowlevel.checkpoint()
        event(log, logging.INFO, "done", whose=whose)
        await trio.to_thread.run_sync(lambda: event(log, logging.INFO, "done", whose=whose))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(work, f"cli:device.remove/{number}")
    event(log, logging.INFO, "after")
    *inside, after = said.lines()
    assert len(inside) == 6
    assert all(line["request"] == line["whose"] for line in inside)
    assert "request" not in after


def test_text_is_for_people() -> None:
    line = logs.line_of(logging.LogRecord("vcd.x", 30, "", 0, "%s left", ("the phone",), None), SHOWN)
    text = as_text({**line, "epoch": 7, "peers": ["a", "b"]})
    assert text[12:] == ' warning  the phone left  epoch=7  peers=["a","b"]  (vcd.x)'


# ---------------------------------------------------------------- secrets


class Passphrase(str):
    __slots__ = ()


class SealedBytes(bytes):
    pass


@pytest.mark.parametrize("redaction", [HIDDEN, SHOWN], ids=["hidden", "shown"])
@pytest.mark.parametrize(
    "value",
    [
        EpochSecret(SECRET),
        Passphrase(SECRET.decode()),
        SealedBytes(SECRET),
        {"key": SECRET.decode()},
        {SECRET.decode()},
        [[[SECRET.decode()]]],
        memoryview(SECRET),
        ValueError(SECRET.decode()),
        KeyError(SECRET),
        io.BytesIO(SECRET),
    ],
    ids=lambda value: type(value).__name__,
)
def test_attack_secrets_are_only_named(redaction: Redaction, value: object) -> None:
    stream = Said()
    with started(redaction=redaction, form="json", stream=stream, environ={}):
        event(log, logging.INFO, "x", value=value, inside=[value])
        log.info("%s %r", value, value)
        log.info(value)
        log.info("%(value)s", {"value": value})
    assert len(stream.lines()) == 4
    assert SECRET.decode() not in stream.getvalue()
    assert SECRET.hex() not in stream.getvalue()
    assert type(value).__name__.removesuffix("list") in stream.getvalue()


def test_attack_bytes_in_a_message_are_never_shown() -> None:
    stream = Said()
    with started(redaction=SHOWN, form="json", stream=stream, environ={}):
        log.info("%s %r", SECRET, bytearray(SECRET))
    assert stream.last["message"] == "<16 bytes> '<16 bytes>'"


def test_attack_an_exception_that_quotes_what_it_was_given(said: Said) -> None:
    def inner(key: bytes) -> None:
        raise KeyError(key.decode())

    try:
        try:
            inner(SECRET)
        except KeyError as error:
            raise ExceptionGroup(
                SECRET.decode(), [ValueError(SECRET.decode()), OSError(5, "Input/output error")]
            ) from error
    except ExceptionGroup:
        log.exception("a task ended")
    assert SECRET.decode() not in said.getvalue()
    told = said.last["error"]
    assert told["type"] == "ExceptionGroup"
    assert [one["type"] for one in told["of"]] == ["ValueError", "OSError: Input/output error"]
    assert told["because"]["type"] == "KeyError"
    assert told["because"]["at"][-1].startswith("vcd/test_logs.py:")
    assert told["because"]["at"][-1].endswith(" inner")


def test_our_own_exceptions_may_speak(said: Said) -> None:
    from vcd.paths import PathError

    try:
        raise PathError(f"others can write into /home/alice/x of {PEER}")
    except PathError:
        event(log, logging.ERROR, "start.failed", exc_info=True)
    assert said.last["error"]["type"] == f"PathError: others can write into ~/x of {HIDDEN.id(PEER.encode())}"


def test_attack_what_nobody_caught_goes_the_same_way(said: Said) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError(SECRET.decode())

    def fail() -> None:
        raise ValueError(SECRET.decode())

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Broken()
    gc.collect()
    try:
        fail()
    except ValueError:
        sys.excepthook(*sys.exc_info())
    assert [line["error"]["type"] for line in said.lines()] == ["ValueError"] * 3
    assert SECRET.decode() not in said.getvalue()


def test_attack_arguments_that_do_not_fit_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """The library's own answer is a traceback on standard error, with the arguments in it."""

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError(SECRET.decode())

        __repr__ = __str__

    stream = Said()
    with started(redaction=HIDDEN, form="json", stream=stream, environ={}):
        log.info("%d", SECRET.decode())
        log.info("%s %s", SECRET.decode())  # noqa: PLE1206 - that it does not fit is what is shown
        log.info("%(missing)s", {"other": SECRET.decode()})
        log.info("%c", 1 << 40)
        log.info("%s", Hostile())
        log.info(Hostile())
    misfits, hostile = stream.lines()[:4], stream.lines()[4:]
    assert [line["message"].endswith(" (its values do not fit)") for line in misfits] == [True] * 4
    assert [line["message"] for line in hostile] == ["<Hostile>"] * 2
    assert capfd.readouterr() == ("", "")
    assert SECRET.decode() not in stream.getvalue()


# ---------------------------------------------------------------- ids


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"peer {PEER} left", f"peer {HIDDEN.id(PEER.encode())} left"),
        (f"chat {'ab' * 16}.", f"chat {HIDDEN.id(bytes.fromhex('ab' * 16))}."),
        ("dial /ip4/198.51.100.7/tcp/4001", f"dial /ip4/{HIDDEN.id(bytes([198, 51, 100, 7]))}/tcp/4001"),
        ("dial /ip6/2001:db8::7/tcp/1", None),
        ("/dns4/mail.example.org/tcp/1", None),
        ("to 198.51.100.7:4001 failed", f"to {HIDDEN.id(bytes([198, 51, 100, 7]))}:4001 failed"),
        ("peer:198.51.100.7:4001", f"peer:{HIDDEN.id(bytes([198, 51, 100, 7]))}:4001"),
        ("198.51.100.7: refused", f"{HIDDEN.id(bytes([198, 51, 100, 7]))}: refused"),
        ("at 12:30:59:198.51.100.7", None),
        ("[2001:db8::7]:4001", None),
        ("2001:db8::7: refused, node:2001:db8::7", None),
        ("2001:db8:0:0:0:0:0:7:4001", None),
        ("host mail.example.org:4001", f"host {HIDDEN.id(b'mail.example.org')}:4001"),
        ("https://example.org:8443/x, mail@example.xn--p1ai:25", None),
        ("127.0.0.1:4001, [::1]:4001, localhost:4001", "127.0.0.1:4001, [::1]:4001, localhost:4001"),
        ("06:44:59, 06:44:59: no, 1:2, store.py:99: left", "06:44:59, 06:44:59: no, 1:2, store.py:99: left"),
        ("version 1.2.3: std::vec, test.py::fail::5", "version 1.2.3: std::vec, test.py::fail::5"),
        ("2001:db8::1 said", None),
        ("dGhpcyBpcyBhIGtleSBvZiAzMiBieXRlcyBpbiBiYXNlNjQ=", None),
        ("12D3KooW" + "x" * 40, None),
        ("at 12:30:59 of 2026-11-22, version 1.2.3", "at 12:30:59 of 2026-11-22, version 1.2.3"),
        ("on 127.0.0.1 and ::1 and 0.0.0.0", "on 127.0.0.1 and ::1 and 0.0.0.0"),
        ("5 of 7 in 0.25 s, deadbeef", "5 of 7 in 0.25 s, deadbeef"),
        ("/home/alice/.local/state/vcd", "~/.local/state/vcd"),
    ],
)
def test_ids_and_addresses_become_codes(text: str, hidden: str | None) -> None:
    found = HIDDEN.text(text)
    if hidden is not None:
        assert found == hidden
    else:
        assert "#" in found
        for part in ("2001", "example", "dGhpc", "12D3", "198"):
            assert part not in found
    assert SHOWN.text(text) == text


def test_codes_are_this_installation_s() -> None:
    other = Redaction(b"t" * 32)
    assert HIDDEN.id(b"x") == HIDDEN.id(b"x") != other.id(b"x")
    assert len(HIDDEN.id(b"x")) == 11
    assert SHOWN.id(b"x" * 32) == "78" * 32
    assert b"s" * 32 not in repr(HIDDEN).encode()


@pytest.mark.slow
@given(st.text(max_size=30), st.text("abcdefghij 0123456789", max_size=30), st.integers(0, 3))
def test_an_id_is_found_wherever_it_stands(before: str, after: str, many: int) -> None:
    text = f"{before} {' '.join([PEER] * (1 + many))} {after}"
    assert PEER not in HIDDEN.text(text)
    assert PEER[:20] not in HIDDEN.text(text)


AROUND = st.sampled_from(["", " ", "(", "peer:", "12:30:59 ", "bad: ", "=", "'"])


@given(AROUND, st.ip_addresses(), st.sampled_from(["", ":", ": refused", ":4001", ", ", ")", ".", "/tcp/1", "%eth0"]))
def test_an_address_is_found_whatever_stands_around_it(
    before: str, address: IPv4Address | IPv6Address, end: str
) -> None:
    shown = f"[{address}]" if address.version == 6 and end == ":4001" else str(address)
    found = HIDDEN.text(f"{before}{shown}{end}")
    if address.is_unspecified or address.is_loopback:
        assert str(address) in found
    else:
        assert found == f"{before}{shown}{end}".replace(str(address), HIDDEN.id(address.packed))


@given(st.times(), st.text("ghijk :.,", max_size=10), st.text("ghijk ,", max_size=10))
def test_a_time_and_words_with_colons_stay(time: datetime.time, before: str, after: str) -> None:
    text = f"{before} {time:%H:%M:%S}{after}: {before}"
    assert HIDDEN.text(text) == text


@pytest.mark.parametrize("pad", [*range(MOST_TEXT - 60, MOST_TEXT + 2, 7), (1 << 16) - 30, (1 << 16) - 5])
def test_attack_half_an_id_at_the_cut_is_none_either(pad: int) -> None:
    found = HIDDEN.text("x. " * (pad // 3) + PEER + " more")
    assert "12D3" not in found
    assert len(found) <= MOST_TEXT + 1


def test_attack_half_an_id_behind_what_a_code_made_short() -> None:
    for left in range(1, 70):
        assert "12D3" not in HIDDEN.text("A" * (logs.MOST_LOOKED_AT - left) + " " + PEER)


def test_the_salt_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    made = salt(tmp_path)
    assert len(made) == 32
    assert salt(tmp_path) == made
    assert (tmp_path / logs.SALT).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("there", ["short", "link", "folder", "nothing"])
def test_a_salt_that_cannot_be_kept_is_for_this_run(tmp_path: Path, there: str) -> None:
    state = tmp_path / "state"
    if there != "nothing":
        state.mkdir()
    (tmp_path / "victim").write_bytes(b"v" * 32)
    match there:
        case "short":
            (state / logs.SALT).write_bytes(b"x")
        case "link":
            (state / logs.SALT).symlink_to(tmp_path / "victim")
        case "folder":
            (state / logs.SALT).mkdir()
        case _:
            assert not state.exists()
    first, second = salt(state), salt(state)
    assert len(first) == 32
    assert first != second
    assert first != b"v" * 32
    assert (tmp_path / "victim").read_bytes() == b"v" * 32


# ---------------------------------------------------------------- lines that somebody would like to write


@pytest.mark.parametrize("form", ["json", "text"])
def test_attack_a_forged_line(form: str) -> None:
    stream = io.StringIO()
    forged = 'x\n{"level":"error"}\r\x1b[2J\u2028\u202e\x00'
    with started(redaction=HIDDEN, form=form, stream=stream, environ={}):
        log.info("name %s", forged)
        event(log, logging.INFO, forged, name=forged)
        logging.getLogger("vcd." + forged).info("x")
    lines = stream.getvalue().split("\n")
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()), st.lists))
def test_every_value_is_one_line_of_json(value: object) -> None:
    record = logging.LogRecord("vcd", logging.INFO, "", 0, "%r", (value,), None)
    record.vcd_fields = {"value": value}
    line = as_json(logs.line_of(record, HIDDEN))
    assert line.isprintable()
    assert isinstance(json.loads(line, parse_constant=pytest.fail), dict)
    assert len(line) < 80 * MOST_TEXT


def test_attack_a_line_that_the_journal_would_break_in_two(said: Said) -> None:
    event(log, logging.INFO, "x", value=[["a b " * 1000] * 100] * 100)
    assert len(said.getvalue()) < logs.MOST_LINE
    assert said.last["event"] == "x"
    assert said.last["left_out"].endswith(" characters")


def test_long_things_are_cut() -> None:
    assert len(HIDDEN.text("a b " * 10_000_00)) == MOST_TEXT + 1
    assert plain(list(range(100)), HIDDEN)[-1] == "and 84 more"
    assert plain(1 << 60, HIDDEN) == "a very large number"


# ---------------------------------------------------------------- repeated lines


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def limited(stream: Said, clock: Clock, repeats: int = 3) -> logging.Logger:
    logger = logging.Logger("vcd.limited", logging.DEBUG)  # noqa: LOG001 - apart from the tree, and from pytest
    logger.addHandler(Lines(stream, form="json", redaction=HIDDEN, repeats=repeats, clock=clock))
    return logger


def test_a_line_that_comes_again_and_again_is_counted() -> None:
    stream, clock = Said(), Clock()
    logger = limited(stream, clock)
    for number in range(1000):
        logger.warning("bad frame %d", number)
    logger.warning("something else")
    assert [line["message"] for line in stream.lines()] == [f"bad frame {n}" for n in range(3)] + ["something else"]
    clock.now = 61.0
    logger.warning("bad frame %d", 1001)
    *_, told, again = stream.lines()
    assert (told["event"], told["count"], told["line"]) == ("log.left_out", 997, "bad frame %d")
    assert again["message"] == "bad frame 1001"


def test_the_count_is_told_though_the_line_does_not_come_again() -> None:
    stream, clock = Said(), Clock()
    logger = limited(stream, clock)
    for _ in range(5):
        event(logger, logging.INFO, "peer.left")
    clock.now = 100.0
    logger.info("another")
    assert [line.get("count") for line in stream.lines()] == [None] * 3 + [2, None]
    for _ in range(5):
        event(logger, logging.INFO, "peer.left")
    logger.handlers[0].close()
    assert stream.last["count"] == 2


def test_what_is_critical_is_never_left_out() -> None:
    stream = Said()
    logger = limited(stream, Clock(), repeats=1)
    for _ in range(5):
        logger.critical("the disk is full")
    assert len(stream.lines()) == 5


def test_attack_many_different_lines_take_bounded_memory() -> None:
    stream, clock = Said(), Clock()
    logger = limited(stream, clock, repeats=1)
    for number in range(10 * MOST_KEYS):
        logger.info("line %s" % number)  # noqa: G002, UP031 - as libraries do
    [handler] = logger.handlers
    assert isinstance(handler, Lines)
    assert len(handler._seen) == MOST_KEYS


# ---------------------------------------------------------------- streams and others' logs


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("stream", [Broken(), io.StringIO()], ids=["broken", "closed"])
def test_a_stream_that_is_gone_is_no_trouble(stream: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    if not isinstance(stream, Broken):
        stream.close()
    with started(redaction=HIDDEN, form="json", stream=stream, environ={}):
        for _ in range(100):
            log.info("x")
    assert capfd.readouterr() == ("", "")


def test_the_journal_is_known_by_its_inode_and_told_the_priority(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        with started(redaction=HIDDEN, stream=stream, environ=environ, level="debug"):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
                log.log(level, "x")
        with started(redaction=HIDDEN, stream=stream, environ={"JOURNAL_STREAM": "1:2"}):
            log.info("x")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert [line[:3] for line in lines[:5]] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert all(json.loads(line[3:])["message"] == "x" for line in lines[:5])
    assert json.loads(lines[5])["message"] == "x"


def test_a_terminal_gets_text() -> None:
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        with started(redaction=HIDDEN, stream=stream, environ={}):
            log.info("hello")
        assert b" info     hello  (vcd.test_logs)" in os.read(controller, 1000)
    os.close(controller)


def test_everything_is_as_before_afterwards() -> None:
    def state() -> object:
        root = logging.getLogger()
        names = ("", "vcd", "transport", "mls", "libp2p", "zeroconf")
        hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        return root.handlers[:], [logging.getLogger(name).level for name in names], hooks, warnings.showwarning

    before = state()
    with pytest.raises(ZeroDivisionError), started(redaction=HIDDEN, stream=io.StringIO(), level="error"):
        assert state() != before
        raise ZeroDivisionError
    assert state() == before


def test_levels_are_ours_and_others(said: Said) -> None:
    logging.getLogger("trio.abc.Instrument").info("x")
    logging.getLogger("zeroconf").info("x")
    assert said.lines() == []
    logging.getLogger("zeroconf").warning("x")
    logging.getLogger("vcd.transport").debug("x")
    assert [line["from"] for line in said.lines()] == ["zeroconf", "vcd.transport"]
    logs.set_levels("error", "debug")
    logging.getLogger("zeroconf").debug("x")
    logging.getLogger("vcd.transport").warning("x")
    assert [line["from"] for line in said.lines()[2:]] == ["zeroconf"]


LIBP2P = """
import logging, sys
from vcd.logs import Redaction, started
with started(redaction=Redaction(b"s" * 32), form="json", level="debug"):
    import transport.host.network
    root = logging.getLogger()
    logging.getLogger("libp2p.network").info("a secret")
    logging.getLogger("libp2p.network").debug("a secret")
    logging.info("a secret")
    logging.debug("a secret")
    assert len(root.handlers) == 1, root.handlers
    logging.warning("from the root")
"""


@pytest.mark.slow
def test_libp2p_is_held_down() -> None:
    """It takes its loggers out of the tree, and parts of it log through the root."""
    done = subprocess.run([sys.executable, "-c", LIBP2P], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["from the root"]
