"""The people, devices and things that all examples are about."""

from __future__ import annotations

ALICE = b"\xa1" * 32
BOB = b"\xb0" * 32
LAPTOP = b"\x01" * 16
PHONE = b"\x02" * 16
TEA = b"\x7e\xa0" * 16
MESSAGE = b"\x33" * 32
EARLIER = b"\x32" * 32
EPOCH = b"\xe1" * 32
PARENT = b"\xe0" * 32
ACTION = b"\xac" * 16
PAIR = b"\xfa" * 16
LOG = b"\x10" * 16
BOOT = b"\xb7" * 16
AT = 1_790_000_000_000
FINGERPRINT = "30121 44871 90275 11846 62519 07733 58210 99164 20457 81302 46698 13575"
PEER = "12D3KooWGBfKqTqgaXZfbDkzgLbcMSzkAqMmrLxFAkvb9NZjR5cM"
LINK = "vcd1:AAECAwQFBgcICQ"
WORDS = [
    *("abandon", "ability", "able", "about", "above", "absent"),
    *("absorb", "abstract", "absurd", "abuse", "access", "accident"),
]
