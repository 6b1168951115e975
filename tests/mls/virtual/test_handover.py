"""draft-ietf-mls-virtual-clients §5.1: a conversation that is handed over is the same on the new device.

The property is on random histories: whatever happened, what the parts make is byte for byte what was taken apart, and
nothing that was deleted is in the parts. Then the new device works with it: it reads what is late, follows commits and
makes one. What it refuses is in test_handover_refusals.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from mls import group as front, snapshot
from mls.codec import decode_exactly
from mls.errors import CallerError, ReplayError
from mls.fork.retention import left, settled
from mls.group import ApplicationMessage, CommitMessage, Event
from mls.leaf_node import Extensions
from mls.parameters import Parameters
from mls.proposals import ReInit, Remove
from mls.registries import GroupId
from mls.schedule import EXPORTER_TREE
from mls.secret_tree import APPLICATION
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.state import Ended, Group
from mls.tree.nodes import grown
from mls.virtual.companion import MAX_PAST, ConversationPart
from mls.virtual.handover import MAX_PAST_LEAVES, Handover, hand_over, take_over, take_over_bare
from mls.virtual.transfer import ExternalGroup, decode_group_state
from tests.mls.clients import NAMES, PUBLIC, Party, check_private_keys, client, party, secret_bytes
from tests.mls.fork.company import FORKING, LEAF, company
from tests.mls.siblings import Siblings
from tests.mls.suite_variants import GROUP_SUITES
from tests.providers import SeededProvider
from tests.vector_files import load
from tests.vectors.own import transfer as own

CASES = load(own.PATH)
US, THEM, OTHER = NAMES[1], NAMES[0], NAMES[2]


def taken(group: Group, past: Sequence[Group] = (), **options: Any) -> tuple[Group, tuple[Group, ...]]:
    """Through bytes, on another device."""
    handed = hand_over(group, past, **options)
    state, part = carried(handed)
    return take_over(
        state,
        part,
        handed.tree,
        group.parameters,
        SeededProvider("another device"),
        leaf_private=None if part.leaf_private else HpkePrivateKey(group.private[2 * group.own_leaf].raw),
        signature_private=group.signature_key,
    )


def carried(handed: Handover) -> tuple[Any, ConversationPart]:
    assert handed.part is not None
    state = decode_exactly(handed.state.encode(), decode_group_state)
    part = decode_exactly(handed.part.encode(), ConversationPart.decode)
    assert (state, part) == (handed.state, handed.part)
    return state, part


def same(one: Group, other: Group) -> None:
    assert snapshot.encode(one) == snapshot.encode(other)
    assert one.parameters == other.parameters
    tree, again = one.public.tree, other.public.tree
    assert (tree.encryption_keys, tree.signature_keys) == (again.encryption_keys, again.signature_keys)
    assert {profile: each.count for profile, each in tree.profiles.items()} == {
        profile: each.count for profile, each in again.profiles.items()
    }


# Random histories

STEPS = ("say", "late", "ours", "propose", "update", "add", "remove", "commit", "commit ours", "join", "export")


class Keeping(Party):
    """A party that keeps what our device left."""

    before: Group

    def deliver(self, message: bytes, *, by: str | None = None) -> dict[str, Event]:
        events = super().deliver(message, by=by)
        event = events.get(US)
        if isinstance(event, CommitMessage):
            self.before = event.before
        return events


class History:
    """What happens in a conversation, while our device keeps the two epochs that it left last."""

    def __init__(self, ours: Party, leaf: Extensions) -> None:
        self.party = Keeping(ours.env, ours.clients, ours.groups)
        self.leaf = leaf
        self.past: list[Group] = []
        self.late: list[tuple[bytes, bytes]] = []
        """Epoch and message, of what our device has not read."""
        self.had: set[bytes] = set()
        """All secrets that our device ever held."""
        self.made = 0

    @property
    def ours(self) -> Group:
        return self.party[US]

    def step(self, step: str, choice: int) -> None:
        party = self.party
        self.had.update(secret_bytes(self.ours))
        others = [name for name in party.names if name != US]
        other = others[choice % len(others)]
        self.made += 1
        if step in ("say", "late", "ours") and self.ours.proposals:
            self.commit(other)  # nobody speaks while proposals wait
        if step == "say":
            party.say(other, b"said")
        elif step == "late":
            party.groups[other], message = front.seal(party[other], party.env, b"late")
            self.late.append((self.ours.epoch_id, message))
        elif step == "ours":
            party.say(US, b"ours")
        elif step == "propose":
            party.propose_update(other)
        elif step == "update":
            party.propose_update(US)
        elif step == "add":
            known = party.clients[THEM]
            newcomer = client(
                f"newcomer{self.made}",
                known.cipher_suite,
                capabilities=known.capabilities,
                parameters=known.parameters,
            )
            self.commit(other, joining=[(newcomer, newcomer.package(party.env, leaf_extensions=self.leaf))])
        elif step == "remove" and len(others) > 2:
            self.commit(US, proposals=[Remove(party.leaf(other))])
        elif step == "commit":
            self.commit(other)
        elif step == "commit ours":
            self.commit(US)
        elif step == "join":
            party.join_externally(other, through=US, leaf_extensions=self.leaf, remove=party.leaf(other))
            self._keep()
        elif step == "export":
            party.groups[US], _ = front.safe_export(self.ours, 0x8000 + self.made)
        self.had.update(secret_bytes(self.ours))

    def commit(self, by: str, **options: Any) -> None:
        sent = self.party.commit(by, **options)
        if by == US:
            self.party.before = sent.before
        self._keep()

    def _keep(self) -> None:
        before = self.party.before
        self.past = [*self.past, left(before) if before.parameters.modes else front.retired(before)][-2:]


SHARED = Parameters(own_keys=4, keep_handshake_keys=True, out_of_order=4, resumption_psks=3, epoch_labels=(b"label",))
PLAIN_ALONE = Parameters(resumption_psks=0)
FORKS = replace(FORKING, own_keys=4, out_of_order=4, epoch_labels=(b"label",))


def talk(kind: str, cipher_suite: int = 1) -> History:
    if kind == "forks":
        return History(company(4, cipher_suite, full=True, parameters=FORKS), LEAF)
    parameters = SHARED if kind == "shared" else PLAIN_ALONE
    return History(party(4, cipher_suite, parameters=parameters, shape="flat" if kind == "alone" else "full"), ())


def goes_on(history: History, group: Group, past: Sequence[Group]) -> None:
    """The new device reads what the old one reads, follows who commits, and is followed."""
    party, ours = history.party, history.ours
    env = party.env
    for epoch_id, message in history.late:
        for old, new in zip((ours, *history.past), (group, *past), strict=True):
            if old.epoch_id != epoch_id:
                continue
            try:
                expected = front.receive(old, env, message)
            except ReplayError:
                with pytest.raises(ReplayError):
                    front.receive(new, env, message)
                continue
            event = front.receive(new, env, message)
            assert isinstance(event, ApplicationMessage)
            assert isinstance(expected, ApplicationMessage)
            assert event.data == expected.data == b"late"
            same(event.group, expected.group)
    check_private_keys(group)
    other = next(name for name in party.names if name != US)
    commit = front.commit(party[other], env)
    followed = front.receive(group, env, commit.message)
    assert isinstance(followed, CommitMessage)
    same(followed.group, front.receive(ours, env, commit.message).group)
    own = front.commit(group, env)
    for name in party.names:
        if name != US:
            event = front.receive(party[name], env, own.message)
            assert isinstance(event, CommitMessage)
            assert event.group.epoch_id == own.group.epoch_id


@pytest.mark.slow
@given(
    kind=st.sampled_from(["shared", "alone", "forks"]),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=12),
)
@settings(max_examples=60)
def test_random_histories(kind: str, steps: list[tuple[str, int]]) -> None:
    history = talk(kind)
    for step, choice in steps:
        history.step(step, choice)
    group, past = taken(history.ours, history.past)
    same(group, history.ours)
    for again, old in zip(past, history.past, strict=True):
        same(again, old)
    handed = hand_over(history.ours, history.past)
    assert handed.part is not None
    parts = handed.state.encode() + handed.part.encode() + handed.tree
    held = b"".join([snapshot.encode(each).raw for each in (history.ours, *history.past)])
    for secret in history.had:
        assert len(secret) < 16 or secret not in parts or secret in held
    goes_on(history, group, past)


@pytest.mark.slow
@pytest.mark.parametrize("cipher_suite", GROUP_SUITES)
@pytest.mark.parametrize("kind", ["shared", "forks"])
def test_every_suite(kind: str, cipher_suite: int) -> None:
    history = talk(kind, cipher_suite)
    for step in (
        "late",
        "say",
        "ours",
        "commit",
        "late",
        "export",
        "add",
        "update",
        "commit",
        "late",
        "propose",
        "update",
    ):
        history.step(step, 1)
    group, past = taken(history.ours, history.past)
    same(group, history.ours)
    for again, old in zip(past, history.past, strict=True):
        same(again, old)
    goes_on(history, group, past)


def test_deleted_keys_are_found_if_they_are_there() -> None:
    """The search above can find something: the keys of the present epoch are in the parts."""
    history = talk("shared")
    handed = hand_over(history.ours)
    assert handed.part is not None
    parts = handed.state.encode() + handed.part.encode()
    found = [secret for secret in secret_bytes(history.ours) if secret in parts]
    assert len(found) >= 10


# Cases


def test_our_update_that_waits_is_committed_later() -> None:
    """Its private keys came along, though no struct of the draft has them."""
    history = talk("shared")
    history.step("update", 0)
    group, _ = taken(history.ours)
    sent = front.commit(history.party[THEM], history.party.env)
    event = front.receive(group, history.party.env, sent.message)
    assert isinstance(event, CommitMessage)
    assert event.plan.updated
    check_private_keys(event.group)


def test_an_unmerged_leaf_has_gaps_among_its_keys() -> None:
    """Hole (c): a node that does not know our leaf yet has a key that we do not know, and it stays a place."""
    ours = party(4, shape="full")
    newcomer = client("newcomer")
    ours.commit(
        THEM, joining=[(newcomer, newcomer.package(ours.env)), (client("second"), client("second").package(ours.env))]
    )
    ours.commit("newcomer")
    third = client("third")
    ours.commit("second", joining=[(third, third.package(ours.env))], force_path=False)
    group = ours["third"]
    handed = hand_over(group)
    keys = [key.raw for key in handed.state.path_keys]  # type: ignore[union-attr]  # a TransferredGroup
    assert b"" in keys
    again, _ = taken(group)
    same(again, group)


def test_a_leaf_of_our_own_making_travels_with_its_key() -> None:
    """Without DerivationInfo nobody can derive the leaf's key; with it, it is not in the bytes."""
    group = party(3)[US]
    key = group.private[2 * group.own_leaf].raw
    handed = hand_over(group)
    derived = hand_over(group, carry_leaf_key=False)
    assert handed.part is not None
    assert derived.part is not None
    assert key in handed.part.encode()
    assert key not in handed.state.encode() + derived.state.encode() + derived.part.encode()
    same(taken(group, carry_leaf_key=False)[0], group)
    options = {"parameters": group.parameters, "provider": SeededProvider(), "signature_private": group.signature_key}
    with pytest.raises(CallerError, match="leaf is missing"):
        take_over(derived.state, derived.part, derived.tree, **options)  # type: ignore[arg-type]


def test_a_sibling_takes_over_and_follows_the_other() -> None:
    """With forks: the new device follows both of two rival commits, on the epoch that was left too."""
    siblings = Siblings(company(4, full=True, parameters=FORKS))
    env = siblings.party.env
    first, second = (front.commit(siblings.party[name], env) for name in (THEM, OTHER))
    event = front.receive(siblings.first, env, first.message)
    assert isinstance(event, CommitMessage)
    group, (before,) = taken(event.group, [left(event.before)])
    rival = front.receive(before, env, second.message)
    assert rival.group.epoch_id == second.group.epoch_id
    assert group.epoch_id == first.group.epoch_id
    group, (other,) = taken(event.group, [rival.group])  # the head of another branch is no different
    same(other, rival.group)
    same(taken(event.group, [settled(event.before)])[1][0], settled(event.before))


def test_a_group_that_was_reinitialized() -> None:
    ours = party(3)
    sent = front.commit(ours[THEM], ours.env, proposals=[ReInit(GroupId(b"next"), 1, 1, ())])
    ended = front.receive(ours[US], ours.env, sent.message).group
    group, _ = taken(ended)
    assert isinstance(group.ended, ReInit)
    same(group, ended)


def test_a_group_without_an_exporter_tree() -> None:
    """As groups that came from the first version of snapshots have none."""
    group = replace(party(3)[US], trees={})
    again, _ = taken(group)
    assert EXPORTER_TREE not in again.trees
    same(again, group)


def test_by_external_commit() -> None:
    handed = Handover.by_external_commit(GroupId(b"group"))
    assert decode_exactly(handed.state.encode(), decode_group_state) == ExternalGroup(GroupId(b"group"))
    assert (handed.part, handed.tree) == (None, b"")
    group = party(3)[US]
    part = hand_over(group).part
    assert part is not None
    options = {"leaf_private": group.private[2 * group.own_leaf], "signature_private": group.signature_key}
    with pytest.raises(CallerError, match="external commit"):
        take_over(handed.state, part, b"", group.parameters, SeededProvider(), **options)  # type: ignore[arg-type]
    with pytest.raises(CallerError, match="external commit"):
        take_over_bare(
            handed.state, group.public.context, b"", b"", group.parameters, SeededProvider(), **options  # type: ignore[arg-type]
        )  # fmt: skip


def bare(group: Group) -> Group:
    handed = hand_over(group)
    return take_over_bare(
        handed.state,
        group.public.context,
        group.public.confirmation_tag,
        handed.tree,
        group.parameters,
        SeededProvider("another"),
        leaf_private=group.private[2 * group.own_leaf],
        signature_private=group.signature_key,
    )


def test_without_a_companion() -> None:
    """What RFC 9420 needs is there; what was passed over is not, and is the only thing that is not."""
    history = talk("shared")
    history.party = Keeping(history.party.env, history.party.clients, party(4, parameters=PUBLIC, shape="full").groups)
    history.step("late", 0)
    history.step("say", 0)
    history.step("ours", 0)
    group = bare(history.ours)
    ratchets = history.ours.keys.ratchets
    emptied = {key: replace(ratchets[key], skipped={}) for key in ratchets}
    present = ((history.ours.epoch, history.ours.secrets.resumption),)
    expected = replace(
        history.ours, keys=replace(history.ours.keys, ratchets=ratchets.update(emptied)), resumption=present
    )
    same(group, expected)
    (_, message), env = history.late[0], history.party.env
    assert isinstance(front.receive(history.ours, env, message), ApplicationMessage)
    with pytest.raises(ReplayError):
        front.receive(group, env, message)
    sent = front.commit(history.party[THEM], env)
    assert front.receive(group, env, sent.message).group.authenticator == sent.group.authenticator
    assert group.keys.ratchets[2 * history.party.leaf(US) + APPLICATION].generation == 1


@pytest.mark.parametrize("kind", ["plain", "forks"])
def test_an_epoch_that_was_left_and_is_the_head_again(kind: str) -> None:
    """Without what is gone of it; all else goes on."""
    history = talk(kind)
    head = left(history.ours)
    group, _ = taken(head)
    same(group, head)
    assert not group.secrets.confirmation.raw
    assert not group.secrets.exporter.raw
    sent = front.commit(history.party[THEM], history.party.env)
    event = front.receive(group, history.party.env, sent.message)
    assert isinstance(event, CommitMessage)
    assert event.group.authenticator == sent.group.authenticator


# What cannot be handed over


def test_what_is_no_head() -> None:
    history = talk("forks")
    history.step("commit", 0)
    with pytest.raises(CallerError, match="hand over the head"):
        hand_over(settled(history.past[0]))
    removed = replace(history.ours, ended=Ended.REMOVED)
    with pytest.raises(CallerError, match="hand over the head"):
        hand_over(removed)
    with pytest.raises(CallerError, match="no earlier epoch"):
        hand_over(history.ours, [removed])
    with pytest.raises(CallerError, match="no earlier epoch"):
        hand_over(history.ours, [client("somebody").create(history.party.env, b"another group")])
    with pytest.raises(CallerError, match="too many"):
        hand_over(history.ours, [history.past[0]] * (MAX_PAST + 1))
    public = history.past[0].public
    root = public.tree.root
    while 1 << root.level < MAX_PAST_LEAVES:
        root = grown(root)
    large = replace(history.past[0], public=replace(public, tree=replace(public.tree, root=root)))
    with pytest.raises(CallerError, match="too large together"):
        hand_over(history.ours, [large, history.past[0]])


def test_a_key_above_our_leaf_that_was_never_given() -> None:
    """As a Welcome without a path secret does it, where the tree says that we are merged."""
    group = party(4, shape="full")[US]
    private = {index: key for index, key in group.private.items() if index == 2 * group.own_leaf}
    with pytest.raises(CallerError, match="from outside"):
        hand_over(replace(group, private=private))


# Known answers


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"suite {case['cipher_suite']}")
def test_known_answers(case: dict[str, Any]) -> None:
    """From the file alone: the conversation goes on, and late messages of two epochs are read."""
    about = case["conversation"]
    state = decode_exactly(bytes.fromhex(case["state_transfer"]["encoded"]), decode_group_state)
    part = decode_exactly(bytes.fromhex(case["conversation_part"]), ConversationPart.decode)
    ours = party(4, case["cipher_suite"], shape="full")
    group, (before,) = take_over(
        state,
        part,
        bytes.fromhex(about["ratchet_tree"]),
        ours[US].parameters,
        SeededProvider(),
        leaf_private=HpkePrivateKey(bytes.fromhex(about["encryption_priv"])),
        signature_private=SignaturePrivateKey(bytes.fromhex(about["signature_priv"])),
    )
    assert group.own_leaf == about["leaf_index"]
    assert group.authenticator.hex() == about["epoch_authenticator"]
    assert len(group.updates) == 1
    assert len(group.proposals) == 2
    for value, name in ((group, "message"), (before, "past_message")):
        event = front.receive(value, ours.env, bytes.fromhex(about[name]))
        assert isinstance(event, ApplicationMessage)
        assert event.data.hex() == about[f"{name}_data"]


def test_an_epoch_that_is_kept_twice_goes_once() -> None:
    ours = party(3)
    ours.commit("member00")
    earlier = front.retired(ours["member01"])
    ours.commit("member02")
    head = ours["member01"]
    handover = hand_over(head, [front.retired(head), earlier, replace(earlier), earlier])
    assert handover.part is not None
    _, past = take_over(
        handover.state,
        handover.part,
        handover.tree,
        head.parameters,
        ours.env.provider,
        leaf_private=head.private[2 * head.own_leaf],
        signature_private=head.signature_key,
    )
    assert [each.epoch_id for each in past] == [earlier.epoch_id]
