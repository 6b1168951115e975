"""The names that the node knows things by. All are bytes, and none can be taken for another.

A group's epoch is known by its `EpochId` and never by its number: rival branches share numbers. A member is known by
its `Incarnation`, which one Add made; who is removed and added again is another one. A leaf's index names nobody for
longer than an epoch.
"""

from __future__ import annotations

from typing import NewType

from mls.registries import GroupId

__all__ = [
    "AccountId",
    "ContentId",
    "DeviceId",
    "EpochId",
    "FrameId",
    "GroupId",
    "Incarnation",
    "IntentId",
    "TopicId",
]

EpochId = NewType("EpochId", bytes)
"""`Group.epoch_id`: what tells an epoch from its rivals."""

Incarnation = NewType("Incarnation", bytes)
"""A member as one Add made it: a hash of the epoch that it came in by, and of its place there."""

AccountId = NewType("AccountId", bytes)
"""A person's account: the hash of its root public key."""

DeviceId = NewType("DeviceId", bytes)
"""A device of an account: 16 random bytes. It is never given again."""

ContentId = NewType("ContentId", bytes)
"""A message as people know it, whatever epochs it was sealed in."""

FrameId = NewType("FrameId", bytes)
"""A sealed envelope on the mesh."""

TopicId = NewType("TopicId", bytes)
"""SHA-256 of a topic's public write key."""

IntentId = NewType("IntentId", bytes)
"""Something that a person or device wants done, until it stands or was refused."""
