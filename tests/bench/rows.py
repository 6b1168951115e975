"""Rows of figures as JSON has them: what was not measured is left out, and nobody reads more digits than these."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

DIGITS = 4


def figures(row: Any) -> dict[str, Any]:
    """The fields of a row, a dataclass, that have a value."""
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    return {
        name: round(value, DIGITS) if isinstance(value, float) else value
        for name, value in values.items()
        if value is not None
    }
