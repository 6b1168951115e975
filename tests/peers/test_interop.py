"""Our MLS against other people's: the working group's scenarios, all peers in one group.

Every run of CI plays each scenario once, in suite 1, with a cast that mixes all peers that this machine has;
roles turn from scenario to scenario and handshakes are public and private by turns. The long run plays every
cast (in suite 1 up to a limit per scenario, which only the largest exceeds) and every other suite.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.peers import launch, runner
from tests.peers.scenario import config_files, read_scenarios
from tests.requirements import require_or_skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.peers.runner import Assignment, Peer, Result

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("peers"),  # one set of peers, whatever the number of workers
    # Whichever test comes first waits for the installer and the compiler; every call has a deadline of its own.
    pytest.mark.timeout(launch.NPM_LIMIT + launch.CARGO_LIMIT + 300),
]

FOREIGN = ("js", "rust")
SCENARIOS = [scenario for file in config_files() for scenario in read_scenarios(file)]

# The long run's casts per scenario, framing and suite. With three peers only `commit.add` has more than the
# first (6,561); the other suites differ from suite 1 in primitives alone.
CASTS_IN_SUITE_1 = 1000
CASTS_IN_OTHERS = 9


@pytest.fixture(scope="session")
def company() -> Iterator[Callable[[str], Peer]]:
    """Peers by name, each started when it is first asked for and ended with the session."""
    with ExitStack() as stack:
        started: dict[str, Peer] = {}
        missing: dict[str, launch.UnavailableError] = {}

        def peer(name: str) -> Peer:
            if name in missing:
                raise missing[name]
            if name not in started:
                try:
                    started[name] = stack.enter_context(launch.connected(name))
                except launch.UnavailableError as error:
                    missing[name] = error
                    raise
            return started[name]

        yield peer


@pytest.fixture
def present(company: Callable[[str], Peer]) -> list[Peer]:
    """Ours, and the foreign peers that this machine has; which it lacks is told by test_peer_comes_up."""
    if not SCENARIOS:
        require_or_skip("vectors", "no interop-configs folder (make vectors)")
    peers = [company("ours")]
    for name in FOREIGN:
        try:
            peers.append(company(name))
        except launch.UnavailableError:
            continue
    return peers


def check(results: list[Result]) -> None:
    """All passed, and there were some. No peer here lacks a call, so LACKS is a failure too."""
    wrong = [str(result) for result in results if not result.passed]
    assert not wrong, "\n".join([*wrong, runner.closing_line(results)])
    assert results


def perform(runs: Iterator[Assignment]) -> list[Result]:
    return [runner.perform(run) for run in runs]


@pytest.mark.parametrize("name", FOREIGN)
def test_peer_comes_up(company: Callable[[str], Peer], name: str) -> None:
    try:
        peer = company(name)
    except launch.UnavailableError as error:
        require_or_skip(name, str(error))
    assert 1 in peer.suites


def test_there_are_scenarios() -> None:
    if not SCENARIOS:
        require_or_skip("vectors", "no interop-configs folder (make vectors)")
    assert len(SCENARIOS) >= 39


@pytest.mark.parametrize(
    "turn", range(len(SCENARIOS)), ids=[f"{scenario.file}.{scenario.name}" for scenario in SCENARIOS]
)
def test_scenario(present: list[Peer], turn: int) -> None:
    check(perform(runner.mixed([SCENARIOS[turn]], present, suites=(1,), first=turn)))


@pytest.mark.long
@pytest.mark.parametrize("suite", range(1, 8))
@pytest.mark.parametrize("file", dict.fromkeys(scenario.file for scenario in SCENARIOS))
def test_matrix(present: list[Peer], file: str, suite: int) -> None:
    scenarios = [scenario for scenario in SCENARIOS if scenario.file == file]
    limit = CASTS_IN_SUITE_1 if suite == 1 else CASTS_IN_OTHERS
    check(perform(runner.matrix(scenarios, present, suites=(suite,), limit=limit)))
