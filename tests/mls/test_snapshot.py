"""Groups as bytes: whole and by steps, the pinned format, and damage."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import fields, replace

import pytest
from hypothesis import given, strategies as st

from mls import group as front, snapshot
from mls.errors import CallerError, PuncturedError
from mls.leaf_node import RequiredCapabilities
from mls.proposals import Add, GroupContextExtensions, ReInit, Remove
from mls.provider import Environment
from mls.registries import GroupId
from mls.secret_tree import GENERATIONS
from mls.snapshot import Delta, Snapshot
from mls.state import Ended, Group
from tests.mls.clients import PUBLIC, client, environment
from tests.mls.suite_variants import GROUP_SUITES
from tests.vectors.own import snapshot as pinned


def step(group: Group, env: Environment, choice: int) -> Group:
    """One change of a group by a member who acts alone; the choice says which."""
    others = [leaf for leaf, _ in group.members if leaf != group.own_leaf]
    if group.ended is not None:
        return group
    if choice == 0 and not group.proposals:
        return front.seal(group, env, b"hello")[0]
    if choice == 1:
        newcomers = [client(f"n{group.epoch}-{i}", group.suite.cipher_suite) for i in range(3)]
        adds = [Add(each.package(env).key_package) for each in newcomers]
        return front.commit(group, env, proposals=adds).group
    if choice == 2 and others:
        return front.commit(group, env, proposals=[Remove(others[-1])]).group
    if choice == 3 and others:
        return front.propose(group, env, Remove(others[0]))[0]
    if choice == 4:
        return front.propose_update(group, env)[0]
    if choice == 5:
        extension = RequiredCapabilities(credentials=(1,)).extension()
        return front.commit(group, env, proposals=[GroupContextExtensions((extension,))]).group
    if choice == 6 and not group.proposals:
        return front.commit(group, env, proposals=[ReInit(GroupId(b"next"), 1, 2, ())]).group
    return front.commit(group, env).group


def same(first: Group, second: Group) -> None:
    assert snapshot.encode(first) == snapshot.encode(second)
    for field in fields(Group):
        if field.name in ("own_leaf", "proposals", "updates", "resumption", "private", "ended"):
            assert getattr(first, field.name) == getattr(second, field.name), field.name
    old, new = first.public, second.public
    assert new.tree.hash == old.tree.hash == new.context.tree_hash
    assert dict(new.tree.encryption_keys.items()) == dict(old.tree.encryption_keys.items())
    assert dict(new.tree.signature_keys.items()) == dict(old.tree.signature_keys.items())
    assert dict(new.tree.profiles.items()) == dict(old.tree.profiles.items())


@given(choices=st.lists(st.integers(0, 7), min_size=1, max_size=10))
def test_a_delta_leads_where_the_step_led(choices: list[int]) -> None:
    env = environment("snapshot")
    group = client("alice").create(env)
    copy = snapshot.decode(env.provider, group.parameters, snapshot.encode(group))
    for choice in choices:
        after = step(group, env, choice)
        copy = snapshot.apply_delta(copy, snapshot.encode_delta(group, after))
        same(after, copy)
        group = after
    same(group, snapshot.decode(env.provider, group.parameters, snapshot.encode(group)))


@pytest.mark.parametrize("cipher_suite", GROUP_SUITES)
def test_a_loaded_group_goes_on(cipher_suite: int) -> None:
    env = environment("loaded")
    alice, bob = client("alice", cipher_suite), client("bob", cipher_suite)
    package = bob.package(env)
    sent = front.commit(alice.create(env), env, proposals=[Add(package.key_package)])
    bobs = bob.join(env, sent.welcome, [package])
    loaded = snapshot.decode(env.provider, bobs.parameters, snapshot.encode(bobs))
    alices, message = front.seal(sent.group, env, b"to a device that restarted")
    event = front.receive(loaded, env, message)
    assert isinstance(event, front.ApplicationMessage)
    assert event.data == b"to a device that restarted"
    reply = front.commit(event.group, env)
    assert front.receive(alices, env, reply.message).group.authenticator == reply.group.authenticator


def test_a_removed_member_stays_removed() -> None:
    env = environment("removed")
    alice, bob = client("alice", parameters=PUBLIC), client("bob", parameters=PUBLIC)
    package = bob.package(env)
    sent = front.commit(alice.create(env), env, proposals=[Add(package.key_package)])
    bobs = bob.join(env, sent.welcome, [package])
    removal = front.commit(sent.group, env, proposals=[Remove(bobs.own_leaf)])
    gone = front.receive(bobs, env, removal.message).group
    assert snapshot.decode(env.provider, PUBLIC, snapshot.encode(gone)).ended is Ended.REMOVED
    assert snapshot.apply_delta(bobs, snapshot.encode_delta(bobs, gone)).ended is Ended.REMOVED


def test_a_message_changes_a_few_hundred_bytes_however_large_the_group() -> None:
    sizes = []
    for members in (2, 64):
        env = environment("size")
        adds = [Add(client(f"m{i}").package(env).key_package) for i in range(members - 1)]
        group = front.commit(client("alice").create(env), env, proposals=adds).group
        group, _ = front.seal(group, env, b"first: opens the ratchet")
        after, _ = front.seal(group, env, b"second")
        sizes.append(len(snapshot.encode_delta(group, after).raw))
    assert sizes[0] == sizes[1] < 150


def test_the_format_is_pinned() -> None:
    """The bytes that this version wrote are still written."""
    assert json.loads(pinned.pinned(snapshot.VERSION).read_text()) == pinned.generate()


@pytest.mark.parametrize("version", range(snapshot.OLDEST, snapshot.VERSION + 1))
def test_what_every_version_wrote_is_read(version: int) -> None:
    env = environment("pinned")
    for case in json.loads(pinned.pinned(version).read_text())["cases"]:
        whole = Snapshot(bytes.fromhex(case["snapshot"]))
        group = snapshot.decode(env.provider, PUBLIC, whole)
        assert group.authenticator.hex() == case["epoch_authenticator"]
        with pytest.raises(PuncturedError):
            front.safe_export(group, 0x8000)  # exported already, or by a version that knew of no exports
        after = snapshot.apply_delta(group, Delta(bytes.fromhex(case["delta"])))
        assert after.authenticator.hex() == case["epoch_authenticator_after"]
        event = front.receive(after, env, bytes.fromhex(case["message"]))
        assert isinstance(event, front.ApplicationMessage)
        assert event.data.hex() == case["plaintext"]


def test_another_version_is_named() -> None:
    env = environment("version")
    raw = snapshot.encode(client("alice").create(env)).raw
    with pytest.raises(CallerError, match="version 99"):
        snapshot.decode(env.provider, PUBLIC, Snapshot(b"\x00\x63" + raw[2:]))


def test_a_ratchet_beyond_its_end_is_damage() -> None:
    env = environment("ratchet")
    group, _ = front.seal(client("alice").create(env), env, b"")
    key, ratchet = max(group.keys.ratchets.items())
    for generation, good in ((GENERATIONS, True), (GENERATIONS + 1, False)):
        ratchets = group.keys.ratchets.set(key, replace(ratchet, generation=generation))
        raw = snapshot.encode(replace(group, keys=replace(group.keys, ratchets=ratchets)))
        with nullcontext() if good else pytest.raises(CallerError, match="damaged"):
            snapshot.decode(env.provider, PUBLIC, raw)


@given(data=st.data())
def test_damage_is_one_error(data: st.DataObject) -> None:
    """Whatever happened to the bytes: a value or a `CallerError`, nothing else."""
    env = environment("damage")
    group = front.commit(
        client("alice").create(env), env, proposals=[Add(client("bob").package(env).key_package)]
    ).group
    raw = bytearray(snapshot.encode(group).raw)
    cut = data.draw(st.integers(0, len(raw)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(raw), bytes(raw[:cut]), bytes(raw) + b"\x00"):
        try:
            snapshot.decode(env.provider, PUBLIC, Snapshot(damaged))
        except CallerError as error:
            assert error.hint  # noqa: PT017 - either outcome is right, another error is not


def test_snapshots_show_nothing() -> None:
    env = environment("repr")
    group = client("alice").create(env)
    assert repr(snapshot.encode(group)).startswith("<Snapshot ")
    assert group.secrets.init.raw.hex() not in repr(group)
