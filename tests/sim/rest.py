"""What must be so when everybody is back, nobody does anything new, and the network has been whole for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mls.virtual.removal import Removal
from tests.sim.expected import Utterance, Wish, accounts_of
from tests.sim.invariants import SLACK, Run, fail, no_nonce_twice
from tests.sim.thief import Thief
from tests.sim.world import Device
from transport.base import Frame, FrameId
from vcd.core import events, inputs, partitions
from vcd.core.names import EpochId, GroupId
from vcd.core.ordering import votes
from vcd.core.ordering.graph import Member
from vcd.core.policy import Mode, of_group
from vcd.core.reign import leader, undecided
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


def _away(run: Run, members: Iterable[Member]) -> bool:
    """Whether somebody of these has no device that is there, or none that has the keys of that leaf."""
    there = {_state(device).book.own for device in run.present()}
    several = list(members)
    return any(each.account not in there for each in several) or not run.life.accounts.alive(several)


def _members(strand: Strand) -> tuple[Member, ...]:
    return strand.graph.members(strand.head)


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
    """Where every member has come back, and those without whom it cannot be decided, what stands is final."""
    for group_id in run.life.conversations:
        for device, strand in _inside(run, group_id):
            if strand.head == strand.final or _away(run, _members(strand)):
                continue
            if not _undecidable(run, strand, _state(device)):
                fail("all_final", f"{group_id.decode()}: {device.name} waits for somebody's votes")
    for device in run.present():
        home = _state(device).home
        assert home is not None
        strand = _state(device).strands[home]
        if strand.head != strand.final:
            fail("all_final", f"the home of {device.name} is not final")


def _undecidable(run: Run, strand: Strand, state: State) -> bool:
    """Whether a step needs the last vote of somebody whom it removed, and who is away: the senior one of two or three.

    With a lead it is those whom it removed who could still vote for another one, if they are most.
    """
    graph = strand.graph
    for child in graph.path(strand.head, strand.final):
        parent = graph.steps[child].parent
        members = graph.members(parent)
        there = [each.incarnation for each in members if not _away(run, [each])]
        if strand.mode is Mode.LEAD:
            lead = leader(strand, state.talks[strand.group_id].lead, parent)
            if 2 * sum(each.incarnation not in (*there, lead) for each in members) > len(members):
                return True
        elif not votes.enough(votes.electorate(graph, parent), there, graph.dismissed.find(child) or frozenset()):
            return True
    return False


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
    state = _state(run.world.devices[wish.device])
    if isinstance(wish.given, inputs.RemoveDevice):
        return _rotation_waits(run, state)
    strand = None if group_id is None else state.strands.find(group_id)
    if strand is None:
        return False
    if strand.head == strand.final:
        return _leaderless(run, strand, state)
    honest = {_state(device).book.own for device in run.present()}
    away = _away(run, _members(strand))
    return not accounts_of(strand) & honest or away or _undecidable(run, strand, state)


def _leaderless(run: Run, strand: Strand, state: State) -> bool:
    """Whether commits wait for a lead that is away, and nobody votes for another one: too few are there, or not yet.

    It takes a strict majority of all members, so of two who are left none can; and to have waited for as long as the
    conversation's rules say, which is longer than it takes everything else to come to rest.
    """
    if not undecided(strand) or strand.here is None:
        return False
    members = strand.graph.members(strand.head)
    reign, patience = state.talks[strand.group_id].lead, of_group(strand.here.group).succeed_after
    lead = leader(strand, reign, strand.head)
    there = [each for each in members if not _away(run, [each])]
    early = reign.waits is not None and state.clock.awake - reign.waits[1] < patience + SLACK
    return all(each.incarnation != lead for each in there) and (early or 2 * len(there) <= len(members))


def _rotation_waits(run: Run, state: State) -> bool:
    """Whether a device is out of everything but conversations in which commits wait for a lead that is away."""
    if state.rotation is None:
        return False
    removal = Removal.decode(state.rotation.removal)
    left = [name for name, each in removal.conversations.items() if each.stands and not removal.may_send(name)]
    strands = [state.strands.find(GroupId(name)) for name in left]
    return bool(left) and all(each is not None and _leaderless(run, each, state) for each in strands)


_OVER = (events.Fate.ASKS, events.Fate.RETURNED)


def all_read(run: Run) -> None:
    """Everything that was said is read by everybody it was said to, unless its author was told that it is not."""
    for said in run.expected.said.values():
        author = run.world.devices[said.device]
        if author.hostile or author.lost or said.lost or any(fate in _OVER for fate in said.fates):
            continue
        if author.name not in {device.name for device in run.present()}:
            continue
        if _not_said_yet(run, said):
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


def _not_said_yet(run: Run, said: Utterance) -> bool:
    """Whether it waits for a leaf with which its author's device may speak, and that for a lead who is away."""
    state = _state(run.world.devices[said.device])
    strand = state.strands.find(said.conversation)
    return not said.fates and strand is not None and _leaderless(run, strand, state)


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
        if _not_said_yet(run, said):
            continue
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


def packages_can_be_had(run: Run) -> None:
    """What a device counts as its share is with whoever gives it out."""
    for device in run.present():
        held = _state(device).stock
        never = [each for each in sorted(held.mine) if each not in run.world.dispensers.out]
        if never:
            fail("packages_can_be_had", f"{device.name} counts {len(never)} KeyPackages that it never offered")


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
    """When all windows are over, what is stored opens only what was said in epochs that stand.

    A window begins when a device hears that an epoch was left. If only who is lost for good had the commit, everybody
    else stands where they stood, with what it takes to follow, and what was said beyond is open as what is said there.
    """
    there = _at_hand(run)
    for device in run.present():
        state = _state(device)
        young = {
            epoch for strand in state.strands.values() for epoch in strand.kept if not _old(run, state, strand, epoch)
        }
        provider = run.world.provider(f"thief of {device.name}")
        loot = Thief(state, provider, run.world.now).read(run.world.frames.values())
        unheard = set()
        if loot.epochs:
            heard = Thief(state, provider, run.world.now).read(there).epochs
            unheard = {each for each in loot.epochs - heard if any(run.descends(each, stands) for stands in young)}
        for data, epochs in sorted(loot.messages.items()):
            if not epochs & (young | unheard):
                fail("old_messages_are_gone", f"{data!r} can still be read with what {device.name} has stored")


def _at_hand(run: Run) -> list[Frame]:
    """What somebody has who is not lost, so that everybody may hear it."""
    devices = [device for device in run.world.devices.values() if not device.lost]
    held = {FrameId(frame) for device in devices for frame in device.disk.frames}
    return [frame for frame in run.world.frames.values() if frame.id in held]


def _old(run: Run, state: State, strand: Strand, epoch: EpochId) -> bool:
    """Whether an epoch was left so long ago that it should be gone.

    Who is left alone by somebody that never comes back cannot tell that from a split, which makes windows longer.
    """
    left_at, here = strand.kept[epoch].left_at, strand.here
    if left_at is None or epoch == strand.head:
        return False
    window = 0 if here is None else of_group(here.group).window
    if not strand.home and _away(run, _members(strand)):
        window += partitions.lengthened(state, strand.group_id)
    return left_at < state.clock.awake - window - SLACK


def little_kept(run: Run) -> None:
    """When all windows are over, a group that is final is one epoch, but for what has only just been left."""
    for device in run.present():
        state = _state(device)
        for strand in state.strands.values():
            if strand.head != strand.final:
                continue
            old = [epoch for epoch in strand.kept if _old(run, state, strand, epoch)]
            if old and len(strand.kept) > 1:
                fail("little_kept", f"{device.name} keeps {len(old)} old epochs of a group that is final")
            if strand.graph.steps and not _leaderless(run, strand, state):
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
    packages_can_be_had,
)
AFTER_PROBES: tuple[RestInvariant, ...] = (probes_read, thieves_read_nothing, no_nonce_twice)
AFTER_WINDOWS: tuple[RestInvariant, ...] = (old_messages_are_gone, little_kept)
