"""One step in the making: the state as it is so far, and what is to be done and told when it is stored.

A `Turn` lives for one input. Rooms read `turn.state`, put changed parts back (`put`, `change`), and say what follows
(`publish`, `tell`, `due`). Nothing of it happens if the step fails: the caller still has the old state.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mls.credential import TrustBasic
from mls.provider import Environment, Provider
from mls.suite import Suite
from mls.virtual.emulation import Emulation, Head
from vcd.core import agenda, topics
from vcd.core.accounts.head import Evidence
from vcd.core.accounts.judge import ConversationJudge, HomeJudge, Witness
from vcd.core.duties import Duty
from vcd.core.effects import Effect, Publish
from vcd.core.errors import Misuse
from vcd.core.events import Event
from vcd.core.names import AccountId, FrameId, GroupId, TopicId
from vcd.core.payloads import Payload, pack
from vcd.core.strand import Strand
from vcd.core.topics import TopicKeys, TopicSecret
from vcd.core.values import replace

if TYPE_CHECKING:
    from vcd.core.state import State, Talk


@lru_cache(maxsize=128)
def _conversation_judge(provider: Any) -> ConversationJudge:
    return ConversationJudge(provider, names=TrustBasic())


@lru_cache(maxsize=128)
def _home_judge(provider: Any, account: AccountId) -> HomeJudge:
    return HomeJudge(provider, account)


def conversation_judge(provider: Provider) -> ConversationJudge:
    """It remembers leaves that were found good, so there is one for each provider."""
    key: Any = provider
    return _conversation_judge(key)


def home_judge(provider: Provider, account: AccountId) -> HomeJudge:
    key: Any = provider
    return _home_judge(key, account)


class Turn:
    """See above."""

    def __init__(self, state: State, now: int, provider: Provider) -> None:
        self.state = state
        self.wall = now
        """What the device's clock shows: for what others compare with theirs and forget."""
        self.now = state.clock.at(now)
        """The node's own time, which never goes back (`Clock`)."""
        self.provider = provider
        self.effects: list[Effect] = []
        self.events: list[Event] = []
        self.joining: list[TopicKeys] = []
        self.touched: dict[GroupId, None] = {}
        """Strands whose graph or votes changed: `flow.settle` looks at them."""
        self.again: dict[FrameId, None] = {}
        """What waited and may be read now: `flow` looks at it before the step ends."""
        self.came_by: TopicSecret | None = None
        """The topic of a frame that has just arrived: where who sent it hears an answer."""
        self.came_again = False
        """Whether that frame had been put back."""
        self.put_back: dict[FrameId, TopicId] = {}
        """What there is no room for, and is to be given again: by which topic it came."""
        self.refused: list[tuple[str, str]] = []
        """What was dropped and why, for whoever counts."""
        self.evidence: list[Evidence] = []
        """Of accounts that signed two lists of one version: `contacts` looks at it before the step ends."""
        self._suite: Suite | None = None

    # What an operation may consult

    @property
    def env(self) -> Environment:
        """In conversations."""
        judge = Witness(conversation_judge(self.provider), self.evidence)
        return Environment(provider=self.provider, authentication=judge, now=self.now)

    @property
    def home_env(self) -> Environment:
        """In the home."""
        own = self.state.book.own
        if own is None:
            raise Misuse("no-account", "this device has no account yet")
        return Environment(provider=self.provider, authentication=home_judge(self.provider, own), now=self.now)

    @property
    def topic_suite(self) -> Suite:
        """Topics are Ed25519 whatever suite a group has."""
        if self._suite is None:
            self._suite = self.provider.suite(1)
        return self._suite

    @property
    def awake(self) -> int:
        """Milliseconds that this device was awake and connected, ever: what windows are counted in."""
        return self.state.clock.awake

    def random(self, size: int) -> bytes:
        return self.provider.random(size)

    # Parts of the state

    def change(self, **parts: Any) -> None:
        self.state = replace(self.state, **parts)

    @property
    def emulation(self) -> Emulation:
        found = self.state.emulation
        if found is None:
            raise Misuse("no-account", "this device has no account yet")
        return found

    def use(self, emulation: Emulation) -> None:
        """With what the emulation group's calls returned, at the head where the home stands."""
        home = self.state.home
        strand = None if home is None else self.state.strands.find(home)
        here = None if strand is None else strand.here
        if here is not None and here.newest in emulation.epochs:
            emulation = emulation.on(Head(here.group, here.newest))
        self.state = replace(self.state, emulation=emulation)

    def strand(self, group_id: GroupId) -> Strand:
        found = self.state.strands.find(group_id)
        if found is None:
            raise Misuse("no-conversation", "there is no such conversation here")
        return found

    def put(self, strand: Strand, *, graph: bool = False) -> None:
        """Keep a strand; `graph` says that its steps or votes changed, so that it may stand elsewhere now."""
        self.state = replace(self.state, strands=self.state.strands.set(strand.group_id, strand))
        if graph:
            self.touched[strand.group_id] = None
        if strand.home and self.state.emulation is not None:
            self.use(self.state.emulation)

    @property
    def home(self) -> Strand:
        home = self.state.home
        if home is None:
            raise Misuse("no-account", "this device has no account yet")
        return self.strand(home)

    def talk(self, group_id: GroupId) -> Talk:
        found = self.state.talks.find(group_id)
        if found is None:
            raise Misuse("no-conversation", "there is no such conversation here")
        return found

    def put_talk(self, talk: Talk) -> None:
        self.state = replace(self.state, talks=self.state.talks.set(talk.group_id, talk))

    # Topics

    def join(self, secret: TopicSecret, group_id: GroupId | None, *, inbox: bool = False) -> TopicKeys:
        """Take part in a topic; once is enough."""
        keys = topics.keys_of(self.topic_suite, secret)
        if keys.name not in self.state.joined:
            from vcd.core.state import Joined

            joined = Joined(secret=secret, keys=keys, group_id=group_id, inbox=inbox)
            self.change(joined=self.state.joined.set(keys.name, joined))
            if group_id is not None:
                mine = self.state.topics.find(group_id) or ()
                self.change(topics=self.state.topics.set(group_id, tuple(sorted((*mine, keys.name)))))
            self.joining.append(keys)
        return keys

    def publish(self, secret: TopicSecret, payload: Payload, *, life: int | None = None) -> None:
        """Send something to a topic. It is given again until the mesh has it. `life`: for how long it is of use."""
        keys = topics.keys_of(self.topic_suite, secret)
        sealed = topics.seal(self.topic_suite, keys, pack(payload))
        number = self.state.clock.number + 1
        config = self.state.config
        expires = self.wall + (config.frame_life if life is None else life + config.clocks)
        from vcd.core.state import Sending

        sending = Sending(secret=secret, payload=sealed, expires=expires)
        self.change(clock=replace(self.state.clock, number=number), unsent=self.state.unsent.set(number, sending))
        self.effects.append(Publish(number=number, topic=keys.name, seed=keys.seed, payload=sealed, expires=expires))

    # What follows

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def drop(self, rule: str, detail: str = "") -> None:
        """Something from others that is not taken."""
        self.refused.append((rule, detail))

    def due(self, duty: Duty, subject: bytes, at: int) -> None:
        """Have `duty` called at this time, if it is not to be earlier anyway."""
        key = (duty, subject)
        known = self.state.duties.find(key)
        if known is None or at < known:
            self._plan(agenda.of(self.state.agenda, self.state.duties).with_duty(key, at))

    def later(self, duty: Duty, subject: bytes, at: int) -> None:
        """Have `duty` called at this time and no earlier."""
        self._plan(agenda.of(self.state.agenda, self.state.duties).with_duty((duty, subject), at))

    def not_due(self, duty: Duty, subject: bytes) -> None:
        if (duty, subject) in self.state.duties:
            self._plan(agenda.of(self.state.agenda, self.state.duties).without((duty, subject)))

    def _plan(self, now: agenda.Agenda) -> None:
        self.change(duties=now.duties, agenda=now)
