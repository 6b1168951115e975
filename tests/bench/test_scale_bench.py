"""The figures behind docs/scale.md, small: what is counted there is counted at all."""

from __future__ import annotations

import trio

from tests.bench.scale import gossip, sync
from tests.bench.units import mailbox, packages


def test_gossip_reaches_all_and_rests() -> None:
    talked, rest = gossip(8, 0.0, 1)
    assert talked.missing == 0
    assert talked.sent is not None
    assert talked.bytes is not None
    assert talked.all_s is not None
    assert 1 <= talked.sent <= 8
    assert talked.bytes > 400
    assert talked.all_s < 1
    assert (rest.op, rest.most_bytes) == ("idle", 0)


def test_what_gossip_loses_and_what_a_cut_parts_is_brought_together() -> None:
    talked, healed = sync(8, 0.9, 1)
    assert talked.all_s is not None
    assert talked.rounds
    assert healed.all_s is not None
    assert healed.rounds


def test_a_mailbox_is_weighed() -> None:
    row = trio.run(mailbox, 200, 2)
    assert row.disk_bytes is not None
    assert row.disk_bytes > 400
    assert row.per_second
    assert row.read_per_second
    assert trio.run(packages, 5).per_second
