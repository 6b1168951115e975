"""The virtual client acts and its devices follow, whichever of them acts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.components.last_resort import mark
from mls.errors import CallerError, FutureEpochError, MlsError, OwnMessageError, StaleError
from mls.fork.founding import advertised, fork_resilient, with_forks
from mls.fork.retention import left
from mls.group import ApplicationMessage, CommitMessage
from mls.proposals import Add, Remove
from mls.registries import GroupId
from mls.secrets import SignaturePrivateKey
from mls.virtual import client as vc
from mls.virtual.announcements import ExternalJoin, Keys, SignatureKey, Welcomed, Withdrawn
from mls.virtual.settings import Settings
from mls.virtual.stock import make_reserved, take_in_reserved
from tests.mls.clients import DEFAULT
from tests.mls.virtual.household import ABLE, DERIVED, SETTINGS, Household, alike, offer

both_policies = pytest.mark.parametrize("settings", [SETTINGS, DERIVED], ids=["distributed", "derived"])


def drawn(house: Household, by: str, suite: int = 1) -> SignaturePrivateKey | None:
    """A signature key that all devices know, if they do not derive theirs."""
    if house.settings.signatures is DERIVED.signatures:
        return None
    device = house[by]
    device.emulation, public = device.emulation.drawn_key(device.env, suite)
    private = device.emulation.keys[public].private
    house.announce(by, [Keys((SignatureKey(cipher_suite=suite, public=public, private=private),))])
    return private


def welcome_to(house: Household, package: object, group_id: bytes = b"group", suite: int = 1) -> bytes:
    """Anna founds a conversation and adds the virtual client by a KeyPackage."""
    anna = house.person("anna", suite)
    sent = front.commit(
        anna.create(house.env, group_id),
        house.env,
        proposals=[Add(package)],  # type: ignore[arg-type]
    )
    assert sent.welcome is not None
    house.others[group_id] = {"anna": sent.group}
    return sent.welcome


@both_policies
@pytest.mark.parametrize(("suite", "target"), [(1, 1), (1, 7), (3, 2), (7, 1), (2, 5)])
def test_everybody_follows_everything(settings: Settings, suite: int, target: int) -> None:
    house = Household(3, suite=suite, settings=settings)
    house.create("device1", suite=target)
    house.invite("device0", b"group", "anna", "ben")
    for name in house.names:
        house.commit(name, force_path=True)
        house.agree()
        heard = house.say(name)
        assert len(heard) == len(house.names) - 1
        for got in heard.values():
            assert got.ours
            assert not got.echo
            assert got.author is not None
            assert got.author.leaf == house[name].emulation.group.own_leaf
    for got in house.other_say("anna").values():
        assert (got.ours, got.author, got.echo) == (False, None, False)
    house.other_commit("ben", force_path=True)
    house.commit("device2", proposals=[Remove(house.others[b"group"]["ben"].own_leaf)])


def test_a_commit_takes_an_operation_only_if_it_has_a_path() -> None:
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    spent = house["device0"].emulation
    pathless = vc.commit(spent, house["device0"].groups[b"group"], house["device0"].env, proposals=[])
    assert pathless.emulation is not spent  # an empty commit has a path (RFC 9420 §12.4)
    ben = house.person("ben").package(house.env)
    adding = vc.commit(spent, house["device0"].groups[b"group"], house["device0"].env, proposals=[Add(ben.key_package)])
    assert adding.emulation is spent
    for got in house.spread(b"group", adding.commit.message, by="device0").values():
        assert isinstance(got.event, CommitMessage)
        assert got.author is not None  # it was encrypted, and the guard tells


def test_an_unencrypted_commit_without_a_path_tells_nobody_who_made_it() -> None:
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    device = house["device0"]
    ben = house.person("ben").package(house.env)
    acted = vc.commit(
        device.emulation, device.groups[b"group"], device.env, proposals=[Add(ben.key_package)], encrypt=False
    )
    got = house.spread(b"group", acted.commit.message, by="device0")["device1"]
    assert (got.ours, got.author, got.echo) == (True, None, False)
    assert acted.claim is None


@both_policies
def test_a_welcome_to_any_outstanding_key_package(settings: Settings) -> None:
    house = Household(3, settings=settings)
    batch = house.upload("device2", offer(), offer())
    for number, package in enumerate(reversed(batch.released(announced=True))):
        group_id = b"group %d" % number
        welcome = welcome_to(house, package, group_id)
        for name in house.names:
            house.follow(name, Welcomed(welcome))
        house.agree()
        house.other_commit("anna", group_id, force_path=True)
        house.commit("device0", group_id, force_path=True)
        house.say("device1", group_id)
    for device in house.devices.values():
        assert all(each.used for _, each in device.emulation.stock.items())
    used = list(house["device0"].emulation.stock)
    house.announce("device1", [Withdrawn(tuple(used))])
    for device in house.devices.values():
        assert not device.emulation.stock
        assert not device.emulation.seeds
        device.emulation = device.emulation.pruned(device.groups.values(), since=device.emulation.head.newest)
        assert len(device.emulation.keys) == (0 if settings is DERIVED else 2)


def test_a_last_resort_is_used_again() -> None:
    house = Household(2)
    batch = house.upload("device0", offer(extensions=mark(())))
    [package] = batch.released(announced=True)
    for number in range(2):
        welcome = welcome_to(house, package, b"group %d" % number)
        for name in house.names:
            house.follow(name, Welcomed(welcome))
    house.agree()
    assert len(house["device1"].emulation.stock) == 1


def test_expired_and_withdrawn_key_packages() -> None:
    house = Household(2)
    batch = house.upload("device0", offer(), offer())
    [first, second] = [info.reference for info in batch.announcement.upload.key_packages]
    emulation = house["device1"].emulation
    late = offer().lifetime.not_after * 1000
    assert emulation.expired(late) == ()
    assert set(emulation.expired(late + 1000)) == {first, second}
    assert len(emulation.keys) == 2
    rest = emulation.without([first])
    assert set(rest.stock) == {second}
    assert set(rest.keys) == {emulation.stock[second].signature_key}


@both_policies
def test_external_commits_into_and_back_into_conversations(settings: Settings) -> None:
    house = Household(3, settings=settings)
    ben = house.person("ben")
    house.others[b"group"] = {"ben": ben.create(house.env, b"group")}
    for by, remove in (("device0", False), ("device2", True)):
        device = house[by]
        house.announce(by, [ExternalJoin(b"group")])  # type: ignore[arg-type]
        private = drawn(house, by)
        wanted = offer()
        old = device.groups.get(b"group")
        entered = vc.join_externally(
            device.emulation,
            device.env,
            house.parameters,
            front.group_info(house.others[b"group"]["ben"]),
            credential=wanted.credential,
            capabilities=wanted.capabilities,
            signature_private=private,
            remove=None if old is None else old.own_leaf,
            prior=old,
        )
        device.emulation = entered.emulation
        house.spread(b"group", entered.joined.message, by=by)
        device.groups[b"group"] = entered.joined.group
        if not remove:
            house.announce(by, entered.announcements)
        house.agree()
        for name in house.names:
            house.say(name)
    house.other_commit("ben", force_path=True)
    house.commit("device1", force_path=True)


def test_a_device_that_lost_a_conversation_follows_the_way_back_in() -> None:
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    lost = house["device1"].groups.pop(b"group")
    private = drawn(house, "device0")
    device = house["device0"]
    entered = vc.join_externally(
        device.emulation,
        device.env,
        house.parameters,
        front.group_info(house.others[b"group"]["anna"]),
        credential=offer().credential,
        capabilities=offer().capabilities,
        signature_private=private,
        remove=lost.own_leaf,
    )
    device.emulation = entered.emulation
    house.spread(b"group", entered.joined.message, by="device0")
    device.groups[b"group"] = entered.joined.group
    house.announce("device0", entered.announcements)
    house.agree()
    house.say("device1")


@both_policies
@pytest.mark.parametrize("late", [False, True])
def test_an_update_that_somebody_else_commits(settings: Settings, late: bool) -> None:
    """Siblings that hear of it in time have its keys; so have those who could not derive them before the commit."""
    house = Household(3, settings=settings)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    device = house["device1"]
    proposed = vc.propose_update(device.emulation, device.groups[b"group"], device.env)
    device.emulation, device.groups[b"group"] = proposed.emulation, proposed.group
    house.spread(b"group", proposed.message, by="device1")
    if late:
        for name in ("device0", "device2"):
            group = house[name].groups[b"group"]
            assert len(group.updates) == 1
            house[name].groups[b"group"] = replace(group, updates={})
    with pytest.raises(CallerError, match="proposals are waiting"):
        house.say("device0")
    sent = front.commit(house.others[b"group"]["anna"], house.env)
    for got in house.spread(b"group", sent.message, by="anna").values():
        assert (got.ours, got.author, got.echo) == (False, None, False)
    house.others[b"group"]["anna"] = sent.group
    house.agree()
    for name in house.names:
        house.say(name)


def test_a_siblings_commit_drops_our_update() -> None:
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    device = house["device1"]
    proposed = vc.propose_update(device.emulation, device.groups[b"group"], device.env)
    device.emulation, device.groups[b"group"] = proposed.emulation, proposed.group
    house.spread(b"group", proposed.message, by="device1")
    acted = house.commit("device0")
    house.agree()
    assert not acted.commit.plan.updated


def test_two_devices_on_one_generation() -> None:
    """Siblings read both; the names of the generation are equal; an outsider reads the first and not the second."""
    house = Household(3)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    sent = []
    for name in ("device0", "device1"):
        device = house[name]
        sealed = vc.seal(device.emulation, device.groups[b"group"], device.env, name.encode())
        device.groups[b"group"] = sealed.group
        sent.append(sealed)
    assert sent[0].claim == sent[1].claim
    assert sent[0].claim is not None
    third = house["device2"]
    for name, sealed in zip(("device0", "device1"), sent, strict=True):
        got = vc.receive(third.emulation, third.groups[b"group"], third.env, sealed.message)
        third.groups[b"group"] = got.event.group
        assert isinstance(got.event, ApplicationMessage)
        assert got.event.data == name.encode()
        assert got.author is not None
        assert got.author.leaf == house[name].emulation.group.own_leaf
    other = house["device0"]
    got = vc.receive(other.emulation, other.groups[b"group"], other.env, sent[1].message)
    assert not got.echo
    anna = front.receive(house.others[b"group"]["anna"], house.env, sent[0].message).group
    with pytest.raises(StaleError):
        front.receive(anna, house.env, sent[1].message)


def test_what_was_said_comes_back() -> None:
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    device = house["device0"]
    sealed = vc.seal(device.emulation, device.groups[b"group"], device.env, b"hello")
    got = vc.receive(device.emulation, sealed.group, device.env, sealed.message)
    assert got.echo
    assert isinstance(got.event, ApplicationMessage)
    assert got.event.data == b"hello"


def test_a_commit_of_our_own_is_followed_from_its_bytes() -> None:
    """Design decision 4: a device rebuilds any branch, as long as what made it is kept; else it says whose it was."""
    for settings in (SETTINGS, Settings(retain=False)):
        house = Household(2, settings=settings)
        house.create("device0")
        house.invite("device0", b"group", "anna")
        device = house["device0"]
        group = device.groups[b"group"]
        acted = vc.commit(device.emulation, group, device.env, force_path=True)
        before = acted.commit.before
        if settings.retain:
            got = vc.receive(acted.emulation, before, device.env, acted.commit.message)
            assert got.echo
            alike(got.event.group, acted.commit.group)
        else:
            with pytest.raises(OwnMessageError):
                vc.receive(acted.emulation, before, device.env, acted.commit.message)


def test_of_two_commits_at_once_either_can_be_followed() -> None:
    house = Household(3)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    acts = {}
    for name in ("device0", "device1"):
        device = house[name]
        acts[name] = vc.commit(device.emulation, device.groups[b"group"], device.env, force_path=True)
        device.emulation = acts[name].emulation
    third = house["device2"]
    group = third.groups[b"group"]
    for name in ("device1", "device0"):
        got = vc.receive(third.emulation, group, third.env, acts[name].commit.message)
        third.emulation = got.emulation
        assert isinstance(got.event, CommitMessage)
        alike(got.event.group, acts[name].commit.group)
        group = got.event.before
    loser = house["device1"]
    got = vc.receive(loser.emulation, acts["device1"].commit.before, loser.env, acts["device0"].commit.message)
    alike(got.event.group, acts["device0"].commit.group)


def test_nothing_is_consumed_before_the_whole_message_holds() -> None:
    """Notes 5.11: a leaf that was copied into another group does not keep us from following the real one."""
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    device = house["device0"]
    acted = vc.commit(device.emulation, device.groups[b"group"], device.env, force_path=True, encrypt=False)
    message = bytearray(acted.commit.message)
    message[-40] ^= 1
    second = house["device1"]
    before = second.emulation
    with pytest.raises(MlsError):
        vc.receive(second.emulation, second.groups[b"group"], second.env, bytes(message))
    assert second.emulation is before
    house.spread(b"group", acted.commit.message, by="device0")


def test_key_packages_that_only_some_devices_can_open() -> None:
    """draft-kohbrok-04 §4.1: the one who is not told is locked out when somebody adds us anew."""
    house = Household(3)
    device = house["device0"]
    reserved = make_reserved(device.emulation, device.env, offer())
    device.emulation = reserved.emulation
    told = house["device1"]
    told.emulation = take_in_reserved(told.emulation, reserved.told)
    welcome = welcome_to(house, reserved.package)
    for name in ("device0", "device1"):
        house.follow(name, Welcomed(welcome))
    with pytest.raises(StaleError):
        house.follow("device2", Welcomed(welcome))
    stolen = house.devices.pop("device2")
    assert b"group" not in stolen.groups
    house.agree()
    with pytest.raises(CallerError, match="comes from no emulation epoch"):
        house.say("device0")
    house.commit("device0", force_path=True, encrypt=False)
    house.agree()
    house.say("device1")


def test_epochs_that_come_out_of_order() -> None:
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    device, other = house["device0"], house["device1"]
    first = vc.commit(device.emulation, device.groups[b"group"], device.env, force_path=True)
    second = vc.commit(first.emulation, first.commit.group, device.env, force_path=True)
    with pytest.raises(FutureEpochError):
        vc.receive(other.emulation, other.groups[b"group"], other.env, second.commit.message)


def test_pruning_keeps_what_is_in_use_and_nothing_else() -> None:
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    for _ in range(3):
        house.commit_devices("device1", derive=True)
        house.commit("device0", force_path=True)
    device = house["device1"]
    held = device.groups[b"group"]
    pruned = device.emulation.pruned([held], since=device.emulation.head.newest)
    assert len(pruned.epochs) == 1
    assert len(pruned.operations) == 1
    assert len(pruned.keys) == 1
    assert not pruned.pruned([], since=device.emulation.head.newest).keys
    assert set(pruned.pruned([], since=device.emulation.head.newest, keys=pruned.keys).keys) == set(pruned.keys)
    device.emulation = pruned
    house["device0"].emulation = house["device0"].emulation.pruned(
        [house["device0"].groups[b"group"]], since=device.emulation.head.newest
    )
    house.commit_devices("device0", derive=True)
    kept = device.emulation.pruned([held], since=device.emulation.head.newest)
    assert len(kept.epochs) == 2
    assert [*kept.lineage(kept.head.newest)] == [kept.head.newest, pruned.head.newest]
    house.commit("device1", force_path=True)
    house.say("device0")


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Deterministic under a seeded provider."""
    runs = []
    for _ in range(2):
        house = Household(2, seed="twice")
        house.create("device0")
        house.invite("device0", b"group", "anna")
        house.say("device1")
        house.commit("device1", force_path=True)
        runs.append(house.wire)
    assert runs[0] == runs[1]


def test_in_a_conversation_that_forks() -> None:
    """Two devices commit at once; everybody follows both branches, and the devices hold the same groups on each."""
    parameters = with_forks(DEFAULT)
    house = Household(3, parameters=parameters)
    capabilities, leaf_extensions = advertised(parameters, ABLE)
    wanted = offer(capabilities=capabilities, leaf_extensions=leaf_extensions)
    device = house["device0"]
    made = vc.create(
        device.emulation, device.env, parameters, GroupId(b"group"), wanted, extensions=fork_resilient(parameters)
    )
    device.emulation, device.groups[b"group"] = made.emulation, made.group
    house.others[b"group"] = {}
    house.announce("device0", made.announcements)
    house.agree()
    acts = {}
    for name in ("device0", "device1"):
        each = house[name]
        acts[name] = vc.commit(each.emulation, each.groups[b"group"], each.env, force_path=True)
        each.emulation = acts[name].emulation
    assert acts["device0"].commit.group.epoch_id != acts["device1"].commit.group.epoch_id
    for name in house.names:
        each = house[name]
        parent = acts[name].commit.before if name in acts else each.groups[b"group"]
        for by, act in acts.items():
            if by == name:
                continue
            got = vc.receive(each.emulation, parent, each.env, act.commit.message)
            each.emulation = got.emulation
            assert isinstance(got.event, CommitMessage)
            alike(got.event.group, act.commit.group)
            parent = left(got.event.before)
