"""What the home's epochs mean for our leaves in conversations: which have to be replaced, and what may be forgotten.

A leaf comes from a derivation epoch of the home. It has to be replaced by one of the newest

* if somebody is in the home now who had no part in that epoch: whoever joins later may follow and not speak there;
* if somebody had a part in it who is not in the home any more, or was shut out after the list that the leaf shows. A
  removal gives all conversations new leaves (`rotation`) and is over then; but any of these may lose to what somebody
  else did meanwhile, and the leaf that was there before is back;
* if that epoch lost: whoever was not in it cannot follow, and who is not in the home any more may have its secrets;
* if a device says that it cannot speak (`Wanted`).

Else nobody is asked to: each device that can do it looks, and they take turns. A leaf shows the newest list of devices
that others are to be shown, so the commit that replaces it brings that too. The first one that shows a list which shuts
somebody out has a new signature key, whatever it was made for: so the list says which keys others may still have.

A device cannot speak where the leaf comes from an epoch that it had no part in, or that it was in before it was set
back to an old disk. It looks for that wherever a conversation comes to stand, since old leaves and old KeyPackages turn
up at any time. Then it says so, and if nobody who can replaces the leaf for long, as they sleep or are not devices of
ours any more, it does that itself, by a commit that takes no message key (`ask`).

If what began an epoch that lost is not done again, as a removal that ended (`rotation`), nothing that the home has is
newer than a leaf from there. Then a device begins another one, in turn, once the home stands for good (`ahead`).

Of an epoch that lost, devices that were never in it need what reads its leaves, until these are replaced. Some device
that has it passes it on where the home stands now (`pass_on`): to those who are there, and to nobody else. So it is
with all epochs before that of a device that comes back into the home from outside: it may have an old disk, which lacks
even those that it began itself, and an app may have to take in what rests on them yet.

With each final epoch of the home goes what no group, device or branch needs any more (`prune`). A sleeping device holds
that up: it may have acted in an epoch that all others have left. So does an app that was not given a commit yet which
rests on an epoch that was passed on: of that stays what this app's group needs, until its leaf is not from before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mls.commit import KEEP, NewLeaf
from mls.errors import MlsError
from mls.group import Group
from mls.leaf_node import LeafNode
from mls.persistent import PMap
from mls.virtual.announcements import MAX_ENTRIES, LostEpoch, Operations, Wanted
from mls.virtual.derivation_info import derivation_info_of
from mls.virtual.stored import listening
from vcd.core import acting, devices, ourselves, ranks, raw_care, tellers
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.credential import virtual_credential
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.names import DeviceId, EpochId, GroupId
from vcd.core.policy import Mode
from vcd.core.state import Acceptance
from vcd.core.strand import Kept, Strand

if TYPE_CHECKING:
    from mls.virtual.emulation import Emulation
    from vcd.core.household import Roster
    from vcd.core.state import State
    from vcd.core.turn import Turn

SPREAD = 500
"""Between new leaves of one device in several conversations, in milliseconds."""
MAX_TOLD = 1024
_TO_TELL = 0
"""Instead of its number, of an epoch that has to be passed on."""
MAX_AHEAD = 64
"""Epochs that were passed on to this device, and wait for an app."""


# ---------------------------------------------------------------- which leaves are to be replaced


def made_in(turn: Turn, group: Group) -> bytes | None:
    """The derivation epoch that our leaf says it comes from."""
    return _made_in(turn.emulation, group.own_leaf_node)


def _made_in(emulation: Emulation, leaf: LeafNode) -> bytes | None:
    info = derivation_info_of(leaf.extensions, emulation.settings.numbers)
    return None if info is None else info.epoch_id


def due(turn: Turn, group: Group) -> bool:
    """Whether our leaf in a conversation has to be replaced for the home's sake."""
    emulation, household = turn.emulation, turn.state.household
    name = made_in(turn, group)
    present = list(emulation.lineage(emulation.head.newest))
    if name is None or name not in present:
        return True
    floor = household.wanted.find(group.group_id)
    if floor is not None and floor in present and present.index(floor) < present.index(name):
        return True
    roster = household.rosters.find(name)
    if roster is not None and not (_certain(turn) <= roster.names <= {*devices.present(turn.home)}):
        return True
    return _outdated(turn, group.own_leaf_node)


def _outdated(turn: Turn, node: LeafNode) -> bool:
    """Whether somebody was shut out after the list that a leaf of ours shows, and so may have its signature key."""
    edition, shown = turn.state.book.edition, head_of(node.credential)
    return edition is not None and shown is not None and shown.version < edition.head.revoked


def _certain(turn: Turn) -> frozenset[DeviceId]:
    """The devices that are in the home for good, and where it stands."""
    strand = turn.home
    final = {DeviceId(each.account) for each in strand.graph.members(strand.final)}
    return frozenset(each for each in devices.present(strand) if each in final or each in _handed(turn))


def _handed(turn: Turn) -> frozenset[DeviceId]:
    return frozenset(device for device, link in turn.state.household.links.items() if link.handed)


def conversations(turn: Turn) -> Iterator[Strand]:
    """Those that this device can act in."""
    for group_id, strand in sorted(turn.state.strands.items()):
        if not strand.home and live(strand) is not None:
            yield turn.state.strands[group_id]


def live(strand: Strand) -> Kept | None:
    here = strand.here
    return here if here is not None and here.group.ended is None else None


def able(turn: Turn, group: Group) -> bool:
    """Whether this device may encrypt in a conversation."""
    return had_part(turn.emulation, group)


def had_part(emulation: Emulation, group: Group) -> bool:
    """Whether this device was in the epoch that our leaf comes from."""
    name = _made_in(emulation, group.own_leaf_node)
    known = None if name is None else emulation.epochs.find(name)
    return known is not None and known.epoch.own_leaf is not None


def speaks(state: State, group_id: GroupId) -> bool:
    """Whether this device seals at once what it says in a conversation. A new one has no part in our leaf yet."""
    talk, strand = state.talks.find(group_id), state.strands.find(group_id)
    here = None if strand is None else live(strand)
    if talk is None or here is None or state.emulation is None or talk.acceptance is not Acceptance.YES:
        return False
    return had_part(state.emulation, here.group)


def look(turn: Turn, group_id: GroupId) -> None:
    """A conversation is new, or stands elsewhere."""
    strand = turn.state.strands.find(group_id)
    here = None if strand is None else live(strand)
    if here is None or turn.state.home is None or turn.state.household.gone or turn.home.here is None:
        return
    if due(turn, here.group):
        _soon(turn)
    elif group_id in turn.state.household.wanted:
        devices.keep(turn, wanted=turn.state.household.wanted.discard(group_id))
    if not able(turn, here.group):
        _ask_soon(turn)


def _ask_soon(turn: Turn) -> None:
    """Others may be about to replace the leaf anyway."""
    turn.due(Duty.HOME, devices.ASK, turn.now + (SPREAD if _lonely(turn) else turn.state.config.desync_after))


def _lonely(turn: Turn) -> bool:
    return len(devices.present(turn.home)) == 1


def _soon(turn: Turn) -> None:
    """Those who can take turns; who has just let a device in is the first."""
    first = any(link.handed for link in turn.state.household.links.values())
    wait = 0 if first else ranks.device_place(turn) * turn.state.config.turn_taking
    turn.due(Duty.HOME, devices.LEAVES, turn.now + wait + SPREAD)


def wanted(turn: Turn, group_ids: Iterable[GroupId], newest: bytes) -> None:
    """A device cannot speak in these: their leaf has to come from this derivation epoch, or a later one."""
    floor = turn.state.household.wanted
    for group_id in group_ids:
        if group_id in turn.state.strands:
            floor = floor.set(group_id, newest)
    devices.keep(turn, wanted=floor)
    _soon(turn)


def replace_due(turn: Turn) -> None:
    """Replace one leaf that has to be, and come back for the next."""
    if not devices.may_speak(turn) or turn.state.rotation is not None:
        return  # a removal replaces all of them
    for strand in conversations(turn):
        here = live(strand)
        if here is None or not due(turn, here.group) or not able(turn, here.group) or _asked(strand):
            continue
        if ahead(turn, here.group.own_leaf_node):
            _begin_another(turn)
            return
        if _replaced(turn, strand):
            turn.due(Duty.HOME, devices.LEAVES, turn.now + SPREAD)
            return
        turn.due(Duty.HOME, devices.LEAVES, turn.now + turn.state.config.retry)


def ahead(turn: Turn, leaf: LeafNode) -> bool:
    """Whether a leaf of ours comes from after the newest derivation epoch that the home has: that cannot replace it."""
    name, newest = _made_in(turn.emulation, leaf), turn.emulation.head.newest
    return name is not None and name != newest and newest in turn.emulation.lineage(name)


def _begin_another(turn: Turn) -> None:
    turn.due(Duty.HOME, devices.LEAVES, turn.now + turn.state.config.retry)
    if turn.home.head != turn.home.final:  # the other branch may win yet
        return
    try:
        acting.commit(turn, turn.home, force_path=True, derive=True)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("leaf-later", str(error))


def _replaced(turn: Turn, strand: Strand, *, encrypt: bool | None = None) -> bool:
    try:
        acting.commit(turn, strand, force_path=True, encrypt=encrypt)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("leaf-later", str(error))
        return False
    return True


def _asked(strand: Strand) -> bool:
    """Whether a commit of ours waits for who leads there: the group stands where it stood until that is decided."""
    graph, mine = strand.graph, ranks.own(strand)
    if strand.mode is not Mode.LEAD or mine is None:
        return False
    return any(graph.steps[each].author == mine.incarnation for each in graph.children(strand.head))


def shown(turn: Turn, group: Group) -> NewLeaf:
    """What a new leaf of ours says that the old one did not: the list of devices, if there is a newer one to show.

    Other devices are told of a new signature key first.
    """
    edition, signing = turn.state.book.edition, turn.state.household.signing
    if edition is None or signing is None:
        raise Misuse("no-account", "this device has no account yet")
    node = group.own_leaf_node
    old = head_of(node.credential)
    if old is not None and old.version >= edition.head.version:
        return KEEP
    if not _outdated(turn, node):
        return NewLeaf(credential=virtual_credential(turn.provider, edition.head, signing, node.signature_key))
    if not able(turn, group):
        return KEEP  # this commit is in vain, or there will be another one; a key would be drawn for nothing
    credential, private = ourselves.new_leaf(turn, suite=group.suite.cipher_suite)
    return NewLeaf(credential=credential, signature_private=private)


# ---------------------------------------------------------------- the home moved


def home_moved(turn: Turn, before: Strand, after: Strand) -> None:
    _listen_again(turn, after)
    if any(due(turn, here.group) for strand in conversations(turn) if (here := live(strand)) is not None):
        _soon(turn)
    if _silent(turn):
        _ask_soon(turn)
    if _came_back(before, after):
        _lacking(turn)
    if _lost(turn):
        wait = turn.state.config.quiet + ranks.device_place(turn) * turn.state.config.turn_taking
        turn.due(Duty.HOME, devices.LOST, turn.now + wait)
    if before.final != after.final:
        prune(turn)


def _came_back(before: Strand, after: Strand) -> bool:
    """Whether another device came into the home from outside, on the way from the one to the other."""
    me, known = ranks.own(after), before.graph
    graph = known if known.has(after.head) else after.graph
    for each in graph.path(after.head):
        step = graph.steps[each]
        if step.moved and (me is None or step.author != me.incarnation):
            if not (known.has(each) and known.is_ancestor(each, before.head)):
                return True
    return False


def _lacking(turn: Turn) -> None:
    """What reads the leaves of epochs before the newest has to be passed on, whoever had it before."""
    emulation, told = turn.emulation, turn.state.household.told
    names = [name for name in sorted(emulation.epochs.keys()) if name != emulation.head.newest]
    devices.keep(turn, told=told.update(dict.fromkeys(names, _TO_TELL)))


def _lost(turn: Turn) -> list[bytes]:
    """Derivation epochs that a leaf of ours comes from, off the home's branch, or lacked; nobody passed them on yet."""
    emulation, told = turn.emulation, turn.state.household.told
    present = frozenset(emulation.lineage(emulation.head.newest))
    ours = [kept.group for strand in conversations(turn) for kept in strand.kept.values()]
    found = {name for name in emulation.epochs if told.find(name) == _TO_TELL}
    for group in (*ours, *raw_care.held(turn)):
        if group.public.tree.leaf(group.own_leaf) is not None:
            name = made_in(turn, group)
            if name is not None and name not in present and name in emulation.epochs and name not in told:
                found.add(name)
    return sorted(found)


def pass_on(turn: Turn) -> None:
    """Tell those who are here what reads the leaves of epochs that they may lack."""
    if not devices.may_speak(turn):
        return
    emulation = turn.emulation
    for name in _lost(turn):
        known = emulation.epochs[name]
        epoch = known.epoch
        devices.announce(
            turn,
            LostEpoch(
                cipher_suite=epoch.suite.cipher_suite,
                epoch_id=epoch.epoch_id,
                parent=known.parent,
                number=epoch.number,
                leaf_count=epoch.leaf_count,
                encryption_key=epoch.encryption_key,
                generation_id=epoch.generation_id,
                reuse_guard=epoch.reuse_guard,
            ),
        )
        operations = [each for key, each in sorted(emulation.operations.items()) if key.epoch_id == name]
        for at in range(0, len(operations), MAX_ENTRIES):
            devices.announce(turn, Operations(tuple(operations[at : at + MAX_ENTRIES])))
        passed_on(turn, name)
    _soon(turn)


def passed_on(turn: Turn, name: bytes) -> None:
    """Somebody told of an epoch that others may lack."""
    told = turn.state.household.told
    if told.find(name) not in (None, _TO_TELL):
        return
    number = 1 + max(told.values(), default=0)
    if len(told) >= MAX_TOLD:
        told = told.discard(min(told.items(), key=lambda item: item[1])[0])
    devices.keep(turn, told=told.set(name, number))


# ---------------------------------------------------------------- what may be forgotten


def prune(turn: Turn) -> None:
    """After more of the home became final."""
    emulation, household, strand = turn.emulation, turn.state.household, turn.home
    present = list(emulation.lineage(emulation.head.newest))
    place = {name: number for number, name in enumerate(present)}  # the newest first
    needed = [place[name] for name in in_use(turn) if name in place]
    since = present[max([0, *needed])]
    held = {kept.newest for kept in strand.kept.values()}
    drop = []
    for name in sorted(emulation.epochs.keys()):
        roster = household.rosters.find(name)
        if name in place or name in held or (roster is not None and _may_win(strand, roster)):
            continue
        drop.append(name)
    drop += {key.epoch_id for key in emulation.operations} - set(emulation.epochs)  # told of what nobody told more of
    groups = [
        kept.group
        for each in turn.state.strands.values()
        if not each.home
        for kept in each.kept.values()
        if kept.group.public.tree.leaf(kept.group.own_leaf) is not None
    ]
    groups += raw_care.held(turn)
    after = emulation.pruned(groups, since=since, drop=drop, keys=_named(turn), ahead=_ahead_of_apps(turn))
    turn.use(after)
    tellers.trim(turn)
    gone = [name for name in household.rosters if name not in after.epochs]
    devices.keep(turn, rosters=household.rosters.changed(gone, {}))


def _ahead_of_apps(turn: Turn) -> dict[bytes, set[GroupId]]:
    """Epochs that were passed on to this device, each with the groups of apps that may still come to a leaf from there.

    Nothing can be derived in such an epoch. If a sibling tells of very many, the last ones count.
    """
    emulation, told = turn.emulation, turn.state.household.told
    passed = [name for name, known in emulation.epochs.items() if known.epoch.operations.is_gone and told.find(name)]
    found: dict[bytes, set[GroupId]] = {}
    for name in sorted(passed, key=lambda each: told[each])[-MAX_AHEAD:]:
        for group_id, known in turn.state.raws.items():
            group = known.live
            stands = None if group is None else made_in(turn, group)
            if stands is not None and _later(emulation, name, stands):
                found.setdefault(name, set()).add(group_id)
    return found


def _later(emulation: Emulation, name: bytes, than: bytes) -> bool:
    """Whether an epoch comes after another one; by their numbers, where the one who told of it had forgotten that."""
    before, old = [*emulation.lineage(name)], emulation.epochs.find(than)
    if than in before or old is None:
        return than != name
    return emulation.epochs[before[-1]].epoch.number > old.epoch.number


def _named(turn: Turn) -> Iterator[bytes]:
    """The keys of leaves wherever conversations may stand: who cannot follow asks for the way back with ours."""
    for strand in turn.state.strands.values():
        graph = strand.graph
        yield from (member.key for member in graph.anchor.members)
        for step in graph.steps.values():
            yield from (member.key for member in step.adds)
            yield from (key for _, key in step.keys)


def in_use(turn: Turn) -> Iterator[bytes]:
    """Derivation epochs in which a device may still act, or which reads what is late."""
    emulation, household, strand = turn.emulation, turn.state.household, turn.home
    present = list(emulation.lineage(emulation.head.newest))
    for kept in strand.kept.values():
        yield kept.newest
    for device in devices.present(strand):
        if device == turn.state.me.device:
            continue
        last = household.heard.find(device)
        shared = None if last is None else next((each for each in emulation.lineage(last) if each in present), None)
        if shared is not None:
            yield shared
            continue
        first = [name for name in present if _had(household.rosters.find(name), device)]
        yield first[-1] if first else present[-1]


def _had(roster: Roster | None, device: DeviceId) -> bool:
    return roster is not None and device in roster.names


def _may_win(strand: Strand, roster: Roster) -> bool:
    graph, epoch = strand.graph, EpochId(roster.epoch)
    return graph.has(epoch) and graph.is_ancestor(strand.final, epoch)


# ---------------------------------------------------------------- after an old disk was restored


def wake_up(turn: Turn) -> None:
    """It has heard what there was to hear. Now it begins an epoch of its own, by a commit that takes no message key.

    Epochs that it heard of since may be ones that it acted in before: they count for old ones too.
    """
    household, strand = turn.state.household, turn.home
    if not household.listening or household.gone:
        return
    here = live(strand)
    if not turn.state.clock.online or here is None:  # without the head it comes back from outside (`desync`)
        turn.due(Duty.HOME, devices.AWAKE, turn.now + turn.state.config.desync_after)
        return
    turn.use(listening(turn.emulation))
    devices.keep(turn, listening=False)
    try:
        said, _ = acting.commit(turn, strand, force_path=True, derive=True, encrypt=False)
        devices.keep(turn, awake=said.step.epoch)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("awake-later", str(error))
    devices.keep(turn, listening=True)  # until the home stands on that
    turn.due(Duty.HOME, devices.AWAKE, turn.now + turn.state.config.retry)


def _listen_again(turn: Turn, after: Strand) -> None:
    """The epoch that it began has lost, and it acts in none of those that the home stands on: so it begins another."""
    newest = turn.emulation.epochs.find(turn.emulation.head.newest)
    if turn.state.household.listening or ranks.own(after) is None:
        return
    if newest is not None and newest.epoch.own_leaf is None:
        devices.keep(turn, listening=True)
        turn.due(Duty.HOME, devices.AWAKE, turn.now + turn.state.config.desync_after)


def _silent(turn: Turn) -> list[Strand]:
    """Where this device cannot speak."""
    return [each for each in conversations(turn) if (here := live(each)) is not None and not able(turn, here.group)]


def ask(turn: Turn) -> None:
    """Where this device cannot speak, somebody else is to replace the leaf; where nobody does, it does so itself."""
    silent, config = _silent(turn), turn.state.config
    patience = 0 if _lonely(turn) else config.retry_most + ranks.device_place(turn) * config.turn_taking
    if silent and not devices.may_speak(turn):
        turn.due(Duty.HOME, devices.ASK, turn.now + config.retry_most)
        return
    known = turn.state.household.silent
    since = {each.group_id: known.find(each.group_id) or turn.now for each in silent}
    devices.keep(turn, silent=PMap(since))
    new = () if _lonely(turn) else tuple(each for each in since if each not in known)
    for at in range(0, len(new), MAX_ENTRIES):
        devices.announce(turn, Wanted(new[at : at + MAX_ENTRIES]))
    for strand in silent:
        until = since[strand.group_id] + patience
        if until <= turn.now and not _asked(strand) and _replaced(turn, strand, encrypt=False):
            turn.due(Duty.HOME, devices.ASK, turn.now + SPREAD)
            return
        turn.due(Duty.HOME, devices.ASK, until if until > turn.now else turn.now + config.retry_most)


def let_in(turn: Turn) -> None:
    """A device was let in for good."""
    raw_care.look_at_all(turn)
    if any(due(turn, here.group) for strand in conversations(turn) if (here := live(strand)) is not None):
        _soon(turn)
