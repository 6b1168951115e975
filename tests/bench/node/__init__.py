"""What the node costs: see `python -m tests.bench.node --help`."""
