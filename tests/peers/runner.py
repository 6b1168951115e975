"""Drives the working group's scenarios over several MLS implementations and compares what they say.

The semantics are those of the working group's own runner: the same calls in the same order, the same outputs
carried from step to step, and epoch authenticators compared wherever members should agree. On top of that,
after each step that begins an epoch, every participant's StateAuth and an Export must agree too, and with
`follow_up` a scenario ends with a path commit and a message in the group it left behind, so that a tree or a
secret that went wrong without changing the epoch authenticator is noticed.

    python -m tests.peers.runner --client 127.0.0.1:P1 --client 127.0.0.1:P2 --config FILE [--suite 1] [--all]

prints a line for each failure and each call that a peer does not have, then `N passed, N failed, N skipped`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.peers import roles
from tests.peers.play import Call, DisagreementError, PeerError, Performance
from tests.peers.scenario import Scenario, Step, action_of, config_files, read_scenarios
from tests.peers.stubs import Client, RpcError

DEADLINE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A connected peer: what it calls itself and which suites it has."""

    name: str
    client: Client
    suites: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One run to be made: a scenario, a suite, how handshakes are framed, and who plays whom."""

    scenario: Scenario
    suite: int
    encrypt: bool
    peers: Mapping[str, Peer]

    def __str__(self) -> str:
        cast = " ".join(f"{role}={peer.name}" for role, peer in self.peers.items())
        framing = "private" if self.encrypt else "public"
        return f"{self.scenario.file}.{self.scenario.name} suite {self.suite} {framing} {cast}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Where a run ended early, and why. `step` is the scenario's length for what comes after it."""

    step: int
    action: str
    peer: str
    rpc: str
    why: str

    def __str__(self) -> str:
        at = f"step {self.step} {self.action}"
        return f"{at}: {self.peer} {self.rpc}: {self.why}" if self.peer else f"{at}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one run went. `lacks`: a peer answered UNIMPLEMENTED, so nothing failed and nothing was learned."""

    run: Assignment
    failed: Trouble | None = None
    lacks: Trouble | None = None
    transcript: tuple[Call, ...] = ()

    @property
    def passed(self) -> bool:
        return self.failed is None and self.lacks is None

    def __str__(self) -> str:
        if self.failed:
            return f"FAILED {self.run}: {self.failed}"
        if self.lacks:
            return f"LACKS {self.run}: {self.lacks}"
        return f"passed {self.run}"


def connect(name: str, address: str, *, deadline: float = DEADLINE) -> Peer:
    """Connect to a peer and ask which suites it has. An empty name is replaced by the peer's own."""
    client = Client(address, deadline=deadline)
    try:
        own = client.call("Name").name
        suites = tuple(sorted(client.call("SupportedCiphersuites").ciphersuites))
    except RpcError:
        client.close()
        raise
    return Peer(name=name or own, client=client, suites=suites)


def perform(run: Assignment, *, follow_up: bool = True, keep_transcript: bool = False) -> Result:
    """Make one run."""
    performance = Performance(
        clients={role: peer.client for role, peer in run.peers.items()},
        suites={role: peer.suites for role, peer in run.peers.items()},
        suite=run.suite,
        encrypt=run.encrypt,
    )
    steps: list[tuple[str, Step | None]] = [(action_of(step), step) for step in run.scenario.steps]
    failed = lacks = None
    for number, (action, step) in enumerate([*steps, ("follow-up", None)]):
        try:
            if step is not None:
                performance.play(number, step)
            elif follow_up:
                performance.follow_up()
        except PeerError as error:
            trouble = Trouble(
                step=number,
                action=action,
                peer=f"{error.role} ({run.peers[error.role].name})",
                rpc=error.cause.rpc,
                why=f"{error.cause.code}: {error.cause.why}",
            )
            if error.cause.unimplemented:
                lacks = trouble
            else:
                failed = trouble
            break
        except DisagreementError as error:
            failed = Trouble(step=number, action=action, peer="", rpc="", why=str(error))
            break
    try:
        performance.free()
    except PeerError as error:
        # A peer that lacks Free only forgets later; one that fails at it is wrong.
        if failed is None and not error.cause.unimplemented:
            peer = f"{error.role} ({run.peers[error.role].name})"
            why = f"{error.cause.code}: {error.cause.why}"
            failed = Trouble(step=len(steps), action="cleanup", peer=peer, rpc=error.cause.rpc, why=why)
    transcript = tuple(performance.transcript) if keep_transcript else ()
    return Result(run=run, failed=failed, lacks=lacks, transcript=transcript)


def _able(peers: Sequence[Peer], suite: int) -> list[Peer]:
    return [peer for peer in peers if suite in peer.suites]


def _cast(scenario: Scenario, suite: int, encrypt: bool, able: Sequence[Peer], who: Sequence[int]) -> Assignment:
    cast = {role: able[index] for role, index in zip(scenario.actors, who, strict=True)}
    return Assignment(scenario=scenario, suite=suite, encrypt=encrypt, peers=cast)


def matrix(
    scenarios: Sequence[Scenario],
    peers: Sequence[Peer],
    *,
    suites: Sequence[int],
    framings: Sequence[bool] = (False, True),
    limit: int = 0,
) -> Iterator[Assignment]:
    """Per scenario, suite and framing, every assignment of the peers that have the suite; at most `limit`."""
    for scenario in scenarios:
        for suite in suites:
            able = _able(peers, suite)
            for encrypt in framings:
                for who in roles.every(len(scenario.actors), len(able), limit):
                    yield _cast(scenario, suite, encrypt, able, who)


def mixed(
    scenarios: Sequence[Scenario],
    peers: Sequence[Peer],
    *,
    suites: Sequence[int],
    framings: Sequence[bool] = (),
    first: int = 0,
) -> Iterator[Assignment]:
    """One assignment per scenario and suite, roles turning from scenario to scenario.

    Framings alternate unless they are given. `first` is the place of the first scenario in a longer list.
    """
    for turn, scenario in enumerate(scenarios, first):
        for suite in suites:
            able = _able(peers, suite)
            if not able:
                continue
            who = roles.mixed(len(scenario.actors), len(able), turn)
            for encrypt in framings or (roles.handshakes_encrypted(len(able), turn),):
                yield _cast(scenario, suite, encrypt, able, who)


def closing_line(results: Sequence[Result]) -> str:
    """The count of runs, in the words that test runners use."""
    failed = sum(result.failed is not None for result in results)
    skipped = sum(result.lacks is not None for result in results)
    return f"{len(results) - failed - skipped} passed, {failed} failed, {skipped} skipped"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.runner", description="Run MLS interop scenarios.")
    parser.add_argument("--client", action="append", required=True, metavar="[NAME=]HOST:PORT", help="repeatable")
    parser.add_argument("--config", action="append", type=Path, metavar="FILE", help="repeatable; default: all")
    parser.add_argument("--scenario", action="append", metavar="NAME", help="only these; repeatable")
    parser.add_argument("--suite", action="append", type=int, metavar="N", help="repeatable; default: 1")
    framing = parser.add_mutually_exclusive_group()
    framing.add_argument("--public", action="store_const", dest="framings", const=(False,), help="PublicMessage only")
    framing.add_argument("--private", action="store_const", dest="framings", const=(True,), help="PrivateMessage only")
    framing.add_argument("--both", action="store_const", dest="framings", const=(False, True), help="the default")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--all", action="store_true", help="every assignment of clients to roles")
    how.add_argument("--one", action="store_true", help="one assignment per scenario, roles turning (default)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="with --all: at most N assignments each")
    parser.add_argument("--deadline", type=float, default=DEADLINE, metavar="SECONDS", help="of each call")
    parser.add_argument("--no-follow-up", action="store_true", help="end a scenario with its last step")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first failure")
    parser.add_argument("--verbose", action="store_true", help="a line for each run that passed, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _arguments(arguments)
    files = given.config or config_files()
    scenarios = [scenario for file in files for scenario in read_scenarios(file)]
    if given.scenario:
        scenarios = [scenario for scenario in scenarios if scenario.name in given.scenario]
    if not scenarios:
        print("no scenario to run", file=sys.stderr)
        return 2
    peers: list[Peer] = []
    results: list[Result] = []
    try:
        for client in given.client:
            name, _, address = client.rpartition("=")
            peers.append(connect(name, address, deadline=given.deadline))
        suites, framings = given.suite or (1,), given.framings or (False, True)
        if given.all:
            runs = matrix(scenarios, peers, suites=suites, framings=framings, limit=given.limit)
        else:
            runs = mixed(scenarios, peers, suites=suites, framings=framings)
        for run in runs:
            result = perform(run, follow_up=not given.no_follow_up)
            results.append(result)
            if not result.passed or given.verbose:
                print(result, flush=True)
            if result.failed and given.fail_fast:
                break
    finally:
        for peer in peers:
            peer.client.close()
    print(closing_line(results))
    return 1 if not results or any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
