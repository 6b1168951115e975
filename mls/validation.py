"""RFC 9420 §12.2 and §12.3: whether a list of proposals may be carried out, and what comes of it.

`plan` takes the public state of an epoch, who commits, and the list, and returns a `Plan`: the tree and extensions
after the list, where the new members went, and what the key schedule needs. Committers and receivers call the same
function, so what one may send is what the other accepts. It reads; it changes nothing.

Leaves are judged one by one in `mls.leaf_checks`. Questions of the form "do all members support it" are asked once per
distinct profile of capabilities, and only when the profiles or the group's extensions have changed.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from mls.components.changes import (
    Brought,
    carry_out,
    check_data_proposal,
    check_kept_dictionary,
    check_supported,
)
from mls.components.dictionary import dictionary_of
from mls.components.negotiation import check_changed_leaves, check_own
from mls.credential import Credential
from mls.errors import PeerError
from mls.framing import Sender
from mls.key_package import KeyPackage
from mls.leaf_checks import (
    check_adds,
    check_leaf_replacement,
    check_lifetime,
    check_update,
)
from mls.leaf_node import Extensions, LeafNode, find_extension
from mls.mode import Mode
from mls.parameters import Parameters
from mls.proposals import (
    Add,
    AppDataUpdate,
    AppEphemeral,
    ByExternalCommit,
    ExternalInit,
    GroupContextExtensions,
    Kind,
    LeafReplacement,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    SelfRemove,
    Update,
    kind_of,
)
from mls.provider import Environment
from mls.psk import PreSharedKeyId, ResumptionPskId
from mls.public_state import PublicState, parse_external_senders, parse_required_capabilities
from mls.registries import (
    MLS10,
    ExtensionType,
    LeafIndex,
    ProposalType,
    ResumptionUsage,
    SenderType,
)
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal with who made it, and its reference unless the commit carries it by value."""

    proposal: Proposal
    sender: Sender
    reference: bytes | None = None
    checked: bool = False
    """Judged on its own when it arrived in this epoch; its signatures need no second look."""
    shelved: bool = False
    """Not to be committed by us; kept because somebody else may commit it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a valid list of proposals does."""

    tree: RatchetTree
    extensions: Extensions
    added: tuple[LeafIndex, ...]
    joining: tuple[KeyPackage, ...]
    """The KeyPackages of `added`, in the same order."""
    updated: dict[LeafIndex, LeafNode]
    removed: tuple[LeafIndex, ...]
    """By whatever proposal."""
    self_removed: tuple[LeafIndex, ...]
    """Those of `removed` who asked for it themselves (mls-extensions §6.3)."""
    resynced: LeafIndex | None
    """The old leaf of somebody who comes back by external commit."""
    psks: tuple[PreSharedKeyId, ...]
    external_init: bytes | None
    reinit: ReInit | None
    app_data: tuple[Brought, ...]
    """What was said to components, in the order of the commit."""
    path_required: bool


def plan(
    env: Environment,
    state: PublicState,
    parameters: Parameters,
    committer: Sender,
    items: Sequence[Proposed],
    *,
    sending: bool,
    founding: int | None = None,
    vouched: Container[bytes] = frozenset(),
) -> Plan:
    """Validate a list and apply it. `founding` is the resumption usage that a group's first commit may have.

    `vouched` are leaves, encoded, that were verified before where they were made (DiMLS §4.1.2).
    """
    external = committer.type == SenderType.NEW_MEMBER_COMMIT
    mode = parameters.mode(state.context.dictionary)
    tree = state.tree
    updated: dict[LeafIndex, LeafNode] = {}
    removed: list[LeafIndex] = []
    self_removed: list[LeafIndex] = []
    changed: set[LeafIndex] = set()
    adds: list[KeyPackage] = []
    unchecked: list[KeyPackage] = []
    psks: list[PreSharedKeyId] = []
    seen_psks: set[PreSharedKeyId] = set()
    extensions: Extensions | None = None
    reinit: ReInit | None = None
    external_init: bytes | None = None
    others: list[int] = []
    brought: list[Brought] = []
    path_required = not items or mode.needs_path
    for item in items:
        proposal = item.proposal
        row = kind_of(proposal)
        path_required = path_required or row.needs_path
        if external:
            _check_in_external_commit(row, item)
        elif item.reference is None and not row.by_value:
            raise PeerError("EXT-6.3-1")
        if not item.checked:
            _check_alone(env, state, parameters, mode, item, founding, vouched)
        if isinstance(proposal, Add):
            adds.append(proposal.key_package)
            if not item.checked:
                unchecked.append(proposal.key_package)
        elif isinstance(proposal, Update):
            leaf = LeafIndex(item.sender.index)
            if leaf == committer.index:
                raise PeerError("VAL-12.2-1")
            _change_once(changed, leaf)
            updated[leaf] = proposal.leaf_node
        elif isinstance(proposal, Remove):
            leaf = proposal.removed
            if not external and leaf == committer.index:
                raise PeerError("VAL-12.2-2")
            _change_once(changed, leaf)
            removed.append(leaf)
        elif isinstance(proposal, PreSharedKey):
            if proposal.psk in seen_psks:
                raise PeerError("VAL-12.2-6")
            seen_psks.add(proposal.psk)
            psks.append(proposal.psk)
        elif isinstance(proposal, GroupContextExtensions):
            if extensions is not None:
                raise PeerError("VAL-12.2-7")
            extensions = proposal.extensions
        elif isinstance(proposal, ReInit):
            if len(items) > 1:
                raise PeerError("VAL-12.2-8")
            reinit = proposal
        elif isinstance(proposal, ExternalInit):
            if not external:
                raise PeerError("VAL-12.2-9")
            if external_init is not None:
                raise PeerError("VAL-12.2-11")
            external_init = proposal.kem_output
        else:
            others.append(proposal.type)
            if isinstance(proposal, SelfRemove):
                leaf = LeafIndex(item.sender.index)
                if not external and leaf == committer.index:
                    raise PeerError("VAL-12.2-2")
                _change_once(changed, leaf)
                self_removed.append(leaf)
            elif isinstance(proposal, LeafReplacement):
                leaf = proposal.leaf
                _change_once(changed, leaf)
                updated[leaf] = proposal.leaf_node
            elif isinstance(proposal, AppDataUpdate | AppEphemeral):
                brought.append(Brought(proposal, item.sender))
    if external:
        if external_init is None:
            raise PeerError("VAL-12.2-11")
        if len(removed) > 1:
            raise PeerError("VAL-12.2-13")
    resynced = removed[0] if external and removed else None
    removed.extend(self_removed)
    if others:
        _check_types(tree, removed, frozenset(others))
    _check_psk_count(psks)
    before = state.context.extensions
    after = before if extensions is None else extensions
    if extensions is not None and _requires_data_updates(before):
        check_kept_dictionary(before, extensions)
    if brought:
        after = carry_out(
            parameters.components, after, brought, lambda sender: _credential(state, sender), external_commit=external
        )
        check_supported(parameters.components.numbers, before, brought, _leaf_nodes(tree, frozenset(removed)))
    if after is not before:
        _check_mode(parameters, mode, after)
    _check_added_clients(tree, adds, removed)
    if unchecked:
        check_adds(env, state.suite, parameters, unchecked, sending=sending)
    if sending and len(unchecked) < len(adds):
        for package in adds:  # a proposal may have waited longer than its leaf lives
            check_lifetime(env, parameters, package.leaf_node, sending=True)
    if updated or removed or adds:
        tree, added = tree.evolved(updated, removed, [package.leaf_node for package in adds])
    else:
        added = ()
    if after is not before or tree.profiles is not state.tree.profiles:
        check_profiles(tree, after)
    if after is not before or adds or updated:
        fresh = [*[package.leaf_node for package in adds], *updated.values()]
        check_changed_leaves(parameters.components.numbers, before, after, _leaf_nodes(tree), fresh)
    return Plan(
        tree,
        after,
        added,
        tuple(adds),
        updated,
        tuple(removed),
        tuple(self_removed),
        resynced,
        tuple(psks),
        external_init,
        reinit,
        tuple(brought),
        path_required,
    )


def _leaf_nodes(tree: RatchetTree, gone: frozenset[int] = frozenset()) -> Iterator[LeafNode]:
    """The members that stay, collected once somebody asks: most commits need to look at none."""
    yield from (leaf for index, leaf in tree.leaves() if index not in gone)


def _change_once(changed: set[LeafIndex], leaf: LeafIndex) -> None:
    """§12.2: nobody is updated, replaced or removed twice."""
    if leaf in changed:
        raise PeerError("VAL-12.2-3", f"leaf {leaf}")
    changed.add(leaf)


def _check_in_external_commit(row: Kind, item: Proposed) -> None:
    """§12.2 and §12.4.3.2: what somebody may carry out who joins by it."""
    if item.reference is not None:
        if row.external_commit is not ByExternalCommit.BY_REFERENCE:
            raise PeerError("VAL-12.4.3.2-2")
    elif row.external_commit is not ByExternalCommit.BY_VALUE:
        raise PeerError("VAL-12.2-12", f"type {item.proposal.type}")


def _requires_data_updates(extensions: Extensions) -> bool:
    required = parse_required_capabilities(find_extension(extensions, ExtensionType.REQUIRED_CAPABILITIES))
    return ProposalType.APP_DATA_UPDATE in required.proposals


def _credential(state: PublicState, sender: Sender) -> Credential | None:
    """Who a sender is, if it is known in the epoch that ends."""
    if sender.type == SenderType.MEMBER:
        leaf = state.tree.leaf(sender.index)
        return None if leaf is None else leaf.credential
    return state.external_senders()[sender.index].credential if sender.type == SenderType.EXTERNAL else None


def _check_mode(parameters: Parameters, mode: Mode, after: Extensions) -> None:
    """A group stays of the kind that it was made as."""
    if parameters.mode(dictionary_of(after)) is not mode:
        raise PeerError("EXT-5-7")
    mode.check_group(after)


def _check_added_clients(tree: RatchetTree, adds: list[KeyPackage], removed: list[LeafIndex]) -> None:
    """§12.2: no client twice, where a client is known by its signature key."""
    seen: set[bytes] = set()
    gone = frozenset(removed)
    for package in adds:
        key = package.leaf_node.signature_key
        if key in seen:
            raise PeerError("VAL-12.2-4")
        seen.add(key)
        member = tree.signature_keys.find(key)
        if member is not None and member not in gone:
            raise PeerError("VAL-12.2-5", f"leaf {member}")


def supported_by_all(tree: RatchetTree, types: frozenset[int]) -> bool:
    """Whether every member supports these types of proposals."""
    return all(profile.capabilities.supports_proposals(types) for _, profile in tree.profiles.items())


def self_remove_capable(tree: RatchetTree) -> bool:
    """mls-extensions §6.3: every member supports it, so a commit from outside may name proposals to leave."""
    return supported_by_all(tree, frozenset({ProposalType.SELF_REMOVE}))


def _check_types(tree: RatchetTree, removed: list[LeafIndex], types: frozenset[int]) -> None:
    """§12.2: whoever has to process the commit supports its proposals; who is removed by it does not have to."""
    remaining = tree.evolved({}, removed, [])[0] if removed else tree
    if not supported_by_all(remaining, types):
        raise PeerError("VAL-12.2-10", f"types {sorted(types)}")


def check_proposal(
    env: Environment, state: PublicState, parameters: Parameters, item: Proposed, *, sending: bool
) -> None:
    """§12.1: what can be said of a proposal before it is known which others it will stand beside.

    How it fits those, and the tree that they make, is asked of the whole list by `plan`: an Add of a member's client is
    right beside that member's Remove, and new extensions change what a leaf has to support.
    """
    proposal = item.proposal
    kind = proposal.type
    if item.sender.type == SenderType.EXTERNAL and not kind_of(proposal).external_sender:
        raise PeerError("VAL-12.1.8-1", f"type {kind}")
    if isinstance(proposal, ExternalInit):
        raise PeerError("VAL-12.2-9")
    if isinstance(proposal, Add):
        check_adds(env, state.suite, parameters, [proposal.key_package], sending=sending)
    else:
        _check_alone(env, state, parameters, parameters.mode(state.context.dictionary), item, None)


def _check_alone(
    env: Environment,
    state: PublicState,
    parameters: Parameters,
    mode: Mode,
    item: Proposed,
    founding: int | None,
    vouched: Container[bytes] = frozenset(),
) -> None:
    """The rules of §12.1 that need nothing but the epoch; Adds have theirs in `check_adds`."""
    proposal = item.proposal
    if isinstance(proposal, Update):
        check_update(env, state, parameters, LeafIndex(item.sender.index), proposal.leaf_node)
    elif isinstance(proposal, Remove):
        if state.tree.leaf(proposal.removed) is None:
            raise PeerError("VAL-12.1.3-1", f"leaf {proposal.removed}")
    elif isinstance(proposal, PreSharedKey):
        _check_psk(state.suite, proposal.psk, founding)
    elif isinstance(proposal, GroupContextExtensions):
        check_group_extensions(env, proposal.extensions)
    elif isinstance(proposal, ReInit):
        if proposal.version < MLS10:
            raise PeerError("VAL-12.1.5-1")
        check_group_extensions(env, proposal.extensions)
    elif isinstance(proposal, LeafReplacement):
        check_leaf_replacement(env, state, parameters, mode, item.sender, proposal, vouched)
    elif isinstance(proposal, AppDataUpdate | AppEphemeral):
        check_data_proposal(parameters.components, proposal)


def _check_psk(suite: Suite, psk: PreSharedKeyId, founding: int | None) -> None:
    """§12.1.4."""
    if len(psk.nonce) != suite.hash_size:
        raise PeerError("VAL-12.1.4-1")
    if isinstance(psk, ResumptionPskId) and psk.usage != ResumptionUsage.APPLICATION and psk.usage != founding:
        raise PeerError("VAL-12.1.4-2")


def check_psk_list(suite: Suite, psks: Sequence[PreSharedKeyId], prior: Suite | None) -> ResumptionPskId | None:
    """§12.4.3.1: at most one PSK founds a group; which.

    Its nonce has the size of the new group's hash (§8.4); of the old group's too is accepted, because other
    implementations send that where a ReInit changes the suite, and a joiner loses nothing by it.
    """
    founding: ResumptionPskId | None = None
    _check_psk_count(psks)
    for psk in psks:
        founds = isinstance(psk, ResumptionPskId) and psk.usage != ResumptionUsage.APPLICATION
        size = len(psk.nonce)
        if size != suite.hash_size and not (founds and prior is not None and size == prior.hash_size):
            raise PeerError("VAL-12.1.4-1")
        if not isinstance(psk, ResumptionPskId) or psk.usage == ResumptionUsage.APPLICATION:
            continue
        if founding is not None:
            raise PeerError("VAL-12.4.3.1-3")
        founding = psk
    return founding


def _check_psk_count(psks: Sequence[PreSharedKeyId]) -> None:
    """§8.4: PSKLabel counts them in 16 bits."""
    if len(psks) > 0xFFFF:
        raise PeerError("VAL-8.4-2")


def check_group_extensions(env: Environment, extensions: Extensions) -> None:
    """§12.1.7 and §5.3.1: the parts of new GroupContext extensions that can be judged alone."""
    if len({extension.type for extension in extensions}) != len(extensions):
        raise PeerError("VAL-13.4-1")
    parse_required_capabilities(find_extension(extensions, ExtensionType.REQUIRED_CAPABILITIES))
    senders = find_extension(extensions, ExtensionType.EXTERNAL_SENDERS)
    if senders is not None:
        for sender in parse_external_senders(senders):
            env.authentication.validate(sender.credential, sender.signature_key, env.now)
    dictionary_of(extensions)  # refuses what is not one


def check_profiles(tree: RatchetTree, extensions: Extensions) -> None:
    """§7.3, §11.1 and §13.4: every member supports what the group and the other members use."""
    required = parse_required_capabilities(find_extension(extensions, ExtensionType.REQUIRED_CAPABILITIES))
    wanted = frozenset(required.extensions), frozenset(required.proposals), frozenset(required.credentials)
    kinds = frozenset(extension.type for extension in extensions)
    profiles = [profile for _, profile in tree.profiles.items()]
    in_use = {profile.credential_type for profile in profiles}
    cipher_suite = tree.suite.cipher_suite
    for profile in profiles:
        capabilities = profile.capabilities
        if MLS10 not in capabilities.versions or cipher_suite not in capabilities.cipher_suites:
            raise PeerError("VAL-11.1-1")
        if not (
            capabilities.supports_extensions(wanted[0])
            and capabilities.supports_proposals(wanted[1])
            and capabilities.supports_credentials(wanted[2])
        ):
            raise PeerError("VAL-7.3-3")
        if not capabilities.supports_extensions(kinds):
            raise PeerError("VAL-13.4-2")
        if not in_use.issubset(capabilities.credentials):
            raise PeerError("VAL-7.3-4")


def check_own_support(parameters: Parameters, extensions: Extensions) -> None:
    """§13.4: we must implement every GroupContext extension; judged by what we do, not by what we advertise."""
    for extension in extensions:
        if extension.type not in SUPPORTED_EXTENSIONS and extension.type not in parameters.extensions:
            raise PeerError("VAL-13.4-3", f"type {extension.type}")
    check_own(parameters.components, extensions)


SUPPORTED_EXTENSIONS = frozenset(
    {
        ExtensionType.REQUIRED_CAPABILITIES,
        ExtensionType.EXTERNAL_SENDERS,
        ExtensionType.APPLICATION_ID,
        ExtensionType.APP_DATA_DICTIONARY,
        ExtensionType.REQUIRED_WIRE_FORMATS,
    }
)
