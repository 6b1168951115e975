"""`python -m tests.bench.distributed`: what a DGroup costs its members, in time and on the wire.

* `dimls_update_create` and `dimls_update_follow`: a member's fresh key, made by it and followed by one other.
* `dimls_take_create` and `dimls_take_follow`: a commit that takes up the updates of all others, made by one member and
  followed by another.
* `dimls_round`: what the whole group computes until an update of one member has healed it everywhere: the update made
  once and followed by n - 1, then n commits that take up what all have done, each followed by n - 1. Added up from the
  four above, as is its floor.

The floors count primitives (`tests.bench.floors`); a leaf that is put in another's place was verified in its own send
group before, so no verification is counted for it. `bytes` is the size of the message, for a round of all of them,
each counted once: how often it is carried is the network's affair.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter, thread_time

from mls.credential import BasicCredential
from mls.distributed import session as front
from mls.distributed.mode import send_group_capabilities, with_send_groups
from mls.distributed.values import Session
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import Capabilities
from mls.provider import Environment
from mls.secrets import SignaturePrivateKey
from mls.suite import Suite
from tests.bench import floors
from tests.bench.mls import SUITES, timed
from tests.bench.worlds import LIFETIME, PARAMETERS, capabilities, client_key, environment
from vcd.crypto import SystemProvider

TAKING_PART = with_send_groups(PARAMETERS)
DGROUP = b"a DGroup for measuring"

EXPORT: floors.Counts = {"expand": 2, "hash": 1}
"""The pre-shared key of the epoch that begins."""


def counts(op: str, n: int) -> floors.Counts:
    """The primitives of one operation: those of a plain commit in a flat tree, the export, and n - 1 imports."""
    depth = max(n - 1, 1).bit_length()
    plain = floors.COUNTS["commit_create" if op.endswith("create") else "commit_process"](n, depth, True)
    total = {unit: plain.get(unit, 0) + EXPORT.get(unit, 0) for unit in plain}
    if "take" in op:  # for each: a key bound to its place in three steps, a leaf's hash and a parent's above it
        total["expand"] += 3 * (n - 1)
        total["hash"] += 2 * (n - 1)
    return total


@dataclass(frozen=True, slots=True)
class Measured:
    """One row."""

    impl: str
    op: str
    n: int
    ms: float
    floor_ms: float
    ratio: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Founder:
    """A member before its send group is there."""

    name: bytes
    signer: SignaturePrivateKey
    package: KeyPackageSecrets


def _capabilities(suite: Suite) -> Capabilities:
    return send_group_capabilities(capabilities(suite.cipher_suite).cipher_suites)


def founder(env: Environment, suite: Suite, number: int) -> Founder:
    name, signer = b"member %d" % number, client_key(env, suite)
    package = front.offer(
        env,
        TAKING_PART,
        suite.cipher_suite,
        DGROUP,
        credential=BasicCredential(name),
        signature_private=signer,
        capabilities=_capabilities(suite),
        lifetime=LIFETIME,
    )
    return Founder(name, signer, package)


def dgroup(env: Environment, suite: Suite, n: int) -> tuple[Session, Session]:
    """Two members who have joined everybody, when everybody has updated once since."""
    people = [founder(env, suite, number) for number in range(n)]
    started = [_create(env, suite, each, people) for each in people]
    sessions = [sent.session for sent in started]
    for at in (0, 1):
        for other, sent in enumerate(started):
            if other != at:
                assert sent.welcome is not None
                sessions[at] = front.join(sessions[at], env, sent.welcome, [people[at].package]).session
    for other in range(n):
        sent = front.update(sessions[other], env)
        sessions[other] = sent.session
        for at in (0, 1):
            if at != other:
                sessions[at] = front.receive(sessions[at], env, sent.message).session
    return sessions[0], sessions[1]


def _create(env: Environment, suite: Suite, each: Founder, people: list[Founder]) -> front.Sent:
    return front.create(
        env,
        TAKING_PART,
        suite.cipher_suite,
        DGROUP,
        credential=BasicCredential(each.name),
        signature_private=each.signer,
        capabilities=_capabilities(suite),
        lifetime=LIFETIME,
        packages=[other.package.key_package for other in people if other is not each],
    )


def rows(
    env: Environment, suite: Suite, sizes: list[int], *, impl: str, quick: bool, clock: Callable[[], float]
) -> Iterator[Measured]:
    budget, rounds = (0.15, 60) if quick else (1.0, 200)

    def row(op: str, n: int, action: Callable[[], object], size: int) -> Measured:
        before = floors.units(env, suite, rounds, clock)
        taken = timed(action, budget, clock)
        after = floors.units(env, suite, rounds, clock)
        least = sum((before[name] + after[name]) / 2 * count for name, count in counts(op, n).items())
        return Measured(impl, op, n, round(taken, 4), round(least, 4), round(taken / least, 3), size)

    for n in sizes:
        zero, one = dgroup(env, suite, n)
        update, take = front.update(zero, env), front.commit(zero, env)
        assert len(take.taken) == n - 1
        done = []
        for name, sent in (("update", update), ("take", take)):
            whole = name == "take"
            done.append(
                row(
                    f"dimls_{name}_create",
                    n,
                    lambda whole=whole, zero=zero: front.commit(zero, env, take=whole),  # type: ignore[misc]
                    len(sent.message),
                )
            )
            done.append(
                row(
                    f"dimls_{name}_follow",
                    n,
                    lambda sent=sent, one=one: front.receive(one, env, sent.message),  # type: ignore[misc]
                    len(sent.message),
                )
            )
        yield from done
        yield together(impl, n, done)


def together(impl: str, n: int, done: list[Measured]) -> Measured:
    """The round of a whole group."""
    times = (1, n - 1, n, n * (n - 1))
    ms = sum(each.ms * count for each, count in zip(done, times, strict=True))
    least = sum(each.floor_ms * count for each, count in zip(done, times, strict=True))
    size = done[0].bytes + n * done[2].bytes
    return Measured(impl, "dimls_round", n, round(ms, 4), round(least, 4), round(ms / least, 3), size)


def line(measured: Measured, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(asdict(measured))
    head = f"{measured.impl:8} {measured.op:24} {'flat':5}{measured.n:6}"
    return f"{head} {measured.ms:10.3f} ms  floor {measured.floor_ms:9.3f}  x{measured.ratio:6.2f}  {measured.bytes} B"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.distributed", description=__doc__)
    parser.add_argument("--json", action="store_true", help="a JSON line per row")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--sizes", type=int, nargs="*", help="members (default 10 100)")
    parser.add_argument("--cpu", action="store_true", help="count this thread's CPU time: for a machine that is busy")
    args = parser.parse_args()
    env = environment(SystemProvider(threads=1))
    clock = thread_time if args.cpu else perf_counter
    for measured in rows(
        env, env.provider.suite(SUITES["vcd"]), args.sizes or [10, 100], impl="vcd", quick=args.quick, clock=clock
    ):
        print(line(measured, as_json=args.json), flush=True)


if __name__ == "__main__":
    main()
