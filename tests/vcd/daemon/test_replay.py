"""A log of a million events, read from its beginning over the socket."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio

from tests.vcd.daemon.process import home
from vcd.daemon.opening import DATABASE, KEY, VAULT
from vcd.store.store import open_store
from vcd.store.values import Batch, NewEntry
from vcd.vault.unlockers import KeyFile
from vcd.vault.vault import Vault

AT_ONCE = 5_000
SETTINGS = """version = 1

[network]
listen = []
mdns = false

[store]
events_keep = "forever"
events_size = "unlimited"
"""


async def _fill(state: Path, count: int) -> None:
    """As if so much had happened: entries of the daemon's own state, made while it is off."""
    vault = Vault.open(state / VAULT, KeyFile(state / KEY))
    now = time.time_ns() // 1_000_000
    async with open_store(state / DATABASE, vault) as store:
        for first in range(0, count, AT_ONCE):
            data = {"code": "peerless", "severity": "info", "title": "", "text": "", "over": False}
            entries = [
                NewEntry(at_ms=now, type="health.changed", data=data) for _ in range(min(AT_ONCE, count - first))
            ]
            await store.commit(Batch(entries=entries))


@pytest.mark.slow
@pytest.mark.parametrize(
    "count", [20_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
def test_a_long_log_is_read_without_a_gap(tmp_path: Path, count: int) -> None:
    with home(tmp_path / "home", SETTINGS) as daemon:
        daemon.start()
        daemon.end()
        trio.run(_fill, tmp_path / "home" / "state", count)
        daemon.start()
        last = daemon.call("status.get")["log"]["last"]
        assert last >= count
        at = 1
        while at <= last:
            page = daemon.call("events.next", max=1000, **{"from": at})
            assert [each["seq"] for each in page["events"]] == list(range(at, at + len(page["events"])))
            assert page["events"]
            at = page["next"]
