"""What people do with their accounts beside talking: names for things, contacts who go again, and recovery.

    names       the account and its conversations are labeled, its devices renamed, on whichever device is at hand
    contacts    somebody is removed from the contacts, and perhaps given a card again later
    delegates   with the recovery phrase at hand, more devices of an account are made delegates; and the phrase is
                typed again by who is told that a conversation shows a list which is lost
    recovery    all devices are lost at once; the account is taken up again with its recovery phrase, with a backup of
                now or earlier, or without one. Its person meets the others again, who take the old leaf out of
                conversations and invite the account anew

Only some seeds play this (`plan.More`). All that it draws comes from a stream of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from tests.sim.disk import Disk
from tests.sim.expected import Utterance
from vcd.core import events, inputs, labels, listing
from vcd.core.accounts.book import Book
from vcd.core.accounts.card import from_bytes, make_card, to_bytes
from vcd.core.accounts.device_list import Edition, Policy
from vcd.core.accounts.identity import RootKey, root_key
from vcd.core.founding import recovered
from vcd.core.names import AccountId, DeviceId, GroupId, Incarnation, IntentId
from vcd.core.ordering.graph import Member
from vcd.core.policy import DAY, HOUR, MINUTE, SECOND, Mode
from vcd.core.steps import at_leaf

if TYPE_CHECKING:
    from tests.sim.people import Life, Person
    from tests.sim.world import Device
    from vcd.core.errors import Misuse
    from vcd.core.node import Outcome
    from vcd.core.state import State

MOST_TRIES = 12
"""How often the others look whether they can take an old leaf out."""


@dataclass
class Word:
    """What a person told one device of the account's: that something has a name, or somebody is a contact."""

    subject: tuple[str, bytes]
    value: str | bool
    order: tuple[int, str | bool]
    """The one with the greatest counts."""
    device: str
    at: int
    over: str = ""
    """What it was called on that device before."""
    lost: bool = False
    """Whether that device was set back to before it."""


@dataclass(frozen=True)
class Saved:
    """What a backup has of an account."""

    edition: Edition
    book: Book


class Accounts:
    """See above."""

    def __init__(self, life: Life) -> None:
        self._life, self._world, self._more = life, life.world, life.plan.more
        self.rng = random.Random(f"accounts {life.plan.seed}")
        self.words: dict[AccountId, list[Word]] = {}
        self.recovered: dict[AccountId, set[bytes]] = {}
        """Accounts that were taken up again, with the digests of all heads that they had since."""
        self.lived: set[Incarnation] = set()
        """Members that a device of such an account was since."""
        self.met: list[tuple[str, AccountId]] = []
        """Whom these accounts gave their new card to."""
        self._saved: dict[str, Saved] = {}
        self._waiting: dict[str, Saved | None] = {}
        """People without a device, and the backup that they have."""
        self._returning: dict[IntentId, tuple[str, AccountId, GroupId]] = {}
        self._numbered = 0
        self.appointed: set[DeviceId] = set()
        """Whom no delegate can remove, but with the recovery phrase, if that was heard of."""
        self._typed: dict[AccountId, int] = {}
        """The newest term that each person's recovery phrase began."""
        self._rested = 0
        """Since when the network is whole and nobody does anything new."""
        self._world.observers.append(self)

    def schedule(self) -> None:
        """When what happens."""
        duration, after, rng = self._life.plan.duration, self._world.after, self.rng
        for _ in range(self._more.names):
            after(rng.randint(0, duration), self._name_something)
        for _ in range(self._more.contacts):
            after(rng.randint(0, duration), self._change_contact)
        for _ in range(self._more.recoveries):
            at = rng.randint(0, duration)
            after(rng.randint(0, at), self._save)
            after(at, self._lose_all)
        for _ in range(rng.choice((0, 1, 1, 2)) if self._more.names else 0):
            after(rng.randint(0, duration // 2), self._appoint)

    def rest(self) -> None:
        """Whoever has no device takes their account up again now."""
        self._rested = self._world.now
        for name in list(self._waiting):
            self._take_up(name)

    # ---------------------------------------------------------------- names

    def _device(self) -> Device | None:
        running = [each for each in self._world.devices.values() if each.runs and self._state(each).home is not None]
        honest = [each for each in running if not each.hostile]
        return None if self._life.over or not honest else self.rng.choice(honest)

    def _state(self, device: Device) -> State:
        return device.disk.state

    def _number(self) -> int:
        self._numbered += 1
        return self._numbered

    def _intent(self) -> IntentId:
        return IntentId(self.rng.randbytes(16))

    def _name_something(self) -> None:
        """Often on two devices at once: nothing else is hard about it."""
        device = self._device()
        if device is None:
            return
        what = labels.ACCOUNT if self.rng.random() < 0.3 else self.rng.choice(self._life.conversations)
        person = self._life.person_of(device.name)
        several = [device.name, *person.devices] if self.rng.random() < 0.5 else [device.name]
        for name in dict.fromkeys(several):
            state = self._life.state(name)
            if state.home is None:
                continue
            text = "" if self.rng.random() < 0.1 else f"name {self._number()}"
            if state.household.delegate is not None and self.rng.random() < 0.5:
                assert state.book.edition is not None
                of = self.rng.choice([each.device for each in state.book.edition.devices.devices])
                self._world.command(name, inputs.RenameDevice(device=of, name=text or "nameless"))
            else:
                self._world.command(name, inputs.Label(what=what, text=text))

    def _appoint(self) -> None:
        device = self._device()
        if device is None:
            return
        person, state = self._life.person_of(device.name), self._state(device)
        edition = state.book.edition
        if edition is None or len(edition.devices.devices) < 2 or not self.may_type(person, device.name):
            return
        several = {each.device for each in edition.devices.delegates}
        several |= {each.device for each in edition.devices.devices if self.rng.random() < 0.6}
        self.appointed |= several
        rules = inputs.SetRules(
            intent=self._intent(), root=self.root_of(person), rules=Policy(), delegates=tuple(sorted(several))
        )
        self._world.command(device.name, rules)

    def _type_again(self, name: str, group_id: GroupId, tries: int) -> None:
        """Somebody was told that a conversation shows a list that is lost: the phrase, for the same rules, is above."""
        person, state = self._life.person_of(name), self._life.state(name)
        strand, edition = state.strands.find(group_id), state.book.edition
        if strand is None or strand.here is not None or edition is None or name not in person.devices:
            return
        if not self.may_type(person, name):
            if tries:
                self._world.after(HOUR, partial(self._type_again, name, group_id, tries - 1))
            return
        rules = inputs.SetRules(intent=self._intent(), root=self.root_of(person), rules=edition.devices.policy)
        self._world.count("typed again")
        self._world.command(name, rules)

    def root_of(self, person: Person) -> RootKey:
        root, _ = root_key(self._world.provider(person.name).suite(1), person.seed)
        return root

    def may_type(self, person: Person, name: str) -> bool:
        """Whether somebody types the recovery phrase on a device of theirs now.

        Not on one that has not heard of the term that the phrase began last: two terms that do not know of each other
        contradict each other for good, and nothing but a third one is above both. Who lost the device that could tell
        of it waits until nothing more is to be heard.
        """
        devices = [self._world.devices[each] for each in person.devices]
        if name not in person.devices or not self._world.devices[name].runs:
            return False
        if any(_types(wish) for each in devices for wish in each.wishes):
            return False
        last = self._typed.get(person.account, 0)
        known = {each.name: _newest_term(self._state(each)) for each in devices}
        patience_over = bool(self._rested) and self._world.now >= self._rested + HOUR
        return known[name] >= last or (patience_over and known[name] == max(known.values()))

    # ---------------------------------------------------------------- contacts

    def _change_contact(self) -> None:
        device = self._device()
        if device is None:
            return
        own = self._life.person_of(device.name)
        others = [each for each in self._life.people if each is not own]
        other = self.rng.choice(others)
        contact = self._state(device).book.find(other.account)
        if contact is not None and contact.accepted and self.rng.random() < 0.8:
            self._world.command(device.name, inputs.RemoveContact(account=other.account))
        else:
            self._give_card(other, device.name)

    def _give_card(self, whose: Person, to: str) -> None:
        """Somebody shows their card, on some device of theirs, to somebody else."""
        able = [name for name in whose.devices if self._world.devices[name].runs]
        able = [name for name in able if self._life.state(name).household.signing is not None]
        if not able:
            return
        by = self.rng.choice(able)
        state = self._life.state(by)
        edition, household = state.book.edition, state.household
        assert edition is not None
        if household.signing is None or household.inbox is None or household.gone:
            return
        card = make_card(
            self._world.provider(by),
            edition.head,
            household.signing,
            name=whose.name,
            inbox=household.inbox,
            dispensers=(whose.name.encode(),),
            expires=self._world.now + 365 * DAY,
        )
        self._world.command(to, inputs.AddContact(card=to_bytes(card), petname=whose.name))

    # ---------------------------------------------------------------- recovery

    def _save(self) -> None:
        """Everybody makes a backup."""
        for person in self._life.people:
            for name in person.devices[:1]:
                state = self._life.state(name)
                if state.book.edition is not None:
                    self._saved[person.name] = Saved(state.book.edition, state.book)

    def _lose_all(self) -> None:
        """Somebody loses all devices at once, those too that were about to be theirs."""
        life, world = self._life, self._world
        chosen = [each for each in life.people if not each.hostile and each.devices and each.name not in life.vanished]
        if life.over or not chosen:
            return
        person = self.rng.choice(chosen)
        world.count("lost all")
        if self.rng.random() < 0.3:
            self._save()
        backup = None if self.rng.random() < 0.3 else self._saved.get(person.name)
        for name, device in world.devices.items():
            if life.person_of(name) is person and not device.lost:
                life.steal_all(name, world.lose(device))
                life.leaving.missing.pop(name, None)
        person.devices.clear()
        self._waiting[person.name] = backup
        world.after(self.rng.choice((MINUTE, HOUR, DAY)), partial(self._take_up, person.name))

    def _take_up(self, name: str) -> None:
        if name not in self._waiting or name in self._life.vanished:
            return
        life, world, saved = self._life, self._world, self._waiting.pop(name)
        person = next(each for each in life.people if each.name == name)
        world.count("recovered")
        person.made += 1
        device, skew = f"{name}-{person.made}", self.rng.randint(-life.plan.skew, life.plan.skew)
        provider = world.provider(device)
        state = recovered(
            provider,
            person.seed,
            device,
            world.now + skew,
            life.plan.config,
            known=None if saved is None else saved.edition,
            book=None if saved is None else replace(saved.book, edition=None),
        )
        self.recovered[person.account] = set()
        self._typed[person.account] = _newest_term(state)
        self._lived(state)
        world.dispensers.stocks.pop(person.account, None)  # the new card says where packages are from now on
        person.devices.append(device)
        world.begin(device, Disk(state, life.plan.exact), skew=skew)
        for other in life.people:
            if other is not person:
                for to in other.devices[:1]:
                    self.met.append((other.name, person.account))
                    self._give_card(person, to)
                self._give_card(other, device)
        for group_id in list(life.conversations):
            self._soon(person, group_id, MOST_TRIES)
        life.apps.recovered(person, device)
        if self.rng.random() < 0.5 and not life.over:
            self._talk_anew(person, device)

    def _talk_anew(self, person: Person, device: str) -> None:
        group_id = GroupId(b"conversation-of-%s" % person.name.encode())
        self._life.conversations.append(group_id)
        mode = self.rng.choice((Mode.DEMLS, Mode.EC1, Mode.EC2))
        self._world.command(device, inputs.Open(conversation=group_id, mode=mode))
        for other in self._life.people:
            if other is not person:
                invite = inputs.Invite(intent=self._intent(), conversation=group_id, account=other.account)
                self._world.command(device, invite)

    def _soon(self, person: Person, group_id: GroupId, tries: int) -> None:
        self._world.after(self.rng.randint(SECOND, 10 * MINUTE), partial(self._bring_back, person, group_id, tries))

    def _bring_back(self, person: Person, group_id: GroupId, tries: int) -> None:
        """Somebody takes the old leaf out of a conversation, and brings the account in anew once that stands."""
        life = self._life
        able: list[tuple[bool, str]] = []
        for other in life.people:
            for name in other.devices:
                device = self._world.devices[name]
                if other.hostile or other is person or not device.runs or not life.takes_part(device, group_id):
                    continue
                strand = self._state(device).strands[group_id]
                old = [each for each in strand.graph.members(strand.head) if each.account == person.account]
                if old and not self.alive(old):
                    mine = [each for each in strand.graph.members(strand.head) if each.account == other.account]
                    able.append((not mine[0].admin, name))
        if not able:
            if tries:
                self._soon(person, group_id, tries - 1)
            return
        by, intent = min(able)[1], self._intent()
        self._returning[intent] = by, person.account, group_id
        self._world.command(by, inputs.Remove(intent=intent, conversation=group_id, account=person.account))

    def alive(self, members: list[Member]) -> bool:
        """Whether none of these is a leaf that nobody has the keys of any more."""
        return all(each.account not in self.recovered or each.incarnation in self.lived for each in members)

    def shut_out(self, account: AccountId, said: Utterance) -> bool:
        """Whether what that account's lost devices had should be of no use for this."""
        if account not in self.recovered:
            return False
        return self.alive([each for each in said.members if each.account == account])

    # ---------------------------------------------------------------- what happens

    def stepped(self, device: Device, before: State, given: inputs.Input, outcome: Outcome) -> None:
        state = outcome.state
        if _types(given) and state.book.own is not None:
            self._typed[state.book.own] = _newest_term(state)
        match given:
            case inputs.Label(what=what):
                label = state.household.labels[what]
                self._word(device, state, ("label", what), label.text, (label.at, label.text))
            case inputs.RenameDevice(device=named, name=name):
                self._word(device, state, ("name", named), name, (self._world.now, name), called(before, named))
            case inputs.RemoveContact(account=account):
                self._word(device, state, ("contact", account), False, (state.book.removed[account], True))
            case inputs.AddContact(card=data):
                account = from_bytes(data).account
                contact = state.book.find(account)
                assert contact is not None
                self._word(device, state, ("contact", account), True, (contact.since, False))
            case _:
                pass
        if state.book.own in self.recovered and before is not state:
            self._lived(state)
        for event in outcome.events:
            if isinstance(event, events.IntentFate) and event.stands and event.intent in self._returning:
                by, account, group_id = self._returning.pop(event.intent)
                again = inputs.Invite(intent=self._intent(), conversation=group_id, account=account)
                self._world.after(self.rng.randint(SECOND, MINUTE), partial(self._world.command, by, again))
            elif isinstance(event, events.Warned) and event.code == "newer-list" and event.group is not None:
                self._world.after(HOUR, partial(self._type_again, device.name, event.group, MOST_TRIES))

    def _word(
        self,
        device: Device,
        state: State,
        subject: tuple[str, bytes],
        value: str | bool,
        order: tuple[int, str | bool],
        over: str = "",
    ) -> None:
        own = state.book.own
        assert own is not None
        self.words.setdefault(own, []).append(Word(subject, value, order, device.name, self._world.now, over))

    def _lived(self, state: State) -> None:
        own, edition = state.book.own, state.book.edition
        if own is None or edition is None:
            return
        heads = self.recovered[own]
        heads.add(edition.head.digest)
        for strand in state.strands.values():
            here = strand.here
            if strand.home:
                heads.update(listing.of_group(each.group).head.digest for each in strand.kept.values())
            elif here is not None and here.group.ended is None:
                me = at_leaf(strand.graph.members(strand.head), here.group.own_leaf)
                if me is not None and me.account == own:
                    self.lived.add(me.incarnation)

    def set_back(self, device: str, since: int) -> None:
        for words in self.words.values():
            for word in words:
                word.lost = word.lost or (word.device == device and word.at >= since)

    def refused(self, device: Device, given: inputs.Input, reason: Misuse) -> None:
        """Whoever was told no tries something else, another time."""
        del device, given
        self._world.count(f"refused command {reason.code}")


def called(state: State, device: DeviceId) -> str:
    """What a device has in its account, where the home stands."""
    here = None if state.home is None else state.strands[state.home].here
    entry = None if here is None else listing.of_group(here.group).devices.find(device)
    return "" if entry is None else entry.name


def _types(given: inputs.Input) -> bool:
    """Whether it takes the recovery phrase."""
    return isinstance(given, inputs.SetRules) or (isinstance(given, inputs.RemoveDevice) and given.root is not None)


def _newest_term(state: State) -> int:
    """Of all that a device has heard of, and of what was typed on it."""
    known = [] if state.household.made is None else [state.household.made]
    if state.home is not None:
        known += [listing.of_group(each.group) for each in state.strands[state.home].kept.values()]
    return max([each.head.authority.term for each in known], default=0)
