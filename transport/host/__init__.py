"""The network by py-libp2p: TCP, Noise, Yamux, identify, ping, and someone who watches over them.

The library does the wire. Everything that decides is here, because the library's own decisions lose peers,
memory or the process (docs/libp2p.md lists each, with its test):

    settings   every number that may be turned, with the reason for its value
    mends      what is changed inside the library, as a table: name, hazard, the private names it leans on
    yamux      Yamux behind the library's interfaces: windows that are enforced, one writer that nobody cuts short
    flow       one stream of it
    noise      the library's Noise with a gate: who may come in, how many at once, and for how long they may try
    domain     the crash domain: builds the library's host, notices its death, builds it again
    serving    streams that come in: slots, limits, handlers that cannot hurt
    negotiation  what a stream speaks: multistream-select in one round trip
    door       listening, and inbound connections until they are usable
    swarm      the library's swarm and host, with what loses peers replaced by overriding
    feeds      telling others what happened, in order, in bounded space
    lock, logs   one process per identity; the library's warnings in our log
    links      who is connected, by which connections, and which of them is alive: pings
    dialing    who is dialed when: a plan per peer, without a clock or a socket of its own
    turns      whose turn it is to dial: silent peers do not hold up those that are there
    addresses  which addresses we tell others, from the machine's real interfaces
    extension  the seam for relay, hole punching, mDNS and DHT: they get the live host, inside the crash domain
    network    `open_network` and `LibP2PNetwork`, which puts all this behind `network.Network`

Relay, DHT and mDNS are extensions (`transport.host.extension`): each is a function that takes a `Site` and
returns an async context manager. It is entered at every build of the library's host, after it listens, and
left before that host is closed; what it raises or starts in `site.nursery` dies with the host and is built
again with it. Addresses come in by `site.keep` or `site.learn`, other ways to dial by `site.dial_by`, and
addresses that we have only thanks to the extension (`/p2p-circuit`, a mapped port) go out by `site.announce`.
"""
