"""draft-xue-distributed-mls-02: messaging without agreeing on one state, by a send group for each member.

Nobody ever commits in a group that somebody else commits in too, so there is nothing to agree on and nothing to fork.
`mls.distributed.session` is the front door; docs/distributed.md says what it is for and what it costs.
"""
