"""What a test needs from outside, and what happens when it is not there.

A test that lacks something skips, loudly. On a machine that is supposed to have it, the same skip would hide
a broken test, so `VCD_REQUIRE=vectors,js` turns it into a failure for each thing named.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

KNOWN = {
    "vectors": "the working group's test vectors (make vectors)",
    "js": "node and npm",
    "rust": "cargo",
    "go": "the Go toolchain",
    "docker": "a running Docker engine",
    "systemd": "systemd-analyze and systemd-socket-activate (the Debian package systemd)",
    "netns": "root, and network namespaces with NAT (ip, nft)",
}


def required() -> tuple[str, ...]:
    """The names in VCD_REQUIRE; one that nobody checks is an error, lest a typing mistake skip in silence."""
    names = tuple(name.strip() for name in os.environ.get("VCD_REQUIRE", "").split(",") if name.strip())
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        message = f"VCD_REQUIRE names {', '.join(unknown)}; it knows {', '.join(KNOWN)}"
        raise pytest.UsageError(message)
    return names


def require_or_skip(what: str, reason: str) -> NoReturn:
    """Say that `what` is missing: a skip with the reason, or a failure where VCD_REQUIRE names it.

    For use in a test, a fixture, or at the top of a test module.
    """
    if what not in KNOWN:
        message = f"{what!r} is not in tests/requirements.py"
        raise ValueError(message)
    if what in required():
        pytest.fail(f"VCD_REQUIRE names {what}: {reason}", pytrace=False)
    pytest.skip(f"needs {what}: {reason}", allow_module_level=True)
