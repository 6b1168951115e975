"""The rule of fork choice and finality, small enough to be checked exhaustively: `python -m tests.model`."""
