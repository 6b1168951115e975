"""mls-extensions §4.7 and §4.8: what a commit does to the application data of a group.

After the proposals of RFC 9420 come the AppEphemerals, each handed to its component, and then the AppDataUpdates, by
component and within one in the order of the commit. The result is a new list of GroupContext extensions, or a refusal
of the whole commit: one component that does not accept its part is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mls.components.dictionary import dictionary_of, with_dictionary
from mls.components.logic import Components, Refused, Said
from mls.components.negotiation import strange
from mls.components.numbers import ComponentId, Numbers
from mls.errors import PeerError
from mls.leaf_node import Extensions, LeafNode, find_extension
from mls.proposals import AppDataUpdate, AppEphemeral
from mls.registries import ExtensionType

if TYPE_CHECKING:
    from mls.credential import Credential
    from mls.framing import Sender


@dataclass(frozen=True, slots=True)
class Brought:
    """A proposal of application data, and who made it."""

    proposal: AppDataUpdate | AppEphemeral
    sender: Sender


def check_data_proposal(components: Components, proposal: AppDataUpdate | AppEphemeral) -> None:
    """What can be said of one before it is known which others it will stand beside."""
    if components.knows(proposal.component_id):
        return
    if isinstance(proposal, AppDataUpdate):
        raise PeerError("EXT-4.7-2", f"component {proposal.component_id}")
    raise PeerError("EXT-4.8-1", f"component {proposal.component_id}")


def check_supported(
    numbers: Numbers, extensions: Extensions, brought: Sequence[Brought], leaves: Iterable[LeafNode]
) -> None:
    """Everything is for components that all who have to process it support, in a group with these extensions."""
    told = frozenset([item.proposal.component_id for item in brought])
    unknown = strange(numbers, extensions, told, leaves)
    for item in brought:
        component = item.proposal.component_id
        if component not in unknown:
            continue
        if isinstance(item.proposal, AppDataUpdate):
            raise PeerError("EXT-4.7-7", f"component {component}")
        raise PeerError("EXT-4.8-3", f"component {component}")


def check_kept_dictionary(before: Extensions, after: Extensions) -> None:
    """§4.7: where AppDataUpdate is required of everybody, nothing else may touch the dictionary."""
    kind = ExtensionType.APP_DATA_DICTIONARY
    if find_extension(before, kind) != find_extension(after, kind):
        raise PeerError("EXT-4.7-5")


def carry_out(
    components: Components,
    extensions: Extensions,
    brought: Sequence[Brought],
    credential: Callable[[Sender], Credential | None],
    *,
    external_commit: bool,
) -> Extensions:
    """The extensions after a commit's application data, given those after everything else in it."""

    def said(data: bytes | None, sender: Sender) -> Said:
        return Said(data=data or b"", sender=sender, credential=credential(sender), external_commit=external_commit)

    updates: dict[ComponentId, list[tuple[AppDataUpdate, Sender]]] = {}
    for item in brought:
        proposal = item.proposal
        if isinstance(proposal, AppDataUpdate):
            updates.setdefault(proposal.component_id, []).append((proposal, item.sender))
            continue
        try:
            components.of(proposal.component_id).ephemeral(said(proposal.data, item.sender))
        except Refused:
            raise PeerError("EXT-4.8-2", f"component {proposal.component_id}") from None
    if not updates:
        return extensions
    dictionary = dictionary_of(extensions)
    for component, items in updates.items():
        heard = [said(update.update, sender) for update, sender in items]
        removals = any(update.update is None for update, _ in items)
        old = dictionary.find(component)
        logic = components.of(component)
        if removals and len(items) > 1:
            raise PeerError("EXT-4.7-3", f"component {component}")
        if removals and old is None:
            raise PeerError("EXT-4.7-4", f"component {component}")
        try:
            if removals:
                logic.remove(old or b"", heard[0])
                dictionary = dictionary.without(component)
            else:
                dictionary = dictionary.with_entry(component, logic.update(old, heard))
        except Refused:
            raise PeerError("EXT-4.7-6", f"component {component}") from None
    return with_dictionary(extensions, dictionary)
