"""The network by py-libp2p: TCP, Noise, Yamux, identify, ping, and someone who watches over them.

The library does the wire. Everything that decides is here, because the library's own decisions lose peers,
memory or the process (docs/libp2p.md lists each, with its test):

    settings   every number that may be turned, with the reason for its value
    mends      what is changed inside the library, as a table: name, hazard, the private names it leans on
    yamux      the library's Yamux with windows that are enforced and one system call per frame
    noise      the library's Noise with a gate: who may come in, how many at once, and for how long they may try
    domain     the crash domain: builds the library's host, notices its death, builds it again
    streams    the library's streams as `network.Stream`; slots, limits, handlers that cannot hurt
    links      who is connected, by which connections, and which of them is alive: pings
    dialing    who is dialed when: a plan per peer, without a clock or a socket of its own
    addresses  which addresses we tell others, from the machine's real interfaces
    extension  the seam for relay, hole punching, mDNS and DHT: they get the live host, inside the crash domain
    network    `open_network` and `LibP2PNetwork`, which puts all this behind `network.Network`

Relay, DHT and mDNS are extensions (`transport.host.extension`): each is a function that takes a `Site` and
returns an async context manager. It is entered at every build of the library's host, after it listens, and
left before that host is closed; what it raises or starts in `site.nursery` dies with the host and is built
again with it. Addresses come in by `site.keep` or `site.learn`, other ways to dial by `site.dial_by`, and
addresses that we have only thanks to the extension (`/p2p-circuit`, a mapped port) go out by `site.announce`.
"""
