"""`python -m tests.bench.scale`: what one topic costs each of its nodes, with 10 to 1,000 of them (docs/scale.md).

    gossip   the router itself, a thousand of them under one clock, with what they would write on their streams:
             messages and bytes that a node sends for each message published, how soon all have it, how much comes by
             gossip alone where lines lose
    idle     the same nodes for ten minutes in which nobody says anything
    sync     the mesh in memory (`transport.memory`): lines lose a fifth of all gossip, and reconciliation brings the
             rest; then the network is cut in two, both halves talk, and it is put together again

No sockets and no signatures of frames: time is virtual, and what is counted does not depend on the machine. Nodes are
linked at random, `LINKS` each on average, and a line takes up to 50 ms.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.rows import figures
from tests.transport.gossip.worlds import World
from transport.base import Frame, PeerId, TopicId
from transport.frames import seal, topic_id
from transport.memory.simulation import Simulation
from transport.memory.values import Conditions, Delivered
from transport.signing import SigningKey

LINKS = 16
"""Of a node, on average: what a host keeps where many are known."""
SIZE = 400
"""Bytes of a message: what a word in a chat takes, sealed."""
SAID = 20
KEY = SigningKey(b"s" * 32)
MINUTE = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: of a node and a published message where it does not say otherwise."""

    op: str
    nodes: int
    loss: float = 0.0
    sent: float | None = None
    """Messages of gossip that carry it."""
    bytes: float | None = None
    """Sent by the median node, all control included; of `idle` in a minute."""
    most_bytes: float | None = None
    """By the node that sent most."""
    half_s: float | None = None
    all_s: float | None = None
    missing: float | None = None
    """Of all that should have come, what did not by gossip alone."""
    rounds: float | None = None
    """Reconciliations, a node."""


def gossip(nodes: int, loss: float, seed: int) -> list[Row]:
    world = World(seed, nodes, loss=loss)
    world.link_at_random(min(LINKS, nodes - 1))
    world.run(30)
    rest = _idle(world, nodes) if not loss else []
    messages, sent = world.messages.total(), world.bytes.copy()
    ids = {}
    for _ in range(SAID):
        ids[world.say(world.rng.choice(world.peers), bytes(SIZE))] = world.now
        world.run(1.0)
    world.run(15)
    took = sorted(at - ids[name] for got in world.got.values() for name, at in got.items() if name in ids)
    each = sorted((world.bytes[peer] - sent[peer]) / SAID for peer in world.peers)
    return [
        Row(
            op="gossip",
            nodes=nodes,
            loss=loss,
            sent=(world.messages.total() - messages) / nodes / SAID,
            bytes=median(each),
            most_bytes=each[-1],
            half_s=median(took),
            all_s=took[-1],
            missing=world.missing(list(ids)) / nodes / SAID,
        ),
        *rest,
    ]


def _idle(world: World, nodes: int) -> list[Row]:
    before = world.bytes.copy()
    world.run(600)
    each = sorted((world.bytes[peer] - before[peer]) / 10 for peer in world.peers)
    return [Row(op="idle", nodes=nodes, bytes=median(each), most_bytes=each[-1])]


class Mesh:
    """A topic of so many on the simulated mesh; when who had what."""

    def __init__(self, nodes: int, loss: float, seed: int) -> None:
        self.simulation = Simulation(seed, Conditions(loss=loss), links=min(LINKS // 2, nodes - 1))
        self.rng = random.Random(seed)
        self.topic = TopicId(topic_id(KEY.public))
        self.peers = [PeerId(f"p{number:04}") for number in range(nodes)]
        self.had: dict[bytes, dict[PeerId, int]] = {}
        self.said: dict[bytes, int] = {}
        for peer in self.peers:
            self.simulation.add(peer)
            self.simulation.join(peer, self.topic)
        self.run(MINUTE)

    def run(self, milliseconds: int) -> None:
        for each in self.simulation.run_until(self.simulation.now + milliseconds):
            if isinstance(each, Delivered):
                self.had[each.frame.id][each.node] = self.simulation.now

    def say(self, peer: PeerId) -> Frame:
        now = self.simulation.now
        frame = seal(KEY, self.rng.randbytes(SIZE), type(now)(now + 86_400_000))
        self.said[frame.id], self.had[frame.id] = now, {peer: now}
        self.simulation.publish(peer, frame)
        return frame

    def whole(self) -> bool:
        return all(len(had) == len(self.peers) for had in self.had.values())

    def until_whole(self) -> None:
        for _ in range(600):
            if self.whole():
                return
            self.run(1_000)
        raise AssertionError("after ten minutes somebody still lacks something")

    def rounds(self) -> int:
        return sum(self.simulation.tally(peer).rounds for peer in self.peers)


def sync(nodes: int, loss: float, seed: int) -> list[Row]:
    mesh = Mesh(nodes, loss, seed)
    before = mesh.rounds()
    for _ in range(SAID):
        mesh.say(mesh.rng.choice(mesh.peers))
        mesh.run(1_000)
    mesh.until_whole()
    took = sorted(at - mesh.said[name] for name, had in mesh.had.items() for at in had.values())
    talked = Row(
        op="sync",
        nodes=nodes,
        loss=loss,
        half_s=median(took) / 1000,
        all_s=took[-1] / 1000,
        rounds=(mesh.rounds() - before) / nodes,
    )
    mesh.had.clear()
    halves = mesh.peers[: nodes // 2], mesh.peers[nodes // 2 :]
    mesh.simulation.partition(*halves)
    for half in halves:
        for _ in range(SAID * 5):
            mesh.say(mesh.rng.choice(half))
            mesh.run(500)
    mesh.run(10 * MINUTE)
    before, healed_at = mesh.rounds(), mesh.simulation.now
    mesh.simulation.heal()
    mesh.until_whole()
    took = sorted(at - healed_at for had in mesh.had.values() for at in had.values() if at >= healed_at)
    healed = Row(
        op="heal",
        nodes=nodes,
        loss=loss,
        half_s=median(took) / 1000,
        all_s=took[-1] / 1000,
        rounds=(mesh.rounds() - before) / nodes,
    )
    return [talked, healed]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    for nodes in given.nodes:
        for part, loss in ((gossip, 0.0), (gossip, 0.2), (sync, 0.0), (sync, 0.2)):
            for row in part(nodes, loss, given.seed):
                print(json.dumps(figures(row)) if given.json else f"{row.op:8} {figures(row)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
