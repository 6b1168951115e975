"""What can be asked of the daemon, and what it tells: a module for each few nouns, put together in `vcd.rpc.table`."""
