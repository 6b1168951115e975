"""DMLS beside mls-extensions §4.6 and §5: how a fork-resilient group is told from others, and who can be in one.

The draft changes the key schedule and has no word for it on the wire: a client that takes a DMLS group for a plain one
joins, and then fails to follow the first commit. Here a DMLS group says what it is in its GroupContext, twice. It has
an entry under `Numbers.dmls`, which is the marker, and it lists that component among those that it demands, so that no
leaf gets in that does not list it too. A client that knows no components at all lacks support for the extension that
holds all this, and is kept out by RFC 9420 itself (§13.4).

    parameters = with_forks(Parameters(...))
    capabilities, leaf_extensions = advertised(parameters, capabilities, leaf_extensions)
    group.create(env, parameters, ..., extensions=fork_resilient(parameters, extensions))

The first two lines are for everybody who may be in such groups, the last for who makes one. There are two versions of
them (`mls.fork.mode`), and a client that takes part takes part in both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mls.components.dictionary import dictionary_of, with_dictionary
from mls.components.lists import ComponentsList, components_of
from mls.components.numbers import Numbers
from mls.fork.mode import BY_CHILD, CHILDREN, VERSIONS, ForkResilient, marker
from mls.leaf_node import Capabilities, Extensions
from mls.parameters import Parameters
from mls.registries import ExtensionType


def with_forks(parameters: Parameters, *, children: int = CHILDREN) -> Parameters:
    """The same choices for a client that takes part in DMLS groups, and follows so many commits on one epoch."""
    components = parameters.components
    numbers = components.numbers
    others = [mode for mode in parameters.modes if not isinstance(mode, ForkResilient)]
    return replace(
        parameters,
        components=replace(components, known=components.known | {numbers.dmls}),
        modes=(*others, *[ForkResilient(version=each, numbers=numbers, children=children) for each in VERSIONS]),
    )


def fork_resilient(parameters: Parameters, extensions: Extensions = (), *, version: int = BY_CHILD) -> Extensions:
    """The GroupContext extensions of a new DMLS group, or of what a ReInit makes one."""
    numbers = parameters.components.numbers
    listed = _listing(numbers, extensions, {numbers.dmls})
    return with_dictionary(listed, dictionary_of(listed).with_entry(numbers.dmls, marker(version)))


def advertised(
    parameters: Parameters, capabilities: Capabilities, extensions: Extensions = ()
) -> tuple[Capabilities, Extensions]:
    """A leaf's capabilities and extensions, with what a DMLS group asks of them."""
    numbers = parameters.components.numbers
    kind = int(ExtensionType.APP_DATA_DICTIONARY)
    if kind not in capabilities.extensions:
        capabilities = replace(capabilities, extensions=(*capabilities.extensions, kind), encoded=b"")
    return capabilities, _listing(numbers, extensions, {numbers.dmls})


def _listing(numbers: Numbers, extensions: Extensions, components: Iterable[int]) -> Extensions:
    """With these components under `app_components`, beside those that are listed there."""
    dictionary = dictionary_of(extensions)
    listed = components_of(dictionary.find(numbers.app_components)).union(components)
    entry = ComponentsList.of(listed).encode()
    return with_dictionary(extensions, dictionary.with_entry(numbers.app_components, entry))
