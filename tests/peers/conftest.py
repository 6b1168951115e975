"""Peers that several test modules talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.peers import launch, openmls_peer
from tests.requirements import require_or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def openmls() -> Iterator[openmls_peer.OpenMls]:
    """One running OpenMLS. A client stays there until a test makes another of the same name."""
    try:
        command = launch.openmls()
    except launch.UnavailableError as error:
        require_or_skip("rust", str(error))
    with openmls_peer.started(command) as peer:
        yield peer
