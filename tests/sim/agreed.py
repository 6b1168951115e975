"""What the devices of an account must agree on at rest, and what others must know of one that was recovered.

Of two things that were said of one subject the later one counts. Whoever was set back may have said it to nobody before
that, and who is lost may never have told the others: then all that is expected is that those who are there agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.sim.accounts import Word
from tests.sim.invariants import Run, fail
from tests.sim.people import Person
from tests.sim.thief import Thief
from tests.sim.world import Device
from vcd.core import listing
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.head import Head
from vcd.core.state import State
from vcd.core.strand import Strand


def _state(device: Device) -> State:
    assert device.state is not None
    return device.state


def _families(run: Run) -> Iterator[tuple[Person, list[Device]]]:
    """Everybody with the devices that are there."""
    present = run.present()
    for person in run.life.people:
        devices = [device for device in present if device.name in person.devices]
        if devices:
            yield person, devices


def _agree(run: Run, invariant: str, kind: str, read: Callable[[State, bytes], str | bool]) -> None:
    """All devices of an account have one value for each subject of that kind: the one that was said last."""
    for person, devices in _families(run):
        words: dict[bytes, list[Word]] = {}
        for word in run.life.accounts.words.get(person.account, ()):
            if word.subject[0] == kind:
                words.setdefault(word.subject[1], []).append(word)
        for subject, said in words.items():
            values = {device.name: read(_state(device), subject) for device in devices}
            if len(set(values.values())) > 1:
                fail(invariant, f"{person.name}'s devices differ about {subject.hex()[:8]}: {values}")
            last = max(said, key=lambda each: each.order)
            if last.lost or last.device not in values:
                continue
            if values[last.device] != last.value:
                fail(invariant, f"{last.device} was told {last.value!r} last, and has {values[last.device]!r}")


def labels_agree(run: Run) -> None:
    """What the account and conversations are called."""
    _agree(run, "labels_agree", "label", _label)


def _label(state: State, what: bytes) -> str:
    found = state.household.labels.find(what)
    return "" if found is None else found.text


def contacts_agree(run: Run) -> None:
    """Who is a contact. Whoever was removed last stays removed, on all devices."""
    _agree(run, "contacts_agree", "contact", _accepted)


def _accepted(state: State, account: bytes) -> bool:
    return any(each.accepted for name, each in state.book.contacts.items() if name == account)


def names_agree(run: Run) -> None:
    """What devices are called: all have one list, and nobody wants another name any more."""
    for person, devices in _families(run):
        lists = {_names(_state(device)) for device in devices}
        if len(lists) > 1:
            fail("names_agree", f"{person.name}'s devices have {len(lists)} lists of names")
        for device in devices:
            if _state(device).household.names:
                fail("names_agree", f"{device.name} still wants another name for somebody")
        words = run.life.accounts.words.get(person.account, ())
        for subject, called in next(iter(lists)):
            said = [each for each in words if each.subject == ("name", subject)]
            last = max(said, key=lambda each: each.order) if said else None
            if last is None or last.lost or last.device not in {device.name for device in devices}:
                continue
            apart = [each for each in said if not _superseded(each, said)]
            if all(called not in (each.value, f"{each.value} 2") for each in apart):
                fail("names_agree", f"{last.device} was told to call somebody {last.value!r}, who is {called!r}")


def _superseded(word: Word, said: list[Word]) -> bool:
    """Whether somebody who knew of it said otherwise later. Of what was said apart any may stand, as none is newer.

    What two devices are called alike apart gets a number.
    """
    later = [each for each in said if each.order > word.order]
    return any(each.device == word.device or each.over == word.value for each in later)


def _names(state: State) -> tuple[tuple[bytes, str], ...]:
    edition = state.book.edition
    assert edition is not None
    return tuple(sorted((each.device, each.name) for each in edition.devices.devices))


def keys_agree(run: Run) -> None:
    """All devices show the home's list and can sign for it, and delegates can sign the next one, if anybody can."""
    for person, devices in _families(run):
        signing = {device.name: _signing(device) for device in devices}
        can = any(signs for _, signs in signing.values())
        for name, (delegate, signs) in signing.items():
            if delegate and can and not signs:
                fail("keys_agree", f"{name} is a delegate of {person.name}'s without the key")


def _signing(device: Device) -> tuple[bool, bool]:
    """Whether a device is a delegate, and whether it has the delegates' key."""
    state, suite = _state(device), device.provider.suite(1)
    assert state.home is not None
    here, shown, household = state.strands[state.home].here, state.book.edition, state.household
    assert here is not None
    edition = listing.of_group(here.group)
    if shown is None or shown.head.digest != edition.head.digest or household.signing is None:
        fail("keys_agree", f"{device.name} shows another list than the one of its home")
    if suite.scheme.public_key(household.signing) != edition.head.signing_key:
        fail("keys_agree", f"{device.name} has another account key than that of its list")
    entry, key = edition.devices.find(state.me.device), household.delegate
    signs = key is not None and suite.scheme.public_key(key) == edition.head.authority.delegate
    return entry is not None and entry.delegate, signs


# ---------------------------------------------------------------- recovery


def recovered_is_known(run: Run) -> None:
    """Whoever met somebody again after a recovery knows their new list of devices, or a later one, on all devices."""
    for name, account in run.life.accounts.met:
        heads = run.life.accounts.recovered[account]
        person = next(each for each in run.life.people if each.name == name)
        words = run.life.accounts.words.get(person.account, ())
        said = [each for each in words if each.subject == ("contact", account)]
        last = max(said, key=lambda each: each.order) if said else None
        if last is None or not last.value or last.lost:
            continue
        for device in run.present():
            if device.name in person.devices:
                contact = _state(device).book.find(account)
                if contact is not None and contact.accepted and contact.head.digest not in heads:
                    fail("recovered_is_known", f"{device.name} knows a list of before the recovery")


def recovered_is_back(run: Run) -> None:
    """Where a recovered account was brought in again, its device is, and stands where the others do."""
    accounts = run.life.accounts
    for person, devices in _families(run):
        if person.account not in accounts.recovered:
            continue
        for group_id in run.life.conversations:
            for other in run.present():
                strand = _state(other).strands.find(group_id)
                if strand is None:
                    continue
                shown = {head.digest for head in _heads(strand) if head.account == person.account}
                if not shown or not shown <= accounts.recovered[person.account]:
                    continue
                for device in devices:
                    mine = _state(device).strands.find(group_id)
                    if mine is None or mine.head != strand.head:
                        fail("recovered_is_back", f"{device.name} is not where it is in {group_id.decode()}")


def _heads(strand: Strand) -> Iterator[Head]:
    """The lists of devices that leaves show where a conversation stands."""
    here = strand.here
    for _, leaf in () if here is None else here.group.members:
        head = head_of(leaf.credential)
        if head is not None:
            yield head


def lost_stay_out(run: Run) -> None:
    """With what an account's lost devices had, nothing can be opened that goes to its new home or inbox."""
    for number, stolen in enumerate(run.life.stolen):
        if not stolen.with_all:
            continue
        thief = Thief(stolen.disk.state, run.world.provider(f"thief {number} outside"), run.world.now)
        thief.read(run.world.frames.values())
        for device in run.present():
            if run.life.person_of(device.name).name != stolen.person:
                continue
            state = _state(device)
            new = {name for name, each in state.joined.items() if each.inbox or each.group_id == state.home}
            if thief.topics & new:
                fail("lost_stay_out", f"what {stolen.device} had opens what only {device.name} should read")


AGREED: tuple[Callable[[Run], None], ...] = (
    labels_agree,
    names_agree,
    keys_agree,
    contacts_agree,
    recovered_is_known,
    recovered_is_back,
    lost_stay_out,
)
