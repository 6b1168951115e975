"""The node: everything that a device knows and decides, without a clock, a disk or a socket."""
