"""Removing devices: each is shut out of the home, and then every conversation gets keys that it never had.

`mls.virtual.removal` knows the order and what is still to do; its value is in `State.rotation`, and devices tell each
other how far they are (`Progress`). This room does the steps:

    WITHDRAW    KeyPackages are taken back, as the removed device could open Welcomes to them
    REMOVE      one commit in the home removes it, and brings the list in which it is shut out
    RENEW       new signature keys for our leaves, told to those who stay
    ROTATE      each conversation gets a leaf from the new epoch, with a key of its own, and the head of the new list
    UPLOAD      new KeyPackages

Nothing waits for the new epoch to be final; only `complete` does. If the commit loses at home, it is made again on the
branch that won, and so is all that rested on it. Two removals at once become one of several devices; of two devices
that shut out each other the one whose list counts stays, also for those who saw its removal first.

The device that was asked does the first three steps. The conversations are shared out among all who stay, each with its
turn by a hash of its name: who is awake does its own at once, and those of others a little later. A device that follows
the commit in the home knows all that it needs to carry on, whether or not it hears more of the one that began.

Who may: a delegate, for devices that are none; and whoever has the recovery phrase, for any (a new term of the list).
Where the home stands for good with a list under which this device may not, as somebody with the phrase made that device
a delegate meanwhile, the removal ends here, and whoever asked for it is told. Another device may still go on with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.commit import NewLeaf
from mls.errors import MlsError
from mls.proposals import Proposal, Remove
from mls.registries import GroupId, KeyPackageRef
from mls.state import Group
from mls.virtual.announcements import MAX_ENTRIES, Keys, Progress, SignatureKey, Withdrawn
from mls.virtual.noticing import noticed
from mls.virtual.removal import Fingerprint, Removal, Step, Task, Withdrawal, begin, merge
from vcd.core import acting, devices, leaves, linking, listing, ranks, siblings, stock, vouching
from vcd.core.accounts import editions
from vcd.core.accounts.credential import virtual_credential
from vcd.core.accounts.device_list import Edition
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.events import IntentFate, Removing
from vcd.core.household import Leaving, Rotation
from vcd.core.names import AccountId, DeviceId, IntentId
from vcd.core.ordering.choice import struck
from vcd.core.reign import waits_for_lead
from vcd.core.strand import Strand, counts

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.turn import Turn

GATHER = 1000
"""How long a removal waits for another one, in milliseconds: two in one commit are final sooner than one after the
other, as nobody has to vote on his own."""
AT_ONCE = 8
"""New leaves that one device makes before it looks at what else there is."""
MAX_DONE = 1024
MAX_DRAWN = 1 << 15
_NOBODY = IntentId(b"")


# ---------------------------------------------------------------- beginning


def remove(turn: Turn, command: inputs.RemoveDevice) -> None:
    """Remove a device."""
    household, device = devices.require(turn), command.device
    known = turn.state.rotation
    if known is not None and any(each.intent == command.intent for each in known.leaving):
        return
    if device == turn.state.me.device:
        raise Misuse("own-device", "a device is removed by another one, or by forgetting its account")
    edition = linking.next_edition(turn)
    linked = linking.cancel(turn, device)
    if edition.devices.find(device) is None and device not in devices.present(turn.home):
        if not linked:
            raise Misuse("no-such-device", "there is no such device in the account")
        turn.tell(IntentFate(intent=command.intent, stands=True))  # it was not let in yet: there is nobody to shut out
        return
    if edition.devices.find(device) is not None:
        linking.sign(turn, _shut_out(turn, edition, command))
    elif household.delegate is None and command.root is None:
        raise Misuse("not-delegate", "this device may not remove others")
    _begin(turn, [device], command.intent)
    go_on(turn)


def shut_out(turn: Turn, gone: Iterable[DeviceId], intent: IntentId) -> None:
    """Remove devices that a list of ours shuts out."""
    _begin(turn, list(gone), intent)
    go_on(turn)


def _shut_out(turn: Turn, edition: Edition, command: inputs.RemoveDevice) -> editions.Made:
    delegate = linking.delegate_key(turn, edition)
    if command.root is not None:
        kept = {each.device for each in edition.devices.delegates} - {command.device}
        return editions.new_term(
            turn.provider,
            command.root,
            edition,
            delegates=sorted(kept or {turn.state.me.device}),
            revoke=[command.device],
            above=editions.uncertain(turn.now),
        )
    if delegate is None:
        raise Misuse("not-delegate", "this device may not remove others")
    return editions.revoke_device(turn.provider, edition, delegate, command.device)


def _begin(turn: Turn, gone: Iterable[DeviceId], intent: IntentId) -> None:
    """The removal of these devices, or of these too."""
    named = [Fingerprint(each) for each in gone]
    rotation = turn.state.rotation
    if rotation is None:
        rotation = Rotation(since=turn.now)
        removal = begin(named, references=(), group_ids=(), old_keys=())
    else:
        removal = Removal.decode(rotation.removal)
        if set(named) <= removal.devices and intent == _NOBODY:
            return
        removal = removal.also(
            named, references=sorted(turn.emulation.stock.keys()), old_keys=sorted(turn.emulation.keys)
        )
    leaving = [each for each in rotation.leaving if each.intent or each.device not in gone]
    leaving += [Leaving(device=DeviceId(each), intent=intent) for each in named]
    turn.change(rotation=replace(rotation, leaving=tuple(leaving), since=turn.now))
    _store(turn, _known(turn, removal))


def begin_with(turn: Turn, encoded: bytes) -> None:
    """On a new device: a removal goes on."""
    try:
        removal = Removal.decode(encoded)
    except MlsError:
        return
    turn.change(rotation=Rotation(since=turn.now))
    _store(turn, removal)
    wake(turn)


# ---------------------------------------------------------------- what is known of it


def _groups(turn: Turn) -> list[Group]:
    return [here.group for each in leaves.conversations(turn) if (here := leaves.live(each)) is not None]


def _known(turn: Turn, removal: Removal) -> Removal:
    """With what this device knows of the home's epochs and of its conversations."""
    emulation, rosters, strand = turn.emulation, turn.state.household.rosters, turn.home
    present = list(emulation.lineage(emulation.head.newest))
    gone = {DeviceId(each) for each in removal.devices}
    for place in reversed(range(len(present))):  # the oldest first
        name = present[place]
        roster = rosters.find(name)
        before = rosters.find(present[place + 1]) if place + 1 < len(present) else None
        if roster is None:
            continue
        removes = [] if before is None else [Fingerprint(each) for each in sorted((gone & before.names) - roster.names)]
        if removes or name in removal.epochs or any(each in removal.epochs for each in present[place + 1 :]):
            removal = removal.adopted(
                name, parent=present[place + 1] if place + 1 < len(present) else b"", removes=removes
            )
            if not strand.graph.has(roster.epoch) or strand.graph.is_ancestor(roster.epoch, strand.final):
                removal = removal.final(name)  # those before the graph begins are final too
    for name in sorted(removal.epochs):
        branch = removal.epochs[name]
        if branch.stands and not branch.final and name not in present and name in emulation.epochs:
            removal = removal.lost(name)
    held = {each.group_id for each in leaves.conversations(turn)}
    for group_id, conversation in sorted(removal.conversations.items()):
        theirs = turn.state.strands.find(group_id)
        if conversation.stands and group_id not in held and (theirs is None or _over(turn, theirs)):
            removal = removal.left(group_id)
    return noticed(removal, emulation, _groups(turn))


def _over(turn: Turn, strand: Strand) -> bool:
    """Whether a conversation is over for us: for good, as a leaf that comes back may be one that the device knows."""
    here, own = strand.here, turn.state.book.own
    if here is not None and here.group.ended is not None:
        return True
    return all(each.account != own for at in (strand.final, strand.head) for each in strand.graph.members(at))


def _store(turn: Turn, removal: Removal) -> None:
    rotation = turn.state.rotation
    if rotation is None:
        return
    standing = [group_id for group_id, each in removal.conversations.items() if each.stands]
    rotated = sum(removal.may_send(group_id) for group_id in standing)
    named = tuple(sorted(DeviceId(each) for each in removal.devices))
    complete = removal.complete
    if (rotated, len(standing)) != (rotation.rotated, rotation.conversations) or complete:
        turn.tell(Removing(devices=named, rotated=rotated, conversations=len(standing), complete=complete))
    if not complete:
        after = replace(rotation, removal=removal.encode(), rotated=rotated, conversations=len(standing))
        turn.change(rotation=after)
        return
    for each in rotation.leaving:
        if each.intent:
            turn.tell(IntentFate(intent=each.intent, stands=True))
    turn.change(rotation=None)
    turn.not_due(Duty.ROTATE, b"")
    turn.due(Duty.HOME, devices.LEAVES, turn.now)  # what else was to be replaced has waited for this
    done = turn.state.household.done
    for device in named:
        if len(done) >= MAX_DONE:
            done = done.discard(min(done.items(), key=lambda item: item[1])[0])
        done = done.set(device, 1 + max(done.values(), default=0))
    devices.keep(turn, done=done)
    _announce(turn, removal)


def _announce(turn: Turn, removal: Removal) -> None:
    """To those who stay: nothing of it before the others are gone."""
    encoded = removal.encode()
    if removal.clean and not _still_here(turn, removal):
        devices.announce(turn, Progress(encoded))


def _still_here(turn: Turn, removal: Removal) -> list[DeviceId]:
    return [each for each in devices.present(turn.home) if Fingerprint(each) in removal.devices]


def heard(turn: Turn, told: siblings.Told, announcement: Progress) -> None:
    """How far another device is."""
    theirs = Removal.decode(announcement.removal)
    named = [DeviceId(each) for each in theirs.devices]
    roster = turn.state.household.rosters.find(told.newest)
    if roster is None or any(each in roster.names for each in named):
        return  # a device that is to go could say so
    vouching.vouch(turn, [group_id for group_id, each in theirs.conversations.items() if each.stands])
    if all(each in turn.state.household.done for each in named):
        return
    rotation = turn.state.rotation
    if rotation is None:  # one begun here would take the keys that are new for old ones, as they are known by now
        turn.change(rotation=Rotation(since=turn.now))
    else:
        theirs = merge(Removal.decode(rotation.removal), theirs)
    _store(turn, _known(turn, theirs))
    wake(turn)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """A group stands elsewhere: there may be more to do, or again."""
    if turn.state.home is None or turn.state.household.gone or turn.home.here is None:
        return
    if after.home:
        _take_back(turn, before, after)
        _follow(turn, before, after)
    rotation = turn.state.rotation
    if rotation is None:
        return
    if after.group_id in rotation.tried:
        turn.change(rotation=replace(rotation, tried=rotation.tried.discard(after.group_id)))
    _store(turn, _known(turn, Removal.decode(rotation.removal)))
    wake(turn)


def _follow(turn: Turn, before: Strand, after: Strand) -> None:
    """Another device removed one: everybody who stays has a part in what follows."""
    was = set(devices.present(before)) if before.graph.has(before.head) else set()
    gone = sorted(was - set(devices.present(after)) - {turn.state.me.device})
    here = after.here
    if not gone or here is None:
        return
    edition = listing.of_group(here.group)
    shut_out = [each for each in gone if edition.devices.revoked(each) is not None]
    if shut_out:
        _begin(turn, shut_out, _NOBODY)


def _take_back(turn: Turn, before: Strand, after: Strand) -> None:
    """A device that shut out whoever removed it stays, where its list counts for more: nobody here owes its removal."""
    rotation = turn.state.rotation
    if rotation is None or not before.graph.has(before.head):
        return
    removal, was = Removal.decode(rotation.removal), {*devices.present(before)}
    asked = {each.device for each in rotation.leaving if each.intent}
    back = {each for each in _still_here(turn, removal) if each not in was and each not in asked}
    if not back:
        return
    graph = after.graph if after.graph.has(before.head) else before.graph
    hit = struck(graph, graph.anchor.epoch, counts(after) | counts(before))
    removed: dict[DeviceId, set[AccountId]] = {}
    shut_out: dict[DeviceId, set[AccountId]] = {}
    for epoch, step in graph.steps.items():
        whose = {each.incarnation: each.account for each in graph.members(step.parent)}
        author = whose.get(step.author)
        if author is None:
            continue
        for each in step.removes:
            removed.setdefault(DeviceId(whose[each]), set()).add(author)
        if epoch not in hit:
            shut_out.setdefault(DeviceId(author), set()).update(each.account for each in step.lists if each.revokes)
    _forget(turn, [each for each in sorted(back) if each in removed and removed[each] <= shut_out.get(each, set())])


def wake(turn: Turn) -> None:
    if turn.state.rotation is not None:
        turn.due(Duty.ROTATE, b"", turn.now)


def started(turn: Turn) -> None:
    wake(turn)


# ---------------------------------------------------------------- doing it


def next_step(turn: Turn, subject: bytes) -> None:
    """Duty ROTATE."""
    del subject
    if turn.state.rotation is not None and turn.state.home is not None:
        go_on(turn)


def go_on(turn: Turn) -> None:
    """All that can be done now. What changes where a group stands is looked at first (`moved`), before more is done."""
    if devices.may_speak(turn):
        _give_up(turn)
    rotation = turn.state.rotation
    if rotation is None or not devices.may_speak(turn):
        return
    removal = _known(turn, Removal.decode(rotation.removal))
    before = removal.encode()
    try:
        todo = removal.todo
        if not removal.clean and not all(_may_shut_out(turn, each) for each in _still_here(turn, removal)):
            todo = ()  # KeyPackages would be withdrawn and made again for nothing
        if todo and todo[0].step is Step.WITHDRAW:
            removal = _withdraw(turn, removal, [each for each in todo if each.step is Step.WITHDRAW])
            todo = removal.todo
        if todo and todo[0].step is Step.REMOVE:
            _remove(turn, removal)
        elif todo and todo[0].step is Step.RENEW:
            removal = _renew(turn, removal)
            todo = removal.todo
        if todo and any(each.step is Step.UPLOAD for each in todo):
            removal = _upload(turn, removal)
        rotations = [GroupId(each.name) for each in todo if each.step is Step.ROTATE]
        if rotations:
            removal = _rotate(turn, removal, rotations)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("rotation-later", str(error))
        turn.due(Duty.ROTATE, b"", turn.now + turn.state.config.retry)
    removal = _known(turn, removal)
    _store(turn, removal)
    if removal.encode() != before and turn.state.rotation is not None:
        _announce(turn, removal)
    if turn.state.rotation is not None and removal.todo:
        turn.due(Duty.ROTATE, b"", turn.now + turn.state.config.retry)


def _withdraw(turn: Turn, removal: Removal, tasks: list[Task]) -> Removal:
    stock.revoke_all(turn)
    references = [KeyPackageRef(each.name) for each in tasks]
    used = [each for each in references if each in turn.emulation.stock]
    for at in range(0, len(used), MAX_ENTRIES):
        devices.announce(turn, Withdrawn(tuple(used[at : at + MAX_ENTRIES])))
    stock.reconcile(turn)
    newest = turn.emulation.head.newest
    for each in references:
        removal = removal.withdrawn(each, Withdrawal.BOTH, epoch_id=newest)
    return removal


def _remove(turn: Turn, removal: Removal) -> None:
    """The commit in the home, of all of them who are there."""
    strand, rotation = turn.home, _rotation(turn)
    here = strand.here
    if here is None:
        return
    wait = rotation.since + (GATHER if _asked(turn) else GATHER + _turns(turn, 0))
    if turn.now < wait:
        turn.due(Duty.ROTATE, b"", wait)
        return
    edition = _listed_out(turn, removal)
    there = {leaf: devices.device_at(here.group, leaf) for leaf, _ in here.group.members}
    proposals: list[Proposal] = [
        Remove(leaf)
        for leaf, device in there.items()
        if device is not None and Fingerprint(device) in removal.devices and edition.devices.find(device) is None
    ]
    if not proposals:
        return
    if listing.of_group(here.group).head.digest != edition.head.digest:
        proposals.append(listing.update(edition))
    acting.commit(turn, strand, proposals=proposals, force_path=True)


def _may_shut_out(turn: Turn, device: DeviceId) -> bool:
    """Whether this device can make a list without that one, or has made one that counts for more than the home's."""
    here, made = turn.home.here, turn.state.household.made
    if here is None:
        return False
    now = listing.of_group(here.group)
    entry, signs = now.devices.find(device), linking.signer(turn, now) is not None
    if made is not None and made.devices.revoked(device) is not None and linking.follows(turn, now, made):
        return True
    return signs and (entry is None or (not entry.delegate and now.devices.policy.delegates_revoke))


def _give_up(turn: Turn) -> None:
    """End the removal of whom this device may not shut out, once no other list can come to count by itself.

    A delegate whose key is still on its way waits for that.
    """
    rotation, strand, here = turn.state.rotation, turn.home, turn.home.here
    if rotation is None or here is None or strand.head != strand.final:
        return
    now, removal = listing.of_group(here.group), Removal.decode(rotation.removal)
    own = now.devices.find(turn.state.me.device)
    keyless = own is not None and own.delegate and linking.signer(turn, now) is None
    lost = [each for each in _still_here(turn, removal) if not _may_shut_out(turn, each)]
    if not lost or keyless:
        return
    for each in rotation.leaving:
        if each.device in lost and each.intent:
            turn.tell(IntentFate(intent=each.intent, stands=False, reason="other-rules"))
    _forget(turn, lost)


def _forget(turn: Turn, lost: Collection[DeviceId]) -> None:
    """These are not to go any more."""
    rotation = turn.state.rotation
    if rotation is None or not lost:
        return
    removal = Removal.decode(rotation.removal)
    rest = removal.devices - {Fingerprint(each) for each in lost}
    if rest:
        leaving = tuple(each for each in rotation.leaving if each.device not in lost)
        turn.change(rotation=replace(rotation, leaving=leaving))
        _store(turn, _known(turn, replace(removal, devices=rest)))
    else:
        turn.change(rotation=None)
        turn.not_due(Duty.ROTATE, b"")
        turn.due(Duty.HOME, devices.LEAVES, turn.now)


def _listed_out(turn: Turn, removal: Removal) -> Edition:
    """The list without them. It was signed when they were removed; but where a new term has begun since, or two lists
    were made at once, it may have to be signed again. So may what the root did not know of when it began the term.
    """
    edition, here = linking.next_edition(turn), turn.home.here
    stones = () if here is None else listing.of_group(here.group).devices.tombstones
    for name in sorted({*map(DeviceId, removal.devices), *(stone.device for stone in stones)}):
        entry, key = edition.devices.find(name), linking.signer(turn, edition)
        if entry is not None and not entry.delegate and key is not None:
            linking.sign(turn, editions.revoke_device(turn.provider, edition, key, name))
            edition = turn.state.household.made or edition
    return edition


def _suites(turn: Turn) -> list[int]:
    return sorted({turn.state.config.cipher_suite, *(each.suite.cipher_suite for each in _groups(turn))})


def _new_keys(turn: Turn, removal: Removal) -> dict[int, bytes]:
    """The new signature key of each suite, whoever drew it."""
    clean, found = removal.clean, {}
    for epoch_id, public in sorted(removal.renewals, reverse=True):
        key = turn.emulation.keys.find(public)
        if key is not None and epoch_id in clean and public not in removal.old_keys:
            found[key.cipher_suite] = public
    return found


def _renew(turn: Turn, removal: Removal) -> Removal:
    newest = turn.emulation.head.newest
    if newest not in removal.clean:
        return removal
    wait = _rotation(turn).since + _turns(turn, 0)
    if turn.now < wait and not _asked(turn):
        turn.due(Duty.ROTATE, b"", wait)
    else:
        drawn = []
        for suite in _suites(turn):
            emulation, public = turn.emulation.drawn_key(turn.env, suite)
            turn.change(emulation=emulation)
            drawn.append(SignatureKey(cipher_suite=suite, public=public, private=emulation.keys[public].private))
        devices.announce(turn, Keys(tuple(drawn)))
        for key in drawn:
            removal = removal.renewed(newest, key.public)
    return removal


def _rotation(turn: Turn) -> Rotation:
    found = turn.state.rotation
    return Rotation() if found is None else found


def _asked(turn: Turn) -> bool:
    """Whether this device was asked to remove somebody."""
    return any(each.intent for each in _rotation(turn).leaving)


def _turns(turn: Turn, before: int) -> int:
    """How long this device waits for another one to do what that one should."""
    return (before + 1 + ranks.device_place(turn)) * turn.state.config.turn_taking


def _upload(turn: Turn, removal: Removal) -> Removal:
    newest = turn.emulation.head.newest
    if newest not in removal.clean or not _new_keys(turn, removal):
        return removal
    stock.replenish(turn, b"")
    return removal.uploaded(newest)


def _rotate(turn: Turn, removal: Removal, group_ids: list[GroupId]) -> Removal:
    """New leaves: those of this device's share at once, others when nobody else made them."""
    edition, signing = turn.state.book.edition, turn.state.household.signing
    here = turn.home.here
    if edition is None or signing is None or here is None:
        return removal
    if edition.head.digest != listing.of_group(here.group).head.digest:
        return removal  # its account key is still on its way
    new = _new_keys(turn, removal)
    now: list[tuple[GroupId, int]] = []
    later: list[int] = []
    for group_id in group_ids:
        strand = turn.state.strands.find(group_id)
        kept = None if strand is None else leaves.live(strand)
        if strand is None or kept is None or not leaves.able(turn, kept.group):
            continue
        at = max(_at(turn, group_id), _rotation(turn).tried.find(group_id) or 0)
        suite = kept.group.suite.cipher_suite
        keyless = suite not in new and not _may_draw(turn, removal)
        if waits_for_lead(strand) or keyless:  # each further commit would only be one more that does not count
            at = max(at, turn.now + turn.state.config.retry)
        if at > turn.now or len(now) >= AT_ONCE:
            later.append(max(at, turn.now))
        else:
            now.append((group_id, suite))
    if later:
        turn.due(Duty.ROTATE, b"", min(later))
    removal, drawn = _draw(turn, removal, [suite for _, suite in now], new)
    for (group_id, _), public in zip(now, drawn, strict=True):
        credential = virtual_credential(turn.provider, edition.head, signing, public)
        leaf = NewLeaf(credential=credential, signature_private=turn.emulation.keys[public].private)
        rotation = _rotation(turn)
        tried = rotation.tried.set(group_id, turn.now + turn.state.config.retry)
        turn.change(rotation=replace(rotation, tried=tried))
        try:
            acting.commit(turn, turn.strand(group_id), force_path=True, leaf=leaf)
        except (MlsError, Misuse, Refused) as error:
            turn.drop("rotation-later", str(error))
    return removal


def _draw(turn: Turn, removal: Removal, suites: list[int], shared: dict[int, bytes]) -> tuple[Removal, list[bytes]]:
    """A signature key for each of several conversations: with one and the same, strangers could connect them.

    Others are told first. Where no more keys can be noted, it is the one that was drawn for all.
    """
    newest = turn.emulation.head.newest
    if not _may_draw(turn, removal):
        return removal, [shared[suite] for suite in suites]
    drawn = []
    for suite in suites:
        emulation, public = turn.emulation.drawn_key(turn.env, suite)
        turn.change(emulation=emulation)
        drawn.append(SignatureKey(cipher_suite=suite, public=public, private=emulation.keys[public].private))
        removal = removal.renewed(newest, public)
    if drawn:
        devices.announce(turn, Keys(tuple(drawn)))
    return removal, [key.public for key in drawn]


def _may_draw(turn: Turn, removal: Removal) -> bool:
    return turn.emulation.head.newest in removal.clean and len(removal.renewals) < MAX_DRAWN


def _at(turn: Turn, group_id: GroupId) -> int:
    """When it is this device's turn to give a conversation a new leaf."""
    everybody = ranks.devices(turn)
    owner = hashlib.sha256(b"vcd rotation" + group_id).digest()[0] % len(everybody)
    distance = (ranks.device_place(turn) - owner) % len(everybody)
    return _rotation(turn).since + distance * turn.state.config.turn_taking
