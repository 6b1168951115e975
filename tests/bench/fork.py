"""`python -m tests.bench.fork`: what fork-resilient groups cost, beside plain MLS and beside what they must cost.

* `pprf_evaluate`: an init secret out of a whole tree. The floor is the HMACs alone, two for each of the tree's levels.
* `plain_commit_*` and `dmls_commit_*`: the same commit in the same group, without and with the marker. The floor of the
  second is that of the first and an evaluation.
* `fork_storage`: bytes of a snapshot that an epoch which was left takes for each commit that was followed on it, and as
  the floor KDF.Nh for each of the tree's levels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter, thread_time

from mls import group as mls_group, snapshot
from mls.fork.founding import advertised, fork_resilient, with_forks
from mls.fork.schedule import child_init, levels
from mls.provider import Environment
from mls.puncture import Puncturable
from mls.suite import Suite
from tests.bench import floors
from tests.bench.mls import SUITES, Row, timed
from tests.bench.worlds import PARAMETERS, World, capabilities, environment
from vcd.crypto import SystemProvider

FORKING = with_forks(PARAMETERS)
CHILDREN = 3


@dataclass(frozen=True, slots=True)
class Size:
    """A measurement in bytes."""

    impl: str
    op: str
    tree: str
    n: int
    bytes: int
    floor_bytes: int
    ratio: float


def evaluation(suite: Suite) -> int:
    """HMACs of one: two children a level, and the path secret's way to a leaf and the leaf's to an init secret."""
    return 2 * levels(suite) + 3


def bare(suite: Suite, budget: float, clock: Callable[[], float]) -> float:
    """Milliseconds of the HMACs of an evaluation, with nothing around them. One of them alone is too short to time."""
    mac, secret, label, count = suite.mac, bytes(suite.hash_size), bytes(20), evaluation(suite)

    def run() -> None:
        for _ in range(count):
            mac(secret, label)

    return timed(run, budget, clock)


def worlds(env: Environment, suite: Suite, n: int) -> tuple[World, World]:
    """The same group, plain and fork-resilient."""
    able, leaf = advertised(FORKING, capabilities(suite.cipher_suite))
    plain = World(env, n, full=True, cipher_suite=suite.cipher_suite)
    forking = World(
        env,
        n,
        full=True,
        cipher_suite=suite.cipher_suite,
        parameters=FORKING,
        extensions=fork_resilient(FORKING),
        leaf_extensions=leaf,
        capabilities=able,
    )
    return plain, forking


def rows(
    env: Environment, suite: Suite, sizes: list[int], *, impl: str, quick: bool, clock: Callable[[], float]
) -> Iterator[Row | Size]:
    budget, rounds = (0.15, 60) if quick else (1.0, 200)

    def row(op: str, n: int, action: Callable[[], object], counted: str | None, *, evaluates: bool) -> Row:
        befores = floors.units(env, suite, rounds, clock), bare(suite, budget / 3, clock)
        taken = timed(action, budget, clock)
        afters = floors.units(env, suite, rounds, clock), bare(suite, budget / 3, clock)
        unit = {name: (befores[0][name] + afters[0][name]) / 2 for name in befores[0]}
        floor = 0.0 if counted is None else floors.floor(counted, n, flat=False, unit=unit)
        floor += (befores[1] + afters[1]) / 2 if evaluates else 0.0
        return Row(impl, op, "full", n, round(taken, 4), round(floor, 4), round(taken / floor, 3))

    whole = Puncturable.of(env.provider.random(suite.hash_size), levels(suite))
    point = env.provider.random(suite.hash_size)
    yield row("pprf_evaluate", 1, lambda: child_init(suite, whole, point), None, evaluates=True)
    for n in sizes:
        plain, forking = worlds(env, suite, n)
        for world in (plain, forking):
            zero, one = world.member(0), world.member(1)
            message = mls_group.commit(zero, env).message
            kind = "dmls" if world is forking else "plain"
            made = row(
                f"{kind}_commit_create",
                n,
                lambda zero=zero: mls_group.commit(zero, env),  # type: ignore[misc]  # used at once
                "commit_create",
                evaluates=world is forking,
            )
            followed = row(
                f"{kind}_commit_process",
                n,
                lambda one=one, message=message: mls_group.receive(one, env, message),  # type: ignore[misc]  # used at once
                "commit_process",
                evaluates=world is forking,
            )
            yield from (made, followed)
        yield storage(env, suite, forking, impl)


def storage(env: Environment, suite: Suite, world: World, impl: str) -> Size:
    """The mean over a few commits that were followed on one epoch, public ones so that no message key comes into it."""
    one = world.member(1)
    value = one
    for _ in range(CHILDREN):
        event = mls_group.receive(value, env, mls_group.commit(world.member(0), env, encrypt=False).message)
        assert isinstance(event, mls_group.CommitMessage)
        value = event.before
    taken = (len(snapshot.encode(value).raw) - len(snapshot.encode(one).raw)) // CHILDREN
    least = suite.hash_size * levels(suite)
    return Size(impl, "fork_storage", "full", world.size, taken, least, round(taken / least, 3))


def line(measured: Row | Size, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(asdict(measured))
    if isinstance(measured, Size):
        took, least = f"{measured.bytes:10} B ", f"{measured.floor_bytes:9}"
    else:
        took, least = f"{measured.ms:10.3f} ms", f"{measured.floor_ms:9.3f}"
    head = f"{measured.impl:8} {measured.op:24} {measured.tree:5}{measured.n:6}"
    return f"{head} {took}  floor {least}  x{measured.ratio:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fork", description=__doc__)
    parser.add_argument("--json", action="store_true", help="a JSON line per row")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--sizes", type=int, nargs="*", help="members (default 10 100 1000)")
    parser.add_argument("--suites", type=int, nargs="*", help="cipher suites (default 1, 7 and 5: one for each hash)")
    parser.add_argument("--cpu", action="store_true", help="count this thread's CPU time: for a machine that is busy")
    args = parser.parse_args()
    env = environment(SystemProvider(threads=1))
    names = {int(suite): name for name, suite in SUITES.items()}
    for number in args.suites or (1, 7, 5):
        suite = env.provider.suite(number)
        clock = thread_time if args.cpu else perf_counter
        impl = names.get(number, f"vcd-{number}")
        for measured in rows(env, suite, args.sizes or [10, 100, 1000], impl=impl, quick=args.quick, clock=clock):
            print(line(measured, as_json=args.json), flush=True)


if __name__ == "__main__":
    main()
