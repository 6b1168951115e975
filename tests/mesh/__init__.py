"""Meshes of separate operating system processes on loopback: killed, frozen, starved, flooded, and counted.

    load     what is sent: numbered payloads that carry the time they were sent at, and the count of what came
    fleet    starts the processes, talks to them, kills, freezes and restarts them, and ends every one of them
    control  the other end of that: a process that does what it is told, one JSON line at a time
    ours     a process with this project's mesh
    raw      a process with the library's own gossip, tuned as well as it can be, to compare with

Nodes of other languages speak the same lines: tests/peers/libp2p_js and tests/peers/libp2p_go.
"""
