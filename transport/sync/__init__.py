"""Slow and sure: peers compare what they hold of a topic, and hand each other what is missing.

    index         a topic's keys (expiry, frame id) in order, with sums from which any range's fingerprint follows
    log           the owner of the indices, in front of the store that the caller brings
    memory_store  a store that forgets when the process ends: for tests and the simulated mesh
    ranges        range-based set reconciliation, without input or output
    wire          the messages of `/vcd/sync/1`
    transfer      frames in pages over a stream, pulled by whoever wants them
    exchange      sessions that we open: reconcile a topic, fetch frames that were announced
    serving       sessions that others open with us
    sessions      what both kinds have in common: limits, charges, who is being served
    credentials   who may read or write a topic, as sync asks it
    schedule      when to reconcile with whom

Why ranges and not something cleverer: docs/adr/0008-range-reconciliation.md.
"""
