"""vcd: the daemon, everything that has a clock, a disk or a socket.

Importing this package is instant on purpose: the command line and the client libraries live under it,
and neither may pay for the protocol or the network (docs/adr/0001-trio-throughout.md).
"""

from __future__ import annotations

__version__ = "0.1.0.dev0"
