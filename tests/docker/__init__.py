"""Many machines: real daemons, each with an address of its own, under faults.

    python -m tests.docker --scenario short --report report.html
    python -m tests.docker --ring containers --scenario cut

A *ring* is where the nodes live. There are two, and scenarios cannot tell which they are in:

    namespaces    a network namespace for each node; starts in a second (`tests.docker.namespaces`)
    containers    a container for each node, of an image that the Dockerfile makes (`tests.docker.containers`)

What a ring does is in `tests.docker.ring`: start, stop, kill, pause and restart a node; cut the network into sides and
join it again; lose and delay what goes over one cable; a disk of some size, filled and emptied; a clock that is off;
its log, its sockets, its memory. Half of that is the same for both, as both plug cables into bridges of one namespace
that has no way out (`tests.docker.wires`):

    street    198.51.100.0/24, where everybody reaches everybody
    home      203.0.113.0/24, behind a NAT: from there one reaches the street, and nobody comes in

A cut moves cables to other bridges: addresses stay, frames stop, and nobody is told. Loss and delay are done by a
process that sits in the middle of a cable (`tests.docker.weather`), as not every kernel has netem.

    scenarios    what happens, a table of functions (`tests.docker.scenarios`)
    town         people, their devices, their chats, and who is to hear what (`tests.docker.town`)
    check        what has to hold after every scenario, whatever happened (`tests.docker.check`)
    story        what happened where and when: faults, and each node's own log of events (`tests.docker.story`)
    report       the same as a page that a person can read (`tests.docker.report`)

Daemons are told by their sockets, which lie in the node's folder: a container has that folder mounted. Everything that
a run makes (namespaces, an engine, mounts, folders) is gone when it ends, also when it fails.
"""
