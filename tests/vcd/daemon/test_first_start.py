"""What the first start in an empty home says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vcd.daemon.process import home

pytestmark = pytest.mark.slow

SAYS = """
import sys
from vcd.main import main
from vcd.rpc.info import Info

told = Info.state

def tell(info, state):
    print("STATE", state, file=sys.stderr, flush=True)
    told.fset(info, state)

Info.state = told.setter(tell)
sys.exit(main(sys.argv[1:]))
"""


def test_a_new_database_is_not_brought_up_to_date(tmp_path: Path) -> None:
    """`vcd wait` said that it is migrating, where there was nothing to migrate."""
    with home(tmp_path) as daemon:
        daemon.program = SAYS
        daemon.start()
        assert daemon.status()["progress"] is None
        daemon.end()
        daemon.start()
        daemon.end()
        states = [line.split()[1] for line in daemon.log.splitlines() if line.startswith("STATE ")]
    assert set(states) == {"starting", "ready", "stopping"}, states
