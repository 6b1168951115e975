"""The codec: against libp2p's own, in chunks of any size, and with junk."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st
from libp2p.pubsub.pb import rpc_pb2

from transport.base import Reason, Refused, TopicId
from transport.gossip.wire import (
    MAX_IDS,
    MAX_NAME,
    MAX_PUBLISH,
    MAX_SUBSCRIPTIONS,
    Deframer,
    Ihave,
    Message,
    MessageId,
    Prune,
    Rpc,
    Subscription,
    decode,
    delimited,
    publish_rpc,
    topic_name,
    topic_named,
)

names = st.text(min_size=1, max_size=20).filter(lambda name: len(name.encode()) <= MAX_NAME)
ids = st.binary(max_size=50).map(MessageId)
messages = st.builds(
    Message,
    author=st.binary(max_size=40),
    data=st.binary(max_size=300),
    seqno=st.binary(max_size=8),
    topic=names,
    signature=st.binary(max_size=64),
    key=st.binary(max_size=40),
)


def tuples(values: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(values, max_size=4).map(tuple)


rpcs = st.builds(
    Rpc,
    subscriptions=tuples(st.builds(Subscription, topic=names, subscribe=st.booleans())),
    publish=tuples(messages),
    ihave=tuples(st.builds(Ihave, topic=names, ids=tuples(ids))),
    iwant=tuples(ids),
    graft=tuples(names),
    prune=tuples(st.builds(Prune, topic=names, backoff=st.none() | st.integers(0, 2**64 - 1))),
)


def body(rpc: bytes) -> bytes:
    (found,) = Deframer().feed(rpc)
    return found


@pytest.mark.slow
@given(rpcs)
def test_round_trip(rpc: Rpc) -> None:
    assert decode(body(rpc.encode())) == rpc


@pytest.mark.slow
@given(rpcs)
def test_libp2p_reads_what_we_write(rpc: Rpc) -> None:
    theirs = rpc_pb2.RPC.FromString(body(rpc.encode()))
    assert [(s.topicid, s.subscribe) for s in theirs.subscriptions] == [
        (s.topic, s.subscribe) for s in rpc.subscriptions
    ]
    assert [(m.from_id, m.data, m.seqno, tuple(m.topicIDs), m.signature, m.key) for m in theirs.publish] == [
        (m.author, m.data, m.seqno, (m.topic,), m.signature, m.key) for m in rpc.publish
    ]
    control = theirs.control
    assert [(i.topicID, tuple(i.messageIDs)) for i in control.ihave] == [(i.topic, i.ids) for i in rpc.ihave]
    assert [each for want in control.iwant for each in want.messageIDs] == list(rpc.iwant)
    assert [g.topicID for g in control.graft] == list(rpc.graft)
    assert [(p.topicID, p.backoff if p.HasField("backoff") else None) for p in control.prune] == [
        (p.topic, p.backoff) for p in rpc.prune
    ]


@pytest.mark.slow
@given(rpcs)
def test_we_read_what_libp2p_writes(rpc: Rpc) -> None:
    theirs = rpc_pb2.RPC(
        subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=s.subscribe, topicid=s.topic) for s in rpc.subscriptions],
        publish=[
            rpc_pb2.Message(
                from_id=m.author, data=m.data, seqno=m.seqno, topicIDs=[m.topic], signature=m.signature, key=m.key
            )
            for m in rpc.publish
        ],
        control=rpc_pb2.ControlMessage(
            ihave=[rpc_pb2.ControlIHave(topicID=i.topic, messageIDs=i.ids) for i in rpc.ihave],
            iwant=[rpc_pb2.ControlIWant(messageIDs=rpc.iwant)],
            graft=[rpc_pb2.ControlGraft(topicID=topic) for topic in rpc.graft],
            prune=[
                rpc_pb2.ControlPrune(topicID=p.topic, backoff=p.backoff, peers=[rpc_pb2.PeerInfo(peerID=b"x")])
                for p in rpc.prune
            ],
            idontwant=[rpc_pb2.ControlIDontWant(messageIDs=[b"id"])],
        ),
        senderRecord=b"a record that we do not read",
    )
    assert decode(theirs.SerializeToString()) == rpc


@given(messages)
def test_what_is_signed_is_what_libp2p_signs(message: Message) -> None:
    theirs = rpc_pb2.Message(data=message.data, topicIDs=[message.topic], from_id=message.author, seqno=message.seqno)
    assert message.signed() == b"libp2p-pubsub:" + theirs.SerializeToString()


@pytest.mark.slow
@given(st.lists(st.binary(max_size=400), max_size=6), st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_chunks_of_any_size(bodies: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(delimited(each) for each in bodies)
    parser, found, at, turn = Deframer(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += parser.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == bodies
    assert not parser.partial


def reason_of(call: Callable[[bytes], object], data: bytes) -> Reason | None:
    try:
        call(data)
    except Refused as refused:
        return refused.reason
    return None


@given(st.binary(max_size=400))
def test_junk_raises_one_error_only(junk: bytes) -> None:
    assert reason_of(decode, junk) in {None, Reason.MALFORMED}
    assert reason_of(Deframer(100).feed, junk) in {None, Reason.MALFORMED, Reason.SIZE}


@pytest.mark.slow
@given(rpcs, st.data())
def test_damage_raises_one_error_only(rpc: Rpc, data: st.DataObject) -> None:
    damaged = bytearray(body(rpc.encode()))
    for _ in range(data.draw(st.integers(1, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    assert reason_of(decode, bytes(damaged)) in {None, Reason.MALFORMED}


def test_the_bytes_that_end_libp2p_are_refused() -> None:
    (six,) = Deframer().feed(bytes.fromhex("05ffffffffff"))
    with pytest.raises(Refused):
        decode(six)


@pytest.mark.parametrize("length", ["8080808080", "ffffffffffff", "8080c000"])
def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come(length: str) -> None:
    with pytest.raises(Refused):
        Deframer(1 << 19).feed(bytes.fromhex(length))


def test_the_last_of_a_repeated_field_counts_and_order_does_not() -> None:
    message = Message(author=b"a", data=b"d", seqno=b"s", topic="t", signature=b"g")
    fields = [
        b"\x2a\x01g",
        b"\x0a\x01x",
        b"\x22\x01t",
        b"\x12\x01d",
        b"\x1a\x01s",
        b"\x0a\x01a",
        b"\x38\x07",
        b"\x52\x01z",
    ]
    inner = b"".join(fields)
    assert decode(bytes((2 << 3 | 2, len(inner))) + inner).publish == (message,)


def test_parts_of_control_are_merged() -> None:
    one, two = body(Rpc(graft=("a",)).encode()), body(Rpc(graft=("b",), iwant=(MessageId(b"i"),)).encode())
    assert decode(one + two) == Rpc(graft=("a", "b"), iwant=(MessageId(b"i"),))


def test_what_is_beyond_a_bound_is_left_out_and_counted() -> None:
    subscriptions = tuple(Subscription(topic=str(n), subscribe=True) for n in range(MAX_SUBSCRIPTIONS + 3))
    read = decode(body(Rpc(subscriptions=subscriptions).encode()))
    assert (len(read.subscriptions), read.excess) == (MAX_SUBSCRIPTIONS, 3)
    some = MessageId(b"0123")
    read = decode(body(Rpc(ihave=(Ihave(topic="t", ids=(some,) * MAX_IDS),), iwant=(some,) * 5).encode()))
    assert (len(read.ihave[0].ids), read.iwant, read.excess) == (MAX_IDS, (), 5)
    message = Message(author=b"a", data=b"d", seqno=b"s", topic="t")
    read = decode(body(Rpc(publish=(message,) * (MAX_PUBLISH + 1)).encode()))
    assert (len(read.publish), read.excess) == (MAX_PUBLISH, 1)
    long = "n" * (MAX_NAME + 1)
    read = decode(body(Rpc(graft=(long, "t"), prune=(Prune(topic=long),), iwant=(MessageId(b"i" * 200),)).encode()))
    assert (read.graft, read.prune, read.iwant, read.excess) == (("t",), (), (), 3)


@pytest.mark.parametrize(
    "text", ["1b", "0c", "0a05", "00", "0d000000", "09" + "00" * 7, "80" * 10 + "01", "0a03" + "1202"]
)
def test_not_protobuf(text: str) -> None:
    with pytest.raises(Refused):
        decode(bytes.fromhex(text))


def test_other_wire_types_are_skipped() -> None:
    assert decode(bytes.fromhex("0d00000000" + "11" + "00" * 8 + "1801" + "7a00")) == Rpc()


def test_a_publish_is_the_rpc_with_one_message() -> None:
    message = Message(author=b"a", data=b"d" * 70_000, seqno=b"s", topic="t", signature=b"g", key=b"k")
    assert publish_rpc(message) == Rpc(publish=(message,)).encode()


@given(st.binary(min_size=32, max_size=32).map(TopicId))
def test_names_of_topics(topic: TopicId) -> None:
    assert topic_named(topic_name(topic)) == topic


@pytest.mark.parametrize(
    "name", ["", "vcd/1/", "vcd/1/" + "g" * 64, "vcd/1/" + "A" * 64, "vcd/2/" + "a" * 64, "vcd/1/" + " " * 64]
)
def test_names_that_are_not_ours(name: str) -> None:
    assert topic_named(name) is None


@pytest.mark.parametrize("field", [b"\x0a\x00", b"\x7a\x00"])
def test_fields_that_say_nothing_are_counted_and_bounded(field: bytes) -> None:
    assert decode(field * 10).controls == 0
    assert decode(field * 1000).controls >= 900
    with pytest.raises(Refused):
        decode(field * 100_000)


def test_a_hello_of_all_topics_there_may_be_is_not_too_many_fields() -> None:
    names = [topic_name(TopicId(number.to_bytes(32))) for number in range(MAX_SUBSCRIPTIONS)]
    hello = Rpc(
        subscriptions=tuple(Subscription(topic=name, subscribe=True) for name in names), graft=tuple(names[:4096])
    )
    assert decode(body(hello.encode())) == hello
