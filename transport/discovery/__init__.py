"""Where peers are, without a directory that anybody has to trust.

    addresses   the forms of address dialed here; who may tell us which
    records     where a peer says it is: signed by itself, expiring
    book        what we have been told: bounded, filtered, in the order to try
    points      rendezvous: peers that keep records for others, by a question and an answer
    finding     publishing our record and looking up those of peers we miss
    mdns        the local network, under a name private to an account

Nothing here listens or sends before its owner starts it: mDNS on the interfaces it is given, records to and
from the points it is given. Nothing found here is trusted either. An address is tried; the Noise handshake
proves who is there, and the host's gate decides whether that peer comes in.
"""
