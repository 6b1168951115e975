"""Attacks are races; here every one of them is run in the same order each time."""

from __future__ import annotations

import random

import pytest


@pytest.fixture(autouse=True)
def same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order in which trio runs tasks that are ready at the same time."""
    monkeypatch.setattr("trio._core._run._r", random.Random(1))
