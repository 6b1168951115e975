"""What groups of each mode are to be like, and what our leaves say so that others can take us into all of them.

A KeyPackage goes to whoever asks and is used in a group of any mode, so our leaf always says all that a vcd can do.
What is local, how much is kept of what, is in `Parameters`, and a snapshot does not hold those: `parameters_of` gives
them again by the mode.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from mls.components.dictionary import dictionary_of, with_dictionary
from mls.components.lists import ComponentsList, components_of
from mls.components.logic import Components
from mls.fork.founding import advertised, fork_resilient, with_forks
from mls.leaf_node import Capabilities, Extensions
from mls.parameters import Parameters
from mls.proposals import AppDataUpdate, GroupContextExtensions, Proposal
from mls.registries import ProposalType
from mls.state import Group
from mls.validation import supported_by_all
from mls.virtual.membership import (
    client_capabilities,
    device_capabilities,
    device_extensions,
    device_parameters,
    group_extensions,
)
from mls.virtual.settings import Settings
from vcd.core import listing, policy as policies
from vcd.core.accounts.device_list import Edition
from vcd.core.policy import Mode, Policy
from vcd.core.record import encode

SETTINGS = Settings()
"""Of virtual clients; every device of an account has the same."""

SUITES = (1, 2, 3, 4, 5, 6, 7)

_COMPONENTS = Components(logic={policies.COMPONENT: policies.PolicyLogic()})
_HOME_COMPONENTS = Components(
    logic={policies.COMPONENT: policies.PolicyLogic(), listing.COMPONENT: listing.ListLogic()}
)


@cache
def parameters_of(mode: Mode) -> Parameters:
    """Of a conversation. Everybody can take part in groups of every mode; commits race wherever there is no lead."""
    plain = Parameters(components=_COMPONENTS, keep_handshake_keys=mode in (Mode.EC1, Mode.EC2, Mode.LEAD))
    return with_forks(SETTINGS.shared(plain))


@cache
def raw_parameters() -> Parameters:
    """Of an app's group, which has no mode. Two devices of one account may propose something on one key."""
    return replace(parameters_of(Mode.DEMLS), keep_handshake_keys=True)


@cache
def home_parameters() -> Parameters:
    """Of the group of an account's devices."""
    return device_parameters(SETTINGS, with_forks(Parameters(components=_HOME_COMPONENTS)))


@cache
def leaf() -> tuple[Capabilities, Extensions]:
    """What our leaf in a conversation can do."""
    capabilities, extensions = advertised(parameters_of(Mode.DEMLS), client_capabilities(SUITES))
    proposals = (*capabilities.proposals, int(ProposalType.APP_DATA_UPDATE), int(ProposalType.SELF_REMOVE))
    return replace(capabilities, proposals=proposals, encoded=b""), _listing(extensions)


@cache
def device_leaf() -> tuple[Capabilities, Extensions]:
    """What a device's leaf in the home can do."""
    plain = home_parameters()
    capabilities, extensions = advertised(plain, device_capabilities(SUITES), device_extensions(SETTINGS, plain))
    proposals = (*capabilities.proposals, int(ProposalType.APP_DATA_UPDATE))
    return replace(capabilities, proposals=proposals, encoded=b""), _listing(extensions, listing.COMPONENT)


def _listing(extensions: Extensions, *others: int) -> Extensions:
    """With the component of policies, and others, among those that a leaf supports."""
    numbers = _COMPONENTS.numbers
    dictionary = dictionary_of(extensions)
    listed = components_of(dictionary.find(numbers.app_components)) | {policies.COMPONENT, *others}
    return with_dictionary(
        extensions, dictionary.with_entry(numbers.app_components, ComponentsList.of(listed).encode())
    )


def _demanding(extensions: Extensions, policy: Policy) -> Extensions:
    """With a policy, which every member must know how to read."""
    dictionary = dictionary_of(_listing(extensions)).with_entry(policies.COMPONENT, policies.entry(policy))
    return with_dictionary(extensions, dictionary)


def conversation_extensions(policy: Policy) -> Extensions:
    """Of a new conversation's context."""
    if policy.mode is Mode.DEMLS:
        return _demanding(fork_resilient(parameters_of(policy.mode)), policy)
    if policy.mode is Mode.LEAD:  # ordinary clients need not know what a policy is
        dictionary = dictionary_of(()).with_entry(policies.COMPONENT, policies.entry(policy))
        return with_dictionary((), dictionary)
    return _demanding((), policy)


def policy_change(group: Group, policy: Policy) -> Proposal:
    """What gives a group another policy, in words that all of its members know."""
    if supported_by_all(group.public.tree, frozenset({ProposalType.APP_DATA_UPDATE})):
        return AppDataUpdate(policies.COMPONENT, policies.entry(policy))
    extensions = group.public.context.extensions
    changed = dictionary_of(extensions).with_entry(policies.COMPONENT, policies.entry(policy))
    return GroupContextExtensions(with_dictionary(extensions, changed))


def home_extensions(policy: Policy, edition: Edition) -> Extensions:
    """Of the home's context, with the account's first list of devices."""
    extensions = _demanding(fork_resilient(home_parameters(), group_extensions(SETTINGS)), policy)
    dictionary = dictionary_of(_listing(extensions, listing.COMPONENT))
    return with_dictionary(extensions, dictionary.with_entry(listing.COMPONENT, encode(edition)))
