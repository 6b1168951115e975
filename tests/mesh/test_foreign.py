"""js-libp2p and go-libp2p in our mesh: frames both ways, through each other, and questions both ways."""

from __future__ import annotations

import pytest
import trio

from tests.mesh.conftest import Opening
from tests.mesh.fleet import COMMANDS, Fleet, Worker, WorkerError
from tests.mesh.load import Author
from tests.peers.launch import UnavailableError
from tests.requirements import require_or_skip

pytestmark = [pytest.mark.peers, pytest.mark.slow]

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
    await trio.sleep(1.5)  # a heartbeat, for the foreign ones to have their mesh
    return workers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dials", ["we dial", "it dials"])
async def test_frames_and_questions_both_ways(fleet_here: Opening, kind: str, dials: str) -> None:
    built(kind)
    async with fleet_here() as fleet:
        order = ["ours", kind, "ours"] if dials == "we dial" else [kind, "ours", "ours"]
        workers = await together(fleet, *order)
        foreign = next(worker for worker in workers if worker.kind == kind)
        ours = [worker for worker in workers if worker.kind == "ours"]
        neighbor = next(worker for worker in ours if abs(worker.index - foreign.index) == 1)

        await foreign.call("publish", count=200, size=256, rate=100)
        await all_got(ours, foreign.author, range(200))
        await neighbor.call("publish", count=200, size=256, rate=100)
        await all_got([foreign], neighbor.author, range(200))
        await foreign.call("publish", first=200, count=20, size=60_000, rate=20)
        await all_got(ours, foreign.author, range(220))
        await neighbor.call("publish", first=200, count=20, size=60_000, rate=20)
        await all_got([foreign], neighbor.author, range(220))

        # What is too large for gossip is announced by its head, which they can see.
        await neighbor.call("publish", first=300, count=1, size=200_000)
        with trio.fail_after(5):
            while not (await foreign.call("counters"))["counters"]["heads"]:
                await trio.sleep(0.05)

        for size in (0, 10, 100_000, (1 << 20) - 200):
            asked = await foreign.call("ask", peer=neighbor.peer, protocol=ECHO, size=size)
            assert asked == {"status": 0, "same": True}
            asked = await neighbor.call("ask", peer=foreign.peer, protocol=ECHO, size=size)
            assert asked == {"status": 0, "same": True}
        asked = await foreign.call("ask", peer=neighbor.peer, protocol="/vcd/unheard-of/1", size=10)
        assert asked["status"] == 2
        with pytest.raises(WorkerError, match="does not answer this"):
            await neighbor.call("ask", peer=foreign.peer, protocol="/vcd/unheard-of/1", size=10)
        assert (await foreign.call("ping", peer=neighbor.peer))["milliseconds"] < 1000

        counted = (await foreign.call("counters"))["counters"]
        assert set(counted) <= {"batches", "heads", "not a batch", "asked"}, "frames that it refused"
        assert counted["not a batch"] == 0
        charged = (await neighbor.call("counters"))["counters"]
        assert not [name for name in charged if name.startswith("offence.")], charged


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
async def test_it_goes_on_when_they_die_and_come_back(fleet_here: Opening, kind: str) -> None:
    built(kind)
    async with fleet_here() as fleet:
        foreign, ours = await together(fleet, kind, "ours")
        await ours.call("keep", peer=foreign.peer, addresses=foreign.addresses)
        for first in (0, 50):
            await ours.call("publish", first=first, count=50, size=256, rate=100)
            await all_got([foreign], ours.author, range(first, first + 50))
            foreign.kill()
            await foreign.ended.wait()
            await foreign.start()
            await foreign.call("join")
            await fleet.sees(ours, 1)
            await fleet.sees(foreign, 1)
            await trio.sleep(1.5)
        await foreign.call("publish", count=50, size=256, rate=100)
        await all_got([ours], foreign.author, range(50))
