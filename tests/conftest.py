"""Settings of the whole test run: how hard to search, and which tests belong to it."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.requirements import required

LONG = os.environ.get("VCD_LONG", "") not in {"", "0"}

# No deadlines: the machine is shared, and a slow example is not a wrong one. What must be bounded says so.
settings.register_profile(
    "ci",
    max_examples=300,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", settings.get_profile("ci"), max_examples=10_000)
settings.load_profile("long" if LONG else "ci")


def pytest_configure() -> None:
    required()  # a wrong name in VCD_REQUIRE stops the run before it starts
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # In the background of a script it is ignored, and programs that tests start would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    names = ", ".join(required())
    return f"vcd: {'long run' if LONG else 'CI run'}; may not be skipped: {names or 'nothing in particular'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without VCD_LONG, tests marked `long` are deselected: the closing line counts them."""
    if LONG:
        return
    kept = [item for item in items if item.get_closest_marker("long") is None]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
