"""DiMLS under every order of delivery: nothing forks, nothing is lost, nothing is read twice.

The machine lets any member act at any time and delivers what is on its way in any order, some of it twice. Members come
and go, and are restarted from what they stored. At the end everything is delivered, and then everybody who is still
there must agree on every send group and have heard exactly what was said to them.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mls import group as mls
from mls.distributed.values import Settings
from tests.conftest import LONG
from tests.mls.distributed.people import NAMES, Wire, group_id, name_of, wire

MOST = 6
PATIENT = Settings(late_epochs=1000)
"""Late messages of any age, because the machine may deliver the first one last."""


class AnyOrder(RuleBasedStateMachine):
    """Members of one DGroup and everything that is on its way between them."""

    wire: Wire
    said: list[tuple[str, bytes, frozenset[str]]]
    removed: set[str]
    protected: set[str]
    """Those who removed somebody, and through whom they came: they are not removed themselves."""
    added_by: dict[str, str]

    @initialize(count=st.integers(2, MOST))
    def start(self, count: int) -> None:
        self.wire = wire(count, settings=PATIENT)
        self.said = []
        self.removed = set()
        self.protected = set()
        self.added_by = {}

    def pick(self, data: Any, *, among: list[str] | None = None) -> str:
        return str(data.draw(st.sampled_from(among or list(self.wire.members))))

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
        by = self.pick(data, among=self.staying)
        self.added_by[name] = by
        self.wire.add(by, name)

    @rule(data=st.data())
    @precondition(lambda self: len(self.certain) > 1)
    def goes(self, data: Any) -> None:
        """Nobody removes who was removed, nor whom only they have added, so that it is clear who stays."""
        by = self.pick(data, among=self.certain)
        others = [
            name
            for name in self.staying
            if name != by and name not in self.protected and group_id(name) in self.wire[by].own.members
        ]
        if others:
            gone = self.pick(data, among=others)
            self.removed.add(gone)
            self.protected |= self.came_by(by)
            self.wire.commit(by, remove=[group_id(gone)])

    def came_by(self, name: str) -> set[str]:
        """A member, and through whom it came."""
        found = {name}
        while name in self.added_by:
            name = self.added_by[name]
            found.add(name)
        return found

    @property
    def staying(self) -> list[str]:
        return [name for name in self.wire.members if name not in self.removed]

    @property
    def certain(self) -> list[str]:
        """Those who stay whatever is heard first: they did not come through somebody who was removed.

        For others it depends on whether anybody heard of their coming before the removal; but all must agree on it.
        """
        return [name for name in self.wire.members if not self.came_by(name) & self.removed]

    def teardown(self) -> None:
        if not hasattr(self, "wire") or not self.certain:
            return
        self.wire.settle(self.staying)
        certain = self.certain
        members = {name_of(each) for each in self.wire[certain[0]].own.places}
        assert set(certain) <= members <= set(self.staying)
        self.wire.agree(sorted(members))
        for name in sorted(members):
            self.look_at(name, members)

    def look_at(self, name: str, members: set[str]) -> None:
        """One who stays: it follows all others, waits for nothing of theirs, and heard all of it once."""
        member = self.wire.members[name]
        session = member.session
        assert set(map(name_of, session.own.places)) == members
        assert set(map(name_of, session.others)) >= members - {name}
        assert not session.invited
        for parcel in member.waiting:
            if not parcel.welcome:
                owner = mls.peek(parcel.message).group_id
                assert owner is not None
                assert name_of(owner) not in members
        wanted = [(by, text) for by, text, heard_by in self.said if name in heard_by and by in members]
        assert sorted(each for each in member.heard if each[0] in members) == sorted(wanted)
        assert len(set(member.heard)) == len(member.heard)


@pytest.mark.slow
def test_members_who_stay_agree_and_hear_everything_once() -> None:
    run_state_machine_as_test(AnyOrder, settings=settings(max_examples=2000 if LONG else 60, stateful_step_count=40))
