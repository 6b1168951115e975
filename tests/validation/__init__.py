"""Every numbered rule of `mls.checks` has code that enforces it and a test that breaks it; this package holds the three
against each other.

    python -m tests.validation                       code, table, tests and docs/validation.md agree
    python -m tests.validation --write               write docs/validation.md anew
    python -m tests.validation --mutate [ID...]      disable every check in turn; its tests must notice

A test says with `breaks` which rules it breaks. It presents bytes from outside that break that rule and no other, and
asks for a `PeerError` with exactly that number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])


def breaks(*rules: str) -> Callable[[Test], Test]:
    """Marks a test with the numbers of the rules that it breaks."""

    def mark(test: Test) -> Test:
        test.__breaks__ = rules  # type: ignore[attr-defined]  # functions take attributes
        return test

    return mark
