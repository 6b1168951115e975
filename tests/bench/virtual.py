"""`python -m tests.bench.virtual`: one member per person instead of one per device, and what that costs and saves.

The same people with the same devices, twice: in a conversation where each device is a member, and in one where each
person is, as a virtual client with an emulation group of these devices (draft-ietf-mls-virtual-clients). A row is one
comparison at one size, and `ratio` is what ordinary members take for one that virtual clients take. Everything is of
the cipher suite asked for, handshakes in conversations are public, and the leaves of ordinary members say nothing of
application data. Trees are flat (just made), full (everybody committed) or churned (see `virtual_worlds.events`).

* `commit_create`, `commit_bytes`, `commit_process`: a commit with a path, by person 0, followed by somebody else.
  `commit_follow`: followed by another device of person 0, which derives it again if the person is a virtual client.
* `blank_parents`, `mean_resolution`, `commit_ciphertexts`: after churn, parent nodes that are blank with members on
  both sides, ciphertexts for each node of a path over all members, and all those of the median member's next path.
* `invite_create`, `invite_bytes`, `key_packages_bytes`, `welcome_bytes`, `join`: one more person, with all devices.
* `seal_256`, `unseal_256`, `unseal_own_256`, `message_bytes`: a message; `unseal_own_256` by a device of the sender's.
* `leaf_bytes`, `derivation_info_bytes`, `stored_bytes`: a leaf, and what a device stores of the conversation.
* `device_added`, `device_removed`, `healed`: a device that comes, goes, or fresh keys for all devices of a person, in
  1, 10 and 100 conversations: the work of the devices that do it, and all they send. `take_over`, `handed_over_bytes`:
  the share of one conversation in the first, beside a join and its Welcome. `device_added_from_outside`: conversations
  are told by name, and the new device joins each by an external commit.
* `home_commit_create`, `home_commit_process`, `home_commit_bytes`, `stored_at_home_bytes`,
  `stored_for_conversation_bytes`: what an emulation group costs, which ordinary members do not have.

After the rows come crossovers: the number of people from which on virtual clients win, for times by 10 % at least.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, thread_time

from mls.provider import Environment
from mls.suite import Suite
from tests.bench.mls import SUITES
from tests.bench.virtual_figures import draw
from tests.bench.virtual_tables import crossover_table, crossovers, size_table
from tests.bench.virtual_trials import Clock, Row, Trial
from tests.bench.worlds import environment
from vcd.crypto import SystemProvider

PEOPLE = (2, 5, 10, 20, 50, 100, 200)
DEVICES = (1, 3, 5)
NOISE = 1.15
"""What `--check` allows."""


def rows(
    env: Environment, suite: Suite, people: Iterable[int], devices: Iterable[int], *, impl: str, clock: Clock
) -> Iterator[Row]:
    counts = list(devices)
    for each in people:
        for count in counts:
            yield from Trial(env, suite, impl, each, count, clock).rows()


def target(row: Row) -> float | None:
    """What the ratio must reach; None where nothing is promised."""
    if row.op == "message_bytes":
        return 1.0
    if row.op in ("commit_create", "commit_process") and row.devices == 1 and row.tree != "churned":
        return 0.75 if row.op == "commit_create" else 0.9
    return {"seal_256": 0.6, "unseal_256": 0.9, "unseal_own_256": 0.7, "commit_follow": 0.85}.get(row.op)


def missed(row: Row) -> str | None:
    """What is wrong with a row, if anything is."""
    wanted = target(row)
    if wanted is not None and (row.ratio is None or row.ratio * (NOISE if row.unit == "ms" else 1) < wanted):
        return f"x{row.ratio} < {wanted}"
    if row.op == "blank_parents" and row.virtual:
        return f"{row.virtual:.0f} blank parents"
    return None


# The program


def line(row: Row) -> str:
    def figure(value: float | None) -> str:
        return "" if value is None else f"{value:.0f}" if row.unit == "bytes" else f"{value:.3f}"

    spread = "" if row.low == row.high else f"  ({row.low:.2f} to {row.high:.2f})"
    ratio = "" if row.ratio is None else f"x{row.ratio:7.3f}{spread}"
    head = f"{row.impl:8} {row.op:30}{row.tree:8}{row.devices:3} x{row.people:4}{row.conversations:5}"
    return f"{head} {figure(row.plain):>12} {figure(row.virtual):>12} {row.unit:6}{ratio}"


def read(path: Path) -> list[Row]:
    """The rows of an earlier run with `--json`."""
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.startswith("{")]
    return [Row(**data) for data in lines if "virtual" in data]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.virtual", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="a JSON line per row, and then per crossover")
    parser.add_argument("--quick", action="store_true", help="some seconds: 2, 10 and 30 people, few repeats")
    parser.add_argument("--check", action="store_true", help="exit 1 if a row misses its target by over 15 %%")
    parser.add_argument("--people", type=int, nargs="*", help=f"people (default {' '.join(map(str, PEOPLE))})")
    parser.add_argument("--devices", type=int, nargs="*", default=DEVICES, help="devices of each (default 1 3 5)")
    parser.add_argument("--suite", choices=list(SUITES), default="vcd", help="by the name in the rows")
    parser.add_argument("--cpu", action="store_true", help="count this thread's CPU time: for a machine that is busy")
    parser.add_argument("--from", dest="source", type=Path, help="take the rows of an earlier run, measure nothing")
    parser.add_argument("--svg", type=Path, help="draw the rows into this file")
    parser.add_argument("--tables", type=Path, help="write crossovers and rows into this file, as Markdown")
    args = parser.parse_args()
    people = args.people or ((2, 10, 30) if args.quick else PEOPLE)
    if min(people) < 2 or min(args.devices) < 1:
        parser.error("there are two people at least, with a device at least")
    measured: Iterable[Row]
    if args.source:
        measured = read(args.source)
    else:
        env = environment(SystemProvider(threads=1))
        clock = Clock(0.02 if args.quick else 0.35, thread_time if args.cpu else perf_counter)
        suite = env.provider.suite(SUITES[args.suite])
        measured = rows(env, suite, people, args.devices, impl=args.suite, clock=clock)
    kept = []
    for row in measured:
        kept.append(row)
        print(json.dumps(asdict(row)) if args.json else line(row), flush=True)
    found = crossovers(kept)
    if args.json:
        for each in found:
            print(json.dumps(asdict(each)))
    else:
        print(crossover_table(found))
    if args.svg:
        args.svg.write_text(draw(kept), encoding="utf-8")
    if args.tables:
        args.tables.write_text(f"{crossover_table(found)}\n\n{size_table(kept)}\n", encoding="utf-8")
    wrong = [(row, fault) for row in kept if (fault := missed(row)) is not None]
    for row, fault in wrong if args.check else []:
        print(f"missed: {row.op} {row.tree}, {row.people} people, {row.devices} devices: {fault}", file=sys.stderr)
    return 1 if args.check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
