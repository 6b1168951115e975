"""Groups whose members have components, and the leaves by which they say so.

Two components: COLOR has a logic of its own, which appends what it is told, and NOTE keeps what it was told last.
STRANGE is one that nobody here knows. `company` makes a group like `tests.mls.clients.party` does, of members that
offer everything there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mls.components.dictionary import dictionary_extension
from mls.components.lists import (
    ComponentsList,
    required_wire_formats_extension,
    supported_wire_formats_extension,
)
from mls.components.logic import Components, Refused, Said
from mls.components.media import MediaType, MediaTypeList
from mls.components.numbers import APP_ACK, ComponentId
from mls.leaf_node import Capabilities, Extensions, RequiredCapabilities, default_capabilities
from mls.parameters import Parameters
from mls.proposals import AppDataUpdate, AppEphemeral
from mls.provider import PskStore
from mls.registries import ProposalType
from tests.mls.clients import NAMES, Client, Party, client, environment

COLOR, NOTE, STRANGE = ComponentId(0x8001), ComponentId(0x8002), ComponentId(0x8003)
LISTED, SAFE_AAD, MEDIA = ComponentId(1), ComponentId(2), ComponentId(3)
TARGETED = 6
TEXT, PICTURE = MediaType(b"text/plain"), MediaType(b"image/png")


class Palette:
    """Appends; wants nothing that says no, and nothing at all from outside but green."""

    def _look(self, said: Said) -> None:
        outside = said.external_commit or said.sender.type != 1
        if b"no" in said.data or (outside and said.data != b"green"):
            raise Refused

    def update(self, old: bytes | None, updates: Sequence[Said]) -> bytes:
        for said in updates:
            self._look(said)
        new = (old or b"") + b"".join([said.data for said in updates])
        if len(new) > 64:
            raise Refused
        return new

    def remove(self, old: bytes, by: Said) -> None:
        if old.startswith(b"kept"):
            raise Refused

    def ephemeral(self, said: Said) -> None:
        self._look(said)


KNOWN = Components(logic={COLOR: Palette()}, known=frozenset({NOTE}), wire_formats=frozenset({TARGETED}))
WITH = Parameters(components=KNOWN)
ABLE = default_capabilities(extensions=(6, 7, 8), proposals=(8, 9, 10))


def offer(
    components: Iterable[int] = (LISTED, SAFE_AAD, MEDIA, APP_ACK, COLOR, NOTE),
    safe_aad: Iterable[int] = (COLOR,),
    media_types: Sequence[MediaType] = (TEXT, PICTURE),
    wire_formats: Iterable[int] = (TARGETED,),
) -> Extensions:
    """What a leaf supports."""
    entries: dict[int, bytes] = {
        LISTED: ComponentsList.of(components).encode(),
        SAFE_AAD: ComponentsList.of(safe_aad).encode(),
    }
    if media_types:
        entries[MEDIA] = MediaTypeList(tuple(media_types)).encode()
    return (dictionary_extension(entries), supported_wire_formats_extension(wire_formats))


OFFER = offer()


def demand(
    *,
    components: Iterable[int] | None = None,
    safe_aad: Iterable[int] | None = None,
    media_types: Sequence[MediaType] = (),
    wire_formats: Iterable[int] = (),
    data: Mapping[int, bytes] | None = None,
    data_updates: bool = False,
) -> Extensions:
    """A group's extensions: what it demands, and other application data."""
    entries = dict(data or {})
    if components is not None:
        entries[LISTED] = ComponentsList.of(components).encode()
    if safe_aad is not None:
        entries[SAFE_AAD] = ComponentsList.of(safe_aad).encode()
    if media_types:
        entries[MEDIA] = MediaTypeList(tuple(media_types)).encode()
    extensions: Extensions = (dictionary_extension(entries),) if entries else ()
    if wire_formats:
        extensions = (*extensions, required_wire_formats_extension(wire_formats))
    if data_updates:
        extensions = (*extensions, RequiredCapabilities((), (ProposalType.APP_DATA_UPDATE,), ()).extension())
    return extensions


def someone(name: str, parameters: Parameters = WITH, capabilities: Capabilities = ABLE, suite: int = 1) -> Client:
    return client(name, suite, parameters=parameters, capabilities=capabilities)


def company(
    count: int,
    *,
    extensions: Extensions = (),
    parameters: Parameters = WITH,
    capabilities: Capabilities = ABLE,
    leaf: Extensions = OFFER,
    seed: object = "company",
    psks: PskStore | None = None,
    suite: int = 1,
) -> Party:
    made = _made(count, extensions, parameters, capabilities, leaf, suite)
    return made.copy(environment(seed, psks=psks))


@lru_cache(maxsize=64)
def _made(
    count: int, extensions: Extensions, parameters: Parameters, capabilities: Capabilities, leaf: Extensions, suite: int
) -> Party:
    env = environment(f"company {count} {suite}")
    people = [someone(name, parameters, capabilities, suite) for name in NAMES[:count]]
    first = people[0]
    made = Party(env, {}, {})
    made.clients[first.name] = first
    made.groups[first.name] = first.create(env, extensions=extensions, leaf_extensions=leaf)
    if count > 1:
        made.commit(first.name, joining=[(each, each.package(env, leaf_extensions=leaf)) for each in people[1:]])
    return made


def updated(component: int, data: bytes | None) -> AppDataUpdate:
    return AppDataUpdate(ComponentId(component), data)


def told(component: int, data: bytes) -> AppEphemeral:
    return AppEphemeral(ComponentId(component), data)


def data_of(party: Party, component: int) -> bytes | None:
    """A component's data, on which everybody agrees."""
    party.agree()
    return party.any.public.context.dictionary.find(component)


def knowing(parameters: Parameters, **changes: Any) -> Parameters:
    """The same with other components."""
    return replace(parameters, components=replace(parameters.components, **changes))
