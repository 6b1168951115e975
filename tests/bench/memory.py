"""`python -m tests.bench.memory`: what groups weigh.

Two figures at each size: bytes for a member's whole value, per member of the group, and bytes for one more epoch
kept beside it, as a fork keeps it. The second must follow the changed nodes, which are one path, and not the group.
Memory is what `tracemalloc` sees of live objects, so it counts Python's own overhead.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tracemalloc
from collections.abc import Callable

from mls import group as front, snapshot
from tests.bench.worlds import PARAMETERS, World, environment
from vcd.crypto import SystemProvider


def held(make: Callable[[], object]) -> int:
    """Bytes that stay allocated while the result of `make` is kept."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    kept = make()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    del kept
    return after - before


def measure(n: int) -> dict[str, float]:
    env = environment(SystemProvider(threads=1))
    world = World(env, n, full=True)
    zero, one = world.member(0), world.member(1)
    messages = []
    for _ in range(6):
        sent = front.commit(zero, env)
        zero = sent.group
        messages.append(sent.message)
    stored = snapshot.encode(one)
    one = front.receive(one, env, messages[0]).group  # fills what is filled once: hashes, caches of parsed keys
    loaded: list[front.Group] = []

    def follow() -> list[front.Group]:
        kept = [one]
        for message in messages[1:]:
            kept.append(front.receive(kept[-1], env, message).group)
        return kept

    tracemalloc.start()
    try:
        whole = held(lambda: loaded.append(snapshot.decode(env.provider, PARAMETERS, stored)))
        epochs = held(follow)
    finally:
        tracemalloc.stop()
    return {
        "n": n,
        "bytes_per_member": round(whole / n, 1),
        "snapshot_bytes_per_member": round(len(stored.raw) / n, 1),
        "bytes_per_kept_epoch": round(epochs / 5),
        "delta_bytes": len(snapshot.encode_delta(one, front.receive(one, env, messages[1]).group).raw),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 100, 1000, 10_000])
    for n in parser.parse_args().sizes:
        print(json.dumps(measure(n)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
