"""`python -m vcd.cli`: the same as `vcd`."""

from __future__ import annotations

import sys

from vcd.cli import main

sys.exit(main())
