"""A group of an app with an ordinary client of another make: our devices are its other member.

What goes between them is what an app would carry: frames that wait to be taken, and what a service would deliver.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from mls.registries import GroupId
from tests.peers import launch
from tests.peers.openmls_peer import add
from tests.vcd.core.homes import link
from tests.vcd.core.people import SMALL
from tests.vcd.core.service import App, Service
from tests.vcd.core.village import Village
from vcd.core import events, inputs
from vcd.core.raw_state import FrameKind

if TYPE_CHECKING:
    from tests.peers.openmls_peer import Member, OpenMls

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(launch.CARGO_LIMIT + 300)]

APP = GroupId(b"app")


def anna(service: Service) -> App:
    """One account, at the hour of the real clock, as others know no other."""
    service.village.now = int(time.time() * 1000)
    return service.app(service.village.account("anna"))


def sent(app: App, given: inputs.Input) -> dict[FrameKind, bytes]:
    """What a command makes, taken."""
    app.do(given)
    found = {frame.kind: frame.data for _, frame in app.frames()}
    app.do(inputs.RawTaken(number=app.frames()[-1][0]))
    return found


def same(app: App, other: Member) -> None:
    group = app.service.village.state(app.name).raws[APP].group
    assert group is not None
    assert (group.epoch, group.authenticator) == (other.state.epoch, other.state.authenticator)


def talk(app: App, other: Member) -> None:
    message = sent(app, inputs.RawProtect(group=APP, data=b"from us", authenticated=b"open"))[FrameKind.MESSAGE]
    got = other.process(message)
    assert (got.data, got.authenticated_data) == (b"from us", b"open")
    assert app.put(APP, message).ours
    heard = app.put(APP, other.send(b"from there"))
    assert (heard.data, heard.ours, heard.account) == (b"from there", False, None)


def test_it_comes_into_our_group(openmls: OpenMls) -> None:
    service = Service(Village(real=True, config=SMALL))
    app, olaf = anna(service), openmls.member("olaf")
    app.do(inputs.RawCreate(group=APP))
    made = sent(app, inputs.RawCommit(group=APP, add=(olaf.key_package(),)))
    assert app.put(APP, made[FrameKind.COMMIT]).kind is events.RawKind.OWN
    olaf.join(made[FrameKind.WELCOME])
    same(app, olaf)
    talk(app, olaf)
    # We propose, it commits; then the other way round.
    olaf.process(sent(app, inputs.RawPropose(group=APP, update=True))[FrameKind.PROPOSAL])
    assert app.put(APP, olaf.commit(path=True).message).kind is events.RawKind.COMMIT
    same(app, olaf)
    assert app.put(APP, olaf.propose("update")).kind is events.RawKind.PROPOSAL
    commit = sent(app, inputs.RawCommit(group=APP))[FrameKind.COMMIT]
    olaf.process(commit)
    app.put(APP, commit)
    same(app, olaf)
    # Both commit, and ours comes second.
    ours = sent(app, inputs.RawCommit(group=APP))
    assert FrameKind.COMMIT in ours
    heard = app.put(APP, olaf.commit(path=True).message)
    assert (heard.kind, heard.dropped) == (events.RawKind.COMMIT, True)
    same(app, olaf)
    talk(app, olaf)


def test_we_come_into_its_group_with_two_devices(openmls: OpenMls) -> None:
    service = Service(Village(real=True, config=SMALL))
    app, olaf = anna(service), openmls.member("olaf")
    phone = service.app(link(service.village, "anna", "phone"))
    offered = app.do(inputs.RawOffer())
    package = next(each.packages[0] for each in offered if isinstance(each, events.RawOffered))
    olaf.create(APP)
    phone.do(inputs.RawJoin(welcome=olaf.commit(add(package)).welcome or b""))
    for each in (app, phone):
        same(each, olaf)
    commit = sent(phone, inputs.RawCommit(group=APP))[FrameKind.COMMIT]
    olaf.process(commit)
    for each in (app, phone):
        each.put(APP, commit)
        same(each, olaf)
    for each in (app, phone):
        message = sent(each, inputs.RawProtect(group=APP, data=each.name.encode()))[FrameKind.MESSAGE]
        for other in (app, phone):
            other.put(APP, message)
        assert olaf.process(message).data == each.name.encode()


def test_in_from_outside(openmls: OpenMls) -> None:
    service = Service(Village(real=True, config=SMALL))
    app, olaf = anna(service), openmls.member("olaf")
    olaf.create(APP)
    commit = sent(app, inputs.RawJoin(group_info=olaf.group_info()))[FrameKind.COMMIT]
    assert olaf.process(commit).kind == "commit"
    assert app.put(APP, commit).kind is events.RawKind.OWN
    same(app, olaf)
    talk(app, olaf)
