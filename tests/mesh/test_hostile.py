"""Whatever strangers send, a node stays up, its memory stays bounded, and honest frames go on arriving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from tests.conftest import LONG
from tests.mesh.conftest import Opening
from tests.mesh.fleet import Fleet, Worker

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleets")]  # one fleet at a time on a small machine

SCALE = 10 if LONG else 1
ROOM = 24 << 20  # bytes that a node may grow by under a flood, whatever its length
AT_ONCE = 8
RATE = 20


@dataclass(slots=True)
class Siege:
    """A victim, an honest neighbor that keeps publishing to it, and an attacker."""

    fleet: Fleet
    victim: Worker
    honest: Worker
    attacker: Worker
    published: int = 0
    late: list[int] = field(default_factory=list)

    async def attack(self, do: str, **arguments: object) -> dict[str, object]:
        return await self.attacker.call(
            do, peer=self.victim.peer, addresses=self.victim.addresses, within=600, **arguments
        )

    async def go_on(self) -> None:
        """A frame now and then, for as long as the siege lasts."""
        while True:
            await self.honest.call("publish", first=self.published, count=RATE, size=256, rate=RATE, within=60)
            self.published += RATE

    async def counters(self) -> dict[str, int]:
        answer: dict[str, int] = (await self.victim.call("counters"))["counters"]
        return answer


@asynccontextmanager
async def besieged(fleet: Fleet) -> AsyncIterator[Siege]:
    """At the end all that was published has to be there, by gossip and without long waits."""
    victim, honest, attacker = await fleet.start("ours", "ours", "hostile")
    await fleet.connect([(honest, victim)])
    for worker in (victim, honest):
        await worker.call("join")
    await fleet.sees(honest, 1)
    siege = Siege(fleet=fleet, victim=victim, honest=honest, attacker=attacker)
    first_life = victim.process.pid
    async with trio.open_nursery() as nursery:
        nursery.start_soon(siege.go_on)
        yield siege
        await trio.sleep(1.2)  # at least one more round
        nursery.cancel_scope.cancel()
    await trio.sleep(1.5)  # the round that was under way
    assert victim.alive
    assert victim.process.pid == first_life
    missing = list(range(siege.published))
    with trio.move_on_after(15):
        while missing:
            got = (await victim.held()).get(honest.author, set())
            missing = sorted(set(range(siege.published)) - got)
            await trio.sleep(0.1)
    report = await victim.call("report")
    assert not missing, f"{len(missing)} honest frames of {siege.published} did not arrive: {missing[:5]}"
    assert report["doubles"] == 0
    assert report["p50"] < 1.0, f"half of the honest frames took longer than {report['p50']:.2f} s"
    assert (await siege.counters()).get("host.crashes", 0) == 0


async def test_malformed_input_of_every_kind(fleet_here: Opening) -> None:
    from tests.mesh.hostile import MALFORMED  # the library behind it takes a second to load

    names = list(MALFORMED)
    async with fleet_here() as fleet, besieged(fleet) as siege:
        for start in range(0, len(names), AT_ONCE):
            group = names[start : start + AT_ONCE]
            fleet.note(f"malformed: {', '.join(group)}")
            async with trio.open_nursery() as nursery:
                for name in group:
                    nursery.start_soon(lambda name: siege.attack("malformed", name=name), name)
            assert siege.victim.alive, f"one of these ended the process: {group}\n{siege.victim.last_words()}"
        counted = await siege.counters()
        for offence in ("malformed", "oversize", "flood"):
            assert counted.get(f"offence.{offence}"), f"nobody was charged for {offence}: {counted}"
        assert (await siege.honest.call("neighbors"))["count"] == 1


async def test_a_flood_of_invalid_frames(fleet_here: Opening) -> None:
    async with fleet_here() as fleet, besieged(fleet) as siege:
        await siege.attack("invalid", count=1000)  # what is loaded at first use
        before = siege.victim.usage()
        flood = await siege.attack("invalid", count=10_000 * SCALE)
        after = siege.victim.usage()
        fleet.note(f"{flood}, {before} before, {after} after")
        counted = await siege.counters()
        charged = sum(count for name, count in counted.items() if name.startswith("offence."))
        assert charged >= 50 * SCALE, f"charged {charged} times: {counted}"
        stored = await siege.victim.call("stored")
        assert set(stored["held"]) <= {str(siege.honest.author)}, "an invalid frame was stored"
        assert after.rss - before.rss < ROOM, f"grew from {before.rss >> 20} to {after.rss >> 20} MiB"


async def test_half_open_streams(fleet_here: Opening) -> None:
    async with fleet_here() as fleet, besieged(fleet) as siege:
        before = siege.victim.usage()
        held = await siege.attack("half_open", count=100 * SCALE)
        await trio.sleep(2)
        during = siege.victim.usage()
        fleet.note(f"{held}, {before} before, {during} during")
        assert during.rss - before.rss < ROOM, f"grew from {before.rss >> 20} to {during.rss >> 20} MiB"
        await siege.attack("let_go")


async def test_connections_one_after_the_other(fleet_here: Opening) -> None:
    """The library by itself is deaf after 250."""
    async with fleet_here() as fleet, besieged(fleet) as siege:
        await siege.attack("connections", count=20)
        before = siege.victim.usage()
        done = await siege.attack("connections", count=100 * SCALE)
        fleet.note(f"{done}")
        assert done["connected"] == 100 * SCALE
        with trio.move_on_after(15):
            while siege.victim.usage().files > before.files + 2:  # noqa: ASYNC110 - another process's
                await trio.sleep(0.2)
        after = siege.victim.usage()
        assert after.files <= before.files + 2, "connections that are gone are still open here"
        assert after.rss - before.rss < ROOM, f"grew from {before.rss >> 20} to {after.rss >> 20} MiB"
