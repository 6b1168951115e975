"""The account's devices: their group, the home, and what they tell each other.

What a device tells is an encrypted message of the home, in the epoch where the home stands. That epoch may lose, and
then those who never were in it have not heard; or somebody is added by a commit that the teller did not know of, and
gets a state that lacks what was told meanwhile. So everything that is told is kept (`Household.said`) until an epoch
is final that stands on the one it was told in, and is told again where that turns out to be necessary. Whoever hears
things has to bear hearing them twice. `tell` is for records (`siblings`), `announce` for what `mls.virtual` knows.

The home's own rules are in `listing` (who may be in it), how a device comes is in `linking`, how it goes in `rotation`,
and what its epochs mean for conversations in `leaves`.

A device that is no member where the home stands can say nothing and follow nothing. When that is final, or has stood
for the home's window, it forgets the account, all of it: it may be in somebody else's hands.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mls.errors import MlsError, StaleError
from mls.group import ApplicationMessage
from mls.virtual.announcements import (
    Announcement,
    Created,
    ExternalJoin,
    JoinedExternally,
    LostEpoch,
    Progress,
    Wanted,
    Welcomed,
    Withdrawn,
    decode_announcement,
    encode_announcement,
)
from mls.virtual.conversation import Author
from vcd.core import (
    desync,
    keys,
    leaves,
    linking,
    list_keys,
    listing,
    policy,
    ranks,
    rotation,
    siblings,
    stock,
    tellers,
    voting,
    vouching,
)
from vcd.core.accounts.credential import DeviceCredential, read
from vcd.core.duties import Duty
from vcd.core.effects import Leave, TakeBackPackages
from vcd.core.errors import Malformed, Misuse, Refused
from vcd.core.events import DevicesChanged, Warned
from vcd.core.household import NOWHERE, Held, Household, Roster, Saying
from vcd.core.names import DeviceId, EpochId, GroupId
from vcd.core.payloads import Post

if TYPE_CHECKING:
    from mls.persistent import PMap
    from mls.state import Group
    from vcd.core.keys import Opened
    from vcd.core.ordering.graph import Graph, Step
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

MAX_SAID = 1024
"""Things told that may have to be told again, each once, as it was told last. Of the kind of which there
are most the oldest is given up."""
MAX_HELD = 256


# ---------------------------------------------------------------- who is who


def device_at(group: Group, leaf: int) -> DeviceId | None:
    """Whose leaf that is in an epoch of the home."""
    node = group.public.tree.leaf(leaf) if leaf < group.public.tree.leaf_count else None
    identity = None if node is None else read(node.credential)
    return identity.device if isinstance(identity, DeviceCredential) else None


def device_of(turn: Turn, author: Author) -> DeviceId | None:
    """Which device said something in a conversation, as `mls.virtual` tells authors."""
    roster = turn.state.household.rosters.find(author.epoch_id)
    if roster is None:
        note_rosters(turn)
        roster = turn.state.household.rosters.find(author.epoch_id)
    return None if roster is None else roster.at(int(author.leaf))


def present(strand: Strand) -> tuple[DeviceId, ...]:
    """The devices where the head of the home is, the most senior first."""
    return tuple(DeviceId(each.account) for each in strand.graph.members(strand.head))


def note_rosters(turn: Turn) -> None:
    """Remember who has a part in each derivation epoch, while the home's epochs that began them are kept."""
    strand, rosters = turn.home, turn.state.household.rosters
    for epoch, kept in sorted(strand.kept.items(), key=lambda item: (item[1].group.epoch, item[0])):
        if kept.newest and kept.newest not in rosters:
            found = [(int(leaf), device_at(kept.group, leaf)) for leaf, _ in kept.group.members]
            devices = tuple((leaf, device) for leaf, device in found if device is not None)
            rosters = rosters.set(kept.newest, Roster(epoch=epoch, devices=devices))
    if rosters is not turn.state.household.rosters:
        keep(turn, rosters=rosters)


def keep(turn: Turn, **parts: Any) -> None:
    """Change parts of the household."""
    turn.change(household=replace(turn.state.household, **parts))


# ---------------------------------------------------------------- telling


def tell(turn: Turn, record: siblings.Sibling) -> None:
    """Tell our other devices something (`siblings`), until all can have heard it."""
    _told(turn, siblings.pack(record))


def _least(said: PMap[int, Saying]) -> int:
    """What is given up: another device can make this one say as much as it likes of some kinds, and not of others."""
    kinds = {number: each.data[: 1 + (each.data[0] >= siblings.MARK)] for number, each in said.items()}
    several = Counter(kinds.values())
    most = max(several, key=lambda kind: (several[kind], kind))
    return min(number for number, kind in kinds.items() if kind == most)


def announce(turn: Turn, announcement: Announcement) -> None:
    """The same for what `mls.virtual` has words for."""
    if isinstance(announcement, Withdrawn):
        turn.use(turn.emulation.without(announcement.references))
    _told(turn, encode_announcement(announcement, turn.emulation.settings.profile.form))


def _told(turn: Turn, data: bytes) -> None:
    household = turn.state.household
    number = household.numbered + 1
    said = household.said.changed([at for at, each in household.said.items() if each.data == data], {})
    while len(said) >= MAX_SAID:
        said = said.discard(_least(said))
    saying = Saying(epoch=NOWHERE, at=turn.now, data=data)
    keep(turn, numbered=number, said=said.set(number, saying))
    if may_speak(turn):
        _say(turn, number, saying)


def may_speak(turn: Turn) -> bool:
    """Whether this device can say anything in the home now."""
    strand, household = turn.home, turn.state.household
    here = strand.here
    return here is not None and here.group.ended is None and not household.listening and not household.gone


def _say(turn: Turn, number: int, saying: Saying) -> None:
    """Say it where the home stands. With nobody else there, nothing is sent."""
    strand = turn.home
    if len(present(strand)) > 1:
        if saying.data[0] < siblings.MARK:
            form = turn.emulation.settings.profile.form
            sealed = keys.announce(turn, decode_announcement(saying.data, form))
        else:
            sealed = keys.seal(turn, strand, saying.data)
        turn.publish(strand.kept[sealed.epoch].topic, Post(epoch=sealed.epoch, message=sealed.message))
        saying = replace(saying, digest=hashlib.sha256(sealed.message).digest())
    said = turn.state.household.said.set(number, replace(saying, epoch=strand.head))
    keep(turn, said=said)


def _say_again(turn: Turn) -> None:
    """After the home moved: what was told on a branch that lost, and what somebody new cannot have heard."""
    strand, household = turn.home, turn.state.household
    again: list[int] = []
    said = household.said
    for number, each in sorted(said.items()):
        if not strand.graph.has(each.epoch) or not strand.graph.is_ancestor(each.epoch, strand.head):
            again.append(number)
        elif each.epoch != strand.final and strand.graph.is_ancestor(each.epoch, strand.final):
            if _newcomers(strand.graph, each.epoch, strand.final):
                again.append(number)
            elif not _newcomers(strand.graph, strand.final, strand.head):  # else there may be more to come
                said = said.discard(number)
        elif each.epoch == strand.final and each.at + turn.state.config.frame_life < turn.now:
            said = said.discard(number)
    keep(turn, said=said)
    if not may_speak(turn) or not _clean(turn):
        return
    for number in again:
        found = turn.state.household.said.find(number)
        if found is not None and stock.to_be_told_again(turn, number, found):
            _say(turn, number, found)


def say_missed(turn: Turn, digests: Iterable[bytes]) -> None:
    """Another device could not read these. They are sealed anew, so what was asked for is no name of them any more."""
    said = turn.state.household.said
    missed = [(number, each) for number, each in sorted(said.items()) if each.digest and each.digest in digests]
    if missed:
        keep(turn, said=said.update({number: replace(each, epoch=NOWHERE, digest=b"") for number, each in missed}))
        _say_again(turn)


def _newcomers(graph: Graph, since: EpochId, to: EpochId) -> bool:
    """Whether somebody came in between, by a commit whose author may not have heard by then."""
    return any(graph.steps[each].adds or graph.steps[each].moved for each in graph.path(to, since))


def _clean(turn: Turn) -> bool:
    """Whether nobody is here who was shut out on a branch that lost, and must not hear what was told there."""
    made = turn.state.household.made
    return made is None or all(made.devices.revoked(device) is None for device in present(turn.home))


# ---------------------------------------------------------------- hearing


def heard(turn: Turn, epoch: EpochId, opened: Opened) -> None:
    """What another device of ours said in the home."""
    event, kept = opened.event, turn.home.kept[epoch]
    device = device_at(kept.group, int(event.sender)) if isinstance(event, ApplicationMessage) else None
    if device is None or not isinstance(event, ApplicationMessage):
        return  # what is for one device alone was carried out where it was opened
    note_heard(turn, device, kept.newest)
    told = siblings.Told(device=device, epoch=epoch, newest=kept.newest)
    _act(turn, told, event.data, turn.now)
    try_held(turn)


def note_heard(turn: Turn, device: DeviceId, newest: bytes) -> None:
    """A device acted in that derivation epoch, and so has all that is before it."""
    household, emulation = turn.state.household, turn.emulation
    last = household.heard.find(device)
    if turn.now - (household.seen.find(device) or 0) >= policy.HOUR:
        keep(turn, seen=household.seen.set(device, turn.now))
    if newest in emulation.epochs and (last is None or last in emulation.lineage(newest)):
        keep(turn, heard=household.heard.set(device, newest))


def _act(turn: Turn, told: siblings.Told, data: bytes, since: int, *, late: bool = False) -> None:
    """Do what a device said; later, if it rests on what is still on its way, or if the device is not here any more.

    One that was removed could still say things in epochs before that, and lead us into whatever it likes. If the
    branch that removed it loses, it counts; and so does what brought us into a conversation that one who is here
    follows too.
    """
    if told.device not in present(turn.home) and not vouching.vouched(turn, data):
        _hold(turn, told, data, since)
        return
    try:
        if data[:1] >= bytes([siblings.MARK]):
            record = siblings.unpack(data)
            siblings.handlers()[type(record)](turn, told, record)
        else:
            announcement = decode_announcement(data, turn.emulation.settings.profile.form)
            if late:
                tellers.late(turn, told, announcement)
            handler = ANNOUNCED.get(type(announcement))
            if handler is not None:
                handler(turn, told, announcement)
    except StaleError:  # something else of a sibling's is still on its way
        _hold(turn, told, data, since)
    except (MlsError, Malformed, Refused) as error:
        turn.drop("sibling", str(error))


def _hold(turn: Turn, told: siblings.Told, data: bytes, since: int) -> None:
    """Keep it. If there is too much, the oldest of the device that said most of it goes."""
    held = Held(epoch=told.epoch, device=told.device, newest=told.newest, at=since, data=data)
    everything = [*turn.state.household.held, held]
    if len(everything) > MAX_HELD:
        by = [each.device for each in everything]
        most = max(sorted(set(by)), key=by.count)
        del everything[by.index(most)]
    keep(turn, held=tuple(everything))


def try_held(turn: Turn) -> None:
    """What could not be done before may be possible now."""
    held, life = turn.state.household.held, turn.state.config.waiting_life
    if not held:
        return
    keep(turn, held=())
    for each in held:
        if each.at + life > turn.now:
            told = siblings.Told(device=each.device, epoch=each.epoch, newest=each.newest)
            _act(turn, told, each.data, each.at, late=True)


def _on_brought(turn: Turn, told: siblings.Told, announcement: Created | JoinedExternally | Welcomed) -> None:
    """A conversation that a sibling brought us into."""
    from vcd.core import bringing

    bringing.along(turn, told, announcement)


def _on_external_join(turn: Turn, told: siblings.Told, announcement: ExternalJoin) -> None:
    """A sibling is about to: the others need not."""
    del told
    desync.sibling_tries(turn, announcement.group_id)


def _on_withdrawn(turn: Turn, told: siblings.Told, announcement: Withdrawn) -> None:
    """Whoever gives these out is this device, perhaps."""
    del told, announcement
    stock.reconcile(turn)


def _on_wanted(turn: Turn, told: siblings.Told, announcement: Wanted) -> None:
    leaves.wanted(turn, announcement.group_ids, told.newest)


def _on_lost(turn: Turn, told: siblings.Told, announcement: LostEpoch) -> None:
    del told
    leaves.passed_on(turn, announcement.epoch_id)


def _on_progress(turn: Turn, told: siblings.Told, announcement: Progress) -> None:
    rotation.heard(turn, told, announcement)


ANNOUNCED: Mapping[type[Any], Callable[[Turn, siblings.Told, Any], None]] = {
    Created: _on_brought,
    ExternalJoin: _on_external_join,
    JoinedExternally: _on_brought,
    Welcomed: _on_brought,
    Withdrawn: _on_withdrawn,
    Wanted: _on_wanted,
    LostEpoch: _on_lost,
    Progress: _on_progress,
}
"""What concerns keys alone was carried out when the message was opened (`tellers`)."""


def followed(turn: Turn, step: Step, opened: Opened) -> None:
    """A commit in the home was followed."""
    from vcd.core import renaming

    del opened
    note_rosters(turn)
    strand = turn.home
    author = next((each for each in strand.graph.members(step.parent) if each.incarnation == step.author), None)
    parent = strand.kept.find(step.parent)
    if author is not None and parent is not None:
        note_heard(turn, DeviceId(author.account), parent.newest)
    child = strand.kept.find(step.epoch)
    if parent is not None and child is not None:
        renaming.followed(turn, listing.of_group(parent.group), listing.of_group(child.group))


def on_account_key(turn: Turn, told: siblings.Told, record: siblings.NewAccountKey) -> None:
    """The private half of a list's account key."""
    del told
    suite = turn.provider.suite(turn.state.config.cipher_suite)
    if suite.scheme.public_key(record.private) != record.public:
        raise Refused("account-key")
    known = turn.state.household.account_keys
    if record.public not in known:
        keep(turn, account_keys=_few(known.set(record.public, record.private), turn))
    follow_list(turn)
    list_keys.look(turn)
    rotation.wake(turn)


MAX_ACCOUNT_KEYS = 16


def _few(table: Any, turn: Turn) -> Any:
    """A sibling could tell of any number of keys: those that no list has go first."""
    listed = {listing.of_group(kept.group).head.signing_key for kept in turn.home.kept.values()}
    for public in sorted(table.keys()):
        if len(table) <= MAX_ACCOUNT_KEYS:
            break
        if public not in listed:
            table = table.discard(public)
    return table


def on_delegate_key(turn: Turn, told: siblings.Told, record: siblings.NewDelegateKey) -> None:
    del told
    list_keys.take(turn, record)
    list_keys.look(turn)
    rotation.wake(turn)


def on_here(turn: Turn, told: siblings.Told, record: siblings.Here) -> None:
    """A new device has what it needs."""
    if told.device == record.device:
        linking.arrived(turn, record.device)


# ---------------------------------------------------------------- where the home stands


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """A group stands elsewhere. If it is the home, much follows; else our leaf in it may need to be replaced."""
    from vcd.core import overruling, renaming

    if not after.home:
        leaves.look(turn, after.group_id)
        return
    note_rosters(turn)
    _come_and_gone(turn, before, after)
    if turn.state.household.gone or after.here is None:
        return
    _awake(turn, after)
    follow_list(turn)
    _say_again(turn)
    _tell_account_key(turn)
    list_keys.term(turn)
    list_keys.look(turn)
    overruling.moved(turn, before, after)
    renaming.moved(turn)
    linking.moved(turn)
    leaves.home_moved(turn, before, after)
    try_held(turn)


def _come_and_gone(turn: Turn, before: Strand, after: Strand) -> None:
    """Tell who is there, and see whether we are."""
    was = present(before) if before.graph.has(before.head) else ()
    now = present(after)
    if frozenset(was) != frozenset(now):
        turn.tell(DevicesChanged(devices=now))
    me = turn.state.me.device
    if me in now:
        if turn.state.household.gone:
            keep(turn, gone=False)
            voting.begin(turn)
            turn.not_due(Duty.HOME, GONE)
        return
    if not turn.state.household.gone:
        keep(turn, gone=True)
        turn.tell(Warned(code="device-removed", group=after.group_id))
        turn.due(Duty.HOME, GONE, turn.now + policy.HOME.window)
    if not _may_be_in(after, me):
        turn.due(Duty.HOME, GONE, turn.now)


def _may_be_in(home: Strand, me: DeviceId) -> bool:
    """Whether a device is in what is final, or in something that may be: who has just come was not there before."""
    graph, final = home.graph, home.final
    return any(
        graph.is_ancestor(final, epoch) and any(DeviceId(each.account) == me for each in graph.members(epoch))
        for epoch in (final, *graph.steps)
    )


def _awake(turn: Turn, after: Strand) -> None:
    """An old disk is one of ours again once it came back into the home by an act of its own."""
    household = turn.state.household
    step, mine = after.graph.steps.find(after.head), ranks.own(after)
    if not household.listening or step is None or mine is None:
        return
    came_back = step.author == mine.incarnation and bool(step.moved)
    if came_back or after.graph.is_ancestor(household.awake, after.head):
        keep(turn, listening=False)
        voting.begin(turn)
        turn.due(Duty.HOME, ASK, turn.now + turn.state.config.quiet)
        turn.due(Duty.HOME, RECALL, turn.now + turn.state.config.quiet)


def follow_list(turn: Turn) -> None:
    """Which edition of our list others are shown.

    The one that is final; and one that shuts somebody out at once, as nobody waits with that. It takes its account key.
    """
    from vcd.core import invitations, raw_care

    strand, state = turn.home, turn.state
    here, final = strand.here, strand.kept.find(strand.final)
    if here is None:
        return
    newest = listing.of_group(here.group)
    certain = newest if final is None else listing.of_group(final.group)
    chosen = newest if newest.head.revoked > certain.version else certain
    signing = state.household.account_keys.find(chosen.head.signing_key)
    if signing is None or (state.book.edition is not None and state.book.edition.head.digest == chosen.head.digest):
        return
    turn.change(book=replace(state.book, edition=chosen))
    keep(turn, signing=signing)
    turn.due(Duty.STOCK, b"", turn.now)
    invitations.list_changed(turn)
    raw_care.look_at_all(turn)


def _tell_account_key(turn: Turn) -> None:
    """A list that this device made brings a new account key: now that it counts, the others are told."""
    household, here = turn.state.household, turn.home.here
    if household.made is None or here is None or not may_speak(turn):
        return
    public = household.made.head.signing_key
    private = household.account_keys.find(public)
    if public == household.key_told or private is None:
        return
    if listing.of_group(here.group).head.digest == household.made.head.digest:
        keep(turn, key_told=public)
        tell(turn, siblings.NewAccountKey(public=public, private=private))


# ---------------------------------------------------------------- in due time

GONE = b"gone"
LEAVES = b"leaves"
LOST = b"lost"
AWAKE = b"awake"
ASK = b"ask"
LINK = b"link"
RULES = b"rules"
OVERRULE = b"overrule"
NAMES = b"names"
JOIN = b"join"
RECALL = b"recall"
INSIDE = b"inside"
LACKING = b"lacking"
BRING = b"bring"
KEYS = b"keys"


def chore(turn: Turn, subject: bytes) -> None:
    """Duty HOME."""
    from vcd.core import bringing, joining, overruling, recalling, renaming

    if turn.state.home is None:
        return
    plain = {
        GONE: _forget_account,
        LEAVES: leaves.replace_due,
        LOST: leaves.pass_on,
        AWAKE: leaves.wake_up,
        ASK: leaves.ask,
        RULES: overruling.push,
        NAMES: renaming.push,
        JOIN: joining.push,
        RECALL: recalling.ask,
        INSIDE: bringing.say,
        KEYS: list_keys.ask,
    }
    if subject in plain:
        plain[subject](turn)
        return
    for prefix, act in ((OVERRULE, overruling.give), (LINK, linking.go_on), (RECALL, recalling.chore)):
        if subject.startswith(prefix):
            act(turn, DeviceId(subject[len(prefix) :]))
    for prefix, of_group in ((LACKING, bringing.lack), (BRING, bringing.bring)):
        if subject.startswith(prefix):
            of_group(turn, GroupId(subject[len(prefix) :]))


def started(turn: Turn) -> None:
    """The node was loaded: give again what a device that is being linked waits for."""
    if turn.state.home is None:
        return
    linking.started(turn)
    rotation.started(turn)
    list_keys.look(turn)
    if turn.state.household.listening:
        turn.due(Duty.HOME, AWAKE, turn.now + turn.state.config.desync_after)


def _forget_account(turn: Turn) -> None:
    """This device belongs to the account no more: nothing of it stays."""
    from vcd.core import founding

    old = turn.state
    if not old.household.gone or old.emulation is None:
        return
    for name in sorted(old.joined):
        turn.effects.append(Leave(topic=name))
    references = tuple(sorted(old.emulation.stock))
    if references:
        turn.effects.append(TakeBackPackages(references=references))
    turn.state = founding.forgotten(turn.provider, old)
    turn.touched.clear()
    turn.again.clear()
    turn.tell(DevicesChanged(devices=()))
    turn.tell(Warned(code="account-forgotten"))


def require(turn: Turn) -> Household:
    """The household, of a device that has a part in it."""
    if turn.state.home is None:
        raise Misuse("no-account", "this device has no account yet")
    if not may_speak(turn):
        raise Misuse("out-of-sync", "this device cannot speak to the others now")
    return turn.state.household
