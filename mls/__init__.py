"""MLS (RFC 9420) as values: bytes and values in, bytes and values out.

Start at `mls.group`. The rooms follow the document: `codec` §2, `suite` and `credential` §5, `framing` §6, `tree` §7,
`schedule` and `psk` §8, `secret_tree` §9, `key_package` §10, `proposals`, `validation`, `commit`, `follow`, `epoch`,
`welcome` and `external` §12. `checks` numbers every rule that a message can break, `errors` says what refusing looks
like, `snapshot` writes groups to bytes, `provider` is the seam to cryptography, randomness, time and trust. Nothing in
here does I/O or reads a clock.
"""
