"""Moves opaque bytes between peers; knows neither MLS nor the daemon.

Empty so far. What belongs here imports trio and libp2p and nothing else: the host, gossip, direct streams,
set reconciliation, discovery, mailboxes and relays, and a simulated network with the same interface.
"""
