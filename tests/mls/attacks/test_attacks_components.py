"""Attacks on components, their negotiation, application data and leaving: one message against a whole group.

The members here all run this implementation. What a test asks is whether one message can get past what the group
demands, tell two of them apart, hold them up out of proportion, or keep them from going on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest

from mls import group as front
from mls.codec import Reader, read_u16_vector
from mls.components import lists
from mls.components.dictionary import dictionary_extension
from mls.components.lists import ComponentsList, supported_wire_formats_extension
from mls.components.media import MediaType, MediaTypeList
from mls.components.numbers import Numbers
from mls.credential import BasicCredential
from mls.distributed.mode import Marker, SendGroupMode
from mls.errors import LimitError, MissingProposalsError, MlsError, PeerError
from mls.fork.mode import BY_CHILD, ForkResilient, marker
from mls.leaf_node import Extension, Extensions
from mls.parameters import Parameters
from mls.proposals import (
    Add,
    ExternalSender,
    GroupContextExtensions,
    LeafReplacement,
    Proposal,
    ReInit,
    SelfRemove,
    encode_proposal,
    external_senders_extension,
)
from mls.registries import ContentType, Epoch, ExtensionType, GroupId, LeafIndex
from mls.state import Ended, Group
from tests.mls.clients import Party, environment, framed, insider_public, refusal
from tests.mls.components.company import (
    COLOR,
    KNOWN,
    LISTED,
    MEDIA,
    NOTE,
    OFFER,
    SAFE_AAD,
    STRANGE,
    TEXT,
    WITH,
    company,
    data_of,
    demand,
    knowing,
    offer,
    someone,
    told,
    updated,
)
from tests.mls.frankenstein import external_init, forge_commit

REFUTED = (AssertionError, pytest.fail.Exception)
"""What an open door looks like in a test; anything else is a fault of the test."""

NUMBERS = Numbers()
JUNK = Extension(ExtensionType.APP_DATA_DICTIONARY, b"\xff\xff")
ZED = someone("zed")


def said_by(group: Group, proposal: Proposal, authenticated_data: bytes = b"") -> bytes:
    """A member's public proposal, whatever its own software thinks of it."""
    content = framed(group, ContentType.PROPOSAL, encode_proposal(proposal), authenticated_data=authenticated_data)
    return insider_public(group, content)


def info_of(party: Party) -> bytes:
    return front.group_info(party.any, with_tree=True)


def outcome(group: Group, party: Party, message: bytes) -> str:
    """What a member makes of a message."""
    try:
        return type(front.receive(group, party.env, message)).__name__
    except MlsError as refused:
        return type(refused).__name__


# Getting past what the group demands


def test_somebody_joins_by_lowering_the_demands_first() -> None:
    """RFC 9420 keeps GroupContextExtensions out of external commits; AppDataUpdate brings the same back in."""
    party = company(2, extensions=demand(components=(COLOR,), safe_aad=(COLOR,), media_types=(TEXT,)))
    lowered = [updated(LISTED, None), updated(SAFE_AAD, None), updated(MEDIA, None)]
    info = info_of(party)
    assert refusal(lambda: ZED.join_externally(party.env, info)) == "EXT-5-1"
    with pytest.raises(PeerError):
        ZED.join_externally(party.env, info, app_data=lowered)


@pytest.mark.parametrize("data", [None, b"forged", bytes(1 << 20)], ids=["deleted", "replaced", "too large to carry"])
def test_somebody_who_joins_changes_what_the_group_agreed_on(data: bytes | None) -> None:
    """The text has each component decide what it takes from outside; one that decides nothing takes everything."""
    party = company(2, extensions=demand(data={NOTE: b"what everybody relies on"}))
    with pytest.raises(PeerError):
        ZED.join_externally(party.env, info_of(party), leaf_extensions=OFFER, app_data=[updated(NOTE, data)])


def test_a_leaf_is_not_replaced_in_an_ordinary_group() -> None:
    party = company(3)
    newer = LeafReplacement(LeafIndex(2), party.any.members[2][1])
    message = said_by(party["member01"], newer)
    assert refusal(lambda: front.receive(party.any, party.env, message)) == "DIMLS-4.1.2-1"
    assert refusal(lambda: front.commit(party.any, party.env, proposals=[newer])) == "DIMLS-4.1.2-1"


# Telling two honest members apart


def test_a_second_marker_is_seen_by_all_or_by_nobody() -> None:
    """Clients that know one kind of group must refuse a second marker like those that know both."""
    components = replace(KNOWN, known=KNOWN.known | {NUMBERS.dmls, NUMBERS.dimls})
    one = Parameters(components=components, modes=(ForkResilient(),))
    both = replace(one, modes=(ForkResilient(), SendGroupMode()))
    leaf = offer(components=(LISTED, SAFE_AAD, MEDIA, COLOR, NOTE, NUMBERS.dmls, NUMBERS.dimls))
    party = company(
        3,
        extensions=demand(components=(NUMBERS.dmls,), data={NUMBERS.dmls: marker(BY_CHILD)}),
        parameters=one,
        leaf=leaf,
    )
    party.groups["member02"] = replace(party["member02"], parameters=both)
    marked = updated(NUMBERS.dimls, Marker(b"another kind").encode())
    with pytest.raises(PeerError):
        front.commit(party.any, party.env, proposals=[marked])


def test_a_group_does_not_become_of_another_kind() -> None:
    """Members that know the kind and members that do not refuse alike."""
    components = replace(KNOWN, known=KNOWN.known | {NUMBERS.dmls})
    leaf = offer(components=(LISTED, SAFE_AAD, MEDIA, COLOR, NOTE, NUMBERS.dmls))
    for modes in ((), (ForkResilient(),), (ForkResilient(), SendGroupMode())):
        party = company(2, parameters=Parameters(components=components, modes=modes), leaf=leaf)
        group, env = party.any, party.env
        marked = demand(components=(NUMBERS.dmls,), data={NUMBERS.dmls: marker(BY_CHILD)})
        for change in ([updated(NUMBERS.dmls, marker(BY_CHILD))], [GroupContextExtensions(marked)]):
            rule = refusal(partial(front.commit, group, env, proposals=change))
            assert rule in ("EXT-5-7", "EXT-5-9")


LISTING_OTHERS = offer(components=(LISTED, SAFE_AAD, MEDIA, COLOR))


@pytest.mark.parametrize("proposal", [updated(NOTE, b"x"), told(NOTE, b"x")])
@pytest.mark.parametrize(("leaf", "followed"), [(LISTING_OTHERS, True), ((), False)])
def test_data_for_a_component_that_one_member_lacks(proposal: Proposal, leaf: Extensions, followed: bool) -> None:
    """Were it committed, unasked and by honest members, the one who has to refuse it would be left behind for good.

    Only a leaf that says nothing of components, although §4.6 has it list them, is taken at its software's word.
    """
    party = company(3)
    newcomer = someone("lacking", knowing(WITH, known=frozenset()))
    party.commit("member00", joining=[(newcomer, newcomer.package(party.env, leaf_extensions=leaf))])
    message = said_by(party["member01"], proposal)
    honest, behind = party["member00"], party["lacking"]
    honest = front.receive(honest, party.env, message).group
    sent = front.commit(honest, party.env)
    with suppress(PeerError):
        behind = front.receive(behind, party.env, message).group
    assert (outcome(behind, party, sent.message) == "CommitMessage") is followed


def test_a_key_package_with_application_data_that_is_none() -> None:
    """§4.6 binds KeyPackages too: whoever reads them refuses the commit that we make, and stays behind."""
    party = company(1)
    package = ZED.package(party.env, leaf_extensions=OFFER, extensions=(JUNK,)).key_package
    with pytest.raises(PeerError):
        front.commit(party.any, party.env, proposals=[Add(package)])


def test_a_group_info_with_application_data_that_is_none() -> None:
    party = company(1)
    info = front.group_info(party.any, extensions=(JUNK,), with_tree=True)
    with pytest.raises(PeerError):
        ZED.join_externally(party.env, info, leaf_extensions=OFFER)


# Holding members up


def _of_their_own(number: int) -> Extensions:
    """A leaf that reads something that no other does."""
    types = MediaTypeList((TEXT, MediaType(b"x/y%d" % number)))
    entries: dict[int, bytes] = {LISTED: ComponentsList.of((MEDIA,)).encode(), MEDIA: types.encode()}
    return (dictionary_extension(entries), supported_wire_formats_extension((6,)))


def _crowd(count: int) -> Party:
    env = environment("crowd")
    people = [someone(f"one{number}") for number in range(count)]
    first = people[0]
    party = Party(env, {first.name: first}, {})
    extensions = demand(media_types=(TEXT,))
    party.groups[first.name] = first.create(env, extensions=extensions, leaf_extensions=_of_their_own(0))
    joining = [(each, each.package(env, leaf_extensions=_of_their_own(at + 1))) for at, each in enumerate(people[1:])]
    party.commit(first.name, joining=joining)
    return party


def test_what_a_demand_costs_does_not_multiply_with_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit may bring a demand that repeats itself: nobody compares the repetitions with every leaf."""
    looks = 0
    whole = MediaType.key.fget  # type: ignore[attr-defined]  # a property

    def counted(self: MediaType) -> object:
        nonlocal looks
        looks += 1
        return whole(self)

    crowd = _crowd(10)
    demanded = MediaTypeList((TEXT,) * 200).encode()
    app_data = [updated(MEDIA, demanded)]
    sent = front.commit(crowd["one1"], crowd.env, proposals=app_data)
    monkeypatch.setattr(MediaType, "key", property(counted))
    front.receive(crowd.any, crowd.env, sent.message)
    assert looks < 3 * 200 + 10 * 10


def test_demands_that_only_repeat_themselves_do_not_stay() -> None:
    """A megabyte of one media type, which everybody supports: each commit costs 0.3 s from then on, for everybody."""
    party = company(2, extensions=demand(media_types=(TEXT,)))
    same = MediaTypeList((TEXT,) * 500).encode()
    try:
        joined = ZED.join_externally(party.env, info_of(party), leaf_extensions=OFFER, app_data=[updated(MEDIA, same)])
    except PeerError:
        return
    kept = joined.group.public.context.dictionary.find(MEDIA)
    assert kept is not None
    assert len(kept) < 100


def test_waiting_demands_that_nobody_meets_are_read_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 of 60 KB make each commit of everybody else take five seconds, in every epoch in which they are sent."""
    party = company(2)
    group, other = party["member00"], party["member01"]
    unmet = MediaTypeList(tuple([MediaType(b"x/y%d" % number) for number in range(10)])).encode()
    for number in range(64):
        message = said_by(other, updated(MEDIA, unmet), b"%d" % number)
        group = front.receive(group, party.env, message).group
    read = 0
    whole = MediaType.decode

    def counted(reader: Reader) -> MediaType:
        nonlocal read
        read += 1
        return whole(reader)

    monkeypatch.setattr(MediaType, "decode", counted)
    sent = front.commit(group, party.env)
    assert sent.group.epoch == group.epoch + 1
    assert read <= 64 * 10 + 3 * 10


def test_waiting_data_that_is_refused_does_not_have_leaves_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf may list a megabyte of components. Then 64 short messages cost each commit six seconds."""
    party = company(2)
    group, other = party["member00"], party["member01"]
    for number in range(64):
        group = front.receive(group, party.env, said_by(other, updated(COLOR, b"no"), b"%d" % number)).group
    read = 0

    def counted(reader: Reader) -> tuple[int, ...]:
        nonlocal read
        read += 1
        return read_u16_vector(reader)

    monkeypatch.setattr(lists, "read_u16_vector", counted)
    sent = front.commit(group, party.env)
    assert sent.group.epoch == group.epoch + 1
    assert read <= 8


# Keeping members from going on


def test_extensions_that_do_not_fit_keep_others_out() -> None:
    party = company(3)
    group = party["member00"]
    unmet = GroupContextExtensions(demand(components=(STRANGE,)))
    wanted = GroupContextExtensions(demand(data={NOTE: b"x"}))
    for message in (said_by(party["member01"], unmet), said_by(party["member02"], wanted)):
        group = front.receive(group, party.env, message).group
    sent = front.commit(group, party.env)
    assert sent.group.public.context.dictionary.find(NOTE) == b"x"


def test_an_outsider_asks_for_a_key_that_only_the_oldest_members_have() -> None:
    """An external sender names the resumption PSK of epoch 0: who has it commits it, all who joined later are out."""
    party = company(1)
    signer, public = party.suite.scheme.generate(party.env.provider.random)
    outsider = ExternalSender(public, BasicCredential(b"outsider"))
    party.commit("member00", proposals=[GroupContextExtensions((external_senders_extension((outsider,)),))])
    late = someone("late")
    party.commit("member00", joining=[(late, late.package(party.env, leaf_extensions=OFFER))])
    group = party["member00"]
    oldest = front.resumption_psk(group, party.env, Epoch(0))
    message = front.propose_as_sender(
        party.env, 1, group.group_id, group.epoch, oldest, sender_index=0, signature_private=signer
    )
    for name in party.names:
        party.groups[name] = front.receive(party[name], party.env, message).group
    sent = front.commit(party["member00"], party.env)
    assert outcome(party["late"], party, sent.message) == "CommitMessage"


@pytest.mark.parametrize(
    ("suite", "extensions"), [(0xFFFF, ()), (1, (JUNK,)), (1, demand(components=(STRANGE,)))], ids=str
)
def test_a_reinit_to_nowhere_ends_the_group(suite: int, extensions: Extensions) -> None:
    """Extensions that we could not follow are left out of our commits; a ReInit to them is not."""
    party = company(2)
    nowhere = ReInit(GroupId(b"nowhere"), 1, suite, extensions)
    try:
        group = front.receive(party.any, party.env, said_by(party["member01"], nowhere)).group
    except PeerError:
        return
    assert front.commit(group, party.env).group.ended is None


def test_a_wish_to_leave_that_makes_joining_fail() -> None:
    """Members refuse it and do not have it; who joins refers to it and is refused. Nothing tells the joiner why."""
    party = company(2, extensions=demand(safe_aad=()))
    message = said_by(party["member01"], SelfRemove(), b"\x05junk")
    assert outcome(party.any, party, message) == "PeerError"
    try:
        joined = ZED.join_externally(party.env, info_of(party), leaf_extensions=OFFER, self_removes=[message])
    except PeerError:
        return
    assert outcome(party.any, party, joined.message) == "CommitMessage"


def test_an_external_commit_that_names_a_flood() -> None:
    """Only a SelfRemove can be named in one, so nothing else need be let in for it."""
    party = company(2, parameters=replace(WITH, max_pending=4))
    env, group = party.env, party.any
    wishes = [
        front.propose_self(env, group.group_id, group.epoch, someone(f"flood{n}").package(env, leaf_extensions=OFFER))
        for n in range(8)
    ]
    named = [front.receive(group, env, wish) for wish in wishes]
    references = [event.reference for event in named if isinstance(event, front.ProposalMessage)]
    first, init = external_init(group, env)
    made = forge_commit(group, env, ZED, [first], external=init, listed=[first, *references])
    admit: frozenset[bytes] = frozenset()
    try:
        front.receive(group, env, made.message)
    except MissingProposalsError as missing:
        admit = frozenset(missing.references)
    except PeerError:
        pass
    for wish in wishes:
        with suppress(LimitError):
            group = front.receive(group, env, wish, admit=admit).group
    assert len(group.proposals) <= 4


def test_everybody_leaves_while_somebody_joins() -> None:
    party = company(3)
    info = info_of(party)
    wishes = [party.propose(name, SelfRemove()) for name in list(party.names)]
    joined = ZED.join_externally(party.env, info, leaf_extensions=OFFER, self_removes=wishes)
    assert [leaf for leaf, _ in joined.group.members] == [0]
    assert [front.receive(group, party.env, joined.message).group.ended for group in party.groups.values()] == [
        Ended.REMOVED
    ] * 3


def test_a_wish_to_leave_is_for_one_epoch_of_one_group_and_of_one_member() -> None:
    party = company(3)
    wish = party.propose("member02", SelfRemove())
    elsewhere = company(3, extensions=demand(data={NOTE: b"other"}))
    assert outcome(elsewhere.any, elsewhere, wish) == "PeerError"
    with pytest.raises(PeerError):
        ZED.join_externally(party.env, info_of(elsewhere), leaf_extensions=OFFER, self_removes=[wish])
    posing = insider_public(
        party["member01"],
        framed(party["member02"], ContentType.PROPOSAL, encode_proposal(SelfRemove())),
        signer=party["member01"].signature_key,
    )
    assert refusal(lambda: front.receive(party.any, party.env, posing)) == "VAL-6.1-1"
    with pytest.raises(PeerError):
        ZED.join_externally(party.env, info_of(party), leaf_extensions=OFFER, self_removes=[posing])
    party.commit("member01", references=[])
    assert outcome(party.any, party, wish) == "PastEpochError"
    assert data_of(party, NOTE) is None


def test_a_wish_to_leave_twice_in_one_commit() -> None:
    party = company(3)
    leaver = party["member02"]
    wishes = [said_by(leaver, SelfRemove(), word) for word in (b"", b"again")]
    group = party.any
    for wish in wishes:
        group = front.receive(group, party.env, wish).group
    references = list(group.proposals)
    assert refusal(lambda: front.commit(group, party.env, references=references)) == "VAL-12.2-3"
    assert front.commit(group, party.env).group.public.tree.leaf(leaver.own_leaf) is None
    joined = ZED.join_externally(party.env, info_of(party), leaf_extensions=OFFER, self_removes=wishes)
    assert joined.group.public.tree.member_count == 3


# Leaks by accident


@pytest.mark.parametrize("proposal", [told(NOTE, b"TELLTALE"), updated(NOTE, b"TELLTALE")])
def test_what_components_say_to_each_other_is_not_shown(proposal: Proposal) -> None:
    """`repr` of the group of everybody who receives it holds it, like that of the event and of the plan."""
    party = company(2)
    party.propose("member00", proposal)
    assert "TELLTALE" not in repr(party["member01"].proposals)
