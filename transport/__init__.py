"""Moves opaque bytes between peers; knows neither MLS nor the daemon.

What is moved is a *frame*: bytes that only the members of a *topic* can read, in an envelope that anybody can
check without reading them. A topic is a set of frames that are not yet expired, and the one promise made here
is that all peers who keep a topic come to hold the same set. Everything else serves that promise:

    base        the `Mesh` that the daemon sees, its values, its errors
    frames      the envelope: write key, expiry, size, signature; what a topic's name is
    signing     Ed25519 and peer ids, without loading libp2p
    network     what a mesh stands on: connected peers and byte streams to them
    nursery     errors that come out as they went in
    streams     messages on a stream: lengths, limits, deadlines, an end that cannot be forged by a broken line
    conduct     what peers do wrong, what it costs them, and how much of anything they may send
    host/       the network by libp2p, supervised: a fault in the library ends there
    access      who may read, write and delete what of a topic: proofs and tokens by its write key
    gossip/     meshsub 1.1, fast and lossy: new frames to everybody who is there
    sync/       set reconciliation, slow and sure: what gossip lost, and what was said while a peer was away
    mailbox/    a peer that is always there, keeps frames it cannot read, and hands out key packages
    discovery/  where peers are: the local network, records signed by themselves, a distributed table
    relay/      ways to peers who cannot be dialed: circuits through others, hole punching
    live/       the mesh made of all these
    memory/     the same mesh in one process, with every fault of a network on demand

Gossip may lose; sync repairs. Queues are bounded, and what does not fit is either waited for or left to sync,
never dropped without that. No room reads the clock of the wall or the system's randomness by itself: both are
handed in.
"""
