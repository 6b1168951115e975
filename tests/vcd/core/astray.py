"""Members who cannot follow, for tests of how they come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mls import group as mls
from tests.vcd.core.branches import (
    TEA,
    commit,
    talk,
    tea,
    withhold,
)
from tests.vcd.core.village import Village
from vcd.core import desync, events, summaries
from vcd.core.names import EpochId, FrameId, GroupId
from vcd.core.payloads import Commit, Door, Plea, Way
from vcd.core.policy import Policy
from vcd.core.record import encode
from vcd.core.sights import Recovery
from vcd.core.strand import Membership
from vcd.core.turn import Turn

FRAME = FrameId(bytes(32))
ALL = ("anna", "ben", "cleo")


def lose(village: Village, *people: str, by: str = "anna") -> EpochId:
    """A commit that never reaches some of the devices, whoever gives it to them."""
    lost: list[EpochId] = []
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in lost, *people)
    lost.append(commit(village, by, heard=False))
    village.deliver()
    return lost[0]


def lost(*, policy: Policy | None = None, people: tuple[str, ...] = ALL, **config: Any) -> Village:
    """Cleo knows where the group stands and cannot follow."""
    village = talk(*people, policy=policy, **config)
    lose(village, "cleo")
    village.wait(minutes=9)
    assert tea(village, "cleo").membership is Membership.LOST
    return village


def known(village: Village, name: str, group: GroupId = TEA) -> Recovery:
    found = village.state(name).sights.find(group)
    return Recovery() if found is None else found.recovery


def told(village: Village, name: str, group: GroupId = TEA) -> list[tuple[bool, bool]]:
    return [(each.asks, each.over) for each in village.told(name, events.OutOfSync) if each.group == group]


def changed(patch: pytest.MonkeyPatch, which: Callable[[Way], Way], *, by: str = "anna") -> None:
    """From now on one device shows another way than where it stands; the others show none."""

    def lie(turn: Turn, strand: Any, plea: Plea) -> Door | None:
        if turn.state.me.name != by:
            return None
        here = strand.here
        assert here is not None
        way = which(
            Way(
                epoch=strand.head,
                group_info=mls.group_info(here.group, with_tree=True),
                lineage=summaries.lineage(strand),
                topic=here.topic.raw,
            )
        )
        suite = here.group.suite
        context = suite.encryption_context(b"vcd door", strand.group_id + plea.key)
        kem_output, sealed = suite.seal(plea.key, context, encode(way), turn.random)
        return Door(key=plea.key, kem_output=kem_output, sealed=sealed)

    patch.setattr(desync, "opened", lie)
