"""A demonstration: five daemons on this machine, a split that cuts their connections, and what is left of it."""
