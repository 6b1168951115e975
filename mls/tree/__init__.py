"""RFC 9420 §4 and §7: the ratchet tree as a value, and TreeKEM over it."""
