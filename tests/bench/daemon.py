"""`python -m tests.bench.daemon`: whole daemons as processes, over their sockets, beside raw py-libp2p in the same run.

    start        seconds from the start of the process to `ready`, and of processor time: with nothing, with a state
    call         milliseconds of one `status.get` on a connection that is open
    latency      milliseconds from `msg.send` being accepted on one daemon to `msg.received` being told on the
                 other, one message at a time; and until it was accepted
    throughput   messages a second that one sends and the other tells, for as long as asked; what both have in
                 memory at the first tenth and at the end; whether each came once
    raw          py-libp2p's own gossip between two nodes, tuned, without frames, store or MLS: its highest rate,
                 and its latency at the rate of `throughput`

`noise` is how much longer a fixed piece of work took just before a row than it took at best in the whole run. Rows with
a target are compared with it by `--check`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import trio

from tests.bench.mesh_trials import Ladder, fleet_of, spin, trial
from tests.bench.rows import figures
from tests.peers.launch import UnavailableError
from tests.vcd.daemon.process import SETTINGS, Daemon, home, until

SIZE = 200
"""Bytes of a message."""
WINDOW = 64
"""Calls in flight while throughput is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement. What does not apply is None."""

    op: str
    impl: str = "ours"
    count: int | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    accepted_p50_ms: float | None = None
    per_second: float | None = None
    accepted_per_second: float | None = None
    rss_first_mb: float | None = None
    rss_last_mb: float | None = None
    loss: float | None = None
    noise: float = 0.0


def missed(row: Row) -> str | None:
    """What was promised about this row and is not so."""
    if row.impl != "ours":
        return None
    match row.op:
        case "start" | "start again" if (row.seconds or 0) > 2.5:
            return f"ready after {row.seconds} s, wanted 2.5"
        case "latency" if row.p50_ms is None or row.p50_ms >= 60:
            return f"p50 {row.p50_ms} ms, wanted under 60"
        case "throughput" if (row.per_second or 0) < 200 or row.loss:
            return f"{row.per_second} messages a second and loss {row.loss}, wanted 200 and none"
        case "throughput" if row.rss_first_mb and row.rss_last_mb and row.rss_last_mb > 1.2 * row.rss_first_mb + 10:
            return f"memory went from {row.rss_first_mb} to {row.rss_last_mb} MB"
        case _:
            return None


class Noise:
    """How much slower the machine is than at its best."""

    def __init__(self) -> None:
        self.best = min(spin() for _ in range(3))

    def now(self) -> float:
        took = spin()
        self.best = min(self.best, took)
        return took / self.best - 1


def rss_mb(daemon: Daemon) -> float:
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def started(daemon: Daemon, op: str, noise: Noise) -> Row:
    before = noise.now()
    began = time.monotonic()
    daemon.start()
    seconds = time.monotonic() - began
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Row(op=op, seconds=seconds, cpu_seconds=cpu, noise=before)


@contextmanager
def two(folder: Path, rows: list[Row], noise: Noise) -> Iterator[tuple[Daemon, Daemon, bytes]]:
    """Two people with a chat."""
    with home(folder / "a", SETTINGS) as one, home(folder / "b", SETTINGS) as other:
        rows.append(started(one, "start", noise))
        other.start()
        accounts = [each.call("account.create", device_name="d")["account"] for each in (one, other)]
        for each in (one, other):
            until(lambda each=each: each.status().get("account") and each.until_state("ready"))  # type: ignore[misc]
        links = [each.call("contact.link")["link"] for each in (one, other)]
        one.call("contact.add", link=links[1])
        other.call("contact.add", link=links[0])
        chat = one.call("chat.create")["chat"]
        one.call("chat.invite", chat=chat, account=accounts[1])
        until(lambda: chat in [each["chat"] for each in other.call("chat.list")["chats"]])
        one.end()
        rows.append(started(one, "start again", noise))
        one.call("msg.send", chat=chat, data=b"first")
        until(lambda: b"first" in other.heard(chat))
        yield one, other, chat


class Listener:
    """Reads the other's events in a thread of its own: when each message was told."""

    def __init__(self, daemon: Daemon) -> None:
        self._events = daemon.client("app").events(
            from_=daemon.call("status.get")["log"]["last"] + 1, types=["msg.received"]
        )
        self.told: dict[bytes, list[float]] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for event in self._events:
            self.told.setdefault(event.data["msg"], []).append(time.monotonic())


def called(daemon: Daemon, noise: Noise, count: int) -> Row:
    before = noise.now()
    took = []
    for _ in range(count):
        began = time.monotonic()
        daemon.call("status.get")
        took.append((time.monotonic() - began) * 1000)
    return Row(op="call", count=count, p50_ms=median(took), p99_ms=quantiles(took, n=100)[98], noise=before)


def latency(one: Daemon, listener: Listener, chat: bytes, noise: Noise, count: int) -> Row:
    before = noise.now()
    took, accepted = [], []
    for _ in range(count):
        began = time.monotonic()
        name = one.call("msg.send", chat=chat, data=os.urandom(SIZE))["msg"]
        answered = time.monotonic()
        until(lambda name=name: listener.told.get(name))  # type: ignore[misc]
        took.append((listener.told[name][0] - answered) * 1000)
        accepted.append((answered - began) * 1000)
        time.sleep(0.02)
    return Row(
        op="latency",
        count=count,
        p50_ms=median(took),
        p99_ms=quantiles(took, n=100)[98],
        accepted_p50_ms=median(accepted),
        noise=before,
    )


async def _send_all(path: str, chat: bytes, count: int, first: list[float]) -> list[bytes]:
    """As fast as they are accepted, a window of them at once."""
    from vcd.client.trio import open_client

    names: list[bytes] = []
    async with open_client(path) as client:
        limit = trio.CapacityLimiter(WINDOW)

        async def one(number: int) -> None:
            async with limit:
                if number == count // 10:
                    first.append(time.monotonic())
                sent = await client.call("msg.send", chat=chat, data=number.to_bytes(4, "big") + bytes(SIZE - 4))
                names.append(sent["msg"])

        async with trio.open_nursery() as nursery:
            for number in range(count):
                async with limit:
                    pass
                nursery.start_soon(one, number)
    return names


def throughput(one: Daemon, other: Daemon, listener: Listener, chat: bytes, noise: Noise, count: int) -> Row:
    before = noise.now()
    first: list[float] = []
    memory: list[float] = []

    def watch() -> None:
        while not first:
            time.sleep(0.05)
        memory.append(rss_mb(one) + rss_mb(other))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.monotonic()
    names = trio.run(_send_all, str(one.home / "run" / "app.sock"), chat, count, first)
    accepted = time.monotonic()
    wanted = set(names)
    until(lambda: wanted <= listener.told.keys(), within=60 + count / 50)
    last = max(listener.told[name][0] for name in names)
    watcher.join(1)
    twice = sum(len(listener.told[name]) > 1 for name in names)
    return Row(
        op="throughput",
        count=count,
        seconds=last - began,
        per_second=count / (last - began),
        accepted_per_second=count / (accepted - began),
        rss_first_mb=memory[0] if memory else None,
        rss_last_mb=rss_mb(one) + rss_mb(other),
        loss=twice / count,
        noise=before,
    )


async def raw(rate: float, noise: Noise, seconds: float) -> list[Row]:
    before = noise.now()
    try:
        async with fleet_of("raw", 2, Path(tempfile.gettempdir()), seed=7) as fleet:
            ladder = Ladder(fleet, size=SIZE, seconds=seconds, repeats=1)
            best = await ladder.climb(200.0)
            await ladder.calm()
            seen = await trial(fleet, size=SIZE, rate=min(rate, best), seconds=seconds, start_at=1 << 20)
    except UnavailableError as error:
        sys.stderr.write(f"raw: {error}\n")
        return []
    return [
        Row(op="throughput", impl="raw", per_second=best, noise=before),
        Row(op="latency", impl="raw", p50_ms=seen.p50, p99_ms=seen.p99, loss=seen.loss, noise=before),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.daemon", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="some seconds instead of minutes")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--messages", type=int, default=0, help="of the throughput row")
    given = parser.parse_args()
    count = given.messages or (1_000 if given.quick else 10_000)
    rows: list[Row] = []
    noise = Noise()
    with tempfile.TemporaryDirectory() as folder, two(Path(folder), rows, noise) as (one, other, chat):
        listener = Listener(other)
        rows.append(called(one, noise, 50 if given.quick else 500))
        rows.append(latency(one, listener, chat, noise, 30 if given.quick else 300))
        rows.append(throughput(one, other, listener, chat, noise, count))
    rows += trio.run(raw, rows[-1].per_second or 200.0, noise, 2.0 if given.quick else 5.0)
    for row in rows:
        print(json.dumps(figures(row)) if given.json else f"{row.impl:5} {row.op:12} {figures(row)}")
    wrong = [f"{row.op}: {said}" for row in rows if (said := missed(row)) is not None]
    for said in wrong:
        sys.stderr.write(f"missed: {said}\n")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    sys.stderr.write(f"largest process {peak} MB\n")
    return 1 if given.check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
