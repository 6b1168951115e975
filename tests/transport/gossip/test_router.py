"""The router, one input at a time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from transport.base import PeerId, TopicId
from transport.conduct import Offence
from transport.gossip import router as routing
from transport.gossip.authors import compose
from transport.gossip.router import Blame, Cancel, Deliver, Forward, Output, Router, Settings, Tell, Verdict
from transport.gossip.wire import (
    MAX_RPC,
    Deframer,
    Ihave,
    Message,
    MessageId,
    Prune,
    Rpc,
    Subscription,
    decode,
    topic_name,
)

RANDOM = random.Random(7).randbytes
A, B, C = PeerId("a"), PeerId("b"), PeerId("c")
JOINS = Rpc(subscriptions=(Subscription(topic="t", subscribe=True),))
LEAVES = Rpc(subscriptions=(Subscription(topic="t", subscribe=False),))


def router(*peers: PeerId, subscribed: bool = True, **settings: float) -> Router:
    """Subscribed to "t", with these peers in it."""
    made = Router(random.Random(1), replace(Settings(), **settings))  # type: ignore[arg-type]
    if subscribed:
        made.subscribe("t", 0.0)
    for peer in peers:
        made.peer_up(peer)
        made.receive(peer, JOINS, 0.0)
    return made


def told(outputs: Iterable[Output], peer: PeerId) -> Rpc:
    """All that a peer is told, as one RPC."""
    stream = b"".join(out.rpc for out in outputs if isinstance(out, Tell) and out.peer == peer)
    parts = [decode(body) for body in Deframer().feed(stream)]
    fields = ("subscriptions", "publish", "ihave", "iwant", "graft", "prune")
    joined: Any = {field: tuple(each for part in parts for each in getattr(part, field)) for field in fields}
    return Rpc(**joined)


def forwarded(outputs: Iterable[Output]) -> list[PeerId]:
    return [peer for out in outputs if isinstance(out, Forward) for peer in out.peers]


def blamed(outputs: Iterable[Output]) -> list[tuple[PeerId, Offence]]:
    return [(out.peer, out.offence) for out in outputs if isinstance(out, Blame)]


def message(topic: str = "t", data: bytes = b"data") -> Message:
    return compose(topic, data, RANDOM)


def publish(*some: Message) -> Rpc:
    return Rpc(publish=some)


# ---------------------------------------------------------------- subscriptions and meshes


def test_a_peer_that_joins_is_grafted_at_once() -> None:
    one = router()
    one.peer_up(A)
    assert decode(Deframer().feed(one.hello(A))[0]) == JOINS
    assert told(one.receive(A, JOINS, 1.0), A).graft == ("t",)
    assert list(one.mesh("t")) == list(one.peers("t")) == [A]
    assert one.topics(A) == ["t"]


def test_joining_grafts_who_is_there() -> None:
    one = router(A, B, subscribed=False)
    one.peer_up(C)
    out = one.subscribe("t", 1.0)
    assert told(out, A) == Rpc(subscriptions=JOINS.subscriptions, graft=("t",))
    assert told(out, C) == JOINS
    assert set(one.mesh("t")) == {A, B}
    assert one.subscribe("t", 1.0) == []


def test_leaving_prunes_and_says_for_how_long() -> None:
    one = router(A, B)
    out = one.unsubscribe("t", 1.0)
    assert told(out, A) == Rpc(subscriptions=LEAVES.subscriptions, prune=(Prune(topic="t", backoff=2),))
    assert not one.subscribed("t")
    assert one.unsubscribe("t", 1.0) == []
    assert told(one.subscribe("t", 2.0), A).graft == ()  # the backoff is ours to keep, too
    assert told(one.heartbeat(4.0), A).graft == ("t",)


def test_a_mesh_is_filled_up_to_its_degree() -> None:
    peers = [PeerId(f"p{n}") for n in range(20)]
    one = router(*peers, degree=4, low=3, high=6)
    assert len(one.mesh("t")) == 3
    for peer in list(one.mesh("t"))[:2]:
        one.receive(peer, Rpc(prune=(Prune(topic="t", backoff=60),)), 1.0)
    one.heartbeat(2.0)
    assert len(one.mesh("t")) == 4


def test_a_full_mesh_refuses() -> None:
    peers = [PeerId(f"p{n}") for n in range(10)]
    one = router(*peers, degree=4, low=3, high=6)
    *_, last = [one.receive(peer, Rpc(graft=("t",)), 1.0) for peer in peers]
    assert len(one.mesh("t")) == 6
    assert told(last, peers[-1]).prune == (Prune(topic="t", backoff=10),)


def test_a_graft_for_what_we_do_not_read_or_they_do_not() -> None:
    one = router(A)
    assert told(one.receive(A, Rpc(graft=("other",)), 1.0), A).prune == (Prune(topic="other", backoff=10),)
    one.peer_up(B)
    assert told(one.receive(B, Rpc(graft=("t",)), 1.0), B).prune == (Prune(topic="t", backoff=10),)
    assert list(one.mesh("t")) == [A]


def test_a_backoff_is_kept_by_both() -> None:
    one = router(A)
    one.receive(A, Rpc(prune=(Prune(topic="t", backoff=30),)), 1.0)
    assert list(one.mesh("t")) == []
    assert told(one.heartbeat(2.0), A) == Rpc()
    out = one.receive(A, Rpc(graft=("t",)), 3.0)
    assert blamed(out) == [(A, Offence.FLOOD)]
    assert told(out, A).prune == (Prune(topic="t", backoff=10),)
    assert told(one.heartbeat(31.0), A).graft == ("t",)


def test_a_prune_of_no_or_endless_backoff() -> None:
    for backoff, until in ((None, 60.0), (2**64 - 1, 3600.0)):
        one = router(A)
        one.receive(A, Rpc(prune=(Prune(topic="t", backoff=backoff),)), 0.0)
        assert told(one.heartbeat(until - 0.1), A) == Rpc()
        assert told(one.heartbeat(until), A).graft == ("t",)


def test_who_leaves_or_goes_is_out_of_the_mesh() -> None:
    one = router(A, B)
    one.receive(A, LEAVES, 1.0)
    one.peer_down(B)
    one.peer_down(B)
    assert list(one.peers("t")) == list(one.mesh("t")) == []
    assert one.topics(B) == []
    assert one.receive(B, JOINS, 1.0) == []


def test_a_new_stream_replaces_what_the_old_one_said() -> None:
    one = router(A)
    one.subscribe("u", 0.0)
    one.receive(A, Rpc(subscriptions=(Subscription(topic="u", subscribe=True),)), 0.0)
    one.renew(A)
    assert A in one.peers("t")  # until it says otherwise
    out = one.receive(A, JOINS, 1.0)
    assert told(out, A).graft == ("t",)
    assert list(one.peers("u")) == []
    one.renew(A)
    one.unsubscribe("t", 1.0)
    one.unsubscribe("u", 1.0)
    other = router(PeerId("me"))
    other.renew(PeerId("me"))
    (hello,) = Deframer().feed(one.hello(A))
    other.receive(PeerId("me"), decode(hello), 1.0)  # from one that reads nothing any more
    assert list(other.peers("t")) == []


def test_a_renewed_peer_that_says_nothing_is_grafted_by_the_heartbeat() -> None:
    one = router(A)
    one.renew(A)
    assert told(one.heartbeat(1.0), A).graft == ("t",)


def test_hello_renews_grafts() -> None:
    one = router(A)
    (hello,) = Deframer().feed(one.hello(A))
    assert decode(hello) == Rpc(subscriptions=JOINS.subscriptions, graft=("t",))


# ---------------------------------------------------------------- messages


def test_published_to_all_mesh_or_not() -> None:
    peers = [PeerId(f"p{n}") for n in range(10)]
    one = router(*peers, degree=4, low=3, high=12)
    mine = message()
    (out,) = one.publish(mine, 1.0)
    assert isinstance(out, Forward)
    assert set(out.peers) == set(peers)
    assert out.urgent
    assert decode(Deframer().feed(out.rpc)[0]) == publish(mine)
    assert one.receive(peers[0], publish(mine), 1.0) == [Cancel(peer=peers[0], id=mine.id)]


def test_published_to_a_choice_with_the_mesh_in_it_if_there_are_too_many() -> None:
    peers = [PeerId(f"p{n}") for n in range(30)]
    one = router(*peers, degree=4, low=3, high=6)
    (out,) = one.publish(message(), 1.0)
    assert isinstance(out, Forward)
    assert len(set(out.peers)) == 6
    assert set(one.mesh("t")) < set(out.peers)


def test_published_without_being_subscribed() -> None:
    assert forwarded(router(A, subscribed=False).publish(message(), 1.0)) == [A]
    assert router().publish(message(), 1.0) == []


def test_delivered_once_forwarded_after_the_verdict() -> None:
    one = router(A, B, C)
    news = message()
    assert one.receive(A, publish(news), 1.0) == [Deliver(message=news, source=A)]
    assert one.receive(B, publish(news), 1.0) == [Cancel(peer=B, id=news.id)]
    (out,) = one.verdict(news.id, Verdict.ACCEPT)
    assert isinstance(out, Forward)
    assert out.peers == (C,)  # neither the source nor who sent a copy
    assert not out.urgent
    assert one.verdict(news.id, Verdict.ACCEPT) == []
    assert one.receive(C, publish(news), 1.0) == [Cancel(peer=C, id=news.id)]


@pytest.mark.parametrize("verdict", [Verdict.IGNORE, Verdict.REJECT])
def test_not_forwarded_and_not_asked_for(verdict: Verdict) -> None:
    one = router(A, B)
    news = message()
    one.receive(A, publish(news), 1.0)
    assert one.verdict(news.id, verdict) == []
    out = one.receive(B, Rpc(ihave=(Ihave(topic="t", ids=(news.id,)),)), 1.0)
    assert told(out, B).iwant == ()
    assert forwarded(one.receive(B, Rpc(iwant=(news.id,)), 1.0)) == []


def test_what_could_not_be_looked_at_is_welcome_again() -> None:
    one = router(A, B)
    news = message()
    one.receive(A, publish(news), 1.0)
    one.withdraw(news.id)
    assert one.receive(B, publish(news), 1.0) == [Deliver(message=news, source=B)]
    one.verdict(news.id, Verdict.ACCEPT)
    one.withdraw(news.id)
    assert one.receive(B, publish(news), 1.0) == [Cancel(peer=B, id=news.id)]


def test_a_forgery_does_not_stand_in_the_way_of_the_message() -> None:
    one = router(A, B)
    news = message()
    forged = replace(news, data=b"other")
    assert one.receive(A, publish(forged), 1.0) == [Blame(peer=A, offence=Offence.FORGED)]
    assert one.receive(B, publish(news), 1.0) == [Deliver(message=news, source=B)]


@pytest.mark.parametrize(
    ("bad", "offence"),
    [
        (message("other"), Offence.STRANGER),
        (replace(message(), signature=b""), Offence.MALFORMED),
        (replace(message(), data=b""), Offence.MALFORMED),
        (replace(message(), seqno=b"1"), Offence.MALFORMED),
    ],
)
def test_bad_messages(bad: Message, offence: Offence) -> None:
    assert router(A).receive(A, publish(bad), 1.0) == [Blame(peer=A, offence=offence)]


def test_a_message_signed_in_another_way_is_dropped_in_silence() -> None:
    rsa = replace(message(), author=bytes.fromhex("1220") + bytes(32))
    assert blamed(router(A).receive(A, publish(rsa), 1.0)) == [(A, Offence.FORGED)]
    secp256k1 = replace(message(), author=bytes.fromhex("00250802122103") + bytes(32))
    assert router(A).receive(A, publish(secp256k1), 1.0) == []


# ---------------------------------------------------------------- IHAVE and IWANT


def outside(one: Router, peer: PeerId) -> None:
    """Put a peer of the topic outside the mesh."""
    one.receive(peer, Rpc(prune=(Prune(topic="t", backoff=3000),)), 0.0)


def test_recent_messages_are_announced_outside_the_mesh_and_sent_to_who_asks() -> None:
    one = router(A, B)
    outside(one, B)
    news = message()
    one.receive(A, publish(news), 1.0)
    one.verdict(news.id, Verdict.ACCEPT)
    out = one.heartbeat(2.0)
    assert told(out, B).ihave == (Ihave(topic="t", ids=(news.id,)),)
    assert told(out, A) == Rpc()
    (answer,) = one.receive(B, Rpc(iwant=(news.id, MessageId(b"another"))), 2.0)
    assert isinstance(answer, Forward)
    assert (answer.peers, answer.urgent) == ((B,), True)
    for now in range(3, 7):
        one.heartbeat(float(now))
    assert told(one.heartbeat(7.0), B).ihave == ()
    assert forwarded(one.receive(B, Rpc(iwant=(news.id,)), 7.5)) == [B]
    for now in range(8, 14):
        one.heartbeat(float(now))
    assert one.receive(B, Rpc(iwant=(news.id,)), 14.0) == []


def test_of_a_topic_that_was_left_nothing_is_announced_or_sent_again() -> None:
    """Who comes a moment later must not have from us what sync refuses."""
    one = router(A, B)
    heard, under_way, said = message(), message(data=b"under way"), message(data=b"ours")
    one.receive(A, publish(heard), 1.0)
    one.verdict(heard.id, Verdict.ACCEPT)
    one.publish(said, 1.0)
    one.receive(A, publish(under_way), 1.0)
    one.unsubscribe("t", 1.0)
    assert one.verdict(under_way.id, Verdict.ACCEPT) == []
    one.peer_up(C)
    one.receive(C, JOINS, 1.5)
    assert told(one.heartbeat(2.0), C) == Rpc()
    assert one.receive(C, Rpc(iwant=(heard.id, under_way.id, said.id)), 2.0) == []
    assert one.sizes()["kept"] == 0


def test_asked_of_one_then_of_another() -> None:
    one = router(A, B)
    news = message()
    ihave = Rpc(ihave=(Ihave(topic="t", ids=(news.id,)),))
    assert told(one.receive(A, ihave, 1.0), A).iwant == (news.id,)
    assert one.receive(B, ihave, 1.0) == []
    assert blamed(one.heartbeat(3.9)) == []
    assert blamed(one.heartbeat(4.0)) == [(A, Offence.BROKEN_PROMISE)]
    assert told(one.receive(B, ihave, 6.1), B).iwant == (news.id,)
    one.receive(B, publish(news), 6.2)
    assert blamed(one.heartbeat(20.0)) == []


def test_who_is_not_read_breaks_no_promise() -> None:
    one = router(A)
    one.receive(A, Rpc(ihave=(Ihave(topic="t", ids=(MessageId(b"x"),)),)), 1.0)
    assert blamed(one.heartbeat(10.0, [A])) == []
    assert blamed(one.heartbeat(10.5)) == []
    assert blamed(one.heartbeat(11.0)) == [(A, Offence.BROKEN_PROMISE)]


def test_ids_as_js_makes_them() -> None:
    one = router(A, B)
    outside(one, B)
    news = message()
    short = MessageId(news.id[2:])
    assert told(one.receive(A, Rpc(ihave=(Ihave(topic="t", ids=(short,)),)), 1.0), A).iwant == (short,)
    one.receive(B, publish(news), 1.0)
    one.verdict(news.id, Verdict.ACCEPT)
    assert one.receive(A, Rpc(ihave=(Ihave(topic="t", ids=(short,)),)), 1.0) == []
    assert blamed(one.heartbeat(30.0)) == []
    assert forwarded(one.receive(A, Rpc(iwant=(short,)), 30.0)) == [A]


def test_asking_and_answering_have_bounds_between_heartbeats() -> None:
    one = router(A, asks=10, ihaves=3)
    many = tuple(MessageId(n.to_bytes(8)) for n in range(100))
    assert len(told(one.receive(A, Rpc(ihave=(Ihave(topic="t", ids=many),)), 1.0), A).iwant) == 10
    out: Sequence[Output] = ()
    for _ in range(4):
        out = one.receive(A, Rpc(ihave=(Ihave(topic="t", ids=()),)), 1.0)
    assert blamed(out) == [(A, Offence.FLOOD)]
    assert blamed(one.receive(A, Rpc(iwant=many), 1.0)) == [(A, Offence.FLOOD)]
    one.heartbeat(2.0)
    assert told(one.receive(A, Rpc(ihave=(Ihave(topic="t", ids=many[50:]),)), 2.0), A).iwant == many[50:60]


# ---------------------------------------------------------------- bounds, and doing nothing


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_PEER_TOPICS", "MOST_FOREIGN", "MOST_BACKOFFS", "MOST_PROMISES"):
        monkeypatch.setattr(routing, name, 50)
    one = router(A, B, C)
    for number in range(200):
        one.subscribe(f"mine{number}", 0.0)
    flood = 0
    for number in range(300):
        peer = (A, B, C)[number % 3]
        news = (Subscription(topic=f"x{number}", subscribe=True), Subscription(topic=f"mine{number}", subscribe=True))
        ihave = Ihave(topic="t", ids=(MessageId(number.to_bytes(8)),))
        rpc = Rpc(subscriptions=news, graft=(f"mine{number}",), prune=(Prune(topic=f"mine{number}"),), ihave=(ihave,))
        flood += len(blamed(one.receive(peer, rpc, number / 1000)))
    sizes = one.sizes()
    assert flood > 100
    assert sizes["foreign"] <= 50
    assert sizes["backoffs"] <= 50
    assert sizes["promises"] <= 50
    for peer in (A, B, C):
        one.peer_down(peer)
    one.heartbeat(1e6)
    assert not any(one.sizes().values()), one.sizes()


def test_our_own_topics_are_bounded_as_others_bound_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MOST_PEER_TOPICS", 3)
    one = router(A)
    for number in range(5):
        one.subscribe(f"u{number}", 0.0)
    assert [one.subscribed(f"u{number}") for number in range(5)] == [True, True, False, False, False]


def test_excess_is_blamed() -> None:
    assert blamed(router(A).receive(A, Rpc(excess=1), 0.0)) == [(A, Offence.FLOOD)]


def test_foreign_counts_follow_our_subscriptions() -> None:
    one = router(A, B)
    assert one.sizes()["foreign"] == 0
    one.unsubscribe("t", 0.0)
    assert one.sizes()["foreign"] == 2
    one.receive(A, LEAVES, 0.0)
    one.subscribe("t", 0.0)
    assert one.sizes()["foreign"] == 0


def test_a_full_table_of_foreign_topics_costs_who_has_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MOST_FOREIGN", 20)
    one = router(A, B, subscribed=False)
    many = Rpc(subscriptions=tuple(Subscription(topic=f"x{number}", subscribe=True) for number in range(30)))
    assert blamed(one.receive(A, many, 0.0)) == []
    one.unsubscribe("t", 0.0)
    assert one.receive(B, JOINS, 0.0) == []
    assert list(one.peers("t")) == [A, B]
    assert one.sizes()["foreign"] == 20
    assert len(one.peers("x0")) == 1
    assert len(one.peers("x29")) == 0


def test_what_was_under_way_when_a_topic_was_left() -> None:
    one = router(A)
    one.unsubscribe("t", 0.0)
    assert one.receive(A, publish(message()), 50.0) == []
    one.heartbeat(61.0)
    assert blamed(one.receive(A, publish(message()), 61.0)) == [(A, Offence.STRANGER)]


def test_an_idle_heartbeat_says_nothing() -> None:
    one = router(*(PeerId(f"p{n}") for n in range(5)))
    assert [one.heartbeat(float(now)) for now in range(1, 100)] == [[]] * 99


def test_a_greeting_with_all_topics_fits_into_an_rpc() -> None:
    names = tuple(topic_name(TopicId(number.to_bytes(32))) for number in range(routing.MOST_PEER_TOPICS))
    greeting = Rpc(subscriptions=tuple(Subscription(topic=name, subscribe=True) for name in names), graft=names)
    assert len(greeting.encode()) < MAX_RPC
