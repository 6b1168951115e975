"""Circuit relay v2 and hole punching: peers that cannot dial each other meet at one that both can.

    messages   the protocol's messages, by hand
    server     a relay: reservations, circuits, what they may cost
    client     reserving at relays, dialing through them, taking in what they bring
    circuit    a stream through a relay as the library's raw connection
    punching   from a relayed connection to a direct one: DCUtR by TCP simultaneous open
    sockets    dialing from the port we listen on

The wire is libp2p's, so a relay of another implementation serves, and ours serves others. The code is our own:
the library's relay keeps one circuit per peer in its table and ends the wrong one, reserves in the name of
whomever a message names, and its client reserves again for each dial (docs/network.md).

The server and the messages stand on `transport.network` alone. Client and hole punching are extensions of the
host (`transport.host.extension`): they hand a relayed stream to the library to be secured, by the same Noise
gate as every connection. A relay therefore carries bytes that it can neither read nor forge, for two peers whose
ids it knows.
"""
