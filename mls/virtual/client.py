"""draft-ietf-mls-virtual-clients §6: the virtual client in its conversations, as any of its devices acts in them.

    made = create(emulation, env, parameters, group_id, offer)   a conversation of one
    acted = commit(emulation, group, env, ...)                   acted.commit as from mls.group.commit
    sent = seal(emulation, group, env, data)                     a message, and the name of the generation it takes
    got = receive(emulation, group, env, message)                whatever arrived, and which device said it if ours did
    got = join(emulation, env, parameters, welcome)              a Welcome to any KeyPackage in the stock

Each function stands beside the one of `mls.group` with its name, and does what that does with what the virtual client
adds: keys from operations, the sealed DerivationInfo, the reuse guard, and siblings' acts derived again. It takes the
device's `Emulation` and gives the next one; store it together with the group that comes with it, and only then send.
`announcements` are to be sent within the emulation group (`mls.virtual.devices.announce`) before anything else is.

Whoever holds several branches of a conversation holds several groups, and one `Emulation`.
"""

from __future__ import annotations

from mls.virtual.conversation import (
    Acted,
    Author,
    Proposed,
    Received,
    Sealed,
    claimed,
    commit,
    guard_of,
    propose,
    propose_update,
    receive,
    seal,
)
from mls.virtual.entry import (
    Continued,
    Entered,
    Followed,
    Joined,
    Made,
    continue_conversation,
    create,
    follow_creation,
    follow_external,
    join,
    join_externally,
)

__all__ = [
    "Acted",
    "Author",
    "Continued",
    "Entered",
    "Followed",
    "Joined",
    "Made",
    "Proposed",
    "Received",
    "Sealed",
    "claimed",
    "commit",
    "continue_conversation",
    "create",
    "follow_creation",
    "follow_external",
    "guard_of",
    "join",
    "join_externally",
    "propose",
    "propose_update",
    "receive",
    "seal",
]
