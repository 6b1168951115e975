from __future__ import annotations

import pytest
import trio
from hypothesis import given, strategies as st

from tests.transport.loopback import LoopbackStream, Pipe
from transport.base import PeerId, Refused, Unreachable
from transport.relay.messages import (
    MAX_MESSAGE,
    Delimited,
    HolePunch,
    Hop,
    HopMessage,
    Limit,
    Punch,
    Reservation,
    Status,
    Stop,
    StopMessage,
    observed_address,
)

ADDRESSES = st.lists(st.binary(max_size=20), max_size=16).map(tuple)
NUMBERS = st.integers(0, 2**64 - 1)
LIMITS = st.none() | st.builds(Limit, duration=NUMBERS, data=NUMBERS)
HOPS = st.builds(
    HopMessage,
    type=st.sampled_from(Hop),
    peer=st.binary(max_size=40),
    reservation=st.none() | st.builds(Reservation, expire=NUMBERS, addresses=ADDRESSES),
    limit=LIMITS,
    status=st.none() | st.sampled_from(Status),
)
STOPS = st.builds(
    StopMessage,
    type=st.sampled_from(Stop),
    peer=st.binary(max_size=40),
    limit=LIMITS,
    status=st.none() | st.sampled_from(Status),
)
PUNCHES = st.builds(HolePunch, type=st.sampled_from(Punch), addresses=ADDRESSES)


@given(HOPS | STOPS | PUNCHES)
def test_round_trip(message: HopMessage | StopMessage | HolePunch) -> None:
    assert type(message).decode(message.encode()) == message


@pytest.mark.slow
def test_the_library_reads_the_same() -> None:
    from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage as TheirHop, StopMessage as TheirStop
    from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch as TheirPunch

    limit = Limit(duration=3600, data=1 << 30)
    hop = HopMessage(
        type=Hop.STATUS,
        peer=b"peer",
        reservation=Reservation(expire=1_700_000_000, addresses=(b"one", b"two")),
        limit=limit,
        status=Status.OK,
    )
    theirs = TheirHop.FromString(hop.encode())
    assert (theirs.type, theirs.status, theirs.peer.id) == (TheirHop.STATUS, 100, b"peer")
    assert (theirs.reservation.expire, list(theirs.reservation.addrs)) == (1_700_000_000, [b"one", b"two"])
    assert (theirs.limit.duration, theirs.limit.data) == (3600, 1 << 30)
    assert HopMessage.decode(theirs.SerializeToString()) == hop
    stop = StopMessage(type=Stop.CONNECT, peer=b"peer", limit=limit)
    assert StopMessage.decode(TheirStop.FromString(stop.encode()).SerializeToString()) == stop
    punch = HolePunch(type=Punch.SYNC, addresses=(b"here", b"there"))
    assert HolePunch.decode(TheirPunch.FromString(punch.encode()).SerializeToString()) == punch


@given(st.binary(max_size=200), st.sampled_from([HopMessage, StopMessage, HolePunch]))
def test_junk_decodes_or_is_refused(data: bytes, kind: type[HopMessage | StopMessage | HolePunch]) -> None:
    try:
        kind.decode(data)
        observed_address(data)
    except Refused:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x63",  # a type that there is none of
        b"\x0a\x00",  # the type as bytes
        b"\x08\x00\x10\x01",  # the peer as a number
        b"\x08\x00\x12\x05ab",  # cut short
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # over 64 bits
        b"\x0b",  # a group
        b"\x08",
    ],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(Refused):
        HopMessage.decode(data)


def test_unknown_fields_are_skipped_and_unknown_codes_are_refusals() -> None:
    more = b"\x32\x03abc" + b"\x38\x07" + b"\x41" + bytes(8) + b"\x4d" + bytes(4)
    assert HopMessage.decode(b"\x08\x02\x28\xe7\x07" + more) == HopMessage(type=Hop.STATUS, status=Status.UNUSED)


def reader(data: bytes, *, ended: bool = True) -> Delimited:
    pipe = Pipe()
    pipe.data += data
    pipe.ended = ended
    return Delimited(LoopbackStream(PeerId("me"), PeerId("peer"), "p", pipe, Pipe()), deadline=5)


async def test_what_follows_a_message_is_kept() -> None:
    messages = reader(b"\x03abc\x00\x02dethe rest")
    assert [await messages.receive() for _ in range(3)] == [b"abc", b"", b"de"]
    assert messages.rest() == b"the rest"
    assert messages.rest() == b""


@pytest.mark.parametrize("data", [b"", b"\x05abc", b"\x80"])
async def test_an_end_inside(data: bytes) -> None:
    with pytest.raises(Unreachable):
        await reader(data).receive()


@pytest.mark.parametrize("data", [b"\x81\x20", b"\xff\xff\xff\xff", b"\xff\xff\x7f"])
async def test_too_large(data: bytes) -> None:
    assert MAX_MESSAGE == 4096
    with pytest.raises(Refused):
        await reader(data + bytes(10)).receive()


async def test_too_slow(autojump_clock: object) -> None:
    start = trio.current_time()
    with pytest.raises(Unreachable):
        await reader(b"\x05abc", ended=False).receive()
    assert trio.current_time() - start == 5
