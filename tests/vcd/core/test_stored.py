"""What a store gets of a state is all of it, and what it gets of a step is what that step changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mls.errors import CallerError
from mls.persistent import PMap
from mls.secrets import Secret
from mls.virtual.emulation import Emulation
from tests.vcd.core.village import START, Village
from vcd.core import acting, inputs, keys, stored, topics
from vcd.core.names import EpochId, GroupId
from vcd.core.record import encode_as
from vcd.core.state import State
from vcd.core.stored import Newer, Rows, Unreadable, changes, load, rows, seal_under
from vcd.core.strand import at_rest, dropped
from vcd.core.turn import Turn

TEA = GroupId(b"tea")
ME = "laptop"


@pytest.fixture
def village() -> Village:
    """One device with a home and a conversation."""
    village = Village()
    village.account(ME)
    village.do(ME, inputs.Open(conversation=TEA))
    return village


def turned(village: Village, act: Callable[[Turn], object], state: State | None = None) -> State:
    """The state after something was done in it."""
    turn = Turn(state or village.state(ME), START, village.world(ME))
    act(turn)
    return turn.state


def saying(data: bytes, group_id: GroupId = TEA) -> Callable[[Turn], object]:
    return lambda turn: keys.seal(turn, turn.strand(group_id), data)


def committing(group_id: GroupId = TEA) -> Callable[[Turn], object]:
    return lambda turn: acting.commit(turn, turn.strand(group_id), force_path=True)


def applied(before: State, after: State) -> Rows:
    """The rows of `before`, changed as a store changes them."""
    put, gone = changes(before, after)
    found = rows(before)
    for row in gone:
        del found[row]
    return {**found, **put}


def grown(village: Village) -> State:
    """Commits and messages in both groups, an epoch that is left, one that is settled, one that is dropped."""

    def act(turn: Turn) -> None:
        for group_id in (TEA, turn.home.group_id):
            for _ in range(4):
                acting.commit(turn, turn.strand(group_id), force_path=True, derive=True)
                strand = turn.strand(group_id)
                latest = max(strand.graph.steps, key=strand.graph.number)
                turn.put(replace(strand, standing=replace(strand.standing, head=latest)))
            keys.seal(turn, turn.strand(group_id), b"\x80 something said")
            strand = turn.strand(group_id)
            first, second = strand.graph.anchor.epoch, strand.graph.path(strand.head)[0]
            turn.put(at_rest(dropped(strand, first), second))

    return turned(village, act)


# ---------------------------------------------------------------- all of it


def test_what_was_stored_is_found_again(village: Village) -> None:
    state = grown(village)
    found = load(rows(state), village.world(ME))
    assert rows(found) == rows(state)
    assert found.strands[TEA].graph.members(found.strands[TEA].head) == state.strands[TEA].graph.members(
        state.strands[TEA].head
    )


def test_a_device_goes_on_after_a_restart(village: Village) -> None:
    state = load(rows(grown(village)), village.world(ME))
    for group_id in (TEA, state.home):
        assert group_id is not None
        after = turned(village, saying(b"\x80 again", group_id), state)
        after = turned(village, committing(group_id), after)
        assert len(after.strands[group_id].kept) == len(state.strands[group_id].kept) + 1


def test_a_restart_lets_no_key_be_used_twice(village: Village) -> None:
    said = turned(village, saying(b"one"))
    turned(village, saying(b"two"), load(rows(said), village.world(ME)))
    ledger = village.world.ledger
    assert not [each for each in ledger.keys_again if each.authenticated_data != topics.VERSION]
    turned(village, saying(b"three"), village.state(ME))
    assert [each for each in ledger.keys_again if each.authenticated_data != topics.VERSION]  # this is how it shows


def test_the_home_and_the_emulation_share_their_group_again(village: Village) -> None:
    state = load(rows(grown(village)), village.world(ME))
    assert state.home is not None
    assert state.emulation is not None
    here = state.strands[state.home].here
    assert here is not None
    assert here.group is state.emulation.group


def test_a_device_that_cannot_follow_its_home_keeps_the_emulation_with_a_group_of_its_own(village: Village) -> None:
    state = village.state(ME)
    assert state.home is not None
    assert state.emulation is not None
    home = state.strands[state.home]
    lost = replace(state, strands=state.strands.set(home.group_id, replace(home, kept=PMap())))
    assert applied(state, lost) == rows(lost)
    found = load(rows(lost), village.world(ME))
    assert found.emulation is not None
    assert found.emulation.group.epoch_id == state.emulation.group.epoch_id
    assert rows(found) == rows(lost)
    assert applied(lost, state) == rows(state)
    assert applied(lost, replace(lost, emulation=None)) == rows(replace(lost, emulation=None))


def test_a_device_without_an_account_is_stored_too(village: Village) -> None:
    state = village.state(ME)
    blank = State(config=state.config, me=state.me, book=state.book)
    assert rows(load(rows(blank), village.world(ME))) == rows(blank)
    assert applied(blank, state) == rows(state)
    assert applied(state, blank) == rows(blank)


def test_an_older_disk_is_one_that_only_listens(village: Village) -> None:
    found = load(rows(village.state(ME)), village.world(ME), restored=True)
    with pytest.raises(CallerError):
        turned(village, saying(b"one"), found)
    assert rows(load(rows(found), village.world(ME))) == rows(found)


def test_every_part_of_an_emulation_has_its_row() -> None:
    """A field that is new there needs a place here; the type checker sees only those without a default."""
    known = {"settings", "head", "epochs", "operations", "stock", "withdrawn", "seeds", "keys", "past"}
    assert {field.name for field in dataclasses.fields(Emulation)} == known


# ---------------------------------------------------------------- what a step changed


def test_changes_lead_from_one_state_to_the_other(village: Village) -> None:
    before, after = village.state(ME), grown(village)
    assert applied(before, after) == rows(after)
    assert applied(after, before) == rows(before)


def test_what_did_not_change_is_not_written(village: Village) -> None:
    state = grown(village)
    assert changes(state, state) == ({}, [])
    assert changes(state, replace(state)) == ({}, [])


def test_a_message_writes_one_ratchet_and_not_the_tree(village: Village) -> None:
    state = turned(village, saying(b"one"))
    after = turned(village, saying(b"two"), state)
    put, gone = changes(state, after)
    assert [table for table, _ in put] == ["strands.kept.group.ratchets"]
    assert not gone
    assert sum(map(len, put.values())) < 1000


def test_a_commit_writes_one_epoch_and_nothing_of_others(village: Village) -> None:
    state = grown(village)
    after = turned(village, committing(), state)
    put, _ = changes(state, after)
    trees = [key for table, key in put if table == "strands.kept.group"]
    (new,) = [epoch for epoch in after.strands[TEA].kept if epoch not in state.strands[TEA].kept]
    assert [seal_under("strands.kept.group", key) for key in trees] == [new]


def test_an_epoch_that_is_dropped_takes_all_rows_with_it_that_its_key_sealed(village: Village) -> None:
    state = grown(village)
    strand = state.strands[TEA]
    for epoch in list(strand.kept):
        after = replace(state, strands=state.strands.set(TEA, dropped(strand, epoch)))
        put, gone = changes(state, after)
        assert {seal_under(*row) for row in gone} >= {epoch}
        assert epoch not in {seal_under(*row) for row in put}
        assert epoch not in {seal_under(*row) for row in rows(after)}


def test_a_settled_epoch_writes_over_what_it_deletes(village: Village) -> None:
    state = grown(village)
    strand = state.strands[TEA]
    epoch = EpochId(strand.head)
    after = replace(state, strands=state.strands.set(TEA, at_rest(strand, epoch)))
    private = state.strands[TEA].kept[epoch].group.private
    assert private
    found = b"".join(data for row, data in applied(state, after).items() if seal_under(*row) == epoch)
    for secret in private.values():
        assert secret.raw in b"".join(data for row, data in rows(state).items() if seal_under(*row) == epoch)
        assert secret.raw not in found


# ---------------------------------------------------------------- which key


def test_secrets_of_an_epoch_lie_in_rows_of_its_key(village: Village) -> None:
    """Whatever secret an epoch's value holds, as its class says, stands in no row of another key."""
    state = grown(village)
    everything = rows(state)
    for epoch, kept in state.strands[TEA].kept.items():
        raw = {each.raw for each in secrets_in(kept.group.secrets)} | {
            node for _, node in kept.group.keys.nodes.items()
        }
        raw -= {b""}
        history = {psk.raw for _, psk in kept.group.resumption}
        assert raw
        for secret in raw - history:  # resumption keys of earlier epochs are meant to outlive them
            found = {seal_under(*row) for row, data in everything.items() if secret in data}
            assert found == {epoch}


def secrets_in(value: Any) -> list[Secret]:
    return [
        getattr(value, each.name) for each in dataclasses.fields(value) if isinstance(getattr(value, each.name), Secret)
    ]


def test_keys_are_named_by_what_is_deleted_with_them(village: Village) -> None:
    state = grown(village)
    emulation = state.emulation
    assert emulation is not None
    named = {seal_under(*row) for row in rows(state)}
    assert named >= {*emulation.epochs, *emulation.keys, *state.strands[TEA].kept, *state.joined}
    assert seal_under("strands", encode_as(bytes, TEA)) is None
    assert seal_under("strands.kepts", encode_as(bytes, TEA)) is None


# ---------------------------------------------------------------- what cannot be read


def test_nothing_is_read_of_a_newer_program(village: Village) -> None:
    newer = rows(village.state(ME)) | {("version", b""): encode_as(int, stored.VERSION + 1)}
    with pytest.raises(Newer, match="newer"):
        load(newer, village.world(ME))


def test_rows_of_this_version_are_not_written_again(village: Village) -> None:
    state = village.state(ME)
    assert stored.renewed(rows(state), state) == ({}, [])


def test_nothing_stored_is_no_state(village: Village) -> None:
    with pytest.raises(Unreadable):
        load({}, village.world(ME))


def test_damage_is_seen_and_says_nothing_of_what_is_inside(village: Village) -> None:
    """Bytes that are cut short. (Bytes that were altered are the vault's to find: every row is sealed.)"""
    good = rows(grown(village))
    raw = "strands.kept.group.nodes"  # the length of these secrets only their suite knows
    for row, data in good.items():
        if data and row[0] != raw:
            with pytest.raises(Unreadable, match=r"^what is stored is damaged$"):
                load(good | {row: data[:-1]}, village.world(ME))
