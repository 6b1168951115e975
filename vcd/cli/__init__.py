"""The command line: `vcd`, for people, and with `--json` for programs.

It speaks to the daemon by `vcd.client` and knows nothing of the protocol, so that a call takes hardly longer than
Python does to start: each command's module is imported when that command is called. What it prints for people may
change at any time; what `--json` prints is `{"v": 1, ...}` and gains fields only.

    0    done
    1    the daemon said no; its code is printed
    2    the daemon cannot be reached; why, and what to run
    3    the command was not understood
    4    locked, migrating, or not ready for another reason
    5    it took longer than was allowed
    130  ended by Ctrl-C
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the code to exit with."""
    try:
        from vcd.cli.running import run

        return run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
