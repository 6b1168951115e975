"""Attacks on stored groups: a thief who comes later, a disk that changes bytes, a reader with other settings."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from mls import group as front, snapshot
from mls.components.numbers import ComponentId, Numbers
from mls.errors import CallerError, MlsError
from mls.fork.mode import BY_CHILD, ForkResilient, marker
from mls.parameters import Parameters
from mls.puncture import Puncturable
from mls.schedule import EXPORTER_TREE
from mls.snapshot import Delta, Snapshot
from mls.state import Group
from tests.mls.clients import Party
from tests.mls.components.company import KNOWN, LISTED, MEDIA, NOTE, SAFE_AAD, WITH, company, demand, offer, updated

REFUTED = (AssertionError, pytest.fail.Exception)
"""What an open door looks like in a test; anything else is a fault of the test."""

NUMBERS = Numbers()
FORKING = Parameters(components=replace(KNOWN, known=KNOWN.known | {NUMBERS.dmls}), modes=(ForkResilient(),))


def forking(count: int) -> Party:
    leaf = offer(components=(LISTED, SAFE_AAD, MEDIA, NOTE, NUMBERS.dmls))
    extensions = demand(components=(NUMBERS.dmls,), data={NUMBERS.dmls: marker(BY_CHILD)})
    return company(count, extensions=extensions, parameters=FORKING, leaf=leaf)


def test_a_forking_group_read_with_another_number_for_its_marker() -> None:
    """It passes for an ordinary one, whose commits need no path. The next epoch would follow from public data alone."""
    party = forking(2)
    renumbered = Numbers(dmls=ComponentId(0x9001))
    elsewhere = replace(WITH, components=replace(KNOWN, numbers=renumbered, known=KNOWN.known | {NUMBERS.dmls}))
    with pytest.raises(MlsError):
        misread = snapshot.decode(party.env.provider, elsewhere, snapshot.encode(party.any))
        front.commit(misread, party.env, proposals=[updated(NOTE, b"x")])


def test_a_forking_group_read_without_its_mode() -> None:
    party = forking(1)
    with pytest.raises(CallerError):
        snapshot.decode(party.env.provider, WITH, snapshot.encode(party.any))


def _leads_to(tree: Puncturable, group: Group, secret: bytes) -> bool:
    """Whether a thief who expands all that is left gets at a secret (few levels are enough below these subtrees)."""
    size = group.suite.hash_size
    heads = [tree.secrets[at : at + size] for at in range(0, len(tree.secrets), size)]
    for _ in range(3):
        if secret in heads:
            return True
        heads = [
            group.suite.expand_with_label(head, b"tree", side, size) for head in heads for side in (b"left", b"right")
        ]
    return secret in heads


def test_a_thief_finds_nothing_that_was_exported() -> None:
    party = company(2)
    before = party.any
    after, exported = front.safe_export(before, NOTE)
    for stolen in (snapshot.encode(after).raw, snapshot.encode_delta(before, after).raw):
        assert exported.raw not in stolen
        assert before.trees[EXPORTER_TREE].secrets not in stolen
    again = snapshot.decode(party.env.provider, WITH, snapshot.encode(after))
    replayed = snapshot.apply_delta(before, snapshot.encode_delta(before, after))
    for group in (again, replayed):
        assert group.trees[EXPORTER_TREE] == after.trees[EXPORTER_TREE]
        assert not _leads_to(group.trees[EXPORTER_TREE], group, exported.raw)
        with pytest.raises(MlsError):
            front.safe_export(group, NOTE)


def test_a_thief_of_a_retired_epoch_has_no_tree() -> None:
    party = company(2)
    group = party.any
    retired = front.retired(group)
    secrets = group.trees[EXPORTER_TREE].secrets
    for stolen in (snapshot.encode(retired).raw, snapshot.encode_delta(group, retired).raw):
        assert secrets not in stolen
        assert group.secrets.exporter.raw not in stolen
        assert group.secrets.init.raw not in stolen


def _bent(good: bytes, rng: random.Random) -> bytes:
    bent = bytearray(good)
    kind = rng.randrange(4)
    at = rng.randrange(len(bent))
    if kind == 0:
        del bent[at:]
    elif kind == 1:
        bent[at:at] = rng.randbytes(rng.randrange(1, 9))
    else:
        for _ in range(kind):
            bent[rng.randrange(len(bent))] = rng.randrange(256)
    return bytes(bent)


def test_a_disk_that_changes_bytes() -> None:
    """What can still be read is read, since the bytes are our own; the rest is `CallerError` and nothing else."""
    party = company(3)
    rng = random.Random(9)
    group, _ = front.safe_export(party.any, NOTE)
    whole = snapshot.encode(group).raw
    sent = front.commit(group, party.env, proposals=[updated(NOTE, b"x")], force_path=True)
    step = snapshot.encode_delta(group, sent.group).raw
    damaged = 0
    for _ in range(120):
        try:
            snapshot.decode(party.env.provider, WITH, Snapshot(_bent(whole, rng)))
        except CallerError:
            damaged += 1
        try:
            snapshot.apply_delta(group, Delta(_bent(step, rng)))
        except CallerError:
            damaged += 1
    assert damaged > 50
