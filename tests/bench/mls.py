"""`python -m tests.bench.mls`: the protocol core against the cryptography it stands on.

Every row is the median of repeated runs with its floor from the same process (`tests.bench.floors`). Rows with a
target are compared with it by `--check`, which allows 15 % for noise. `--peers` adds rows of foreign implementations
that are built here, measured by their own programs in the same run.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time

from mls import group as mls_group
from mls.credential import BasicCredential
from mls.proposals import Add
from mls.provider import Environment
from mls.registries import CipherSuite, HybridSuite
from tests.bench import floors
from tests.bench.worlds import (
    GROUP_ID,
    LIFETIME,
    PARAMETERS,
    World,
    capabilities,
    client_key,
    environment,
    key_package,
)
from vcd.crypto import SystemProvider

SUITES = {
    "vcd": CipherSuite.X25519_AES128GCM_SHA256_ED25519,
    "vcd-xwing": HybridSuite.MLKEM768X25519_AES128GCM_SHA256_ED25519,
    "vcd-mldsa": HybridSuite.MLKEM768X25519_CHACHA20POLY1305_SHA384_MLDSA44,
}
"""What is measured, by the name in its rows; the first is measured unless others are asked for."""

PEERS = {"mls-rs": Path(__file__).parent.parent / "peers" / "rust" / "target" / "release" / "vcd-peer-mls-rs"}


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    impl: str
    op: str
    tree: str
    n: int
    ms: float
    floor_ms: float
    ratio: float


def target(row: Row) -> float | None:
    """What the row must not exceed, as a ratio to its floor; None where nothing is promised."""
    if row.op in ("protect_256", "unprotect_256"):
        return 2.5
    if row.op in ("commit_create", "commit_process", "external_commit_process"):
        if row.n < 100:
            return 2.5
        return 1.5 if row.tree == "full" else None
    if row.op in ("join_welcome", "add_n_commit"):
        return 1.4 if row.n >= 100 else None
    return None


def timed(action: Callable[[], object], budget: float, clock: Callable[[], float]) -> float:
    """Milliseconds: the median of as many runs as fit the budget (seconds), 5 to 400 of them.

    The collector is off while a run is timed, as a long-lived daemon would have it between its pauses.
    """
    action()
    taken: list[float] = []
    spent = 0.0
    gc.collect()
    gc.disable()
    try:
        while len(taken) < 5 or (spent < budget and len(taken) < 400):
            start = clock()
            action()
            taken.append(clock() - start)
            spent += taken[-1]
    finally:
        gc.enable()
    return median(taken) * 1000


class Bench:
    """The operations at one size on one shape of tree."""

    def __init__(
        self,
        env: Environment,
        n: int,
        *,
        suite: int,
        flat: bool,
        quick: bool,
        impl: str,
        clock: Callable[[], float],
    ) -> None:
        self.env = env
        self.suite = env.provider.suite(suite)
        self.n = n
        self.flat = flat
        self.rounds = 60 if quick else 200
        self.quick = quick
        self.impl = impl
        self.clock = clock

    def row(self, op: str, action: Callable[[], object]) -> Row:
        # Primitives are timed right before and after: the machine is shared, and its speed wanders.
        before = floors.units(self.env, self.suite, self.rounds, self.clock)
        taken = timed(action, 0.15 if self.quick else 1.0, self.clock)
        after = floors.units(self.env, self.suite, self.rounds, self.clock)
        unit = {name: (before[name] + after[name]) / 2 for name in before}
        least = floors.floor(op, self.n, flat=self.flat, unit=unit)
        tree = "flat" if self.flat else "full"
        return Row(self.impl, op, tree, self.n, round(taken, 4), round(least, 4), round(taken / least, 3))

    def alone(self) -> Iterator[Row]:
        env, suite = self.env, self.suite
        yield self.row("key_package", lambda: key_package(env, suite, b"somebody"))
        yield self.row("create_group", self._founder)
        group = self._founder()
        yield self._safe_export(group)

    def _safe_export(self, group: mls_group.Group) -> Row:
        """Its floor is a run of HMACs: one alone is shorter than what it takes to time it."""
        mac, secret, label = self.suite.mac, bytes(self.suite.hash_size), bytes(20)
        count = int(floors.COUNTS["safe_export"](self.n, 0, self.flat)["mac"])

        def bare() -> None:
            for _ in range(count):
                mac(secret, label)

        budget = 0.15 if self.quick else 1.0
        least = timed(bare, budget, self.clock)
        taken = timed(lambda: mls_group.safe_export(group, 0x8001), budget, self.clock)
        tree = "flat" if self.flat else "full"
        return Row(self.impl, "safe_export", tree, self.n, round(taken, 4), round(least, 4), round(taken / least, 3))

    def _founder(self) -> mls_group.Group:
        return mls_group.create(
            self.env,
            PARAMETERS,
            self.suite.cipher_suite,
            GROUP_ID,
            credential=BasicCredential(b"founder"),
            signature_private=client_key(self.env, self.suite),
            capabilities=capabilities(self.suite.cipher_suite),
            lifetime=LIFETIME,
        )

    def growing(self) -> Iterator[Row]:
        """Adding everybody to a group of one, and joining what came of it."""
        env = self.env
        packages = [key_package(env, self.suite, b"member %d" % i) for i in range(self.n - 1)]
        adds = [Add(package.key_package) for package in packages]
        founder = self._founder()
        yield self.row("add_n_commit", lambda: mls_group.commit(founder, env, proposals=adds))
        welcome = mls_group.commit(founder, env, proposals=adds).welcome
        assert welcome is not None
        own = [packages[-1]]
        yield self.row("join_welcome", lambda: mls_group.join(env, PARAMETERS, welcome, own))

    def joining_full(self) -> Row:
        env = self.env
        world = World(env, self.n - 1, full=True, cipher_suite=self.suite.cipher_suite)
        package = key_package(env, self.suite, b"newcomer")
        sent = mls_group.commit(world.member(0), env, proposals=[Add(package.key_package)], force_path=True)
        welcome = sent.welcome
        assert welcome is not None
        return self.row("join_welcome", lambda: mls_group.join(env, PARAMETERS, welcome, [package]))

    def running(self) -> Iterator[Row]:
        env = self.env
        world = World(env, self.n, full=not self.flat, cipher_suite=self.suite.cipher_suite)
        zero, one = world.member(0), world.member(1)
        message = mls_group.commit(zero, env).message
        large = self.n > 1000
        if not large:
            yield self.row("commit_create", lambda: mls_group.commit(zero, env))
        yield self.row("commit_process", lambda: mls_group.receive(one, env, message))
        info = mls_group.group_info(zero)
        signer = client_key(env, self.suite)

        def enter() -> mls_group.ExternallyJoined:
            return mls_group.join_externally(
                env,
                PARAMETERS,
                info,
                credential=BasicCredential(b"newcomer"),
                signature_private=signer,
                capabilities=capabilities(self.suite.cipher_suite),
            )

        entered = enter().message
        if not large:
            yield self.row("external_commit_create", enter)
        yield self.row("external_commit_process", lambda: mls_group.receive(zero, env, entered))
        data = env.provider.random(256)
        state = [mls_group.seal(zero, env, data)[0]]

        def protect() -> None:
            state[0], _ = mls_group.seal(state[0], env, data)

        yield self.row("protect_256", protect)
        sender = zero
        messages = []
        for _ in range(402):
            sender, sealed = mls_group.seal(sender, env, data)
            messages.append(sealed)
        arriving = iter(messages)
        reader = [mls_group.receive(one, env, next(arriving)).group]

        def unprotect() -> None:
            reader[0] = mls_group.receive(reader[0], env, next(arriving)).group

        yield self.row("unprotect_256", unprotect)


def measure(
    *, quick: bool, threads: int, impl: str, suite: int, sizes: list[int], clock: Callable[[], float]
) -> Iterator[Row]:
    env = environment(SystemProvider(threads=threads))
    for n in sizes:
        for flat in (True, False):
            bench = Bench(env, n, suite=suite, flat=flat, quick=quick, impl=impl, clock=clock)
            if n == sizes[0] and flat:
                yield from bench.alone()
            if flat and n <= 1000:
                yield from bench.growing()
            elif n > 2:
                yield bench.joining_full()
            yield from bench.running()


def peer_rows(*, quick: bool, rows: list[Row]) -> Iterator[Row]:
    """Rows of foreign programs, with the floor of the row of ours that they compare with."""
    floor_of = {(row.op, row.tree, row.n): row.floor_ms for row in rows if row.impl == "vcd"}
    for name, program in PEERS.items():
        if not program.exists():
            print(f"peer {name} is not built", file=sys.stderr)
            continue
        command = [str(program), "--bench", *(["--quick"] if quick else [])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
        for line in done.stdout.splitlines():
            if not line.startswith("{"):
                continue
            data = json.loads(line)
            least = floor_of.get((data["op"], data["tree"], data["n"]))
            if least is not None:
                ratio = round(data["ms"] / least, 3)
                yield Row(name, data["op"], data["tree"], data["n"], data["ms"], least, ratio)


def distributed_lines(
    name: str, sizes: list[int], args: argparse.Namespace, clock: Callable[[], float]
) -> Iterator[str]:
    """What `tests.bench.distributed` measures, printed as it prints it."""
    from tests.bench import distributed  # which needs this module

    env = environment(SystemProvider(threads=args.cores))
    suite = env.provider.suite(SUITES[name])
    for row in distributed.rows(env, suite, sizes, impl=name, quick=args.quick, clock=clock):
        yield distributed.line(row, as_json=args.json)


def fork_lines(name: str, sizes: list[int], args: argparse.Namespace, clock: Callable[[], float]) -> Iterator[str]:
    """What `tests.bench.fork` measures, printed as it prints it."""
    from tests.bench import fork  # which needs this module

    if not sizes:
        return
    env = environment(SystemProvider(threads=args.cores))
    suite = env.provider.suite(SUITES[name])
    for row in fork.rows(env, suite, sizes, impl=name, quick=args.quick, clock=clock):
        yield fork.line(row, as_json=args.json)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.mls", description=__doc__)
    parser.add_argument("--json", action="store_true", help="a JSON line per row")
    parser.add_argument("--quick", action="store_true", help="under a minute: up to 1000 members, fewer repeats")
    parser.add_argument("--check", action="store_true", help="exit 1 if a row misses its target by over 15 %%")
    parser.add_argument("--peers", action="store_true", help="also run the foreign implementations that are built")
    parser.add_argument("--cores", type=int, default=1, help="threads for checking signatures (default 1)")
    parser.add_argument("--sizes", type=int, nargs="*", help="members (default 2 10 100 1000, and 10000 if not quick)")
    parser.add_argument("--both", action="store_true", help="repeat on all cores, as impl vcd-2 and so on")
    parser.add_argument(
        "--suites", nargs="+", choices=list(SUITES), default=["vcd"], help="which to measure, by the name in the rows"
    )
    parser.add_argument("--cpu", action="store_true", help="count this thread's CPU time: for a machine that is busy")
    args = parser.parse_args()
    clock = thread_time if args.cpu else perf_counter
    sizes = args.sizes or ([2, 10, 100, 1000] if args.quick else [2, 10, 100, 1000, 10_000])
    rows: list[Row] = []
    missed = []

    def show(row: Row) -> None:
        rows.append(row)
        if args.json:
            print(json.dumps(asdict(row)), flush=True)
        else:
            wanted = target(row) if row.impl.startswith("vcd") else None
            mark = "" if wanted is None else f"  (target {wanted})"
            print(
                f"{row.impl:8} {row.op:24} {row.tree:5}{row.n:6} {row.ms:10.3f} ms"
                f"  floor {row.floor_ms:9.3f}  x{row.ratio:6.2f}{mark}",
                flush=True,
            )
        wanted = target(row)
        if row.impl in SUITES and wanted is not None and row.ratio > wanted * 1.15:
            missed.append(row)

    for name in args.suites:
        suite = SUITES[name]
        for row in measure(quick=args.quick, threads=args.cores, impl=name, suite=suite, sizes=sizes, clock=clock):
            show(row)
        for line in fork_lines(name, [n for n in sizes if 10 <= n <= 1000], args, clock):
            print(line, flush=True)
        for line in distributed_lines(name, [n for n in sizes if 10 <= n <= 100], args, clock):
            print(line, flush=True)
        if args.both:
            for row in measure(
                quick=args.quick, threads=2, impl=f"{name}-2", suite=suite, sizes=sizes, clock=perf_counter
            ):
                show(row)
    if args.peers:
        for row in peer_rows(quick=args.quick, rows=rows):
            show(row)
    if args.check and missed:
        for row in missed:
            print(f"missed: {row.op} {row.tree} {row.n}: x{row.ratio} > {target(row)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
