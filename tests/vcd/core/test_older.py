"""What an older version of the program stored is read by this one, and nothing that is stored changes unnoticed.

`data/layout-N.txt` says how everything lay in bytes in version N of the format (`tests.vcd.core.layouts`), and
`data/stored-N.json.gz` is what that version wrote (`tests.vcd.core.pinned`), for all but the newest. The one of version
1 was made by commit 1d8b5e5, the last that stored in it, with `pinned.py` copied beside its `village.py`; that of
version 2 by 71c6d44.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mls.parameters import Parameters
from mls.persistent import PMap
from tests.vcd.core import pinned
from tests.vcd.core.layouts import layout, parsed, reads, text
from tests.vcd.core.people import together
from tests.vcd.core.pinned import CAKE, MODES, NAMES, SOUP, TEA, Pinned
from tests.vcd.core.talking import heard, say
from tests.vcd.core.village import Village
from vcd.core import inputs, stored
from vcd.core.errors import Malformed
from vcd.core.names import IntentId
from vcd.core.record import encode_as, since
from vcd.core.shapes import Found, Parts, Table
from vcd.core.spoken import Stage
from vcd.core.stored import VERSION, load, renewed, rows

DATA = Path(__file__).parent / "data"
FIRST = DATA / "stored-1.json.gz"
OLDER = range(1, VERSION)

CHANGED = f"""
What is stored changed, and a device that was stored before could not be read any more:

{{}}

If no device has version {VERSION} of the format on its disk yet, write data/layout-{VERSION}.txt anew, which
tests/vcd/core/layouts.py does. If one has: let the program as it was before write data/stored-{VERSION}.json.gz
(tests/vcd/core/pinned.py), make `vcd.core.stored.VERSION` one more, let new fields say `since` that version, and write
its layout. What was only renamed is renamed in all layouts.
"""


def known(version: int) -> dict[str, list[str]]:
    return parsed((DATA / f"layout-{version}.txt").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=OLDER)
def older(request: pytest.FixtureRequest) -> Pinned:
    return pinned.read(DATA / f"stored-{request.param}.json.gz")


# ---------------------------------------------------------------- layouts


def test_the_layout_of_what_is_stored_is_the_known_one() -> None:
    now, before = layout(), known(VERSION)
    other = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    assert not other, CHANGED.format(text({name: now.get(name, ["(gone)"]) for name in other}))


@pytest.mark.parametrize("version", OLDER)
def test_the_layouts_of_older_versions_are_still_read(version: int) -> None:
    now = layout(version)
    other = [name for name, lines in known(version).items() if not reads(now.get(name, []), lines)]
    assert not other, CHANGED.format(text({name: now.get(name, ["(gone)"]) for name in other}))


def test_a_layout_says_what_came_since() -> None:
    """Versions differ, so that the two tests above compare something."""
    assert "wall: int" not in layout(1)["state.Clock"]
    assert "wall: int" in layout(2)["state.Clock"]
    assert parsed(text(layout())) == layout()


@pytest.mark.parametrize(
    ("now", "before", "same"),
    [
        (["a: int"], ["a: int"], True),
        (["a: int", "b: int"], ["a: int"], False),
        (["b: int", "a: int"], ["a: int", "b: int"], False),
        (["a: {0 None, 1 int, 2 str}"], ["a: {0 None, 1 int}"], True),
        (["a: {0 None, 1 str}"], ["a: {0 None, 1 int}"], False),
        (["a: {0 None}"], ["a: {0 None, 1 int}"], False),
        (["* a: PMap[int, int]"], ["a: PMap[int, int]"], False),
    ],
)
def test_only_unions_and_enumerations_may_grow(now: list[str], before: list[str], same: bool) -> None:
    assert reads(now, before) == same


# ---------------------------------------------------------------- what was stored


@pytest.mark.parametrize("name", NAMES)
def test_what_an_older_version_stored_is_read_and_stored_in_this_one(older: Pinned, name: str) -> None:
    provider = Village().world(name)
    before = older.rows[name]
    state = load(before, provider)
    put, gone = renewed(before, state)
    after = {row: data for row, data in (before | put).items() if row not in gone}
    assert after == rows(state)
    assert rows(load(after, provider)) == after
    assert renewed(after, state) == ({}, [])
    assert ("version", b"") in put
    assert all(before.get(row) != data for row, data in put.items())


def test_fields_that_came_since_have_their_defaults() -> None:
    state = load(pinned.read(FIRST).rows["laptop"], Village().world("laptop"))
    assert state.clock.wall == state.household.contested == 0
    assert len(state.outbox) == 5
    assert {each.repeat for _, each in state.outbox.items()} == {None}
    assert state.clock.now > 0


def test_rows_are_read_as_of_the_version_that_they_say() -> None:
    wrong = pinned.read(FIRST).rows["laptop"] | {("version", b""): encode_as(int, 2)}
    with pytest.raises(stored.Unreadable, match="damaged"):
        load(wrong, Village().world("laptop"))


def test_rows_that_are_there_no_more_go(older: Pinned) -> None:
    extra = ("of old", b"key")
    before = older.rows["ben"] | {extra: b"data"}
    assert renewed(before, load(before, Village().world("ben")))[1] == [extra]


def test_an_older_disk_of_an_older_version_only_listens(older: Pinned) -> None:
    provider = Village().world("ben")
    before = older.rows["ben"]
    state = load(before, provider, restored=True)
    put, gone = renewed(before, state)
    after = {row: data for row, data in (before | put).items() if row not in gone}
    assert rows(load(after, provider)) == rows(state) != rows(load(before, provider))


def test_of_a_linked_device_of_an_older_version_no_epoch_is_one_that_it_was_never_in(older: Pinned) -> None:
    """It counted from 0 in versions 1 and 2, and would not ask for what it missed there."""
    provider = Village().world("phone")
    before = older.rows["phone"]
    first = 0 if before[("version", b"")] < encode_as(int, 3) else 1
    assert [data for (table, _), data in before.items() if table == "strands.past"] == [encode_as(int, first)]
    state = load(before, provider)
    assert [sorted(each.past.values()) for each in state.strands.values() if each.past] == [[1]]


def test_devices_of_an_older_version_go_on(older: Pinned) -> None:
    """They hear what the others said when they were apart, agree again, confirm what they said, and talk."""
    village = pinned.revived(older)
    village.heal()
    village.wait(minutes=30)
    assert all(together(village, *NAMES, group=group) for group in (TEA, CAKE))
    for group in MODES:
        for name in NAMES:
            say(village, name, f"{name} again in {group.decode()}", group)
    village.do("laptop", inputs.Refresh(intent=IntentId(b"r" * 16), conversation=TEA))
    village.wait(hours=1)
    told = Counter(f"{name} again in {group.decode()}" for group in MODES for name in NAMES)
    apart = {"ben": ["laptop", "phone"], "laptop": ["ben"], "phone": ["ben"]}
    for name in NAMES:
        others = [f"{each} apart in tea" for each in apart[name]]
        others += [f"{each} apart in {group.decode()}" for each in apart[name][:1] for group in (CAKE, SOUP)]
        assert Counter(heard(village, name)) == told + Counter(others)
        state = village.state(name)
        assert {each.stage for _, each in state.outbox.items()} == {Stage.CONFIRMED}
        assert not village.devices[name].refused
        assert rows(load(rows(state), village.devices[name].provider)) == rows(state)


# ---------------------------------------------------------------- fields with rows of their own, and without


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    number: int
    side: int = since(2, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    first: int = 0
    middle: int = since(3, 7)
    last: str = ""
    books: PMap[bytes, int] = field(default_factory=PMap)
    maps: PMap[bytes, int] = since(2, factory=PMap)


def test_a_class_with_rows_has_what_its_version_had() -> None:
    parts = Parts("shelf", "shelf.", Shelf)
    value = Shelf(first=1, middle=2, last="end", books=PMap({b"a": 1}), maps=PMap({b"b": 2}))
    key = ("shelf", b"")
    written: dict[tuple[str, bytes], bytes] = {}
    parts.write(value, b"", written)
    before = written | {key: encode_as(tuple[int, str], (1, "end"))}

    def read(found: dict[tuple[str, bytes], bytes], version: int) -> object:
        return parts.read(Found(found, Village().world("any"), Parameters(), version), b"")

    assert read(written, 3) == value
    assert read(before, 2) == replace(value, middle=7)
    assert read(before, 1) == replace(value, middle=7, maps=PMap())
    for found, version in ((written, 2), (before, 3)):
        with pytest.raises(Malformed):
            read(found, version)


def test_a_key_of_a_table_may_have_more_fields_too() -> None:
    """Such rows have other keys then, and what is below them too."""
    table = Table("shelves", Spot, Parts("shelves", "shelves.", Shelf))
    shelf = Shelf(books=PMap({b"a": 1}))
    key, under = encode_as(int, 1), encode_as(bytes, b"a")
    before = {
        ("shelves", key): encode_as(tuple[int, str], (0, "")),
        ("shelves.books", key + under): encode_as(int, 1),
    }
    value = table.read(Found(before, Village().world("any"), Parameters(), 1), b"")
    assert dict(value.items()) == {Spot(number=1, side=4): shelf}
    after: dict[tuple[str, bytes], bytes] = {}
    table.write(value, b"", after)
    assert sorted(after) == [("shelves", key + encode_as(int, 4)), ("shelves.books", key + encode_as(int, 4) + under)]
