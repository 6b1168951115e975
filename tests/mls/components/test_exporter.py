"""mls-extensions §4.4: one secret for each component and epoch, which is had once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mls import group as front, snapshot as store
from mls.errors import CallerError, GroupEndedError, PuncturedError
from mls.proposals import ReInit, Remove
from mls.puncture import Puncturable
from mls.registries import MLS10, GroupId
from mls.schedule import EXPORTER_TREE
from mls.secrets import EpochSecret
from mls.state import Group
from mls.suite import Suite
from tests.mls.clients import DEFAULT, client, environment, party, secret_bytes, snapshot
from tests.mls.refusals import A, B, C, accepts
from tests.mls.suite_variants import GROUP_SUITES
from tests.vector_files import load
from tests.vectors.own import snapshot as snapshots

COMPONENTS = (0, 1, 0x667A, 0x8001, 0x8002, 0xFFFF)


def exported(group: Group, *components: int) -> tuple[Group, list[bytes]]:
    secrets = []
    for component in components:
        group, secret = front.safe_export(group, component)
        secrets.append(secret.raw)
    return group, secrets


def by_the_letter(suite: Suite, root: bytes, component: int) -> bytes:
    """RFC 9420 §9 from the root down, bit by bit of the number."""
    secret = root
    for bit in f"{component:016b}":
        secret = suite.expand_with_label(secret, b"tree", b"right" if bit == "1" else b"left", suite.hash_size)
    return secret


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_the_secret_is_that_of_the_text(suite: int) -> None:
    env = environment("letter")
    someone = client("first", suite)
    size = Suite(suite).hash_size
    epoch_secret = EpochSecret(bytes(range(size)))
    group = someone.create(env, epoch_secret=epoch_secret)
    root = group.suite.derive_secret(epoch_secret.raw, b"application_export")
    _, secrets = exported(group, *COMPONENTS)
    assert secrets == [by_the_letter(group.suite, root, component) for component in COMPONENTS]


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_everybody_in_an_epoch_has_the_same(suite: int) -> None:
    """Founder, committer, follower, who was welcomed, who joined from outside; and every epoch has its own."""
    ours = party(2, suite)
    ours.add(A, "welcomed")
    seen: list[bytes] = []
    for step in ("welcomed", "path", "joined", "after"):
        if step == "path":
            ours.commit(B)
        elif step == "joined":
            ours.join_externally("outside")
        elif step == "after":
            ours.commit("outside")
        found = {tuple(exported(ours[name], *COMPONENTS)[1]) for name in ours.names}
        assert len(found) == 1
        secrets = found.pop()
        assert len(set(secrets)) == len(COMPONENTS)
        seen.extend(secrets)
    assert len(set(seen)) == len(seen)


def test_once_in_an_epoch() -> None:
    ours = party(2)
    group, first = exported(ours[A], 0x8001)
    before = snapshot(group)
    with pytest.raises(PuncturedError):
        front.safe_export(group, 0x8001)
    assert snapshot(group) == before
    group, _ = exported(group, 0x8000, 0x8002, 0x8003)
    with pytest.raises(PuncturedError):
        front.safe_export(group, 0x8001)
    # What was exported, and what leads to it, is gone from the value.
    assert first[0] not in secret_bytes(group)
    tree = group.trees[EXPORTER_TREE]
    assert ours[A].trees[EXPORTER_TREE].secrets not in secret_bytes(group)
    assert tree.points == (0x8000, 0x8001, 0x8002, 0x8003)
    # The next epoch has it again.
    ours.groups[A] = group
    ours.commit(B)
    assert exported(ours[A], 0x8001)[1] == exported(ours[B], 0x8001)[1] != first


def test_in_any_order() -> None:
    ours = party(2)
    forth, secrets = exported(ours[A], *COMPONENTS)
    back, reversed_secrets = exported(ours[B], *reversed(COMPONENTS))
    assert secrets == reversed_secrets[::-1]
    assert forth.trees[EXPORTER_TREE] == back.trees[EXPORTER_TREE]
    suite = ours.suite
    state = forth.trees[EXPORTER_TREE].pprf_state(suite)
    assert Puncturable.from_pprf_state(suite, 16, state) == forth.trees[EXPORTER_TREE]


def test_messages_and_commits_do_not_touch_it() -> None:
    ours = party(2)
    ours.groups[A], _ = exported(ours[A], 0x8001)
    tree = ours[A].trees
    ours.say(A, b"one")
    ours.say(B, b"two")
    ours.propose_update(B)
    assert ours[A].trees is tree
    with pytest.raises(PuncturedError):
        front.safe_export(ours[A], 0x8001)
    ours.commit(A)


def test_who_is_out_exports_nothing() -> None:
    ours = party(3)
    before = ours[A]
    ours.commit(A, proposals=[Remove(ours.leaf(C))])
    for ended in (ours[C], front.retired(before)):
        assert ended.trees == {}
        with pytest.raises(GroupEndedError):
            front.safe_export(ended, 0x8001)
        with pytest.raises(GroupEndedError):
            front.export_secret(ended, b"label", b"", 32)
    over = front.commit(ours[A], ours.env, proposals=[ReInit(GroupId(b"next"), MLS10, 1, ())]).group
    with pytest.raises(GroupEndedError):
        front.safe_export(over, 0x8001)


def test_stored_as_it_is() -> None:
    ours = party(2)
    group, secrets = exported(ours[A], 0x8001, 3)
    for again in (
        store.decode(ours.env.provider, DEFAULT, store.encode(group)),
        store.apply_delta(ours[A], store.encode_delta(ours[A], group)),
    ):
        assert again.trees == group.trees
        for component in (0x8001, 3):
            with pytest.raises(PuncturedError):
                front.safe_export(again, component)
        assert exported(again, 4)[1] == exported(ours[B], 4)[1]
    assert all(secret not in store.encode(group).raw for secret in secrets)
    # Another epoch's value brings its own whole tree.
    ours.groups[A] = group
    sent = front.commit(group, ours.env)
    following = store.apply_delta(group, store.encode_delta(group, sent.group))
    assert following.trees == sent.group.trees


def test_an_epoch_that_was_stored_without() -> None:
    """A snapshot of the first version has nothing to export from, until the next commit."""
    vectors: Any = load(Path(snapshots.__file__).with_name("snapshot_v1.json"))
    whole = bytes.fromhex(vectors["cases"][0]["snapshot"])
    group = store.decode(environment().provider, DEFAULT, store.Snapshot(whole))
    with pytest.raises(PuncturedError, match="stored without"):
        front.safe_export(group, 1)


@pytest.mark.parametrize("component", [-1, 0x10000, 1 << 40])
def test_what_is_no_component(component: int) -> None:
    ours = party(2)
    with pytest.raises(CallerError, match="no component"):
        front.safe_export(ours[A], component)


def test_what_is_exported_is_not_shown() -> None:
    ours = party(2)
    group, secret = front.safe_export(ours[A], 0x8001)
    for shown in (repr(secret), str(secret), repr(group.trees[EXPORTER_TREE])):
        assert secret.raw.hex() not in shown
        assert repr(secret.raw)[2:10] not in shown


def test_a_rival_of_the_epoch_has_its_own() -> None:
    ours = party(3)
    rivals = [front.commit(ours[name], ours.env) for name in (A, B)]
    theirs = [accepts(ours.copy(ours.env), C, sent.message).group for sent in rivals]
    secrets = [exported(group, 0x8001)[1] for group in theirs]
    assert secrets[0] != secrets[1]
    assert [exported(sent.group, 0x8001)[1] for sent in rivals] == secrets
