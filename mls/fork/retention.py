"""DMLS §6, RFC 9420 §9.2: what of an epoch is deleted, and when.

An epoch of a fork-resilient group goes through four stages. It *begins*: its epoch secret gives everything below and is
gone, with the joiner, welcome, commit and PSK secrets and the path that led here. It is the *head* of a branch until a
commit on it is followed. Then it is *left*: other commits on it may still come, and messages of those who have not
followed any. When the application decides that no more commits will be taken, it is *settled* and reads late messages
alone. Last, the value is dropped. Which stage an epoch is in is for the application to decide (docs/fork.md has rules
of thumb); what each costs an attacker who gets hold of the device is decided here.

Following a commit returns the epoch that was left beside the one that begins, as `before`: the tree has lost the leaf
that the child's init secret came from, the secret tree the key that the commit was sealed with. Keep `left(before)`
instead of every earlier value of that epoch. An old value kept beside it, in memory or in a backup, still leads to the
child, and sealing from both uses one key twice.

What happens to each part of a `Group`, unless it is kept because the application wants to export from epochs it left:

| part | when the epoch is left | when it is settled |
|---|---|---|
| parameters, public, own_leaf | stay | stay |
| signature_key | stays: it is the child's too | deleted |
| private | stays: a rival's path is sealed to it, which is what a fork costs in forward secrecy | deleted |
| keys | stay but for what was used; used handshake keys stay too | handshake keys deleted |
| trees: parent_init | the leaf of each child that was followed is deleted, with all that leads to it | deleted |
| trees: application_export | deleted | deleted |
| proposals, updates | stay: a rival may commit them | deleted |
| resumption | stays | stays |
| ended | no | retired |
| followed | stays: a commit from outside that comes again begins nothing | deleted |

And to each of its `EpochSecrets`:

| part | when the epoch is left | when it is settled |
|---|---|---|
| sender_data | stays | stays: late messages need it |
| membership | stays: public proposals and commits of members | deleted |
| external | stays, or is deleted where nobody joins from outside | deleted |
| confirmation | deleted: its one tag was made or checked when the epoch began | deleted |
| exporter, extra | deleted | deleted |
| init | never was one | never was one |
| resumption | stays | stays |
| authenticator, epoch_id | stay; they are no secrets | stay |

A commit from outside takes its init secret from the external secret and not from the tree. So as long as that secret is
kept, an attacker who gets it opens the children that were made from outside, and only those, as far as the init secret
goes. An application in which nobody joins from outside, or not on an epoch that was left, deletes it.
"""

from __future__ import annotations

from dataclasses import replace

from mls.group import retired
from mls.schedule import EXPORTER_TREE
from mls.secrets import ConfirmationKey, ExporterSecret, ExternalSecret
from mls.state import Group


def left(group: Group, *, exports: bool = False, external_joins: bool = True) -> Group:
    """An epoch that was left and may have further children: it follows commits, and says and reads messages.

    `exports` keeps what applications export from; better to take it while the epoch is the head. Without
    `external_joins` it follows only the commits of members.
    """
    secrets = replace(group.secrets, confirmation=ConfirmationKey(b""))
    trees = group.trees
    if not exports:
        secrets = replace(secrets, exporter=ExporterSecret(b""), extra=())
        trees = {label: tree for label, tree in trees.items() if label != EXPORTER_TREE}
    if not external_joins:
        secrets = replace(secrets, external=ExternalSecret(b""))
    return replace(group, secrets=secrets, trees=trees)


def settled(group: Group) -> Group:
    """An epoch on which no more commits are taken: it reads late messages and holds nothing else worth stealing."""
    return retired(group)
