"""Our MLS and OpenMLS in one group: what the mls-extensions draft adds, byte for byte.

Every epoch that both reach is compared whole: authenticator, GroupContext, tree (`Company.agree`). Where the two do not
agree, the test says what each does, and docs/spec-notes.md why ours does it; it fails when OpenMLS changes its mind.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from mls import group as front
from mls.codec import Reader, decode_exactly, opaque, u8, u16, vector
from mls.commit import NewLeaf
from mls.components.aad import decode_items, encode_items
from mls.components.dictionary import Dictionary, dictionary_extension, dictionary_of
from mls.components.lists import ComponentsList
from mls.components.numbers import APP_COMPONENTS, GREASE_COMPONENTS, SAFE_AAD
from mls.errors import PeerError, PuncturedError
from mls.group import ApplicationMessage
from mls.leaf_node import RequiredCapabilities
from mls.proposals import Add, AppDataUpdate, AppEphemeral, GroupContextExtensions, SelfRemove
from mls.registries import ContentType, ExtensionType, OpenMlsSuite, ProposalType
from mls.schedule import EXPORTER_TREE
from mls.welcome import decode_group_info
from tests.mls.clients import Psks, refusal
from tests.peers import launch
from tests.peers.openmls_company import BOTH, COMPONENT, OTHER, OURS, THEIRS, Company, insider_message, key_package_of
from tests.peers.openmls_peer import OpenMls, Received, RefusedError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("openmls"),
    pytest.mark.timeout(launch.CARGO_LIMIT + 300),
]

founders = pytest.mark.parametrize("founder", BOTH)
framings = pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
makers = pytest.mark.parametrize("by", BOTH)

NUMBERS = st.integers(0, 0xFFFF)
DATA = st.one_of(st.binary(max_size=8), st.sampled_from([63, 64, 16383, 16384]).map(bytes))


# ---------------------------------------------------------------- bytes by themselves


@given(entries=st.dictionaries(NUMBERS, DATA, max_size=6))
def test_dictionaries_are_written_and_read_alike(openmls: OpenMls, entries: dict[int, bytes]) -> None:
    ours = Dictionary.of(entries)
    assert openmls.encode("AppDataDictionary", entries=list(entries.items())) == ours.encode()
    assert openmls.decode_entries("AppDataDictionary", ours.encode()) == ours.entries


@given(items=st.dictionaries(NUMBERS, DATA, max_size=6))
def test_safe_aad_is_written_and_read_alike(openmls: OpenMls, items: dict[int, bytes]) -> None:
    ours = encode_items(items)
    assert openmls.encode("SafeAAD", entries=sorted(items.items())) == ours
    assert openmls.decode_entries("SafeAAD", ours) == decode_items(ours)


@given(numbers=st.lists(NUMBERS, max_size=80))
def test_components_lists_are_written_and_read_alike(openmls: OpenMls, numbers: list[int]) -> None:
    ours = ComponentsList(tuple(numbers)).encode()
    assert openmls.encode("ComponentsList", numbers=numbers) == ours
    assert openmls.decode_numbers("ComponentsList", ours) == numbers


def ours_reads(structure: str, data: bytes) -> bool:
    try:
        if structure == "SafeAAD":
            decode_items(data)
        elif structure == "AppDataDictionary":
            decode_exactly(data, Dictionary.decode)
        else:
            decode_exactly(data, ComponentsList.decode)
    except PeerError:
        return False
    return True


def theirs_reads(openmls: OpenMls, structure: str, data: bytes) -> bool:
    try:
        openmls.call("decode", structure=structure, bytes=data)
    except RefusedError:
        return False
    return True


ENTRIES = st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=3)), max_size=4)


@given(entries=ENTRIES, cut=st.integers(-2, 2), structure=st.sampled_from(["SafeAAD", "AppDataDictionary"]))
def test_the_same_bytes_are_refused(
    openmls: OpenMls, entries: list[tuple[int, bytes]], cut: int, structure: str
) -> None:
    """Entries out of order or repeated, and vectors that end too early or too late."""
    body = b"".join([number.to_bytes(2, "big") + bytes([len(data)]) + data for number, data in entries])
    data = bytes([max(0, len(body) + cut)]) + body
    assert theirs_reads(openmls, structure, data) == ours_reads(structure, data)


# ---------------------------------------------------------------- safe exporter, §4.4


IDS = (0, 1, 0x7FFF, 0x8000, 0xFFFF, COMPONENT)


@founders
@pytest.mark.parametrize("suite", [1, OpenMlsSuite.MLKEM768X25519_AES256GCM_SHA384_ED25519], ids=["SHA-256", "SHA-384"])
def test_safe_export(openmls: OpenMls, founder: str, suite: int) -> None:
    """In several orders, OpenMLS always the other way round; an id cannot be had twice; a commit starts anew."""
    company = Company.of_both(openmls, founder, suite=suite)
    seen: set[bytes] = set()
    shuffled = random.Random(4).sample(IDS, len(IDS))
    for order in (IDS, IDS[::-1], shuffled):
        ours = {number: company.safe_export(OURS, number) for number in order}
        theirs = {number: company.safe_export(THEIRS, number) for number in reversed(order)}
        assert ours == theirs
        assert not seen & set(ours.values())
        seen |= set(ours.values())
        for number in order:
            with pytest.raises(PuncturedError):
                company.safe_export(OURS, number)
            with pytest.raises(RefusedError, match="PuncturedInput"):
                company.safe_export(THEIRS, number)
        company.commit(founder, force_path=True)
    assert len(seen) == 3 * len(IDS)


def exporter_nodes(company: Company) -> dict[tuple[int, int], bytes]:
    """Our punctured tree as `Member.export_tree` shows OpenMLS's: read from the form for siblings, PPRFState."""
    group = company.ours[OURS]
    state = Reader(decode_exactly(group.trees[EXPORTER_TREE].pprf_state(group.suite), Reader.opaque))
    found = {}
    while state.pos < state.end:
        depth = state.u8()
        prefix = state.opaque()
        bits = int.from_bytes(prefix, "big") >> 8 * len(prefix) - depth
        found[depth, bits] = state.opaque()
    return found


@founders
def test_punctured_trees_are_equal(openmls: OpenMls, founder: str) -> None:
    """Node by node, after every puncture; the two forms in which they are kept differ."""
    company = Company.of_both(openmls, founder)
    choice = random.Random(16)
    for number in [*IDS, *choice.sample(range(2, 0x7FFF), 40)]:
        company.safe_export(OURS, number)
        company.safe_export(THEIRS, number)
        assert company.theirs[THEIRS].export_tree() == exporter_nodes(company)


@founders
def test_safe_export_of_a_commit_that_waits(openmls: OpenMls, founder: str) -> None:
    """OpenMLS can ask the next epoch before it is entered, and has then had that secret."""
    company = Company.of_both(openmls, founder)
    member = company.theirs[THEIRS]
    sent = member.prepare(path=True)
    early = member.safe_export(COMPONENT, pending=True)
    member.merge()
    company.deliver(sent.message, by=THEIRS)
    company.agree()
    assert company.safe_export(OURS, COMPONENT) == early
    with pytest.raises(RefusedError, match="PuncturedInput"):
        member.safe_export(COMPONENT)


# ---------------------------------------------------------------- application data, §4.6 and §4.7


SUPPORTED = ComponentsList.of([COMPONENT, OTHER]).encode()


def data_of(company: Company) -> Dictionary:
    return dictionary_of(company.ours[OURS].public.context.extensions)


@founders
def test_dictionaries_everywhere(openmls: OpenMls, founder: str) -> None:
    """In GroupContext, leaves and KeyPackages; `agree` compares contexts and trees."""
    company = Company.of_both(
        openmls,
        founder,
        components={COMPONENT: b"group", OTHER: b"", APP_COMPONENTS: ComponentsList.of([COMPONENT]).encode()},
        leaf_components={APP_COMPONENTS: SUPPORTED, OTHER: b"leaf", GREASE_COMPONENTS[0]: b"nothing"},
    )
    assert data_of(company).find(COMPONENT) == b"group"
    for name in BOTH:
        company.commit(name, force_path=True)
        company.say(name, name.encode())
    company.join_externally("bert", THEIRS)
    company.join_externally("otto", OURS)
    assert len({company.safe_export(name, COMPONENT) for name in (*BOTH, "bert", "otto")}) == 1


@founders
def test_a_key_package_has_a_dictionary_too(openmls: OpenMls, founder: str) -> None:
    company = Company.of_both(openmls, founder)
    otto = company.their_client("otto")
    package = key_package_of(otto.key_package(components=[(COMPONENT, b"for the package"), (OTHER, b"")]))
    assert dictionary_of(package.extensions) == Dictionary.of({COMPONENT: b"for the package", OTHER: b""})
    welcome = company.commit(founder, Add(package), agree=False)
    otto.join(welcome)
    company.theirs["otto"] = otto
    company.agree()


@founders
def test_a_leafs_dictionary_changes(openmls: OpenMls, founder: str) -> None:
    """With a commit of its member; others' commits and the member's own next ones leave it."""
    company = Company.of_both(openmls, founder, leaf_components={OTHER: b"old"})
    company.commit(OURS, leaf=NewLeaf(extensions=(dictionary_extension({COMPONENT: b"ours"}),)))
    said = {**company.theirs[THEIRS].leaf.fields(), "leaf_components": [(COMPONENT, b"theirs")]}
    company.commit(THEIRS, leaf=said)
    for name in BOTH:
        company.commit(name, force_path=True)
    leaves = [leaf for _, leaf in company.ours[OURS].public.tree.leaves()]
    assert {dictionary_of(leaf.extensions).find(COMPONENT) for leaf in leaves} == {b"ours", b"theirs"}
    assert {dictionary_of(leaf.extensions).find(OTHER) for leaf in leaves} == {None}


@founders
def test_a_group_info_has_a_dictionary_too(openmls: OpenMls, founder: str) -> None:
    """Published, and in a Welcome."""
    company = Company.of_both(openmls, founder)
    said = Dictionary.of({COMPONENT: b"for those who join", OTHER: b""})
    info = company.theirs[THEIRS].group_info(components=said.entries)
    assert dictionary_of(decode_group_info(info).extensions) == said
    company.join_externally("bert", THEIRS, info=info)
    extensions = (dictionary_extension(dict(said.entries)),)
    company.join_externally("otto", OURS, info=front.group_info(company.ours[OURS], extensions=extensions))

    company.add(OURS, "carl", "oona", group_info_extensions=extensions)
    company.add(THEIRS, "dora", "olga", info_components=said.entries)


@founders
@framings
@pytest.mark.parametrize("components", [None, {OTHER: b"stays"}], ids=["first", "beside another"])
def test_app_data_update(openmls: OpenMls, founder: str, public: bool, components: dict[int, bytes] | None) -> None:
    company = Company.of_both(openmls, founder, public=public, components=components)
    for name in BOTH:
        company.commit(name, AppDataUpdate(COMPONENT, b"by value, of " + name.encode()))
        assert data_of(company).find(COMPONENT) == b"by value, of " + name.encode()
        other = THEIRS if name == OURS else OURS
        company.propose(name, AppDataUpdate(COMPONENT, b"by reference"))
        company.commit(other)
        assert data_of(company).find(COMPONENT) == b"by reference"
        company.commit(name, AppDataUpdate(COMPONENT, b"first"), AppDataUpdate(COMPONENT, b"second"))
        assert data_of(company).find(COMPONENT) == b"second"
        company.propose(other, AppDataUpdate(COMPONENT, None))
        company.commit(name)
        assert data_of(company).find(COMPONENT) is None
    assert data_of(company).entries == tuple((components or {}).items())


@founders
def test_app_data_update_by_external_commit(openmls: OpenMls, founder: str) -> None:
    company = Company.of_both(openmls, founder, components={COMPONENT: b"before"})
    company.join_externally("otto", OURS, updates=[{"component": COMPONENT, "data": b"after"}])
    assert data_of(company).find(COMPONENT) == b"after"


@founders
def test_app_data_update_beside_other_extensions(openmls: OpenMls, founder: str) -> None:
    """The dictionary goes to the end of the extensions, and stays where it is when it is updated or emptied."""
    demand = RequiredCapabilities(proposals=(ProposalType.APP_DATA_UPDATE,)).extension()
    company = Company.of_both(openmls, founder, extensions=(demand,))
    for update in (b"first", b"second", None):
        company.commit(THEIRS, AppDataUpdate(COMPONENT, update))
    company.commit(OURS, AppDataUpdate(OTHER, b"again"))
    kinds = [each.type for each in company.ours[OURS].public.context.extensions]
    assert kinds == [ExtensionType.REQUIRED_CAPABILITIES, ExtensionType.APP_DATA_DICTIONARY]


@founders
@makers
def test_new_extensions_and_app_data_update(openmls: OpenMls, founder: str, by: str) -> None:
    """In one commit; which is first applied, and to what, is in test_openmls_differences.py."""
    company = Company.of_both(openmls, founder, components={COMPONENT: b"before"})
    before = company.ours[OURS].public.context.extensions
    demand = RequiredCapabilities((ExtensionType.APP_DATA_DICTIONARY,), (ProposalType.SELF_REMOVE,)).extension()
    company.commit(by, GroupContextExtensions((demand, *before)), AppDataUpdate(COMPONENT, b"after"))
    assert data_of(company).find(COMPONENT) == b"after"


# ---------------------------------------------------------------- proposals for components, §4.8


@founders
@framings
def test_app_ephemeral(openmls: OpenMls, founder: str, public: bool) -> None:
    company = Company.of_both(openmls, founder, public=public)
    before = company.ours[OURS].public.context.extensions
    for name in BOTH:
        company.commit(name, AppEphemeral(COMPONENT, b"one"), AppEphemeral(OTHER, b""), AppEphemeral(COMPONENT, b"two"))
    company.propose(OURS, AppEphemeral(COMPONENT, b"by reference"))
    company.commit(THEIRS)
    assert company.ours[OURS].public.context.extensions == before


@founders
def test_components_psk(openmls: OpenMls, founder: str) -> None:
    psks = Psks({COMPONENT.to_bytes(2, "big") + b"psk": b"shared secret"})
    company = Company.of_both(openmls, founder, psks=psks)
    company.theirs[THEIRS].store_psk(b"shared secret", kind="application", component=COMPONENT, id=b"psk")
    for name in BOTH:
        company.commit(name, front.application_psk(company.ours[OURS], company.env, COMPONENT, b"psk"))
    company.theirs[THEIRS].store_psk(b"another secret", kind="application", component=COMPONENT, id=b"psk")
    with pytest.raises(RefusedError, match="ConfirmationTagMismatch"):
        company.commit(OURS, front.application_psk(company.ours[OURS], company.env, COMPONENT, b"psk"))


# ---------------------------------------------------------------- SelfRemove, §6.3


@founders
def test_self_remove(openmls: OpenMls, founder: str) -> None:
    company = Company.of_both(openmls, founder, public=True)
    company.add(founder, "bert", "otto", "carl", "oona")
    for leaver, committer in (("bert", "otto"), ("otto", "carl"), ("oona", THEIRS), ("carl", OURS)):
        company.propose(leaver, SelfRemove())
        company.commit(committer)
        assert leaver not in company.ours
        assert leaver not in company.theirs
        for name in BOTH:
            company.say(name, b"without " + leaver.encode())


def test_self_remove_where_handshakes_are_private(openmls: OpenMls) -> None:
    """It is sent in public all the same (OpenMLS can then follow it, and not send it)."""
    company = Company.of_both(openmls, OURS)
    company.add(THEIRS, "bert")
    company.propose("bert", SelfRemove())
    with pytest.raises(RefusedError, match="CannotSelfRemoveWithPureCiphertext"):
        company.propose(THEIRS, SelfRemove())
    company.commit(THEIRS)
    assert "bert" not in company.ours


@founders
@pytest.mark.parametrize("leaver", ["bert", "otto"])
@pytest.mark.parametrize("newcomer", ["carl", "oona"])
def test_self_remove_by_external_commit(openmls: OpenMls, founder: str, leaver: str, newcomer: str) -> None:
    company = Company.of_both(openmls, founder, public=True)
    company.add(founder, "bert", "otto")
    wish = company.propose(leaver, SelfRemove())
    company.join_externally(newcomer, OURS, self_removes=[wish])
    assert leaver not in company.ours
    assert leaver not in company.theirs
    for name in (*BOTH, newcomer):
        company.commit(name, force_path=True)
        company.say(name, name.encode())


# ---------------------------------------------------------------- SafeAAD, §4.9


FRAMED = {SAFE_AAD: ComponentsList.of([COMPONENT]).encode()}


@founders
def test_safe_aad(openmls: OpenMls, founder: str) -> None:
    """In messages, proposals and commits; with items, and with none, which is not the same as no data."""
    company = Company.of_both(
        openmls,
        founder,
        components=FRAMED,
        leaf_components={SAFE_AAD: SUPPORTED},
    )
    items: dict[int, bytes] = {COMPONENT: b"one", OTHER: b""}
    for said in (items, dict[int, bytes]()):
        framed = encode_items(said)
        ours, message = front.seal(company.ours[OURS], company.env, b"data", authenticated_data=framed)
        company.ours[OURS] = ours
        heard = company.deliver(message, by=OURS)[THEIRS]
        assert isinstance(heard, Received)
        assert (heard.safe_aad, heard.tail) == (tuple(said.items()), b"")

        message = company.theirs[THEIRS].send(b"data", safe_aad=sorted(said.items()))
        event = company.deliver(message, by=THEIRS)[OURS]
        assert isinstance(event, ApplicationMessage)
        assert event.authenticated_data == framed
        company.propose(OURS, AppEphemeral(COMPONENT, b"data"), authenticated_data=framed)
        company.propose(THEIRS, AppDataUpdate(COMPONENT, b"data"), safe_aad=sorted(said.items()))
        company.commit(OURS, force_path=True, authenticated_data=framed)
        company.commit(THEIRS, force_path=True, safe_aad=sorted(said.items()))
    company.join_externally("bert", THEIRS)
    company.join_externally("otto", OURS)


def item(number: int) -> bytes:
    return u16(number) + opaque(b"data")


@pytest.mark.parametrize(
    "authenticated_data",
    [b"", b"\x01", vector([item(2), item(1)]), vector([item(2), item(2)])],
    ids=["nothing", "cut short", "not in order", "twice"],
)
def test_what_is_not_safe_aad(openmls: OpenMls, authenticated_data: bytes) -> None:
    company = Company.of_both(openmls, OURS, components=FRAMED, leaf_components={SAFE_AAD: SUPPORTED})
    company.add(OURS, "bert")
    message = insider_message(
        company.ours["bert"], ContentType.APPLICATION, opaque(b"data"), authenticated_data=authenticated_data
    )
    refusal(lambda: front.receive(company.ours[OURS], company.env, message))
    with pytest.raises(RefusedError, match="MalformedSafeAad"):
        company.theirs[THEIRS].process(message)


@framings
@pytest.mark.parametrize("operation", [0, 3, 255])
def test_app_data_update_that_does_neither(openmls: OpenMls, operation: int, public: bool) -> None:
    company = Company.of_both(openmls, OURS, public=public)
    company.add(OURS, "bert")
    body = u16(ProposalType.APP_DATA_UPDATE) + u16(COMPONENT) + u8(operation)
    message = insider_message(company.ours["bert"], ContentType.PROPOSAL, body, public=public)
    assert refusal(lambda: front.receive(company.ours[OURS], company.env, message)) == "EXT-4.7-1"
    with pytest.raises(RefusedError, match="UnknownValue" if public else "MalformedContent"):
        company.theirs[THEIRS].process(message)
