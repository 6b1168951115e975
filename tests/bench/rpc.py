"""What a call on the socket costs: `python -m tests.bench.rpc [--json] [--quick]`.

The server has a process of its own, and handlers that do nothing; what is measured is the way there and back.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgpack
import trio

from tests.vcd.rpc.house import CHAT, Wire, connect, opened
from vcd.client import Client


def _serve(folder: str, ready: Any, events: int) -> None:
    async def run() -> None:
        async with opened(Path(folder), bound=3600) as house:
            for _ in range(events):
                house.journal.add(data={"chat": CHAT, "data": b"x" * 100})
            ready.set()
            await trio.sleep_forever()

    trio.run(run)


def one_by_one(path: str, count: int) -> dict[str, float]:
    """The client without a framework: one call after the other."""
    took = []
    with Client(path) as client:
        for _ in range(200):
            client.call("device.list")
        begun = time.perf_counter()
        for _ in range(count):
            before = time.perf_counter()
            client.call("device.list")
            took.append(time.perf_counter() - before)
        whole = time.perf_counter() - begun
    took.sort()
    return {
        "calls_per_s": count / whole,
        "p50_us": took[count // 2] * 1e6,
        "p99_us": took[count * 99 // 100] * 1e6,
    }


async def at_once(path: str, count: int, flight: int = 64) -> float:
    """Calls per second with so many in flight."""
    stream = await connect(Path(path))
    async with stream:
        client = Wire(stream)
        await client.greet()
        sent = answered = 0
        begun = time.perf_counter()
        while answered < count:
            more = min(flight - (sent - answered), count - sent)
            if more > flight // 2 or (more and sent + more == count):
                calls = ([0, 100 + sent + each, "device.list", [{}]] for each in range(more))
                await stream.send_all(b"".join(msgpack.packb(call) for call in calls))
                sent += more
            await client.read()
            answered += 1
        return count / (time.perf_counter() - begun)


async def replay(path: str, count: int) -> float:
    """Events per second to one subscriber, from the first on."""
    stream = await connect(Path(path))
    async with stream:
        client = Wire(stream)
        await client.greet()
        begun = time.perf_counter()
        await client.ask("events.subscribe", from_=1)
        for _ in range(count):
            await client.hear()
        return count / (time.perf_counter() - begun)


def measure(*, quick: bool) -> dict[str, float]:
    calls, events = (2_000, 20_000) if quick else (20_000, 200_000)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ready = context.Event()
        server = context.Process(target=_serve, args=(folder, ready, events))
        server.start()
        try:
            if not ready.wait(120):
                raise TimeoutError("the server did not come up")
            path = f"{folder}/app.sock"
            found = one_by_one(path, calls)
            found["calls_per_s_64_in_flight"] = trio.run(at_once, path, calls)
            found["events_replayed_per_s"] = trio.run(replay, path, events)
            return found
        finally:
            server.kill()
            server.join()


def main() -> int:
    parser = argparse.ArgumentParser(description="What a call on the socket costs.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    found = measure(quick=given.quick)
    if given.json:
        print(json.dumps({name: round(value, 1) for name, value in found.items()}))
    else:
        for name, value in found.items():
            print(f"{name:28} {value:12,.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
