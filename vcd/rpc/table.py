"""The one table of what the daemon can be asked and what it tells.

Dispatch, docs/rpc.md, the JSON Schemas, `rpc.api_info` and the tests come from it. Once a level is released, what its
functions take and give does not change any more; results and events may gain fields, and a better function gets another
name and a level of its own (`since`). `vcd.rpc.api` has what a level promised.
"""

from __future__ import annotations

from collections.abc import Mapping

from vcd.rpc.nouns import account, chat, chat_events, contact, daemon, device, msg, raw, rpc
from vcd.rpc.row import EventType, Function

LEVEL = 1
"""Of what is below."""
COMPATIBLE = 1
"""The oldest level of which everything is still there."""
PRERELEASE = True
"""Whether the newest level may still change."""

_NOUNS = (rpc, daemon, account, device, contact, chat, msg, raw)

FUNCTIONS: Mapping[str, Function] = {row.name: row for noun in _NOUNS for row in noun.FUNCTIONS}
"""By name, in the order in which the reference has them."""

_EVENTS = (msg, chat_events, device, contact, account, daemon, raw)

EVENTS: Mapping[str, EventType] = {row.type: row for noun in _EVENTS for row in noun.EVENTS}

BUILT_IN = frozenset(row.name for row in rpc.FUNCTIONS)
"""What the server does by itself; everything else needs a handler."""

BEFORE_HELLO = frozenset({"rpc.hello", "rpc.api_info", "status.get"})
