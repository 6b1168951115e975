"""What this device keeps: one SQLite file, sealed by the vault. See `vcd.store.store` for how it works."""

from __future__ import annotations

from vcd.store.frames import Frames
from vcd.store.history import History
from vcd.store.journal import Journal
from vcd.store.store import Store, open_store
from vcd.store.trouble import StoreTrouble, Trouble
from vcd.store.values import (
    Batch,
    ChatMessage,
    CursorExpired,
    CursorUnknown,
    DeleteMessage,
    Done,
    Entry,
    Messages,
    NewEntry,
    NewFate,
    NewMessage,
    NewRequest,
    Page,
    Progress,
    RequestRepeated,
    Row,
    TooManyConsumers,
)

__all__ = [
    "Batch",
    "ChatMessage",
    "CursorExpired",
    "CursorUnknown",
    "DeleteMessage",
    "Done",
    "Entry",
    "Frames",
    "History",
    "Journal",
    "Messages",
    "NewEntry",
    "NewFate",
    "NewMessage",
    "NewRequest",
    "Page",
    "Progress",
    "RequestRepeated",
    "Row",
    "Store",
    "StoreTrouble",
    "TooManyConsumers",
    "Trouble",
    "open_store",
]
