"""DiMLS under every order of delivery: nothing forks, nothing is lost, nothing is read twice.

The machine lets any member act at any time and delivers what is on its way in any order, some of it twice. Members come
and go, and are restarted from what they stored. At the end everything is delivered, and then everybody who is still
there must agree on every send group and have heard exactly what was said to them.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mls import group as mls
from mls.distributed.values import Settings
from tests.mls.distributed.people import NAMES, Parcel, Wire, group_id, name_of, wire

MOST = 6
PATIENT = Settings(late_epochs=1000)
"""Late messages of any age, because the machine may deliver the first one last."""


class AnyOrder(RuleBasedStateMachine):
    """Members of one DGroup and everything that is on its way between them."""

    wire: Wire
    said: list[tuple[str, bytes, frozenset[str]]]
    removed: set[str]
    removers: set[str]

    @initialize(count=st.integers(2, MOST))
    def start(self, count: int) -> None:
        self.wire = wire(count, settings=PATIENT)
        self.said = []
        self.removed = set()
        self.removers = set()

    def pick(self, data: Any, *, among: list[str] | None = None) -> str:
        return str(data.draw(st.sampled_from(among or list(self.wire.members))))

    @property
    def staying(self) -> list[str]:
        return [name for name in self.wire.members if name not in self.removed]

    @rule(data=st.data())
    def commits(self, data: Any) -> None:
        self.wire.commit(self.pick(data))

    @rule(data=st.data())
    def updates(self, data: Any) -> None:
        self.wire.update(self.pick(data))

    @rule(data=st.data())
    def speaks(self, data: Any) -> None:
        name = self.pick(data)
        text = b"%d" % len(self.said)
        self.wire.say(name, text)
        heard_by = frozenset(map(name_of, self.wire[name].own.places)) - {name}
        self.said.append((name, text, heard_by))

    @rule(data=st.data(), twice=st.booleans())
    @precondition(lambda self: self.wire.parcels)
    def arrives(self, data: Any, *, twice: bool) -> None:
        at = data.draw(st.integers(0, len(self.wire.parcels) - 1))
        parcel = self.wire.parcels[at]
        if not (twice and not parcel.welcome):
            del self.wire.parcels[at]
        self.wire.deliver(parcel)

    @rule(data=st.data())
    def restarts(self, data: Any) -> None:
        self.wire.restart(self.pick(data))

    @rule(data=st.data())
    @precondition(lambda self: len(self.wire.members) < MOST)
    def comes(self, data: Any) -> None:
        name = NAMES[len(self.wire.members)]
        self.wire.add(self.pick(data, among=self.staying), name)

    @rule(data=st.data())
    @precondition(lambda self: len(self.staying) > 1)
    def goes(self, data: Any) -> None:
        """Nobody removes who was removed, so that it is certain who stays."""
        by = self.pick(data, among=self.staying)
        others = [
            name
            for name in self.staying
            if name != by and name not in self.removers and group_id(name) in self.wire[by].own.members
        ]
        if others:
            gone = self.pick(data, among=others)
            self.removed.add(gone)
            self.removers.add(by)
            self.wire.commit(by, remove=[group_id(gone)])

    def teardown(self) -> None:
        if not hasattr(self, "wire"):
            return
        staying = self.staying
        self.wire.settle(staying)
        self.wire.agree(staying)
        for name in staying:
            member = self.wire.members[name]
            session = member.session
            assert set(map(name_of, session.own.places)) == set(staying)
            assert set(map(name_of, session.others)) == set(staying) - {name}
            assert not session.invited
            assert not [parcel for parcel in member.waiting if self.matters(parcel)]
            wanted = sorted(
                (by, text) for by, text, heard_by in self.said if name in heard_by and by not in self.removed
            )
            assert sorted(each for each in member.heard if each[0] not in self.removed) == wanted
            heard = [each for each in member.heard if each[0] in self.removed]
            assert len(set(heard)) == len(heard)

    def matters(self, parcel: Parcel) -> bool:
        """Whether it comes from somebody who stays."""
        if parcel.welcome:
            return False
        owner = mls.peek(parcel.message).group_id
        assert owner is not None
        return name_of(owner) not in self.removed


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=30, stateful_step_count=40)
