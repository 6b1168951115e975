"""draft-ietf-mls-virtual-clients: several devices that act as one member of their conversations.

The devices are the members of an MLS group of their own, the emulation group, and take what the member needs from its
secrets: keys of leaves and KeyPackages, paths, and what keeps two devices from using a key and nonce twice. To everyone
else in a conversation they are one ordinary client. docs/spec-notes.md settles what the draft leaves open.
"""
