"""`vcd mailbox run` as operators meet it: a real process, real sockets, a real file."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vcd.daemon.mailboxes import RUN, Box
from tests.vcd.daemon.process import Daemon, of_kind, until
from transport.mailbox.tenants import DAY, Quota, Tenant
from vcd import config
from vcd.daemon.mailbox import KEY, Unusable, listed, seed

ONE, TWO = "01" * 32, "02" * 32


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with of_kind(Box, tmp_path / "box") as found:
        yield found


@pytest.mark.slow
def test_it_is_the_same_one_after_each_start_and_ends_when_told(box: Box) -> None:
    box.tenants = (ONE,)
    box.start()
    (first,) = box.addresses
    assert first.startswith("/ip4/127.0.0.1/tcp/")
    key = box.home / "state" / KEY
    assert key.stat().st_mode & 0o777 == 0o600
    assert (box.home / "state" / "mailbox.db").stat().st_mode & 0o777 == 0o600
    until(lambda: box.number("vcd_mailbox_tenants") == 1)
    second = Daemon(box.home, program=RUN)
    second.start(ready=False)
    assert second.process is not None
    assert second.process.wait(30) == 4  # another one has this state
    box.admit(ONE, TWO)
    until(lambda: box.number("vcd_mailbox_tenants") == 2)
    box.end(signal.SIGINT)
    box.start()
    assert box.addresses == [first, first]
    box.end()


@pytest.mark.slow
def test_signals_at_any_instant_are_waited_for(box: Box) -> None:
    box.tenants = (ONE,)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # as its command does, and others might
    try:
        box.start(ready=False)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    process = box.process
    assert process is not None
    while not box.addresses:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.01)
        assert process.poll() is None, box.log
    until(lambda: "serves 1 tenants" in box.log)
    box.admit(ONE, TWO)
    process.send_signal(signal.SIGTERM)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    box.end()


@pytest.mark.slow
def test_settings_that_are_wrong_stop_a_start_and_not_a_mailbox(box: Box) -> None:
    box.tenants = (ONE,)
    box.start()
    (box.home / "vcd.toml").write_text('version = 1\n[mailbox]\ntenants = ["no key"]\n', encoding="utf-8")
    assert box.process is not None
    box.process.send_signal(signal.SIGHUP)
    until(lambda: "the settings stay as they were" in box.log)
    box.end()
    (box.home / "vcd.toml").write_text('version = 1\n[mailbox]\nsize = "much"\n', encoding="utf-8")
    Daemon.start(box, ready=False)
    box.process.wait(30)
    box.process = None
    assert "mailbox.size" in box.log


def test_a_key_that_others_can_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / KEY
    made = seed(path)
    assert len(made) == 32
    assert seed(path) == made
    path.chmod(0o640)
    with pytest.raises(Unusable, match="chmod 600"):
        seed(path)
    path.chmod(0o600)
    path.write_bytes(made[:31])
    with pytest.raises(Unusable, match="damaged"):
        seed(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unusable, match="cannot be read"):
        seed(path)


def test_what_one_tenant_may_goes_before_what_all_may() -> None:
    entries = (
        config.Tenant(key=b"1" * 32),
        config.Tenant(key=b"2" * 32, quota=(("size", 5), ("slot_size", 6), ("package_size", 7), ("retention", DAY))),
    )
    own = Quota(bytes=5, slot_bytes=6, package_bytes=7, retention=DAY, topics=9)
    assert listed(config.Mailbox(tenants=entries, topics=9)) == [
        Tenant(key=b"1" * 32, quota=Quota(topics=9)),
        Tenant(key=b"2" * 32, quota=own),
    ]
    assert [each.quota for each in listed(config.Mailbox(tenants=entries[:1]))] == [Quota()]


@pytest.mark.slow
def test_one_that_was_put_back_hands_nothing_out(box: Box) -> None:
    box.tenants = (ONE,)
    box.start()
    box.end()
    with contextlib.closing(sqlite3.connect(box.home / "state" / "mailbox.db")) as db, db:
        (file,) = db.execute("SELECT name FROM file").fetchone()
        row = (bytes.fromhex(ONE), b"\7" * 32, 0, 0, 1 << 60, 0, 0, b"package")
        db.execute("INSERT INTO package VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    box.start()
    until(lambda: box.number("vcd_mailbox_packages") == 1)
    box.end()
    box.start("--restored")
    until(lambda: box.number("vcd_mailbox_packages") == 0)
    assert "1 KeyPackages are withdrawn" in box.log
    box.end()
    with contextlib.closing(sqlite3.connect(box.home / "state" / "mailbox.db")) as db:
        assert db.execute("SELECT name FROM file").fetchone() != (file,)
