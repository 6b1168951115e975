"""What must hold in groups of apps: at every step, at rest, and for who has a stolen disk.

What has to be readable follows from the service's order alone: whoever stood in the epoch in which something was said
reads it, unless too many commits, or too much time, came in between, or another device of its author had said something
on the same key. Then its author is told so.
"""

from __future__ import annotations

from collections.abc import Callable

from mls.errors import MlsError
from mls.group import ApplicationMessage, CommitMessage, export_secret, retired
from mls.state import Group
from mls.virtual import client
from tests.sim.apps import Spoken, leaves_of
from tests.sim.invariants import Run, Step, fail
from tests.sim.people import Stolen
from tests.sim.thief import Thief
from tests.sim.world import Device
from vcd.core import events
from vcd.core.names import AccountId, EpochId, GroupId
from vcd.core.policy import HOUR
from vcd.core.raw_state import PAST, PAST_LIFE, Raw
from vcd.core.state import State


def _state(device: Device) -> State:
    assert device.state is not None
    return device.state


def _live(device: Device, group_id: GroupId) -> tuple[Raw, Group] | None:
    raw = _state(device).raws.find(group_id)
    group = None if raw is None else raw.live
    return None if raw is None or group is None else (raw, group)


def apps_told_what_was_said(run: Run, step: Step) -> None:
    """An app is told once what another one said in that group, by whom, and only who was in it then is."""
    name = "apps_told_what_was_said"
    for event in step.outcome.events:
        if not isinstance(event, events.RawHeard) or event.kind is not events.RawKind.MESSAGE:
            continue
        said, device = run.life.apps.said.get(event.data), step.device
        if said is None or (said.group_id, said.account) != (event.group, event.account):
            fail(name, f"{device.name} told its app {event.data!r}, which nobody said there")
        if step.state.book.own not in said.heads:
            fail(name, f"{device.name} reads {event.data!r}, which was said to others")
        told = [each for each in device.disk.told if isinstance(each, events.RawHeard) and each.data == event.data]
        if len(told) > 1:
            fail(name, f"{device.name} told its app twice of {event.data!r}")
        if event.lost and not _rivals(run, said):
            fail(name, f"{device.name} says that {event.data!r} is lost, and nobody else spoke")


def _rivals(run: Run, said: Spoken) -> list[Spoken]:
    """What other devices of its author said in that epoch, and the service has before it."""
    apps = run.life.apps
    place = apps.service.first.get(said.frame, -1)
    return [
        each
        for each in apps.said.values()
        if (each.group_id, each.epoch, each.account) == (said.group_id, said.epoch, said.account)
        and each.device != said.device
        and 0 <= apps.service.first.get(each.frame, -1) < place
    ]


# ---------------------------------------------------------------- at rest


def apps_agree(run: Run) -> None:
    """Whoever is in a group stands where the service does, with the same secrets; all of somebody's devices are in."""
    apps = run.life.apps
    for group_id in apps.groups:
        secrets: dict[bytes, str] = {}
        known: dict[bytes, set[bool]] = {}
        inside: set[bytes] = set()
        for device in run.present():
            own, live = _state(device).book.own, _live(device, group_id)
            assert own is not None
            if live is None and device.name in apps.back:
                continue  # nobody tells it again how it came in by itself
            known.setdefault(own, set()).add(live is not None)
            if live is None:
                continue
            raw, group = live
            if raw.here != apps.service.heads[group_id]:
                fail("apps_agree", f"{device.name} is not where the service is in {group_id.decode()}")
            inside = {account for _, account, _ in leaves_of(group)}
            secrets[export_secret(group, b"app", b"context", 32)] = device.name
        if len(secrets) > 1:
            fail("apps_agree", f"{sorted(secrets.values())} have different secrets in {group_id.decode()}")
        for account, places in known.items():
            name = next(each.name for each in run.life.people if each.account == account)
            if len(places) > 1:
                fail("apps_agree", f"only some of {name}'s devices are in {group_id.decode()}")
            if True in places and account not in inside:
                fail("apps_agree", f"{name}'s devices are in {group_id.decode()}, and are no members")


def apps_rest(run: Run) -> None:
    """No frame and no commit waits, and everything that the service has was put."""
    apps = run.life.apps
    for device in run.present():
        state = _state(device)
        if state.raw_frames:
            fail("apps_rest", f"{device.name} has {len(state.raw_frames)} frames that nobody takes")
        for group_id, raw in state.raws.items():
            if raw.pending is not None:
                fail("apps_rest", f"{device.name} waits for a commit in {group_id.decode()}")
            if device.disk.puts[group_id] != len(apps.service.log[group_id]):
                fail("apps_rest", f"{device.name} does not follow {group_id.decode()}")


def apps_read(run: Run) -> None:
    """What an app said in a group is read by everybody who was in it, or its author was told."""
    for said in run.life.apps.said.values():
        if not said.lost:
            _read_by_all(run, said)


def _read_by_all(run: Run, said: Spoken) -> None:
    apps = run.life.apps
    place = apps.service.first.get(said.frame)
    if place is None:
        return  # its author's device was lost first
    author = run.world.devices[said.device]
    heard = (said.device, said.group_id, place) in apps.put_at and said.device not in apps.back
    if not heard and _rivals(run, said):
        return  # nobody told its author
    commits = apps.service.number_at(said.group_id, place) - said.number
    for device in run.present():
        key = device.name, said.group_id
        stood = apps.stood.get(key, {})
        if device.name in apps.back or said.epoch not in stood or _live(device, said.group_id) is None:
            continue
        at, left = apps.put_at.get((*key, place)), stood[said.epoch]
        if apps.entered[key] > place or at is None or commits > PAST:
            continue
        if commits and (left is None or at - left > PAST_LIFE - HOUR):
            continue
        if not any(isinstance(each, events.RawHeard) and each.data == said.data for each in device.disk.told):
            fail("apps_read", f"{device.name} never reads {said.data!r} of {author.name}")


# ---------------------------------------------------------------- when everybody spoke once more


def apps_speak(run: Run) -> None:
    """Everybody who is in a group can speak there."""
    for name, group_id, code in run.life.apps.mute:
        fail("apps_speak", f"{name} cannot speak in {group_id.decode()}: {code}")


def app_thieves_read_nothing(run: Run) -> None:
    """With what a device had that was shut out since, nothing can be read that is said in groups of apps now.

    Its account can shut it out of groups that another one of its devices was in, and knows nothing of any other.
    """
    apps = run.life.apps
    probes = [each for each in apps.said.values() if each.data.startswith(b"app probe")]
    stolen = [each for each in run.life.stolen if each.out(run.life) and each.conversation is None]
    for number, each in enumerate(stolen):
        mine = [said for said in probes if _shut_out(run, each, said) and said.group_id in each.disk.state.raws]
        if not mine:
            continue
        thief = Thief(each.disk.state, run.world.provider(f"app thief {number}"), run.world.now)
        thief.read(run.world.frames.values())
        loot = _loot(run, thief, each)
        for said in mine:
            if said.data in loot:
                fail("app_thieves_read_nothing", f"{said.data!r} can be read with what {each.device} had")


def _shut_out(run: Run, stolen: Stolen, said: Spoken) -> bool:
    account = next(each.account for each in run.life.people if each.name == stolen.person)
    if not stolen.with_all:
        return known_to_others(run, account, said.group_id)
    good = run.life.accounts.recovered.get(account)
    return good is not None and (account not in said.heads or said.heads[account] in good)


def known_to_others(run: Run, account: AccountId, group_id: GroupId) -> bool:
    """Whether a device of this account that is not lost ever was in a group."""
    there = [run.world.devices[name] for name, group in run.life.apps.entered if group == group_id]
    return any(not each.lost and each.disk.state.book.own == account for each in there)


def _loot(run: Run, thief: Thief, stolen: Stolen) -> set[bytes]:
    """What can be read with the groups of a stolen state: every commit is followed that any of its keys can follow."""
    found: set[bytes] = set()
    emulation = thief.emulation
    if emulation is None:
        return found
    for group_id, raw in stolen.disk.state.raws.items():
        groups = {EpochId(each.group.epoch_id): each.group for each in raw.epochs.values()}
        for sent in run.life.apps.service.log.get(group_id, ()):
            for epoch in [name for name, group in groups.items() if group.epoch == sent.epoch]:
                try:
                    got = client.receive(emulation, groups[epoch], thief.environment, sent.data)
                except MlsError:
                    continue
                emulation = got.emulation
                if isinstance(got.event, CommitMessage) and got.event.group.ended is None:
                    groups[epoch] = retired(got.event.before)
                    groups[EpochId(got.event.group.epoch_id)] = got.event.group
                elif isinstance(got.event, ApplicationMessage):
                    found.add(got.event.data)
                    groups[epoch] = got.event.group
                elif not isinstance(got.event, CommitMessage):
                    groups[epoch] = got.event.group
    return found


APPS_AT_REST: tuple[Callable[[Run], None], ...] = (apps_rest, apps_agree, apps_read)
APPS_AFTER_PROBES: tuple[Callable[[Run], None], ...] = (app_thieves_read_nothing, apps_speak, apps_rest, apps_read)
