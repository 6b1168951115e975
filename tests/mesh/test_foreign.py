"""js-libp2p and go-libp2p in our mesh: frames both ways, through each other, and questions both ways."""

from __future__ import annotations

import pytest
import trio

from tests.mesh.conftest import Opening
from tests.mesh.fleet import COMMANDS, Fleet, Worker, WorkerError
from tests.mesh.load import Author
from tests.peers.launch import UnavailableError
from tests.requirements import require_or_skip

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.xdist_group("fleets")]

KINDS = ["js", "go"]
ECHO = "/vcd/echo/1"


def built(*kinds: str) -> None:
    for kind in kinds:
        try:
            COMMANDS[kind]()
        except UnavailableError as error:
            require_or_skip(kind, str(error))


async def all_got(workers: list[Worker], author: Author, wanted: range, within: float = 15.0) -> None:
    """Gossip alone has to do it: the foreign nodes do not reconcile."""
    for worker in workers:
        got: set[int] = set()
        with trio.move_on_after(within):
            while not got.issuperset(wanted):
                got = (await worker.held()).get(author, set())
                await trio.sleep(0.05)
        missing = sorted(set(wanted) - got)
        assert not missing, f"{worker.name} lacks {len(missing)} of author {author}: {missing[:5]}"
        assert (await worker.call("report"))["doubles"] == 0


async def together(fleet: Fleet, *kinds: str) -> list[Worker]:
    """A chain of these, each connected to the next, all in the topic."""
    workers = await fleet.start(*kinds)
    pairs = list(zip(workers, workers[1:], strict=False))
    await fleet.connect(pairs)
    for worker in workers:
        await worker.call("join")
    for worker in workers:
        await fleet.sees(worker, sum(worker in pair for pair in pairs))
    await trio.sleep(1.2)  # a heartbeat, for the foreign ones to have their mesh
    return workers


@pytest.mark.parametrize("kind", KINDS)
async def test_frames_and_questions_both_ways(fleet_here: Opening, kind: str) -> None:
    """It stands between two of ours: one dialed it, the other it dialed itself."""
    built(kind)
    async with fleet_here() as fleet:
        one, foreign, other = await together(fleet, "ours", kind, "ours")

        await foreign.call("publish", count=100, size=256, rate=200)
        await all_got([one, other], foreign.author, range(100))
        await one.call("publish", count=100, size=256, rate=200)
        await all_got([foreign, other], one.author, range(100))
        await foreign.call("publish", first=100, count=5, size=60_000, rate=20)
        await all_got([one, other], foreign.author, range(105))
        await other.call("publish", first=100, count=5, size=60_000, rate=20)
        await all_got([foreign, one], other.author, range(100, 105))

        # What is too large for gossip is announced by its head, which they can see.
        await one.call("publish", first=300, count=1, size=200_000)
        with trio.fail_after(30):
            while not (await foreign.call("counters"))["counters"].get("heads"):  # noqa: ASYNC110 - its count, not ours
                await trio.sleep(0.05)

        for ours in (one, other):
            for size in (0, 10, 100_000, (1 << 20) - 200):
                asked = await foreign.call("ask", peer=ours.peer, protocol=ECHO, size=size)
                assert asked == {"status": 0, "same": True}
                asked = await ours.call("ask", peer=foreign.peer, protocol=ECHO, size=size)
                assert asked == {"status": 0, "same": True}
            asked = await foreign.call("ask", peer=ours.peer, protocol="/vcd/unheard-of/1", size=10)
            assert asked["status"] == 2
            with pytest.raises(WorkerError, match="does not answer this"):
                await ours.call("ask", peer=foreign.peer, protocol="/vcd/unheard-of/1", size=10)
            pings = [(await foreign.call("ping", peer=ours.peer))["milliseconds"] for _ in range(3)]
            assert min(pings) < 1000  # the machine may have stalled in one
            charged = (await ours.call("counters"))["counters"]
            assert not [name for name in charged if name.startswith("offence.")], charged

        counted = (await foreign.call("counters"))["counters"]
        assert set(counted) <= {"batches", "heads", "not a batch", "asked"}, "frames that it refused"
        assert not counted.get("not a batch")


async def test_through_us_from_one_to_the_other(fleet_here: Opening) -> None:
    """What we pass on is what the other implementation accepts, signature and all."""
    built("js", "go")
    async with fleet_here() as fleet:
        js, _, go = await together(fleet, "js", "ours", "go")
        await js.call("publish", count=100, size=256, rate=100)
        await all_got([go], js.author, range(100))
        await go.call("publish", count=100, size=256, rate=100)
        await all_got([js], go.author, range(100))


@pytest.mark.parametrize("kind", KINDS)
async def test_it_dies_and_comes_back(fleet_here: Opening, kind: str) -> None:
    built(kind)
    async with fleet_here() as fleet:
        foreign, ours = await together(fleet, kind, "ours")
        await ours.call("keep", peer=foreign.peer, addresses=foreign.addresses)
        foreign.kill()
        await foreign.ended.wait()
        await foreign.start()
        await foreign.call("join")
        await fleet.sees(ours, 1)
        await fleet.sees(foreign, 1)
        await trio.sleep(1.2)
        await ours.call("publish", count=50, size=256, rate=100)
        await all_got([foreign], ours.author, range(50))
        await foreign.call("publish", count=50, size=256, rate=100)
        await all_got([ours], foreign.author, range(50))
