import random
import trio
from tests.transport.relay.test_reaching import *
async def test_g() -> None:
    policy = Policy(loopback=True)
    async with place() as site:
        server=await site.open_relay()
        punch_a, punch_b = HolePunching([C], policy, jitter=random.Random(2)), HolePunching([C], policy, jitter=random.Random(2))
        reserving = RelayClient(site.relays, now_ms=now_ms, jitter=random.Random(1), relayed=punch_b.punch)
        b = await site.host(KEY_B, [reserving.extension, punch_b.extension], listen=(ANY,))
        a = await site.host(KEY_A, [client(site.relays).extension, punch_a.extension], listen=(ANY,))
        await until(lambda: reserving.held == {C} and a.connected(C))
        a.keep(B, [circuit(site.at[0], C)])
        await until(lambda: a.connected(B))
        await until(lambda: a.peers()[B].link is b.peers()[A].link is Link.CONNECTED, 15)
        t=trio.current_time()
        await until(lambda: server.circuits==0, 40)
        print('closed after', trio.current_time()-t, {k:v for k,v in b.counters().items() if 'relay' in k},{k:v for k,v in a.counters().items() if 'relay' in k})
        assert a.connected(B)
        await trio.sleep(22)
        assert a.connected(B) and b.connected(A)
        assert a.peers()[B].link is b.peers()[A].link is Link.CONNECTED
        print({k:v for k,v in b.counters().items() if 'relay' in k},{k:v for k,v in a.counters().items() if 'relay' in k})
