"""A peer that is always there, keeps what it cannot read, and hands out key packages.

A mailbox is a mesh like any other whose topics have no write key: it verifies heads, keeps frames until they
expire and reconciles them with whoever shows the right credential, other mailboxes included. What it adds is
behind one protocol of questions and answers, `/vcd/mailbox/1`:

    tenants    who may have something kept here, and how much
    bodies     what can be asked: the operations and their layouts
    wire       requests and answers around them as bytes: strict, bounded, closed
    desk       one request and one database in, one answer out; decides, and touches neither clock nor network
    keeps      which topics are kept for whom, under which token, and what that uses
    records    what is signed once and shown often: hand-out capabilities, values of slots
    slots      small sealed values that change: signed by a key of their own, only newer versions replace older
    packages   key packages, each handed out once, ever
    disk       a SQLite file, one transaction at a time, in one thread; a `base.FrameStore`
    schema     its tables, and how an older file becomes a newer one
    store      the disk with its tenants' quotas
    server     the mesh, the store and the desk, running
    client     the other end of the questions

Everything is decided inside the transaction that writes it, and an answer leaves after the commit. So there is
no state beside the file that a crash could tear from it, except how fast somebody may ask.

Who has no right to something gets the same answer as who asks for what is not there. docs/mailbox.md has the
formats, what a mailbox learns, and what losing its disk means; docs/adr/0009 why it is like this.
"""
