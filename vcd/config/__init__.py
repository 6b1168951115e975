"""vcd.toml: what a person may set, as one frozen value with the origin of every part of it.

    loaded = load(paths.find().config_files)
    loaded.config.network.listen
    loaded.origins["network.listen"]      # "/home/alice/.config/vcd/vcd.toml, line 7"

The daemon never writes these files; what it learns is state. The command line reads them too, so nothing here may load
the protocol or the network. `model` is the list of all keys, and everything else follows from it.
"""

from __future__ import annotations

from vcd.config.changes import Changes, changes, merged
from vcd.config.kinds import Wrong
from vcd.config.loading import ConfigError, From, Loaded, Origin, Problem, load
from vcd.config.model import (
    DEFAULTS,
    KEYS,
    PROFILES,
    VERSION,
    Config,
    Device,
    Logs,
    Mailbox,
    Metrics,
    Network,
    Node,
    Relay,
    Rpc,
    Store,
    Vault,
)
from vcd.config.tenants import Tenant

__all__ = [
    "DEFAULTS",
    "KEYS",
    "PROFILES",
    "VERSION",
    "Changes",
    "Config",
    "ConfigError",
    "Device",
    "From",
    "Loaded",
    "Logs",
    "Mailbox",
    "Metrics",
    "Network",
    "Node",
    "Origin",
    "Problem",
    "Relay",
    "Rpc",
    "Store",
    "Tenant",
    "Vault",
    "Wrong",
    "changes",
    "load",
    "merged",
]
