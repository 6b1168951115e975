"""New frames to everybody who is there: meshsub 1.1 by our own router, fast and lossy.

    wire      the bytes of meshsub: protobuf messages and how they are delimited on a stream
    authors   one-time keys that sign what we publish; which signatures of others are believed
    history   what was seen, and what can be sent again
    router    who gets which message: a state machine without time or sockets of its own
    batch     frames in gossip messages, and how long a frame waits for company
    judge     which frames of a message are new and good, and what the message deserves
    intake    the interface to whoever takes the frames
    outbox    what waits to be written to one peer; when that peer counts as too slow
    runner    all of this on a `Network`, as trio tasks

docs/adr/0007-own-gossip-router.md says why this is not libp2p.pubsub, and what of gossipsub 1.1 is kept.
"""
