"""The emulation group: which of its epochs are derived from, and what its members tell each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.components.aad import decode_items, encode_items
from mls.credential import BasicCredential
from mls.errors import CallerError, LimitError, PeerError, PuncturedError, WrongRecipientError
from mls.group import ApplicationMessage, CommitMessage, TargetedMessage
from mls.proposals import Remove
from mls.registries import GroupId
from mls.virtual import client as vc, devices
from mls.virtual.actions import CommitData
from mls.virtual.announcements import Claims, Created, LostEpoch, Operations, Reserved, Uploaded, Welcomed, Withdrawn
from mls.virtual.membership import device_capabilities, device_parameters
from mls.virtual.operations import OperationType
from mls.virtual.settings import OPENMLS, Settings
from mls.virtual.stock import make_batch, make_reserved
from tests.mls.clients import LIFETIME, client, environment
from tests.mls.virtual.household import SETTINGS, SUITES, Household, offer


def newest(house: Household, name: str = "device0") -> bytes:
    return house[name].emulation.head.newest


def test_which_epochs_are_derived_from() -> None:
    """The first, those with other devices than before, and those that are asked for; not those of plain commits."""
    house = Household(1)
    seen = [newest(house)]
    house.commit_devices("device0", force_path=True)
    assert newest(house) == seen[-1]
    house.add_device("device1")
    seen.append(newest(house))
    house.commit_devices("device1", force_path=True)
    assert newest(house) == newest(house, "device1") == seen[-1]
    house.commit_devices("device1", derive=True)
    seen.append(newest(house))
    house.remove_device("device1", by="device0")
    seen.append(newest(house))
    assert len(set(seen)) == len(seen)
    emulation = house["device0"].emulation
    assert [*emulation.lineage(emulation.head.newest)] == seen[::-1]
    numbers = [emulation.epoch(epoch_id).number for epoch_id in seen]
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    assert numbers[-1] == emulation.group.epoch


def test_epochs_that_are_not_derived_from_keep_their_export() -> None:
    """What the virtual client does not take is not consumed either."""
    house = Household(2)
    house.commit_devices("device0", force_path=True)
    group = house["device0"].emulation.group
    front.safe_export(group, SETTINGS.numbers.virtual_clients)
    house.commit_devices("device0", derive=True)
    with pytest.raises(PuncturedError):
        front.safe_export(house["device0"].emulation.group, SETTINGS.numbers.virtual_clients)


@pytest.mark.parametrize("settings", [SETTINGS, Settings(profile=OPENMLS)])
def test_a_commit_announces_a_batch_and_asks_for_an_epoch(settings: Settings) -> None:
    house = Household(3, settings=settings)
    device = house["device1"]
    batch = make_batch(device.emulation, device.env, [offer(), offer(2)])
    device.emulation = batch.emulation
    upload = batch.announcement.upload
    before = newest(house)
    made = house.commit_devices("device1", uploads=[upload], derive=True)
    assert newest(house) != before
    assert upload.epoch_id == before  # it is of the epoch that the commit ended
    for name in house.names:
        stock = house[name].emulation.stock
        assert set(stock) == {info.reference for info in upload.key_packages}
        assert {stock[each].seed.raw for each in stock} == {device.emulation.stock[each].seed.raw for each in stock}
    assert made.derives


def test_actions_stand_beside_what_other_components_say() -> None:
    house = Household(2)
    mark = encode_items({SETTINGS.numbers.virtual_clients: CommitData().encode()})
    assert decode_items(mark)
    device = house["device0"]
    made = devices.commit(device.emulation, device.env, derive=True, items={0x8001: b"other"}, encrypt=False)
    event = front.receive(house["device1"].emulation.group, house.env, made.commit.message)
    assert isinstance(event, CommitMessage)
    assert [component for component, _ in decode_items(event.authenticated_data)] == [0x667A, 0x8001]
    heard = devices.receive(house["device1"].emulation, house.env, made.commit.message)
    assert heard.actions is not None
    assert heard.actions.new_derivation_epoch
    assert heard.derives


def test_a_group_without_room_for_actions() -> None:
    env = environment("plain")
    settings = Settings()
    group = front.create(
        env,
        device_parameters(settings, Household(1).parameters),
        1,
        GroupId(b"plain"),
        credential=BasicCredential(b"plain"),
        signature_private=client("plain").signer,
        capabilities=device_capabilities(SUITES),
        lifetime=LIFETIME,
    )
    emulation = devices.start(settings, group)
    with pytest.raises(CallerError, match="no place for what a commit announces"):
        devices.commit(emulation, env, derive=True)
    made = devices.commit(emulation, env)
    assert not made.derives
    assert devices.adopt(made.emulation, made).head.newest == emulation.head.newest


def test_what_is_used_up_before_a_commit_is_accepted_stays_used_up() -> None:
    house = Household(2)
    device = house["device0"]
    made = devices.commit(device.emulation, device.env, derive=True)
    meanwhile, first = made.emulation.take(OperationType.LEAF_NODE, b"group")
    adopted = devices.adopt(meanwhile, made)
    back = adopted.on(made.emulation.head)
    _, second = back.take(OperationType.LEAF_NODE, b"group")
    assert (first.epoch_id, second.epoch_id) == (back.head.newest, back.head.newest)
    assert (first.generation, second.generation) == (0, 1)


def test_an_epoch_is_entered_once() -> None:
    house = Household(2)
    device = house["device0"]
    made = devices.commit(device.emulation, device.env, derive=True)
    device.emulation = devices.adopt(made.emulation, made)
    with pytest.raises(CallerError, match="adopted before"):
        devices.adopt(device.emulation.on(made.emulation.head), made)
    gone = replace(device.emulation, epochs=device.emulation.epochs.discard(made.emulation.head.newest))
    with pytest.raises(CallerError, match="not kept any more"):
        gone.on(made.emulation.head)


def test_a_removed_device_learns_of_it_and_derives_nothing_more() -> None:
    house = Household(3)
    leaf = house["device2"].emulation.group.own_leaf
    device = house["device0"]
    made = devices.commit(device.emulation, device.env, proposals=[Remove(leaf)])
    heard = devices.receive(house["device2"].emulation, house.env, made.commit.message)
    assert heard.emulation.group.ended is not None
    assert heard.emulation.head.newest == house["device2"].emulation.head.newest
    assert len(heard.emulation.epochs) == len(house["device2"].emulation.epochs)


def test_what_is_no_announcement_is_the_applications() -> None:
    house = Household(2)
    device, other = house["device0"], house["device1"]
    said = devices.say(device.emulation, device.env, b"\x80votes and the like")
    heard = devices.receive(other.emulation, other.env, said.message)
    assert isinstance(heard.event, ApplicationMessage)
    assert heard.event.data == b"\x80votes and the like"
    assert heard.announcement is None
    for wrong in (b"", b"\x01", b"\x7f"):
        with pytest.raises(CallerError, match="read as an announcement"):
            devices.say(device.emulation, device.env, wrong)
    group, message = front.seal(device.emulation.group, device.env, b"\x7fnonsense")
    assert group is not device.emulation.group
    with pytest.raises(PeerError):
        devices.receive(other.emulation, other.env, message)


def test_a_reserved_key_package_is_told_to_one_device() -> None:
    house = Household(3)
    device = house["device0"]
    reserved = make_reserved(device.emulation, device.env, offer())
    device.emulation = reserved.emulation
    told, other = house["device1"], house["device2"]
    message = devices.tell(device.emulation, device.env, told.emulation.group.own_leaf, reserved.told)
    heard = devices.receive(told.emulation, told.env, message)
    assert isinstance(heard.event, TargetedMessage)
    assert isinstance(heard.announcement, Reserved)
    assert set(heard.emulation.stock) == {reserved.told.reference}
    with pytest.raises(WrongRecipientError):
        devices.receive(other.emulation, other.env, message)
    assert devices.receive(heard.emulation, told.env, message).emulation.stock == heard.emulation.stock
    with pytest.raises(CallerError, match="comes of its seed"):
        make_reserved(device.emulation, device.env, offer(signature_private=client("x").signer))


def test_withdrawn_is_withdrawn_everywhere() -> None:
    house = Household(2)
    batch = house.upload("device0", offer())
    [reference] = [info.reference for info in batch.announcement.upload.key_packages]
    house["device0"].emulation = house["device0"].emulation.without([reference])
    house.announce("device0", [Withdrawn((reference,))])
    for device in house.devices.values():
        assert not device.emulation.stock
        assert not device.emulation.keys


def test_claims_and_conversations_are_for_the_caller() -> None:
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    device, other = house["device0"], house["device1"]
    sealed = vc.seal(device.emulation, device.groups[b"group"], device.env, b"hello")
    assert sealed.claim is not None
    for announcement in (Claims((sealed.claim,)), Created(b"whatever"), Welcomed(b"whatever")):
        told = devices.announce(device.emulation, device.env, announcement)
        device.emulation = told.emulation
        heard = devices.receive(other.emulation, other.env, told.message)
        assert heard.announcement == announcement
        assert heard.emulation.epochs == other.emulation.epochs
        other.emulation = heard.emulation


def test_tables_are_bounded() -> None:
    small = Settings(max_packages=2, max_operations=2, max_keys=3, max_epochs=3)
    house = Household(2, settings=small)
    device = house["device0"]
    with pytest.raises(LimitError, match="KeyPackages"):
        make_batch(device.emulation, device.env, [offer(), offer(), offer()])
    house.upload("device0", offer(), offer())
    with pytest.raises(LimitError, match="KeyPackages"):
        make_reserved(device.emulation, device.env, offer())
    emulation, first = device.emulation.take(OperationType.LEAF_NODE, b"a")
    emulation, _ = emulation.take(OperationType.LEAF_NODE, b"b")
    with pytest.raises(LimitError, match="operations"):
        emulation.take(OperationType.LEAF_NODE, b"c")
    with pytest.raises(LimitError, match="operations"):
        house.announce("device0", [Operations(tuple([replace(first, epoch_id=each) for each in (b"x", b"y", b"z")]))])
    emulation, _ = device.emulation.drawn_key(device.env, 1)
    with pytest.raises(LimitError, match="signature keys"):
        emulation.drawn_key(device.env, 1)
    for _ in range(3):  # what the devices' own commits begin has no limit, or nobody could remove who did too much
        house.commit_devices("device0", derive=True)
    epoch = device.emulation.newest
    lost = LostEpoch(
        cipher_suite=1,
        epoch_id=bytes(32),
        number=epoch.number,
        leaf_count=2,
        encryption_key=epoch.encryption_key,
        generation_id=epoch.generation_id,
        reuse_guard=epoch.reuse_guard,
    )
    with pytest.raises(LimitError, match="derivation epochs"):
        house.announce("device0", [lost])


def test_an_upload_for_a_suite_that_this_device_lacks() -> None:
    """The others have it; a Welcome to it is for them."""
    house = Household(2)
    device = house["device0"]
    batch = make_batch(device.emulation, device.env, [offer(), offer()])
    infos = batch.announcement.upload.key_packages
    strange = replace(infos[1], cipher_suite=0x5A5A)
    upload = replace(batch.announcement.upload, key_packages=(infos[0], strange))
    told: Uploaded = replace(batch.announcement, upload=upload)
    house.announce("device0", [told])
    assert set(house["device1"].emulation.stock) == {infos[0].reference}
