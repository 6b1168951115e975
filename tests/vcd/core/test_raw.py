"""Groups of apps: two accounts and a delivery service that orders commits, with a restart after every step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from mls import group as mls
from mls.registries import GroupId
from tests.vcd.core.homes import refresh_home
from tests.vcd.core.people import befriend
from tests.vcd.core.service import APP, App, bring, epoch, offer, pair, raw, together
from vcd.core import events, inputs, node, stored
from vcd.core.errors import Misuse
from vcd.core.names import IntentId
from vcd.core.raw_state import MAX_FRAMES, PAST, FrameKind
from vcd.rpc.errors import MISUSE


def test_two_accounts_talk() -> None:
    service, anna, ben = pair()
    assert together(anna, ben)
    anna.do(inputs.RawProtect(group=APP, data=b"hello", authenticated=b"open"))
    service.run()
    ben.do(inputs.RawProtect(group=APP, data=b"hi"))
    service.run()
    assert ben.said() == anna.said() == [b"hello", b"hi"]
    heard = ben.heard[0]
    assert (heard.account, heard.ours, heard.authenticated) == (service.village.own("anna"), False, b"open")
    assert [each.ours for each in anna.heard[-2:]] == [True, False]
    assert anna.heard[-2].device == service.village.state("anna").me.device


def test_a_commit_counts_when_it_comes_back() -> None:
    service, anna, ben = pair()
    before = epoch(anna)
    anna.do(inputs.RawCommit(group=APP))
    assert epoch(anna) == before
    assert raw(anna).pending is not None
    with pytest.raises(Misuse, match="has not come back"):
        anna.do(inputs.RawCommit(group=APP))
    service.run()
    assert epoch(anna) == before + 1
    assert raw(anna).pending is None
    assert together(anna, ben)
    assert [each.kind for each in anna.heard[-1:]] == [events.RawKind.OWN]


def test_of_two_commits_one_loses_with_its_welcome() -> None:
    service, anna, ben = pair()
    service.village.account("cleo")
    cleo = service.app("cleo")
    anna.do(inputs.RawCommit(group=APP))
    ben.do(inputs.RawCommit(group=APP, add=offer(cleo)))
    anna.send()
    ben.put(APP, service.log[-1][1])
    ben.at[APP] = len(service.log)
    assert ben.heard[-1].dropped
    assert raw(ben).pending is None
    assert ben.frames() == []  # neither the commit nor the Welcome leaves any more
    service.run()
    assert together(anna, ben)
    ben.do(inputs.RawProtect(group=APP, data=b"still here"))
    service.run()
    assert anna.said() == [b"still here"]


def test_a_commit_that_lost_after_it_was_sent_is_dropped() -> None:
    service, anna, ben = pair()
    anna.do(inputs.RawCommit(group=APP))
    ben.do(inputs.RawCommit(group=APP))
    service.run()
    assert len(service.refused) == 1
    assert together(anna, ben)
    assert [each.dropped for each in ben.heard if each.kind is events.RawKind.COMMIT] == [True]


def test_a_commit_that_the_service_refused_is_replaced_and_may_count_after_all() -> None:
    service, anna, ben = pair()
    anna.do(inputs.RawCommit(group=APP))
    first = anna.frames()[0][1].data
    anna.do(inputs.RawTaken(number=anna.frames()[-1][0]))
    anna.do(inputs.RawCommit(group=APP, replace=True))
    assert [each.kind for _, each in anna.frames()] == [FrameKind.COMMIT]
    refresh_home(service.village, "anna", 0)
    service.village.wait(days=10)  # the home forgets what nothing needs
    assert service.accept(APP, first)  # it had it all the time
    service.run()
    assert together(anna, ben)
    assert raw(anna).pending is None
    anna.do(inputs.RawProtect(group=APP, data=b"on"))
    service.run()
    assert ben.said() == [b"on"]


def test_what_comes_again_is_nothing() -> None:
    service, anna, ben = pair()
    anna.do(inputs.RawProtect(group=APP, data=b"once"))
    ben.do(inputs.RawPropose(group=APP, update=True))
    service.run()
    anna.do(inputs.RawCommit(group=APP))
    service.run()
    for app in (anna, ben):
        before = raw(app)
        for _, message in service.log[-3:]:
            assert app.put(APP, message).kind is events.RawKind.NOTHING
        assert raw(app).here == before.here
    assert anna.said() == ben.said() == [b"once"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_messages_of_one_epoch_come_in_any_order(order: tuple[int, ...]) -> None:
    _service, anna, ben = pair()
    for number in range(3):
        anna.do(inputs.RawProtect(group=APP, data=bytes([number])))
    sent = [frame.data for _, frame in anna.frames()]
    for number in order:
        assert ben.put(APP, sent[number]).data == bytes([number])


def test_late_messages_are_read_in_a_small_window() -> None:
    service, anna, ben = pair()
    late = []
    for number in range(PAST + 1):
        anna.do(inputs.RawProtect(group=APP, data=bytes([number])))
        late.append(anna.frames()[-1][1].data)
        anna.do(inputs.RawTaken(number=anna.frames()[-1][0]))
        anna.do(inputs.RawCommit(group=APP))
        service.run()
    kinds = [ben.put(APP, message).kind for message in late]
    assert kinds == [events.RawKind.NOTHING] + [events.RawKind.MESSAGE] * PAST
    assert ben.said() == [bytes([number]) for number in range(1, PAST + 1)]
    assert len(raw(ben).epochs) == PAST + 1
    service.village.wait(days=1, seconds=1)
    assert len(raw(ben).epochs) == 1
    assert {key for table, key in stored.rows(service.village.state("ben")) if table == "raws.epochs.group"} != set()


def test_keys_of_epochs_that_went_are_no_rows_any_more() -> None:
    service, anna, ben = pair()
    before = {stored.seal_under(*row) for row in stored.rows(service.village.state("ben")) if row[0] == "raws.epochs"}
    assert len(before) == 1
    for _ in range(PAST + 1):
        anna.do(inputs.RawCommit(group=APP))
        service.run()
    state = service.village.state("ben")
    after = {stored.seal_under(*row) for row in stored.rows(state) if row[0].startswith("raws.epochs")}
    assert not before & after
    assert len(after) == PAST + 1
    assert all(each.group.ended is not None for each in raw(ben).epochs.values() if each.left_at is not None)


def test_what_comes_too_early_is_given_again() -> None:
    service, anna, ben = pair()
    ben.asleep = True
    anna.do(inputs.RawCommit(group=APP))
    service.run()
    anna.do(inputs.RawProtect(group=APP, data=b"later"))
    anna.send()
    with pytest.raises(Misuse) as early:
        ben.put(APP, service.log[-1][1])
    assert early.value.code == "not-yet"
    ben.asleep = False
    service.run()
    assert ben.said() == [b"later"]


def test_a_commit_waits_for_the_proposals_that_it_names() -> None:
    service, anna, ben = pair()
    ben.do(inputs.RawPropose(group=APP, update=True))
    proposal = ben.frames()[0][1].data
    assert anna.put(APP, proposal).kind is events.RawKind.PROPOSAL
    with pytest.raises(Misuse) as waits:
        anna.do(inputs.RawProtect(group=APP, data=b"not now"))
    assert waits.value.code == "proposals"
    anna.do(inputs.RawCommit(group=APP))
    ben.do(inputs.RawTaken(number=ben.frames()[-1][0]))
    service.village.account("cleo")
    service.run()
    assert together(anna, ben)


def test_members_are_removed_and_leave() -> None:
    service, anna, ben = pair()
    leaf = next(each for each, _ in raw(anna).group.members if each != raw(anna).group.own_leaf)  # type: ignore[union-attr]
    anna.do(inputs.RawCommit(group=APP, remove=(int(leaf),)))
    service.run()
    assert raw(ben).out
    assert ben.heard[-1].went == (int(leaf),)
    with pytest.raises(Misuse, match="no member"):
        ben.do(inputs.RawProtect(group=APP, data=b"?"))
    bring(service, anna, ben)
    assert together(anna, ben)
    ben.do(inputs.RawPropose(group=APP, leave=True))
    service.run()
    anna.do(inputs.RawCommit(group=APP))
    service.run()
    assert raw(ben).out
    assert not raw(anna).out
    service.village.wait(days=1, seconds=1)
    assert raw(ben).group is not None
    ben.do(inputs.RawForget(group=APP))
    assert APP not in service.village.state("ben").raws


def test_in_from_outside_when_the_commit_comes_back() -> None:
    service, anna, ben = pair()
    service.village.account("cleo")
    cleo = service.app("cleo")
    anna.do(inputs.RawCommit(group=APP, group_info=True))
    service.run()
    cleo.do(inputs.RawJoin(group_info=service.infos[APP]))
    assert raw(cleo).group is None
    cleo.at[APP] = len(service.log)
    service.run()
    assert together(anna, ben, cleo)
    cleo.do(inputs.RawProtect(group=APP, data=b"in"))
    service.run()
    assert ben.said() == [b"in"]


def test_who_is_outrun_from_outside_tries_again() -> None:
    service, anna, ben = pair()
    service.village.account("cleo")
    cleo = service.app("cleo")
    anna.do(inputs.RawCommit(group=APP, group_info=True))
    service.run()
    cleo.do(inputs.RawJoin(group_info=service.infos[APP]))
    cleo.at[APP] = len(service.log)
    ben.do(inputs.RawCommit(group=APP, group_info=True))
    ben.send()
    service.run()
    assert APP not in service.village.state("cleo").raws
    assert cleo.heard[-1].dropped
    assert cleo.frames() == []
    cleo.do(inputs.RawJoin(group_info=service.infos[APP]))
    cleo.at[APP] = len(service.log)
    service.run()
    assert together(anna, ben, cleo)


def test_who_fell_behind_comes_back_into_its_place() -> None:
    service, anna, ben = pair()
    ben.asleep = True
    for _ in range(3):
        anna.do(inputs.RawCommit(group=APP, group_info=True))
        service.run()
    ben.asleep = False
    ben.do(inputs.RawJoin(group_info=service.infos[APP]))
    ben.at[APP] = len(service.log)  # what was said meanwhile is gone
    service.run()
    assert together(anna, ben)
    assert len(raw(anna).group.members) == 2  # type: ignore[union-attr]


# ---------------------------------------------------------------- what others may try


def test_bytes_that_are_no_message_of_the_group_change_nothing() -> None:
    service, anna, ben = pair()
    anna.do(inputs.RawProtect(group=APP, data=b"hello"))
    good = anna.frames()[0][1].data
    before = service.village.state("ben")
    for bad in (b"", b"\x00", good[:-1], good + b"\x00", offer(anna)[0]):
        with pytest.raises(Misuse):
            ben.do(inputs.RawPut(group=APP, data=bad))
    forged = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(Misuse, match="VAL-"):
        ben.do(inputs.RawPut(group=APP, data=forged))
    assert service.village.state("ben") == before
    assert ben.put(APP, good).data == b"hello"
    with pytest.raises(Misuse) as nothing:
        ben.do(inputs.RawPut(group=GroupId(b"other"), data=good))
    assert nothing.value.code == "no-group"


def test_a_chat_is_no_group_of_an_app() -> None:
    service, anna, ben = pair()
    village = service.village
    village.do("anna", inputs.Open(conversation=GroupId(b"tea")))
    with pytest.raises(Misuse) as taken:
        anna.do(inputs.RawCreate(group=GroupId(b"tea")))
    assert taken.value.code == "group-exists"
    info = mls.group_info(village.state("anna").strands[GroupId(b"tea")].here.group)  # type: ignore[union-attr]
    with pytest.raises(Misuse) as chat:
        ben.do(inputs.RawJoin(group_info=info))
    assert chat.value.code == "not-plain"
    home = village.state("anna").home
    assert home is not None
    with pytest.raises(Misuse):
        anna.do(inputs.RawCreate(group=home))


def test_a_welcome_is_taken_up_once() -> None:
    service, anna, _ben = pair()
    service.village.account("cleo")
    cleo = service.app("cleo")
    anna.do(inputs.RawCommit(group=APP, add=offer(cleo)))
    service.run()
    welcome = service.welcomes[APP].pop()
    cleo.do(inputs.RawJoin(welcome=welcome))
    cleo.do(inputs.RawForget(group=APP))
    with pytest.raises(Misuse) as spent:
        cleo.do(inputs.RawJoin(welcome=welcome))
    assert spent.value.code == "spent-package"


def test_frames_and_groups_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    service, anna, _ = pair(restarts=False)
    monkeypatch.setattr("vcd.core.raw.MAX_FRAMES", 3)
    assert MAX_FRAMES > 3
    for _ in range(3):
        anna.do(inputs.RawProtect(group=APP, data=b"x"))
    with pytest.raises(Misuse) as full:
        anna.do(inputs.RawProtect(group=APP, data=b"x"))
    assert full.value.code == "too-many"
    anna.do(inputs.RawTaken(number=anna.frames()[0][0], group=GroupId(b"other")))
    assert len(anna.frames()) == 3
    anna.do(inputs.RawTaken(number=anna.frames()[0][0]))
    anna.do(inputs.RawProtect(group=APP, data=b"x"))
    with pytest.raises(Misuse):
        anna.do(inputs.RawOffer(count=1000))
    device = service.village.devices["anna"]
    device.state = replace(device.state, config=replace(device.state.config, max_conversations=1))
    with pytest.raises(Misuse) as many:
        anna.do(inputs.RawCreate(group=GroupId(b"second")))
    assert many.value.code == "too-many"


def test_a_chat_cannot_take_the_name_of_an_apps_group() -> None:
    """Whoever knows the name could else have two groups of one name here, and no further device could be added."""
    service, anna, ben = pair()
    village = service.village
    village.account("mallory")
    befriend(village, "mallory", "anna")
    village.do("mallory", inputs.Open(conversation=APP))
    village.do("mallory", inputs.Invite(intent=IntentId(b"i" * 16), conversation=APP, account=village.own("anna")))
    village.wait(minutes=1)
    assert APP not in village.state("anna").talks
    assert APP not in village.state("anna").strands
    with pytest.raises(Misuse, match="has that name"):
        village.do("anna", inputs.Open(conversation=APP))
    assert together(anna, ben)


def test_proposals_come_again_as_nothing() -> None:
    _, anna, ben = pair()
    ben.do(inputs.RawPropose(group=APP, update=True))
    proposal = ben.frames()[0][1].data
    for app in (anna, ben):
        assert [app.put(APP, proposal).kind for _ in range(2)] == [events.RawKind.PROPOSAL, events.RawKind.NOTHING]
    assert [each.ours for each in ben.heard] == [True, False]


def mangled(data: bytes, draw: Random) -> bytes:
    """Something like it."""
    at = draw.randrange(len(data))
    match draw.randrange(4):
        case 0:
            return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + draw.randbytes(draw.randrange(1, 9)) + data[at:]
        case _:
            return data[:at] + data[at + draw.randrange(1, 9) :]


@pytest.mark.parametrize("real", [False, True])
def test_whatever_is_given_is_taken_or_refused(real: bool) -> None:
    """Nothing that came from others ends the daemon, and what is refused has changed nothing."""
    service, anna, ben = pair(restarts=False, real=real)
    village, draw = service.village, Random(7)
    village.account("cleo")
    cleo = service.app("cleo")
    package = offer(cleo)[0]
    anna.do(inputs.RawCommit(group=APP, add=(package,), group_info=True))
    frames = {frame.kind: frame.data for _, frame in anna.frames()}
    anna.do(inputs.RawPut(group=APP, data=frames[FrameKind.COMMIT]))
    ben.do(inputs.RawPropose(group=APP, update=True))
    proposal = ben.frames()[-1][1].data
    tries: list[tuple[App, bytes, Callable[[bytes], inputs.Input]]] = [
        (ben, frames[FrameKind.COMMIT], lambda data: inputs.RawPut(group=APP, data=data)),
        (anna, proposal, lambda data: inputs.RawPut(group=APP, data=data)),
        (cleo, frames[FrameKind.WELCOME], lambda data: inputs.RawJoin(welcome=data)),
        (cleo, frames[FrameKind.GROUP_INFO], lambda data: inputs.RawJoin(group_info=data)),
        (ben, package, lambda data: inputs.RawCommit(group=APP, add=(data,))),
    ]
    codes = set()
    for app, good, command in tries:
        state, provider = village.state(app.name), village.devices[app.name].provider
        for _ in range(60 if real else 300):
            try:
                node.step(state, command(mangled(good, draw)), village.now, provider)
            except Misuse as misuse:
                codes.add(misuse.code)
        node.step(state, command(good), village.now, provider)
    assert {"broken"} <= codes <= set(MISUSE)
