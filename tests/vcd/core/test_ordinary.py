"""Ordinary MLS clients in a group with a lead."""

from __future__ import annotations

import pytest

from mls import group as mls
from tests.vcd.core.company import Plain, act, add, bring, gather, step
from tests.vcd.core.led import (
    TEA,
    commit,
    give,
    heads,
    payloads,
    strand,
    village,
)
from tests.vcd.core.village import Village
from vcd.core import flow, inputs, keys, ordinary, reign
from vcd.core.errors import Misuse
from vcd.core.names import EpochId, FrameId
from vcd.core.payloads import Post, Want
from vcd.core.policy import Mode
from vcd.core.strand import dropped


def with_dora(v: Village) -> Plain:
    """An ordinary client comes in; Ben carries for it."""
    dora = Plain(v, "dora")
    dora.join(add(v, "ben", TEA, dora.package.key_package))
    return dora


def test_an_ordinary_client_commits_and_everybody_follows() -> None:
    v = village()
    dora = with_dora(v)
    at = EpochId(dora.here.epoch_id)
    sent = mls.commit(dora.here, dora.env, force_path=True)
    v.do("ben", inputs.Carry(conversation=TEA, message=sent.message))
    assert heads(v) == {EpochId(sent.group.epoch_id)}
    assert ordinary.decided(strand(v, "ben"), at) == (sent.message,)


def test_an_ordinary_client_whose_commit_loses_follows_the_winner() -> None:
    v = village()
    dora = with_dora(v)
    at = EpochId(dora.here.epoch_id)
    lost = mls.commit(dora.here, dora.env, force_path=True)
    won = commit(v, "anna")
    v.do("ben", inputs.Carry(conversation=TEA, message=lost.message))
    assert heads(v) == {won}
    for message in ordinary.decided(strand(v, "ben"), at):
        dora.receive(message)
    assert dora.here.epoch_id == won


def test_what_an_ordinary_client_says_is_heard() -> None:
    v = village()
    dora = with_dora(v)
    _, message = mls.seal(dora.here, dora.env, b"good evening")
    v.do("ben", inputs.Carry(conversation=TEA, message=message))
    payload = next(each for each in payloads(v, Post) if each.message == message)
    assert payload.epoch == strand(v, "ben").head


def test_who_can_follow_an_ordinary_clients_commit_waits_for_it_whatever_the_lead_says() -> None:
    v = village()
    dora = with_dora(v)
    sent = mls.commit(dora.here, dora.env, force_path=True)
    before = strand(v, "cleo").head
    v.lost = lambda frame, name: name == "cleo" and frame.by == "ben"
    v.do("ben", inputs.Carry(conversation=TEA, message=sent.message))
    epoch = EpochId(sent.group.epoch_id)
    assert strand(v, "anna").head == strand(v, "ben").head == epoch
    assert strand(v, "cleo").graph.has(epoch)  # its header came beside the decision
    assert strand(v, "cleo").head == before
    v.lost = lambda frame, name: False
    v.deliver()
    assert strand(v, "cleo").head == epoch
    assert epoch in strand(v, "cleo").kept


def test_the_decision_on_an_ordinary_clients_commit_brings_its_header_to_who_cannot_follow() -> None:
    v = village()
    dora = with_dora(v)
    act(v, "cleo", lambda turn: turn.put(dropped(turn.strand(TEA), turn.strand(TEA).head)))
    sent = mls.commit(dora.here, dora.env, force_path=True)
    v.do("ben", inputs.Carry(conversation=TEA, message=sent.message))
    epoch = EpochId(sent.group.epoch_id)
    assert strand(v, "cleo").head == epoch  # by the lead's word
    v.wait(minutes=10)
    assert len(heads(v)) == 1
    assert strand(v, "cleo").here is not None


def test_who_missed_an_ordinary_clients_commit_is_given_it_by_others() -> None:
    v = village()
    dora = with_dora(v)
    at = strand(v, "ben").head
    sent = mls.commit(dora.here, dora.env, force_path=True)
    v.do("ben", inputs.Carry(conversation=TEA, message=sent.message))
    count = payloads(v, Post).count(Post(epoch=at, message=sent.message))
    give(v, "ben", Want(epochs=(EpochId(sent.group.epoch_id),), at=v.now))
    v.wait(seconds=10)
    assert payloads(v, Post).count(Post(epoch=at, message=sent.message)) > count


def test_a_vcd_signs_a_header() -> None:
    v = village()
    before = strand(v, "ben").head
    head = strand(v, "ben").kept[before].group

    made = step(v, "ben", lambda turn: keys.make(turn, turn.strand(TEA), force_path=True))
    payload = Post(epoch=before, message=made.commit.message)
    step(v, "cleo", lambda turn: flow.deliver(turn, TEA, payload, FrameId(b"x" * 32)))
    assert ("post-kind", "post-kind: a vcd signs a header") in v.devices["cleo"].refused
    assert head.epoch_id == strand(v, "cleo").head


def test_an_ordinary_client_cannot_be_voted_for() -> None:
    v = village()
    with_dora(v)
    mine = strand(v, "ben")
    able = reign.capable(mine, mine.head)
    assert len(mine.graph.members(mine.head)) == 4
    assert [each.account for each in able] == [v.own(name) for name in ("anna", "ben", "cleo")]


@pytest.mark.parametrize(("message", "code"), [(b"", "not-mls"), (b"\x00\x01\x00\x09", "not-mls")])
def test_what_is_carried_has_to_be_a_message_of_the_conversation(message: bytes, code: str) -> None:
    v = village()
    with pytest.raises(Misuse) as caught:
        v.do("ben", inputs.Carry(conversation=TEA, message=message))
    assert caught.value.code == code


def test_nothing_is_carried_into_groups_without_a_lead() -> None:
    v = Village()
    gather(v, TEA, Mode.DEMLS, "anna")
    with pytest.raises(Misuse) as caught:
        v.do("anna", inputs.Carry(conversation=TEA, message=b""))
    assert caught.value.code == "not-lead"


def test_somebody_who_comes_in_takes_what_was_decided_before_as_decided() -> None:
    v = village("anna", "ben")
    commit(v, "ben")
    v.account("cleo")
    bring(v, "anna", TEA, "cleo")
    assert len(heads(v)) == 1
    decided = commit(v, "cleo")
    assert heads(v) == {decided}
