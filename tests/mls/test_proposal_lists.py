"""RFC 9420 §11.1, §12.2 and §13: what may stand in one commit, and what a group asks of its members."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.commit import NewLeaf
from mls.errors import (
    CallerError,
    MlsError,
    PeerError,
)
from mls.group import CommitMessage
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import (
    Capabilities,
    Extension,
    RequiredCapabilities,
    default_capabilities,
)
from mls.proposals import (
    Add,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
)
from mls.psk import ExternalPskId
from mls.registries import (
    GREASE,
    MLS10,
    ContentType,
    ExtensionType,
    GroupId,
    LeafIndex,
)
from tests.mls.clients import (
    DEFAULT,
    Client,
    Party,
    Psks,
    client,
    default_in,
    environment,
    framed,
    insider_public,
    party,
    refusal,
    removed,
    with_parameters,
)
from tests.mls.suite_variants import GROUP_SUITES


def test_required_capabilities() -> None:
    wanted = RequiredCapabilities((0xF001,), (0xF002,), (1,)).extension()
    able = default_capabilities(extensions=(0xF001,), proposals=(0xF002,))
    ours = party(2, extensions=(wanted,), capabilities=able)
    strong = client("anna", capabilities=able)
    ours.commit("member00", joining=[(strong, strong.package(ours.env))])
    for weak in (
        client("ben"),
        client("ben", capabilities=default_capabilities(extensions=(0xF001,))),
        client("ben", capabilities=default_capabilities(proposals=(0xF002,))),
    ):
        package = weak.package(ours.env)
        for call in (
            lambda package=package: front.commit(ours.any, ours.env, proposals=[Add(package.key_package)]),
            lambda weak=weak: weak.join_externally(ours.env, front.group_info(ours.any)),
            lambda weak=weak: front.commit(ours.any, ours.env, leaf=NewLeaf(capabilities=weak.capabilities)),
        ):
            assert refusal(call) == "VAL-7.3-3"
    more = RequiredCapabilities((0xF003,)).extension()
    assert refusal(lambda: front.commit(ours.any, ours.env, proposals=[GroupContextExtensions((more,))])) == "VAL-7.3-3"
    ours.commit("member00", proposals=[GroupContextExtensions(())])
    ours.add("member01", "ben")


def test_extensions_that_not_everybody_implements() -> None:
    """A GroupContext extension must be known to every member, by its capabilities, and to us, by our parameters."""
    mine = Extension(0xF001, b"settings")
    able = default_capabilities(extensions=(0xF001,))
    knows = replace(DEFAULT, extensions=frozenset({0xF001}))
    ours = party(2, capabilities=able, parameters=knows)
    ours.commit("member00", proposals=[GroupContextExtensions((mine,))])
    assert ours["member01"].public.context.extensions == (mine,)
    with_it = client("anna", capabilities=able, parameters=knows)
    ours.commit("member01", joining=[(with_it, with_it.package(ours.env))])
    package = client("ben").package(ours.env)
    assert refusal(lambda: front.commit(ours.any, ours.env, proposals=[Add(package.key_package)])) == "VAL-13.4-2"
    boasts = client("ben", capabilities=able)  # says so, but does not
    package = boasts.package(ours.env)
    sent = front.commit(ours.any, ours.env, proposals=[Add(package.key_package)])
    assert refusal(lambda: boasts.join(ours.env, sent.welcome, [package])) == "VAL-13.4-3"
    assert refusal(lambda: boasts.join_externally(ours.env, front.group_info(ours.any))) == "VAL-13.4-3"
    plain = party(2, capabilities=able)
    offered = GroupContextExtensions((mine,))
    with pytest.raises(MlsError):  # what we could not follow we do not commit
        front.commit(plain["member00"], plain.env, proposals=[offered])
    sent = front.commit(
        with_parameters(plain["member00"], extensions=frozenset({0xF001})), plain.env, proposals=[offered]
    )
    assert refusal(lambda: front.receive(plain["member01"], plain.env, sent.message)) == "VAL-13.4-3"


def greasy(name: str, suite: int) -> tuple[Client, KeyPackageSecrets]:
    grease = bytes([len(name), 7, 200, 31])
    capabilities = default_capabilities(default_in(suite).cipher_suites, grease=grease)
    listed = next(kind for kind in capabilities.extensions if kind in GREASE)
    someone = client(name, suite, capabilities=capabilities)
    package = someone.package(
        environment(name),
        extensions=(Extension(GREASE[3], b"in the package"),),
        leaf_extensions=(Extension(listed, b"in the leaf"),),
    )
    return someone, package


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_grease_everywhere(suite: int) -> None:
    """§13.5: wherever it may stand, it changes nothing."""
    first, _ = greasy("first", suite)
    founder = first.create(environment(), leaf_extensions=(Extension(first.capabilities.extensions[0], b""),))
    ours = Party(environment(), {"first": first}, {"first": founder})
    anna, package = greasy("anna", suite)
    ours.commit(
        "first",
        joining=[(anna, package)],
        group_info_extensions=(Extension(GREASE[5], b"in the GroupInfo"),),
    )
    ours.add("anna", "plain")
    ours.propose_update("anna")
    ours.commit("plain")
    info = front.group_info(ours["anna"], extensions=(Extension(GREASE[9], b""), Extension(GREASE[10], b"x")))
    ben, _ = greasy("ben", suite)
    joined = ben.join_externally(ours.env, info, leaf_extensions=(Extension(ben.capabilities.extensions[0], b"x"),))
    ours.deliver(joined.message)
    ours.clients["ben"], ours.groups["ben"] = ben, joined.group
    ours.agree()
    for name in ours.names:
        ours.say(name, b"clean")
    capabilities = ben.capabilities
    for numbers in (
        capabilities.cipher_suites,
        capabilities.extensions,
        capabilities.proposals,
        capabilities.credentials,
    ):
        assert any(number in GREASE for number in numbers)


@pytest.mark.parametrize("kind", ["extension", "proposal"])
def test_grease_where_it_may_not_be(kind: str) -> None:
    ours = party(2)
    if kind == "extension":
        grease = GroupContextExtensions((Extension(GREASE[0], b""),))
        with pytest.raises(MlsError):
            front.commit(ours["member00"], ours.env, proposals=[grease])
        return
    content = framed(ours["member00"], ContentType.PROPOSAL, GREASE[0].to_bytes(2, "big"))
    assert (
        refusal(lambda: front.receive(ours["member01"], ours.env, insider_public(ours["member00"], content)))
        == "VAL-12.1-1"
    )


def test_capabilities_must_list_the_group() -> None:
    """§11, §7.2: a member lists the version and the suite of the group it is in."""
    ours = party(2)
    for capabilities in (
        default_capabilities((2, 3)),
        Capabilities((), (1,), (), (), (1,)),
        default_capabilities(credentials=(2,)),
    ):
        odd = client("odd", capabilities=capabilities)
        package = odd.package(ours.env)
        with pytest.raises(PeerError):
            front.commit(ours.any, ours.env, proposals=[Add(package.key_package)])
        with pytest.raises(PeerError):
            odd.join_externally(ours.env, front.group_info(ours.any))


# ---------------------------------------------------------------- lists of proposals


def test_a_client_is_replaced_in_one_commit() -> None:
    """By value, and by references in either order: an Add of a member's client is right beside its Remove."""
    for how in ("value", "remove first", "add first"):
        ours = party(3, shape="full", seed=how)
        again = ours.clients["member01"]
        package = again.package(ours.env)
        add, remove = Add(package.key_package), Remove(ours.leaf("member01"))
        if how == "value":
            sent = ours.commit("member00", proposals=[remove, add])
        else:
            for proposal in (remove, add) if how == "remove first" else (add, remove):
                ours.propose("member02", proposal)
            sent = ours.commit("member00")
        assert removed(ours["member01"])
        ours.welcome(again, package, sent)
        ours.agree()
        assert ours.leaf("member01") == 1


def test_extensions_and_an_add_that_needs_them() -> None:
    """§12.3: what is added is judged by the new extensions, also when both come by reference."""
    wanted = RequiredCapabilities((0xF001,)).extension()
    able = default_capabilities(extensions=(0xF001,))
    ours = party(2, capabilities=able, extensions=(wanted,))
    weak = client("weak")
    package = weak.package(ours.env)
    ours.propose("member00", Add(package.key_package))
    ours.propose("member01", GroupContextExtensions(()))
    sent = ours.commit("member01")
    ours.welcome(weak, package, sent)
    ours.agree()


def proposals_that_collide(ours: Party) -> dict[str, list[tuple[str, Proposal]]]:
    """Each right alone; together, no list can hold all of them."""
    anna, ben = client("anna"), client("ben")
    key = ours.suite.generate_key_pair(ours.env.provider.random)
    psk = PreSharedKey(ExternalPskId(b"psk", bytes(32)))
    needy = RequiredCapabilities((0xF001,)).extension()
    first, second = anna.package(ours.env), anna.package(ours.env)
    return {
        "one client twice": [("member01", Add(first.key_package)), ("member02", Add(second.key_package))],
        "one key twice": [
            ("member01", Add(anna.package(ours.env, leaf_key=key).key_package)),
            ("member02", Add(ben.package(ours.env, leaf_key=key).key_package)),
        ],
        "a member once more": [("member01", Add(ours.clients["member02"].package(ours.env).key_package))],
        "one leaf removed twice": [
            ("member01", Remove(ours.leaf("member03"))),
            ("member02", Remove(ours.leaf("member03"))),
        ],
        "the committer": [("member01", Remove(ours.leaf("member00")))],
        "a psk that nobody has": [("member01", PreSharedKey(ExternalPskId(b"unheard of", bytes(32))))],
        "an extension that is none of a GroupContext": [
            ("member01", GroupContextExtensions((Extension(ExtensionType.EXTERNAL_PUB, b""),))),
            ("member02", Remove(ours.leaf("member03"))),
        ],
        "one psk twice": [("member01", psk), ("member02", psk)],
        "two extensions": [
            ("member01", GroupContextExtensions((Extension(ExtensionType.APPLICATION_ID, b"a"),))),
            ("member02", GroupContextExtensions((Extension(ExtensionType.APPLICATION_ID, b"b"),))),
        ],
        "a reinit beside": [
            ("member01", ReInit(GroupId(b"next"), MLS10, 1, ())),
            ("member02", Remove(ours.leaf("member03"))),
        ],
        "extensions that a newcomer lacks": [
            ("member01", GroupContextExtensions((needy,))),
            ("member02", Add(first.key_package)),
        ],
    }


COLLISIONS = tuple(proposals_that_collide(party(4)))


@pytest.mark.parametrize("kind", COLLISIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_no_proposals_keep_a_member_from_committing(kind: str, order: int) -> None:
    """§12.4: the committer includes what makes a valid list. Insiders cannot choose what that leaves stuck."""
    able = default_capabilities(extensions=(0xF001,))
    ours = party(4, shape="full", capabilities=able, psks=Psks({b"psk": b"shared"}))
    for by, proposal in proposals_that_collide(ours)[kind][::order]:
        ours.propose(by, proposal)
    pending = len(ours["member00"].proposals)
    ours.propose_update("member03")
    sent = front.commit(ours["member00"], ours.env)
    for event in ours.deliver(sent.message, by="member00").values():
        assert isinstance(event, CommitMessage)
        taken = event.plan
        assert taken.removed or taken.updated or taken.joining or taken.psks
    ours.groups["member00"] = sent.group
    ours.agree()
    assert pending >= 1
    ours.say("member00", b"not stuck")


def test_updates_and_removals_of_one_leaf() -> None:
    """§12.2: a Remove is preferred to an Update, and a later Update to an earlier one."""
    ours = party(3)
    ours.propose_update("member02")
    ours.propose("member01", Remove(ours.leaf("member02")))
    ours.propose_update("member01")
    ours.propose_update("member01")
    latest = list(ours["member01"].updates)[-1]
    ours.commit("member00")
    assert removed(ours["member02"])
    leaf = ours.any.public.tree.leaf(ours.leaf("member01"))
    assert leaf is not None
    assert leaf.encoded == latest


def test_chosen_references() -> None:
    """A committer may take some of what waits, in its own order; what is left out is dropped with the epoch."""
    ours = party(3, psks=Psks({b"a": b"1", b"b": b"2"}))
    ours.propose("member01", front.external_psk(ours.any, ours.env, b"a"))
    ours.propose("member02", front.external_psk(ours.any, ours.env, b"b"))
    ours.propose_update("member01")
    first, second, _ = list(ours["member00"].proposals)
    sent = ours.commit("member00", references=[second, first])
    assert not ours["member00"].proposals
    with pytest.raises(CallerError, match="pending"):
        front.commit(sent.group, ours.env, references=[first])
    none = party(3)
    none.propose_update("member01")
    none.commit("member00", references=[])
    assert not none["member01"].updates


def test_a_commit_by_the_member_whose_update_waits() -> None:
    """Its own Update cannot be in its commit; the path does the same work."""
    ours = party(2)
    ours.propose_update("member00")
    sent = ours.commit("member00")
    assert sent.group.public.tree.leaf(LeafIndex(0)).source == 3  # type: ignore[union-attr]


def test_what_a_pathless_commit_may_hold() -> None:
    ours = party(2, psks=Psks({b"psk": b"shared"}))

    def has_path(*proposals: Proposal, force: bool = False) -> bool:
        sent = front.commit(ours["member00"], ours.env, proposals=proposals, force_path=force, encrypt=False)
        return sent.group.own_leaf_node != ours["member00"].own_leaf_node

    add = Add(client("anna").package(ours.env).key_package)
    psk = front.external_psk(ours.any, ours.env, b"psk")
    reinit = ReInit(GroupId(b"next"), MLS10, 1, ())
    assert [has_path(add), has_path(psk), has_path(add, psk), has_path(reinit)] == [False] * 4
    assert [has_path(), has_path(Remove(LeafIndex(1))), has_path(GroupContextExtensions(()))] == [True] * 3
    assert has_path(add, force=True)
    assert has_path(reinit, force=True)


def test_application_data_waits_for_a_commit() -> None:
    """§12.4: whoever saw a proposal commits before it sends application data."""
    ours = party(2)
    ours.propose("member01", GroupContextExtensions(()))
    for name in ours.names:
        with pytest.raises(CallerError, match="proposals are waiting"):
            front.seal(ours[name], ours.env, b"too early")
    shelved = front.shelve_proposals(ours["member00"])
    front.seal(shelved, ours.env, b"on my own account")
    ours.commit("member00")
    ours.say("member01", b"now")
