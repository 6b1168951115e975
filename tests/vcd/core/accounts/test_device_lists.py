"""What the devices of an account know of each other, and which changes they follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from tests.vcd.core.accounts.person import Person, refused
from vcd.core.accounts import device_list, editions
from vcd.core.accounts.device_list import (
    DeviceEntry,
    DeviceList,
    Edition,
    Policy,
    Tombstone,
    check_edition,
    check_successor,
)
from vcd.core.accounts.head import check_next
from vcd.core.accounts.identity import AccountKey, new_key
from vcd.core.errors import Malformed, Misuse, NodeError
from vcd.core.names import DeviceId
from vcd.core.record import decode, encode


def forged(alice: Person, *, revokes: bool = False, **change: object) -> Edition:
    """What a stolen delegate can sign: the next version, with any list."""
    version = alice.edition.version + 1
    _, public = new_key(AccountKey, alice.suite, alice.provider)
    head = replace(
        alice.head,
        number=alice.head.number + 1,
        previous=alice.head.digest,
        revoked=version if revokes else alice.head.revoked,
        signing_key=public,
    )
    devices = replace(alice.edition.devices, version=version, **change)  # type: ignore[arg-type]
    return editions.sealed(alice.provider, head, devices, alice.delegate)


def without(alice: Person, entry: DeviceEntry) -> tuple[DeviceEntry, ...]:
    return tuple(each for each in alice.edition.devices.devices if each.device != entry.device)


def test_a_device_comes_in_is_renamed_and_goes() -> None:
    alice = Person()
    history = [alice.edition]
    phone = alice.add()
    history.append(alice.edition)
    history.append(
        alice.took(editions.rename_device(alice.provider, alice.edition, alice.delegate, phone, "Fairphone"))
    )
    entry = alice.edition.devices.find(phone)
    assert entry is not None
    assert (entry.name, entry.delegate, entry.added) == ("Fairphone", False, history[1].version)
    signing = alice.signing
    history.append(alice.revoke(phone))
    assert alice.signing != signing
    assert alice.edition.devices.find(phone) is None
    stone = alice.edition.devices.revoked(phone)
    assert stone is not None
    assert stone.version == alice.edition.version == alice.head.revoked
    for old, new in zip(history, history[1:], strict=False):
        check_successor(old, new, alice.provider)
    check_successor(history[0], history[-1], alice.provider)
    check_successor(history[1], history[-1], alice.provider)


def test_an_edition_follows_itself() -> None:
    alice = Person()
    assert check_successor(alice.edition, alice.edition, alice.provider) == alice.edition


def test_the_root_makes_and_unmakes_delegates() -> None:
    alice = Person()
    phone = alice.add()
    before, old = alice.edition, alice.delegate
    made = editions.new_term(
        alice.provider,
        alice.root,
        before,
        delegates=(phone,),
        revoke=(alice.first,),
        add=(alice.device("desk"),),
        policy=Policy(delegates_revoke=False),
        above=4,
    )
    check_successor(before, alice.took(made), alice.provider)
    assert [entry.device for entry in alice.edition.devices.delegates] == [phone]
    assert len(alice.edition.devices.devices) == 2
    assert alice.delegate != old
    assert alice.head.authority.term == 5
    assert alice.head.revokes


def test_two_lists_are_joined_and_both_sides_follow() -> None:
    alice = Person()
    phone, tablet = alice.add(), alice.add("tablet")
    base = alice.edition
    made = editions.revoke_device(alice.provider, base, alice.delegate, phone)
    one = made.edition
    desk = alice.device("desk")
    other = editions.add_device(alice.provider, base, alice.delegate, desk).edition
    other = editions.refresh(alice.provider, other, alice.delegate).edition
    joined = editions.join(alice.provider, one, other, alice.delegate)
    again = editions.join(alice.provider, other, one, alice.delegate)
    assert again.edition.devices.devices == joined.edition.devices.devices
    staying = {entry.device for entry in joined.edition.devices.devices}
    assert staying == {alice.first, tablet, desk.device}
    assert joined.signing is not None
    assert joined.edition.head.revokes
    for side in (base, one, other):
        check_successor(side, joined.edition, alice.provider)


def test_lists_that_shut_out_one_device_at_different_times_are_joined() -> None:
    alice = Person()
    phone = alice.add()
    one = editions.revoke_device(alice.provider, alice.edition, alice.delegate, phone).edition
    other = editions.refresh(alice.provider, alice.edition, alice.delegate).edition
    other = editions.revoke_device(alice.provider, other, alice.delegate, phone).edition
    joined = editions.join(alice.provider, one, other, alice.delegate).edition
    check_successor(one, joined, alice.provider)
    check_successor(other, joined, alice.provider)


def test_lists_of_two_terms_are_not_joined() -> None:
    alice = Person()
    old, delegate = alice.edition, alice.delegate
    alice.term()
    with pytest.raises(Misuse):
        editions.join(alice.provider, old, alice.edition, delegate)


# ---------------------------------------------------------------- attacks by a delegate


def test_a_list_that_the_head_does_not_mean_is_refused() -> None:
    alice = Person()
    old = alice.edition
    alice.add()
    swapped = Edition(devices=replace(old.devices, version=alice.head.version), head=alice.head)
    refused("list-digest", lambda: check_edition(swapped, alice.provider))
    refused("list-version", lambda: check_edition(replace(alice.edition, devices=old.devices), alice.provider))
    bob = Person("bob")
    refused(
        "another-account", lambda: check_edition(Edition(devices=bob.edition.devices, head=alice.head), alice.provider)
    )


def test_a_delegate_cannot_make_delegates_or_change_what_binds_it() -> None:
    alice = Person()
    phone = alice.add()
    entries = alice.edition.devices.devices
    promoted = tuple(replace(entry, delegate=True) for entry in entries)
    swapped = tuple(replace(entry, delegate=entry.device == phone) for entry in entries)
    loosened = replace(alice.edition.devices.policy, overrule_delay=0)
    for rule, edition in (
        ("delegates-changed", forged(alice, devices=promoted)),
        ("delegates-changed", forged(alice, devices=swapped)),
        ("policy-changed", forged(alice, policy=loosened)),
    ):
        check_next(alice.head, edition.head)  # contacts cannot tell
        refused(rule, lambda edition=edition: check_successor(alice.edition, edition, alice.provider))  # type: ignore[misc]


def test_a_delegate_cannot_shut_out_a_delegate() -> None:
    alice = Person()
    phone = alice.add()
    alice.took(editions.new_term(alice.provider, alice.root, alice.edition, delegates=(alice.first, phone)))
    with pytest.raises(Misuse):
        editions.revoke_device(alice.provider, alice.edition, alice.delegate, phone)
    entry = alice.edition.devices.find(phone)
    assert entry is not None
    stone = Tombstone(version=alice.edition.version + 1, device=phone, key=entry.key)
    edition = forged(alice, devices=without(alice, entry), tombstones=(stone,), revokes=True)
    refused("delegates-changed", lambda: check_successor(alice.edition, edition, alice.provider))


def test_a_policy_can_keep_delegates_from_shutting_out() -> None:
    alice = Person()
    phone = alice.add()
    alice.term(Policy(delegates_revoke=False))
    with pytest.raises(Misuse):
        alice.revoke(phone)
    entry = alice.edition.devices.find(phone)
    assert entry is not None
    stone = Tombstone(version=alice.edition.version + 1, device=phone, key=entry.key)
    edition = forged(alice, devices=without(alice, entry), tombstones=(stone,), revokes=True)
    refused("revocation-forbidden", lambda: check_successor(alice.edition, edition, alice.provider))


def test_a_device_does_not_vanish() -> None:
    alice = Person()
    phone = alice.add()
    entry = alice.edition.devices.find(phone)
    assert entry is not None
    edition = forged(alice, devices=without(alice, entry), revokes=True)
    refused("device-vanished", lambda: check_successor(alice.edition, edition, alice.provider))


def test_shutting_out_is_marked_in_the_head() -> None:
    alice = Person()
    phone = alice.add()
    entry = alice.edition.devices.find(phone)
    assert entry is not None
    stone = Tombstone(version=alice.edition.version + 1, device=phone, key=entry.key)
    edition = forged(alice, devices=without(alice, entry), tombstones=(stone,))
    refused("unmarked-revocation", lambda: check_successor(alice.edition, edition, alice.provider))


def test_who_was_shut_out_does_not_come_back_by_a_delegate() -> None:
    alice = Person()
    phone = alice.add()
    entry = alice.edition.devices.find(phone)
    assert entry is not None
    alice.revoke(phone)
    devices = tuple(sorted((*alice.edition.devices.devices, entry), key=lambda each: each.device))
    edition = forged(alice, devices=devices, tombstones=())
    refused("device-returned", lambda: check_successor(alice.edition, edition, alice.provider))
    edition = forged(alice, tombstones=())
    refused("device-vanished", lambda: check_successor(alice.edition, edition, alice.provider))
    stone = replace(alice.edition.devices.tombstones[0], key=b"another")
    edition = forged(alice, tombstones=(stone,))
    refused("device-changed", lambda: check_successor(alice.edition, edition, alice.provider))


def test_a_device_keeps_its_key() -> None:
    alice = Person()
    phone = alice.add()
    entries = alice.edition.devices.devices
    changed = tuple(replace(entry, key=b"mine") if entry.device == phone else entry for entry in entries)
    edition = forged(alice, devices=changed)
    refused("device-changed", lambda: check_successor(alice.edition, edition, alice.provider))
    entry = alice.edition.devices.find(phone)
    assert entry is not None
    stone = Tombstone(version=alice.edition.version + 1, device=phone, key=b"mine")
    edition = forged(alice, devices=without(alice, entry), tombstones=(stone,), revokes=True)
    refused("device-changed", lambda: check_successor(alice.edition, edition, alice.provider))


def test_who_was_shut_out_cannot_make_editions() -> None:
    alice = Person()
    thief, old = alice.delegate, alice.edition
    alice.term()
    with pytest.raises(Misuse):
        editions.refresh(alice.provider, alice.edition, thief)
    late = editions.refresh(alice.provider, old, thief).edition
    refused("older-list", lambda: check_successor(alice.edition, late, alice.provider))


def test_only_the_last_tombstones_stay_and_only_old_ones_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (device_list, editions):
        monkeypatch.setattr(room, "MAX_TOMBSTONES", 3)
    alice = Person()
    victim = alice.add("tablet")
    entry = alice.edition.devices.find(victim)
    assert entry is not None
    history = [alice.edition]
    for at in range(5):
        alice.add(f"ghost {at}")
        ghost = next(each.device for each in alice.edition.devices.devices if each.name == f"ghost {at}")
        alice.revoke(ghost)
        history.append(alice.edition)
    assert len(alice.edition.devices.tombstones) == 3
    for old in history:
        check_successor(old, alice.edition, alice.provider)
    # Now that all places are taken, a delegate lets a device vanish without a stone of its own.
    edition = forged(alice, devices=without(alice, entry), revokes=True)
    refused("device-vanished", lambda: check_successor(alice.edition, edition, alice.provider))
    dropped = forged(alice, tombstones=alice.edition.devices.tombstones[1:])
    refused("device-vanished", lambda: check_successor(alice.edition, dropped, alice.provider))


# ---------------------------------------------------------------- what cannot be


def test_what_a_local_program_cannot_ask_for() -> None:
    alice, bob = Person(), Person("bob")
    p, edition, stranger = alice.provider, alice.edition, bob.first
    calls: Iterable[tuple[str, Callable[[], object]]] = (
        ("no-such-device", lambda: editions.revoke_device(p, edition, alice.delegate, stranger)),
        ("no-such-device", lambda: editions.rename_device(p, edition, alice.delegate, stranger, "x")),
        ("no-such-device", lambda: editions.new_term(p, alice.root, edition, delegates=(stranger,))),
        ("bad-list", lambda: editions.new_term(p, alice.root, edition, delegates=())),
        (
            "no-such-device",
            lambda: editions.new_term(p, alice.root, edition, delegates=(alice.first,), revoke=(stranger,)),
        ),
        ("no-terms", lambda: editions.new_term(p, alice.root, edition, delegates=(alice.first,), above=1 << 31)),
        ("another-account", lambda: editions.new_term(p, bob.root, edition, delegates=(alice.first,))),
        ("not-delegate", lambda: editions.add_device(p, edition, bob.delegate, alice.device("x"))),
        (
            "bad-list",
            lambda: editions.add_device(p, edition, alice.delegate, replace(alice.device("x"), device=alice.first)),
        ),
        ("bad-threshold", lambda: editions.found(p, alice.root, alice.device("x"), policy=Policy(overrulers=2))),
        ("not-beside", lambda: editions.join(p, edition, bob.edition, alice.delegate)),
    )
    for code, call in calls:
        with pytest.raises(Misuse) as caught:
            call()
        assert caught.value.code == code


def test_a_term_can_be_used_up() -> None:
    alice = Person()
    last = replace(alice.edition, head=replace(alice.head, number=(1 << 32) - 1))
    with pytest.raises(Misuse):
        editions.refresh(alice.provider, last, alice.delegate)


def test_there_are_at_most_64_devices() -> None:
    alice = Person()
    entry = alice.edition.devices.devices[0]
    many = tuple(
        replace(entry, device=DeviceId(at.to_bytes(16, "big")), key=b"key %d" % at)
        for at in range(device_list.MAX_DEVICES + 1)
    )
    assert len(replace(alice.edition.devices, devices=many[:-1]).devices) == 64
    with pytest.raises(ValueError, match="too many"):
        replace(alice.edition.devices, devices=many)


@pytest.mark.parametrize("name", ["", "x" * 65, "two\nlines", "turned \u202e round", "nul\0"])
def test_names_are_one_readable_line(name: str) -> None:
    alice = Person()
    with pytest.raises((ValueError, Misuse)):
        editions.rename_device(alice.provider, alice.edition, alice.delegate, alice.first, name)


def test_lists_out_of_order_cannot_be() -> None:
    alice = Person()
    phone = alice.add()
    devices = alice.edition.devices
    entry = devices.find(phone)
    assert entry is not None
    stone = Tombstone(version=0, device=phone, key=b"other")
    for change in (
        {"devices": ()},
        {"devices": devices.devices[::-1]},
        {"devices": devices.devices[:1] * 2},
        {"devices": tuple(replace(each, key=b"same") for each in devices.devices)},
        {"devices": tuple(replace(each, delegate=False) for each in devices.devices)},
        {"tombstones": (stone,)},
        {
            "tombstones": (
                replace(stone, device=DeviceId(bytes(16))),
                replace(stone, device=DeviceId(bytes(16)), version=1),
            )
        },
        {"tombstones": (replace(stone, device=DeviceId(bytes(16)), key=entry.key),)},
        {"tombstones": (replace(stone, device=DeviceId(bytes(16)), version=devices.version + 1),)},
        {"tombstones": (replace(stone, device=DeviceId(b"b" * 16)), replace(stone, device=DeviceId(b"a" * 16)))},
        {"tombstones": tuple(replace(stone, device=DeviceId(b"%016d" % at)) for at in range(257))},
        {"version": 0},
        {"salt": b""},
        {"account": b""},
    ):
        with pytest.raises(ValueError, match=r"device|list|salt|account|delegate"):
            replace(devices, **change)


def test_one_device_alone_does_not_overrule() -> None:
    with pytest.raises(ValueError, match="two devices or more"):
        Policy(overrulers=1)


def test_editions_are_read_back_and_no_changed_byte_is_accepted() -> None:
    alice = Person()
    alice.revoke(alice.add())
    data = encode(alice.edition)
    assert encode(decode(Edition, data)) == data
    for at in range(0, len(data), 11):
        with pytest.raises(Malformed):
            decode(Edition, data[:at])
        changed = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
        with pytest.raises(NodeError):
            check_edition(decode(Edition, changed), alice.provider)


def test_a_list_is_known_by_all_of_it() -> None:
    alice = Person()
    devices = alice.edition.devices
    assert decode(DeviceList, encode(devices)).digest == devices.digest
    assert replace(devices, salt=bytes(32)).digest != devices.digest
