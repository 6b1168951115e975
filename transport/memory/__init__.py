"""The mesh in one process, with every fault of a network on demand: the same promises, without a socket.

    values       what a line does to messages, what comes out of a simulation, what it counts
    wire         nodes, links between them, and when a link is live
    log          who holds which frames of a topic: sets as integers, so that comparing two is one operation
    questions    questions under way
    simulation   the seeded queue of events, in virtual time, without trio: weeks of twenty devices in a second
    network      the same simulation under trio's clock, which may be one that jumps
    mesh         `base.Mesh` on that

The simulation moves frames, not bytes: it has gossip that loses, sync that repairs, and their price in messages,
but no protocol, no signatures and no streams. What peers say on a wire is tested where it is written.
"""
