"""`replace` as in `dataclasses`, several times as quick.

The state is one value with many fields, and a message changes some of them one after the other: the standard library's
`replace`, which asks of each field every time what kind of field it is, took a third of a message's time. This one
copies the slots. It takes classes whose constructor does nothing but set them; all others are left to `dataclasses`.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["replace"]

if TYPE_CHECKING:
    from dataclasses import replace
else:

    def replace(value: Any, /, **parts: Any) -> Any:
        """The value with other parts."""
        found = _slots(type(value))
        if found is None:
            return dataclasses.replace(value, **parts)
        read, writers, by_name = found
        made = object.__new__(type(value))
        for write, part in zip(writers, read(value), strict=True):
            write(made, part)
        for name, part in parts.items():
            write = by_name.get(name)
            if write is None:
                raise TypeError(f"{type(value).__name__} has no field {name!r}")
            write(made, part)
        return made


@cache
def _slots(kind: type[Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
    """How the fields of a class are read and written; None if there is more to it than slots."""
    fields = dataclasses.fields(kind)
    plain = all(each.init and each.name in getattr(kind, "__slots__", ()) for each in fields)
    if len(fields) < 2 or not plain or hasattr(kind, "__post_init__"):
        return None
    by_name = {each.name: getattr(kind, each.name).__set__ for each in fields}
    return attrgetter(*by_name), tuple(by_name.values()), by_name
