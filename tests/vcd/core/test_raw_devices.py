"""Groups of apps with several devices of one account, and what the home has to do with them."""

from __future__ import annotations

import pytest

from tests.vcd.core.homes import PHRASE, appoint, ask, blank, link, refresh_home, remove, restore
from tests.vcd.core.people import SMALL
from tests.vcd.core.service import APP, App, Service, bring, made_in, offer, pair, raw, together
from tests.vcd.core.village import Village
from vcd.core import inputs, stored
from vcd.core.errors import Misuse
from vcd.core.events import RawKind
from vcd.core.founding import new_account
from vcd.core.names import IntentId
from vcd.core.raw_state import FrameKind


def siblings(service: Service, anna: App, name: str = "phone") -> App:
    """Another device of Anna's, which comes when the group is there already."""
    phone = service.app(link(service.village, "anna", name))
    phone.at[APP] = anna.at.get(APP, 0)
    return phone


def test_a_new_device_is_in_the_group_and_speaks_once_the_leaf_is_new() -> None:
    service, anna, ben = pair()
    phone = siblings(service, anna)
    assert together(anna, ben, phone)
    service.village.wait(minutes=2)
    assert anna.frames() != []  # the daemon's own commit
    service.run()
    assert together(anna, ben, phone)
    phone.do(inputs.RawProtect(group=APP, data=b"from the phone"))
    service.run()
    assert ben.said() == [b"from the phone"]
    assert anna.heard[-1].device == service.village.state("phone").me.device


def test_devices_are_told_of_groups_and_of_forgetting() -> None:
    village = Village(1, config=SMALL)
    service = Service(village)
    anna, ben = (service.app(village.account(name)) for name in ("anna", "ben"))
    phone = service.app(link(village, "anna", "phone"))
    anna.do(inputs.RawCreate(group=APP))
    assert APP in village.state("phone").raws
    bring(service, phone, ben)
    assert together(anna, phone, ben)
    anna.do(inputs.RawCommit(group=APP))
    phone.do(inputs.RawCommit(group=APP))
    service.run()
    assert together(anna, phone, ben)
    assert len(service.refused) == 1
    phone.do(inputs.RawForget(group=APP))
    assert APP not in village.state("anna").raws
    ben.do(inputs.RawCommit(group=APP, group_info=True))
    service.run()
    leaves = [int(leaf) for leaf, _ in raw(ben).group.members if leaf != raw(ben).group.own_leaf]  # type: ignore[union-attr]
    ben.do(inputs.RawCommit(group=APP, remove=tuple(leaves), add=offer(phone)))
    service.run()
    anna.do(inputs.RawJoin(welcome=service.welcomes[APP].pop()))  # it was the phone's KeyPackage
    assert APP in village.state("phone").raws
    assert together(anna, phone, ben)


def test_who_hears_that_we_came_in_again_before_its_app_hears_that_we_were_out_comes_in_then() -> None:
    service, anna, ben = pair()
    phone = siblings(service, anna)
    service.village.wait(minutes=2)
    service.run()
    phone.asleep = True  # its app; the device hears all that the others tell it
    leaf = int(raw(anna).group.own_leaf)  # type: ignore[union-attr]
    ben.do(inputs.RawCommit(group=APP, remove=(leaf,)))
    service.run()
    assert raw(anna).out
    bring(service, ben, anna)
    ben.do(inputs.RawProtect(group=APP, data=b"welcome back"))
    service.run()
    assert not together(anna, phone)
    phone.asleep = False
    service.run()
    assert together(anna, phone, ben)
    assert phone.said() == [b"welcome back"]
    village = service.village
    assert village.state("phone").household.held == ()


def before_the_door() -> tuple[Service, App, App, App]:
    """Cleo, who has two devices, may come into ben's group from outside."""
    service, _, ben = pair()
    village = service.village
    village.account("cleo")
    cleo = service.app("cleo")
    tablet = service.app(link(village, "cleo", "tablet"))
    ben.do(inputs.RawCommit(group=APP, group_info=True))
    service.run()
    return service, ben, cleo, tablet


def test_in_from_outside_with_two_devices() -> None:
    service, ben, cleo, tablet = before_the_door()
    village = service.village
    cleo.do(inputs.RawJoin(group_info=service.infos[APP]))
    assert APP not in village.state("tablet").raws
    cleo.at[APP] = len(service.log)
    cleo.send()
    tablet.at[APP] = len(service.log)
    service.run()
    assert together(ben, cleo, tablet)
    tablet.do(inputs.RawProtect(group=APP, data=b"both"))
    service.run()
    assert ben.said() == [b"both"]


def test_how_we_came_in_is_told_a_new_device_again_and_brings_nobody_else_back_to_there() -> None:
    """The old epoch's keys were used, and so would be what the new device's app is told to use."""
    service, ben, cleo, tablet = before_the_door()
    village = service.village
    cleo.at[APP] = tablet.at[APP] = len(service.log)
    cleo.do(inputs.RawJoin(group_info=service.infos[APP]))
    service.run()
    assert together(ben, cleo, tablet)
    ben.do(inputs.RawCommit(group=APP, remove=(int(raw(cleo).group.own_leaf),)))  # type: ignore[union-attr]
    service.run()
    link(village, "cleo", "box")
    assert raw(cleo).out
    assert raw(tablet).out


def test_two_devices_on_one_key_and_who_lost_says_so() -> None:
    service, anna, ben = pair()
    phone = siblings(service, anna)
    service.village.wait(minutes=2)
    service.run()
    anna.do(inputs.RawProtect(group=APP, data=b"first"))
    phone.do(inputs.RawProtect(group=APP, data=b"second"))
    nonces = {frame.data for app in (anna, phone) for _, frame in app.frames()}
    assert len(nonces) == 2
    service.run()
    assert ben.said() == [b"first"]
    assert [each.lost for each in phone.heard if each.data] == [False, True]
    assert anna.said() == [b"first"]
    phone.do(inputs.RawProtect(group=APP, data=b"second"))
    service.run()
    assert ben.said() == [b"first", b"second"]


def test_a_device_that_was_removed_is_shut_out_by_a_commit_of_the_daemon() -> None:
    service, anna, ben = pair()
    phone = siblings(service, anna)
    service.village.wait(minutes=2)
    service.run()
    stolen = raw(phone)
    leaf = raw(anna).group.own_leaf_node  # type: ignore[union-attr]
    service.apps.pop("phone")
    service.village.down("phone")
    remove(service.village, "anna", "phone")
    service.village.wait(minutes=5)
    assert [frame.kind for _, frame in anna.frames()] == [FrameKind.COMMIT]
    service.run()
    assert together(anna, ben)
    now = raw(anna).group.own_leaf_node  # type: ignore[union-attr]
    assert now.signature_key != leaf.signature_key
    assert now.encryption_key != leaf.encryption_key
    assert stolen.here != raw(anna).here
    service.village.wait(minutes=30)
    assert anna.frames() == []  # once is enough


def test_an_old_disk_only_listens_until_its_leaf_is_new() -> None:
    service, anna, ben = pair()
    village = service.village
    old = village.state("anna")
    anna.do(inputs.RawProtect(group=APP, data=b"used"))
    service.run()
    village.restart("anna", stored.load(stored.rows(old), village.devices["anna"].provider, restored=True))
    with pytest.raises(Misuse) as listens:
        anna.do(inputs.RawProtect(group=APP, data=b"again"))
    assert listens.value.code == "restored"
    village.wait(minutes=10)
    with pytest.raises(Misuse) as waits:
        anna.do(inputs.RawProtect(group=APP, data=b"again"))
    assert waits.value.code == "out-of-sync"
    service.run()
    village.wait(minutes=10)
    service.run()
    anna.do(inputs.RawProtect(group=APP, data=b"new"))
    service.run()
    assert ben.said() == [b"used", b"new"]


def test_groups_outlive_what_the_home_forgets() -> None:
    """Operations and keys that only an app's group needs are kept while it does."""
    service, anna, ben = pair()
    village = service.village
    home = village.state("anna").home
    assert home is not None
    for number in range(3):
        village.do("anna", inputs.Refresh(intent=IntentId(bytes([number]) * 16), conversation=home))
        village.wait(days=8)
    service.run()
    ben.do(inputs.RawCommit(group=APP))
    service.run()
    anna.do(inputs.RawCommit(group=APP))
    service.run()
    anna.do(inputs.RawProtect(group=APP, data=b"on"))
    service.run()
    assert together(anna, ben)
    assert ben.said() == [b"on"]


def test_a_device_in_an_epoch_of_the_home_that_lost_is_followed() -> None:
    """Two devices change the home at once, and one gives the app's group a leaf from the branch that loses."""
    service, anna, ben = pair()
    village = service.village
    phone = siblings(service, anna)
    village.wait(minutes=2)
    service.run()
    home = village.state("anna").home
    assert home is not None
    village.part(["anna"], ["phone"])
    for number, app in enumerate((anna, phone)):
        village.do(app.name, inputs.Refresh(intent=IntentId(bytes([7 + number]) * 16), conversation=home))
    refused = len(service.refused)
    anna.do(inputs.RawCommit(group=APP))
    anna.send()
    phone.do(inputs.RawCommit(group=APP))
    phone.send()
    assert len(service.refused) == refused + 1
    village.heal()
    village.wait(minutes=30)
    for _ in range(3):
        service.run()
        village.wait(minutes=30)
    assert together(anna, phone, ben)
    for number, app in enumerate((anna, phone)):
        app.do(inputs.RawProtect(group=APP, data=bytes([number])))
        service.run()
    assert ben.said() == [b"\x00", b"\x01"]


def test_an_app_that_sleeps_for_long_finds_its_keys() -> None:
    """The home went on meanwhile: what the leaf was made by is kept, until a commit that replaces it came back."""
    service, anna, ben = pair()
    village = service.village
    was = made_in(anna)
    phone = siblings(service, anna)
    village.wait(days=120)  # no KeyPackage of then is left
    assert was in village.state("anna").emulation.epochs  # type: ignore[union-attr]
    anna.do(inputs.RawProtect(group=APP, data=b"good morning"))
    service.run()
    assert ben.said() == [b"good morning"]
    assert together(anna, phone, ben)
    refresh_home(village, "anna", 0)
    village.wait(days=10)
    refresh_home(village, "anna", 1)
    village.wait(days=10)
    assert was not in village.state("anna").emulation.epochs  # type: ignore[union-attr]


def test_a_leaf_of_an_epoch_of_the_home_that_lost_is_passed_on() -> None:
    """Devices that never had that epoch follow all the same, as somebody who has it tells them enough."""
    service, anna, ben = pair()
    village = service.village
    phone, tablet = siblings(service, anna), siblings(service, anna, "tablet")
    village.wait(minutes=2)
    service.run()
    package = blank(village, "anna", "box")
    village.part(["anna", "box"], ["phone", "tablet"])
    ask(village, "anna", "box", package)
    anna.do(inputs.RawCommit(group=APP))
    service.run()
    lost = made_in(anna)
    assert phone.stuck
    assert together(anna, ben)
    for number in range(3):
        refresh_home(village, "phone", number)
        village.wait(minutes=1)
    village.heal()
    village.wait(minutes=2)
    emulation = village.state("phone").emulation
    assert emulation is not None
    assert lost not in emulation.lineage(emulation.head.newest)
    village.wait(minutes=30)
    service.run()
    assert together(anna, phone, tablet, ben)
    village.wait(minutes=30)
    service.run()
    tablet.do(inputs.RawProtect(group=APP, data=b"here"))
    service.run()
    assert ben.said() == [b"here"]


def set_back() -> tuple[Service, App, App, bytes]:
    """Anna's device begins an epoch of the home, which it gives, has a leaf from there, and then an old disk."""
    service, anna, ben = pair()
    village = service.village
    siblings(service, anna)
    village.wait(minutes=2)
    service.run()
    old, at = village.state("anna"), anna.at[APP]
    link(village, "anna", "tablet")
    village.wait(minutes=5)
    service.run()
    ben.do(inputs.RawCommit(group=APP))
    anna.do(inputs.RawCommit(group=APP, fresh=True))
    service.run()
    lost = made_in(anna)
    restore(village, "anna", old)
    anna.at[APP] = at
    return service, anna, ben, lost


def test_an_old_disk_follows_in_a_group_what_it_did_itself_since() -> None:
    """It hears the key that it told the others, and is told of the epoch of the home that it began."""
    service, anna, ben, _ = set_back()
    village = service.village
    service.run()
    assert anna.stuck
    village.wait(hours=1)
    service.run()
    village.wait(hours=1)
    service.run()
    assert together(anna, ben)
    anna.do(inputs.RawProtect(group=APP, data=b"back"))
    service.run()
    assert ben.said() == [b"back"]


def test_what_was_passed_on_waits_for_the_app() -> None:
    """More of the home becomes final before the app of a device with an old disk puts what rests on it."""
    service, anna, ben, lost = set_back()
    village = service.village
    anna.asleep = True
    village.wait(hours=2)
    for number in range(2):
        refresh_home(village, "phone", number)
        village.wait(days=8)
    anna.asleep = False
    service.run()
    assert together(anna, ben)
    for number in range(2, 4):
        village.wait(days=8)
        service.run()
        refresh_home(village, "phone", number)
    village.wait(days=8)
    emulation = village.state("anna").emulation
    assert emulation is not None
    assert lost not in emulation.epochs  # it waits no longer than that
    assert all(key.epoch_id != lost for key in emulation.operations)
    anna.do(inputs.RawProtect(group=APP, data=b"back"))
    service.run()
    assert ben.said() == [b"back"]


def forgot_a_key() -> tuple[Service, App, App, App]:
    """Anna's device begins an epoch of the home, tells the others of a signature key there, and has an old disk."""
    village = Village(1, config=SMALL)
    service, provider = Service(village), village.world("anna")
    village.move_in("anna", provider, new_account(provider, PHRASE, "anna", village.now, village.config))
    anna, ben = service.app("anna"), service.app(village.account("ben"))
    anna.do(inputs.RawCreate(group=APP))
    bring(service, anna, ben)
    phone = siblings(service, anna)
    village.wait(minutes=2)
    service.run()
    old, at = village.state("anna"), anna.at[APP]
    appoint(village, "anna", "anna")
    village.wait(minutes=5)
    service.run()
    restore(village, "anna", old)
    anna.at[APP] = at
    return service, anna, phone, ben


def test_an_old_disk_cannot_follow_a_commit_whose_key_it_told_the_others_itself() -> None:
    """Nobody tells it that key, so its app is not asked to wait, once it may have heard all that there is."""
    service, anna, _, _ = forgot_a_key()
    service.run()
    assert anna.stuck == ["a signature key of ours is not here; `public_key` names it"]
    service.village.wait(minutes=10)
    with pytest.raises(Misuse, match="come in again from outside") as lost:
        anna.put(APP, service.log[anna.at[APP]][1])
    assert lost.value.code == "lost-track"


def test_who_cannot_follow_comes_in_anew_while_its_app_goes_on_where_it_was() -> None:
    service, anna, phone, ben = forgot_a_key()
    anna.asleep = True
    service.village.wait(minutes=10)
    ben.do(inputs.RawProtect(group=APP, data=b"before"))
    ben.do(inputs.RawCommit(group=APP, group_info=True))
    service.run()
    ben.do(inputs.RawProtect(group=APP, data=b"there"))
    service.run()
    anna.do(inputs.RawJoin(group_info=service.infos[APP]))
    anna.asleep = False
    service.run()
    assert [each.kind for each in anna.heard[-5:]] == [*[RawKind.NOTHING] * 4, RawKind.OWN]
    service.village.wait(minutes=10)
    service.run()
    assert together(anna, phone, ben)
    for number, app in enumerate((anna, phone)):
        app.do(inputs.RawProtect(group=APP, data=bytes([number])))
        service.run()
    assert ben.said()[-2:] == [b"\x00", b"\x01"]


def test_what_comes_too_early_for_who_comes_in_anew_is_given_again() -> None:
    """Beyond where it comes in."""
    service, anna, _, ben = forgot_a_key()
    anna.asleep = True
    service.village.wait(minutes=10)
    ben.do(inputs.RawCommit(group=APP, group_info=True))
    service.run()
    anna.do(inputs.RawJoin(group_info=service.infos[APP]))
    for _ in range(2):
        ben.do(inputs.RawCommit(group=APP))
        ben.send()
        ben.work()
    with pytest.raises(Misuse) as early:
        anna.put(APP, service.log[-1][1])
    assert early.value.code == "not-yet"


def test_what_a_device_did_that_is_removed_and_told_nobody_is_waited_for_until_that_is_final() -> None:
    """It came in from outside in the place of our leaf, where the others did not hear it, and was lost."""
    village = Village(1, config=SMALL)
    service = Service(village)
    anna, ben = (service.app(village.account(name)) for name in ("anna", "ben"))
    phone = service.app(link(village, "anna", "phone"))
    village.part(["anna", "ben"], ["phone"])
    anna.do(inputs.RawCreate(group=APP))
    bring(service, anna, ben)
    ben.do(inputs.RawCommit(group=APP, group_info=True))
    service.run()
    phone.do(inputs.RawJoin(group_info=service.infos[APP]))
    service.run()
    _, last = service.log[anna.at[APP]]
    village.wait(days=1)
    with pytest.raises(Misuse) as early:
        anna.put(APP, last)
    assert early.value.code == "not-yet"
    service.apps.pop("phone")
    village.down("phone")
    remove(village, "anna", "phone")
    village.wait(minutes=5)
    with pytest.raises(Misuse) as lost:
        anna.put(APP, last)
    assert lost.value.code == "lost-track"
    anna.asleep = True
    ben.do(inputs.RawCommit(group=APP, group_info=True))
    service.run()
    anna.do(inputs.RawJoin(group_info=service.infos[APP]))
    anna.asleep = False
    service.run()
    assert together(anna, ben)
