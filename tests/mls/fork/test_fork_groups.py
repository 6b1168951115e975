"""DMLS groups among others: who gets in, what stays as it is, how they are made of other groups and left for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.components.dictionary import Dictionary, dictionary_of, with_dictionary
from mls.components.lists import ComponentsList
from mls.components.logic import Components
from mls.components.numbers import ComponentId, Numbers
from mls.errors import CallerError, OwnMessageError, PeerError
from mls.fork.founding import advertised, fork_resilient, with_forks
from mls.fork.mode import BY_CHILD, BY_PARENT, VERSIONS, ForkResilient
from mls.fork.schedule import PARENT_INIT
from mls.group import CommitMessage
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import Capabilities, Extension, Extensions, default_capabilities
from mls.mode import PLAIN
from mls.parameters import Parameters
from mls.proposals import Add, AppDataUpdate, GroupContextExtensions, Proposal, ReInit
from mls.registries import ExtensionType, GroupId
from mls.secrets import InitSecret, PathSecret
from mls.state import Group
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.clients import DEFAULT, LIFETIME, NAMES, Client, Party, client, environment, with_parameters
from tests.mls.fork.company import FORKING, LEAF, MARKED, MARKED_AS, company, forker, parent_tree
from tests.mls.frankenstein import PathSurgery, forge_commit, forge_package
from tests.mls.frankenstein_welcome import forge_info, forge_welcome
from tests.mls.refusals import refused, refuses, refuses_to_enter, refuses_to_join
from tests.validation import breaks

A, B, C = NAMES[:3]
NUMBERS = Numbers()
DMLS, LISTED = NUMBERS.dmls, NUMBERS.app_components
OTHER = ComponentId(0x8D77)
"""Where another kind of group would have its marker."""


def marked(marker: bytes | None = b"\x00\x02", listed: tuple[int, ...] = (DMLS,), **others: bytes) -> Extensions:
    """GroupContext extensions with any marker; `others` are markers by the name of their number."""
    entries: dict[int, bytes] = {LISTED: ComponentsList.of(listed).encode()}
    if marker is not None:
        entries[DMLS] = marker
    entries.update({getattr(NUMBERS, name): data for name, data in others.items()})
    return with_dictionary((), Dictionary.of(entries))


def test_what_makes_a_group_fork_resilient() -> None:
    assert marked() == MARKED
    assert FORKING.mode(dictionary_of(MARKED)) == ForkResilient(version=BY_CHILD) == ForkResilient()
    assert FORKING.mode(dictionary_of(())) is PLAIN
    assert fork_resilient(FORKING, version=BY_PARENT) == marked(b"\x00\x01")
    assert FORKING.mode(dictionary_of(marked(b"\x00\x01"))) == ForkResilient(version=BY_PARENT)
    for version in (0, 3):
        with pytest.raises(CallerError):
            fork_resilient(FORKING, version=version)
    with_another = fork_resilient(FORKING, (Extension(ExtensionType.APPLICATION_ID, b"app"), *marked(None, (4, 5))))
    assert dictionary_of(with_another).find(LISTED) == ComponentsList.of((4, 5, DMLS)).encode()
    assert with_another[0] == Extension(ExtensionType.APPLICATION_ID, b"app")
    assert fork_resilient(FORKING, MARKED) == MARKED


def test_what_a_leaf_says() -> None:
    capabilities, extensions = advertised(FORKING, default_capabilities())
    assert capabilities.extensions == (ExtensionType.APP_DATA_DICTIONARY,)
    assert capabilities.encode() == default_capabilities(extensions=(6,)).encode()
    assert advertised(FORKING, capabilities, extensions) == (capabilities, extensions)
    assert dictionary_of(extensions).entries == ((LISTED, ComponentsList.of((DMLS,)).encode()),)


def test_the_client_s_choices() -> None:
    twice = with_forks(with_forks(DEFAULT, children=3), children=5)
    assert twice.modes == tuple([ForkResilient(version=version, children=5) for version in VERSIONS])
    assert twice.components.knows(DMLS)
    assert not DEFAULT.components.knows(DMLS)


def test_other_numbers_make_the_same_group() -> None:
    numbers = Numbers(dmls=OTHER, app_components=ComponentId(0x8D70))
    parameters = with_forks(replace(DEFAULT, components=Components(numbers=numbers)))
    capabilities, leaf = advertised(parameters, default_capabilities())
    env = environment("other numbers")
    first = client(A, capabilities=capabilities, parameters=parameters)
    group = first.create(env, extensions=fork_resilient(parameters), leaf_extensions=leaf)
    assert isinstance(group.mode, ForkResilient)
    assert PARENT_INIT in group.trees
    assert dictionary_of(group.public.context.extensions).find(DMLS) is None


# The marker


def refuses_a_group(rule: str, bad: Extensions, good: Extensions, parameters: Parameters = FORKING) -> None:
    """Nobody makes a group with those extensions, nor joins it, by Welcome or from outside."""
    env = environment("a group like that")
    able, leaf = advertised(parameters, default_capabilities())
    newcomer, stranger, first = [
        client(name, capabilities=able, parameters=parameters) for name in ("newcomer", "stranger", A)
    ]
    refused(rule, lambda: first.create(env, extensions=bad, leaf_extensions=leaf))
    first.create(env, extensions=good, leaf_extensions=leaf)
    package = newcomer.package(env, leaf_extensions=leaf)
    leaves = [each.key_package.leaf_node for each in (first.package(env, leaf_extensions=leaf), package)]
    tree = RatchetTree.of_values(Suite(1), [leaves[0], None, leaves[1]])
    infos = [forge_info(env, tree, first, group_extensions=each) for each in (bad, good)]
    welcomes = [forge_welcome(env, info, package) for info in infos]
    refuses_to_join(rule, env, package, *welcomes, parameters=parameters)
    refuses_to_enter(rule, env, stranger, *[info.message for info in infos], leaf_extensions=leaf)


@breaks("DMLS-4-1")
@pytest.mark.parametrize("marker", [b"\x00\x03", b"\x00\x00", b"\x02\x00", b"\x00\x03and more"])
def test_a_marker_of_another_version(marker: bytes) -> None:
    refuses_a_group("DMLS-4-1", marked(marker), MARKED)


@pytest.mark.parametrize(
    ("marker", "rule"),
    [
        (b"\x00\x01\x00", "VAL-2.1-5"),
        (b"\x00\x02\x00", "VAL-2.1-5"),
        (b"\x00", "VAL-2.1-1"),
        (b"", "VAL-2.1-1"),
    ],
)
def test_a_marker_of_another_size(marker: bytes, rule: str) -> None:
    refuses_a_group(rule, marked(marker), MARKED)


@breaks("DMLS-4-2")
@pytest.mark.parametrize("listed", [(), (4,)])
def test_a_marker_that_nobody_has_to_know(listed: tuple[int, ...]) -> None:
    env = environment("nobody has to know")
    bad = marked(listed=listed)
    knowing = replace(FORKING, components=replace(FORKING.components, known=frozenset({DMLS, 4})))
    able, _ = advertised(knowing, default_capabilities())
    leaf = with_dictionary((), Dictionary.of({LISTED: ComponentsList.of((4, DMLS)).encode()}))
    first = client(A, capabilities=able, parameters=knowing)
    refused("DMLS-4-2", lambda: first.create(env, extensions=bad, leaf_extensions=leaf))
    first.create(env, extensions=marked(listed=(*listed, DMLS)), leaf_extensions=leaf)
    if not listed:
        refuses_a_group("DMLS-4-2", bad, MARKED)


@breaks("DMLS-4-2")
def test_a_commit_after_which_nobody_has_to_know() -> None:
    party = company(3)
    refuses_to_change("DMLS-4-2", party, GroupContextExtensions(marked(listed=())), GroupContextExtensions(MARKED))


PATH = PathSurgery(leaf={"extensions": LEAF})


def refuses_to_change(rule: str, party: Party, bad: Proposal, good: Proposal) -> None:
    """Neither do we commit it nor follow somebody who does, though that commit is right in all else."""
    refused(rule, lambda: front.commit(party[A], party.env, proposals=[bad]))
    front.commit(party[A], party.env, proposals=[good])
    blind = replace(FORKING, modes=(_Blind(),))
    commits = [
        forge_commit(party[B], party.env, party.clients[B], [each], path=PATH, parameters=blind).message
        for each in (bad, good)
    ]
    refuses(rule, party, A, *commits)


class _Blind(ForkResilient):
    """A liar's mode: it derives what a member has to, whatever the marker says."""

    def governs(self, dictionary: Dictionary) -> bool:
        return True


CHANGED = [
    ("EXT-5-7", BY_CHILD, None),
    ("EXT-5-7", BY_CHILD, b"\x00\x01"),
    ("EXT-5-7", BY_PARENT, b"\x00\x02"),
    ("DMLS-4-1", BY_CHILD, b"\x00\x03"),
    ("VAL-2.1-5", BY_CHILD, b"\x00\x02\x00"),
]


@breaks("EXT-5-7", "DMLS-4-1")
@pytest.mark.parametrize(("rule", "version", "changed"), CHANGED)
@pytest.mark.parametrize("updates", [False, True])
def test_the_marker_stays(rule: str, version: int, changed: bytes | None, updates: bool) -> None:
    """From one version to the other it does not change either: their key schedules do not mix."""
    capabilities = default_capabilities(extensions=(6,), proposals=(8,))
    party = company_of(capabilities, version)
    bad: Proposal = GroupContextExtensions(marked(changed))
    good: Proposal = GroupContextExtensions(MARKED_AS[version])
    if updates:
        bad, good = AppDataUpdate(DMLS, changed), AppDataUpdate(DMLS, bytes([0, version]))
    refuses_to_change(rule, party, bad, good)


def company_of(capabilities: Capabilities, version: int) -> Party:
    """A company whose members offer AppDataUpdate as well."""
    party = company(1)
    env = party.env
    people = [replace(forker(name), capabilities=capabilities) for name in (A, B)]
    party.clients = {people[0].name: people[0]}
    party.groups = {A: people[0].create(env, extensions=MARKED_AS[version], leaf_extensions=LEAF)}
    party.commit(A, joining=[(people[1], people[1].package(env, leaf_extensions=LEAF))])
    return party


@breaks("EXT-5-7")
def test_a_plain_group_stays_plain() -> None:
    env = environment("plain")
    first, second = forker(A), forker(B)
    group = first.create(env, leaf_extensions=LEAF)
    assert group.mode is PLAIN
    refused("EXT-5-7", lambda: front.commit(group, env, proposals=[GroupContextExtensions(MARKED)]))
    package = second.package(env, leaf_extensions=LEAF)
    sent = front.commit(group, env, proposals=[Add(package.key_package)])
    assert second.join(env, sent.welcome, [package]).secrets.init.raw != b""


@breaks("EXT-5-9")
def test_a_group_of_a_kind_that_is_known_and_not_taken_part_in() -> None:
    """Whoever says that it knows the component, but was not given the mode, would derive another key schedule."""
    without = replace(FORKING, modes=())
    env = environment("without the mode")
    stranger = forker("stranger", parameters=without)
    refused("EXT-5-9", lambda: stranger.create(env, extensions=MARKED, leaf_extensions=LEAF))
    party = company(2)
    refused("EXT-5-9", lambda: stranger.join_externally(env, front.group_info(party[A]), leaf_extensions=LEAF))
    package = stranger.package(env, leaf_extensions=LEAF)
    welcome = front.commit(party[A], env, proposals=[Add(package.key_package)]).welcome
    refuses_to_join("EXT-5-9", env, package, welcome or b"", None, parameters=without)
    front.join(env, FORKING, welcome or b"", [package])


@breaks("EXT-5-9")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_takes_part_in_groups_of_one_version(version: int) -> None:
    [other] = set(VERSIONS) - {version}
    one = replace(FORKING, modes=(ForkResilient(version=version),))
    stranger = forker("stranger", parameters=one)
    env = environment("one version")
    assert stranger.create(env, extensions=MARKED_AS[version], leaf_extensions=LEAF).mode is one.modes[0]
    refused("EXT-5-9", lambda: stranger.create(env, extensions=MARKED_AS[other], leaf_extensions=LEAF))
    info = front.group_info(company(2, version=other)[A])
    refused("EXT-5-9", lambda: stranger.join_externally(env, info, leaf_extensions=LEAF))


@breaks("VAL-12.4.2-2")
@pytest.mark.parametrize("proposed", [False, True])
def test_a_commit_without_a_path(proposed: bool) -> None:
    """An Add alone needs none in RFC 9420; here its init secret would have nothing to come from."""
    party = company(3)
    env = party.env
    proposals: list[Proposal] = []
    if proposed:
        proposals.append(Add(forker("newcomer").package(env, leaf_extensions=LEAF).key_package))
    liar = with_parameters(party[B], modes=(Careless(),))
    bad, good = [forge_commit(liar, env, party.clients[B], proposals, path=path).message for path in (False, PATH)]
    refuses("VAL-12.4.2-2", party, A, bad, good)
    assert front.commit(party[A], env, proposals=proposals).path_secrets


class Careless(ForkResilient):
    """A liar's mode, in which a commit without a path has an init secret all the same."""

    def next_init(self, group: Group, last: PathSecret | None, context: bytes) -> tuple[Group, InitSecret]:
        return super().next_init(group, last or PathSecret(bytes(32)), context)


# Who gets in


@breaks("EXT-5-5", "EXT-5-9")
def test_one_who_knows_components_and_not_this_one_does_not_join() -> None:
    env = environment("does not know")
    stranger = forker("stranger", parameters=DEFAULT)
    refused("EXT-5-5", lambda: stranger.create(env, extensions=MARKED, leaf_extensions=LEAF))
    package = stranger.package(env, leaf_extensions=LEAF)  # a leaf that says what is not so
    sent = front.commit(company(2)[A], env, proposals=[Add(package.key_package)])
    refused("EXT-5-5", lambda: stranger.join(env, sent.welcome, [package]))
    info = front.group_info(sent.group)
    refused("EXT-5-9", lambda: stranger.join_externally(env, info, leaf_extensions=LEAF))
    forker("stranger").join(env, sent.welcome, [package])


def refuses_to_add(rule: str, bad: KeyPackageSecrets, good: KeyPackageSecrets) -> None:
    party = company(3)
    refused(rule, lambda: front.commit(party[A], party.env, proposals=[Add(bad.key_package)]))
    front.commit(party[A], party.env, proposals=[Add(good.key_package)])
    commits = [
        forge_commit(party[B], party.env, party.clients[B], [Add(each.key_package)], path=PATH).message
        for each in (bad, good)
    ]
    refuses(rule, party, A, *commits)


@breaks("EXT-5-1")
def test_one_whose_leaf_does_not_say_so_is_not_added() -> None:
    env = environment("does not say so")
    able = forker("newcomer")
    for leaf in ((), with_dictionary((), Dictionary.of({LISTED: ComponentsList.of((4, 5)).encode()}))):
        bad, good = [forge_package(able, env, leaf_extensions=each) for each in (leaf, LEAF)]
        refuses_to_add("EXT-5-1", bad, good)


@breaks("VAL-13.4-2")
def test_a_client_of_rfc_9420_alone_is_not_added() -> None:
    env = environment("plain")
    bad = forge_package(client("newcomer"), env)
    good = forge_package(forker("newcomer"), env, leaf_extensions=LEAF)
    refuses_to_add("VAL-13.4-2", bad, good)


def test_one_who_can_be_in_fork_resilient_groups_is_in_others_too() -> None:
    env = environment("ordinary")
    ordinary = client("ordinary")
    package = ordinary.package(env)
    able = forker(A)
    sent = front.commit(able.create(env, leaf_extensions=LEAF), env, proposals=[Add(package.key_package)])
    joined = ordinary.join(env, sent.welcome, [package])
    again = front.commit(joined, env)
    assert front.receive(sent.group, env, again.message).group.authenticator == again.group.authenticator
    assert sent.group.epoch_id == sent.group.authenticator


# From outside


def test_joining_from_outside_and_coming_back() -> None:
    party = company(3)
    stranger = forker("stranger")
    party.clients["stranger"] = stranger
    party.join_externally("stranger", leaf_extensions=LEAF)
    old = party.leaf(B)
    joined = party.clients[B].join_externally(party.env, front.group_info(party[A]), remove=old, leaf_extensions=LEAF)
    party.deliver(joined.message, by=B)
    party.groups[B] = joined.group
    party.agree()
    party.commit(B)
    assert parent_tree(party[A]).points == ()


def test_a_join_from_outside_and_a_member_s_commit_fork_like_any_two() -> None:
    party = company(3)
    joined = forker("stranger").join_externally(party.env, front.group_info(party[A]), leaf_extensions=LEAF)
    sent = front.commit(party[B], party.env)
    for order in ([joined.message, sent.message], [sent.message, joined.message]):
        value = party[C]
        ids = []
        for message in order:
            event = front.receive(value, party.env, message)
            assert isinstance(event, CommitMessage)
            ids.append(event.group.epoch_id)
            value = event.before
        assert sorted(ids) == sorted([joined.group.epoch_id, sent.group.epoch_id])
        assert len(parent_tree(value).points) == 1
    with pytest.raises(OwnMessageError):
        front.receive(sent.before, party.env, sent.message)
    assert front.receive(sent.before, party.env, joined.message).group.epoch_id == joined.group.epoch_id


# From one kind of group to another


def continued(group: Group, other: Group, env: Any, by: Client, whom: Client, **options: Any) -> tuple[Group, Group]:
    """Somebody continues the group with one other member."""
    package = whom.package(env, leaf_extensions=LEAF)
    sent = front.continue_group(
        group,
        env,
        [Add(package.key_package)],
        signature_private=by.signer,
        lifetime=LIFETIME,
        **options,
    )
    joined = whom.join(env, sent.welcome, [package], prior=other)
    assert joined.epoch_id == sent.group.epoch_id
    return sent.group, joined


OLDER = MARKED_AS[BY_PARENT]
KINDS = [((), MARKED), (MARKED, ()), (MARKED, MARKED), (OLDER, MARKED), (MARKED, OLDER)]


@pytest.mark.parametrize(("before", "after"), KINDS)
def test_reinit_from_and_to_fork_resilient_groups(before: Extensions, after: Extensions) -> None:
    env = environment("reinit")
    first, second = forker(A), forker(B)
    package = second.package(env, leaf_extensions=LEAF)
    sent = front.commit(
        first.create(env, extensions=before, leaf_extensions=LEAF), env, proposals=[Add(package.key_package)]
    )
    joined = second.join(env, sent.welcome, [package])
    ending = front.commit(sent.group, env, proposals=[ReInit(GroupId(b"next"), 1, 1, after)])
    ended = front.receive(joined, env, ending.message).group
    one, other = continued(ending.group, ended, env, first, second)
    assert one.mode is other.mode is FORKING.mode(dictionary_of(after))
    assert (PARENT_INIT in other.trees) is bool(after)
    again = front.commit(other, env)
    assert front.receive(one, env, again.message).group.epoch_id == again.group.epoch_id


@pytest.mark.parametrize(("before", "after"), KINDS)
def test_a_branch_of_another_kind(before: Extensions, after: Extensions) -> None:
    env = environment("branch")
    first, second = forker(A), forker(B)
    package = second.package(env, leaf_extensions=LEAF)
    sent = front.commit(
        first.create(env, extensions=before, leaf_extensions=LEAF), env, proposals=[Add(package.key_package)]
    )
    joined = second.join(env, sent.welcome, [package])
    one, other = continued(
        sent.group, joined, env, first, second, branch=GroupId(b"aside"), extensions=after, force_path=False
    )
    assert one.mode is FORKING.mode(dictionary_of(after))
    again = front.commit(one, env)
    assert front.receive(other, env, again.message).group.epoch_id == again.group.epoch_id


def test_a_reinit_forks_too() -> None:
    """On one branch the group ended, on the other it goes on."""
    party = company(3)
    ending = front.commit(party[A], party.env, proposals=[ReInit(GroupId(b"next"), 1, 1, MARKED)])
    going = front.commit(party[B], party.env)
    event = front.receive(party[C], party.env, ending.message)
    assert isinstance(event, CommitMessage)
    assert event.group.reinit is not None
    after = front.receive(event.before, party.env, going.message).group
    assert after.reinit is None
    assert after.epoch_id == going.group.epoch_id


def test_a_reinit_to_a_group_that_we_cannot_be_in() -> None:
    """Announced by those who can; whoever cannot learns it when the new group is made, by its number."""
    env = environment("cannot")
    first = client(A, capabilities=default_capabilities(extensions=(6,)))
    group = first.create(env)
    ended = front.commit(group, env, proposals=[ReInit(GroupId(b"next"), 1, 1, MARKED)]).group
    with pytest.raises((PeerError, CallerError)) as caught:
        front.continue_group(ended, env, [], signature_private=first.signer, lifetime=LIFETIME)
    assert getattr(caught.value, "check", "") == "EXT-5-5"
    moved = front.continue_group(
        ended, env, [], signature_private=first.signer, lifetime=LIFETIME, parameters=FORKING, leaf_extensions=LEAF
    )
    assert moved.group.mode is FORKING.mode(moved.group.public.context.dictionary)
