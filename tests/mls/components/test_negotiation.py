"""mls-extensions §5: what a group demands of every leaf, wherever leaves and demands come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from mls import group as front
from mls.commit import NewLeaf
from mls.components.dictionary import Dictionary, dictionary_of
from mls.components.lists import ComponentsList, WireFormats
from mls.components.media import MediaTypeList
from mls.components.negotiation import check_changed_leaves, offered
from mls.components.numbers import DIMLS, DMLS, GREASE_COMPONENTS, ComponentId
from mls.errors import PeerError
from mls.leaf_node import Extension, Extensions, LeafNode
from mls.mode import Mode
from mls.parameters import Parameters
from mls.proposals import Add, GroupContextExtensions, Proposal, Remove
from mls.registries import ExtensionType, LeafIndex
from mls.state import Ended
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.clients import environment
from tests.mls.components.company import (
    ABLE,
    COLOR,
    KNOWN,
    LISTED,
    MEDIA,
    NOTE,
    OFFER,
    PICTURE,
    SAFE_AAD,
    STRANGE,
    TARGETED,
    TEXT,
    WITH,
    company,
    data_of,
    demand,
    knowing,
    offer,
    someone,
    updated,
)
from tests.mls.frankenstein import (
    PathSurgery,
    external_init,
    forge_commit,
    forge_leaf,
    forge_package,
    own_update,
    proposed,
)
from tests.mls.frankenstein_welcome import forge_info, forge_welcome
from tests.mls.refusals import A, B, C, accepts, refused, refuses, refuses_to_enter, refuses_to_join
from tests.validation import breaks


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of demand: a group that has it, a leaf that does not meet it, and an update that makes it."""

    rule: str
    extensions: Extensions
    poor: Extensions
    change: Proposal


def replacing(extensions: Extensions) -> GroupContextExtensions:
    return GroupContextExtensions(extensions)


_WIRE = demand(wire_formats=[TARGETED])
KINDS = {
    "EXT-5-1": Kind(
        "EXT-5-1",
        demand(components=[COLOR]),
        offer(components=(LISTED, NOTE)),
        updated(LISTED, ComponentsList((COLOR,)).encode()),
    ),
    "EXT-5-2": Kind(
        "EXT-5-2", demand(safe_aad=[COLOR]), offer(safe_aad=[]), updated(SAFE_AAD, ComponentsList((COLOR,)).encode())
    ),
    "EXT-5-3": Kind(
        "EXT-5-3",
        demand(media_types=[PICTURE]),
        offer(media_types=[TEXT]),
        updated(MEDIA, MediaTypeList((PICTURE,)).encode()),
    ),
    "EXT-5-4": Kind("EXT-5-4", _WIRE, offer(wire_formats=[]), replacing(_WIRE)),
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def enters(kind: Kind) -> None:
    """No leaf that does not meet the demand comes in, in any way."""
    party = company(3, extensions=kind.extensions)
    env = party.env
    stranger = someone("stranger")
    adds = [Add(forge_package(stranger, env, leaf_extensions=leaf).key_package) for leaf in (kind.poor, OFFER)]
    refused(kind.rule, lambda: front.commit(party[A], env, proposals=[adds[0]]))
    refuses(
        kind.rule,
        party,
        A,
        *[forge_commit(party[B], env, party.clients[B], [add], path=False).message for add in adds],
    )

    paths = [PathSurgery(leaf={"extensions": leaf}) for leaf in (kind.poor, OFFER)]
    refuses(kind.rule, party, A, *[forge_commit(party[B], env, party.clients[B], path=path).message for path in paths])
    refused(kind.rule, lambda: front.commit(party[B], env, leaf=NewLeaf(extensions=kind.poor)))

    commits = []
    for path in paths:
        first, init = external_init(party[B], env)
        commits.append(forge_commit(party[B], env, stranger, [first], path=path, external=init).message)
    refuses(kind.rule, party, A, *commits)
    info = front.group_info(party[A])
    refused(kind.rule, lambda: stranger.join_externally(env, info, leaf_extensions=kind.poor))
    stranger.join_externally(env, info, leaf_extensions=OFFER)

    updates = []
    for leaf in (kind.poor, OFFER):
        party = company(3, extensions=kind.extensions)
        message = proposed(party[B], env, own_update(party[B], party.clients[B], env, extensions=leaf))
        for name in (A, C):
            accepts(party, name, message)
        path = PathSurgery(leaf={"extensions": OFFER})
        items = list(party[C].proposals.values())
        updates.append(forge_commit(party[C], env, party.clients[C], items, path=path).message)
        sent = front.commit(party[C], env)  # ours leaves out what does not fit
        assert bool(front.receive(party[A], env, sent.message).plan.updated) is (leaf is OFFER)  # type: ignore[union-attr]
        if leaf is kind.poor:
            refuses(kind.rule, party, A, updates[0], sent.message)
        else:
            accepts(party, A, updates[1])


def is_demanded(kind: Kind) -> None:
    """Nobody can demand what a member does not meet, or found or join such a group."""
    party = company(2)
    env = party.env
    poor = someone("poor")
    party.commit(A, joining=[(poor, poor.package(env, leaf_extensions=kind.poor))])
    refused(kind.rule, lambda: front.commit(party[A], env, proposals=[kind.change]))
    path = PathSurgery(leaf={"extensions": OFFER})
    fine = updated(NOTE, b"fine")
    commits = [forge_commit(party[B], env, party.clients[B], [each], path=path).message for each in (kind.change, fine)]
    refuses(kind.rule, party, A, *commits)
    # Beside the poor one's removal it is right.
    party.commit(B, proposals=[kind.change, Remove(party.leaf("poor"))])
    assert party["poor"].ended is Ended.REMOVED

    refused(kind.rule, lambda: poor.create(env, leaf_extensions=kind.poor, extensions=kind.extensions))
    poor.create(env, leaf_extensions=OFFER, extensions=kind.extensions)

    newcomer = someone("newcomer")
    package = newcomer.package(env, leaf_extensions=OFFER)
    infos = []
    for leaf in (kind.poor, OFFER):
        _, key = Suite(1).generate_key_pair(env.provider.random)
        first = someone(A).package(env, leaf_extensions=OFFER).key_package.leaf_node
        other = forge_leaf(someone(B), key, extensions=leaf)
        tree = RatchetTree.of_values(Suite(1), [first, None, other, None, package.key_package.leaf_node])
        infos.append(forge_info(env, tree, someone(A), group_extensions=kind.extensions))
    welcomes = [forge_welcome(env, info, package) for info in infos]
    refuses_to_join(kind.rule, env, package, *welcomes, parameters=WITH)
    refuses_to_enter(kind.rule, env, someone("stranger"), *[info.message for info in infos], leaf_extensions=OFFER)


@breaks("EXT-5-1")
def test_a_leaf_without_a_component() -> None:
    enters(KINDS["EXT-5-1"])
    is_demanded(KINDS["EXT-5-1"])


@breaks("EXT-5-2")
def test_a_leaf_without_a_component_in_authenticated_data() -> None:
    party = company(3, extensions=demand(safe_aad=[COLOR]))
    stranger = someone("stranger")
    poor, rich = [forge_package(stranger, party.env, leaf_extensions=leaf) for leaf in (KINDS["EXT-5-2"].poor, OFFER)]
    refused("EXT-5-2", lambda: front.commit(party[A], party.env, proposals=[Add(poor.key_package)]))
    front.commit(party[A], party.env, proposals=[Add(rich.key_package)])
    is_demanded(KINDS["EXT-5-2"])


@breaks("EXT-5-3")
def test_a_leaf_without_a_media_type() -> None:
    enters(KINDS["EXT-5-3"])
    is_demanded(KINDS["EXT-5-3"])


@breaks("EXT-5-4")
def test_a_leaf_without_a_wire_format() -> None:
    enters(KINDS["EXT-5-4"])
    is_demanded(KINDS["EXT-5-4"])


@kinds
def test_a_leaf_that_says_nothing_at_all(kind: Kind) -> None:
    """Not even that it has application data: it meets no demand, and is right where there is none."""
    party = company(2, extensions=kind.extensions)
    silent = someone("silent")
    package = silent.package(party.env)
    refused(kind.rule, lambda: front.commit(party[A], party.env, proposals=[Add(package.key_package)]))
    open_to_all = company(2)
    open_to_all.commit(A, joining=[(silent, package)])
    refused(kind.rule, lambda: front.commit(open_to_all[A], party.env, proposals=[kind.change]))


@breaks("EXT-5-5")
@pytest.mark.parametrize("where", ["components", "safe_aad"])
def test_a_demanded_component_that_we_do_not_know(where: str) -> None:
    """Whatever our leaf says, we join no such group, and follow nobody into one."""
    listed = (LISTED, SAFE_AAD, MEDIA, COLOR, NOTE, STRANGE)
    boasts = offer(components=listed, safe_aad=(COLOR, STRANGE))
    bad, good = [demand(**{where: [number]}) for number in (STRANGE, COLOR)]  # type: ignore[arg-type]
    env = environment(where)
    newcomer, stranger, first = [someone(name) for name in ("newcomer", "stranger", A)]
    package = newcomer.package(env, leaf_extensions=boasts)
    leaves = [first.package(env, leaf_extensions=boasts).key_package.leaf_node, package.key_package.leaf_node]
    tree = RatchetTree.of_values(Suite(1), [leaves[0], None, leaves[1]])
    infos = [forge_info(env, tree, first, group_extensions=extensions) for extensions in (bad, good)]
    welcomes = [forge_welcome(env, info, package) for info in infos]
    refuses_to_join("EXT-5-5", env, package, *welcomes, parameters=WITH)
    refuses_to_enter("EXT-5-5", env, stranger, *[info.message for info in infos], leaf_extensions=boasts)
    refused("EXT-5-5", lambda: first.create(env, leaf_extensions=boasts, extensions=bad))

    party = company(3, leaf=boasts)
    changes = [replacing(extensions) for extensions in (bad, good)]
    refused("EXT-5-5", lambda: front.commit(party[A], env, proposals=[changes[0]]))
    path = PathSurgery(leaf={"extensions": boasts})
    refuses(
        "EXT-5-5",
        party,
        A,
        *[forge_commit(party[B], env, party.clients[B], [each], path=path).message for each in changes],
    )
    party.deliver(proposed(party[C], env, changes[0]), by=C)
    sent = front.commit(party[A], env)  # nor does one that waits keep us from committing
    assert front.receive(party[B], env, sent.message).plan.extensions == ()  # type: ignore[union-attr]


@breaks("EXT-5-6")
def test_a_demanded_wire_format_that_we_do_not_read() -> None:
    foreign = 0xF123
    boasts = offer(wire_formats=(TARGETED, foreign))
    party = company(3, leaf=boasts)
    env = party.env
    changes = [replacing(demand(wire_formats=[number])) for number in (foreign, TARGETED)]
    refused("EXT-5-6", lambda: front.commit(party[A], env, proposals=[changes[0]]))
    path = PathSurgery(leaf={"extensions": boasts})
    commits = [forge_commit(party[B], env, party.clients[B], [each], path=path).message for each in changes]
    refuses("EXT-5-6", party, A, *commits)
    party.propose(C, changes[0])
    party.propose(C, updated(NOTE, b"also"))
    party.commit(A)
    assert data_of(party, NOTE) == b"also"
    refused("EXT-5-6", lambda: party.clients[A].create(env, leaf_extensions=boasts, extensions=changes[0].extensions))


def test_wire_formats_of_rfc_9420_need_not_be_listed() -> None:
    party = company(2, leaf=offer(wire_formats=[]), extensions=demand(wire_formats=[1, 2, 3, 4, 5]))
    anna = someone("anna")
    party.commit(A, joining=[(anna, anna.package(party.env))])
    party.say("anna", b"in")


@dataclass(frozen=True, slots=True)
class Marked(Mode):
    """RFC 9420's answers, in a group with a mark."""

    mark: ComponentId

    def governs(self, dictionary: Dictionary) -> bool:
        return dictionary.find(self.mark) is not None


@breaks("EXT-5-7")
@pytest.mark.parametrize("mark", [DMLS, DIMLS])
def test_a_group_stays_of_its_kind(mark: ComponentId) -> None:
    """No commit makes another kind of group of it, nor an ordinary one."""
    parameters = replace(knowing(WITH, known=frozenset({NOTE, mark})), modes=(Marked(mark),))
    marked = demand(data={mark: b"\x01"})
    for start, other in ((demand(), marked), (marked, demand())):
        party = company(2, parameters=parameters, extensions=start)
        env = party.env
        changes = [replacing(other), replacing((*start, *demand(wire_formats=[TARGETED])))]
        refused("EXT-5-7", lambda: front.commit(party[A], env, proposals=[changes[0]]))  # noqa: B023 - used at once
        path = PathSurgery(leaf={"extensions": OFFER})
        commits = [forge_commit(party[B], env, party.clients[B], [each], path=path).message for each in changes]
        refuses("EXT-5-7", party, A, *commits)
    party = company(2, parameters=parameters, leaf=offer(components=[LISTED, mark]))
    refused("EXT-5-7", lambda: front.commit(party[A], party.env, proposals=[updated(mark, b"\x01")]))


@breaks("EXT-5-8")
def test_a_group_of_two_kinds() -> None:
    """Nobody founds one or joins one, and no commit makes one."""
    parameters = replace(WITH, modes=(Marked(DMLS), Marked(DIMLS)))
    both, one = demand(data={DMLS: b"\x01", DIMLS: b"\x01"}), demand(data={DMLS: b"\x01"})
    refuses_kinds("EXT-5-8", parameters, both, one)
    party = company(2, parameters=parameters, extensions=one)
    path = PathSurgery(leaf={"extensions": OFFER})
    changes = [replacing(both), replacing((*one, *demand(wire_formats=[TARGETED])))]
    refused("EXT-5-8", lambda: front.commit(party[A], party.env, proposals=[changes[0]]))
    elsewhere = replace(KNOWN.numbers, dmls=ComponentId(0x9101), dimls=ComponentId(0x9102))
    blind = knowing(WITH, numbers=elsewhere)  # to whom marks are data like any other
    commits = [
        forge_commit(party[B], party.env, party.clients[B], [each], path=path, parameters=blind).message
        for each in changes
    ]
    refuses("EXT-5-8", party, A, *commits)


@breaks("EXT-5-9")
@pytest.mark.parametrize("mark", [DMLS, DIMLS])
def test_a_group_of_a_kind_that_we_take_no_part_in(mark: ComponentId) -> None:
    """Not even if it demands nothing: those who do take part would read its commits in another way."""
    marked = demand(data={mark: b"\x01"})
    refuses_kinds("EXT-5-9", WITH, marked, demand(data={NOTE: b"\x01"}))
    party = company(2)
    path = PathSurgery(leaf={"extensions": OFFER})
    changes = [replacing(marked), replacing(())]
    refused("EXT-5-9", lambda: front.commit(party[A], party.env, proposals=[changes[0]]))
    taking_part = replace(WITH, modes=(Marked(mark),))
    commits = [
        forge_commit(party[B], party.env, party.clients[B], [each], path=path, parameters=taking_part).message
        for each in changes
    ]
    refuses("EXT-5-9", party, A, *commits)


def refuses_kinds(rule: str, parameters: Parameters, bad: Extensions, good: Extensions) -> None:
    """Founding and joining a group with such extensions."""
    env = environment(rule)
    newcomer, first = [someone(name, parameters) for name in ("newcomer", A)]
    refused(rule, lambda: first.create(env, leaf_extensions=OFFER, extensions=bad))
    first.create(env, leaf_extensions=OFFER, extensions=good)
    package = newcomer.package(env, leaf_extensions=OFFER)
    leaves = [first.package(env, leaf_extensions=OFFER).key_package.leaf_node, package.key_package.leaf_node]
    tree = RatchetTree.of_values(Suite(1), [leaves[0], None, leaves[1]])
    infos = [forge_info(env, tree, first, group_extensions=extensions) for extensions in (bad, good)]
    welcomes = [forge_welcome(env, info, package) for info in infos]
    refuses_to_join(rule, env, package, *welcomes, parameters=parameters)
    stranger = someone("stranger", parameters)
    refuses_to_enter(rule, env, stranger, *[info.message for info in infos], leaf_extensions=OFFER)


@breaks("EXT-5-7")
def test_a_mode_that_another_component_chooses() -> None:
    """The mark of a mode is whatever the mode says it is."""
    parameters = replace(WITH, modes=(Marked(NOTE),))
    party = company(2, parameters=parameters)
    refused("EXT-5-7", lambda: front.commit(party[A], party.env, proposals=[updated(NOTE, b"")]))
    changes = [updated(number, b"") for number in (NOTE, COLOR)]
    commits = [forge_commit(party[B], party.env, party.clients[B], [each], path=False).message for each in changes]
    refuses("EXT-5-7", party, A, *commits)


def test_grease_says_nothing() -> None:
    """§5.1: in a leaf it is ignored; demanded, it is a component that nobody knows."""
    grease = GREASE_COMPONENTS[2]
    leaf = offer(components=(LISTED, COLOR, grease), safe_aad=(COLOR, grease))
    party = company(2, leaf=leaf)
    party.commit(A, proposals=[updated(LISTED, ComponentsList((COLOR,)).encode())])
    demanding = updated(LISTED, ComponentsList((grease,)).encode())
    refused("EXT-5-5", lambda: front.commit(party[A], party.env, proposals=[demanding]))
    party.deliver(proposed(party[B], party.env, demanding), by=B)
    party.commit(A)
    assert data_of(party, LISTED) == ComponentsList((COLOR,)).encode()


def test_a_demand_and_a_leaf_that_meets_it_in_one_commit() -> None:
    """The list is judged by what it makes: who is added must meet what is new, and need not meet what was."""
    for kind in KINDS.values():
        party = company(2)
        poor, rich = someone("poor"), someone("rich")
        package = poor.package(party.env, leaf_extensions=kind.poor)
        adding = Add(package.key_package)
        refused(kind.rule, lambda: front.commit(party[A], party.env, proposals=[kind.change, adding]))  # noqa: B023
        good = rich.package(party.env, leaf_extensions=OFFER)
        party.commit(A, proposals=[kind.change], joining=[(rich, good)])
        party.commit(B, proposals=[GroupContextExtensions(())], joining=[(poor, package)])


def test_what_an_insider_demands_does_not_mute_the_group() -> None:
    """A demand that somebody does not meet waits, is left out of commits, and is gone with the epoch."""
    for kind in KINDS.values():
        party = company(2)
        poor = someone("poor")
        party.commit(A, joining=[(poor, poor.package(party.env, leaf_extensions=kind.poor))])
        party.propose(B, kind.change)
        party.propose(B, updated(NOTE, b"heard"))
        party.commit(A)
        assert data_of(party, NOTE) == b"heard"
        assert kind.rule  # the demand was not made
        assert not party.any.public.context.extensions[1:]
        assert not party["poor"].proposals
        party.say("poor", b"still here")


def test_other_application_data_looks_at_no_leaf() -> None:
    """Only a changed demand is a reason to look at every member, whatever the members hold."""

    def members() -> Iterator[LeafNode]:
        yield from [pytest.fail("looked at")]

    before = demand(components=[COLOR], wire_formats=[TARGETED], data={NOTE: b"one"})
    after = demand(components=[COLOR], wire_formats=[TARGETED], data={NOTE: b"two", COLOR: b""})
    check_changed_leaves(KNOWN.numbers, before, after, members(), ())
    check_changed_leaves(KNOWN.numbers, before, before, members(), ())
    poor = someone("poor").package(environment()).key_package.leaf_node
    refused("EXT-5-1", lambda: check_changed_leaves(KNOWN.numbers, before, after, members(), [poor]))
    with pytest.raises(pytest.fail.Exception, match="looked at"):
        check_changed_leaves(KNOWN.numbers, before, demand(components=[NOTE]), members(), ())


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_lists_that_cannot_be_read(kind: int) -> None:
    """As an update, as new extensions, in what we are told to create, and in a leaf once somebody asks."""
    wrong = b"\x07"
    party = company(2)
    with pytest.raises(PeerError):
        front.commit(party[A], party.env, proposals=[updated(kind, wrong)])
    commit = forge_commit(party[B], party.env, party.clients[B], [updated(kind, wrong)], path=False)
    refuses("VAL-2.1-1", party, A, commit.message)
    refused("VAL-2.1-1", lambda: front.commit(party[A], party.env, proposals=[replacing(demand(data={kind: wrong}))]))
    refused("VAL-2.1-1", lambda: party.clients[A].create(party.env, extensions=demand(data={kind: wrong})))
    odd = someone("odd")
    leaf = (Extension(ExtensionType.APP_DATA_DICTIONARY, Dictionary.of({kind: wrong}).encode()),)
    party.commit(A, joining=[(odd, odd.package(party.env, leaf_extensions=leaf))])
    change = list(KINDS.values())[kind - 1].change
    refused("VAL-2.1-1", lambda: front.commit(party[A], party.env, proposals=[change]))


def test_wire_formats_that_cannot_be_read() -> None:
    party = company(2)
    wrong = (Extension(ExtensionType.REQUIRED_WIRE_FORMATS, b"\x03\x00\x06\x00"),)
    refused("VAL-2.1-1", lambda: front.commit(party[A], party.env, proposals=[replacing(wrong)]))
    party.propose(B, replacing(wrong))
    party.commit(A)
    assert party.any.public.context.extensions == ()


def test_what_a_leaf_supports_need_not_be_said_twice_or_in_order() -> None:
    said: Extensions = (
        Extension(ExtensionType.SUPPORTED_WIRE_FORMATS, WireFormats((9, TARGETED, TARGETED)).encode()),
        Extension(
            ExtensionType.APP_DATA_DICTIONARY,
            Dictionary.of({LISTED: ComponentsList((NOTE, COLOR, LISTED, NOTE)).encode()}).encode(),
        ),
    )
    party = company(2, extensions=demand(components=[COLOR, NOTE], wire_formats=[TARGETED]))
    anna = someone("anna")
    party.commit(A, joining=[(anna, anna.package(party.env, leaf_extensions=said))])


def test_numbers_are_the_deployment_s_own() -> None:
    """§4.1: with other numbers, the lists stand under those, and the usual ones mean nothing."""
    numbers = replace(KNOWN.numbers, app_components=ComponentId(0x9001))
    parameters: Parameters = knowing(WITH, numbers=numbers)
    leaf = (Extension(6, Dictionary.of({0x9001: ComponentsList((COLOR,)).encode()}).encode()),)
    extensions = demand(data={0x9001: ComponentsList((COLOR,)).encode(), LISTED: ComponentsList((STRANGE,)).encode()})
    party = company(2, leaf=leaf, parameters=parameters, extensions=extensions)
    anna = someone("anna", parameters)
    refused(
        "EXT-5-1",
        lambda: front.commit(
            party[A], party.env, proposals=[Add(anna.package(party.env, leaf_extensions=OFFER).key_package)]
        ),
    )
    party.commit(A, joining=[(anna, anna.package(party.env, leaf_extensions=leaf))])
    assert dictionary_of(party.any.public.context.extensions).find(0x9001)


def test_what_a_client_offers_is_what_it_knows() -> None:
    """A leaf of `offered` meets every demand that the client itself would follow, and says nothing else."""
    media_types = (TEXT, PICTURE)
    leaf = offered(KNOWN, safe_aad=[COLOR], media_types=media_types, data={NOTE: b"my note"}, grease=b"\x01")
    everything = demand(
        components=KNOWN.all, safe_aad=[COLOR], media_types=media_types, wire_formats=KNOWN.wire_formats
    )
    founder = someone(A).create(environment(), leaf_extensions=leaf, extensions=everything)
    said = dictionary_of(founder.own_leaf_node.extensions)
    assert said.find(NOTE) == b"my note"
    listed = ComponentsList.of(KNOWN.all, grease=b"\x01")
    assert said.find(LISTED) == listed.encode()
    assert set(listed.component_ids) == {1, 2, 3, 5, COLOR, NOTE, GREASE_COMPONENTS[1]}
    assert all(KNOWN.knows(component) for component in KNOWN.all)
    assert not KNOWN.knows(STRANGE)
    plain = offered(replace(KNOWN, wire_formats=frozenset()))
    assert [each.type for each in plain] == [ExtensionType.APP_DATA_DICTIONARY]
    refused("EXT-5-4", lambda: someone(A).create(environment(), leaf_extensions=plain, extensions=_WIRE))


def test_a_resync_meets_the_demands() -> None:
    party = company(3, extensions=demand(components=[COLOR], wire_formats=[TARGETED]))
    old = LeafIndex(party.leaf(C))
    refused("EXT-5-1", lambda: party.join_externally(C, remove=old, leaf_extensions=offer(components=[])))
    del party.groups[C]
    party.join_externally(C, remove=old, leaf_extensions=OFFER)
    assert ABLE.extensions == (6, 7, 8)
