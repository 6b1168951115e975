"""What is tried: one thing grows at a time, everything else stays small.

A world is two people with a conversation of two, if nothing else is said. Of what grows, conversations are copies of
the one that there is, under other names and topics: nobody talks in them, but the state holds them all. Steps are
timed one by one as they happen; a row is the median of the steps of one kind on one device.

A split parts people's devices so that nobody hears anybody on the other side. On both sides people talk and renew their
leaves; then all hear everything at once, and time goes by until all devices stand on one epoch that is final, or for
two days. Where a user is asked, the answer is yes. That time is of the mesh's clock. Beside it stands the CPU time that
all devices together took for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from statistics import median
from typing import Any

from mls.provider import Environment
from tests.bench.node.counting import UNITS, floor, units
from tests.bench.node.network import Net, Sample
from tests.bench.worlds import environment
from tests.providers import SeededProvider
from tests.vcd.core.homes import link
from tests.vcd.core.people import SMALL, befriend, open_talk
from tests.vcd.core.talking import TEA, nonce, refresh
from vcd.core import events, inputs, stored
from vcd.core.errors import Misuse
from vcd.core.names import FrameId, GroupId, IntentId, TopicId
from vcd.core.policy import DAY, HOUR

Clock = Callable[[], float]

KINDS = {
    "say": "message_sent",
    "hear:post": "message_received",
    "refresh": "commit_made",
    "hear:commit": "commit_followed",
    "tick:vote": "vote_cast",
    "hear:votes": "vote_heard",
    "published": "published",
    "hear:garbage": "frame_garbage",
}
"""What steps are called in rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `floor_ms` is what the primitives that the step called take by themselves."""

    op: str
    by: str
    """What grows, and `n` how much of it there is."""
    n: int
    ms: float
    floor_ms: float
    ratio: float
    rows: float
    bytes: float
    store_ms: float
    steps: int
    per_second: float
    counts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Healing:
    """One split and what came after it."""

    op: str
    who: str
    hours: int
    messages: int
    commits: int
    seconds: float
    """Until all stood on one final epoch; below 0 if they did not."""
    cpu_ms: float
    frames: int
    frame_bytes: int
    again: int
    share: float
    """How many messages were sealed once more, of all."""
    late: int
    """Messages that somebody's device does not have half an hour later, each counted for each such device."""
    missing: int
    """The same, a day later."""
    asked: int
    """Devices that could come back only with their user's consent, which they got."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is stored for an epoch more."""

    op: str
    members: int
    bytes: float
    rows: float


class Bench:
    """The trials of one run, on one clock."""

    def __init__(self, clock: Clock, *, quick: bool) -> None:
        self.clock, self.quick = clock, quick
        self.rounds = 6 if quick else 20
        self.env: Environment = environment(SeededProvider(b"units"))

    def units(self) -> dict[str, float]:
        return units(self.env, self.env.provider.suite(1), 60 if self.quick else 200, self.clock)

    # Worlds

    def world(self, *people: str, counted: bool, devices: int = 1, stores: bool = True) -> Net:
        net = Net(1, config=SMALL, counted=counted, stores=stores, clock=self.clock)
        for name in people:
            net.account(name)
            for number in range(2, devices + 1):
                link(net, name, f"{name}-{number}")
        befriend(net, *net.devices)
        net.wait(seconds=1)
        open_talk(net, *people)
        for _ in range(120):
            if all(TEA in each.state.strands for each in net.devices.values()) and agreed(net):
                break
            net.wait(minutes=1)
        net.survey()
        return net

    def traffic(self, net: Net, one: str, other: str) -> None:
        """A little of everything."""
        for number in range(self.rounds):
            say(net, one, f"one {number}")
            say(net, other, f"other {number}")
        for number in range(max(3, self.rounds // 3)):
            for name in (one, other):
                renew(net, name, number)
                net.wait(seconds=12)

    # Growth

    def grown(
        self, by: str, n: int, make: Callable[[bool], Net], traffic: Callable[[Net], object] | None = None
    ) -> Iterator[Row]:
        """Rows of what the first device does in a world of one size: timed once, counted once."""
        run = traffic or (lambda net: self.traffic(net, "anna", "ben"))
        before = self.units()
        timed = make(False)
        samples = timed.record(partial(run, timed))
        after = self.units()
        unit = {name: (before[name] + after[name]) / 2 for name in before}
        counted = make(True)
        counts = counted.record(partial(run, counted))
        for kind, op in KINDS.items():
            mine = [each for each in samples if each.kind == kind and each.device == "anna"]
            known = [each for each in counts if each.kind == kind and each.device == "anna"]
            if mine:
                yield row(op, by, n, mine, known, unit)

    def by_devices(self, n: int) -> Iterator[Row]:
        yield from self.grown("devices", n, lambda counted: self.world("anna", "ben", counted=counted, devices=n))

    def by_conversations(self, n: int) -> Iterator[Row]:
        def make(counted: bool) -> Net:
            net = self.world("anna", "ben", counted=counted)
            crowd(net, "anna", n)
            return net

        yield from self.grown("conversations", n, make)

    def by_members(self, n: int) -> Iterator[Row]:
        names = ("anna", "ben", *[f"person {number}" for number in range(2, n)])
        yield from self.grown("members", n, lambda counted: self.world(*names, counted=counted))

    def by_said(self, n: int) -> Iterator[Row]:
        """Messages of ours that were confirmed, and are kept in case that somebody asks for them."""

        def make(counted: bool) -> Net:
            net = self.world("anna", "ben", counted=counted)
            for number in range(n):
                say(net, "anna", f"before {number}")
            return net

        yield from self.grown("said", n, make)

    def by_unfinal(self, n: int) -> Iterator[Row]:
        """Steps that are not final, as one of three members is away; ballots for all of them by both others."""

        def make(counted: bool) -> Net:
            net = self.world("anna", "ben", "cleo", counted=counted)
            net.part(["anna", "ben"], ["cleo"])
            for _ in range(n):
                refresh(net, "anna")
            net.wait(minutes=1)
            return net

        yield from self.grown("unfinal", n, make)

    def by_waiting(self, n: int) -> Iterator[Row]:
        """Messages that wait for a commit that did not come yet; then it comes (`woken`, by message)."""

        def make(counted: bool) -> Net:
            net = self.world("anna", "ben", counted=counted)
            held = net.hold("anna")
            renew(net, "ben", 1000)
            for number in range(n):
                say(net, "ben", f"waits {number}")
            net.release(held[1:])
            net.kept_back = held[:1]
            return net

        def run(net: Net) -> None:
            held = net.hold("anna")
            for number in range(self.rounds):
                say(net, "ben", f"waits too {number}")
            net.release(held)
            for number in range(self.rounds):
                say(net, "anna", f"meanwhile {number}")
            net.release(net.kept_back)

        for each in self.grown("waiting", n, make, run):
            if each.op == "commit_followed":
                yield replace(each, op="woken", ms=each.ms / (n + self.rounds), per_second=0.0)
            elif each.op == "message_received":
                yield replace(each, op="message_held")
            else:
                yield each

    def of_no_use(self) -> Iterator[Row]:
        """Frames that were here before, that nobody could have sealed, and that a member sealed around nothing."""

        def run(net: Net) -> None:
            sent: list[tuple[TopicId, bytes]] = []
            before = net.devices["ben"].has.copy()
            for number in range(self.rounds):
                say(net, "ben", f"twice {number}")
            for topic, frame in net.frames_by("ben"):
                if frame.id not in before:
                    sent.append((topic, frame.payload))
            net.samples.clear()
            for number, (topic, payload) in enumerate(sent):
                give(net, "anna", topic, payload, b"again %d" % number, "frame_duplicate")
                give(net, "anna", topic, payload[:-1] + b"?", b"garbage %d" % number, "frame_garbage")

        before = self.units()
        net = self.world("anna", "ben", counted=False)
        samples = net.record(partial(run, net))
        known = self.world("anna", "ben", counted=True)
        counts = known.record(partial(run, known))
        for op in ("frame_duplicate", "frame_garbage"):
            mine, theirs = [each for each in samples if each.kind == op], [each for each in counts if each.kind == op]
            yield row(op, "", 0, mine, theirs, before)

    # Stored

    def kept(self, members: int) -> Iterator[Kept]:
        """What an epoch more, and a fork more (two commits on one epoch), add to what is stored."""
        names = ("anna", "ben", *[f"person {number}" for number in range(2, members)])
        net = self.world(*names, counted=False, stores=False)
        net.part(["anna"], ["ben"])  # so that nothing becomes final
        start = stored.rows(net.state("anna"))
        for _ in range(4):
            refresh(net, "anna")
        after = stored.rows(net.state("anna"))
        yield Kept("epoch_kept", members, (weight(after) - weight(start)) / 4, (len(after) - len(start)) / 4)
        refresh(net, "ben")
        whole = weight(after), len(after)
        net.heal()
        forked = stored.rows(net.state("anna"))
        yield Kept("fork_kept", members, weight(forked) - whole[0], len(forked) - whole[1])
        yield Kept("state", members, weight(forked), len(forked))

    # Splits

    def healing(self, who: str, hours: int) -> Healing:
        if who == "two_by_two":
            net = Net(1, config=SMALL, clock=self.clock)
            for name in ("anna", "ben"):
                net.account(name)
                link(net, name, f"{name}-2")
            befriend(net, *net.devices)
            sides: tuple[tuple[str, ...], ...] = (("anna", "ben"), ("anna-2", "ben-2"))
        else:
            net = Net(1, config=SMALL, clock=self.clock)
            names = ("anna", "ben", "cleo", "dora", "emil", "fred")
            for name in names:
                net.account(name)
            befriend(net, *names)
            sides = (names[:3], names[3:])
        net.wait(seconds=1)
        open_talk(net, *[name for name in net.devices if "-" not in name])
        net.wait(minutes=10)
        net.part(*sides)
        messages, commits = live(net, [name for side in sides for name in side], hours)
        frames, size = net.frames, net.size
        spent, taken = 0.0, net.now
        again = {name: told(net, name, events.Fate.AGAIN) for name in net.devices}

        asked: set[str] = set()

        def heal() -> None:
            net.heal()
            net.survey()
            for _ in range(2 * 24 * 60):
                if agreed(net):
                    return
                net.wait(seconds=60)
                net.survey()
                for name in sorted({*net.devices} - asked):
                    if any(each.asks for each in net.told(name, events.OutOfSync)):
                        asked.add(name)
                        net.do(name, inputs.ComeBack(group=TEA))

        samples = net.record(heal)
        spent = sum(each.ms for each in samples)
        sealed = sum(told(net, name, events.Fate.AGAIN) - count for name, count in again.items())
        whole = max(1, messages)
        taken = net.now - taken
        there = agreed(net)
        net.wait(minutes=30)  # for what was said again
        late = missing(net, whole)
        net.wait(days=1)
        return Healing(
            op="heal",
            who=who,
            hours=hours,
            messages=messages,
            commits=commits,
            seconds=taken / 1000 if there else -1.0,
            cpu_ms=round(spent, 1),
            frames=net.frames - frames,
            frame_bytes=net.size - size,
            again=sealed,
            share=round(sealed / whole, 4),
            late=late,
            missing=missing(net, whole),
            asked=len(asked),
        )


def say(net: Net, name: str, text: str) -> None:
    net.do(name, inputs.Say(conversation=TEA, nonce=nonce(name + text), data=text.encode().ljust(256, b".")))


def renew(net: Net, name: str, number: int) -> None:
    """A commit that gives a leaf fresh keys, as people's devices wish for one."""
    wish = IntentId(sha256(b"%s %d" % (name.encode(), number)).digest()[:16])
    net.do(name, inputs.Refresh(intent=wish, conversation=TEA))


def live(net: Net, people: list[str], hours: int) -> tuple[int, int]:
    """So many hours of a conversation: four messages an hour of each device in 16 hours of a day, a commit a day.

    In a split of an hour, each side makes a commit.
    """
    messages = commits = 0
    until = net.now + hours * HOUR
    quarter = 0
    while net.now < until:
        if (net.now // HOUR) % 24 < 16:
            for name in people:
                say(net, name, f"{quarter}")
                messages += 1
        for place, name in enumerate(people):
            due = quarter % 96 == 4 * place if hours > 1 else quarter == 1 and place in (0, len(people) - 1)
            if due:
                try:
                    renew(net, name, quarter)
                    commits += 1
                except Misuse:
                    pass
        net.wait(minutes=15)
        net.survey()
        quarter += 1
    return messages, commits


def agreed(net: Net) -> bool:
    """Whether all devices stand on one epoch that is final, with its keys and nothing waiting."""
    for group_id in (TEA,):
        strands = [each.state.strands.find(group_id) for each in net.devices.values()]
        if any(each is None or each.here is None or each.head != each.final for each in strands):
            return False
        if len({each.head for each in strands if each is not None}) != 1:
            return False
    return True


def missing(net: Net, messages: int) -> int:
    return sum(messages - len({each.content for each in net.told(name, events.Message)}) for name in net.devices)


def told(net: Net, name: str, fate: events.Fate) -> int:
    return sum(each.fate is fate for each in net.told(name, events.MessageFate))


def weight(rows: dict[Any, bytes]) -> int:
    return sum(len(key) + len(data) for (_, key), data in rows.items())


def give(net: Net, name: str, topic: TopicId, payload: bytes, mark: bytes, kind: str) -> None:
    """A frame for one device alone, whatever the mesh would think of it."""
    at = len(net.samples)
    net.step(name, inputs.Arrived(frame=FrameId(sha256(mark).digest()), topic=topic, payload=payload))
    net.samples[at] = replace(net.samples[at], kind=kind)


def crowd(net: Net, name: str, n: int) -> None:
    """So many conversations in a device's state, where there was one."""
    device = net.devices[name]
    state = device.state
    strand, talk, sight = state.strands[TEA], state.talks[TEA], state.sights.find(TEA)
    topic = state.topics[TEA][0]
    more: dict[str, dict[Any, Any]] = {
        each: {} for each in ("strands", "talks", "joined", "topics", "duties", "sights")
    }
    for number in range(n - 1):
        group_id = GroupId(sha256(b"copy %d" % number).digest())
        other = TopicId(sha256(group_id).digest())
        more["strands"][group_id] = replace(strand, group_id=group_id)
        more["talks"][group_id] = replace(talk, group_id=group_id)
        more["joined"][other] = replace(state.joined[topic], group_id=group_id)
        more["topics"][group_id] = (other,)
        if sight is not None:
            more["sights"][group_id] = sight
        for (duty, subject), at in state.duties.items():
            if subject == TEA:
                more["duties"][duty, group_id] = at + 3650 * DAY
    parts = {each: getattr(state, each).update(entries) for each, entries in more.items()}
    device.state = replace(state, **parts)
    net.step(name, inputs.Published(number=0))  # so that what follows from the duties is known again


def row(op: str, by: str, n: int, mine: list[Sample], known: list[Sample], unit: dict[str, float]) -> Row:
    counts = {each: median([sample.counts[each] for sample in known]) for each in UNITS} if known else {}
    least = floor(counts, unit)
    taken = median([each.ms for each in mine])
    return Row(
        op=op,
        by=by,
        n=n,
        ms=round(taken, 4),
        floor_ms=round(least, 4),
        ratio=round(taken / least, 2) if least else 0.0,
        rows=median([each.rows for each in mine]),
        bytes=median([each.bytes for each in mine]),
        store_ms=round(median([each.store_ms for each in mine]), 4),
        steps=len(mine),
        per_second=round(1000 / taken, 1) if taken else 0.0,
        counts={each: count for each, count in counts.items() if count},
    )


__all__ = ["Bench", "Healing", "Kept", "Row"]
