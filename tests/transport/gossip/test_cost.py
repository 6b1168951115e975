"""What a message costs here, beside the signatures in it, measured in the same run."""

from __future__ import annotations

import random
import timeit
from collections.abc import Callable

import pytest
from libp2p.pubsub.pb import rpc_pb2

from transport.base import PeerId
from transport.gossip.authors import compose
from transport.gossip.router import Deliver, Forward, Router, Settings, Verdict
from transport.gossip.wire import Deframer, Message, Rpc, Subscription, decode, publish_rpc
from transport.signing import SigningKey, verifies

pytestmark = [pytest.mark.bench, pytest.mark.slow]
RANDOM = random.Random(0).randbytes
PEERS = [PeerId(f"p{n}") for n in range(5)]
JOINS = Rpc(subscriptions=(Subscription(topic="t", subscribe=True),))
DATA = RANDOM(4000)


def cost(call: Callable[[], object], number: int = 200) -> float:
    """Seconds; the least of several tries, because the machine has other things to do."""
    return min(timeit.repeat(call, number=number, repeat=7)) / number


def in_a_mesh() -> Router:
    router = Router(random.Random(1), Settings())
    for number in range(100):
        router.subscribe("t" if number == 0 else f"t{number}", 0.0)
    for peer in PEERS:
        router.peer_up(peer)
        router.receive(peer, JOINS, 0.0)
    router.heartbeat(1.0)
    return router


def body(message: Message) -> bytes:
    return Deframer().feed(publish_rpc(message))[0]


def test_to_send() -> None:
    router = in_a_mesh()
    key = SigningKey(bytes(32))
    floor = cost(lambda: SigningKey(bytes(32))) + cost(lambda: key.sign(DATA))
    spent = cost(lambda: router.publish(compose("t", DATA, RANDOM), 1.0))
    print(f"\nsigned and routed to five: {spent * 1e6:.0f} us, of which key and signature {floor * 1e6:.0f} us")
    assert spent < 3 * floor


def test_to_receive_and_forward() -> None:
    router = in_a_mesh()
    made = [compose("t", DATA, RANDOM) for _ in range(200 * 7)]
    bodies = iter([body(message) for message in made])

    def take() -> None:
        (deliver,) = router.receive(PEERS[0], decode(next(bodies)), 1.0)
        assert isinstance(deliver, Deliver)
        (out,) = router.verdict(deliver.message.id, Verdict.ACCEPT)
        assert isinstance(out, Forward)

    key = made[0].author[-32:]
    floor = cost(lambda: verifies(key, made[0].signed(), made[0].signature))
    spent = cost(take)
    copies = cost(lambda: router.receive(PEERS[1], decode(body(made[0])), 1.0))
    print(
        f"\ndecoded, checked and routed to four: {spent * 1e6:.0f} us, of which the signature {floor * 1e6:.0f} us;"
        f" a copy: {copies * 1e6:.0f} us"
    )
    assert spent < 2.5 * floor
    assert copies < floor


def test_the_codec_beside_the_generated_one() -> None:
    one = body(compose("t", DATA, RANDOM))

    def theirs() -> list[object]:
        rpc = rpc_pb2.RPC.FromString(one)
        return [(m.from_id, m.data, m.seqno, list(m.topicIDs), m.signature, m.key) for m in rpc.publish]

    print(f"\nread by us {cost(lambda: decode(one)) * 1e6:.0f} us, by libp2p's classes {cost(theirs) * 1e6:.0f} us")
    assert cost(lambda: decode(one)) < 100e-6


def test_an_idle_heartbeat() -> None:
    router = in_a_mesh()
    spent = cost(lambda: router.heartbeat(2.0))
    print(f"\nan idle heartbeat with five peers and a hundred topics: {spent * 1e6:.1f} us")
    assert spent < 100e-6
