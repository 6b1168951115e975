"""Values as bytes inside a seal: msgpack. What comes back was sealed by us, so its shape is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from vcd.store.values import LARGEST

__all__ = ["in_time", "pack", "unpack"]


def in_time(at_ms: int) -> None:
    """`ValueError` for a time that is no millisecond since 1970, within what every client can read."""
    if not 0 <= at_ms < 1 << 53:
        raise ValueError("a time is in milliseconds since 1970")


def pack(values: Sequence[object], what: str) -> bytes:
    """`ValueError` for what msgpack does not know, and for what is too large: that is the caller's mistake."""
    try:
        data: bytes = msgpack.packb(list(values), use_bin_type=True)
    except (TypeError, OverflowError, ValueError) as error:
        raise ValueError(f"{what} cannot be stored: {error}") from error
    if len(data) > LARGEST:
        raise ValueError(f"{what} is too large to be stored: {len(data)} bytes of at most {LARGEST}")
    return data


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False, use_list=True)
