"""`python -m tests.bench.units`: what one daemon and one mailbox cost, for sums over many of them (docs/scale.md).

    daemon    a real one with so many chats of its own: memory, what it has on disk, processor time at rest
    mailbox   one that keeps so many frames of `SIZE` bytes for tenants with a topic each: bytes on disk for each, how
              many it takes and gives back a second, memory
    packages  KeyPackages left and handed out, a second
    peers     a real mailbox with so many peers that are connected and say nothing: memory, processor time

Loopback only; `--quick` takes some seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from tests.bench.daemon import rss_mb
from tests.bench.rows import figures
from tests.transport.mailbox.rig import BOB, TENANT, running
from tests.vcd.daemon.mailboxes import Box
from tests.vcd.daemon.process import SETTINGS, Daemon, home, of_kind, until
from transport.base import Address, Link, Milliseconds, PeerId
from transport.frames import member_topic, topic_id
from transport.live.open import open_mesh
from transport.mailbox.tenants import Quota, Tenant
from transport.signing import SigningKey
from transport.sync.memory_store import MemoryStore

SIZE = 400
DIALING = 20
"""Peers that connect at the same time."""
REST = 20.0
"""Seconds that a daemon is watched at rest."""
TOGETHER = 64
"""Frames in one call to a mailbox's store, as gossip hands them over when it is busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    op: str
    count: int
    """Chats, or frames, or packages."""
    rss_mb: float | None = None
    disk_bytes: float | None = None
    """In all; of a mailbox for each frame."""
    cpu_percent: float | None = None
    """Of one core, at rest."""
    start_s: float | None = None
    topics: int | None = None
    per_second: float | None = None
    read_per_second: float | None = None


def _cpu(daemon: Daemon) -> float:
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def daemons(counts: list[int], rest: float) -> Iterator[Row]:
    """The same one with more and more chats; started again before it is looked at, so that nothing is left over."""
    with tempfile.TemporaryDirectory() as folder, home(Path(folder) / "a", SETTINGS) as daemon:
        daemon.start()
        daemon.call("account.create", device_name="d")
        until(lambda: daemon.status().get("account") and daemon.until_state("ready"))
        made = 0
        for count in counts:
            for _ in range(made, count):
                daemon.call("chat.create")
            made = count
            daemon.end()
            began = time.monotonic()
            daemon.start()
            start = time.monotonic() - began
            time.sleep(2)
            before, began = _cpu(daemon), time.monotonic()
            time.sleep(rest)
            used = (_cpu(daemon) - before) / (time.monotonic() - began)
            yield Row(
                op="daemon",
                count=count,
                rss_mb=rss_mb(daemon),
                disk_bytes=float(_size(daemon.home / "state")),
                cpu_percent=100 * used,
                start_s=start,
            )


async def mailbox(count: int, topics: int) -> Row:
    keys = [SigningKey(number.to_bytes(32)) for number in range(1, topics + 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "box"
        tenants = [Tenant(key=TENANT.public, quota=Quota(frames=count * 2, topics=topics, bytes=1 << 40))]
        async with running(path, tenants=tenants) as rig:
            for key in keys:
                await rig.tenant.keep(topic_id(key.public), rig.token(key=key))
            frames = [
                rig.frame(number.to_bytes(8) + bytes(SIZE - 8), key=keys[number % topics]) for number in range(count)
            ]
            began = time.monotonic()
            for at in range(0, count, TOGETHER):
                await rig.store.add(frames[at : at + TOGETHER])
            took = time.monotonic() - began
            began, read = time.monotonic(), 0
            for key in keys:
                topic = topic_id(key.public)
                async for page in rig.store.entries(topic):
                    read += len(await rig.store.fetch(topic, [each for _, each in page]))
            back = time.monotonic() - began
        assert read == count
        return Row(
            op="mailbox",
            count=count,
            topics=topics,
            disk_bytes=path.stat().st_size / count,
            per_second=count / took,
            read_per_second=count / back,
        )


async def packages(count: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder) / "box") as rig:
            quota = min(count, Quota().packages)
            await rig.tenant.deposit([rig.package(str(number)) for number in range(quota)])
            grant, asker = rig.grant(BOB, count=quota), rig.client(BOB)
            began = time.monotonic()
            for _ in range(quota):
                assert not (await asker.take(TENANT.public, grant)).last_resort
            return Row(op="packages", count=quota, per_second=quota / (time.monotonic() - began))


class Wide(Box):
    """One that lets in more than most need, and from one address."""

    def configure(self) -> None:
        super().configure()
        path = self.home / "vcd.toml"
        wide = "[network]\nmax_connections = 8192\nmax_connections_per_ip = 8192\n"
        path.write_text(path.read_text(encoding="utf-8").replace("[network]\n", wide, 1), encoding="utf-8")


async def peers(counts: list[int], rest: float, folder: Path) -> list[Row]:
    """All peers are in this process, each with a mesh and a topic of its own."""
    rows = []
    with of_kind(Wide, folder / "box") as box:
        box.start()
        address, _, name = box.addresses[0].rpartition("/p2p/")
        made = 0

        async def peer(number: int, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            async with open_mesh(
                identity=SigningKey((number + 1).to_bytes(32)),
                store=MemoryStore(),
                now_ms=lambda: Milliseconds(time.time_ns() // 1_000_000),
                random_bytes=os.urandom,
            ) as mesh:
                mesh.keep(PeerId(name), [Address(address)])
                await mesh.join(member_topic(SigningKey((number + 1).to_bytes(32, "little"))))
                async for state in mesh.peer_changes():
                    if state.link is Link.CONNECTED:
                        break
                task_status.started()
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            for count in counts:
                for first in range(made, count, DIALING):
                    with trio.fail_after(120):
                        async with trio.open_nursery() as dialing:
                            for number in range(first, min(first + DIALING, count)):
                                dialing.start_soon(nursery.start, peer, number)
                made = count
                await trio.sleep(10)
                before, began = _cpu(box), time.monotonic()
                await trio.sleep(rest)
                used = (_cpu(box) - before) / (time.monotonic() - began)
                rows.append(Row(op="peers", count=count, rss_mb=rss_mb(box), cpu_percent=100 * used))
            nursery.cancel_scope.cancel()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.units", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="smaller, in some seconds")
    parser.add_argument("--peers", type=int, nargs="+", help="only peers of a mailbox: how many, ascending")
    given = parser.parse_args()

    def rows() -> Iterator[Row]:
        if given.peers:
            with tempfile.TemporaryDirectory() as folder:
                yield from trio.run(peers, given.peers, REST, Path(folder))
            return
        yield from daemons([1, 10] if given.quick else [1, 10, 100, 300], 3.0 if given.quick else REST)
        yield trio.run(mailbox, 2_000 if given.quick else 100_000, 10 if given.quick else 100)
        yield trio.run(packages, 100 if given.quick else 1_000)
        with tempfile.TemporaryDirectory() as folder:
            yield from trio.run(
                peers, [0, 5] if given.quick else [0, 100, 200], 3.0 if given.quick else REST, Path(folder)
            )

    for row in rows():
        print(json.dumps(figures(row)) if given.json else f"{row.op:9} {figures(row)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
