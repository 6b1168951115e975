"""mls-extensions §4.7 and §4.8: AppDataUpdate and AppEphemeral, from every hand, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from mls import group as front, snapshot as store
from mls.codec import u16
from mls.components import dictionary as dictionary_room
from mls.components.dictionary import Dictionary
from mls.components.logic import Components, Refused, Said
from mls.components.negotiation import strange
from mls.credential import BasicCredential
from mls.errors import CallerError, PeerError
from mls.group import CommitMessage
from mls.leaf_node import Extension, Extensions, LeafNode, default_capabilities
from mls.parameters import Parameters
from mls.proposals import (
    AppDataUpdate,
    ExternalSender,
    GroupContextExtensions,
    Proposal,
    Remove,
    external_senders_extension,
)
from mls.registries import ExtensionType
from mls.secret_tree import HANDSHAKE
from mls.state import Ended
from mls.suite import Suite
from tests.mls.clients import Party, client, snapshot
from tests.mls.components.company import (
    ABLE,
    COLOR,
    NOTE,
    OFFER,
    STRANGE,
    WITH,
    company,
    data_of,
    demand,
    offer,
    someone,
    told,
    updated,
)
from tests.mls.frankenstein import PathSurgery, Raw, external_init, forge_commit, proposed
from tests.mls.refusals import A, B, C, D, accepts, refused, refuses
from tests.validation import breaks

UPDATE_TYPE, EPHEMERAL_TYPE = 8, 9


def refuses_list(rule: str, party: Party, bad: Sequence[Proposal], good: Sequence[Proposal]) -> None:
    """We do not commit that list, nor follow who does."""
    before = snapshot(party[A])
    refused(rule, lambda: front.commit(party[A], party.env, proposals=bad))
    assert snapshot(party[A]) == before
    commit = forge_commit(party[B], party.env, party.clients[B], bad, path=False)
    refuses(rule, party, A, commit.message, front.commit(party[B], party.env, proposals=good).message)


@breaks("EXT-4.7-1")
@pytest.mark.parametrize("operation", [0, 3, 255])
def test_an_operation_that_there_is_not(operation: int) -> None:
    party = company(2)
    bodies = [u16(NOTE) + bytes([each]) + b"\x01x" for each in (operation, 1)]
    refuses("EXT-4.7-1", party, A, *[proposed(party[B], party.env, Raw(body, UPDATE_TYPE)) for body in bodies])


def test_bytes_of_the_proposals() -> None:
    """§4.7, §4.8: the structs as the text has them."""
    assert updated(COLOR, b"abc").encode_body() == b"\x80\x01\x01\x03abc"
    assert updated(COLOR, b"").encode_body() == b"\x80\x01\x01\x00"
    assert updated(COLOR, None).encode_body() == b"\x80\x01\x02"
    assert told(COLOR, b"abc").encode_body() == b"\x80\x01\x03abc"
    assert (updated(0, None).type, told(0, b"").type) == (UPDATE_TYPE, EPHEMERAL_TYPE)


@breaks("EXT-4.7-2", "EXT-4.8-1")
@pytest.mark.parametrize("rule", ["EXT-4.7-2", "EXT-4.8-1"])
def test_a_component_that_is_not_known(rule: str) -> None:
    party = company(2)
    make = updated if rule == "EXT-4.7-2" else told
    bad, good = make(STRANGE, b"x"), make(NOTE, b"x")
    refused(rule, lambda: front.propose(party[A], party.env, bad))
    refuses(rule, party, A, *[proposed(party[B], party.env, each) for each in (bad, good)])
    refuses_list(rule, party, [bad], [good])
    if rule == "EXT-4.7-2":
        refuses_list(rule, party, [updated(STRANGE, None)], [good])


@breaks("EXT-4.7-3")
def test_a_removal_beside_other_changes() -> None:
    """In either order, twice, by value and by reference."""
    party = company(3, extensions=demand(data={NOTE: b"old", COLOR: b""}))
    update, removal, other = updated(NOTE, b"new"), updated(NOTE, None), updated(COLOR, None)
    for bad in ([update, removal], [removal, update], [update, update, removal]):
        refuses_list("EXT-4.7-3", party, bad, [update, update, other])
    refuses_list("EXT-4.7-3", party, [removal, removal], [removal, other])
    party.propose(B, update)
    party.propose(C, removal)
    references = list(party[A].proposals)
    refused("EXT-4.7-3", lambda: front.commit(party[A], party.env, references=references))
    party.commit(A)  # one of them, and the group goes on
    assert data_of(party, NOTE) in (b"new", None)


@breaks("EXT-4.7-4")
def test_a_removal_of_what_is_not_there() -> None:
    party = company(2, extensions=demand(data={COLOR: b"there"}))
    refuses_list("EXT-4.7-4", party, [updated(NOTE, None)], [updated(COLOR, None)])
    without = company(2)
    refuses_list("EXT-4.7-4", without, [updated(NOTE, None)], [updated(NOTE, b"")])


@breaks("EXT-4.7-5")
def test_extensions_that_touch_the_dictionary() -> None:
    """Where AppDataUpdate is required, a GroupContextExtensions leaves application data as it is."""
    data = demand(data={NOTE: b"kept"}, data_updates=True)
    required = data[1:]
    party = company(2, extensions=data)
    label = Extension(ExtensionType.APPLICATION_ID, b"label")
    able = [demand(data={NOTE: b"other"}), demand(data={NOTE: b"kept", COLOR: b""}), (), demand(data={})]
    party = company(2, extensions=data, capabilities=default_capabilities(extensions=(1, 6, 7, 8), proposals=(8, 9)))
    path = PathSurgery(leaf={"extensions": OFFER})
    for changed in able:
        bad = GroupContextExtensions((*changed, *required))
        good = GroupContextExtensions((label, *data))
        refused("EXT-4.7-5", lambda: front.commit(party[A], party.env, proposals=[bad]))  # noqa: B023 - used at once
        commits = [forge_commit(party[B], party.env, party.clients[B], [each], path=path) for each in (bad, good)]
        refuses("EXT-4.7-5", party, A, *[each.message for each in commits])
    # It does not help to drop the requirement in the same breath.
    refused("EXT-4.7-5", lambda: front.commit(party[A], party.env, proposals=[GroupContextExtensions(())]))
    # Without a dictionary, none may be added either.
    bare = company(2, extensions=required)
    adding = GroupContextExtensions((*required, *demand(data={NOTE: b"new"})))
    refused("EXT-4.7-5", lambda: front.commit(bare[A], bare.env, proposals=[adding]))
    # And one that waits is left out.
    bare.propose(B, adding)
    bare.propose(B, updated(NOTE, b"by update"))
    bare.commit(A)
    assert data_of(bare, NOTE) == b"by update"


def test_extensions_may_replace_the_dictionary_where_updates_are_not_required() -> None:
    party = company(2, extensions=demand(data={NOTE: b"old"}))
    party.commit(A, proposals=[GroupContextExtensions(demand(data={NOTE: b"new", STRANGE: b"kept as it is"}))])
    assert data_of(party, NOTE) == b"new"
    # The requirement binds from the epoch after the commit that makes it.
    party.commit(A, proposals=[GroupContextExtensions(demand(data={NOTE: b"newer"}, data_updates=True))])
    assert data_of(party, NOTE) == b"newer"
    refused("EXT-4.7-5", lambda: front.commit(party[A], party.env, proposals=[GroupContextExtensions(())]))


@breaks("EXT-4.7-6")
def test_what_a_logic_refuses() -> None:
    party = company(3, extensions=demand(data={COLOR: b"kept red"}))
    refuses_list("EXT-4.7-6", party, [updated(COLOR, b"no")], [updated(COLOR, b"blue")])
    refuses_list("EXT-4.7-6", party, [updated(NOTE, b"yes"), updated(COLOR, b"no")], [updated(NOTE, b"yes")])
    refuses_list("EXT-4.7-6", party, [updated(COLOR, None)], [updated(COLOR, b"blue")])


@breaks("EXT-4.8-2")
def test_an_ephemeral_that_a_logic_refuses() -> None:
    party = company(2)
    refuses_list("EXT-4.8-2", party, [told(COLOR, b"no")], [told(COLOR, b"yes")])
    refuses_list("EXT-4.8-2", party, [told(COLOR, b"yes"), told(COLOR, b"no")], [told(COLOR, b"yes")])


@dataclass(slots=True)
class Diary:
    """Writes down what it is asked; for tests of the order, not something to share between members."""

    calls: list[tuple[str, object]] = field(default_factory=list)

    def update(self, old: bytes | None, updates: Sequence[Said]) -> bytes:
        self.calls.append(("update", (old, [said.data for said in updates], [said.sender.index for said in updates])))
        return b"|".join([old or b"", *[said.data for said in updates]])

    def remove(self, old: bytes, by: Said) -> None:
        self.calls.append(("remove", (old, by.sender.index)))

    def ephemeral(self, said: Said) -> None:
        self.calls.append(("ephemeral", (said.data, said.sender.index)))


def diarists(count: int, **options: object) -> tuple[Party, Diary]:
    diary = Diary()
    parameters = Parameters(components=Components(logic={COLOR: diary}, known=frozenset({NOTE})))
    return company(count, parameters=parameters, **options), diary  # type: ignore[arg-type]


def test_the_order_of_everything() -> None:
    """Ephemerals first, then updates by component; within one, in the order of the commit, whoever made them."""
    party, diary = diarists(4)
    party.propose(B, updated(COLOR, b"b"))
    party.propose(C, told(COLOR, b"early"))
    party.propose(D, updated(NOTE, b"note"))
    party.propose(C, updated(COLOR, b"c"))
    diary.calls.clear()
    sent = front.commit(party[A], party.env, proposals=[updated(COLOR, b"a"), told(COLOR, b"mine")])
    leaves = [party.leaf(name) for name in (A, B, C, D)]
    expected = [
        ("ephemeral", (b"mine", leaves[0])),
        ("ephemeral", (b"early", leaves[2])),
        ("update", (None, [b"a", b"b", b"c"], leaves[:3])),
    ]
    assert diary.calls == expected
    for name in (B, C, D):
        diary.calls.clear()
        event = accepts(party, name, sent.message)
        assert diary.calls == expected
        assert isinstance(event, CommitMessage)
        assert [each.proposal.component_id for each in event.plan.app_data] == [COLOR, COLOR, COLOR, COLOR, NOTE, COLOR]
    party.groups[A] = sent.group
    assert data_of(party, COLOR) == b"|a|b|c"
    assert data_of(party, NOTE) == b"note"
    diary.calls.clear()
    party.commit(D, proposals=[updated(COLOR, None)])
    assert set(diary.calls) == {("remove", (b"|a|b|c", leaves[3]))}
    assert data_of(party, COLOR) is None


def test_no_path_is_needed() -> None:
    party = company(2)
    before = party[A].own_leaf_node
    sent = party.commit(A, proposals=[updated(NOTE, b"x"), told(NOTE, b"y")])
    assert sent.group.own_leaf_node is before
    assert not sent.path_secrets


def test_where_the_dictionary_goes() -> None:
    """§4.7: a new one to the end of the extensions; one that is there stays in its place, also when it is empty."""
    label = Extension(ExtensionType.APPLICATION_ID, b"label")
    able = default_capabilities(extensions=(1, 6, 7, 8), proposals=(8, 9, 10))
    party = company(2, extensions=(*demand(wire_formats=[6]), label), capabilities=able)
    party.commit(A, proposals=[updated(NOTE, b"x")])
    kinds = [each.type for each in party.any.public.context.extensions]
    dictionary = ExtensionType.APP_DATA_DICTIONARY
    assert kinds == [ExtensionType.REQUIRED_WIRE_FORMATS, ExtensionType.APPLICATION_ID, dictionary]
    first = company(2, extensions=(*demand(data={COLOR: b""}), label), capabilities=able)
    first.commit(A, proposals=[updated(NOTE, b"x")])
    first.commit(B, proposals=[updated(NOTE, None), updated(COLOR, None)])
    left = first.any.public.context.extensions
    assert [each.type for each in left] == [ExtensionType.APP_DATA_DICTIONARY, ExtensionType.APPLICATION_ID]
    assert left[0].data == b"\x00"


def test_entries_are_sorted_and_strange_ones_stay() -> None:
    party = company(2, extensions=demand(data={STRANGE: b"strange", 0x10: b"low"}))
    party.commit(A, proposals=[updated(NOTE, b"n"), updated(COLOR, b"c")])
    entries = party.any.public.context.dictionary.entries
    assert [number for number, _ in entries] == [0x10, COLOR, NOTE, STRANGE]
    assert dict(entries)[STRANGE] == b"strange"


def test_extensions_and_updates_in_one_commit() -> None:
    """The updates come after the extensions, and start from what those left."""
    party = company(3, extensions=demand(data={COLOR: b"red", NOTE: b"old"}))
    replaced = GroupContextExtensions((*demand(wire_formats=[6]), *demand(data={COLOR: b"blue"})))
    party.propose(B, updated(COLOR, b"+green"))
    party.propose(C, updated(NOTE, b"again"))
    party.commit(A, proposals=[replaced])
    assert data_of(party, COLOR) == b"blue+green"
    assert data_of(party, NOTE) == b"again"
    # A removal of what the extensions took away is too late.
    gone = GroupContextExtensions(())
    refused("EXT-4.7-4", lambda: front.commit(party[A], party.env, proposals=[gone, updated(NOTE, None)]))
    required = company(2, extensions=demand(data={COLOR: b"red"}, data_updates=True))
    kept = required.any.public.context.extensions
    wider = GroupContextExtensions((*kept, *demand(wire_formats=[6])))
    required.commit(A, proposals=[updated(COLOR, b"dish"), wider])
    assert data_of(required, COLOR) == b"reddish"


def test_a_member_who_does_not_support_the_proposals() -> None:
    """RFC 9420 §12.2: whoever stays has to; who is removed by the commit does not."""
    party = company(2)
    plain = someone("plain", capabilities=default_capabilities(extensions=(6, 7, 8)))
    party.commit(A, joining=[(plain, plain.package(party.env, leaf_extensions=OFFER))])
    for proposal in (updated(NOTE, b""), told(NOTE, b"")):
        refused("VAL-12.2-10", lambda: front.commit(party[A], party.env, proposals=[proposal]))  # noqa: B023
        with pytest.raises(CallerError, match="does not support this type"):
            front.propose(party[A], party.env, proposal)
        commit = forge_commit(party[B], party.env, party.clients[B], [proposal], path=False)
        refuses("VAL-12.2-10", party, A, commit.message)
    unlisted = company(2, capabilities=default_capabilities(proposals=(8, 9)), leaf=())
    refused("VAL-13.4-2", lambda: front.commit(unlisted[A], unlisted.env, proposals=[updated(NOTE, b"")]))


@breaks("EXT-4.7-7", "EXT-4.8-3")
@pytest.mark.parametrize("rule", ["EXT-4.7-7", "EXT-4.8-3"])
def test_a_component_that_a_member_does_not_list(rule: str) -> None:
    """That member would have to refuse the commit, so whoever makes it is on its own. Who is removed has no say."""
    make = updated if rule == "EXT-4.7-7" else told
    party = company(2)
    poor = someone("poor")
    leaf = offer(components=(1, 2, NOTE))
    party.commit(A, joining=[(poor, poor.package(party.env, leaf_extensions=leaf))])
    refuses_list(rule, party, [make(COLOR, b"x")], [make(NOTE, b"x")])
    party.propose(B, make(COLOR, b"x"))
    party.propose(B, make(NOTE, b"heard"))
    event = front.receive(party["poor"], party.env, front.commit(party[A], party.env).message)
    assert isinstance(event, CommitMessage)
    assert [each.proposal.component_id for each in event.plan.app_data] == [NOTE]
    party.commit(A, proposals=[make(COLOR, b"x"), Remove(party.leaf("poor"))], references=[])
    assert party["poor"].ended is Ended.REMOVED


def test_where_a_component_is_demanded_nobody_has_to_be_asked() -> None:
    """A leaf without a list says nothing either way; demanded, the component is in every leaf's list."""
    party = company(2)
    silent = someone("silent")
    party.commit(A, joining=[(silent, silent.package(party.env))])
    party.commit(A, proposals=[updated(COLOR, b"x")])
    demanding = company(2, extensions=demand(components=[COLOR]))

    def members() -> Iterator[LeafNode]:
        yield from [pytest.fail("looked at")]

    extensions = demanding.any.public.context.extensions
    numbers = WITH.components.numbers
    assert strange(numbers, extensions, frozenset({1, 2, COLOR}), members()) == frozenset()
    with pytest.raises(pytest.fail.Exception, match="looked at"):
        strange(numbers, extensions, frozenset({NOTE}), members())


def test_messages_do_not_look_at_application_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large it is: it is parsed with its epoch, and of a message only the signature covers it."""
    party = company(2, extensions=demand(safe_aad=[], data={NOTE: bytes(5000)}))

    def refuse(*_: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(dictionary_room, "decode_exactly", refuse)
    monkeypatch.setattr(Dictionary, "decode", refuse)
    dictionary_room._remembered.cache_clear()
    dictionary_room._remembered_large.cache_clear()
    _, message = front.seal(party[A], party.env, b"text")
    front.receive(party[B], party.env, message)
    with pytest.raises(AssertionError, match="parsed"):
        front.commit(party[A], party.env, proposals=[updated(NOTE, b"")])


def test_by_an_external_sender() -> None:
    """The logic learns who it was, and may refuse it; then it is left out of commits and of nothing else."""
    suite = Suite(1)
    outsider = client("outside")
    sender = ExternalSender(suite.scheme.public_key(outsider.signer), outsider.credential)
    extensions: Extensions = (external_senders_extension((sender,)), *demand(data={NOTE: b"old"}))
    party = company(2, extensions=extensions)

    def propose(proposal: Proposal) -> bytes:
        group = party.any
        return front.propose_as_sender(
            party.env, 1, group.group_id, group.epoch, proposal, sender_index=0, signature_private=outsider.signer
        )

    for proposal in (updated(COLOR, b"red"), told(COLOR, b"red"), updated(COLOR, b"green"), told(COLOR, b"green")):
        party.deliver(propose(proposal))
    party.commit(A)
    assert data_of(party, COLOR) == b"green"
    party.deliver(propose(updated(NOTE, None)))
    event = party.commit(B)
    assert event.group.public.context.dictionary.find(NOTE) is None
    refused("EXT-4.7-2", lambda: party.deliver(propose(updated(STRANGE, b""))))


def test_in_an_external_commit() -> None:
    """§4.7, §4.8: somebody who joins may bring application data, as far as the logics let strangers."""
    party = company(2, extensions=demand(data={COLOR: b"sea", NOTE: b"old"}))
    stranger = someone("stranger")
    info = front.group_info(party[A], with_tree=True)
    for bad, rule in (
        ([updated(COLOR, b"red")], "EXT-4.7-6"),
        ([updated(COLOR, b"green"), told(COLOR, b"red")], "EXT-4.8-2"),
        ([updated(STRANGE, b"")], "EXT-4.7-2"),
        ([told(STRANGE, b"")], "EXT-4.8-1"),
        ([updated(NOTE, b""), updated(NOTE, None)], "EXT-4.7-3"),
    ):
        refused(rule, lambda: stranger.join_externally(party.env, info, leaf_extensions=OFFER, app_data=bad))  # noqa: B023
        first, init = external_init(party[B], party.env)
        path = PathSurgery(leaf={"extensions": OFFER})
        commit = forge_commit(party[B], party.env, stranger, [first, *bad], path=path, external=init)
        refuses(rule, party, A, commit.message)
    brings = [updated(COLOR, b"green"), told(NOTE, b"hello")]
    party.clients["stranger"] = stranger
    party.join_externally("stranger", leaf_extensions=OFFER, app_data=brings)
    assert data_of(party, COLOR) == b"seagreen"
    party.say("stranger", b"in")


def test_waiting_proposals_are_not_taken_up_by_an_external_commit() -> None:
    party = company(2)
    party.propose(B, updated(NOTE, b"waiting"))
    item = next(iter(party[B].proposals.values()))
    first, init = external_init(party[B], party.env)
    path = PathSurgery(leaf={"extensions": OFFER})
    stranger = someone("stranger")
    bad = forge_commit(party[B], party.env, stranger, [first, item], path=path, external=init)
    good = forge_commit(party[B], party.env, stranger, [first], path=path, external=init)
    refuses("VAL-12.4.3.2-2", party, A, bad.message, good.message)


@dataclass(frozen=True, slots=True)
class OnlyAnna:
    """Takes updates of one client alone, by its credential."""

    def _look(self, said: Said) -> None:
        if said.credential != BasicCredential(b"anna"):
            raise Refused

    def update(self, old: bytes | None, updates: Sequence[Said]) -> bytes:
        for said in updates:
            self._look(said)
        return updates[-1].data

    def remove(self, old: bytes, by: Said) -> None:
        self._look(by)

    def ephemeral(self, said: Said) -> None:
        self._look(said)


def test_a_logic_knows_who_speaks() -> None:
    """By its credential in the epoch that ends; an external sender by that of the group's list, a joiner not at all."""
    parameters = Parameters(components=Components(logic={COLOR: OnlyAnna()}))
    listed = client("outside")
    anna_outside = ExternalSender(Suite(1).scheme.public_key(listed.signer), BasicCredential(b"anna"))
    party = company(2, parameters=parameters, extensions=(external_senders_extension((anna_outside,)),))
    anna = someone("anna", parameters)
    party.commit(A, joining=[(anna, anna.package(party.env, leaf_extensions=OFFER))])
    refused("EXT-4.7-6", lambda: front.commit(party[A], party.env, proposals=[updated(COLOR, b"mine")]))
    party.commit("anna", proposals=[updated(COLOR, b"mine")])
    party.propose("anna", updated(COLOR, b"carried by another"))
    party.propose(B, updated(COLOR, b"not taken"))
    party.commit(A)
    assert data_of(party, COLOR) == b"carried by another"
    group = party.any
    message = front.propose_as_sender(
        party.env,
        1,
        group.group_id,
        group.epoch,
        updated(COLOR, b"from outside"),
        sender_index=0,
        signature_private=listed.signer,
    )
    party.deliver(message)
    party.commit(B)
    assert data_of(party, COLOR) == b"from outside"
    info = front.group_info(party[A], with_tree=True)
    again = someone("anna", parameters)
    refused(
        "EXT-4.7-6",
        lambda: again.join_externally(
            party.env,
            info,
            leaf_extensions=OFFER,
            remove=party.leaf("anna"),
            app_data=[updated(COLOR, b"new")],
        ),
    )


# ---------------------------------------------------------------- what waits


@pytest.mark.parametrize(
    "bad",
    [
        [updated(COLOR, b"no")],
        [told(COLOR, b"no")],
        [updated(COLOR, None)],
        [updated(NOTE, None), updated(NOTE, None)],
        [updated(COLOR, b"x" * 40), updated(COLOR, b"y" * 40)],
        [updated(1, b"\x07")],
        [updated(5, b""), told(5, b"\x01")],
    ],
    ids=["update", "ephemeral", "removal of nothing", "two removals", "too much together", "no list", "no AppAck"],
)
def test_one_bad_proposal_does_not_mute_the_group(bad: list[Proposal]) -> None:
    party = company(3, extensions=demand(data={NOTE: b"old"}))
    party.propose(C, updated(COLOR, b"first"))
    for proposal in bad:
        party.propose(B, proposal)
    party.propose(C, updated(COLOR, b"last"))
    party.propose_update(C)
    sent = party.commit(A)
    assert b"firstlast" in (data_of(party, COLOR) or b"").replace(b"x" * 40, b"").replace(b"y" * 40, b"")
    assert sent.group.public.tree.leaf(party.leaf(C)).source == 2  # type: ignore[union-attr]
    party.say(A, b"not stuck")


@pytest.mark.slow
def test_as_many_bad_ones_as_there_can_be() -> None:
    """Every sender's limit full of what the logic refuses: the commit still takes no time worth mentioning."""
    party = company(8)
    limit = party.any.parameters.max_pending
    for name in party.names[1:]:
        for nth in range(limit):
            message = proposed(party[name], party.env, updated(COLOR, b"no %d" % nth))
            keys, _ = party[name].keys.next_key(party.suite, party.leaf(name), HANDSHAKE)
            party.groups[name] = replace(party[name], keys=keys)
            party.groups[A] = front.receive(party[A], party.env, message).group
    assert len(party[A].proposals) == 7 * limit
    sent = front.commit(party[A], party.env)
    for name in party.names[1:]:
        assert isinstance(front.receive(party[name], party.env, sent.message), CommitMessage)


def test_a_group_is_stored_with_such_proposals_waiting() -> None:
    party = company(2, extensions=demand(data={NOTE: b"old"}))
    for proposal in (updated(COLOR, b"c"), updated(NOTE, None), told(COLOR, b"")):
        party.propose(B, proposal)
    group = party[A]
    again = store.decode(party.env.provider, WITH, store.encode(group))
    assert again.proposals == group.proposals
    first = company(2, extensions=demand(data={NOTE: b"old"}))[A]
    delta = store.apply_delta(first, store.encode_delta(first, group))
    assert delta.proposals == group.proposals
    party.groups[A] = again
    party.commit(A)
    assert data_of(party, COLOR) == b"c"
    assert data_of(party, NOTE) is None


def test_a_commit_with_very_many_of_them() -> None:
    """What is asked of each member's capabilities is asked once per type, not once per proposal."""
    party = company(2)
    many = [told(COLOR, b"x")] * 3000 + [updated(NOTE, b"y")] * 3000
    party.commit(A, proposals=many)
    assert data_of(party, NOTE) == b"y"


def test_the_default_lists_take_the_last_word() -> None:
    """What an update of the three lists means is left open by the text: here it is the whole list."""
    party = company(3)
    party.propose(B, updated(1, b"\x02\x80\x01"))
    party.propose(C, updated(1, b"\x04\x80\x01\x80\x02"))
    party.commit(A)
    assert data_of(party, 1) == b"\x04\x80\x01\x80\x02"
    with pytest.raises(PeerError):
        front.commit(party[A], party.env, proposals=[updated(1, b"\x04\x80\x01\x80\x02"), updated(1, b"\x01")])
    assert ABLE.proposals == (8, 9, 10)
    assert isinstance(updated(1, b""), AppDataUpdate)
