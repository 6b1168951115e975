"""What the node does when its time has come: `node.DUTIES` says which room does it."""

from __future__ import annotations

import enum


@enum.unique
class Duty(enum.Enum):
    """What is done when its time has come. The subject is a group, an intent or a message."""

    VOTE = 1  # voting: cast votes, now that the head has stood a while
    DIGEST = 2  # summaries: compare branches
    RETAIN = 3  # retention: keys whose window is over
    INTENT = 4  # intents: try again
    RELAY = 5  # outbox: say again what its own device did not
    RETURN = 6  # outbox: what cannot be confirmed in time goes back to the user
    ASK = 7  # waiting: ask for what is missing
    EXPIRE = 8  # waiting: what waited too long
    STOCK = 9  # stock: replenish, expire
    ROTATE = 10  # rotation: the next step of a removal
    UPDATE = 11  # upkeep: a fresh leaf
    STALE = 12  # upkeep: members who never give themselves one
    REISSUE = 13  # reissue: a removal that lost
    DESYNC = 14  # desync: come back from outside
    QUIET = 15  # conversations: an EC1 pause is over
    SPLIT = 16  # partitions: how long a suspicion lasts
    LEAD = 17  # lead: choose, or succeed
    TOPICS = 18  # flow: leave topics whose time is over
    SEEN = 19  # delivery: ids that need not be remembered any more
    HOME = 20  # devices: what has to be done for the account's devices; the subject says what
    ANSWER = 40  # summaries: what somebody misses, unless another member was quicker
    PROPOSED = 21  # upkeep: proposals that wait for a commit
    REPLY = 22  # invitations: a Welcome that nobody here could take up
    PLACE = 23  # whereabouts: show where we can be reached
    ORDER = 24  # delivery: what waited for its predecessors, and saying what came too late
    CERTIFY = 25  # certificates: show our own where it was not shown yet
    TEND = 30  # sending: what others did to the members, calls, and fresh leaves
    RAW = 41  # raw_care: an app's group; the subject says what, and which
