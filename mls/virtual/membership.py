"""draft-ietf-mls-virtual-clients §5: what an emulation group is to be like, and what its members say of themselves.

The group is an ordinary one. For commits to announce anything, its members must share authenticated data among
components (mls-extensions §4.9); to tell one device what others shall not know, all must read targeted messages. Both
are demanded in the group's context, so that no device comes in that would not understand another.

A virtual client's leaf in a conversation needs less: its capabilities must name application data.
"""

from __future__ import annotations

from dataclasses import replace

from mls.components.dictionary import dictionary_extension
from mls.components.lists import ComponentsList, required_wire_formats_extension
from mls.components.negotiation import offered
from mls.leaf_node import Capabilities, Extensions, default_capabilities
from mls.parameters import Parameters
from mls.registries import ExtensionType, WireFormat
from mls.virtual.settings import Settings

_WIRE_FORMATS = frozenset({int(WireFormat.TARGETED_MESSAGE)})


def device_parameters(settings: Settings, parameters: Parameters) -> Parameters:
    """A device's parameters in the emulation group: with the component of virtual clients among those that it knows."""
    components = parameters.components
    return replace(
        parameters,
        components=replace(
            components,
            numbers=settings.numbers,
            known=components.known | {settings.numbers.virtual_clients},
            wire_formats=components.wire_formats | _WIRE_FORMATS,
        ),
    )


def device_capabilities(cipher_suites: tuple[int, ...]) -> Capabilities:
    """Of a device's leaf in the emulation group."""
    return default_capabilities(
        cipher_suites,
        extensions=(
            ExtensionType.APP_DATA_DICTIONARY,
            ExtensionType.SUPPORTED_WIRE_FORMATS,
            ExtensionType.REQUIRED_WIRE_FORMATS,
        ),
    )


def client_capabilities(cipher_suites: tuple[int, ...]) -> Capabilities:
    """Of the virtual client's leaf in a conversation."""
    return default_capabilities(cipher_suites, extensions=(ExtensionType.APP_DATA_DICTIONARY,))


def device_extensions(settings: Settings, parameters: Parameters) -> Extensions:
    """Of a device's leaf in the emulation group."""
    known = device_parameters(settings, parameters).components
    return offered(known, safe_aad=(settings.numbers.virtual_clients,))


def group_extensions(settings: Settings) -> Extensions:
    """Of the emulation group's context: what it demands of every device."""
    numbers = settings.numbers
    demanded = ComponentsList.of((numbers.virtual_clients,)).encode()
    dictionary = dictionary_extension({numbers.app_components: demanded, numbers.safe_aad: demanded})
    return (dictionary, required_wire_formats_extension(sorted(_WIRE_FORMATS)))
