"""Our MLS and OpenMLS in one group: where they do not agree.

Each test says what either does with the same bytes, and docs/spec-notes.md why ours does what it does. A test here
fails when OpenMLS changes its mind (or we do), which is what it is for: then it belongs into the other modules.
"""

from __future__ import annotations

import pytest

from mls import group as front, targeted
from mls.codec import opaque, u16
from mls.components.dictionary import dictionary_extension
from mls.components.last_resort import is_last_resort
from mls.components.lists import ComponentsList, supported_wire_formats_extension
from mls.components.numbers import APP_COMPONENTS, SAFE_AAD
from mls.leaf_node import RequiredCapabilities
from mls.proposals import Add, AppDataUpdate, GroupContextExtensions, Proposal
from mls.registries import ContentType, ExtensionType, ProposalType, WireFormat
from tests.mls.clients import refusal
from tests.peers import launch
from tests.peers.openmls_company import (
    COMPONENT,
    OTHER,
    OURS,
    THEIRS,
    Company,
    insider_message,
    key_package_of,
    told,
)
from tests.peers.openmls_peer import OpenMls, RefusedError, add

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("openmls"),
    pytest.mark.timeout(launch.CARGO_LIMIT + 300),
]


def refused_by_ours(company: Company, message: bytes) -> str:
    return refusal(lambda: front.receive(company.ours[OURS], company.env, message))


def refused_by_theirs(company: Company, message: bytes) -> str:
    with pytest.raises(RefusedError) as refused:
        company.theirs[THEIRS].process(message)
    return str(refused.value)


def our_commit(company: Company, *proposals: Proposal) -> bytes:
    return front.commit(company.ours[OURS], company.env, proposals=proposals).message


# ---------------------------------------------------------------- RFC 9420


def test_new_extensions_that_are_not_required(openmls: OpenMls) -> None:
    """§12.1.7 asks that all members support a new extension; OpenMLS also that it is in required_capabilities."""
    company = Company.of_both(openmls, OURS)
    message = our_commit(company, GroupContextExtensions((dictionary_extension({COMPONENT: b"new"}),)))
    assert "ExtensionNotInRequiredCapabilities" in refused_by_theirs(company, message)


def test_key_package_extensions_that_the_leaf_does_not_list(openmls: OpenMls) -> None:
    """§7.2 asks it of a leaf's extensions; OpenMLS also of its KeyPackage's."""
    company = Company.of_both(openmls, OURS)
    package = key_package_of(openmls.member("otto").key_package(extensions=[(0x1234, b"")]))
    assert "UnsupportedExtension" in refused_by_theirs(company, our_commit(company, Add(package)))


def test_proposals_of_unknown_types(openmls: OpenMls) -> None:
    """§12.1 does not say how long they are, so ours cannot read them; OpenMLS supposes one vector."""
    company = Company.of_both(openmls, OURS)
    company.add(OURS, "bert")
    message = insider_message(company.ours["bert"], ContentType.PROPOSAL, u16(0x1234) + opaque(b"data"))
    assert refused_by_ours(company, message) == "VAL-12.1-1"
    assert company.theirs[THEIRS].process(message).kind == "proposal"


# ---------------------------------------------------------------- mls-extensions


@pytest.mark.parametrize(
    ("proposals", "rule"),
    [
        ([AppDataUpdate(COMPONENT, None), AppDataUpdate(COMPONENT, b"new")], "EXT-4.7-3"),
        ([AppDataUpdate(OTHER, None)], "EXT-4.7-4"),
    ],
    ids=["remove and update", "remove what is not there"],
)
def test_removals_that_openmls_takes(openmls: OpenMls, proposals: list[Proposal], rule: str) -> None:
    """§4.7 calls these lists invalid; OpenMLS stops looking at the first removal if the extensions stay as they are."""
    company = Company.of_both(openmls, OURS, components={COMPONENT: b"old"})
    sent = company.theirs[THEIRS].prepare(*[told(each) for each in proposals])
    assert refused_by_ours(company, sent.message) == rule


def test_removal_twice(openmls: OpenMls) -> None:
    """The same: one removal waits, and the committer brings another."""
    company = Company.of_both(openmls, OURS, components={COMPONENT: b"old"})
    removal = AppDataUpdate(COMPONENT, None)
    company.propose(OURS, removal)
    sent = company.theirs[THEIRS].prepare(told(removal))
    assert refused_by_ours(company, sent.message) == "EXT-4.7-3"


WITH_DATA = RequiredCapabilities(extensions=(ExtensionType.APP_DATA_DICTIONARY,)).extension()


def test_updates_before_new_extensions(openmls: OpenMls) -> None:
    """§4.7 orders how they are applied; OpenMLS also asks for that order in the list, and gets it from us."""
    company = Company.of_both(openmls, OURS, components={COMPONENT: b"old"})
    update = AppDataUpdate(COMPONENT, b"new")
    extensions = GroupContextExtensions((WITH_DATA, *company.ours[OURS].public.context.extensions))
    company.commit(OURS, update, extensions)


@pytest.mark.parametrize("path", [False, True])
def test_a_dictionary_before_other_extensions(openmls: OpenMls, path: bool) -> None:
    """§4.7 updates it where it is; OpenMLS moves it to the end, and the GroupContexts are no longer the same."""
    why = "UpdatePathError(UnableToDecrypt)" if path else "ConfirmationTagMismatch"
    extensions = (dictionary_extension({COMPONENT: b"old"}), WITH_DATA)
    company = Company.of_both(openmls, OURS, extensions=extensions)
    message = front.commit(
        company.ours[OURS], company.env, proposals=[AppDataUpdate(COMPONENT, b"new")], force_path=path
    ).message
    assert why in refused_by_theirs(company, message)


def test_updates_of_a_dictionary_that_was_just_replaced(openmls: OpenMls) -> None:
    """§4.7 applies them after GroupContextExtensions; OpenMLS to the dictionary from before."""
    company = Company.of_both(openmls, OURS, components={OTHER: b"old"})
    dropped = GroupContextExtensions((WITH_DATA,))
    message = our_commit(company, dropped, AppDataUpdate(COMPONENT, b"new"))
    assert "UpdatePathError(UnableToDecrypt)" in refused_by_theirs(company, message)
    company = Company.of_both(openmls, OURS, components={COMPONENT: b"old"})
    company.commit(OURS, dropped, AppDataUpdate(COMPONENT, b"new"))


def test_the_demand_for_updates_comes_with_a_new_dictionary(openmls: OpenMls) -> None:
    """§4.7 forbids it in groups that have the demand; OpenMLS also in those that get it by the same proposal."""
    company = Company.of_both(openmls, OURS)
    kinds = (ExtensionType.APP_DATA_DICTIONARY,)
    demand = RequiredCapabilities(kinds, (ProposalType.APP_DATA_UPDATE,)).extension()
    message = our_commit(company, GroupContextExtensions((dictionary_extension({COMPONENT: b"new"}), demand)))
    assert "CannotUpdateDictionaryDirectly" in refused_by_theirs(company, message)


@pytest.mark.parametrize("component", [APP_COMPONENTS, SAFE_AAD], ids=["app_components", "safe_aad"])
def test_demands_that_openmls_does_not_enforce(openmls: OpenMls, component: int) -> None:
    """§5 says that a group demands components, and not who enforces it: ours does, for every leaf."""
    listed = {component: ComponentsList.of([COMPONENT]).encode()}
    company = Company.of_both(openmls, OURS, components=listed, leaf_components=listed)
    without = openmls.member("otto", extension_types=company.theirs[THEIRS].leaf.extension_types)
    sent = company.theirs[THEIRS].prepare(add(without.key_package()))
    assert refused_by_ours(company, sent.message).startswith("EXT-5-")


def test_components_that_nobody_knows(openmls: OpenMls) -> None:
    """§4.7 and §4.8 call proposals for unknown components invalid; OpenMLS leaves that to the application."""
    company = Company.of_both(openmls, OURS)
    for proposal, rule in (
        ({"type": "app_data_update", "component": 0x9999, "data": b"data"}, "EXT-4.7-2"),
        ({"type": "app_ephemeral", "component": 0x9999, "data": b"data"}, "EXT-4.8-1"),
    ):
        sent = company.theirs[THEIRS].prepare(proposal)
        assert refused_by_ours(company, sent.message) == rule
        company.theirs[THEIRS].clear()


def test_data_after_safe_aad(openmls: OpenMls) -> None:
    """§4.9 frames the whole field; OpenMLS lets an application's own data follow."""
    listed = {SAFE_AAD: ComponentsList.of([COMPONENT]).encode()}
    company = Company.of_both(openmls, OURS, components=listed, leaf_components=listed)
    message = company.theirs[THEIRS].send(b"data", safe_aad=[(COMPONENT, b"one")], authenticated_data=b"tail")
    assert refused_by_ours(company, message) == "EXT-4.9-2"


def test_an_encrypted_self_remove(openmls: OpenMls) -> None:
    """§6.3 has it sent as PublicMessage, for outsiders to read; OpenMLS takes it in either framing."""
    company = Company.of_both(openmls, OURS)
    company.add(OURS, "bert")
    message = insider_message(company.ours["bert"], ContentType.PROPOSAL, u16(ProposalType.SELF_REMOVE))
    assert refused_by_ours(company, message) == "EXT-6.3-2"
    assert company.theirs[THEIRS].process(message).kind == "proposal"


def test_last_resort(openmls: OpenMls) -> None:
    """§6.4 marks these KeyPackages by a component; OpenMLS by the extension (0x000A) of earlier drafts."""
    package = key_package_of(openmls.member("otto").key_package(last_resort=True))
    assert [(each.type, each.data) for each in package.extensions] == [(0x000A, b"")]
    assert not is_last_resort(package.extensions)


# ---------------------------------------------------------------- targeted messages


def test_targeted_messages(openmls: OpenMls) -> None:
    """OpenMLS has the HPKE context and AAD of an earlier draft.

    Whose message it is comes before that, so it is agreed on: both decrypt the sender's data and verify its signature.
    """
    reads = (supported_wire_formats_extension([WireFormat.TARGETED_MESSAGE]),)
    company = Company.of_both(openmls, OURS, more_in_leaves=reads)
    ours = company.ours[OURS]
    message = company.theirs[THEIRS].send_targeted(ours.own_leaf, b"data", authenticated_data=b"seen by all")
    assert refusal(lambda: targeted.open_message(ours, message)) == "TM-6.2-1"
    message = targeted.seal(ours, company.env, company.leaf(THEIRS), b"data", authenticated_data=b"seen by all")
    with pytest.raises(RefusedError, match="ContentDecryptionFailed"):
        company.theirs[THEIRS].open_targeted(message)
