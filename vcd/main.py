"""The entry point: what `vcd` and `make run` start.

The only module that may import every other one, because here they are wired together. There is no daemon to
wire yet, so this says what exists, checks that it loads, and does nothing else: it listens nowhere and
writes nothing. Everything is imported inside functions, so that `vcd --version` stays instant.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import platform
import sys
import time
from typing import TYPE_CHECKING

from vcd import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOMS = {
    "mls": "the MLS protocol core (RFC 9420), a library for now",
    "transport": "the mesh over libp2p, a library for now",
}
NEEDED = ("cryptography", "pyhpke", "PyNaCl", "trio", "libp2p", "msgpack")


def modules_of(room: str) -> list[str]:
    """Every module of a package, itself left out; found by looking at its folder, without importing them."""
    package = importlib.import_module(room)
    return sorted(found.name for found in pkgutil.walk_packages(package.__path__, f"{room}."))


def load(room: str) -> tuple[int, float]:
    """Import every module of a room; how many there were, and the seconds it took."""
    started = time.perf_counter()
    names = modules_of(room)
    for name in names:
        importlib.import_module(name)
    return len(names), time.perf_counter() - started


def versions(names: Sequence[str]) -> str:
    from importlib.metadata import PackageNotFoundError, version

    parts = []
    for name in names:
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name} missing")
    return ", ".join(parts)


def describe() -> bool:
    """Print what is there; true when all of it loads."""
    system = f"{platform.system()} {platform.machine()}"
    print(f"vcd {__version__} on Python {platform.python_version()}, {system}")
    print(f"  with       {versions(NEEDED)}")
    whole = True
    for room, purpose in ROOMS.items():
        try:
            count, seconds = load(room)
        except Exception as error:  # noqa: BLE001 - whatever a broken room raises is what this reports
            whole = False
            print(f"  {room:<10} does not load: {type(error).__name__}: {error}")
            continue
        state = f"{count} modules, all load ({seconds:.2f} s)" if count else "nothing in it yet"
        print(f"  {room:<10} {purpose}: {state}")
    print("  daemon     not built yet")
    print()
    print("Nothing was started: no socket is open, no peer is looked for, no file or key was written.")
    print("What works today are the libraries and their tests: `make test`; README.md says where to read on.")
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="vcd",
        description="Several devices, one member in every MLS group. The daemon itself is not built yet; "
        "this prints what is.",
    )
    parser.add_argument("--version", action="version", version=f"vcd {__version__}")
    parser.parse_args(argv)
    return 0 if describe() else 1


if __name__ == "__main__":
    sys.exit(main())
