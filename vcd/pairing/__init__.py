"""Pairing: how a new device and one of the account meet, and tell each other what it takes to become one account.

Nothing here has a socket, a clock or a disk. There is a value for each side, and functions that give the next value and
what is to be sent. docs/pairing.md has the bytes, and why they are as they are.

    words       512 words, to be said and typed
    code        what the device of the account shows: a few words, or a URI for a QR code
    wire        the messages, and their bounds
    keys        SPAKE2 keyed by the code, and what follows from it: tags, keys, the check string, seals
    values      steps, reasons, and the channel that both sides have once they met
    existing    the device of the account: it waits, is asked, and answers
    new         the new device: it asks
    kept        both sides as bytes, for a store

**Meeting.** The new device asks, always; the other one answers, and may take its time over it. Three things pass: a
hello with a SPAKE2 share and a commitment, the other share with a nonce, and a proof which opens the commitment. Who
does not know the code is found out by the proof, and the code is burnt by that: there is one guess. Both ids in the
mesh are in what the keys follow from, and the mesh has shown them to be theirs already.

**The check string** follows from everything that was said. Somebody in the middle who knows the code (seen over a
shoulder) has two meetings, with two strings, and cannot choose either: the new device's nonce is fixed by its
commitment before the other one is known, and shown only after.

**Afterwards** each side has a log of sealed messages, numbered from 0. Both say how many of the other's they have, and
send what comes next, as often as it takes. A number is the nonce, and is used for one message: what is sent was stored
first. So it does not matter how often something is lost, repeated, or comes late, nor who restarts when.
"""
