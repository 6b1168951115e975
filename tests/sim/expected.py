"""What people wanted and said, and what they were told: all that is expected of a run, kept by an observer.

A message is known by its data, which no two have in common; who may read it is whoever was in the conversation when it
was said, by the head that its author's device had then. A wish is known by its intent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.sim.world import Device
from vcd.core import events, inputs
from vcd.core.errors import Misuse
from vcd.core.names import AccountId, ContentId, EpochId, GroupId, IntentId
from vcd.core.node import Outcome
from vcd.core.ordering.graph import Member
from vcd.core.state import State
from vcd.core.strand import Strand


@dataclass
class Utterance:
    """Something said."""

    data: bytes
    conversation: GroupId
    sender: AccountId
    device: str
    at: int
    epoch: EpochId
    """The head when it was said."""
    audience: frozenset[AccountId]
    """Who was in the epoch that it was first said in."""
    members: tuple[Member, ...] = ()
    """The same, leaf by leaf."""
    readers: tuple[str, ...] = ()
    """Devices that were in the conversation then, as they saw it themselves."""
    content: ContentId | None = None
    fates: list[events.Fate] = field(default_factory=list)
    lost: bool = False
    """Whether its author's device was set back to before it."""
    widened: bool = False
    """Whether the user let it be said again to whoever is there then."""
    probe: bool = False


@dataclass
class Wish:
    """Something wanted of a group, or of the account."""

    intent: IntentId
    device: str
    given: inputs.Input
    at: int
    lost: bool = False
    ended: list[tuple[str, bool, str]] = field(default_factory=list)
    """Which device was told, whether it stands, and why not."""


Wanted = inputs.Invite | inputs.Remove | inputs.Depart | inputs.Refresh | inputs.ChangePolicy
DeviceWanted = inputs.LinkDevice | inputs.RemoveDevice


def accounts_of(strand: Strand) -> frozenset[AccountId]:
    """Who is in a conversation, where its head is."""
    return frozenset(member.account for member in strand.graph.members(strand.head))


class Expected:
    """See above."""

    def __init__(self) -> None:
        self.said: dict[bytes, Utterance] = {}
        self.wishes: dict[IntentId, Wish] = {}
        self.refusals: list[tuple[str, inputs.Input, str]] = []
        self.queued: dict[bytes, Utterance] = {}
        """Messages that wait until they can be said, by their data."""
        self.states: dict[str, State] = {}
        """Of every device, after the last step that was stored."""

    def probes(self) -> list[Utterance]:
        return [each for each in self.said.values() if each.probe]

    def stepped(self, device: Device, before: State, given: inputs.Input, outcome: Outcome) -> None:
        state = self.states[device.name] = outcome.state
        if self.queued and before.outbox is not state.outbox:
            self._first_said(device, state)
        if isinstance(given, inputs.Say) and given.data not in self.said:
            self._said(device, given, state)
        elif isinstance(given, inputs.SayAgain) and given.again:
            for each in self.said.values():
                each.widened = each.widened or each.content == given.content
        elif isinstance(given, Wanted | DeviceWanted) and given.intent not in self.wishes:
            self.wishes[given.intent] = Wish(given.intent, device.name, given, state.clock.now - device.skew)
        for event in outcome.events:
            self._heard(device, event)

    def _said(self, device: Device, given: inputs.Say, state: State) -> None:
        own, strand = state.book.own, state.strands.find(given.conversation)
        assert own is not None
        if strand is None:
            return
        readers = tuple(
            name
            for name, other in self.states.items()
            if (theirs := other.strands.find(given.conversation)) is not None and theirs.graph.has(strand.head)
        )
        self.said[given.data] = Utterance(
            data=given.data,
            conversation=given.conversation,
            sender=own,
            device=device.name,
            at=state.clock.now - device.skew,
            epoch=strand.head,
            audience=accounts_of(strand),
            members=strand.graph.members(strand.head),
            readers=readers,
            probe=given.data.startswith(b"probe"),
        )
        self.queued[given.data] = self.said[given.data]
        self._first_said(device, state)

    def _first_said(self, device: Device, state: State) -> None:
        """A message is for those who are there when it leaves its author's device first."""
        for content, outgoing in state.outbox.items():
            said = self.queued.get(outgoing.content.data)
            if said is None or said.device != device.name:
                continue
            said.content = content
            strand = state.strands.find(outgoing.conversation)
            if outgoing.places and strand is not None:
                del self.queued[said.data]
                said.epoch = outgoing.places[0].epoch
                if strand.graph.has(said.epoch):
                    said.members = strand.graph.members(said.epoch)
                    said.audience = frozenset(each.account for each in said.members)

    def _heard(self, device: Device, event: events.Event) -> None:
        if isinstance(event, events.Message):
            said = self.said.get(event.data)
            if said is not None and said.device == device.name:
                said.content = event.content
        elif isinstance(event, events.MessageFate):
            for said in self.said.values():
                if said.content == event.content and said.device == device.name:
                    said.fates.append(event.fate)
        elif isinstance(event, events.IntentFate):
            wish = self.wishes.get(event.intent)
            if wish is not None:
                wish.ended.append((device.name, event.stands, event.reason))

    def set_back(self, device: str, since: int) -> None:
        """A device forgot what it said and wanted since then; and what it read, perhaps for good."""
        for said in self.said.values():
            said.lost = said.lost or (said.device == device and said.at >= since)
            said.readers = tuple(name for name in said.readers if name != device)
        for wish in self.wishes.values():
            wish.lost = wish.lost or (wish.device == device and wish.at >= since)

    def refused(self, device: Device, given: inputs.Input, reason: Misuse) -> None:
        self.refusals.append((device.name, given, reason.code))
