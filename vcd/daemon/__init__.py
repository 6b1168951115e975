"""The daemon: everything between the node, which is pure, and the world, which is not.

    owner          the one task that owns the node's state: steps, stores, and only then acts
    telling        what the node tells, as entries of the journal and messages of the history
    hands          what the node asks to be done, by whom, and what it is answered
    mesh           the mesh under it: topics, frames, who is there. With `nearby`, all here that imports `transport`
    packages       KeyPackages that are given out, and those that are asked for
    pairing        new devices, with shelf (what is kept of it), visiting (the new device's way) and nearby (words)
    service        what apps and people ask for: one handler for each row of `vcd.rpc.table`

Nothing here decides anything of the protocol; whatever does is in `vcd.core`.
"""
