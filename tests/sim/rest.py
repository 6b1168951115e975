"""What must be so when everybody is back, nobody does anything new, and the network has been whole for a while."""

from __future__ import annotations

from collections.abc import Callable

from tests.sim.expected import Wish, accounts_of
from tests.sim.invariants import SLACK, Run, fail, no_nonce_twice
from tests.sim.thief import Thief
from tests.sim.world import Device
from vcd.core import events
from vcd.core.names import AccountId, EpochId, GroupId
from vcd.core.policy import of_group
from vcd.core.state import Acceptance, State
from vcd.core.strand import Membership, Strand
from vcd.core.waiting import Need

RestInvariant = Callable[[Run], None]


def _state(device: Device) -> State:
    assert device.state is not None
    return device.state


def _inside(run: Run, group_id: GroupId) -> list[tuple[Device, Strand]]:
    """Present devices that see themselves in a conversation."""
    found = []
    for device in run.present():
        strand = _state(device).strands.find(group_id)
        if strand is not None and strand.membership is not Membership.OUT:
            own = _state(device).book.own
            if own in accounts_of(strand):
                found.append((device, strand))
    return found


def _away(run: Run, members: frozenset[AccountId]) -> bool:
    """Whether somebody of these has no device that is there."""
    there = {_state(device).book.own for device in run.present()}
    return not members <= there


# ---------------------------------------------------------------- one group


def one_head(run: Run) -> None:
    """All honest members of a conversation stand on one epoch, with its keys."""
    for group_id in run.life.conversations:
        inside = _inside(run, group_id)
        heads = {strand.head for _, strand in inside}
        if len(heads) > 1:
            seen = ", ".join(f"{device.name} at {strand.head.hex()[:8]}" for device, strand in inside)
            fail("one_head", f"{group_id.decode()}: {seen}")
        for device, strand in inside:
            if strand.here is None:
                fail("one_head", f"{group_id.decode()}: {device.name} cannot follow to {strand.head.hex()[:8]}")


def one_home(run: Run) -> None:
    """All devices of an account stand on one epoch of their home, and they are all there is in it."""
    for person in run.life.people:
        devices = [device for device in run.present() if device.name in person.devices]
        strands = [_state(device).strands[home] for device in devices if (home := _state(device).home) is not None]
        if len({strand.head for strand in strands}) > 1:
            fail("one_home", f"{person.name}'s devices stand on {len({s.head for s in strands})} epochs")
        for device, strand in zip(devices, strands, strict=True):
            if strand.here is None:
                fail("one_home", f"{device.name} cannot follow its home")
            if len(strand.graph.members(strand.head)) != len(devices):
                fail("one_home", f"{person.name} has {len(devices)} devices, {device.name} knows of others")


def all_final(run: Run) -> None:
    """Where every member has come back, what stands is final."""
    for group_id in run.life.conversations:
        for device, strand in _inside(run, group_id):
            if strand.head != strand.final and not _away(run, accounts_of(strand)):
                fail("all_final", f"{group_id.decode()}: {device.name} waits for somebody's votes")
    for device in run.present():
        home = _state(device).home
        assert home is not None
        strand = _state(device).strands[home]
        if strand.head != strand.final:
            fail("all_final", f"the home of {device.name} is not final")


def siblings_agree(run: Run) -> None:
    """All devices of an account are in the same conversations."""
    for person in run.life.people:
        known: dict[frozenset[GroupId], str] = {}
        for device in run.present():
            if device.name in person.devices:
                state = _state(device)
                inside = {
                    name
                    for name, talk in state.talks.items()
                    if talk.acceptance is Acceptance.YES
                    and (strand := state.strands.find(name)) is not None
                    and strand.membership is not Membership.OUT
                    and state.book.own in accounts_of(strand)
                }
                known[frozenset(inside)] = device.name
        if len(known) > 1:
            fail("siblings_agree", f"{person.name}: {', '.join(sorted(known.values()))} are in other conversations")


# ---------------------------------------------------------------- what was wanted, and said


def wishes_end(run: Run) -> None:
    """Whatever somebody wanted stands, or they were told that it does not."""
    present = {device.name for device in run.present()}
    for wish in run.expected.wishes.values():
        if wish.device in present and not wish.ended and not wish.lost and not _at_the_mercy(run, wish):
            fail("wishes_end", f"{wish.device} never hears what became of its {type(wish.given).__name__}")


def _at_the_mercy(run: Run, wish: Wish) -> bool:
    """Whether it is about a group in which nothing becomes final: somebody is away, or only the hostile are left."""
    group_id = getattr(wish.given, "conversation", None)
    strand = None if group_id is None else _state(run.world.devices[wish.device]).strands.find(group_id)
    if strand is None or strand.head == strand.final:
        return False
    honest = {_state(device).book.own for device in run.present()}
    members = accounts_of(strand)
    return not members & honest or _away(run, members)


_OVER = (events.Fate.ASKS, events.Fate.RETURNED)


def all_read(run: Run) -> None:
    """Everything that was said is read by everybody it was said to, unless its author was told that it is not."""
    for said in run.expected.said.values():
        author = run.world.devices[said.device]
        if author.hostile or author.lost or said.lost or any(fate in _OVER for fate in said.fates):
            continue
        if author.name not in {device.name for device in run.present()}:
            continue
        if run.world.counts.get("splits") and not _still_there(author, said.conversation):
            continue  # who is out cannot say it again to those who got it after their window
        for device in run.present():
            if device.name not in said.readers or not _still_there(device, said.conversation):
                continue
            told = [
                event for event in device.disk.told if isinstance(event, events.Message) and event.data == said.data
            ]
            if not told and _state(device).book.own in said.audience:
                fail("all_read", f"{device.name} never reads {said.data!r}")


def _still_there(device: Device, group_id: GroupId) -> bool:
    strand = _state(device).strands.find(group_id)
    return strand is not None and strand.membership is Membership.IN and _state(device).book.own in accounts_of(strand)


def probes_read(run: Run) -> None:
    """When all has come to rest everybody can speak, and is read at once by everybody who is there."""
    spoke = {(said.device, said.conversation) for said in run.expected.probes()}
    for group_id in run.life.conversations:
        for device, _ in _inside(run, group_id):
            if run.life.takes_part(device, group_id) and (device.name, group_id) not in spoke:
                fail("probes_read", f"{device.name} cannot speak in {group_id.decode()}")
    for said in run.expected.probes():
        for device, _ in _inside(run, said.conversation):
            told = sum(isinstance(each, events.Message) and each.data == said.data for each in device.disk.told)
            if told != 1:
                fail("probes_read", f"{device.name} reads {said.data!r} {told} times")


def nothing_left(run: Run) -> None:
    """Nothing waits to be sent, and nothing waits for what can be had: an epoch where the group may come to stand.

    Of a branch that lost, or before the last final epoch, nobody has the commits any more.
    """
    hostile = any(device.hostile for device in run.world.devices.values())
    for device in run.present():
        state = _state(device)
        if state.unsent:
            fail("nothing_left", f"{device.name} has {len(state.unsent)} things to send")
        if hostile:
            continue
        for frame in sorted(state.waiting.items):
            each = state.waiting.items[frame]
            need, subject = each.needs
            strand = state.strands.find(each.group_id)
            members = run.rosters.get(EpochId(subject))
            if members is not None and all(member.account != state.book.own for member in members):
                continue
            if need is not Need.EPOCH or (strand is not None and run.descends(EpochId(subject), strand.final)):
                fail("nothing_left", f"{device.name} has a message that waits for {need.name} {subject.hex()[:8]}")


# ---------------------------------------------------------------- thieves


def thieves_read_nothing(run: Run) -> None:
    """With what a device had that was shut out since, nothing can be read that is said now."""
    probes = {said.data: said for said in run.expected.probes()}
    for number, stolen in enumerate(run.life.stolen):
        if not stolen.out(run.life):
            continue
        provider = run.world.provider(f"thief {number}")
        loot = Thief(stolen.disk.state, provider, run.world.now).read(run.world.frames.values())
        for data in sorted(loot.messages):
            if data in probes and stolen.shut_out_of(run.life, probes[data]):
                fail("thieves_read_nothing", f"{data!r} can be read with what {stolen.device} had")


def old_messages_are_gone(run: Run) -> None:
    """When all windows are over, what is stored opens only what was said in epochs that stand."""
    for device in run.present():
        state = _state(device)
        young = {epoch for strand in state.strands.values() for epoch in strand.kept if not _old(state, strand, epoch)}
        provider = run.world.provider(f"thief of {device.name}")
        loot = Thief(state, provider, run.world.now).read(run.world.frames.values())
        for data, epochs in sorted(loot.messages.items()):
            if not epochs & young:
                fail("old_messages_are_gone", f"{data!r} can still be read with what {device.name} has stored")


def _old(state: State, strand: Strand, epoch: EpochId) -> bool:
    """Whether an epoch was left so long ago that it should be gone."""
    left_at, here = strand.kept[epoch].left_at, strand.here
    if left_at is None or epoch == strand.head:
        return False
    window = 0 if here is None else of_group(here.group).window
    return left_at < state.clock.awake - window - SLACK


def little_kept(run: Run) -> None:
    """When all windows are over, a group that is final is one epoch, but for what has only just been left."""
    for device in run.present():
        state = _state(device)
        for strand in state.strands.values():
            if strand.head != strand.final:
                continue
            old = [epoch for epoch in strand.kept if _old(state, strand, epoch)]
            if old and len(strand.kept) > 1:
                fail("little_kept", f"{device.name} keeps {len(old)} old epochs of a group that is final")
            if strand.graph.steps:
                fail("little_kept", f"{device.name} keeps {len(strand.graph.steps)} steps that nobody needs")


AT_REST: tuple[RestInvariant, ...] = (
    no_nonce_twice,
    one_home,
    one_head,
    all_final,
    siblings_agree,
    wishes_end,
    all_read,
    nothing_left,
)
AFTER_PROBES: tuple[RestInvariant, ...] = (probes_read, thieves_read_nothing, no_nonce_twice)
AFTER_WINDOWS: tuple[RestInvariant, ...] = (old_messages_are_gone, little_kept)
